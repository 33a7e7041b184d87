"""Every run store of core keeps every clause of the contract."""

from __future__ import annotations

import pytest

from stageflow.builtin.memory_run_store import MemoryRunStore
from stageflow.builtin.sqlite_run_store import SqliteRunStore
from stageflow.contracts.run_store import RunStoreCapabilities
from stageflow.testing.faults import FaultyStore
from stageflow.testing.run_store import RunStoreConformance

EVERYTHING = RunStoreCapabilities(
    listing=True,
    event_log=True,
    deletion=True,
    checkpoints=True,
    retention=True,
    waits=True,
    shared_values=True,
)


class TestMemoryRunStore(RunStoreConformance):
    capabilities = EVERYTHING

    @pytest.fixture
    async def store(self):
        async with MemoryRunStore(clock=self.clock) as store:
            yield store


class TestSqliteRunStore(RunStoreConformance):
    capabilities = SqliteRunStore.capabilities

    @pytest.fixture
    async def store(self, tmp_path):
        path = tmp_path / "runs.sqlite3"
        async with SqliteRunStore(path, synchronous="normal", clock=self.clock) as store:
            yield store


class TestFaultyStore(RunStoreConformance):
    """Without a fault it is as good as what it wraps."""

    capabilities = EVERYTHING

    @pytest.fixture
    async def store(self):
        async with FaultyStore(MemoryRunStore(clock=self.clock)) as store:
            yield store
