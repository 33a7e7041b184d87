"""Checkpoints and retention of `PostgresRunStore`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from stageflow.contracts.checkpoints import (
    CheckpointEntry,
    LeaseHeldError,
    LeaseLostError,
    RunLease,
)
from stageflow.contracts.run_store import (
    RunEvent,
    RunNotFoundError,
    RunStatus,
    RunStoreError,
    as_run_status,
)
from stageflow_io_postgres._runs import EncodedEvent, PostgresRuns, as_text, from_utf8, utf8
from stageflow_io_postgres.database import Connection, Row

__all__ = ("PostgresCheckpoints",)

_FIRST = UUID(int=0)


class PostgresCheckpoints(PostgresRuns):
    """The capabilities `checkpoints` and `retention`.

    A call whose outcome is lost with its connection is made again under the same id, which the
    run's row keeps, so that it happens once. It is enough to know the last one: only the owner of
    a run writes to it, one thing after the other.
    """

    async def acquire_lease(
        self, run_id: UUID, owner: str, *, ttl: float, take_over: int | None = None
    ) -> RunLease:
        """See `RunCheckpoints.acquire_lease`."""
        database, call = self._database, uuid4()
        while True:
            row = await database.fetchrow(
                *(self._sql["acquire_lease"], run_id, as_text(owner), ttl, take_over, call),
                repeatable=True,
            )
            if row is not None:
                return _lease(row)
            held = await database.fetchrow(self._sql["get_lease"], run_id, repeatable=True)
            if held is None:
                raise RunNotFoundError(run_id)
            if held["expires_at"] is not None:
                if held["last_commit"] == call:
                    return _lease(held)
                raise LeaseHeldError(_lease(held))
            # It was released between the two looks.

    async def renew_lease(self, lease: RunLease, *, ttl: float) -> RunLease:
        """See `RunCheckpoints.renew_lease`."""
        row = await self._database.fetchrow(
            self._sql["renew_lease"], lease.run_id, lease.token, ttl, repeatable=True
        )
        if row is None:
            raise LeaseLostError(lease)
        return _lease(row)

    async def release_lease(self, lease: RunLease) -> bool:
        """See `RunCheckpoints.release_lease`."""

        async def release(connection: Connection) -> bool:
            seq = await connection.fetchval(self._sql["release_lease"], lease.run_id, lease.token)
            if seq is not None:
                await connection.execute(self._sql["reschedule"], seq)
            return seq is not None

        return await self._database.run(release, repeatable=True)

    async def get_lease(self, run_id: UUID) -> RunLease | None:
        """See `RunCheckpoints.get_lease`."""
        row = await self._database.fetchrow(self._sql["get_lease"], run_id, repeatable=True)
        return None if row is None or row["expires_at"] is None else _lease(row)

    async def list_leases(
        self, *, after: UUID | None = None, limit: int = 100
    ) -> Sequence[RunLease]:
        """See `RunCheckpoints.list_leases`."""
        # No run has the first of all ids but one who wants to be missed.
        rows = await self._database.fetch(
            self._sql["list_leases"], after or _FIRST, max(limit, 0), repeatable=True
        )
        return tuple(map(_lease, rows))

    async def claim_run(self, owner: str, *, ttl: float) -> RunLease | None:
        """See `RunCheckpoints.claim_run`."""
        row = await self._database.fetchrow(self._sql["claim_run"], as_text(owner), ttl)
        return None if row is None else _lease(row)

    async def request_cancel(self, run_id: UUID, reason: str) -> bool:
        """See `RunCheckpoints.request_cancel`."""

        async def request(connection: Connection) -> bool:
            seq = await connection.fetchval(self._sql["request_cancel"], run_id, as_text(reason))
            if seq is not None:
                await connection.execute(self._sql["reschedule"], seq)
                await self._announce(connection, run_id)
            return seq is not None

        return await self._database.run(request, repeatable=True)

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
        # The last one of a key stands for all of them, in its place.
        written: dict[bytes, bytes] = {}
        for entry in entries:
            written.pop(key := utf8(entry.key), None)
            written[key] = bytes(entry.value)
        gone = [key for key in map(utf8, removed) if key not in written]
        logged = self._encode_events(events)
        if status is not None or facts:
            await self._commit_status(lease, (written, gone, logged), status, dict(facts or {}))
            return
        database, place = self._database, (lease.run_id, lease.token)
        if len(written) == 1 and not gone and not logged:
            entry_row = next(iter(written.items()))
            query = self._sql["commit_entry"]
            if await database.fetchval(query, *place, *entry_row, repeatable=True) is None:
                raise LeaseLostError(lease)
            return
        call = uuid4()
        if len(written) == 1 and not gone:
            count, _, (key,), (value,), *columns = _columns(written, gone, logged)
            arguments: tuple[Any, ...] = (count, key, value, *columns)
            query = self._sql["commit_step"]
        else:
            query, arguments = self._sql["commit"], _columns(written, gone, logged)
        made = await database.fetchval(query, *place, call, *arguments, repeatable=True)
        if made is None:
            last = await database.fetchval(self._sql["last_commit"], place[0], repeatable=True)
            if last != call:
                raise LeaseLostError(lease)

    async def _commit_status(
        self,
        lease: RunLease,
        content: tuple[dict[bytes, bytes], list[bytes], list[EncodedEvent]],
        status: RunStatus | None,
        facts: dict[str, Any],
    ) -> None:
        """Commit with a change of the run's record."""
        new = None if status is None else as_run_status(status)
        result = {name: facts.pop(name, None) for name in ("error", "duration_ms")}
        metadata = self._encode(facts)
        call, ends = uuid4(), new is not None and new.is_final

        async def commit(connection: Connection) -> None:
            row = await connection.fetchrow(
                self._sql["lock_owned"], lease.run_id, lease.token, call
            )
            if row is None:
                raise LeaseLostError(lease)
            if row["is_made"]:
                return
            seq = row["seq"]
            await connection.fetchval(
                *(self._sql["commit"], lease.run_id, lease.token, call, *_columns(*content))
            )
            if ends:
                await connection.execute(self._sql["end_lease"], seq, call)
            change = (lease.run_id, row["status"], new or RunStatus(row["status"]))
            await self._set_status(connection, seq, change, **result)
            await connection.execute(self._sql["put_metadata"], seq, *metadata)

        await self._database.run(commit, repeatable=True)

    async def load_entries(
        self, run_id: UUID, *, after: int = 0, limit: int | None = None
    ) -> Sequence[CheckpointEntry]:
        """See `RunCheckpoints.load_entries`."""
        most = None if limit is None else max(limit, 0)
        rows = await self._database.fetch(
            self._sql["load_entries"], run_id, after, most, repeatable=True
        )
        with self._sound(f"run {run_id}"):
            return tuple(
                CheckpointEntry(key=from_utf8(row["key"]), value=row["value"], number=row["number"])
                for row in rows
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
        _check_aware(before)
        arguments = (before, _final_statuses(statuses), max(limit, 0))

        async def prune(connection: Connection) -> list[UUID]:
            query = "runs_to_prune" if dry_run else "lock_runs_to_prune"
            chosen = [row["run_id"] for row in await connection.fetch(self._sql[query], *arguments)]
            if chosen and not dry_run:
                await connection.fetchval(self._sql["delete_runs"], chosen)
            return chosen

        return tuple(await self._database.run(prune, repeatable=dry_run))


def _lease(row: Row) -> RunLease:
    return RunLease(
        run_id=UUID(int=row["run_id"].int),  # the driver has a class of its own
        owner=row["owner"],
        token=row["token"],
        expires_at=row["expires_at"],
        cancel_requested=row["cancel_requested"],
    )


def _columns(
    written: dict[bytes, bytes], gone: list[bytes], logged: list[EncodedEvent]
) -> tuple[Any, ...]:
    """Return what the query `commit` takes after the call: columns instead of rows."""
    types, times, data = zip(*logged, strict=True) if logged else ((), (), ())
    return len(logged), gone, list(written), list(written.values()), types, times, data


def _check_aware(before: datetime) -> None:
    if before.tzinfo is None:
        raise RunStoreError(
            f"Runs cannot be pruned before {before.isoformat()}, which has no offset from UTC.",
            hint="Give an aware time, such as one with tzinfo=UTC.",
        )


def _final_statuses(statuses: Iterable[str]) -> list[str]:
    wanted = list(dict.fromkeys(map(as_run_status, statuses)))
    unfinished = [status for status in wanted if not status.is_final]
    if unfinished:
        raise RunStoreError(
            f"Runs that are {' or '.join(unfinished)} have not ended; they are not pruned.",
            hint="Name statuses that are final: completed, failed, cancelled.",
        )
    return [status.value for status in wanted]
