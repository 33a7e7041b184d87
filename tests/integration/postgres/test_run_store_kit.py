"""The run store on PostgreSQL keeps every clause of the contract."""

from __future__ import annotations

import pytest

from stageflow.testing.run_store import RunStoreConformance
from stageflow_io_postgres.run_store import PostgresRunStore

_EARLIER = """
update stageflow.runs set
    created_at = created_at - $1::interval, updated_at = updated_at - $1::interval,
    ended_at = ended_at - $1::interval, expires_at = expires_at - $1::interval,
    due_at = due_at - $1::interval
"""
_WAITS_EARLIER = """
update stageflow.run_waits set
    created_at = created_at - $1::interval, deadline = deadline - $1::interval
"""


class TestPostgresRunStore(RunStoreConformance):
    capabilities = PostgresRunStore.capabilities
    event_loops = ("asyncio",)

    @pytest.fixture
    async def store(self, database):
        self.database = database
        async with PostgresRunStore(database) as store:
            yield store

    async def pass_time(self, seconds):
        """The server's clock goes its own way: what it has written is moved back instead."""
        from datetime import timedelta

        for statement in (_EARLIER, _WAITS_EARLIER):
            await self.database.execute(statement, timedelta(seconds=seconds))
