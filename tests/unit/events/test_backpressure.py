"""Checklist 9.8, the sink with a bounded queue: an event is delivered, or dropped and counted."""

from __future__ import annotations

import asyncio
import logging
import threading

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stageflow.contracts.event_sink import EventSink, EventSinkError
from stageflow.events import (
    BackpressureAwareEventSink,
    BackpressureMetrics,
    LoggingEventSink,
    deliver,
    event_collector,
)
from stageflow.testing.event_sink import RecordingEventSink

pytestmark = pytest.mark.anyio
on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])
on_trio = pytest.mark.parametrize("anyio_backend", ["trio"])


class Gate(RecordingEventSink):
    """Lets an event through when the gate is open."""

    def __init__(self):
        super().__init__()
        self.open = anyio.Event()
        self.waiting = 0

    async def emit(self, *, type, data):
        self.waiting += 1
        await self.open.wait()
        await super().emit(type=type, data=data)


class Failing(RecordingEventSink):
    async def emit(self, *, type, data):
        await super().emit(type=type, data=data)
        raise ValueError(type)


class Opened(RecordingEventSink):
    def __init__(self):
        super().__init__()
        self.story = []

    async def __aenter__(self):
        self.story.append("opened")
        return self

    async def __aexit__(self, *_):
        self.story.append(f"closed after {len(self.events)}")


def accounted(metrics):
    return metrics.delivered + metrics.failed + metrics.dropped


async def settled():
    """Let everything run until it waits."""
    await anyio.wait_all_tasks_blocked()


# --- metrics --------------------------------------------------------------------


def test_metrics_begin_with_nothing():
    metrics = BackpressureMetrics()
    assert metrics.to_dict() == {
        "emitted": 0,
        "dropped": 0,
        "queue_full_count": 0,
        "last_emit_time": None,
        "last_drop_time": None,
        "delivered": 0,
        "failed": 0,
        "undelivered": 0,
        "drop_rate_percent": 0.0,
    }
    assert metrics.drop_rate == 0


def test_metrics_record_emits_and_drops_with_their_times():
    times = iter([1.0, 2.0, 3.0])
    metrics = BackpressureMetrics(monotonic=lambda: next(times))
    metrics.record_emit()
    metrics.record_emit()
    metrics.record_drop()
    assert (metrics.emitted, metrics.dropped, metrics.queue_full_count) == (2, 1, 1)
    assert (metrics.last_emit_time, metrics.last_drop_time) == (2.0, 3.0)
    assert metrics.drop_rate == pytest.approx(100 / 3)
    assert metrics.to_dict()["drop_rate_percent"] == 33.33


def test_metrics_take_the_monotonic_clock_by_themselves():
    metrics = BackpressureMetrics()
    metrics.record_emit()
    metrics.record_drop()
    assert metrics.last_emit_time <= metrics.last_drop_time


# --- accepting and delivering ------------------------------------------------------


async def test_events_pass_through_in_order():
    downstream = RecordingEventSink()
    events = [(f"e{n}", {"n": n}) for n in range(100)]
    async with BackpressureAwareEventSink(downstream) as sink:
        for name, data in events:
            assert sink.try_emit(type=name, data=data) is True
    assert downstream.events == events
    assert sink.metrics.emitted == sink.metrics.delivered == 100
    assert sink.metrics.dropped == 0


def test_downstream_is_a_logging_sink_unless_given():
    assert isinstance(BackpressureAwareEventSink()._downstream, LoggingEventSink)


def test_it_is_an_event_sink():
    assert isinstance(BackpressureAwareEventSink(), EventSink)


@pytest.mark.parametrize("size", [0, -1])
def test_a_queue_needs_room(size):
    with pytest.raises(ValueError, match="max_queue_size"):
        BackpressureAwareEventSink(max_queue_size=size)


