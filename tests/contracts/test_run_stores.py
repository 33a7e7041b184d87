"""Every run store of core keeps every clause of the contract."""

from __future__ import annotations

import pytest

from stageflow.builtin.memory_run_store import MemoryRunStore
from stageflow.builtin.sqlite_run_store import SqliteRunStore
from stageflow.contracts.run_store import RunStoreCapabilities
from stageflow.testing.run_store import RunStoreConformance

EVERYTHING = RunStoreCapabilities(listing=True, event_log=True, deletion=True)


class TestMemoryRunStore(RunStoreConformance):
    capabilities = EVERYTHING

    @pytest.fixture
    async def store(self):
        async with MemoryRunStore() as store:
            yield store


class TestSqliteRunStore(RunStoreConformance):
    capabilities = EVERYTHING

    @pytest.fixture
    async def store(self, tmp_path):
        async with SqliteRunStore(tmp_path / "runs.sqlite3", synchronous="normal") as store:
            yield store
