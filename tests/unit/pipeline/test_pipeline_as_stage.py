"""A pipeline used as a stage of another: what goes in, what comes out, and how it ends."""

from __future__ import annotations

from uuid import UUID

import anyio
import pytest

from stageflow import (
    Pipeline,
    PipelineBuilder,
    PipelineContext,
    PipelineValidationError,
    RetryPolicy,
    StageArtifact,
    StageKind,
    StageOutput,
    StageStatus,
    SubpipelineSpawner,
    SubpipelineStage,
    UnifiedPipelineCancelled,
    UnifiedStageExecutionError,
    UnifiedStageGraph,
    UnifiedStageSpec,
    stage,
)
from stageflow._engine.run import RunOptions
from stageflow.pipeline import AmbiguousOutputError
from stageflow.testing import TestClock
from support.golden_events import check_schemas
from support.runs import RememberingSink

pytestmark = pytest.mark.anyio


@stage
async def words(text: str):
    return text.split()


@stage
async def count(words):
    return {"count": len(words)}


COUNTING = Pipeline("counting").with_stages([words, count])


def gives(**data):
    async def give(_ctx):
        return data

    return give


def reads(*keys):
    async def read(ctx):
        return {key: ctx.inputs.get(key) for key in keys}

    return read


# --- what can be a stage ---------------------------------------------------------------------


@pytest.mark.parametrize("built", [True, False])
@pytest.mark.parametrize("outer", [Pipeline, PipelineBuilder])
async def test_a_pipeline_given_as_the_runner_is_a_stage(built, outer):
    runner = COUNTING.build() if built else COUNTING
    graph = outer("outer").with_stage("c", runner).build()
    assert isinstance(graph.stage_specs[0].runner, SubpipelineStage)
    outputs = await graph.run(PipelineContext(inputs={"text": "a b c"}))
    assert outputs["c"].data == {"count": 3}
    assert "child_run_id" in outputs["c"].metadata


async def test_a_graph_in_a_spec_is_a_stage_of_the_kind_work():
    graph = UnifiedStageGraph([UnifiedStageSpec(name="c", runner=COUNTING.build())])
    assert graph.stage_specs[0].kind is StageKind.WORK
    assert (await graph.run(PipelineContext(inputs={"text": "a"})))["c"].data == {"count": 1}


async def test_a_built_graph_as_a_stage_can_be_told_what_to_take_and_give():
    runner = COUNTING.build().as_stage(inputs={"text": "line"}, outputs={"n": "count"})
    outputs = await Pipeline().with_stage("c", runner).run(inputs={"line": "a b"})
    assert outputs["c"].data == {"n": {"count": 2}}


def test_faults_of_a_pipeline_given_as_the_runner_are_listed_with_all_others():
    inner = Pipeline("inner").with_stage("a", gives(n=1), dependencies=["nowhere"])
    with pytest.raises(PipelineValidationError) as caught:
        Pipeline("p").with_stage("c", inner).with_stage("d", gives(), dependencies=["e"]).build()
    first, second = (fault.summary for fault in caught.value.faults)
    assert first.startswith("In pipeline 'inner', which is stage 'c': ")
    assert "'nowhere'" in first
    assert "'e'" in second


# --- what goes in and what comes out ----------------------------------------------------------


async def test_a_pipeline_is_a_stage_like_any_other():
    pipeline = (
        Pipeline()
        .with_stage("fetch", gives(text="to be or not"))
        .with_stage("counting", COUNTING.as_stage(), dependencies=["fetch"])
        .with_stage("show", reads("count"), dependencies=["counting"])
    )
    outputs = await pipeline.run()
    assert outputs["counting"].data == {"count": 4}
    assert outputs["show"].data == {"count": 4}


@pytest.mark.parametrize("declared", [True, False])
async def test_it_may_be_declared_or_built(declared):
    runner = SubpipelineStage(COUNTING if declared else COUNTING.build())
    outputs = await Pipeline().with_stage("c", runner).run(inputs={"text": "a b"})
    assert outputs["c"].data == {"count": 2}


async def test_a_builder_of_specs_can_be_a_stage_too():
    inner = PipelineBuilder("inner").with_stage("a", gives(n=1))
    outer = PipelineBuilder("outer").with_stage("inner", inner.as_stage())
    assert (await outer.build().run(PipelineContext()))["inner"].data == {"n": 1}


async def test_it_has_the_kind_work_unless_another_is_said():
    made = Pipeline().with_stage("c", COUNTING.as_stage()).stages["c"]
    assert made.kind is StageKind.WORK
    assert SubpipelineStage(COUNTING, kind=StageKind.ENRICH).kind is StageKind.ENRICH


