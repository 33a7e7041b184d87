"""What the helpers cost, each beside the few lines one would write without it.

ChunkQueue stands beside a bare bounded `asyncio.Queue`, BufferedExporter beside a list that is
handed on when it is full, and `compute_delta` beside merging the two dictionaries: it is linear if
the ratio stays the same at every size. Both sides of a ratio run in turns in one process; the
figures are medians.

    python bench/helpers.py [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import time
from collections.abc import Awaitable, Callable

from stageflow.compression import compute_delta
from stageflow.helpers.analytics import AnalyticsEvent, BufferedExporter
from stageflow.helpers.streaming import ChunkQueue

TURNS = 15
ITEMS = 20_000
EVENTS = 5_000

Queue = ChunkQueue[int] | asyncio.Queue[int]


async def alternate(queue: Queue) -> None:
    """Put and get in one task, so that nobody ever waits."""
    for number in range(ITEMS):
        await queue.put(number)
        await queue.get()


async def pass_on(queue: Queue) -> None:
    """Put in one task and get in another, waiting for one another as the queue demands."""

    async def produce() -> None:
        for number in range(ITEMS):
            await queue.put(number)

    async def consume() -> None:
        for _ in range(ITEMS):
            await queue.get()

    await asyncio.gather(produce(), consume())


async def crowd(queue: Queue) -> None:
    """Put in eight tasks and get in eight others."""

    async def produce() -> None:
        for number in range(ITEMS // 8):
            await queue.put(number)

    async def consume() -> None:
        for _ in range(ITEMS // 8):
            await queue.get()

    await asyncio.gather(*(work() for work in (produce, consume) for _ in range(8)))


class Nowhere:
    """An exporter that forgets what it is given."""

    async def export(self, event: AnalyticsEvent) -> None:
        """Forget one event."""

    async def export_batch(self, events: object) -> None:
        """Forget several."""

    async def flush(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""


async def export_buffered() -> None:
    """Export through a BufferedExporter."""
    exporter = BufferedExporter(Nowhere())
    event = AnalyticsEvent("x")
    for _ in range(EVENTS):
        await exporter.export(event)
    await exporter.close()


async def export_by_hand() -> None:
    """Collect in a list and hand it on when it is full: no bound, no interval, no order kept."""
    target, event = Nowhere(), AnalyticsEvent("x")
    batch: list[AnalyticsEvent] = []

    async def export(event: AnalyticsEvent) -> None:
        nonlocal batch
        batch.append(event)
        if len(batch) >= 100:
            full, batch = batch, []
            await target.export_batch(full)

    for _ in range(EVENTS):
        await export(event)
    await target.export_batch(batch)


async def timed(call: Callable[[], Awaitable[None]]) -> float:
    """Return the seconds that one call takes, with the garbage of those before collected."""
    gc.collect()
    began = time.perf_counter()
    await call()
    return time.perf_counter() - began


async def compare(
    name: str,
    ours: Callable[[], Awaitable[None]],
    plain: Callable[[], Awaitable[None]],
    per: int,
    at_most: float | None,
) -> dict[str, object]:
    """Return what both cost per item, and the median of their ratios."""
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(TURNS):
        seconds["plain"].append(await timed(plain))
        seconds["ours"].append(await timed(ours))
    ratios = [a / b for a, b in zip(seconds["ours"], seconds["plain"], strict=True)]
    return {
        "name": name,
        "ours_us": statistics.median(seconds["ours"]) / per * 1e6,
        "plain_us": statistics.median(seconds["plain"]) / per * 1e6,
        "ratio": statistics.median(ratios),
        "at_most": at_most,
    }


async def measure_queues() -> list[dict[str, object]]:
    """Return the cost of one put and one get, for several sizes and crowds."""
    cases: tuple[tuple[str, Callable[[Queue], Awaitable[None]], int], ...] = (
        ("put+get, one task, 100", alternate, 100),
        ("put+get, one task, 1", alternate, 1),
        ("put+get, two tasks, 100", pass_on, 100),
        ("put+get, two tasks, 10", pass_on, 10),
        ("put+get, two tasks, 1", pass_on, 1),
        ("put+get, 8 to 8 tasks, 100", crowd, 100),
    )
    return [
        await compare(
            name,
            lambda work=work, size=size: work(ChunkQueue(size)),  # type: ignore[misc]
            lambda work=work, size=size: work(asyncio.Queue(size)),  # type: ignore[misc]
            ITEMS,
            2.0,
        )
        for name, work, size in cases
    ]


async def measure_delta(size: int) -> dict[str, object]:
    """Return the cost per key of a delta, beside merging the two dictionaries."""
    base = {f"key{n}": n for n in range(size)}
    current = {f"key{n}": n + n % 2 for n in range(size // 2, size * 3 // 2)}
    repeat = 100_000 // size

    async def delta() -> None:
        for _ in range(repeat):
            compute_delta(base, current)

    async def merge() -> None:
        for _ in range(repeat):
            _ = {**base, **current}

    return await compare(f"compute_delta, {size:,} keys", delta, merge, repeat * size, None)


async def main(*, as_json: bool) -> None:
    """Measure and print everything."""
    rows = await measure_queues()
    rows.append(
        await compare("BufferedExporter.export", export_buffered, export_by_hand, EVENTS, None)
    )
    rows += [await measure_delta(size) for size in (100, 1_000, 10_000, 100_000)]
    if as_json:
        print(json.dumps(rows))
        return
    for row in rows:
        limit, ratio = row["at_most"], float(str(row["ratio"]))
        mark = "" if limit is None else f"  (at most {limit})"
        over = "  OVER" if limit is not None and ratio > float(str(limit)) else ""
        print(
            f"{row['name']!s:36} ours {row['ours_us']:7.3f}  plain {row['plain_us']:7.3f} us"
            f"   ratio {ratio:5.2f}{mark}{over}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    asyncio.run(main(as_json=parser.parse_args().json))
