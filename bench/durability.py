"""What it costs to keep a run's progress in SQLite, beside the bare row that one would write.

The baseline is a table with a key and a value, and one `insert` with its `commit`: once in the
thread of the caller, and once handed to the store's own kind of thread and awaited, which no
store can do without as long as a write blocks. All calls take turns in one process, each on a
file of its own; the figures are medians, and the ratios are to the bare row through the thread.
Then whole runs of stages that do nothing, with durability `step` and `none`, for each stage; and
for each stage of the record, what it takes to resume a run of which one in a hundred is missing.

    python bench/durability.py [--backend asyncio|trio] [--turns N] [--json]
"""

from __future__ import annotations

import argparse
import gc
import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import anyio
import anyio.lowlevel

from stageflow import Pipeline, StageContext, StageKind, UnifiedStageGraph, UnifiedStageSpec
from stageflow.builtin._sqlite import Schema, SqliteDatabase
from stageflow.builtin.sqlite_run_store import SqliteRunStore
from stageflow.contracts.checkpoints import CheckpointEntry
from stageflow.contracts.run_store import RunEvent
from stageflow.runtime import Durability, Runtime

Synchronous = Literal["full", "normal"]
Call = Callable[[int], Awaitable[None]]

BARE = Schema(component="bare", migrations=[["create table bare (key text, value blob)"]])
INSERT = "insert into bare values (?, ?)"
VALUE = b'{"format":1,"data":{"text":"the output of a small stage","n":1}}'
BATCH = 200
BASELINE = "bare row, through the thread"


@dataclass(frozen=True)
class Figure:
    """What one way of writing costs.

    Attributes:
        name: What was written, and how.
        synchronous: How safely.
        microseconds: Per call.
        ratio: To the baseline.
        at_most: What is wanted of the ratio; None where nothing is.
    """

    name: str
    synchronous: str
    microseconds: float
    ratio: float
    at_most: float | None = None


WANTED = {"commit, 1 entry": 1.5, "stage of a chain, step": 2.0, "stage of a wide graph, step": 0.3}
RESUMED = (1_000, 10_000)
CHAIN = 50
WIDE = 500


class Inline:
    """The bare row, written in the thread of the caller."""

    def __init__(self, path: Path, synchronous: Synchronous) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("pragma journal_mode = wal").fetchone()
        self.connection.execute(f"pragma synchronous = {synchronous}")
        self.connection.execute(BARE.migrations[0][0])

    async def write(self, number: int) -> None:
        """Insert one row and commit it."""
        self.connection.execute("begin immediate")
        self.connection.execute(INSERT, (f"stage-{number}", VALUE))
        self.connection.execute("commit")
        await anyio.lowlevel.checkpoint()


async def bare_through_thread(path: Path, synchronous: Synchronous, stack: AsyncExitStack) -> Call:
    """Return a call that writes the bare row in the thread of a database of its own."""
    database = await stack.enter_async_context(
        SqliteDatabase(path, schema=BARE, synchronous=synchronous)
    )

    async def write(number: int) -> None:
        await database.write(
            lambda connection: connection.execute(INSERT, (f"stage-{number}", VALUE)).rowcount
        )

    return write


async def commits(
    path: Path, synchronous: Synchronous, stack: AsyncExitStack, *, entries: int, events: int
) -> Call:
    """Return a call that commits so many entries and events of a run."""
    store = await stack.enter_async_context(SqliteRunStore(path, synchronous=synchronous))
    run_id = UUID(int=1)
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
    stages = [
        ("s0", nothing, StageKind.WORK),
        *((f"s{n}", nothing, StageKind.WORK, (f"s{n - 1}",)) for n in range(1, size)),
    ]
    return built("chain", stages)


def wide(size: int) -> UnifiedStageGraph:
    """Return a pipeline of so many stages that wait for one, and one that waits for all."""
    names = [f"s{n}" for n in range(size - 2)]
    stages = [
        ("first", nothing, StageKind.WORK),
        *((name, nothing, StageKind.WORK, ("first",)) for name in names),
        ("last", nothing, StageKind.WORK, tuple(names)),
    ]
    return built("wide", stages)


def built(name: str, stages: list[tuple[Any, ...]]) -> UnifiedStageGraph:
    """Return the built pipeline of these stages."""
    pipeline = Pipeline(name)
    for stage in stages:
        pipeline = pipeline.with_stage(*stage)
    return pipeline.build()


async def runs(
    path: Path,
    synchronous: Synchronous,
    stack: AsyncExitStack,
    graph: UnifiedStageGraph,
    durability: Durability,
) -> Call:
    """Return a call that runs a pipeline."""
    store = SqliteRunStore(path, synchronous=synchronous)
    runtime = await stack.enter_async_context(Runtime(run_store=store))

    async def run(_number: int) -> None:
        await runtime.run(graph, durability=durability)

    return run


