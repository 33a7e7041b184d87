"""Holding a run between its stages, and limiting how long it may take."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import anyio.to_thread
import pytest

from stageflow._engine.pausing import PauseGate
from stageflow._engine.run import RunOptions
from stageflow.context import PipelineContext
from stageflow.stages import StageStatus
from stageflow.testing import TestClock
from support.runs import RememberingSink, node, run_nodes

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("from_thread", [False, True])
async def test_a_gate_lets_everybody_through_once_it_is_open(from_thread: bool) -> None:
    gate, through = PauseGate(), []
    gate.close()

    async def come(number: int) -> None:
        await gate.wait()
        through.append(number)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(come, number)
            await anyio.wait_all_tasks_blocked()
            assert through == []
            if from_thread:
                await anyio.to_thread.run_sync(gate.open)
            else:
                gate.open()
    assert sorted(through) == [0, 1, 2]
    await gate.wait()
    assert gate._waiting == []


async def test_a_gate_that_is_closed_again_at_once_holds() -> None:
    gate = PauseGate()
    gate.close()
    with anyio.move_on_after(5) as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gate.wait)
            await anyio.wait_all_tasks_blocked()
            gate.open()
            gate.close()
            await anyio.wait_all_tasks_blocked()
            assert gate.is_closed
            tasks.cancel_scope.cancel()
    assert not scope.cancelled_caught
    assert gate._waiting == []


async def test_a_held_run_of_many_stages_runs_them_all_afterwards() -> None:
    gate, sink = PauseGate(), RememberingSink()
    ran: list[str] = []

    async def stage(ctx: Any) -> None:
        ran.append(ctx.stage_name)
        if len(ran) == 10:
            gate.close()
        await anyio.lowlevel.checkpoint()

    stages = [node(f"s{n}", stage, *([f"s{n - 1}"] if n % 3 else [])) for n in range(60)]

    async def open_later() -> None:
        while not gate.is_closed:
            await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()
        held.append(len(ran))
        gate.open()

    held: list[int] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(open_later)
        report = await run_nodes(stages, sink=sink, options=RunOptions(pause_gate=gate))
    assert report.status == "completed"
    assert held == [10]
    assert len(sink.of("stage.completed")) == 60


async def test_a_run_that_takes_too_long_is_cancelled_with_the_reason() -> None:
    clock, sink = TestClock(autojump=True), RememberingSink()

    async def long(ctx: Any) -> None:
        await clock.sleep(60)

    options = RunOptions(clock=clock, timeout=5.0)
    context = PipelineContext(event_sink=sink)
    report = await run_nodes(
        [node("a", long), node("b", long, "a")], context=context, options=options
    )
    assert (report.status, report.timed_out) == ("cancelled", True)
    assert report.reason == "the run took longer than 5 s"
    assert report.duration_ms == 5000.0
    assert {output.status for output in report.outputs.values()} == {StageStatus.CANCEL}
    assert sink.types()[-1] == "pipeline.cancelled"
    assert not context.is_canceled, "a limit of this run says nothing about those around it"


async def test_a_run_within_its_time_does_not_wait_for_its_limit() -> None:
    clock = TestClock(autojump=True)

    async def short(ctx: Any) -> None:
        await clock.sleep(1)

    report = await run_nodes([node("a", short)], options=RunOptions(clock=clock, timeout=50.0))
    assert (report.status, report.timed_out) == ("completed", False)
    assert clock.monotonic() == 1


@pytest.mark.parametrize("ends", [True, False])
async def test_a_thread_is_waited_for_as_long_as_the_grace(ends: bool) -> None:
    clock = TestClock()
    began, release = threading.Event(), threading.Event()
    context = PipelineContext(event_sink=None)

    def blocks(ctx: Any) -> None:
        began.set()
        release.wait(10)

    async def cancel() -> None:
        await anyio.to_thread.run_sync(began.wait, 10)
        context.mark_canceled()
        while not clock.sleeping:
            await anyio.lowlevel.checkpoint()
        if ends:
            release.set()
        else:
            clock.tick(3)

    try:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(cancel)
                report = await run_nodes(
                    [node("a", blocks)],
                    context=context,
                    options=RunOptions(clock=clock, thread_grace=3.0),
                )
    finally:
        release.set()
    assert report.status == "cancelled"
    assert report.results()["a"].metadata.get("thread_abandoned", False) is not ends


@pytest.mark.parametrize("why", ["asked", "no time left", "another failed"])
async def test_a_stage_can_see_that_its_run_does_not_go_on(why: str) -> None:
    clock = TestClock(autojump=True)
    context = PipelineContext(event_sink=None)
    seen: list[bool] = []

    async def looks(ctx: Any) -> None:
        seen.append(ctx.is_cancelled)
        try:
            await anyio.sleep_forever()
        finally:
            seen.append(ctx.is_cancelled)

    async def ends_it(ctx: Any) -> None:
        await clock.sleep(3)
        if why == "asked":
            context.mark_canceled()
        if why == "another failed":
            raise RuntimeError("no")
        await clock.sleep(60)

    report = await run_nodes(
        [node("looks", looks), node("ends it", ends_it)],
        context=context,
        options=RunOptions(clock=clock, timeout=5.0 if why == "no time left" else None),
    )
    assert report.status == ("failed" if why == "another failed" else "cancelled")
    assert seen == [False, True]


async def test_whoever_was_given_up_can_see_that_its_run_is_over() -> None:
    contexts: list[Any] = []

    async def short(ctx: Any) -> None:
        contexts.append(ctx)
        assert not ctx.is_cancelled

    report = await run_nodes([node("a", short)])
    assert report.status == "completed"
    assert contexts[0].is_cancelled