async def test_a_full_queue_drops_and_says_so(caplog):
    dropped, downstream = [], Gate()
    sink = BackpressureAwareEventSink(
        downstream, max_queue_size=2, on_drop=lambda *event: dropped.append(event)
    )
    async with sink:
        assert sink.try_emit(type="in flight", data=None)
        await settled()
        assert [sink.try_emit(type=f"e{n}", data={"n": n}) for n in range(4)] == [
            True,
            True,
            False,
            False,
        ]
        assert sink.queue_size == 2
        assert dropped == [("e2", {"n": 2}), ("e3", {"n": 3})]
        metrics = sink.metrics
        assert (metrics.emitted, metrics.dropped, metrics.queue_full_count) == (3, 2, 2)
        records = [r for r in caplog.records if r.levelno == logging.WARNING]
        assert [(r.event_type, r.queue_size, r.dropped_total) for r in records] == [
            ("e2", 2, 1),
            ("e3", 2, 2),
        ]
        downstream.open.set()
    assert downstream.types == ["in flight", "e0", "e1"]


async def test_a_callback_that_fails_harms_nobody(caplog):
    def fails(*_):
        raise RuntimeError("no")

    downstream = Gate()
    async with BackpressureAwareEventSink(downstream, max_queue_size=1, on_drop=fails) as sink:
        answers = [sink.try_emit(type="e", data=None) for _ in range(2)]
        downstream.open.set()
    assert answers == [True, False]
    assert sink.metrics.dropped == 1
    assert "on_drop" in caplog.text


async def test_downstream_errors_are_logged_and_counted_and_stop_nothing(caplog):
    downstream = Failing()
    async with BackpressureAwareEventSink(downstream) as sink:
        for n in range(3):
            sink.try_emit(type=f"e{n}", data=None)
    assert len(downstream.events) == 3
    assert (sink.metrics.failed, sink.metrics.delivered) == (3, 0)
    errors = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert [record.event_type for record in errors] == ["e0", "e1", "e2"]
    assert all(record.exc_info for record in errors)


async def test_times_come_from_the_clock_it_is_given():
    times = iter([10.0, 11.0])
    sink = BackpressureAwareEventSink(RecordingEventSink(), monotonic=lambda: next(times))
    async with sink:
        sink.try_emit(type="a", data=None)
        await sink.emit(type="b", data=None)
    assert sink.metrics.last_emit_time == 11.0


# --- emit waits for room ------------------------------------------------------------


async def test_emit_waits_for_room_and_keeps_the_order():
    downstream = Gate()
    async with BackpressureAwareEventSink(downstream, max_queue_size=1) as sink:
        await sink.emit(type="in flight", data=None)
        await settled()
        done = []

        async def emits(name):
            await sink.emit(type=name, data=None)
            done.append(name)

        async with anyio.create_task_group() as group:
            for name in ("a", "b", "c"):
                group.start_soon(emits, name)
                await settled()
            assert done == ["a"]
            assert sink.queue_size == 1
            downstream.open.set()
        assert done == ["a", "b", "c"]
    assert downstream.types == ["in flight", "a", "b", "c"]
    assert sink.metrics.emitted == sink.metrics.delivered == 4
    assert sink.metrics.dropped == 0


async def test_a_cancelled_emit_has_not_accepted_its_event():
    downstream = Gate()
    async with BackpressureAwareEventSink(downstream, max_queue_size=1) as sink:
        await sink.emit(type="in flight", data=None)
        await settled()
        await sink.emit(type="waits", data=None)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await sink.emit(type="cancelled", data=None)
        assert scope.cancelled_caught
        downstream.open.set()
        await sink.emit(type="after", data=None)
    assert downstream.types == ["in flight", "waits", "after"]


async def test_emits_that_wait_when_it_stops_are_refused():
    dropped, downstream = [], Gate()
    sink = BackpressureAwareEventSink(
        downstream, max_queue_size=1, on_drop=lambda *event: dropped.append(event[0])
    )
    errors = []

    async def emits(name):
        try:
            await sink.emit(type=name, data=None)
        except EventSinkError as error:
            errors.append(error)

    await sink.start()
    async with anyio.create_task_group() as group:
        for name in ("in flight", "queued", "refused"):
            group.start_soon(emits, name)
            await settled()
        await sink.stop(drain=False)
    assert [error.code for error in errors] == ["SF470"]
    assert sorted(dropped) == ["in flight", "queued", "refused"]
    assert (sink.metrics.dropped, sink.metrics.undelivered) == (3, 2)
    assert sink.metrics.drop_rate == 100.0


