"""Stageflow on PostgreSQL: what outlives a process, in one database that processes share."""

from __future__ import annotations

from stageflow_io_postgres.database import Database
from stageflow_io_postgres.error_normalizer import PostgresErrorNormalizer
from stageflow_io_postgres.errors import (
    AsyncioOnlyError,
    CertificateFileError,
    DatabaseAccessError,
    DatabaseRefusedError,
    OutcomeUnknownError,
    ResourceKindError,
    SchemaMissingError,
    SchemaOutdatedError,
)
from stageflow_io_postgres.event_sink import EventSinkStats, PostgresEventSink, StoredEvent
from stageflow_io_postgres.io_manager import PostgresIOManager, ValueTooLargeError
from stageflow_io_postgres.item_reader import (
    ItemKeyError,
    PostgresItemReader,
    PostgresReaderSettings,
    ReaderQueryError,
)
from stageflow_io_postgres.parallel_coordinator import PostgresParallelCoordinator
from stageflow_io_postgres.resource import PostgresResource
from stageflow_io_postgres.routing_coordinator import PostgresRoutingCoordinator
from stageflow_io_postgres.run_store import PostgresRunStore
from stageflow_io_postgres.scatter_coordinator import PostgresScatterCoordinator
from stageflow_io_postgres.settings import PostgresSettings

__all__ = (
    "AsyncioOnlyError",
    "CertificateFileError",
    "Database",
    "DatabaseAccessError",
    "DatabaseRefusedError",
    "EventSinkStats",
    "ItemKeyError",
    "OutcomeUnknownError",
    "PostgresErrorNormalizer",
    "PostgresEventSink",
    "PostgresIOManager",
    "PostgresItemReader",
    "PostgresParallelCoordinator",
    "PostgresReaderSettings",
    "PostgresResource",
    "PostgresRoutingCoordinator",
    "PostgresRunStore",
    "PostgresScatterCoordinator",
    "PostgresSettings",
    "ReaderQueryError",
    "ResourceKindError",
    "SchemaMissingError",
    "SchemaOutdatedError",
    "StoredEvent",
    "ValueTooLargeError",
)
