"""What the parts of `SqliteRunStore` share: the tables, the file, and who owns a run."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

from stageflow.builtin._sqlite import Schema, SqliteDatabase, Synchronous
from stageflow.builtin._sqlite_errors import damaged
from stageflow.codec import Codec, MalformedPayloadError
from stageflow.contracts.checkpoints import LeaseLostError, RunLease
from stageflow.contracts.clock import Clock, SystemClock
from stageflow.contracts.run_store import RunEvent, RunStatus, check_run_transition

__all__ = (
    "SCHEMA",
    "EncodedEvent",
    "Row",
    "SqliteRuns",
    "append_events",
    "as_text",
    "from_utf8",
    "last_event",
    "put_metadata",
    "reschedule",
    "run_seq",
    "set_status",
    "utf8",
)

# Metadata lies apart, a row per name, so that adding some does not read what is there: values
# of types that only another process knows stay as they are.
_RECORDS: Final = (
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
)
# A run has had a lease once it has an owner, and has it still while `expires_at` is set. From
# `due_at` on anybody may claim the run; `reschedule` says when that is. Names that others choose
# are kept as UTF-8, so that half a surrogate pair comes back as it was. An entry that was removed
# keeps its number, without a value: no number is ever given again. So does a deleted value.
_CHECKPOINTS: Final = (
    "alter table runs add column owner text",
    "alter table runs add column token integer not null default 0",
    "alter table runs add column expires_at text",
    "alter table runs add column cancel_requested text",
    "alter table runs add column due_at text",
    "alter table runs add column ended_at text",
    "update runs set ended_at = updated_at where status in ('completed', 'failed', 'cancelled')",
    "create index runs_by_lease on runs (run_id) where expires_at is not null",
    "create index runs_by_due on runs (due_at) where due_at is not null",
    "create index runs_by_end on runs (ended_at, seq) where ended_at is not null",
    """
    create table run_tokens (
        run_id text primary key,
        token integer not null
    ) without rowid
    """,
    """
    create table run_entries (
        seq integer not null references runs (seq) on delete cascade,
        number integer not null,
        key blob not null,
        value blob,
        primary key (seq, number)
    ) without rowid
    """,
    "create unique index run_entries_by_key on run_entries (seq, key)",
    """
    create table run_waits (
        seq integer not null references runs (seq) on delete cascade,
        number integer not null,
        wait_id blob not null,
        stage blob not null,
        name blob not null,
        created_at text not null,
        deadline text,
        state text not null,
        value blob,
        is_parked_for integer not null default 0,
        primary key (seq, number)
    ) without rowid
    """,
    "create unique index run_waits_by_id on run_waits (seq, wait_id)",
    "create index run_waits_open on run_waits (seq, name, number) where state = 'open'",
    "create index run_waits_parked on run_waits (seq, state, deadline) where is_parked_for",
    """
    create table run_signals (
        seq integer not null references runs (seq) on delete cascade,
        number integer not null,
        name blob not null,
        signal_id blob,
        wait_id blob,
        value blob,
        primary key (seq, number)
    ) without rowid
    """,
    """
    create unique index run_signals_by_id on run_signals (seq, signal_id)
    where signal_id is not null
    """,
    "create index run_signals_kept on run_signals (seq, name, number) where value is not null",
    """
    create table shared_values (
        namespace blob not null,
        key blob not null,
        version integer not null,
        value blob,
        updated_at text not null,
        primary key (namespace, key)
    ) without rowid
    """,
)
SCHEMA: Final = Schema(component="runs", migrations=(_RECORDS, _CHECKPOINTS))

_OWNED: Final = """
    select
        seq,
        status,
        (select coalesce(max(number), 0) from run_entries where seq = runs.seq),
        (select coalesce(max(number), 0) from run_events where seq = runs.seq)
    from runs where run_id = ? and token = ? and expires_at is not null
"""
# The empty text is before any time.
_RESCHEDULE: Final = """
    update runs set due_at = case
        when owner is null or status in ('completed', 'failed', 'cancelled') then null
        when expires_at is not null then expires_at
        when status <> 'waiting' then null
        when cancel_requested is not null or exists (
            select 1 from run_waits indexed by run_waits_parked
            where seq = runs.seq and is_parked_for and state = 'answered'
        ) then ''
        else (
            select min(deadline) from run_waits indexed by run_waits_parked
            where seq = runs.seq and is_parked_for
        )
    end
    where seq = ?
