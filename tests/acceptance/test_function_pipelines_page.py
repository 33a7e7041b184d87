"""Function pipelines as their users write them: every shape of use, on both event loops."""

from __future__ import annotations

import random
from enum import Enum
from typing import Any

import pytest

import stageflow.data.pipeline
from stageflow.testing import TestClock

pytestmark = pytest.mark.anyio


def names(enum: type[Enum]) -> list[str]:
    return [member.name for member in enum]


async def test_the_states_of_a_stage() -> None:
    from stageflow.data.pipeline import StageStatus

    assert names(StageStatus) == [
        "PENDING",
        "QUEUED",
        "RUNNING",
        "COMPLETED",
        "FAILED",
        "CANCELLED",
        "SKIPPED",
        "RETRYING",
        "TIMED_OUT",
    ]


async def test_the_states_of_a_pipeline() -> None:
    from stageflow.data.pipeline import PipelineStatus

    assert names(PipelineStatus) == [
        "IDLE",
        "RUNNING",
        "PAUSED",
        "COMPLETED",
        "FAILED",
        "CANCELLED",
        "PARTIALLY_COMPLETED",
    ]


async def test_the_strategies_of_a_retry() -> None:
    from stageflow.data.pipeline import RetryStrategy

    assert {member.name: member.value for member in RetryStrategy} == {
        "NONE": "none",
        "IMMEDIATE": "immediate",
        "LINEAR_BACKOFF": "linear_backoff",
        "EXPONENTIAL_BACKOFF": "exponential_backoff",
        "CONSTANT": "constant",
    }


async def test_the_reasons_of_a_cancellation() -> None:
    from stageflow.data.pipeline import CancellationReason

    assert {member.name: member.value for member in CancellationReason} == {
        "USER_REQUESTED": "user_requested",
        "TIMEOUT": "timeout",
        "DEPENDENCY_FAILED": "dependency_failed",
        "RESOURCE_LIMIT": "resource_limit",
        "ERROR": "error",
        "EXTERNAL": "external",
    }


async def test_configuring_retries() -> None:
    from stageflow.data.pipeline import RetryConfig, RetryStrategy

    config = RetryConfig(
        max_retries=3,
        strategy=RetryStrategy.EXPONENTIAL_BACKOFF,
        initial_delay_seconds=1.0,
        max_delay_seconds=60.0,
        backoff_factor=2.0,
        retry_on_exceptions=None,
        retry_on_timeout=True,
    )
    assert config == RetryConfig(), "what the page shows is the default"
    assert config.get_delay(attempt=2) == 4.0


async def test_configuring_time_limits() -> None:
    from stageflow.data.pipeline import TimeoutConfig

    config = TimeoutConfig(
        stage_timeout_seconds=300.0,
        pipeline_timeout_seconds=3600.0,
        cleanup_timeout_seconds=30.0,
        grace_period_seconds=5.0,
    )
    assert config == TimeoutConfig()


async def test_configuring_a_pipeline() -> None:
    from stageflow.data.pipeline import PipelineConfig, RetryConfig, TimeoutConfig

    config = PipelineConfig(
        name="invoices",
        retry=RetryConfig(max_retries=3),
        timeout=TimeoutConfig(stage_timeout_seconds=60.0),
        continue_on_error=False,
        parallel_stages=True,
        max_parallel=4,
        collect_metrics=True,
        cleanup_on_cancel=True,
    )
    assert config == PipelineConfig(
        name="invoices", timeout=TimeoutConfig(stage_timeout_seconds=60.0)
    )


async def test_a_result_of_a_stage() -> None:
    from stageflow.data.pipeline import StageResult, StageStatus

    result = StageResult(
        stage_id="count",
        stage_name="Count",
        status=StageStatus.COMPLETED,
        result={"counted": 7},
        error=None,
        exception=None,
        start_time=1704067200.0,
        end_time=1704067210.0,
        attempt_count=1,
        metrics={"rows": 7},
    )
    assert result.duration_ms == 10_000.0
    assert result.is_success
    told = result.to_dict()
    assert (told["stage_id"], told["status"], told["result"], told["metrics"]) == (
        "count",
        "COMPLETED",
        {"counted": 7},
        {"rows": 7},
    )


