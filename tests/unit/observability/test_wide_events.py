"""Checklist 5, wide events: one summary per stage and per run, with the keys of both pages."""

from __future__ import annotations

import gc
import weakref
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stageflow.context import (
    ContextSnapshot,
    PipelineContext,
    PipelineTimer,
    RunIdentity,
    StageInputs,
    create_stage_context,
)
from stageflow.events import clear_event_sink, lost_events, set_event_sink
from stageflow.observability import WideEventEmitter, emit_pipeline_wide, emit_stage_wide
from stageflow.stages import StageArtifact, StageEvent, StageOutput, StageResult, StageStatus
from stageflow.testing.event_sink import RecordingEventSink
from support.golden_events import assert_golden, check_schemas

AT = datetime(2025, 1, 1, tzinfo=UTC)
IDS = {
    "pipeline_run_id": UUID(int=1),
    "request_id": UUID(int=2),
    "session_id": UUID(int=3),
    "user_id": UUID(int=4),
    "org_id": UUID(int=5),
}
TEXTS = {name: str(value) for name, value in IDS.items()}
ABOUT = {
    **TEXTS,
    "interaction_id": None,
    "service": "chat",
    "topology": "fast",
    "execution_mode": "practice",
    "correlation_ids": TEXTS,
    "pipeline_metadata": {"service": "chat", "topology": "fast", "execution_mode": "practice"},
}


def result(name="llm", status="ok", begin=0.0, end=1.5, **given):
    return StageResult(
        name, status, AT + timedelta(seconds=begin), AT + timedelta(seconds=end), **given
    )


@pytest.fixture
def sink():
    return RecordingEventSink()


@pytest.fixture
def ctx(sink):
    return PipelineContext(
        **IDS, service="chat", topology="fast", execution_mode="practice", event_sink=sink
    )


# --- stage.wide ------------------------------------------------------------------


def test_the_payload_of_a_stage(sink, ctx):
    ended = result(
        data={"tokens": 3, "answer": "x"},
        artifacts=[StageArtifact("card", {})],
        events=[StageEvent("token", {}), StageEvent("token", {})],
    )
    WideEventEmitter().emit_stage_wide("llm", ended, ctx)
    assert_golden(
        sink.events,
        [
            (
                "stage.wide",
                {
                    **ABOUT,
                    "stage_name": "llm",
                    "stage": "llm",
                    "status": "OK",
                    "started_at": "2025-01-01T00:00:00+00:00",
                    "ended_at": "2025-01-01T00:00:01.500000+00:00",
                    "duration_ms": 1500.0,
                    "error": None,
                    "data_keys": ["answer", "tokens"],
                    "artifacts_count": 1,
                    "events_count": 2,
                },
            )
        ],
    )


@pytest.mark.parametrize("status", StageStatus)
def test_a_stages_status_is_the_name(sink, ctx, status):
    WideEventEmitter().emit_stage_wide("a", result(status=status, error="no"), ctx)
    [data] = sink.of("stage.wide")
    assert (data["status"], data["error"]) == (status.name, "no")
    check_schemas(sink.events)


def test_ids_that_there_are_not_are_null(sink):
    WideEventEmitter().emit_stage_wide("a", result(), PipelineContext(event_sink=sink))
    [data] = sink.of("stage.wide")
    assert set(data["correlation_ids"].values()) == {None}
    assert data["pipeline_run_id"] is None
    check_schemas(sink.events)


def test_extra_facts_stand_apart(sink, ctx):
    extra = {"cost": 3, "status": "mine"}
    emitter = WideEventEmitter()
    emitter.emit_stage_wide("a", result(), ctx, extra=extra)
    emitter.emit_pipeline_wide({}, ctx, extra=extra)
    emitter.emit_stage_wide("a", result(), ctx)
    assert [data.get("extra") for _, data in sink.events] == [extra, extra, None]
    assert sink.events[0][1]["status"] == "OK"
    assert "extra" not in sink.events[2][1]
    assert sink.events[0][1]["extra"] is not extra


