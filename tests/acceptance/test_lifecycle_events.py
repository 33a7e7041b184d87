"""Golden lifecycle events: what runs emit, whole, in order, and after the schemas.

Beside each kind of run stands every event that it emits, with all its keys.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import anyio
import pytest

from stageflow import (
    Pipeline,
    PipelineContext,
    RetryPolicy,
    StageKind,
    StageOutput,
    UnifiedPipelineCancelled,
    UnifiedStageExecutionError,
)
from stageflow.testing import TestClock
from stageflow.testing.event_sink import RecordingEventSink
from support.golden_events import assert_golden, check_schemas

pytestmark = pytest.mark.anyio

RUN_ID = UUID("550e8400-e29b-41d4-a716-446655440000")
USER_ID = UUID("550e8400-e29b-41d4-a716-446655440003")
START = "2025-01-01T00:00:00+00:00"
RUN: dict[str, Any] = {
    "pipeline_run_id": str(RUN_ID),
    "request_id": None,
    "session_id": None,
    "user_id": str(USER_ID),
    "org_id": None,
    "interaction_id": None,
    "pipeline_name": "demo",
    "topology": "fast",
    "execution_mode": None,
    "service": "chat",
    "timestamp": START,
}
SPAN = {"started_at": START, "ended_at": START, "duration_ms": 0.0}


def stage(name: str, kind: str = "work", attempt: int = 1, **facts: Any) -> dict[str, Any]:
    return {**RUN, "stage": name, "kind": kind, "attempt": attempt, **facts}


def ended(name: str, status: str, **facts: Any) -> dict[str, Any]:
    return stage(name, status=status, **{**SPAN, **facts})


def run_ended(status: str, counts: tuple[int, int, int, int], **facts: Any) -> dict[str, Any]:
    nothing = {"error": None, "failed_stage": None, "reason": None}
    by_status = dict(zip(("ok", "skip", "cancel", "fail"), counts, strict=True))
    return {**RUN, **SPAN, **nothing, "status": status, "stage_counts": by_status, **facts}


def demo(*stages: tuple[str, Any], **given: Any) -> Pipeline:
    """A chain of stages, each depending on the one before."""
    pipeline, before = Pipeline("demo"), ()
    for name, runner in stages:
        pipeline = pipeline.with_stage(name, runner, StageKind.WORK, before, **given)
        before = (name,)
    return pipeline


@pytest.fixture
def sink():
    return RecordingEventSink()


@pytest.fixture
def ctx(sink):
    return PipelineContext(
        pipeline_run_id=RUN_ID, user_id=USER_ID, topology="fast", service="chat", event_sink=sink
    )


async def gives_b_and_a(_ctx):
    return StageOutput.ok(b=1, a=2)


async def fails(_ctx):
    return StageOutput.fail("no")


async def raises(_ctx):
    raise ValueError("no")


async def skips(_ctx):
    return StageOutput.skip("nothing to do")


async def cancels(_ctx):
    return StageOutput.cancel("enough")


async def test_a_run_that_completes(sink, ctx):
    await demo(("a", gives_b_and_a), ("b", skips)).build(clock=TestClock()).run(ctx)
    assert_golden(
        sink.events,
        [
            ("pipeline.started", {**RUN, "stages_total": 2}),
            ("stage.started", stage("a")),
            ("stage.completed", ended("a", "ok", data_keys=["a", "b"])),
            ("stage.started", stage("b")),
            ("stage.skipped", ended("b", "skip", reason="nothing to do")),
            ("pipeline.completed", run_ended("completed", (1, 1, 0, 0))),
        ],
    )


@pytest.mark.parametrize(
    ("runner", "error", "error_type"),
    [(fails, "no", None), (raises, "ValueError: no", "ValueError")],
)
async def test_a_run_that_fails(sink, ctx, runner, error, error_type):
    with pytest.raises(UnifiedStageExecutionError):
        await demo(("a", runner), ("b", gives_b_and_a)).build(clock=TestClock()).run(ctx)
    assert_golden(
        sink.events,
        [
            ("pipeline.started", {**RUN, "stages_total": 2}),
            ("stage.started", stage("a")),
            (
                "stage.failed",
                ended("a", "fail", error=error, error_type=error_type, error_code=None),
            ),
            (
                "stage.cancelled",
                ended("b", "cancel", reason=sink.of("stage.cancelled")[0]["reason"]),
            ),
            ("pipeline.failed", run_ended("failed", (0, 0, 1, 1), error=error, failed_stage="a")),
        ],
    )


async def test_a_run_that_cancels_itself(sink, ctx):
    with pytest.raises(UnifiedPipelineCancelled):
        await demo(("a", cancels), ("b", gives_b_and_a)).build(clock=TestClock()).run(ctx)
    assert_golden(
        sink.events,
        [
            ("pipeline.started", {**RUN, "stages_total": 2}),
            ("stage.started", stage("a")),
            ("stage.cancelled", ended("a", "cancel", reason="enough")),
            ("stage.cancelled", ended("b", "cancel", reason="enough")),
            ("pipeline.cancelled", run_ended("cancelled", (0, 0, 2, 0), reason="enough")),
        ],
    )


async def test_a_stage_that_is_tried_again(sink, ctx):
    attempts = []

    async def third_time(_ctx):
        attempts.append(1)
        return StageOutput.ok() if len(attempts) == 3 else StageOutput.retry("not yet")

    policy = RetryPolicy(max_attempts=3, base_delay_ms=100, jitter="none")
    clock = TestClock(autojump=True)
    clock.tick(1.0)
    await demo(("a", third_time), retry=policy).build(clock=clock).run(ctx)
    check_schemas(sink.events)
    tried = sink.of("stage.retry_scheduled")
    assert [(e["attempt"], e["delay_ms"], e["max_attempts"]) for e in tried] == [
        (1, 100.0, 3),
        (2, 200.0, 3),
    ]
    assert {event["error"] for event in tried} == {"not yet"}
    [done] = sink.of("stage.completed")
    assert (done["attempt"], done["duration_ms"]) == (3, pytest.approx(300.0))


async def test_a_stage_that_is_tried_in_vain(sink, ctx):
    async def never(_ctx):
        return StageOutput.retry("not yet")

    policy = RetryPolicy(max_attempts=2, base_delay_ms=100, jitter="none")
    with pytest.raises(UnifiedStageExecutionError):
        await demo(("a", never), retry=policy).build(clock=TestClock(autojump=True)).run(ctx)
    check_schemas(sink.events)
    assert sink.types == [
        "pipeline.started",
        "stage.started",
        "stage.retry_scheduled",
        "stage.retry_exhausted",
        "stage.failed",
        "pipeline.failed",
    ]
    [exhausted] = sink.of("stage.retry_exhausted")
    assert (exhausted["attempt"], exhausted["max_attempts"], exhausted["error"]) == (
        2,
        2,
        "not yet",
    )


async def test_events_of_a_run_without_ids_have_null_for_them(sink):
    await demo(("a", gives_b_and_a)).build().run(PipelineContext(event_sink=sink))
    check_schemas(sink.events)
    assert {data["user_id"] for _, data in sink.events} == {None}


async def test_every_stage_has_one_terminal_event_also_when_the_caller_cancels(sink, ctx):
    async def waits(_ctx):
        await anyio.sleep_forever()

    async with anyio.create_task_group() as group:

        async def runs():
            with pytest.raises(UnifiedPipelineCancelled):
                await demo(("a", waits), ("b", gives_b_and_a)).build().run(ctx)

        group.start_soon(runs)
        await anyio.wait_all_tasks_blocked()
        ctx.mark_canceled("enough")
    check_schemas(sink.events)
    assert [event["stage"] for event in sink.of("stage.cancelled")] == ["a", "b"]
    assert sink.types[-1] == "pipeline.cancelled"


async def test_a_sink_with_emit_alone_has_every_event_before_the_run_returns(ctx):
    from stageflow import EventSink

    class EmitOnly(EventSink):
        def __init__(self):
            self.types = []

        async def emit(self, *, type, data):
            await anyio.lowlevel.checkpoint()
            self.types.append(type)

    async def tells(stage_ctx):
        stage_ctx.try_emit_event("my.event", {"n": 1})

    ctx.event_sink = EmitOnly()
    await demo(("a", tells)).build().run(ctx)
    assert ctx.event_sink.types == [
        "pipeline.started",
        "stage.started",
        "my.event",
        "stage.completed",
        "pipeline.completed",
    ]
