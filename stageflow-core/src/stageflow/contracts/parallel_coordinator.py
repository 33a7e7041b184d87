"""ParallelCoordinator: how far the branches of a parallel asset have come, and what joins them.

An execution stands for one parallel asset of one run. Each branch ends once: ok, failed or
skipped. When all have ended, the join makes one result of theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any, Final, Protocol, runtime_checkable
from uuid import UUID

import attrs

from stageflow.contracts.contract import Contract
from stageflow.contracts.partitions import Partition
from stageflow.contracts.scatter_coordinator import FailureMode
from stageflow.errors import RunError, did_you_mean

__all__ = (
    "CONTRACT",
    "BranchOutcome",
    "BranchStatus",
    "ExecutionDeletion",
    "ExecutionNotFoundError",
    "ExecutionState",
    "ExecutionStatus",
    "JoinNotReadyError",
    "ParallelCoordinator",
    "ParallelCoordinatorCapabilities",
    "ParallelCoordinatorError",
    "ParallelOptionError",
    "UnknownBranchError",
    "check_branches",
)

CONTRACT: Final = Contract("parallel_coordinator", "1.0")


class ExecutionStatus(StrEnum):
    """How far a parallel asset has come; `failed` and `complete` stay."""

    PENDING = "pending"
    RUNNING = "running"
    READY_FOR_JOIN = "ready_for_join"
    COMPLETE = "complete"
    FAILED = "failed"


class BranchStatus(StrEnum):
    """How far a branch has come; the last three stay."""

    PENDING = "pending"
    RUNNING = "running"
    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"

    @property
    def has_ended(self) -> bool:
        """Whether the branch has an outcome."""
        return self in {BranchStatus.OK, BranchStatus.FAILED, BranchStatus.SKIPPED}


@attrs.frozen(kw_only=True)
class ParallelCoordinatorCapabilities:
    """What a coordinator can do beyond the contract's seven methods.

    Attributes:
        deletion: It is an `ExecutionDeletion`.
    """

    deletion: bool = False

    @classmethod
    def of(cls, coordinator: object) -> ParallelCoordinatorCapabilities:
        """Return what *coordinator* declares as `capabilities`; nothing if it declares none."""
        declared = getattr(coordinator, "capabilities", None)
        return declared if isinstance(declared, ParallelCoordinatorCapabilities) else cls()


@attrs.frozen(kw_only=True)
class BranchOutcome:
    """How a branch ended, as the join sees it in the mode `partial`.

    Attributes:
        status: `ok`, `failed` or `skipped`.
        result: What it gave, if it is ok.
        error: Why it failed, if it did.
        reason: Why it was skipped, if it was.
    """

    status: BranchStatus
    result: Any = None
    error: Any = None
    reason: str | None = None


@attrs.frozen(kw_only=True)
class ExecutionState:
    """How far an execution had come at one moment.

    Attributes:
        status: The whole of it.
        branches: Each branch, in the order in which they were declared.
    """

    status: ExecutionStatus
    branches: Mapping[str, BranchStatus] = attrs.field(hash=False)


class ParallelCoordinatorError(RunError):
    """A parallel coordinator refused a call."""

    code = "SF462"


class ExecutionNotFoundError(ParallelCoordinatorError):
    """No execution has this id."""

    code = "SF463"

    def __init__(self, execution_id: str) -> None:
        super().__init__(
            f"There is no execution {execution_id!r}.",
            hint="Create it first; was it deleted, or is this another coordinator?",
        )
        self.execution_id = execution_id


class UnknownBranchError(ParallelCoordinatorError):
    """An execution does not have this branch."""

    code = "SF464"

    def __init__(self, execution_id: str, branch: str, known: Iterable[str]) -> None:
        super().__init__(
            f"Execution {execution_id!r} has no branch {branch!r:.100}.",
            hint=did_you_mean(str(branch), known),
        )
        self.execution_id = execution_id
        self.branch = branch


class JoinNotReadyError(ParallelCoordinatorError):
    """Branches were to be joined of an execution that is not ready for it.

    Attributes:
        execution_id: The execution.
        status: How far it has come.
    """

    code = "SF465"

    def __init__(self, execution_id: str, status: ExecutionStatus) -> None:
        failed = status is ExecutionStatus.FAILED
        super().__init__(
            f"Execution {execution_id!r} is {status}, not ready for its join.",
            hint="A required branch has failed, so there is nothing to join."
            if failed
            else "Wait until an outcome is answered with `ready_for_join`.",
        )
        self.execution_id = execution_id
        self.status = status


class ParallelOptionError(ParallelCoordinatorError):
    """An option of an execution has a value that means nothing.

    Attributes:
        option: The option.
        value: The value.
    """

    code = "SF466"

    def __init__(self, option: str, value: object, *, hint: str) -> None:
        super().__init__(f"{value!r:.100} is no value of {option}.", hint=hint)
        self.option = option
        self.value = value


def check_branches(
    branches: Iterable[str], required: Iterable[str] | None, failure_mode: str
) -> tuple[tuple[str, ...], frozenset[str], FailureMode]:
    """Return the branches, those whose failure fails the whole, and the mode.

    Raises:
        ParallelOptionError: A branch is named twice, an unknown one is required, or the mode
            is none.
    """
    names = tuple(branches)
    modes = [member.value for member in FailureMode]
    if failure_mode not in modes:
        hint = did_you_mean(str(failure_mode), modes)
        raise ParallelOptionError("failure_mode", failure_mode, hint=hint)
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise ParallelOptionError("branches", twice, hint="Name each branch once.")
    mode = FailureMode(failure_mode)
    if required is None:
        return names, frozenset(names if mode is FailureMode.ALL_OR_NOTHING else ()), mode
    needed = frozenset(required)
    if unknown := sorted(needed.difference(names)):
        hint = did_you_mean(unknown[0], names)
        raise ParallelOptionError("required", unknown, hint=hint)
    return names, needed, mode


@runtime_checkable
class ParallelCoordinator(Protocol):
    """Keeps the executions of parallel assets.

    Each call is one transaction, but for `execute_join`. Every method may suspend and be
    cancelled. Every method may raise a `StorageError` when the medium fails; then the call has
    not happened, unless the error says otherwise.

    PC-1  A run, an asset and a partition have one execution: creating it again gives the same
      id and changes nothing.
    PC-2  Executions of other runs, assets or partitions are apart, however alike they are spelled.
    PC-3  Scheduling sets the execution and its pending branches running; again changes nothing.
    PC-4  The first outcome of a branch stays; any other changes nothing.
    PC-5  Each outcome is answered with the status after it, which is `ready_for_join` once every
      branch has ended.
    PC-6  An outcome of a branch that is not there raises `UnknownBranchError`.
    PC-7  A required branch that fails, fails the execution at once and for good; outcomes of the
      others are still kept. One that is not required never does, nor does one that is skipped.
    PC-8  Unless it is said which branches are required, all are in the mode `all_or_nothing`,
      none in `partial`.
    PC-9  The join is called with what is there by branch, in the order declared: with results of
      those that are ok, or in the mode `partial` with the outcome of each.
    PC-10  An execution that is not ready raises `JoinNotReadyError` and calls no join.
    PC-11  The result of the first join stays: another call returns it without calling anything,
      also when calls are made at once.
    PC-12  A join that raises, or gives what cannot be stored, leaves the execution ready.
    PC-13  An execution that is not there raises `ExecutionNotFoundError`.
    PC-14  Outcomes told at once all count.
    PC-15  A cancelled call has happened completely or not at all.
    PC-16  What is kept comes back of the same types, and does not change with the objects it was
      given as or is handed out as.
    PC-17  A result or error that cannot be stored raises, and its branch stays as it was.
    PC-18  An option that means nothing raises `ParallelOptionError`.
    PC-19  After `aclose`, which may be called again, every call raises `StorageClosedError`.
    PC-20  What the coordinator declares as `capabilities` is what it can do beyond this.
    """

    async def create_execution(
        self,
        run_id: UUID | str,
        asset_name: str,
        branches: Iterable[str],
        *,
        partition: Partition = None,
        required: Iterable[str] | None = None,
        failure_mode: str = "all_or_nothing",
    ) -> str:
        """Create the execution of a parallel asset and return its id.

        Idempotent. A cancelled call may or may not have happened; repeating it is safe.

        Args:
            run_id: The run; ids of its executions are its own.
            asset_name: The parallel asset.
            branches: Its branches.
            partition: None for an asset without partitions.
            required: Those whose failure fails the whole; see PC-8.
            failure_mode: `partial` or `all_or_nothing`.

        Raises:
            PartitionError: *partition* cannot name one.
            ParallelOptionError: An option has a value that means nothing.
        """
        ...

    async def schedule_branches(self, execution_id: str) -> None:
        """Say that every branch is under way.

        Idempotent. A cancelled call may or may not have happened; repeating it is safe.

        Raises:
            ExecutionNotFoundError: There is no such execution.
        """
        ...

    async def complete_branch(
        self, execution_id: str, branch_name: str, result: Any
    ) -> ExecutionStatus:
        """Keep *result* as the outcome of the branch unless it has one.

        Idempotent. A cancelled call may or may not have happened; repeating it is safe.

        Raises:
            ExecutionNotFoundError: There is no such execution.
            UnknownBranchError: It has no such branch.
            CodecError: *result* cannot be stored.
        """
        ...

    async def fail_branch(self, execution_id: str, branch_name: str, error: Any) -> ExecutionStatus:
        """Keep *error* as the outcome of the branch unless it has one.

        An exception is kept as its type, text and code. Idempotent. A cancelled call may or may
        not have happened; repeating it is safe.

        Raises:
            ExecutionNotFoundError: There is no such execution.
            UnknownBranchError: It has no such branch.
            CodecError: *error* is no exception and cannot be stored.
        """
        ...

    async def skip_branch(
        self, execution_id: str, branch_name: str, reason: str = ""
    ) -> ExecutionStatus:
        """Keep as the outcome of the branch, unless it has one, that it was skipped.

        Idempotent. A cancelled call may or may not have happened; repeating it is safe.

        Raises:
            ExecutionNotFoundError: There is no such execution.
            UnknownBranchError: It has no such branch.
        """
        ...

    async def execute_join(
        self, execution_id: str, join: Callable[[Mapping[str, Any]], Any]
    ) -> Any:
        """Return what *join* makes of the branches; what it made the first time, if it did.

        If *join* returns an awaitable, that is awaited. Whether a cancelled call has happened,
        `status` tells; repeating it is safe. Processes that join at once may each call their
        join, and all return the result that was kept first.

        Raises:
            ExecutionNotFoundError: There is no such execution.
            JoinNotReadyError: Some branch has no outcome, or a required one failed.
            CodecError: The result cannot be stored.
        """
        ...

    async def status(self, execution_id: str) -> ExecutionState:
        """Return how far the execution and its branches have come.

        Changes nothing, however it ends.

        Raises:
            ExecutionNotFoundError: There is no such execution.
        """
        ...


class ExecutionDeletion(Protocol):
    """The capability `deletion`: forgets executions.

    PC-21  [deletion] Deleting a run's executions deletes all of them and no other's, and answers
      how many there were.
    """

    async def delete_run(self, run_id: UUID | str) -> int:
        """Forget every execution of the run; return how many there were.

        Idempotent. A cancelled call may or may not have happened; repeating it is safe.
        """
        ...
