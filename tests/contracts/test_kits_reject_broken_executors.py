"""The kit of executors notices each broken clause."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from stageflow.builtin.executors import InlineExecutor, ThreadExecutor
from stageflow.builtin.process_executor import ProcessExecutor
from stageflow.codec import Codec, UnencodableValueError
from stageflow.contracts.executor import (
    ExecutionTimeoutError,
    Executor,
    ExecutorCapabilities,
    ExecutorClosedError,
    ExecutorError,
    RemoteError,
    TargetError,
    UnsendableResultError,
    WorkerCrashedError,
    load_call,
)
from stageflow.testing import _executor_bodies
from stageflow.testing.conformance import clauses_of, failed_clauses
from stageflow.testing.executor import ExecutorConformance

pytestmark = pytest.mark.anyio


class Kit(ExecutorConformance):
    """For executors in this process."""

    dying = 0.1


class TimelyKit(ExecutorConformance):
    capabilities = ThreadExecutor.capabilities


class IsolatedKit(ExecutorConformance):
    capabilities = ProcessExecutor.capabilities


class GivesTextForBytes(InlineExecutor):
    """EX-1"""

    async def execute(self, call, *, timeout=None):
        return (await super().execute(call, timeout=timeout)).decode()


class AwaitsNothing(InlineExecutor):
    """EX-2"""

    async def execute(self, call, *, timeout=None):
        if call.target.endswith(":later"):
            raise UnsendableResultError(call.target, "it is a coroutine")
        return await super().execute(call, timeout=timeout)


class WrapsWhatIsRaised(InlineExecutor):
    """EX-3"""

    async def execute(self, call, *, timeout=None):
        try:
            return await super().execute(call, timeout=timeout)
        except ExecutorError:
            raise
        except Exception as error:
            raise RemoteError(call.target, error_type="Error", error_message=str(error)) from error


class RaisesWhatTheCodecRaises(InlineExecutor):
    """EX-4"""

    async def execute(self, call, *, timeout=None):
        try:
            return await super().execute(call, timeout=timeout)
        except UnsendableResultError as error:
            raise UnencodableValueError((("", error.reason),), hint="") from error


class RaisesWhatImportingRaises(InlineExecutor):
    """EX-5"""

    async def execute(self, call, *, timeout=None):
        try:
            return await super().execute(call, timeout=timeout)
        except TargetError as error:
            raise ImportError(error.target) from error


class MixesResultsUp(InlineExecutor):
    """EX-6"""

    def __init__(self):
        super().__init__()
        self._under_way = 0

    async def execute(self, call, *, timeout=None):
        self._under_way += 1
        try:
            result = await super().execute(call, timeout=timeout)
        finally:
            self._under_way -= 1
        return Codec.default().encode([(0,), {}]) if self._under_way == 5 else result


class OneAtATime(ThreadExecutor):
    """EX-6"""

    def __init__(self):
        super().__init__(max_workers=1)


class MinesNoTimeout(InlineExecutor):
    """EX-7"""

    async def execute(self, call, *, timeout=None):
        with anyio.move_on_after(timeout):
            return await super().execute(call)
        raise ExecutorError("It took too long.", target=call.target)


class LetsItGoOn(InlineExecutor):
    """EX-7"""

    async def execute(self, call, *, timeout=None):
        if timeout is None or not call.target.endswith(":wait_for_ever"):
            return await super().execute(call, timeout=timeout)
        await anyio.lowlevel.checkpoint()
        raise ExecutionTimeoutError(call.target, 1.0)


class WaitsForThreads(ThreadExecutor):
    """EX-8"""

    async def execute(self, call, *, timeout=None):
        if call.target.endswith(":block"):
            raise ExecutorError("It took too long.", target=call.target)
        return await super().execute(call, timeout=timeout)


class SaysNothingOfCrashes(ProcessExecutor):
    """EX-9"""

    async def execute(self, call, *, timeout=None):
        try:
            return await super().execute(call, timeout=timeout)
        except WorkerCrashedError as error:
            raise ExecutorError("It did not work.", target=call.target) from error


class LosesWhatIsPrinted(ProcessExecutor):
    """EX-10"""

    async def execute(self, call, *, timeout=None):
        if call.target.endswith(":noise"):
            raise WorkerCrashedError(call.target, None)
        return await super().execute(call, timeout=timeout)


class StartsAnew(ProcessExecutor):
    """EX-11"""

    async def execute(self, call, *, timeout=None):
        result = await super().execute(call, timeout=timeout)
        while self._idle:
            await self._idle.pop().end()
        return result


class StaysOpen(InlineExecutor):
    """EX-13"""

    async def aclose(self):
        await anyio.lowlevel.checkpoint()
        self._underway.is_closed = False


class IgnoresWhatIsUnderWay(InlineExecutor):
    """EX-13"""

    async def execute(self, call, *, timeout=None):
        if call.target.endswith(":wait_for_ever") and timeout is None:
            try:
                return await super().execute(call)
            except ExecutorClosedError as error:
                raise ExecutorError("It is over.", target=call.target) from error
        return await super().execute(call, timeout=timeout)


class PromisesTooMuch(InlineExecutor):
    """EX-14"""

    capabilities = ExecutorCapabilities(timely=True)


IN_PROCESS = [
    GivesTextForBytes,
    AwaitsNothing,
    WrapsWhatIsRaised,
    RaisesWhatTheCodecRaises,
    RaisesWhatImportingRaises,
    MixesResultsUp,
    MinesNoTimeout,
    LetsItGoOn,
    StaysOpen,
    IgnoresWhatIsUnderWay,
    PromisesTooMuch,
]
TIMELY = [OneAtATime, WaitsForThreads]
ISOLATED = [SaysNothingOfCrashes, LosesWhatIsPrinted, StartsAnew]


def test_every_clause_has_a_test():
    clauses = clauses_of(Executor)
    numbers = (f"EX-{number}" for number in count(1))
    assert sorted(clauses) == sorted(next(numbers) for _ in clauses)
    assert Kit.proofs().keys() == clauses.keys()
    broken = (*IN_PROCESS, *TIMELY, *ISOLATED, LeavesItRunning)
    assert {each.__doc__ for each in broken} == clauses.keys()


async def test_a_good_executor_fails_nothing():
    assert await failed_clauses(Kit, InlineExecutor) == {}
    assert await failed_clauses(TimelyKit, ThreadExecutor) == {}


@pytest.mark.parametrize("broken", IN_PROCESS, ids=lambda broken: broken.__name__)
async def test_a_broken_executor_fails_its_clause(broken):
    failures = await failed_clauses(Kit, broken)
    assert list(failures) == [broken.__doc__], failures


@pytest.mark.parametrize("broken", TIMELY, ids=lambda broken: broken.__name__)
async def test_a_broken_executor_of_threads_fails_its_clause(broken, monkeypatch):
    monkeypatch.setattr(_executor_bodies, "PATIENCE", 0.05)
    test = {"EX-6": "test_ex6_calls_are_under_way_at_the_same_time"}.get(
        broken.__doc__, "test_ex8_a_function_that_blocks_is_given_up_on_time"
    )
    with pytest.raises(AssertionError):
        await getattr(TimelyKit(), test)(broken())


class LeavesItRunning(InlineExecutor):
    """EX-12"""

    async def execute(self, call, *, timeout=None):
        body = load_call(call)
        if call.target.endswith(":block_with_child"):
            for pid in (os.getpid(), 1):
                (Path(body.args[0]) / f"pid-{pid}").touch()
            await anyio.sleep_forever()
        return await super().execute(call, timeout=timeout)


async def test_what_goes_on_fails_the_clause_of_what_was_stopped():
    class Killing(ExecutorConformance):
        capabilities = ExecutorCapabilities(kills=True)
        dying = 0.0

    with pytest.raises(AssertionError, match="it goes on"):
        await Killing().test_ex12_what_was_given_up_has_been_stopped(LeavesItRunning())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("broken", "test"),
    [
        (SaysNothingOfCrashes, "test_ex9_a_worker_that_ends_is_told_of"),
        (LosesWhatIsPrinted, "test_ex10_what_a_function_writes_disturbs_nothing"),
        (StartsAnew, "test_ex11_workers_are_used_again"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_a_broken_executor_of_processes_fails_its_clause(broken, test):
    async with broken(max_workers=2) as executor:
        with pytest.raises((AssertionError, WorkerCrashedError)):
            await getattr(IsolatedKit(), test)(executor)
