"""StructuredTaskGroup: tasks that end together, and what is cleaned up after them."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import anyio
from anyio.abc import TaskGroup

from stageflow._engine.cleanup import CleanupRegistry
from stageflow._engine.errors import describe
from stageflow._engine.threads import LoopDoor
from stageflow.context.cancellation import CancellationToken
from stageflow.errors import RunError

__all__ = ("GroupTask", "StructuredTaskGroup", "TaskCancelledError", "TaskGroupClosedError")

T = TypeVar("T")

_CALLER_CANCELLED = "the caller was cancelled"


class TaskGroupClosedError(RunError, RuntimeError):
    """A task was given to a group that is not open.

    Attributes:
        task: The task's name.
    """

    code = "SF341"

    def __init__(self, task: str) -> None:
        super().__init__(
            f"The task {task!r} was given to a group that is not open.",
            hint="Create tasks inside of `async with StructuredTaskGroup() as group:`.",
        )
        self.task = task


class TaskCancelledError(RunError):
    """The result of a task was asked for, and it was cancelled or has not ended.

    Attributes:
        task: The task's name.
    """

    code = "SF342"

    def __init__(self, task: str, state: str = "was cancelled") -> None:
        super().__init__(
            f"The task {task!r} {state}, so it has no result.",
            hint="Await the task, and ask for results only of those that were not cancelled.",
        )
        self.task = task


class GroupTask(Generic[T]):
    """A task of a group. Awaiting it gives its result, or raises what it raised."""

    __slots__ = ("_coro", "_ended", "_error", "_scope", "_succeeded", "_value", "name")

    def __init__(self, coro: Coroutine[Any, Any, T], name: str) -> None:
        self.name = name
        self._coro = coro
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()
        self._error: BaseException | None = None
        self._succeeded = False
        self._value: T | None = None

    def done(self) -> bool:
        """Say whether it has ended, in whatever way."""
        return self._ended.is_set()

    def cancel(self) -> None:
        """Cancel this task alone; the others of its group go on."""
        self._scope.cancel()

    def result(self) -> T:
        """Return what the task returned.

        Raises:
            TaskCancelledError: If it was cancelled, or has not ended.
            BaseException: What it raised.
        """
        if self._error is not None:
            raise self._error
        if not self._succeeded:
            state = "was cancelled" if self.done() else "has not ended"
            raise TaskCancelledError(self.name, state)
        return self._value  # type: ignore[return-value]  # set whenever it succeeded

    async def _wait(self) -> T:
        await self._ended.wait()
        return self.result()

    def __await__(self) -> Generator[Any, Any, T]:
        return self._wait().__await__()

    async def _run(self, group: StructuredTaskGroup) -> None:
        try:
            with self._scope:
                self._value = await self._coro
                self._succeeded = True
        except BaseException as error:
            if not isinstance(error, anyio.get_cancelled_exc_class()):
                self._error = error
                group.cancel_token.cancel(f"task {self.name!r} failed: {describe(error)}")
            elif anyio.current_effective_deadline() == float("-inf"):
                group.cancel_token.cancel(_CALLER_CANCELLED)
            raise
        finally:
            self._ended.set()


class StructuredTaskGroup:
    """Tasks of which none outlives the block: `async with StructuredTaskGroup() as group:`.

    The block ends when all tasks have ended. If one of them or the block itself fails, the
    others are cancelled and awaited, and the errors are raised as an `ExceptionGroup`. Asking the
    token to stop cancels all of them, and the block ends without an error. In any case the
    clean-ups run when the last task has ended.

    Args:
        cleanup_timeout: Seconds for all clean-ups together.

    Attributes:
        cancel_token: The request to stop, safe to make from any thread. It has the reason as
            soon as anything ends the group early.
        cleanup_registry: What is to be done when the tasks have ended.
    """

    __slots__ = ("_forget", "_tasks", "_timeout", "cancel_token", "cleanup_registry")

    def __init__(self, *, cleanup_timeout: float = 10.0) -> None:
        self.cancel_token = CancellationToken()
        self.cleanup_registry = CleanupRegistry()
        self._timeout = cleanup_timeout
        self._tasks: TaskGroup | None = None

    def create_task(self, coro: Coroutine[Any, Any, T], *, name: str | None = None) -> GroupTask[T]:
        """Start *coro* as a task of the group.

        Args:
            coro: What the task does.
            name: What to call it in messages.

        Raises:
            TaskGroupClosedError: If the block has not begun or is over.
        """
        task: GroupTask[T] = GroupTask(coro, name or getattr(coro, "__qualname__", "") or "task")
        if self._tasks is None:
            coro.close()
            raise TaskGroupClosedError(task.name)
        self._tasks.start_soon(task._run, self, name=task.name)
        return task

    async def __aenter__(self) -> Self:
        tasks, door = anyio.create_task_group(), LoopDoor()
        await tasks.__aenter__()
        self._tasks = tasks
        self._forget = self.cancel_token.on_cancel(lambda: door.call(tasks.cancel_scope.cancel))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        assert self._tasks is not None
        try:
            if isinstance(error, anyio.get_cancelled_exc_class()):
                self.cancel_token.cancel(_CALLER_CANCELLED)
            elif error is not None:
                self.cancel_token.cancel(f"the block failed: {describe(error)}")
            return await self._tasks.__aexit__(kind, error, traceback)
        except anyio.get_cancelled_exc_class():
            self.cancel_token.cancel(_CALLER_CANCELLED)
            raise
        finally:
            self._tasks = None
            self._forget()
            await self.cleanup_registry.run_all(timeout=self._timeout)
