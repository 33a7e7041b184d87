"""Faults of an earlier system of function pipelines that must not come back."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from stageflow.data.pipeline import (
    CancellationReason,
    CycleDetectedError,
    PipelineCancelledException,
    PipelineContext,
    PipelineStatus,
    PipelineTimeoutException,
    PipelineValidationError,
    RetryConfig,
    RetryStrategy,
    Stage,
    StageExecutionException,
    StageStatus,
    StageTimeoutException,
    TimeoutConfig,
    run_pipeline,
)
from support.functions import ONCE, Journal, gives, pipeline_of, raises

pytestmark = pytest.mark.anyio


async def test_px_dependants_of_a_failed_stage_are_skipped_and_the_pipeline_says_so() -> None:
    called: list[Any] = []

    async def dependant(ctx: PipelineContext, given: Any) -> None:
        called.append(given)

    result = await pipeline_of(
        ("fails", raises(ValueError("no data"))),
        ("needs", dependant, ["fails"]),
        ("further", dependant, ["needs"]),
        ("other", gives(1)),
        continue_on_error=True,
    ).execute()
    assert called == []
    assert result.status is PipelineStatus.PARTIALLY_COMPLETED
    for name in ("needs", "further"):
        assert result.stage_results[name].status is StageStatus.SKIPPED
        assert "'fails' failed" in (result.stage_results[name].error or "")


async def test_px_a_missing_dependency_is_a_definition_error() -> None:
    pipeline = pipeline_of(("b", gives(1), ["a"]))
    with pytest.raises(PipelineValidationError, match="depends on 'a'"):
        await pipeline.execute()
    assert pipeline.status is PipelineStatus.IDLE


async def test_px_a_circle_is_a_definition_error() -> None:
    with pytest.raises(CycleDetectedError) as caught:
        pipeline_of(("a", gives(1), ["b"]), ("b", gives(1), ["a"])).validate()
    assert set(caught.value.cycle_path) == {"a", "b"}


async def test_px_all_results_are_passed_by_name() -> None:
    async def joined(ctx: PipelineContext, results: Any) -> Any:
        return dict(results)

    result = await pipeline_of(
        ("a", gives(1)), ("b", gives(2)), ("joined", joined, ["a", "b"])
    ).execute()
    assert result.stage_results["joined"].result == {"a": 1, "b": 2}


async def test_px_a_stage_starts_as_soon_as_its_own_dependencies_are_done() -> None:
    journal = Journal()
    await pipeline_of(
        ("quick", journal.takes(1, "quick")),
        ("slow", journal.takes(50, "slow")),
        ("next", journal.takes(1, "next"), ["quick"]),
        clock=journal.clock,
    ).execute()
    assert journal.when("next began") == 1
    assert journal.when("slow ended") == 50


async def test_px_cancel_interrupts_the_running_stage_which_is_not_completed() -> None:
    journal = Journal()
    pipeline = pipeline_of(
        ("long", journal.takes(100, "long")),
        ("after", journal.takes(1, "after"), ["long"]),
        clock=journal.clock,
    )

    async def cancel_later() -> None:
        await journal.clock.sleep(3)
        pipeline.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancel_later)
        result = await pipeline.execute()
    assert journal.entries == [(0, "long began"), (3, "long was cut off")]
    assert result.status is PipelineStatus.CANCELLED
    assert result.cancellation_reason is CancellationReason.USER_REQUESTED
    assert {stage.status for stage in result.stage_results.values()} == {StageStatus.CANCELLED}


async def test_px_no_retry_means_one_attempt() -> None:
    calls = []

    async def failing(ctx: PipelineContext, given: Any) -> None:
        calls.append(1)
        raise ValueError

    retry = RetryConfig(max_retries=3, strategy=RetryStrategy.NONE)
    result = await pipeline_of(("a", failing), retry=retry).execute()
    assert len(calls) == result.stage_results["a"].attempt_count == 1


async def test_px_clean_up_runs_on_failure() -> None:
    journal = Journal()
    stage = Stage("a", "A", raises(ValueError()), cleanup_handler=journal.cleans("a"))
    await pipeline_of(stage).execute()
    assert journal.notes == ["a cleaned"]


@pytest.mark.parametrize("limit", ["stage", "pipeline"])
async def test_px_clean_up_runs_on_timeout(limit: str) -> None:
    journal = Journal()
    stage = Stage("a", "A", journal.takes(100, "a"), cleanup_handler=journal.cleans("a"))
    limits = TimeoutConfig(**{f"{limit}_timeout_seconds": 5.0})
    await pipeline_of(stage, limits=limits, clock=journal.clock).execute()
    assert journal.entries == [(0, "a began"), (5, "a was cut off"), (5, "a cleaned")]


async def test_px_the_documented_exceptions_are_raised_when_asked_for() -> None:
    journal = Journal()

    async def cancels(ctx: PipelineContext, given: Any) -> None:
        ctx.cancel(CancellationReason.RESOURCE_LIMIT)
        await anyio.sleep_forever()

    late = TimeoutConfig(pipeline_timeout_seconds=2.0)
    long = journal.takes(100, "long")

    async def run(stage: Stage, limits: TimeoutConfig | None = None) -> None:
        tested = pipeline_of(stage, limits=limits, clock=journal.clock)
        await tested.execute(raise_on_error=True)

    with pytest.raises(StageExecutionException) as failed:
        await run(Stage("a", "A", raises(ValueError("boom"))))
    assert (failed.value.stage_id, failed.value.error) == ("a", "ValueError: boom")
    assert isinstance(failed.value.cause, ValueError)
    with pytest.raises(StageTimeoutException) as stage_late:
        await run(Stage("a", "A", long, timeout_seconds=1.5))
    assert (stage_late.value.stage_id, stage_late.value.timeout_seconds) == ("a", 1.5)
    with pytest.raises(PipelineTimeoutException) as pipeline_late:
        await run(Stage("a", "A", long), late)
    assert pipeline_late.value.timeout_seconds == 2.0
    with pytest.raises(PipelineCancelledException) as cancelled:
        await run(Stage("a", "A", cancels))
    assert cancelled.value.reason is CancellationReason.RESOURCE_LIMIT


async def test_px_one_pipeline_runs_many_times_at_once() -> None:
    journal = Journal()

    async def first(ctx: PipelineContext, given: int) -> int:
        ctx.set("mine", given)
        await journal.clock.sleep(1)
        return given

    async def second(ctx: PipelineContext, given: int) -> tuple[int, int]:
        await journal.clock.sleep(1)
        return given, ctx.get("mine")

    pipeline = pipeline_of(("a", first), ("b", second, ["a"]), clock=journal.clock)
    found: dict[int, Any] = {}

    async def execute(number: int) -> None:
        result = await pipeline.execute(number)
        found[number] = result.stage_results["b"].result

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(execute, number)
    assert found == {number: (number, number) for number in range(20)}
    assert journal.clock.monotonic() == 2


async def test_px_a_failing_pipeline_is_still_a_result() -> None:
    result = await run_pipeline([Stage("a", "A", raises(ValueError()), retry_config=ONCE)])
    assert result.status is PipelineStatus.FAILED
