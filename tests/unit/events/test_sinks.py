"""Checklist 9.8, the two plain sinks."""

from __future__ import annotations

import logging

import pytest

from stageflow.contracts.event_sink import EventSink
from stageflow.events import LoggingEventSink, NoOpEventSink

pytestmark = pytest.mark.anyio

ODD = [("x", None), ("x", {}), (None, None), (3, "no data at all"), ("", {"a": object()})]


@pytest.mark.parametrize(("type", "data"), ODD)
async def test_noop_does_nothing_whatever_it_is_given(type, data):
    sink = NoOpEventSink()
    assert await sink.emit(type=type, data=data) is None
    assert sink.try_emit(type=type, data=data) is None


@pytest.mark.parametrize("sink", [NoOpEventSink(), LoggingEventSink()], ids=repr)
def test_they_are_event_sinks(sink):
    assert isinstance(sink, EventSink)


@pytest.mark.parametrize("method", ["emit", "try_emit"])
@pytest.mark.parametrize("data", [{"key": "value"}, None])
async def test_logging_logs_type_and_data(caplog, method, data):
    caplog.set_level(logging.INFO, logger="stageflow.events")
    sink = LoggingEventSink()
    result = getattr(sink, method)(type="stage.completed", data=data)
    if method == "emit":
        await result
    [record] = caplog.records
    assert record.msg == "Event: %s"
    assert record.getMessage() == "Event: stage.completed"
    assert record.levelno == logging.INFO
    assert (record.event_type, record.event_data) == ("stage.completed", data)


@pytest.mark.parametrize("level", [logging.DEBUG, "debug", "DEBUG"])
def test_logging_has_a_level(caplog, level):
    caplog.set_level(logging.DEBUG, logger="stageflow.events")
    LoggingEventSink(level=level).try_emit(type="a", data=None)
    assert [record.levelno for record in caplog.records] == [logging.DEBUG]


def test_logging_refuses_a_level_that_there_is_not():
    with pytest.raises(ValueError, match="'loud'"):
        LoggingEventSink(level="loud")


def test_logging_says_nothing_below_the_level_of_the_logger(caplog):
    caplog.set_level(logging.WARNING, logger="stageflow.events")
    LoggingEventSink().try_emit(type="a", data=None)
    assert caplog.records == []
