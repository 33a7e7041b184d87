"""One protocol for all contexts (BUG-009, BUG-016, BUG-071): stages, interceptors and tools."""

from __future__ import annotations

import inspect
import json
from uuid import UUID

import pytest

from stageflow import Pipeline
from stageflow.context import (
    ContextSnapshot,
    DictContextAdapter,
    PipelineContext,
    PipelineTimer,
    RunIdentity,
    StageContext,
    adapt_context,
    create_stage_context,
    create_stage_inputs,
)
from stageflow.interceptors import BaseInterceptor
from stageflow.protocols import ExecutionContext
from stageflow.testing.factories import create_test_stage_context

RUN, REQUEST = UUID(int=1), UUID(int=2)
SNAPSHOT = ContextSnapshot(RunIdentity(RUN, REQUEST), execution_mode="practice")
CONTEXTS = [
    create_stage_context(SNAPSHOT, create_stage_inputs(SNAPSHOT), "a", PipelineTimer()),
    PipelineContext(pipeline_run_id=RUN, request_id=REQUEST, execution_mode="practice"),
    DictContextAdapter(
        {"pipeline_run_id": RUN, "request_id": REQUEST, "execution_mode": "practice"}
    ),
]
MEMBERS = ("pipeline_run_id", "request_id", "execution_mode", "to_dict", "try_emit_event")

contexts = pytest.mark.parametrize("context", CONTEXTS, ids=lambda context: type(context).__name__)


@contexts
def test_bug009_every_context_satisfies_the_one_protocol(context):
    assert isinstance(context, ExecutionContext)
    assert adapt_context(context) is context


@contexts
def test_bug016_every_context_has_the_same_attributes_with_the_same_meaning(context):
    assert context.pipeline_run_id == RUN
    assert context.request_id == REQUEST
    assert context.execution_mode == "practice"
    told = context.to_dict()
    assert (told["pipeline_run_id"], told["request_id"]) == (str(RUN), str(REQUEST))
    assert told["execution_mode"] == "practice"
    assert json.loads(json.dumps(told)) == told


@contexts
def test_every_context_takes_events_in_the_same_way(context):
    wanted = inspect.signature(ExecutionContext.try_emit_event).parameters
    found = inspect.signature(type(context).try_emit_event).parameters
    assert [(p.name, p.default, p.kind) for p in found.values()] == [
        (p.name, p.default, p.kind) for p in wanted.values()
    ]
    assert context.try_emit_event("my.event") is None
    assert context.try_emit_event(type="my.event", data={"n": 1}) is None


@pytest.mark.parametrize("missing", MEMBERS)
def test_what_lacks_a_member_is_no_context(missing):
    members = {name: None for name in MEMBERS if name != missing}
    assert not isinstance(type("Other", (), members)(), ExecutionContext)


@pytest.mark.anyio
async def test_bug071_stages_and_interceptors_are_handed_the_one_protocol():
    seen = []

    class Looks(BaseInterceptor):
        name = "looks"

        async def before(self, stage_name, ctx):
            seen.append(ctx)

    async def looks(ctx):
        seen.append(ctx)
        seen.append(ctx.as_pipeline_context())

    context = PipelineContext(pipeline_run_id=RUN, request_id=REQUEST, execution_mode="practice")
    await Pipeline().with_stage("a", looks).build(interceptors=[Looks()]).run(context)
    assert len(seen) == 3
    for found in seen:
        assert isinstance(found, ExecutionContext)
        assert (found.pipeline_run_id, found.execution_mode) == (RUN, "practice")


@pytest.mark.anyio
async def test_bug071_a_stage_is_tested_with_one_line():
    async def counts(ctx):
        return {"n": len(ctx.snapshot.input_text)}

    assert await counts(create_test_stage_context(stage_name="a", input_text="four")) == {"n": 4}


def test_a_stage_context_gives_a_pipeline_context_of_the_same_run():
    stage: StageContext = CONTEXTS[0]
    made = stage.as_pipeline_context(data={"n": 1}, service="chat")
    assert made.to_dict() == {
        **PipelineContext(
            pipeline_run_id=RUN, request_id=REQUEST, execution_mode="practice"
        ).to_dict(),
        "data": {"n": 1},
        "service": "chat",
    }
    assert made.snapshot is stage.snapshot


@pytest.mark.anyio
async def test_a_context_made_of_a_stage_in_a_run_stays_a_part_of_the_run():
    made = []

    async def makes(ctx):
        made.append(ctx.as_pipeline_context())

    parent = PipelineContext(pipeline_run_id=RUN, data={"greeting": "hello"})
    child = parent.fork(UUID(int=9), "s", UUID(int=8))
    await Pipeline().with_stage("a", makes).run(child)
    [context] = made
    assert (context.pipeline_run_id, context.ancestry) == (UUID(int=9), (RUN,))
    assert (context.parent_run_id, context.parent_stage_id) == (RUN, "s")
    assert context.correlation_id == UUID(int=8)
    assert context.get_parent_data("greeting") == "hello"
    child.mark_canceled("enough")
    assert context.is_canceled
    assert not parent.is_canceled
