"""MemoryParallelCoordinator: executions are known as long as the process lives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

import anyio.lowlevel

from stageflow.builtin._executions import Branch, Execution, Joins, joined
from stageflow.codec import Codec
from stageflow.contracts.coordination import coordination_id, error_as_value, run_prefix
from stageflow.contracts.parallel_coordinator import (
    BranchStatus,
    ExecutionNotFoundError,
    ExecutionState,
    ExecutionStatus,
    ParallelCoordinatorCapabilities,
    check_branches,
)
from stageflow.contracts.partitions import Partition
from stageflow.contracts.storage import StorageClosedError

__all__ = ("MemoryParallelCoordinator",)


class MemoryParallelCoordinator:
    """Keeps executions in this process, encoded, so that what works here works in any other.

    No call but `execute_join` suspends, so each has happened completely before anything else.

    Args:
        codec: What results and errors are encoded with; the default one unless given.
    """

    capabilities: Final = ParallelCoordinatorCapabilities(deletion=True)

    def __init__(self, *, codec: Codec | None = None) -> None:
        self._codec = codec or Codec.default()
        self._executions: dict[str, Execution] = {}
        self._joins = Joins()
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Forget all executions and refuse further calls; again is no error."""
        self._closed = True
        self._executions.clear()
        await anyio.lowlevel.checkpoint()

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
        """See `ParallelCoordinator.create_execution`."""
        self._check_open()
        execution_id = coordination_id(run_id, asset_name, partition)
        names, needed, mode = check_branches(branches, required, failure_mode)
        if execution_id not in self._executions:
            self._executions[execution_id] = Execution(
                execution_id, mode, needed, {name: Branch() for name in names}
            )
        return execution_id

    async def schedule_branches(self, execution_id: str) -> None:
        """See `ParallelCoordinator.schedule_branches`."""
        self._execution(execution_id).schedule()

    async def complete_branch(
        self, execution_id: str, branch_name: str, result: Any
    ) -> ExecutionStatus:
        """See `ParallelCoordinator.complete_branch`."""
        return self._end(execution_id, branch_name, BranchStatus.OK, result)

    async def fail_branch(self, execution_id: str, branch_name: str, error: Any) -> ExecutionStatus:
        """See `ParallelCoordinator.fail_branch`."""
        told = error_as_value(error)
        return self._end(execution_id, branch_name, BranchStatus.FAILED, told)

    async def skip_branch(
        self, execution_id: str, branch_name: str, reason: str = ""
    ) -> ExecutionStatus:
        """See `ParallelCoordinator.skip_branch`."""
        return self._end(execution_id, branch_name, BranchStatus.SKIPPED, reason)

    async def execute_join(
        self, execution_id: str, join: Callable[[Mapping[str, Any]], Any]
    ) -> Any:
        """See `ParallelCoordinator.execute_join`."""
        self._execution(execution_id)
        async with self._joins.alone(execution_id):
            result = self._execution(execution_id).result
            if result is None:
                made = await joined(self._execution(execution_id), join, self._codec)
                result = self._execution(execution_id).keep(made)
        return self._codec.decode(result)

    async def status(self, execution_id: str) -> ExecutionState:
        """See `ParallelCoordinator.status`."""
        return self._execution(execution_id).state

    async def delete_run(self, run_id: UUID | str) -> int:
        """See `ExecutionDeletion.delete_run`."""
        self._check_open()
        prefix = run_prefix(run_id)
        found = [name for name in self._executions if name.startswith(prefix)]
        for name in found:
            del self._executions[name]
        return len(found)

    def _check_open(self) -> None:
        if self._closed:
            raise StorageClosedError("MemoryParallelCoordinator")

    def _execution(self, execution_id: str) -> Execution:
        self._check_open()
        execution = self._executions.get(execution_id)
        if execution is None:
            raise ExecutionNotFoundError(execution_id)
        return execution

    def _end(
        self, execution_id: str, branch_name: str, status: BranchStatus, value: Any
    ) -> ExecutionStatus:
        outcome = self._codec.encode(value, where="outcome")
        return self._execution(execution_id).end(branch_name, status, outcome)

    def __repr__(self) -> str:
        return f"MemoryParallelCoordinator({len(self._executions)} executions)"
