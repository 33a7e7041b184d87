"""PipelineRunner: runs a pipeline, whatever comes of it, and reports."""

from __future__ import annotations

import json
import tracemalloc
from itertools import count
from uuid import UUID, uuid4

import anyio
import pytest

from stageflow import Pipeline, StageKind, StageOutput
from stageflow.events import NoOpEventSink, clear_event_sink, get_event_sink, set_event_sink
from stageflow.helpers.run_utils import ObservableEventSink, PipelineRunner, RunResult
from stageflow.testing import TestClock

pytestmark = pytest.mark.anyio

RUN = uuid4()


async def shout(ctx):
    return {"text": ctx.snapshot.input_text.upper()}


async def fail(ctx):
    return StageOutput.fail("no luck")


async def stop(ctx):
    return StageOutput.cancel("enough")


def pipeline(*runners):
    built = Pipeline("demo")
    for runner in runners:
        built = built.with_stage(runner.__name__, runner, StageKind.WORK)
    return built


def runner(**options):
    return PipelineRunner(**{"verbose": False, **options})


# --- create_snapshot ------------------------------------------------------------------------


def test_snapshot_ids_that_are_not_given_are_made():
    ids = (UUID(int=n) for n in count(1))
    user = uuid4()
    snapshot = runner(new_id=lambda: next(ids)).create_snapshot(input_text="hi", user_id=user)
    assert snapshot.user_id == user
    made = [
        snapshot.pipeline_run_id,
        snapshot.request_id,
        snapshot.session_id,
        snapshot.org_id,
        snapshot.interaction_id,
    ]
    assert made == [UUID(int=n) for n in range(1, 6)]
    assert (snapshot.input_text, snapshot.execution_mode) == ("hi", "practice")


def test_snapshot_ids_are_random_uuids_by_default():
    first, second = runner().create_snapshot(), runner().create_snapshot()
    assert first.pipeline_run_id.version == 4
    assert first.pipeline_run_id != second.pipeline_run_id


def test_snapshot_metadata_name_the_channel():
    assert runner().create_snapshot(channel="voice").metadata == {"channel": "voice"}


# --- run --------------------------------------------------------------------------------------


async def test_a_run_that_completes():
    result = await runner().run(pipeline(shout), input_text="hi", pipeline_run_id=RUN)
    assert result.success
    assert not result.cancelled
    assert (result.error, result.error_type, result.error_stage) == (None, None, None)
    assert result.pipeline_run_id == RUN
    assert result.stages["shout"]["status"] == "ok"
    assert result.get_stage_data("shout") == {"text": "HI"}
    assert result.get_stage_data("nobody") == {}
    assert result.duration_ms >= 0


async def test_a_graph_that_is_built_already_runs_as_well():
    result = await runner().run(pipeline(shout).build(), input_text="hi")
    assert result.get_stage_data("shout") == {"text": "HI"}


async def test_a_snapshot_and_inputs_may_be_given():
    async def read(ctx):
        return {"city": ctx.inputs.get("city"), "mode": ctx.execution_mode}

    bench = runner()
    snapshot = bench.create_snapshot(execution_mode="live", pipeline_run_id=RUN)
    result = await bench.run(pipeline(read), snapshot=snapshot, inputs={"city": "Oslo"})
    assert result.get_stage_data("read") == {"city": "Oslo", "mode": "live"}
    assert result.pipeline_run_id == RUN


async def test_the_duration_is_measured_by_the_clock():
    clock = TestClock()

    async def work(ctx):
        clock.tick(1.5)

    result = await runner(clock=clock).run(pipeline(work))
    assert result.duration_ms == pytest.approx(1500)


async def test_a_run_that_fails_is_a_result_with_every_output():
    result = await runner().run(pipeline(fail))
    assert not result.success
    assert result.error_type == "UnifiedStageExecutionError"
    assert result.error_stage == "fail"
    assert "no luck" in result.error
    assert result.stages["fail"]["status"] == "fail"


async def test_a_pipeline_that_cannot_be_built_is_a_result():
    broken = Pipeline("broken").with_stage("a", shout, StageKind.WORK, dependencies=["nobody"])
    result = await runner().run(broken)
    assert (result.success, result.error_type) == (False, "PipelineValidationError")
    assert result.stages == {}


async def test_a_run_that_is_cancelled_is_a_success_that_says_so():
    result = await runner().run(pipeline(stop))
    assert (result.success, result.cancelled, result.cancel_reason) == (True, True, "enough")
    assert result.error is None
    assert result.stages["stop"]["status"] == "cancel"


async def test_being_cancelled_from_outside_is_passed_on():
    async def wait(ctx):
        scope.cancel()
        await anyio.sleep_forever()

    with anyio.CancelScope() as scope:
        await runner().run(pipeline(wait))
        pytest.fail("went on although it was cancelled")
    assert scope.cancelled_caught