async def test_a_result_of_a_pipeline() -> None:
    from stageflow.data.pipeline import PipelineResult, PipelineStatus, StageResult, StageStatus

    result = PipelineResult(
        pipeline_id="abc",
        pipeline_name="invoices",
        status=PipelineStatus.COMPLETED,
        stage_results={"count": StageResult("count", "Count", StageStatus.COMPLETED)},
        start_time=1704067200.0,
        end_time=1704067300.0,
        cancellation_reason=None,
        metadata={},
    )
    assert result.duration_ms == 100_000.0
    assert result.successful_stages == ["count"]
    assert result.failed_stages == []
    assert result.is_success
    assert "invoices" in result.summary()
    assert result.to_dict()["pipeline_id"] == "abc"


async def test_a_stage_with_everything() -> None:
    from stageflow.data.pipeline import Pipeline, PipelineContext, RetryConfig, Stage

    cleaned: list[Any] = []

    async def load(ctx: PipelineContext, _: Any) -> list[int]:
        return [1, 2]

    async def count(ctx: PipelineContext, rows: list[int]) -> dict[str, int]:
        ctx.set("rows", rows)
        return {"counted": len(rows)}

    async def forget(ctx: PipelineContext) -> None:
        cleaned.append(ctx.get("rows"))

    stage = Stage(
        stage_id="count",
        name="Count",
        handler=count,
        dependencies=["load"],
        timeout_seconds=60.0,
        retry_config=RetryConfig(max_retries=2),
        critical=True,
        cleanup_handler=forget,
        description="Count what was loaded",
        tags=["rows", "counting"],
    )
    pipeline = Pipeline().add_stages([Stage("load", "Load", load), stage])
    result = await pipeline.execute()
    assert result.stage_results["count"].result == {"counted": 2}
    assert cleaned == [[1, 2]]


async def test_using_a_context() -> None:
    from stageflow.data.pipeline import (
        CancellationReason,
        PipelineCancelledException,
        PipelineConfig,
        PipelineContext,
    )

    context = PipelineContext(pipeline_id="abc", config=PipelineConfig(name="test"))
    context.set("key", "value")
    assert context.get("key", default=None) == "value"
    assert context.get_stage_result("before") is None
    context.pause()
    context.resume()
    await context.wait_if_paused()
    context.cancel(CancellationReason.USER_REQUESTED)
    assert context.is_cancelled
    with pytest.raises(PipelineCancelledException):
        context.check_cancelled()
    await context.wait_if_paused()


async def test_using_a_pipeline() -> None:
    from stageflow.data.pipeline import Pipeline, PipelineConfig, Stage

    async def handler(ctx: Any, given: Any) -> Any:
        return given

    one, two, three = (Stage(stage_id=name, name=name, handler=handler) for name in "abc")
    pipeline = Pipeline(PipelineConfig(name="three"))
    pipeline.add_stage(one)
    pipeline.add_stages([two, three])
    result = await pipeline.execute(initial_input={"data": 1})
    assert result.status.name == "COMPLETED"
    assert result.is_success
    pipeline.cancel()
    pipeline.pause()
    pipeline.resume()
    assert not pipeline.is_running
    assert pipeline.result is result
    assert {found.result["data"] for found in result.stage_results.values()} == {1}


async def test_building_a_pipeline_in_a_chain() -> None:
    from stageflow.data.pipeline import PipelineBuilder, PipelineConfig, RetryConfig, RetryStrategy

    async def first(ctx: Any, _: Any) -> dict[str, int]:
        return {"n": 1}

    async def second(ctx: Any, before: dict[str, int]) -> dict[str, int]:
        return {"n": before["n"] * 2}

    pipeline = (
        PipelineBuilder("chain")
        .with_retry(
            max_retries=3,
            strategy=RetryStrategy.LINEAR_BACKOFF,
            initial_delay=1.0,
            max_delay=60.0,
        )
        .with_timeout(stage_timeout=300.0, pipeline_timeout=3600.0)
        .with_parallel(enabled=True, max_parallel=2)
        .continue_on_error(enabled=False)
        .add_stage("first", "First", first)
        .add_stage("second", "Second", second, dependencies=["first"])
        .build()
    )
    retry = RetryConfig(strategy=RetryStrategy.LINEAR_BACKOFF)
    assert pipeline.config == PipelineConfig(name="chain", retry=retry, max_parallel=2)
    result = await pipeline.execute()
    assert result.stage_results["second"].result == {"n": 2}


