"""The kit of the contract `executor`: subclass `ExecutorConformance`, give it an executor."""
# ruff: noqa: D102, ASYNC110, ASYNC240
# The name of a test says what it proves; other processes tell by files alone what they do.

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import anyio
import pytest

from stageflow.codec import Codec
from stageflow.contracts.executor import (
    Call,
    ExecutionTimeoutError,
    Executor,
    ExecutorCapabilities,
    ExecutorClosedError,
    RemoteError,
    TargetError,
    UnsendableResultError,
    WorkerCrashedError,
    run_in,
)
from stageflow.testing import _executor_bodies as bodies
from stageflow.testing.conformance import ConformanceKit, all_at_once, raising, same_value

__all__ = ("ExecutorConformance",)

# Long enough for any machine; what is waited for comes sooner.
_PATIENCE = 30.0


class ExecutorConformance(ConformanceKit):
    """Tests every clause of `Executor` and of the capabilities that are declared.

    Tests of what is stopped look at processes of this machine; override them for another one.

    Attributes:
        short: Seconds after which a call that takes too long is timed out.
        dying: Seconds that a call or a process which was ended may take to be gone.
    """

    contracts = (Executor,)
    capabilities: ClassVar[ExecutorCapabilities] = ExecutorCapabilities()
    short: ClassVar[float] = 0.05
    dying: ClassVar[float] = 5.0

    @pytest.fixture
    async def executor(self) -> Any:
        """Give an executor of two workers or more; every author overrides this."""
        raise NotImplementedError("override the fixture `executor`: yield an Executor")

    async def test_it_has_the_shape_of_its_contract(self, executor: Any) -> None:
        self.check_shape(executor)

    async def test_ex1_the_result_is_what_the_function_returns(self, executor: Any) -> None:
        for value in (None, 1, "naïve", b"\0" * 100_000, ("a", {1}), date(2025, 1, 31)):
            found = await run_in(executor, bodies.give, value, named=value)
            assert same_value(found, [(value,), {"named": value}]), f"{value!r} became {found!r}"
        raw = await executor.execute(Call.of(bodies.give, ["a"]))
        assert type(raw) is bytes, f"execute returned {type(raw).__name__}"
        assert Codec.default().decode(raw) == [("a",), {}], f"execute returned {raw!r}"

    async def test_ex2_a_function_may_be_async(self, executor: Any) -> None:
        for function in (bodies.give_later, bodies.later):
            found = await run_in(executor, function, 1)
            assert same_value(found, [(1,), {}]), f"{function.__name__} gave {found!r}"

    async def test_ex3_what_a_function_raises_is_raised(self, executor: Any) -> None:
        for _ in range(2):
            (error,) = await all_at_once([lambda: run_in(executor, bodies.boil_over, "it is hot")])
            if not self.capabilities.isolated:
                assert isinstance(error, bodies.Boiled), f"raised was {error!r}"
                assert error.args == ("it is hot",), f"the error has become {error!r}"
                continue
            assert isinstance(error, RemoteError), f"raised was {error!r}"
            told = (error.error_type, error.error_message)
            assert told == (f"{bodies.__name__}.Boiled", "it is hot"), f"told is {told}"
            assert "boil_over" in error.remote_traceback, "nothing tells where it was raised"
            assert error.retryable is False, "an unknown error is worth no other attempt"

    async def test_ex4_a_result_that_cannot_be_stored_raises(self, executor: Any) -> None:
        for _ in range(2):
            with raising(UnsendableResultError, "returning an object()"):
                await run_in(executor, bodies.give_unstorable)

    async def test_ex5_a_target_that_is_not_there_raises(self, executor: Any) -> None:
        for target in ("no_such_module:f", f"{bodies.__name__}:no_such_function"):
            error = None
            with raising(TargetError, f"the target {target!r}"):
                try:
                    await executor.execute(Call(target=target, payload=Call.of("a:b").payload))
                except TargetError as raised:
                    error = raised
                    raise
            assert error is not None
            assert error.target == target, f"told is {error.target!r}"

    async def test_ex6_calls_at_once_have_their_own_results(self, executor: Any) -> None:
        def call(number: int) -> Callable[[], Any]:
            return lambda: run_in(executor, bodies.give_later, number)

        found = await all_at_once(map(call, range(12)))
        assert found == [[(number,), {}] for number in range(12)], f"came back: {found}"

    async def test_ex6_calls_are_under_way_at_the_same_time(self, executor: Any) -> None:
        if not self.capabilities.timely:
            pytest.skip("a function that blocks would hold up the other")
        with _folder() as folder:
            found = await all_at_once(
                [
                    lambda: run_in(executor, bodies.meet, str(folder), "a", "b"),
                    lambda: run_in(executor, bodies.meet, str(folder), "b", "a"),
                ]
            )
        assert found == ["a", "b"], f"came back: {found}"

    async def test_ex7_a_call_that_takes_too_long_is_cancelled(self, executor: Any) -> None:
        await run_in(executor, bodies.give)  # whatever has to begin has begun
        with _folder() as folder:
            with raising(ExecutionTimeoutError, "a function that waits for ever"):
                await run_in(executor, bodies.wait_for_ever, str(folder), timeout=self.short)
            self._check_ended(folder)
        assert await run_in(executor, bodies.give, timeout=_PATIENCE) == [(), {}]

    async def test_ex7_a_cancelled_call_is_over(self, executor: Any) -> None:
        with _folder() as folder:
            async with anyio.create_task_group() as group:
                group.start_soon(run_in, executor, bodies.wait_for_ever, str(folder))
                await _sign(folder, "waiting-")
                group.cancel_scope.cancel()
            self._check_ended(folder)
        assert await run_in(executor, bodies.give) == [(), {}]

    async def test_ex8_a_function_that_blocks_is_given_up_on_time(self, executor: Any) -> None:
        self.needs("timely")
        await run_in(executor, bodies.give)
        with _folder() as folder:
            with anyio.fail_after(_PATIENCE):
                with raising(ExecutionTimeoutError, "a function that blocks"):
                    await run_in(executor, bodies.block, str(folder), timeout=self.short)
                async with anyio.create_task_group() as group:
                    group.start_soon(run_in, executor, bodies.block, str(folder))
                    await _sign(folder, "pid-")
                    group.cancel_scope.cancel()
            (folder / "go").touch()  # for one that was given up and goes on

    async def test_ex9_a_worker_that_ends_is_told_of(self, executor: Any) -> None:
        self.needs("isolated")
        for how, exit_code in (("signal", -9), ("exit", 7)):
            calls = [(bodies.crash, how), (bodies.give, 1)]
            crashed, other = await all_at_once(partial(run_in, executor, *call) for call in calls)
            assert isinstance(crashed, WorkerCrashedError), f"{how}: it gave {crashed!r}"
            assert crashed.retryable, "it is worth another attempt"
            assert crashed.exit_code in {exit_code, None}, f"{how}: told is {crashed.exit_code}"
            assert other == [(1,), {}], f"another call gave {other!r}"
            assert await run_in(executor, bodies.give, 2) == [(2,), {}]

    async def test_ex10_what_a_function_writes_disturbs_nothing(self, executor: Any) -> None:
        self.needs("isolated")
        for text in ("some text\n", "\0\0\0\7", "x" * 100_000):
            found = await run_in(executor, bodies.noise, text)
            assert found == "", f"it read {found[:80]!r}"
            assert await run_in(executor, bodies.give, text) == [(text,), {}]

    async def test_ex11_workers_are_used_again(self, executor: Any) -> None:
        self.needs("isolated")
        first = await run_in(executor, bodies.process_id)
        assert first != os.getpid(), "the function ran in this process"
        with raising(RemoteError, "an error"):
            await run_in(executor, bodies.boil_over, "and goes on")
        again = [await run_in(executor, bodies.process_id) for _ in range(3)]
        assert again == [first] * 3, f"several workers took turns: {[first, *again]}"

    async def test_ex12_what_was_given_up_has_been_stopped(self, executor: Any) -> None:
        self.needs("kills")
        await run_in(executor, bodies.give)
        with _folder() as folder:
            async with anyio.create_task_group() as group:
                group.start_soon(run_in, executor, bodies.block_with_child, str(folder))
                await _sign(folder, "pid-", 2)
                group.cancel_scope.cancel()
            assert await _processes(folder, self.dying) == [], (
                "it goes on, or what it has started does"
            )
        with _folder() as folder:
            with raising(ExecutionTimeoutError, "a function that blocks"):
                await run_in(executor, bodies.block, str(folder), timeout=self.short)
            assert await _processes(folder, self.dying) == [], (
                "a function that was timed out goes on"
            )

    async def test_ex13_a_closed_executor_refuses_every_call(self, executor: Any) -> None:
        await run_in(executor, bodies.give)
        await executor.aclose()
        await executor.aclose()
        with raising(ExecutorClosedError, "a call after aclose"):
            await run_in(executor, bodies.give)

    async def test_ex13_closing_ends_calls_under_way(self, executor: Any) -> None:
        results: list[Any] = []

        async def call(function: Any, *args: Any) -> None:
            results.extend(await all_at_once([lambda: run_in(executor, function, *args)]))

        with _folder() as folder:
            async with anyio.create_task_group() as group:
                group.start_soon(call, bodies.wait_for_ever, str(folder))
                await _sign(folder, "waiting-")
                with anyio.fail_after(_PATIENCE):
                    await executor.aclose()
                with anyio.move_on_after(self.dying):
                    while not results:
                        await anyio.sleep(0.002)
                group.cancel_scope.cancel()
            assert results, "a call goes on after closing"
            assert isinstance(results[0], ExecutorClosedError), f"the call gave {results[0]!r}"
            self._check_ended(folder)

    async def test_ex13_closing_leaves_no_process(self, executor: Any) -> None:
        self.needs("isolated")
        with _folder() as folder:
            worker = await run_in(executor, bodies.process_id)
            async with anyio.create_task_group() as group:
                group.start_soon(all_at_once, [lambda: run_in(executor, bodies.block, str(folder))])
                await _sign(folder, "pid-")
                await executor.aclose()
            (folder / f"pid-{worker}").touch()
            assert await _processes(folder, self.dying) == [], "a process is left after closing"

    async def test_ex14_capabilities_are_declared_as_they_are(self, executor: Any) -> None:
        declared = ExecutorCapabilities.of(executor)
        assert declared == self.capabilities, f"the executor declares {declared}"

    def _check_ended(self, folder: Path) -> None:
        """Fail if a function that waited goes on."""
        if self.capabilities.isolated:
            waiting = [int(path.name[8:]) for path in folder.glob("waiting-*")]
            assert not any(map(_is_alive, waiting)), "what waited goes on"
        else:
            assert (folder / "cancelled").exists(), "what waited was not cancelled"


@contextmanager
def _folder() -> Iterator[Path]:
    with TemporaryDirectory() as name:
        yield Path(name)


async def _sign(folder: Path, prefix: str, number: int = 1) -> None:
    """Wait until so many files with that prefix have come."""
    with anyio.fail_after(_PATIENCE):
        while len(list(folder.glob(f"{prefix}*"))) < number:
            await anyio.sleep(0.002)


async def _processes(folder: Path, patience: float) -> list[int]:
    """Return which of the processes that have left their id are alive; those dying may die."""
    found = [int(path.name[4:]) for path in folder.glob("pid-*")]
    with anyio.move_on_after(patience):
        while any(map(_is_alive, found)):
            await anyio.sleep(0.002)
    return [pid for pid in found if _is_alive(pid)]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's
    try:  # a zombie is gone, and waits for whoever adopted it
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1][1] != "Z"
    except (OSError, IndexError):
        return True