async def test_an_observable_sink_is_the_current_one_during_the_run_only():
    seen = []

    async def look(ctx):
        seen.append(get_event_sink())

    mine = NoOpEventSink()
    for before in (None, ObservableEventSink(verbose=False), mine):
        clear_event_sink() if before is None else set_event_sink(before)
        await runner().run(pipeline(look))
        after = get_event_sink()
        assert isinstance(seen.pop(), ObservableEventSink)
        assert after is before or isinstance(after, NoOpEventSink)
    clear_event_sink()


async def test_events_are_captured():
    async def speak(ctx):
        ctx.try_emit_event("demo.spoke", {"stage": "speak", "words": 2})

    result = await runner(clock=TestClock()).run(pipeline(speak), pipeline_run_id=RUN)
    types = [event["type"] for event in result.events]
    assert types[0] == "pipeline.started"
    assert "demo.spoke" in types
    assert types[-1] == "pipeline.completed"
    assert result.events[0]["data"]["pipeline_run_id"] == str(RUN)
    assert result.events[0]["timestamp"] == "2025-01-01T00:00:00+00:00"


async def test_events_are_not_captured_if_nobody_wants_them():
    result = await runner(capture_events=False).run(pipeline(shout), input_text="hi")
    assert result.events == []


async def test_a_verbose_runner_prints_events(capsys):
    await runner(verbose=True, colorize=False).run(pipeline(shout), input_text="hi")
    printed = capsys.readouterr().out
    assert "pipeline.started" in printed
    assert "stage=shout" in printed
    assert "\x1b" not in printed


async def test_a_quiet_runner_prints_nothing(capsys):
    await runner().run(pipeline(shout), input_text="hi")
    assert capsys.readouterr().out == ""


# --- what watches the runs --------------------------------------------------------------------


async def test_run_ids_are_observed_if_the_monitor_is_enabled():
    assert runner().uuid_monitor is None
    bench, events = runner(enable_uuid_monitor=True), []
    bench.uuid_monitor.add_listener(events.append)
    for _ in range(2):
        await bench.run(pipeline(shout), input_text="hi", pipeline_run_id=RUN)
    assert [(event.value, event.collision) for event in events] == [
        (str(RUN), False),
        (str(RUN), True),
    ]


@pytest.mark.parametrize(("stage", "end"), [(shout, "end"), (stop, "cancelled"), (fail, "error")])
async def test_memory_is_observed_around_the_run_if_the_tracker_is_enabled(stage, end):
    assert runner().memory_tracker is None
    bench = runner(enable_memory_tracker=True)
    try:
        await bench.run(pipeline(stage), input_text="hi")
    finally:
        bench.memory_tracker.stop()
    labels = [sample.label for sample in bench.memory_tracker.samples]
    assert labels == ["pipeline:start", f"pipeline:{end}"]
    assert not tracemalloc.is_tracing()


# --- RunResult --------------------------------------------------------------------------------


def test_result_to_dict_writes_the_run_id_as_text():
    result = RunResult(True, {"a": {"status": "ok", "data": {}}}, 1.5, pipeline_run_id=RUN)
    assert result.to_dict() == {
        "success": True,
        "stages": {"a": {"status": "ok", "data": {}}},
        "duration_ms": 1.5,
        "error": None,
        "error_type": None,
        "error_stage": None,
        "cancelled": False,
        "cancel_reason": None,
        "events": [],
        "pipeline_run_id": str(RUN),
    }
    assert RunResult(False).to_dict()["pipeline_run_id"] is None


async def test_the_dictionary_of_a_real_result_is_json():
    result = await runner().run(pipeline(shout), input_text="hi")
    assert json.loads(json.dumps(result.to_dict()))["success"] is True


# --- ObservableEventSink ----------------------------------------------------------------------


async def test_sink_keeps_events_and_finds_them():
    sink = ObservableEventSink(verbose=False, clock=TestClock())
    sink.try_emit(type="stage.started", data={"stage": "a"})
    await sink.emit(type="stage.started", data={"stage": "b"})
    sink.try_emit(type="ping", data=None)
    assert sink.events[2] == {
        "type": "ping",
        "data": {},
        "timestamp": "2025-01-01T00:00:00+00:00",
    }
    assert len(sink.get_events_by_type("stage.started")) == 2
    assert sink.get_stage_events("b") == [sink.events[1]]
    sink.clear()
    assert sink.events == []


def test_sink_keeps_what_was_so_when_it_was_told():
    sink = ObservableEventSink(verbose=False)
    data = {"n": 1}
    sink.try_emit(type="x", data=data)
    data["n"] = 2
    assert sink.events[0]["data"] == {"n": 1}


def test_sink_prints_and_keeps_nothing_if_told_so(capsys):
    sink = ObservableEventSink(verbose=True, colorize=False, capture=False, clock=TestClock())
    sink.try_emit(type="stage.done", data={"stage": "a", "duration_ms": 2})
    assert sink.events == []
    assert capsys.readouterr().out == "[00:00:00.000] stage.done stage=a (2.0ms)\n"
