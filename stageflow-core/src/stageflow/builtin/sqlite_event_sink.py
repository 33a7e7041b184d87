"""SqliteEventSink: events as rows in a SQLite file, readable by run and by type."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import attrs

from stageflow.builtin._buffered_sink import BufferedSink, Target
from stageflow.builtin._sqlite import Schema, SqliteDatabase
from stageflow.events.encoding import to_json

__all__ = ("SqliteEventSink", "StoredEvent")


@attrs.frozen(kw_only=True)
class StoredEvent:
    """An event as a sink kept it.

    Attributes:
        id: Its place; a later event has a greater one.
        type: The event's type.
        recorded_at: When the sink took it, in UTC.
        data: The payload, as JSON-able data.
    """

    id: int
    type: str
    recorded_at: datetime
    data: dict[str, Any] | None


_Row = tuple[str, str, str | None, str | None, str]

_EVENTS: Final = Schema(
    component="events",
    migrations=[
        [
            """
            create table stageflow_events (
                id integer primary key,
                type text not null,
                recorded_at text not null,
                pipeline_run_id text,
                stage text,
                data text not null
            )
            """,
            "create index stageflow_events_by_run on stageflow_events (pipeline_run_id, id)",
        ]
    ],
)
_INSERT: Final = """
    insert into stageflow_events (type, recorded_at, pipeline_run_id, stage, data)
    values (?, ?, ?, ?, ?)
"""
_SELECT: Final = """
    select id, type, recorded_at, data from stageflow_events
    where id > :after
      and (:run_id is null or pipeline_run_id = :run_id)
      and (:type is null or type = :type)
    order by id limit :limit
"""


class SqliteEventSink(BufferedSink[_Row]):
    """Keeps events in a SQLite file, where they can be read by run and by type.

    The file may be the one that runs are recorded in. What is said of the file of a
    `JsonlEventSink` is true of this one, too.

    Args:
        path: The file; it and the folders above it are made when they are missing.
        max_buffer: How many events may wait to be written.
        batch_size: How many events are written in one transaction.
        flush_interval: How long an event waits for others, in seconds.
        strict: Whether opening, `emit` and closing raise when the file cannot be written.
        now: Reads the time of day; in UTC.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_buffer: int = 10_000,
        batch_size: int = 256,
        flush_interval: float = 0.2,
        strict: bool = False,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self.path: Final = Path(path)
        self._table = table = SqliteDatabase(self.path, schema=_EVENTS, synchronous="normal")

        def write(rows: Sequence[_Row]) -> None:
            table.write_now(lambda connection: connection.executemany(_INSERT, rows))

        super().__init__(
            Target(table.open_now, write, table.close_now),
            max_buffer=max_buffer,
            batch_size=batch_size,
            flush_interval=flush_interval,
            strict=strict,
            now=now,
        )

    async def read(
        self,
        *,
        run_id: object = None,
        type: str | None = None,
        after: int = 0,
        limit: int = 1000,
    ) -> list[StoredEvent]:
        """Return events in the order in which they were taken, those still waiting included.

        Args:
            run_id: Only events of this run.
            type: Only events of this type.
            after: Only events with a greater `id` than this.
            limit: At most so many.

        Raises:
            StorageError: If the file cannot be read.
        """
        await self.flush()
        chosen = {
            "run_id": None if run_id is None else str(run_id),
            "type": type,
            "after": after,
            "limit": limit,
        }
        rows = await self._table.read(
            lambda connection: connection.execute(_SELECT, chosen).fetchall()
        )
        return [
            StoredEvent(
                id=number,
                type=kind,
                recorded_at=datetime.fromisoformat(recorded_at),
                data=json.loads(data),
            )
            for number, kind, recorded_at, data in rows
        ]

    def _row(self, type: str, data: dict[str, Any] | None) -> _Row:
        facts = data or {}
        run_id, stage = facts.get("pipeline_run_id"), facts.get("stage")
        return (
            type,
            self._now().isoformat(),
            None if run_id is None else str(run_id),
            None if stage is None else str(stage),
            to_json(data).encode("utf-8", "backslashreplace").decode(),
        )

    def __repr__(self) -> str:
        return f"SqliteEventSink({str(self.path)!r})"
