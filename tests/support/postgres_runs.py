"""The run store on PostgreSQL, for processes that are told by text where it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from stageflow.plugins import Secret
from stageflow_io_postgres.database import Database
from stageflow_io_postgres.run_store import PostgresRunStore
from stageflow_io_postgres.settings import PostgresSettings

__all__ = ("move_back", "opened_store")

_EARLIER = (
    """
    update stageflow.runs set
        created_at = created_at - $1::interval, updated_at = updated_at - $1::interval,
        ended_at = ended_at - $1::interval, expires_at = expires_at - $1::interval,
        due_at = due_at - $1::interval
    """,
    """
    update stageflow.run_waits set
        created_at = created_at - $1::interval, deadline = deadline - $1::interval
    """,
)


async def move_back(database: Database, seconds: float) -> None:
    """Let time pass: the server's clock goes its own way, so what it has written is moved back."""
    for statement in _EARLIER:
        await database.execute(statement, timedelta(seconds=seconds))


@asynccontextmanager
async def opened_store(dsn: str, **given: Any) -> AsyncIterator[PostgresRunStore]:
    """Give the store in the database at *dsn*."""
    async with Database(PostgresSettings(dsn=Secret(dsn), **given)) as database:
        yield PostgresRunStore(database)
