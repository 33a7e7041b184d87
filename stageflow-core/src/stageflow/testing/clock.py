"""A clock whose time passes only when a test says so, or when there is nothing else to wait for."""

from __future__ import annotations

import asyncio
import heapq
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import anyio
import anyio.lowlevel
import anyio.to_thread
import attrs

__all__ = ("TestClock",)

_START = datetime(2025, 1, 1, tzinfo=UTC)
_NANOS = 1_000_000_000
# An event loop that hides its queue may still hold callbacks that lead to a task;
# so many turns in which no task can run mean that nothing is under way.
_QUIET_TURNS = 16


@attrs.define(eq=False)
class _Sleeper:
    deadline: int
    nudge: anyio.Event
    awake: bool = False


class TestClock:
    """A `Clock` for tests: it stands still, and no wait on it takes real time.

    Sleepers wake one at a time, earliest deadline first and in order of arrival among
    equals; each runs until it waits again before the next one wakes. So a test sees the
    same order on every event loop.

    With *autojump* the clock goes to the next deadline by itself as soon as every task
    waits for something. A task that waits for input, for a real timer or for a thread
    that the clock does not know counts as waiting; see `busy` and `watch`.

    Args:
        start: What `now` answers at first; aware.
        autojump: Whether time passes by itself when all tasks wait.
    """

    __test__: ClassVar[bool] = False  # pytest takes the name for a class of tests

    def __init__(self, start: datetime = _START, *, autojump: bool = False) -> None:
        if start.tzinfo is None:
            raise ValueError("TestClock needs an aware datetime to start from, such as one in UTC.")
        self._wall = start.astimezone(UTC)
        self._elapsed = 0
        self._autojump = autojump
        self._sleepers: list[tuple[int, int, _Sleeper]] = []
        self._arrivals = 0
        self._driver: _Sleeper | None = None
        self._driving: anyio.CancelScope | None = None
        self._advancing = 0
        self._busy = 0
        self._watched: list[anyio.CapacityLimiter] = []
        self._settling: set[asyncio.Task[object] | None] = set()

    def now(self) -> datetime:
        """Return the test's time of day, in UTC."""
        return self._wall + timedelta(microseconds=self._elapsed // 1000)

    def monotonic(self) -> float:
        """Return the seconds that have passed on this clock."""
        return self._elapsed / _NANOS

    @property
    def sleeping(self) -> int:
        """How many tasks wait for this clock."""
        return sum(not sleeper.awake for _, _, sleeper in self._sleepers)

    async def sleep(self, seconds: float) -> None:
        """Return once the clock has gone on by *seconds*."""
        if seconds <= 0:
            await anyio.lowlevel.checkpoint()
            return
        if seconds == math.inf:
            await anyio.sleep_forever()
        sleeper = _Sleeper(self._elapsed + _nanos(seconds), anyio.Event())
        self._arrivals += 1
        heapq.heappush(self._sleepers, (sleeper.deadline, self._arrivals, sleeper))
        try:
            while not sleeper.awake:
                if self._autojump and self._driver is None:
                    await self._drive(sleeper)
                else:
                    await sleeper.nudge.wait()
                    sleeper.nudge = anyio.Event()
        finally:
            sleeper.awake = True
            if self._driver is None and (heir := self._next()) is not None:
                heir.nudge.set()

    async def advance(self, seconds: float) -> None:
        """Let *seconds* pass: wake every sleeper whose time comes and let it run.

        A sleeper that sleeps again within the span wakes again within the span. Returns
        when every other task waits for something.

        Raises:
            ValueError: *seconds* is negative.
        """
        target = self._elapsed + _nanos(seconds)
        self._advancing += 1
        try:
            await self._settle()
            while (sleeper := self._next()) is not None and sleeper.deadline <= target:
                self._wake(sleeper)
                await self._settle()
            self._elapsed = max(self._elapsed, target)
        finally:
            self._advancing -= 1

    def tick(self, seconds: float) -> None:
        """Let *seconds* pass at once; those whose time has come run when the caller next waits.

        Raises:
            ValueError: *seconds* is negative.
        """
        target = self._elapsed + _nanos(seconds)
        while (sleeper := self._next()) is not None and sleeper.deadline <= target:
            self._wake(sleeper)
        self._elapsed = max(self._elapsed, target)

    def shift_wall(self, seconds: float) -> None:
        """Set the time of day forward by *seconds*, or back if negative, as a host's clock is set.

        No time passes: `monotonic` stands still and nobody wakes.
        """
        self._wall += timedelta(seconds=seconds)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Keep the clock from jumping by itself within the block; for work it cannot see."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1

    def watch(self, limiter: anyio.CapacityLimiter) -> None:
        """Count threads under *limiter* as work, as those under anyio's default one always are."""
        self._watched.append(limiter)

    def _next(self) -> _Sleeper | None:
        while self._sleepers and self._sleepers[0][2].awake:
            heapq.heappop(self._sleepers)
        return self._sleepers[0][2] if self._sleepers else None

    def _wake(self, sleeper: _Sleeper) -> None:
        self._elapsed = max(self._elapsed, sleeper.deadline)
        sleeper.awake = True
        sleeper.nudge.set()
        if sleeper is self._driver and self._driving is not None:
            self._driving.cancel()

    async def _drive(self, sleeper: _Sleeper) -> None:
        """Jump from deadline to deadline until *sleeper* is due; one sleeper at a time does it."""
        self._driver = sleeper
        try:
            with anyio.CancelScope() as self._driving:
                while not sleeper.awake:
                    await self._settle()
                    if not self._advancing and (due := self._next()) is not None:
                        self._wake(due)
        finally:
            self._driver = None

    async def _settle(self) -> None:
        """Return once every other task waits for something and no known thread works."""
        while True:
            if _on_trio():
                await anyio.wait_all_tasks_blocked()
            else:
                await self._settle_asyncio()
            if not self._threads_work():
                return
            # Real time, but only while a thread really works: spinning would slow it down.
            await anyio.sleep(0.001)

    async def _settle_asyncio(self) -> None:
        # anyio.wait_all_tasks_blocked looks every 0.1 s here; this looks at every turn of the loop.
        loop, this = asyncio.get_running_loop(), asyncio.current_task()
        quiet = 0
        self._settling.add(this)
        try:
            while quiet < _QUIET_TURNS:
                await anyio.lowlevel.checkpoint()
                if not getattr(loop, "_ready", True):
                    return  # whatever can run has an entry there
                others = asyncio.all_tasks(loop) - self._settling
                quiet = 0 if any(map(_can_run, others)) else quiet + 1
        finally:
            self._settling.discard(this)

    def _threads_work(self) -> bool:
        limiters = (anyio.to_thread.current_default_thread_limiter(), *self._watched)
        return self._busy > 0 or any(limiter.borrowed_tokens for limiter in limiters)

    def __repr__(self) -> str:
        return f"TestClock({self.now().isoformat()}, {self.sleeping} sleeping)"


def _nanos(seconds: float) -> int:
    """Return *seconds* in whole nanoseconds, so that 0.1 and 0.2 make 0.3."""
    if seconds < 0:
        raise ValueError(f"Time cannot go back by {-seconds} s; the time of day can: shift_wall.")
    return round(seconds * _NANOS)


def _on_trio() -> bool:
    trio = sys.modules.get("trio")
    return trio is not None and bool(trio.lowlevel.in_trio_run())


def _can_run(task: asyncio.Task[object]) -> bool:
    waiter = getattr(task, "_fut_waiter", None)
    return waiter is None or bool(waiter.done())
