"""A run of which nothing but its end is missing goes on to that, whatever limits it has."""

from __future__ import annotations

from uuid import UUID

import anyio
import attrs
import pytest

from stageflow import Pipeline, StageKind
from stageflow.builtin.memory_run_store import MemoryRunStore
from stageflow.contracts.storage import StorageFullError
from stageflow.events.schemas import EVENTS
from stageflow.runtime import Runtime
from stageflow.testing import TestClock
from stageflow.testing.faults import Faults, FaultyStore
from support.runs import RememberingSink

pytestmark = pytest.mark.anyio


async def test_a_time_limit_keeps_nobody_waiting_where_every_stage_is_restored():
    ran = []

    async def only(ctx):
        ran.append(ctx.stage_name)

    graph = Pipeline("p").with_stage("only", only, StageKind.WORK).build()
    graph._options = attrs.evolve(graph.options, timeout=3600.0)
    store = MemoryRunStore()
    faults = Faults("commit.before#3=fail:full")
    async with Runtime(run_store=FaultyStore(store, faults), pipelines=[graph]) as runtime:
        with pytest.raises(StorageFullError):
            await runtime.run(graph, durability="step")
        assert not faults.pending
        [record] = await store.list_runs()
        with anyio.fail_after(20):
            outcome = await runtime.resume(record.run_id)

    assert (outcome.status, outcome.restored, ran) == ("completed", ("only",), ["only"])


async def test_a_run_that_leaves_to_wait_is_summed_up_once_when_it_ends():
    sink = RememberingSink()

    async def asks(ctx):
        return {"answer": await ctx.wait_for("go")}

    graph = Pipeline("p").with_stage("asks", asks, StageKind.WORK)
    built = graph.build(emit_pipeline_wide_event=True)
    async with Runtime(run_store=MemoryRunStore(), event_sink=sink) as runtime:
        left = await runtime.run(built, park=True)
        assert (left.status, sink.of("pipeline.wide")) == ("waiting", [])

        await runtime.signal(left.run_id, "go", 1)

    assert [wide["status"] for wide in sink.of("pipeline.wide")] == ["OK"]


async def test_the_log_of_a_run_that_nobody_runs_ends_with_its_cancellation():
    async def works(ctx):
        return {"n": 1}

    async def asks(ctx):
        await ctx.wait_for("go")

    graph = Pipeline("p").with_stage("works", works, StageKind.WORK)
    graph = graph.with_stage("asks", asks, StageKind.WORK, dependencies=("works",))
    user = UUID(int=7)
    store = MemoryRunStore()
    async with Runtime(run_store=store) as runtime:
        left = await runtime.run(graph, park=True, user_id=user)

        assert await runtime.cancel(left.run_id, "nobody answers")

        assert (await store.get_run(left.run_id)).status == "cancelled"
        last = (await store.read_events(left.run_id))[-1]
    assert last.type == "pipeline.cancelled"
    assert EVENTS.faults(last.type, last.data) == ()
    told = {key: last.data[key] for key in ("reason", "user_id", "pipeline_name", "stage_counts")}
    assert told == {
        "reason": "nobody answers",
        "user_id": str(user),
        "pipeline_name": "p",
        "stage_counts": {"ok": 1, "skip": 0, "cancel": 0, "fail": 0},
    }


async def test_a_lease_that_is_given_back_while_it_is_looked_after_is_not_lost():
    clock = TestClock()

    async def asks(ctx):
        await ctx.wait_for("go")

    async def renew_meanwhile(_point: str) -> None:
        # The run is parked, and nobody here was told so yet: its owner looks after the lease.
        await clock.advance(60.0)
        await anyio.wait_all_tasks_blocked()

    faults = Faults("park_run.after=call", call=renew_meanwhile)
    store = FaultyStore(MemoryRunStore(clock=clock), faults)
    graph = Pipeline("p").with_stage("asks", asks, StageKind.WORK)
    async with Runtime(run_store=store, clock=clock) as runtime:
        left = await runtime.run(graph, park=True)

    assert (left.status, faults.pending) == ("waiting", ())