async def test_decorating_a_function_makes_a_stage() -> None:
    from stageflow.data.pipeline import Pipeline, Stage, stage

    @stage(
        stage_id="count",
        name="Count",
        dependencies=["load"],
        timeout_seconds=60.0,
        critical=True,
    )
    async def count(ctx: Any, rows: list[int]) -> int:
        """Count the rows."""
        return len(rows)

    @stage()
    async def load(ctx: Any, _: Any) -> list[int]:
        return [1, 2, 3]

    assert isinstance(count, Stage)
    assert (count.stage_id, count.name, count.description) == ("count", "Count", "Count the rows.")
    assert (load.stage_id, load.name) == ("load", "load")
    pipeline = Pipeline()
    pipeline.add_stage(count)
    pipeline.add_stage(load)
    assert (await pipeline.execute()).stage_results["count"].result == 3


async def test_decorating_a_function_makes_it_try_again() -> None:
    from stageflow.data.pipeline import RetryStrategy, with_retry

    clock, calls = TestClock(autojump=True), []

    @with_retry(
        max_retries=3,
        strategy=RetryStrategy.EXPONENTIAL_BACKOFF,
        initial_delay=1.0,
        clock=clock,
    )
    async def unreliable() -> str:
        calls.append(clock.monotonic())
        raise ConnectionError("down")

    with pytest.raises(ConnectionError, match="down"):
        await unreliable()
    assert calls == [0, 1, 3, 7]


async def test_running_a_list_of_stages() -> None:
    from stageflow.data.pipeline import PipelineConfig, Stage, run_pipeline

    async def handler(ctx: Any, given: Any) -> Any:
        return [given]

    stages = [
        Stage(stage_id="a", name="A", handler=handler),
        Stage(stage_id="b", name="B", handler=handler, dependencies=["a"]),
    ]
    result = await run_pipeline(
        stages=stages, initial_input={"data": 1}, config=PipelineConfig(name="quick")
    )
    assert result.pipeline_name == "quick"
    assert result.stage_results["b"].result == [[{"data": 1}]]


async def test_creating_a_stage() -> None:
    from stageflow.data.pipeline import Stage, create_stage

    async def handler(ctx: Any, given: Any) -> Any:
        return given

    stage = create_stage(
        stage_id="count",
        name="Count",
        handler=handler,
        dependencies=["load"],
        timeout_seconds=60.0,
        critical=True,
    )
    assert stage == Stage("count", "Count", handler, ["load"], 60.0)


def breaking(how: str) -> stageflow.data.pipeline.Pipeline:
    """Return a pipeline that ends in the stated way."""
    from stageflow.data.pipeline import CancellationReason, PipelineBuilder, RetryStrategy

    clock = TestClock(autojump=True)

    async def handler(ctx: Any, _: Any) -> None:
        if how in {"stage timeout", "pipeline timeout"}:
            await clock.sleep(60)
        if how == "cancel":
            ctx.cancel(CancellationReason.EXTERNAL)
            ctx.check_cancelled()
        raise ValueError("boom")

    limit = 5.0 if how == "pipeline timeout" else None
    return (
        PipelineBuilder("breaking")
        .with_retry(strategy=RetryStrategy.NONE)
        .with_timeout(pipeline_timeout=limit)
        .add_stage("a", "A", handler, timeout_seconds=9.0, critical=how != "dependency")
        .add_stage("b", "B", handler, dependencies=["a"])
        .build(clock=clock)
    )


async def test_catching_any_error_of_a_pipeline() -> None:
    from stageflow.data.pipeline import PipelineException

    told = []
    for how in ("failure", "stage timeout", "pipeline timeout", "cancel", "dependency"):
        try:
            await breaking(how).execute(raise_on_error=True)
        except PipelineException as e:
            told.append(f"Pipeline error: {e}")
    assert len(told) == 5
    assert all("Pipeline error: [SF80" in text for text in told)


async def test_catching_a_stage_that_timed_out() -> None:
    from stageflow.data.pipeline import StageTimeoutException

    with pytest.raises(StageTimeoutException) as caught:
        await breaking("stage timeout").execute(raise_on_error=True)
    e = caught.value
    assert f"{e.stage_id} timed out after {e.timeout_seconds}s" == "a timed out after 9.0s"


async def test_catching_a_pipeline_that_timed_out() -> None:
    from stageflow.data.pipeline import PipelineTimeoutException

    with pytest.raises(PipelineTimeoutException) as caught:
        await breaking("pipeline timeout").execute(raise_on_error=True)
    assert f"timed out after {caught.value.timeout_seconds}s" == "timed out after 5.0s"


async def test_catching_a_pipeline_that_was_cancelled() -> None:
    from stageflow.data.pipeline import PipelineCancelledException

    with pytest.raises(PipelineCancelledException) as caught:
        await breaking("cancel").execute(raise_on_error=True)
    assert caught.value.reason.value == "external"


