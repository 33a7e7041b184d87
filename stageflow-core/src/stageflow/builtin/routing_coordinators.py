"""The routing coordinators of core: decisions known to the process, or kept in an SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

import anyio.lowlevel
import attrs

from stageflow.builtin._sqlite import Schema, SqliteDatabase, Synchronous
from stageflow.contracts.clock import Clock, SystemClock
from stageflow.contracts.coordination import coordination_id
from stageflow.contracts.partitions import Partition, partition_key
from stageflow.contracts.routing_coordinator import (
    DecisionIdNotFoundError,
    DecisionNotFoundError,
    RoutingCoordinatorCapabilities,
)
from stageflow.contracts.storage import StorageClosedError

__all__ = ("MemoryRoutingCoordinator", "SqliteRoutingCoordinator")

_SCHEMA: Final = Schema(
    component="routing",
    migrations=(
        (
            """
            create table routing_decisions (
                decision_id text primary key,
                run_id text not null,
                router text not null,
                partition text not null,
                route text,
                reason text,
                decided_at text not null
            ) without rowid
            """,
            "create index routing_decisions_by_time on routing_decisions (decided_at)",
        ),
    ),
)


@attrs.frozen
class _Decision:
    decision_id: str
    run_id: str
    router: str
    partition: str
    route: str | None
    reason: str | None
    decided_at: str

    @classmethod
    def made(
        cls,
        run_id: UUID | str,
        router: str,
        partition: Partition,
        route: str | None,
        reason: str | None,
        now: datetime,
    ) -> _Decision:
        decision_id = coordination_id(run_id, router, partition)
        key = partition_key(partition)
        return cls(decision_id, str(run_id), router, key, route, reason, _instant(now))


def _instant(at: datetime) -> str:
    # All of one length, so that the order of the texts is the order of the times.
    return at.astimezone(UTC).isoformat(timespec="microseconds")


class MemoryRoutingCoordinator:
    """Keeps decisions in this process.

    No call suspends, so each has happened completely before anything else does.

    Args:
        keep_for: Decisions older than this are forgotten as new ones are recorded; none unless
            given.
        clock: Where the times of decisions come from.
    """

    capabilities: Final = RoutingCoordinatorCapabilities(retention=True)

    def __init__(self, *, keep_for: timedelta | None = None, clock: Clock | None = None) -> None:
        self._keep_for = keep_for
        self._clock = clock or SystemClock()
        self._decisions: dict[str, _Decision] = {}
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
        """Forget all decisions and refuse further calls; again is no error."""
        self._closed = True
        self._decisions.clear()
        await anyio.lowlevel.checkpoint()

    async def record(
        self,
        run_id: UUID | str,
        router_asset: str,
        partition: Partition,
        selected_branch: str | None,
        *,
        reason: str | None = None,
    ) -> str:
        """See `RoutingCoordinator.record`."""
        self._check_open()
        now = self._clock.now()
        made = _Decision.made(run_id, router_asset, partition, selected_branch, reason, now)
        if self._keep_for is not None:
            limit = _instant(now - self._keep_for)
            # They stand in the order of their times, unless the host's clock was set back.
            self._forget(takewhile(lambda old: old.decided_at < limit, self._decisions.values()))
        return self._decisions.setdefault(made.decision_id, made).decision_id

    async def get(self, run_id: UUID | str, router_asset: str, partition: Partition) -> str | None:
        """See `RoutingCoordinator.get`."""
        self._check_open()
        found = self._decisions.get(coordination_id(run_id, router_asset, partition))
        if found is None:
            raise DecisionNotFoundError(run_id, router_asset, partition)
        return found.route

    async def to_output(self, decision_id: str) -> dict[str, Any]:
        """See `RoutingCoordinator.to_output`."""
        self._check_open()
        found = self._decisions.get(decision_id)
        if found is None:
            raise DecisionIdNotFoundError(decision_id)
        return attrs.asdict(found)

    async def prune(self, before: datetime) -> int:
        """See `DecisionRetention.prune`."""
        self._check_open()
        limit = _instant(before)
        return self._forget(old for old in self._decisions.values() if old.decided_at < limit)

    def _forget(self, old: Iterable[_Decision]) -> int:
        gone = [decision.decision_id for decision in old]
        for decision_id in gone:
            del self._decisions[decision_id]
        return len(gone)

    def _check_open(self) -> None:
        if self._closed:
            raise StorageClosedError("MemoryRoutingCoordinator")

    def __repr__(self) -> str:
        return f"MemoryRoutingCoordinator({len(self._decisions)} decisions)"


class SqliteRoutingCoordinator:
    """Keeps decisions in an SQLite file, which any number of processes may use at once.

    Args:
        path: The file; it and the folders above it are made when they are missing.
        keep_for: Decisions older than this are forgotten as new ones are recorded; none unless
            given.
        synchronous: `full`: what was kept survives the death of the machine; `normal`: that of
            the process.
        busy_timeout: For how many seconds a call waits for another process that writes.
        clock: Where the times of decisions come from.
    """

    capabilities: Final = RoutingCoordinatorCapabilities(retention=True)

    def __init__(
        self,
        path: str | Path,
        *,
        keep_for: timedelta | None = None,
        synchronous: Synchronous = "full",
        busy_timeout: float = 5.0,
        clock: Clock | None = None,
    ) -> None:
        self._keep_for = keep_for
        self._clock = clock or SystemClock()
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

    async def record(
        self,
        run_id: UUID | str,
        router_asset: str,
        partition: Partition,
        selected_branch: str | None,
        *,
        reason: str | None = None,
    ) -> str:
        """See `RoutingCoordinator.record`."""
        now = self._clock.now()
        made = _Decision.made(run_id, router_asset, partition, selected_branch, reason, now)
        row = tuple(map(_text, attrs.astuple(made)))

        def record(connection: sqlite3.Connection) -> None:
            if self._keep_for is not None:
                _forget(connection, now - self._keep_for)
            connection.execute(
                "insert into routing_decisions values (?, ?, ?, ?, ?, ?, ?)"
                " on conflict (decision_id) do nothing",
                row,
            )

        await self._database.write(record)
        return made.decision_id

    async def get(self, run_id: UUID | str, router_asset: str, partition: Partition) -> str | None:
        """See `RoutingCoordinator.get`."""
        found = await self._find(coordination_id(run_id, router_asset, partition))
        if found is None:
            raise DecisionNotFoundError(run_id, router_asset, partition)
        return found.route

    async def to_output(self, decision_id: str) -> dict[str, Any]:
        """See `RoutingCoordinator.to_output`."""
        found = await self._find(decision_id)
        if found is None:
            raise DecisionIdNotFoundError(decision_id)
        return attrs.asdict(found)

    async def prune(self, before: datetime) -> int:
        """See `DecisionRetention.prune`."""
        return await self._database.write(lambda connection: _forget(connection, before))

    async def _find(self, decision_id: str) -> _Decision | None:
        row = await self._database.read(
            lambda connection: connection.execute(
                "select * from routing_decisions where decision_id = ?", (decision_id,)
            ).fetchone()
        )
        return None if row is None else _Decision(*row)

    def __repr__(self) -> str:
        return f"SqliteRoutingCoordinator({str(self._database.path)!r})"


def _forget(connection: sqlite3.Connection, before: datetime) -> int:
    return connection.execute(
        "delete from routing_decisions where decided_at < ?", (_instant(before),)
    ).rowcount


def _text(value: str | None) -> str | None:
    """Return *value* as SQLite can keep it: half a surrogate pair becomes an escape."""
    return None if value is None else value.encode("utf-8", "backslashreplace").decode()
