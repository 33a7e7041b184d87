"""ProcessExecutor: functions run in worker processes, which can be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

import anyio
import anyio.abc
import attrs
from anyio.streams.buffered import BufferedByteReceiveStream

from stageflow._engine.threads import runs_on_asyncio
from stageflow.builtin._frames import HEADER, decode_facts, encode_facts, frame, length_of
from stageflow.builtin.executors import Underway, limited
from stageflow.contracts.executor import (
    Call,
    ExecutorCapabilities,
    ExecutorError,
    RemoteError,
    TargetError,
    UnsendableCallError,
    UnsendableResultError,
    WorkerCrashedError,
)

__all__ = ("ProcessExecutor",)

_COMMAND: Final = (sys.executable, "-m", "stageflow.builtin._worker")
_START: Final = "a worker process"
_BROKEN: Final = (
    anyio.EndOfStream,
    anyio.IncompleteRead,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    ValueError,
)


@attrs.define(eq=False)
class _Worker:
    """One process, and what it says."""

    process: anyio.abc.Process
    answers: BufferedByteReceiveStream

    @classmethod
    async def started(cls) -> _Worker:
        process = await anyio.open_process(
            _COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None,
            # Its own group, so that what a function starts can be ended with it.
            start_new_session=os.name == "posix",
        )
        assert process.stdout is not None
        return cls(process, BufferedByteReceiveStream(process.stdout))

    async def ask(self, facts: bytes, payload: bytes) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.send(frame(facts) + frame(payload))

    async def answer(self) -> tuple[dict[str, Any], bytes]:
        facts = await self._frame()
        return decode_facts(facts), await self._frame()

    async def _frame(self) -> bytes:
        length = length_of(await self.answers.receive_exactly(HEADER))
        return await self.answers.receive_exactly(length) if length else b""

    async def end(self, grace: float = 0.0) -> None:
        """Have it end by itself within the grace, or else kill it with all it has started."""
        with anyio.CancelScope(shield=True):
            if grace:
                assert self.process.stdin is not None
                await self.process.stdin.aclose()
                with anyio.move_on_after(grace):
                    await self.process.wait()
            self._kill()
            await self.process.aclose()

    def _kill(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            if os.name == "posix":
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()


class ProcessExecutor:
    """Executes functions in worker processes, each call in one of them, started when needed.

    A worker imports what it is told to, with the import path of this process, and knows nothing
    else of it. It is used again unless it was killed: by a time-out, by a cancellation, or by
    closing. What functions print comes out on standard error.

    Args:
        max_workers: How many work at once; as many as the process may use processors, unless
            given.
        start_timeout: Seconds that a worker may take to begin.
        grace: Seconds that an idle worker has to end by itself before it is killed.
    """

    capabilities: Final = ExecutorCapabilities(isolated=True, timely=True, kills=True)

    def __init__(
        self,
        *,
        max_workers: int | None = None,
        start_timeout: float = 60.0,
        grace: float = 2.0,
    ) -> None:
        self._max_workers = max_workers or _processors()
        self._start_timeout = start_timeout
        self._grace = grace
        self._underway = Underway()
        self._idle: list[_Worker] = []
        self._turns: anyio.Semaphore | None = None

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
        if self._turns is None:
            self._turns = anyio.Semaphore(self._max_workers)
        async with self._underway.call(call.target), self._turns:
            worker = await self._worker()
            try:
                async with limited(call.target, timeout):
                    facts, result = await self._asked(worker, call)
            except BaseException:
                await worker.end()
                raise
            self._idle.append(worker)
            if facts["ok"]:
                return result
            raise _error(call.target, facts)
        raise AssertionError("unreachable")

    async def aclose(self) -> None:
        """See `Executor.aclose`."""
        await self._underway.close()
        idle, self._idle = self._idle, []
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as group:
                for worker in idle:
                    group.start_soon(worker.end, self._grace)

    async def _worker(self) -> _Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.process.returncode is None:
                return worker
            await worker.end()
        worker = await _Worker.started()
        try:
            async with limited(_START, self._start_timeout):
                await worker.answer()
        except BaseException as error:
            exit_code = await self._exit_code(worker) if isinstance(error, _BROKEN) else None
            await worker.end()
            if isinstance(error, _BROKEN):
                raise WorkerCrashedError(_START, exit_code) from error
            raise
        return worker

    async def _asked(self, worker: _Worker, call: Call) -> tuple[dict[str, Any], bytes]:
        facts = encode_facts(
            target=call.target,
            path=sys.path,
            backend="asyncio" if runs_on_asyncio() else "trio",
        )
        try:
            await worker.ask(facts, call.payload)
            return await worker.answer()
        except _BROKEN as error:
            raise WorkerCrashedError(call.target, await self._exit_code(worker)) from error

    async def _exit_code(self, worker: _Worker) -> int | None:
        """Return how a worker ended by itself; None if it is still there."""
        with anyio.move_on_after(self._grace):
            await worker.process.wait()
        return worker.process.returncode

    def __repr__(self) -> str:
        return f"ProcessExecutor({self._max_workers} workers at most)"


def _error(target: str, facts: dict[str, Any]) -> ExecutorError:
    """Return the error that an answer tells of."""
    match facts["kind"]:
        case "TargetError":
            return TargetError(target, facts["reason"])
        case "UnsendableCallError":
            return UnsendableCallError(target, facts["reason"], hint=facts["hint"])
        case "UnsendableResultError":
            return UnsendableResultError(target, facts["reason"], hint=facts["hint"])
    names = ("error_type", "error_message", "error_code", "retryable", "remote_traceback")
    return RemoteError(target, **{name: facts[name] for name in names})


def _processors() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1
