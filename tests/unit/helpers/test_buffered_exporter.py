"""BufferedExporter: bounded, in order, and nothing is lost without being counted."""

from __future__ import annotations

import asyncio
import gc
import logging
from contextvars import ContextVar

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from stageflow.events import NoOpEventSink
from stageflow.helpers.analytics import AnalyticsEvent, BufferedExporter
from stageflow.helpers.errors import ExporterClosedError, HelperSettingError
from stageflow.testing import TestClock

pytestmark = pytest.mark.anyio


class Target:
    """The exporter behind: keeps batches; fails or waits when told to."""

    def __init__(self):
        self.batches = []
        self.failures = 0
        self.gate = None
        self.entered = anyio.Event()
        self.flushed = 0
        self.closed = False

    async def export(self, event):
        raise AssertionError("only batches are passed on")

    async def export_batch(self, events):
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        await checkpoint()
        if self.failures:
            self.failures -= 1
            raise ConnectionError("no line")
        assert not self.closed
        self.batches.append([event.event_type for event in events])

    async def flush(self):
        self.flushed += 1

    async def close(self):
        assert not self.closed
        self.closed = True

    @property
    def events(self):
        return [event for batch in self.batches for event in batch]


def event(number):
    return AnalyticsEvent(str(number))


async def fill(exporter, count, start=0):
    for number in range(start, start + count):
        await exporter.export(event(number))


def names(*numbers):
    return [str(number) for number in numbers]


# --- when events are passed on --------------------------------------------------------------


async def test_a_full_batch_is_passed_on():
    target = Target()
    exporter = BufferedExporter(target, batch_size=3)
    await fill(exporter, 2)
    assert target.batches == []
    await fill(exporter, 2, start=2)
    assert target.batches == [names(0, 1, 2)]
    await exporter.close()
    assert target.batches == [names(0, 1, 2), names(3)]


async def test_flush_passes_everything_on_and_flushes_the_exporter_behind():
    target = Target()
    exporter = BufferedExporter(target, batch_size=2)
    await exporter.export_batch([event(0)])
    await exporter.flush()
    assert target.batches == [names(0)]
    assert target.flushed == 1
    await exporter.close()


async def test_batches_are_never_larger_than_the_batch_size():
    target = Target()
    exporter = BufferedExporter(target, batch_size=2)
    await exporter.export_batch([event(number) for number in range(5)])
    await exporter.close()
    assert target.batches == [names(0, 1), names(2, 3), names(4)]


async def test_close_passes_on_the_rest_and_closes_the_exporter_behind():
    target = Target()
    exporter = BufferedExporter(target)
    await fill(exporter, 3)
    await exporter.close()
    assert target.events == names(0, 1, 2)
    assert target.closed
    await exporter.close()


async def test_a_closed_exporter_accepts_nothing():
    exporter = BufferedExporter(Target())
    await exporter.close()
    with pytest.raises(ExporterClosedError) as caught:
        await exporter.export(event(0))
    assert caught.value.code == "SF601"
    assert exporter.stats["buffer_size"] == 0


async def test_events_are_passed_on_at_intervals_by_the_task_group_of_async_with():
    clock, target = TestClock(), Target()
    async with BufferedExporter(target, flush_interval_seconds=10, clock=clock) as exporter:
        await exporter.export(event(0))
        await clock.advance(9.9)
        assert target.batches == []
        await clock.advance(0.1)
        assert target.batches == [names(0)]
        await exporter.export(event(1))
        await clock.advance(10)
        assert target.batches == [names(0), names(1)]
        await exporter.export(event(2))
    assert target.events == names(0, 1, 2)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_first_export_starts_the_flush_loop_on_asyncio():
    clock, target = TestClock(), Target()
    exporter = BufferedExporter(target, flush_interval_seconds=10, clock=clock)
    others = asyncio.all_tasks()
    await exporter.export(event(0))
    assert len(asyncio.all_tasks() - others) == 1
    await clock.advance(10)
    assert target.batches == [names(0)]
    await exporter.close()
    await checkpoint()
    assert asyncio.all_tasks() == others


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_on_trio_without_async_with_an_export_passes_on_what_is_due():
    clock, target = TestClock(), Target()
    exporter = BufferedExporter(target, flush_interval_seconds=10, clock=clock)
    await exporter.export(event(0))
    clock.tick(9)
    await exporter.export(event(1))
    assert target.batches == []
    clock.tick(1)
    await exporter.export(event(2))
    assert target.batches == [names(0, 1, 2)]
    await exporter.close()


