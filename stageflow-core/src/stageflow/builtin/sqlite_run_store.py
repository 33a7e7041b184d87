"""SqliteRunStore: runs outlive the process, in one file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

from stageflow.builtin._sqlite import Schema, SqliteDatabase, Synchronous
from stageflow.codec import Codec, MalformedPayloadError
from stageflow.contracts.clock import Clock, SystemClock
from stageflow.contracts.run_store import (
    RunEvent,
    RunExistsError,
    RunNotFoundError,
    RunRecord,
    RunStatus,
    RunStoreCapabilities,
    as_run_status,
    check_run_limit,
    check_run_transition,
)
from stageflow.contracts.storage import StorageCorruptError

__all__ = ("SqliteRunStore",)

# Metadata lies apart, a row per name, so that adding some does not read what is there: values
# of types that only another process knows stay as they are.
_SCHEMA: Final = Schema(
    component="runs",
    migrations=(
        (
            """
            create table runs (
                seq integer primary key autoincrement,
                run_id text not null unique,
                service text not null,
                topology text,
                execution_mode text,
                status text not null,
                error text,
                duration_ms,
                created_at text not null,
                updated_at text not null
            )
            """,
            "create index runs_by_status on runs (status, seq)",
            "create index runs_by_service on runs (service, seq)",
            """
            create table run_metadata (
                seq integer not null references runs (seq) on delete cascade,
                name text not null,
                value blob not null,
                primary key (seq, name)
            ) without rowid
            """,
            """
            create table run_events (
                seq integer not null references runs (seq) on delete cascade,
                number integer not null,
                type text not null,
                at text not null,
                data blob not null,
                primary key (seq, number)
            ) without rowid
            """,
        ),
    ),
)
_COLUMNS: Final = (
    "run_id, service, topology, execution_mode, status, error, duration_ms, created_at, updated_at"
)
_INSERT: Final = f"insert into runs ({_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_SELECT: Final = f"select seq, {_COLUMNS} from runs"  # noqa: S608 - fixed text

_Row = tuple[Any, ...]
_Found = tuple[_Row, list[tuple[str, bytes]]]


class SqliteRunStore:
    """Keeps runs in an SQLite file, which any number of processes may use at once.

    Args:
        path: The file; it and the folders above it are made when they are missing.
        synchronous: `full`: what was recorded survives the death of the machine; `normal`:
            that of the process.
        busy_timeout: For how many seconds a call waits for another process that writes.
        read_only: Whether the file must be there already and will not be changed.
        codec: What metadata and events are encoded with; the default one unless given.
        clock: Where the times in records come from.
    """

    capabilities: Final = RunStoreCapabilities(listing=True, event_log=True, deletion=True)

    def __init__(
        self,
        path: str | Path,
        *,
        synchronous: Synchronous = "full",
        busy_timeout: float = 5.0,
        read_only: bool = False,
        codec: Codec | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._codec = codec or Codec.default()
        self._clock = clock or SystemClock()
        self._database = SqliteDatabase(
            path,
            schema=_SCHEMA,
            synchronous=synchronous,
            busy_timeout=busy_timeout,
            read_only=read_only,
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
        texts = (_text(service), _text(topology), _text(execution_mode))
        row = (str(run_id), *texts, first, None, None, now, now)

        def create(connection: sqlite3.Connection) -> None:
            if _seq(connection, run_id) is not None:
                raise RunExistsError(run_id)
            seq = connection.execute(_INSERT, row).lastrowid
            _put_metadata(connection, seq, values)

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
            seq, current = found[0], RunStatus(found[1])
            check_run_transition(run_id, current, new)
            if current.is_final and new is RunStatus.RUNNING:
                sets = "error = ?, duration_ms = ?"
            else:
                sets = "error = coalesce(?, error), duration_ms = coalesce(?, duration_ms)"
            connection.execute(
                f"update runs set status = ?, updated_at = ?, {sets} where seq = ?",  # noqa: S608
                (new, now, _text(error), duration_ms, seq),
            )
            _put_metadata(connection, seq, values)

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
            wanted["service = ?"] = _text(service)

        def select(connection: sqlite3.Connection) -> list[_Found]:
            if before is not None:
                wanted["seq < ?"] = _seq(connection, before)
                if wanted["seq < ?"] is None:
                    raise RunNotFoundError(before)
            where = f"where {' and '.join(wanted)}" if wanted else ""
            return _fetch(
                connection, f"{where} order by seq desc limit ?", (*wanted.values(), limit)
            )

        return tuple(self._record(*found) for found in await self._database.read(select))

    async def append_events(self, run_id: UUID, events: Iterable[RunEvent]) -> int:
        """See `RunEventLog.append_events`."""
        rows = [
            (_text(event.type), event.at.isoformat(), self._codec.encode(event.data, where="data"))
            for event in events
        ]

        def append(connection: sqlite3.Connection) -> int:
            seq = _seq(connection, run_id)
            if seq is None:
                raise RunNotFoundError(run_id)
            last = connection.execute(
                "select coalesce(max(number), 0) from run_events where seq = ?", (seq,)
            ).fetchone()[0]
            connection.executemany(
                "insert into run_events (seq, number, type, at, data) values (?, ?, ?, ?, ?)",
                ((seq, number, *row) for number, row in enumerate(rows, start=last + 1)),
            )
            return int(last) + len(rows)

        return await self._database.write(append)

    async def read_events(
        self, run_id: UUID, *, after: int = 0, limit: int | None = None
    ) -> Sequence[RunEvent]:
        """See `RunEventLog.read_events`."""

        def select(connection: sqlite3.Connection) -> list[_Row]:
            return connection.execute(
                "select number, type, at, data from run_events where number > ? and seq ="
                " (select seq from runs where run_id = ?) order by number limit ?",
                (after, str(run_id), -1 if limit is None else max(limit, 0)),
            ).fetchall()

        return tuple(
            RunEvent(
                type=kind,
                data=self._decode(data, run_id),
                at=datetime.fromisoformat(at),
                number=number,
            )
            for number, kind, at, data in await self._database.read(select)
        )

    async def delete_run(self, run_id: UUID) -> bool:
        """See `RunDeletion.delete_run`."""

        def delete(connection: sqlite3.Connection) -> bool:
            removed = connection.execute("delete from runs where run_id = ?", (str(run_id),))
            return removed.rowcount > 0

        return await self._database.write(delete)

    def _encode(self, metadata: Mapping[str, Any]) -> dict[str, bytes]:
        return {
            _text(name): self._codec.encode(value, where=name) for name, value in metadata.items()
        }

    def _decode(self, value: bytes, run_id: object) -> Any:
        try:
            return self._codec.decode(value)
        except MalformedPayloadError as exc:
            raise StorageCorruptError(
                f"What {self._database.path} holds of run {run_id} is damaged: {exc.message}",
                storage=str(self._database.path),
                hint="Restore a copy of the file, or delete the run.",
            ) from exc

    def _record(self, row: _Row, metadata: Iterable[tuple[str, bytes]]) -> RunRecord:
        _, run_id, service, topology, mode, status, error, duration_ms, created, updated = row
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


def _seq(connection: sqlite3.Connection, run_id: UUID) -> int | None:
    row = connection.execute("select seq from runs where run_id = ?", (str(run_id),)).fetchone()
    return None if row is None else int(row[0])


def _put_metadata(
    connection: sqlite3.Connection, seq: int | None, values: Mapping[str, bytes]
) -> None:
    connection.executemany(
        "insert or replace into run_metadata (seq, name, value) values (?, ?, ?)",
        ((seq, name, value) for name, value in values.items()),
    )


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


def _text(text: Any) -> Any:
    """Return *text* as SQLite can keep it: half a surrogate pair becomes an escape."""
    return text.encode("utf-8", "backslashreplace").decode() if isinstance(text, str) else text