# --- starting and stopping -------------------------------------------------------------


async def test_starting_and_stopping_may_be_repeated():
    sink = BackpressureAwareEventSink(RecordingEventSink())
    await sink.stop()
    assert not sink.is_running
    await sink.start()
    first = sink._session
    await sink.start()
    assert sink._session is first
    assert sink.is_running
    await sink.stop()
    await sink.stop()
    assert not sink.is_running


async def test_it_may_be_started_again():
    downstream = RecordingEventSink()
    sink = BackpressureAwareEventSink(downstream)
    for name in ("a", "b"):
        await sink.start()
        sink.try_emit(type=name, data=None)
        await sink.stop()
    assert downstream.types == ["a", "b"]


async def test_it_may_be_started_and_stopped_by_different_tasks():
    downstream = RecordingEventSink()
    sink = BackpressureAwareEventSink(downstream)
    async with anyio.create_task_group() as group:
        group.start_soon(sink.start)
    sink.try_emit(type="a", data=None)
    async with anyio.create_task_group() as group:
        group.start_soon(sink.stop)
    assert len(downstream.events) == 1


async def test_the_worker_outlives_the_scope_that_started_it():
    downstream = RecordingEventSink()
    sink = BackpressureAwareEventSink(downstream)
    with anyio.CancelScope() as scope:
        await sink.start()
        scope.cancel()
    sink.try_emit(type="a", data=None)
    await sink.stop()
    assert len(downstream.events) == 1


async def test_the_worker_knows_nothing_of_the_run_that_started_it():
    seen = []

    class Looks(RecordingEventSink):
        async def emit(self, *, type, data):
            seen.append(event_collector.get())

    sink = BackpressureAwareEventSink(Looks())
    token = event_collector.set(lambda _: None)
    await sink.start()
    event_collector.reset(token)
    sink.try_emit(type="a", data=None)
    await sink.stop()
    assert seen == [None]


@pytest.mark.parametrize("drain", [True, False])
async def test_stopping_delivers_or_gives_up_what_was_accepted(drain):
    dropped, downstream = [], RecordingEventSink()
    sink = BackpressureAwareEventSink(downstream, on_drop=lambda *event: dropped.append(event))
    await sink.start()
    for n in range(50):
        sink.try_emit(type="e", data={"n": n})
    await sink.stop(drain=drain)
    assert sink.queue_size == 0
    assert len(downstream.events) + len(dropped) == 50
    assert accounted(sink.metrics) == 50
    if drain:
        assert dropped == []


async def test_what_cannot_be_delivered_in_time_is_given_up(caplog):
    dropped, downstream = [], Gate()
    sink = BackpressureAwareEventSink(downstream, on_drop=lambda *event: dropped.append(event[0]))
    await sink.start()
    for n in range(3):
        sink.try_emit(type=f"e{n}", data=None)
    await settled()
    await sink.stop(timeout=0)
    assert dropped == ["e0", "e1", "e2"]
    assert downstream.events == []
    assert (sink.metrics.emitted, sink.metrics.dropped, sink.metrics.undelivered) == (3, 3, 3)
    assert sink.metrics.drop_rate == 100.0
    assert "undelivered" in caplog.text


async def test_a_cancelled_scope_does_not_keep_it_from_delivering():
    downstream = RecordingEventSink()
    with anyio.CancelScope() as scope:
        async with BackpressureAwareEventSink(downstream) as sink:
            sink.try_emit(type="a", data=None)
            scope.cancel()
            sink.try_emit(type="b", data=None)
    assert downstream.types == ["a", "b"]


async def test_a_stopped_sink_refuses_while_it_delivers():
    downstream = Gate()
    sink = BackpressureAwareEventSink(downstream)
    await sink.start()
    sink.try_emit(type="before", data=None)
    async with anyio.create_task_group() as group:
        group.start_soon(sink.stop)
        await settled()
        assert sink.try_emit(type="late", data=None) is False
        downstream.open.set()
    assert downstream.types == ["before"]
    assert accounted(sink.metrics) == 2


