"""Deadlines: one watcher that cancels every scope whose time has come."""

from __future__ import annotations

import math
from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Protocol

import anyio

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from stageflow.contracts.clock import Clock

__all__ = ("Cancellable", "Deadlines", "TimeLimit")

_PRUNE_FROM = 64
# Instants are sums of rounded numbers: a clock that slept until one may stand just before it,
# and would be asked for ever to sleep for less than it can measure.
_CLOSE_SECONDS = 1e-6


class Cancellable(Protocol):
    """What a deadline cancels; most often an `anyio.CancelScope`."""

    def cancel(self) -> object:
        """Stop what is under way; must not wait."""
        ...


class TimeLimit:
    """A scope is cancelled unless the limit is closed within its time.

    Attributes:
        passed: Whether the time was over before the limit was closed.
        when: The moment at which it is over; infinite once the limit is closed.
    """

    __slots__ = ("_left", "_owner", "_pauses", "_scope", "_seconds", "passed", "when")

    def __init__(self, deadlines: Deadlines, scope: Cancellable, seconds: float) -> None:
        self._owner = deadlines
        self._scope = scope
        self._seconds = seconds
        self._left = seconds
        self._pauses = 0
        self.passed = False
        self.when = deadlines.watch(self, seconds)

    def close(self) -> None:
        """Forget the limit; harmless when the time is over."""
        when = self.when
        if when < math.inf:
            self.when = math.inf
            # Nobody may have noticed: the watcher cannot look while something holds the loop.
            self.passed = self._owner.closed_late(self, when)

    def restart(self) -> None:
        """Let the time begin now, unless it is over already."""
        self.close()
        if not self.passed:
            self.when = self._owner.watch(self, self._seconds)

    def pause(self) -> None:
        """Let the time stand still until `go_on` was called as often."""
        self._pauses += 1
        if self.when < math.inf:
            self._left = self.when - self._owner.now()
            self.close()

    def go_on(self) -> None:
        """Let the time that was left run on, unless it is over already or somebody else pauses."""
        self._pauses -= 1
        if not self._pauses and not self.passed:
            self.when = self._owner.watch(self, self._left)

    def expire(self) -> None:
        """Cancel the scope, for the time is over."""
        self.when = math.inf
        self.passed = True
        self._scope.cancel()


class Deadlines:
    """All deadlines of one run, watched by one task that starts with the first of them.

    Attributes:
        new_scope: Makes a scope of this event loop, which anyio would look up each time.
    """

    __slots__ = (
        "_clock",
        "_closed",
        "_heap",
        "_nap",
        "_numbers",
        "_stopped",
        "_tasks",
        "_wakes",
        "_watching",
        "new_scope",
    )

    def __init__(self, clock: Clock, tasks: TaskGroup) -> None:
        self._clock = clock
        self._tasks = tasks
        self.new_scope = type(tasks.cancel_scope)
        # The number decides between equal moments. An entry counts no more if its limit has
        # another moment by now.
        self._heap: list[tuple[float, int, TimeLimit]] = []
        self._numbers = count()
        self._closed = 0
        self._nap: anyio.CancelScope | None = None
        self._wakes = math.inf
        self._watching = False
        self._stopped = False

    def add(self, scope: Cancellable, seconds: float) -> TimeLimit:
        """Cancel *scope* after *seconds* unless the returned limit is closed before."""
        return TimeLimit(self, scope, seconds)

    def now(self) -> float:
        """Return the instant at which it is now."""
        return self._clock.monotonic()

    def watch(self, limit: TimeLimit, seconds: float) -> float:
        """Have *limit* expire after *seconds*, and return when that is."""
        when = self._clock.monotonic() + seconds
        heappush(self._heap, (when, next(self._numbers), limit))
        if not self._watching:
            self._watching = True
            self._tasks.start_soon(self._watch)
        elif when < self._wakes and self._nap is not None:
            self._nap.cancel()
        return when

    def closed_late(self, limit: TimeLimit, when: float) -> bool:
        """Say whether it is later than *when*, for a limit of that moment that is closed now.

        Drops its entry, or counts it, and drops the closed ones when they are the most.
        """
        heap = self._heap
        if heap and heap[-1][2] is limit:
            # What began last often ends first, and the last entry is free to go.
            heap.pop()
        else:
            self._closed += 1
            if self._closed > _PRUNE_FROM and self._closed * 2 > len(heap):
                heap[:] = [entry for entry in heap if entry[2].when == entry[0]]
                heapify(heap)
                self._closed = 0
        return self._clock.monotonic() > when + _CLOSE_SECONDS

    def stop(self) -> None:
        """Let the watcher end; no deadline passes any more."""
        self._stopped = True
        if self._nap is not None:
            self._nap.cancel()

    async def _watch(self) -> None:
        while not self._stopped and self._cancel_due():
            self._wakes = self._heap[0][0]
            with anyio.CancelScope() as self._nap:
                await self._clock.sleep(self._wakes - self._clock.monotonic())
            self._nap = None
        self._watching = False

    def _cancel_due(self) -> bool:
        """Cancel what is due and say whether anything is left to wait for."""
        now = self._clock.monotonic() + _CLOSE_SECONDS
        while self._heap:
            when, _, limit = self._heap[0]
            if limit.when != when:
                self._closed = max(0, self._closed - 1)
            elif when <= now:
                limit.expire()
            else:
                return True
            heappop(self._heap)
        return False
