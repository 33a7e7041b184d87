"""Events arrive once, whatever becomes of the connection, and a failing database stops nobody."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import anyio
import pytest

from stageflow.contracts.event_sink import EventSinkError
from stageflow.testing import EventSinkConformance
from stageflow_io_postgres.backends import PostgresSinkSettings, make_postgres_event_sink
from stageflow_io_postgres.database import Database
from stageflow_io_postgres.errors import ResourceKindError
from stageflow_io_postgres.event_sink import PostgresEventSink
from support.cut_wire import CutWire

pytestmark = pytest.mark.anyio


class TestPostgresEventSink(EventSinkConformance):
    event_loops = ("asyncio",)

    @pytest.fixture
    async def sink(self, database):
        async with PostgresEventSink(database, flush_interval=0) as sink:
            yield sink

    async def arrived(self, sink):
        return [(event.type, event.data) for event in await sink.read()]


async def numbers(database):
    """Return the numbers of the events that are there, in order."""
    rows = await database.fetch(
        "select (data ->> 'n')::int as n from stageflow.events order by id", repeatable=True
    )
    return [row["n"] for row in rows]


def fill(sink, count, start=0):
    return [sink.try_emit(type="test", data={"n": n}) for n in range(start, start + count)]


async def test_bursts_and_drops_arrive_in_order(database):
    async with PostgresEventSink(database, max_buffer=30_000) as sink:
        for start, count in ((0, 3), (3, 12_000), (12_003, 63), (12_066, 64)):
            assert all(fill(sink, count, start))
            await sink.flush()
        assert await numbers(database) == list(range(12_130))
        assert (sink.stats.accepted, sink.stats.written) == (12_130, 12_130)
    left = await database.fetchval("select count(*) from stageflow.event_writers")
    assert left == 0


async def test_emit_waits_for_room(database):
    async with PostgresEventSink(database, max_buffer=10, flush_interval=60) as sink:
        for n in range(100):
            await sink.emit(type="test", data={"n": n})
            assert len(sink._rows) <= 10
    assert await numbers(database) == list(range(100))
    assert sink.stats.dropped == 0


async def test_try_emit_drops_and_counts_when_the_buffer_is_full(database):
    async with PostgresEventSink(database, max_buffer=10, flush_interval=60) as sink:
        assert fill(sink, 15) == [True] * 10 + [False] * 5
        assert sink.stats.dropped == 5
    assert await numbers(database) == list(range(10))


@pytest.mark.parametrize(
    ("count", "answer"),
    [(5, b"INSERT"), (500, b"BEGIN"), (500, b"INSERT"), (500, b"COPY 500"), (500, b"COMMIT")],
)
async def test_a_batch_whose_answer_is_lost_is_written_once(server, name, count, answer):
    async with CutWire(server.port) as wire:
        settings = server.settings(name, host="127.0.0.1", port=wire.port)
        async with Database(settings) as database:
            async with PostgresEventSink(database, flush_interval=60) as sink:
                fill(sink, 10)
                await sink.flush()
                wire.swallow(answer)
                fill(sink, count, 10)
                assert not await sink.flush(), "that attempt has failed"
                fill(sink, 5, 10 + count)
            assert wire.cuts == 1
            assert sink.stats.written == count + 15
            assert await numbers(database) == list(range(count + 15))


async def test_an_event_that_no_table_takes_costs_no_other(database, monkeypatch):
    async with PostgresEventSink(database, flush_interval=60) as sink:
        bad = ("bad", datetime.now(UTC), None, None, "{no json")
        fill(sink, 40)
        sink._offer(bad)
        fill(sink, 59, 40)
        await sink.flush()
        await sink.flush()
    assert await numbers(database) == list(range(99))
    assert (sink.stats.written, sink.stats.failed) == (99, 1)


async def test_a_fault_of_the_worker_costs_one_batch_and_stops_nobody(database, monkeypatch):
    sink = PostgresEventSink(database, flush_interval=60)
    copy = sink._copy

    async def broken(connection, batch):
        monkeypatch.setattr(sink, "_copy", copy)
        raise KeyError("a fault of ours")

    monkeypatch.setattr(sink, "_copy", broken)
    async with sink:
        fill(sink, 100)
        await sink.flush()
        fill(sink, 100, 100)
    assert await numbers(database) == list(range(100, 200))
    assert (sink.stats.written, sink.stats.failed) == (100, 100)


async def test_a_strict_sink_tells_that_it_cannot_write(database):
    await database.execute("alter table stageflow.events rename to gone")
    try:
        sink = PostgresEventSink(database, strict=True, flush_interval=0, close_timeout=0.2)
        async with sink:
            for n in range(3):
                with pytest.raises(EventSinkError, match="has not the tables"):
                    await sink.emit(type="test", data={"n": n})
            with pytest.raises(EventSinkError, match="has lost 3 events"):
                await sink.aclose()
    finally:
        await database.execute("alter table stageflow.gone rename to events")
    assert (sink.stats.accepted, sink.stats.written, sink.stats.failed) == (3, 0, 3)


async def test_another_that_is_not_strict_closes_in_time_and_counts(database):
    await database.execute("alter table stageflow.events rename to gone")
    try:
        with anyio.fail_after(5):
            async with PostgresEventSink(database, close_timeout=0.1) as sink:
                fill(sink, 3)
    finally:
        await database.execute("alter table stageflow.gone rename to events")
    assert (sink.stats.accepted, sink.stats.failed, sink.stats.dropped) == (3, 3, 0)


async def test_a_pool_that_is_exhausted_delays_events_and_costs_none(server, name):
    settings = server.settings(name, max_connections=1, acquire_timeout=0.05)
    async with Database(settings) as database:
        async with PostgresEventSink(database, flush_interval=0) as sink:
            async with database.connection():
                fill(sink, 100)
                assert not await sink.flush()
            while not await sink.flush():
                pass
        assert await numbers(database) == list(range(100))


async def test_before_it_is_opened_and_after_it_is_closed_it_takes_nothing(database):
    sink = PostgresEventSink(database)
    assert not sink.try_emit(type="test", data=None)
    with pytest.raises(EventSinkError):
        await sink.emit(type="test", data=None)
    async with sink:
        pass
    with pytest.raises(EventSinkError):
        await sink.emit(type="test", data=None)
    assert sink.stats.accepted == 0


async def test_events_are_found_by_run_type_and_place_and_forgotten_by_time(database):
    at = datetime(2025, 1, 31, tzinfo=UTC)
    times = iter([at + timedelta(days=day) for day in range(6)])
    async with PostgresEventSink(database, now=lambda: next(times)) as sink:
        for n in range(6):
            run = f"run \0 {n % 2}"
            await sink.emit(type=f"t{n % 3}", data={"pipeline_run_id": run, "stage": "s", "n": n})
        found = await sink.read(run_id="run \0 1")
        assert [event.data["n"] for event in found] == [1, 3, 5]
        assert [event.data["n"] for event in await sink.read(type="t2")] == [2, 5]
        after = await sink.read(after=found[1].id, limit=1)
        assert [(event.data["n"], event.recorded_at) for event in after] == [
            (4, at + timedelta(days=4))
        ]
        assert await sink.prune(at + timedelta(days=4)) == 4
        assert [event.data["n"] for event in await sink.read()] == [4, 5]


async def test_a_resource_of_another_kind_is_refused():
    with pytest.raises(ResourceKindError):
        make_postgres_event_sink(PostgresSinkSettings(), resources={"postgres": object()})