async def test_a_sink_that_ignores_cancellation_is_left_behind(caplog, monkeypatch):
    monkeypatch.setattr("stageflow.events.backpressure._LAST_WORDS", 0)
    release = anyio.Event()

    class Stubborn(RecordingEventSink):
        async def emit(self, *, type, data):
            with anyio.CancelScope(shield=True):
                await release.wait()
            await super().emit(type=type, data=data)

    sink = BackpressureAwareEventSink(Stubborn())
    await sink.start()
    sink.try_emit(type="a", data=None)
    await settled()
    await sink.stop(timeout=0)
    assert "stuck" in caplog.text
    assert not sink.is_running
    release.set()
    await settled()
    assert (sink.metrics.dropped, sink.metrics.delivered) == (1, 0)


async def test_it_opens_and_closes_a_downstream_that_wants_it():
    downstream = Opened()
    async with BackpressureAwareEventSink(downstream) as sink:
        sink.try_emit(type="a", data=None)
        assert downstream.story == ["opened"]
    await sink.aclose()
    assert downstream.story == ["opened", "closed after 1"]


async def test_a_sink_that_never_suspends_leaves_others_their_turn():
    turns = []

    class Busy(RecordingEventSink):
        async def emit(self, *, type, data):
            await super().emit(type=type, data=data)

    downstream = Busy()
    async with BackpressureAwareEventSink(downstream, max_queue_size=10_000) as sink:
        for _ in range(1_000):
            sink.try_emit(type="e", data=None)
        while len(downstream.events) < 1_000:
            turns.append(len(downstream.events))
            await anyio.lowlevel.checkpoint()
    assert len(turns) > 10


# --- starting by itself ------------------------------------------------------------------


@on_asyncio
async def test_on_asyncio_the_first_event_starts_it():
    downstream = RecordingEventSink()
    sink = BackpressureAwareEventSink(downstream)
    assert sink.try_emit(type="a", data=None) is True
    assert sink.is_running
    await sink.emit(type="b", data=None)
    await sink.stop()
    assert downstream.types == ["a", "b"]


@on_asyncio
async def test_emit_starts_it_too():
    downstream = RecordingEventSink()
    sink = BackpressureAwareEventSink(downstream)
    await sink.emit(type="a", data=None)
    assert sink.is_running
    await sink.stop()
    assert len(downstream.events) == 1


@on_trio
async def test_elsewhere_events_are_dropped_until_it_is_started(caplog):
    dropped, downstream = [], RecordingEventSink()
    sink = BackpressureAwareEventSink(downstream, on_drop=lambda *event: dropped.append(event[0]))
    assert [sink.try_emit(type=name, data=None) for name in "ab"] == [False, False]
    with pytest.raises(EventSinkError, match="async with"):
        await sink.emit(type="c", data=None)
    assert dropped == ["a", "b", "c"]
    assert (sink.metrics.dropped, sink.metrics.queue_full_count) == (3, 0)
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 1
    async with sink:
        assert sink.try_emit(type="d", data=None) is True
    assert len(downstream.events) == 1


def test_without_a_loop_events_are_dropped():
    sink = BackpressureAwareEventSink(RecordingEventSink())
    assert sink.try_emit(type="a", data=None) is False
    assert sink.metrics.dropped == 1


def test_a_loop_that_ends_leaves_nothing_uncounted():
    dropped = []
    sink = BackpressureAwareEventSink(Gate(), on_drop=lambda *event: dropped.append(event[0]))

    async def leaves_it_running():
        for name in "abc":
            sink.try_emit(type=name, data=None)
        await asyncio.sleep(0)

    sink._downstream.open = asyncio.Event()
    asyncio.run(leaves_it_running())
    assert dropped == ["a", "b", "c"]
    assert not sink.is_running
    assert accounted(sink.metrics) == 3


