"""Inputs as they are written on a command line and in a file."""

from __future__ import annotations

import io
import json
import math
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stageflow.cli.errors import InputError
from stageflow.cli.inputs import read_inputs

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def codes(error: InputError) -> list[str]:
    return [fault.code for fault in error.faults]


@given(JSON)
def test_what_is_json_is_read_as_json(value: object):
    assert read_inputs([f"x={json.dumps(value)}"]).values == {"x": value}


@given(st.text())
def test_what_is_not_json_is_the_text_itself(text: str):
    value = read_inputs([f"x={text}"]).values["x"]
    try:
        expected = json.loads(text, parse_constant=lambda constant: constant)
    except ValueError:
        expected = text
    assert value == expected


@pytest.mark.parametrize(
    "text", ["NaN", "Infinity", "-Infinity", "1" * 5000, "[" * 100_000, "", "a=b"]
)
def test_what_only_looks_like_json_is_text(text: str):
    assert read_inputs([f"x={text}"]).values == {"x": text}


def test_input_text_is_never_json():
    given = read_inputs(["input_text=123"])
    assert given.input_text == "123"
    assert read_inputs(["x=1"]).input_text is None


def test_input_text_of_a_file_is_a_text(tmp_path: Path):
    file = tmp_path / "in.json"
    file.write_text('{"input_text": [1]}', encoding="utf-8")
    assert read_inputs([], file).input_text == "[1]"


@pytest.mark.parametrize(
    ("annotation", "expected"), [(str, "1.10"), (float, 1.1), ("str | None", "1.10")]
)
def test_where_a_text_is_wanted_it_stays_as_written(annotation: object, expected: object):
    assert read_inputs(["version=1.10"]).value("version", annotation) == expected


def test_options_win_over_the_file(tmp_path: Path):
    file = tmp_path / "in.json"
    file.write_text('{"a": 1, "b": {"c": [2]}}', encoding="utf-8")
    assert read_inputs(["a=3"], file).values == {"a": 3, "b": {"c": [2]}}


def test_a_dash_reads_the_standard_input(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"a": 1}'))
    assert read_inputs([], Path("-")).values == {"a": 1}


def test_every_fault_is_told_at_once(tmp_path: Path):
    file = tmp_path / "in.json"
    file.write_text('{"a": 1, "a": 2}', encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_inputs(["x", "n=1", "n=2", "=3"], file)
    assert codes(caught.value) == ["SF909", "SF908", "SF909", "SF908"]
    assert "'1' and '2'" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{\n  'a': 1}", "line 2, column 3"),
        ("[1]", "not a JSON object"),
        ('{"a": NaN}', "NaN"),
        (None, "No such file"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, text: str | None, why: str):
    file = tmp_path / "in.json"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_inputs([], file)
    assert codes(caught.value) == ["SF910"]
    assert why in str(caught.value)
    assert str(file) in str(caught.value)


def test_numbers_of_a_file_keep_their_size(tmp_path: Path):
    file = tmp_path / "in.json"
    file.write_text('{"a": 1e3, "b": 12345678901234567890}', encoding="utf-8")
    values = read_inputs([], file).values
    assert math.isclose(values["a"], 1000.0)
    assert values["b"] == 12345678901234567890
