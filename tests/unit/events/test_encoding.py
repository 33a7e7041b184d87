"""Events as JSON: whatever a payload holds, there is one sound line for it."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePosixPath
from types import MappingProxyType
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stageflow.events.encoding import encode_event, to_json
from stageflow.stages import StageStatus

AT = datetime(2025, 1, 1, tzinfo=UTC)


class Colour(Enum):
    RED = "red"


class Described:
    def to_dict(self):
        return {"id": UUID(int=1)}


class Shy:
    def __repr__(self):
        raise RuntimeError("no")


class BadError(Exception):
    def __str__(self):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (AT, "2025-01-01T00:00:00+00:00"),
        (date(2025, 1, 31), "2025-01-31"),
        (timedelta(seconds=90), 90.0),
        (Colour.RED, "red"),
        (StageStatus.OK, "ok"),
        (PurePosixPath("a/b"), "a/b"),
        (Decimal("1.10"), "1.10"),
        ({2, 1}, [1, 2]),
        ((1, (2,)), [1, [2]]),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (ValueError("no"), "ValueError: no"),
        (Described(), {"id": "00000000-0000-0000-0000-000000000001"}),
        (b"\x00", "b'\\x00'"),
        (Shy(), "<Shy>"),
        (BadError(), "<BadError>"),
        ({UUID(int=1): 1, (1, 2): 2, None: 3}, None),
        (math.inf, "inf"),
        (10**6000, hex(10**6000)),
        ([-(10**6000)], [hex(-(10**6000))]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_that_json_has_no_word_for(value, expected):
    told = json.loads(to_json({"deep": [value]}))["deep"][0]
    if expected is None:
        expected = {"00000000-0000-0000-0000-000000000001": 1, "(1, 2)": 2, "None": 3}
    assert told == expected


def test_long_representations_are_cut():
    class Long:
        def __repr__(self):
            return "x" * 10_000

    assert len(json.loads(to_json(Long()))) < 600


def test_a_cycle_and_endless_depth_end():
    cycle: dict[str, object] = {"a": 1}
    cycle["self"] = [cycle]
    assert json.loads(to_json(cycle)) == {"a": 1, "self": ["<cycle>"]}
    deep: object = "bottom"
    for _ in range(50_000):
        deep = [deep]
    assert "<too deep>" in to_json(deep)


def test_the_same_object_twice_is_no_cycle():
    twice = {"x": float("nan")}
    assert json.loads(to_json([twice, twice])) == [{"x": "nan"}, {"x": "nan"}]


def test_an_event_is_one_line_of_utf8():
    line = encode_event("a\nb", {"text": "naïve\n\u2028\ud800"}, AT)
    assert b"\n" not in line
    assert json.loads(line) == {
        "type": "a\nb",
        "recorded_at": "2025-01-01T00:00:00+00:00",
        "data": {"text": "naïve\n\u2028\ud800"},
    }


def test_no_data_is_null():
    assert json.loads(encode_event("a", None, AT))["data"] is None


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
anything = st.recursive(
    json_values | st.floats() | st.binary() | st.uuids() | st.datetimes() | st.complex_numbers(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner)
        | st.dictionaries(st.text() | st.integers() | st.none() | st.uuids(), inner)
    ),
    max_leaves=10,
)


@settings(max_examples=40, deadline=None)
@given(json_values)
def test_json_comes_back_as_it_was(value):
    assert json.loads(encode_event("a", {"value": value}, AT))["data"]["value"] == value


@settings(max_examples=40, deadline=None)
@given(anything)
def test_anything_is_sound_json(value):
    json.loads(encode_event("a", {"value": value}, AT), parse_constant=pytest.fail)
