"""`@tool` on functions: name, description and schema derived, arguments made into values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, NewType, Optional, TypedDict
from uuid import UUID

import attrs
import jsonschema
import pydantic
import pytest

from stageflow.plugins import Secret
from stageflow.tools import (
    AdvancedToolExecutor,
    BaseTool,
    FunctionTool,
    ToolArgumentsError,
    ToolDefinition,
    ToolDefinitionError,
    ToolInput,
    ToolOutput,
    ToolRegistry,
    definition_of,
    tool,
)
from stageflow.tools.base import ToolInput as ClassToolInput
from stageflow.tools.base import ToolOutput as ClassToolOutput
from support.tools import Listening, action

Mode = Enum("Mode", {"FAST": "fast", "SLOW": "slow"})
Name = NewType("Name", str)


@attrs.frozen
class Place:
    """Where something is.

    Attributes:
        lat: How far north,
            in degrees.
        tags: Whatever helps.
    """

    lat: float
    lon: float = 0.0
    tags: list[str] = attrs.field(factory=list)


@dataclasses.dataclass
class Span:
    start: date
    days: int = 1


class Options(TypedDict, total=False):
    deep: bool


class Person(pydantic.BaseModel):
    name: str = pydantic.Field(min_length=2)
    password: pydantic.SecretStr | None = None


@attrs.frozen
class Node:
    children: list[Node]


def made(function: Any, **options: Any) -> FunctionTool:
    return tool(registry=ToolRegistry(), **options)(function)


def schema_of(annotation: Any) -> dict[str, Any]:
    def function(x): ...

    function.__annotations__["x"] = annotation
    return made(function).definition.input_schema["properties"]["x"]


def test_name_description_and_schema_come_from_the_function():
    registry = ToolRegistry()

    @tool(registry=registry)
    async def weather(city: str, days: int = 1) -> dict[str, Any]:
        """Tell what the weather will be.

        It is not always right.

        Args:
            city: Where,
                in English.
            days (int): How far ahead.

        Returns:
            The weather.
        """
        return {"city": city, "days": days}

    assert isinstance(weather, FunctionTool)
    assert (weather.name, weather.action_type) == ("weather", "weather")
    assert weather.description == "Tell what the weather will be. It is not always right."
    assert weather.definition.input_schema == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Where, in English."},
            "days": {"type": "integer", "description": "How far ahead.", "default": 1},
        },
        "required": ["city"],
        "additionalProperties": False,
    }
    assert registry.get_tool("weather") is weather


def test_what_is_given_wins_over_what_is_derived():
    @tool("SEND", "send_mail", "Sends it.", registry=ToolRegistry(), requires_approval=True)
    def send(to: str) -> None:
        """Something else."""

    facts = send.definition
    assert (facts.name, facts.action_type, facts.description) == ("send_mail", "SEND", "Sends it.")
    assert facts.requires_approval


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (str, {"type": "string"}),
        (int, {"type": "integer"}),
        (float, {"type": "number"}),
        (bool, {"type": "boolean"}),
        (Any, {}),
        (dict, {"type": "object"}),
        (list, {"type": "array"}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (Sequence[str], {"type": "array", "items": {"type": "string"}}),
        (set[str], {"type": "array", "items": {"type": "string"}, "uniqueItems": True}),
        (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
        (
            tuple[int, str],
            {
                "type": "array",
                "prefixItems": [{"type": "integer"}, {"type": "string"}],
                "minItems": 2,
                "maxItems": 2,
            },
        ),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (Mapping[str, Any], {"type": "object"}),
        (Literal["a", 1], {"enum": ["a", 1]}),
        (Mode, {"enum": ["fast", "slow"]}),
        (Optional[int], {"anyOf": [{"type": "integer"}, {"type": "null"}]}),  # noqa: UP045
        (int | str, {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
        (datetime, {"type": "string", "format": "date-time"}),
        (UUID, {"type": "string", "format": "uuid"}),
        (Name, {"type": "string"}),
        (Annotated[int, "How many."], {"type": "integer", "description": "How many."}),
        (Annotated[int, {"minimum": 1}], {"type": "integer", "minimum": 1}),
        (Secret, {"type": "string", "writeOnly": True}),
        (
            Place,
            {
                "type": "object",
                "properties": {
                    "lat": {"type": "number", "description": "How far north, in degrees."},
                    "lon": {"type": "number"},
                    "tags": {
                        "type": "array",
                        "items": {"type": "string"},
                        "description": "Whatever helps.",
                    },
                },
                "required": ["lat"],
                "additionalProperties": False,
            },
        ),
        (
            Span,
            {
                "type": "object",
                "properties": {
                    "start": {"type": "string", "format": "date"},
                    "days": {"type": "integer"},
                },
                "required": ["start"],
                "additionalProperties": False,
            },
        ),
        (
            Options,
            {
                "type": "object",
                "properties": {"deep": {"type": "boolean"}},
                "additionalProperties": False,
            },
        ),
    ],
    ids=str,
)
def test_annotations_become_schemas(annotation, schema):
    found = schema_of(annotation)
    assert found == schema
    jsonschema.Draft202012Validator.check_schema(found)


def test_models_bring_their_definitions_to_the_root():
    class Team(pydantic.BaseModel):
        members: list[Person]

    def invite(team: Team) -> None: ...

    invite.__annotations__["team"] = Team
    schema = made(invite).definition.input_schema
    assert set(schema["$defs"]) == {"Person"}
    jsonschema.validate({"team": {"members": [{"name": "Bo"}]}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"team": {"members": [{"name": "B"}]}}, schema)


def test_v20_two_models_of_one_name_are_not_one_model():
    one = pydantic.create_model("Team", members=(list[Person], ...))
    other = pydantic.create_model("Person", age=(int, ...))
    two = pydantic.create_model("Group", people=(list[other], ...))

    def invite(a, b): ...

    invite.__annotations__.update(a=one, b=two)
    with pytest.raises(ToolDefinitionError, match="two models"):
        made(invite)


@pytest.mark.parametrize(
    "annotation", [object, bytes, complex, dict[int, str], Node, "Missing", list[object]], ids=str
)
def test_an_annotation_that_says_nothing_is_refused(annotation):
    with pytest.raises(ToolDefinitionError):
        schema_of(annotation)


def test_every_parameter_that_a_model_cannot_give_is_told():
    def odd(a, /, b: object, *c, **d): ...

    with pytest.raises(ToolDefinitionError) as caught:
        made(odd)
    assert all(f"{name}:" in str(caught.value) for name in "abcd")


def test_an_option_that_no_tool_has_is_refused():
    with pytest.raises(ToolDefinitionError, match="undoeable"):
        made(lambda: None, name="x", undoeable=True)


async def run(function: Any, **arguments: Any) -> ToolOutput:
    executor = AdvancedToolExecutor(tools=[made(function, name="it")])
    return await executor.execute(action("it", **arguments), Listening())


@pytest.mark.anyio
async def test_arguments_become_what_was_annotated():
    seen: dict[str, Any] = {}

    async def take(
        place: Place,
        span: Span,
        person: Person,
        mode: Mode,
        when: datetime,
        key: Secret,
        amount: Decimal,
        which: int | str,
        maybe: Place | None = None,
        names: set[str] = frozenset(),  # type: ignore[assignment]
        extra: Annotated[int, {"minimum": 1}] = 1,
    ) -> None:
        seen.update(locals())

    output = await run(
        take,
        place={"lat": 1},
        span={"start": "2024-02-29"},
        person={"name": "Bo"},
        mode="fast",
        when="2025-01-01T00:00:00+00:00",
        key="hunter22",
        amount="1.10",
        which="two",
        names=["a", "b"],
    )
    assert output == ToolOutput.ok({})
    seen.pop("seen", None)
    assert seen == {
        "place": Place(1.0),
        "span": Span(date(2024, 2, 29)),
        "person": Person(name="Bo"),
        "mode": Mode("fast"),
        "when": datetime(2025, 1, 1, tzinfo=UTC),
        "key": Secret("hunter22"),
        "amount": Decimal("1.10"),
        "which": "two",
        "maybe": None,
        "names": {"a", "b"},
        "extra": 1,
    }


@pytest.mark.anyio
@pytest.mark.parametrize(
    "arguments",
    [
        {"when": "yesterday", "place": {"lat": 1}},
        {"when": "2025-01-01", "place": {"lat": "1"}},
        {"when": "2025-01-01", "place": {"lat": 1, "height": 3}},
        {"when": "2025-01-01", "place": {}},
        {"when": "2025-01-01"},
        {"when": "2025-01-01", "place": {"lat": 1}, "who": "me"},
        {"when": 7, "place": None},
    ],
)
async def test_arguments_that_do_not_fit_never_reach_the_function(arguments):
    called = []

    def take(when: date, place: Place) -> None:
        called.append(when)

    with pytest.raises(ToolArgumentsError) as caught:
        await run(take, **arguments)
    assert all(fault.startswith("$") for fault in caught.value.faults)
    assert called == []


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("given", "data"),
    [
        (None, {}),
        ({"a": 1}, {"a": 1}),
        (7, {"result": 7}),
        ("text", {"result": "text"}),
        ([Place(1.0)], {"result": [{"lat": 1.0, "lon": 0.0, "tags": []}]}),
        (Place(1.0), {"lat": 1.0, "lon": 0.0, "tags": []}),
        (Span(date(2024, 2, 29)), {"start": "2024-02-29", "days": 1}),
        (Person(name="Bo"), {"name": "Bo", "password": None}),
        (ToolOutput.ok({"x": 1}), {"x": 1}),
    ],
    ids=str,
)
async def test_what_a_function_gives_becomes_an_output(given, data):
    def give():
        return given

    async def give_later():
        return given

    async def later():
        return given

    def give_a_coroutine():
        return later()

    for function in (give, give_later, give_a_coroutine):
        assert (await run(function)).data == data


@pytest.mark.anyio
async def test_a_function_may_tell_that_it_failed():
    output = await run(lambda: ToolOutput.fail("no luck"))
    assert (output.success, output.error) == (False, "no luck")


@pytest.mark.anyio
async def test_a_function_may_take_the_context_and_the_whole_input():
    async def take(x: int, given: ToolInput, ctx: Any) -> dict[str, Any]:
        return {"x": x, "behavior": given.behavior, "mode": ctx.execution_mode}

    assert (await run(take, x=1)).data == {"x": 1, "behavior": "practice", "mode": "practice"}


@pytest.mark.anyio
async def test_a_function_may_take_anything_as_the_whole_input():
    async def take(given: ToolInput) -> dict[str, Any]:
        return given.payload

    assert made(take).definition.input_schema == {}
    assert (await run(take, a=1, b=[2])).data == {"a": 1, "b": [2]}


@pytest.mark.anyio
async def test_a_function_tool_can_still_be_called_and_used_as_a_class():
    double = made(lambda x: x * 2, name="double")
    assert double(4) == 8
    output = await double.execute(ClassToolInput(action("double", x=4)), {})
    assert output == ClassToolOutput(True, {"result": 8})
    assert "double" in repr(double)


# --- tools that are classes ---


class Upper(BaseTool):
    name = "upper"
    description = "Makes it large."
    action_type = "UPPER"
    input_schema = {  # noqa: RUF012 - as a user writes it
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
    }

    async def execute(self, input: ClassToolInput, ctx: dict[str, Any]) -> ClassToolOutput:
        return ClassToolOutput(
            True, {"text": input.action.payload["text"].upper(), "run": ctx["pipeline_run_id"]}
        )


@pytest.mark.anyio
async def test_an_executor_takes_an_instance_of_a_tool_class():
    ctx = Listening()
    executor = AdvancedToolExecutor(tools=[Upper()])
    output = await executor.execute(action("UPPER", text="a"), ctx)
    assert output.data == {"text": "A", "run": str(ctx.pipeline_run_id)}
    with pytest.raises(ToolArgumentsError):
        await executor.execute(action("UPPER", text=1), ctx)


def test_a_definition_is_found_in_whatever_is_a_tool():
    own = ToolDefinition("x", "X", print)
    assert definition_of(own) is own
    wrapped = made(lambda: None, name="x")
    assert definition_of(wrapped) is wrapped.definition
    assert definition_of(Upper()).description == "Makes it large."
    for nothing in (None, 7, Upper, object(), print):
        with pytest.raises(ToolDefinitionError):
            definition_of(nothing)


def test_a_bare_decorator_registers_the_function_once():
    from stageflow.tools import clear_tool_registry, get_tool_registry

    clear_tool_registry()
    try:

        @tool
        def ping() -> str:
            """Answer."""
            return "pong"

        assert ping() == "pong"
        assert get_tool_registry().get_tool("ping") is ping
    finally:
        clear_tool_registry()
