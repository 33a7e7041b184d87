"""Every run store of core keeps every clause of the contract."""

from __future__ import annotations

from datetime import timedelta

import attrs
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


class TestStoreWithItsOwnClock(RunStoreConformance):
    """The kit needs no power over the time that a store goes by, only over what it has stored."""

    capabilities = EVERYTHING
    event_loops = ("asyncio",)

    @pytest.fixture
    async def store(self):
        async with MemoryRunStore() as self.used:
            yield self.used

    async def pass_time(self, seconds):
        def earlier(value, *names):
            times = {name: getattr(value, name) for name in names}
            moved = {name: at and at - timedelta(seconds=seconds) for name, at in times.items()}
            return attrs.evolve(value, **moved)

        for run_id, stored in self.used._runs.items():
            run = earlier(stored, "ended_at", "expires_at")
            run.record = earlier(run.record, "created_at", "updated_at")
            run.waits = {k: earlier(w, "created_at", "deadline") for k, w in run.waits.items()}
            self.used._runs[run_id] = run
