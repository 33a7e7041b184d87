"""BufferedExporter: collects events and exports them in batches."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from contextvars import Context
from typing import Any, Final, Self

import anyio

from stageflow.contracts.clock import Clock, SystemClock
from stageflow.contracts.event_sink import EventSink
from stageflow.contracts.logs import get_logger
from stageflow.helpers.analytics.event import AnalyticsEvent
from stageflow.helpers.analytics.exporters import AnalyticsExporter
from stageflow.helpers.analytics.sinks import EventSinkExporter
from stageflow.helpers.errors import ExporterClosedError, HelperSettingError, check_whole_number

__all__ = ("BufferedExporter",)

_log = get_logger(__name__)

# What `on_overflow` is given instead of a count when the buffer fills up but nothing is lost yet.
_HIGH_WATER: Final = -1


class BufferedExporter:
    """Collects events in a bounded buffer and passes them on in batches, in order.

    Events are passed on when a batch is full, at intervals, on `flush` and on `close`. An event
    leaves the buffer only when the exporter behind has taken it, or, when the buffer is full, as
    the oldest one, which is counted. If the exporter behind fails, its batch is kept and given to
    it again with the next interval or `flush`; a batch that it took in part, or while it was
    cancelled, may reach it twice.

    With `async with`, a task group passes events on at intervals and leaving closes. Without, the
    first event starts a task of the running asyncio loop; on trio an export that finds the
    interval over does it.

    Args:
        exporter: Where the batches go: an exporter, or an event sink, which is adapted.
        sink: The same by its other name; give one of the two.
        batch_size: How many events are passed on at once.
        flush_interval_seconds: How long an event waits at most for its batch to fill.
        max_buffer_size: How many events are kept at most.
        on_overflow: Called as `on_overflow(dropped_count, buffer_size)` with each dropped event,
            and with -1 for the count when the buffer reaches the high-water mark. What it raises
            is logged.
        high_water_mark: Share of the buffer at which that warning comes; it comes again only
            after the buffer was down to half of that.
        clock: Source of the time.
        cleanup_timeout_seconds: How long a `close` that is cancelled goes on trying.

    Raises:
        HelperSettingError: A value is out of range, or there is not exactly one target.
    """

    def __init__(
        self,
        exporter: AnalyticsExporter | EventSink | None = None,
        *,
        sink: AnalyticsExporter | EventSink | None = None,
        batch_size: int = 100,
        flush_interval_seconds: float = 10.0,
        max_buffer_size: int = 10_000,
        on_overflow: Callable[[int, int], object] | None = None,
        high_water_mark: float = 0.8,
        clock: Clock | None = None,
        cleanup_timeout_seconds: float = 5.0,
    ) -> None:
        for name, value in (
            ("batch_size", batch_size),
            ("max_buffer_size", max_buffer_size),
        ):
            check_whole_number("BufferedExporter", name, value, 1)
        if flush_interval_seconds <= 0:
            raise HelperSettingError(
                "BufferedExporter", "flush_interval_seconds", flush_interval_seconds, rule="above 0"
            )
        if not high_water_mark > 0:
            rule = "a share above 0; above 1 it is never reached"
            raise HelperSettingError(
                "BufferedExporter", "high_water_mark", high_water_mark, rule=rule
            )
        self._exporter = _one_exporter(exporter, sink)
        self._batch_size = batch_size
        self._interval = flush_interval_seconds
        self._max_buffer_size = max_buffer_size
        self._on_overflow = on_overflow
        self._high_water_mark = high_water_mark
        self._clock = clock or SystemClock()
        self._cleanup_timeout = cleanup_timeout_seconds
        self._buffer: deque[AnalyticsEvent] = deque()
        self._dropped_count = 0
        self._failed_flushes = 0
        self._high_water_warned = False
        self._closed = False
        self._failing = False
        self._lock = anyio.Lock()
        self._due_at: float | None = None
        self._loop_scope: anyio.CancelScope | None = None
        self._loop_ended = anyio.Event()
        self._task: asyncio.Task[None] | None = None  # an asyncio loop holds its tasks weakly
        self._owner: AsyncExitStack | None = None
        weakref.finalize(self, _report_lost, self._buffer)

    @property
    def dropped_count(self) -> int:
        """How many events were dropped so far."""
        return self._dropped_count

    @property
    def closed(self) -> bool:
        """Whether the exporter accepts no more events."""
        return self._closed

    @property
    def stats(self) -> dict[str, Any]:
        """The level of the buffer and what was lost."""
        return {
            "buffer_size": len(self._buffer),
            "max_buffer_size": self._max_buffer_size,
            "fill_ratio": self._fill_ratio(),
            "dropped_count": self._dropped_count,
            "high_water_warned": self._high_water_warned,
            "failed_flushes": self._failed_flushes,
        }

    async def export(self, event: AnalyticsEvent) -> None:
        """Accept one event; passes batches on if that made one full.

        Raises:
            ExporterClosedError: The exporter is closed; the event was not accepted.
        """
        await self.export_batch((event,))

    async def export_batch(self, events: Sequence[AnalyticsEvent]) -> None:
        """Accept several events; passes batches on if that made one full.

        Raises:
            ExporterClosedError: The exporter is closed; none was accepted.
        """
        if self._closed:
            raise ExporterClosedError(type(self).__name__)
        for event in events:
            self._accept(event)
        if self._loop_scope is None:
            self._start_loop()
        if self._lock.locked():
            return  # somebody passes events on already; what came meanwhile waits for the next time
        if len(self._buffer) >= self._batch_size and not self._failing:
            await self._try_to_drain(whole_batches=True)
        elif self._loop_scope is None and self._interval_is_over():
            await self._try_to_drain()

    async def flush(self) -> None:
        """Pass on everything that is buffered now, and flush the exporter behind.

        Raises:
            Exception: What the exporter behind raises; the events that it did not take are kept.
        """
        await self._drain()
        await self._exporter.flush()

    async def close(self) -> None:
        """Accept no more events, pass on all there are, and close the exporter behind.

        What cannot be passed on, because the exporter behind fails or the call is cancelled for
        longer than the clean-up time, is counted as dropped. Closing again does nothing.

        Raises:
            Exception: What the exporter behind raised.
        """
        if self._closed:
            return
        self._closed = True
        try:
            await self._drain_for_good()
        finally:
            self._give_up_the_rest()
            with anyio.move_on_after(self._cleanup_timeout, shield=True):
                await self._exporter.close()

    async def __aenter__(self) -> Self:
        owner = AsyncExitStack()
        group = await owner.enter_async_context(anyio.create_task_group())
        owner.push_async_callback(self.close)
        self._owner = owner
        if self._loop_scope is None:
            group.start_soon(self._flush_at_intervals, self._new_scope())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        owner, self._owner = self._owner, None
        if owner is not None:
            await owner.aclose()

    # --- the buffer ---------------------------------------------------------------

    def _accept(self, event: AnalyticsEvent) -> None:
        if len(self._buffer) >= self._max_buffer_size:
            self._drop_oldest()
        self._buffer.append(event)
        ratio = self._fill_ratio()
        if ratio >= self._high_water_mark and not self._high_water_warned:
            self._high_water_warned = True
            self._tell_overflow(_HIGH_WATER)
        else:
            self._reset_warning()

    def _drop_oldest(self) -> None:
        self._buffer.popleft()
        self._dropped_count += 1
        self._tell_overflow(self._dropped_count)

    def _tell_overflow(self, count: int) -> None:
        if self._on_overflow is None:
            return
        try:
            self._on_overflow(count, len(self._buffer))
        except Exception:  # noqa: BLE001 - a listener's failure is logged
            _log.exception("analytics.on_overflow_failed")

    def _reset_warning(self) -> None:
        if self._fill_ratio() < self._high_water_mark * 0.5:
            self._high_water_warned = False

    def _fill_ratio(self) -> float:
        return len(self._buffer) / self._max_buffer_size

    def _give_up_the_rest(self) -> None:
        if self._buffer:
            _log.error("analytics.events_dropped", count=len(self._buffer), reason="closed")
        while self._buffer:
            self._drop_oldest()

    # --- passing on ---------------------------------------------------------------

    async def _drain(self, *, whole_batches: bool = False) -> None:
        """Pass on what is buffered now; what comes meanwhile is left for the next time."""
        async with self._lock:
            self._due_at = None
            left = len(self._buffer)
            if whole_batches:
                left -= left % self._batch_size
            while left > 0 and self._buffer:
                size = min(self._batch_size, left, len(self._buffer))
                await self._pass_on([self._buffer.popleft() for _ in range(size)])
                left -= size
            self._failing = False

    async def _pass_on(self, batch: list[AnalyticsEvent]) -> None:
        try:
            await self._exporter.export_batch(batch)
        except BaseException:
            self._failing = True
            self._failed_flushes += 1
            self._buffer.extendleft(reversed(batch))
            while len(self._buffer) > self._max_buffer_size:
                self._drop_oldest()
            raise
        self._reset_warning()

    async def _try_to_drain(self, *, whole_batches: bool = False) -> None:
        """Pass events on for a caller who has only given one: a failure is logged, not raised."""
        try:
            await self._drain(whole_batches=whole_batches)
        except Exception:  # noqa: BLE001 - logged and counted; the events are kept
            _log.exception("analytics.export_failed", buffered=len(self._buffer))

    async def _drain_for_good(self) -> None:
        try:
            await self._stop_loop()
            await self.flush()
        except anyio.get_cancelled_exc_class():
            with anyio.move_on_after(self._cleanup_timeout, shield=True):
                await self._stop_loop()
                await self.flush()
            raise

    # --- the loop that passes on at intervals -----------------------------------------

    def _start_loop(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # trio: tasks need an owner there, which `async with` provides
        # A context of its own: the loop outlives the run whose event happened to start it.
        scope = self._new_scope()
        work = self._flush_at_intervals(scope)
        self._task = loop.create_task(work, name="analytics flush loop", context=Context())
        # Also for a task that is cancelled before its first step and runs no `finally`.
        self._task.add_done_callback(lambda _: self._end_loop(scope))

    def _new_scope(self) -> anyio.CancelScope:
        self._loop_scope = anyio.CancelScope()
        self._loop_ended = anyio.Event()
        return self._loop_scope

    def _end_loop(self, scope: anyio.CancelScope) -> None:
        if self._loop_scope is scope:
            self._loop_scope = None
            self._loop_ended.set()

    async def _flush_at_intervals(self, scope: anyio.CancelScope) -> None:
        try:
            with scope:
                while True:
                    await self._clock.sleep(self._interval)
                    await self._try_to_drain()
        finally:
            self._end_loop(scope)

    async def _stop_loop(self) -> None:
        async with self._lock:  # so that it is not cut off in the middle of a batch
            if self._loop_scope is None:
                return
            self._loop_scope.cancel()
            await self._loop_ended.wait()

    def _interval_is_over(self) -> bool:
        now = self._clock.monotonic()
        if self._due_at is None:
            self._due_at = now + self._interval
        return now >= self._due_at


def _one_exporter(
    exporter: AnalyticsExporter | EventSink | None, sink: AnalyticsExporter | EventSink | None
) -> AnalyticsExporter:
    target = exporter if sink is None else sink
    if target is None or (exporter is not None and sink is not None):
        raise HelperSettingError(
            "BufferedExporter",
            "exporter, sink",
            (exporter, sink),
            rule="given one or the other",
        )
    if isinstance(target, AnalyticsExporter):
        return target
    if isinstance(target, EventSink):
        return EventSinkExporter(target)
    raise HelperSettingError(
        "BufferedExporter",
        "exporter",
        target,
        rule="an exporter (export, export_batch, flush, close) or an event sink (emit, try_emit)",
    )


def _report_lost(buffer: deque[AnalyticsEvent]) -> None:
    if buffer:
        _log.warning("analytics.events_lost", count=len(buffer), reason="never closed")
