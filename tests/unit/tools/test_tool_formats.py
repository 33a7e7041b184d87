"""The shapes of providers: calls read, results written, tools declared."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stageflow.tools import (
    CALL_FORMATS,
    ToolCallFormat,
    ToolOutput,
    UnknownCallFormatError,
    get_call_format,
)
from support.tools import definition

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
CALLS = {
    "openai": {
        "id": "c1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
    },
    "openai-responses": {
        "type": "function_call",
        "id": "fc_9",
        "call_id": "c1",
        "name": "weather",
        "arguments": '{"city": "Oslo"}',
    },
    "anthropic": {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Oslo"}},
    "gemini": {"functionCall": {"id": "c1", "name": "weather", "args": {"city": "Oslo"}}},
    "direct": {"id": "c1", "name": "weather", "arguments": {"city": "Oslo"}},
}
ASIDE = {
    "openai-responses": [{"type": "message", "content": []}, {"type": "reasoning", "id": "r"}],
    "anthropic": [{"type": "text", "text": "Let me see."}, {"type": "thinking", "thinking": "…"}],
    "gemini": [
        {"text": "Let me see."},
        {"thought": True, "text": "…"},
        {"executableCode": {"language": "PYTHON", "code": "1 + 1"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2"}},
        {"inline_data": {"mime_type": "image/png", "data": ""}},
    ],
}
RESULTS = {
    "openai": {"role": "tool", "tool_call_id": "c1", "content": '{"sky": "grå"}'},
    "openai-responses": {
        "type": "function_call_output",
        "call_id": "c1",
        "output": '{"sky": "grå"}',
    },
    "anthropic": {
        "type": "tool_result",
        "tool_use_id": "c1",
        "content": '{"sky": "grå"}',
        "is_error": False,
    },
    "gemini": {
        "functionResponse": {
            "name": "weather",
            "response": {"output": {"sky": "grå"}},
            "id": "c1",
        }
    },
    "direct": {"id": "c1", "name": "weather", "success": True, "result": {"sky": "grå"}},
}


def test_every_preset_is_tried_here():
    assert set(CALL_FORMATS) == set(CALLS) == set(RESULTS)


@pytest.mark.parametrize("provider", sorted(CALLS))
def test_a_call_is_read(provider):
    (read,) = get_call_format(provider).parse([CALLS[provider]])
    assert (read.call_id, read.name, read.arguments) == ("c1", "weather", {"city": "Oslo"})
    assert read.error is None
    assert read.raw is CALLS[provider]


@pytest.mark.parametrize("provider", sorted(ASIDE))
def test_other_parts_of_an_answer_are_no_calls(provider):
    first, *rest = ASIDE[provider]
    read = get_call_format(provider).parse([first, CALLS[provider], *rest])
    assert [each.name for each in read] == ["weather"]


def test_gemini_may_give_no_id_and_another_spelling():
    (read,) = get_call_format("gemini").parse([{"function_call": {"name": "a", "args": None}}])
    assert (read.call_id, read.name, read.arguments) == ("", "a", {})
    result = get_call_format("gemini").result("", "a", ToolOutput.ok({}))
    assert result == {"functionResponse": {"name": "a", "response": {"output": {}}}}


@pytest.mark.parametrize("provider", sorted(RESULTS))
def test_a_result_is_written(provider):
    shape = get_call_format(provider)
    assert shape.result("c1", "weather", ToolOutput.ok({"sky": "grå"})) == RESULTS[provider]


@pytest.mark.parametrize("provider", sorted(RESULTS))
def test_a_failure_says_so_and_never_what_its_undo_knows(provider):
    shape = get_call_format(provider)
    failed = ToolOutput(False, {"tried": 3}, "no sky", None, {"before": "hidden"})
    written = json.dumps(shape.result("c1", "weather", failed))
    assert "no sky" in written
    assert "hidden" not in written
    assert shape.result("c1", "weather", failed) != shape.result("c1", "weather", ToolOutput.ok())


def test_results_become_the_messages_a_provider_wants():
    results = [{"a": 1}, {"b": 2}]
    assert get_call_format("openai").messages(results) == results
    assert get_call_format("openai-responses").messages(results) == results
    assert get_call_format("anthropic").messages(results) == [{"role": "user", "content": results}]
    assert get_call_format("gemini").messages(results) == [{"role": "user", "parts": results}]
    assert [get_call_format(name).messages([]) for name in CALL_FORMATS] == [[]] * 5


def test_tools_are_declared():
    tools = [definition("WEATHER", description="Tells it.", input_schema=SCHEMA)]
    plain = {"name": "weather", "description": "Tells it.", "parameters": SCHEMA}
    assert get_call_format("openai").declare(tools) == [{"type": "function", "function": plain}]
    assert get_call_format("openai-responses").declare(tools) == [{"type": "function", **plain}]
    assert get_call_format("anthropic").declare(tools) == [
        {"name": "weather", "description": "Tells it.", "input_schema": SCHEMA}
    ]
    assert get_call_format("gemini").declare(tools) == [{"functionDeclarations": [plain]}]
    assert get_call_format("gemini").declare([]) == []
    assert get_call_format("direct").declare(tools) == [plain]


def test_a_tool_that_takes_anything_is_declared_as_an_object():
    ((declared),) = get_call_format("anthropic").declare([definition()])
    assert declared["input_schema"] == {"type": "object", "properties": {}}


def test_what_json_cannot_hold_does_not_stop_a_result():
    written = get_call_format("openai").result("1", "a", ToolOutput.ok({"x": float("nan")}))
    assert "cannot be written" in json.loads(written["content"])["error"]
    loop: dict = {}
    loop["loop"] = loop
    answer = get_call_format("gemini").result("1", "a", ToolOutput.ok(loop))
    assert "cannot be written" in answer["functionResponse"]["response"]["error"]
    text = get_call_format("openai").result("1", "a", ToolOutput.ok({"x": object}))["content"]
    assert "class" in json.loads(text)["x"]


def test_arguments_that_are_too_long_are_not_even_read():
    shape = get_call_format("openai")
    long = {"id": "1", "function": {"name": "a", "arguments": '{"x": "' + "y" * 100 + '"}'}}
    (read,) = shape.parse([long], max_bytes=50)
    assert "too large" in read.error
    assert read.arguments == {}
    assert shape.parse([long], max_bytes=200)[0].error is None


def test_an_unknown_shape_is_told_with_those_there_are():
    with pytest.raises(UnknownCallFormatError, match="anthropic"):
        get_call_format("antropic")
    own = ToolCallFormat("own", name_field="tool")
    assert get_call_format(own) is own


@pytest.mark.parametrize(("calls", "count"), [(None, 0), ([], 0), ((), 0), ("text", 1), (7, 1)])
def test_calls_that_are_no_list_lose_nothing(calls, count):
    assert len(get_call_format("openai").parse(calls)) == count


def test_one_call_alone_is_taken_as_a_list_of_one():
    (read,) = get_call_format("openai").parse(CALLS["openai"])
    assert read.name == "weather"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "name", "function", "arguments", "type", "input", "args", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(provider=st.sampled_from(sorted(CALLS)), calls=st.lists(ANYTHING, max_size=3))
def test_whatever_a_model_says_is_read_without_an_error_of_ours(provider, calls):
    shape = get_call_format(provider)
    for read in shape.parse(calls):
        assert isinstance(read.arguments, dict)
        assert isinstance(read.call_id, str)
        assert read.error is not None or read.name
        assert any(read.raw is each for each in calls)
