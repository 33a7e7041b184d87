"""CleanupRegistry: what must happen when a run ends, however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable
from typing import Any

import anyio

from stageflow.contracts.logs import get_logger

__all__ = ("CleanupRegistry",)

_log = get_logger(__name__)
_LEAST_SECONDS = 0.01


class CleanupRegistry:
    """Callbacks that run last in, first out, each within its share of a time budget."""

    __slots__ = ("_callbacks",)

    def __init__(self) -> None:
        self._callbacks: list[tuple[str, Callable[[], Any]]] = []

    @property
    def pending_count(self) -> int:
        """How many callbacks wait."""
        return len(self._callbacks)

    def register(self, callback: Callable[[], Any], *, name: str | None = None) -> None:
        """Add *callback*; what it returns is awaited if it can be.

        Args:
            callback: Takes nothing.
            name: What to call it in reports; also set on it as `__cleanup_name__` if it takes
                attributes.
        """
        if name is not None:
            # A bound method or a built-in takes no attributes; the registry knows the name.
            with contextlib.suppress(AttributeError, TypeError):
                callback.__cleanup_name__ = name  # type: ignore[attr-defined]
        label = name or getattr(callback, "__cleanup_name__", None)
        label = label or getattr(callback, "__qualname__", None) or repr(callback)
        self._callbacks.append((label, callback))

    def unregister(self, callback: Callable[[], Any]) -> bool:
        """Take *callback* back and say whether it was there."""
        for position, (_, known) in enumerate(self._callbacks):
            if known == callback:
                del self._callbacks[position]
                return True
        return False

    async def run_all(
        self, *, timeout: float = 10.0
    ) -> tuple[list[str], list[tuple[str, BaseException]]]:
        """Run every callback, the last registered first, and forget them all.

        A callback that raises or takes too long does not keep the others from running, nor does
        a cancellation of the caller, which takes effect afterwards.

        Args:
            timeout: Seconds for all together; each gets an equal share of what is left, and
                at least a hundredth of a second.

        Returns:
            The names of those that completed, and the names and errors of those that did not.

        Raises:
            BaseException: The last error of a callback that is no `Exception`, such as
                `SystemExit`, once all have run.
        """
        completed: list[str] = []
        failed: list[tuple[str, BaseException]] = []
        fatal: BaseException | None = None
        ends = anyio.current_time() + timeout
        while self._callbacks:
            share = (ends - anyio.current_time()) / len(self._callbacks)
            label, callback = self._callbacks.pop()
            try:
                with anyio.fail_after(max(_LEAST_SECONDS, share), shield=True):
                    value = callback()
                    if inspect.isawaitable(value):
                        await value
            except BaseException as error:  # noqa: BLE001 - the others still run
                failed.append((label, error))
                _log.warning("cleanup.failed", cleanup=label, error=repr(error))
                if not isinstance(error, Exception) and not _came_from_within(error):
                    fatal = error
            else:
                completed.append(label)
        if fatal is not None:
            raise fatal
        return completed, failed


def _came_from_within(error: BaseException) -> bool:
    """Say whether *error* is the cancellation of something that a callback waited for.

    Nothing else is left under a shield, except that somebody cancels the asyncio task itself.
    """
    if not isinstance(error, anyio.get_cancelled_exc_class()):
        return False
    task = asyncio.current_task() if isinstance(error, asyncio.CancelledError) else None
    return task is None or not task.cancelling()
