"""Core's executors that need no other process: in the event loop, and in worker threads."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import anyio
import anyio.lowlevel
import attrs

from stageflow.builtin._configured import configured_by
from stageflow.contracts.executor import (
    Call,
    ExecutionTimeoutError,
    ExecutorCapabilities,
    ExecutorClosedError,
    dump_result,
    load_call,
)

if TYPE_CHECKING:
    from stageflow.builtin.process_executor import ProcessExecutor

__all__ = (
    "InlineExecutor",
    "ProcessExecutorSettings",
    "ThreadExecutor",
    "ThreadExecutorSettings",
    "make_process_executor",
    "make_thread_executor",
)


class Underway:
    """The calls of an executor that have begun and not ended; closing cuts them off."""

    def __init__(self) -> None:
        self.is_closed = False
        self._scopes: dict[anyio.CancelScope, anyio.Event] = {}

    @asynccontextmanager
    async def call(self, target: str) -> AsyncIterator[None]:
        """Count the block among the calls under way.

        Raises:
            ExecutorClosedError: The executor is closed, or was while the block ran.
        """
        await anyio.lowlevel.checkpoint()
        if self.is_closed:
            raise ExecutorClosedError(target)
        ended = anyio.Event()
        with anyio.CancelScope() as scope:
            self._scopes[scope] = ended
            try:
                yield
            finally:
                del self._scopes[scope]
                ended.set()
        if scope.cancelled_caught:
            raise ExecutorClosedError(target)

    async def close(self) -> None:
        """Cut off what is under way, and return when all of it has ended."""
        self.is_closed = True
        endings = list(self._scopes.values())
        for scope in list(self._scopes):
            scope.cancel()
        with anyio.CancelScope(shield=True):
            for ended in endings:
                await ended.wait()
        await anyio.lowlevel.cancel_shielded_checkpoint()


@asynccontextmanager
async def limited(target: str, timeout: float | None) -> AsyncIterator[None]:
    """Allow the block so many seconds.

    Raises:
        ExecutionTimeoutError: It was cut off.
    """
    with anyio.move_on_after(timeout) as scope:
        yield
    if scope.cancelled_caught:
        assert timeout is not None
        raise ExecutionTimeoutError(target, timeout)


class InlineExecutor:
    """Executes calls in the event loop, as it is asked to.

    A function that blocks holds up the whole loop, and its time-out with it.
    """

    capabilities: ExecutorCapabilities = ExecutorCapabilities()

    def __init__(self) -> None:
        self._underway = Underway()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def execute(self, call: Call, *, timeout: float | None = None) -> bytes:
        """See `Executor.execute`."""
        async with self._underway.call(call.target), limited(call.target, timeout):
            body = load_call(call)
            result = await self._begun(body)
            if inspect.isawaitable(result):
                result = await result
            return dump_result(call, result)
        raise AssertionError("unreachable")

    async def aclose(self) -> None:
        """See `Executor.aclose`."""
        await self._underway.close()

    async def _begun(self, body: Callable[[], Any]) -> Any:
        """Return what *body* returns, which may have to be awaited."""
        await anyio.lowlevel.checkpoint()
        return body()


class ThreadExecutor(InlineExecutor):
    """Executes plain functions in worker threads, and `async` ones in the event loop.

    A thread cannot be stopped: one that is timed out or cancelled is left to itself, its result
    is thrown away, and it counts among the workers until it ends.

    Args:
        max_workers: How many threads work at once.
    """

    capabilities: ExecutorCapabilities = ExecutorCapabilities(timely=True)

    def __init__(self, *, max_workers: int = 40) -> None:
        super().__init__()
        self._max_workers = max_workers
        self._limiter: anyio.CapacityLimiter | None = None

    async def _begun(self, body: Callable[[], Any]) -> Any:
        from stageflow._engine.threads import LoopDoor, call_in_thread
        from stageflow.contracts.clock import SystemClock

        if inspect.iscoroutinefunction(getattr(body, "func", body)):
            return body()
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(self._max_workers)
        return await call_in_thread(
            lambda _: body(),
            None,
            limiter=self._limiter,
            door=LoopDoor(),
            clock=SystemClock(),
            grace=0.0,
            on_wait=_nothing,
            on_turn=_nothing,
            on_abandoned=_nothing,
        )


def _nothing() -> None:
    return None


@attrs.frozen(kw_only=True)
class ThreadExecutorSettings:
    """How many threads there are.

    Attributes:
        max_workers: How many work at once.
    """

    max_workers: int = attrs.field(default=40, validator=attrs.validators.ge(1))


@attrs.frozen(kw_only=True)
class ProcessExecutorSettings:
    """How many worker processes there are, and how they begin and end.

    Attributes:
        max_workers: How many work at once; as many as the process may use processors, unless
            given.
        start_timeout: Seconds that a worker may take to begin.
        grace: Seconds that an idle worker has to end by itself before it is killed.
    """

    max_workers: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(1))
    )
    start_timeout: float = attrs.field(default=60.0, validator=attrs.validators.gt(0))
    grace: float = attrs.field(default=2.0, validator=attrs.validators.ge(0))


@configured_by(ThreadExecutorSettings)
def make_thread_executor(settings: ThreadExecutorSettings) -> ThreadExecutor:
    """Return an executor that uses threads."""
    return ThreadExecutor(max_workers=settings.max_workers)


@configured_by(ProcessExecutorSettings)
def make_process_executor(settings: ProcessExecutorSettings) -> ProcessExecutor:
    """Return an executor that uses processes."""
    from stageflow.builtin.process_executor import ProcessExecutor

    return ProcessExecutor(
        max_workers=settings.max_workers,
        start_timeout=settings.start_timeout,
        grace=settings.grace,
    )
