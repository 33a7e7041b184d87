"""PostgresRunStore: runs outlive their process, and any number of processes share them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, cast
from uuid import UUID, uuid4

import attrs

from stageflow.codec import Codec
from stageflow.contracts.run_store import (
    RunEvent,
    RunExistsError,
    RunNotFoundError,
    RunRecord,
    RunStoreCapabilities,
    as_run_status,
    check_run_limit,
)
from stageflow_io_postgres._checkpoints import PostgresCheckpoints
from stageflow_io_postgres._runs import as_text
from stageflow_io_postgres._shared_values import PostgresSharedValues
from stageflow_io_postgres._waits import PostgresWaits
from stageflow_io_postgres.database import Connection, Database, Row

__all__ = ("PostgresRunStore", "PostgresRunStoreSettings", "make_postgres_run_store")


class PostgresRunStore(PostgresCheckpoints, PostgresWaits, PostgresSharedValues):
    """Keeps runs in a PostgreSQL database, which any number of processes may use at once.

    All times are the server's, so that processes agree on whose lease has expired.

    Args:
        database: Where the runs are; whoever opened it closes it.
        codec: What metadata and events are encoded with; the default one unless given.
    """

    capabilities: RunStoreCapabilities = RunStoreCapabilities(
        listing=True,
        event_log=True,
        deletion=True,
        checkpoints=True,
        retention=True,
        waits=True,
        shared_values=True,
        news=True,
    )

    def __init__(self, database: Database, *, codec: Codec | None = None) -> None:
        super().__init__(database, codec=codec)
        if not database.hears_news:
            self.capabilities = attrs.evolve(self.capabilities, news=False)

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
        first = as_run_status(status)
        texts = (as_text(service), as_text(topology), as_text(execution_mode))
        call = uuid4()
        arguments = (*texts, first.value, first.is_final, call, *self._encode(metadata))
        database = self._database
        row = await database.fetchrow(self._sql["create_run"], run_id, *arguments, repeatable=True)
        if row is not None:
            return self._record(row)
        made = await database.fetchval(self._sql["last_commit"], run_id, repeatable=True)
        record = await self.get_run(run_id) if made == call else None
        if record is None:
            raise RunExistsError(run_id)
        return record

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
        new = as_run_status(status)
        metadata = self._encode(data)

        async def update(connection: Connection) -> None:
            run = await connection.fetchrow(self._sql["lock_run"], run_id)
            if run is None:
                raise RunNotFoundError(run_id)
            await self._set_status(
                connection,
                run["seq"],
                (run_id, run["status"], new),
                error=error,
                duration_ms=duration_ms,
            )
            if data:
                await connection.execute(self._sql["put_metadata"], run["seq"], *metadata)

        await self._database.run(update, repeatable=True)

    async def get_run(self, run_id: UUID) -> RunRecord | None:
        """See `RunStore.get_run`."""
        row = await self._database.fetchrow(
            f"{self._sql['runs']} where r.run_id = $1", run_id, repeatable=True
        )
        return None if row is None else self._record(row)

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
            wanted["r.status = "] = as_run_status(status).value
        if service is not None:
            wanted["r.service = "] = as_text(service)
        if before is not None:
            seq = await self._database.fetchval(self._sql["run_seq"], before, repeatable=True)
            if seq is None:
                raise RunNotFoundError(before)
            wanted["r.seq < "] = seq
        conditions = [f"{condition}${place}" for place, condition in enumerate(wanted, start=2)]
        where = f" where {' and '.join(conditions)}" if wanted else ""
        rows = await self._database.fetch(
            f"{self._sql['runs']}{where} order by r.seq desc limit $1",
            *(limit, *wanted.values()),
            repeatable=True,
        )
        return tuple(map(self._record, rows))

    async def append_events(self, run_id: UUID, events: Iterable[RunEvent]) -> int:
        """See `RunEventLog.append_events`."""
        rows = self._encode_events(events)
        columns = zip(*rows, strict=True) if rows else ((), (), ())
        last = await self._database.fetchval(
            self._sql["append_events"], run_id, len(rows), *columns
        )
        if last is None:
            raise RunNotFoundError(run_id)
        return int(last)

    async def read_events(
        self, run_id: UUID, *, after: int = 0, limit: int | None = None
    ) -> Sequence[RunEvent]:
        """See `RunEventLog.read_events`."""
        most = None if limit is None else max(limit, 0)
        rows = await self._database.fetch(
            self._sql["read_events"], run_id, after, most, repeatable=True
        )
        with self._sound(f"the events of run {run_id}"):
            return tuple(
                RunEvent(
                    type=row["type"],
                    data=self._decode(row["data"]),
                    at=datetime.fromisoformat(row["at"]),
                    number=row["number"],
                )
                for row in rows
            )

    async def delete_run(self, run_id: UUID) -> bool:
        """See `RunDeletion.delete_run`."""
        gone = await self._database.fetchval(self._sql["delete_runs"], [run_id])
        return bool(gone)

    def _record(self, row: Row) -> RunRecord:
        with self._sound(f"run {row['run_id']}"):
            values = zip(row["names"] or (), row["values"] or (), strict=True)
            return RunRecord(
                run_id=UUID(int=row["run_id"].int),
                service=row["service"],
                topology=row["topology"],
                execution_mode=row["execution_mode"],
                status=row["status"],
                error=row["error"],
                duration_ms=row["duration_ms"],
                metadata={name: self._decode(value) for name, value in values},
                created_at=row["created_at"],
                updated_at=row["updated_at"],
            )

    def __repr__(self) -> str:
        return f"PostgresRunStore({self._db.label!r})"


@attrs.frozen(kw_only=True)
class PostgresRunStoreSettings:
    """Where runs are recorded.

    Attributes:
        resource: Name of the resource that is the database.
    """

    resource: str = "postgres"


def make_postgres_run_store(
    settings: PostgresRunStoreSettings, *, resources: Mapping[str, Database]
) -> PostgresRunStore:
    """Return a store that records runs in the database that the settings name."""
    return PostgresRunStore(resources[settings.resource])


def _requires(settings: PostgresRunStoreSettings) -> tuple[str, ...]:
    return (settings.resource,)


_factory: Final = cast("Any", make_postgres_run_store)
_factory.Settings = PostgresRunStoreSettings
_factory.requires = _requires
