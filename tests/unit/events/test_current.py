"""Checklist 9.8, the sink of the current context."""

from __future__ import annotations

import contextvars
import threading

import anyio
import pytest

from stageflow.events import (
    NoOpEventSink,
    clear_event_sink,
    get_event_sink,
    set_event_sink,
)
from stageflow.testing.event_sink import RecordingEventSink

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def no_sink_is_left_behind():
    yield
    clear_event_sink()


async def test_without_a_sink_there_is_a_new_one_that_drops_everything():
    first, second = get_event_sink(), get_event_sink()
    assert isinstance(first, NoOpEventSink)
    assert first is not second


async def test_the_sink_that_was_set_is_the_current_one():
    sink = RecordingEventSink()
    set_event_sink(sink)
    assert get_event_sink() is sink


async def test_clearing_leaves_none():
    set_event_sink(RecordingEventSink())
    clear_event_sink()
    assert isinstance(get_event_sink(), NoOpEventSink)


async def test_tasks_inherit_it_and_keep_their_own():
    outer, inner = RecordingEventSink(), RecordingEventSink()
    set_event_sink(outer)
    seen = []

    async def task():
        seen.append(get_event_sink())
        set_event_sink(inner)
        seen.append(get_event_sink())

    async with anyio.create_task_group() as group:
        group.start_soon(task)
    assert seen == [outer, inner]
    assert get_event_sink() is outer


def test_another_context_does_not_see_it():
    set_event_sink(RecordingEventSink())
    seen = []
    thread = threading.Thread(target=lambda: seen.append(get_event_sink()))
    thread.start()
    thread.join()
    seen.append(contextvars.Context().run(get_event_sink))
    assert all(isinstance(sink, NoOpEventSink) for sink in seen)