async def test_an_export_does_not_wait_for_a_flush_that_is_under_way():
    target = Target()
    target.gate = anyio.Event()
    exporter = BufferedExporter(target, batch_size=2)
    async with anyio.create_task_group() as group:
        group.start_soon(fill, exporter, 2)
        await target.entered.wait()
        with anyio.fail_after(1):
            await fill(exporter, 5, start=2)
        assert exporter.stats["buffer_size"] == 5
        target.gate.set()
    await exporter.close()
    assert target.events == names(*range(7))


async def test_close_waits_for_a_flush_that_is_under_way():
    target = Target()
    target.gate = anyio.Event()
    exporter = BufferedExporter(target, batch_size=2)
    async with anyio.create_task_group() as group:
        group.start_soon(fill, exporter, 2)
        await target.entered.wait()
        group.start_soon(exporter.close)
        await checkpoint()
        assert not target.closed
        target.gate.set()
    assert target.closed
    assert target.events == names(0, 1)


async def test_close_does_not_cut_the_flush_loop_off_in_the_middle_of_a_batch():
    clock, target = TestClock(), Target()
    target.gate = anyio.Event()
    exporter = BufferedExporter(target, flush_interval_seconds=10, clock=clock)
    async with anyio.create_task_group() as group, exporter:
        await exporter.export(event(0))
        group.start_soon(clock.advance, 10)
        await target.entered.wait()
        target.entered = anyio.Event()
        group.start_soon(exporter.close)
        for _ in range(5):
            await checkpoint()
        target.gate.set()
    assert not target.entered.is_set(), "the batch was given to the exporter behind a second time"
    assert target.events == names(0)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_flush_loop_that_was_cancelled_before_its_first_step_is_started_anew():
    clock, target = TestClock(), Target()
    exporter = BufferedExporter(target, flush_interval_seconds=10, clock=clock)
    await exporter.export(event(0))
    exporter._task.cancel()
    for _ in range(5):
        await checkpoint()
    await exporter.export(event(1))
    await clock.advance(10)
    assert target.batches == [names(0, 1)]
    with anyio.fail_after(1):
        await exporter.close()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_flush_loop_sees_nothing_of_the_run_that_happened_to_start_it():
    run = ContextVar("run", default="none")
    clock, target, seen = TestClock(), Target(), []
    exporter = BufferedExporter(target, flush_interval_seconds=10, clock=clock)

    async def export_batch(events):
        seen.append(run.get())

    target.export_batch = export_batch
    run.set("this one")
    await exporter.export(event(0))
    await clock.advance(10)
    await exporter.close()
    assert seen == ["none"]


async def test_close_right_after_the_first_export_loses_nothing():
    target = Target()
    exporter = BufferedExporter(target)
    await exporter.export(event(0))
    with anyio.fail_after(1):
        await exporter.close()
    assert target.events == names(0)


# --- overflow -------------------------------------------------------------------------------


async def overflowing(calls, **options):
    target = Target()
    target.gate = anyio.Event()
    exporter = BufferedExporter(
        target, batch_size=1000, on_overflow=lambda *call: calls.append(call), **options
    )
    return target, exporter


async def test_a_full_buffer_drops_its_oldest_event_counts_it_and_says_so():
    calls = []
    target, exporter = await overflowing(calls, max_buffer_size=3, high_water_mark=2.0)
    await fill(exporter, 5)
    assert exporter.dropped_count == 2
    assert [dropped for dropped, _ in calls] == [1, 2]
    target.gate.set()
    await exporter.close()
    assert target.events == names(2, 3, 4)


