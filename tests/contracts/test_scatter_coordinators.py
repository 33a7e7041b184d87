"""Every scatter coordinator of core keeps every clause of the contract."""

from __future__ import annotations

import anyio.lowlevel
import pytest

from stageflow.builtin.memory_scatter_coordinator import MemoryScatterCoordinator
from stageflow.builtin.sqlite_scatter_coordinator import SqliteScatterCoordinator
from stageflow.testing.scatter_coordinator import ScatterCoordinatorConformance


class TestMemoryScatterCoordinator(ScatterCoordinatorConformance):
    capabilities = MemoryScatterCoordinator.capabilities

    @pytest.fixture
    async def coordinator(self):
        async with MemoryScatterCoordinator() as coordinator:
            yield coordinator


class TestSqliteScatterCoordinator(ScatterCoordinatorConformance):
    capabilities = SqliteScatterCoordinator.capabilities

    @pytest.fixture
    async def coordinator(self, tmp_path):
        path = tmp_path / "scatter.sqlite3"
        async with SqliteScatterCoordinator(path, synchronous="normal") as coordinator:
            yield coordinator


class SuspendingScatterCoordinator(MemoryScatterCoordinator):
    """Waits before and after each step, as one does that talks to a server."""

    async def create_barrier(self, *args, **options):
        await anyio.lowlevel.checkpoint()
        barrier_id = await super().create_barrier(*args, **options)
        await anyio.lowlevel.checkpoint()
        return barrier_id

    async def insert_results(self, barrier_id, keys, **options):
        await anyio.lowlevel.checkpoint()
        inserted = await super().insert_results(barrier_id, keys, **options)
        await anyio.lowlevel.checkpoint()
        return inserted

    async def record(self, barrier_id, **outcomes):
        await anyio.lowlevel.checkpoint()
        status = await super().record(barrier_id, **outcomes)
        await anyio.lowlevel.checkpoint()
        return status

    async def cancel(self, barrier_id):
        await anyio.lowlevel.checkpoint()
        await super().cancel(barrier_id)
        await anyio.lowlevel.checkpoint()

    async def claim(self, barrier_id, worker, **options):
        await anyio.lowlevel.checkpoint()
        claimed = await super().claim(barrier_id, worker, **options)
        await anyio.lowlevel.checkpoint()
        return claimed


class TestSuspendingScatterCoordinator(ScatterCoordinatorConformance):
    """A kit that only ever saw calls that end at once would not know that others may be right."""

    capabilities = MemoryScatterCoordinator.capabilities

    @pytest.fixture
    async def coordinator(self):
        async with SuspendingScatterCoordinator() as coordinator:
            yield coordinator