async def test_catching_a_stage_that_failed() -> None:
    from stageflow.data.pipeline import StageExecutionException

    with pytest.raises(StageExecutionException) as caught:
        await breaking("failure").execute(raise_on_error=True)
    e = caught.value
    assert (e.stage_id, "boom" in e.error, str(e.cause)) == ("a", True, "boom")


async def test_catching_a_dependency_that_failed() -> None:
    from stageflow.data.pipeline import DependencyFailedException

    with pytest.raises(DependencyFailedException) as caught:
        await breaking("dependency").execute(raise_on_error=True)
    assert (caught.value.stage_id, caught.value.failed_dependency) == ("b", "a")


async def test_without_the_argument_nothing_is_raised() -> None:
    result = await breaking("failure").execute()
    assert result.status.name == "FAILED"


async def test_a_basic_pipeline() -> None:
    from stageflow.data.pipeline import Pipeline, PipelineConfig, Stage

    kept: list[Any] = []

    async def load(ctx: Any, _: Any) -> list[int]:
        ctx.set("raw", [1, 2])
        return [1, 2]

    async def double(ctx: Any, rows: list[int]) -> list[int]:
        return [2 * row for row in rows]

    async def keep(ctx: Any, rows: list[int]) -> dict[str, bool]:
        kept.append((ctx.get("raw"), rows))
        return {"saved": True}

    pipeline = Pipeline(PipelineConfig(name="basic"))
    pipeline.add_stages(
        [
            Stage(stage_id="load", name="Load", handler=load),
            Stage(stage_id="double", name="Double", handler=double, dependencies=["load"]),
            Stage(stage_id="keep", name="Keep", handler=keep, dependencies=["double"]),
        ]
    )
    result = await pipeline.execute()
    assert kept == [([1, 2], [2, 4])]
    assert "3 of 3 stages completed" in result.summary()


@pytest.mark.parametrize(("luck", "status"), [(0.9, "COMPLETED"), (0.1, "PARTIALLY_COMPLETED")])
async def test_a_pipeline_with_error_handling(
    luck: float, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stageflow.data.pipeline import PipelineBuilder, PipelineStatus, RetryStrategy

    monkeypatch.setattr(random, "random", lambda: luck)

    async def flaky(ctx: Any, _: Any) -> dict[str, bool]:
        if random.random() < 0.3:  # noqa: S311 - no secret
            raise ConnectionError("no network")
        return {"success": True}

    async def important(ctx: Any, _: Any) -> str:
        return "done"

    pipeline = (
        PipelineBuilder("robust")
        .with_retry(max_retries=5, strategy=RetryStrategy.EXPONENTIAL_BACKOFF)
        .with_timeout(stage_timeout=30.0, pipeline_timeout=300.0)
        .continue_on_error(enabled=True)
        .add_stage("flaky", "Flaky", flaky, critical=False)
        .add_stage("important", "Important", important, critical=True)
        .build(clock=TestClock(autojump=True))
    )
    result = await pipeline.execute()
    assert result.status is PipelineStatus[status]
    assert result.failed_stages == ([] if luck > 0.3 else ["flaky"])
    assert result.stage_results["flaky"].attempt_count == (1 if luck > 0.3 else 6)


async def test_stages_in_parallel() -> None:
    from stageflow.data.pipeline import PipelineBuilder

    clock = TestClock(autojump=True)

    async def ask(ctx: Any, _: Any, backend: str) -> dict[str, int]:
        await clock.sleep(len(backend))
        return {backend: len(backend)}

    async def compare(ctx: Any, answers: dict[str, dict[str, int]]) -> list[str]:
        return sorted(answers, key=lambda name: answers[name][name])

    pipeline = (
        PipelineBuilder("parallel")
        .with_parallel(enabled=True, max_parallel=3)
        .add_stage("slowest", "Slowest", lambda c, i: ask(c, i, "slowest"))
        .add_stage("fast", "Fast", lambda c, i: ask(c, i, "fast"))
        .add_stage("slow!", "Slow", lambda c, i: ask(c, i, "slow!"))
        .add_stage("compare", "Compare", compare, dependencies=["slowest", "fast", "slow!"])
        .build(clock=clock)
    )
    result = await pipeline.execute()
    assert result.stage_results["compare"].result == ["fast", "slow!", "slowest"]
    assert clock.monotonic() == len("slowest")
