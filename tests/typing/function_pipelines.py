"""Function pipelines, as a user writes them: only checked for their types, never run."""

from __future__ import annotations

from typing import Any, assert_type
from uuid import UUID

from stageflow import Runtime
from stageflow.data.pipeline import (
    BuiltPipeline,
    CancellationReason,
    Pipeline,
    PipelineBuilder,
    PipelineConfig,
    PipelineContext,
    PipelineProgress,
    PipelineResult,
    PipelineStatus,
    RetryConfig,
    RetryStrategy,
    Stage,
    StageResult,
    StageStatus,
    create_stage,
    run_pipeline,
    stage,
    with_retry,
)


async def load(ctx: PipelineContext, path: str) -> list[float]:
    ctx.set("source", path)
    assert_type(ctx.get_stage_result("load"), StageResult | None)
    assert_type(ctx.get_stage_status("load"), StageStatus)
    assert_type(ctx.get_progress(), PipelineProgress | None)
    assert_type(ctx.get_execution_key("load"), str)
    assert_type(ctx.cancellation_reason, CancellationReason | None)
    return [1.0]


@stage(stage_id="total", name="Total", dependencies=["load"])
async def total(ctx: PipelineContext, prices: list[float]) -> float:
    return sum(prices)


@with_retry(max_retries=2, strategy=RetryStrategy.IMMEDIATE)
async def call(number: int) -> str:
    return str(number)


def told(progress: PipelineProgress) -> None:
    assert_type(progress.remaining_seconds, float | None)


assert_type(total, Stage)
first = create_stage("load", "Load", load, retry_config=RetryConfig(max_retries=1))
pipeline = Pipeline(PipelineConfig(name="orders"), [first, total], on_progress=told)
assert_type(pipeline.add_stage(total), Pipeline)
assert_type(pipeline.build(), BuiltPipeline)
assert_type(pipeline.status, PipelineStatus)
assert_type(PipelineBuilder("orders").add_stage("load", "Load", load).build(), Pipeline)


async def run(runtime: Runtime) -> None:
    assert_type(await call(1), str)
    assert_type(await run_pipeline([first], "a.csv"), PipelineResult)
    result = await pipeline.execute("a.csv", runtime=runtime, durability="step")
    assert_type(result.run_id, UUID | None)
    assert_type(result.restored_stages, list[str])
    value: Any = result.stage_results["load"].result
    again = await pipeline.resume_run(str(value), runtime=runtime, on_change="adopt")
    assert_type(again, PipelineResult)
    assert_type(again.stage_results["load"].restored, bool)
    await runtime.recover(pipeline)
    await runtime.run(pipeline, inputs={"initial_input": "a.csv"})
