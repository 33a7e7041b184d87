"""Stageflow on PostgreSQL: what outlives a process, in one database that processes share."""

from __future__ import annotations

from stageflow_io_postgres.database import Database
from stageflow_io_postgres.errors import (
    AsyncioOnlyError,
    DatabaseAccessError,
    DatabaseRefusedError,
    OutcomeUnknownError,
    ResourceKindError,
    SchemaMissingError,
    SchemaOutdatedError,
)
from stageflow_io_postgres.resource import PostgresResource
from stageflow_io_postgres.settings import PostgresSettings

__all__ = (
    "AsyncioOnlyError",
    "Database",
    "DatabaseAccessError",
    "DatabaseRefusedError",
    "OutcomeUnknownError",
    "PostgresResource",
    "PostgresSettings",
    "ResourceKindError",
    "SchemaMissingError",
    "SchemaOutdatedError",
)
