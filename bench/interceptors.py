"""What listeners and interceptors add to a stage, beside raw tasks that do nothing else.

Each workload is run bare, and with one thing after the other switched on, in turns with a
minimal scheduler over raw tasks, in one process. What a thing adds is told in that scheduler's
time per stage: the median, over many turns, of the difference in a turn over the raw time in it.
On a machine that is busy with other things, `--cpu` counts the processor's time instead.

    python bench/interceptors.py [--backend asyncio|trio] [--only NAME ...] [--cpu] [--json]
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio
import attrs
from overhead import Body, Graph, chain, fan, no_op, run_raw, suspend, wide

from stageflow._engine.call import Layer
from stageflow._engine.plan import Node, Plan, compile_plan
from stageflow._engine.run import Run, RunOptions
from stageflow.context import PipelineContext
from stageflow.interceptors import (
    CircuitBreakerInterceptor,
    LoggingInterceptor,
    MetricsInterceptor,
    TimeoutInterceptor,
    TracingInterceptor,
    get_default_interceptors,
)
from stageflow.observability import WideEventEmitter
from stageflow.stages import StageKind

TURNS = 25


class CountingSink:
    """Counts events and does nothing else."""

    def __init__(self) -> None:
        self.events = 0

    async def emit(self, *, type: str, data: dict[str, Any] | None) -> None:
        """Count it."""
        self.events += 1

    def try_emit(self, *, type: str, data: dict[str, Any] | None) -> None:
        """Count it."""
        self.events += 1


@attrs.frozen
class Case:
    """Something that is switched on.

    Attributes:
        name: What it is called.
        beside: The case it is compared with.
        at_most: How much it may add, in raw stages; None if that is only told.
        layers: The interceptors.
        sink: Whether a sink counts events.
        wide: Whether wide events are emitted.
        kind: The stages' kind.
    """

    name: str
    beside: str = "bare"
    at_most: float | None = None
    layers: Callable[[], Sequence[Layer]] = tuple
    sink: bool = False
    wide: bool = False
    kind: StageKind = StageKind.TRANSFORM


CASES = (
    Case("bare", beside="raw"),
    Case("a sink that counts", at_most=0.8, sink=True),
    Case("and wide events", beside="a sink that counts", at_most=1.0, sink=True, wide=True),
    Case("the default interceptors", at_most=2.5, layers=get_default_interceptors),
    Case("a timeout", layers=lambda: [TimeoutInterceptor()]),
    Case("tracing, no provider", layers=lambda: [TracingInterceptor()]),
    Case("metrics", layers=lambda: [MetricsInterceptor()]),
    Case("logging, no handler", layers=lambda: [LoggingInterceptor()]),
    Case("a circuit breaker", layers=lambda: [CircuitBreakerInterceptor()]),
    Case(
        "the default interceptors around work, each done once",
        layers=get_default_interceptors,
        kind=StageKind.WORK,
    ),
)  # fmt: skip


def plan_of(graph: Graph, body: Body, case: Case) -> Plan:
    """Return the plan of *graph* with the interceptors of *case*."""
    return compile_plan(
        [Node(name, body, case.kind, needs) for name, needs in graph.items()],
        layers=case.layers(),
    )


Clock = Callable[[], float]


async def timed(call: Callable[[], Awaitable[None]], clock: Clock) -> float:
    """Return the seconds that one call takes, with the garbage of those before collected."""
    gc.collect()
    began = clock()
    await call()
    return clock() - began


async def measure(graph: Graph, body: Body, clock: Clock) -> list[dict[str, Any]]:
    """Return what each case adds to a stage of *graph*."""
    emitter = WideEventEmitter()
    repeat = max(1, 200 // len(graph))

    def runs(case: Case) -> Callable[[], Awaitable[None]]:
        plan = plan_of(graph, body, case)
        sink = CountingSink() if case.sink else None
        wide_events = emitter if case.wide else None
        options = RunOptions(wide_stage=wide_events, wide_pipeline=wide_events)

        async def many() -> None:
            for number in range(repeat):
                context = PipelineContext(event_sink=sink, data={"idempotency_key": str(number)})
                report = await Run(plan, context, options).execute()
                assert report.status == "completed"

        return many

    async def raw() -> None:
        for _ in range(repeat):
            await run_raw(graph, body)

    calls = {"raw": raw, **{case.name: runs(case) for case in CASES}}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        await call()
    for _ in range(TURNS):
        for name, call in calls.items():
            seconds[name].append(await timed(call, clock))
    per = len(graph) * repeat / 1e6
    rows = []
    for case in CASES:
        ours, base = seconds[case.name], seconds[case.beside]
        added = [
            (one - other) / unit
            for one, other, unit in zip(ours, base, seconds["raw"], strict=True)
        ]
        rows.append(
            {
                "case": case.name,
                "us": statistics.median(ours) / per,
                "raw_us": statistics.median(seconds["raw"]) / per,
                "adds": statistics.median(added),
                "at_most": case.at_most,
            }
        )
    return rows


async def main(only: list[str], clock: Clock, as_json: bool) -> None:
    """Measure and print everything, or the workloads that are named."""
    found: dict[str, list[dict[str, Any]]] = {}
    for shape, graph in (("chain-50", chain(50)), ("fan-200", fan(200)), ("wide-2000", wide(2000))):
        for name, body in ((shape, no_op), (f"{shape} sleep(0)", suspend)):
            if only and not any(part in name for part in only):
                continue
            found[name] = await measure(graph, body, clock)
            if not as_json:
                show(name, found[name])
    if as_json:
        print(json.dumps(found, indent=2))


def show(name: str, rows: list[dict[str, Any]]) -> None:
    """Print the figures of one workload."""
    print(f"{name}: raw {rows[0]['raw_us']:.2f} us/stage")
    for row in rows:
        limit = row["at_most"]
        mark = "" if limit is None else f"  (at most {limit})"
        over = "  OVER" if limit is not None and row["adds"] > limit else ""
        print(f"  {row['us']:8.2f} us/stage, adds {row['adds']:6.2f}x  {row['case']}{mark}{over}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backend", default="asyncio", choices=("asyncio", "trio"))
    parser.add_argument("--only", nargs="*", default=[], help="parts of names of workloads")
    parser.add_argument("--cpu", action="store_true", help="count the processor's time")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    chosen = time.process_time if arguments.cpu else time.perf_counter
    anyio.run(main, arguments.only, chosen, arguments.json, backend=arguments.backend)
