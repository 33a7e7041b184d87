"""Wide events as their users write them: one test for each example of the wide-events page."""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import anyio
import pytest

from stageflow import (
    Pipeline,
    PipelineContext,
    StageKind,
    StageOutput,
    StageResult,
    StageStatus,
    UnifiedPipelineCancelled,
    UnifiedStageExecutionError,
)
from stageflow.events import (
    BackpressureAwareEventSink,
    EventSink,
    LoggingEventSink,
    NoOpEventSink,
    lost_events,
)
from stageflow.observability import EventSink as EventSinkFromObservability
from stageflow.observability import WideEventEmitter, emit_pipeline_wide, emit_stage_wide
from stageflow.testing import TestClock
from stageflow.testing.event_sink import RecordingEventSink
from support.golden_events import check_schemas

pytestmark = pytest.mark.anyio

STAGE_KEYS = {
    "stage_name",
    "status",
    "duration_ms",
    "started_at",
    "ended_at",
    "error",
    "data_keys",
    "artifacts_count",
    "events_count",
    "correlation_ids",
    "pipeline_metadata",
}
PIPELINE_KEYS = {
    "status",
    "duration_ms",
    "started_at",
    "ended_at",
    "stages_total",
    "stages_completed",
    "stages_failed",
    "stages_skipped",
    "stages_cancelled",
    "error",
    "stage_summaries",
    "correlation_ids",
    "pipeline_metadata",
}


class GreetStage:
    name = "greet"
    kind = StageKind.TRANSFORM

    async def execute(self, ctx):
        return StageOutput.ok(text="hello")


class ShoutStage:
    name = "shout"
    kind = StageKind.TRANSFORM

    async def execute(self, ctx):
        text = ctx.inputs.get_from("greet", "text")
        return StageOutput.ok(response=f"{text}!".upper())


class FailingStage:
    name = "failing"
    kind = StageKind.WORK

    async def execute(self, ctx):
        return StageOutput.fail("out of order")


@pytest.fixture
def sink():
    return RecordingEventSink()


@pytest.fixture
def ctx(sink):
    return PipelineContext(
        pipeline_run_id=uuid4(),
        request_id=uuid4(),
        session_id=uuid4(),
        user_id=uuid4(),
        org_id=uuid4(),
        topology="fast_kernel",
        execution_mode="practice",
        service="chat",
        event_sink=sink,
    )


@pytest.fixture
def pipeline():
    return (
        Pipeline()
        .with_stage("greet", GreetStage, StageKind.TRANSFORM)
        .with_stage("shout", ShoutStage, StageKind.TRANSFORM, dependencies=("greet",))
    )


def wide(sink):
    """The wide events among all events."""
    return [(name, data) for name, data in sink.events if name.endswith(".wide")]


def a_result(**given: Any) -> StageResult:
    at = datetime(2023, 1, 1, 10, tzinfo=UTC)
    return StageResult(**{"name": "a", "status": "ok", "started_at": at, "ended_at": at, **given})


# --- the emitter and the functions ------------------------------------------------


async def test_the_methods_of_an_emitter(ctx, sink):
    emitter = WideEventEmitter()
    emitter.emit_stage_wide("llm_stage", a_result(), ctx)
    emitter.emit_pipeline_wide({"llm_stage": a_result()}, ctx)
    assert sink.types == ["stage.wide", "pipeline.wide"]


async def test_the_functions(ctx, sink):
    emit_stage_wide("my_stage", a_result(), ctx)
    emit_pipeline_wide({"my_stage": a_result()}, ctx)
    assert sink.types == ["stage.wide", "pipeline.wide"]


async def test_a_stage_may_emit_one_itself(ctx, sink):
    async def tells(stage_ctx):
        emit_stage_wide("mine", a_result(name="mine"), stage_ctx)

    await Pipeline().with_stage("a", tells, StageKind.WORK).build().run(ctx)
    [(_, data)] = wide(sink)
    assert data["stage_name"] == "mine"
    assert data["correlation_ids"]["user_id"] == str(ctx.user_id)


# --- the schemas ------------------------------------------------------------------


