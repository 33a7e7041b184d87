"""Stream: chunks that one stage hands to others while all of them run."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar

import anyio
import attrs

from stageflow.errors import did_you_mean
from stageflow.helpers.errors import HelperSettingError
from stageflow.helpers.streaming.errors import StreamNotLinkedError, StreamUseError
from stageflow.helpers.streaming.live import Channel, Feed, LiveStreams

if TYPE_CHECKING:
    from stageflow.context import StageContext

__all__ = ("RESOURCE", "Stream", "StreamLink", "StreamReader", "StreamWriter")

T = TypeVar("T")

RESOURCE: Final = "stageflow.helpers.streams"
"""The name under which a run's streams are among the resources of its stages."""


def _as_stages(stages: Iterable[str] | str) -> tuple[str, ...]:
    return (stages,) if isinstance(stages, str) else tuple(dict.fromkeys(stages))


@attrs.frozen
class StreamLink:
    """That a stream leads from one stage to one or several others.

    Attributes:
        stream: The stream.
        producer: The stage that writes it.
        consumers: The stages that read it; each gets every chunk.
    """

    stream: Stream[Any]
    producer: str
    consumers: tuple[str, ...] = attrs.field(converter=_as_stages)


@attrs.frozen
class Stream(Generic[T]):
    """A named, bounded stream of chunks, declared once and open anew in each run.

    Attributes:
        name: Unique among the streams of a graph.
        max_size: How many chunks may wait for a reader; then the writer waits.
        drop_on_overflow: Whether, instead, the oldest chunk is dropped.
    """

    name: str
    max_size: int = 100
    drop_on_overflow: bool = attrs.field(default=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        name: Any = self.name
        size: Any = self.max_size
        if not isinstance(name, str) or not name:
            raise HelperSettingError("Stream", "name", self.name, rule="a text that is not empty")
        if not isinstance(size, int) or size < 1:
            raise HelperSettingError(
                "Stream", "max_size", self.max_size, rule="a whole number, at least 1"
            )

    def link(self, producer: str, *, to: Iterable[str] | str) -> StreamLink:
        """Return the declaration that *producer* writes it and the stages *to* read it."""
        return StreamLink(self, producer, to)

    def writer(self, ctx: StageContext, *, resume: bool = False) -> StreamWriter[T]:
        """Return the way to write it; to be entered by `async with`.

        Args:
            ctx: The context of the stage that writes.
            resume: Whether the stage, tried again, goes on after what it has sent already.

        Raises:
            StreamNotLinkedError: The stage does not write this stream.
        """
        channel = self._channel(ctx)
        if channel.producer != ctx.stage_name:
            self._not_linked(ctx, f"stage {channel.producer!r} does", "write")
        return StreamWriter(channel, resume=resume)

    def reader(
        self, ctx: StageContext, *, resume: bool = False, optional: bool = False
    ) -> StreamReader[T]:
        """Return the way to read it; to be entered by `async with`.

        Args:
            ctx: The context of the stage that reads.
            resume: Whether the stage, tried again, goes on after what it has got already.
            optional: Whether a producer that never began to write is as good as one that wrote
                nothing.

        Raises:
            StreamNotLinkedError: The stage does not read this stream.
        """
        channel = self._channel(ctx)
        feed = channel.feeds.get(ctx.stage_name)
        if feed is None:
            self._not_linked(ctx, f"{', '.join(map(repr, channel.feeds))} do(es)", "read")
            raise AssertionError  # pragma: no cover - the line above raises
        return StreamReader(channel, feed, resume=resume, optional=optional)

    def interrupt(self, ctx: StageContext, reason: str = "interrupted") -> int:
        """Cut short this stream and all that are connected with it through stages.

        What waits is dropped, and the blocks of their writers and readers end at once, as those
        of `anyio.move_on_after` do; the stages go on behind them. Any stage of the run may ask.

        Returns:
            How many chunks were dropped.
        """
        return self._live(ctx).interrupt(reason, self.name)

    def _live(self, ctx: StageContext) -> LiveStreams:
        live = ctx.resources.get(RESOURCE)
        if not isinstance(live, LiveStreams):
            raise StreamNotLinkedError(
                self.name,
                ctx.stage_name,
                f"Stage {ctx.stage_name!r} opens stream {self.name!r}, but its run has no streams.",
                hint="Run it in a StreamingGraph that links the stream.",
            )
        if self.name not in live.channels:
            raise StreamNotLinkedError(
                self.name,
                ctx.stage_name,
                f"Stage {ctx.stage_name!r} opens stream {self.name!r}, which is not linked.",
                hint=f"Link it in the StreamingGraph. {did_you_mean(self.name, live.channels)}",
            )
        live.used_by_stage()
        return live

    def _channel(self, ctx: StageContext) -> Channel:
        return self._live(ctx).channels[self.name]

    def _not_linked(self, ctx: StageContext, who: str, does: str) -> None:
        raise StreamNotLinkedError(
            self.name,
            ctx.stage_name,
            f"Stage {ctx.stage_name!r} does not {does} stream {self.name!r}; {who}.",
            hint=f"Name {ctx.stage_name!r} in the stream's link, or open another stream.",
        )


class StreamWriter(Generic[T]):
    """One stage's way to write a stream, while it is in the `async with` of this object.

    Leaving the block finishes the stream. Leaving it by an exception does not: if the stage is
    not tried again, its readers get what was sent and then a `StreamBrokenError`.
    """

    __slots__ = ("_channel", "_resume", "_scope")

    def __init__(self, channel: Channel, *, resume: bool) -> None:
        self._channel = channel
        self._resume = resume
        self._scope: anyio.CancelScope | None = None

    @property
    def sent(self) -> int:
        """How many chunks were accepted, in all attempts."""
        return self._channel.sent

    @property
    def interrupted(self) -> bool:
        """Whether the stream was cut short."""
        return self._channel.interrupted is not None

    @property
    def reason(self) -> str | None:
        """Why it was cut short."""
        return self._channel.interrupted

    async def send(self, chunk: T) -> bool:
        """Hand *chunk* on, waiting for room.

        A cancelled call has not handed it on, unless there are several readers: then some of them
        may have it.

        Returns:
            True if it was accepted; False once nobody reads any more.

        Raises:
            StreamItemError: *chunk* is None.
            StreamUseError: It is not called inside the `async with` of this object.
        """
        if self._scope is None or self._channel.scope is not self._scope:
            _refuse_outside(self._channel, self._channel.producer, "sends to")
        return await self._channel.send(chunk)

    async def __aenter__(self) -> Self:
        scope = anyio.CancelScope()
        self._channel.begin_writing(scope, resume=self._resume)
        self._scope = scope.__enter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        assert self._scope is not None
        handled = bool(self._scope.__exit__(exc_type, error, traceback))
        self._channel.end_writing(None if handled else error)
        return handled


class StreamReader(Generic[T]):
    """One stage's way to read a stream, while it is in the `async with` of this object.

    Iterating gives the chunks in order, waiting for them. Leaving the block tells the writer that
    nobody reads here any more; leaving it by an exception does so once the stage has ended.
    """

    __slots__ = ("_channel", "_feed", "_optional", "_resume", "_scope")

    def __init__(self, channel: Channel, feed: Feed, *, resume: bool, optional: bool) -> None:
        self._channel = channel
        self._feed = feed
        self._resume = resume
        self._optional = optional
        self._scope: anyio.CancelScope | None = None

    @property
    def received(self) -> int:
        """How many chunks were read, in all attempts."""
        return self._feed.received

    @property
    def interrupted(self) -> bool:
        """Whether the stream was cut short before it was read to the end."""
        return self._feed.outcome == "interrupted"

    @property
    def reason(self) -> str | None:
        """Why it was cut short."""
        return self._channel.interrupted if self.interrupted else None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        """Return the next chunk, waiting for it.

        Raises:
            StreamBrokenError: The producer ended without finishing the stream.
            StreamUseError: It is not called inside the `async with` of this object.
        """
        if self._scope is None or self._feed.scope is not self._scope:
            _refuse_outside(self._channel, self._feed.stage, "reads")
        item: T | None = await self._channel.receive(self._feed, optional=self._optional)
        if item is None:
            raise StopAsyncIteration
        return item

    async def __aenter__(self) -> Self:
        scope = anyio.CancelScope()
        self._channel.begin_reading(self._feed, scope, resume=self._resume)
        self._scope = scope.__enter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        assert self._scope is not None
        handled = bool(self._scope.__exit__(exc_type, error, traceback))
        self._channel.end_reading(self._feed, None if handled else error)
        return handled


def _refuse_outside(channel: Channel, stage: str, does: str) -> None:
    raise StreamUseError(
        channel.name,
        stage,
        f"{does} stream {channel.name!r} outside its `async with`",
        hint="Use the object inside `async with stream.writer(ctx)` or `stream.reader(ctx)`.",
    )
