"""What it costs to keep a run's progress in PostgreSQL, beside the bare row that one would write.

The baseline is a table with a key and a value, and one `insert` per round trip by asyncpg itself,
on a connection that nobody shares. All calls take turns in one process, on one server of our own
that waits for its disk at every commit; the figures are medians. Then whole runs of a chain of
stages that do nothing, with durability `step` and `exit`, per stage; and many runs at once on one
pool, beside bare inserts at once on it, and the slowest of their commits beside the middle one.

    python bench/postgres.py [--turns N] [--json]
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import anyio

from stageflow import Pipeline, StageContext, StageKind, UnifiedStageGraph
from stageflow.contracts.checkpoints import CheckpointEntry
from stageflow.contracts.run_store import RunEvent
from stageflow.runtime import Durability, Runtime
from stageflow_io_postgres.database import Database
from stageflow_io_postgres.run_store import PostgresRunStore

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from support.postgres import PostgresServer, database_on, own_server

Call = Callable[[int], Awaitable[object]]

VALUE = b'{"format":1,"data":{"text":"the output of a small stage","n":1}}'
BATCH = 100
BASELINE = "bare insert"
CHAIN = 50
RUNS = 100
COMMITS = 20


@dataclass(frozen=True)
class Figure:
    """What one way of writing costs.

    Attributes:
        name: What was written, and how.
        microseconds: Per call.
        ratio: To the baseline.
        at_most: What is wanted of the ratio; None where nothing is.
    """

    name: str
    microseconds: float
    ratio: float
    at_most: float | None = None


WANTED = {
    "commit, 1 entry": 1.5,
    "commit, 1 entry, 2 events": 1.5,
    f"{RUNS} runs at once, slowest in 100": 3.0,
}


async def commits(store: PostgresRunStore, *, entries: int, events: int) -> Call:
    """Return a call that commits so many entries and events of a run."""
    run_id = uuid4()
    await store.create_run(run_id, service="bench", status="running")
    lease = await store.acquire_lease(run_id, "bench", ttl=3600)
    happened = [
        RunEvent(type="stage.completed", data={"stage": "s", "n": n}, at=datetime.now(UTC))
        for n in range(events)
    ]

    async def write(number: int) -> None:
        await store.commit(
            lease,
            [CheckpointEntry(key=f"stage-{number}-{n}", value=VALUE) for n in range(entries)],
            events=happened,
        )

    return write


async def nothing(ctx: StageContext) -> None:
    """Do nothing."""


def chain(size: int) -> UnifiedStageGraph:
    """Return a pipeline in which each stage waits for the one before."""
    pipeline = Pipeline("chain").with_stage("s0", nothing, StageKind.WORK)
    for number in range(1, size):
        before = (f"s{number - 1}",)
        pipeline = pipeline.with_stage(f"s{number}", nothing, StageKind.WORK, before)
    return pipeline.build()


async def whole_runs(
    store: PostgresRunStore, durability: Durability, stack: AsyncExitStack
) -> Call:
    """Return a call that makes one run of a chain."""
    runtime = await stack.enter_async_context(Runtime(run_store=store))
    graph = chain(CHAIN)

    async def run(_: int) -> None:
        outcome = await runtime.run(graph, durability=durability)
        outcome.raise_for_status()

    return run


async def timed(call: Call, times: int) -> float:
    """Return the microseconds that one of so many calls took."""
    gc.collect()
    began = time.perf_counter()
    for number in range(times):
        await call(number)
    return (time.perf_counter() - began) / times * 1e6


async def crowd(store: PostgresRunStore, bare: Callable[[], Awaitable[object]]) -> dict[str, float]:
    """Return how long commits of many runs at once take on one pool, and bare ones likewise."""
    figures: dict[str, float] = {}
    calls = [await commits(store, entries=1, events=0) for _ in range(RUNS)]

    async def each(call: Call, took: list[float]) -> None:
        for number in range(COMMITS):
            began = time.perf_counter()
            await call(number)
            took.append((time.perf_counter() - began) * 1e6)

    async def insert(_: int) -> object:
        return await bare()

    for name, chosen in (("bare", [insert] * RUNS), ("runs", calls)):
        took: list[float] = []
        async with anyio.create_task_group() as group:
            for call in chosen:
                group.start_soon(each, call, took)
        took = sorted(took[RUNS:])  # the first ones open the connections
        figures[name] = statistics.median(took)
        figures[f"{name}, slowest"] = took[int(len(took) * 0.99)]
    return figures


async def measure(server: PostgresServer, name: str, turns: int) -> list[Figure]:
    """Return all figures."""
    import asyncpg

    found: dict[str, list[float]] = {}
    async with AsyncExitStack() as stack:
        settings = server.settings(name, migrate_on_open=True, max_connections=10)
        database = await stack.enter_async_context(Database(settings))
        store = PostgresRunStore(database)
        bare = await asyncpg.connect(server.address(name))
        stack.push_async_callback(bare.close)
        await bare.execute("create table bare (key text, value bytea)")
        insert = "insert into bare values ($1, $2)"
        calls: dict[str, tuple[Call, int, int]] = {
            BASELINE: (lambda n: bare.execute(insert, f"stage-{n}", VALUE), BATCH, 1),
            "commit, 1 entry": (await commits(store, entries=1, events=0), BATCH, 1),
            "commit, 1 entry, 2 events": (await commits(store, entries=1, events=2), BATCH, 1),
            "commit, 50 entries": (await commits(store, entries=50, events=0), BATCH, 1),
            "stage of a chain, step": (await whole_runs(store, "step", stack), 3, CHAIN),
            "stage of a chain, exit": (await whole_runs(store, "exit", stack), 3, CHAIN),
        }
        for turn in range(turns + 1):
            for label, (call, times, parts) in calls.items():
                took = await timed(call, times) / parts
                if turn:  # the first one warms everything up
                    found.setdefault(label, []).append(took)
        medians = {label: statistics.median(took) for label, took in found.items()}
        crowds = await crowd(store, lambda: database.execute(insert, "stage", VALUE))
    figures = [figure(label, took, medians[BASELINE]) for label, took in medians.items()]
    figures += [
        figure(f"{RUNS} runs at once, per commit", crowds["runs"], crowds["bare"]),
        figure(f"{RUNS} runs at once, slowest in 100", crowds["runs, slowest"], crowds["runs"]),
    ]
    return figures


def figure(name: str, took: float, baseline: float) -> Figure:
    """Return a figure beside its baseline."""
    return Figure(name, round(took, 1), round(took / baseline, 2), WANTED.get(name))


def main() -> None:
    """Measure, and tell the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    server = own_server(safe=True)
    try:
        with database_on(server) as name:
            figures = anyio.run(measure, server, name, options.turns)
    finally:
        server.remove()
    if options.json:
        print(json.dumps([asdict(each) for each in figures], indent=2))
        return
    for each in figures:
        wanted = "" if each.at_most is None else f"   wanted at most {each.at_most}"
        print(f"{each.name:34} {each.microseconds:10.1f} us {each.ratio:6.2f}{wanted}")


if __name__ == "__main__":
    main()
