"""Pipelines and graphs as users hold them: declared, shared, built, run."""

from __future__ import annotations

import sys
from typing import Any
from uuid import UUID

import anyio
import attrs
import pytest

from stageflow import (
    ContextSnapshot,
    Pipeline,
    PipelineContext,
    PipelineTimer,
    PipelineValidationError,
    RunIdentity,
    StageKind,
    StageOutput,
    UnifiedPipelineCancelled,
    UnifiedStageExecutionError,
    UnifiedStageGraph,
    UnifiedStageSpec,
    create_stage_context,
    create_stage_inputs,
    stage,
)
from stageflow._engine.run import RunOptions
from stageflow.interceptors import BaseInterceptor
from stageflow.testing import TestClock
from support.runs import RememberingSink

pytestmark = pytest.mark.anyio

WORK = StageKind.WORK


async def no_op(ctx: Any) -> None: ...


class Guard:
    name = "guard"
    kind = StageKind.GUARD

    async def execute(self, ctx: Any) -> dict[str, bool]:
        return {"passed": True}


class TestDeclaration:
    def test_each_step_is_a_pipeline_of_its_own(self) -> None:
        base = Pipeline("base").with_stage("a", no_op, WORK)
        left, right = base.with_stage("b", no_op, WORK), base.with_stage("c", no_op, WORK)
        assert [list(each.stages) for each in (base, left, right)] == [
            ["a"],
            ["a", "b"],
            ["a", "c"],
        ]
        base.build()
        longer = base.with_stage("d", no_op, WORK)
        assert list(longer.stages) == ["a", "d"]
        assert list(base.stages) == ["a"]

    def test_a_chain_of_twenty_thousand_steps_costs_its_length(self) -> None:
        """Lines executed per step: no more at the end of a long chain than of a short one."""
        assert _lines_per_step(4_000) <= _lines_per_step(40) + 1

    def test_a_long_chain_needs_no_recursion_neither_to_build_nor_to_go_away(self) -> None:
        pipeline = Pipeline()
        for number in range(20_000):
            needs = [f"s{number - 1}"] if number else []
            pipeline = pipeline.with_stage(f"s{number}", no_op, WORK, needs)
        unbuilt = pipeline.with_stage("last", no_op, WORK)
        assert len(pipeline.build().stage_specs) == 20_000
        del pipeline
        assert len(unbuilt.stages) == 20_001
        del unbuilt

    def test_the_kind_is_the_runners_own_unless_given(self) -> None:
        pipeline = (
            Pipeline()
            .with_stage("class", Guard)
            .with_stage("instance", Guard())
            .with_stage("given", Guard, "route")
            .with_stage("plain", no_op)
        )
        kinds = {spec.name: spec.kind for spec in pipeline.build().stage_specs}
        assert kinds == {
            "class": StageKind.GUARD,
            "instance": StageKind.GUARD,
            "given": StageKind.ROUTE,
            "plain": StageKind.TRANSFORM,
        }

    @pytest.mark.parametrize("dependencies", ["first", ["first"], ("first",), {"first"}, None])
    def test_dependencies_may_be_given_in_any_way(self, dependencies: Any) -> None:
        pipeline = Pipeline().with_stage("first", no_op).with_stage("a", no_op, WORK, dependencies)
        [_, spec] = pipeline.build().stage_specs
        assert tuple(spec.dependencies) == (("first",) if dependencies else ())

    def test_it_says_what_it_is(self) -> None:
        assert repr(Pipeline("audit").with_stage("a", no_op)) == "<Pipeline 'audit': 1 stages>"

    def test_composing_joins_and_refuses_what_differs(self) -> None:
        left = Pipeline("left").with_stage("a", no_op, WORK).with_stage("b", no_op, WORK)
        right = Pipeline("right").with_stage("b", no_op, WORK).with_stage("c", no_op, WORK, ["a"])
        both = left.compose(right)
        assert both.name == "left+right"
        assert list(both.build().plan.names) == ["a", "b", "c"]
        other = Pipeline("other").with_stage("a", Guard).with_stage("b", no_op, WORK, ["a"])
        with pytest.raises(PipelineValidationError) as caught:
            left.compose(other)
        assert [fault.context["stage"] for fault in caught.value.faults] == ["a", "b"]
        assert {fault.code for fault in caught.value.faults} == {"CONTRACT-004-CONFLICT"}

    def test_composing_hides_no_name_that_was_given_twice(self) -> None:
        twice = Pipeline("l").with_stage("a", no_op, WORK).with_stage("a", Guard)
        with pytest.raises(PipelineValidationError, match="2 stages are called 'a'"):
            twice.compose(Pipeline("r").with_stage("b", no_op, WORK)).build()


