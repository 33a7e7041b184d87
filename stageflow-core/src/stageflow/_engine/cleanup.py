"""What must happen when something ends, however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import anyio

from stageflow._engine.threads import runs_on_asyncio
from stageflow.contracts.logs import get_logger
from stageflow.errors import RunError, StageflowError

__all__ = ("CleanupRegistry", "CleanupTimeoutError", "cleanup_on_cancel", "run_with_cleanup")

T = TypeVar("T")

_log = get_logger(__name__)
_LEAST_SECONDS = 0.01
_BLOCK_SECONDS = 10.0


class CleanupTimeoutError(RunError, TimeoutError):
    """A clean-up took longer than its share of the time, and was given up.

    Attributes:
        cleanup: Its name.
        timeout: Its share, in seconds.
    """

    code = "SF370"

    def __init__(self, cleanup: str, timeout: float) -> None:
        super().__init__(
            f"Clean-up {cleanup!r} did not end within {timeout:.3g} s, its share of the time that"
            " all clean-ups have together, and was given up.",
            hint="See whether what it was to free is free. Bound what it waits for, or allow"
            " more time with `cleanup_timeout`.",
        )
        self.cleanup = cleanup
        self.timeout = timeout


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
        for entry in tuple(self._callbacks):
            if entry[1] == callback:
                # It may be run at this moment, if this is another thread.
                with contextlib.suppress(ValueError):
                    self._callbacks.remove(entry)
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
            The names of those that completed, and the names and errors of those that did not;
            the error of one that took too long is a `CleanupTimeoutError`.

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
                await _call_within(max(_LEAST_SECONDS, share), label, callback)
            except BaseException as error:  # noqa: BLE001 - the others still run
                failed.append((label, error))
                shown = str(error) if isinstance(error, StageflowError) else repr(error)
                _log.warning("cleanup.failed", cleanup=label, error=shown)
                if not isinstance(error, Exception) and not _came_from_within(error):
                    fatal = error
            else:
                completed.append(label)
        if fatal is not None:
            raise fatal
        return completed, failed


@contextlib.asynccontextmanager
async def cleanup_on_cancel(
    cleanup: Callable[[], Any], *, name: str | None = None
) -> AsyncIterator[None]:
    """Call *cleanup* when the block ends: by itself, by an error or by a cancellation.

    A cancellation waits for it, 10 seconds at most. What it raises is raised after a block that
    ended by itself, and is a note to the error of any other; that it took too long is only
    logged.

    Args:
        cleanup: Takes nothing; what it returns is awaited if it can be.
        name: What to call it in reports.
    """
    async with _cleaned_up(cleanup, name, _BLOCK_SECONDS):
        yield


async def run_with_cleanup(
    coro: Awaitable[T], cleanup: Callable[[], Any], *, cleanup_timeout: float = 5.0
) -> T:
    """Return what *coro* gives, and call *cleanup* when it has ended, however it ended.

    What the clean-up raises is raised if *coro* succeeded, and is a note to its error otherwise;
    that it took too long is only logged.

    Args:
        coro: What is to be done.
        cleanup: Takes nothing; what it returns is awaited if it can be.
        cleanup_timeout: Seconds that it may take; a cancellation of the caller waits for it.

    Raises:
        BaseException: What *coro* raised, or else what *cleanup* raised.
    """
    async with _cleaned_up(cleanup, None, cleanup_timeout):
        return await coro


@contextlib.asynccontextmanager
async def _cleaned_up(
    cleanup: Callable[[], Any], name: str | None, timeout: float
) -> AsyncIterator[None]:
    registry = CleanupRegistry()
    registry.register(cleanup, name=name)
    try:
        yield
    except BaseException as error:
        for label, failure in await _failures(registry, timeout):
            error.add_note(f"Its clean-up {label!r} failed: {failure!r}")
        raise
    for _, failure in await _failures(registry, timeout):
        if not isinstance(failure, CleanupTimeoutError):
            raise failure


async def _failures(registry: CleanupRegistry, timeout: float) -> list[tuple[str, BaseException]]:
    return (await registry.run_all(timeout=timeout))[1]


async def _call_within(timeout: float, label: str, callback: Callable[[], Any]) -> None:
    with anyio.move_on_after(timeout, shield=True) as scope:
        value = callback()
        if inspect.isawaitable(value):
            await value
    if scope.cancelled_caught:
        raise CleanupTimeoutError(label, timeout)


def _came_from_within(error: BaseException) -> bool:
    """Say whether *error* is the cancellation of something that a callback waited for.

    Nothing else is left under a shield, except that somebody cancels the asyncio task itself.
    """
    if not isinstance(error, (asyncio.CancelledError, anyio.get_cancelled_exc_class())):
        return False
    task = asyncio.current_task() if runs_on_asyncio() else None
    return task is None or not task.cancelling()