"""

Row = tuple[Any, ...]
EncodedEvent = tuple[str, str, bytes]


class SqliteRuns:
    """The file, open or not; each part of the store adds the calls of one capability."""

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
            schema=SCHEMA,
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

    @property
    def _path(self) -> str:
        return str(self._database.path)

    def _encode(self, metadata: Mapping[str, Any]) -> dict[str, bytes]:
        return {
            as_text(name): self._codec.encode(value, where=name) for name, value in metadata.items()
        }

    def _encode_events(self, events: Iterable[RunEvent]) -> list[EncodedEvent]:
        events = list(events)
        encoded = self._codec.encode_each([event.data for event in events], where="data")
        return [
            (as_text(event.type), event.at.isoformat(), data)
            for event, data in zip(events, encoded, strict=True)
        ]

    def _owned(self, connection: sqlite3.Connection, lease: RunLease) -> tuple[int, str, int, int]:
        """Return number and status of the run and the last numbers of its entries and events.

        Raises:
            LeaseLostError: *lease* is no longer the run's.
        """
        row: tuple[int, str, int, int] | None = connection.execute(
            _OWNED, (str(lease.run_id), lease.token)
        ).fetchone()
        if row is None:
            raise LeaseLostError(lease)
        return row

    def _status(self, status: str, run_id: object) -> RunStatus:
        try:
            return RunStatus(status)
        except ValueError as exc:
            raise damaged(self._path, f"run {run_id}", f"{exc}.") from exc

    def _decode(self, value: bytes, run_id: object) -> Any:
        try:
            return self._codec.decode(value)
        except MalformedPayloadError as exc:
            raise damaged(self._path, f"run {run_id}", exc.message) from exc


def run_seq(connection: sqlite3.Connection, run_id: UUID) -> int | None:
    """Return by which number the tables know the run; None if they do not."""
    row = connection.execute("select seq from runs where run_id = ?", (str(run_id),)).fetchone()
    return None if row is None else int(row[0])


def set_status(
    connection: sqlite3.Connection,
    seq: int,
    change: tuple[UUID, RunStatus, RunStatus],
    now: str,
    *,
    error: str | None = None,
    duration_ms: float | None = None,
) -> None:
    """Make the *change*, of a run from one status to another.

    Raises:
        InvalidTransitionError: The run may not.
    """
    run_id, current, new = change
    check_run_transition(run_id, current, new)
    sets = "error = coalesce(?, error), duration_ms = coalesce(?, duration_ms)"
    ended_at: tuple[str | None, ...] = ()
    if current.is_final and not new.is_final:
        sets, ended_at = "error = ?, duration_ms = ?, ended_at = ?", (None,)
    elif new.is_final and not current.is_final:
        sets, ended_at = f"{sets}, cancel_requested = null, ended_at = ?", (now,)
    connection.execute(
        f"update runs set status = ?, updated_at = ?, {sets} where seq = ?",  # noqa: S608
        (new, now, as_text(error), duration_ms, *ended_at, seq),
    )
    if new is not current:
        reschedule(connection, seq)


def reschedule(connection: sqlite3.Connection, seq: int) -> None:
    """Note from when on the run may be claimed, after its status, lease or waits have changed."""
    connection.execute(_RESCHEDULE, (seq,))


def put_metadata(
    connection: sqlite3.Connection, seq: int | None, values: Mapping[str, bytes]
) -> None:
    """Merge encoded *values* into the metadata of the run."""
    connection.executemany(
        "insert or replace into run_metadata (seq, name, value) values (?, ?, ?)",
        ((seq, name, value) for name, value in values.items()),
    )


def last_event(connection: sqlite3.Connection, seq: int) -> int:
    """Return the number of the last event of the run."""
    row = connection.execute(
        "select coalesce(max(number), 0) from run_events where seq = ?", (seq,)
    ).fetchone()
    return int(row[0])


def append_events(
    connection: sqlite3.Connection, seq: int, rows: Iterable[EncodedEvent], after: int
) -> int:
    """Append to the log of the run, after its last number, and return the one it has then."""
    numbered = [(seq, place, *row) for place, row in enumerate(rows, start=after + 1)]
    connection.executemany(
        "insert into run_events (seq, number, type, at, data) values (?, ?, ?, ?, ?)", numbered
    )
    return after + len(numbered)


def as_text(text: Any) -> Any:
    """Return *text* as SQLite can keep it: half a surrogate pair becomes an escape."""
    return text.encode("utf-8", "backslashreplace").decode() if isinstance(text, str) else text


def utf8(text: str) -> bytes:
    """Return *text* so that it comes back as it was, whatever it holds."""
    return text.encode("utf-8", "surrogatepass")


def from_utf8(data: bytes) -> str:
    """Return the text of which `utf8` made *data*.

    Raises:
        TypeError: It is no bytes.
        ValueError: It is no such text.
    """
    return str(data, "utf-8", "surrogatepass")
