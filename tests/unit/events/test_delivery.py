"""Delivery: what a sink does never reaches the one who emits, and no event vanishes uncounted."""

from __future__ import annotations

import asyncio
import gc

import anyio
import anyio.lowlevel
import pytest

from stageflow.events import (
    EventSink,
    NoOpEventSink,
    deliver,
    event_collector,
    lost_events,
    wait_for_event_sink_tasks,
)
from stageflow.testing.event_sink import RecordingEventSink

on_both_loops = pytest.mark.anyio
on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])
on_trio = pytest.mark.parametrize("anyio_backend", ["trio"])


class EmitOnly(EventSink):
    """Defines only `emit`."""

    def __init__(self):
        self.events = []
        self.go = None

    async def emit(self, *, type, data):
        if self.go is not None:
            await self.go.wait()
        self.events.append((type, data))


class Asynchronous(EmitOnly):
    async def try_emit(self, *, type, data):
        await self.emit(type=type, data=data)


class Raises:
    def __init__(self, error):
        self.error = error

    async def emit(self, *, type, data):
        raise self.error

    def try_emit(self, *, type, data):
        raise self.error


class RaisesLater(Raises):
    async def try_emit(self, *, type, data):
        raise self.error


class StartsTasks:
    """A plain class, as one would write it for asyncio."""

    def __init__(self):
        self.events = []

    async def emit(self, *, type, data):
        self.events.append((type, data))

    def try_emit(self, *, type, data):
        self.task = asyncio.create_task(self.emit(type=type, data=data))


class Answers(RecordingEventSink):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def try_emit(self, *, type, data):
        super().try_emit(type=type, data=data)
        return self.answer


def warnings(caplog):
    return [r for r in caplog.records if r.levelname == "WARNING"]


@pytest.mark.parametrize("answer", [None, True, False, "anything"])
def test_a_plain_answer_needs_nothing_more(answer):
    sink = Answers(answer)
    deliver(sink, "a", {"n": 1})
    assert sink.events == [("a", {"n": 1})]
    assert lost_events(sink) == 0


@pytest.mark.parametrize("error", [ValueError("no"), RuntimeError("no"), OSError(5, "no")])
def test_a_sink_that_raises_harms_nobody(caplog, error):
    sink = Raises(error)
    for _ in range(3):
        deliver(sink, "a.b", {"n": 1})
    assert lost_events(sink) == 3
    [warning] = warnings(caplog)
    assert (warning.event_type, warning.sink) == ("a.b", "Raises")
    assert "no" in warning.reason


def test_each_sink_has_its_own_count_and_warning(caplog):
    first, second = Raises(ValueError()), Raises(ValueError())
    deliver(first, "a", None)
    deliver(first, "a", None)
    deliver(second, "a", None)
    assert (lost_events(first), lost_events(second)) == (2, 1)
    assert len(warnings(caplog)) == 2


def test_a_new_sink_does_not_inherit_the_count_of_one_that_is_gone():
    for _ in range(50):
        sink = Raises(ValueError())
        assert lost_events(sink) == 0
        deliver(sink, "a", None)
        assert lost_events(sink) == 1


def test_a_sink_that_cannot_be_referred_to_weakly_is_counted_too():
    class Slotted:
        __slots__ = ()

        def try_emit(self, *, type, data):
            raise ValueError

    sink = Slotted()
    deliver(sink, "a", None)
    deliver(sink, "a", None)
    assert lost_events(sink) == 2


def test_what_stops_the_program_is_not_held_back():
    with pytest.raises(KeyboardInterrupt):
        deliver(Raises(KeyboardInterrupt()), "a", None)


# --- awaitables ---------------------------------------------------------------


@on_both_loops
@pytest.mark.parametrize("make", [EmitOnly, Asynchronous])
@pytest.mark.parametrize("how", ["argument", "context"])
async def test_a_run_takes_over_what_is_yet_to_be_finished(make, how):
    sink, taken = make(), []
    token = event_collector.set(taken.append if how == "context" else None)
    deliver(sink, "a", {"n": 1}, collector=taken.append if how == "argument" else None)
    event_collector.reset(token)
    assert sink.events == []
    [pending] = taken
    assert (pending.type, pending.sink) == ("a", sink)
    await pending
    assert sink.events == [("a", {"n": 1})]
    assert lost_events(sink) == 0


@on_both_loops
async def test_the_collector_given_wins_over_the_one_of_the_context():
    given, found = [], []
    token = event_collector.set(found.append)
    deliver(EmitOnly(), "a", None, collector=given.append)
    assert event_collector.get() == found.append
    event_collector.reset(token)
    assert (len(given), len(found)) == (1, 0)
    await given[0]


@on_both_loops
async def test_a_pending_emit_that_fails_is_counted_and_does_not_raise(caplog):
    sink, taken = RaisesLater(ValueError("no")), []
    deliver(sink, "a", None, collector=taken.append)
    await taken[0]
    assert lost_events(sink) == 1
    assert len(warnings(caplog)) == 1


@on_both_loops
@pytest.mark.parametrize("make", [EmitOnly, Asynchronous])
async def test_a_pending_emit_that_is_given_up_is_counted_once(make):
    sink, taken = make(), []
    deliver(sink, "a", None, collector=taken.append)
    taken[0].close()
    taken[0].close()
    assert lost_events(sink) == 1
    assert sink.events == []