def test_a_loop_that_was_closed_over_its_worker_is_noticed():
    sink = BackpressureAwareEventSink(RecordingEventSink())

    async def idles():
        await sink.start()
        await asyncio.sleep(0)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(idles())
    task = sink._session.task
    loop.close()
    sink.try_emit(type="a", data=None)
    assert not sink.is_running
    assert accounted(sink.metrics) == 1
    task._log_destroy_pending = False
    with pytest.raises(RuntimeError, match="no running event loop"):
        task.get_coro().close()


# --- threads --------------------------------------------------------------------------


async def test_threads_may_emit_and_wake_the_worker():
    downstream = RecordingEventSink()
    async with BackpressureAwareEventSink(downstream) as sink:
        await settled()
        await anyio.to_thread.run_sync(lambda: sink.try_emit(type="a", data=None))
        while not downstream.events:
            await anyio.lowlevel.checkpoint()


async def test_many_threads_lose_nothing():
    downstream = RecordingEventSink()
    sink = BackpressureAwareEventSink(downstream, max_queue_size=20)
    answers = []

    def emits(thread):
        answers.extend(sink.try_emit(type=f"{thread}.{n}", data=None) for n in range(200))

    def run():
        threads = [threading.Thread(target=emits, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    async with sink:
        await anyio.to_thread.run_sync(run)
    metrics = sink.metrics
    assert (metrics.emitted, metrics.dropped) == (answers.count(True), answers.count(False))
    assert metrics.emitted + metrics.dropped == 800
    assert metrics.delivered == metrics.emitted == len(downstream.events)


async def test_an_event_may_be_emitted_while_the_queue_is_held():
    # As a signal handler or a finaliser may do, in the same thread.
    async with BackpressureAwareEventSink(RecordingEventSink()) as sink:
        with sink._lock:
            assert sink.try_emit(type="a", data=None) is True


async def test_delivery_takes_its_answer():
    async with BackpressureAwareEventSink(RecordingEventSink()) as sink:
        deliver(sink, "a", None)
    assert sink.metrics.delivered == 1


# --- nothing vanishes -----------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(
    size=st.integers(1, 4),
    script=st.lists(st.sampled_from(["try", "emit", "let one through", "turn"]), max_size=30),
    failing=st.booleans(),
    drain=st.booleans(),
)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_every_event_is_accounted_for(backend, size, script, failing, drain):
    async def plays():
        tickets, told = anyio.Semaphore(0), []

        class Slow(RecordingEventSink):
            async def emit(self, *, type, data):
                await tickets.acquire()
                if failing and len(self.events) % 2:
                    self.events.append((type, data))
                    raise ValueError(type)
                self.events.append((type, data))

        downstream, refused = Slow(), 0
        sink = BackpressureAwareEventSink(
            downstream, max_queue_size=size, on_drop=lambda *event: told.append(event[0])
        )
        await sink.start()
        attempts, turned_away = 0, []

        async def emits(name):
            try:
                await sink.emit(type=name, data=None)
            except EventSinkError:
                turned_away.append(name)

        async with anyio.create_task_group() as group:
            for number, step in enumerate(script):
                if step == "try":
                    attempts += 1
                    refused += not sink.try_emit(type=f"e{number}", data=None)
                elif step == "emit":
                    attempts += 1
                    group.start_soon(emits, f"e{number}")
                elif step == "let one through":
                    tickets.release()
                await anyio.lowlevel.checkpoint()
            await anyio.wait_all_tasks_blocked()
            for _ in range(attempts if drain else 0):
                tickets.release()
            await sink.stop(drain=drain)
        metrics = sink.metrics
        assert accounted(metrics) == attempts
        assert metrics.delivered + metrics.failed == len(downstream.events)
        assert len(told) == metrics.dropped
        assert metrics.emitted == len(downstream.events) + metrics.undelivered
        assert set(downstream.types).isdisjoint(told)
        assert set(turned_away) <= set(told)
        assert refused == metrics.queue_full_count

    logging.disable(logging.CRITICAL)
    try:
        anyio.run(plays, backend=backend)
    finally:
        logging.disable(logging.NOTSET)
