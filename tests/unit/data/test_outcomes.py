"""How a pipeline ends when stages fail, and what is raised if that is wanted."""

from __future__ import annotations

from typing import Any

import pytest

from stageflow.data.pipeline import (
    CancellationReason,
    DependencyFailedException,
    PipelineCancelledException,
    PipelineException,
    PipelineResult,
    PipelineStatus,
    PipelineTimeoutException,
    PipelineValidationError,
    RetryConfig,
    Stage,
    StageExecutionException,
    StageResult,
    StageStatus,
    StageTimeoutException,
    run_pipeline,
)
from support.functions import Journal, gives, pipeline_of, raises

FAILS = raises(ValueError("boom"))


def statuses(result: PipelineResult) -> dict[str, str]:
    return {name: stage.status.name for name, stage in result.stage_results.items()}


@pytest.mark.anyio
async def test_a_pipeline_whose_stages_all_completed_has_completed() -> None:
    result = await pipeline_of(("a", gives(1)), ("b", gives(2), ["a"])).execute()
    assert result.status is PipelineStatus.COMPLETED
    assert result.is_success
    assert result.successful_stages == ["a", "b"]
    result.raise_for_status()


@pytest.mark.anyio
async def test_a_failed_critical_stage_stops_the_pipeline() -> None:
    journal = Journal()

    async def fails_at_2(ctx: Any, given: Any) -> None:
        await journal.clock.sleep(2)
        raise ValueError("boom")

    result = await pipeline_of(
        ("done", gives(1)),
        ("fails", fails_at_2),
        ("sibling", journal.takes(100, "sibling")),
        ("dependant", gives(2), ["fails"]),
        ("further", gives(2), ["dependant", "sibling"]),
        ("unrelated", gives(3), ["sibling"]),
        clock=journal.clock,
    ).execute()
    assert result.status is PipelineStatus.FAILED
    assert statuses(result) == {
        "done": "COMPLETED",
        "fails": "FAILED",
        "sibling": "CANCELLED",
        "dependant": "SKIPPED",
        "further": "SKIPPED",
        "unrelated": "CANCELLED",
    }
    assert journal.entries[-1] == (2, "sibling was cut off")
    for name in ("dependant", "further"):
        assert result.stage_results[name].error == "its dependency 'fails' failed"
        assert result.stage_results[name].attempt_count == 0
        assert result.stage_results[name].start_time is None
    assert result.cancellation_reason is None


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["continue_on_error", "not critical"])
async def test_a_failure_that_does_not_stop_the_pipeline_completes_it_partially(how: str) -> None:
    journal = Journal()
    result = await pipeline_of(
        Stage("fails", "F", FAILS, critical=how != "not critical"),
        ("sibling", journal.takes(3, "sibling")),
        ("dependant", gives(2), ["fails"]),
        ("after", gives(3), ["sibling"]),
        clock=journal.clock,
        continue_on_error=how == "continue_on_error",
    ).execute()
    assert result.status is PipelineStatus.PARTIALLY_COMPLETED
    assert not result.is_success
    assert result.successful_stages == ["sibling", "after"]
    assert result.failed_stages == ["fails"]
    assert result.skipped_stages == ["dependant"]


@pytest.mark.anyio
async def test_a_pipeline_in_which_nothing_succeeded_has_failed() -> None:
    result = await pipeline_of(
        Stage("a", "A", FAILS, critical=False), ("b", gives(1), ["a"])
    ).execute()
    assert result.status is PipelineStatus.FAILED


@pytest.mark.anyio
async def test_execute_returns_a_result_for_an_ordinary_failure_and_keeps_it() -> None:
    error = ValueError("boom")
    pipeline = pipeline_of(("a", raises(error)))
    result = await pipeline.execute()
    found = result.stage_results["a"]
    assert (found.status, found.error, found.exception) == (
        StageStatus.FAILED,
        "ValueError: boom",
        error,
    )
    assert pipeline.result is result
    assert pipeline.status is PipelineStatus.FAILED


@pytest.mark.anyio
async def test_what_is_raised_carries_the_result_and_its_cause() -> None:
    error = ValueError("boom")
    pipeline = pipeline_of(("a", raises(error)))
    with pytest.raises(PipelineException) as caught:
        await pipeline.execute(raise_on_error=True)
    assert caught.value.result is pipeline.result
    assert caught.value.__cause__ is error
    with pytest.raises(StageExecutionException):
        await run_pipeline(pipeline.stages, config=pipeline.config, raise_on_error=True)


@pytest.mark.anyio
async def test_the_first_failure_in_time_is_raised() -> None:
    journal = Journal()

    async def fails_late(ctx: Any, given: Any) -> None:
        await journal.clock.sleep(5)
        raise ValueError("late")

    pipeline = pipeline_of(
        ("late", fails_late),
        Stage("timed", "T", journal.takes(90, "timed"), timeout_seconds=2.0),
        continue_on_error=True,
        clock=journal.clock,
    )
    with pytest.raises(StageTimeoutException) as caught:
        await pipeline.execute(raise_on_error=True)
    assert (caught.value.stage_id, caught.value.timeout_seconds) == ("timed", 2.0)


