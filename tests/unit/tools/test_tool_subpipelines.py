"""ToolExecutor: a tool starts a pipeline by its name."""

from __future__ import annotations

from uuid import uuid4

import pytest

from stageflow import Pipeline, PipelineContext, StageKind, StageOutput
from stageflow.pipeline import (
    MaxDepthExceededError,
    PipelineRegistry,
    SubpipelineSpawner,
    UnknownPipelineError,
    clear_subpipeline_spawner,
    set_subpipeline_spawner,
)
from stageflow.tools.executor import ToolExecutor

pytestmark = pytest.mark.anyio


async def tell(ctx):
    if ctx.snapshot.execution_mode == "fail":
        return StageOutput.fail("as it was told")
    return StageOutput.ok(mode=ctx.snapshot.execution_mode, topology=ctx.snapshot.topology)


@pytest.fixture
def registry():
    made = PipelineRegistry()
    made.register("inner", Pipeline("inner").with_stage("tell", tell, StageKind.WORK))
    return made


@pytest.fixture
def parent():
    return PipelineContext(
        pipeline_run_id=uuid4(), execution_mode="practice", topology="outer", event_sink=None
    )


async def test_a_child_has_the_parents_mode_and_topology_unless_told(registry, parent):
    executor = ToolExecutor(spawner=SubpipelineSpawner(), registry=registry)
    result = await executor.spawn_subpipeline("inner", parent, uuid4())
    assert result.success
    assert result.data["tell"].data == {"mode": "practice", "topology": "outer"}
    result = await executor.spawn_subpipeline(
        "inner", parent, uuid4(), topology_override="own", execution_mode_override="doc"
    )
    assert result.data["tell"].data == {"mode": "doc", "topology": "own"}


async def test_a_child_that_fails_is_told_and_not_raised(registry, parent):
    executor = ToolExecutor(spawner=SubpipelineSpawner(), registry=registry)
    result = await executor.spawn_subpipeline(
        "inner", parent, uuid4(), execution_mode_override="fail"
    )
    assert not result.success
    assert "as it was told" in result.error


async def test_a_pipeline_that_is_built_already_will_do(registry, parent):
    registry.register("built", registry.get("inner").build())
    executor = ToolExecutor(spawner=SubpipelineSpawner(), registry=registry)
    assert (await executor.spawn_subpipeline("built", parent, None)).success


async def test_an_unknown_pipeline_is_an_error(registry, parent):
    with pytest.raises(UnknownPipelineError):
        await ToolExecutor(registry=registry).spawn_subpipeline("outer", parent, uuid4())
    with pytest.raises(UnknownPipelineError):
        await ToolExecutor().spawn_subpipeline("inner", parent, uuid4())


async def test_the_stage_that_asks_is_the_childs_parent(registry):
    class Sink:
        def __init__(self):
            self.events = []

        def try_emit(self, *, type, data):
            self.events.append((type, data))

    executor = ToolExecutor(registry=registry)
    sink = Sink()

    async def outer(ctx):
        result = await executor.spawn_subpipeline("inner", ctx, None)
        return StageOutput.ok(inner=result.success)

    pipeline = Pipeline("outer").with_stage("starts_it", outer, StageKind.WORK)
    results = await pipeline.run(event_sink=sink)
    assert results["starts_it"].data["inner"] is True
    (spawned,) = [data for name, data in sink.events if name == "pipeline.spawned_child"]
    assert spawned["parent_stage_id"] == "starts_it"


async def test_the_spawner_of_those_who_name_none_is_asked(registry, parent):
    set_subpipeline_spawner(SubpipelineSpawner(max_depth=0))
    try:
        with pytest.raises(MaxDepthExceededError):
            await ToolExecutor(registry=registry).spawn_subpipeline("inner", parent, None)
    finally:
        clear_subpipeline_spawner()
