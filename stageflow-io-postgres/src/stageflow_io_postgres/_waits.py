"""Waits and signals of `PostgresRunStore`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

from stageflow.contracts.checkpoints import LeaseLostError, RunLease
from stageflow.contracts.run_store import RunNotFoundError, RunStatus, RunStoreError
from stageflow.contracts.waits import RunEndedError, RunWait, SignalReceipt
from stageflow_io_postgres._runs import PostgresRuns, from_utf8, utf8
from stageflow_io_postgres.database import Connection, Row
from stageflow_io_postgres.listener import Subscription

__all__ = ("PostgresWaits",)


class PostgresWaits(PostgresRuns):
    """The capability `waits`, and news of what other processes answer."""

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
        known_by, named = utf8(wait_id), utf8(name)

        async def open_it(connection: Connection) -> Row:
            seq = (await self._owned(connection, lease))["seq"]
            known: Row | None = await connection.fetchrow(self._sql["find_wait"], seq, known_by)
            if known is not None:
                return known
            answer = await connection.fetchval(self._sql["take_kept_signal"], seq, named)
            added: Row = await connection.fetchrow(
                self._sql["add_wait"], seq, known_by, utf8(stage), named, timeout, answer
            )
            return added

        return self._wait(lease.run_id, await self._database.run(open_it, repeatable=True))

    async def expire_wait(self, lease: RunLease, wait_id: str) -> RunWait:
        """See `RunWaits.expire_wait`."""
        known_by = utf8(wait_id)

        async def expire(connection: Connection) -> Row:
            seq = (await self._owned(connection, lease))["seq"]
            await connection.execute(self._sql["expire_wait"], seq, known_by)
            found: Row | None = await connection.fetchrow(self._sql["find_wait"], seq, known_by)
            if found is None:
                raise RunStoreError(
                    f"Run {lease.run_id} has no wait {wait_id!r}.",
                    hint="Open it first, or look at `list_waits`.",
                )
            return found

        return self._wait(lease.run_id, await self._database.run(expire, repeatable=True))

    async def list_waits(self, run_id: UUID) -> Sequence[RunWait]:
        """See `RunWaits.list_waits`."""
        rows = await self._database.fetch(self._sql["list_waits"], run_id, repeatable=True)
        return tuple(self._wait(run_id, row) for row in rows)

    async def park_run(self, lease: RunLease, wait_ids: Iterable[str]) -> bool:
        """See `RunWaits.park_run`."""
        given = list({utf8(wait_id) for wait_id in wait_ids})
        call = uuid4()

        async def park(connection: Connection) -> bool:
            run = await self._owned(connection, lease, call)
            if run["is_made"]:
                return True
            seq = run["seq"]
            opened = await connection.fetchval(self._sql["count_open_waits"], seq, given)
            if opened != len(given):
                return False
            await connection.execute(self._sql["park_for"], seq, given)
            await connection.execute(self._sql["end_lease"], seq, call)
            change = (lease.run_id, run["status"], RunStatus.WAITING)
            await self._set_status(connection, seq, change)
            await connection.execute(self._sql["reschedule"], seq)
            return True

        return await self._database.run(park, repeatable=True)

    async def signal_run(
        self, run_id: UUID, name: str, value: bytes, *, signal_id: str | None = None
    ) -> SignalReceipt:
        """See `RunWaits.signal_run`."""
        answer, wanted = bytes(value), utf8(name)
        given = None if signal_id is None else utf8(signal_id)

        async def signal(connection: Connection) -> tuple[bytes | None, bool, bool]:
            run = await connection.fetchrow(self._sql["lock_run"], run_id)
            if run is None:
                raise RunNotFoundError(run_id)
            seq, status = run["seq"], RunStatus(run["status"])
            parked = run["is_free"] and status is RunStatus.WAITING
            if given is not None:
                first = await connection.fetchrow(self._sql["find_signal"], seq, given)
                if first is not None:
                    return first["wait_id"], True, parked
            if status.is_final:
                raise RunEndedError(run_id, status)
            wait_id = await connection.fetchval(self._sql["answer_wait"], seq, wanted, answer)
            if wait_id is None or given is not None:
                kept = answer if wait_id is None else None
                await connection.execute(self._sql["add_signal"], seq, wanted, given, wait_id, kept)
            if wait_id is not None:
                if parked:
                    await connection.execute(self._sql["reschedule"], seq)
                await self._announce(connection, run_id)
            return wait_id, False, parked

        wait_id, repeated, parked = await self._database.run(
            signal, repeatable=signal_id is not None
        )
        with self._sound(f"run {run_id}"):
            return SignalReceipt(
                wait_id=None if wait_id is None else from_utf8(wait_id),
                repeated=repeated,
                parked=parked,
            )

    @asynccontextmanager
    async def news(self, run_id: UUID | None = None) -> AsyncIterator[Subscription]:
        """Hear within the block, from any process, that a wait was answered or a run is to stop.

        Look at the run after entering the block, and then each time that `wait` returns: it says
        True at once for what has been announced, and False after the time that it is given, which
        makes up for what nobody could announce.

        Args:
            run_id: News of this run alone; of all, unless given.
        """
        key = None if run_id is None else str(run_id)
        async with self._database.listener.subscribe(self._channel, key) as subscription:
            yield subscription

    async def _owned(
        self, connection: Connection, lease: RunLease, call: UUID | None = None
    ) -> Row:
        """Return the run's row, locked.

        Raises:
            LeaseLostError: *lease* is no longer the run's.
        """
        query = self._sql["lock_owned"]
        row: Row | None = await connection.fetchrow(
            query, lease.run_id, lease.token, call or uuid4()
        )
        if row is None:
            raise LeaseLostError(lease)
        return row

    def _wait(self, run_id: UUID, row: Row) -> RunWait:
        with self._sound(f"run {run_id}"):
            return RunWait(
                run_id=run_id,
                wait_id=from_utf8(row["wait_id"]),
                stage=from_utf8(row["stage"]),
                name=from_utf8(row["name"]),
                created_at=row["created_at"],
                deadline=row["deadline"],
                state=row["state"],
                value=row["value"],
            )
