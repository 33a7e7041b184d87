"""Values of any size come back as they were, and what they say can be queried."""

from __future__ import annotations

import pytest

from stageflow.testing import IOManagerConformance
from stageflow_io_postgres.io_manager import PostgresIOManager

pytestmark = pytest.mark.anyio


class TestPostgresIOManager(IOManagerConformance):
    capabilities = PostgresIOManager.capabilities
    event_loops = ("asyncio",)

    @pytest.fixture
    async def io_manager(self, database):
        async with PostgresIOManager(database) as manager:
            yield manager


class TestPostgresIOManagerInChunks(TestPostgresIOManager):
    @pytest.fixture
    async def io_manager(self, database):
        async with PostgresIOManager(database, chunk_bytes=16) as manager:
            yield manager
