"""What a context knows, and what is told of the progress of an execution."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from stageflow.context import OutputMutationError
from stageflow.data.pipeline import (
    CancellationReason,
    PipelineBuilder,
    PipelineCancelledException,
    PipelineConfig,
    PipelineContext,
    PipelineException,
    PipelineProgress,
    RetryConfig,
    Stage,
    StageStatus,
)
from stageflow.events import clear_event_sink, set_event_sink
from support.functions import Journal, gives, pipeline_of, raises
from support.runs import RememberingSink

pytestmark = pytest.mark.anyio


async def test_handlers_share_a_store() -> None:
    async def writes(ctx: PipelineContext, given: Any) -> None:
        ctx.set("key", 1)

    async def reads(ctx: PipelineContext, given: Any) -> Any:
        return [ctx.get("key"), ctx.get("none"), ctx.get("none", default=2)]

    result = await pipeline_of(("a", writes), ("b", reads, ["a"])).execute()
    assert result.stage_results["b"].result == [1, None, 2]


async def test_a_context_made_by_hand_is_enough_to_test_a_handler() -> None:
    context = PipelineContext(pipeline_id="abc", config=PipelineConfig(name="test"))
    assert context.get_stage_result("any") is None
    assert context.get_stage_status("any") is StageStatus.PENDING
    assert context.get_progress() is None
    assert not context.is_cancelled
    context.check_cancelled()
    await context.wait_if_paused()


async def test_the_first_reason_of_a_cancellation_stays() -> None:
    context = PipelineContext("abc")
    context.cancel(CancellationReason.EXTERNAL)
    context.cancel(CancellationReason.ERROR)
    assert context.cancellation_reason is CancellationReason.EXTERNAL
    with pytest.raises(PipelineCancelledException) as caught:
        context.check_cancelled()
    assert caught.value.reason is CancellationReason.EXTERNAL
    context.pause()
    assert not context.is_paused


async def test_the_results_of_any_stage_that_has_ended_can_be_read() -> None:
    found: list[Any] = []

    async def reads(ctx: PipelineContext, given: Any) -> None:
        a, failed = ctx.get_stage_result("a"), ctx.get_stage_result("fails")
        assert a is not None
        assert failed is not None
        found.extend([a.status, a.result, failed.status, ctx.get_stage_result("reads")])
        with pytest.raises(OutputMutationError):
            a.result.append(2)
        with pytest.raises(PipelineException, match="'b'"):
            ctx.get_stage_result("b")

    pipeline = pipeline_of(
        ("a", gives([1])),
        Stage("fails", "F", raises(ValueError()), ("a",), critical=False),
        ("other", gives(1), ["a"]),
        ("reads", reads, ["other"]),
    )
    result = await pipeline.execute()
    assert result.stage_results["reads"].error is None
    assert found == [StageStatus.COMPLETED, [1], StageStatus.FAILED, None]


async def test_where_each_stage_stands_can_be_asked() -> None:
    found: dict[str, str] = {}

    async def looks(ctx: PipelineContext, given: Any) -> None:
        names = ["done", "looks", "ready", "waits"]
        found.update({name: ctx.get_stage_status(name).name for name in names})

    await pipeline_of(
        ("done", gives(1)),
        ("looks", looks, ["done"]),
        ("ready", gives(1), ["done"]),
        ("waits", gives(1), ["ready"]),
        parallel_stages=False,
    ).execute()
    assert found == {
        "done": "COMPLETED",
        "looks": "RUNNING",
        "ready": "QUEUED",
        "waits": "PENDING",
    }


async def test_progress_is_told_with_an_estimate_of_the_time_left() -> None:
    journal = Journal()
    told: list[PipelineProgress] = []
    pipeline = pipeline_of(
        *((name, journal.takes(seconds, name)) for name, seconds in zip("abcd", (4, 2, 3, 3))),  # noqa: B905
        parallel_stages=False,
        clock=journal.clock,
        on_progress=told.append,
    )
    await pipeline.execute()
    ends = [one for one in told if one.stage_status is StageStatus.COMPLETED]
    assert [one.stage_id for one in ends] == ["a", "b", "c", "d"]
    assert [one.elapsed_seconds for one in ends] == [4, 6, 9, 12]
    assert [one.remaining_seconds for one in ends] == [12, 6, 3, 0]
    assert [one.percent for one in ends] == [25, 50, 75, 100]
    first = told[0]
    assert (first.stage_id, first.stage_status) == ("a", StageStatus.RUNNING)
    assert (first.completed, first.total, first.remaining_seconds) == (0, 4, None)
    assert {one.pipeline_name for one in told} == {"tested"}


async def test_progress_tells_of_retries_failures_and_skips() -> None:
    journal = Journal()
    told: list[tuple[Any, str]] = []

    def hear(progress: PipelineProgress) -> None:
        assert progress.stage_status is not None
        told.append((progress.stage_id, progress.stage_status.name))

    pipeline = pipeline_of(
        Stage("a", "A", raises(ValueError()), retry_config=RetryConfig(max_retries=1)),
        ("b", gives(1), ["a"]),
        clock=journal.clock,
        on_progress=hear,
    )
    await pipeline.execute()
    assert told == [("a", "RUNNING"), ("a", "RETRYING"), ("a", "FAILED"), ("b", "SKIPPED")]


async def test_skipped_stages_do_not_spoil_the_estimate() -> None:
    journal = Journal()
    told: list[PipelineProgress] = []

    async def fails(ctx: PipelineContext, given: Any) -> None:
        await journal.clock.sleep(2)
        raise ValueError

    pipeline = pipeline_of(
        ("a", fails),
        ("b", gives(1), ["a"]),
        ("c", journal.takes(4, "c")),
        ("d", journal.takes(4, "d"), ["c"]),
        continue_on_error=True,
        clock=journal.clock,
        on_progress=told.append,
    )
    await pipeline.execute()
    after_skip = next(one for one in told if one.stage_status is StageStatus.SKIPPED)
    assert (after_skip.completed, after_skip.remaining_seconds) == (2, 4.0)


async def test_a_broken_progress_callback_changes_nothing() -> None:
    def broken(progress: PipelineProgress) -> None:
        raise ValueError

    assert (await pipeline_of(("a", gives(1)), on_progress=broken).execute()).is_success


async def test_progress_can_be_asked_for() -> None:
    journal = Journal()
    found: list[PipelineProgress | None] = []

    async def asks(ctx: PipelineContext, given: Any) -> None:
        found.append(ctx.get_progress())

    pipeline = pipeline_of(("a", journal.takes(3, "a")), ("b", asks, ["a"]), clock=journal.clock)
    await pipeline.execute()
    (progress,) = found
    assert progress is not None
    assert (progress.completed, progress.total, progress.remaining_seconds) == (1, 2, 3.0)
    assert PipelineProgress(pipeline_id="x", pipeline_name="y").fraction == 1.0


async def test_a_builder_is_immutable_and_keeps_the_order() -> None:
    told: list[Any] = []
    base = PipelineBuilder("built").with_metrics(enabled=False).on_progress(told.append)
    one = base.add_stage("a", "A", gives(1))
    two = one.add_stage(Stage("b", "B", gives(2), ("a",))).with_cleanup_on_cancel(enabled=False)
    assert [stage.stage_id for stage in one.build().stages] == ["a"]
    pipeline = two.build()
    assert [stage.stage_id for stage in pipeline.stages] == ["a", "b"]
    assert not pipeline.config.collect_metrics
    assert not pipeline.config.cleanup_on_cancel
    assert one.config.cleanup_on_cancel
    assert (await pipeline.execute()).pipeline_name == "built"
    assert len(told) == 4


async def test_executions_are_told_to_the_sink_like_all_runs() -> None:
    sink = RememberingSink()
    set_event_sink(sink)
    try:
        await pipeline_of(("a", gives(1))).execute()
    finally:
        clear_event_sink()
    assert sink.types() == [
        "pipeline.started",
        "stage.started",
        "stage.completed",
        "pipeline.completed",
    ]
    assert {data["pipeline_name"] for _, data in sink.events} == {"tested"}


async def test_a_plain_function_may_use_the_context_from_its_thread() -> None:
    def handler(ctx: PipelineContext, given: Any) -> None:
        ctx.set("seen", True)
        ctx.cancel(CancellationReason.EXTERNAL)

    context = PipelineContext("mine")
    with anyio.fail_after(10):
        result = await pipeline_of(("a", handler), ("b", gives(1), ["a"])).execute(context=context)
    assert context.get("seen")
    assert result.cancellation_reason is CancellationReason.EXTERNAL
