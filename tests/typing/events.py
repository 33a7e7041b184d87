"""Sinks, emitters and normalizers as their authors and users type them; only type-checked."""

from __future__ import annotations

from typing import Any, assert_type

from stageflow.builtin.jsonl_event_sink import JsonlEventSink
from stageflow.builtin.normalizers import StandardErrorNormalizer
from stageflow.builtin.sqlite_event_sink import SqliteEventSink, StoredEvent
from stageflow.builtin.telemetry import LoggingTelemetryEmitter, NoOpTelemetryEmitter
from stageflow.context import PipelineContext
from stageflow.contracts.error_normalizer import ErrorNormalizer, NormalizedError
from stageflow.contracts.telemetry_emitter import TelemetryEmitter
from stageflow.events import (
    BackpressureAwareEventSink,
    EventSink,
    LoggingEventSink,
    NoOpEventSink,
    get_event_sink,
)
from stageflow.observability import TelemetryBridge, TelemetryHandler, emit_stage_wide
from stageflow.stages import StageOutput, StageResult


class Plain:
    async def emit(self, *, type: str, data: dict[str, Any] | None) -> None: ...

    def try_emit(self, *, type: str, data: dict[str, Any] | None) -> None: ...


class Tells:
    async def emit(self, *, type: str, data: dict[str, Any] | None) -> None: ...

    def try_emit(self, *, type: str, data: dict[str, Any] | None) -> bool:
        return True


class Asynchronous(EventSink):
    async def emit(self, *, type: str, data: dict[str, Any] | None) -> None: ...

    async def try_emit(self, *, type: str, data: dict[str, Any] | None) -> None: ...


class EmitOnly(EventSink):
    async def emit(self, *, type: str, data: dict[str, Any] | None) -> None: ...


sinks: list[EventSink] = [
    Plain(),
    Tells(),
    Asynchronous(),
    EmitOnly(),
    NoOpEventSink(),
    LoggingEventSink(level="debug"),
    BackpressureAwareEventSink(Plain(), on_drop=print),
    JsonlEventSink("events.jsonl"),
    SqliteEventSink("events.sqlite3"),
]
assert_type(get_event_sink(), EventSink)
emitters: list[TelemetryEmitter] = [LoggingTelemetryEmitter(), NoOpTelemetryEmitter()]
normalizer: ErrorNormalizer = StandardErrorNormalizer({ValueError: ("mine", True)})
assert_type(normalizer.normalize(ValueError()), NormalizedError)


async def uses(
    result: StageResult, output: StageOutput, ctx: PipelineContext, sink: SqliteEventSink
) -> None:
    emit_stage_wide("a", result, ctx)
    emit_stage_wide("a", output, ctx, sink, extra={"n": 1})
    assert_type(await sink.read(run_id=ctx.pipeline_run_id), list[StoredEvent])
    assert_type(sink.try_emit(type="a", data=None), bool)

    async def later() -> int:
        return 1

    number = await emitters[0].span(("a",), {}, later)
    assert_type(number, int)
    text = await emitters[0].span(("a",), {}, lambda: "x")
    assert_type(text, str)

    def subscribe(handler: TelemetryHandler) -> None: ...

    TelemetryBridge(emitters[0]).attach(subscribe)()
