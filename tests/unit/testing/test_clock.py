"""TestClock: time passes when the test says so, in the same order on every event loop."""

from __future__ import annotations

import asyncio
import math
import threading
from datetime import UTC, datetime, timedelta, timezone

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from stageflow.contracts.clock import Clock, SystemClock
from stageflow.testing.clock import TestClock

pytestmark = pytest.mark.anyio


def clocks() -> tuple[Clock, ...]:
    return SystemClock(), TestClock()  # both are Clocks to the type checker


def test_a_test_clock_stands_still_at_a_fixed_instant() -> None:
    clock = TestClock()
    assert clock.now() == clock.now() == datetime(2025, 1, 1, tzinfo=UTC)
    assert clock.monotonic() == 0.0
    assert "2025-01-01" in repr(clock)


def test_bug008_time_of_day_is_aware_and_in_utc() -> None:
    east = timezone(timedelta(hours=2))
    clock = TestClock(datetime(2025, 6, 1, 12, tzinfo=east))
    assert clock.now().isoformat() == "2025-06-01T10:00:00+00:00"
    assert SystemClock().now().tzinfo is UTC
    with pytest.raises(ValueError, match="aware"):
        TestClock(datetime(2025, 6, 1))  # noqa: DTZ001 - the fault under test


def test_tick_moves_both_clocks_and_shift_moves_the_wall_only() -> None:
    clock = TestClock()
    clock.tick(90.5)
    assert clock.monotonic() == 90.5
    assert clock.now() == datetime(2025, 1, 1, 0, 1, 30, 500_000, tzinfo=UTC)
    clock.shift_wall(-3600)
    assert clock.monotonic() == 90.5
    assert clock.now() == datetime(2024, 12, 31, 23, 1, 30, 500_000, tzinfo=UTC)


async def test_time_cannot_go_back() -> None:
    clock = TestClock()
    with pytest.raises(ValueError, match="go back"):
        clock.tick(-1)
    with pytest.raises(ValueError, match="go back"):
        await clock.advance(-1)


async def test_system_clock_sleep_takes_no_or_negative_time_without_fuss() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(0)
    await clock.sleep(-5)
    assert clock.monotonic() >= before
    assert repr(clock) == "SystemClock()"


async def test_sleepers_wake_in_order_of_deadline_then_arrival() -> None:
    clock, woken = TestClock(), []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.monotonic()))
        await anyio.lowlevel.checkpoint()
        woken.append((name, clock.monotonic()))

    async with anyio.create_task_group() as group:
        for name, seconds in (("c", 3.0), ("a", 1.0), ("b1", 2.0), ("b2", 2.0)):
            group.start_soon(sleeper, name, seconds)
            await anyio.wait_all_tasks_blocked()  # trio starts tasks of one batch in random order
        await clock.advance(2.5)
        assert woken == [("a", 1.0)] * 2 + [("b1", 2.0)] * 2 + [("b2", 2.0)] * 2
        assert clock.monotonic() == 2.5
        assert clock.sleeping == 1
        await clock.advance(0.5)
    assert woken[-1] == ("c", 3.0)


async def test_advance_serves_a_sleeper_that_sleeps_again() -> None:
    clock, stamps = TestClock(), []

    async def ticker() -> None:
        for _ in range(3):
            await clock.sleep(0.1)
            stamps.append(clock.monotonic())

    async with anyio.create_task_group() as group:
        group.start_soon(ticker)
        await clock.advance(0.3)  # 0.1 + 0.1 + 0.1 is due at 0.3: no float dust
        assert stamps == [0.1, 0.2, 0.3]


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    clock = TestClock()
    async with anyio.create_task_group() as group:
        group.start_soon(clock.sleep, 10)
        await anyio.wait_all_tasks_blocked()
        assert clock.sleeping == 1
        group.cancel_scope.cancel()
    assert clock.sleeping == 0
    await clock.advance(20)
    assert clock.monotonic() == 20


@pytest.mark.parametrize("autojump", [False, True])
async def test_tick_wakes_whoever_is_due_later(autojump: bool) -> None:
    clock = TestClock(autojump=autojump)
    with clock.busy():
        async with anyio.create_task_group() as group:
            group.start_soon(clock.sleep, 5)
            for _ in range(5):
                await anyio.lowlevel.checkpoint()
            clock.tick(5)
            assert clock.sleeping == 0
    assert clock.monotonic() == 5


async def test_autojump_goes_from_deadline_to_deadline() -> None:
    clock, woken = TestClock(autojump=True), []

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(clock.monotonic())
        await clock.sleep(seconds)
        woken.append(clock.monotonic())

    async with anyio.create_task_group() as group:
        for seconds in (3600, 7, 100):
            group.start_soon(sleeper, seconds)
    assert woken == [7, 14, 100, 200, 3600, 7200]
    assert clock.now() == datetime(2025, 1, 1, 2, tzinfo=UTC)


