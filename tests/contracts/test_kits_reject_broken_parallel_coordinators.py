"""The kit of parallel coordinators notices each broken clause, and blames no other."""

from __future__ import annotations

from contextlib import asynccontextmanager
from itertools import count

import anyio.lowlevel
import pytest

from stageflow.builtin.memory_parallel_coordinator import MemoryParallelCoordinator
from stageflow.codec import UnencodableValueError
from stageflow.contracts.coordination import coordination_id
from stageflow.contracts.parallel_coordinator import (
    BranchStatus,
    ExecutionDeletion,
    ExecutionStatus,
    ParallelCoordinator,
    ParallelCoordinatorCapabilities,
)
from stageflow.testing.conformance import clauses_of, failed_clauses
from stageflow.testing.parallel_coordinator import ParallelCoordinatorConformance

pytestmark = pytest.mark.anyio


class Kit(ParallelCoordinatorConformance):
    capabilities = MemoryParallelCoordinator.capabilities


class CreatesAnew(MemoryParallelCoordinator):
    """PC-1"""

    async def create_execution(self, run_id, asset_name, branches, **options):
        if options.get("partition") == "p":
            self._executions.pop(coordination_id(run_id, asset_name, "p"), None)
        return await super().create_execution(run_id, asset_name, branches, **options)


class TakesTextForNumbers(MemoryParallelCoordinator):
    """PC-2"""

    async def create_execution(self, run_id, asset_name, branches, **options):
        if options.get("partition") == "1":
            options["partition"] = 1
        return await super().create_execution(run_id, asset_name, branches, **options)


class SchedulesWhatHasEnded(MemoryParallelCoordinator):
    """PC-3"""

    async def schedule_branches(self, execution_id):
        for branch in self._execution(execution_id).branches.values():
            branch.status = BranchStatus.RUNNING


class KeepsTheLastOutcome(MemoryParallelCoordinator):
    """PC-4"""

    async def complete_branch(self, execution_id, branch_name, result):
        if result == 2:
            self._execution(execution_id).branches[branch_name].status = BranchStatus.RUNNING
        return await super().complete_branch(execution_id, branch_name, result)


class NeverReadyAfterAFailure(MemoryParallelCoordinator):
    """PC-5"""

    async def fail_branch(self, execution_id, branch_name, error):
        answer = await super().fail_branch(execution_id, branch_name, error)
        if len(self._execution(execution_id).branches) > 1:
            return answer
        return ExecutionStatus.RUNNING if answer is ExecutionStatus.READY_FOR_JOIN else answer


class IgnoresCase(MemoryParallelCoordinator):
    """PC-6"""

    async def complete_branch(self, execution_id, branch_name, result):
        return await super().complete_branch(execution_id, branch_name.lower(), result)


class ForgetsOutcomesAfterTheFailure(MemoryParallelCoordinator):
    """PC-7"""

    async def complete_branch(self, execution_id, branch_name, result):
        state = await self.status(execution_id)
        if state.status is ExecutionStatus.FAILED:
            return state.status
        return await super().complete_branch(execution_id, branch_name, result)


class RequiresAll(MemoryParallelCoordinator):
    """PC-8"""

    async def create_execution(self, run_id, asset_name, branches, **options):
        branches = list(branches)
        if asset_name == "partial" and "required" not in options:
            options["required"] = branches
        return await super().create_execution(run_id, asset_name, branches, **options)


class SortsBranches(MemoryParallelCoordinator):
    """PC-9"""

    async def execute_join(self, execution_id, join):
        return await super().execute_join(
            execution_id, lambda found: join(dict(sorted(found.items())))
        )


class JoinsWhatHasFailed(MemoryParallelCoordinator):
    """PC-10"""

    async def execute_join(self, execution_id, join):
        self._execution(execution_id).failed = False
        return await super().execute_join(execution_id, join)


class JoinsAtOnce(MemoryParallelCoordinator):
    """PC-11"""

    def __init__(self):
        super().__init__()
        self._joins = self

    @asynccontextmanager
    async def alone(self, execution_id):
        yield


class FailsWithItsJoin(MemoryParallelCoordinator):
    """PC-12"""

    async def execute_join(self, execution_id, join):
        try:
            return await super().execute_join(execution_id, join)
        except LookupError:
            self._execution(execution_id).failed = True
            raise


class SkipsWhatIsNotThere(MemoryParallelCoordinator):
    """PC-13"""

    async def skip_branch(self, execution_id, branch_name, reason=""):
        if not self._closed and execution_id not in self._executions:
            return ExecutionStatus.PENDING
        return await super().skip_branch(execution_id, branch_name, reason)


