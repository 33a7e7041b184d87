"""Waits and signals of `SqliteRunStore`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from stageflow.builtin._run_store_rules import no_such_wait
from stageflow.builtin._sqlite_errors import sound
from stageflow.builtin._sqlite_runs import (
    Row,
    SqliteRuns,
    from_utf8,
    reschedule,
    set_status,
    utf8,
)
from stageflow.contracts.checkpoints import RunLease
from stageflow.contracts.run_store import RunNotFoundError, RunStatus
from stageflow.contracts.waits import RunEndedError, RunWait, SignalReceipt, WaitState

__all__ = ("SqliteWaits",)

_WAITS: Final = (
    "select wait_id, stage, name, created_at, deadline, state, value from run_waits where seq = ?"
)
_ADD_WAIT: Final = """
    insert into run_waits (seq, number, wait_id, stage, name, created_at, deadline, state, value)
    select ?, coalesce(max(number), 0) + 1, ?, ?, ?, ?, ?, ?, ? from run_waits where seq = ?
"""
_ADD_SIGNAL: Final = """
    insert into run_signals (seq, number, name, signal_id, wait_id, value)
    select ?, coalesce(max(number), 0) + 1, ?, ?, ?, ? from run_signals where seq = ?
"""
_KEPT: Final = """
    select number, value from run_signals indexed by run_signals_kept
    where seq = ? and name = ? and value is not null order by number limit 1
"""
_OLDEST_OPEN: Final = """
    select number, wait_id from run_waits indexed by run_waits_open
    where seq = ? and name = ? and state = 'open' order by number limit 1
