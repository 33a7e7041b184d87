"""SqliteEventSink: events as rows, read by run and by type."""

from __future__ import annotations

import gc
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from uuid import UUID

import anyio
import pytest

from stageflow.builtin._sqlite import _Worker
from stageflow.builtin.sqlite_event_sink import SqliteEventSink, StoredEvent
from stageflow.contracts.event_sink import EventSink, EventSinkError
from stageflow.contracts.storage import StorageError

pytestmark = pytest.mark.anyio
AT = datetime(2025, 1, 1, tzinfo=UTC)
RUNS = [UUID(int=n) for n in range(3)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.sqlite3"


def facts(run, **given):
    return {"pipeline_run_id": str(RUNS[run]), **given}


async def test_an_event_comes_back_as_it_was(path):
    times = iter([AT, AT + timedelta(seconds=1)])
    async with SqliteEventSink(path, now=lambda: next(times)) as sink:
        sink.try_emit(type="a", data=facts(0, text="naïve \ud800", none=None, n=1))
        await sink.emit(type="b", data=None)
        assert await sink.read() == [
            StoredEvent(
                id=1,
                type="a",
                recorded_at=AT,
                data=facts(0, text="naïve \ud800", none=None, n=1),
            ),
            StoredEvent(id=2, type="b", recorded_at=AT + timedelta(seconds=1), data=None),
        ]


async def test_a_closed_sink_has_closed_its_file(path, monkeypatch):
    told, begun, go_on = [], threading.Event(), threading.Event()
    close = _Worker._close

    def slowly(worker):
        if worker._connection is not None:
            begun.set()
            go_on.wait(10)
            close(worker)
            told.append("file")

    monkeypatch.setattr(_Worker, "_close", slowly)

    async def close_it(sink):
        await sink.aclose()
        told.append("sink")

    async with SqliteEventSink(path) as sink:
        await sink.emit(type="a", data=None)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(close_it, sink)
            await anyio.to_thread.run_sync(begun.wait, 10)
            await anyio.wait_all_tasks_blocked()
            go_on.set()
    assert told == ["file", "sink"]
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_it_is_an_event_sink(path):
    assert isinstance(SqliteEventSink(path), EventSink)


async def test_events_are_read_by_run_by_type_and_in_pages(path):
    async with SqliteEventSink(path) as sink:
        for number in range(12):
            kind = "even" if number % 2 == 0 else "odd"
            sink.try_emit(type=kind, data=facts(number % 3, number=number))
        sink.try_emit(type="even", data=None)

        async def numbers(**chosen):
            return [(event.data or {}).get("number") for event in await sink.read(**chosen)]

        assert await numbers(run_id=RUNS[1]) == [1, 4, 7, 10]
        assert await numbers(run_id=str(RUNS[1]), type="even") == [4, 10]
        assert await numbers(type="odd", limit=2) == [1, 3]
        first = await sink.read(type="odd", limit=2)
        assert await numbers(type="odd", after=first[-1].id) == [5, 7, 9, 11]
        assert await numbers(type="even") == [0, 2, 4, 6, 8, 10, None]
        assert await numbers(run_id="nobody's") == []


async def test_rows_tell_run_and_stage_in_columns_of_their_own(path):
    async with SqliteEventSink(path) as sink:
        sink.try_emit(type="a", data={"pipeline_run_id": RUNS[1], "stage": "s"})
        sink.try_emit(type="b", data={})
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "select type, pipeline_run_id, stage, data from stageflow_events order by id"
        ).fetchall()
    run = str(RUNS[1])
    assert rows == [
        ("a", run, "s", f'{{"pipeline_run_id":"{run}","stage":"s"}}'),
        ("b", None, None, "{}"),
    ]


async def test_a_batch_is_one_transaction(path):
    async with SqliteEventSink(path, batch_size=50, flush_interval=600) as sink:
        for _ in range(40):
            sink.try_emit(type="a", data=None)
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("select count(*) from stageflow_events").fetchone() == (0,)
        await sink.flush()
        assert len(await sink.read()) == 40


async def test_several_sinks_may_write_one_file(path):
    async with SqliteEventSink(path) as first, SqliteEventSink(path) as second:
        for n in range(20):
            (first if n % 2 else second).try_emit(type="a", data={"n": n})
        await first.flush()
        events = await second.read()
    assert sorted(event.data["n"] for event in events) == list(range(20))


async def test_a_file_that_cannot_be_used_stops_nobody(tmp_path, caplog):
    path = tmp_path / "not a database"
    path.write_bytes(b"something else" * 100)
    async with SqliteEventSink(path) as sink:
        assert sink.try_emit(type="a", data=None) is True
        await sink.emit(type="b", data=None)
        with pytest.raises(StorageError):
            await sink.read()
    assert sink.stats.failed == 2
    assert "open_failed" in caplog.text


async def test_a_strict_sink_says_so(tmp_path):
    path = tmp_path / "not a database"
    path.write_bytes(b"something else" * 100)
    with pytest.raises(EventSinkError, match="cannot be opened") as raised:
        async with SqliteEventSink(path, strict=True):
            pass
    assert isinstance(raised.value.__cause__, StorageError)


async def test_a_closed_sink_refuses(path):
    async with SqliteEventSink(path) as sink:
        pass
    assert sink.try_emit(type="a", data=None) is False
    with pytest.raises(EventSinkError, match="is closed"):
        await sink.emit(type="b", data=None)


def test_it_works_without_a_loop_and_without_being_opened(path):
    sink = SqliteEventSink(path, flush_interval=600)
    sink.try_emit(type="a", data=None)
    del sink
    gc.collect()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("select type from stageflow_events").fetchall() == [("a",)]
