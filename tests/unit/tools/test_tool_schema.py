"""Schemas at work: faults with their paths, and secrets that nobody gets to see."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stageflow.tools import AdvancedToolExecutor, ToolDefinitionError
from stageflow.tools._schema import REDACTED, CompiledSchema, SchemaFaultError, scrub
from support.tools import definition


def obj(**properties):
    return {"type": "object", "properties": properties}


SECRET = {"type": "string", "writeOnly": True}
MARKS = [
    {"writeOnly": True},
    {"x-secret": True},
    {"type": "string", "format": "password"},
]
PLACES = {
    "member": (obj(a=SECRET), {"a": "hunter22"}),
    "deep": (obj(a=obj(b={"type": "array", "items": SECRET})), {"a": {"b": ["hunter22"]}}),
    "any additional": ({"additionalProperties": SECRET}, {"a": "hunter22"}),
    "pattern": ({"patternProperties": {"^a": SECRET}}, {"abc": "hunter22"}),
    "tuple": (obj(a={"prefixItems": [{}, SECRET]}), {"a": [1, "hunter22"]}),
    "reference": (
        {**obj(a={"$ref": "#/$defs/Key"}), "$defs": {"Key": SECRET}},
        {"a": "hunter22"},
    ),
    "recursive": (
        {
            "$ref": "#/$defs/Node",
            "$defs": {"Node": obj(key=SECRET, next={"$ref": "#/$defs/Node"})},
        },
        {"next": {"next": {"key": "hunter22"}}},
    ),
    "escaped reference": (
        {**obj(a={"$ref": "#/$defs/a~1b~0"}), "$defs": {"a/b~": SECRET}},
        {"a": "hunter22"},
    ),
    "branch": (obj(a={"anyOf": [{"type": "integer"}, SECRET]}), {"a": "hunter22"}),
    "all of": ({"allOf": [obj(a=SECRET), obj(a={"type": "string"})]}, {"a": "hunter22"}),
    "then": ({"if": obj(), "then": obj(a=SECRET)}, {"a": "hunter22"}),
    "whole": ({**obj(a={}), "writeOnly": True}, {"a": "hunter22"}),
    "wrong type": (obj(a=SECRET), {"a": {"nested": ["hunter22"]}}),
    "misspelt": (obj(password=SECRET), {"pasword": "hunter22"}),
    "in an unknown list": (obj(password=SECRET, a={"type": "array"}), {"a": ["hunter22"]}),
}


@pytest.mark.parametrize("mark", MARKS, ids=str)
def test_every_mark_of_a_secret_counts(mark):
    shown = CompiledSchema(obj(a=mark, b={"type": "string"})).redact({"a": "hunter22", "b": "ok"})
    assert shown == {"a": REDACTED, "b": "ok"}


@pytest.mark.parametrize("place", sorted(PLACES))
def test_a_secret_is_hidden_wherever_it_lies(place):
    schema, value = PLACES[place]
    compiled = CompiledSchema(schema)
    before = json.dumps(value)
    assert "hunter22" not in json.dumps(compiled.redact(value))
    assert json.dumps(value) == before
    assert compiled.secrets(value) == {"hunter22"}
    assert compiled.restore(compiled.redact(value), value) == value
    assert "hunter22" not in " ".join(compiled.faults(value))


@pytest.mark.parametrize("mark", [{"writeOnly": False}, {"x-secret": "no"}, {"format": "uuid"}])
def test_what_is_no_mark_hides_nothing(mark):
    value = {"a": "plain", "unknown": [{"x": 1}]}
    shown = CompiledSchema(obj(a=mark)).redact(value)
    assert shown == value
    assert shown is not value
    assert shown["unknown"] is not value["unknown"]


def test_a_schema_tells_every_fault_with_its_path():
    compiled = CompiledSchema(
        {**obj(a={"type": "integer"}, b={"type": "array", "items": {"type": "string"}})}
        | {"required": ["c"]}
    )
    told = compiled.faults({"a": "x", "b": ["y", 1]})
    assert len(told) == 3
    assert any(fault.startswith("$.a: 'x'") for fault in told)
    assert any(fault.startswith("$.b[1]: 1") for fault in told)
    assert any("'c' is a required" in fault for fault in told)
    assert compiled.faults({"a": 1, "b": [], "c": None}) == []


def test_faults_are_bounded():
    compiled = CompiledSchema({"type": "array", "items": {"type": "string"}})
    told = compiled.faults([0] * 1000)
    assert len(told) == 21
    assert told[-1] == "and more"
    long = CompiledSchema(obj(a={"type": "integer"})).faults({"a": "x" * 10_000})
    assert len(long[0]) < 300


def test_a_fault_never_shows_a_secret_but_names_what_is_missing():
    schema = {**obj(a=SECRET, b={"type": "string"}), "required": ["b"], "maxProperties": 1}
    told = CompiledSchema(schema).faults({"a": 22, "hunter22": "hunter22"})
    assert "hunter22" not in " ".join(told)
    assert any("'b' is a required" in fault for fault in told)
    assert any(fault.startswith("$.a:") for fault in told)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nothing"},
        {"type": 7},
        {"properties": []},
        {"$ref": "https://example.org/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"properties": {"a": {"$ref": "#/$defs/missing"}}},
        {"$ref": "#anchor"},
        {"$ref": "other.json#/a"},
    ],
    ids=str,
)
def test_a_schema_that_is_none_or_lies_elsewhere_is_refused(schema):
    with pytest.raises(SchemaFaultError):
        CompiledSchema(schema)


def test_a_data_value_that_looks_like_a_reference_is_none():
    compiled = CompiledSchema(obj(a={"const": {"$ref": "elsewhere"}}))
    assert compiled.faults({"a": {"$ref": "elsewhere"}}) == []


def test_both_schemas_of_a_definition_are_judged_when_it_is_registered():
    tool = definition(input_schema={"type": "nothing"}, output_schema={"type": 7})
    with pytest.raises(ToolDefinitionError) as caught:
        AdvancedToolExecutor(tools=[tool])
    assert [fault.split(" ")[0] for fault in caught.value.faults] == [
        "input_schema",
        "output_schema",
    ]


def test_an_edit_keeps_what_its_author_could_not_see():
    compiled = CompiledSchema(obj(user={"type": "string"}, key=SECRET, more={"type": "array"}))
    original = {"user": "bo", "key": "hunter22", "more": ["hidden too"]}
    assert compiled.restore({"user": "al", "key": REDACTED}, original) == {
        "user": "al",
        "key": "hunter22",
    }
    assert compiled.restore({"key": "new"}, original) == {"key": "new"}
    assert compiled.restore({"user": REDACTED}, original) == {"user": REDACTED}
    assert compiled.restore({"more": [REDACTED]}, original) == {"more": ["hidden too"]}


def test_texts_are_scrubbed_of_secrets_the_longest_first():
    told = scrub("hunter2222 is not hunter22", frozenset({"hunter22", "hunter2222"}))
    assert told == f"{REDACTED} is not {REDACTED}"
    assert CompiledSchema(obj(a=SECRET)).secrets({"a": "abc"}) == frozenset()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(payload=st.dictionaries(st.sampled_from(["a", "b", "c"]), JSON, max_size=3))
def test_what_is_shown_restores_what_was_given(payload):
    inner = {"anyOf": [obj(a=SECRET, b={}), {"type": "array", "items": obj(c=SECRET)}]}
    compiled = CompiledSchema(obj(a=SECRET, b=inner, c={"type": "string"}))
    shown = compiled.redact(payload)
    assert set(shown) == set(payload)
    assert payload.get("a") is None or shown["a"] == REDACTED
    assert compiled.restore(shown, payload) == payload
