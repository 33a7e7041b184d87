"""BatchWriter: rows from any thread, written in batches by a thread of its own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import attrs

from stageflow.contracts.logs import get_logger

__all__ = ("BatchStats", "BatchWriter")

T = TypeVar("T")

_log = get_logger("stageflow.events")


@attrs.define(eq=False)
class BatchStats:
    """How many rows came, and what became of them.

    Every row ends in exactly one of `written`, `failed` and `dropped`.

    Attributes:
        accepted: Rows taken into the buffer.
        written: Rows that were written.
        failed: Rows that could not be written.
        dropped: Rows refused, because the buffer was full or closed.
    """

    accepted: int = 0
    written: int = 0
    failed: int = 0
    dropped: int = 0


class BatchWriter(Generic[T]):
    """A bounded buffer before something that blocks.

    A batch is written as soon as it has *batch_size* rows, or *interval* seconds after its
    first row, or when somebody asks. The thread begins with the first row.

    Args:
        write: Writes a batch; called in the writer's thread alone.
        name: What the thread and the log lines call it.
        capacity: How many rows may wait.
        batch_size: How many rows make a full batch.
        interval: How long a row waits for others, in seconds.
        at_end: Called when the last batch has been written; more than once does no harm.
    """

    def __init__(
        self,
        write: Callable[[Sequence[T]], None],
        *,
        name: str,
        capacity: int,
        batch_size: int,
        interval: float,
        at_end: Callable[[], None],
    ) -> None:
        if capacity < 1 or batch_size < 1 or interval < 0:
            raise ValueError(
                "capacity and batch_size must be at least 1, and interval not negative; "
                f"they are {capacity}, {batch_size} and {interval}"
            )
        self.stats = BatchStats()
        self.error: Exception | None = None
        self._write = write
        self._name = name
        self._capacity = capacity
        self._batch_size = batch_size
        self._interval = interval
        self._at_end = at_end
        self._rows: deque[T] = deque()
        # Its lock is reentrant, since a signal handler or a finaliser may put a row.
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._wanted = 0  # rows up to this one are written without waiting for others
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether rows are refused for good."""
        return self._closed

    def offer(self, row: T) -> bool:
        """Take a row if there is room, and return whether it was taken; never waits."""
        with self._changed:
            if self._closed or len(self._rows) >= self._capacity:
                return False
            self._rows.append(row)
            self.stats.accepted += 1
            if self._thread is None:
                self._begin()
            if len(self._rows) in {1, self._batch_size}:
                self._changed.notify_all()
            return True

    def put(self, row: T) -> bool:
        """Take a row as `offer` does; a row that is refused counts as dropped."""
        if self.offer(row):
            return True
        with self._changed:
            self.stats.dropped += 1
            first = self.stats.dropped == 1
        if first:
            why = "it is closed" if self._closed else "its buffer is full"
            _log.warning("event_sink.dropped", sink=self._name, why=why)
        return False

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until every row taken so far has been written or has failed; tell whether it has."""
        with self._changed:
            target = self._wanted = self.stats.accepted
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._settled() >= target, timeout)

    def close(self, timeout: float | None = None) -> bool:
        """Write what is there and end the thread; tell whether that was done in time.

        What is not written by then counts as dropped. Closing again does nothing.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is None:
            self._at_end()
            return True
        if thread is threading.current_thread():  # by a finaliser that ran just there
            return False
        thread.join(timeout)
        with self._changed:
            left = len(self._rows)
            self._rows.clear()
            self.stats.dropped += left
        if left:
            _log.warning("event_sink.undelivered", sink=self._name, events=left)
        return not thread.is_alive()

    def _begin(self) -> None:
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while batch := self._next_batch():
                self._write_batch(batch)
        finally:
            self._at_end()

    def _write_batch(self, batch: list[T]) -> None:
        try:
            self._write(batch)
        except Exception as error:  # noqa: BLE001 - told in the stats, and to whoever emits
            self._note_failure(error, len(batch))
        else:
            with self._changed:
                self.stats.written += len(batch)
                self.error = None
                self._changed.notify_all()

    def _next_batch(self) -> list[T]:
        """Wait for a batch and take it; nothing if the writer is closed and all is written."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._rows) or self._closed)
            self._changed.wait_for(self._is_due, self._interval)
            size = min(len(self._rows), self._batch_size)
            return [self._rows.popleft() for _ in range(size)]

    def _is_due(self) -> bool:
        enough = len(self._rows) >= self._batch_size
        return enough or self._closed or self._settled() < self._wanted

    def _settled(self) -> int:
        return self.stats.written + self.stats.failed

    def _note_failure(self, error: Exception, rows: int) -> None:
        with self._changed:
            first = self.error is None
            self.error = error
            self.stats.failed += rows
            self._changed.notify_all()
        if first:  # and not again until a batch has been written
            _log.warning("event_sink.write_failed", sink=self._name, error=str(error), events=rows)