async def measure_resuming(folder: Path, size: int) -> float:
    """Return the seconds from the call until the first missing stage of a run starts."""
    began: list[float] = []
    missing = size // 100

    async def late(_ctx: StageContext) -> None:
        began.append(time.perf_counter())
        if len(began) <= missing:
            raise ValueError("not yet")

    names = [f"s{n}" for n in range(size - missing)]
    stages: list[tuple[str, Any, tuple[str, ...]]] = [(name, nothing, ()) for name in names]
    stages += [(f"late{n}", late, (names[0],)) for n in range(missing)]
    graph = Pipeline("resumed").with_stages(
        UnifiedStageSpec(name=name, runner=runner, kind=StageKind.WORK, dependencies=needs)
        for name, runner, needs in stages
    )
    built_graph = graph.build(on_failure="continue")
    path = folder / f"resume-{size}.sqlite3"
    async with Runtime(run_store=SqliteRunStore(path, synchronous="normal")) as runtime:
        outcome = await runtime.run(built_graph, durability="step", raise_on_error=False)
        gc.collect()
        asked = time.perf_counter()
        known = len(began)
        again = await runtime.resume(outcome.run_id)
    assert len(again.restored) == size - missing
    return began[known] - asked


async def timed(call: Call, first: int, times: int) -> float:
    """Return the seconds that one of so many calls takes, one after the other."""
    gc.collect()
    began = time.perf_counter()
    for number in range(first, first + times):
        await call(number)
    return (time.perf_counter() - began) / times


async def measure_store(folder: Path, synchronous: Synchronous, turns: int) -> list[Figure]:
    """Return what the store alone costs, beside the bare row."""
    inline = Inline(folder / f"inline-{synchronous}.sqlite3", synchronous)
    async with AsyncExitStack() as stack:
        stack.callback(inline.connection.close)

        def path(name: str) -> Path:
            return folder / f"{name}-{synchronous}.sqlite3"

        calls: dict[str, tuple[Call, int]] = {
            "bare row, inline": (inline.write, 20),
            BASELINE: (await bare_through_thread(path("bare"), synchronous, stack), 20),
        }
        for entries, events, times in ((1, 0, 20), (1, 3, 20), (BATCH, 0, 2), (BATCH, BATCH, 2)):
            name = f"commit, {entries} {'entry' if entries == 1 else 'entries'}"
            name += f" + {events} events" if events else ""
            call = await commits(
                path(f"c{entries}-{events}"), synchronous, stack, entries=entries, events=events
            )
            calls[name] = (call, times)
        sizes = dict.fromkeys(calls, 1)
        for name, graph in (("chain", chain(CHAIN)), ("wide graph", wide(WIDE))):
            durabilities: tuple[Durability, ...] = ("none", "step")
            for durability in durabilities:
                call = await runs(
                    path(f"{name}-{durability}"), synchronous, stack, graph, durability
                )
                calls[f"stage of a {name}, {durability}"] = (call, 1)
                sizes[f"stage of a {name}, {durability}"] = len(graph.plan)
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for turn in range(-1, turns):
            for name, (call, times) in calls.items():
                took = await timed(call, (turn + 1) * times, times)
                if turn >= 0:  # the first turn warms up
                    seconds[name].append(took / sizes[name])
    ratios = {
        name: statistics.median(a / b for a, b in zip(took, seconds[BASELINE], strict=True))
        for name, took in seconds.items()
    }
    return [
        Figure(
            name=name,
            synchronous=synchronous,
            microseconds=statistics.median(took) * 1e6,
            ratio=ratios[name],
            at_most=WANTED.get(name),
        )
        for name, took in seconds.items()
    ]


def show(figures: list[Figure]) -> None:
    """Print the figures as a table."""
    print(f"{'':32} {'synchronous':>11} {'us a call':>10} {'ratio':>6}  wanted")
    for figure in figures:
        wanted = "" if figure.at_most is None else f"at most {figure.at_most}"
        print(
            f"{figure.name:32} {figure.synchronous:>11} {figure.microseconds:10.1f}"
            f" {figure.ratio:6.2f}  {wanted}"
        )
        if figure.name.startswith(f"commit, {BATCH}"):
            each = f"  of which each entry of {BATCH}"
            print(
                f"{each:32} {figure.synchronous:>11} {figure.microseconds / BATCH:10.1f}"
                f" {figure.ratio / BATCH:6.2f}"
            )


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=("asyncio", "trio"), default="asyncio")
    parser.add_argument("--turns", type=int, default=25)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        for synchronous in ("full", "normal"):
            figures += anyio.run(
                measure_store, Path(folder), synchronous, given.turns, backend=given.backend
            )
    with tempfile.TemporaryDirectory() as folder:
        resumed = {
            size: anyio.run(measure_resuming, Path(folder), size, backend=given.backend)
            for size in RESUMED
        }
    if given.json:
        print(json.dumps([asdict(figure) for figure in figures], indent=2))
    else:
        show(figures)
        for size, seconds in resumed.items():
            each = seconds / size * 1e6
            print(f"first missing stage of {size:,} resumed: {each:.1f} us a stage of the record")


if __name__ == "__main__":
    main()
