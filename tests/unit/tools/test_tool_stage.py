"""ToolStage: the calls of a model in one output, their results in another."""

from __future__ import annotations

import json
from uuid import UUID

import pytest

from stageflow import Pipeline, StageKind, StageOutput, StageStatus
from stageflow.codec import Codec
from stageflow.context import ContextSnapshot
from stageflow.context.inputs import MissingInputError
from stageflow.testing import create_test_stage_context
from stageflow.tools import (
    CALL_FORMATS,
    AdvancedToolExecutor,
    ToolOutput,
    ToolStage,
    UnknownCallFormatError,
    get_call_format,
)
from support.tools import call, definition

pytestmark = pytest.mark.anyio


def add(given):
    payload = given.payload
    return ToolOutput.ok({"sum": payload["a"] + payload["b"]}, [{"kind": "sum"}])


SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
}


@pytest.fixture
def executor():
    return AdvancedToolExecutor(
        tools=[definition("ADD", add, input_schema=SCHEMA, artifact_type="calculation")]
    )


def pipeline_of(executor, calls, **options):
    async def model(ctx):
        return StageOutput.ok(tool_calls=calls)

    return (
        Pipeline("chat")
        .with_stage("model", model, StageKind.TRANSFORM)
        .with_stage("tools", ToolStage(executor, **options), StageKind.AGENT, ["model"])
    )


async def test_every_call_gets_its_answer_and_the_stage_never_fails(executor):
    calls = [
        call("ADD", "c1", a=1, b=2),
        call("add", "c2", a=3, b=4),
        call("ADD", "c3", a="one"),
        call("SUB", "c4"),
        {"id": "c5", "function": {"name": "ADD", "arguments": "{"}},
        {"id": "c6"},
        None,
    ]
    results = await pipeline_of(executor, calls).run()
    output = results["tools"]
    assert output.status is StageStatus.OK
    answers = output.data["tool_results"]
    assert [each["tool_call_id"] for each in answers] == ["c1", "c2", "c3", "c4", "c5", "c6", ""]
    contents = [json.loads(each["content"]) for each in answers]
    assert contents[:2] == [{"sum": 3}, {"sum": 7}]
    assert all("error" in each for each in contents[2:])
    assert output.data["messages"] == answers
    statuses = [each["status"] for each in output.data["results"]]
    assert statuses == ["completed"] * 2 + ["invalid", "not_found"] + ["invalid"] * 3
    assert (output.data["call_count"], output.data["failure_count"]) == (7, 5)
    assert [(each.type, each.payload) for each in output.artifacts] == [
        ("calculation", {"kind": "sum"})
    ] * 2


@pytest.mark.parametrize("provider", sorted(CALL_FORMATS))
async def test_calls_and_results_have_the_providers_shape(executor, provider):
    arguments = {"a": 1, "b": 2}
    shapes = {
        "openai": call("ADD", "c1", **arguments),
        "openai-responses": {
            "type": "function_call",
            "call_id": "c1",
            "name": "ADD",
            "arguments": json.dumps(arguments),
        },
        "anthropic": {"type": "tool_use", "id": "c1", "name": "ADD", "input": arguments},
        "gemini": {"functionCall": {"id": "c1", "name": "ADD", "args": arguments}},
        "direct": {"id": "c1", "name": "ADD", "arguments": arguments},
    }
    results = await pipeline_of(executor, [shapes[provider]], provider=provider).run()
    shape = get_call_format(provider)
    expected = shape.result("c1", "ADD", ToolOutput.ok({"sum": 3}))
    assert results["tools"].data["tool_results"] == [expected]
    assert results["tools"].data["messages"] == shape.messages([expected])


@pytest.mark.parametrize("calls", [[], None])
async def test_without_calls_there_are_no_results(executor, calls):
    data = (await pipeline_of(executor, calls).run())["tools"].data
    assert (data["tool_results"], data["messages"], data["results"]) == ([], [], [])
    assert (data["call_count"], data["failure_count"]) == (0, 0)


async def test_the_calls_may_be_under_another_key_and_of_one_stage(executor):
    stage = ToolStage(executor, calls_key="wanted", stage="b", name="act", kind=StageKind.WORK)
    assert (stage.name, stage.kind) == ("act", StageKind.WORK)
    ctx = create_test_stage_context(
        prior_outputs={
            "a": StageOutput.ok(wanted=[]),
            "b": StageOutput.ok(wanted=[call("ADD", a=1, b=1)]),
        },
        stage_name="act",
    )
    assert (await stage.execute(ctx)).data["call_count"] == 1
    assert (await ToolStage(executor, calls_key="wanted").execute(ctx)).data["call_count"] == 0


async def test_a_stage_without_its_key_is_an_error(executor):
    ctx = create_test_stage_context(prior_outputs={"a": StageOutput.ok()}, stage_name="tools")
    with pytest.raises(MissingInputError):
        await ToolStage(executor).execute(ctx)


def test_an_unknown_provider_is_told_when_the_stage_is_made(executor):
    with pytest.raises(UnknownCallFormatError):
        ToolStage(executor, provider="nobody")


async def test_the_output_can_be_kept(executor):
    calls = [call("ADD", "c1", a=1, b=2), call("SUB", "c2"), None]
    data = (await pipeline_of(executor, calls).run())["tools"].data
    codec = Codec()
    assert codec.decode(codec.encode(dict(data))) == data


async def test_the_same_calls_of_an_execution_are_the_same_actions(executor):
    async def ids(run, *calls):
        ctx = create_test_stage_context(
            prior_outputs={"model": StageOutput.ok(tool_calls=list(calls))},
            stage_name="tools",
            pipeline_run_id=UUID(int=run),
        )
        data = (await ToolStage(executor).execute(ctx)).data
        return [each["action_id"] for each in data["results"]]

    one, other = call("ADD", "c1", a=1, b=2), call("ADD", "c1", a=1, b=3)
    first = await ids(1, one, one, other)
    assert len(set(first)) == 3
    assert await ids(1, one, one, other) == first
    assert not set(await ids(2, one, one, other)) & set(first)


async def test_without_a_run_no_two_actions_are_the_same(executor):
    ctx = create_test_stage_context(
        prior_outputs={"model": StageOutput.ok(tool_calls=[call("ADD", a=1, b=2)])},
        stage_name="tools",
        snapshot=ContextSnapshot(),
    )
    assert ctx.pipeline_run_id is None
    one, two = [(await ToolStage(executor).execute(ctx)).data["results"][0] for _ in range(2)]
    assert one["action_id"] != two["action_id"]
