"""Every IO manager of core keeps every clause of the contract."""

from __future__ import annotations

import pytest

from stageflow.builtin.memory_io_manager import MemoryIOManager
from stageflow.contracts.io_manager import IOManagerCapabilities
from stageflow.testing.io_manager import IOManagerConformance


class TestMemoryIOManager(IOManagerConformance):
    capabilities = IOManagerCapabilities(list_partitions=True)

    @pytest.fixture
    async def io_manager(self):
        async with MemoryIOManager() as manager:
            yield manager
