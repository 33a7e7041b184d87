"""CancellationToken: one flag that says "stop", with the reason, and tells who must know."""

from __future__ import annotations

import threading
from collections.abc import Callable

from stageflow.contracts.logs import get_logger

__all__ = ("CancellationToken",)

_log = get_logger(__name__)


class CancellationToken:
    """A request to stop that is made at most once; safe from any thread."""

    __slots__ = ("_callbacks", "_lock", "_reason")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reason: str | None = None
        self._callbacks: list[Callable[[], object]] = []

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody asked to stop."""
        return self._reason is not None

    @property
    def reason(self) -> str | None:
        """Why, in the words of whoever asked first; None while nobody did."""
        return self._reason

    def cancel(self, reason: str = "cancelled") -> None:
        """Ask to stop; the first reason stays.

        Every registered callback is called once; one that raises is logged and does not keep
        the others from being called.
        """
        with self._lock:
            if self._reason is not None:
                return
            self._reason = reason
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            _call(callback)

    def on_cancel(
        self, callback: Callable[[], object], *, first: bool = False
    ) -> Callable[[], None]:
        """Call *callback* when somebody asks to stop, or now if somebody has.

        Args:
            callback: Takes nothing; is called in the thread that asks.
            first: Whether it is called before those that are registered already.

        Returns:
            A function that takes the callback back.
        """
        with self._lock:
            if self._reason is None:
                self._callbacks.insert(0 if first else len(self._callbacks), callback)
                return lambda: self._forget(callback)
        _call(callback)
        return lambda: None

    def _forget(self, callback: Callable[[], object]) -> None:
        with self._lock:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

    def __repr__(self) -> str:
        state = "open" if self._reason is None else f"cancelled: {self._reason}"
        return f"<CancellationToken {state}>"


def _call(callback: Callable[[], object]) -> None:
    try:
        callback()
    except Exception:  # noqa: BLE001 - the others must be told, too
        _log.exception("cancel.callback_failed", callback=repr(callback))
