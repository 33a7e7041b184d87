"""The kit of the contract `parallel_coordinator`: subclass `ParallelCoordinatorConformance`."""
# ruff: noqa: D102 - the name of a test says what it proves

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, ClassVar
from uuid import UUID

import anyio.lowlevel
import pytest

from stageflow.contracts.parallel_coordinator import (
    BranchOutcome,
    BranchStatus,
    ExecutionDeletion,
    ExecutionNotFoundError,
    ExecutionStatus,
    JoinNotReadyError,
    ParallelCoordinator,
    ParallelCoordinatorCapabilities,
    ParallelOptionError,
    UnknownBranchError,
)
from stageflow.contracts.storage import StorageClosedError
from stageflow.testing.conformance import (
    ConformanceKit,
    all_at_once,
    every_cut,
    raising,
    same_value,
)

__all__ = ("ParallelCoordinatorConformance",)

PENDING, RUNNING = ExecutionStatus.PENDING, ExecutionStatus.RUNNING
READY, COMPLETE = ExecutionStatus.READY_FOR_JOIN, ExecutionStatus.COMPLETE
FAILED = ExecutionStatus.FAILED


class _Unknown:
    """Of a type that nobody can store."""


class ParallelCoordinatorConformance(ConformanceKit):
    """Tests every clause of `ParallelCoordinator` and of the capabilities that are declared."""

    contracts = (ParallelCoordinator, ExecutionDeletion)
    capabilities: ClassVar[ParallelCoordinatorCapabilities] = ParallelCoordinatorCapabilities()

    @pytest.fixture
    async def coordinator(self) -> Any:
        """Give a coordinator that has no executions; every author overrides this."""
        raise NotImplementedError("override the fixture `coordinator`: yield one without any")

    async def test_it_has_the_shape_of_its_contract(self, coordinator: Any) -> None:
        self.check_shape(coordinator)

    async def test_pc1_creating_again_changes_nothing(self, coordinator: Any) -> None:
        first = await coordinator.create_execution("run", "asset", ["a", "b"], partition="p")
        await coordinator.complete_branch(first, "a", 1)
        again = await coordinator.create_execution("run", "asset", ["c"], partition="p")
        assert again == first, f"{first!r} was created again as {again!r}"
        await self._expect(coordinator, first, RUNNING, a="ok", b="pending")

    async def test_pc2_executions_are_apart(self, coordinator: Any) -> None:
        places: list[tuple[Any, str, Any]] = [
            *(("run", "asset", None), ("run", "asset", "None"), ("run", "asset", "")),
            *(("run", "a/b", "c"), ("run", "a", "b/c"), ("run/a", "b", "c")),
            *(("run", "asset", 1), ("run", "asset", "1"), (UUID(int=1), "asset", None)),
        ]
        ids = [
            await coordinator.create_execution(
                run, asset, map(str, range(number)), partition=partition
            )
            for number, (run, asset, partition) in enumerate(places)
        ]
        for number, (place, execution_id) in enumerate(zip(places, ids, strict=True)):
            branches = (await coordinator.status(execution_id)).branches
            assert len(branches) == number, f"{place!r} has {list(branches)}, not {number}"

    async def test_pc3_scheduling_sets_what_is_pending_running(self, coordinator: Any) -> None:
        execution_id = await coordinator.create_execution("run", "asset", ["a", "b", "c"])
        await self._expect(coordinator, execution_id, PENDING, a="pending", b="pending")
        await coordinator.complete_branch(execution_id, "a", 1)
        for _ in range(2):
            await coordinator.schedule_branches(execution_id)
            await self._expect(coordinator, execution_id, RUNNING, a="ok", b="running", c="running")

    async def test_pc3_an_execution_that_was_scheduled_runs(self, coordinator: Any) -> None:
        execution_id = await coordinator.create_execution("run", "asset", ["a"])
        await coordinator.schedule_branches(execution_id)
        await self._expect(coordinator, execution_id, RUNNING, a="running")

    async def test_pc4_the_first_outcome_stays(self, coordinator: Any) -> None:
        execution_id = await self._partial(coordinator, "a", "b", "c")
        await coordinator.complete_branch(execution_id, "a", 1)
        await coordinator.fail_branch(execution_id, "b", "broken")
        await coordinator.skip_branch(execution_id, "c", "not chosen")
        for name in "abc":
            await coordinator.fail_branch(execution_id, name, "again")
            await coordinator.skip_branch(execution_id, name, "again")
            await coordinator.complete_branch(execution_id, name, 2)
        await self._expect(coordinator, execution_id, READY, a="ok", b="failed", c="skipped")
        seen = await coordinator.execute_join(
            execution_id, lambda found: [found["a"].result, found["b"].error, found["c"].reason]
        )
        assert seen == [1, "broken", "not chosen"], f"the first outcomes are gone: {seen}"

    async def test_pc5_each_outcome_is_answered_with_the_status(self, coordinator: Any) -> None:
        execution_id = await self._partial(coordinator, "a", "b", "c")
        answers = [
            await coordinator.complete_branch(execution_id, "a", 1),
            await coordinator.fail_branch(execution_id, "b", ValueError("broken")),
            await coordinator.skip_branch(execution_id, "c"),
        ]
        assert answers == [RUNNING, RUNNING, READY], f"answered {answers}"
        for number, end in enumerate((coordinator.complete_branch, coordinator.fail_branch)):
            execution_id = await self._partial(coordinator, "a", partition=number)
            answer = await end(execution_id, "a", "outcome")
            assert answer is READY, f"its last branch has ended: {answer}"

    async def test_pc6_an_unknown_branch_raises(self, coordinator: Any) -> None:
        execution_id = await coordinator.create_execution("run", "asset", ["a"])
        for name in ("b", "A", ""):
            for end in (coordinator.complete_branch, coordinator.fail_branch):
                with raising(UnknownBranchError, f"an outcome of {name!r}"):
                    await end(execution_id, name, "outcome")
            with raising(UnknownBranchError, f"skipping {name!r}"):
                await coordinator.skip_branch(execution_id, name)
        await self._expect(coordinator, execution_id, PENDING, a="pending")

    async def test_pc7_a_required_branch_fails_the_whole(self, coordinator: Any) -> None:
        for mode in ("partial", "all_or_nothing"):
            execution_id = await coordinator.create_execution(
                "run", mode, ["must", "may", "other"], required=["must"], failure_mode=mode
            )
            answers = [
                await coordinator.fail_branch(execution_id, "may", "broken"),
                await coordinator.fail_branch(execution_id, "must", "broken"),
                await coordinator.complete_branch(execution_id, "other", 1),
            ]
            assert answers == [RUNNING, FAILED, FAILED], f"in {mode} answered {answers}"
            await self._expect(
                coordinator, execution_id, FAILED, may="failed", must="failed", other="ok"
            )

    async def test_pc7_a_skipped_branch_fails_nothing(self, coordinator: Any) -> None:
        execution_id = await coordinator.create_execution("run", "asset", ["a", "b"])
        await coordinator.skip_branch(execution_id, "a", "not chosen")
        answer = await coordinator.complete_branch(execution_id, "b", 1)
        assert answer is READY, f"skipping is no failure: {answer}"

    async def test_pc8_the_mode_says_what_is_required(self, coordinator: Any) -> None:
        for mode, expected in (("partial", RUNNING), ("all_or_nothing", FAILED)):
            execution_id = await coordinator.create_execution(
                "run", mode, ["a", "b"], failure_mode=mode
            )
            answer = await coordinator.fail_branch(execution_id, "b", "broken")
            assert answer is expected, f"in {mode} one failure gave {answer}"

    async def test_pc9_the_join_sees_results(self, coordinator: Any) -> None:
        seen: list[Mapping[str, Any]] = []
        execution_id = await coordinator.create_execution(
            "run", "asset", ["b", "a", "c", "d"], required=["a", "b"]
        )
        await coordinator.complete_branch(execution_id, "a", ("a", 1))
        await coordinator.complete_branch(execution_id, "b", None)
        await coordinator.fail_branch(execution_id, "c", "broken")
        await coordinator.skip_branch(execution_id, "d")
        await coordinator.execute_join(execution_id, seen.append)
        assert list(seen[0].items()) == [("b", None), ("a", ("a", 1))], f"it saw {seen}"

    async def test_pc9_in_partial_mode_it_sees_outcomes(self, coordinator: Any) -> None:
        seen: list[Mapping[str, Any]] = []
        execution_id = await self._partial(coordinator, "b", "a", "c")
        await coordinator.fail_branch(execution_id, "a", ValueError("broken"))
        await coordinator.complete_branch(execution_id, "b", {1, 2})
        await coordinator.skip_branch(execution_id, "c", "not chosen")

        async def join(found: Mapping[str, Any]) -> None:
            await anyio.lowlevel.checkpoint()
            seen.append(found)

        await coordinator.execute_join(execution_id, join)
        assert list(seen[0].items()) == [
            ("b", BranchOutcome(status=BranchStatus.OK, result={1, 2})),
            (
                "a",
                BranchOutcome(
                    status=BranchStatus.FAILED,
                    error={"type": "builtins.ValueError", "message": "broken"},
                ),
            ),
            ("c", BranchOutcome(status=BranchStatus.SKIPPED, reason="not chosen")),
        ], f"it saw {seen}"

    async def test_pc10_what_is_not_ready_is_not_joined(self, coordinator: Any) -> None:
        pending = await coordinator.create_execution("run", "pending", ["a", "b"])
        await coordinator.complete_branch(pending, "a", 1)
        failed = await coordinator.create_execution("run", "failed", ["a"])
        await coordinator.fail_branch(failed, "a", "broken")
        for execution_id in (pending, failed):
            with raising(JoinNotReadyError, f"joining {execution_id!r}"):
                await coordinator.execute_join(execution_id, _not_to_be_called)

    async def test_pc11_the_first_join_stays(self, coordinator: Any) -> None:
        execution_id = await self._ready(coordinator)
        first = await coordinator.execute_join(execution_id, lambda found: (found["a"], "joined"))
        assert same_value(first, (1, "joined")), f"the join gave {first!r}"
        again = await coordinator.execute_join(execution_id, _not_to_be_called)
        assert same_value(again, first), f"the first join gave {first!r}, again {again!r}"
        await self._expect(coordinator, execution_id, COMPLETE, a="ok")

    async def test_pc11_a_join_of_none_stays(self, coordinator: Any) -> None:
        execution_id = await self._ready(coordinator)
        await coordinator.execute_join(execution_id, lambda _: None)
        assert await coordinator.execute_join(execution_id, _not_to_be_called) is None

    async def test_pc11_joins_at_once_are_one(self, coordinator: Any) -> None:
        execution_id = await self._ready(coordinator)
        calls: list[int] = []

        async def join(_: Mapping[str, Any]) -> int:
            calls.append(len(calls))
            await anyio.lowlevel.checkpoint()
            return calls[-1]

        results = await all_at_once([lambda: coordinator.execute_join(execution_id, join)] * 5)
        assert (results, calls) == ([0] * 5, [0]), f"joined {len(calls)} times: {results}"

    async def test_pc12_a_join_that_raises_may_be_repeated(self, coordinator: Any) -> None:
        execution_id = await self._ready(coordinator)

        async def broken(_: Mapping[str, Any]) -> None:
            raise LookupError("broken")

        with raising(LookupError, "a join that raises"):
            await coordinator.execute_join(execution_id, broken)
        with raising(Exception, "a result that cannot be stored"):
            await coordinator.execute_join(execution_id, lambda _: _Unknown())
        await self._expect(coordinator, execution_id, READY, a="ok")
        result = await coordinator.execute_join(execution_id, lambda _: "mended")
        assert result == "mended", f"joined again it gave {result!r}"

    async def test_pc13_an_execution_that_is_not_there_raises(self, coordinator: Any) -> None:
        await coordinator.create_execution("run", "asset", ["a"])
        for call in self._calls(coordinator, "no such execution"):
            with raising(ExecutionNotFoundError, "a call for what is not there"):
                await call()

    async def test_pc14_outcomes_at_once_all_count(self, coordinator: Any) -> None:
        names = [f"branch {number}" for number in range(12)]
        execution_id = await self._partial(coordinator, *names)
        ends = (coordinator.complete_branch, coordinator.fail_branch, coordinator.skip_branch)
        answers = await all_at_once(
            partial(ends[number % 3], execution_id, name, "outcome")
            for number, name in enumerate(names)
        )
        assert answers.count(READY) == 1, f"one of them was the last: {answers}"
        statuses = dict(zip(names, ["ok", "failed", "skipped"] * 4, strict=True))
        await self._expect(coordinator, execution_id, READY, **statuses)

    async def test_pc15_a_cancelled_creation_is_whole(self, coordinator: Any) -> None:
        async for cut in every_cut(
            lambda step: coordinator.create_execution("run", "asset", "abc", partition=step)
        ):
            execution_id = await coordinator.create_execution(
                "run", "asset", "abc", partition=cut.step
            )
            await self._expect(
                coordinator, execution_id, PENDING, a="pending", b="pending", c="pending"
            )

    async def test_pc15_a_cancelled_outcome_is_whole(self, coordinator: Any) -> None:
        async def end(step: int) -> None:
            made = await coordinator.create_execution("run", "asset", ["a"], partition=step)
            await coordinator.complete_branch(made, "a", 1)

        async for cut in every_cut(end):
            made = await coordinator.create_execution("run", "asset", ["a"], partition=cut.step)
            status = (await coordinator.status(made)).status
            allowed = {READY} if cut.completed else {READY, PENDING}
            assert status in allowed, f"cut at {cut.step} it left {status}"

    async def test_pc16_what_is_kept_is_nobody_elses(self, coordinator: Any) -> None:
        execution_id = await coordinator.create_execution("run", "asset", ["a"])
        result: dict[str, Any] = {"rows": [(1, b"x")]}
        await coordinator.complete_branch(execution_id, "a", result)
        result["rows"].append(2)
        joined: dict[str, Any] = {}

        def join(found: Mapping[str, Any]) -> dict[str, Any]:
            joined.update(found)
            return joined

        await coordinator.execute_join(execution_id, join)
        joined["a"]["rows"].append(3)
        for _ in range(2):
            found = await coordinator.execute_join(execution_id, _not_to_be_called)
            whole = same_value(found, {"a": {"rows": [(1, b"x")]}})
            assert whole, f"what was kept has become {found}"
            found["a"]["rows"].append(4)

    async def test_pc17_what_cannot_be_stored_raises(self, coordinator: Any) -> None:
        execution_id = await coordinator.create_execution("run", "asset", ["a"])
        for end in (coordinator.complete_branch, coordinator.fail_branch):
            with raising(Exception, "what cannot be stored"):
                await end(execution_id, "a", _Unknown())
        await self._expect(coordinator, execution_id, PENDING, a="pending")

    async def test_pc18_an_option_that_means_nothing_raises(self, coordinator: Any) -> None:
        wrong: list[dict[str, Any]] = [
            {"branches": ["a", "a"]},
            {"branches": ["a"], "required": ["b"]},
            {"branches": ["a"], "failure_mode": "sometimes"},
        ]
        for options in wrong:
            with raising(ParallelOptionError, f"{options}"):
                await coordinator.create_execution("run", "asset", **options)

    async def test_pc19_a_closed_coordinator_refuses_every_call(self, coordinator: Any) -> None:
        self.needs_closing()
        execution_id = await self._ready(coordinator)
        await coordinator.aclose()
        await coordinator.aclose()
        calls = self._calls(coordinator, execution_id)
        calls.append(lambda: coordinator.create_execution("run", "asset", ["a"]))
        if self.capabilities.deletion:
            calls.append(lambda: coordinator.delete_run("run"))
        for call in calls:
            with raising(StorageClosedError, "a call after aclose"):
                await call()

    async def test_pc20_capabilities_are_declared_as_they_are(self, coordinator: Any) -> None:
        declared = ParallelCoordinatorCapabilities.of(coordinator)
        assert declared == self.capabilities, f"the coordinator declares {declared}"

    async def test_pc21_a_runs_executions_are_deleted_together(self, coordinator: Any) -> None:
        self.needs("deletion")
        ids = [
            await coordinator.create_execution(run, asset, ["a"])
            for run, asset in (("run", "a"), ("run", "b"), ("run2", "a"), ("ru", "n"))
        ]
        await coordinator.complete_branch(ids[0], "a", 1)
        answers = [await coordinator.delete_run("run") for _ in range(2)]
        assert answers == [2, 0], f"deleting twice answered {answers}"
        for execution_id in ids[:2]:
            with raising(ExecutionNotFoundError, "an execution of a run that was deleted"):
                await coordinator.status(execution_id)
        for execution_id in ids[2:]:
            await coordinator.status(execution_id)
        again = await coordinator.create_execution("run", "a", ["a"])
        await self._expect(coordinator, again, PENDING, a="pending")

    async def _partial(self, coordinator: Any, *branches: str, partition: Any = None) -> str:
        made: str = await coordinator.create_execution(
            "run", "asset", branches, partition=partition, failure_mode="partial"
        )
        return made

    async def _ready(self, coordinator: Any) -> str:
        made: str = await coordinator.create_execution("run", "asset", ["a"])
        await coordinator.complete_branch(made, "a", 1)
        return made

    async def _expect(
        self, coordinator: Any, execution_id: str, status: ExecutionStatus, **branches: str
    ) -> None:
        """Fail unless the execution has this status, and these branches theirs."""
        state = await coordinator.status(execution_id)
        found = {name: state.branches.get(name) for name in branches}
        assert (state.status, found) == (status, branches), f"found {state}"

    def _calls(self, coordinator: Any, execution_id: str) -> list[Callable[[], Awaitable[object]]]:
        return [
            lambda: coordinator.schedule_branches(execution_id),
            lambda: coordinator.complete_branch(execution_id, "a", 1),
            lambda: coordinator.fail_branch(execution_id, "a", "broken"),
            lambda: coordinator.skip_branch(execution_id, "a"),
            lambda: coordinator.execute_join(execution_id, _not_to_be_called),
            lambda: coordinator.status(execution_id),
        ]


def _not_to_be_called(found: Mapping[str, Any]) -> Any:
    raise AssertionError(f"the join was called with {dict(found)}")