async def test_the_payloads_have_the_keys_of_the_page(pipeline, ctx, sink):
    graph = pipeline.build(emit_stage_wide_events=True, emit_pipeline_wide_event=True)
    await graph.run(ctx)
    check_schemas(sink.events)
    *stages, (kind, run) = wide(sink)
    assert [name for name, _ in stages] == ["stage.wide", "stage.wide"]
    assert kind == "pipeline.wide"
    correlation = {
        name: str(getattr(ctx, name))
        for name in ("pipeline_run_id", "request_id", "session_id", "user_id", "org_id")
    }
    metadata = {"service": "chat", "topology": "fast_kernel", "execution_mode": "practice"}
    for _, data in [*stages, (kind, run)]:
        assert data["correlation_ids"] == correlation
        assert data["pipeline_metadata"] == metadata
    for _, data in stages:
        assert set(data) >= STAGE_KEYS
        assert data["status"] == "OK"
        assert datetime.fromisoformat(data["started_at"]) <= datetime.fromisoformat(
            data["ended_at"]
        )
    assert [data["data_keys"] for _, data in stages] == [["text"], ["response"]]
    assert set(run) >= PIPELINE_KEYS
    assert (run["status"], run["error"]) == ("OK", None)
    counts = [run[f"stages_{name}"] for name in ("total", "completed", "failed", "skipped")]
    assert counts == [2, 2, 0, 0]
    for summary, name in zip(run["stage_summaries"], ("greet", "shout"), strict=True):
        assert set(summary) == {"stage_name", "status", "duration_ms", "error"}
        assert (summary["stage_name"], summary["status"]) == (name, "OK")


# --- switching them on ------------------------------------------------------------


async def test_they_are_off_unless_switched_on(pipeline, ctx, sink):
    await pipeline.build(wide_event_emitter=WideEventEmitter()).run(ctx)
    assert wide(sink) == []


@pytest.mark.parametrize("stages", [True, False])
@pytest.mark.parametrize("run", [True, False])
async def test_each_kind_is_switched_on_by_itself(pipeline, ctx, sink, stages, run):
    graph = pipeline.build(
        emit_stage_wide_events=stages,
        emit_pipeline_wide_event=run,
        wide_event_emitter=WideEventEmitter(),
    )
    await graph.run(ctx)
    assert [name for name, _ in wide(sink)] == ["stage.wide"] * 2 * stages + ["pipeline.wide"] * run


async def test_a_stage_is_summarised_when_it_has_ended(pipeline, ctx, sink):
    await pipeline.build(emit_stage_wide_events=True).run(ctx)
    kinds = [(name, (data or {}).get("stage")) for name, data in sink.events]
    assert kinds.index(("stage.wide", "greet")) < kinds.index(("stage.started", "shout"))
    assert kinds.index(("stage.completed", "greet")) < kinds.index(("stage.wide", "greet"))


# --- an emitter of one's own ------------------------------------------------------


async def test_a_custom_emitter(ctx, sink, capsys):
    class CustomEmitter(WideEventEmitter):
        def emit_stage_wide(
            self, stage_name: str, result: StageResult, ctx: PipelineContext
        ) -> None:
            if result.status == StageStatus.FAIL:
                self._log_failure(stage_name, result.error)
            super().emit_stage_wide(stage_name, result, ctx)

        def _log_failure(self, stage_name: str, error: str | None) -> None:
            print(f"{stage_name} failed: {error}")  # noqa: T201 - as the example does

    graph = (
        Pipeline()
        .with_stage("failing", FailingStage, StageKind.WORK)
        .build(
            emit_stage_wide_events=True,
            emit_pipeline_wide_event=True,
            wide_event_emitter=CustomEmitter(),
        )
    )
    with pytest.raises(UnifiedStageExecutionError):
        await graph.run(ctx)
    assert capsys.readouterr().out == "failing failed: out of order\n"
    (_, stage), (_, run) = wide(sink)
    assert (stage["status"], stage["error"]) == ("FAIL", "out of order")
    assert (run["status"], run["stages_failed"], run["error"]) == ("FAIL", 1, "out of order")