def test_an_output_serves_as_well(sink, ctx):
    output = StageOutput.fail("no", code=3).with_duration(12.0)
    WideEventEmitter().emit_stage_wide("a", output, ctx)
    [data] = sink.of("stage.wide")
    assert (data["status"], data["error"], data["duration_ms"]) == ("FAIL", "no", 12.0)
    assert (data["started_at"], data["ended_at"]) == (None, None)
    assert data["data_keys"] == ["code"]
    check_schemas(sink.events)


def test_keys_that_are_no_text_are_told_as_text(sink, ctx):
    WideEventEmitter().emit_stage_wide("a", result(data={2: 0, "b": 0, None: 0}), ctx)
    assert sink.of("stage.wide")[0]["data_keys"] == ["2", "None", "b"]


def test_a_stages_context_will_do(sink):
    snapshot = ContextSnapshot(run_id=RunIdentity(**IDS), topology="fast")
    ctx = create_stage_context(snapshot, StageInputs(snapshot), "a", PipelineTimer(), sink)
    emit_stage_wide("a", result(), ctx)
    emit_pipeline_wide({"a": result()}, ctx)
    check_schemas(sink.events)
    for _, data in sink.events:
        assert data["correlation_ids"] == TEXTS
        assert data["topology"] == "fast"
        assert data["service"] is None


# --- pipeline.wide ----------------------------------------------------------------


def test_the_payload_of_a_run(sink, ctx):
    results = {
        "input": result("input", end=0.1, data={"text": "x"}),
        "llm": result("llm", begin=0.1, end=1.6),
        "extra": result("extra", "skip", begin=0.2, end=0.2),
    }
    WideEventEmitter().emit_pipeline_wide(results, ctx)
    short = [
        {"stage_name": "input", "status": "OK", "duration_ms": 100.0, "error": None},
        {"stage_name": "llm", "status": "OK", "duration_ms": 1500.0, "error": None},
        {"stage_name": "extra", "status": "SKIP", "duration_ms": 0.0, "error": None},
    ]
    times = [("00", "00.100000"), ("00.100000", "01.600000"), ("00.200000", "00.200000")]
    details = [
        {
            **each,
            "stage": each["stage_name"],
            "started_at": f"2025-01-01T00:00:{began}+00:00",
            "ended_at": f"2025-01-01T00:00:{ended}+00:00",
            "data_keys": ["text"] if each["stage_name"] == "input" else [],
            "artifacts_count": 0,
            "events_count": 0,
        }
        for each, (began, ended) in zip(short, times, strict=True)
    ]
    assert_golden(
        sink.events,
        [
            (
                "pipeline.wide",
                {
                    **ABOUT,
                    "pipeline_name": "fast",
                    "status": "OK",
                    "state": "completed",
                    "started_at": "2025-01-01T00:00:00+00:00",
                    "ended_at": "2025-01-01T00:00:01.600000+00:00",
                    "duration_ms": 1600.0,
                    "stages_total": 3,
                    "stages_completed": 2,
                    "stages_failed": 0,
                    "stages_skipped": 1,
                    "stages_cancelled": 0,
                    "stage_counts": {"ok": 2, "skip": 1, "cancel": 0, "fail": 0},
                    "error": None,
                    "stage_summaries": short,
                    "stage_details": details,
                },
            )
        ],
    )


BRANCH = {"cancel_scope": "branch"}
RUN = {"cancel_scope": "run"}


