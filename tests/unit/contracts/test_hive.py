"""Hive-style paths: readable, one for each partition, and safe on any file system."""
# ruff: noqa: DTZ001 - a partition may be a naive time

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stageflow.contracts.hive import (
    AssetNameError,
    asset_folder,
    parse_partition_path,
    partition_path,
)
from stageflow.contracts.partitions import PartitionError, PartitionKeyError, partition_key

text = st.one_of(
    st.text(st.characters(codec="utf-8")),
    st.text("aAbB~=/._-0123()", max_size=8),
    st.sampled_from(["partition", "s_a", "i_1", "-", "", "..", "con", "2025-01-31", "007", "x("]),
)
scalars = st.one_of(
    st.none(),
    text,
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
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("partition", "path"),
    [
        (None, ""),
        ("eu", "partition=eu"),
        ("eu/west", "partition=eu~2Fwest"),
        ("", "partition=s_"),
        ("42", "partition=s_42"),
        (42, "partition=42"),
        (-1, "partition=-1"),
        (date(2025, 1, 31), "partition=2025-01-31"),
        ("2025-01-31", "partition=s_2025-01-31"),
        (datetime(2025, 1, 31, 6, tzinfo=UTC), "partition=t_2025-01-31T06~3A00~3A00Z"),
        ("__HIVE_DEFAULT_PARTITION__", "partition=s___HIVE_DEFAULT_PARTITION__"),
        ((), "partition=x()"),
        (("eu", 1), "partition=x(s_eu,i_1)"),
        ({}, "partition=m()"),
        ({"region": "eu", "day": date(2025, 1, 31)}, "day=2025-01-31/region=eu"),
        ({"day": None}, "day=-"),
        ({"partition": "eu"}, "partition=m(partition=s_eu)"),
        ({"a=b": 1}, "a~3Db=1"),
        ({"a": {"b": 1}}, "a=m(b=i_1)"),
    ],
)
def test_paths_are_as_documented(partition: object, path: str):
    segments = partition_path(partition)
    assert "/".join(segments) == path
    assert parse_partition_path(segments) == partition


@given(partitions, st.booleans())
def test_a_path_leads_back(partition: object, cased: bool):
    segments = partition_path(partition, distinct_case=cased)
    # Equal partitions are those of one key: a time of another zone comes back in UTC.
    assert partition_key(parse_partition_path(segments)) == partition_key(partition)
    for segment in segments:
        assert segment.isascii()
        assert not set(segment) & set('/\\:*?"<>|\0 ')
        assert segment[0] != "."
        assert segment[-1] != "."


@given(partitions, partitions)
def test_paths_differ_in_more_than_case(left: object, right: object):
    paths = [tuple(map(str.lower, partition_path(p, distinct_case=True))) for p in (left, right)]
    assert (paths[0] == paths[1]) is (partition_key(left) == partition_key(right))


@given(text, text)
def test_folders_of_assets_differ_in_more_than_case(left: str, right: str):
    folders = [asset_folder(name, distinct_case=True) for name in (left, right)]
    assert (folders[0].lower() == folders[1].lower()) is (left == right)


@pytest.mark.parametrize("name", ["", ".", "..", "con", "NUL", "com1.txt", "a/b", "a b", "part="])
def test_no_folder_of_an_asset_means_anything_else(name: str):
    folder = asset_folder(name)
    assert folder not in {"", ".", "..", "con", "NUL", "com1.txt"}
    assert "/" not in folder
    assert "=" not in folder


def test_upper_case_letters_stand_as_they_are_where_case_matters():
    assert partition_path("EU") == ("partition=EU",)
    assert partition_path("EU", distinct_case=True) == ("partition=~45~55",)
    assert asset_folder("Places") == "Places"
    assert asset_folder("Places", distinct_case=True) == "~50laces"


def test_a_path_of_too_many_columns_becomes_one():
    partition = {f"column{n}": "x" * 50 for n in range(20)}
    (segment,) = partition_path(partition)
    assert segment.startswith("partition=m(column0=s_x")
    assert parse_partition_path((segment,)) == partition


@pytest.mark.parametrize(
    "segments",
    [
        ("partition",),
        ("partition=",),
        ("partition=007",),
        ("partition=2025-13-31",),
        ("partition=s_eu",),
        ("partition=~",),
        ("partition=é",),
        ("b=1", "a=1"),
        ("a=1", "a=2"),
        ("partition=m(a=i_1)",),
        ("partition=" + "9" * 5000,),
    ],
)
def test_what_is_no_path_of_ours_is_refused(segments: tuple[str, ...]):
    with pytest.raises(PartitionKeyError):
        parse_partition_path(segments)


def test_what_can_name_nothing_is_refused():
    with pytest.raises(AssetNameError):
        asset_folder("half \ud800")
    for bad in (True, 1.5, {"a": True}, {"a": "\ud800"}):
        with pytest.raises(PartitionError):
            partition_path(bad)
