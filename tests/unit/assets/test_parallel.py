"""Parallel branches: side by side, joined, each failing for itself."""

from __future__ import annotations

import anyio
import pytest

from stageflow.assets import (
    AllPartitions,
    AssetDefinitionError,
    AssetFailedError,
    AssetOutput,
    Assets,
    Branch,
    BranchTimeoutError,
    ParallelFailedError,
    UpstreamFailedError,
    asset,
    parallel,
    route,
)
from stageflow.builtin.memory_parallel_coordinator import MemoryParallelCoordinator
from stageflow.contracts.parallel_coordinator import BranchStatus
from stageflow.stages.retry import RetryPolicy
from support.scatters import keep_coordinator

pytestmark = pytest.mark.anyio


@asset
def left():
    return "L"


@asset
def right():
    return "R"


@asset
def broken():
    raise ValueError("broken")


async def test_the_join_sees_the_data_of_each_branch_and_other_assets(backends):
    @asset
    def sign():
        return "+"

    @parallel({"a": left, "b": "right"})
    def both(branches, sign, ctx):
        ctx.add_metadata(joined=len(branches))
        return sign.join(branches.values())

    async with backends.open([left, right, sign, both]) as store:
        done = await store.materialize("both")
        assert await store.get("both") == "L+R"
        assert done.record.metadata == {"joined": 2}
        assert (await store.materialize("both")).state == "fresh"


async def test_the_join_may_take_the_branches_alone(backends):
    @parallel([left, right])
    async def both(branches):
        return list(branches.items())

    async with backends.open([left, right, both]) as store:
        await store.materialize("both")
        assert await store.get("both") == [("left", "L"), ("right", "R")]


async def test_branches_run_side_by_side(backends):
    here, there = anyio.Event(), anyio.Event()

    @asset
    async def one():
        here.set()
        await there.wait()

    @asset
    async def two():
        there.set()
        await here.wait()

    @parallel([one, two])
    def both(branches):
        return len(branches)

    async with backends.open([one, two, both]) as store:
        with anyio.fail_after(5):
            await store.materialize("both")


async def test_in_the_mode_partial_the_join_sees_how_each_branch_ended(backends):
    @route({"yes": "never"})
    def decide():
        return None

    @asset
    def never():
        raise AssertionError

    @parallel({"ok": "left", "bad": "broken", "not": "never"}, failure_mode="partial")
    def seen(branches):
        return {
            name: [str(each.status), each.result, each.error, each.reason]
            for name, each in branches.items()
        }

    async with backends.open([left, broken, decide, never, seen]) as store:
        await store.materialize("seen")
        assert await store.get("seen") == {
            "ok": ["ok", "L", None, None],
            "bad": ["failed", None, "ValueError: broken", None],
            "not": ["skipped", None, None, "router decide chose no branch"],
        }
        assert (await store.status("broken")).state == "failed"
        record = (await backends.run_store.list_runs())[0]
        assert record.status == "completed"


async def test_a_required_branch_that_fails_fails_the_whole(backends):
    calls = []
    required = Branch("broken", required=True)

    @parallel({"a": "left", "b": required}, failure_mode="partial")
    def both(branches):
        calls.append(branches)

    async with backends.open([left, broken, both]) as store:
        with pytest.raises(AssetFailedError) as raised:
            await store.materialize("both")
        assert await store.get("left") == "L"  # the other branch is made all the same
    error = raised.value.original
    assert isinstance(error, ParallelFailedError)
    assert (error.branch, error.error) == ("b", "ValueError: broken")
    assert calls == []


async def test_an_optional_branch_that_fails_fails_nothing(backends):
    @parallel({"a": "left", "b": Branch("broken", required=False)})
    def both(branches):
        return dict(branches)

    async with backends.open([left, broken, both]) as store:
        await store.materialize("both")
        assert await store.get("both") == {"a": "L"}


async def test_what_a_branch_is_made_from_fails_the_branch(backends):
    @asset
    def after(broken):
        return broken

    @asset
    def last(after):
        return after

    @parallel({"long": Branch("last", required=False), "a": "left"}, failure_mode="partial")
    def seen(branches):
        return branches["long"].error

    async with backends.open([broken, after, last, left, seen]) as store:
        await store.materialize("seen")
        told = await store.get("seen")
    assert "broken failed: ValueError: broken" in told


async def test_who_else_needs_what_failed_fails_too(backends):
    @parallel({"b": Branch("broken", required=False)}, failure_mode="partial")
    def tolerant(branches, strict):
        raise AssertionError

    @asset
    def strict(broken):
        raise AssertionError

    async with backends.open([broken, strict, tolerant]) as store:
        with pytest.raises(AssetFailedError) as raised:
            await store.materialize("tolerant")
    assert isinstance(raised.value.original, UpstreamFailedError)
    assert raised.value.asset == "strict"


async def test_a_branch_that_takes_too_long_fails_alone(backends):
    @asset
    async def slow():
        await backends.clock.sleep(100)

    @parallel({"slow": Branch("slow", timeout=5), "a": "left"}, failure_mode="partial")
    def seen(branches):
        return [str(each.status) for each in branches.values()]

    async with backends.open([slow, left, seen]) as store:
        await store.materialize("seen")
        assert await store.get("seen") == ["failed", "ok"]
    failed = [data for kind, data in backends.events if kind == "asset.failed"]
    assert [data["error_code"] for data in failed] == [BranchTimeoutError.code]
    assert backends.clock.monotonic() < 100


