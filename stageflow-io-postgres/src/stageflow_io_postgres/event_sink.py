"""PostgresEventSink: events as rows, written in batches, and in bursts by COPY."""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

import anyio
import attrs

from stageflow.contracts.event_sink import EventSinkError
from stageflow.contracts.logs import get_logger
from stageflow.contracts.storage import StorageError
from stageflow.events.encoding import to_json
from stageflow_io_postgres.component import Component, plain_text
from stageflow_io_postgres.database import Connection, Database
from stageflow_io_postgres.errors import DatabaseRefusedError, check_asyncio, translated

__all__ = ("EventSinkStats", "PostgresEventSink", "StoredEvent")

_log = get_logger(__name__)

_Row: TypeAlias = tuple[str, datetime, str | None, str | None, str]

_COLUMNS: Final = ("type", "recorded_at", "pipeline_run_id", "stage", "data")
_COPIED_FROM: Final = 64  # so many events are copied; fewer go in one statement
_LARGEST_BATCH: Final = 5_000  # so many are written without a pause for others on the event loop
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_LAST_WORDS: Final = 1.0  # for what is tidied up once all is written
_LOOK: Final = "See that the server runs and that the role may write; the events' table is there?"


@attrs.frozen(kw_only=True)
class StoredEvent:
    """An event as it was kept.

    Attributes:
        id: Its place; a later event of the same sink has a greater one.
        type: The event's type.
        recorded_at: When the sink took it, in UTC.
        data: The payload, as JSON-able data.
    """

    id: int
    type: str
    recorded_at: datetime
    data: dict[str, Any] | None


@attrs.define(eq=False)
class EventSinkStats:
    """How many events came, and what became of them.

    Every accepted event ends in exactly one of `written` and `failed`.

    Attributes:
        accepted: Events taken into the buffer.
        written: Events that are in the database.
        failed: Events that were taken and could not be written, for all that is known.
        dropped: Events refused: the buffer was full, or the sink was not open.
    """

    accepted: int = 0
    written: int = 0
    failed: int = 0
    dropped: int = 0


