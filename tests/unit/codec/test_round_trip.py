"""What was stored comes back: equal, of the same types, in the same order."""

from __future__ import annotations

import json
import math
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stageflow.codec import Codec, CodecError
from stageflow.context.views import read_only
from support.values import (
    Account,
    Colour,
    Measure,
    Node,
    Permission,
    Point,
    json_values,
    same,
    storable_values,
    user_codec,
)

ONE_OF_EACH = {
    "none": None,
    "true": True,
    "int": 7,
    "negative zero": -0.0,
    "infinity": math.inf,
    "minus infinity": -math.inf,
    "text": "héllo \N{GRINNING FACE} \x00",
    "lone surrogate": "\udc80",
    "split pair": "\ud83d\ude00",
    "bytes": b"\x00\xff",
    "tuple": (1, (2, ())),
    "set": {1, "a", (2, 3)},
    "frozenset": frozenset({frozenset({1}), b""}),
    "datetime": datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=UTC),
    "naive datetime": datetime(2024, 2, 29, 12, 30),  # noqa: DTZ001 - such values exist
    "offset": datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=30, seconds=1))),
    "odd offset": datetime(2024, 1, 1, tzinfo=timezone(timedelta(microseconds=-1))),
    "zone": datetime(2024, 7, 1, tzinfo=ZoneInfo("Europe/Paris")),
    "second of two": datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Paris")),
    "in the gap": datetime(2024, 3, 31, 2, 30, tzinfo=ZoneInfo("Europe/Paris")),
    "date": date.max,
    "time": time(23, 59, 59, 999999),
    "time in a zone": time(1, 2, tzinfo=ZoneInfo("Asia/Tokyo"), fold=1),
    "timedelta": timedelta(days=-1, seconds=3, microseconds=999999),
    "uuid": UUID("00112233-4455-6677-8899-aabbccddeeff"),
    "decimal": Decimal("1.10"),
    "decimal infinity": Decimal("-Infinity"),
    "path": Path("/a/b"),
    "int keys": {1: "a", "1": "b", None: "c", (1, 2): "d"},
    "bool key": {True: 1},
    "tag as a key": {"$type": "tuple", "$value": [1]},
    "surrogate key": {"\udc80": 1},
    "enum": Colour.BLUE,
    "flag": Permission.READ | Permission.WRITE,
    "no flag": Permission(0),
    "attrs": Account(Account("x"), {"y": (1,)}),
    "dataclass": Node("a", [Node("b"), Measure(amount=Decimal(1))]),
    "named tuple": Point(Point(1, 2), [3]),
}


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_each_kind_of_value_comes_back(name):
    codec = user_codec()
    value = ONE_OF_EACH[name]
    assert same(codec.decode(codec.encode(value)), value)
    assert same(codec.decode(codec.encode({"deep": [value]})), {"deep": [value]})


def test_nan_comes_back():
    codec = Codec()
    assert math.isnan(codec.decode(codec.encode(math.nan)))
    assert codec.decode(codec.encode(Decimal("NaN"))).is_nan()


@given(value=json_values)
@settings(max_examples=60, deadline=None)
def test_plain_json_comes_back_and_is_stored_as_itself(value):
    codec = Codec()
    payload = codec.encode(value)
    assert json.loads(payload) == {"stageflow": 1, "plain": value}
    assert same(codec.decode(payload), value)


@given(value=storable_values)
@settings(max_examples=60, deadline=None)
def test_any_storable_value_comes_back(value):
    codec = user_codec()
    payload = codec.encode(value)
    assert same(codec.decode(payload), value)
    assert same(codec.decode(payload.decode()), value)


@given(value=storable_values)
@settings(max_examples=60, deadline=None)
def test_the_bytes_are_strict_json_in_utf_8_and_depend_on_the_value_alone(value):
    def refuse(constant):
        raise AssertionError(constant)

    codec = user_codec()
    payload = codec.encode(value)
    json.loads(payload.decode("utf-8"), parse_constant=refuse)
    assert codec.encode(codec.decode(payload)) == payload


def test_sets_made_in_different_orders_give_the_same_bytes():
    one, other = {8, 0, 16, "a"}, {16, 0, "a", 8}
    one.discard(16)
    one.add(16)
    assert one == other
    assert list({8, 0}) != list({0, 8})
    assert Codec().encode({8, 0}) == Codec().encode({0, 8})
    assert Codec().encode(one) == Codec().encode(other)


