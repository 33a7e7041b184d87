"""An execution of parallel branches, and how it goes on, wherever it is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from inspect import isawaitable
from typing import Any

import anyio
import attrs

from stageflow.codec import Codec
from stageflow.contracts.parallel_coordinator import (
    BranchOutcome,
    BranchStatus,
    ExecutionState,
    ExecutionStatus,
    JoinNotReadyError,
    UnknownBranchError,
)
from stageflow.contracts.scatter_coordinator import FailureMode

__all__ = ("Branch", "Execution", "Joins", "joined")


@attrs.define(eq=False)
class Branch:
    """One branch, with its encoded result, error or reason once it has ended."""

    status: BranchStatus = BranchStatus.PENDING
    outcome: bytes | None = None


@attrs.define(eq=False)
class Execution:
    """One execution; not shared between calls that may change it."""

    id: str
    mode: FailureMode
    required: frozenset[str]
    branches: dict[str, Branch]
    scheduled: bool = False
    failed: bool = False
    result: bytes | None = None

    @property
    def status(self) -> ExecutionStatus:
        """How far it has come."""
        if self.failed:
            return ExecutionStatus.FAILED
        if self.result is not None:
            return ExecutionStatus.COMPLETE
        if all(branch.status.has_ended for branch in self.branches.values()):
            return ExecutionStatus.READY_FOR_JOIN
        if self.scheduled or any(b.status.has_ended for b in self.branches.values()):
            return ExecutionStatus.RUNNING
        return ExecutionStatus.PENDING

    @property
    def state(self) -> ExecutionState:
        """What anybody may know of it."""
        branches = {name: branch.status for name, branch in self.branches.items()}
        return ExecutionState(status=self.status, branches=branches)

    def schedule(self) -> None:
        """Set what is pending running."""
        self.scheduled = True
        for branch in self.branches.values():
            if branch.status is BranchStatus.PENDING:
                branch.status = BranchStatus.RUNNING

    def end(self, name: str, status: BranchStatus, outcome: bytes) -> ExecutionStatus:
        """Keep the outcome of a branch unless it has one.

        Raises:
            UnknownBranchError: There is no such branch.
        """
        branch = self.branches.get(name)
        if branch is None:
            raise UnknownBranchError(self.id, name, self.branches)
        if not branch.status.has_ended:
            branch.status, branch.outcome = status, outcome
            if status is BranchStatus.FAILED and name in self.required:
                self.failed = True
        return self.status

    def check_ready(self) -> None:
        """Return if the branches can be joined.

        Raises:
            JoinNotReadyError: They cannot.
        """
        if self.status is not ExecutionStatus.READY_FOR_JOIN:
            raise JoinNotReadyError(self.id, self.status)

    def keep(self, result: bytes) -> bytes:
        """Return the result of the join that was kept first, which may be this one."""
        if self.result is None:
            self.result = result
        return self.result

    def for_join(self, decode: Callable[[bytes], Any]) -> Mapping[str, Any]:
        """Return what the join is called with."""
        if self.mode is FailureMode.PARTIAL:
            return {name: _outcome(branch, decode) for name, branch in self.branches.items()}
        return {
            name: decode(branch.outcome)
            for name, branch in self.branches.items()
            if branch.status is BranchStatus.OK and branch.outcome is not None
        }


_FIELDS = {BranchStatus.OK: "result", BranchStatus.FAILED: "error", BranchStatus.SKIPPED: "reason"}


def _outcome(branch: Branch, decode: Callable[[bytes], Any]) -> BranchOutcome:
    told = {} if branch.outcome is None else {_FIELDS[branch.status]: decode(branch.outcome)}
    return BranchOutcome(status=branch.status, **told)


class Joins:
    """Which executions are being joined by this process: each by one caller at a time."""

    def __init__(self) -> None:
        self._locks: dict[str, anyio.Lock] = {}

    @asynccontextmanager
    async def alone(self, execution_id: str) -> AsyncIterator[None]:
        """Enter the block when nobody else is in it for this execution."""
        lock = self._locks.setdefault(execution_id, anyio.Lock())
        try:
            async with lock:
                yield
        finally:
            statistics = lock.statistics()
            if not statistics.locked and not statistics.tasks_waiting:
                self._locks.pop(execution_id, None)


async def joined(
    execution: Execution, join: Callable[[Mapping[str, Any]], Any], codec: Codec
) -> bytes:
    """Return what *join* makes of the branches, encoded.

    Raises:
        JoinNotReadyError: They cannot be joined.
    """
    execution.check_ready()
    result = join(execution.for_join(codec.decode))
    if isawaitable(result):
        result = await result
    return codec.encode(result, where="result")
