"""Partitions: sequences that are computed, whose keys and texts name each other."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stageflow.assets import (
    DatePartitions,
    DatetimePartitions,
    MultiPartitions,
    PartitionsError,
    StaticPartitions,
    TuplePartitions,
    UnknownPartitionError,
)
from stageflow.assets.backfill import batches
from stageflow.contracts.partitions import parse_partition_key, partition_key

YEAR = DatePartitions(date(2025, 1, 1), date(2026, 1, 1))
NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)
BERLIN = "Europe/Berlin"

_dates = st.builds(
    DatePartitions,
    st.dates(date(1900, 1, 1), date(2100, 1, 1)).map(lambda day: day.replace(day=day.day % 28 + 1)),
    st.dates(date(1900, 1, 1), date(2100, 1, 1)),
    st.integers(1, 400),
    st.sampled_from(["days", "weeks", "months", "years"]),
)
_datetimes = st.builds(
    DatetimePartitions,
    st.datetimes(datetime(2024, 1, 1), datetime(2026, 1, 1)),  # noqa: DTZ001 - in the zone
    st.datetimes(datetime(2024, 1, 1), datetime(2026, 1, 1)),  # noqa: DTZ001 - in the zone
    st.sampled_from([timedelta(minutes=15), timedelta(hours=1), timedelta(days=1)]),
    st.sampled_from([UTC, BERLIN, "America/New_York"]),
)
_static = st.lists(
    st.one_of(st.text("ab1,=\\'é", min_size=0, max_size=4), st.integers(-3, 12)),
    unique_by=lambda key: (type(key), key),
    max_size=6,
).map(StaticPartitions)
_simple = st.one_of(_dates, _datetimes, _static, st.integers(0, 9).map(range).map(StaticPartitions))
_any = st.one_of(
    _simple,
    st.lists(_simple, min_size=1, max_size=3).map(lambda parts: TuplePartitions(*parts)),
    st.dictionaries(st.text("ab=,\\", min_size=1), _simple, min_size=1, max_size=3).map(
        MultiPartitions
    ),
)


@settings(deadline=None, max_examples=50)
@given(_any, st.data())
def test_keys_numbers_and_texts_name_each_other(partitions, data):
    size = len(partitions)
    if not size:
        assert list(partitions) == []
        assert partitions.describe() == "none" or "(0)" in partitions.describe()
        return
    number = data.draw(st.integers(0, size - 1))
    key = partitions[number]
    assert key in partitions
    assert partitions.index(key) == number
    assert partitions[number - size] == key
    assert partition_key(partitions.parse(partitions.text(key))) == partition_key(key)
    assert parse_partition_key(partition_key(key)) in partitions


@settings(deadline=None, max_examples=50)
@given(_any)
def test_iterating_gives_what_numbers_give_and_each_key_once(partitions):
    size = min(len(partitions), 50)
    first = list(islice(partitions, size))
    assert first == [partitions[number] for number in range(size)]
    assert len({partition_key(key) for key in first}) == size
    assert len({partitions.text(key) for key in first}) == size


@settings(deadline=None, max_examples=50)
@given(_any, st.slices(20))
def test_a_slice_is_what_a_list_gives(partitions, cut):
    partitions = partitions[:20]
    assert list(partitions[cut]) == list(partitions)[cut]
    assert list(reversed(partitions[cut])) == list(reversed(list(partitions)[cut]))
    assert list(partitions[cut][::-2]) == list(partitions)[cut][::-2]
    assert [key in partitions[cut] for key in partitions] == [
        key in list(partitions)[cut] for key in partitions
    ]


def test_many_keys_cost_no_enumeration():
    days = DatePartitions(date(1, 1, 1), date(9999, 1, 1))
    grid = MultiPartitions({"day": days, "shop": range(1_000_000)})
    tracemalloc.start()
    assert len(grid) == len(days) * 1_000_000
    assert grid[-1] == {"day": date(9998, 12, 31), "shop": 999_999}
    assert {"day": date(2025, 1, 1), "shop": 7} in grid
    assert {"day": date(2025, 1, 1), "shop": 1_000_000} not in grid
    assert len(grid[5:-5:3]) == (len(grid) - 10 + 2) // 3
    assert grid.index({"shop": 1, "day": date(1, 1, 2)}) == 1_000_001
    assert len(list(islice(batches(grid, 100), 3))) == 3
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200_000


def test_batches_read_no_further_than_they_must():
    read = []
    first = next(batches((read.append(number) or number for number in range(100)), 10))
    assert first == list(range(10))
    assert read == first


FIRST = date(2025, 1, 1)


@pytest.mark.parametrize(
    ("partitions", "keys"),
    [
        (DatePartitions(date(2025, 1, 31), date(2025, 2, 2)), ["2025-01-31", "2025-02-01"]),
        (DatePartitions(FIRST, date(2025, 1, 9), 4), ["2025-01-01", "2025-01-05"]),
        (DatePartitions(FIRST, date(2025, 1, 9), unit="weeks"), ["2025-01-01", "2025-01-08"]),
        (
            DatePartitions(date(2024, 11, 15), date(2025, 2, 15), unit="months"),
            ["2024-11-15", "2024-12-15", "2025-01-15"],
        ),
        (
            DatePartitions(date(2024, 2, 1), date(2026, 2, 2), unit="years"),
            ["2024-02-01", "2025-02-01", "2026-02-01"],
        ),
        (DatePartitions(FIRST, FIRST), []),
        (DatePartitions(date(2025, 1, 2), FIRST), []),
    ],
)
def test_dates_in_steps(partitions, keys):
    assert list(map(partitions.text, partitions)) == keys
    assert len(partitions) == len(keys)


def test_an_hour_is_an_hour_when_the_clocks_change():
    hours = DatetimePartitions(datetime(2025, 3, 30), datetime(2025, 3, 31), zone=BERLIN)  # noqa: DTZ001
    assert len(hours) == 23
    assert hours.text(hours[1]) == "2025-03-30T01:00+01:00"
    assert hours.text(hours[2]) == "2025-03-30T03:00+02:00"
    autumn = DatetimePartitions(datetime(2025, 10, 26), datetime(2025, 10, 27), zone=BERLIN)  # noqa: DTZ001
    assert len(autumn) == 25
    assert [autumn.text(key) for key in autumn[2:4]] == [
        "2025-10-26T02:00+02:00",
        "2025-10-26T02:00+01:00",
    ]


def test_a_day_begins_at_the_same_time_when_the_clocks_change():
    days = DatetimePartitions(
        datetime(2025, 3, 29, 2, 30),  # noqa: DTZ001
        datetime(2025, 4, 1),  # noqa: DTZ001
        timedelta(days=1),
        BERLIN,
    )
    assert [days.find(key.astimezone(UTC)) for key in days] == [0, 1, 2]
    assert [key.hour for key in days] == [2, 2, 2]


def test_instants_are_the_same_in_every_zone():
    hours = DatetimePartitions(datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 1, 2, tzinfo=UTC))
    elsewhere = datetime(2025, 1, 1, 8, tzinfo=timezone(timedelta(hours=5)))
    assert hours.index(elsewhere) == 3
    assert hours.parse("2025-01-01T03:00Z") == hours[3]
    assert hours.parse("2025-01-01T03:00") == hours[3]
    assert datetime(2025, 1, 1, 3) not in hours  # noqa: DTZ001 - naive names no instant
    assert date(2025, 1, 1) not in hours


def test_a_date_is_no_datetime_and_no_text():
    assert datetime(2025, 1, 1, tzinfo=UTC) not in YEAR
    assert "2025-01-01" not in YEAR


def test_a_number_and_its_text_are_two_keys():
    both = StaticPartitions("1", 1, "x")
    assert (both.index("1"), both.index(1)) == (0, 1)
    assert [both.parse(both.text(key)) for key in both] == ["1", 1, "x"]
    assert True not in both


def test_a_range_of_texts_is_chosen_by_both_its_ends():
    assert list(YEAR.select("2025-02-27", "2025-03-01")) == [
        date(2025, 2, 27),
        date(2025, 2, 28),
        date(2025, 3, 1),
    ]


@pytest.mark.parametrize(
    ("partitions", "text", "told"),
    [
        (YEAR, "2026-01-01", "2025-01-01 … 2025-12-31 (365)"),
        (YEAR, "soon", "it is no date such as 2025-01-31"),
        (StaticPartitions("europe", "asia"), "eurpoe", "Did you mean 'europe'?"),
        (TuplePartitions(["a"], YEAR), "a", "1 parts, not 2"),
        (MultiPartitions({"day": YEAR, "at": ["a"]}), "day=2025-01-01", "at is missing"),
        (MultiPartitions({"day": YEAR}), "dya=2025-01-01", "its dimensions are day"),
        (YEAR[:3], "2025-01-04", "2025-01-01, 2025-01-02, 2025-01-03"),
    ],
)  # fmt: skip
def test_a_wrong_text_is_told_with_what_there_is(partitions, text, told):
    with pytest.raises(UnknownPartitionError) as raised:
        partitions.parse(text)
    assert told in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (DatePartitions, (date(2025, 1, 31), date(2026, 1, 1), 1, "months")),
        (DatePartitions, (date(2025, 1, 1), date(2026, 1, 1), 0)),
        (DatePartitions, (date(2025, 1, 1), date(2026, 1, 1), 1, "day")),
        (DatePartitions, (datetime(2025, 1, 1, tzinfo=UTC), date(2026, 1, 1))),
        (DatetimePartitions, (date(2025, 1, 1), datetime(2025, 1, 2, tzinfo=UTC))),
        (DatetimePartitions, (NOON, NOON + timedelta(1), timedelta(0))),
        (DatetimePartitions, (NOON, NOON + timedelta(1), timedelta(1), "Mars/Base")),
        (StaticPartitions, ("a", "a")),
        (StaticPartitions, ([1.5],)),
        (StaticPartitions, ([True],)),
        (TuplePartitions, ()),
        (TuplePartitions, ("ab",)),
        (MultiPartitions, ({},)),
        (MultiPartitions, ({"a": 3},)),
    ],
)
def test_what_makes_no_partitions_is_refused(kind, arguments):
    with pytest.raises(PartitionsError):
        kind(*arguments)
