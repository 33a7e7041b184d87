"""Deliveries: what sinks left to the run to await, finished before the run ends."""

from __future__ import annotations

import math
from collections import deque

import anyio
from anyio.abc import TaskGroup

from stageflow.events.delivery import PendingEmit

__all__ = ("Deliveries",)


class Deliveries:
    """Finishes emits in order, also while the run is stopping.

    Args:
        timeout: Seconds for which a sink that hangs may delay the end of the run.
    """

    __slots__ = ("_is_over", "_is_running", "_scope", "_timeout", "_until", "_waiting")

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._waiting: deque[PendingEmit] = deque()
        self._is_running = False
        self._is_over = False
        self._scope: anyio.CancelScope | None = None
        self._until = math.inf

    def add(self, delivery: PendingEmit) -> bool:
        """Have *delivery* finished; return whether somebody is to `start`. Safe from any thread."""
        self._waiting.append(delivery)
        if self._is_over:
            self._give_up("its run was over")
        return not self._is_over

    def start(self, tasks: TaskGroup | None) -> None:
        """See that a task finishes what is waiting.

        Before and after the time of *tasks*, the run itself does; see `finish`.
        """
        if self._waiting and not self._is_running and tasks is not None:
            self._is_running = True
            tasks.start_soon(self._run)

    def limit(self) -> None:
        """Let what is waiting take no longer than it may: the run is about to end."""
        if self._waiting or self._is_running:
            self._until = anyio.current_time() + self._timeout
            if self._scope is not None:
                self._scope.deadline = self._until

    async def finish(self) -> None:
        """Finish what is left, as far as there is time, and take nothing more."""
        if self._waiting:
            with anyio.move_on_after(self._timeout, shield=True):
                await self._drain()

    def close(self) -> None:
        """Give up what could not be finished, and whatever comes from now on."""
        self._is_over = True
        self._give_up("there was no time left to deliver it")

    def _give_up(self, reason: str) -> None:
        while self._waiting:
            self._waiting.popleft().close(reason)

    async def _run(self) -> None:
        with anyio.CancelScope(shield=True, deadline=self._until) as self._scope:
            await self._drain()
        self._is_running = False

    async def _drain(self) -> None:
        while self._waiting:
            delivery = self._waiting.popleft()
            await delivery
