"""SqliteRunStore: runs outlive the process, in one file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from stageflow.builtin._sqlite_checkpoints import SqliteCheckpoints, forget_runs
from stageflow.builtin._sqlite_errors import sound
from stageflow.builtin._sqlite_runs import (
    Row,
    append_events,
    as_text,
    last_event,
    put_metadata,
    run_seq,
    set_status,
)
from stageflow.builtin._sqlite_shared_values import SqliteSharedValues
from stageflow.builtin._sqlite_waits import SqliteWaits
from stageflow.contracts.run_store import (
    RunEvent,
    RunExistsError,
    RunNotFoundError,
    RunRecord,
    RunStoreCapabilities,
    as_run_status,
    check_run_limit,
)

__all__ = ("SqliteRunStore",)

_COLUMNS: Final = (
    "run_id, service, topology, execution_mode, status, error, duration_ms, created_at, updated_at"
)
_INSERT: Final = (
    f"insert into runs ({_COLUMNS}, ended_at, token)"  # noqa: S608 - fixed text
    " values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_SELECT: Final = f"select seq, {_COLUMNS} from runs"  # noqa: S608 - fixed text

_Found = tuple[Row, list[tuple[str, bytes]]]


class SqliteRunStore(SqliteCheckpoints, SqliteWaits, SqliteSharedValues):
    """Keeps runs in an SQLite file, which any number of processes may use at once.

    Args:
        path: The file; it and the folders above it are made when they are missing.
        synchronous: `full`: what was recorded survives the death of the machine; `normal`:
            that of the process.
        busy_timeout: For how many seconds a call waits for another process that writes.
        read_only: Whether the file must be there already and will not be changed.
        codec: What metadata and events are encoded with; the default one unless given.
        clock: Where the times in records, leases and waits come from. Processes that share the
            file tell by it whose lease has expired, so it has to be the time of day.
    """

    capabilities: Final = RunStoreCapabilities(
        listing=True,
        event_log=True,
        deletion=True,
        checkpoints=True,
        retention=True,
        waits=True,
        shared_values=True,
    )

    @property
    def path(self) -> Path:
        """The file; what belongs beside it may be put in its folder."""
        return self._database.path

    async def create_run(
        self,
        run_id: UUID,
        *,
        service: str,
        topology: str | None = None,
        execution_mode: str | None = None,
        status: str = "created",
        **metadata: Any,
    ) -> RunRecord:
        """See `RunStore.create_run`."""
        now = self._clock.now().isoformat()
        first = as_run_status(status)
        values = self._encode(metadata)
        texts = (as_text(service), as_text(topology), as_text(execution_mode))
        row = (str(run_id), *texts, first, None, None, now, now)

        def create(connection: sqlite3.Connection) -> None:
            if run_seq(connection, run_id) is not None:
                raise RunExistsError(run_id)
            token = connection.execute(
                "select token from run_tokens where run_id = ?", row[:1]
            ).fetchone()
            ended_at = now if first.is_final else None
            new = (*row, ended_at, token[0] if token else 0)
            put_metadata(connection, connection.execute(_INSERT, new).lastrowid, values)

        await self._database.write(create)
        return self._record((None, *row), values.items())

    async def update_status(
        self,
        run_id: UUID,
        status: str,
        *,
        error: str | None = None,
        duration_ms: float | None = None,
        **data: Any,
    ) -> None:
        """See `RunStore.update_status`."""
        now = self._clock.now().isoformat()
        new = as_run_status(status)
        values = self._encode(data)

        def update(connection: sqlite3.Connection) -> None:
            found = connection.execute(
                "select seq, status from runs where run_id = ?", (str(run_id),)
            ).fetchone()
            if found is None:
                raise RunNotFoundError(run_id)
            seq, current = found[0], self._status(found[1], run_id)
            set_status(
                connection, seq, (run_id, current, new), now, error=error, duration_ms=duration_ms
            )
            put_metadata(connection, seq, values)

        await self._database.write(update)

    async def get_run(self, run_id: UUID) -> RunRecord | None:
        """See `RunStore.get_run`."""
        found = await self._database.read(
            lambda connection: _fetch(connection, "where run_id = ?", (str(run_id),))
        )
        return self._record(*found[0]) if found else None

    async def list_runs(
        self,
        *,
        status: str | None = None,
        service: str | None = None,
        limit: int = 100,
        before: UUID | None = None,
    ) -> Sequence[RunRecord]:
        """See `RunListing.list_runs`."""
        check_run_limit(limit)
        wanted: dict[str, object] = {}
        if status is not None:
            wanted["status = ?"] = as_run_status(status)
        if service is not None:
            wanted["service = ?"] = as_text(service)

        def select(connection: sqlite3.Connection) -> list[_Found]:
            if before is not None:
                wanted["seq < ?"] = run_seq(connection, before)
                if wanted["seq < ?"] is None:
                    raise RunNotFoundError(before)
            where = f"where {' and '.join(wanted)}" if wanted else ""
            return _fetch(
                connection, f"{where} order by seq desc limit ?", (*wanted.values(), limit)
            )

        return tuple(self._record(*found) for found in await self._database.read(select))

    async def append_events(self, run_id: UUID, events: Iterable[RunEvent]) -> int:
        """See `RunEventLog.append_events`."""
        rows = self._encode_events(events)

        def append(connection: sqlite3.Connection) -> int:
            seq = run_seq(connection, run_id)
            if seq is None:
                raise RunNotFoundError(run_id)
            return append_events(connection, seq, rows, last_event(connection, seq))

        return await self._database.write(append)

    async def read_events(
        self, run_id: UUID, *, after: int = 0, limit: int | None = None
    ) -> Sequence[RunEvent]:
        """See `RunEventLog.read_events`."""

        def select(connection: sqlite3.Connection) -> list[Row]:
            return connection.execute(
                "select number, type, at, data from run_events where number > ? and seq ="
                " (select seq from runs where run_id = ?) order by number limit ?",
                (after, str(run_id), -1 if limit is None else max(limit, 0)),
            ).fetchall()

        rows = await self._database.read(select)
        with sound(self._path, f"the events of run {run_id}"):
            return tuple(
                RunEvent(
                    type=kind,
                    data=self._decode(data, run_id),
                    at=datetime.fromisoformat(at),
                    number=number,
                )
                for number, kind, at, data in rows
            )

    async def delete_run(self, run_id: UUID) -> bool:
        """See `RunDeletion.delete_run`."""
        return await self._database.write(
            lambda connection: forget_runs(connection, [str(run_id)]) > 0
        )

    def _record(self, row: Row, metadata: Iterable[tuple[str, bytes]]) -> RunRecord:
        _, run_id, service, topology, mode, status, error, duration_ms, created, updated = row
        with sound(self._path, f"run {run_id}"):
            return RunRecord(
                run_id=UUID(run_id),
                service=service,
                topology=topology,
                execution_mode=mode,
                status=status,
                error=error,
                duration_ms=duration_ms,
                metadata={name: self._decode(value, run_id) for name, value in metadata},
                created_at=datetime.fromisoformat(created),
                updated_at=datetime.fromisoformat(updated),
            )

    def __repr__(self) -> str:
        return f"SqliteRunStore({str(self._database.path)!r})"


def _fetch(
    connection: sqlite3.Connection, condition: str, parameters: tuple[object, ...]
) -> list[_Found]:
    rows = connection.execute(f"{_SELECT} {condition}", parameters).fetchall()
    return [
        (
            row,
            connection.execute(
                "select name, value from run_metadata where seq = ?", (row[0],)
            ).fetchall(),
        )
        for row in rows
    ]
