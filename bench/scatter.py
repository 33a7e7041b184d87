"""What the coordinators of scatters cost per item, and what a million items take in memory.

The SQLite coordinator stands beside a bare batched `executemany` of the same rows: insert a page
of keys in one transaction, then update it with its results in another. The memory coordinator
stands beside a dictionary of keys and results, which forgets no key and takes no bytes. Both sides
of a ratio run in turns in one process, and the figures are medians.

The engine works on items that do nothing, from a generator, with the memory coordinator; beside
it stands a bare worker pool over a memory stream, which reads the same generator and calls the
same function, and keeps, records and gathers nothing.

    python bench/scatter.py [--items N] [--page N] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sqlite3
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio

from stageflow import Runtime
from stageflow.assets import AssetStore, scatter
from stageflow.builtin.memory_scatter_coordinator import MemoryScatterCoordinator
from stageflow.builtin.sqlite_scatter_coordinator import SqliteScatterCoordinator
from stageflow.codec import Codec

TURNS = 3
WORKERS = 16


def pages(items: int, page: int) -> Iterator[range]:
    """Give the keys page by page."""
    for start in range(0, items, page):
        yield range(start, min(start + page, items))


async def coordinate(coordinator: Any, items: int, page: int) -> None:
    """Insert and complete all items, as an engine does whose items give nothing."""
    barrier_id = await coordinator.create_barrier("run", "asset", None, sealed=False)
    for keys in pages(items, page):
        inserted = await coordinator.insert_results(barrier_id, keys, checkpoint={"at": keys[0]})
        await coordinator.record(barrier_id, completed=[(key, None) for key in inserted.added])
    await coordinator.insert_results(barrier_id, (), sealed=True)
    state = await coordinator.status(barrier_id)
    assert (state.status, state.completed) == ("complete", items)


async def in_sqlite(items: int, page: int, folder: Path) -> None:
    """Scatter with the SQLite coordinator."""
    async with SqliteScatterCoordinator(folder / "scatter.sqlite3") as coordinator:
        await coordinate(coordinator, items, page)


async def bare_sqlite(items: int, page: int, folder: Path) -> None:
    """Insert and update the same rows with the standard library alone, as durably."""
    nothing = Codec.default().encode(None)
    connection = sqlite3.connect(folder / "bare.sqlite3", isolation_level=None)
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = full")
    connection.execute(
        "create table items (barrier integer, number integer, key blob, state integer,"
        " result blob, primary key (barrier, number)) without rowid"
    )
    connection.execute("create unique index by_key on items (barrier, key)")
    for keys in pages(items, page):
        # What the codec writes, without its price.
        encoded = [b'{"stageflow":1,"plain":%d}' % key for key in keys]
        connection.execute("begin immediate")
        connection.executemany(
            "insert into items values (1, ?, ?, 0, null)", zip(keys, encoded, strict=True)
        )
        connection.execute("commit")
        results = [(nothing, key) for key in encoded]
        connection.execute("begin immediate")
        connection.executemany(
            "update items set state = 1, result = ? where barrier = 1 and key = ?", results
        )
        connection.execute("commit")
    connection.close()


async def in_memory(items: int, page: int, _folder: Path) -> None:
    """Scatter with the memory coordinator."""
    async with MemoryScatterCoordinator() as coordinator:
        await coordinate(coordinator, items, page)


async def bare_dict(items: int, page: int, _folder: Path) -> None:
    """Keep the encoded keys and results in a dictionary."""
    codec, kept = Codec.default(), dict[bytes, bytes | None]()
    for keys in pages(items, page):
        encoded = [codec.encode(key) for key in keys]
        kept.update(dict.fromkeys(encoded))
        for key in encoded:
            kept[key] = codec.encode(None)
    assert len(kept) == items


Run = Callable[[int, int, Path], Awaitable[None]]


async def timed(run: Run, items: int, page: int) -> float:
    """Return the seconds that one run takes in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        gc.collect()
        began = time.perf_counter()
        await run(items, page, Path(folder))
        return time.perf_counter() - began


async def compare(
    name: str, ours: Run, plain: Run, items: int, page: int, at_most: float | None
) -> dict[str, object]:
    """Return what both cost per item, and the median of their ratios."""
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(TURNS):
        seconds["plain"].append(await timed(plain, items, page))
        seconds["ours"].append(await timed(ours, items, page))
    ratios = [a / b for a, b in zip(seconds["ours"], seconds["plain"], strict=True)]
    return {
        "name": name,
        "ours_us": statistics.median(seconds["ours"]) / items * 1e6,
        "plain_us": statistics.median(seconds["plain"]) / items * 1e6,
        "ratio": statistics.median(ratios),
        "at_most": at_most,
    }


async def nothing(item: int) -> None:
    """Work on an item."""


async def in_engine(items: int, page: int, _folder: Path) -> None:
    """Scatter the items as an asset."""

    @scatter(lambda: range(items), fold=count, initial=0, page_size=page, max_concurrent=WORKERS)
    async def scattered(item: int) -> None:
        return await nothing(item)

    async with Runtime(event_sink=None) as runtime, AssetStore([scattered], runtime) as store:
        await store.materialize("scattered")
        assert await store.get("scattered") == items


def count(total: int, page: Sequence[tuple[Any, Any]]) -> int:
    """Fold a page of results."""
    return total + len(page)


async def bare_pool(items: int, page: int, _folder: Path) -> None:
    """Have as many workers take the items from a memory stream of a page."""
    send, receive = anyio.create_memory_object_stream[int](page)

    async def work() -> None:
        async for item in receive:
            await nothing(item)

    async with anyio.create_task_group() as workers:
        for _ in range(WORKERS):
            workers.start_soon(work)
        async with send:
            for item in range(items):
                await send.send(item)
    receive.close()


async def measure_engine_memory(items: int, page: int) -> float:
    """Return by how many megabytes the peak of traced memory grows in the engine."""
    await in_engine(page, page, Path())  # what is imported and made once
    gc.collect()
    tracemalloc.start()
    try:
        await in_engine(items, page, Path())
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


async def measure_memory(items: int, page: int) -> float:
    """Return the megabytes that the memory coordinator takes at its peak."""
    tracemalloc.start()
    try:
        async with MemoryScatterCoordinator() as coordinator:
            await coordinate(coordinator, items, page)
            return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--page", type=int, default=1000)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    items, page = options.items, options.page
    rows = [
        await compare("sqlite", in_sqlite, bare_sqlite, items, page, 3.0),
        await compare("memory", in_memory, bare_dict, items, page, None),
        await compare("engine", in_engine, bare_pool, items, page, 2.0),
    ]
    megabytes = await measure_memory(items, page)
    grown = await measure_engine_memory(items, page)
    if options.json:
        print(
            json.dumps(
                {"items": items, "rows": rows, "memory_mb": megabytes, "engine_mb": grown}, indent=2
            )
        )
        return
    for row in rows:
        limit = f", wanted at most {row['at_most']}" if row["at_most"] else ""
        print(
            f"{row['name']:8} {row['ours_us']:6.2f} us per item,"
            f" bare {row['plain_us']:6.2f} us, ratio {row['ratio']:.2f}{limit}"
        )
    print(f"memory   {megabytes:.1f} MB at the peak for {items} items")
    print(f"engine   {grown:.1f} MB at the peak for {items} items, wanted below 64")


if __name__ == "__main__":
    asyncio.run(main())
