"""ChunkQueue: a bounded queue between tasks that never loses an item without saying so."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import anyio

from stageflow.contracts.clock import Clock, SystemClock
from stageflow.helpers._telemetry import EventEmitter, guarded
from stageflow.helpers.errors import StreamItemError, check_whole_number
from stageflow.helpers.streaming.backpressure import BackpressureMonitor

__all__ = ("ChunkQueue",)

T = TypeVar("T")

_WORTH_REPORTING_MS = 1.0


class ChunkQueue(Generic[T]):
    """A bounded first-in-first-out queue for any number of producers and consumers.

    What it promises:

    - `put` answers True exactly if the item was accepted. An accepted item leaves only by `get`
      or by a counted `stream.chunk_dropped`; closing loses none.
    - No task waits for ever: `close` wakes everybody, and waiting tasks are served in their order.
    - A cancelled `put` has not accepted its item; a cancelled `get` has taken none.
    - `put` and `get` suspend only if they have to wait, as those of `asyncio.Queue` do.

    It belongs to one event loop and is not safe to share between threads.

    Args:
        max_size: Items it holds at most.
        drop_on_overflow: Make room in a full queue by dropping the oldest item, instead of
            letting the producer wait.
        event_emitter: Called as `emitter(event_type, data)` for `stream.*` events; what it raises
            is logged.
        monitor: Counts and throttling; one with the default marks unless given.
        clock: Source of the time that producers wait.
    """

    __slots__ = (
        "_clock",
        "_closed",
        "_drop_on_overflow",
        "_emit",
        "_event_type",
        "_getters",
        "_items",
        "_items_promised",
        "_places_promised",
        "_putters",
        "max_size",
        "monitor",
    )

    def __init__(
        self,
        max_size: int = 100,
        *,
        drop_on_overflow: bool = False,
        event_emitter: EventEmitter | None = None,
        monitor: BackpressureMonitor | None = None,
        clock: Clock | None = None,
    ) -> None:
        check_whole_number("ChunkQueue", "max_size", max_size, 1)
        self.max_size = max_size
        self.monitor = monitor or BackpressureMonitor()
        self._drop_on_overflow = drop_on_overflow
        self._emit = guarded(event_emitter)
        self._clock = clock or SystemClock()
        self._closed = False
        # `anyio.Event()` finds out on which event loop it runs, each time, and that costs more
        # than all the rest; a queue belongs to one loop, so the first answer is kept.
        self._event_type: Callable[[], anyio.Event] = anyio.Event
        self._items: deque[T] = deque()
        # Who waits is woken for one item or place, which is promised to it until it runs, so that
        # nobody takes it away meanwhile. What is not promised is anybody's.
        self._getters: deque[anyio.Event] = deque()
        self._putters: deque[anyio.Event] = deque()
        self._items_promised = 0
        self._places_promised = 0

    def __len__(self) -> int:
        """The number of items that wait to be got."""
        return len(self._items)

    @property
    def closed(self) -> bool:
        """Whether the queue accepts no more items."""
        return self._closed

    async def put(self, item: T) -> bool:
        """Add *item* at the end, waiting for room unless the queue drops on overflow.

        Returns:
            True if the item was accepted; False if the queue is closed, or was closed meanwhile.

        Raises:
            StreamItemError: *item* is None, which marks the end of the stream.
        """
        if item is None:
            raise StreamItemError
        if self._closed:
            return False
        if len(self._items) + self._places_promised >= self.max_size:
            if not self._drop_on_overflow:
                return await self._put_when_there_is_room(item)
            self._drop_oldest("overflow")
        self._accept(item)
        return True

    def put_nowait(self, item: T) -> bool:
        """Add *item* at the end if that is possible at once.

        Returns:
            True if the item was accepted. False if the queue is closed, or full and not set to
            drop on overflow; the latter is counted and emitted with the reason `queue_full`.

        Raises:
            StreamItemError: *item* is None.
        """
        if item is None:
            raise StreamItemError
        if self._closed:
            return False
        if len(self._items) + self._places_promised >= self.max_size:
            if not self._drop_on_overflow:
                self._report_drop("queue_full")
                return False
            self._drop_oldest("overflow")
        self._accept(item)
        return True

    async def get(self) -> T | None:
        """Take the oldest item, waiting for one; None once the queue is closed and empty."""
        if len(self._items) <= self._items_promised:
            # Once closed, nobody is woken any more, so nobody may start to wait.
            found = bool(self._items) if self._closed else await self._wait_for_item()
            if not found:
                return None
        item = self._items.popleft()
        if self._putters:
            self._promise_places()
        if self.monitor.should_throttle():
            self.monitor.record_level(len(self._items), self.max_size)
            if not self.monitor.should_throttle():
                self._report_throttling("stream.throttle_ended")
        return item

    def clear(self, reason: str = "cleared") -> int:
        """Drop everything that waits, each item counted and emitted with *reason*.

        Returns:
            How many items were dropped. Producers that wait for room are served next.
        """
        dropped = len(self._items)
        for _ in range(dropped):
            self._drop_oldest(reason)
        self._promise_places()
        return dropped

    async def close(self) -> None:
        """Accept no more items; those accepted can still be got. Closing again does nothing."""
        self.close_nowait()

    def close_nowait(self) -> None:
        """Do what `close` does, where nothing can be awaited."""
        if self._closed:
            return
        self._closed = True
        self._items_promised += len(self._getters)
        self._places_promised += len(self._putters)
        for waiters in (self._getters, self._putters):
            while waiters:
                waiters.popleft().set()
        if self._emit is not None:
            self._emit("stream.queue_closed", self._level() | self.monitor.stats.to_dict())

    def __aiter__(self) -> ChunkQueue[T]:
        return self

    async def __anext__(self) -> T:
        item = await self.get()
        if item is None:
            raise StopAsyncIteration
        return item

    def _accept(self, item: T) -> None:
        self._items.append(item)
        if self._getters:
            self._promise_items()
        monitor = self.monitor
        was_throttling = monitor.should_throttle()
        monitor.record_put(len(self._items), self.max_size)
        if monitor.should_throttle() is not was_throttling:
            change = "ended" if was_throttling else "started"
            self._report_throttling(f"stream.throttle_{change}")

    async def _put_when_there_is_room(self, item: T) -> bool:
        started = self._clock.monotonic()
        accepted = await self._wait_for_room()
        if accepted:
            self._accept(item)
        blocked_ms = (self._clock.monotonic() - started) * 1000
        if blocked_ms > _WORTH_REPORTING_MS:
            self.monitor.record_blocked(blocked_ms)
            if self._emit is not None:
                self._emit(
                    "stream.producer_blocked",
                    {"blocked_ms": blocked_ms, "queue_size": len(self._items)},
                )
        return accepted

    async def _wait_for_room(self) -> bool:
        """Wait in line; return whether there is a place, which is then the caller's to take."""
        mine = self._new_waiter()
        self._putters.append(mine)
        try:
            await mine.wait()
        except BaseException:
            if mine.is_set():
                self._places_promised -= 1
                self._promise_places()
            else:
                self._putters.remove(mine)
            raise
        self._places_promised -= 1
        return not self._closed

    async def _wait_for_item(self) -> bool:
        """Wait in line; return whether there is an item, which is then the caller's to take."""
        mine = self._new_waiter()
        self._getters.append(mine)
        while True:
            try:
                await mine.wait()
            except BaseException:
                if mine.is_set():
                    self._items_promised -= 1
                    self._promise_items()
                else:
                    self._getters.remove(mine)
                raise
            self._items_promised -= 1
            if self._items or self._closed:
                return bool(self._items)
            # What was promised has been cleared away; the place in line has not.
            mine = self._new_waiter()
            self._getters.appendleft(mine)

    def _promise_places(self) -> None:
        while self._putters and len(self._items) + self._places_promised < self.max_size:
            self._places_promised += 1
            self._putters.popleft().set()

    def _promise_items(self) -> None:
        while self._getters and len(self._items) > self._items_promised:
            self._items_promised += 1
            self._getters.popleft().set()

    def _new_waiter(self) -> anyio.Event:
        waiter = self._event_type()
        self._event_type = type(waiter)
        return waiter

    def _drop_oldest(self, reason: str) -> None:
        self._items.popleft()
        self._report_drop(reason)

    def _report_drop(self, reason: str) -> None:
        self.monitor.record_drop()
        if self._emit is not None:
            self._emit("stream.chunk_dropped", {**self._level(), "reason": reason})

    def _report_throttling(self, event_type: str) -> None:
        if self._emit is not None:
            fill = self.monitor.fill_percentage
            self._emit(event_type, {**self._level(), "fill_percentage": fill})

    def _level(self) -> dict[str, Any]:
        return {"queue_size": len(self._items), "max_size": self.max_size}
