"""Points in time in the forms in which they arrive."""

# ruff: noqa: DTZ001 - naive times are what some tests are about

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stageflow.helpers.errors import TimestampError, TimestampTypeError
from stageflow.helpers.timestamps import (
    detect_unix_precision,
    normalize_to_utc,
    parse_timestamp,
)

BERLIN = timezone(timedelta(hours=2))


def utc(*fields):
    return datetime(*fields, tzinfo=UTC)


# --- detect_unix_precision ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("timestamp", "precision"),
    [
        (0, "seconds"),
        (9_999_999_999, "seconds"),
        (-9_999_999_999, "seconds"),
        (1_700_000_000.75, "seconds"),
        (10_000_000_000, "milliseconds"),
        (9_999_999_999_999, "milliseconds"),
        (-1_700_000_000_000, "milliseconds"),
        (10_000_000_000_000, "microseconds"),
        (9_999_999_999_999_999, "microseconds"),
    ],
)
def test_precision_is_told_by_the_digits_of_the_whole_part(timestamp, precision):
    assert detect_unix_precision(timestamp) == precision


@pytest.mark.parametrize("timestamp", [10**16, -(10**18), 10**400, float("nan"), float("inf")])
def test_nanoseconds_and_what_is_not_finite_have_no_precision(timestamp):
    with pytest.raises(ValueError):
        detect_unix_precision(timestamp)


# --- normalize_to_utc -----------------------------------------------------------------------


def test_normalize_takes_a_naive_time_to_be_in_the_default_zone():
    assert normalize_to_utc(datetime(2023, 10, 5, 12)) == utc(2023, 10, 5, 12)
    normalized = normalize_to_utc(datetime(2023, 10, 5, 12), default_timezone=BERLIN)
    assert normalized == utc(2023, 10, 5, 10)
    assert normalized.tzinfo is UTC


def test_normalize_converts_an_aware_time_to_utc():
    normalized = normalize_to_utc(datetime(2023, 10, 5, 12, tzinfo=BERLIN))
    assert normalized.isoformat() == "2023-10-05T10:00:00+00:00"


@pytest.mark.parametrize(
    "given_time", [datetime(2023, 10, 5), datetime(2023, 10, 5, tzinfo=BERLIN)]
)
def test_normalize_without_a_default_zone_changes_nothing(given_time):
    assert normalize_to_utc(given_time, default_timezone=None) is given_time


def test_normalize_refuses_what_utc_cannot_hold():
    with pytest.raises(TimestampError):
        normalize_to_utc(datetime.min.replace(tzinfo=BERLIN))


# --- parse_timestamp --------------------------------------------------------------------------

MOMENT = utc(2023, 11, 14, 22, 13, 20)

CASES = [
    # unix time as numbers
    (0, utc(1970, 1, 1)),
    (-1, utc(1969, 12, 31, 23, 59, 59)),
    (1_700_000_000, MOMENT),
    (1_700_000_000.0, MOMENT),
    (1_700_000_000.5, MOMENT + timedelta(milliseconds=500)),
    (1_700_000_000_123, MOMENT + timedelta(milliseconds=123)),
    (1_700_000_000_123.0, MOMENT + timedelta(milliseconds=123)),
    (1_700_000_000_123_456, MOMENT + timedelta(microseconds=123_456)),
    # unix time as text
    ("1700000000", MOMENT),
    (" 1700000000 \n", MOMENT),
    ("+1700000000", MOMENT),
    ("1700000000.25", MOMENT + timedelta(milliseconds=250)),
    ("1700000000.", MOMENT),
    ("-1.5", utc(1969, 12, 31, 23, 59, 58, 500_000)),
    ("1700000000123", MOMENT + timedelta(milliseconds=123)),
    ("1700000000123456", MOMENT + timedelta(microseconds=123_456)),
    # RFC 2822
    ("Thu, 05 Oct 2023 14:30:00 +0000", utc(2023, 10, 5, 14, 30)),
    ("Thu, 05 Oct 2023 14:30:00 +0200", utc(2023, 10, 5, 12, 30)),
    ("Thu, 5 Oct 2023 14:30 GMT", utc(2023, 10, 5, 14, 30)),
    ("05 Oct 2023 14:30:00 EST", utc(2023, 10, 5, 19, 30)),
    ("Thu, 05 Oct 2023 14:30:00 -0000", utc(2023, 10, 5, 14, 30)),
    ("Thu, 05 Oct 23 14:30:00 UT", utc(2023, 10, 5, 14, 30)),
    ("Thursday, 05-Oct-23 14:30:00 GMT", utc(2023, 10, 5, 14, 30)),
    ("Thu, 05 Oct 2023 14:30:00 +0200 (CEST)", utc(2023, 10, 5, 12, 30)),
    # ISO 8601
    ("2023-10-05", utc(2023, 10, 5)),
    ("2023-10-05T14:30:00Z", utc(2023, 10, 5, 14, 30)),
    ("2023-10-05t14:30:00z", utc(2023, 10, 5, 14, 30)),
    ("2023-10-05 14:30:00.123456+05:30", utc(2023, 10, 5, 9, 0, 0, 123_456)),
    ("2023-10-05T14:30", utc(2023, 10, 5, 14, 30)),
    ("20231005T143000Z", utc(2023, 10, 5, 14, 30)),
    ("2023-W40-4", utc(2023, 10, 5)),
    # as people write it
    ("October 5, 2023", utc(2023, 10, 5)),
    ("october 5 2023", utc(2023, 10, 5)),
    ("Oct. 5th, 2023", utc(2023, 10, 5)),
    ("5 October 2023", utc(2023, 10, 5)),
    ("1st Sept 2023", utc(2023, 9, 1)),
    ("October 5, 2023 2:30 PM", utc(2023, 10, 5, 14, 30)),
    ("October 5, 2023 at 12:15 am", utc(2023, 10, 5, 0, 15)),
    ("5 Oct 2023 12:00 PM", utc(2023, 10, 5, 12)),
    ("October 5, 2023 14:30:15 +02:00", utc(2023, 10, 5, 12, 30, 15)),
    ("5 Oct 2023 10:00 +05:30", utc(2023, 10, 5, 4, 30)),
    ("2023/10/05", utc(2023, 10, 5)),
    ("2023/10/5 14:30", utc(2023, 10, 5, 14, 30)),
]