async def test_autojump_lets_every_other_task_go_first() -> None:
    clock, order = TestClock(autojump=True), []

    async def busy() -> None:
        for _ in range(100):
            await anyio.lowlevel.checkpoint()
        order.append(("busy", clock.monotonic()))

    async def sleeper() -> None:
        await clock.sleep(1)
        order.append(("sleeper", clock.monotonic()))

    async with anyio.create_task_group() as group:
        group.start_soon(sleeper)
        group.start_soon(busy)
    assert order == [("busy", 0.0), ("sleeper", 1.0)]


async def test_autojump_goes_on_when_the_driving_sleeper_is_cancelled() -> None:
    clock, scope = TestClock(autojump=True), anyio.CancelScope()

    async def driver() -> None:
        with scope:
            await clock.sleep(5)

    async with anyio.create_task_group() as group:
        with clock.busy():
            group.start_soon(driver)
            while not clock.sleeping:
                await anyio.lowlevel.checkpoint()
            group.start_soon(clock.sleep, 50)
            while clock.sleeping < 2:
                await anyio.lowlevel.checkpoint()
            scope.cancel()
    assert clock.monotonic() == 50


async def test_autojump_and_advance_do_not_disturb_each_other() -> None:
    clock, woken = TestClock(autojump=True), []

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((seconds, clock.monotonic()))

    async with anyio.create_task_group() as group:
        with clock.busy():
            for seconds in (1, 2, 9):
                group.start_soon(sleeper, seconds)
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
        await clock.advance(4)
        assert woken == [(1, 1.0), (2, 2.0)]
        assert clock.monotonic() == 4
    assert woken[-1] == (9, 9.0)


async def test_autojump_waits_for_a_shielded_clean_up_in_a_cancelled_group() -> None:
    clock, done = TestClock(autojump=True), []

    async def stage() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await clock.sleep(2)
                done.append(clock.monotonic())

    async with anyio.create_task_group() as group:
        group.start_soon(stage)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert done == [2.0]


async def test_autojump_counts_a_worker_thread_as_work() -> None:
    clock, go, seen = TestClock(autojump=True), threading.Event(), []

    def body() -> None:
        go.wait(5)
        seen.append(clock.monotonic())

    async def sleeper() -> None:
        await clock.sleep(1)
        seen.append(clock.monotonic())

    async with anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, body)
        group.start_soon(sleeper)
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
        go.set()
    assert seen == [0.0, 1.0]


async def test_autojump_counts_threads_of_a_watched_limiter() -> None:
    clock, go, seen = TestClock(autojump=True), threading.Event(), []
    limiter = anyio.CapacityLimiter(1)
    clock.watch(limiter)

    async def threaded() -> None:
        await anyio.to_thread.run_sync(go.wait, 5, limiter=limiter)
        seen.append(clock.monotonic())

    async with anyio.create_task_group() as group:
        group.start_soon(threaded)
        group.start_soon(clock.sleep, 1)
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
        go.set()
    assert seen == [0.0]


async def test_sleeping_for_ever_is_never_due() -> None:
    clock = TestClock(autojump=True)
    async with anyio.create_task_group() as group:
        group.start_soon(clock.sleep, math.inf)
        await clock.sleep(1e9)
        assert clock.monotonic() == 1e9
        group.cancel_scope.cancel()


async def test_many_equal_deadlines_wake_in_order() -> None:
    clock, woken = TestClock(autojump=True), []

    async def sleeper(number: int) -> None:
        await clock.sleep(1)
        woken.append(number)

    async with anyio.create_task_group() as group:
        with clock.busy():
            for number in range(200):
                group.start_soon(sleeper, number)
                await anyio.lowlevel.checkpoint()
                await anyio.lowlevel.checkpoint()
    assert sorted(woken) == list(range(200))
    assert woken == list(range(200))


def test_an_event_loop_that_hides_its_queue_is_served_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stageflow.testing.clock.getattr", _hide_ready, raising=False)

    async def main() -> list[float]:
        clock, woken = TestClock(autojump=True), []

        async def sleeper(seconds: float) -> None:
            await clock.sleep(seconds)
            woken.append(clock.monotonic())

        async with anyio.create_task_group() as group:
            for seconds in (3, 1, 2):
                group.start_soon(sleeper, seconds)
        return woken

    assert asyncio.run(main()) == [1.0, 2.0, 3.0]


def _hide_ready(target: object, name: str, default: object = None) -> object:
    return default if name == "_ready" else getattr(target, name, default)


async def test_no_time_to_wait_for_is_a_checkpoint_and_no_more() -> None:
    clock = TestClock(autojump=True)
    await clock.sleep(0)
    await clock.sleep(-1)
    assert clock.monotonic() == 0
    with anyio.CancelScope() as scope:
        scope.cancel()
        await clock.sleep(0)
    assert scope.cancelled_caught
