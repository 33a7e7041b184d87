"""What a plugin may implement: one module per contract, with its values, errors and clauses."""

from __future__ import annotations

from stageflow.contracts.clock import (
    Clock,
    SystemClock,
)
from stageflow.contracts.config_provider import (
    ConfigKeyError,
    ConfigProvider,
    ConfigSourceError,
    check_config_key,
)
from stageflow.contracts.contract import (
    Contract,
)
from stageflow.contracts.error_normalizer import (
    ErrorNormalizer,
    NormalizedError,
)
from stageflow.contracts.event_sink import (
    EventSink,
    EventSinkCapabilities,
    EventSinkError,
)
from stageflow.contracts.io_manager import (
    AssetNotFoundError,
    IOManager,
    IOManagerCapabilities,
    IOManagerError,
    PartitionListing,
    UnknownOptionError,
    refuse_options,
)
from stageflow.contracts.partitions import (
    Partition,
    PartitionError,
    PartitionKeyError,
    escape_segment,
    parse_partition_key,
    partition_key,
    unescape_segment,
)
from stageflow.contracts.resource import (
    Health,
    HealthCheck,
    Healthy,
    Resource,
    ResourceCapabilities,
    ResourceError,
    ResourceSetupError,
    Unhealthy,
    settle,
)
from stageflow.contracts.run_store import (
    InvalidTransitionError,
    RunDeletion,
    RunEvent,
    RunEventLog,
    RunExistsError,
    RunListing,
    RunNotFoundError,
    RunRecord,
    RunStatus,
    RunStore,
    RunStoreCapabilities,
    RunStoreError,
    UnknownStatusError,
    as_run_status,
    check_run_transition,
)
from stageflow.contracts.storage import (
    StorageBusyError,
    StorageClosedError,
    StorageCorruptError,
    StorageError,
    StorageFullError,
    StorageReadOnlyError,
    StorageUnavailableError,
    StorageVersionError,
)
from stageflow.contracts.telemetry_emitter import (
    TelemetryEmitter,
    TelemetryEvent,
)

__all__ = (
    "AssetNotFoundError",
    "Clock",
    "ConfigKeyError",
    "ConfigProvider",
    "ConfigSourceError",
    "Contract",
    "ErrorNormalizer",
    "EventSink",
    "EventSinkCapabilities",
    "EventSinkError",
    "Health",
    "HealthCheck",
    "Healthy",
    "IOManager",
    "IOManagerCapabilities",
    "IOManagerError",
    "InvalidTransitionError",
    "NormalizedError",
    "Partition",
    "PartitionError",
    "PartitionKeyError",
    "PartitionListing",
    "Resource",
    "ResourceCapabilities",
    "ResourceError",
    "ResourceSetupError",
    "RunDeletion",
    "RunEvent",
    "RunEventLog",
    "RunExistsError",
    "RunListing",
    "RunNotFoundError",
    "RunRecord",
    "RunStatus",
    "RunStore",
    "RunStoreCapabilities",
    "RunStoreError",
    "StorageBusyError",
    "StorageClosedError",
    "StorageCorruptError",
    "StorageError",
    "StorageFullError",
    "StorageReadOnlyError",
    "StorageUnavailableError",
    "StorageVersionError",
    "SystemClock",
    "TelemetryEmitter",
    "TelemetryEvent",
    "Unhealthy",
    "UnknownOptionError",
    "UnknownStatusError",
    "as_run_status",
    "check_config_key",
    "check_run_transition",
    "escape_segment",
    "parse_partition_key",
    "partition_key",
    "refuse_options",
    "settle",
    "unescape_segment",
)
