"""The checklist's sections 3.1 to 3.3 for both faces of the engine; tests name their criteria."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from stageflow import (
    BackoffStrategy,
    CycleDetectedError,
    PipelineContext,
    PipelineValidationError,
    StageGraph,
    StageKind,
    StageOutput,
    StageResult,
    StageSpec,
    StageStatus,
    UnifiedPipelineCancelled,
    UnifiedStageExecutionError,
    UnifiedStageGraph,
    UnifiedStageSpec,
)
from stageflow.interceptors import RetryInterceptor
from stageflow.observability import WideEventEmitter
from stageflow.testing import TestClock
from support.golden_events import check_schemas
from support.runs import RememberingSink

pytestmark = pytest.mark.anyio

FACES = [(StageGraph, StageSpec), (UnifiedStageGraph, UnifiedStageSpec)]


async def runs(ctx: Any) -> dict[str, str]:
    return {"ran": ctx.stage_name}


async def skips(ctx: Any) -> StageOutput:
    return StageOutput.skip("nothing to do")


async def gives_reason(ctx: Any) -> StageOutput:
    return StageOutput.ok(skip_reason="not today")


@pytest.mark.parametrize(("graph", "spec"), FACES)
class TestBothFaces:
    """3.1"""

    async def test_3_1_stages_run_when_their_dependencies_are_done(
        self, graph: Any, spec: Any
    ) -> None:
        order: list[str] = []

        async def suspends(ctx: Any) -> dict[str, list[str]]:
            before = list(order)
            await anyio.lowlevel.checkpoint()
            order.append(ctx.stage_name)
            return {"before": before}

        specs = [
            spec(name="d", runner=suspends, dependencies=("b", "c")),
            spec(name="b", runner=suspends, dependencies=("a",)),
            spec(name="c", runner=suspends, dependencies=("a",)),
            spec(name="a", runner=suspends),
        ]
        found = await graph(specs).run(PipelineContext())
        assert list(found) == ["d", "b", "c", "a"]
        assert found["b"].data["before"] == ["a"]
        assert found["d"].data["before"][0] == "a"
        assert set(found["d"].data["before"]) == {"a", "b", "c"}

    async def test_3_1_missing_dependencies_and_deadlocks_error_out(
        self, graph: Any, spec: Any
    ) -> None:
        with pytest.raises(PipelineValidationError) as missing:
            graph([spec(name="a", runner=runs, dependencies=("b",))])
        assert missing.value.code == "CONTRACT-004-MISSING_DEP"
        with pytest.raises(CycleDetectedError) as deadlock:
            graph(
                [
                    spec(name="a", runner=runs, dependencies=("b",)),
                    spec(name="b", runner=runs, dependencies=("a",)),
                ]
            )
        assert deadlock.value.cycle_path == ["a", "b", "a"]

    async def test_3_1_the_lifecycle_is_told(self, graph: Any, spec: Any) -> None:
        async def fails(ctx: Any) -> StageOutput:
            return StageOutput.fail("no")

        sink = RememberingSink()
        specs = [
            spec(name="a", runner=runs),
            spec(name="b", runner=skips, dependencies=("a",)),
            spec(name="c", runner=fails, dependencies=("b",)),
        ]
        with pytest.raises(UnifiedStageExecutionError) as caught:
            await graph(specs).run(PipelineContext(event_sink=sink))
        check_schemas(sink.events)
        assert caught.value.stage == "c"
        assert sink.types("a") == ["stage.started", "stage.completed"]
        assert sink.types("b") == ["stage.started", "stage.skipped"]
        assert sink.types("c") == ["stage.started", "stage.failed"]

    async def test_3_3_a_stage_that_cancels_raises(self, graph: Any, spec: Any) -> None:
        async def cancels(ctx: Any) -> StageOutput:
            return StageOutput.cancel("enough")

        sink = RememberingSink()
        with pytest.raises(UnifiedPipelineCancelled) as caught:
            await graph([spec(name="a", runner=cancels)]).run(PipelineContext(event_sink=sink))
        assert (caught.value.stage, caught.value.reason) == ("a", "enough")
        assert sink.of("pipeline.cancelled")[0]["reason"] == "enough"

    async def test_stage_specs_are_what_was_given(self, graph: Any, spec: Any) -> None:
        specs = [spec(name="a", runner=runs), spec(name="b", runner=runs, dependencies=["a"])]
        found = graph(specs).stage_specs
        assert [each.name for each in found] == ["a", "b"]
        assert found[1].dependencies == ("a",)


class TestLegacy:
    """3.2"""

    async def test_3_2_it_gives_results_in_declared_order(self) -> None:
        class Works:
            kind = StageKind.WORK

            async def execute(self, ctx: Any) -> StageOutput:
                return StageOutput.ok(x=1, metadata={"m": 1})

        sink = RememberingSink()
        graph = StageGraph([StageSpec(name="a", runner=Works)], clock=TestClock())
        results = await graph.run(PipelineContext(event_sink=sink))
        result = results["a"]
        assert isinstance(result, StageResult)
        assert (result.name, result.status, result.data) == ("a", StageStatus.OK, {"x": 1})
        assert result.metadata == {"m": 1, "attempts": 1}
        assert result.started_at == result.ended_at
        assert sink.of("stage.started")[0]["kind"] == "work"

    @pytest.mark.parametrize("conditional", [False, True])
    @pytest.mark.parametrize("before", [skips, gives_reason])
    async def test_3_2_conditional_is_a_no_op(self, conditional: bool, before: Any) -> None:
        specs = [
            StageSpec(name="a", runner=before),
            StageSpec(name="b", runner=runs, dependencies=("a",), conditional=conditional),
        ]
        graph = StageGraph(specs)
        results = await graph.run(PipelineContext())
        assert results["b"].status is StageStatus.OK
        assert graph.stage_specs[1].conditional is conditional

    async def test_3_2_interceptors_and_wide_events_work(self) -> None:
        calls: list[int] = []

        async def third_time(ctx: Any) -> None:
            calls.append(ctx.attempt)
            if len(calls) < 3:
                raise TimeoutError

        sink = RememberingSink()
        graph = StageGraph(
            [StageSpec(name="a", runner=third_time)],
            [RetryInterceptor(max_attempts=3, backoff_strategy=BackoffStrategy.CONSTANT)],
            wide_event_emitter=WideEventEmitter(stage_event_type="my.stage"),
            emit_stage_wide_events=True,
            emit_pipeline_wide_event=True,
            clock=TestClock(autojump=True),
        )
        results = await graph.run(PipelineContext(event_sink=sink))
        assert calls == [1, 2, 3]
        assert results["a"].metadata["attempts"] == 3
        assert [data["status"] for data in sink.of("my.stage")] == ["OK"]
        assert len(sink.of("pipeline.wide")) == 1


class TestUnified:
    """3.3"""

    async def test_3_3_a_conditional_stage_is_skipped_for_a_skip_reason(self) -> None:
        sink = RememberingSink()
        specs = [
            UnifiedStageSpec(name="a", runner=gives_reason),
            UnifiedStageSpec(name="b", runner=runs, dependencies=("a",), conditional=True),
            UnifiedStageSpec(name="c", runner=runs, dependencies=("a",)),
        ]
        outputs = await UnifiedStageGraph(specs).run(PipelineContext(event_sink=sink))
        assert outputs["b"].status is StageStatus.SKIP
        assert outputs["c"].status is StageStatus.OK
        assert sink.types("b") == ["stage.skipped"]
        assert sink.of("stage.skipped")[0]["reason"] == "not today"

    async def test_3_3_outputs_are_kept_by_name(self) -> None:
        specs = [UnifiedStageSpec(name=name, runner=runs) for name in "ab"]
        outputs = await UnifiedStageGraph(specs).run(PipelineContext())
        assert {name: output.data for name, output in outputs.items()} == {
            "a": {"ran": "a"},
            "b": {"ran": "b"},
        }
