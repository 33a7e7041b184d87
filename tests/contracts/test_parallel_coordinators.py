"""Every parallel coordinator of core keeps every clause of the contract."""

from __future__ import annotations

import anyio.lowlevel
import pytest

from stageflow.builtin.memory_parallel_coordinator import MemoryParallelCoordinator
from stageflow.builtin.sqlite_parallel_coordinator import SqliteParallelCoordinator
from stageflow.testing.parallel_coordinator import ParallelCoordinatorConformance


class TestMemoryParallelCoordinator(ParallelCoordinatorConformance):
    capabilities = MemoryParallelCoordinator.capabilities

    @pytest.fixture
    async def coordinator(self):
        async with MemoryParallelCoordinator() as coordinator:
            yield coordinator


class TestSqliteParallelCoordinator(ParallelCoordinatorConformance):
    capabilities = SqliteParallelCoordinator.capabilities

    @pytest.fixture
    async def coordinator(self, tmp_path):
        path = tmp_path / "parallel.sqlite3"
        async with SqliteParallelCoordinator(path, synchronous="normal") as coordinator:
            yield coordinator


class SuspendingParallelCoordinator(MemoryParallelCoordinator):
    """Waits before and after each step, as one does that talks to a server."""

    async def create_execution(self, *args, **options):
        await anyio.lowlevel.checkpoint()
        execution_id = await super().create_execution(*args, **options)
        await anyio.lowlevel.checkpoint()
        return execution_id

    async def complete_branch(self, execution_id, branch_name, result):
        await anyio.lowlevel.checkpoint()
        status = await super().complete_branch(execution_id, branch_name, result)
        await anyio.lowlevel.checkpoint()
        return status


class TestSuspendingParallelCoordinator(ParallelCoordinatorConformance):
    """A kit that only ever saw calls that end at once would not know that others may be right."""

    capabilities = MemoryParallelCoordinator.capabilities

    @pytest.fixture
    async def coordinator(self):
        async with SuspendingParallelCoordinator() as coordinator:
            yield coordinator