@on_both_loops
async def test_a_pending_emit_that_is_done_cannot_be_given_up():
    sink, taken = EmitOnly(), []
    deliver(sink, "a", None, collector=taken.append)
    await taken[0]
    taken[0].close()
    assert lost_events(sink) == 0


@on_both_loops
async def test_a_cancelled_pending_emit_is_counted_and_cancellation_goes_on():
    sink, taken = EmitOnly(), []
    sink.go = anyio.Event()
    deliver(sink, "a", None, collector=taken.append)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await taken[0]
    assert scope.cancelled_caught
    assert lost_events(sink) == 1


@on_both_loops
async def test_a_collector_that_fails_costs_the_event_only():
    def refuses(_pending):
        raise RuntimeError("the run is over")

    sink = EmitOnly()
    deliver(sink, "a", None, collector=refuses)
    assert lost_events(sink) == 1


@on_both_loops
async def test_a_threads_emit_finds_the_collector_of_its_run():
    sink, taken = EmitOnly(), []
    token = event_collector.set(taken.append)
    await anyio.to_thread.run_sync(deliver, sink, "a", None)
    event_collector.reset(token)
    await taken[0]
    assert sink.events == [("a", None)]


# --- outside a run --------------------------------------------------------------


@on_both_loops
@on_asyncio
@pytest.mark.parametrize("make", [EmitOnly, Asynchronous])
async def test_on_asyncio_a_tracked_task_finishes_it(make):
    sink = make()
    deliver(sink, "a", {"n": 1})
    assert sink.events == []
    await wait_for_event_sink_tasks()
    assert sink.events == [("a", {"n": 1})]


@on_both_loops
@on_asyncio
async def test_the_default_try_emit_works_without_delivery_too():
    sink = EmitOnly()
    assert sink.try_emit(type="a", data=None) is None
    await wait_for_event_sink_tasks()
    assert sink.events == [("a", None)]


@on_both_loops
@on_asyncio
async def test_waiting_waits_for_all_and_for_what_they_start():
    class Chained(EmitOnly):
        async def emit(self, *, type, data):
            await anyio.lowlevel.checkpoint()
            await super().emit(type=type, data=data)
            if data:
                deliver(self, type, data - 1)

    sink = Chained()
    deliver(sink, "a", 3)
    deliver(sink, "b", 0)
    await wait_for_event_sink_tasks()
    assert sorted(sink.events) == [("a", 0), ("a", 1), ("a", 2), ("a", 3), ("b", 0)]


@on_both_loops
@on_asyncio
async def test_waiting_survives_a_sink_that_fails():
    sink, good = RaisesLater(ValueError("no")), EmitOnly()
    deliver(sink, "a", None)
    deliver(good, "a", None)
    await wait_for_event_sink_tasks()
    assert good.events == [("a", None)]
    assert lost_events(sink) == 1


@on_both_loops
@on_asyncio
async def test_a_cancelled_wait_leaves_the_emits_going_on():
    sink = EmitOnly()
    sink.go = anyio.Event()
    deliver(sink, "a", None)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await wait_for_event_sink_tasks()
    sink.go.set()
    await wait_for_event_sink_tasks()
    assert sink.events == [("a", None)]


@on_both_loops
async def test_waiting_for_nothing_returns_at_once():
    await wait_for_event_sink_tasks()


def test_a_loop_that_was_closed_leaves_nothing_to_wait_for():
    sink = EmitOnly()

    async def leaves_a_task():
        sink.go = anyio.Event()
        deliver(sink, "a", None)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(leaves_a_task())
    [task] = asyncio.all_tasks(loop)
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()
    asyncio.run(wait_for_event_sink_tasks())
    assert lost_events(sink) == 1


@on_both_loops
@on_trio
@pytest.mark.parametrize("make", [EmitOnly, Asynchronous, StartsTasks])
async def test_on_trio_the_event_is_counted_with_one_warning_per_sink(caplog, make):
    sink = make()
    for _ in range(3):
        deliver(sink, "a", None)
    await wait_for_event_sink_tasks()
    gc.collect()  # a coroutine left behind would warn here
    assert sink.events == []
    assert lost_events(sink) == 3
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize("make", [EmitOnly, Asynchronous, StartsTasks])
def test_without_a_loop_the_event_is_counted(make):
    sink = make()
    deliver(sink, "a", None)
    gc.collect()
    assert lost_events(sink) == 1


@on_both_loops
@on_asyncio
async def test_a_sink_that_starts_its_own_tasks_works_on_asyncio():
    sink = StartsTasks()
    deliver(sink, "a", None)
    await sink.task
    assert sink.events == [("a", None)]
    assert lost_events(sink) == 0


def test_a_subclass_without_emit_cannot_be_made():
    class Nothing(EventSink):
        pass

    with pytest.raises(TypeError, match="emit"):
        Nothing()


@pytest.mark.parametrize("cls", [EmitOnly, Asynchronous, StartsTasks, NoOpEventSink])
def test_a_class_with_the_methods_is_a_sink(cls):
    assert isinstance(cls(), EventSink)