async def test_the_child_takes_run_inputs_before_data_of_dependencies():
    inner = Pipeline("inner").with_stage("a", reads("x", "y", "z"))
    outer = (
        Pipeline()
        .with_stage("one", gives(x=1, y=1))
        .with_stage("two", gives(x=2, y=2, z=2))
        .with_stage("inner", inner.as_stage(), dependencies=["one", "two"])
    )
    outputs = await outer.run(inputs={"x": 0})
    assert outputs["inner"].data == {"x": 0, "y": 1, "z": 2}


async def test_the_child_takes_what_a_dependency_gave_under_its_name():
    @stage
    async def text():
        return "a b c"

    outer = Pipeline().with_stages([text]).with_stage("c", COUNTING.as_stage(), None, ["text"])
    assert (await outer.run())["c"].data == {"count": 3}


async def test_a_child_of_functions_is_not_given_inputs_that_it_does_not_take():
    outer = Pipeline().with_stage("c", COUNTING.as_stage())
    outputs = await outer.run(inputs={"text": "a", "other": 1})
    assert outputs["c"].data == {"count": 1}


async def test_a_missing_input_fails_the_stage_with_the_childs_words():
    with pytest.raises(UnifiedStageExecutionError, match="Run input 'text' is missing"):
        await Pipeline().with_stage("c", COUNTING.as_stage()).run()


@pytest.mark.parametrize(
    "inputs", [{"text": "body"}, lambda ctx: {"text": ctx.inputs.get_from("fetch", "body")}]
)
async def test_inputs_can_be_named_or_made(inputs):
    outer = (
        Pipeline()
        .with_stage("fetch", gives(body="a b", text="wrong one here"))
        .with_stage("c", COUNTING.as_stage(inputs=inputs), dependencies=["fetch"])
    )
    assert (await outer.run())["c"].data == {"count": 2}


async def test_the_data_of_all_last_stages_are_merged():
    inner = (
        Pipeline("inner")
        .with_stage("first", gives(inside=0))
        .with_stage("left", gives(a=1), dependencies=["first"])
        .with_stage("right", gives(b=2), dependencies=["first"])
    )
    outputs = await Pipeline().with_stage("inner", inner.as_stage()).run()
    assert outputs["inner"].data == {"a": 1, "b": 2}


async def test_a_key_that_two_last_stages_give_is_an_error():
    inner = Pipeline("inner").with_stage("left", gives(a=1)).with_stage("right", gives(a=2))
    with pytest.raises(UnifiedStageExecutionError) as raised:
        await Pipeline().with_stage("inner", inner.as_stage()).run()
    error = raised.value.original
    assert isinstance(error, AmbiguousOutputError)
    assert (error.key, error.stages) == ("a", ("left", "right"))


@pytest.mark.parametrize(
    ("outputs", "data"),
    [
        ({"words": "words", "all": "count"}, {"words": ["a", "b"], "all": {"count": 2}}),
        (lambda given: {"status": given["count"].status.value}, {"status": "ok"}),
        (lambda given: given["count"], {"count": 2}),
    ],
)
async def test_outputs_can_be_named_or_made(outputs, data):
    outer = Pipeline().with_stage("c", COUNTING.as_stage(outputs=outputs))
    assert (await outer.run(inputs={"text": "a b"}))["c"].data == data


def test_an_output_of_an_unknown_stage_is_found_when_it_is_declared():
    with pytest.raises(PipelineValidationError) as raised:
        COUNTING.as_stage(outputs={"a": "cuont", "b": "wrods", "c": "count"})
    assert [fault.code for fault in raised.value.faults] == ["CONTRACT-004-OUTPUT"] * 2
    assert "Did you mean 'count'?" in raised.value.faults[0].fix_hint


def test_a_child_that_is_wrong_is_found_when_it_is_declared():
    with pytest.raises(PipelineValidationError, match="nowhere"):
        Pipeline("inner").with_stage("a", gives(), dependencies=["nowhere"]).as_stage()


async def test_a_value_of_a_function_stays_a_value():
    inner = Pipeline("inner").with_stages([words])

    @stage
    async def last(inner):
        return {"first": inner[0]}

    outer = Pipeline().with_stage("inner", inner.as_stage()).with_stages([last])
    assert (await outer.run(inputs={"text": "a b"}))["last"].data == {"first": "a"}


async def test_artifacts_of_the_child_are_kept():
    async def draws(_ctx):
        return StageOutput.ok(artifacts=[StageArtifact("image", {"n": 1})])

    inner = Pipeline("inner").with_stage("a", draws).with_stage("b", gives(), dependencies=["a"])
    outputs = await Pipeline().with_stage("inner", inner.as_stage()).run()
    assert [artifact.type for artifact in outputs["inner"].artifacts] == ["image"]


