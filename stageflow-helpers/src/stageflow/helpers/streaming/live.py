"""The streams of one run: who writes, who reads, and how each of them ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.from_thread
import anyio.lowlevel
import attrs

from stageflow.contracts.clock import Clock
from stageflow.events import NoOpEventSink
from stageflow.events.delivery import Collector, event_collector
from stageflow.helpers._telemetry import EventEmitter
from stageflow.helpers.streaming.errors import StreamBrokenError, StreamUseError
from stageflow.helpers.streaming.queue import ChunkQueue

if TYPE_CHECKING:
    from stageflow.context import PipelineContext
    from stageflow.context.cancellation import CancellationToken

__all__ = ("Channel", "Feed", "LiveStreams")

_ENDS: Final = {
    "stage.completed": "ok",
    "stage.skipped": "skip",
    "stage.cancelled": "cancel",
    "stage.failed": "fail",
}
_TAKEN_UP: Final = "may go on with `resume=True`, knowing that what was there will not come again"


@attrs.define(eq=False)
class Feed:
    """One reader's side of a stream.

    Attributes:
        stage: The stage that reads.
        queue: What waits for it.
        received: How many chunks it has got.
        scope: Its `async with`, while it is in there.
        outcome: How reading ended; None while it has not.
    """

    stage: str
    queue: ChunkQueue[Any]
    received: int = 0
    scope: anyio.CancelScope | None = None
    outcome: str | None = None


@attrs.define(eq=False)
class Channel:
    """One stream of one run.

    A stage that leaves its `async with` by an exception may be tried again, so nothing is decided
    then, but when the engine says how the stage ended.

    Attributes:
        name: The stream.
        producer: The stage that writes.
        feeds: Its readers, by stage.
        sent: How many chunks were accepted by a reader.
        scope: The writer's `async with`, while it is in there.
        written: Whether the producer ever began.
        closed: Whether the writer has finished it.
        interrupted: Why it was cut short, if it was.
        broken: How the producer ended that did not finish it, and why.
        left_by: The exception by which the writer left last.
    """

    name: str
    producer: str
    feeds: dict[str, Feed]
    tell: EventEmitter
    sent: int = 0
    scope: anyio.CancelScope | None = None
    written: bool = False
    closed: bool = False
    interrupted: str | None = None
    broken: tuple[str, str] | None = None
    left_by: BaseException | None = None

    # --- writing ---

    def begin_writing(self, scope: anyio.CancelScope, *, resume: bool) -> None:
        """Let the producer write, until *scope* is left."""
        if self.interrupted is None:
            if self.scope is not None:
                self._refuse(self.producer, "writes", "is writing it already", "Open it once.")
            if self.closed or self.broken is not None:
                self._refuse(self.producer, "writes", "has finished it", "Open it once.")
            if self.sent and not resume:
                hint = f"Retry before the first chunk only; a stage that can {_TAKEN_UP}."
                self._refuse(
                    self.producer, "writes", f"has handed on {self.sent} chunk(s) before", hint
                )
        self.written = True
        self.left_by = None
        self.scope = scope
        if self.interrupted is not None:
            scope.cancel()

    async def send(self, item: Any) -> bool:
        """Hand *item* to every reader; return whether anybody accepted it."""
        accepted = False
        for feed in self.feeds.values():
            if await feed.queue.put(item):
                accepted = True
        if accepted:
            self.sent += 1
        else:
            # Who ignores the answer must not keep the event loop from everybody else.
            await anyio.lowlevel.checkpoint()
        return accepted

    def end_writing(self, error: BaseException | None) -> None:
        """Take note that the producer has left; for good unless it did so by *error*."""
        self.scope = None
        self.left_by = error
        if error is None and not self.closed:
            self.closed = True
            for feed in self.feeds.values():
                feed.queue.close_nowait()

    def producer_ended(self, status: str, reason: str) -> None:
        """Let readers know, once they have read what there is, that nothing else will come."""
        if self.closed or self.interrupted is not None:
            return
        if status == "ok":
            reason = f"left by {self.left_by!r}" if self.written else "it wrote nothing"
        self.broken = (status, reason)
        for feed in self.feeds.values():
            feed.queue.close_nowait()

    # --- reading ---

    def begin_reading(self, feed: Feed, scope: anyio.CancelScope, *, resume: bool) -> None:
        """Let one of the readers read, until *scope* is left."""
        if self.interrupted is None:
            if feed.scope is not None:
                self._refuse(feed.stage, "reads", "is reading it already", "Open it once.")
            if feed.outcome is not None:
                self._refuse(feed.stage, "reads", "has read it", "Open it once.")
            if feed.received and not resume:
                hint = f"Retry before the first chunk only; a stage that can {_TAKEN_UP}."
                self._refuse(feed.stage, "reads", f"has got {feed.received} chunk(s) before", hint)
        feed.scope = scope
        if self.interrupted is not None:
            scope.cancel()

    async def receive(self, feed: Feed, *, optional: bool) -> Any:
        """Return the next chunk; None at the end.

        Raises:
            StreamBrokenError: The producer ended without finishing the stream.
        """
        item = await feed.queue.get()
        if item is not None:
            feed.received += 1
            return item
        if self.broken is not None and (self.written or not optional):
            status, reason = self.broken
            raise StreamBrokenError(
                self.name, self.producer, status, reason, received=feed.received
            )
        return None

    def end_reading(self, feed: Feed, error: BaseException | None) -> None:
        """Take note that a reader has left; for good unless it did so by *error*."""
        feed.scope = None
        if error is None:
            self.finish(feed)

    def finish(self, feed: Feed) -> None:
        """Close one reader's side for good, count what it leaves, and tell how it went."""
        if feed.outcome is not None:
            return
        queue = feed.queue
        if self.interrupted is not None:
            feed.outcome = "interrupted"
        elif self.broken is not None:
            feed.outcome = "broken"
        else:
            feed.outcome = "completed" if self.closed and not len(queue) else "abandoned"
        queue.clear(feed.outcome)
        queue.close_nowait()
        facts = {
            "stream": self.name,
            "producer": self.producer,
            "consumer": feed.stage,
            "outcome": feed.outcome,
            "accepted": queue.monitor.stats.total_items,
            "received": feed.received,
            "dropped": queue.monitor.stats.dropped_items,
        }
        self.tell("stream.finished", facts)

    # --- interrupting ---

    @property
    def is_over(self) -> bool:
        """Whether every reader is done with it."""
        return all(feed.outcome is not None for feed in self.feeds.values())

    def interrupt(self, reason: str) -> int:
        """Drop what waits and end the blocks of the writer and the readers; return how many."""
        self.interrupted = reason
        before = sum(feed.queue.monitor.stats.dropped_items for feed in self.feeds.values())
        for feed in self.feeds.values():
            self.finish(feed)
        for scope in (self.scope, *(feed.scope for feed in self.feeds.values())):
            if scope is not None:
                scope.cancel()
        return sum(feed.queue.monitor.stats.dropped_items for feed in self.feeds.values()) - before

    def _refuse(self, stage: str, does: str, what: str, hint: str) -> None:
        raise StreamUseError(
            self.name, stage, f"{does} stream {self.name!r}, but {what}", hint=hint
        )


