"""Every IO manager of core keeps every clause of the contract."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from stageflow.builtin.files_io_manager import FilesIOManager
from stageflow.builtin.memory_io_manager import MemoryIOManager
from stageflow.contracts.io_manager import IOManagerCapabilities
from stageflow.testing.io_manager import IOManagerConformance


class TestMemoryIOManager(IOManagerConformance):
    capabilities = IOManagerCapabilities(list_partitions=True)

    @pytest.fixture
    async def io_manager(self):
        async with MemoryIOManager() as manager:
            yield manager


class SuspendingIOManager(MemoryIOManager):
    """Waits before and after each step, as one does that talks to a server."""

    async def load(self, asset_name, partition, **opts):
        await anyio.lowlevel.checkpoint()
        return await super().load(asset_name, partition, **opts)

    async def store(self, asset_name, data, partition, **opts):
        await anyio.lowlevel.checkpoint()
        await super().store(asset_name, data, partition, **opts)
        await anyio.lowlevel.checkpoint()

    async def exists(self, asset_name, partition, **opts):
        await anyio.lowlevel.checkpoint()
        return await super().exists(asset_name, partition, **opts)

    async def delete(self, asset_name, partition, **opts):
        await anyio.lowlevel.checkpoint()
        await super().delete(asset_name, partition, **opts)
        await anyio.lowlevel.checkpoint()


class TestSuspendingIOManager(IOManagerConformance):
    """A kit that only ever saw calls that end at once would not know that others may be right."""

    capabilities = IOManagerCapabilities(list_partitions=True)

    @pytest.fixture
    async def io_manager(self):
        async with SuspendingIOManager() as manager:
            yield manager


class TestFilesIOManager(IOManagerConformance):
    capabilities = IOManagerCapabilities(list_partitions=True)

    @pytest.fixture
    async def io_manager(self, tmp_path):
        async with FilesIOManager(tmp_path, fsync=False) as manager:
            yield manager