async def test_an_emitter_that_watches_for_slow_stages(pipeline, ctx, sink, capsys):
    class SlowStages(WideEventEmitter):
        def __init__(self, slow_threshold_ms: float = 1000, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.slow_threshold_ms = slow_threshold_ms

        def emit_stage_wide(
            self, stage_name: str, result: StageResult, ctx: PipelineContext
        ) -> None:
            if result.duration_ms > self.slow_threshold_ms:
                print(f"{stage_name} is slow")  # noqa: T201 - as the example does
            super().emit_stage_wide(stage_name, result, ctx)

    watching = SlowStages(slow_threshold_ms=-1, event_sink=sink)
    await pipeline.build(emit_stage_wide_events=True, wide_event_emitter=watching).run(ctx)
    await pipeline.build(emit_stage_wide_events=True, wide_event_emitter=SlowStages()).run(ctx)
    assert capsys.readouterr().out == "greet is slow\nshout is slow\n"
    assert len(wide(sink)) == 4


async def test_an_emitter_that_keeps_count_of_errors(ctx):
    class ErrorCounts(WideEventEmitter):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.error_counts: dict[str, int] = defaultdict(int)
            self.error_details: list[dict[str, Any]] = []

        def emit_stage_wide(
            self, stage_name: str, result: StageResult, ctx: PipelineContext
        ) -> None:
            if result.status == StageStatus.FAIL:
                self.error_counts[stage_name] += 1
                self.error_details.append(
                    {
                        "stage": stage_name,
                        "error": result.error,
                        "timestamp": time.time(),
                        "run_id": str(ctx.pipeline_run_id),
                    }
                )
            super().emit_stage_wide(stage_name, result, ctx)

        def get_error_summary(self) -> dict[str, Any]:
            return {
                "total_errors": sum(self.error_counts.values()),
                "errors_by_stage": dict(self.error_counts),
                "recent_errors": self.error_details[-10:],
            }

    tracker = ErrorCounts()
    graph = (
        Pipeline()
        .with_stage("failing", FailingStage, StageKind.WORK)
        .build(emit_stage_wide_events=True, wide_event_emitter=tracker)
    )
    for _ in range(2):
        with pytest.raises(UnifiedStageExecutionError):
            await graph.run(ctx)
    summary = tracker.get_error_summary()
    assert summary["total_errors"] == 2
    assert summary["errors_by_stage"] == {"failing": 2}
    assert summary["recent_errors"][0]["run_id"] == str(ctx.pipeline_run_id)


async def test_an_emitter_that_fails_does_not_fail_the_run(pipeline, ctx, sink):
    class Broken(WideEventEmitter):
        def emit_stage_wide(
            self, stage_name: str, result: StageResult, ctx: PipelineContext
        ) -> None:
            raise RuntimeError("no")

        def emit_pipeline_wide(self, results: Any, ctx: PipelineContext) -> None:
            raise RuntimeError("no")

    graph = pipeline.build(
        emit_stage_wide_events=True, emit_pipeline_wide_event=True, wide_event_emitter=Broken()
    )
    results = await graph.run(ctx)
    assert results["shout"].data["response"] == "HELLO!"
    assert sink.types[-1] == "pipeline.completed"


# --- sinks ------------------------------------------------------------------------


async def test_an_emitter_with_a_logging_sink(pipeline, caplog):
    caplog.set_level(logging.INFO, logger="stageflow.events")
    graph = pipeline.build(
        emit_stage_wide_events=True,
        emit_pipeline_wide_event=True,
        wide_event_emitter=WideEventEmitter(event_sink=LoggingEventSink()),
    )
    await graph.run(PipelineContext(event_sink=NoOpEventSink()))
    assert [record.event_type for record in caplog.records] == [
        "stage.wide",
        "stage.wide",
        "pipeline.wide",
    ]


async def test_a_sink_whose_try_emit_is_async(pipeline, ctx, capsys):
    assert EventSink is EventSinkFromObservability

    class AnalyticsSink(EventSink):
        async def emit(self, *, type: str, data: dict[str, Any] | None) -> None:
            if type in {"stage.wide", "pipeline.wide"}:
                await self.send(type, data or {})

        async def try_emit(self, *, type: str, data: dict[str, Any] | None) -> None:
            try:
                await self.emit(type=type, data=data)
            except Exception:  # noqa: BLE001 - as the example does
                print(f"could not emit {type}")  # noqa: T201 - likewise

        async def send(self, event_type: str, data: dict[str, Any]) -> None:
            await anyio.lowlevel.checkpoint()
            print(f"{event_type} {len(json.dumps(data, indent=2)) > 0}")  # noqa: T201 - likewise

    analytics = AnalyticsSink()
    graph = pipeline.build(
        emit_stage_wide_events=True,
        emit_pipeline_wide_event=True,
        wide_event_emitter=WideEventEmitter(event_sink=analytics),
    )
    await graph.run(ctx)
    assert capsys.readouterr().out.splitlines() == [
        "stage.wide True",
        "stage.wide True",
        "pipeline.wide True",
    ]
    assert lost_events(analytics) == 0


async def test_a_sink_with_emit_alone(pipeline, ctx):
    class TableSink(EventSink):
        def __init__(self) -> None:
            self.rows: list[dict[str, Any]] = []

        async def emit(self, *, type: str, data: dict[str, Any] | None) -> None:
            await anyio.lowlevel.checkpoint()
            self.rows.append(
                {"type": type, "data": json.dumps(data), "timestamp": datetime.now(UTC)}
            )

    table = TableSink()
    graph = pipeline.build(
        emit_pipeline_wide_event=True, wide_event_emitter=WideEventEmitter(event_sink=table)
    )
    await graph.run(ctx)
    [row] = table.rows
    assert row["type"] == "pipeline.wide"
    assert json.loads(row["data"])["stages_total"] == 2


async def test_a_slow_sink_behind_a_queue(pipeline, ctx):
    async with BackpressureAwareEventSink(RecordingEventSink()) as queue:
        ctx.event_sink = queue
        await pipeline.build(emit_pipeline_wide_event=True).run(ctx)
    assert queue.metrics.dropped == 0
    assert queue.metrics.delivered == queue.metrics.emitted == 7


async def test_a_sink_that_fails_does_not_fail_the_run(pipeline, ctx):
    class Broken(EventSink):
        async def emit(self, *, type: str, data: dict[str, Any] | None) -> None:
            raise ConnectionError("no")

    broken = Broken()
    graph = pipeline.build(
        emit_stage_wide_events=True, wide_event_emitter=WideEventEmitter(event_sink=broken)
    )
    results = await graph.run(ctx)
    assert results["shout"].status is StageStatus.OK
    assert lost_events(broken) == 2


# --- how a run ends -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "status", "state"), [("run", "CANCEL", "cancelled"), ("branch", "OK", "completed")]
)
async def test_a_cancelled_run_and_a_cancelled_branch(ctx, sink, scope, status, state):
    async def cancels(_ctx):
        return StageOutput.cancel("enough", scope=scope)

    graph = (
        Pipeline()
        .with_stage("greet", GreetStage, StageKind.TRANSFORM)
        .with_stage("stops", cancels, StageKind.WORK, dependencies=("greet",))
        .with_stage("after", GreetStage, StageKind.TRANSFORM, dependencies=("stops",))
        .build(emit_pipeline_wide_event=True)
    )
    if scope == "run":
        with pytest.raises(UnifiedPipelineCancelled):
            await graph.run(ctx)
    else:
        await graph.run(ctx)
    [(_, run)] = wide(sink)
    assert (run["status"], run["state"], run["stages_cancelled"]) == (status, state, 2)


