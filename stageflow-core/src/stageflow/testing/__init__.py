"""What authors test stages and plugins with: a clock they rule, contexts, a kit per contract.

The kits need pytest and are imported when they are asked for; the rest does without.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from stageflow.testing.clock import TestClock
from stageflow.testing.factories import create_test_snapshot, create_test_stage_context

if TYPE_CHECKING:
    from stageflow.testing.config_provider import ConfigProviderConformance
    from stageflow.testing.conformance import ConformanceKit
    from stageflow.testing.error_normalizer import ErrorNormalizerConformance
    from stageflow.testing.event_sink import EventSinkConformance
    from stageflow.testing.executor import ExecutorConformance
    from stageflow.testing.io_manager import IOManagerConformance
    from stageflow.testing.item_reader import ItemReaderConformance
    from stageflow.testing.parallel_coordinator import ParallelCoordinatorConformance
    from stageflow.testing.resource import ResourceConformance
    from stageflow.testing.routing_coordinator import RoutingCoordinatorConformance
    from stageflow.testing.run_store import RunStoreConformance
    from stageflow.testing.scatter_coordinator import ScatterCoordinatorConformance
    from stageflow.testing.serializer import SerializerConformance
    from stageflow.testing.telemetry_emitter import TelemetryEmitterConformance

__all__ = (
    "ConfigProviderConformance",
    "ConformanceKit",
    "ErrorNormalizerConformance",
    "EventSinkConformance",
    "ExecutorConformance",
    "IOManagerConformance",
    "ItemReaderConformance",
    "ParallelCoordinatorConformance",
    "ResourceConformance",
    "RoutingCoordinatorConformance",
    "RunStoreConformance",
    "ScatterCoordinatorConformance",
    "SerializerConformance",
    "TelemetryEmitterConformance",
    "TestClock",
    "create_test_snapshot",
    "create_test_stage_context",
)

_KITS = {
    "ConfigProviderConformance": "config_provider",
    "ConformanceKit": "conformance",
    "ErrorNormalizerConformance": "error_normalizer",
    "EventSinkConformance": "event_sink",
    "ExecutorConformance": "executor",
    "IOManagerConformance": "io_manager",
    "ItemReaderConformance": "item_reader",
    "ParallelCoordinatorConformance": "parallel_coordinator",
    "ResourceConformance": "resource",
    "RoutingCoordinatorConformance": "routing_coordinator",
    "RunStoreConformance": "run_store",
    "ScatterCoordinatorConformance": "scatter_coordinator",
    "SerializerConformance": "serializer",
    "TelemetryEmitterConformance": "telemetry_emitter",
}


def __getattr__(name: str) -> Any:
    if name not in _KITS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_KITS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
