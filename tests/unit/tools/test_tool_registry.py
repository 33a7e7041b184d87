"""ToolRegistry: registration, laziness, duplicates, and the calls of models resolved."""

from __future__ import annotations

import attrs
import pytest

import stageflow.tools
from stageflow.tools import (
    BaseTool,
    DuplicateToolError,
    ResolvedToolCall,
    ToolDefinitionError,
    ToolRegistry,
    UnresolvedToolCall,
    clear_tool_registry,
    get_tool_registry,
    register_tool,
    set_tool_registry,
    tool,
)
from stageflow.tools.base import ToolInput, ToolOutput
from support.tools import call


class Edit(BaseTool):
    name = "edit_document"
    description = "Edits a document."
    action_type = "EDIT"

    async def execute(self, input, ctx):
        return ToolOutput(True, {"id": input.action.id})


@pytest.fixture(autouse=True)
def _own_registry():
    before = get_tool_registry()
    clear_tool_registry()
    yield
    set_tool_registry(before)


def test_a_registered_tool_is_found_and_listed():
    registry, edit = ToolRegistry(), Edit()
    registry.register(edit)
    assert registry.get_tool("EDIT") is edit
    assert registry.can_execute("EDIT")
    assert "EDIT" in registry
    assert registry.list_tools() == [edit]


def test_nothing_is_found_under_an_unknown_type():
    registry = ToolRegistry()
    assert registry.get_tool("EDIT") is None
    assert not registry.can_execute("EDIT")
    assert "EDIT" not in registry
    assert registry.list_tools() == []


def test_a_factory_is_called_once_and_only_when_its_tool_is_wanted():
    registry, made = ToolRegistry(), []
    registry.register_factory("EDIT", lambda: made.append(Edit()) or made[-1])
    assert "EDIT" in registry
    assert registry.list_tools() == made == []
    first = registry.get_tool("EDIT")
    assert registry.get_tool("EDIT") is first is made[0]
    assert registry.list_tools() == made
    assert len(made) == 1


def _register_instance(registry, **options):
    registry.register(Edit(), **options)


def _register_factory(registry, **options):
    registry.register_factory("EDIT", Edit, **options)


@pytest.mark.parametrize("first", [_register_instance, _register_factory])
@pytest.mark.parametrize("second", [_register_instance, _register_factory])
def test_v20_a_second_tool_for_a_type_is_an_error_unless_it_replaces(first, second):
    registry = ToolRegistry()
    first(registry)
    before = registry.get_tool("EDIT")
    with pytest.raises(DuplicateToolError, match="EDIT"):
        second(registry)
    assert registry.get_tool("EDIT") is before
    second(registry, replace=True)
    assert registry.get_tool("EDIT") is not before


def test_v20_thirty_tools_of_one_type_are_not_one_tool():
    registry = ToolRegistry()
    refused = 0
    for _ in range(30):
        try:
            registry.register(Edit())
        except DuplicateToolError:
            refused += 1
    assert refused == 29


def test_a_tool_without_a_type_is_refused():
    with pytest.raises(ToolDefinitionError):
        ToolRegistry().register(object())
    with pytest.raises(ToolDefinitionError):
        ToolRegistry().register_factory("EDIT", "no factory")
    with pytest.raises(ToolDefinitionError):
        ToolRegistry().register_factory("", Edit)


def test_the_registry_of_those_who_name_none_is_one_until_it_is_cleared():
    first = get_tool_registry()
    edit = Edit()
    assert register_tool(edit) is None
    assert get_tool_registry() is first
    assert first.get_tool("EDIT") is edit
    clear_tool_registry()
    assert get_tool_registry() is not first
    assert "EDIT" not in get_tool_registry()
    set_tool_registry(first)
    assert get_tool_registry() is first


def test_the_decorator_leaves_the_class_as_it_is_and_registers_it():
    class Plain:
        async def execute(self, input, ctx):
            return ToolOutput(True)

    decorated = tool("SEND", name="send", description="Sends.")(Plain)
    assert decorated is Plain
    assert (Plain._tool_action_type, Plain._tool_name) == ("SEND", "send")
    assert Plain._tool_description == "Sends."
    assert isinstance(Plain(), Plain)
    assert get_tool_registry().list_tools() == []
    assert isinstance(get_tool_registry().get_tool("SEND"), Plain)


def test_the_decorator_takes_what_is_not_given_from_the_class():
    @tool("SEND")
    class Send:
        """Sends a message.

        Args:
            nothing: Of interest.
        """

    assert (Send._tool_name, Send._tool_description) == ("Send", "Sends a message.")

    @tool
    class Told:
        name = "told"
        action_type = "TOLD"
        description = "As it says."

    facts = (Told._tool_action_type, Told._tool_name, Told._tool_description)
    assert facts == ("TOLD", "told", "As it says.")
    assert "TOLD" in get_tool_registry()


def test_a_definition_that_is_run_again_replaces_itself():
    def define(answer):
        @tool("SEND")
        class Send:
            reply = answer

        return Send

    define(1)
    assert get_tool_registry().get_tool("SEND").reply == 1
    define(2)
    assert get_tool_registry().get_tool("SEND").reply == 2


def test_v20_another_definition_of_the_same_type_is_an_error():
    @tool("SEND")
    class Send:
        pass

    with pytest.raises(DuplicateToolError):

        @tool("SEND")
        class Other:
            pass

    with pytest.raises(DuplicateToolError):
        register_tool(type("Third", (), {"action_type": "SEND"})())


