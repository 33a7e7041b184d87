"""Clock: the one source of time in a run, so that a test can be its master.

A clock is injected, not discovered: it has no entry-point group and no version.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

import anyio

__all__ = ("Clock", "SystemClock")


class Clock(Protocol):
    """What time it is, how much has passed, and how to wait.

    Nothing in Stageflow reads the time or waits for it in any other way.
    """

    def now(self) -> datetime:
        """Return the time of day, aware and in UTC; it jumps when the host's clock is set."""
        ...

    def monotonic(self) -> float:
        """Return seconds since a fixed but arbitrary instant; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return once *seconds* have passed; none or fewer have passed already.

        Always a checkpoint; a cancelled call has no effect.
        """
        ...


class SystemClock:
    """The clock of the host and of the running event loop."""

    __slots__ = ()

    def now(self) -> datetime:
        """Return the current UTC time."""
        return datetime.now(UTC)

    # Seconds of the finest clock that never goes back; read several times for each stage, so
    # that a method around it would cost more than the clock.
    monotonic = staticmethod(time.perf_counter)

    async def sleep(self, seconds: float) -> None:
        """Let the event loop do other things for *seconds*."""
        await anyio.sleep(max(0.0, seconds))

    def __repr__(self) -> str:
        return "SystemClock()"