@pytest.mark.parametrize(
    ("results", "status", "state", "error"),
    [
        ([], "OK", "completed", None),
        ([("ok", None)], "OK", "completed", None),
        ([("ok", None), ("fail", None)], "FAIL", "failed", "e1"),
        ([("fail", None), ("fail", None)], "FAIL", "failed", "e0"),
        ([("ok", None), ("cancel", RUN)], "CANCEL", "cancelled", None),
        ([("cancel", {})], "CANCEL", "cancelled", None),
        ([("cancel", RUN), ("fail", None)], "FAIL", "failed", "e1"),
        ([("cancel", BRANCH), ("ok", None)], "OK", "completed", None),
        ([("skip", None)], "OK", "completed", None),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else None,
)
def test_a_runs_status_is_told_from_its_stages(sink, ctx, results, status, state, error):
    ended = {
        f"s{n}": result(
            f"s{n}", word, error=f"e{n}" if word == "fail" else None, metadata=metadata or {}
        )
        for n, (word, metadata) in enumerate(results)
    }
    WideEventEmitter().emit_pipeline_wide(ended, ctx)
    [data] = sink.of("pipeline.wide")
    assert (data["status"], data["state"], data["error"]) == (status, state, error)
    check_schemas(sink.events)


@pytest.mark.parametrize(
    ("given", "status", "state"),
    [
        ("completed", "OK", "completed"),
        ("failed", "FAIL", "failed"),
        ("cancelled", "CANCEL", "cancelled"),
        ("OK", "OK", "completed"),
        ("FAIL", "FAIL", "failed"),
        ("CANCEL", "CANCEL", "cancelled"),
        (StageStatus.CANCEL, "CANCEL", "cancelled"),
    ],
)
def test_a_status_that_is_given_wins(sink, ctx, given, status, state):
    emit_pipeline_wide({"a": result(status="fail")}, ctx, status=given)
    [data] = sink.of("pipeline.wide")
    assert (data["status"], data["state"]) == (status, state)


def test_a_status_that_there_is_not_is_refused(ctx):
    with pytest.raises(ValueError, match="'great'"):
        emit_pipeline_wide({}, ctx, status="great")


@pytest.mark.parametrize(
    ("given", "topology", "name"),
    [("mine", "fast", "mine"), (None, "fast", "fast"), (None, None, "pipeline")],
)
def test_a_runs_name_is_given_or_its_topology_or_pipeline(sink, given, topology, name):
    ctx = PipelineContext(topology=topology, event_sink=sink)
    WideEventEmitter().emit_pipeline_wide({}, ctx, pipeline_name=given)
    assert sink.of("pipeline.wide")[0]["pipeline_name"] == name


def test_a_run_of_outputs_knows_no_times(sink, ctx):
    emit_pipeline_wide({"a": StageOutput.ok(), "b": StageOutput.cancel("x")}, ctx)
    [data] = sink.of("pipeline.wide")
    assert (data["started_at"], data["ended_at"], data["duration_ms"]) == (None, None, None)
    assert (data["status"], data["stages_cancelled"]) == ("CANCEL", 1)
    check_schemas(sink.events)


# --- where they go -----------------------------------------------------------------


def test_one_emitter_serves_several_runs(sink):
    emitter = WideEventEmitter(sink)
    runs = [PipelineContext(pipeline_run_id=UUID(int=n), service=f"s{n}") for n in (7, 8)]
    for ctx in (*runs, *runs):
        emitter.emit_stage_wide("a", result(), ctx)
    runs[1].user_id = UUID(int=9)
    emitter.emit_stage_wide("a", result(), runs[1])
    told = [(data["pipeline_run_id"], data["service"]) for _, data in sink.events]
    seven, eight = (str(UUID(int=7)), "s7"), (str(UUID(int=8)), "s8")
    assert told == [seven, eight, seven, eight, eight]
    assert sink.events[-1][1]["correlation_ids"]["user_id"] == str(UUID(int=9))


def test_events_share_nothing_that_a_sink_might_change(sink, ctx):
    emitter = WideEventEmitter()
    emitter.emit_stage_wide("a", result(), ctx)
    sink.events[0][1]["correlation_ids"].clear()
    sink.events[0][1]["pipeline_metadata"].clear()
    emitter.emit_stage_wide("a", result(), ctx)
    assert sink.events[1][1]["correlation_ids"] == TEXTS
    assert len(sink.events[1][1]["pipeline_metadata"]) == 3


def test_the_events_have_types_of_ones_own_choice(sink, ctx):
    emitter = WideEventEmitter(stage_event_type="my.stage", pipeline_event_type="my.run")
    emitter.emit_stage_wide("a", result(), ctx)
    emitter.emit_pipeline_wide({}, ctx)
    assert sink.types == ["my.stage", "my.run"]


class Falsy(RecordingEventSink):
    def __len__(self):
        return 0


@pytest.fixture
def current():
    sink = Falsy()
    set_event_sink(sink)
    yield sink
    clear_event_sink()


def emit_both(emitter, ctx):
    emitter.emit_stage_wide("a", result(), ctx)
    emitter.emit_pipeline_wide({}, ctx)


def test_an_emitters_own_sink_comes_first(current, sink, ctx):
    mine = Falsy()
    emit_both(WideEventEmitter(mine), ctx)
    assert (len(mine.events), sink.events, current.events) == (2, [], [])


def test_then_the_sink_of_the_context(current):
    its = Falsy()
    emit_both(WideEventEmitter(), PipelineContext(event_sink=its))
    assert (len(its.events), current.events) == (2, [])


def test_then_the_current_sink(current):
    emit_both(WideEventEmitter(), PipelineContext(event_sink=None))
    assert len(current.events) == 2


def test_the_functions_do_as_the_methods_do(current, sink, ctx):
    mine = Falsy()
    emit_stage_wide("a", result(), ctx)
    emit_pipeline_wide({"a": result()}, ctx)
    emit_stage_wide("a", result(), ctx, mine)
    emit_pipeline_wide({"a": result()}, ctx, event_sink=mine)
    both = ["stage.wide", "pipeline.wide"]
    assert (sink.types, mine.types) == (both, both)
    assert sink.events == mine.events


def test_a_sink_that_fails_harms_nobody(ctx):
    class Raises:
        async def emit(self, *, type, data):
            raise ValueError

        def try_emit(self, *, type, data):
            raise ValueError

    broken = Raises()
    emit_both(WideEventEmitter(broken), ctx)
    assert lost_events(broken) == 2


def test_a_subclass_may_look_at_results_on_their_way(sink, ctx):
    seen = []

    class Mine(WideEventEmitter):
        def __init__(self, limit, **given):
            super().__init__(**given)
            self.limit = limit

        def emit_stage_wide(self, stage_name, result, ctx):
            if result.duration_ms > self.limit:
                seen.append(stage_name)
            super().emit_stage_wide(stage_name, result, ctx)

    emitter = Mine(1000)
    emitter.emit_stage_wide("slow", result(end=2.0), ctx)
    emitter.emit_stage_wide("fast", result(end=0.5), ctx)
    assert seen == ["slow"]
    assert len(sink.events) == 2


# --- what is written once and told twice -------------------------------------------


class Meddling(RecordingEventSink):
    """Changes whatever it is given."""

    def try_emit(self, *, type, data):
        super().try_emit(type=type, data=data)
        data["data_keys"] = data.get("data_keys", [])
        data["data_keys"].append("meddled")
        data["correlation_ids"].clear()
        data["pipeline_metadata"].clear()
        data["error"] = "meddled"


def test_what_a_sink_does_to_one_event_is_not_seen_in_the_next(ctx):
    emitter, plain = WideEventEmitter(Meddling()), RecordingEventSink()
    ended = result(data={"answer": 1})
    emitter.emit_stage_wide("llm", ended, ctx)
    emitter.event_sink = plain
    emitter.emit_stage_wide("rag", result("rag"), ctx)
    emitter.emit_pipeline_wide({"llm": ended}, ctx)
    (_, stage), (_, run) = plain.events
    assert stage["correlation_ids"] == run["correlation_ids"] == TEXTS
    assert stage["pipeline_metadata"] == run["pipeline_metadata"] == ABOUT["pipeline_metadata"]
    assert (run["stage_details"][0]["data_keys"], run["stage_details"][0]["error"]) == (
        ["answer"],
        None,
    )


def test_a_run_told_twice_is_told_in_values_of_its_own(sink, ctx):
    emitter, ended = WideEventEmitter(), result(data={"answer": 1})
    emitter.emit_stage_wide("llm", ended, ctx)
    emitter.emit_pipeline_wide({"llm": ended}, ctx)
    sink.events[-1][1]["stage_details"][0]["status"] = "meddled"
    emitter.emit_pipeline_wide({"llm": ended}, ctx)
    assert sink.events[-1][1]["stage_details"][0]["status"] == "OK"


def test_a_run_is_told_of_the_results_it_is_given_not_of_those_told_before(sink, ctx):
    emitter = WideEventEmitter()
    emitter.emit_stage_wide("llm", result(status="fail", error="first"), ctx)
    emitter.emit_pipeline_wide({"llm": result(end=2.0)}, ctx)
    (detail,) = sink.events[-1][1]["stage_details"]
    assert (detail["status"], detail["error"], detail["duration_ms"]) == ("OK", None, 2000.0)


def test_what_becomes_known_of_a_context_is_told_from_then_on(sink, ctx):
    emitter = WideEventEmitter()
    emitter.emit_stage_wide("llm", result(), ctx)
    ctx.user_id = UUID(int=9)
    emitter.emit_stage_wide("rag", result("rag"), ctx)
    first, second = (data for _, data in sink.events)
    assert (first["user_id"], second["user_id"]) == (TEXTS["user_id"], str(UUID(int=9)))
    assert second["correlation_ids"]["user_id"] == str(UUID(int=9))


def test_runs_that_take_turns_do_not_mix(sink):
    emitter = WideEventEmitter()
    runs = [PipelineContext(pipeline_run_id=UUID(int=n), event_sink=sink) for n in (1, 2)]
    results = [result(error=str(n)) for n in (1, 2)]
    for run, ended in zip(runs, results, strict=True):
        emitter.emit_stage_wide("llm", ended, run)
    for run, ended in zip(runs, results, strict=True):
        emitter.emit_pipeline_wide({"llm": ended}, run)
    told = [
        (data["pipeline_run_id"], data["stage_details"][0]["error"]) for _, data in sink.events[2:]
    ]
    assert told == [(str(UUID(int=1)), "1"), (str(UUID(int=2)), "2")]


def test_nothing_of_a_run_is_kept_once_it_was_told_or_its_context_is_gone(sink):
    emitter = WideEventEmitter(sink)
    told, forgotten = PipelineContext(), PipelineContext()
    kept = weakref.ref(ended := result())
    emitter.emit_stage_wide("llm", ended, told)
    emitter.emit_stage_wide("llm", ended, forgotten)
    emitter.emit_pipeline_wide({"llm": ended}, told)
    del ended, forgotten
    gc.collect()
    assert kept() is None


@settings(max_examples=200)
@given(
    st.lists(
        st.builds(
            lambda seconds, zone: (AT + timedelta(seconds=seconds)).astimezone(zone),
            st.one_of(st.integers(-2, 2), st.floats(-2, 2)),
            st.sampled_from([UTC, timezone(timedelta(hours=2))]),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_times_are_written_as_isoformat_writes_them(moments):
    sink = RecordingEventSink()
    emitter, ctx = WideEventEmitter(sink), PipelineContext(event_sink=None)
    for at in [*moments, moments[0].replace(microsecond=0), datetime(1, 1, 1, tzinfo=UTC)]:
        emitter.emit_stage_wide("a", StageResult("a", "ok", at, at), ctx)
        assert sink.events[-1][1]["started_at"] == at.isoformat()