async def test_a_child_that_skips_its_last_stage_is_skipped():
    async def skips(_ctx):
        return StageOutput.skip("nothing new")

    inner = Pipeline("inner").with_stage("a", skips)
    outer = Pipeline().with_stage("inner", inner.as_stage())
    output = (await outer.run())["inner"]
    assert (output.status, output.data["reason"]) == (StageStatus.SKIP, "nothing new")


# --- how it runs --------------------------------------------------------------------------------


async def test_the_child_knows_where_it_comes_from():
    sink, seen = RememberingSink(), []

    async def looks(ctx):
        seen.append(ctx)

    inner = Pipeline("inner").with_stage("a", looks)
    ctx = PipelineContext.for_run(input_text="hello", event_sink=sink)
    outputs = await Pipeline("outer").with_stage("inner", inner.as_stage()).run(ctx)
    check_schemas(sink.events)
    [spawned] = sink.of("pipeline.spawned_child")
    assert spawned["parent_run_id"] == str(ctx.pipeline_run_id)
    assert (spawned["parent_stage_id"], spawned["pipeline_name"]) == ("inner", "inner")
    assert outputs["inner"].metadata["child_run_id"] == spawned["child_run_id"]
    [child] = seen
    assert child.pipeline_run_id == UUID(spawned["child_run_id"])
    assert child.snapshot.input_text == "hello"
    assert child.as_pipeline_context().parent_run_id == ctx.pipeline_run_id


async def test_the_child_takes_its_time_from_the_run_around_it():
    clock, seen = TestClock(autojump=True), []

    async def looks(ctx):
        seen.append(ctx.timer.now_ms())
        return StageOutput.retry("again") if len(seen) < 3 else StageOutput.ok()

    policy = RetryPolicy(max_attempts=3, base_delay_ms=10_000, jitter="none")
    inner = Pipeline("inner").with_stage("a", looks, retry=policy)
    outer = Pipeline("outer").with_stage("inner", inner.as_stage())
    await outer.build(clock=clock).run(PipelineContext())
    assert seen[2] - seen[0] == pytest.approx(30_000)


async def test_the_child_takes_ids_and_resources_from_the_run_around_it():
    seen, child_id = [], UUID(int=7)

    async def looks(ctx):
        seen.append((ctx.pipeline_run_id, dict(ctx.resources), ctx.config))

    inner = Pipeline("inner").with_stage("a", looks)
    outer = Pipeline("outer").with_stage("inner", inner.as_stage())
    options = RunOptions(new_id=lambda: child_id, resources={"db": 1}, config="settings")
    await outer.build(options=options).run(PipelineContext(pipeline_run_id=UUID(int=1)))
    assert seen == [(child_id, {"db": 1}, "settings")]


async def test_a_child_may_have_a_clock_of_its_own():
    clock, seen = TestClock(), []

    async def looks(ctx):
        seen.append(ctx.started_at)

    inner = Pipeline("inner").with_stage("a", looks)
    await Pipeline().with_stage("inner", inner.as_stage(clock=clock)).run()
    assert seen == [clock.now()]


async def test_one_stage_can_run_many_times_at_once():
    pipeline = Pipeline().with_stage("c", COUNTING.as_stage()).build()
    counted = {}

    async def run(n):
        outputs = await pipeline.run(PipelineContext(inputs={"text": "a " * n}))
        counted[n] = outputs["c"].data["count"]

    async with anyio.create_task_group() as tasks:
        for n in range(10):
            tasks.start_soon(run, n)
    assert counted == {n: n for n in range(10)}


# --- how it ends --------------------------------------------------------------------------------


async def fails(_ctx):
    raise ValueError("no")


async def test_a_failure_carries_the_childs_error_and_outputs():
    inner = Pipeline("inner").with_stage("a", gives(n=1)).with_stage("b", fails, None, ["a"])
    with pytest.raises(UnifiedStageExecutionError) as raised:
        await Pipeline().with_stage("inner", inner.as_stage()).run()
    assert raised.value.stage == "inner"
    of_child = raised.value.original
    assert isinstance(of_child, UnifiedStageExecutionError)
    assert (of_child.stage, of_child.results["a"].data) == ("b", {"n": 1})
    assert isinstance(of_child.original, ValueError)
    assert "Stage 'b' failed: ValueError: no" in str(raised.value)


