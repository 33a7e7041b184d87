"""PostgresParallelCoordinator: executions of branches that run in any number of processes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from inspect import isawaitable
from typing import Any, Final
from uuid import UUID

import anyio
import attrs

from stageflow.codec import Codec
from stageflow.contracts.coordination import coordination_id, error_as_value
from stageflow.contracts.parallel_coordinator import (
    BranchOutcome,
    BranchStatus,
    ExecutionNotFoundError,
    ExecutionState,
    ExecutionStatus,
    JoinNotReadyError,
    ParallelCoordinatorCapabilities,
    UnknownBranchError,
    check_branches,
)
from stageflow.contracts.partitions import Partition
from stageflow.contracts.scatter_coordinator import FailureMode
from stageflow_io_postgres.component import Component, digest, plain_text
from stageflow_io_postgres.database import Connection, Database, Row

__all__ = ("PostgresParallelCoordinator",)

_FIELDS: Final = {
    BranchStatus.OK: "result",
    BranchStatus.FAILED: "error",
    BranchStatus.SKIPPED: "reason",
}


class PostgresParallelCoordinator(Component):
    """Keeps executions in PostgreSQL, where any number of processes may end their branches.

    Args:
        database: Where; it must be open for as long as this is used.
        codec: What results and errors are encoded with; the default one unless given.
    """

    capabilities: Final = ParallelCoordinatorCapabilities(deletion=True)

    def __init__(self, database: Database, *, codec: Codec | None = None) -> None:
        super().__init__(database)
        self._codec = codec or Codec.default()
        self._sql = database.queries("parallel")
        self._joining: dict[str, anyio.Lock] = {}

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
        execution_id = coordination_id(run_id, asset_name, partition)
        names, needed, mode = check_branches(branches, required, failure_mode)
        row = (digest(execution_id), digest(str(run_id)), plain_text(execution_id), mode)

        async def create(connection: Connection) -> None:
            seq = await connection.fetchval(self._sql["create"], *row)
            if seq is not None:
                written = [json.dumps(name) for name in names]
                are_needed = [name in needed for name in names]
                await connection.execute(self._sql["add_branches"], seq, written, are_needed)

        await self._database.run(create, repeatable=True)
        return execution_id

    async def schedule_branches(self, execution_id: str) -> None:
        """See `ParallelCoordinator.schedule_branches`."""
        await self._change(execution_id, self._sql["schedule"])

    async def complete_branch(
        self, execution_id: str, branch_name: str, result: Any
    ) -> ExecutionStatus:
        """See `ParallelCoordinator.complete_branch`."""
        return await self._end(execution_id, branch_name, BranchStatus.OK, result)

    async def fail_branch(self, execution_id: str, branch_name: str, error: Any) -> ExecutionStatus:
        """See `ParallelCoordinator.fail_branch`."""
        told = error_as_value(error)
        return await self._end(execution_id, branch_name, BranchStatus.FAILED, told)

    async def skip_branch(
        self, execution_id: str, branch_name: str, reason: str = ""
    ) -> ExecutionStatus:
        """See `ParallelCoordinator.skip_branch`."""
        return await self._end(execution_id, branch_name, BranchStatus.SKIPPED, reason)

    async def execute_join(
        self, execution_id: str, join: Callable[[Mapping[str, Any]], Any]
    ) -> Any:
        """See `ParallelCoordinator.execute_join`."""
        async with self._alone(execution_id):
            execution = await self._look(execution_id)
            result = execution.result
            if result is None:
                execution.check_ready()
                made = join(execution.for_join(self._codec))
                made = await made if isawaitable(made) else made
                result = await self._database.fetchval(
                    self._sql["keep_result"],
                    digest(execution_id),
                    self._codec.encode(made, where="result"),
                    repeatable=True,
                )
                if result is None:
                    raise ExecutionNotFoundError(execution_id)
        return self._codec.decode(result)

    async def status(self, execution_id: str) -> ExecutionState:
        """See `ParallelCoordinator.status`."""
        execution = await self._look(execution_id)
        statuses = {name: status for name, (status, _) in execution.branches.items()}
        return ExecutionState(status=execution.status, branches=statuses)

    async def delete_run(self, run_id: UUID | str) -> int:
        """See `ExecutionDeletion.delete_run`.

        Raises:
            OutcomeUnknownError: The connection was lost before the server had answered.
        """
        done = await self._database.execute(self._sql["delete_run"], digest(str(run_id)))
        return int(done.rpartition(" ")[2])

    # --- the rest -----------------------------------------------------------------------

    async def _end(
        self, execution_id: str, branch_name: str, status: BranchStatus, value: Any
    ) -> ExecutionStatus:
        outcome = self._codec.encode(value, where="outcome")
        execution = await self._change(
            execution_id, self._sql["end_branch"], json.dumps(branch_name), status, outcome
        )
        if branch_name not in execution.branches:
            raise UnknownBranchError(execution_id, branch_name, execution.branches)
        return execution.status

    async def _change(self, execution_id: str, query: str, *args: Any) -> _Execution:
        """Make *query* on an execution that nobody else changes meanwhile; return what it is."""
        place = digest(execution_id)

        async def change(connection: Connection) -> Row | None:
            await connection.execute(self._sql["lock"], place)
            await connection.execute(query, place, *args)
            row: Row | None = await connection.fetchrow(self._sql["look"], place)
            return row

        return _Execution.of(await self._database.run(change, repeatable=True), execution_id)

    async def _look(self, execution_id: str) -> _Execution:
        row = await self._database.fetchrow(
            self._sql["look"], digest(execution_id), repeatable=True
        )
        return _Execution.of(row, execution_id)

    @asynccontextmanager
    async def _alone(self, execution_id: str) -> AsyncIterator[None]:
        """Enter the block when nobody else in this process joins the execution."""
        lock = self._joining.setdefault(execution_id, anyio.Lock())
        try:
            async with lock:
                yield
        finally:
            statistics = lock.statistics()
            if not statistics.locked and not statistics.tasks_waiting:
                self._joining.pop(execution_id, None)


@attrs.frozen(kw_only=True)
class _Execution:
    """An execution as it was at one moment; outcomes are encoded."""

    id: str
    mode: FailureMode
    scheduled: bool
    failed: bool
    result: bytes | None
    branches: Mapping[str, tuple[BranchStatus, bytes | None]]

    @classmethod
    def of(cls, row: Row | None, execution_id: str) -> _Execution:
        """Return what a row of the query `look` tells.

        Raises:
            ExecutionNotFoundError: There is none.
        """
        if row is None:
            raise ExecutionNotFoundError(execution_id)
        names = map(json.loads, row["names"] or ())
        told = zip(map(BranchStatus, row["statuses"] or ()), row["outcomes"] or (), strict=True)
        return cls(
            id=execution_id,
            mode=FailureMode(row["mode"]),
            scheduled=row["scheduled"],
            failed=row["failed"],
            result=row["result"],
            branches=dict(zip(names, told, strict=True)),
        )

    @property
    def status(self) -> ExecutionStatus:
        """How far it has come."""
        if self.failed:
            return ExecutionStatus.FAILED
        if self.result is not None:
            return ExecutionStatus.COMPLETE
        ended = [status.has_ended for status, _ in self.branches.values()]
        if all(ended):
            return ExecutionStatus.READY_FOR_JOIN
        is_running = self.scheduled or any(ended)
        return ExecutionStatus.RUNNING if is_running else ExecutionStatus.PENDING

    def check_ready(self) -> None:
        """Return if the branches can be joined.

        Raises:
            JoinNotReadyError: They cannot.
        """
        if self.status is not ExecutionStatus.READY_FOR_JOIN:
            raise JoinNotReadyError(self.id, self.status)

    def for_join(self, codec: Codec) -> Mapping[str, Any]:
        """Return what the join is called with."""
        decoded = {
            name: (status, None if outcome is None else codec.decode(outcome))
            for name, (status, outcome) in self.branches.items()
        }
        if self.mode is FailureMode.PARTIAL:
            return {
                name: BranchOutcome(status=status, **{_FIELDS[status]: value})
                for name, (status, value) in decoded.items()
            }
        return {name: value for name, (status, value) in decoded.items() if status == "ok"}
