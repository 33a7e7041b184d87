"""A process that runs or resumes a durable pipeline until somebody kills it.

    python -m support.killed_run STORE RUN_ID SEED LEDGER EVENT_LOOP

STORE names a function and what it is given, such as `support.killed_run:sqlite=runs.sqlite3`.
What each stage does goes into LEDGER, a file to which everybody only ever appends. The variable
`STAGEFLOW_TEST_FAULTS` says where the process is to die. It prints how the run went.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import sys
from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import UUID
from zlib import crc32

import anyio
import anyio.from_thread

from stageflow import (
    GuardRetryPolicy,
    GuardRetryStrategy,
    Pipeline,
    RetryPolicy,
    Runtime,
    StageContext,
    StageOutput,
)
from stageflow.contracts.checkpoints import LeaseHeldError
from stageflow.contracts.run_store import RunStatus
from stageflow.interceptors import TransientError
from stageflow.testing.faults import Faults, FaultyStore

__all__ = ("HELD", "SomeRun", "open_store", "sqlite")

HELD = 3
"""How the process ends that finds the run in other hands."""
AGAIN = RetryPolicy(max_attempts=50, base_delay_ms=1)


def sqlite(path: str) -> AbstractAsyncContextManager[Any]:
    from stageflow.builtin.sqlite_run_store import SqliteRunStore

    return SqliteRunStore(path, synchronous="normal")


def open_store(spec: str) -> AbstractAsyncContextManager[Any]:
    """Return the store that *spec* names, to be entered."""
    where, _, argument = spec.partition("=")
    module, _, function = where.partition(":")
    store: AbstractAsyncContextManager[Any] = getattr(importlib.import_module(module), function)(
        argument
    )
    return store


class SomeRun:
    """A pipeline with some of everything, the same for the same seed.

    Stages in a random graph, among them slow ones, threads and such as fail at first; a guard
    that sends the run back once; a pipeline in the pipeline; a wait and who answers it.
    """

    def __init__(self, run_id: UUID, seed: int, ledger: str, faults: Faults) -> None:
        self.run_id = run_id
        self.seed = seed
        self.faults = faults
        self.runtime: Runtime | None = None
        self._ledger = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, what: str, stage: str) -> None:
        # One write to a file that is open for appending: no line is torn.
        os.write(self._ledger, f"{what} {stage} {os.getpid()}\n".encode())

    def stage(self, name: str, *, slow: bool = False, flaky: bool = False) -> Any:
        async def body(ctx: StageContext) -> dict[str, int]:
            self.note("begin", name)
            await self.faults.reach("stage.begin")
            ctx.register_cleanup(lambda: self.note("clean", name))
            if slow:
                await anyio.sleep(0.002)
            if flaky and ctx.attempt == 1:
                raise TransientError("not yet")
            value = self.value(name, ctx)
            await self.faults.reach("stage.end")
            self.note("end", name)
            return value

        return body

    def thread(self, name: str) -> Any:
        def body(ctx: StageContext) -> dict[str, int]:
            self.note("begin", name)
            anyio.from_thread.run(self.faults.reach, "stage.begin")
            value = self.value(name, ctx)
            self.note("end", name)
            return value

        return body

    def value(self, name: str, ctx: StageContext) -> dict[str, int]:
        """What a stage gives depends on all that stages before it gave."""
        total = crc32(f"{name}/{self.seed}".encode())
        for _, output in sorted(ctx.inputs.prior_outputs.items()):
            total = (total * 31 + sum(v for v in output.data.values() if type(v) is int)) % 2**31
        return {"value": total}

    def build(self) -> Any:
        rng = random.Random(self.seed)  # noqa: S311 - to play with
        pipeline = Pipeline("some")
        names: list[str] = []
        for number in range(rng.randint(6, 14)):
            name = f"s{number}"
            kind = rng.choice(["plain", "plain", "slow", "flaky", "thread"])
            runner = (
                self.thread(name)
                if kind == "thread"
                else self.stage(name, slow=kind == "slow", flaky=kind == "flaky")
            )
            needs = rng.sample(names, min(len(names), rng.randint(0, 3)))
            retry = AGAIN if kind == "flaky" else None
            pipeline = pipeline.with_stage(name, runner, dependencies=needs, retry=retry)
            names.append(name)
        inner = Pipeline("inner").with_stage("i0", self.stage("i0"))
        for number in range(1, 4):
            name = f"i{number}"
            inner = inner.with_stage(name, self.stage(name), dependencies=[f"i{number - 1}"])
        pipeline = (
            pipeline.with_stage("inner", inner.as_stage(), dependencies=names[:2])
            .with_stage("draft", self.stage("draft"), dependencies=names[2:4])
            .with_stage("polish", self.stage("polish"), dependencies=["draft"])
            .with_stage("guard", self.guard, dependencies=["polish"])
            .with_stage("tells", self.tells, dependencies=names[:1])
            .with_stage("waits", self.waits, dependencies=names[1:2])
            .with_stage(
                "last",
                self.stage("last"),
                dependencies=[*names, "inner", "draft", "guard", "tells", "waits"],
            )
        )
        policy = GuardRetryPolicy("draft", max_attempts=100, stagnation_limit=1000)
        strategy = GuardRetryStrategy({"guard": policy})
        return pipeline.build(guard_retry_strategy=strategy)

    async def guard(self, ctx: StageContext) -> StageOutput | dict[str, int]:
        self.note("begin", "guard")
        if "#" not in ctx.execution_key:
            return StageOutput.fail("not good enough")
        self.note("end", "guard")
        return self.value("guard", ctx)

    async def tells(self, ctx: StageContext) -> dict[str, int]:
        self.note("begin", "tells")
        assert self.runtime is not None
        await self.runtime.signal(self.run_id, "word", 5, signal_id="once", resume=False)
        self.note("end", "tells")
        return self.value("tells", ctx)

    async def waits(self, ctx: StageContext) -> dict[str, int]:
        self.note("begin", "waits")
        word = await ctx.wait_for("word")
        self.note("end", "waits")
        return {"value": self.value("waits", ctx)["value"] + word}

    async def go(self, store: Any) -> dict[str, Any]:
        """Run it, or go on with it; return what its stages gave."""
        async with Runtime(run_store=store, durability="step") as runtime:
            self.runtime = runtime
            record = await store.get_run(self.run_id)
            graph = self.build()
            if record is not None and record.status is RunStatus.CREATED:
                # It was created, and its process died before it began.
                await store.delete_run(self.run_id)
                record = None
            if record is None:
                outcome = await runtime.run(graph, run_id=self.run_id)
            else:
                outcome = await runtime.resume(self.run_id, graph)
            return {
                "status": outcome.status,
                "restored": len(outcome.restored),
                "outputs": {n: dict(out.data) for n, out in outcome.outputs.items()},
                "points": self.faults.reached,
            }


async def main(*given: str) -> int:
    spec, run_id, seed, ledger = given
    faults = Faults.from_environment()
    async with open_store(spec) as store:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        some = SomeRun(UUID(run_id), int(seed), ledger, faults)
        try:
            told = await some.go(FaultyStore(store, faults))
        except LeaseHeldError:
            return HELD
    sys.stdout.write(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(anyio.run(main, *sys.argv[1:5], backend=sys.argv[5]))
