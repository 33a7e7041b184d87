"""Child runs: lineage, depth, lifecycle events, results, and cancellation from above."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import anyio
import pytest

from stageflow import (
    ChildRunTracker,
    MaxDepthExceededError,
    Pipeline,
    PipelineContext,
    PipelineRegistry,
    StageOutput,
    SubpipelineResult,
    SubpipelineSpawner,
    UnifiedPipelineCancelled,
    UnifiedStageExecutionError,
    clear_child_tracker,
    clear_subpipeline_spawner,
    get_child_tracker,
    get_subpipeline_spawner,
    set_subpipeline_spawner,
)
from stageflow.pipeline import (
    DuplicatePipelineError,
    PipelineCanceledEvent,
    PipelineChildCompletedEvent,
    PipelineChildFailedEvent,
    PipelineSpawnedChildEvent,
    UnknownPipelineError,
)
from stageflow.testing import TestClock
from support.golden_events import assert_golden, check_schemas
from support.runs import RememberingSink

pytestmark = pytest.mark.anyio

PARENT, CHILD, CORRELATION, USER = (UUID(int=n) for n in range(1, 5))
START = "2025-01-01T00:00:00+00:00"


@pytest.fixture
def sink() -> RememberingSink:
    return RememberingSink()


@pytest.fixture
def ctx(sink) -> PipelineContext:
    return PipelineContext(pipeline_run_id=PARENT, user_id=USER, event_sink=sink)


@pytest.fixture
def spawner() -> SubpipelineSpawner:
    return SubpipelineSpawner(clock=TestClock(), new_id=lambda: CHILD)


@pytest.fixture(autouse=True)
def _nothing_is_left_behind():
    clear_child_tracker()
    clear_subpipeline_spawner()
    yield
    metrics = get_child_tracker().get_metrics()
    with pytest.raises(StopIteration) as returned:
        metrics.send(None)
    assert returned.value.value["active_children"] == 0
    clear_child_tracker()
    clear_subpipeline_spawner()


async def gives(_child):
    return {"n": 1}


async def breaks(_child):
    raise ValueError("no")


async def hangs(_child):
    await anyio.sleep_forever()


def spawns(spawner: SubpipelineSpawner, runner: Any, results: list | None = None):
    """A stage that spawns one child and keeps the result."""

    async def spawn(stage_ctx):
        result = await spawner.spawn("child", stage_ctx, None, stage_ctx.stage_name, runner)
        if results is not None:
            results.append(result)

    return spawn


# --- spawning -----------------------------------------------------------------------------


async def test_the_runner_is_given_the_forked_context(spawner, ctx):
    ctx.data["greeting"] = "hello"
    ctx.configuration["model"] = "small"
    seen = []
    await spawner.spawn(
        "child", ctx, CORRELATION, "summarise", seen.append, topology="deep", execution_mode="dry"
    )
    [child] = seen
    assert (child.pipeline_run_id, child.parent_run_id) == (CHILD, PARENT)
    assert (child.parent_stage_id, child.correlation_id) == ("summarise", CORRELATION)
    assert (child.topology, child.execution_mode) == ("deep", "dry")
    assert (child.user_id, child.configuration) == (USER, {"model": "small"})
    assert child.is_child_run
    assert child.ancestry == (PARENT,)
    assert (child.data, child.get_parent_data("greeting")) == ({}, "hello")


async def test_a_child_reads_the_snapshot_under_its_own_identity(spawner):
    ctx = PipelineContext.for_run(input_text="hello", user_id=USER)
    seen = []
    await spawner.spawn("child", ctx, None, "s", seen.append, execution_mode="dry")
    snapshot = seen[0].snapshot
    assert (snapshot.input_text, snapshot.user_id) == ("hello", USER)
    assert (snapshot.pipeline_run_id, snapshot.execution_mode) == (CHILD, "dry")


async def test_a_context_without_identity_is_given_one(spawner):
    ctx, seen = PipelineContext(), []
    await spawner.spawn("child", ctx, None, "s", seen.append)
    assert seen[0].parent_run_id == ctx.pipeline_run_id is not None


async def test_a_result_has_the_outputs_of_a_completed_child(spawner, ctx):
    inner = Pipeline("inner").with_stage("a", gives)
    result = await spawner.spawn("inner", ctx, None, "s", inner.run)
    assert (result.success, result.child_run_id, result.error) == (True, CHILD, None)
    assert result.data["a"].data == {"n": 1}
    assert result.duration_ms >= 0
    assert result.to_dict() == {
        "success": True,
        "child_run_id": str(CHILD),
        "data": {"a": {"status": "ok", "data": {"n": 1}, "error": None}},
        "error": None,
        "duration_ms": result.duration_ms,
        "cancelled": False,
    }


async def test_a_result_has_the_error_of_a_failed_child(spawner, ctx):
    inner = Pipeline("inner").with_stage("a", breaks)
    result = await spawner.spawn("inner", ctx, None, "s", inner.run)
    assert (result.success, result.cancelled, result.data) == (False, False, None)
    assert "Stage 'a' failed: ValueError: no" in result.error
    assert isinstance(result.cause, UnifiedStageExecutionError)
    assert isinstance(result.cause.original, ValueError)


@pytest.mark.parametrize(
    ("given", "success", "cancelled", "error"),
    [
        (StageOutput.ok(n=1), True, False, None),
        (StageOutput.fail("no"), False, False, "no"),
        (StageOutput.cancel("enough"), False, True, "enough"),
        ({"n": 1}, True, False, None),
        (7, True, False, None),
    ],
)
async def test_a_runner_may_say_by_an_output_how_the_child_ended(
    spawner, ctx, given, success, cancelled, error
):
    result = await spawner.spawn("child", ctx, None, "s", lambda _child: given)
    assert (result.success, result.cancelled, result.error) == (success, cancelled, error)
    assert result.data == (given.data if isinstance(given, StageOutput) else given)


def test_a_result_can_be_made_by_position():
    assert SubpipelineResult(False, CHILD, None, "no", 1.5).to_dict()["error"] == "no"


# --- lifecycle events -----------------------------------------------------------------------

OF_PARENT = {
    "pipeline_run_id": str(PARENT),
    "request_id": None,
    "execution_mode": None,
    "timestamp": START,
    "parent_run_id": str(PARENT),
    "child_run_id": str(CHILD),
    "pipeline_name": "child",
}
SPAWNED = {**OF_PARENT, "parent_stage_id": "s", "correlation_id": str(CORRELATION)}


def canceled(reason: str, depth: int) -> dict[str, Any]:
    return {
        "pipeline_run_id": str(CHILD),
        "request_id": None,
        "execution_mode": None,
        "timestamp": START,
        "parent_run_id": str(PARENT),
        "reason": reason,
        "cascade_depth": depth,
    }


async def test_the_events_of_a_child_that_completes(spawner, ctx, sink):
    await spawner.spawn("child", ctx, CORRELATION, "s", gives)
    assert_golden(
        sink.events,
        [
            ("pipeline.spawned_child", SPAWNED),
            ("pipeline.child_completed", {**OF_PARENT, "duration_ms": 0.0}),
        ],
    )


async def test_the_events_of_a_child_that_fails(spawner, ctx, sink):
    await spawner.spawn("child", ctx, CORRELATION, "s", breaks)
    assert_golden(
        sink.events,
        [
            ("pipeline.spawned_child", SPAWNED),
            ("pipeline.child_failed", {**OF_PARENT, "error_message": "ValueError: no"}),
        ],
    )


async def test_the_events_of_a_child_that_cancels_itself(spawner, ctx, sink):
    def cancels(_child):
        return StageOutput.cancel("enough")

    await spawner.spawn("child", ctx, CORRELATION, "s", cancels)
    assert_golden(
        sink.events,
        [("pipeline.spawned_child", SPAWNED), ("pipeline.canceled", canceled("enough", 0))],
    )


async def test_the_events_of_a_child_that_is_cancelled_from_above(spawner, ctx, sink):
    async def stops_the_parent(_child):
        ctx.mark_canceled("enough")
        await anyio.sleep_forever()

    await spawner.spawn("child", ctx, CORRELATION, "s", stops_the_parent)
    assert_golden(
        sink.events,
        [("pipeline.spawned_child", SPAWNED), ("pipeline.canceled", canceled("enough", 1))],
    )


async def test_the_topology_is_in_the_events_if_there_is_one(spawner, sink):
    ctx = PipelineContext(topology="fast", event_sink=sink)
    await spawner.spawn("child", ctx, None, "s", gives)
    check_schemas(sink.events)
    assert {data["topology"] for _, data in sink.events} == {"fast"}


async def test_events_can_be_switched_off(ctx, sink):
    await SubpipelineSpawner(emit_events=False).spawn("child", ctx, None, "s", gives)
    assert sink.events == []


def test_the_facts_of_events_are_plain_data():
    assert PipelineSpawnedChildEvent(PARENT, CHILD, "s", "child", CORRELATION).to_dict() == {
        "parent_run_id": str(PARENT),
        "child_run_id": str(CHILD),
        "parent_stage_id": "s",
        "pipeline_name": "child",
        "correlation_id": str(CORRELATION),
    }
    assert PipelineChildCompletedEvent(PARENT, CHILD, "child", 1.5).to_dict() == {
        "parent_run_id": str(PARENT),
        "child_run_id": str(CHILD),
        "pipeline_name": "child",
        "duration_ms": 1.5,
    }
    assert PipelineChildFailedEvent(PARENT, CHILD, "child", "no").to_dict() == {
        "parent_run_id": str(PARENT),
        "child_run_id": str(CHILD),
        "pipeline_name": "child",
        "error_message": "no",
    }
    assert PipelineCanceledEvent(CHILD, None, "enough", 0).to_dict() == {
        "pipeline_run_id": str(CHILD),
        "parent_run_id": None,
        "reason": "enough",
        "cascade_depth": 0,
    }


async def test_a_child_runs_with_events_and_cleanups_of_its_own(sink):
    async def works(stage_ctx):
        stage_ctx.register_cleanup(lambda: sink.try_emit(type="cleaned", data=None))

    inner = Pipeline("inner").with_stage("a", works)
    outer = Pipeline("outer").with_stage("s", spawns(SubpipelineSpawner(), inner.run))
    await outer.run(event_sink=sink)
    assert sink.types() == [
        "pipeline.started",
        "stage.started",
        "pipeline.spawned_child",
        "pipeline.started",
        "stage.started",
        "stage.completed",
        "cleaned",
        "pipeline.completed",
        "pipeline.child_completed",
        "stage.completed",
        "pipeline.completed",
    ]


# --- lineage and depth ----------------------------------------------------------------------


async def test_the_tracker_knows_the_lineage_while_a_child_runs():
    tracker, seen = ChildRunTracker(), []
    spawner = SubpipelineSpawner(tracker)

    async def inner(child):
        seen.append(await tracker.get_ancestors(child.pipeline_run_id))

    async def outer(child):
        await spawner.spawn("inner", child, None, "s", inner)

    ctx = PipelineContext(pipeline_run_id=PARENT)
    await spawner.spawn("outer", ctx, None, "s", outer)
    [[parent, root]] = seen
    assert root == PARENT
    assert parent != PARENT
    assert (await tracker.get_metrics())["active_children"] == 0


def recursing(spawner, levels: list[int]):
    """A runner that spawns itself, until that is refused."""

    async def recurse(child):
        levels.append(len(child.ancestry))
        result = await spawner.spawn("again", child, None, "s", recurse)
        if result.cause is not None:
            raise result.cause

    return recurse


@pytest.mark.parametrize(("given", "deepest"), [({}, 5), ({"max_depth": 2}, 2)])
async def test_the_depth_is_limited_through_the_whole_ancestry(ctx, given, deepest):
    spawner, levels = SubpipelineSpawner(**given), []
    result = await spawner.spawn("again", ctx, None, "s", recursing(spawner, levels))
    assert levels == list(range(1, deepest + 1))
    assert isinstance(result.cause, MaxDepthExceededError)
    assert (result.cause.current_depth, result.cause.max_depth) == (deepest, deepest)


async def test_a_child_that_is_too_deep_is_not_started(ctx, sink):
    started = []
    with pytest.raises(MaxDepthExceededError):
        await SubpipelineSpawner(max_depth=0).spawn("child", ctx, None, "s", started.append)
    assert (started, sink.events) == ([], [])


async def test_the_depth_is_known_to_a_context_that_was_forked_by_hand(ctx):
    child = ctx.fork(uuid4(), "s")
    grandchild = child.fork_for_subpipeline(uuid4(), "t")
    assert grandchild.ancestry == (PARENT, child.pipeline_run_id)
    with pytest.raises(MaxDepthExceededError):
        await SubpipelineSpawner(max_depth=2).spawn("child", grandchild, None, "s", gives)


async def test_the_depth_is_known_to_the_tracker_where_the_context_is_another(ctx):
    tracker, child, grandchild = ChildRunTracker(), uuid4(), uuid4()
    await tracker.register_child(PARENT, child)
    await tracker.register_child(child, grandchild)
    ctx = PipelineContext(pipeline_run_id=grandchild)
    with pytest.raises(MaxDepthExceededError):
        await SubpipelineSpawner(tracker, max_depth=2).spawn("child", ctx, None, "s", gives)


async def test_the_depth_is_known_across_stages_and_spawners():
    levels = []

    async def spawn_again(stage_ctx):
        context = stage_ctx.as_pipeline_context()
        levels.append(len(context.ancestry))
        spawner = SubpipelineSpawner(ChildRunTracker(), max_depth=3)
        result = await spawner.spawn("again", context, None, "s", again().run)
        if result.cause is not None:
            raise result.cause

    def again():
        return Pipeline("again").with_stage("s", spawn_again)

    with pytest.raises(UnifiedStageExecutionError, match="max_depth=3"):
        await again().run()
    assert levels == [0, 1, 2, 3]


# --- cancellation from above ------------------------------------------------------------------


async def slow_end(ended: list[str], name: str, _ctx):
    """A stage that takes a moment to end when it is cancelled."""
    try:
        await anyio.sleep_forever()
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.lowlevel.checkpoint()
        ended.append(name)


def family(ended: list[str]) -> Pipeline:
    """A pipeline whose stage runs a child whose stage runs a grandchild."""
    grandchild = Pipeline("grandchild").with_stage("g", partial(slow_end, ended, "g"))
    child = (
        Pipeline("child")
        .with_stage("c", grandchild.as_stage())
        .with_stage("beside", partial(slow_end, ended, "beside"))
    )
    return Pipeline("parent").with_stage("p", child.as_stage())


def assert_all_ended(sink: RememberingSink, ended: list[str]) -> None:
    check_schemas(sink.events)
    assert sorted(ended) == ["beside", "g"]
    ends = {"pipeline.completed", "pipeline.failed", "pipeline.cancelled"}
    names = [data["pipeline_name"] for name, data in sink.events if name in ends]
    assert names == ["grandchild", "child", "parent"]
    cancelled = [event["pipeline_name"] for event in sink.of("pipeline.cancelled")]
    assert cancelled[:2] == ["grandchild", "child"]
    assert sorted(event["stage"] for event in sink.of("stage.cancelled"))[:3] == [
        "beside",
        "c",
        "g",
    ]
    assert [event["cascade_depth"] for event in sink.of("pipeline.canceled")] == [2, 1]


@pytest.mark.parametrize("from_thread", [False, True])
async def test_cancelling_the_parent_by_its_token_reaches_all_below_at_once(sink, from_thread):
    ended: list[str] = []
    ctx = PipelineContext.for_run(event_sink=sink)

    async def cancel():
        await anyio.wait_all_tasks_blocked()
        if from_thread:
            await anyio.to_thread.run_sync(ctx.mark_canceled, "enough")
        else:
            ctx.mark_canceled("enough")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancel)
        with pytest.raises(UnifiedPipelineCancelled, match="enough"):
            await family(ended).run(ctx)
    assert_all_ended(sink, ended)
    assert {event["reason"] for event in sink.of("pipeline.cancelled")} == {"enough"}
    assert {event["reason"] for event in sink.of("pipeline.canceled")} == {"enough"}


async def test_cancelling_the_caller_from_outside_reaches_all_below(sink):
    ended: list[str] = []
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(family(ended).run, event_sink=sink))
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
    assert_all_ended(sink, ended)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_cancelling_the_asyncio_task_of_the_caller_reaches_all_below(sink):
    ended: list[str] = []
    task = asyncio.create_task(family(ended).run(event_sink=sink))
    await anyio.wait_all_tasks_blocked()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert_all_ended(sink, ended)


async def test_a_failing_sibling_of_the_stage_reaches_all_below(sink):
    ended: list[str] = []

    async def fails_later(_ctx):
        await anyio.wait_all_tasks_blocked()
        raise ValueError("no")

    with pytest.raises(UnifiedStageExecutionError) as raised:
        await family(ended).with_stage("sibling", fails_later).run(event_sink=sink)
    assert raised.value.stage == "sibling"
    assert_all_ended(sink, ended)
    assert sink.types()[-1] == "pipeline.failed"


async def test_a_child_is_told_at_once_by_its_own_context(ctx, spawner):
    seen = []

    async def runner(child):
        child.cancel_token.on_cancel(lambda: seen.append(child.cancel_token.reason))
        ctx.mark_canceled("enough")
        seen.append("back")
        await anyio.sleep_forever()

    result = await spawner.spawn("child", ctx, None, "s", runner)
    assert seen == ["enough", "back"]
    assert (result.success, result.cancelled, result.error) == (False, True, "enough")


async def test_the_context_of_a_child_whose_caller_was_cancelled_says_so(ctx, spawner):
    """A thread that cannot be interrupted has nothing else to look at."""
    seen = []

    async def runner(child):
        seen.append(child)
        scope.cancel()
        await anyio.sleep_forever()

    with anyio.CancelScope() as scope:
        await spawner.spawn("child", ctx, None, "s", runner)
    assert seen[0].is_canceled
    assert not ctx.is_canceled


async def test_a_child_of_a_cancelled_parent_is_not_started(ctx, spawner, sink):
    started = []
    ctx.mark_canceled("enough")
    result = await spawner.spawn("child", ctx, None, "s", started.append)
    assert (started, result.cancelled, result.error) == ([], True, "enough")
    assert sink.types() == ["pipeline.spawned_child", "pipeline.canceled"]


async def test_cancelling_the_child_alone_leaves_the_parent(ctx, spawner, sink):
    inner = Pipeline("inner").with_stage("a", hangs)

    async def runner(child):
        async with anyio.create_task_group() as tasks:

            async def cancel():
                await anyio.wait_all_tasks_blocked()
                child.mark_canceled("not needed")

            tasks.start_soon(cancel)
            try:
                await inner.run(child)
            except UnifiedPipelineCancelled as cancelled:
                reason = cancelled
        raise reason

    result = await spawner.spawn("child", ctx, None, "s", runner)
    assert (result.cancelled, result.error, ctx.is_canceled) == (True, "not needed", False)
    assert sink.of("pipeline.canceled")[0]["cascade_depth"] == 0


async def test_a_stage_with_a_context_of_its_own_making_is_reached_as_well(sink):
    """The context that a stage makes for older code has the run's request to stop."""
    ctx, results = PipelineContext.for_run(event_sink=sink), []
    spawner = SubpipelineSpawner()

    async def spawn(stage_ctx):
        with anyio.CancelScope(shield=True):  # only the token can reach the child here
            made = stage_ctx.as_pipeline_context()
            results.append(await spawner.spawn("child", made, None, "s", hangs))

    async with anyio.create_task_group() as tasks:

        async def cancel():
            await anyio.wait_all_tasks_blocked()
            ctx.mark_canceled("enough")

        tasks.start_soon(cancel)
        with pytest.raises(UnifiedPipelineCancelled):
            await Pipeline("p").with_stage("a", spawn).run(ctx)
    assert [(result.cancelled, result.error) for result in results] == [(True, "enough")]