async def test_the_high_water_mark_warns_once_with_minus_one():
    calls = []
    target, exporter = await overflowing(calls, max_buffer_size=10, high_water_mark=0.8)
    await fill(exporter, 7)
    assert calls == []
    await fill(exporter, 2)
    assert calls == [(-1, 8)]
    assert exporter.stats["high_water_warned"] is True
    target.gate.set()
    await exporter.close()


async def test_the_warning_comes_again_only_after_the_buffer_was_half_way_down():
    calls = []
    target, exporter = await overflowing(calls, max_buffer_size=10, high_water_mark=0.8)
    target.gate.set()
    await fill(exporter, 8)
    await exporter.flush()
    assert exporter.stats["high_water_warned"] is False
    await fill(exporter, 8)
    assert calls == [(-1, 8), (-1, 8)]
    await exporter.close()


async def test_an_on_overflow_that_raises_stops_nothing_and_is_logged(caplog):
    def broken(dropped, size):
        raise RuntimeError("no listener")

    target = Target()
    exporter = BufferedExporter(target, batch_size=10, max_buffer_size=1, on_overflow=broken)
    with caplog.at_level(logging.ERROR):
        await fill(exporter, 2)
    await exporter.close()
    assert target.events == names(1)
    assert "on_overflow" in caplog.text


async def test_stats_tell_the_level_and_the_losses():
    target, exporter = await overflowing([], max_buffer_size=4)
    await fill(exporter, 5)
    assert exporter.stats == {
        "buffer_size": 4,
        "max_buffer_size": 4,
        "fill_ratio": 1.0,
        "dropped_count": 1,
        "high_water_warned": True,
        "failed_flushes": 0,
    }
    target.gate.set()
    await exporter.close()


# --- failures behind ------------------------------------------------------------------------


async def test_a_failed_batch_is_kept_and_passed_on_later_in_order(caplog):
    target = Target()
    target.failures = 1
    exporter = BufferedExporter(target, batch_size=2)
    with caplog.at_level(logging.ERROR):
        await fill(exporter, 4)  # the emitter does not notice
    assert "no line" in caplog.text
    assert exporter.stats["failed_flushes"] == 1
    assert exporter.stats["buffer_size"] == 4
    await exporter.flush()
    assert target.events == names(0, 1, 2, 3)
    await exporter.close()


async def test_flush_raises_what_the_exporter_behind_raises_and_keeps_the_events():
    target = Target()
    target.failures = 1
    exporter = BufferedExporter(target)
    await fill(exporter, 2)
    with pytest.raises(ConnectionError):
        await exporter.flush()
    assert exporter.stats["buffer_size"] == 2
    await exporter.close()
    assert target.events == names(0, 1)


async def test_a_kept_batch_does_not_grow_the_buffer_beyond_its_bound():
    target = Target()
    target.failures = 1
    target.gate = anyio.Event()
    exporter = BufferedExporter(target, batch_size=3, max_buffer_size=4)
    async with anyio.create_task_group() as group:
        group.start_soon(fill, exporter, 3)
        await target.entered.wait()
        await fill(exporter, 3, start=3)
        target.gate.set()
    assert exporter.stats["buffer_size"] == 4
    assert exporter.dropped_count == 2
    await exporter.close()
    assert target.events == names(2, 3, 4, 5)


async def test_close_that_cannot_pass_on_raises_counts_the_rest_and_closes_all_the_same(caplog):
    target = Target()
    target.failures = 99
    exporter = BufferedExporter(target)
    await fill(exporter, 2)
    with caplog.at_level(logging.ERROR), pytest.raises(ConnectionError):
        await exporter.close()
    assert target.closed
    assert exporter.dropped_count == 2
    assert "count=2" in caplog.text


async def test_a_cancelled_flush_keeps_its_events():
    target = Target()
    target.gate = anyio.Event()
    exporter = BufferedExporter(target)
    await fill(exporter, 2)
    async with anyio.create_task_group() as group:
        group.start_soon(exporter.flush)
        await target.entered.wait()
        group.cancel_scope.cancel()
    assert exporter.stats["buffer_size"] == 2
    target.gate.set()
    await exporter.close()
    assert target.events == names(0, 1)


