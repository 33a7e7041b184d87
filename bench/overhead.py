"""What the engine costs per stage, beside hand-written schedulers that do nothing else.

Every workload is run by three schedulers in turns, in one process: Stageflow's engine with no
listener and no store, a minimal one over raw tasks, and a minimal one over one anyio task group.
The figures are medians over many turns; the ratio is the median of the ratios of each turn.

    python bench/overhead.py [--backend asyncio|trio] [--only NAME ...] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio
import anyio.lowlevel

from stageflow._engine.plan import Node, Plan, compile_plan
from stageflow._engine.run import Run
from stageflow.context import PipelineContext

Body = Callable[[object], Awaitable[object]]
Graph = dict[str, tuple[str, ...]]


async def no_op(_ctx: object) -> None:
    """Do nothing."""


async def suspend(_ctx: object) -> None:
    """Let everybody else go first."""
    await anyio.lowlevel.checkpoint()


async def wait_1_ms(_ctx: object) -> None:
    """Wait for a millisecond."""
    await anyio.sleep(0.001)


async def wait_10_ms(_ctx: object) -> None:
    """Wait for ten milliseconds."""
    await anyio.sleep(0.01)


def chain(size: int) -> Graph:
    """Return stages one after the other."""
    return {f"s{i}": (f"s{i - 1}",) if i else () for i in range(size)}


def wide(size: int) -> Graph:
    """Return stages that wait for nobody."""
    return {f"s{i}": () for i in range(size)}


def fan(size: int) -> Graph:
    """Return one stage, *size* that wait for it, and one that waits for them all."""
    middle = tuple(f"m{i}" for i in range(size))
    return {"first": (), **dict.fromkeys(middle, ("first",)), "last": middle}


def layered(layers: int, width: int) -> Graph:
    """Return layers in which each stage waits for the whole layer before."""
    graph: Graph = {}
    before: tuple[str, ...] = ()
    for layer in range(layers):
        names = tuple(f"l{layer}.{i}" for i in range(width))
        graph.update(dict.fromkeys(names, before))
        before = names
    return graph


@dataclass(frozen=True)
class Workload:
    """A graph whose stages all do the same, and what is asked of the engine there."""

    name: str
    graph: Graph
    body: Body
    at_most: float | None


SHAPES: tuple[tuple[str, Graph, float, float, float], ...] = (
    ("chain-50", chain(50), 1.1, 1.1, 1.6),
    ("chain-500", chain(500), 1.1, 1.1, 1.6),
    ("fan-200", fan(200), 1.2, 1.7, 1.6),
    ("wide-2000", wide(2000), 1.1, 1.3, 1.6),
    ("layered-10x20", layered(10, 20), 1.4, 2.0, 1.6),
)


def workloads() -> list[Workload]:
    """Return everything that is measured, in order."""
    found = [Workload(name, graph, no_op, limit) for name, graph, limit, _, _ in SHAPES]
    found.append(Workload("diamond-3", fan(3), no_op, 3.0))
    found += [
        Workload(f"{name} sleep(0)", graph, suspend, limit) for name, graph, _, limit, _ in SHAPES
    ]
    found += [
        Workload(f"{name} 1 ms", graph, wait_1_ms, limit) for name, graph, _, _, limit in SHAPES
    ]
    return found


async def run_raw(graph: Graph, body: Body) -> None:
    """Run *graph* with a task per stage, started by whoever finishes its last dependency."""
    if asyncio_runs():
        await _run_raw_asyncio(graph, body)
    else:
        await run_in_group(graph, body)


async def _run_raw_asyncio(graph: Graph, body: Body) -> None:
    loop = asyncio.get_running_loop()
    waiting = {name: len(needs) for name, needs in graph.items()}
    followers: dict[str, list[str]] = {name: [] for name in graph}
    for name, needs in graph.items():
        for need in needs:
            followers[need].append(name)
    results: dict[str, object] = {}
    tasks: list[asyncio.Task[None]] = []
    done = loop.create_future()
    left = len(graph)

    async def run_stage(name: str) -> None:
        nonlocal left
        results[name] = await body(None)
        left -= 1
        for follower in followers[name]:
            waiting[follower] -= 1
            if not waiting[follower]:
                tasks.append(loop.create_task(run_stage(follower)))
        if not left:
            done.set_result(None)

    for name, needs in graph.items():
        if not needs:
            tasks.append(loop.create_task(run_stage(name)))
    await done


async def run_in_group(graph: Graph, body: Body) -> None:
    """Run *graph* with a child of one anyio task group (on trio, of one nursery) per stage."""
    waiting = {name: len(needs) for name, needs in graph.items()}
    followers: dict[str, list[str]] = {name: [] for name in graph}
    for name, needs in graph.items():
        for need in needs:
            followers[need].append(name)
    results: dict[str, object] = {}

    async def run_stage(name: str, start: Callable[..., object]) -> None:
        results[name] = await body(None)
        for follower in followers[name]:
            waiting[follower] -= 1
            if not waiting[follower]:
                start(run_stage, follower, start)

    if asyncio_runs():
        async with anyio.create_task_group() as group:
            for name, needs in graph.items():
                if not needs:
                    group.start_soon(run_stage, name, group.start_soon)
    else:
        import trio

        async with trio.open_nursery() as nursery:
            for name, needs in graph.items():
                if not needs:
                    nursery.start_soon(run_stage, name, nursery.start_soon)


async def run_engine(plan: Plan) -> None:
    """Run *plan* as a user would, with a new context, no listener and no store."""
    report = await Run(plan, PipelineContext(event_sink=None)).execute()
    assert report.status == "completed"


def plan_of(graph: Graph, body: Body) -> Plan:
    """Return the plan of *graph*."""
    return compile_plan([Node(name, body, dependencies=needs) for name, needs in graph.items()])


def asyncio_runs() -> bool:
    """Say whether asyncio is what runs us."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def timed(call: Callable[[], Awaitable[None]]) -> float:
    """Return the seconds that one call takes, with the garbage of those before collected."""
    gc.collect()
    began = time.perf_counter()
    await call()
    return time.perf_counter() - began


