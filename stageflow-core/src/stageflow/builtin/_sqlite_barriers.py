"""Barriers of scatters as rows: what one transaction does to one barrier."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final, Self

import attrs

from stageflow.builtin._sqlite import Schema
from stageflow.contracts.scatter_coordinator import (
    BarrierNotFoundError,
    BarrierSealedError,
    BarrierState,
    BarrierStatus,
    FailureMode,
    FailurePolicy,
    UnknownScatterKeyError,
)
from stageflow.contracts.scatter_keys import ScatterKey

__all__ = ("COMPLETED", "FAILED", "SCHEMA", "Barrier", "text")

PENDING, COMPLETED, FAILED, CANCELLED, LATE = range(5)

# An item lies by its number, next to those that came with it, and is found by its identity,
# which is its key itself if that is short. Who claims it stands in an index only as long as
# somebody does.
SCHEMA: Final = Schema(
    component="scatter",
    migrations=(
        (
            """
            create table scatter_barriers (
                seq integer primary key,
                barrier_id text not null unique,
                run_id text not null,
                threshold text not null,
                mode text not null,
                status text not null,
                sealed integer not null default 0,
                total integer not null default 0,
                completed integer not null default 0,
                failed integer not null default 0,
                cancelled integer not null default 0,
                late integer not null default 0,
                duplicates integer not null default 0,
                next_number integer not null default 0,
                cursor integer not null default 0,
                checkpoint blob
            )
            """,
            "create index scatter_barriers_by_run on scatter_barriers (run_id)",
            """
            create table scatter_items (
                barrier integer not null references scatter_barriers (seq) on delete cascade,
                number integer not null,
                identity blob not null,
                long_key blob,
                state integer not null default 0,
                outcome blob,
                worker text,
                deadline real,
                primary key (barrier, number)
            ) without rowid
            """,
            "create unique index scatter_items_by_key on scatter_items (barrier, identity)",
            """
            create index scatter_claims on scatter_items (barrier, deadline)
            where worker is not null
            """,
        ),
    ),
)
_COLUMNS: Final = (
    "status",
    "sealed",
    "total",
    "completed",
    "failed",
    "cancelled",
    "late",
    "duplicates",
    "next_number",
    "cursor",
    "checkpoint",
)
_LOAD: Final = (
    "select seq, barrier_id, threshold, mode, "  # noqa: S608 - fixed text
    f"{', '.join(_COLUMNS)} from scatter_barriers where barrier_id = ?"
)
_SAVE: Final = (
    f"update scatter_barriers set {', '.join(f'{name} = ?' for name in _COLUMNS)}"  # noqa: S608
    " where seq = ?"
)
_FREE: Final = "update scatter_items set worker = null, deadline = null where barrier = ? and"


@attrs.define(eq=False)
class Barrier:
    """One barrier within a transaction: `load` it, change it, `save` it."""

    _connection: sqlite3.Connection
    _seq: int
    _id: str
    _policy: FailurePolicy
    status: BarrierStatus
    _sealed: int
    _total: int
    _completed: int
    _failed: int
    _cancelled: int
    _late: int
    _duplicates: int
    _next_number: int
    _cursor: int  # no key before it is free to be claimed
    checkpoint: bytes

    @classmethod
    def create(
        cls, connection: sqlite3.Connection, barrier_id: str, run_id: str, policy: FailurePolicy
    ) -> Self | None:
        """Return a new barrier; None if there is one already."""
        created = connection.execute(
            "insert into scatter_barriers (barrier_id, run_id, threshold, mode, status)"
            " values (?, ?, ?, ?, ?) on conflict (barrier_id) do nothing",
            (barrier_id, run_id, json.dumps(policy.threshold), policy.mode, BarrierStatus.PENDING),
        )
        return cls.load(connection, barrier_id) if created.rowcount else None

    @classmethod
    def load(cls, connection: sqlite3.Connection, barrier_id: str) -> Self:
        """Return the barrier as it is.

        Raises:
            BarrierNotFoundError: There is no such barrier.
        """
        row = connection.execute(_LOAD, (text(barrier_id),)).fetchone()
        if row is None:
            raise BarrierNotFoundError(barrier_id)
        seq, found_id, threshold, mode, status, *rest = row
        policy = FailurePolicy(threshold=json.loads(threshold), mode=FailureMode(mode))
        return cls(connection, seq, found_id, policy, BarrierStatus(status), *rest)

    def save(self) -> None:
        """Decide what is to be said of the barrier now, and write its row."""
        if self.status is BarrierStatus.PENDING:
            self.status = self._policy.decide(
                sealed=bool(self._sealed),
                total=self._total,
                completed=self._completed,
                failed=self._failed,
            )
        values = attrs.astuple(self, recurse=False)[4:]
        self._connection.execute(_SAVE, (*values, self._seq))

    def insert(
        self, keys: list[ScatterKey], checkpoint: bytes | None, *, sealed: bool
    ) -> Sequence[ScatterKey]:
        """Add the keys that are new and return them."""
        if self.status in {BarrierStatus.CANCELLED, BarrierStatus.THRESHOLD_EXCEEDED}:
            return ()
        added: Sequence[ScatterKey] = ()
        if not self._sealed:
            added = self._add(list(dict.fromkeys(keys)))
        elif any(self._find(key) is None for key in keys):
            raise BarrierSealedError(self._id)
        self._duplicates += len(keys) - len(added)
        if checkpoint is not None:
            self.checkpoint = checkpoint
        self._sealed = int(self._sealed or sealed)
        return added

    def _add(self, keys: list[ScatterKey]) -> Sequence[ScatterKey]:
        if not keys:
            return ()
        first, seq = self._next_number, self._seq
        rows = []
        for number, key in enumerate(keys, start=first):
            identity = key.identity
            long_key = None if identity is key.payload else key.payload
            rows.append((seq, number, identity, long_key))
        inserted = self._connection.executemany(
            "insert into scatter_items (barrier, number, identity, long_key) values (?, ?, ?, ?)"
            " on conflict (barrier, identity) do nothing",
            rows,
        ).rowcount
        added = keys
        if inserted < len(keys):
            new = self._connection.execute(
                "select number from scatter_items where barrier = ? and number >= ?"
                " order by number",
                (seq, first),
            )
            added = [keys[number - first] for (number,) in new]
        self._next_number += len(keys)
        self._total += len(added)
        return added

    def record(self, state: int, outcomes: list[tuple[ScatterKey, bytes]]) -> None:
        """Keep outcomes of keys that have none; raise if there is no such key."""
        if not outcomes:
            return
        kept = self._connection.executemany(
            "update scatter_items set state = ?, outcome = ?, worker = null, deadline = null"
            " where barrier = ? and identity = ? and state = ?",
            [(state, outcome, self._seq, key.identity, PENDING) for key, outcome in outcomes],
        ).rowcount
        if state == COMPLETED:
            self._completed += kept
        else:
            self._failed += kept
        if kept < len(outcomes):
            self._look_at_ended(key for key, _ in outcomes)

    def _look_at_ended(self, keys: Iterable[ScatterKey]) -> None:
        for key in keys:
            found = self._find(key)
            if found is None:
                raise UnknownScatterKeyError(self._id, key.value)
            if found == CANCELLED:
                self._connection.execute(
                    "update scatter_items set state = ? where barrier = ? and identity = ?",
                    (LATE, self._seq, key.identity),
                )
                self._late += 1

    def _find(self, key: ScatterKey) -> int | None:
        row = self._connection.execute(
            "select state from scatter_items where barrier = ? and identity = ?",
            (self._seq, key.identity),
        ).fetchone()
        return None if row is None else int(row[0])

    def cancel(self) -> None:
        """End what is pending."""
        self._cancelled += self._connection.execute(
            "update scatter_items set state = ?, worker = null, deadline = null"
            " where barrier = ? and state = ?",
            (CANCELLED, self._seq, PENDING),
        ).rowcount
        if self.status is BarrierStatus.PENDING:
            self.status = BarrierStatus.CANCELLED

    def state(self, now: float) -> BarrierState:
        """Return the counts."""
        claimed = self._connection.execute(
            "select count(*) from scatter_items"
            " where barrier = ? and worker is not null and deadline > ?",
            (self._seq, now),
        ).fetchone()[0]
        return BarrierState(
            status=self.status,
            total=self._total,
            completed=self._completed,
            failed=self._failed,
            cancelled=self._cancelled,
            claimed=claimed,
            late=self._late,
            duplicates=self._duplicates,
            sealed=bool(self._sealed),
        )

    def outcomes(self, start: int, state: int, limit: int) -> list[tuple[int, bytes, bytes]]:
        """Return number, key and outcome of items in that state, from number *start* on."""
        return self._connection.execute(
            "select number, coalesce(long_key, identity), outcome from scatter_items"
            " where barrier = ? and number >= ? and state = ? order by number limit ?",
            (self._seq, start, state, limit),
        ).fetchall()

    def claim(self, worker: str, limit: int, now: float, deadline: float) -> list[bytes]:
        """Give the worker the first keys that nobody has."""
        self._free("worker is not null and deadline <= ?", now)
        found = self._connection.execute(
            "select number, coalesce(long_key, identity) from scatter_items"
            " where barrier = ? and number >= ? and state = ? and worker is null"
            " order by number limit ?",
            (self._seq, self._cursor, PENDING, max(limit, 0)),
        ).fetchall()
        self._connection.executemany(
            "update scatter_items set worker = ?, deadline = ? where barrier = ? and number = ?",
            [(worker, deadline, self._seq, number) for number, _ in found],
        )
        if found:
            self._cursor = found[-1][0] + 1
        return [key for _, key in found]

    def renew(self, worker: str, keys: list[ScatterKey], deadline: float) -> list[ScatterKey]:
        """Prolong the worker's claims and return the keys it still has."""
        return [
            key
            for key in keys
            if self._connection.execute(
                "update scatter_items set deadline = ?"
                " where barrier = ? and identity = ? and worker = ?",
                (deadline, self._seq, key.identity, worker),
            ).rowcount
        ]

    def release(self, worker: str, keys: list[ScatterKey] | None) -> int:
        """Give back claims of the worker and return how many it had."""
        if keys is None:
            return self._free("worker is not null and worker = ?", worker)
        return sum(self._free("identity = ? and worker = ?", key.identity, worker) for key in keys)

    def _free(self, condition: str, *parameters: Any) -> int:
        numbers = self._connection.execute(
            f"{_FREE} {condition} returning number", (self._seq, *parameters)
        ).fetchall()
        self._cursor = min([self._cursor, *(number for (number,) in numbers)])
        return len(numbers)


def text(value: str) -> str:
    """Return *value* as SQLite can keep it: half a surrogate pair becomes an escape."""
    return value.encode("utf-8", "backslashreplace").decode()
