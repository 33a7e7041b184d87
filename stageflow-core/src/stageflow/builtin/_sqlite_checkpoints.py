"""Checkpoints and retention of `SqliteRunStore`."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from stageflow.builtin._run_store_rules import check_aware, final_statuses
from stageflow.builtin._sqlite_errors import sound
from stageflow.builtin._sqlite_runs import (
    Row,
    SqliteRuns,
    append_events,
    as_text,
    from_utf8,
    put_metadata,
    reschedule,
    set_status,
    utf8,
)
from stageflow.contracts.checkpoints import (
    CheckpointEntry,
    LeaseHeldError,
    LeaseLostError,
    RunLease,
)
from stageflow.contracts.run_store import RunEvent, RunNotFoundError, RunStatus, as_run_status

__all__ = ("SqliteCheckpoints", "forget_runs")

_LEASE: Final = "select seq, run_id, owner, token, expires_at, cancel_requested from runs"
_PUT_ENTRY: Final = """
    insert into run_entries (seq, number, key, value) values (?, ?, ?, ?)
    on conflict (seq, key) do update set number = excluded.number, value = excluded.value
"""
_ENTRIES: Final = """
    select number, key, value from run_entries
    where seq = (select seq from runs where run_id = ?) and number > ? and value is not null
    order by number limit ?