@pytest.mark.parametrize("hidden", [(1, 2), frozenset({3})])
def test_read_only_views_are_stored_as_what_they_are_equal_to(hidden):
    codec = Codec()
    for plain in ({"a": [{"b": 1}]}, {"a": [{"b": hidden}]}):
        view = read_only(plain, "a stage")
        assert codec.encode(view) == codec.encode(plain)
        assert type(codec.decode(codec.encode(view))) is dict


def test_subclasses_of_dict_and_list_are_stored_as_plain_ones():
    class Rows(list):
        pass

    codec = Codec()
    values = [OrderedDict(a=1), defaultdict(list, a=[1]), Counter("ab"), Rows([1, (2,)])]
    decoded = codec.decode(codec.encode(values))
    assert decoded == values
    assert [type(value) for value in decoded] == [dict, dict, dict, list]


def test_a_subclass_of_dict_that_is_registered_comes_back_as_itself():
    class Config(dict):
        pass

    codec = Codec()
    codec.register(Config, encode=dict, decode=Config)
    decoded = codec.decode(codec.encode([Config(a=1)]))
    assert type(decoded[0]) is Config


def test_a_value_that_occurs_twice_is_no_circle():
    shared = [1, (2,)]
    codec = Codec()
    assert codec.decode(codec.encode([shared, {"again": shared}])) == [shared, {"again": shared}]


def test_payloads_whose_keys_a_database_has_reordered_are_read():
    codec = Codec()
    for value in ({"a": 1}, {"a": (1,)}):
        envelope = json.loads(codec.encode(value))
        text = json.dumps(dict(reversed(envelope.items())), indent=2)
        assert codec.decode(text) == value


@pytest.mark.parametrize("odd", [{1: 2}, (1,), Colour.RED, {"a": {None: 1}}], ids=repr)
@pytest.mark.parametrize("width", [1, 8, 9, 100])
def test_one_odd_value_among_many_plain_ones_comes_back(odd, width):
    codec = user_codec()
    for plain in ({"a": 1}, ["a"]):
        value = [plain] * width + [odd]
        assert same(codec.decode(codec.encode(value)), value)
        assert same(codec.decode(codec.encode({"deep": value})), {"deep": value})


def test_plain_data_that_looks_tagged_is_left_as_it_is():
    codec = Codec()
    value = {"$type": "uuid", "$value": "no uuid"}
    assert codec.decode(codec.encode(value)) == value
    assert codec.decode(codec.encode([value, ()])) == [value, ()]


def test_fields_that_the_class_computes_come_back_as_they_were():
    account = Account("x")
    object.__setattr__(account, "initials", "XY")
    codec = user_codec()
    assert codec.decode(codec.encode(account)).initials == "XY"


def test_validators_run_when_a_value_is_read():
    @attrs.frozen
    class Even:
        number: int = attrs.field(validator=attrs.validators.ge(0))

    codec = Codec()
    codec.register(Even)
    payload = codec.encode(Even(2)).replace(b"2}", b"-2}")
    with pytest.raises(ValueError, match="refused by the type 'Even'"):
        codec.decode(payload)


@settings(deadline=None)
@given(st.lists(storable_values, max_size=6), st.booleans())
def test_encoded_together_they_are_as_each_by_itself(values: list[Any], roomy: bool) -> None:
    codec = user_codec() if roomy else user_codec().with_limits(max_bytes=200, max_depth=3)

    def told(encode: Callable[[], list[bytes]]) -> object:
        try:
            return encode()
        except CodecError as error:
            return type(error), str(error)

    alone = told(lambda: [codec.encode(value, where="v") for value in values])
    assert told(lambda: codec.encode_each(values, where="v")) == alone


@pytest.mark.parametrize(
    "odd",
    [math.nan, "\udc80", (1,), 10**5000, [[[[[]]]]], "x" * 300],
    ids=["nan", "surrogate", "tuple", "long", "deep", "large"],
)
def test_one_that_is_odd_spoils_none_of_the_others(odd: Any) -> None:
    codec = Codec(max_bytes=250, max_depth=4)
    values = [{"n": 1}, {"odd": odd}, {"n": [2]}]
    try:
        alone = [codec.encode(value) for value in values]
    except CodecError as error:
        with pytest.raises(type(error)):
            codec.encode_each(values)
    else:
        assert codec.encode_each(values) == alone
    assert codec.encode_each(values[::2]) == [codec.encode(value) for value in values[::2]]
    assert codec.encode_each([]) == []
