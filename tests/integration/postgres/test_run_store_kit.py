"""The run store on PostgreSQL keeps every clause of the contract."""

from __future__ import annotations

import pytest

from stageflow.testing.run_store import RunStoreConformance
from stageflow_io_postgres.run_store import PostgresRunStore
from support.postgres_runs import move_back


class TestPostgresRunStore(RunStoreConformance):
    capabilities = PostgresRunStore.capabilities
    event_loops = ("asyncio",)

    @pytest.fixture
    async def store(self, database):
        self.database = database
        async with PostgresRunStore(database) as store:
            yield store

    async def pass_time(self, seconds):
        await move_back(self.database, seconds)
