"""BackpressureAwareEventSink: a bounded queue before a slow sink; no event goes uncounted."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from contextvars import Context
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

import anyio
import attrs
from anyio.lowlevel import checkpoint

from stageflow.contracts.event_sink import EventSink, EventSinkError
from stageflow.contracts.logs import get_logger
from stageflow.events.backpressure_metrics import BackpressureMetrics
from stageflow.events.sinks import LoggingEventSink

__all__ = ("BackpressureAwareEventSink",)

_log = get_logger(__name__)

# How many events a sink that never suspends may take before others have their turn.
_BURST: Final = 32
# How long a downstream sink may take to notice that its emit was cancelled, in seconds.
_LAST_WORDS: Final = 1.0

_Event = tuple[str, dict[str, Any] | None]
_Post = Callable[[Callable[[], object]], object]


@attrs.define(eq=False)
class _Waiter:
    """An `emit` that waits for room."""

    event: _Event
    decided: anyio.Event
    accepted: bool = False


@attrs.define(eq=False)
class _Session:
    """One life of the worker, from start to stop."""

    thread: int
    scope: anyio.CancelScope
    ended: anyio.Event
    post: _Post | None = None  # has the worker's loop call a function, from any thread
    task: asyncio.Task[None] | None = None  # the loop itself holds its tasks weakly
    in_flight: _Event | None = None
    stopping: bool = False


class BackpressureAwareEventSink:
    """Passes events on to a slower sink through a bounded queue, in order.

    `try_emit` never waits: it drops the event when the queue is full. `emit` waits for room.
    Whatever is not delivered is counted, and told to *on_drop*.

    Use it as an async context manager, or give it to a Runtime. `start` and `stop` do the same
    by hand, except that they leave the downstream sink's own context alone. On asyncio the
    first event starts it too; elsewhere events are dropped until it is started.

    Args:
        downstream: The sink behind the queue; a `LoggingEventSink` unless given.
        max_queue_size: How many events may wait.
        on_drop: Called with type and data of each event that is dropped.
        monotonic: Reads the time for the metrics, in seconds.
    """

    __slots__ = (
        "__weakref__",
        "_contexts",
        "_downstream",
        "_limit",
        "_lock",
        "_metrics",
        "_monotonic",
        "_news",
        "_on_drop",
        "_open",
        "_queue",
        "_session",
        "_waiters",
        "_warned",
    )

    def __init__(
        self,
        downstream: EventSink | None = None,
        *,
        max_queue_size: int = 1000,
        on_drop: Callable[[str, dict[str, Any] | None], object] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if max_queue_size < 1:
            raise ValueError(f"max_queue_size must be at least 1, not {max_queue_size}")
        self._downstream: EventSink = LoggingEventSink() if downstream is None else downstream
        self._limit = max_queue_size
        self._on_drop = on_drop
        self._monotonic = monotonic
        self._metrics = BackpressureMetrics(monotonic=monotonic)
        self._queue: deque[_Event] = deque()
        self._waiters: deque[_Waiter] = deque()
        # Reentrant, since a signal handler or a finaliser may emit while it is held.
        self._lock = threading.RLock()
        self._session: _Session | None = None
        self._open = False  # whether events are accepted; false without a session
        self._news: anyio.Event | None = None  # there while the worker sleeps
        self._contexts = AsyncExitStack()
        self._warned = False

    @property
    def metrics(self) -> BackpressureMetrics:
        """What became of the events so far."""
        return self._metrics

    @property
    def queue_size(self) -> int:
        """How many accepted events wait."""
        return len(self._queue)

    @property
    def is_running(self) -> bool:
        """Whether a worker passes events on."""
        return self._session is not None

    def try_emit(self, *, type: str, data: dict[str, Any] | None) -> bool:
        """Accept the event if there is room; never raises, never waits.

        Returns:
            Whether the event was accepted.
        """
        if not self._open and not self._start_unasked():
            return self._refuse((type, data), queue_full=False)
        with self._lock:
            queue = self._queue
            accepted = self._open and len(queue) < self._limit
            if accepted:
                queue.append((type, data))
                metrics = self._metrics
                # As record_emit does; the call would be a fifth of the cost of this method.
                metrics.emitted += 1
                metrics.last_emit_time = self._monotonic()
                if self._news is not None:
                    self._rouse()
        return accepted or self._refuse((type, data), queue_full=self._open)

    async def emit(self, *, type: str, data: dict[str, Any] | None) -> None:
        """Accept the event, waiting for room.

        A checkpoint if it waits. A cancelled call has accepted the event or not; which of them
        the metrics tell.

        Raises:
            EventSinkError: If the sink is stopped meanwhile, or cannot be started by itself.
        """
        event = (type, data)
        if not self._open and not self._start_unasked():
            self._refuse(event, queue_full=False)
            raise self._not_running()
        with self._lock:
            # While others wait the queue is full: whoever leaves it lets the next one in.
            if len(self._queue) < self._limit:
                self._queue.append(event)
                self._metrics.record_emit()
                self._rouse()
                return
            waiter = _Waiter(event, anyio.Event())
            self._waiters.append(waiter)
        try:
            await waiter.decided.wait()
        finally:
            with self._lock:
                if waiter in self._waiters:  # cancelled before it was decided
                    self._waiters.remove(waiter)
        if not waiter.accepted:
            raise self._not_running()

    async def start(self) -> None:
        """Start passing events on; does nothing if that goes on already."""
        if self._session is None:
            self._begin(_running_asyncio())

    async def stop(self, *, drain: bool = True, timeout: float = 5.0) -> None:
        """Stop passing events on; does nothing if nothing goes on.

        From now on events are refused. What was accepted is delivered within *timeout* seconds
        if *drain* says so; what is left then is dropped and counted. Cancelling the caller does
        not shorten that.

        Args:
            drain: Whether to deliver what was accepted.
            timeout: How long that may take, in seconds.
        """
        session = self._session
        if session is None:
            return
        with self._lock:
            self._open = False
            session.stopping = True
            turned_away = self._turn_waiters_away()
            self._rouse()
        self._drop_all(turned_away)
        with anyio.move_on_after(timeout if drain else 0, shield=True):
            await session.ended.wait()
        session.scope.cancel()
        with anyio.move_on_after(_LAST_WORDS, shield=True):
            await session.ended.wait()
        if not session.ended.is_set():
            self._end(session)
            _log.warning("event_sink.stuck", downstream=repr(self._downstream))

    async def aclose(self) -> None:
        """Stop, and leave the downstream sink's context if it was entered; again is no error."""
        try:
            await self.stop()
        finally:
            await self._contexts.aclose()

    async def __aenter__(self) -> Self:
        if isinstance(self._downstream, AbstractAsyncContextManager):
            await self._contexts.enter_async_context(self._downstream)
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        state = "running" if self.is_running else "stopped"
        return f"<BackpressureAwareEventSink {state}, {self.queue_size} of {self._limit} waiting>"

    # --- the worker -------------------------------------------------------------

    async def _work(self, session: _Session) -> None:
        """Deliver events in order until the session stops and the queue is empty."""
        burst = 0
        try:
            with session.scope:
                while (found := self._next(session)) is not None:
                    if isinstance(found, anyio.Event):
                        await found.wait()
                        continue
                    await self._pass_on(found, session)
                    burst += 1
                    if burst % _BURST == 0:
                        await checkpoint()
        finally:
            self._end(session)

    def _next(self, session: _Session) -> _Event | anyio.Event | None:
        """Return the next event, or what to wait for until there is one, or None at the end."""
        with self._lock:
            if self._queue:
                event = self._queue.popleft()
                if self._waiters:
                    waiter = self._waiters.popleft()
                    self._queue.append(waiter.event)
                    self._metrics.record_emit()
                    waiter.accepted = True
                    waiter.decided.set()
                return event
            if session.stopping:
                return None
            self._news = anyio.Event()
            return self._news

    async def _pass_on(self, event: _Event, session: _Session) -> None:
        session.in_flight = event
        try:
            await self._downstream.emit(type=event[0], data=event[1])
        except Exception:  # noqa: BLE001 - a failing sink must not stop the worker
            self._metrics.failed += session.in_flight is not None
            _log.exception("event_sink.downstream_failed", event_type=event[0])
        else:
            # None if `stop` lost patience with the sink and gave the event up.
            self._metrics.delivered += session.in_flight is not None
        session.in_flight = None

    def _rouse(self) -> None:
        """Wake the worker if it sleeps; the lock is held."""
        news, self._news = self._news, None
        session = self._session
        if news is None or session is None:
            return
        try:
            if threading.get_ident() == session.thread:
                news.set()
            elif session.post is not None:
                session.post(news.set)
        except RuntimeError:  # the loop was closed under the worker
            self._end(session)

    def _start_unasked(self) -> bool:
        """Start if an event may start this sink; return whether events are accepted now."""
        if self._session is None and (loop := _running_asyncio()) is not None:
            self._begin(loop)
        return self._open

    def _begin(self, loop: asyncio.AbstractEventLoop | None) -> None:
        session = _Session(threading.get_ident(), anyio.CancelScope(), anyio.Event())
        if loop is not None:
            session.post = loop.call_soon_threadsafe
            # A context of its own: the worker outlives the run that happened to start it.
            work = self._work(session)
            session.task = loop.create_task(work, name="event sink worker", context=Context())
        else:
            session.post = _spawn_on_trio(partial(self._work, session))
        self._session = session
        self._open = True

    def _end(self, session: _Session) -> None:
        """End the session, unless it has ended, and account for what is left."""
        with self._lock:
            if self._session is not session:
                return
            self._session = None
            self._open = False
            self._news = None
            left = list(self._queue)
            self._queue.clear()
            if session.in_flight is not None:
                left.insert(0, session.in_flight)
                session.in_flight = None
            self._metrics.undelivered += len(left)
            turned_away = self._turn_waiters_away()
        session.ended.set()
        self._drop_all([*left, *turned_away])
        if left:
            _log.warning("event_sink.undelivered", events=len(left))

    def _turn_waiters_away(self) -> list[_Event]:
        """Let every waiting `emit` fail, and return their events; the lock is held."""
        waiting = list(self._waiters)
        self._waiters.clear()
        for waiter in waiting:
            waiter.decided.set()
        return [waiter.event for waiter in waiting]

    # --- events that are not delivered ------------------------------------------

    def _refuse(self, event: _Event, *, queue_full: bool) -> bool:
        self._drop_all([event], queue_full=queue_full)
        if queue_full:
            _log.warning(
                "event_sink.queue_full",
                event_type=event[0],
                queue_size=len(self._queue),
                dropped_total=self._metrics.dropped,
            )
        elif not self._warned:
            self._warned = True
            _log.warning("event_sink.not_running", event_type=event[0])
        return False

    def _drop_all(self, events: list[_Event], *, queue_full: bool = False) -> None:
        for event in events:
            with self._lock:
                self._metrics.record_drop(queue_full=queue_full)
            if self._on_drop is not None:
                try:
                    self._on_drop(*event)
                except Exception:  # noqa: BLE001 - nor may a failing callback
                    _log.exception("event_sink.on_drop_failed", event_type=event[0])

    def _not_running(self) -> EventSinkError:
        return EventSinkError(
            "The event sink is not running, so it cannot accept an event.",
            sink=repr(self),
            hint="Use it as `async with sink:`, or give it to a Runtime.",
        )


def _running_asyncio() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _spawn_on_trio(work: Callable[[], Coroutine[Any, Any, None]]) -> _Post:
    """Start *work* as a task that is not tied to the caller, and return the way to its loop."""
    import trio

    trio.lowlevel.spawn_system_task(work, name="event sink worker")
    return trio.lowlevel.current_trio_token().run_sync_soon
