"""The kit of IO managers notices each broken clause, and blames no other."""

from __future__ import annotations

from itertools import count

import anyio
import anyio.lowlevel
import pytest

from stageflow.builtin.memory_io_manager import MemoryIOManager
from stageflow.codec import Codec
from stageflow.contracts.io_manager import (
    AssetNotFoundError,
    IOManager,
    IOManagerCapabilities,
    PartitionListing,
)
from stageflow.contracts.partitions import PartitionError, partition_key
from stageflow.testing.conformance import clauses_of, failed_clauses
from stageflow.testing.io_manager import IOManagerConformance

pytestmark = pytest.mark.anyio


class Kit(IOManagerConformance):
    capabilities = MemoryIOManager.capabilities


class TakesNoneForNothing(MemoryIOManager):
    """IO-1"""

    async def load(self, asset_name, partition, **opts):
        value = await super().load(asset_name, partition, **opts)
        return {} if value is None else value


class FindsNothingAsNone(MemoryIOManager):
    """IO-2"""

    async def load(self, asset_name, partition, **opts):
        try:
            return await super().load(asset_name, partition, **opts)
        except AssetNotFoundError:
            if partition == "there":
                return None
            raise


class SaysAnAssetIsEnough(MemoryIOManager):
    """IO-3"""

    async def exists(self, asset_name, partition, **opts):
        there = await super().exists(asset_name, partition, **opts)
        return there or (partition == "there" and asset_name in self._assets)


class KeepsTheFirst(MemoryIOManager):
    """IO-4"""

    async def store(self, asset_name, data, partition, **opts):
        calls = self._calls = getattr(self, "_calls", 0) + 1
        Codec.default().encode(data)
        if calls == 3 and partition is None:
            return
        await super().store(asset_name, data, partition, **opts)


class CannotDeleteTwice(MemoryIOManager):
    """IO-5"""

    async def delete(self, asset_name, partition, **opts):
        if asset_name == "other":
            raise AssetNotFoundError(asset_name, partition)
        await super().delete(asset_name, partition, **opts)


class IgnoresCase(MemoryIOManager):
    """IO-6"""

    def _partitions(self, asset_name, opts):
        return super()._partitions(asset_name.lower(), opts)

    async def store(self, asset_name, data, partition, **opts):
        await super().store(asset_name.lower(), data, partition, **opts)


class KeepsOffsets(MemoryIOManager):
    """IO-7"""

    @staticmethod
    def _exact(partition):
        offset = getattr(partition, "utcoffset", lambda: None)()
        return (partition, str(offset)) if offset else partition

    async def load(self, asset_name, partition, **opts):
        return await super().load(asset_name, self._exact(partition), **opts)

    async def store(self, asset_name, data, partition, **opts):
        await super().store(asset_name, data, self._exact(partition), **opts)


class FollowsPaths(MemoryIOManager):
    """IO-8"""

    def _partitions(self, asset_name, opts):
        return super()._partitions(asset_name.removeprefix("../"), opts)

    async def store(self, asset_name, data, partition, **opts):
        await super().store(asset_name.removeprefix("../"), data, partition, **opts)


class HandsOutItsOwn(MemoryIOManager):
    """IO-9"""

    def __init__(self):
        super().__init__()
        self._handed_out = {}

    async def load(self, asset_name, partition, **opts):
        value = await super().load(asset_name, partition, **opts)
        stored = self._assets[asset_name][partition_key(partition)]
        return self._handed_out.setdefault((asset_name, stored), value)


class ClearsBeforeItEncodes(MemoryIOManager):
    """IO-10"""

    async def store(self, asset_name, data, partition, **opts):
        await self.delete(asset_name, partition, **opts)
        await super().store(asset_name, data, partition, **opts)


class TakesAnyPartition(MemoryIOManager):
    """IO-11"""

    async def exists(self, asset_name, partition, **opts):
        try:
            return await super().exists(asset_name, partition, **opts)
        except PartitionError:
            return False


class IgnoresOptions(MemoryIOManager):
    """IO-12"""

    async def load(self, asset_name, partition, **opts):
        return await super().load(asset_name, partition)


class ShowsHalfAValue(MemoryIOManager):
    """IO-13"""

    async def store(self, asset_name, data, partition, **opts):
        await super().store(asset_name, data, partition, **opts)
        if isinstance(data, list):
            with anyio.CancelScope(shield=True):
                await super().store(asset_name, data[:1], partition)
                await anyio.lowlevel.checkpoint()
                await super().store(asset_name, data, partition)


class StoresInTwoSteps(MemoryIOManager):
    """IO-14"""

    async def store(self, asset_name, data, partition, **opts):
        Codec.default().encode(data)
        await super().delete(asset_name, partition, **opts)
        await super().store(asset_name, None, partition, **opts)
        if asset_name == "asset" and isinstance(partition, int) and isinstance(data, dict):
            await anyio.lowlevel.checkpoint()
        await super().store(asset_name, data, partition, **opts)


class SwallowsCancellation(MemoryIOManager):
    """IO-14"""

    async def delete(self, asset_name, partition, **opts):
        try:
            await anyio.lowlevel.checkpoint()
        except anyio.get_cancelled_exc_class():
            return
        await super().delete(asset_name, partition, **opts)


class StaysOpen(MemoryIOManager):
    """IO-15"""

    async def aclose(self):
        return None


class ListsKeys(MemoryIOManager):
    """IO-16"""

    async def list_partitions(self, asset_name, **opts):
        return tuple(map(partition_key, await super().list_partitions(asset_name, **opts)))


class ListsTheDeleted(MemoryIOManager):
    """IO-16"""

    async def list_partitions(self, asset_name, **opts):
        self._partitions(asset_name, opts)
        return self._listed.get(asset_name, ())

    async def store(self, asset_name, data, partition, **opts):
        await super().store(asset_name, data, partition, **opts)
        self._listed = getattr(self, "_listed", {})
        self._listed[asset_name] = await super().list_partitions(asset_name)


class PromisesTooLittle(MemoryIOManager):
    """IO-17"""

    capabilities = IOManagerCapabilities()


BROKEN = [
    TakesNoneForNothing,
    FindsNothingAsNone,
    SaysAnAssetIsEnough,
    KeepsTheFirst,
    CannotDeleteTwice,
    IgnoresCase,
    KeepsOffsets,
    FollowsPaths,
    HandsOutItsOwn,
    ClearsBeforeItEncodes,
    TakesAnyPartition,
    IgnoresOptions,
    ShowsHalfAValue,
    StoresInTwoSteps,
    SwallowsCancellation,
    StaysOpen,
    ListsKeys,
    ListsTheDeleted,
    PromisesTooLittle,
]


def test_every_clause_has_a_test_and_a_broken_manager():
    clauses = clauses_of(IOManager, PartitionListing)
    numbers = (f"IO-{number}" for number in count(1))
    assert sorted(clauses) == sorted(next(numbers) for _ in clauses)
    assert Kit.proofs().keys() == clauses.keys()
    assert {broken.__doc__ for broken in BROKEN} == clauses.keys()


async def test_a_good_manager_fails_nothing():
    assert await failed_clauses(Kit, MemoryIOManager) == {}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
async def test_a_broken_manager_fails_exactly_its_clause(broken):
    failures = await failed_clauses(Kit, broken)
    assert list(failures) == [broken.__doc__], failures