def _lines_per_step(steps: int) -> float:
    lines = 0

    def count(frame: Any, event: str, arg: Any) -> Any:
        nonlocal lines
        lines += event == "line" and "stageflow" in frame.f_code.co_filename
        return count

    pipeline = Pipeline()
    sys.settrace(count)
    try:
        for number in range(steps):
            pipeline = pipeline.with_stage(f"s{number}", no_op, WORK)
    finally:
        sys.settrace(None)
    return lines / steps


class TestRunning:
    async def test_run_builds_once_and_gives_every_output_in_declared_order(self) -> None:
        pipeline = (
            Pipeline()
            .with_stage("b", lambda ctx: {"sum": ctx.inputs.get("x") + 1}, WORK, ["a"])
            .with_stage("a", lambda ctx: {"x": 1}, WORK)
        )
        outputs = await pipeline.run()
        assert list(outputs) == ["b", "a"]
        assert outputs["b"].data == {"sum": 2}
        assert (await pipeline.run())["b"].data == {"sum": 2}

    def test_run_sync_does_the_same_in_a_script(self) -> None:
        outputs = Pipeline().with_stage("a", lambda ctx: {"x": 1}, WORK).run_sync(input_text="y")
        assert outputs["a"].data == {"x": 1}

    async def test_run_sync_is_refused_where_a_loop_is_running(self) -> None:
        with pytest.raises(RuntimeError):
            Pipeline().with_stage("a", no_op, WORK).run_sync()

    @pytest.mark.parametrize(
        ("output", "raised"),
        [
            (StageOutput.fail("no"), UnifiedStageExecutionError),
            (StageOutput.cancel("no"), UnifiedPipelineCancelled),
        ],
    )
    def test_run_sync_raises_what_run_does(self, output: Any, raised: type[Exception]) -> None:
        with pytest.raises(raised) as caught:
            Pipeline().with_stage("a", lambda ctx: output, WORK).run_sync()
        assert list(caught.value.results) == ["a"]  # type: ignore[attr-defined]

    async def test_each_run_has_an_identity_of_its_own(self) -> None:
        sink = RememberingSink()
        pipeline = Pipeline().with_stage("a", no_op, WORK)
        await pipeline.run(event_sink=sink)
        await pipeline.run(event_sink=sink)
        ids = {event["pipeline_run_id"] for event in sink.of("pipeline.started")}
        assert len(ids) == 2
        assert None not in ids

    async def test_the_fields_of_a_context_may_be_given(self) -> None:
        seen: list[Any] = []

        async def look(ctx: Any) -> None:
            snapshot = ctx.snapshot
            seen.extend([snapshot.user_id, snapshot.topology, snapshot.input_text])
            seen.append(ctx.inputs.get("size"))

        user = UUID(int=3)
        pipeline = Pipeline().with_stage("a", look, WORK)
        await pipeline.run(user_id=user, topology="fast", input_text="hello", inputs={"size": 5})
        assert seen == [user, "fast", "hello", 5]

    async def test_an_unknown_field_is_refused_with_a_near_one(self) -> None:
        with pytest.raises(TypeError, match="'topology'"):
            await Pipeline().with_stage("a", no_op, WORK).run(toplogy="fast")

    @pytest.mark.parametrize("beside", [{"inputs": {}}, {"input_text": "x"}, {"topology": "x"}])
    async def test_nothing_may_be_given_beside_a_context(self, beside: dict[str, Any]) -> None:
        with pytest.raises(TypeError, match="not both"):
            await Pipeline().with_stage("a", no_op, WORK).run(PipelineContext(), **beside)

    def test_a_function_pipeline_runs_from_a_script(self) -> None:
        @stage
        def double(number: int) -> int:
            return number * 2

        outputs = Pipeline().with_stages([double]).run_sync(inputs={"number": 4})
        assert outputs["double"].data == {"value": 8}