def test_a_decorator_can_name_another_registry():
    registry = ToolRegistry()

    @tool("SEND", registry=registry)
    class Send:
        pass

    assert "SEND" in registry
    assert "SEND" not in get_tool_registry()


def test_a_class_takes_no_options_of_a_function():
    with pytest.raises(ToolDefinitionError, match="undoable"):
        tool("SEND", undoable=True)(type("Send", (), {}))


# --- calls ---


@pytest.fixture
def registry():
    made = ToolRegistry()
    made.register(Edit())
    return made


def test_calls_of_openai_are_resolved_by_action_type(registry):
    raw = call("EDIT", id="call_7", text="x")
    resolved, unresolved = registry.parse_and_resolve([raw])
    assert unresolved == []
    assert resolved == [
        ResolvedToolCall(registry.get_tool("EDIT"), "call_7", "EDIT", {"text": "x"}, raw)
    ]
    assert resolved[0].raw is raw


def test_calls_in_the_direct_form(registry):
    raw = {"id": "1", "name": "EDIT", "arguments": {"a": 1}}
    resolved, unresolved = registry.parse_and_resolve([raw], function_wrapper=None)
    assert [(each.call_id, each.arguments) for each in resolved] == [("1", {"a": 1})]
    assert unresolved == []


def test_calls_with_fields_of_ones_own(registry):
    raw = {"ref": "9", "fn": {"tool": "EDIT", "params": '{"a": 1}'}}
    resolved, _ = registry.parse_and_resolve(
        [raw], id_field="ref", name_field="tool", arguments_field="params", function_wrapper="fn"
    )
    assert [(each.call_id, each.name, each.arguments) for each in resolved] == [
        ("9", "EDIT", {"a": 1})
    ]


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("", {}),
        ("  ", {}),
        ("{}", {}),
        ("null", {}),
        ('{"a": [1]}', {"a": [1]}),
        ({"a": 1}, {"a": 1}),
        (None, {}),
        (7, {}),
        (["a"], {}),
    ],
)
def test_arguments_as_they_may_come(registry, given, read):
    raw = {"id": "1", "function": {"name": "EDIT", "arguments": given}}
    (resolved,), _ = registry.parse_and_resolve([raw])
    assert resolved.arguments == read


@pytest.mark.parametrize("text", ["{", "{'a': 1}", "[1, 2]", '"text"', "NaN", '{"a": Infinity}'])
def test_arguments_that_are_no_json_object_are_told(registry, text):
    raw = {"id": "1", "function": {"name": "EDIT", "arguments": text}}
    resolved, (unresolved,) = registry.parse_and_resolve([raw])
    assert resolved == []
    assert "Invalid JSON" in unresolved.error
    assert (unresolved.call_id, unresolved.name, unresolved.arguments) == ("1", "EDIT", {})
    assert unresolved.raw is raw


def test_arguments_nested_beyond_reason_are_told(registry):
    deep = '{"a":' * 200_000 + "1" + "}" * 200_000
    raw = {"id": "1", "function": {"name": "EDIT", "arguments": deep}}
    _, (unresolved,) = registry.parse_and_resolve([raw])
    assert "Invalid JSON" in unresolved.error


def test_an_unknown_tool_is_told_with_its_near_matches(registry):
    _, (unresolved,) = registry.parse_and_resolve([call("EDTI")])
    assert "No tool registered" in unresolved.error
    assert "EDIT" in unresolved.error
    assert unresolved.arguments == {}


@pytest.mark.parametrize(
    "raw",
    [
        None,
        "EDIT",
        7,
        [],
        {},
        {"id": "1"},
        {"id": "1", "function": "EDIT"},
        {"id": "1", "function": None},
        {"id": "1", "function": {}},
        {"id": "1", "function": {"name": None}},
        {"id": "1", "function": {"name": ["EDIT"]}},
        {"id": "1", "function": {"name": ""}},
    ],
)
def test_malformed_calls_are_told_and_never_lost(registry, raw):
    calls = [call("EDIT"), raw, call("EDIT")]
    resolved, (unresolved,) = registry.parse_and_resolve(calls)
    assert len(resolved) == 2
    assert "Malformed" in unresolved.error
    assert unresolved.raw is raw


def test_a_factory_that_fails_loses_its_call_alone(registry):
    def broken():
        raise RuntimeError("no disk")

    registry.register_factory("SEND", broken)
    resolved, (unresolved,) = registry.parse_and_resolve([call("SEND"), call("EDIT")])
    assert "no disk" in unresolved.error
    assert len(resolved) == 1


def test_resolved_and_unresolved_calls_cannot_be_changed(registry):
    for made in (ResolvedToolCall(None, "1", "a", {}), UnresolvedToolCall("1", "a", {}, "no")):
        assert made.raw is None
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            made.name = "b"


def test_presets_are_read_by_name(registry):
    resolved, _ = registry.parse_and_resolve(
        [{"type": "tool_use", "id": "toolu_1", "name": "EDIT", "input": {"a": 1}}],
        provider="anthropic",
    )
    assert [(each.call_id, each.arguments) for each in resolved] == [("toolu_1", {"a": 1})]


@pytest.mark.anyio
async def test_a_tool_class_is_given_its_action():
    output = await Edit().execute(ToolInput(stageflow.tools.ToolAction(1, "EDIT", {})), {})
    assert output == ToolOutput(True, {"id": 1})
