"""Batches whose calls are all decided on before one of them runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

__all__ = ("Batch", "Turn")


class _Gate:
    """Opens when everybody has come, or when somebody opens it."""

    def __init__(self, missing: int) -> None:
        self._missing = missing
        self._opened = anyio.Event()

    def come(self) -> None:
        self._missing -= 1
        if self._missing <= 0:
            self._opened.set()

    def open(self) -> None:
        self._opened.set()

    async def wait(self) -> None:
        await self._opened.wait()


class Batch:
    """Lets a run leave memory while its calls are decided on, without one of them half done.

    All calls ask first; then those that have to wait do so; then all run. Where the run cannot
    leave memory, each call runs as soon as it is decided on itself.

    Args:
        calls: How many calls there are.
    """

    def __init__(self, calls: int) -> None:
        self.asked = _Gate(calls)
        self.decided = _Gate(calls)
        # All decisions are needed, so that one after the other is waited for: a run that leaves
        # memory is woken for each of these waits.
        self.waiting = anyio.Lock()
        self.has_left = False


class Turn:
    """The way of one call through its batch."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._came_to: list[_Gate] = []

    @property
    def has_left(self) -> bool:
        """Whether the run has left memory, so that no call of the batch is over."""
        return self._batch.has_left

    async def ask(self) -> None:
        """Return when all calls have asked what they have to."""
        self._come(self._batch.asked)
        await self._batch.asked.wait()

    @asynccontextmanager
    async def waiting(self) -> AsyncIterator[None]:
        """Wait alone within the block, and notice there that the run leaves memory."""
        try:
            async with self._batch.waiting:
                yield
        except BaseException as stopped:
            # Whoever goes to wait elsewhere raises neither an error nor a cancellation.
            if not isinstance(stopped, Exception | anyio.get_cancelled_exc_class()):
                self._batch.has_left = True
            raise

    def go_alone(self) -> None:
        """Have every call of the batch run as soon as it is decided on itself."""
        self._batch.decided.open()

    async def run(self) -> None:
        """Return when the call may run."""
        self._come(self._batch.asked)
        self._come(self._batch.decided)
        await self._batch.decided.wait()

    def end(self) -> None:
        """Let nobody wait for this call any more."""
        self._come(self._batch.asked)
        self._come(self._batch.decided)

    def _come(self, gate: _Gate) -> None:
        if gate not in self._came_to:
            self._came_to.append(gate)
            gate.come()
