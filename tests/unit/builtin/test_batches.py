"""Batches: rows from any thread are written in order, and every row is accounted for."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from stageflow.builtin._batches import BatchWriter

PATIENCE = 20.0  # seconds; only a broken writer needs them


class Place:
    """Where batches are written."""

    def __init__(self):
        self.batches = []
        self.failing = None
        self.ended = 0
        self.gate = threading.Event()
        self.gate.set()
        self.reached = threading.Event()

    def write(self, batch):
        self.reached.set()
        assert self.gate.wait(PATIENCE)
        if self.failing is not None:
            raise self.failing
        self.batches.append(list(batch))

    def end(self):
        self.ended += 1

    @property
    def rows(self):
        return [row for batch in self.batches for row in batch]


@pytest.fixture
def place():
    return Place()


@pytest.fixture
def make(place):
    made = []

    def make(**given):
        settings = {"capacity": 1000, "batch_size": 10, "interval": 60.0, **given}
        writer = BatchWriter(place.write, name="test", at_end=place.end, **settings)
        made.append(writer)
        return writer

    yield make
    place.gate.set()
    for writer in made:
        assert writer.close(PATIENCE)


def test_a_full_batch_is_written_at_once(make, place):
    writer = make(batch_size=3)
    waits, is_due = threading.Event(), writer._is_due

    def looks():
        waits.set()
        return is_due()

    writer._is_due = looks
    writer.put(0)
    assert waits.wait(PATIENCE)
    writer.put(1)
    writer.put(2)
    assert place.reached.wait(PATIENCE)
    writer.flush(PATIENCE)
    assert place.batches == [[0, 1, 2]]


def test_a_row_waits_for_others_no_longer_than_the_interval(make, place):
    writer = make(interval=0.001)
    writer.put("alone")
    assert place.reached.wait(PATIENCE)


def test_flushing_writes_what_waits(make, place):
    writer = make()
    for row in range(4):
        writer.put(row)
    assert not place.reached.is_set()
    assert writer.flush(PATIENCE)
    assert place.rows == [0, 1, 2, 3]
    assert writer.flush(PATIENCE)


def test_flushing_takes_no_longer_than_it_may(make, place):
    place.gate.clear()
    writer = make()
    writer.put(1)
    assert writer.flush(0.001) is False


def test_rows_that_come_during_a_write_make_the_next_batch(make, place):
    place.gate.clear()
    writer = make(batch_size=1)
    writer.put(0)
    assert place.reached.wait(PATIENCE)
    for row in range(1, 4):
        writer.put(row)
    place.gate.set()
    writer.flush(PATIENCE)
    assert place.batches == [[0], [1], [2], [3]]


def test_no_batch_is_larger_than_it_may_be(make, place):
    place.gate.clear()
    writer = make(batch_size=4)
    for row in range(10):
        writer.put(row)
    place.gate.set()
    writer.flush(PATIENCE)
    assert place.rows == list(range(10))
    assert max(map(len, place.batches)) == 4


def test_a_full_buffer_refuses_and_warns_once(make, place, caplog):
    place.gate.clear()
    writer = make(capacity=2, batch_size=1)
    writer.put("being written")
    assert place.reached.wait(PATIENCE)
    answers = [writer.put(row) for row in range(4)]
    assert answers == [True, True, False, False]
    assert not writer.offer("uncounted")
    assert (writer.stats.accepted, writer.stats.dropped) == (3, 2)
    assert len(caplog.records) == 1
    assert "full" in caplog.text


def test_a_failing_write_costs_its_batch_and_warns_once(make, place, caplog):
    writer = make(batch_size=1)
    place.failing = OSError(28, "no space left")
    for row in range(3):
        writer.put(row)
    writer.flush(PATIENCE)
    assert writer.error is place.failing
    assert len([r for r in caplog.records if "write_failed" in r.getMessage()]) == 1
    place.failing = None
    writer.put(3)
    writer.flush(PATIENCE)
    assert place.rows == [3]
    assert writer.error is None
    assert (writer.stats.failed, writer.stats.written) == (3, 1)


def test_closing_writes_what_is_there_and_ends_the_thread(make, place):
    writer = make()
    for row in range(25):
        writer.put(row)
    assert writer.close(PATIENCE)
    assert place.rows == list(range(25))
    assert place.ended == 1
    assert not any(thread.name == "test" for thread in threading.enumerate())


def test_closing_may_be_repeated_and_refuses_rows_from_then_on(make, place, caplog):
    writer = make()
    writer.put(1)
    assert writer.close(PATIENCE)
    assert writer.close(PATIENCE)
    assert writer.closed
    assert not writer.put(2)
    assert place.rows == [1]
    assert writer.stats.dropped == 1
    assert "closed" in caplog.text


def test_closing_a_writer_that_never_wrote_ends_it_too(make, place):
    assert make().close(PATIENCE)
    assert place.ended == 1


def test_what_is_not_written_in_time_counts_as_dropped(make, place, caplog):
    place.gate.clear()
    writer = make(batch_size=1)
    for row in range(3):
        writer.put(row)
    assert place.reached.wait(PATIENCE)
    assert writer.close(0.001) is False
    assert writer.stats.dropped == 2
    assert "undelivered" in caplog.text
    place.gate.set()
    assert writer.close(PATIENCE)
    assert writer.stats.written == 1


def test_the_thread_may_close_its_own_writer(place):
    writer = BatchWriter(
        lambda _: answers.append(writer.close()),
        name="test",
        capacity=10,
        batch_size=1,
        interval=0,
        at_end=place.end,
    )
    answers = []
    writer.put(1)
    assert writer.flush(PATIENCE)
    assert answers == [False]
    assert writer.close(PATIENCE)
    assert place.ended == 1


def test_many_threads_lose_nothing(make, place):
    writer = make(batch_size=7, capacity=10_000)

    def puts(thread):
        for number in range(200):
            assert writer.put((thread, number))

    threads = [threading.Thread(target=puts, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.flush(PATIENCE)
    assert sorted(place.rows) == [(thread, n) for thread in range(4) for n in range(200)]
    for thread in range(4):
        assert [n for t, n in place.rows if t == thread] == list(range(200))


def test_the_thread_does_not_keep_what_it_writes_for(place):
    class Owner:
        pass

    owner = Owner()
    writer = BatchWriter(
        place.write, name="test", capacity=10, batch_size=10, interval=60, at_end=place.end
    )
    weakref.finalize(owner, writer.close, PATIENCE)
    writer.put(1)
    del owner
    gc.collect()
    assert place.rows == [1]


@pytest.mark.parametrize("wrong", [{"capacity": 0}, {"batch_size": 0}, {"interval": -1}], ids=str)
def test_settings_that_cannot_be_are_refused(make, wrong):
    with pytest.raises(ValueError, match="at least 1"):
        make(**wrong)
