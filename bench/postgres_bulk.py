"""What it costs to pass much at once through PostgreSQL, beside the same work by asyncpg alone.

- events: a sink takes them and writes them; beside `json.dumps` and COPY into the same table.
- barrier: a barrier is created with its keys; beside COPY of the same rows into the same table.
- completing: eight tasks record results in pages; beside eight tasks that update rows in pages.
- reader: all rows of a table as mappings, in pages; beside a cursor of the server.

Both sides of a ratio take turns on one server that waits for its disk at every commit; the figures
are medians, and a ratio is of rates: 1.0 is as fast as bare.

    python bench/postgres_bulk.py [--scale N] [--turns N] [--json]
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio

from stageflow.codec import Codec
from stageflow_io_postgres.database import Database
from stageflow_io_postgres.event_sink import PostgresEventSink
from stageflow_io_postgres.item_reader import PostgresItemReader, PostgresReaderSettings
from stageflow_io_postgres.scatter_coordinator import PostgresScatterCoordinator

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from support.postgres import PostgresServer, database_on, own_server

EVENTS, KEYS, COMPLETED, ROWS = 50_000, 1_000_000, 100_000, 200_000
PAGE, TASKS, ROWS_PER_PAGE = 500, 8, 5_000
NOTHING = Codec.default().encode(None)

Work = Callable[[Database], Awaitable[float]]


@dataclass(frozen=True)
class Figure:
    """What one kind of work costs.

    Attributes:
        name: What was done.
        per_second: How many of its parts in a second.
        bare_per_second: How many of them bare.
        ratio: Of both rates.
        at_least: What is wanted of the ratio.
    """

    name: str
    per_second: float
    bare_per_second: float
    ratio: float
    at_least: float


def payload(number: int) -> dict[str, Any]:
    """Return the data of an event, as large as those of stages are."""
    return {
        "pipeline_run_id": f"0190f6a4-5b1c-7000-8000-{number % 100:012d}",
        "stage": f"stage-{number % 10}",
        "status": "completed",
        "duration_ms": number / 7,
        "timestamp": "2025-01-31T12:00:00+00:00",
        "data": {"rows": number, "note": "a few words that a stage says of what it did"},
    }


def now() -> datetime:
    """Return the time of day."""
    return datetime.now(UTC)


async def sink_events(database: Database, count: int) -> float:
    """Return the seconds until a sink has taken and written all events."""
    payloads = [payload(number) for number in range(count)]
    began = time.perf_counter()
    async with PostgresEventSink(database) as sink:
        for data in payloads:
            await sink.emit(type="stage.completed", data=data)
    took = time.perf_counter() - began
    assert sink.stats.written == count
    return took


async def copy_events(database: Database, count: int) -> float:
    """Return the seconds that making and copying the same rows takes."""
    payloads = [payload(number) for number in range(count)]
    columns = ("type", "recorded_at", "pipeline_run_id", "stage", "data")
    began = time.perf_counter()
    async with database.connection() as connection:
        for start in range(0, count, ROWS_PER_PAGE):
            records = [
                (
                    "stage.completed",
                    now(),
                    data["pipeline_run_id"],
                    data["stage"],
                    json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")),
                )
                for data in payloads[start : start + ROWS_PER_PAGE]
            ]
            await connection.copy_records_to_table(
                "events", schema_name="stageflow", columns=columns, records=records
            )
    return time.perf_counter() - began


async def create_barrier(database: Database, count: int) -> float:
    """Return the seconds that creating a barrier takes."""
    async with PostgresScatterCoordinator(database) as coordinator:
        began = time.perf_counter()
        barrier_id = await coordinator.create_barrier("bench", "asset", None, keys=range(count))
        took = time.perf_counter() - began
        assert (await coordinator.status(barrier_id)).total == count
    return took


async def copy_keys(database: Database, count: int) -> float:
    """Return the seconds that copying the rows of a barrier takes."""
    columns = ("barrier", "number", "identity", "long_key")
    began = time.perf_counter()
    async with database.connection() as connection, connection.transaction():
        for start in range(0, count, 10_000):
            # What the codec writes, without its price.
            records = [
                (1, number, b'{"stageflow":1,"plain":%d}' % number, None)
                for number in range(start, min(start + 10_000, count))
            ]
            await connection.copy_records_to_table(
                "scatter_items", schema_name="stageflow", columns=columns, records=records
            )
    return time.perf_counter() - began


async def in_tasks(work: Callable[[range], Awaitable[object]], count: int) -> float:
    """Return the seconds until several tasks have done all pages."""
    pages = [range(start, min(start + PAGE, count)) for start in range(0, count, PAGE)]

    async def each() -> None:
        while pages:
            await work(pages.pop())

    began = time.perf_counter()
    async with anyio.create_task_group() as group:
        for _ in range(TASKS):
            group.start_soon(each)
    return time.perf_counter() - began


async def complete_keys(database: Database, count: int) -> float:
    """Return the seconds until all keys of a barrier are completed."""
    async with PostgresScatterCoordinator(database) as coordinator:
        barrier_id = await coordinator.create_barrier("bench", "asset", None, keys=range(count))

        async def complete(page: range) -> None:
            await coordinator.record(barrier_id, completed=[(key, None) for key in page])

        took = await in_tasks(complete, count)
        state = await coordinator.status(barrier_id)
        assert (state.status, state.completed) == ("complete", count)
    return took


async def update_rows(database: Database, count: int) -> float:
    """Return the seconds until as many rows of a table are updated by their keys."""
    await database.execute("drop table if exists bare_items")
    await database.execute(
        "create table bare_items (barrier bigint, number bigint, key bytea, state smallint,"
        " outcome bytea, primary key (barrier, number))"
    )
    await database.execute("create unique index on bare_items (barrier, key)")
    keys = [b'{"stageflow":1,"plain":%d}' % number for number in range(count)]
    async with database.connection() as connection:
        rows = [(1, number, key, 0, None) for number, key in enumerate(keys)]
        await connection.copy_records_to_table("bare_items", records=rows)
    update = (
        "update bare_items i set state = 1, outcome = g.outcome"
        " from unnest($1::bytea[], $2::bytea[]) as g (key, outcome)"
        " where i.barrier = 1 and i.key = g.key and i.state = 0"
    )

    async def change(page: range) -> None:
        given = keys[page.start : page.stop]
        await database.execute(update, given, [NOTHING] * len(given))

    return await in_tasks(change, count)


async def fill_table(database: Database, count: int) -> None:
    """Make the table that is read."""
    await database.execute("drop table if exists bare_rows")
    await database.execute(
        "create table bare_rows (id bigint primary key, name text, price numeric, at timestamptz)"
    )
    await database.execute(
        "insert into bare_rows select n, 'item ' || n, n / 7.0, now()"
        " from generate_series(1, $1) as n",
        count,
    )


async def read_items(database: Database, count: int) -> float:
    """Return the seconds that reading all items takes."""
    await fill_table(database, count)
    reader = PostgresItemReader(PostgresReaderSettings(table="bare_rows"), database)
    began, found = time.perf_counter(), 0
    state = await reader.init({}, {})
    while state is not None:
        page = await reader.read(state, ROWS_PER_PAGE)
        found, state = found + len(page.items), page.state
    assert found == count
    return time.perf_counter() - began


async def read_cursor(database: Database, count: int) -> float:
    """Return the seconds that a cursor takes for the same mappings."""
    await fill_table(database, count)
    began, found = time.perf_counter(), 0
    async with database.connection() as connection, connection.transaction():
        cursor = await connection.cursor("select * from bare_rows order by id")
        while rows := await cursor.fetch(ROWS_PER_PAGE):
            found += len([dict(row) for row in rows])
    assert found == count
    return time.perf_counter() - began


def kinds(scale: float) -> dict[str, tuple[Work, Work, int, float]]:
    """Return each kind of work: ours, bare, how many parts it has, and the ratio wanted."""
    chosen: dict[str, tuple[Any, Any, int, float]] = {
        "events": (sink_events, copy_events, EVENTS, 0.6),
        "barrier": (create_barrier, copy_keys, KEYS, 0.5),
        "completing": (complete_keys, update_rows, COMPLETED, 0.5),
        "reader": (read_items, read_cursor, ROWS, 0.8),
    }
    made = {}
    for name, (ours, bare, count, wanted) in chosen.items():
        size = max(1, int(count * scale))
        made[name] = (
            lambda database, ours=ours, size=size: ours(database, size),
            lambda database, bare=bare, size=size: bare(database, size),
            size,
            wanted,
        )
    return made


async def timed(server: PostgresServer, work: Work) -> float:
    """Return the seconds that the work takes in a database of its own."""
    with database_on(server) as name:
        settings = server.settings(name, migrate_on_open=True, statement_timeout=120.0)
        async with Database(settings) as database:
            await database.execute("checkpoint")
            gc.collect()
            return await work(database)


async def measure(
    server: PostgresServer, scale: float, turns: int, only: str | None
) -> list[Figure]:
    """Return all figures, or those of one kind of work."""
    figures = []
    for name, (ours, bare, size, wanted) in kinds(scale).items():
        if only not in {None, name}:
            continue
        took: list[tuple[float, float]] = [
            (await timed(server, ours), await timed(server, bare)) for _ in range(turns)
        ]
        mine, theirs = (statistics.median(side) for side in zip(*took, strict=True))
        ratio = statistics.median(b / a for a, b in took)
        figures.append(
            Figure(name, round(size / mine), round(size / theirs), round(ratio, 2), wanted)
        )
    return figures


def main() -> None:
    """Measure, and tell the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="how much, 1.0 for all of it")
    parser.add_argument("--only", choices=sorted(kinds(1.0)))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    server = own_server(safe=True, options=("-c", "max_wal_size=4GB"))
    try:
        figures = anyio.run(measure, server, options.scale, options.turns, options.only)
    finally:
        server.remove()
    if options.json:
        print(json.dumps([asdict(each) for each in figures], indent=2))
        return
    for each in figures:
        print(
            f"{each.name:12} {each.per_second:9,.0f} /s, bare {each.bare_per_second:9,.0f} /s,"
            f" ratio {each.ratio:5.2f}, wanted at least {each.at_least}"
        )


if __name__ == "__main__":
    main()
