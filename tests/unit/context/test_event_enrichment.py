"""What contexts add to the events that are emitted through them, and what never happens."""

from __future__ import annotations

import logging
from uuid import UUID

import attrs
import pytest

from stageflow import Pipeline
from stageflow.context import (
    ContextSnapshot,
    DictContextAdapter,
    PipelineContext,
    PipelineTimer,
    RunIdentity,
    create_stage_context,
    create_stage_inputs,
)
from stageflow.events import lost_events
from support.runs import RememberingSink

RUN = UUID("550e8400-e29b-41d4-a716-446655440000")
REQUEST = UUID("550e8400-e29b-41d4-a716-446655440001")
KNOWN = {"pipeline_run_id": str(RUN), "request_id": str(REQUEST), "execution_mode": "practice"}
UNKNOWN = {"pipeline_run_id": None, "request_id": None, "execution_mode": None}


def of_stage(sink, *, known=True, topology=None):
    identity = RunIdentity(RUN, REQUEST) if known else RunIdentity()
    mode = "practice" if known else None
    snapshot = ContextSnapshot(identity, execution_mode=mode, topology=topology)
    return create_stage_context(snapshot, create_stage_inputs(snapshot), "a", PipelineTimer(), sink)


def of_pipeline(sink, *, known=True, topology=None):
    ids = {"pipeline_run_id": RUN, "request_id": REQUEST, "execution_mode": "practice"}
    return PipelineContext(event_sink=sink, topology=topology, **(ids if known else {}))


contexts = pytest.mark.parametrize("context_of", [of_stage, of_pipeline])


@pytest.fixture
def sink() -> RememberingSink:
    return RememberingSink()


@contexts
def test_an_event_has_the_ids_as_text_the_mode_and_what_was_given(context_of, sink):
    context_of(sink).try_emit_event("tool.invoked", {"tool": "search"})
    assert sink.events == [("tool.invoked", {**KNOWN, "tool": "search"})]


@contexts
def test_ids_that_are_not_known_are_null(context_of, sink):
    context_of(sink, known=False).try_emit_event("tool.invoked", {"tool": "search"})
    assert sink.events == [("tool.invoked", {**UNKNOWN, "tool": "search"})]


@contexts
def test_an_event_needs_no_data(context_of, sink):
    context_of(sink).try_emit_event("tool.invoked")
    assert sink.events == [("tool.invoked", KNOWN)]


@contexts
def test_what_was_given_wins_and_is_not_changed(context_of, sink):
    given = {"execution_mode": "live"}
    context_of(sink).try_emit_event("tool.invoked", given)
    assert sink.of("tool.invoked") == [{**KNOWN, "execution_mode": "live"}]
    assert given == {"execution_mode": "live"}


def test_a_pipeline_context_adds_the_topology_when_there_is_one(sink):
    of_pipeline(sink, topology="fast").try_emit_event("tool.invoked")
    of_pipeline(sink).try_emit_event("tool.invoked")
    assert sink.of("tool.invoked") == [{**KNOWN, "topology": "fast"}, KNOWN]


@contexts
def test_the_sink_is_called_by_keywords(context_of):
    calls = []

    class Sink:
        async def emit(self, *, type, data):
            raise AssertionError("not this one")

        def try_emit(self, **given):
            calls.append(given)

    context_of(Sink()).try_emit_event("tool.invoked", {"n": 1})
    assert calls == [{"type": "tool.invoked", "data": {**KNOWN, "n": 1}}]


@contexts
def test_an_exception_of_the_sink_is_suppressed_and_logged_as_a_warning(context_of, caplog):
    class Broken:
        async def emit(self, *, type, data):
            pass

        def try_emit(self, *, type, data):
            raise RuntimeError("full")

    with caplog.at_level(logging.DEBUG):
        context_of(Broken()).try_emit_event("tool.invoked")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "full" in caplog.text


@contexts
def test_without_a_sink_nothing_is_raised_and_nothing_logged_above_debug(context_of, caplog):
    context = context_of(RememberingSink())
    if isinstance(context, PipelineContext):
        context.event_sink = None
    else:
        context = attrs.evolve(context, event_sink=None)
    with caplog.at_level(logging.DEBUG):
        context.try_emit_event("tool.invoked", {"tool": "search"})
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


def test_a_dictionary_as_context_logs_events_at_debug_level_with_what_it_knows(caplog):
    values = {"pipeline_run_id": RUN, "request_id": str(REQUEST), "execution_mode": "practice"}
    with caplog.at_level(logging.DEBUG):
        DictContextAdapter(values).try_emit_event("tool.invoked", {"tool": "search"})
    [record] = caplog.records
    assert record.levelname == "DEBUG"
    for word in ("tool.invoked", "search", "practice", str(RUN), str(REQUEST)):
        assert word in record.getMessage()


def test_a_dictionary_as_context_never_raises():
    class Hostile:
        def __repr__(self):
            raise RuntimeError("no")

        __str__ = __repr__

    for values in ({}, {"pipeline_run_id": Hostile()}, {"execution_mode": Hostile()}):
        DictContextAdapter(values).try_emit_event("tool.invoked", {"bad": Hostile()})


@pytest.mark.anyio
async def test_events_of_stages_in_a_run_have_the_ids_of_the_run(sink):
    async def tells(ctx):
        ctx.try_emit_event("my.event", {"n": 1})
        ctx.as_pipeline_context().try_emit_event("my.event", {"n": 2})

    context = PipelineContext(
        pipeline_run_id=RUN, request_id=REQUEST, execution_mode="practice", event_sink=sink
    )
    await Pipeline().with_stage("a", tells).run(context)
    assert sink.of("my.event") == [{**KNOWN, "n": 1}, {**KNOWN, "n": 2}]


@contexts
@pytest.mark.parametrize("data", [5, "text", [1], {"n": 1}.items, {5: 1}])
def test_facts_of_the_wrong_type_are_no_error_for_who_emits(context_of, sink, data):
    context_of(sink).try_emit_event("tool.invoked", data)
    assert len(sink.events) + lost_events(sink) == 1