async def test_what_is_no_ordinary_error_passes_through(ctx, spawner, sink):
    class Stop(BaseException):
        pass

    async def stops(_child):
        raise Stop

    with pytest.raises(Stop):
        await spawner.spawn("child", ctx, None, "s", stops)
    assert sink.types() == ["pipeline.spawned_child", "pipeline.child_failed"]


async def test_a_spawner_does_not_hold_on_to_its_children(ctx, spawner):
    for _ in range(3):
        await spawner.spawn("child", ctx, None, "s", gives)
    told = []
    ctx.cancel_token.on_cancel(lambda: told.append("parent"))
    assert len(ctx.cancel_token._callbacks) == 1


# --- registry and shared spawner --------------------------------------------------------------


def test_pipelines_are_found_by_name():
    registry, pipeline = PipelineRegistry(), Pipeline("a")
    registry.register("summary", pipeline)
    registry.register("summary", pipeline)
    assert registry.get("summary") is pipeline
    assert "summary" in registry
    assert registry.names() == ["summary"]


def test_an_unknown_pipeline_is_an_error_that_names_the_near_matches():
    registry = PipelineRegistry()
    registry.register("summary", Pipeline("a"))
    with pytest.raises(UnknownPipelineError, match="Did you mean 'summary'") as raised:
        registry.get("sumary")
    assert isinstance(raised.value, KeyError)


def test_no_pipeline_is_replaced_silently():
    registry, other = PipelineRegistry(), Pipeline("b")
    registry.register("summary", Pipeline("a"))
    with pytest.raises(DuplicatePipelineError):
        registry.register("summary", other)
    registry.register("summary", other, replace=True)
    assert registry.get("summary") is other


def test_there_is_one_spawner_for_those_who_name_none():
    first = get_subpipeline_spawner()
    assert get_subpipeline_spawner() is first
    assert first.max_depth == 5
    mine = SubpipelineSpawner()
    set_subpipeline_spawner(mine)
    assert get_subpipeline_spawner() is mine
    clear_subpipeline_spawner()
    assert get_subpipeline_spawner() not in (first, mine)