async def test_v21_events_leave_no_keys_and_no_files_behind(pipeline, ctx, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    graph = pipeline.build(emit_stage_wide_events=True, emit_pipeline_wide_event=True)
    results = await graph.run(ctx)
    assert list(tmp_path.iterdir()) == []
    assert ctx.data == {}
    assert {name: set(output.data) for name, output in results.items()} == {
        "greet": {"text"},
        "shout": {"response"},
    }


async def test_v21_parallel_stages_have_times_of_their_own(ctx, sink):
    clock = TestClock()
    clock.tick(1.0)

    async def slow(_ctx):
        await clock.sleep(3.0)

    async def fast(_ctx):
        await clock.sleep(1.0)

    graph = (
        Pipeline()
        .with_stage("slow", slow, StageKind.WORK)
        .with_stage("fast", fast, StageKind.WORK)
        .build(emit_stage_wide_events=True, emit_pipeline_wide_event=True, clock=clock)
    )
    async with anyio.create_task_group() as group:
        group.start_soon(graph.run, ctx)
        await clock.advance(3.0)
    durations = {data["stage"]: data["duration_ms"] for data in sink.of("stage.wide")}
    assert durations == {"slow": 3000.0, "fast": 1000.0}
    assert sink.of("pipeline.wide")[0]["duration_ms"] == 3000.0