class TestGraph:
    def test_specs_of_any_kind_make_a_graph(self) -> None:
        graph = UnifiedStageGraph(
            [
                UnifiedStageSpec(name="a", runner=no_op),
                UnifiedStageSpec(name="b", runner=Guard, dependencies=["a"], conditional=True),
            ],
            name="made",
        )
        [a, b] = graph.stage_specs
        assert (graph.name, a.name, b.kind, tuple(b.dependencies)) == (
            "made",
            "a",
            StageKind.GUARD,
            ("a",),
        )
        assert b.conditional

    def test_specs_of_a_graph_make_an_equal_one(self) -> None:
        graph = Pipeline().with_stage("a", no_op).with_stage("b", Guard, None, ["a"]).build()
        again = UnifiedStageGraph(graph.stage_specs)
        assert again.stage_specs == graph.stage_specs

    async def test_it_runs_with_a_stages_context_as_part_of_its_run(self) -> None:
        run_id = UUID(int=9)
        snapshot = ContextSnapshot(
            run_id=RunIdentity(pipeline_run_id=run_id), input_text="the text", topology="fast"
        )
        sink = RememberingSink()
        context = create_stage_context(
            snapshot, create_stage_inputs(snapshot), "outer", PipelineTimer(), sink
        )
        seen: list[Any] = []

        async def look(ctx: Any) -> None:
            seen.append((ctx.pipeline_run_id, ctx.snapshot.input_text))

        await Pipeline().with_stage("inner", look, WORK).build().run(context)
        assert seen == [(run_id, "the text")]
        assert sink.of("pipeline.started")[0]["pipeline_run_id"] == str(run_id)

    async def test_a_stage_may_run_another_graph(self) -> None:
        inner = Pipeline().with_stage("inner", lambda ctx: {"x": 1}, WORK).build()

        async def outer(ctx: Any) -> StageOutput:
            outputs = await inner.run(ctx)
            return StageOutput.ok(outputs["inner"].data)

        outputs = await Pipeline().with_stage("outer", outer, WORK).run()
        assert outputs["outer"].data == {"x": 1}

    async def test_cancelling_the_outer_run_ends_the_inner_one(self) -> None:
        waiting, ended = anyio.Event(), anyio.Event()

        async def waits(ctx: Any) -> None:
            try:
                waiting.set()
                await anyio.sleep_forever()
            finally:
                ended.set()

        inner = Pipeline().with_stage("inner", waits, WORK).build()

        async def outer(ctx: Any) -> None:
            await inner.run(ctx)

        context = PipelineContext()
        graph = Pipeline().with_stage("outer", outer, WORK).build()
        async with anyio.create_task_group() as tasks:

            async def call() -> None:
                with pytest.raises(UnifiedPipelineCancelled, match="enough"):
                    await graph.run(context)

            tasks.start_soon(call)
            await waiting.wait()
            context.mark_canceled("enough")
        assert ended.is_set()

    async def test_interceptors_are_ordered_by_priority_whatever_their_order_here(self) -> None:
        asked: list[int] = []

        class Asks(BaseInterceptor):
            def __init__(self, priority: int) -> None:
                self.priority = priority

            async def before(self, stage_name: str, ctx: PipelineContext) -> None:
                asked.append(self.priority)

        graph = Pipeline().with_stage("a", no_op, WORK).build(interceptors=[Asks(9), Asks(1)])
        await graph.run(PipelineContext())
        assert asked == [1, 9]

    def test_what_every_run_is_given_can_be_set(self) -> None:
        clock = TestClock()
        pipeline = Pipeline().with_stage("a", no_op, WORK)
        assert pipeline.build(clock=clock, cleanup_timeout=3).options.cleanup_timeout == 3
        assert pipeline.build(clock=clock).options.clock is clock
        options = RunOptions(cleanup_timeout=2)
        assert pipeline.build(options=options, clock=clock).options == attrs.evolve(
            options, clock=clock
        )


async def test_bug017_a_branch_is_cancelled_alone() -> None:
    async def gives_up(ctx: Any) -> StageOutput:
        return StageOutput.cancel("not needed", {"seen": 1}, scope="branch")

    async def slow(ctx: Any) -> dict[str, Any]:
        await anyio.lowlevel.checkpoint()
        return {"done": True}

    graph = (
        Pipeline("two-branches")
        .with_stage("gives_up", gives_up)
        .with_stage("behind", no_op, WORK, ["gives_up"])
        .with_stage("further", no_op, WORK, ["behind"], on_failure="continue")
        .with_stage("other", slow)
        .with_stage("after_other", slow, WORK, ["other"])
        .with_stage("both", no_op, WORK, ["further", "after_other"])
        .build()
    )
    sink = RememberingSink()
    outputs = await graph.run(PipelineContext(event_sink=sink))
    assert {name: output.status.value for name, output in outputs.items()} == {
        "gives_up": "cancel",
        "behind": "cancel",
        "further": "cancel",
        "other": "ok",
        "after_other": "ok",
        "both": "cancel",
    }
    assert outputs["gives_up"].data == {"seen": 1, "cancel_reason": "not needed"}
    for name in ("behind", "further", "both"):
        assert sink.types(name) == ["stage.cancelled"], "it never began"
    assert sink.types()[-1] == "pipeline.completed"
