"""Data first, then the record: what a crash leaves behind counts for nothing, and is mended."""

from __future__ import annotations

import anyio
import attrs
import pytest

from stageflow.assets import AssetFailedError, AssetNotReadyError, AssetStore, asset
from stageflow.builtin.memory_io_manager import MemoryIOManager
from stageflow.contracts.run_store import RunStoreCapabilities
from stageflow.contracts.storage import StorageUnavailableError

pytestmark = pytest.mark.anyio


class Died(BaseException):
    """The process ends here, as far as the test is concerned."""


@pytest.fixture
def made():
    return []


@pytest.fixture
def assets(made):
    @asset
    async def a():
        made.append("a")
        return len(made)

    @asset
    async def b(a):
        made.append("b")
        return a

    return [a, b]


async def test_fs_data_from_elsewhere_make_nothing_ready(backends, assets, made):
    # Data were there from an old run, and counted as a dependency that is ready.
    await backends.data.store("a", "left over", None)
    async with backends.open(assets) as store:
        assert not await store.exists("a")
        assert (await store.status("a")).state == "missing"
        with pytest.raises(AssetNotReadyError):
            await store.get("a")
        await store.materialize("b")
        assert made == ["a", "b"]
        assert await store.get("a") == 1


async def test_fs_ready_is_what_the_present_version_made(backends, made):
    # Whatever an older version had stored counted as ready for ever.
    def versions(version):
        @asset(version=version)
        async def a():
            made.append(version)
            return version

        @asset
        async def b(a):
            return a

        return [a, b]

    for version in ("1", "2", "2"):
        async with backends.open(versions(version)) as store:
            await store.materialize("b")
    assert made == ["1", "2"]


async def test_fs_a_record_without_data_is_not_there_and_is_mended(backends, assets, made):
    # Output and record could diverge.
    async with backends.open(assets) as store:
        await store.materialize("b")
        await backends.data.delete("a", None)
        status = await store.status("a")
        assert (status.state, status.why) == ("missing", "its data are gone")
        assert not await store.exists("a")
        with pytest.raises(AssetNotReadyError, match="its data are gone"):
            await store.get("a")
        made.clear()
        await store.materialize("b")
        assert made == ["a", "b"]


@pytest.mark.parametrize("point", ["before store", "after store"])
async def test_fs_a_crash_on_either_side_of_storing_leaves_nothing_that_counts(
    backends, assets, made, point
):
    # A crash between the two left output without a record, or a record of older output.
    class Crashing(MemoryIOManager):
        async def store(self, asset_name, data, partition, **opts):
            if point == "after store":
                await backends.data.store(asset_name, data, partition)
            raise Died

        async def load(self, asset_name, partition, **opts):
            return await backends.data.load(asset_name, partition)

        async def exists(self, asset_name, partition, **opts):
            return await backends.data.exists(asset_name, partition)

    async with backends.open(assets, lease=60) as store:
        await store.materialize("b")
    crashing = attrs.evolve(store._places.of(assets[0]), manager=Crashing())
    async with backends.open(assets, io_manager=crashing, lease=60) as store:
        _let_no_process_clean_up(store)
        with pytest.raises(BaseExceptionGroup) as raised:
            await store.materialize("a", force=True)
        assert raised.group_contains(Died)
    async with backends.open(assets, lease=60) as store:
        status = await store.status("a")
        assert status.state == "running"
        await backends.clock.advance(61)
        status = await store.status("a")
        assert status.state == "missing"
        assert "ended without a word" in status.why
        with pytest.raises(AssetNotReadyError):
            await store.get("a")
        assert not await store.exists("a")
        made.clear()
        await store.materialize("b")
        assert made == ["a", "b"]


def _let_no_process_clean_up(store: AssetStore) -> None:
    """Have nothing more written once it has died: who is dead leaves no claim behind in order."""
    write = store._records.write

    async def written(asset, key, entry):
        if entry.claim is None:
            raise Died
        return await write(asset, key, entry)

    store._records.write = written


async def test_fs_there_is_one_record_for_each_partition(backends):
    # There was no unique key, and two rows for one partition.
    @asset(partitions=["x", "y"])
    async def a(ctx):
        return ctx.partition

    async with backends.open([a]) as store:
        for _ in range(3):
            await store.materialize("a", "x", force=True)
        await store.materialize("a", "y")
    values = await backends.run_store.list_values("assets")
    assert [value.key for value in values] == ["a/s_x", "a/s_y"]


async def test_a_store_that_refuses_leaves_the_record_and_the_data(backends, assets):
    class Full(MemoryIOManager):
        async def store(self, asset_name, data, partition, **opts):
            raise StorageUnavailableError("no room", storage="disk")

        async def load(self, asset_name, partition, **opts):
            return await backends.data.load(asset_name, partition)

        async def exists(self, asset_name, partition, **opts):
            return await backends.data.exists(asset_name, partition)

    async with backends.open(assets) as store:
        await store.materialize("a")
        place = store._places.of(assets[0])
    full = attrs.evolve(place, manager=Full())
    async with backends.open(assets, io_manager=full) as store:
        with pytest.raises(AssetFailedError, match="no room"):
            await store.materialize("a", force=True)
        assert await store.get("a") == 1


async def test_a_run_that_is_cancelled_while_it_stores_leaves_nothing_that_counts(backends):
    entered, values = anyio.Event(), iter([1, 2])

    class Slow(MemoryIOManager):
        async def store(self, asset_name, data, partition, **opts):
            if data == 2:
                entered.set()
                await anyio.sleep_forever()
            await super().store(asset_name, data, partition)

    slow = Slow()

    @asset(io_manager=slow)
    async def a():
        return next(values)

    async with backends.open([a]) as store:
        await store.materialize("a")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: store.materialize("a", force=True))
            await entered.wait()
            tasks.cancel_scope.cancel()
        status = await store.status("a")
        assert (status.state, status.record) == ("missing", None)


async def test_a_run_that_is_cancelled_before_leaves_everything_as_it_was(backends):
    entered, calls = anyio.Event(), []

    @asset
    async def a():
        calls.append(1)
        if len(calls) == 2:
            entered.set()
            await anyio.sleep_forever()
        return 1

    async with backends.open([a]) as store:
        await store.materialize("a")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: store.materialize("a", force=True))
            await entered.wait()
            assert (await store.status("a")).state == "running"
            tasks.cancel_scope.cancel()
        assert (await store.status("a")).is_fresh


async def test_a_record_store_that_fails_after_the_data_says_so_and_nothing_counts(backends):
    @asset
    async def a():
        return 1

    async with backends.open([a]) as store:
        write = store._records.write

        async def failing(asset, key, entry):
            if entry.record is not None:
                raise StorageUnavailableError("gone", storage="records")
            return await write(asset, key, entry)

        store._records.write = failing
        with pytest.raises(AssetFailedError, match="gone"):
            await store.materialize("a")
        store._records.write = write
        assert (await store.status("a")).state == "failed"
        assert (await store.materialize("a")).state == "materialized"


def test_the_kept_store_of_these_tests_is_what_it_claims(backends):
    assert RunStoreCapabilities.of(backends.run_store).shared_values
