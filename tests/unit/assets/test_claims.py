"""Two that want the same partition at once: one makes it, the other waits, or is told."""

from __future__ import annotations

import anyio
import pytest

from stageflow.assets import AssetFailedError, AssetRunningError, ClaimLostError, asset

pytestmark = pytest.mark.anyio


class Slow:
    """An asset that takes until it is let go."""

    def __init__(self):
        self.made = 0
        self.entered = anyio.Event()
        self.let_go = anyio.Event()

        @asset
        async def a():
            self.made += 1
            mine = self.made
            self.entered.set()
            await self.let_go.wait()
            return mine

        self.asset = a


async def test_the_second_waits_and_uses_what_the_first_makes(backends):
    slow, done = Slow(), []

    async def one(store):
        done.append(await store.materialize("a"))

    async with (
        backends.open([slow.asset]) as first,
        backends.open([slow.asset]) as second,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(one, first)
        await slow.entered.wait()
        tasks.start_soon(one, second)
        while "asset.waiting" not in backends.types():
            await anyio.lowlevel.checkpoint()
        slow.let_go.set()
    assert slow.made == 1
    assert {each.state for each in done} == {"materialized", "made_by_another_run"}
    assert done[0].record == done[1].record


async def test_of_many_at_once_one_makes_it(backends):
    made = []

    @asset(partitions=["x", "y"])
    async def a(ctx):
        made.append(ctx.partition)
        await anyio.lowlevel.checkpoint()
        return 1

    async def one(store, key):
        assert (await store.materialize("a", key)).record is not None

    async with backends.open([a]) as store, anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(one, store, "xy"[number % 2])
    assert sorted(made) == ["x", "y"]


async def test_the_second_is_told_if_it_does_not_want_to_wait(backends):
    slow = Slow()
    async with backends.open([slow.asset]) as store, anyio.create_task_group() as tasks:
        tasks.start_soon(store.materialize, "a")
        await slow.entered.wait()
        with pytest.raises(AssetRunningError) as raised:
            await store.materialize("a", on_running="raise")
        assert raised.value.run_id == (await store.status("a")).run_id
        with pytest.raises(AssetRunningError):
            await store.invalidate("a")
        slow.let_go.set()


async def test_who_waits_makes_it_anew_if_it_was_forced_to(backends):
    slow = Slow()
    async with backends.open([slow.asset]) as store:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.materialize, "a")
            await slow.entered.wait()
            tasks.start_soon(lambda: store.materialize("a", force=True))
            while "asset.waiting" not in backends.types():
                await anyio.lowlevel.checkpoint()
            slow.let_go.set()
        assert slow.made == 2


async def test_who_waits_for_one_that_fails_makes_it_itself(backends):
    entered, let_go, calls = anyio.Event(), anyio.Event(), []

    @asset
    async def a():
        calls.append(1)
        if len(calls) == 1:
            entered.set()
            await let_go.wait()
            raise ValueError("the first fails")
        return "second"

    async def first(store):
        with pytest.raises(AssetFailedError):
            await store.materialize("a")

    async with backends.open([a]) as store:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first, store)
            await entered.wait()
            tasks.start_soon(store.materialize, "a")
            while "asset.waiting" not in backends.types():
                await anyio.lowlevel.checkpoint()
            let_go.set()
        assert await store.get("a") == "second"
        assert (await store.status("a")).is_fresh


async def test_what_another_run_makes_anew_upstream_is_waited_for(backends):
    slow, made = Slow(), []

    @asset
    async def side():
        made.append("side")
        slow.entered = anyio.Event()
        tasks.start_soon(lambda: store.materialize("a", force=True))
        await slow.entered.wait()

    @asset
    async def b(a, side):
        return a

    async with backends.open([slow.asset, side, b]) as store:
        slow.let_go.set()
        await store.materialize("a")
        slow.let_go = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.materialize, "b")
            while "asset.waiting" not in backends.types():
                await anyio.lowlevel.checkpoint()
            slow.let_go.set()
        assert await store.get("b") == 2
        assert (await store.status("b")).is_fresh


async def test_a_run_that_lives_keeps_its_claim_however_long_it_takes(backends):
    backends.clock._autojump = False
    slow = Slow()
    async with backends.open([slow.asset], lease=30) as store, anyio.create_task_group() as tasks:
        tasks.start_soon(store.materialize, "a")
        await slow.entered.wait()
        for _ in range(20):
            await backends.clock.advance(15)
            assert (await store.status("a")).state == "running"
        slow.let_go.set()
    assert slow.made == 1


async def test_a_dead_run_is_taken_over_and_cannot_record_what_it_makes_later(backends):
    backends.clock._autojump = False
    slow, errors = Slow(), []

    async def one(store):
        try:
            await store.materialize("a")
        except AssetFailedError as error:
            errors.append(error.original)

    async with backends.open([slow.asset], lease=30) as dead, backends.open([slow.asset]) as other:
        wake_up = _silence(dead)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one, dead)
            await slow.entered.wait()
            await backends.clock.advance(31)
            assert (await other.status("a")).state == "missing"
            slow.entered = anyio.Event()
            tasks.start_soon(one, other)
            await slow.entered.wait()
            wake_up()
            slow.let_go.set()
        (lost,) = errors
        assert isinstance(lost, ClaimLostError)
        assert slow.made == 2
        assert (await other.status("a")).is_fresh
        assert await other.get("a") == 2


def _silence(store):
    """Let the runs of a store give no further sign of life, as a process does that hangs."""
    write, begun = store._records.write, set()

    async def written(asset, key, entry):
        if entry.claim is not None and key in begun:
            raise OSError("hangs")
        begun.add(key)
        return await write(asset, key, entry)

    store._records.write = written

    def wake_up():
        store._records.write = write

    return wake_up