async def measure(workload: Workload) -> dict[str, object]:
    """Return what one workload costs each scheduler."""
    plan = plan_of(workload.graph, workload.body)
    size = len(workload.graph)
    slow = workload.body in (wait_1_ms, wait_10_ms)
    repeat = max(1, 200 // size)
    turns = 7 if slow else 25

    def times(one: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        async def many() -> None:
            for _ in range(1 if slow else repeat):
                await one()

        return many

    calls = {
        "engine": times(lambda: run_engine(plan)),
        "raw": times(lambda: run_raw(workload.graph, workload.body)),
        "group": times(lambda: run_in_group(workload.graph, workload.body)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        await call()
    for _ in range(turns):
        for name, call in calls.items():
            seconds[name].append(await timed(call))
    per = size * (1 if slow else repeat) / 1e6
    ratio = statistics.median(
        ours / raw for ours, raw in zip(seconds["engine"], seconds["raw"], strict=True)
    )
    return {
        "name": workload.name,
        **{f"{name}_us": statistics.median(found) / per for name, found in seconds.items()},
        "ratio": ratio,
        "at_most": workload.at_most,
    }


async def measure_io() -> dict[str, object]:
    """Return the latency that the engine adds to a hundred waits of 10 ms, beside raw tasks."""
    graph = wide(100)
    plan = plan_of(graph, wait_10_ms)
    added: dict[str, list[float]] = {"engine": [], "raw": [], "group": []}
    for _ in range(15):
        added["group"].append(await timed(lambda: run_in_group(graph, wait_10_ms)) - 0.01)
        added["raw"].append(await timed(lambda: run_raw(graph, wait_10_ms)) - 0.01)
        added["engine"].append(await timed(lambda: run_engine(plan)) - 0.01)
    engine, raw, group = (statistics.median(added[name]) for name in ("engine", "raw", "group"))
    return {
        "name": "io-100 added latency",
        "engine_us": engine * 1e6 / 100,
        "raw_us": raw * 1e6 / 100,
        "group_us": group * 1e6 / 100,
        "ratio": engine / raw,
        "at_most": 2.2,
    }


def measure_build() -> list[dict[str, object]]:
    """Return what building a plan costs beside building the same dictionary of sets."""
    rows: list[dict[str, object]] = []
    for name, graph in (
        ("chain-50", chain(50)),
        ("layered-10x20", layered(10, 20)),
        ("wide-2000", wide(2000)),
        ("chain-100000", chain(100_000)),
    ):
        nodes = [Node(stage, no_op, dependencies=needs) for stage, needs in graph.items()]
        repeat = max(1, 2000 // len(nodes))
        ratios, ours_all, sets_all = [], [], []
        for _ in range(5 if len(nodes) > 10_000 else 25):
            began = time.perf_counter()
            for _ in range(repeat):
                compile_plan(nodes)
            ours = time.perf_counter() - began
            began = time.perf_counter()
            for _ in range(repeat):
                {node.name: set(node.dependencies) for node in nodes}
            sets = time.perf_counter() - began
            ratios.append(ours / sets)
            ours_all.append(ours)
            sets_all.append(sets)
        per = len(nodes) * repeat / 1e6
        rows.append(
            {
                "name": f"build {name}",
                "engine_us": statistics.median(ours_all) / per,
                "raw_us": statistics.median(sets_all) / per,
                "group_us": float("nan"),
                "ratio": statistics.median(ratios),
                "at_most": 5.0,
            }
        )
    return rows


async def measure_flatness() -> dict[str, object]:
    """Return the cost per stage of long chains, in ratios to a chain of 50."""
    sizes = (50, 500, 5_000, 100_000)
    plans = {size: plan_of(chain(size), no_op) for size in sizes}
    costs: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(9):
        for size, plan in plans.items():
            repeat = max(1, 1000 // size)

            async def many(plan: Plan = plan, repeat: int = repeat) -> None:
                for _ in range(repeat):
                    await run_engine(plan)

            costs[size].append(await timed(many) / size / repeat)
    base = statistics.median(costs[50])
    return {str(size): statistics.median(found) / base for size, found in costs.items()}


async def measure_memory() -> dict[str, float]:
    """Return the bytes per stage of a plan, of a run before it starts, and of one suspended."""
    size = 20_000
    graph = wide(size)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    plan = plan_of(graph, wait_10_ms)
    built = tracemalloc.get_traced_memory()[0]
    run = Run(plan, PipelineContext(event_sink=None))
    pending = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    await run.execute()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {
        "plan": (built - before) / size,
        "pending": (pending - built) / size,
        "suspended": (peak - pending) / size,
    }


def measure_import() -> dict[str, float]:
    """Return the seconds of importing the package, and of what it rests on, in fresh processes."""
    code = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"
    found: dict[str, list[float]] = {"stageflow": [], "base": []}
    for _ in range(7):
        for name, statement in (
            ("stageflow", "import stageflow"),
            ("base", "import anyio, attrs, structlog"),
        ):
            out = subprocess.run(
                [sys.executable, "-c", code.format(statement)],
                capture_output=True,
                text=True,
                check=True,
            )
            found[name].append(float(out.stdout))
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def show(row: dict[str, object]) -> None:
    """Print one row of the table."""
    limit = row["at_most"]
    ratio = float(str(row["ratio"]))
    mark = (
        ""
        if limit is None
        else f"  (at most {limit})" + ("" if ratio <= float(str(limit)) else "  OVER")
    )
    print(
        f"{row['name']!s:24} engine {row['engine_us']:7.2f}  raw {row['raw_us']:7.2f}"
        f"  group {row['group_us']:7.2f} us/stage   ratio {ratio:5.2f}{mark}"
    )


async def main(only: list[str], as_json: bool) -> None:
    """Measure and print everything, or what is named."""
    rows = []
    for workload in workloads():
        if only and not any(part in workload.name for part in only):
            continue
        row = await measure(workload)
        rows.append(row)
        if not as_json:
            show(row)
    if not only:
        rows.append(await measure_io())
        rows += measure_build()
        if not as_json:
            for row in rows[-5:]:
                show(row)
            print("cost per stage of a chain, to chain-50:", await measure_flatness())
            print("bytes per stage:", await measure_memory())
            seconds = measure_import()
            print(
                f"import stageflow {seconds['stageflow'] * 1e3:.1f} ms, anyio + attrs + structlog"
                f" {seconds['base'] * 1e3:.1f} ms: {seconds['stageflow'] / seconds['base']:.2f}"
            )
    if as_json:
        print(json.dumps(rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backend", default="asyncio", choices=("asyncio", "trio"))
    parser.add_argument("--only", nargs="*", default=[], help="parts of names of workloads")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    anyio.run(main, arguments.only, arguments.json, backend=arguments.backend)
