"""ChunkQueue: what it accepts arrives, or is counted as dropped; nobody waits for ever."""

from __future__ import annotations

import asyncio
import logging

import anyio
import anyio.lowlevel
import pytest
from anyio.lowlevel import checkpoint

from stageflow.helpers.errors import HelperSettingError, StreamItemError
from stageflow.helpers.events import HELPER_EVENTS
from stageflow.helpers.streaming import BackpressureMonitor, ChunkQueue
from stageflow.testing import TestClock

pytestmark = pytest.mark.anyio


class Recorder:
    """An emitter that keeps what it is told and checks it against the schemas."""

    def __init__(self):
        self.events = []

    def __call__(self, event_type, data):
        assert HELPER_EVENTS.faults(event_type, data) == ()
        self.events.append((event_type, data))

    def of(self, event_type):
        return [data for found, data in self.events if found == event_type]


async def settle():
    for _ in range(10):
        await checkpoint()


async def drain(queue):
    return [item async for item in queue]


# --- putting and getting ------------------------------------------------------------------


async def test_items_come_out_in_the_order_they_went_in():
    queue = ChunkQueue[int](10)
    for number in range(5):
        assert await queue.put(number) is True
    assert len(queue) == 5
    await queue.close()
    assert await drain(queue) == [0, 1, 2, 3, 4]


async def test_get_waits_for_an_item():
    queue = ChunkQueue(1)
    got = []

    async def consume():
        got.append(await queue.get())

    async with anyio.create_task_group() as group:
        group.start_soon(consume)
        await settle()
        assert got == []
        await queue.put("late")
    assert got == ["late"]


async def test_put_into_a_full_queue_waits_for_room():
    queue = ChunkQueue(1)
    await queue.put(1)
    answers = []

    async def produce():
        answers.append(await queue.put(2))

    async with anyio.create_task_group() as group:
        group.start_soon(produce)
        await settle()
        assert answers == []
        assert len(queue) == 1
        assert await queue.get() == 1
    assert answers == [True]
    assert await queue.get() == 2


async def test_waiting_producers_are_served_in_their_order_and_nobody_overtakes():
    queue = ChunkQueue(1)
    await queue.put("first")
    async with anyio.create_task_group() as group:
        for name in "abc":
            group.start_soon(queue.put, name)
            await settle()
        assert await queue.get() == "first"
        # There is room now, but it belongs to the producer that was woken.
        assert queue.put_nowait("pushy") is False
        got = [await queue.get() for _ in range(3)]
    assert got == ["a", "b", "c"]


async def test_a_put_that_finds_a_woken_producer_gets_in_line_behind_it():
    queue = ChunkQueue(1)
    await queue.put("first")
    got = []

    async def consume():
        for _ in range(2):
            got.append(await queue.get())
            await settle()

    async with anyio.create_task_group() as group:
        group.start_soon(queue.put, "patient")
        await settle()
        assert await queue.get() == "first"
        group.start_soon(consume)
        assert await queue.put("pushy") is True
    assert got == ["patient", "pushy"]
    assert queue.monitor.stats.max_queue_size == 1


async def test_a_get_that_finds_a_woken_consumer_gets_in_line_behind_it():
    queue = ChunkQueue()
    got = []

    async def consume():
        got.append(await queue.get())

    async with anyio.create_task_group() as group:
        group.start_soon(consume)
        await settle()
        await queue.put("for the patient one")
        group.start_soon(queue.put, "for the pushy one")
        assert await queue.get() == "for the pushy one"
    assert got == ["for the patient one"]


async def test_waiting_consumers_are_served_in_their_order():
    queue = ChunkQueue(10)
    got = []

    async def consume(name):
        got.append((name, await queue.get()))

    async with anyio.create_task_group() as group:
        for name in "abc":
            group.start_soon(consume, name)
            await settle()
        for number in range(3):
            await queue.put(number)
            await settle()
    assert got == [("a", 0), ("b", 1), ("c", 2)]


async def test_everybody_who_waits_is_served_before_anybody_waits_again():
    queue = ChunkQueue(2)
    served = []

    async def produce(name):
        for _ in range(3):
            await queue.put(name)

    async with anyio.create_task_group() as group:
        for name in "abc":
            group.start_soon(produce, name)
        for _ in range(9):
            served.append(await queue.get())
            await settle()
    assert {"a", "b", "c"} == set(served[:5])


