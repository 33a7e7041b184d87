"""Wide events of runs are the same, whether or not somebody looks at results on their way."""

from __future__ import annotations

from typing import Any

import pytest

from stageflow import Pipeline, RetryPolicy, StageOutput
from stageflow._engine.run import Run
from stageflow.context import PipelineContext
from stageflow.errors import StageflowError
from stageflow.observability import WideEventEmitter
from stageflow.stages import StageArtifact
from stageflow.testing import TestClock
from stageflow.testing.event_sink import RecordingEventSink
from support.golden_events import check_schemas

pytestmark = pytest.mark.anyio


class Looking(WideEventEmitter):
    """Sees results on their way, so that they have to be made."""

    def emit_stage_wide(self, stage_name: str, result: Any, ctx: Any) -> None:
        super().emit_stage_wide(stage_name, result, ctx)

    def emit_pipeline_wide(self, results: Any, ctx: Any) -> None:
        super().emit_pipeline_wide(results, ctx)


def a_pipeline(clock: TestClock) -> Pipeline:
    tried: list[int] = []

    async def gives(ctx: Any) -> StageOutput:
        clock.tick(1.25)
        return StageOutput.ok({"b": 1, "a": 2}, artifacts=[StageArtifact("card", {})])

    async def tries(ctx: Any) -> StageOutput:
        clock.tick(0.5)
        tried.append(1)
        return StageOutput.retry("not yet") if len(tried) < 3 else StageOutput.ok()

    async def skips(ctx: Any) -> StageOutput:
        clock.tick(0.125)
        return StageOutput.skip("nothing to do")

    async def leaves(ctx: Any) -> StageOutput:
        return StageOutput.cancel("enough", scope="branch")

    async def fails(ctx: Any) -> StageOutput:
        return StageOutput.fail("broken", why="x")

    async def never(ctx: Any) -> None:
        raise AssertionError

    at_once = RetryPolicy(max_attempts=3, base_delay_ms=0, jitter="none")
    return (
        Pipeline("all")
        .with_stage("gives", gives)
        .with_stage("in_thread", in_thread, dependencies=("gives",))
        .with_stage("tries", tries, dependencies=("in_thread",), retry=at_once)
        .with_stage("skips", skips, dependencies=("tries",))
        .with_stage("skipped", never, dependencies=("skips",), conditional=True)
        .with_stage("leaves", leaves, dependencies=("tries",))
        .with_stage("left", never, dependencies=("leaves",))
        .with_stage("fails", fails, dependencies=("tries",))
        .with_stage("unrun", never, dependencies=("fails",))
    )


def in_thread(ctx: Any) -> None:
    """A stage that runs in a thread."""


async def told_by(
    emitter: WideEventEmitter, *, stages: bool = True, run: bool = True
) -> list[tuple[str, Any]]:
    clock, sink = TestClock(), RecordingEventSink()
    graph = a_pipeline(clock).build(
        emit_stage_wide_events=stages,
        emit_pipeline_wide_event=run,
        wide_event_emitter=emitter,
        on_failure="continue",
        clock=clock,
    )
    with pytest.raises(StageflowError):
        await graph.run(PipelineContext(event_sink=sink, topology="fast", service="chat"))
    check_schemas(sink.events)
    return [event for event in sink.events if event[0].endswith(".wide")]


def without_order(told: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return sorted(told, key=lambda event: (event[0], event[1].get("stage", "")))


async def test_nobody_can_tell_that_no_results_were_made() -> None:
    written, looked_at = await told_by(WideEventEmitter()), await told_by(Looking())
    assert len(written) == 10
    told = {data.get("stage"): (data["status"], data["duration_ms"]) for _, data in written}
    assert told["gives"] == ("OK", 1250.0)
    assert told["tries"] == ("OK", 1500.0)
    assert told["skips"] == ("SKIP", 125.0)
    assert [told[stage] for stage in ("skipped", "leaves", "left", "fails", "unrun")] == [
        ("SKIP", 0.0),
        ("CANCEL", 0.0),
        ("CANCEL", 0.0),
        ("FAIL", 0.0),
        ("SKIP", 0.0),
    ]
    assert without_order(written) == without_order(looked_at)
    assert [list(data) for _, data in without_order(written)] == [
        list(data) for _, data in without_order(looked_at)
    ]


async def test_the_event_of_a_run_needs_none_of_its_stages() -> None:
    [(_, written)] = await told_by(WideEventEmitter(), stages=False)
    [(_, looked_at)] = await told_by(Looking(), stages=False)
    assert written == looked_at
    assert written["stage_details"][0]["stage"] == "gives"
    assert [kind for kind, _ in await told_by(WideEventEmitter(), run=False)] == ["stage.wide"] * 9


async def test_no_results_are_made_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    make = Run._result

    def counted(run: Run, index: int, *args: Any) -> Any:
        made.append(run.plan.names[index])
        return make(run, index, *args)

    monkeypatch.setattr(Run, "_result", counted)
    await told_by(Looking())
    looked_at = len(made)
    await told_by(WideEventEmitter())
    assert len(made) - looked_at == looked_at - 9


async def test_whoever_puts_a_method_of_their_own_in_place_is_asked() -> None:
    seen: list[Any] = []
    emitter = WideEventEmitter()
    emitter.emit_stage_wide = lambda *args: seen.append(args)  # type: ignore[method-assign]
    told = await told_by(emitter)
    assert [kind for kind, _ in told] == ["pipeline.wide"]
    assert len(seen) == 9


async def test_a_fact_that_cannot_be_told_stops_nothing() -> None:
    class Mute:
        def __str__(self) -> str:
            raise ValueError("no")

    sink = RecordingEventSink()
    context = PipelineContext(event_sink=sink)

    async def stage(ctx: Any) -> None:
        context.user_id = Mute()  # type: ignore[assignment]

    graph = (
        Pipeline("one")
        .with_stage("a", stage)
        .build(emit_stage_wide_events=True, emit_pipeline_wide_event=True)
    )
    results = await graph.run(context)
    assert results["a"].status == "ok"
    assert [kind for kind, _ in sink.events] == [
        "pipeline.started",
        "stage.started",
        "stage.completed",
        "pipeline.completed",
    ]