@pytest.mark.anyio
async def test_a_critical_stage_skipped_because_of_one_that_is_not_is_what_is_raised() -> None:
    pipeline = pipeline_of(
        Stage("extra", "E", FAILS, critical=False), ("needs", gives(1), ["extra"]), ("x", gives(1))
    )
    with pytest.raises(DependencyFailedException) as caught:
        await pipeline.execute(raise_on_error=True)
    assert (caught.value.stage_id, caught.value.failed_dependency) == ("needs", "extra")
    assert isinstance(caught.value.__cause__, StageExecutionException)
    assert pipeline.status is PipelineStatus.PARTIALLY_COMPLETED


@pytest.mark.anyio
async def test_if_no_critical_stage_was_skipped_the_failure_itself_is_raised() -> None:
    pipeline = pipeline_of(
        Stage("extra", "E", FAILS, critical=False),
        Stage("needs", "N", gives(1), ("extra",), critical=False),
    )
    with pytest.raises(StageExecutionException) as caught:
        await pipeline.execute(raise_on_error=True)
    assert caught.value.stage_id == "extra"


def made(status: PipelineStatus, **fields: Any) -> PipelineResult:
    failed = StageResult("a", "A", StageStatus.FAILED, error="boom", end_time=1.0)
    return PipelineResult("id", "name", status, {"a": failed}, **fields)


def test_cancelled_goes_before_timed_out_before_failed() -> None:
    cancelled = made(PipelineStatus.CANCELLED, cancellation_reason=CancellationReason.EXTERNAL)
    with pytest.raises(PipelineCancelledException) as caught:
        cancelled.raise_for_status()
    assert caught.value.reason is CancellationReason.EXTERNAL
    late = made(
        PipelineStatus.CANCELLED,
        cancellation_reason=CancellationReason.TIMEOUT,
        timeout_seconds=3.0,
    )
    with pytest.raises(PipelineTimeoutException):
        late.raise_for_status()
    with pytest.raises(StageExecutionException, match="boom"):
        made(PipelineStatus.FAILED).raise_for_status()


@pytest.mark.anyio
async def test_faults_of_a_definition_come_all_at_once_from_every_entrance() -> None:
    stages = [
        Stage("a", "A", gives(1), ("missing",)),
        Stage("a", "A", gives(1)),
        Stage("b", "B", gives(1), ("c",)),
        Stage("c", "C", gives(1), ("b",)),
    ]
    pipeline = pipeline_of(*stages)
    for _ in range(2):
        with pytest.raises(PipelineValidationError) as caught:
            await pipeline.execute()
        codes = {fault.code.removeprefix("CONTRACT-004-") for fault in caught.value.faults}
        assert codes == {"MISSING_DEP", "DUPLICATE", "CYCLE"}
    assert not pipeline.is_running
    with pytest.raises(PipelineValidationError):
        await run_pipeline(stages)
    with pytest.raises(PipelineValidationError, match="no stages"):
        await run_pipeline([])


@pytest.mark.anyio
async def test_stages_may_be_added_between_executions() -> None:
    pipeline = pipeline_of(("a", gives(1)))
    assert (await pipeline.execute()).successful_stages == ["a"]
    pipeline.add_stage(Stage("b", "B", gives(2), ("a",))).add_stages([Stage("c", "C", gives(3))])
    assert (await pipeline.execute()).successful_stages == ["a", "b", "c"]


@pytest.mark.anyio
async def test_results_say_it_as_data_and_as_text() -> None:
    pipeline = pipeline_of(
        ("a", gives({"x": 1})), ("b", FAILS, ["a"]), ("c", gives(1), ["b"]), continue_on_error=True
    )
    result = await pipeline.execute()
    told = result.to_dict()
    assert told["status"] == "PARTIALLY_COMPLETED"
    assert told["stage_results"]["a"]["result"] == {"x": 1}
    assert told["stage_results"]["b"]["exception"] == "ValueError"
    assert (told["successful_stages"], told["failed_stages"]) == (["a"], ["b"])
    lines = result.summary().splitlines()
    assert "'tested'" in lines[0]
    assert "PARTIALLY_COMPLETED" in lines[0]
    assert lines[1].startswith("1 of 3 stages completed")
    assert ["COMPLETED" in lines[2], "boom" in lines[3], "SKIPPED" in lines[4]] == [True] * 3


@pytest.mark.anyio
async def test_times_are_measured_by_the_clock() -> None:
    journal = Journal()
    result = await pipeline_of(("a", journal.takes(1.5, "a")), clock=journal.clock).execute()
    start = journal.clock.now().timestamp() - 1.5
    assert (result.start_time, result.end_time) == (start, start + 1.5)
    assert result.duration_ms == result.stage_results["a"].duration_ms == 1500.0
    assert StageResult("a", "A", StageStatus.PENDING).duration_ms == 0.0


@pytest.mark.anyio
@pytest.mark.parametrize("collect", [True, False])
async def test_metrics_are_collected_if_wanted(collect: bool) -> None:
    journal = Journal()
    result = await pipeline_of(
        ("a", journal.takes(2, "a")),
        ("b", journal.takes(3, "b")),
        ("c", journal.takes(1, "c"), ["b"]),
        clock=journal.clock,
        collect_metrics=collect,
        parallel_stages=False,
        retry=RetryConfig(),
    ).execute()
    metrics = {"attempts": 1, "duration_ms": 3000.0, "queued_ms": 2000.0, "thread_abandoned": False}
    assert result.stage_results["b"].metrics == (metrics if collect else {})
    assert result.stage_results["c"].metrics.get("queued_ms", 0.0) == 0.0
    totals = {"stages": 3, "attempts": 3, "stage_time_ms": 6000.0}
    assert result.metadata == (totals if collect else {})