async def test_many_producers_and_consumers_lose_and_double_nothing():
    queue = ChunkQueue(3)
    got = []

    async def produce(start):
        for number in range(start, start + 50):
            assert await queue.put(number)
            if number % 7 == 0:
                await checkpoint()

    async def consume():
        async for number in queue:
            got.append(number)
            if number % 5 == 0:
                await checkpoint()

    async with anyio.create_task_group() as consumers:
        for _ in range(4):
            consumers.start_soon(consume)
        async with anyio.create_task_group() as producers:
            for start in range(0, 400, 50):
                producers.start_soon(produce, start)
        await queue.close()
    assert sorted(got) == list(range(400))


async def test_none_cannot_be_put_because_it_marks_the_end():
    queue = ChunkQueue()
    with pytest.raises(StreamItemError):
        await queue.put(None)
    with pytest.raises(StreamItemError):
        queue.put_nowait(None)


async def test_falsy_items_are_items():
    queue = ChunkQueue()
    for item in (0, "", b"", False, []):
        await queue.put(item)
    await queue.close()
    assert await drain(queue) == [0, "", b"", False, []]


def test_a_queue_without_room_is_refused():
    with pytest.raises(HelperSettingError):
        ChunkQueue(0)


# --- closing --------------------------------------------------------------------------------


async def test_put_into_a_closed_queue_returns_false():
    queue = ChunkQueue()
    await queue.close()
    assert queue.closed
    assert await queue.put(1) is False
    assert queue.put_nowait(1) is False
    assert len(queue) == 0


async def test_get_from_a_closed_and_empty_queue_returns_none():
    queue = ChunkQueue()
    await queue.close()
    assert await queue.get() is None
    assert await queue.get() is None


async def test_close_loses_no_accepted_item():
    queue = ChunkQueue(2)
    await queue.put(1)
    await queue.put(2)
    await queue.close()
    assert [await queue.get() for _ in range(3)] == [1, 2, None]


async def test_v17_close_answers_false_to_a_blocked_put_and_nothing_accepted_is_lost():
    queue = ChunkQueue(1)
    await queue.put("accepted")
    answers = []

    async def produce(item):
        answers.append((item, await queue.put(item)))

    async with anyio.create_task_group() as group:
        group.start_soon(produce, "blocked 1")
        group.start_soon(produce, "blocked 2")
        await settle()
        await queue.close()
    assert sorted(answers) == [("blocked 1", False), ("blocked 2", False)]
    assert await drain(queue) == ["accepted"]


async def test_v17_a_put_that_answers_true_is_delivered_though_close_follows_at_once():
    queue = ChunkQueue(1)
    await queue.put(1)
    answers = []

    async def produce():
        answers.append(await queue.put(2))

    async with anyio.create_task_group() as group:
        group.start_soon(produce)
        await settle()
        assert await queue.get() == 1  # wakes the producer ...
        await queue.close()  # ... which has not run yet
    delivered = await drain(queue)
    assert (answers, delivered) in [([True], [2]), ([False], [])]


async def test_close_wakes_every_waiting_consumer():
    queue = ChunkQueue()
    got = []

    async def consume():
        got.append(await queue.get())

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(consume)
        await settle()
        await queue.close()
    assert got == [None, None, None]


async def test_get_called_while_woken_consumers_have_yet_to_run_does_not_hang():
    queue = ChunkQueue()

    async with anyio.create_task_group() as group:
        group.start_soon(queue.get)
        await settle()
        await queue.put(1)
        await queue.close()
        await queue.get()  # one of the two gets the item, the other the end
        await queue.get()


async def test_closing_twice_emits_once():
    recorder = Recorder()
    queue = ChunkQueue(event_emitter=recorder)
    await queue.close()
    await queue.close()
    assert len(recorder.of("stream.queue_closed")) == 1


async def test_async_iteration_stops_at_the_end():
    queue = ChunkQueue()
    await queue.put("only")
    await queue.close()
    assert await drain(queue) == ["only"]


# --- cancellation ---------------------------------------------------------------------------