"""


class SqliteWaits(SqliteRuns):
    """The capability `waits`."""

    async def open_wait(
        self,
        lease: RunLease,
        wait_id: str,
        *,
        stage: str,
        name: str,
        timeout: float | None = None,
    ) -> RunWait:
        """See `RunWaits.open_wait`."""
        now = self._clock.now()
        deadline = None if timeout is None else (now + timedelta(seconds=timeout)).isoformat()
        known_by = utf8(wait_id)

        def open_it(connection: sqlite3.Connection) -> Row:
            seq = self._owned(connection, lease)[0]
            known = _find(connection, seq, known_by)
            if known is not None:
                return known
            state, value = WaitState.OPEN, None
            kept = connection.execute(_KEPT, (seq, utf8(name))).fetchone()
            if kept is not None:
                state, value = WaitState.ANSWERED, kept[1]
                connection.execute(
                    "update run_signals set value = null where seq = ? and number = ?",
                    (seq, kept[0]),
                )
            row = (known_by, utf8(stage), utf8(name), now.isoformat(), deadline, state, value)
            connection.execute(_ADD_WAIT, (seq, *row, seq))
            return row

        return self._wait(lease.run_id, await self._database.write(open_it))

    async def expire_wait(self, lease: RunLease, wait_id: str) -> RunWait:
        """See `RunWaits.expire_wait`."""
        known_by = utf8(wait_id)

        def expire(connection: sqlite3.Connection) -> Row:
            seq = self._owned(connection, lease)[0]
            connection.execute(
                "update run_waits set state = 'timed_out'"
                " where seq = ? and wait_id = ? and state = 'open'",
                (seq, known_by),
            )
            found = _find(connection, seq, known_by)
            if found is None:
                raise no_such_wait(lease.run_id, wait_id)
            return found

        return self._wait(lease.run_id, await self._database.write(expire))

    async def list_waits(self, run_id: UUID) -> Sequence[RunWait]:
        """See `RunWaits.list_waits`."""
        select = _WAITS.replace("= ?", "= (select seq from runs where run_id = ?) order by number")
        rows = await self._database.read(
            lambda connection: connection.execute(select, (str(run_id),)).fetchall()
        )
        return tuple(self._wait(run_id, row) for row in rows)

    async def park_run(self, lease: RunLease, wait_ids: Iterable[str]) -> bool:
        """See `RunWaits.park_run`."""
        given = {utf8(wait_id) for wait_id in wait_ids}
        now = self._clock.now().isoformat()

        def park(connection: sqlite3.Connection) -> bool:
            seq, status, *_ = self._owned(connection, lease)
            opened = connection.execute(
                "select wait_id from run_waits indexed by run_waits_open"
                " where seq = ? and state = 'open'",
                (seq,),
            )
            if not given.issubset(wait_id for (wait_id,) in opened):
                return False
            connection.execute(
                "update run_waits indexed by run_waits_parked set is_parked_for = 0"
                " where seq = ? and is_parked_for",
                (seq,),
            )
            connection.executemany(
                "update run_waits set is_parked_for = 1 where seq = ? and wait_id = ?",
                [(seq, wait_id) for wait_id in given],
            )
            connection.execute("update runs set expires_at = null where seq = ?", (seq,))
            current = self._status(status, lease.run_id)
            set_status(connection, seq, (lease.run_id, current, RunStatus.WAITING), now)
            reschedule(connection, seq)
            return True

        return await self._database.write(park)

    async def signal_run(
        self, run_id: UUID, name: str, value: bytes, *, signal_id: str | None = None
    ) -> SignalReceipt:
        """See `RunWaits.signal_run`."""
        answer, wanted = bytes(value), utf8(name)
        given = None if signal_id is None else utf8(signal_id)

        def signal(connection: sqlite3.Connection) -> tuple[bytes | None, bool, bool]:
            row = connection.execute(
                "select seq, status, expires_at is null from runs where run_id = ?", (str(run_id),)
            ).fetchone()
            if row is None:
                raise RunNotFoundError(run_id)
            seq, status, is_free = row
            parked = bool(is_free) and status == RunStatus.WAITING
            first = connection.execute(
                "select wait_id from run_signals where seq = ? and signal_id = ?", (seq, given)
            ).fetchone()
            if first is not None:
                return first[0], True, parked
            if self._status(status, run_id).is_final:
                raise RunEndedError(run_id, status)
            wait_id = _answer(connection, seq, wanted, answer)
            if wait_id is None or given is not None:
                kept = answer if wait_id is None else None
                connection.execute(_ADD_SIGNAL, (seq, wanted, given, wait_id, kept, seq))
            if parked and wait_id is not None:
                reschedule(connection, seq)
            return wait_id, False, parked

        wait_id, repeated, parked = await self._database.write(signal)
        with sound(self._path, f"run {run_id}"):
            return SignalReceipt(
                wait_id=None if wait_id is None else from_utf8(wait_id),
                repeated=repeated,
                parked=parked,
            )

    def _wait(self, run_id: UUID, row: Row) -> RunWait:
        wait_id, stage, name, created_at, deadline, state, value = row
        with sound(self._path, f"run {run_id}"):
            return RunWait(
                run_id=run_id,
                wait_id=from_utf8(wait_id),
                stage=from_utf8(stage),
                name=from_utf8(name),
                created_at=datetime.fromisoformat(created_at),
                deadline=None if deadline is None else datetime.fromisoformat(deadline),
                state=state,
                value=None if value is None else bytes(memoryview(value)),
            )


def _find(connection: sqlite3.Connection, seq: int, wait_id: bytes) -> Row | None:
    row: Row | None = connection.execute(f"{_WAITS} and wait_id = ?", (seq, wait_id)).fetchone()
    return row


def _answer(connection: sqlite3.Connection, seq: int, name: bytes, value: bytes) -> bytes | None:
    """Answer the oldest open wait for *name* and return its id; None if there is none."""
    row = connection.execute(_OLDEST_OPEN, (seq, name)).fetchone()
    if row is None:
        return None
    number, wait_id = row
    connection.execute(
        "update run_waits set state = 'answered', value = ? where seq = ? and number = ?",
        (value, seq, number),
    )
    return bytes(wait_id)