@pytest.mark.parametrize(("value", "expected"), CASES, ids=[repr(value) for value, _ in CASES])
def test_bug031_bug032_parse_timestamp_reads(value, expected):
    parsed = parse_timestamp(value)
    assert parsed == expected
    assert parsed.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "   ",
        "yesterday",
        "05/10/2023",  # the fifth of October, or the tenth of May
        "13:45",
        "2023-13-01",
        "2023-02-30",
        "February 30, 2023",
        "Octember 5, 2023",
        "October 5, 2023 13:30 PM",
        "October 5, 2023 0:30 AM",
        "Thu, 05 Oct 2023 25:00:00 GMT",
        "Thu, 05 Oct 2023 14:30:00 CET",  # RFC 2822 would call the zone unknown
        "10000000000000000",
        "1e9",
        "1_700_000_000",
        "٣",
        10**16,
        1_700_000_000_123.5,
        float("nan"),
        float("-inf"),
        10**400,
        "9" * 5000,
    ],
    ids=lambda value: repr(value)[:40],
)
def test_parse_timestamp_refuses(value):
    with pytest.raises(ValueError) as caught:
        parse_timestamp(value)
    assert isinstance(caught.value, TimestampError)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("value", [None, True, b"1700000000", datetime(2023, 1, 1), [1]])
def test_parse_timestamp_refuses_other_types(value):
    with pytest.raises(TypeError) as caught:
        parse_timestamp(value)
    assert isinstance(caught.value, TimestampTypeError)


def test_parse_timestamp_reads_text_without_a_zone_in_the_default_one():
    assert parse_timestamp("2023-10-05T14:30", default_timezone=BERLIN) == utc(2023, 10, 5, 12, 30)
    assert parse_timestamp("October 5, 2023", default_timezone=BERLIN) == utc(2023, 10, 4, 22)


def test_parse_timestamp_without_a_default_zone_returns_what_was_written():
    naive = parse_timestamp("2023-10-05T14:30", default_timezone=None)
    assert naive == datetime(2023, 10, 5, 14, 30)
    aware = parse_timestamp("2023-10-05T14:30+02:00", default_timezone=None)
    assert aware.isoformat() == "2023-10-05T14:30:00+02:00"
    assert parse_timestamp(0, default_timezone=None) == utc(1970, 1, 1)


zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30), timezones=zones)


@given(moments)
def test_any_moment_in_iso_8601_is_read_back(moment):
    assert parse_timestamp(moment.isoformat()) == moment
    assert parse_timestamp(moment.isoformat(" ")) == moment


@given(moments)
def test_any_moment_in_rfc_2822_is_read_back(moment):
    assert parse_timestamp(format_datetime(moment)) == moment.replace(microsecond=0)


@given(st.integers(-(10**9), 9_999_999_999), st.integers(0, 999_999))
def test_unix_time_is_read_to_the_last_digit(seconds, microseconds):
    exact = utc(1970, 1, 1) + timedelta(seconds=seconds)
    assert parse_timestamp(seconds) == exact
    if seconds >= 10**9:
        assert parse_timestamp(seconds * 1000 + 7) == exact + timedelta(milliseconds=7)
        micro = parse_timestamp(str(seconds * 1_000_000 + microseconds))
        assert micro == exact + timedelta(microseconds=microseconds)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text):
    with suppress(TimestampError):
        assert parse_timestamp(text).tzinfo is UTC


@given(st.from_regex(r"[0-9A-Za-z,:/+. -]{1,40}", fullmatch=True))
def test_any_text_that_looks_like_a_time_is_read_or_refused(text):
    with suppress(TimestampError):
        assert parse_timestamp(text).tzinfo is UTC