class LosesOutcomes(MemoryParallelCoordinator):
    """PC-14"""

    async def complete_branch(self, execution_id, branch_name, result):
        if not branch_name.startswith("branch"):
            return await super().complete_branch(execution_id, branch_name, result)
        before = {
            name: branch.status
            for name, branch in self._execution(execution_id).branches.items()
            if branch_name != name
        }
        await anyio.lowlevel.checkpoint()
        for name, status in before.items():
            self._execution(execution_id).branches[name].status = status
        return await super().complete_branch(execution_id, branch_name, result)


class CreatesBranchByBranch(MemoryParallelCoordinator):
    """PC-15"""

    async def create_execution(self, run_id, asset_name, branches, **options):
        partition = options.get("partition")
        if branches == "abc" and coordination_id(run_id, asset_name, partition) not in (
            self._executions
        ):
            made = await super().create_execution(run_id, asset_name, "a", **options)
            await anyio.lowlevel.checkpoint()
            del self._executions[made]
        return await super().create_execution(run_id, asset_name, branches, **options)


class SwallowsCancellation(MemoryParallelCoordinator):
    """PC-15"""

    async def complete_branch(self, execution_id, branch_name, result):
        try:
            await anyio.lowlevel.checkpoint()
        except anyio.get_cancelled_exc_class():
            return ExecutionStatus.RUNNING
        return await super().complete_branch(execution_id, branch_name, result)


class HandsOutItsOwn(MemoryParallelCoordinator):
    """PC-16"""

    async def execute_join(self, execution_id, join):
        self._own = getattr(self, "_own", {})
        result = await super().execute_join(execution_id, join)
        return self._own.setdefault((execution_id, type(result)), result)


class EndsBeforeItEncodes(MemoryParallelCoordinator):
    """PC-17"""

    async def complete_branch(self, execution_id, branch_name, result):
        try:
            return await super().complete_branch(execution_id, branch_name, result)
        except UnencodableValueError:
            self._execution(execution_id).branches[branch_name].status = BranchStatus.FAILED
            raise


class TakesAnyMode(MemoryParallelCoordinator):
    """PC-18"""

    async def create_execution(self, run_id, asset_name, branches, **options):
        if options.get("failure_mode") == "sometimes":
            options["failure_mode"] = "partial"
        return await super().create_execution(run_id, asset_name, branches, **options)


class StaysOpen(MemoryParallelCoordinator):
    """PC-19"""

    async def aclose(self):
        return None


class PromisesTooLittle(MemoryParallelCoordinator):
    """PC-20"""

    capabilities = ParallelCoordinatorCapabilities()


class DeletesByPrefix(MemoryParallelCoordinator):
    """PC-21"""

    async def delete_run(self, run_id):
        for name in [name for name in self._executions if name.startswith("run2")]:
            del self._executions[name]
        return await super().delete_run(run_id)


BROKEN = [
    CreatesAnew,
    TakesTextForNumbers,
    SchedulesWhatHasEnded,
    KeepsTheLastOutcome,
    NeverReadyAfterAFailure,
    IgnoresCase,
    ForgetsOutcomesAfterTheFailure,
    RequiresAll,
    SortsBranches,
    JoinsWhatHasFailed,
    JoinsAtOnce,
    FailsWithItsJoin,
    SkipsWhatIsNotThere,
    LosesOutcomes,
    CreatesBranchByBranch,
    SwallowsCancellation,
    HandsOutItsOwn,
    EndsBeforeItEncodes,
    TakesAnyMode,
    StaysOpen,
    PromisesTooLittle,
    DeletesByPrefix,
]


def test_every_clause_has_a_test_and_a_broken_coordinator():
    clauses = clauses_of(ParallelCoordinator, ExecutionDeletion)
    numbers = (f"PC-{number}" for number in count(1))
    assert sorted(clauses) == sorted(next(numbers) for _ in clauses)
    assert Kit.proofs().keys() == clauses.keys()
    assert {broken.__doc__ for broken in BROKEN} == clauses.keys()


async def test_a_good_coordinator_fails_nothing():
    assert await failed_clauses(Kit, MemoryParallelCoordinator) == {}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
async def test_a_broken_coordinator_fails_exactly_its_clause(broken):
    failures = await failed_clauses(Kit, broken)
    assert list(failures) == [broken.__doc__], failures
