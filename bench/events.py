"""What it costs to tell a sink of an event, beside the plainest way to do as much.

Each case and its baseline take turns in one process; the figures are medians over many turns,
and a ratio is the median of the ratios of each turn.

    python bench/events.py [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from stageflow.builtin.jsonl_event_sink import JsonlEventSink
from stageflow.builtin.sqlite_event_sink import SqliteEventSink
from stageflow.context import PipelineContext
from stageflow.events import BackpressureAwareEventSink, NoOpEventSink, deliver
from stageflow.observability import WideEventEmitter
from stageflow.stages import StageResult, StageStatus

TURNS = 25
CALLS = 4_000
ROOM = TURNS * CALLS * 2

DATA = {
    "pipeline_run_id": "550e8400-e29b-41d4-a716-446655440000",
    "stage": "llm",
    "kind": "work",
    "attempt": 1,
    "status": "ok",
    "duration_ms": 12.5,
    "data_keys": ["response", "tokens"],
}

Call = Callable[[], object]


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


def time_of(call: Call) -> float:
    """Return the nanoseconds that one of many calls takes."""
    began = time.perf_counter_ns()
    for _ in range(CALLS):
        call()
    return (time.perf_counter_ns() - began) / CALLS


def compare(case: Call, baseline: Call, between: Call) -> dict[str, float]:
    """Return the medians of both, and of their ratio; *between* makes room again."""
    costs: list[tuple[float, float]] = []
    for _ in range(TURNS):
        costs.append((time_of(case), time_of(baseline)))
        between()
    return {
        "ns": statistics.median(cost for cost, _ in costs),
        "baseline_ns": statistics.median(cost for _, cost in costs),
        "ratio": statistics.median(cost / base for cost, base in costs),
    }


async def measure() -> dict[str, dict[str, float]]:
    """Return the figures of every case."""
    found: dict[str, dict[str, float]] = {}
    gc.disable()

    queue: asyncio.Queue[tuple[str, Any]] = asyncio.Queue(maxsize=ROOM)

    def put_and_look_at_the_clock() -> None:
        queue.put_nowait(("stage.completed", DATA))
        time.monotonic()

    # The worker has no turn while this goes on, so nothing but `try_emit` itself is measured.
    async with BackpressureAwareEventSink(NoOpEventSink(), max_queue_size=ROOM) as sink:
        found["try_emit of the sink with a queue / asyncio.Queue.put_nowait + time.monotonic"] = (
            compare(
                lambda: sink.try_emit(type="stage.completed", data=DATA),
                put_and_look_at_the_clock,
                lambda: None,
            )
        )
        await sink.stop(drain=False)

    counting = CountingSink()
    found["deliver to a sink that counts / calling its try_emit"] = compare(
        lambda: deliver(counting, "stage.completed", DATA),
        lambda: counting.try_emit(type="stage.completed", data=DATA),
        lambda: None,
    )

    now = datetime.now(UTC)
    result = StageResult("llm", StageStatus.OK, now, now, {"response": "x", "tokens": 3})
    context, emitter = PipelineContext(pipeline_run_id=uuid4()), WideEventEmitter(counting)
    found["a stage's wide event / a dictionary of its times"] = compare(
        lambda: emitter.emit_stage_wide("llm", result, context),
        lambda: {"started_at": now.isoformat(), "ended_at": now.isoformat()},
        lambda: None,
    )

    kept: deque[str] = deque()
    at = {"type": "stage.completed", "recorded_at": now.isoformat(), "data": DATA}
    with tempfile.TemporaryDirectory() as folder:
        for sink_type in (JsonlEventSink, SqliteEventSink):
            path = Path(folder) / sink_type.__name__
            async with sink_type(path, max_buffer=ROOM) as file_sink:
                found[f"try_emit of {sink_type.__name__} / json.dumps and deque.append"] = compare(
                    lambda file_sink=file_sink: file_sink.try_emit(  # type: ignore[misc]
                        type="stage.completed", data=DATA
                    ),
                    lambda: kept.append(json.dumps(at)),
                    lambda file_sink=file_sink: (kept.clear(), file_sink._writer.flush()),  # type: ignore[misc]
                )
    gc.enable()
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args()
    found = asyncio.run(measure())
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    for name, figures in found.items():
        print(f"{figures['ns']:8.0f} ns {figures['ratio']:6.2f}x  {name}")


if __name__ == "__main__":
    main()
