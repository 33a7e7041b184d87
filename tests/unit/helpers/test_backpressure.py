"""The monitor of a queue: counts, level and the throttling latch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stageflow.helpers.errors import HelperSettingError
from stageflow.helpers.streaming import BackpressureMonitor, BackpressureStats


def test_record_put_counts_and_remembers_the_largest_queue():
    monitor = BackpressureMonitor()
    for size in (1, 5, 3):
        monitor.record_put(size, 10)
    assert monitor.stats.total_items == 3
    assert monitor.stats.max_queue_size == 5
    assert monitor.fill_percentage == 30.0


def test_record_put_takes_the_queue_to_hold_a_hundred_unless_told():
    monitor = BackpressureMonitor()
    monitor.record_put(42)
    assert monitor.fill_percentage == 42.0


def test_throttling_begins_at_the_high_mark_and_ends_at_the_low_one():
    monitor = BackpressureMonitor(high_water_mark=80, low_water_mark=20)
    seen = []
    for size in (79, 80, 79, 21, 20, 79):
        monitor.record_put(size)
        seen.append(monitor.should_throttle())
    assert seen == [False, True, True, True, False, False]


@given(st.lists(st.integers(0, 100)))
def test_throttling_is_a_latch_between_the_marks(levels):
    monitor = BackpressureMonitor(high_water_mark=70, low_water_mark=30)
    expected = False
    for level in levels:
        monitor.record_level(level, 100)
        expected = level >= 70 or (expected and level > 30)
        assert monitor.should_throttle() is expected


def test_record_level_counts_no_item():
    monitor = BackpressureMonitor()
    monitor.record_level(90)
    assert monitor.should_throttle()
    assert monitor.stats.total_items == 0


def test_record_blocked_counts_and_adds_up():
    monitor = BackpressureMonitor()
    monitor.record_blocked(1.5)
    monitor.record_blocked(2.0)
    assert monitor.stats.blocked_puts == 2
    assert monitor.stats.total_blocked_ms == 3.5


def test_record_drop_counts():
    monitor = BackpressureMonitor()
    monitor.record_drop()
    assert monitor.stats.dropped_items == 1


def test_stats_to_dict_holds_the_drop_rate():
    stats = BackpressureStats(4, 1, 2, 3, 5.0)
    assert stats.to_dict() == {
        "total_items": 4,
        "dropped_items": 1,
        "blocked_puts": 2,
        "max_queue_size": 3,
        "total_blocked_ms": 5.0,
        "drop_rate": 0.25,
    }
    assert BackpressureStats(0, 3).to_dict()["drop_rate"] == 3.0


@pytest.mark.parametrize("marks", [(20, 80), (101, 20), (80, -1)])
def test_marks_that_make_no_sense_are_refused(marks):
    with pytest.raises(HelperSettingError) as caught:
        BackpressureMonitor(high_water_mark=marks[0], low_water_mark=marks[1])
    assert caught.value.code == "SF600"
