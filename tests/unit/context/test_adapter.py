"""DictContextAdapter, adapt_context and the ports: what older and simpler callers hand over."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from uuid import UUID, uuid4

import attrs
import pytest

from stageflow.context import (
    AudioPorts,
    ContextSnapshot,
    CorePorts,
    DictContextAdapter,
    LLMPorts,
    MissingInputError,
    PipelineContext,
    adapt_context,
    create_audio_ports,
    create_core_ports,
    create_llm_ports,
    create_stage_inputs,
)
from stageflow.context.adapter import NoExecutionContextError

RUN = uuid4()


@pytest.mark.parametrize("run", [RUN, str(RUN)], ids=["uuid", "text"])
def test_an_adapter_offers_what_an_execution_context_does(run):
    values = {"pipeline_run_id": run, "request_id": None, "execution_mode": "practice", "x": 1}
    context = DictContextAdapter(values)
    assert context.pipeline_run_id == RUN
    assert context.request_id is None
    assert context.execution_mode == "practice"
    assert context.to_dict() == {**values, "pipeline_run_id": str(RUN)}
    assert context.get("x") == 1
    assert context.get("y", 2) == 2


def test_an_adapter_over_nothing_knows_nothing():
    for context in (DictContextAdapter({}), DictContextAdapter(), adapt_context(None)):
        assert (context.pipeline_run_id, context.execution_mode, context.to_dict()) == (
            None,
            None,
            {},
        )


def test_an_adapter_shows_later_changes_and_to_dict_is_a_copy():
    values = {}
    context = DictContextAdapter(values)
    values["execution_mode"] = "live"
    assert context.execution_mode == "live"
    context.to_dict()["execution_mode"] = "other"
    assert context.execution_mode == "live"


def test_events_are_logged_at_debug_level_with_ids_and_mode(caplog):
    context = DictContextAdapter(
        {"pipeline_run_id": RUN, "request_id": "r-1", "execution_mode": "practice"}
    )
    with caplog.at_level(logging.DEBUG, logger="stageflow"):
        context.try_emit_event("tool.invoked", {"tool": "x"})
    (record,) = caplog.records
    assert record.levelno == logging.DEBUG
    assert record.event_type == "tool.invoked"
    assert record.event_data == {
        "pipeline_run_id": str(RUN),
        "request_id": "r-1",
        "execution_mode": "practice",
        "tool": "x",
    }


def test_what_is_not_there_is_not_in_the_event(caplog):
    with caplog.at_level(logging.DEBUG, logger="stageflow"):
        DictContextAdapter({}).try_emit_event("x", None)
    assert caplog.records[0].event_data == {}


class Unprintable:
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


@pytest.mark.parametrize("data", [{"a": Unprintable()}, 7, "text", [1]], ids=type)
def test_emitting_never_raises(data, caplog):
    with caplog.at_level(logging.DEBUG, logger="stageflow"):
        DictContextAdapter({"request_id": "not a uuid"}).try_emit_event("x", data)
        DictContextAdapter({"request_id": Unprintable()}).try_emit_event("x", {})
        DictContextAdapter({}).try_emit_event(None, {})


def test_an_id_that_is_no_uuid_reads_as_none():
    assert DictContextAdapter({"pipeline_run_id": "run-1"}).pipeline_run_id is None


def test_adapt_context_leaves_a_context_alone_and_wraps_a_mapping():
    context = PipelineContext(pipeline_run_id=RUN)
    assert adapt_context(context) is context
    adapter = DictContextAdapter({})
    assert adapt_context(adapter) is adapter
    assert adapt_context({"pipeline_run_id": RUN}).pipeline_run_id == RUN


@pytest.mark.parametrize(
    "bad", [7, "text", SimpleNamespace(pipeline_run_id=None), ContextSnapshot()]
)
def test_adapt_context_refuses_what_is_no_context(bad):
    with pytest.raises(NoExecutionContextError, match="none") as caught:
        adapt_context(bad)
    assert caught.value.given == type(bad).__name__
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize(
    ("create", "cls", "port"),
    [
        (create_core_ports, CorePorts, "db"),
        (create_llm_ports, LLMPorts, "llm_provider"),
        (create_audio_ports, AudioPorts, "tts_provider"),
    ],
)
def test_ports_are_read_as_inputs_and_missing_ones_are_missing(create, cls, port):
    provider = object()
    ports = create(**{port: provider})
    assert ports == cls(provider)
    assert all(getattr(cls(), field.name) is None for field in attrs.fields(cls))
    inputs = create_stage_inputs(ContextSnapshot(), ports=ports)
    assert inputs.get(port) is provider
    with pytest.raises(MissingInputError):
        create_stage_inputs(ContextSnapshot(), ports=cls()).get(port)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(ports, port, None)


def test_a_mistyped_port_is_refused():
    with pytest.raises(TypeError, match="llm_providr"):
        create_llm_ports(llm_providr=UUID(int=1))
