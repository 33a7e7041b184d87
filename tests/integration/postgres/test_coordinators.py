"""The coordinators keep their contracts, and what many processes do to them at once is exact."""

from __future__ import annotations

import pytest

from stageflow.testing import ParallelCoordinatorConformance, RoutingCoordinatorConformance
from stageflow.testing.scatter_coordinator import ScatterCoordinatorConformance
from stageflow_io_postgres.parallel_coordinator import PostgresParallelCoordinator
from stageflow_io_postgres.routing_coordinator import PostgresRoutingCoordinator
from stageflow_io_postgres.scatter_coordinator import PostgresScatterCoordinator


class TestPostgresScatterCoordinator(ScatterCoordinatorConformance):
    capabilities = PostgresScatterCoordinator.capabilities
    event_loops = ("asyncio",)

    @pytest.fixture
    async def coordinator(self, database):
        async with PostgresScatterCoordinator(database) as coordinator:
            yield coordinator


class TestPostgresParallelCoordinator(ParallelCoordinatorConformance):
    capabilities = PostgresParallelCoordinator.capabilities
    event_loops = ("asyncio",)

    @pytest.fixture
    async def coordinator(self, database):
        async with PostgresParallelCoordinator(database) as coordinator:
            yield coordinator


class TestPostgresRoutingCoordinator(RoutingCoordinatorConformance):
    capabilities = PostgresRoutingCoordinator.capabilities
    event_loops = ("asyncio",)

    @pytest.fixture
    async def coordinator(self, database):
        async with PostgresRoutingCoordinator(database) as coordinator:
            yield coordinator