class LiveStreams:
    """All streams of one run.

    Args:
        wiring: The links, as `(name, producer, consumers, queue settings)`.
        groups: The stages that streams connect, group by group.
        context: Whose listeners are told.
        clock: The run's source of time.
    """

    def __init__(
        self,
        wiring: Iterable[tuple[str, str, tuple[str, ...], Mapping[str, Any]]],
        groups: Iterable[frozenset[str]],
        context: PipelineContext,
        clock: Clock,
    ) -> None:
        silent = isinstance(context.event_sink, NoOpEventSink)
        self._emit = context.try_emit_event
        tell = _tell_nobody if silent else self._tell_run
        self._tell: EventEmitter = tell
        self._collector: Collector | None = None
        self._untold: list[tuple[str, dict[str, Any]]] | None = []
        self._groups = tuple(groups)
        self.channels: dict[str, Channel] = {}
        for name, producer, consumers, settings in wiring:
            feeds = {
                stage: Feed(
                    stage,
                    ChunkQueue(
                        **settings,
                        clock=clock,
                        event_emitter=None if silent else _named(tell, name, stage),
                    ),
                )
                for stage in consumers
            }
            self.channels[name] = Channel(name, producer, feeds, tell)

    def used_by_stage(self) -> None:
        """Take note, inside a stage, that streams are used, and who finishes event deliveries.

        Ends and interrupts are told from outside of the stages, where nobody says that. What
        happens to the streams of a run in which no stage ever uses one is not worth telling.
        """
        if self._untold is None:
            return
        self._collector = event_collector.get()
        untold, self._untold = self._untold, None
        for event in untold:
            self._tell_run(*event)

    def listen(self, event_type: str, facts: Mapping[str, Any]) -> None:
        """Take note of a stage's end, however it came to that; a listener of the run."""
        status = _ENDS.get(event_type)
        if status is None:
            return
        stage = facts["stage"]
        for channel in self.channels.values():
            if stage in channel.feeds:
                channel.finish(channel.feeds[stage])
            if channel.producer == stage:
                channel.producer_ended(status, self._reason(stage, facts))

    def interrupt(self, reason: str, stream: str | None = None) -> int:
        """Cut short what is connected with *stream*, or everything; return how many were dropped.

        What every reader has read to the end already is left as it is.
        """
        hit = [c for c in self._connected(stream) if c.interrupted is None and not c.is_over]
        if not hit:
            return 0
        dropped = sum([channel.interrupt(reason) for channel in hit])
        names = sorted(channel.name for channel in hit)
        self._tell("stream.interrupted", {"streams": names, "reason": reason, "dropped": dropped})
        return dropped

    @contextmanager
    def interrupted_by(self, token: CancellationToken | None) -> Iterator[None]:
        """Interrupt everything when *token* is cancelled, from whatever thread."""
        if token is None:
            yield
            return
        forget = token.on_cancel(_in_this_loop(lambda: self.interrupt(token.reason or "")))
        try:
            yield
        finally:
            forget()

    def _tell_run(self, event_type: str, data: dict[str, Any]) -> None:
        if self._untold is not None:
            self._untold.append((event_type, data))
            return
        token = event_collector.set(self._collector)
        try:
            self._emit(event_type, data)
        finally:
            event_collector.reset(token)

    def _reason(self, stage: str, facts: Mapping[str, Any]) -> str:
        """Return why a stage ended; where a stream that it read broke off, why that one did."""
        for channel in self.channels.values():
            feed = channel.feeds.get(stage)
            if feed is not None and channel.broken is not None and feed.outcome == "broken":
                status, reason = channel.broken
                return f"stage {channel.producer!r} before it ended as {status}: {reason}"
        return str(facts.get("error") or facts.get("reason") or "")

    def _connected(self, stream: str | None) -> list[Channel]:
        if stream is None:
            return list(self.channels.values())
        producer = self.channels[stream].producer
        group = next(group for group in self._groups if producer in group)
        return [channel for channel in self.channels.values() if channel.producer in group]


def _named(tell: EventEmitter, stream: str, consumer: str) -> EventEmitter:
    about = {"stream": stream, "consumer": consumer}
    return lambda event_type, data: tell(event_type, {**data, **about})


def _tell_nobody(event_type: str, data: dict[str, Any]) -> None:
    """Say nothing: nobody listens."""


def _in_this_loop(call: Callable[[], object]) -> Callable[[], object]:
    """Return a function for any thread that makes *call* in the event loop that runs here."""
    thread, loop = threading.get_ident(), anyio.lowlevel.current_token()

    def anywhere() -> object:
        if threading.get_ident() == thread:
            return call()
        return anyio.from_thread.run_sync(call, token=loop)

    return anywhere