async def test_a_cancelled_put_has_not_accepted_its_item():
    queue = ChunkQueue(1)
    await queue.put(1)
    async with anyio.create_task_group() as group:
        group.start_soon(queue.put, 2)
        await settle()
        group.cancel_scope.cancel()
    assert await queue.get() == 1
    assert len(queue) == 0
    assert queue.monitor.stats.total_items == 1


async def test_a_producer_that_is_cancelled_in_line_is_not_waited_for():
    queue = ChunkQueue(1)
    await queue.put("first")
    scope = anyio.CancelScope()

    async def doomed():
        with scope:
            await queue.put("doomed")

    async with anyio.create_task_group() as group:
        group.start_soon(doomed)
        await settle()
        group.start_soon(queue.put, "next")
        await settle()
        scope.cancel()
        await settle()
        assert await queue.get() == "first"
        with anyio.fail_after(1):
            assert await queue.get() == "next"


async def test_a_consumer_that_is_cancelled_in_line_is_not_waited_for():
    queue = ChunkQueue()
    scope = anyio.CancelScope()
    got = []

    async def consume():
        got.append(await queue.get())

    async def doomed():
        with scope:
            await consume()

    async with anyio.create_task_group() as group:
        group.start_soon(doomed)
        await settle()
        group.start_soon(consume)
        await settle()
        scope.cancel()
        await settle()
        await queue.put("item")
        await settle()
        assert got == ["item"]


# A task's own `cancel` reaches it even after it was woken; a cancel scope does not.


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_room_that_a_cancelled_producer_was_woken_for_goes_to_the_next():
    queue = ChunkQueue(1)
    await queue.put("first")
    doomed = asyncio.create_task(queue.put("doomed"))
    await settle()
    patient = asyncio.create_task(queue.put("next"))
    await settle()
    assert await queue.get() == "first"
    doomed.cancel()
    await asyncio.wait([doomed])
    assert doomed.cancelled()
    async with asyncio.timeout(1):
        assert await patient is True
    assert await queue.get() == "next"
    assert queue.put_nowait("there is room again")
    assert not queue.put_nowait("for one")


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_item_that_a_cancelled_consumer_was_woken_for_goes_to_the_next():
    queue = ChunkQueue()
    doomed = asyncio.create_task(queue.get())
    await settle()
    patient = asyncio.create_task(queue.get())
    await settle()
    await queue.put("item")
    doomed.cancel()
    await asyncio.wait([doomed])
    assert doomed.cancelled()
    async with asyncio.timeout(1):
        assert await patient == "item"
    await queue.put("another")
    async with asyncio.timeout(1):
        assert await queue.get() == "another"


# --- overflow -------------------------------------------------------------------------------


async def test_drop_on_overflow_drops_the_oldest_and_emits():
    recorder = Recorder()
    queue = ChunkQueue(2, drop_on_overflow=True, event_emitter=recorder)
    for number in range(4):
        assert await queue.put(number) is True
    await queue.close()
    assert await drain(queue) == [2, 3]
    assert queue.monitor.stats.dropped_items == 2
    dropped = recorder.of("stream.chunk_dropped")
    assert dropped == [{"queue_size": 1, "max_size": 2, "reason": "overflow"}] * 2


async def test_put_nowait_refuses_when_full_counts_it_and_emits_queue_full():
    recorder = Recorder()
    queue = ChunkQueue(1, event_emitter=recorder)
    assert queue.put_nowait(1) is True
    assert queue.put_nowait(2) is False
    assert queue.monitor.stats.dropped_items == 1
    assert queue.monitor.stats.total_items == 1
    (dropped,) = recorder.of("stream.chunk_dropped")
    assert dropped == {"queue_size": 1, "max_size": 1, "reason": "queue_full"}


async def test_put_nowait_drops_the_oldest_if_told_to():
    queue = ChunkQueue(1, drop_on_overflow=True)
    assert queue.put_nowait(1)
    assert queue.put_nowait(2)
    assert await queue.get() == 2


async def test_clear_counts_and_emits_every_item_it_drops():
    recorder = Recorder()
    queue = ChunkQueue(3, event_emitter=recorder)
    for number in range(3):
        await queue.put(number)
    assert queue.clear("interrupted") == 3
    assert len(queue) == 0
    assert [event["reason"] for event in recorder.of("stream.chunk_dropped")] == ["interrupted"] * 3
    assert queue.monitor.stats.dropped_items == 3


