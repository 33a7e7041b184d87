"""BufferedSink: an event sink whose events are written in batches, off the event loop."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

import anyio
import anyio.to_thread
import attrs

from stageflow.builtin._batches import BatchStats, BatchWriter
from stageflow.contracts.event_sink import EventSinkError
from stageflow.contracts.logs import get_logger
from stageflow.errors import StageflowError

__all__ = ("BufferedSink", "Target")

T = TypeVar("T")

_log = get_logger("stageflow.events")

# How long leaving a sink waits for what is buffered, in seconds.
_LAST_WRITE: Final = 10.0
_LOOK: Final = "See that the place exists, has room and may be written, or choose another."


@attrs.frozen
class Target(Generic[T]):
    """Where batches are written; called by one thread at a time."""

    open: Callable[[], None]
    write: Callable[[Sequence[T]], None]
    close: Callable[[], None]


class BufferedSink(ABC, Generic[T]):
    """A bounded buffer, and a thread that writes it in batches.

    The thread knows the target and not the sink, so a sink that is forgotten writes what it
    has and ends its thread when it is collected, or at the latest when Python ends.
    """

    def __init__(
        self,
        target: Target[T],
        *,
        max_buffer: int,
        batch_size: int,
        flush_interval: float,
        strict: bool,
        now: Callable[[], datetime] | None,
    ) -> None:
        self._target = target
        self._strict = strict
        self._now = now or _utc_now
        self._writer = BatchWriter(
            target.write,
            name=repr(self),
            capacity=max_buffer,
            batch_size=batch_size,
            interval=flush_interval,
            at_end=target.close,
        )
        self._forget = weakref.finalize(self, self._writer.close, _LAST_WRITE)

    @property
    def stats(self) -> BatchStats:
        """How many events came, and what became of them."""
        return self._writer.stats

    def try_emit(self, *, type: str, data: dict[str, Any] | None) -> bool:
        """Take the event into the buffer if there is room; never raises, never waits.

        Returns:
            Whether there was room.
        """
        return self._writer.put(self._row(type, data))

    async def emit(self, *, type: str, data: dict[str, Any] | None) -> None:
        """Return when the event has been written; a checkpoint.

        A cancelled call may have taken the event; then it will be written.

        Raises:
            EventSinkError: If the sink is closed, or, if it is strict, cannot write.
        """
        row = self._row(type, data)
        while not self._writer.offer(row):
            if self._writer.closed:
                raise self._error(
                    "is closed", "Emit within `async with`; whoever opened it closes it."
                )
            await self.flush()
        await self.flush()
        if self._strict and (error := self._writer.error) is not None:
            raise self._error(f"cannot write: {_told(error)}.", _LOOK) from error

    @property
    def closed(self) -> bool:
        """Whether the sink takes no more events."""
        return self._writer.closed

    async def flush(self) -> None:
        """Return when every event taken so far has been written or has failed; a checkpoint."""
        await anyio.to_thread.run_sync(self._writer.flush)

    async def aclose(self) -> None:
        """Write what is in the buffer and close; again is no error.

        Raises:
            EventSinkError: If the sink is strict and could not keep all its events.
        """
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(partial(self._writer.close, _LAST_WRITE))
        self._forget.detach()
        lost = self.stats.failed + self.stats.dropped
        if self._strict and lost:
            error = self._writer.error
            why = "" if error is None else f" The last time: {_told(error)}."
            raise self._error(f"has lost {lost} events.{why}", _LOOK) from error

    async def __aenter__(self) -> Self:
        try:
            await anyio.to_thread.run_sync(self._target.open)
        except Exception as error:
            if self._strict:
                raise self._error(f"cannot be opened: {_told(error)}.", _LOOK) from error
            _log.warning("event_sink.open_failed", sink=repr(self), error=str(error))
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

    @abstractmethod
    def _row(self, type: str, data: dict[str, Any] | None) -> T:
        """Return the event as it will be written."""

    def _error(self, what: str, hint: str) -> EventSinkError:
        return EventSinkError(f"{self!r} {what}", sink=repr(self), hint=hint)


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _told(error: Exception) -> str:
    text = error.message if isinstance(error, StageflowError) else str(error)
    return text.rstrip(".")
