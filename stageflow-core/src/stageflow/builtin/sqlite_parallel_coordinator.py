"""SqliteParallelCoordinator: executions outlive the process, in one file that many may use."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from uuid import UUID

from stageflow.builtin._executions import Branch, Execution, Joins, joined
from stageflow.builtin._sqlite import Schema, SqliteDatabase, Synchronous
from stageflow.codec import Codec
from stageflow.contracts.coordination import coordination_id, error_as_value
from stageflow.contracts.parallel_coordinator import (
    BranchStatus,
    ExecutionNotFoundError,
    ExecutionState,
    ExecutionStatus,
    ParallelCoordinatorCapabilities,
    check_branches,
)
from stageflow.contracts.partitions import Partition
from stageflow.contracts.scatter_coordinator import FailureMode

__all__ = ("SqliteParallelCoordinator",)

T = TypeVar("T")

_SCHEMA: Final = Schema(
    component="parallel",
    migrations=(
        (
            """
            create table parallel_executions (
                seq integer primary key,
                execution_id text not null unique,
                run_id text not null,
                mode text not null,
                required text not null,
                scheduled integer not null default 0,
                failed integer not null default 0,
                result blob
            )
            """,
            "create index parallel_executions_by_run on parallel_executions (run_id)",
            """
            create table parallel_branches (
                execution integer not null
                    references parallel_executions (seq) on delete cascade,
                number integer not null,
                name text not null,
                status text not null,
                outcome blob,
                primary key (execution, number)
            ) without rowid
            """,
        ),
    ),
)


class SqliteParallelCoordinator:
    """Keeps executions in an SQLite file, which any number of processes may use at once.

    Args:
        path: The file; it and the folders above it are made when they are missing.
        synchronous: `full`: what was kept survives the death of the machine; `normal`: that of
            the process.
        busy_timeout: For how many seconds a call waits for another process that writes.
        codec: What results and errors are encoded with; the default one unless given.
    """

    capabilities: Final = ParallelCoordinatorCapabilities(deletion=True)

    def __init__(
        self,
        path: str | Path,
        *,
        synchronous: Synchronous = "full",
        busy_timeout: float = 5.0,
        codec: Codec | None = None,
    ) -> None:
        self._codec = codec or Codec.default()
        self._joins = Joins()
        self._database = SqliteDatabase(
            path, schema=_SCHEMA, synchronous=synchronous, busy_timeout=busy_timeout
        )

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def open(self) -> None:
        """Open the file now, so that what is wrong with it is known; otherwise a call does.

        Raises:
            StorageError: It cannot be used.
        """
        await self._database.open()

    async def aclose(self) -> None:
        """Close the file once every call made before has ended; again is no error."""
        await self._database.aclose()

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
        row = (execution_id, str(run_id), mode, json.dumps(sorted(needed)))

        def create(connection: sqlite3.Connection) -> None:
            created = connection.execute(
                "insert into parallel_executions (execution_id, run_id, mode, required)"
                " values (?, ?, ?, ?) on conflict (execution_id) do nothing",
                row,
            )
            if created.rowcount:
                connection.executemany(
                    "insert into parallel_branches (execution, number, name, status)"
                    " values (?, ?, ?, ?)",
                    [
                        (created.lastrowid, number, json.dumps(name), BranchStatus.PENDING)
                        for number, name in enumerate(names)
                    ],
                )

        await self._database.write(create)
        return execution_id

    async def schedule_branches(self, execution_id: str) -> None:
        """See `ParallelCoordinator.schedule_branches`."""
        await self._change(execution_id, Execution.schedule)

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
        async with self._joins.alone(execution_id):
            execution = await self._database.read(lambda c: _load(c, execution_id)[1])
            result = execution.result
            if result is None:
                made = await joined(execution, join, self._codec)
                result = await self._change(execution_id, lambda found: found.keep(made))
        return self._codec.decode(result)

    async def status(self, execution_id: str) -> ExecutionState:
        """See `ParallelCoordinator.status`."""
        return await self._database.read(lambda c: _load(c, execution_id)[1].state)

    async def delete_run(self, run_id: UUID | str) -> int:
        """See `ExecutionDeletion.delete_run`."""

        def delete(connection: sqlite3.Connection) -> int:
            return connection.execute(
                "delete from parallel_executions where run_id = ?", (str(run_id),)
            ).rowcount

        return await self._database.write(delete)

    async def _end(
        self, execution_id: str, branch_name: str, status: BranchStatus, value: Any
    ) -> ExecutionStatus:
        outcome = self._codec.encode(value, where="outcome")
        return await self._change(
            execution_id, lambda execution: execution.end(branch_name, status, outcome)
        )

    async def _change(self, execution_id: str, change: Callable[[Execution], T]) -> T:
        def write(connection: sqlite3.Connection) -> T:
            seq, execution = _load(connection, execution_id)
            answer = change(execution)
            _save(connection, seq, execution)
            return answer

        return await self._database.write(write)

    def __repr__(self) -> str:
        return f"SqliteParallelCoordinator({str(self._database.path)!r})"


def _load(connection: sqlite3.Connection, execution_id: str) -> tuple[int, Execution]:
    row = connection.execute(
        "select seq, mode, required, scheduled, failed, result from parallel_executions"
        " where execution_id = ?",
        (execution_id,),
    ).fetchone()
    if row is None:
        raise ExecutionNotFoundError(execution_id)
    seq, mode, required, scheduled, failed, result = row
    branches = connection.execute(
        "select name, status, outcome from parallel_branches where execution = ? order by number",
        (seq,),
    )
    return seq, Execution(
        execution_id,
        FailureMode(mode),
        frozenset(json.loads(required)),
        {json.loads(name): Branch(BranchStatus(status), told) for name, status, told in branches},
        bool(scheduled),
        bool(failed),
        result,
    )


def _save(connection: sqlite3.Connection, seq: int, execution: Execution) -> None:
    connection.execute(
        "update parallel_executions set scheduled = ?, failed = ?, result = ? where seq = ?",
        (execution.scheduled, execution.failed, execution.result, seq),
    )
    connection.executemany(
        "update parallel_branches set status = ?, outcome = ? where execution = ? and number = ?",
        [
            (branch.status, branch.outcome, seq, number)
            for number, branch in enumerate(execution.branches.values())
        ],
    )
