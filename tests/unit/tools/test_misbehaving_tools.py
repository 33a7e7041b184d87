"""Handlers, arguments and deciders that misbehave: one call is lost to nobody, and tells why."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Iterable
from datetime import date
from typing import NotRequired, Required, TypedDict

import anyio
import attrs
import pydantic
import pytest

from stageflow.tools import (
    AdvancedToolExecutor,
    ApprovalDecisionError,
    ApprovalService,
    ToolArgumentsError,
    ToolExecutionError,
    ToolOutput,
    ToolRegistry,
    UndoStore,
    tool,
)
from support.tools import Desk, Listening, action, call, definition, echo

pytestmark = pytest.mark.anyio

SECRET = {"type": "string", "writeOnly": True}
CARD = {
    "type": "object",
    "properties": {
        "card": SECRET,
        "cards": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"card": SECRET, "of": {"type": "string"}},
            },
        },
    },
}


def gives(value):
    async def handler(given):
        return value

    return handler


def raises(error):
    async def handler(given):
        raise error(given) if callable(error) else error

    return handler


async def outcome(*tools, calls=None):
    ctx = Listening()
    executor = AdvancedToolExecutor(undo_store=UndoStore(), tools=[*tools, definition("FINE")])
    return await executor.execute_batch([*(calls or [action("BAD")]), action("FINE")], ctx), ctx


# --- handlers ---------------------------------------------------------------------------------


async def cancelled_itself(given):
    raise asyncio.CancelledError("of its own")


async def waited_for_what_was_cancelled(given):
    waiting = asyncio.ensure_future(asyncio.sleep(3600))
    await asyncio.sleep(0)
    waiting.cancel()
    await waiting


@pytest.mark.parametrize("timeout", [None, 3600])
@pytest.mark.parametrize("handler", [cancelled_itself, waited_for_what_was_cancelled])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_handler_whose_own_work_is_cancelled_loses_no_other_call(handler, timeout):
    with anyio.fail_after(10):
        (bad, fine), ctx = await outcome(definition("BAD", handler, timeout_seconds=timeout))
    assert fine.success
    assert (bad.status.value, bad.error.code) == ("failed", "SF506")
    assert "what it waited for was cancelled" in bad.output.error
    assert ctx.of(bad.action_id) == ["tool.invoked", "tool.started", "tool.failed"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_call_that_is_cancelled_by_its_task_is_still_cancelled():
    executor = AdvancedToolExecutor(tools=[definition("BAD", waited := Waiting())])
    running = asyncio.ensure_future(executor.execute(action("BAD"), None))
    await waited.begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


class Waiting:
    def __init__(self):
        self.begun = asyncio.Event()

    async def __call__(self, given):
        self.begun.set()
        await asyncio.sleep(3600)


class MuteError(Exception):
    def __str__(self):
        raise LookupError("no words")


async def test_an_error_without_words_is_told_all_the_same():
    (bad, fine), ctx = await outcome(definition("BAD", raises(MuteError())))
    assert fine.success
    assert "MuteError, whose text cannot be had" in bad.output.error
    assert json.loads(json.dumps(bad.to_dict()))["error"]["error_type"] == "ToolExecutionError"
    assert ctx.last("tool.failed")["error_type"] == "MuteError"


RING: dict[str, object] = {}
RING["again"] = RING


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (ToolOutput.ok(RING), "it holds itself, or is nested too deep"),
        (ToolOutput(True, {}, None, 5), "its artifacts is of type int, not a list"),
        (ToolOutput(True, {}, None, [5]), "one of its artifacts is of type int, not a dictionary"),
        (ToolOutput(False, None, 5), "its error is of type int, not a text"),
        (ToolOutput(True, {}, undo_metadata="x"), "its undo_metadata is of type str"),
    ],
)
async def test_an_output_of_the_wrong_shape_is_the_handlers_failure(given, why):
    bad = definition("BAD", gives(given), undoable=True, undo_handler=echo)
    with pytest.raises(ToolExecutionError) as caught:
        await AdvancedToolExecutor(undo_store=UndoStore(), tools=[bad]).execute(action("BAD"), None)
    assert why in caught.value.message
    (result, fine), ctx = await outcome(bad)
    assert (result.status.value, fine.success) == ("failed", True)
    assert ctx.of(result.action_id) == ["tool.invoked", "tool.started", "tool.failed"]


# --- arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "payload"),
    [
        ({}, {"x": float("nan")}),
        ({}, {"x": float("inf")}),
        ({}, {1: "x"}),
        ({"patternProperties": {"^x": {"type": "string"}}}, {1: "x"}),
        ({}, {"deep": {"x": [{2: 3}]}}),
        ({"properties": {"x": {"multipleOf": 0.5}}}, {"x": 10**400}),
        ({"$ref": "#"}, {"x": 1}),
    ],
)
async def test_arguments_that_cannot_be_checked_are_refused(schema, payload):
    executor = AdvancedToolExecutor(tools=[definition("BAD", input_schema=schema)])
    bad = action("BAD")
    bad.payload.update(payload)
    with pytest.raises(ToolArgumentsError, match=r"\$"):
        await executor.execute(bad, None)


async def test_arguments_beyond_the_range_of_numbers_are_refused():
    executor = AdvancedToolExecutor(tools=[definition()])
    calls = [{"id": "1", "function": {"name": "echo", "arguments": '{"x": 1e999}'}}]
    (result,) = await executor.execute_calls(calls, None)
    assert result.status.value == "invalid"


def too_deep():
    outer = inner = {}
    for _ in range(3000):
        inner["x"] = inner = {}
    return outer


@pytest.mark.parametrize(
    "arguments", [{1: 2, "b": 3}, too_deep(), RING], ids=["names", "deep", "ring"]
)
async def test_odd_arguments_in_a_named_batch_lose_no_other_call(arguments):
    executor = AdvancedToolExecutor(tools=[definition()])
    calls = [{"id": "1", "name": "echo", "arguments": arguments}, {"id": "2", "name": "echo"}]
    results = await executor.execute_calls(calls, None, provider="direct", key="k")
    assert [each.status.value for each in results] == ["invalid", "completed"]
    again = await executor.execute_calls(calls, None, provider="direct", key="k")
    assert [each.action_id for each in again] == [each.action_id for each in results]


@attrs.frozen
class Aliased:
    _inside: int
    total: int = attrs.field(default=0, alias="sum")


async def test_fields_of_attrs_classes_are_given_by_the_names_their_schema_tells():
    @tool(registry=ToolRegistry())
    def count(of: Aliased, rest: list[Aliased] | None = None) -> list[int]:
        return [of._inside, of.total, *(each._inside for each in rest or ())]

    arguments = {"of": {"inside": 1, "sum": 2}, "rest": [{"inside": 3}]}
    (result,) = await AdvancedToolExecutor(tools=[count]).execute_calls(
        [call("count", **arguments)], None
    )
    assert result.output.data == {"result": [1, 2, 3]}


class Half(TypedDict, total=False):
    a: Required[int]
    b: NotRequired[str]


async def test_keys_of_typed_dictionaries_may_be_marked_one_by_one():
    @tool(registry=ToolRegistry())
    def half(of: Half) -> int:
        return of["a"]

    assert half.definition.input_schema["properties"]["of"]["required"] == ["a"]
    executor = AdvancedToolExecutor(tools=[half])
    calls = [call("half", of={"a": 1}), call("half", of={"b": "x"})]
    results = await executor.execute_calls(calls, None)
    assert [each.status.value for each in results] == ["completed", "invalid"]


async def test_what_is_only_looped_over_is_a_list():
    @tool(registry=ToolRegistry())
    def total(of: Iterable[int], more: Collection[int]) -> int:
        return sum(of) + sum(more)

    executor = AdvancedToolExecutor(tools=[total])
    (result,) = await executor.execute_calls([call("total", of=[1, 2], more=[3])], None)
    assert result.output.data == {"result": 6}


class Guarded(pydantic.BaseModel):
    size: int
    key: pydantic.SecretStr | None = None

    @pydantic.model_validator(mode="after")
    def is_small(self):
        if self.size > 5:
            raise ValueError("size is above 5")
        return self


@attrs.frozen
class Dated:
    on: date


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        (date, "soon", "$.of: Invalid isoformat string: 'soon'"),
        (Dated, {"on": "soon"}, "$.of.on: no date: Invalid isoformat string: 'soon'"),
        (Guarded, {"size": 9, "key": "k" * 80}, "$.of: Value error, size is above 5"),
    ],
)
async def test_a_model_is_told_why_its_value_will_not_do(kind, value, why):
    def take(of):
        return 1

    take.__annotations__ = {"of": kind}
    executor = AdvancedToolExecutor(tools=[tool(registry=ToolRegistry())(take)])
    (result,) = await executor.execute_calls([call("take", of=value)], None)
    assert result.status.value == "invalid"
    assert why in result.output.error
    assert "kkk" not in result.output.error


# --- secrets ----------------------------------------------------------------------------------


@pytest.mark.parametrize("card", ["4000-1234-5678-9010", "it's\na \\ card", "Kärtchen €"])
@pytest.mark.parametrize(
    "error",
    [
        lambda given: KeyError(given.payload["card"]),
        lambda given: ValueError("x" * 490 + given.payload["card"]),
        lambda given: RuntimeError(json.dumps(given.payload)),
    ],
    ids=["quoted", "cut off", "as JSON"],
)
async def test_no_word_of_a_failure_tells_a_secret(card, error):
    bad = definition("BAD", raises(error), input_schema=CARD)
    (result, _), ctx = await outcome(bad, calls=[action("BAD", card=card)])
    told = [*texts(result.to_dict()), *texts(ctx.last("tool.failed"))]
    shown = {part for part in parts(card) for text in told if part in text}
    assert shown == set()
    assert isinstance(result.error.cause, Exception)  # who debugs has it as it was


def texts(value):
    if isinstance(value, dict):
        return [text for each in value.values() for text in texts(each)]
    return [value] if isinstance(value, str) else []


def parts(secret):
    forms = (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1])
    return {form[at : at + 6] for form in forms for at in range(max(1, len(form) - 5))}


@pytest.mark.parametrize(
    "cards", [["two"], ["two", "one", "three"], []], ids=["dropped", "added", "none"]
)
async def test_an_edit_never_hands_a_redacted_secret_to_the_handler(cards):
    seen = []

    async def handler(given):
        seen.append(given.payload)
        return ToolOutput.ok({})

    approvals = ApprovalService()
    bad = definition("BAD", handler, input_schema=CARD, requires_approval=True)
    executor = AdvancedToolExecutor(approval_service=approvals, tools=[bad])
    edited = {"cards": [{"of": each, "card": "[redacted]"} for each in cards]}
    wanted = action("BAD", cards=[{"of": "one", "card": "1111"}, {"of": "two", "card": "2222"}])
    decision = {"granted": True, "payload": edited}
    async with Desk(approvals, lambda request: decision).open():
        (result,) = await executor.execute_batch([wanted], None)
    if cards:
        assert (result.status.value, seen) == ("invalid", [])
        assert "has moved '[redacted]'" in result.output.error
    else:
        assert (result.status.value, seen) == ("completed", [{"cards": []}])


# --- deciders ---------------------------------------------------------------------------------


@pytest.mark.parametrize("granted", ["no", "false", 1, None])
async def test_v03_only_a_clear_answer_decides(granted):
    approvals = ApprovalService()
    request = await approvals.request_approval(action().id, "echo")
    with pytest.raises(ApprovalDecisionError, match="SF524") as caught:
        await approvals.record_decision(request.id, granted)
    assert caught.value.request_id == request.id
    assert (await approvals.get_request(request.id)).is_pending
