"""Calling handlers: in the loop or in a thread, within their time, and never too many at once."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.to_thread

from stageflow.tools._limits import ConcurrencyLimiter

if TYPE_CHECKING:
    from stageflow.contracts import Clock

__all__ = ("HandlerCancelledError", "HandlerTimeoutError", "call_handler", "takes_context")

T = TypeVar("T")


class HandlerCancelledError(RuntimeError):
    """What a handler waited for was cancelled, though nobody has cancelled its call."""


class HandlerTimeoutError(TimeoutError):
    """A handler did not end in time."""


def takes_context(handler: Callable[..., Any]) -> bool:
    """Say whether a handler has a second parameter, which is for the context."""
    try:
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(positional) < 2:
        return False
    second = positional[1]
    return second.default is second.empty or second.name in {"ctx", "context"}


async def call_handler(
    handler: Callable[..., Any],
    given: Any,
    ctx: Any,
    *,
    on_start: Callable[[], Awaitable[object]] | None = None,
    limiter: ConcurrencyLimiter | None = None,
    timeout_seconds: float | None = None,
    clock: Clock | None = None,
) -> Any:
    """Return what a handler gives.

    Args:
        handler: Takes *given*, and *ctx* if it has a second parameter. A coroutine function runs
            in the event loop, anything else in a worker thread; an awaitable result is awaited.
        given: The input.
        ctx: The context.
        on_start: Awaited before the handler, once it has a place; if it raises, the handler is
            not called.
        limiter: A place of it is taken for as long as the handler works.
        timeout_seconds: How long it may take, once it has a place.
        clock: Measures that.

    Raises:
        HandlerCancelledError: What it waited for was cancelled, though the call was not.
        HandlerTimeoutError: It did not end in time. A thread that still works is given up; it
            keeps its place until it ends.
        Exception: What the handler or *on_start* raised.
    """
    call = partial(handler, given, ctx) if takes_context(handler) else partial(handler, given)
    if limiter is not None:
        await limiter.acquire()
    release = _nothing if limiter is None else limiter.release
    if on_start is not None:
        try:
            await on_start()
        except BaseException:
            release()
            raise
    work = partial(_in_loop if _is_async(handler) else _in_thread, call, release)
    if timeout_seconds is None or clock is None:
        return await _unless_cancelled_within(work)
    return await _within(timeout_seconds, clock, partial(_unless_cancelled_within, work))


def _nothing() -> None:
    """Release nothing: there is no limit."""


def _is_async(handler: Any) -> bool:
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
        getattr(handler, "__call__", None)  # noqa: B004 - an instance whose call is a coroutine
    )


async def _unless_cancelled_within(work: Callable[[], Awaitable[T]]) -> T:
    # Whoever runs the call would take a handler's own cancellation for one of the call.
    try:
        return await work()
    except asyncio.CancelledError as error:
        if _is_cancelled_from_outside():
            raise
        raise HandlerCancelledError("what it waited for was cancelled") from error


def _is_cancelled_from_outside() -> bool:
    if anyio.get_cancelled_exc_class() is not asyncio.CancelledError:
        return False
    task = asyncio.current_task()
    cancelled = task is not None and task.cancelling() > 0
    return cancelled or anyio.current_effective_deadline() == float("-inf")


async def _in_loop(call: Callable[[], Awaitable[T]], release: Callable[[], object]) -> T:
    try:
        return await call()
    finally:
        release()


async def _in_thread(call: Callable[[], Any], release: Callable[[], object]) -> Any:
    # Not handed back as a thread's result: trio refuses one that is a coroutine.
    given: list[Any] = []
    state = "waiting"
    lock = threading.Lock()

    def work() -> None:
        nonlocal state
        with lock:
            if state != "waiting":
                return
            state = "working"
        try:
            given.append(call())
        except StopIteration as error:  # a future cannot carry it
            raise RuntimeError("the handler raised StopIteration") from error
        finally:
            with lock:
                unwanted, state = state == "given up", "finished"
            release()
            if unwanted:
                _throw_away(given)

    try:
        await _run_in_thread(work)
    except BaseException:
        with lock:
            before, state = state, "given up" if state == "working" else "finished"
        if before == "waiting":
            release()
        elif before == "finished":
            _throw_away(given)
        raise
    (result,) = given
    return await result if inspect.isawaitable(result) else result


async def _run_in_thread(work: Callable[[], None]) -> None:
    # A thread that is given up must not keep one of the few places that all threads share, as it
    # would on trio: handlers that hang would stop whatever else needs a thread, such as a store.
    shared, borrower = anyio.to_thread.current_default_thread_limiter(), object()
    await shared.acquire_on_behalf_of(borrower)
    try:
        await anyio.to_thread.run_sync(
            work, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1)
        )
    finally:
        shared.release_on_behalf_of(borrower)


def _throw_away(given: list[Any]) -> None:
    # A coroutine that nobody will await complains unless it is closed.
    for value in given:
        if inspect.iscoroutine(value):
            value.close()


async def _within(seconds: float, clock: Clock, work: Callable[[], Awaitable[T]]) -> T:
    results: list[T] = []
    errors: list[Exception] = []
    expired = False

    async def expire() -> None:
        nonlocal expired
        await clock.sleep(seconds)
        expired = True
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(expire)
        try:
            results.append(await work())
        except Exception as error:  # noqa: BLE001 - raised below, outside the group
            errors.append(error)
        group.cancel_scope.cancel()
    if expired:  # a result that came all the same came too late
        raise HandlerTimeoutError
    if errors:
        raise errors[0]
    return results[0]