class PostgresEventSink(Component):
    """Keeps events in PostgreSQL, where they can be read by run, by type and by time.

    Events wait in a buffer and are written in batches, each of them once, also if the connection
    is lost just then. While the database fails they go on waiting, and are written when it is
    back; when the buffer is full, further ones are dropped and counted.

    Args:
        database: Where; it must be open for as long as this is used.
        max_buffer: How many events may wait to be written.
        batch_size: With so many events waiting, they are written at once.
        flush_interval: How long an event waits for others, in seconds.
        close_timeout: How long closing tries to write what is left, in seconds.
        strict: Whether `emit` returns only when the event is written, and raises if it cannot
            be; and whether closing raises when events were lost.
        now: Reads the time of day; in UTC.
    """

    def __init__(
        self,
        database: Database,
        *,
        max_buffer: int = 20_000,
        batch_size: int = 1_000,
        flush_interval: float = 0.2,
        close_timeout: float = 10.0,
        strict: bool = False,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        super().__init__(database)
        self._sql = database.queries("events")
        self._max_buffer = max_buffer
        self._batch_size = min(batch_size, max_buffer, _LARGEST_BATCH)
        self._interval = flush_interval
        self._close_timeout = close_timeout
        self._strict = strict
        self._now = now or _utc_now
        self.stats: Final = EventSinkStats()
        self.error: StorageError | None = None
        self._rows: deque[_Row] = deque()
        # Reentrant, since a signal handler or a finaliser may emit while it is held.
        self._lock = threading.RLock()
        self._is_open = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._worker: asyncio.Task[None] | None = None
        self._wanted = 0  # events up to this one are written without waiting for others
        self._wake = asyncio.Event()  # something has come, or is wanted
        self._news = anyio.Event()  # a batch was written, or could not be
        self._attempts = 0
        self._writer = uuid.uuid4()
        self._batch = 0

    async def __aenter__(self) -> Self:
        check_asyncio()
        _ = self._database
        self._loop = asyncio.get_running_loop()
        self._worker = self._loop.create_task(self._run(), name=repr(self))
        self._is_open = True
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self.aclose()
        except EventSinkError:
            if exc is None:
                raise

    # --- taking events ------------------------------------------------------------------

    def try_emit(self, *, type: str, data: dict[str, Any] | None) -> bool:
        """Take the event into the buffer if there is room; never raises, never waits.

        Returns:
            Whether there was room.
        """
        if self._offer(self._row(type, data)):
            return True
        self._refuse()
        return False

    async def emit(self, *, type: str, data: dict[str, Any] | None) -> None:
        """Take the event into the buffer, waiting for room; a strict sink: and write it.

        A checkpoint where it waits. While the database fails nobody waits for room: the event is
        dropped, and counted. An event for which a strict sink raises may yet be written.

        Raises:
            EventSinkError: The sink is not open; or it is strict, and cannot write.
        """
        row = self._row(type, data)
        while not self._offer(row):
            if not self._is_open:
                raise self._error("is not open", "Emit within `async with`; its opener closes it.")
            if self.error is not None:
                self._refuse()
                break
            await self._news.wait()
        if self._strict:
            await self.flush()
            if self.error is not None:
                raise self._error(f"cannot write: {_told(self.error)}", _LOOK) from self.error

    async def flush(self) -> bool:
        """Return when all events taken so far are written, or cannot be for now; say which.

        A checkpoint.
        """
        target, attempts = self.stats.accepted, self._attempts
        while self._settled < target and self._worker is not None:
            if self.error is not None and self._attempts > attempts:
                return False
            self._wanted = max(self._wanted, target)
            self._wake.set()
            await self._news.wait()
        return self._settled >= target

    async def aclose(self) -> None:
        """Write what is in the buffer, and close; again is no error.

        Raises:
            EventSinkError: The sink is strict and could not keep all its events.
        """
        self._is_open = False
        worker, self._worker = self._worker, None
        if worker is None:
            await super().aclose()
            return
        self._wake.set()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([worker], timeout=self._close_timeout)
            worker.cancel()
            await asyncio.wait([worker])
            self._give_up()
            await super().aclose()
        lost = self.stats.failed + self.stats.dropped
        if self._strict and lost:
            why = "" if self.error is None else f": {_told(self.error)}"
            raise self._error(f"has lost {lost} events{why}", _LOOK) from self.error

    # --- reading and forgetting ---------------------------------------------------------

    async def read(
        self, *, run_id: object = None, type: str | None = None, after: int = 0, limit: int = 1000
    ) -> list[StoredEvent]:
        """Return events by their ids, those that this sink has still to write included.

        Args:
            run_id: Only events of this run.
            type: Only events of this type.
            after: Only events with a greater `id` than this.
            limit: At most so many.

        Raises:
            StorageError: The database cannot be read.
        """
        await self.flush()
        chosen = (None if each is None else plain_text(each) for each in (run_id, type))
        rows = await self._shared.fetch(self._sql["read"], after, *chosen, limit, repeatable=True)
        return [
            StoredEvent(
                id=row["id"],
                type=row["type"],
                recorded_at=row["recorded_at"],
                data=json.loads(row["data"]),
            )
            for row in rows
        ]

    async def prune(self, before: datetime) -> int:
        """Forget the events of all sinks from before an aware time; return how many.

        Raises:
            StorageError: The database cannot be changed.
        """
        done = await self._database.execute(self._sql["prune"], before)
        return int(done.rpartition(" ")[2])

    # --- the buffer; from any thread ----------------------------------------------------

    def _row(self, type: str, data: dict[str, Any] | None) -> _Row:
        facts = data or {}
        run_id, stage = facts.get("pipeline_run_id"), facts.get("stage")
        return (
            plain_text(type),
            self._now(),
            None if run_id is None else plain_text(run_id),
            None if stage is None else plain_text(stage),
            # What has no UTF-8 is as an escape sound JSON.
            to_json(data).encode("utf-8", "backslashreplace").decode(),
        )

    def _offer(self, row: _Row) -> bool:
        with self._lock:
            if not self._is_open or len(self._rows) >= self._max_buffer:
                return False
            self._rows.append(row)
            self.stats.accepted += 1
            is_news = len(self._rows) in {1, self._batch_size}
        if is_news:
            self._rouse()
        return True

    def _rouse(self) -> None:
        loop = self._loop
        assert loop is not None
        try:
            loop.call_soon_threadsafe(self._wake.set)
        except RuntimeError:  # the loop has been closed, and nobody closed the sink
            _log.warning("event_sink.loop_closed", sink=repr(self))

    def _refuse(self) -> None:
        with self._lock:
            self.stats.dropped += 1
            is_first = self.stats.dropped == 1
        if is_first:
            why = "its buffer is full" if self._is_open else "it is not open"
            _log.warning("event_sink.dropped", sink=repr(self), why=why)

    # --- the worker ---------------------------------------------------------------------

    async def _run(self) -> None:
        while await self._is_due():
            with self._lock:
                size = min(len(self._rows), _LARGEST_BATCH)
                batch = [self._rows.popleft() for _ in range(size)]
            try:
                await self._write(batch)
            except Exception:  # noqa: BLE001 - costs these events, and none of those to come
                with self._lock:
                    self.stats.failed += len(batch)
                _log.exception("event_sink.worker_failed", sink=repr(self), events=len(batch))
                self._note(self.error)
        with anyio.move_on_after(_LAST_WORDS):
            try:
                await self._shared.execute(self._sql["forget"], self._writer)
            except StorageError as error:
                _log.debug("event_sink.not_tidied", sink=repr(self), error=error.message)

    async def _is_due(self) -> bool:
        """Wait until a batch is to be written; false once the sink is closed and all is."""
        while not self._rows:
            if not self._is_open:
                return False
            await self._woken()
        with anyio.move_on_after(self._interval):
            while (
                self._is_open
                and len(self._rows) < self._batch_size
                and self._settled >= self._wanted
            ):
                await self._woken()
        return True

    async def _woken(self) -> None:
        await self._wake.wait()
        self._wake.clear()

    async def _write(self, batch: Sequence[_Row]) -> None:
        """Write a batch, however long that takes; what no database takes is left out."""
        self._batch += 1
        pause, is_again = _FIRST_PAUSE, False
        while True:
            try:
                if not (is_again and await self._is_written()):
                    await self._insert(batch)
                break
            except DatabaseRefusedError as error:
                self._note(error)
                await self._write_apart(batch, error)
                return
            except StorageError as error:
                is_again = True
                self._note(error)
                await anyio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        with self._lock:
            self.stats.written += len(batch)
        self._note(None)

    async def _write_apart(self, batch: Sequence[_Row], error: StorageError) -> None:
        if len(batch) == 1:
            with self._lock:
                self.stats.failed += 1
            _log.warning("event_sink.refused", sink=repr(self), type=batch[0][0], error=str(error))
            return
        middle = len(batch) // 2
        await self._write(batch[:middle])
        await self._write(batch[middle:])

    async def _insert(self, batch: Sequence[_Row]) -> None:
        # Not by `Database.run`, which tries to reach the server for some time: those who wait
        # for room are to know at once that it is not there.
        with translated(self._shared.label):
            async with self._shared.connection() as connection:
                if len(batch) < _COPIED_FROM:
                    columns = map(list, zip(*batch, strict=True))
                    await connection.execute(
                        self._sql["write"], self._writer, self._batch, *columns
                    )
                else:
                    await self._copy(connection, batch)

    async def _copy(self, connection: Connection, batch: Sequence[_Row]) -> None:
        async with connection.transaction():
            await connection.execute(self._sql["note"], self._writer, self._batch)
            await connection.copy_records_to_table(
                "events", schema_name=self._shared.schema, columns=_COLUMNS, records=batch
            )

    async def _is_written(self) -> bool:
        with translated(self._shared.label):
            async with self._shared.connection() as connection:
                last = await connection.fetchval(self._sql["written"], self._writer)
        return bool(last == self._batch)

    def _note(self, error: StorageError | None) -> None:
        """Tell those who wait how the last attempt ended."""
        if error is not None and self.error is None:  # and not again until a batch is written
            _log.warning("event_sink.write_failed", sink=repr(self), error=error.message)
        self.error = error
        self._attempts += 1
        news, self._news = self._news, anyio.Event()
        news.set()

    @property
    def _settled(self) -> int:
        return self.stats.written + self.stats.failed

    def _give_up(self) -> None:
        with self._lock:
            self._rows.clear()
            # Also what was being written, of which nobody knows.
            self.stats.failed = self.stats.accepted - self.stats.written
        self._note(self.error)
        if lost := self.stats.failed:
            _log.warning("event_sink.undelivered", sink=repr(self), events=lost)

    def _error(self, what: str, hint: str) -> EventSinkError:
        return EventSinkError(f"{self!r} {what}.", sink=repr(self), hint=hint)


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _told(error: StorageError) -> str:
    return error.message.rstrip(".")