async def test_clear_makes_room_for_every_waiting_producer():
    queue = ChunkQueue(2)
    await queue.put("old")
    await queue.put("old")
    async with anyio.create_task_group() as group:
        group.start_soon(queue.put, "new")
        group.start_soon(queue.put, "new")
        await settle()
        queue.clear()
    assert [await queue.get(), await queue.get()] == ["new", "new"]


async def test_a_consumer_whose_item_was_cleared_away_waits_on():
    queue = ChunkQueue()
    got = []

    async def consume():
        got.append(await queue.get())

    async with anyio.create_task_group() as group:
        group.start_soon(consume)
        await settle()
        await queue.put("cleared")
        queue.clear()
        await settle()
        assert got == []
        await queue.put("kept")
    assert got == ["kept"]


async def test_a_consumer_whose_item_was_cleared_away_keeps_its_place_in_line():
    queue = ChunkQueue()
    got = []

    async def consume(name):
        got.append((name, await queue.get()))

    async with anyio.create_task_group() as group:
        for name in "ab":
            group.start_soon(consume, name)
            await settle()
        await queue.put("cleared")
        queue.clear()
        await settle()
        for item in ("first", "second"):
            await queue.put(item)
            await settle()
    assert got == [("a", "first"), ("b", "second")]


# --- telemetry ------------------------------------------------------------------------------


async def blocked_for(seconds, recorder):
    clock = TestClock()
    queue = ChunkQueue(1, event_emitter=recorder, clock=clock)
    await queue.put(1)
    async with anyio.create_task_group() as group:
        group.start_soon(queue.put, 2)
        await settle()
        clock.tick(seconds)
        await queue.get()
    return queue


async def test_a_put_that_waited_longer_than_a_millisecond_is_recorded_and_emitted():
    recorder = Recorder()
    queue = await blocked_for(0.005, recorder)
    assert recorder.of("stream.producer_blocked") == [{"blocked_ms": 5.0, "queue_size": 1}]
    assert queue.monitor.stats.blocked_puts == 1
    assert queue.monitor.stats.total_blocked_ms == 5.0


async def test_a_put_that_waited_a_millisecond_is_not_worth_a_word():
    recorder = Recorder()
    queue = await blocked_for(0.001, recorder)
    assert recorder.of("stream.producer_blocked") == []
    assert queue.monitor.stats.blocked_puts == 0


async def test_throttling_is_emitted_when_it_begins_and_when_it_ends():
    recorder = Recorder()
    monitor = BackpressureMonitor(high_water_mark=75, low_water_mark=25)
    queue = ChunkQueue(4, event_emitter=recorder, monitor=monitor)
    for number in range(4):
        await queue.put(number)
    for _ in range(4):
        await queue.get()
    assert [event for event, _ in recorder.events] == [
        "stream.throttle_started",
        "stream.throttle_ended",
    ]
    assert recorder.events[0][1] == {"queue_size": 3, "max_size": 4, "fill_percentage": 75.0}
    assert recorder.events[1][1] == {"queue_size": 1, "max_size": 4, "fill_percentage": 25.0}


async def test_throttling_ends_though_the_producers_heed_it_and_put_nothing():
    queue = ChunkQueue(10)
    for number in range(8):
        await queue.put(number)
    assert queue.monitor.should_throttle()
    while len(queue):
        await queue.get()
    assert not queue.monitor.should_throttle()


async def test_closing_emits_the_final_stats():
    recorder = Recorder()
    queue = ChunkQueue(2, drop_on_overflow=True, event_emitter=recorder)
    for number in range(3):
        await queue.put(number)
    await queue.close()
    (closed,) = recorder.of("stream.queue_closed")
    assert closed == {"queue_size": 2, "max_size": 2} | queue.monitor.stats.to_dict()
    assert closed["dropped_items"] == 1


async def test_an_emitter_that_raises_stops_nothing_and_is_logged(caplog):
    def broken(event_type, data):
        raise RuntimeError("no listener")

    queue = ChunkQueue(1, drop_on_overflow=True, event_emitter=broken)
    with caplog.at_level(logging.ERROR):
        assert await queue.put(1)
        assert await queue.put(2)
        await queue.close()
    assert await drain(queue) == [2]
    assert "stream.chunk_dropped" in caplog.text
