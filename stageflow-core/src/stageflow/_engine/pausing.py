"""PauseGate: holds a run between its stages, and lets it go on."""

from __future__ import annotations

import threading
from functools import partial

import anyio

from stageflow._engine.threads import LoopDoor

__all__ = ("PauseGate",)


class PauseGate:
    """A gate that is open until somebody closes it; safe from any thread and any event loop."""

    __slots__ = ("_closed", "_lock", "_waiting")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._waiting: list[partial[None]] = []

    @property
    def is_closed(self) -> bool:
        """Whether whoever comes to the gate has to wait."""
        return self._closed

    def close(self) -> None:
        """Hold whoever comes from now on; what is under way goes on."""
        self._closed = True

    def open(self) -> None:
        """Let everybody through, those who wait already included."""
        with self._lock:
            self._closed = False
            waiting, self._waiting = self._waiting, []
        for wake in waiting:
            wake()

    async def wait(self) -> None:
        """Return once the gate is open."""
        while True:
            opened = anyio.Event()
            wake = partial(LoopDoor().call, opened.set)
            with self._lock:
                if not self._closed:
                    return
                self._waiting.append(wake)
            try:
                await opened.wait()
            finally:
                with self._lock:
                    if wake in self._waiting:
                        self._waiting.remove(wake)

    def __repr__(self) -> str:
        return f"<PauseGate {'closed' if self._closed else 'open'}>"
