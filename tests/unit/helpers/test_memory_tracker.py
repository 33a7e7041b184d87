"""MemoryTracker and track_memory: labelled samples of what Python objects take."""

from __future__ import annotations

import inspect
import logging
import tracemalloc
from datetime import UTC, datetime

import pytest

from stageflow.helpers.errors import TrackerInactiveError
from stageflow.helpers.memory_tracker import MemoryTracker, track_memory
from stageflow.testing import TestClock

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def not_tracing():
    assert not tracemalloc.is_tracing()
    yield
    tracemalloc.stop()


def test_tracing_starts_at_once_unless_told_otherwise():
    assert not MemoryTracker(auto_start=False).is_active
    assert not tracemalloc.is_tracing()
    assert MemoryTracker().is_active
    assert tracemalloc.is_tracing()


def test_observe_keeps_a_sample_and_tells_the_listeners():
    told = []
    tracker = MemoryTracker(listeners=[told.append], clock=TestClock())
    held = bytearray(512 * 1024)
    sample = tracker.observe(label="loaded")
    assert sample.label == "loaded"
    assert sample.timestamp == datetime(2025, 1, 1, tzinfo=UTC)
    assert 512 <= sample.current_kb <= sample.peak_kb < 2048
    assert tracker.samples == [sample]
    assert told == [sample]
    del held


def test_observe_tells_the_peak_from_what_is_held_now():
    tracker = MemoryTracker()
    bytearray(512 * 1024)
    sample = tracker.observe("after")
    assert sample.peak_kb - sample.current_kb >= 500


def test_observe_needs_an_active_tracker():
    tracker = MemoryTracker(auto_start=False)
    with pytest.raises(RuntimeError) as caught:
        tracker.observe(label="early")
    assert isinstance(caught.value, TrackerInactiveError)
    tracker.start()
    tracker.observe(label="now")
    tracker.stop()
    with pytest.raises(TrackerInactiveError):
        tracker.observe(label="late")


def test_stopping_ends_tracing_only_if_this_tracker_began_it():
    first = MemoryTracker()
    second = MemoryTracker()
    second.stop()
    assert tracemalloc.is_tracing()
    first.observe(label="still there")
    first.stop()
    assert not tracemalloc.is_tracing()


def test_a_listener_that_raises_stops_nobody_and_is_logged(caplog):
    def broken(sample):
        raise RuntimeError("no listener")

    tracker = MemoryTracker(listeners=[broken])
    with caplog.at_level(logging.ERROR):
        tracker.observe(label="x")
    assert len(tracker.samples) == 1
    assert "no listener" in caplog.text


def labels(tracker):
    return [sample.label for sample in tracker.samples]


def test_track_memory_wraps_a_function():
    tracker = MemoryTracker()

    @track_memory(label="work", tracker=tracker)
    def work(n, *, factor=2):
        """Multiply."""
        return n * factor

    assert work(3, factor=4) == 12
    assert labels(tracker) == ["work:start", "work:end"]
    assert (work.__name__, work.__doc__) == ("work", "Multiply.")


async def test_track_memory_wraps_an_async_function():
    tracker = MemoryTracker()

    @track_memory(label="work", tracker=tracker)
    async def work(n):
        tracker.observe(label="within")
        return n

    assert inspect.iscoroutinefunction(work)
    assert await work(3) == 3
    assert labels(tracker) == ["work:start", "within", "work:end"]


async def test_track_memory_observes_the_end_also_when_the_function_raises():
    tracker = MemoryTracker()

    @track_memory(label="sync", tracker=tracker)
    def broken():
        raise LookupError

    @track_memory(label="async", tracker=tracker)
    async def broken_too():
        raise LookupError

    with pytest.raises(LookupError):
        broken()
    with pytest.raises(LookupError):
        await broken_too()
    assert labels(tracker) == ["sync:start", "sync:end", "async:start", "async:end"]


def test_track_memory_by_itself_takes_the_functions_name_and_logs(caplog):
    @track_memory()
    def work():
        return 1

    assert not tracemalloc.is_tracing(), "decorating starts nothing"
    with caplog.at_level(logging.INFO):
        work()
    assert [record.label.rpartition(".")[2] for record in caplog.records] == [
        "work:start",
        "work:end",
    ]
