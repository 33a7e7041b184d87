"""Time-ordered identifiers, and watching identifiers for repeats and clock skew."""

# ruff: noqa: S311 - nothing secret is drawn

from __future__ import annotations

import logging
from datetime import UTC, datetime
from random import Random
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stageflow.helpers.errors import HelperSettingError
from stageflow.helpers.uuid_utils import (
    ClockSkewDetector,
    UuidCollisionMonitor,
    UuidEvent,
    generate_uuid7,
)
from stageflow.testing import TestClock

# --- generate_uuid7 -------------------------------------------------------------------------


def test_uuid7_has_the_version_the_variant_and_the_time():
    clock = TestClock(datetime(2025, 6, 1, 12, 0, 0, 123_456, tzinfo=UTC))
    uuid = generate_uuid7(clock=clock, random=Random(1))
    assert (uuid.version, uuid.variant) == (7, "specified in RFC 4122")
    assert uuid.int >> 80 == 1_748_779_200_123


def test_uuid7_is_the_same_for_the_same_time_and_seed_and_else_another():
    clock = TestClock()
    first = generate_uuid7(clock=clock, random=Random(1))
    assert generate_uuid7(clock=clock, random=Random(1)) == first
    assert generate_uuid7(clock=clock, random=Random(2)) != first
    assert generate_uuid7() != generate_uuid7()


@given(st.lists(st.integers(1, 2000), min_size=2, max_size=20), st.integers())
def test_uuid7_is_ordered_by_time_to_the_microsecond(steps, seed):
    clock, random = TestClock(), Random(seed)
    made = []
    for microseconds in steps:
        clock.tick(microseconds / 1_000_000)
        made.append(generate_uuid7(clock=clock, random=random))
    assert made == sorted(made)


# --- UuidCollisionMonitor -------------------------------------------------------------------


def test_observe_tells_whether_the_identifier_is_in_the_window():
    monitor = UuidCollisionMonitor(clock=TestClock())
    one, other = uuid4(), uuid4()
    assert monitor.observe(one) is False
    assert monitor.observe(other) is False
    assert monitor.observe(one) is True


def test_observe_compares_the_text():
    monitor = UuidCollisionMonitor(clock=TestClock())
    uuid = uuid4()
    monitor.observe(uuid)
    assert monitor.observe(str(uuid).upper()) is True
    assert monitor.observe("no uuid at all") is False


def test_an_identifier_is_forgotten_after_its_time():
    clock = TestClock()
    monitor = UuidCollisionMonitor(ttl_seconds=10, clock=clock)
    uuid = uuid4()
    monitor.observe(uuid)
    clock.tick(10)
    assert monitor.observe(uuid) is True
    clock.tick(10.1)
    assert monitor.observe(uuid) is False


def test_an_identifier_lives_at_least_one_second():
    clock = TestClock()
    monitor = UuidCollisionMonitor(ttl_seconds=0, clock=clock)
    assert monitor.ttl_seconds == 1.0
    uuid = uuid4()
    monitor.observe(uuid)
    clock.tick(1)
    assert monitor.observe(uuid) is True


def test_the_oldest_are_forgotten_when_there_are_too_many():
    monitor = UuidCollisionMonitor(max_entries=2, clock=TestClock())
    first, second, third = uuid4(), uuid4(), uuid4()
    for uuid in (first, second, third):
        monitor.observe(uuid)
    assert len(monitor) == 2
    assert monitor.observe(third) is True
    assert monitor.observe(first) is False


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=40))
def test_the_window_is_what_a_plain_list_says(steps):
    clock = TestClock()
    monitor = UuidCollisionMonitor(ttl_seconds=5, max_entries=4, clock=clock)
    seen = []
    for name, seconds in steps:
        clock.tick(seconds)
        now = clock.monotonic()
        seen = [(at, known) for at, known in seen if now - at <= 5]
        expected = any(known == name for _, known in seen)
        seen = [*seen, (now, name)][-4:]
        assert monitor.observe(str(name)) is expected
        assert len(monitor) == len(seen)


def test_listeners_are_told_of_every_identifier():
    clock, events = TestClock(), []
    monitor = UuidCollisionMonitor(category="runs", listeners=[events.append], clock=clock)
    uuid = uuid4()
    monitor.observe(uuid)
    clock.tick(1)
    monitor.observe(uuid)
    start = datetime(2025, 1, 1, tzinfo=UTC)
    assert events == [
        UuidEvent(str(uuid), False, "runs", start),
        UuidEvent(str(uuid), True, "runs", start.replace(second=1)),
    ]


def test_a_listener_that_raises_stops_nobody_and_is_logged(caplog):
    events = []

    def broken(event):
        raise RuntimeError("no listener")

    monitor = UuidCollisionMonitor(listeners=[broken], category="runs")
    monitor.add_listener(events.append)
    with caplog.at_level(logging.ERROR):
        monitor.observe(uuid4())
    assert len(events) == 1
    assert "runs" in caplog.text


def test_a_window_without_room_is_refused():
    with pytest.raises(HelperSettingError):
        UuidCollisionMonitor(max_entries=0)


# --- ClockSkewDetector ----------------------------------------------------------------------


def made_at(offset_seconds):
    clock = TestClock()
    clock.shift_wall(offset_seconds)
    return generate_uuid7(clock=clock, random=Random(1))


def test_skew_is_how_far_the_identifier_is_ahead():
    detector = ClockSkewDetector(clock=TestClock())
    assert detector.observe(made_at(2)) == 2000.0
    assert detector.observe(str(made_at(-2))) == -2000.0


@pytest.mark.parametrize("value", [uuid4(), UUID(int=0), "no uuid"])
def test_only_version_7_tells_a_time(value):
    assert ClockSkewDetector(clock=TestClock()).observe(value) is None


@pytest.mark.parametrize(("offset", "warned"), [(1, False), (1.1, True), (-1.1, True)])
def test_skew_beyond_the_threshold_is_logged_as_a_warning(offset, warned, caplog):
    detector = ClockSkewDetector(threshold_ms=1000, clock=TestClock())
    with caplog.at_level(logging.WARNING):
        detector.observe(made_at(offset))
    assert ("uuid.clock_skewed" in caplog.text) is warned


def test_the_monitor_tells_its_listeners_the_skew_if_it_looks_for_it():
    clock, events = TestClock(), []
    monitor = UuidCollisionMonitor(
        listeners=[events.append], skew_detector=ClockSkewDetector(clock=clock), clock=clock
    )
    monitor.observe(made_at(3))
    monitor.observe(uuid4())
    assert [event.skew_ms for event in events] == [3000.0, None]
