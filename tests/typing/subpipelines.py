"""Task groups and child runs, as a user's type checker sees them."""

from __future__ import annotations

from typing import assert_type
from uuid import UUID

from stageflow import (
    ChildRunTracker,
    Pipeline,
    PipelineContext,
    StageContext,
    StructuredTaskGroup,
    SubpipelineResult,
    SubpipelineSpawner,
    SubpipelineStage,
    cleanup_on_cancel,
    run_with_cleanup,
)
from stageflow.pipeline import GroupTask


async def number() -> int:
    return 1


async def groups() -> None:
    async with StructuredTaskGroup(cleanup_timeout=1.0) as group:
        task = group.create_task(number())
        assert_type(await assert_type(task, GroupTask[int]), int)
    assert_type(task.result(), int)
    async with cleanup_on_cancel(print, name="say"):
        assert_type(await run_with_cleanup(number(), number), int)


async def children(ctx: StageContext, run: PipelineContext, inner: Pipeline) -> None:
    spawner = SubpipelineSpawner(ChildRunTracker(), max_depth=2)
    assert_type(await spawner.spawn("inner", ctx, None, "s", inner.run), SubpipelineResult)
    assert_type(await spawner.spawn("inner", run, UUID(int=1), "s", inner.run), SubpipelineResult)
    assert_type(inner.as_stage(inputs={"text": "body"}), SubpipelineStage)
    assert_type(await ChildRunTracker().get_children(UUID(int=1)), set[UUID])
