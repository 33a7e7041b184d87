"""Deadlines: many limits, one watcher, and nothing kept of what is closed."""

from __future__ import annotations

import anyio
import pytest

from stageflow._engine.deadlines import Deadlines
from stageflow.testing import TestClock

pytestmark = pytest.mark.anyio


class Told:
    """Remembers when it was cancelled."""

    def __init__(self, clock: TestClock) -> None:
        self.clock = clock
        self.at: list[float] = []

    def cancel(self) -> None:
        self.at.append(self.clock.monotonic())


async def test_each_limit_passes_at_its_own_moment_in_whatever_order_they_were_set() -> None:
    clock = TestClock(autojump=True)
    began = clock.monotonic()
    async with anyio.create_task_group() as tasks:
        deadlines = Deadlines(clock, tasks)
        scopes = {seconds: Told(clock) for seconds in (9.0, 3.0, 6.0, 1.0)}
        limits = {seconds: deadlines.add(scope, seconds) for seconds, scope in scopes.items()}
        await clock.sleep(10)
        deadlines.stop()
    assert {seconds: scope.at for seconds, scope in scopes.items()} == {
        seconds: [began + seconds] for seconds in scopes
    }
    assert all(limit.passed for limit in limits.values())


async def test_what_ends_in_reverse_order_leaves_no_entry() -> None:
    clock = TestClock(autojump=True)
    async with anyio.create_task_group() as tasks:
        deadlines = Deadlines(clock, tasks)
        limits = [deadlines.add(Told(clock), 60.0) for _ in range(5)]
        for limit in reversed(limits):
            limit.close()
        assert deadlines._heap == []
        assert not any(limit.passed for limit in limits)
        deadlines.stop()


async def test_a_nearer_limit_wakes_the_watcher_that_naps_for_a_closed_one() -> None:
    clock = TestClock(autojump=True)
    began = clock.monotonic()
    async with anyio.create_task_group() as tasks:
        deadlines = Deadlines(clock, tasks)
        far, near = Told(clock), Told(clock)
        limit = deadlines.add(far, 100.0)
        await clock.sleep(1)  # the watcher naps
        limit.close()
        deadlines.add(near, 5.0)
        await clock.sleep(20)
        deadlines.stop()
    assert (far.at, near.at) == ([], [began + 6])


async def test_a_limit_that_begins_anew_passes_at_its_new_moment_alone() -> None:
    clock = TestClock(autojump=True)
    began = clock.monotonic()
    async with anyio.create_task_group() as tasks:
        deadlines = Deadlines(clock, tasks)
        scope = Told(clock)
        limit = deadlines.add(scope, 5.0)
        deadlines.add(Told(clock), 60.0)  # so that the first entry is not the last
        await clock.sleep(4)
        limit.restart()
        await clock.sleep(4)
        assert scope.at == []
        await clock.sleep(4)
        deadlines.stop()
    assert scope.at == [began + 9]
    assert limit.passed


async def test_a_limit_that_is_over_is_not_begun_anew() -> None:
    clock = TestClock(autojump=True)
    async with anyio.create_task_group() as tasks:
        deadlines = Deadlines(clock, tasks)
        scope = Told(clock)
        limit = deadlines.add(scope, 5.0)
        await clock.sleep(6)
        limit.restart()
        await clock.sleep(6)
        deadlines.stop()
    assert len(scope.at) == 1
    assert limit.passed
