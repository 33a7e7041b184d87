"""Deadlines: one watcher that cancels every scope whose time has come."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Protocol

import anyio

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from stageflow.contracts.clock import Clock

__all__ = ("Cancellable", "Deadline", "Deadlines", "TimeLimit")

_PRUNE_FROM = 64
# Instants are sums of rounded numbers: a clock that slept until one may stand just before it,
# and would be asked for ever to sleep for less than it can measure.
_CLOSE_SECONDS = 1e-6


class Cancellable(Protocol):
    """What a deadline cancels; most often an `anyio.CancelScope`."""

    def cancel(self) -> object:
        """Stop what is under way; must not wait."""
        ...


class Deadline:
    """One moment at which a scope is cancelled unless the deadline is closed before.

    Attributes:
        passed: Whether the moment came before the deadline was closed.
    """

    __slots__ = ("_owner", "passed", "scope", "when")

    def __init__(self, owner: Deadlines, scope: Cancellable, when: float) -> None:
        self._owner = owner
        self.scope: Cancellable | None = scope
        self.when = when
        self.passed = False

    def close(self) -> None:
        """Forget the deadline; harmless when it has passed."""
        if self.scope is not None:
            self.scope = None
            # Nobody may have noticed: the watcher cannot look while something holds the loop.
            self.passed = self._owner.closed_after(self.when)

    def __lt__(self, other: Deadline) -> bool:
        return self.when < other.when


class Deadlines:
    """All deadlines of one run, watched by one task that starts with the first of them."""

    __slots__ = ("_clock", "_closed", "_heap", "_nap", "_stopped", "_tasks", "_watching")

    def __init__(self, clock: Clock, tasks: TaskGroup) -> None:
        self._clock = clock
        self._tasks = tasks
        self._heap: list[Deadline] = []
        self._closed = 0
        self._nap: anyio.CancelScope | None = None
        self._watching = False
        self._stopped = False

    def add(self, scope: Cancellable, seconds: float) -> Deadline:
        """Cancel *scope* after *seconds* unless the returned deadline is closed before."""
        deadline = Deadline(self, scope, self._clock.monotonic() + seconds)
        heappush(self._heap, deadline)
        if not self._watching:
            self._watching = True
            self._tasks.start_soon(self._watch)
        elif self._heap[0] is deadline and self._nap is not None:
            self._nap.cancel()
        return deadline

    def closed_after(self, when: float) -> bool:
        """Say whether it is later than *when*, for a deadline that is closed now.

        Counts it, and drops the closed ones when they are the most.
        """
        self._closed += 1
        if self._closed > _PRUNE_FROM and self._closed * 2 > len(self._heap):
            self._heap = [deadline for deadline in self._heap if deadline.scope is not None]
            heapify(self._heap)
            self._closed = 0
        return self._clock.monotonic() > when + _CLOSE_SECONDS

    def stop(self) -> None:
        """Let the watcher end; no deadline passes any more."""
        self._stopped = True
        if self._nap is not None:
            self._nap.cancel()

    async def _watch(self) -> None:
        while not self._stopped and self._cancel_due():
            with anyio.CancelScope() as self._nap:
                await self._clock.sleep(self._heap[0].when - self._clock.monotonic())
            self._nap = None
        self._watching = False

    def _cancel_due(self) -> bool:
        """Cancel what is due and say whether anything is left to wait for."""
        now = self._clock.monotonic() + _CLOSE_SECONDS
        while self._heap:
            deadline = self._heap[0]
            if deadline.scope is None:
                self._closed = max(0, self._closed - 1)
            elif deadline.when <= now:
                deadline.passed = True
                deadline.scope.cancel()
                deadline.scope = None
            else:
                return True
            heappop(self._heap)
        return False


class TimeLimit:
    """The time that one attempt may take, which can begin anew while it is open."""

    __slots__ = ("_deadline", "_deadlines", "_scope", "_seconds")

    def __init__(self, deadlines: Deadlines, scope: Cancellable, seconds: float) -> None:
        self._deadlines = deadlines
        self._scope = scope
        self._seconds = seconds
        self._deadline = deadlines.add(scope, seconds)

    @property
    def passed(self) -> bool:
        """Whether the time was over before the limit was closed."""
        return self._deadline.passed

    def restart(self) -> None:
        """Let the time begin now, unless it is over already."""
        self._deadline.close()
        if not self._deadline.passed:
            self._deadline = self._deadlines.add(self._scope, self._seconds)

    def close(self) -> None:
        """Forget the limit; harmless when the time is over."""
        self._deadline.close()