async def test_a_cancelled_close_still_passes_everything_on():
    target = Target()
    exporter = BufferedExporter(target)
    await fill(exporter, 2)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await exporter.close()
    assert scope.cancelled_caught
    assert target.events == names(0, 1)
    assert target.closed


async def test_leaving_async_with_by_cancellation_passes_everything_on():
    target = Target()
    with anyio.CancelScope() as scope:
        async with BufferedExporter(target) as exporter:
            await fill(exporter, 2)
            scope.cancel()
            await checkpoint()
    assert target.events == names(0, 1)
    assert target.closed


async def test_leaving_async_with_by_an_error_passes_everything_on_and_the_error_too():
    target = Target()
    with pytest.raises(LookupError, match="lost"):  # noqa: PT012 - the block is what is tested
        async with BufferedExporter(target) as exporter:
            await fill(exporter, 2)
            raise LookupError("lost")
    assert target.events == names(0, 1)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_exporter_that_is_never_closed_says_what_is_lost(caplog):
    exporter = BufferedExporter(Target())
    await fill(exporter, 2)
    with caplog.at_level(logging.WARNING):
        exporter._task.cancel()
        await asyncio.wait([exporter._task])
        del exporter
        gc.collect()
    assert "count=2" in caplog.text


def test_an_exporter_works_in_one_event_loop_after_the_other():
    target = Target()
    exporter = BufferedExporter(target, batch_size=2)
    asyncio.run(exporter.export(event(0)))  # its flush loop is cancelled before its first step
    asyncio.run(exporter.export(event(1)))
    asyncio.run(exporter.close())
    assert target.events == names(0, 1)


# --- targets and settings ---------------------------------------------------------------------


class Told:
    def __init__(self):
        self.types = []

    async def emit(self, *, type, data):
        self.types.append(type)

    def try_emit(self, *, type, data):
        raise AssertionError("an exporter can wait, so it emits")


@pytest.mark.parametrize("how", ["positional", "exporter", "sink"])
@pytest.mark.parametrize("make", [Target, Told])
async def test_the_target_may_be_an_exporter_or_a_sink_under_either_name(how, make):
    target = make()
    if how == "positional":
        exporter = BufferedExporter(target)
    else:
        exporter = BufferedExporter(**{how: target})
    await fill(exporter, 1)
    await exporter.close()
    assert (target.events if make is Target else target.types) == names(0)


@pytest.mark.parametrize(
    ("target", "options"),
    [
        (None, {}),
        (Target, {"sink": NoOpEventSink()}),
        (object, {}),
        (Target, {"batch_size": 0}),
        (Target, {"max_buffer_size": 0}),
        (Target, {"flush_interval_seconds": 0}),
    ],
)
def test_settings_that_make_no_sense_are_refused(target, options):
    with pytest.raises(HelperSettingError):
        BufferedExporter(target and target(), **options)


# --- the books ---------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(st.sampled_from(["export", "flush", "fail", "later"]), max_size=40),
    batch_size=st.integers(1, 4),
    max_buffer_size=st.integers(1, 6),
)
def test_accepted_is_exported_plus_dropped_and_in_order(steps, batch_size, max_buffer_size):
    async def play():
        target, dropped, accepted = Target(), [], 0
        exporter = BufferedExporter(
            target,
            batch_size=batch_size,
            max_buffer_size=max_buffer_size,
            on_overflow=lambda count, size: dropped.append(count),
            clock=TestClock(),
        )
        async with anyio.create_task_group() as group:
            for step in steps:
                if step == "export":
                    await exporter.export(event(accepted))
                    accepted += 1
                elif step == "fail":
                    target.failures = 1
                elif step == "later":
                    group.start_soon(exporter._try_to_drain)
                else:
                    target.failures = 0
                    await exporter.flush()
        target.failures = 0
        await exporter.close()
        assert exporter.stats["buffer_size"] == 0
        assert len(target.events) + exporter.dropped_count == accepted
        numbers = [int(name) for name in target.events]
        assert numbers == sorted(set(numbers))
        assert sum(count > 0 for count in dropped) == exporter.dropped_count

    logging.disable(logging.ERROR)
    try:
        anyio.run(play)
    finally:
        logging.disable(logging.NOTSET)
