"""Every routing coordinator of core keeps every clause of the contract."""

from __future__ import annotations

import anyio.lowlevel
import pytest

from stageflow.builtin.routing_coordinators import (
    MemoryRoutingCoordinator,
    SqliteRoutingCoordinator,
)
from stageflow.testing.routing_coordinator import RoutingCoordinatorConformance


class TestMemoryRoutingCoordinator(RoutingCoordinatorConformance):
    capabilities = MemoryRoutingCoordinator.capabilities

    @pytest.fixture
    async def coordinator(self):
        async with MemoryRoutingCoordinator() as coordinator:
            yield coordinator


class TestSqliteRoutingCoordinator(RoutingCoordinatorConformance):
    capabilities = SqliteRoutingCoordinator.capabilities

    @pytest.fixture
    async def coordinator(self, tmp_path):
        path = tmp_path / "routing.sqlite3"
        async with SqliteRoutingCoordinator(path, synchronous="normal") as coordinator:
            yield coordinator


class SuspendingRoutingCoordinator(MemoryRoutingCoordinator):
    """Waits before and after each step, as one does that talks to a server."""

    async def record(self, *args, **options):
        await anyio.lowlevel.checkpoint()
        decision_id = await super().record(*args, **options)
        await anyio.lowlevel.checkpoint()
        return decision_id


class TestSuspendingRoutingCoordinator(RoutingCoordinatorConformance):
    """A kit that only ever saw calls that end at once would not know that others may be right."""

    capabilities = MemoryRoutingCoordinator.capabilities

    @pytest.fixture
    async def coordinator(self):
        async with SuspendingRoutingCoordinator() as coordinator:
            yield coordinator