"""


class SqliteCheckpoints(SqliteRuns):
    """The capabilities `checkpoints` and `retention`."""

    async def acquire_lease(
        self, run_id: UUID, owner: str, *, ttl: float, take_over: int | None = None
    ) -> RunLease:
        """See `RunCheckpoints.acquire_lease`."""
        now = self._clock.now()

        def acquire(connection: sqlite3.Connection) -> RunLease:
            row = connection.execute(f"{_LEASE} where run_id = ?", (str(run_id),)).fetchone()
            if row is None:
                raise RunNotFoundError(run_id)
            held = self._lease(row)
            if held is not None and held.expires_at > now and held.token != take_over:
                raise LeaseHeldError(held)
            return self._grant(connection, row, owner, now + timedelta(seconds=ttl))

        return await self._database.write(acquire)

    async def renew_lease(self, lease: RunLease, *, ttl: float) -> RunLease:
        """See `RunCheckpoints.renew_lease`."""
        until = self._clock.now() + timedelta(seconds=ttl)

        def renew(connection: sqlite3.Connection) -> Row:
            row = _current(connection, lease)
            if row is None:
                raise LeaseLostError(lease)
            connection.execute(
                "update runs set expires_at = ? where seq = ?", (until.isoformat(), row[0])
            )
            reschedule(connection, row[0])
            return (*row[:4], until.isoformat(), row[5])

        return self._lease(await self._database.write(renew)) or lease

    async def release_lease(self, lease: RunLease) -> bool:
        """See `RunCheckpoints.release_lease`."""

        def release(connection: sqlite3.Connection) -> bool:
            row = _current(connection, lease)
            if row is not None:
                connection.execute("update runs set expires_at = null where seq = ?", row[:1])
                reschedule(connection, row[0])
            return row is not None

        return await self._database.write(release)

    async def get_lease(self, run_id: UUID) -> RunLease | None:
        """See `RunCheckpoints.get_lease`."""
        row = await self._database.read(
            lambda connection: connection.execute(
                f"{_LEASE} where run_id = ?", (str(run_id),)
            ).fetchone()
        )
        return None if row is None else self._lease(row)

    async def list_leases(
        self, *, after: UUID | None = None, limit: int = 100
    ) -> Sequence[RunLease]:
        """See `RunCheckpoints.list_leases`."""
        rows = await self._database.read(
            lambda connection: connection.execute(
                f"{_LEASE} where expires_at is not null and run_id > ? order by run_id limit ?",
                ("" if after is None else str(after), max(limit, 0)),
            ).fetchall()
        )
        return tuple(lease for row in rows if (lease := self._lease(row)) is not None)

    async def claim_run(self, owner: str, *, ttl: float) -> RunLease | None:
        """See `RunCheckpoints.claim_run`."""
        now = self._clock.now()

        def claim(connection: sqlite3.Connection) -> RunLease | None:
            row = connection.execute(
                f"{_LEASE} where due_at <= ? order by due_at limit 1", (now.isoformat(),)
            ).fetchone()
            if row is None:
                return None
            return self._grant(connection, row, owner, now + timedelta(seconds=ttl))

        return await self._database.write(claim)

    async def request_cancel(self, run_id: UUID, reason: str) -> bool:
        """See `RunCheckpoints.request_cancel`."""

        def request(connection: sqlite3.Connection) -> bool:
            row = connection.execute(
                "select seq from runs where run_id = ? and ended_at is null", (str(run_id),)
            ).fetchone()
            if row is not None:
                connection.execute(
                    "update runs set cancel_requested = coalesce(cancel_requested, ?)"
                    " where seq = ?",
                    (as_text(reason), row[0]),
                )
                reschedule(connection, row[0])
            return row is not None

        return await self._database.write(request)

    async def commit(
        self,
        lease: RunLease,
        entries: Iterable[CheckpointEntry] = (),
        *,
        removed: Iterable[str] = (),
        events: Iterable[RunEvent] = (),
        status: RunStatus | None = None,
        facts: dict[str, Any] | None = None,
    ) -> None:
        """See `RunCheckpoints.commit`."""
        change = self._change(lease, status, facts) if status is not None or facts else None
        logged = self._encode_events(events)
        written = [(utf8(entry.key), bytes(entry.value)) for entry in entries]
        gone = [utf8(key) for key in removed]

        def commit(connection: sqlite3.Connection) -> None:
            seq, current, last, last_event = self._owned(connection, lease)
            if gone:
                connection.executemany(
                    "update run_entries set value = null where seq = ? and key = ?",
                    [(seq, key) for key in gone],
                )
            if written:
                connection.executemany(
                    _PUT_ENTRY,
                    [(seq, number, *entry) for number, entry in enumerate(written, last + 1)],
                )
            if logged:
                append_events(connection, seq, logged, last_event)
            if change is not None:
                change(connection, seq, current)

        await self._database.write(commit)

    def _change(
        self, lease: RunLease, status: RunStatus | None, facts: dict[str, Any] | None
    ) -> Callable[[sqlite3.Connection, int, str], None]:
        """Return what changes the record of the run, given its number and status."""
        new = None if status is None else as_run_status(status)
        metadata = dict(facts or {})
        result = {name: metadata.pop(name, None) for name in ("error", "duration_ms")}
        encoded = self._encode(metadata)
        now = self._clock.now().isoformat()

        def change(connection: sqlite3.Connection, seq: int, status: str) -> None:
            if new is not None and new.is_final:
                connection.execute("update runs set expires_at = null where seq = ?", (seq,))
            current = self._status(status, lease.run_id)
            set_status(connection, seq, (lease.run_id, current, new or current), now, **result)
            put_metadata(connection, seq, encoded)

        return change

    async def load_entries(
        self, run_id: UUID, *, after: int = 0, limit: int | None = None
    ) -> Sequence[CheckpointEntry]:
        """See `RunCheckpoints.load_entries`."""
        rows = await self._database.read(
            lambda connection: connection.execute(
                _ENTRIES, (str(run_id), after, -1 if limit is None else max(limit, 0))
            ).fetchall()
        )
        with sound(self._path, f"run {run_id}"):
            return tuple(
                CheckpointEntry(key=from_utf8(key), value=bytes(memoryview(value)), number=number)
                for number, key, value in rows
            )

    async def prune_runs(
        self,
        *,
        before: datetime,
        statuses: Iterable[str] = ("completed", "failed", "cancelled"),
        limit: int = 1000,
        dry_run: bool = False,
    ) -> Sequence[UUID]:
        """See `RunRetention.prune_runs`."""
        check_aware(before)
        wanted = final_statuses(statuses)
        condition = f"status in ({', '.join('?' * len(wanted))})"
        parameters = (before.astimezone(UTC).isoformat(), *wanted, max(limit, 0))

        def select(connection: sqlite3.Connection) -> list[str]:
            rows = connection.execute(
                "select run_id from runs indexed by runs_by_end where ended_at < ?"  # noqa: S608
                f" and expires_at is null and {condition} order by ended_at, seq limit ?",
                parameters,
            )
            return [run_id for (run_id,) in rows]

        def prune(connection: sqlite3.Connection) -> list[str]:
            chosen = select(connection)
            forget_runs(connection, chosen)
            return chosen

        call = self._database.read(select) if dry_run else self._database.write(prune)
        chosen = await call
        with sound(self._path, "its runs"):
            return tuple(map(UUID, chosen))

    def _lease(self, row: Row) -> RunLease | None:
        _, run_id, owner, token, expires_at, cancel_requested = row
        if expires_at is None:
            return None
        with sound(self._path, f"run {run_id}"):
            return RunLease(
                run_id=UUID(run_id),
                owner=owner,
                token=token,
                expires_at=datetime.fromisoformat(expires_at),
                cancel_requested=cancel_requested,
            )

    def _grant(
        self, connection: sqlite3.Connection, row: Row, owner: str, until: datetime
    ) -> RunLease:
        seq, run_id, _, token, _, cancel_requested = row
        connection.execute(
            "update runs set owner = ?, token = ?, expires_at = ? where seq = ?",
            (as_text(owner), token + 1, until.isoformat(), seq),
        )
        reschedule(connection, seq)
        with sound(self._path, f"run {run_id}"):
            return RunLease(
                run_id=UUID(run_id),
                owner=owner,
                token=token + 1,
                expires_at=until,
                cancel_requested=cancel_requested,
            )


def forget_runs(connection: sqlite3.Connection, run_ids: Sequence[str]) -> int:
    """Forget the runs and all that belongs to them, but not the tokens that they had."""
    ids = [(run_id,) for run_id in run_ids]
    connection.executemany(
        "insert or replace into run_tokens (run_id, token)"
        " select run_id, token from runs where run_id = ? and token > 0",
        ids,
    )
    return connection.executemany("delete from runs where run_id = ?", ids).rowcount


def _current(connection: sqlite3.Connection, lease: RunLease) -> Row | None:
    """Return the row of the run, if *lease* is its lease."""
    row: Row | None = connection.execute(
        f"{_LEASE} where run_id = ? and token = ? and expires_at is not null",
        (str(lease.run_id), lease.token),
    ).fetchone()
    return row
