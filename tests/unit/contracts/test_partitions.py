"""Partition keys: every kind of partition has one, no two share one, and it leads back."""
# ruff: noqa: DTZ001 - a partition may be a naive time

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from enum import IntEnum, StrEnum
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stageflow.contracts.partitions import (
    PartitionError,
    PartitionKeyError,
    escape_segment,
    parse_partition_key,
    partition_key,
    unescape_segment,
)


class Region(StrEnum):
    EU = "eu"


class Level(IntEnum):
    TOP = 1


scalars = st.one_of(
    st.none(),
    st.text(st.characters(codec="utf-8")),
    st.integers(),
    st.dates(),
    st.datetimes(),
    st.datetimes(
        min_value=datetime(1, 1, 2),
        max_value=datetime(9999, 12, 30),
        timezones=st.integers(-1439, 1439).map(lambda m: timezone(timedelta(minutes=m))),
    ),
)
partitions = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def same(left: object, right: object) -> bool:
    """Return whether two partitions are equal and of the same kinds throughout."""
    if isinstance(left, tuple):
        return (
            isinstance(right, tuple)
            and len(left) == len(right)
            and all(same(a, b) for a, b in zip(left, right, strict=True))
        )
    if isinstance(left, dict):
        return (
            isinstance(right, dict)
            and left.keys() == right.keys()
            and all(same(left[name], right[name]) for name in left)
        )
    return type(left) is type(right) and left == right


@pytest.mark.parametrize(
    ("partition", "key"),
    [
        (None, "-"),
        ("", "s_"),
        ("eu/west", "s_eu~2Fwest"),
        ("Zürich", "s_Z~C3~BCrich"),
        ("v1.2.", "s_v1.2~2E"),
        (42, "i_42"),
        (-42, "i_-42"),
        (date(2025, 1, 31), "d_2025-01-31"),
        (datetime(2025, 1, 31, 6), "n_2025-01-31T06~3A00~3A00"),
        (datetime(2025, 1, 31, 6, tzinfo=UTC), "t_2025-01-31T06~3A00~3A00Z"),
        ((), "x()"),
        (("eu", 1), "x(s_eu,i_1)"),
        ((("a",), None), "x(x(s_a),-)"),
        ({}, "m()"),
        ({"region": "eu", "day": date(2025, 1, 31)}, "m(day=d_2025-01-31,region=s_eu)"),
        ({"": 1}, "m(=i_1)"),
    ],
)
def test_keys_are_readable_and_lead_back(partition: object, key: str) -> None:
    assert partition_key(partition) == key
    assert same(parse_partition_key(key), partition)


@given(partitions)
def test_every_partition_comes_back_from_its_key(partition: object) -> None:
    key = partition_key(partition)
    assert re.fullmatch(r"[A-Za-z0-9_.~(),=-]+", key)
    assert not key.startswith(".")
    assert same(parse_partition_key(key), partition)


@given(partitions, partitions)
def test_two_partitions_share_a_key_only_if_they_are_the_same(left: object, right: object) -> None:
    assert (partition_key(left) == partition_key(right)) == same(left, right)


@given(st.text())
def test_any_text_is_a_key_of_one_partition_or_refused(text: str) -> None:
    try:
        partition = parse_partition_key(text)
    except PartitionKeyError:
        return
    assert partition_key(partition) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "s", "q_1", "--", "i_x", "i_01", "i_1_0", "d_2025-13-01", "d_20250131"),
        *("x(", "x(s_a", "x(s_a,)", "x(s_a))", "x(" * 200 + ")" * 200),
        *("m(s_a)", "m(b=i_1,a=i_2)", "m(a=i_1,a=i_1)"),
        *("s_~2f", "s_~41", "s_~FF", "s_a/b"),
        *("n_2025-01-31T06~3A00~3A00Z", "t_2025-01-31T06~3A00~3A00"),
    ],
)
def test_what_is_nearly_a_key_is_refused(text: str) -> None:
    with pytest.raises(PartitionKeyError) as caught:
        parse_partition_key(text)
    assert caught.value.key == text


def test_equal_values_have_equal_keys() -> None:
    east = timezone(timedelta(hours=3))
    noon = datetime(2025, 1, 31, 12, tzinfo=UTC)
    assert partition_key(noon.astimezone(east)) == partition_key(noon)
    assert partition_key({"a": 1, "b": 2}) == partition_key({"b": 2, "a": 1})
    assert partition_key(MappingProxyType({"a": 1})) == partition_key({"a": 1})
    assert partition_key(Region.EU) == partition_key("eu")
    assert partition_key(Level.TOP) == partition_key(1)


@pytest.mark.parametrize(
    ("partition", "reason"),
    [
        (True, "bool"),
        (1.5, "float"),
        (["a"], "list"),
        (b"a", "bytes"),
        (("a", 1.5), "float"),
        ({1: "a"}, "keys"),
        ("\ud800", "UTF-8"),
        ({"\ud800": 1}, "UTF-8"),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))), "years"),
    ],
)
def test_other_values_are_refused_with_the_reason(partition: object, reason: str) -> None:
    with pytest.raises(PartitionError, match=reason) as caught:
        partition_key(partition)
    assert caught.value.partition == partition
    assert caught.value.code == "SF440"


def test_v15_an_int_of_too_many_digits_is_refused() -> None:
    with pytest.raises(PartitionError, match="digits"):
        partition_key(10**5001)
    with pytest.raises(PartitionError, match="digits"):
        partition_key((10**5001,))


def test_nesting_has_a_limit() -> None:
    deep: object = None
    for _ in range(51):
        deep = (deep,)
    with pytest.raises(PartitionError, match="nested"):
        partition_key(deep)


def test_an_error_about_a_large_value_stays_short() -> None:
    with pytest.raises(PartitionError) as caught:
        partition_key(["x" * 10_000])
    assert len(str(caught.value)) < 500


@given(st.text(st.characters(codec="utf-8")))
def test_segments_are_safe_and_lead_back(text: str) -> None:
    segment = escape_segment(text)
    assert re.fullmatch(r"(?!\.)[A-Za-z0-9_.~-]*(?<!\.)", segment)
    assert unescape_segment(segment) == text


def test_segments_cannot_climb_a_tree() -> None:
    assert escape_segment("..") == "~2E~2E"
    assert escape_segment("../../etc/passwd") == "~2E.~2F..~2Fetc~2Fpasswd"
    assert escape_segment("C:\\x\0") == "C~3A~5Cx~00"
    with pytest.raises(ValueError, match="escaped"):
        unescape_segment("a/b")
