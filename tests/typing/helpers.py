"""The helpers as users type them; only type checkers read this."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, assert_type
from uuid import UUID

from stageflow import Pipeline, PipelineContext, StageContext, StageKind, StageOutput
from stageflow.compression import CompressionMetrics, compress
from stageflow.events import EventSink
from stageflow.helpers import (
    AnalyticsEvent,
    AnalyticsExporter,
    AnalyticsSink,
    AudioChunk,
    BufferedExporter,
    ChunkQueue,
    CompositeExporter,
    ConsoleExporter,
    EventSinkExporter,
    GuardrailDetector,
    GuardrailResult,
    GuardrailStage,
    InjectionDetector,
    InMemoryStore,
    JSONFileExporter,
    MemoryEntry,
    MemoryFetchStage,
    MemoryStore,
    MemoryWriteStage,
    MockLLMProvider,
    MockSTTProvider,
    MockTTSProvider,
    PIIDetector,
    PipelineRunner,
    RunResult,
    SqliteMemoryStore,
    Stream,
    StreamingBuffer,
    StreamingGraph,
    StreamLink,
    StreamReader,
    StreamWriter,
    collect_stream,
    parse_timestamp,
    track_memory,
)
from stageflow.helpers.streaming import CollectedStream
from stageflow.pipeline import CancellationToken, UnifiedStageGraph

words = Stream[str]("words", max_size=8)
sound: Stream[AudioChunk] = Stream("sound", drop_on_overflow=True)


async def write(ctx: StageContext) -> StageOutput:
    async with words.writer(ctx) as out:
        assert_type(out, StreamWriter[str])
        assert_type(await out.send("hello"), bool)
        await out.send(b"hello")  # type: ignore[arg-type]
    assert_type(out.sent, int)
    return StageOutput.ok(interrupted=out.interrupted)


async def read(ctx: StageContext) -> dict[str, Any]:
    async with words.reader(ctx, optional=True) as chunks, sound.writer(ctx) as out:
        assert_type(chunks, StreamReader[str])
        async for word in chunks:
            assert_type(word, str)
            await out.send(AudioChunk(word.encode()))
    assert_type(words.interrupt(ctx, "enough"), int)
    return {"received": chunks.received, "why": chunks.reason}


async def run_streams(ctx: PipelineContext, token: CancellationToken) -> None:
    pipeline = Pipeline("talk").with_stage("write", write).with_stage("read", read)
    link = assert_type(words.link("write", to="read"), StreamLink)
    graph: UnifiedStageGraph = StreamingGraph(pipeline, [link, sound.link("read", to=["a", "b"])])
    assert_type(await graph.run(ctx), dict[str, StageOutput])
    streaming = StreamingGraph(pipeline, [link], max_concurrency=4, on_failure="continue")
    assert_type(await streaming.run(ctx, interrupt=token), dict[str, StageOutput])
    assert_type(streaming.with_max_concurrency(8), StreamingGraph)


async def queues(source: MockTTSProvider, ctx: PipelineContext) -> None:
    queue = ChunkQueue[int](event_emitter=ctx.try_emit_event)
    assert_type(await queue.put(1), bool)
    assert_type(await queue.get(), int | None)
    async for number in queue:
        assert_type(number, int)
    buffer = StreamingBuffer(event_emitter=ctx.try_emit_event)
    async for chunk in source.stream("hello"):
        buffer.add_chunk(chunk)
    assert_type(buffer.read(20), bytes)
    collected = await collect_stream(MockLLMProvider().stream("hello"), timeout_seconds=1)
    assert_type(collected, CollectedStream[str])


exporters: list[AnalyticsExporter] = [
    JSONFileExporter("events.jsonl"),
    ConsoleExporter(colorize=False),
    BufferedExporter(ConsoleExporter(), batch_size=10),
    CompositeExporter([ConsoleExporter()]),
]
sink: EventSink = AnalyticsSink(exporters[0], include_patterns=["stage."])
again: AnalyticsExporter = EventSinkExporter(sink)
assert_type(AnalyticsEvent.from_dict(AnalyticsEvent("x").to_dict()), AnalyticsEvent)


class Shouting:
    def check(self, content: str, context: Mapping[str, Any] | None = None) -> GuardrailResult:
        return GuardrailResult(not content.isupper())


detectors: list[GuardrailDetector] = [PIIDetector(redact=True), InjectionDetector(), Shouting()]
guarded = Pipeline("chat").with_stage("guard", GuardrailStage(detectors), StageKind.GUARD)
stores: list[MemoryStore] = [InMemoryStore(), SqliteMemoryStore("memory.sqlite3")]
remembering = Pipeline("chat").with_stage("memory", MemoryFetchStage(stores[0]), StageKind.ENRICH)
writing = MemoryWriteStage(stores[1], response_stage="llm", input_stage="hear")


async def remembers(session: UUID) -> None:
    await stores[0].write(MemoryEntry("1", session, "user", "hello"))
    for entry in await stores[0].fetch(session):
        assert_type(entry, MemoryEntry)
    assert_type(await stores[0].clear(session), int)


async def providers() -> None:
    answer = await MockLLMProvider(echo=True).complete("hello")
    assert_type(answer.content, str)
    assert_type(answer.total_tokens, int)
    assert_type((await MockSTTProvider().transcribe(b"")).text, str)
    assert_type(await MockTTSProvider().synthesize("hello"), bytes)
    assert_type(await PipelineRunner(verbose=False).run(guarded, input_text="hello"), RunResult)


@track_memory(label="work")
def work(size: int) -> bytes:
    return bytes(size)


assert_type(work(3), bytes)
assert_type(parse_timestamp("2024-05-01"), datetime)
delta, metrics = compress({"a": 1}, {"a": 2})
assert_type(metrics, CompressionMetrics)