@pytest.mark.parametrize(("error", "attempts"), [(ConnectionError, 3), (ValueError, 1)])
async def test_a_child_is_run_again_if_that_could_help_against_its_error(error, attempts):
    sink = RememberingSink()

    async def breaks(_ctx):
        raise error("no")

    inner = Pipeline("inner").with_stage("a", breaks)
    policy = RetryPolicy(max_attempts=3, base_delay_ms=1)
    outer = Pipeline().with_stage("inner", inner.as_stage(), retry=policy)
    with pytest.raises(UnifiedStageExecutionError):
        await outer.build(clock=TestClock(autojump=True)).run(PipelineContext(event_sink=sink))
    assert len(sink.of("pipeline.child_failed")) == attempts
    assert len({event["child_run_id"] for event in sink.of("pipeline.child_failed")}) == attempts


async def test_a_child_that_cancels_itself_ends_its_branch_alone():
    async def cancels(_ctx):
        return StageOutput.cancel("enough")

    inner = Pipeline("inner").with_stage("a", cancels)
    outer = (
        Pipeline()
        .with_stage("inner", inner.as_stage())
        .with_stage("after", gives(n=1), dependencies=["inner"])
        .with_stage("beside", gives(n=2))
    )
    outputs = await outer.run()
    assert outputs["inner"].status is outputs["after"].status is StageStatus.CANCEL
    assert outputs["inner"].data["cancel_reason"] == "enough"
    assert outputs["beside"].data == {"n": 2}


async def test_a_child_that_is_told_before_the_run_around_it_ends_that_run_too():
    ctx = PipelineContext()

    async def cancels(_ctx):
        # As it is for a moment when a thread asks: the token says so, the run was not told.
        ctx.cancel_token._reason = "enough"
        return StageOutput.cancel("enough")

    inner = Pipeline("inner").with_stage("a", cancels)
    with pytest.raises(UnifiedPipelineCancelled, match="enough"):
        await Pipeline().with_stage("inner", inner.as_stage()).run(ctx)


async def test_a_child_whose_last_branch_was_cancelled_ends_its_branch_alone():
    async def cancels(_ctx):
        return StageOutput.cancel("enough", scope="branch")

    inner = Pipeline("inner").with_stage("a", cancels).with_stage("b", gives(), None, ["a"])
    outer = Pipeline().with_stage("inner", inner.as_stage()).with_stage("beside", gives(n=2))
    outputs = await outer.run()
    assert outputs["inner"].status is StageStatus.CANCEL
    assert outputs["beside"].status is StageStatus.OK


async def test_a_timeout_of_the_stage_ends_the_child():
    sink, clock = RememberingSink(), TestClock(autojump=True)

    async def hangs(_ctx):
        await anyio.sleep_forever()

    inner = Pipeline("inner").with_stage("a", hangs)
    outer = Pipeline("outer").with_stage("inner", inner.as_stage(), timeout=5.0)
    with pytest.raises(UnifiedStageExecutionError, match="timed out after 5 s"):
        await outer.build(clock=clock).run(PipelineContext(event_sink=sink))
    assert [event["pipeline_name"] for event in sink.of("pipeline.cancelled")] == ["inner"]
    [canceled] = sink.of("pipeline.canceled")
    assert canceled["cascade_depth"] == 1


async def test_cleanups_of_the_child_run_before_the_parent_goes_on(tmp_path):
    done = []

    async def works(ctx):
        ctx.register_cleanup(lambda: done.append("cleaned"))

    async def after(_ctx):
        done.append("after")

    inner = Pipeline("inner").with_stage("a", works)
    outer = Pipeline().with_stage("inner", inner.as_stage()).with_stage("b", after, None, ["inner"])
    await outer.run()
    assert done == ["cleaned", "after"]


async def test_pipelines_nested_too_deeply_fail_with_a_clear_error():
    nested = Pipeline("0").with_stage("s", gives(n=1))
    for level in range(1, 4):
        runner = SubpipelineStage(nested, spawner=SubpipelineSpawner(max_depth=2))
        nested = Pipeline(str(level)).with_stage("s", runner)
    with pytest.raises(UnifiedStageExecutionError, match="cannot start another"):
        await nested.run()


async def test_a_cancelled_run_of_the_parent_leaves_the_child_with_its_outputs_reported():
    sink = RememberingSink()

    async def hangs(_ctx):
        await anyio.sleep_forever()

    inner = Pipeline("inner").with_stage("a", gives(n=1)).with_stage("b", hangs, None, ["a"])
    ctx = PipelineContext(event_sink=sink)
    async with anyio.create_task_group() as tasks:

        async def cancel():
            await anyio.wait_all_tasks_blocked()
            ctx.mark_canceled("enough")

        tasks.start_soon(cancel)
        with pytest.raises(UnifiedPipelineCancelled):
            await Pipeline("outer").with_stage("inner", inner.as_stage()).run(ctx)
    assert [event["stage"] for event in sink.of("stage.completed")] == ["a"]
    assert [event["stage"] for event in sink.of("stage.cancelled")] == ["b", "inner"]