async def test_the_time_of_a_branch_is_that_of_all_its_assets(backends):
    @asset
    async def first():
        await backends.clock.sleep(3)

    @asset
    async def second(first):
        await backends.clock.sleep(3)

    @parallel({"both": Branch("second", timeout=5)}, failure_mode="partial")
    def seen(branches):
        return branches["both"].error

    async with backends.open([first, second, seen]) as store:
        await store.materialize("seen")
        assert "took longer than 5 s" in await store.get("seen")
        assert (await store.status("first")).is_fresh


async def test_all_branches_together_have_a_time(backends):
    @asset
    async def slow():
        await backends.clock.sleep(100)

    @parallel([slow, left], timeout=5)
    def both(branches):
        raise AssertionError

    async with backends.open([slow, left, both]) as store:
        with pytest.raises(AssetFailedError, match="The branches of asset 'both' took longer"):
            await store.materialize("both")


async def test_one_join_is_made_however_often_it_is_attempted(backends):
    joins = []

    class Shaky:
        """Fails to store once."""

        def __init__(self, inner):
            self._inner, self.failed = inner, False

        def __getattr__(self, name):
            return getattr(self._inner, name)

        async def store(self, name, data, partition, **options):
            if name == "both" and not self.failed:
                self.failed = True
                raise OSError("once")
            await self._inner.store(name, data, partition, **options)

    retry = RetryPolicy(max_attempts=2, retry_all=True, base_delay_ms=0)

    @parallel([left, right], retry=retry, io_manager=Shaky(backends.data))
    def both(branches):
        joins.append(1)
        return AssetOutput(len(branches), metadata={"n": 1}, data_version="v")

    async with backends.open([left, right, both]) as store:
        done = await store.materialize("both")
        assert await store.get("both") == 2
    assert (done.record.metadata, done.record.data_version) == ({"n": 1}, "v")
    assert joins == [1]


async def test_what_only_the_io_manager_can_store_is_joined_all_the_same(backends):
    class Anything:
        """Keeps objects as they are."""

        def __init__(self):
            self.kept = None

        async def store(self, name, data, partition, **options):
            self.kept = data

        async def load(self, name, partition, **options):
            return self.kept

        async def exists(self, name, partition, **options):
            return self.kept is not None

        async def delete(self, name, partition, **options):
            self.kept = None

    token = object()

    @parallel([left], io_manager=Anything())
    def both(branches):
        return token

    async with backends.open([left, both]) as store:
        await store.materialize("both")
        assert await store.get("both") is token


async def test_the_execution_is_told_how_branches_went_and_forgotten_in_the_end(backends):
    told = []

    class Watched(MemoryParallelCoordinator):
        async def create_execution(self, run_id, name, branches, **options):
            made = await super().create_execution(run_id, name, branches, **options)
            told.append((tuple(branches), options["required"], options["failure_mode"]))
            return made

        async def execute_join(self, execution_id, join):
            told.append(dict((await self.status(execution_id)).branches))
            return await super().execute_join(execution_id, join)

        async def delete_run(self, run_id):
            told.append(await super().delete_run(run_id))

    @parallel({"a": "left", "b": Branch("broken", required=False)})
    def both(branches):
        return 1

    async with backends.open([left, broken, both]) as store:
        keep_coordinator(store, Watched(), "parallel_coordinator")
        await store.materialize("both")
    assert told == [
        (("a", "b"), frozenset({"a"}), "all_or_nothing"),
        {"a": BranchStatus.OK, "b": BranchStatus.FAILED},
        1,
    ]


async def test_branches_have_partitions_like_all_assets(backends):
    @asset(partitions=["x", "y"])
    def part(ctx):
        return ctx.partition

    @parallel({"same": "part"}, partitions=["x", "y"])
    def each(branches):
        return branches["same"]

    @parallel({"all": Branch("part", mapping=AllPartitions())})
    def every(branches):
        return list(branches["all"].values())

    async with backends.open([part, each, every]) as store:
        await store.backfill("each")
        assert await store.get("each", "y") == "y"
        await store.materialize("every")
        assert await store.get("every") == ["x", "y"]


async def test_a_branch_made_again_makes_the_join_stale(backends):
    @parallel([left, right])
    def both(branches):
        return 1

    async with backends.open([left, right, both]) as store:
        await store.materialize("both")
        await store.materialize("left", force=True)
        done = await store.materialize("both")
        assert done.steps == (("both", None),)


def test_wrong_options_are_told_at_once():
    @parallel({"a": Branch("left", timeout=0), "b": "left"}, failure_mode="some", timeout=-1)
    def both(branches):
        return 1

    with pytest.raises(AssetDefinitionError) as raised:
        Assets([left, both])
    told = " ".join(fault.summary for fault in raised.value.faults)
    for option in ("branches=", "failure_mode=", "timeout=0", "timeout=-1"):
        assert option in told


def test_what_a_join_cannot_have_is_told():
    @parallel({"a": "left"}, executor="process")
    def elsewhere(branches):
        return 1

    @parallel({"a": "left"})
    def blind():
        return 1

    with pytest.raises(AssetDefinitionError) as raised:
        Assets([left, elsewhere, blind])
    told = [fault.summary for fault in raised.value.faults]
    assert "Asset 'elsewhere' has executor='process'." in told
    assert any(each.startswith("Asset 'blind' has function=") for each in told)
    assert len(told) == 2


def test_a_branch_that_is_no_asset_is_told():
    @parallel(["lefd"])
    def both(branches):
        return 1

    with pytest.raises(AssetDefinitionError, match="lefd"):
        Assets([left, both])
