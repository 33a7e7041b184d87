"""Reading points in time as other systems write them.

Only forms with one meaning are read: `05/10/2023` is the fifth of October in one country and the
tenth of May in another, so it is refused.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from email.utils import parsedate_to_datetime
from math import inf
from typing import Final

from stageflow.helpers.errors import TimestampError, TimestampTypeError

__all__ = ("detect_unix_precision", "normalize_to_utc", "parse_timestamp")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS: Final = {"seconds": 1_000_000, "milliseconds": 1_000, "microseconds": 1}

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?")

# The zone names are those that RFC 2822 defines. It reads every other name as "zone unknown",
# which would shift `10:00 CET` by an hour without a word; such text is refused instead.
_RFC_2822 = re.compile(
    r"(?:[A-Z]{3,9},?\s+)?[0-9]{1,2}[\s-][A-Z]{3,9}[\s-][0-9]{2,4}"
    r"\s+[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?"
    r"(?:\s+(?:[+-][0-9]{4}|UTC?|GMT|Z|[ECMP][SD]T))?(?:\s*\([^()]*\))?",
    re.IGNORECASE,
)

_TIME = (
    r"(?:,?\s+(?:at\s+)?(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2}))?"
    r"(?:\s*(?P<half>[AP]M))?(?:\s*(?P<zone>UTC|GMT|Z|[+-][0-9]{2}:?[0-9]{2}))?)?"
)
_HUMAN = tuple(
    re.compile(date + _TIME, re.IGNORECASE)
    for date in (
        r"(?P<month>[A-Z]{3,9})\.?\s+(?P<day>[0-9]{1,2})(?:st|nd|rd|th)?,?\s+(?P<year>[0-9]{4})",
        r"(?P<day>[0-9]{1,2})(?:st|nd|rd|th)?\s+(?P<month>[A-Z]{3,9})\.?,?\s+(?P<year>[0-9]{4})",
        r"(?P<year>[0-9]{4})/(?P<month>[0-9]{1,2})/(?P<day>[0-9]{1,2})",
    )
)
# Written out because `strptime` would read the month in the language of the process.
_MONTHS: Final = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)


def parse_timestamp(value: str | float, *, default_timezone: tzinfo | None = UTC) -> datetime:
    """Return the point in time that *value* denotes, in UTC.

    Args:
        value: Unix time as a number or as text (seconds, milliseconds or microseconds, told by
            the number of digits; with a fraction always seconds), or text in the form of
            RFC 2822, ISO 8601 or a written date such as `October 5, 2023`.
        default_timezone: Zone of text that names none. With None the result is what was
            written: naive without a zone, and not converted with one.

    Returns:
        An aware datetime in UTC, unless *default_timezone* is None.

    Raises:
        TimestampTypeError: *value* is neither text nor a number (a `TypeError` too).
        TimestampError: *value* denotes no point in time (a `ValueError` too).
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise TimestampTypeError(value)
    if not isinstance(value, str):
        return _from_unix(value)
    text = value.strip()
    if not text:
        raise TimestampError(value, "it is empty")
    if number := _NUMBER.fullmatch(text):
        return _from_unix(float(text) if number[1] else int(text[:400]))
    for read in (_read_rfc_2822, _read_iso_8601, _read_human):
        found = read(text)
        if found is not None:
            return normalize_to_utc(found, default_timezone=default_timezone)
    raise TimestampError(value, "no known form fits it")


def normalize_to_utc(dt: datetime, *, default_timezone: tzinfo | None = UTC) -> datetime:
    """Return the same point in time in UTC.

    Args:
        dt: The time; a naive one is taken to be in *default_timezone*.
        default_timezone: Zone of a naive *dt*. With None, *dt* is returned unchanged.

    Raises:
        TimestampError: The time in UTC lies outside the years 1 to 9999.
    """
    if default_timezone is None:
        return dt
    if dt.tzinfo is None:
        dt = dt.replace(tzinfo=default_timezone)
    try:
        return dt.astimezone(UTC)
    except OverflowError as error:
        raise TimestampError(dt, "in UTC it lies outside the years 1 to 9999") from error


def detect_unix_precision(timestamp: float) -> str:
    """Return the unit of a unix timestamp, told by how many digits its whole part has.

    Returns:
        `seconds` up to 10 digits, `milliseconds` up to 13, `microseconds` up to 16.

    Raises:
        TimestampError: It has more digits (nanoseconds are not supported), or is not finite.
    """
    if not abs(timestamp) < inf:
        raise TimestampError(timestamp, "it is not finite")
    whole = abs(int(timestamp))
    if whole < 10**10:
        return "seconds"
    if whole < 10**13:
        return "milliseconds"
    if whole < 10**16:
        return "microseconds"
    raise TimestampError(timestamp, "it has more than 16 digits; nanoseconds are not supported")


def _from_unix(number: float) -> datetime:
    if not abs(number) < inf:
        raise TimestampError(number, "it is not finite")
    if number % 1:
        precision, microseconds = "seconds", round(number * 1_000_000)
    else:
        precision = detect_unix_precision(number)
        microseconds = int(number) * _MICROSECONDS[precision]
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError as error:
        raise TimestampError(
            number, f"as {precision} it lies outside the years 1 to 9999"
        ) from error


def _read_rfc_2822(text: str) -> datetime | None:
    if not _RFC_2822.fullmatch(text):
        return None
    try:
        return parsedate_to_datetime(text)
    except ValueError:
        return None


def _read_iso_8601(text: str) -> datetime | None:
    if text[-1] in "Zz":
        text = f"{text[:-1]}+00:00"
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _read_human(text: str) -> datetime | None:
    match = next((m for form in _HUMAN if (m := form.fullmatch(text))), None)
    if match is None:
        return None
    hour, half = int(match["hour"] or 0), (match["half"] or "").lower()
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half == "pm" else 0)
    try:
        return datetime(
            int(match["year"]),
            _month(match["month"]),
            int(match["day"]),
            hour,
            int(match["minute"] or 0),
            int(match["second"] or 0),
            tzinfo=_zone(match["zone"]),
        )
    except ValueError:
        return None


def _month(word: str) -> int:
    """Return the month's number; 0, which is no month, for a word that names none."""
    if word.isdecimal():
        return int(word)
    short = word.lower()
    if short == "sept":
        return 9
    return next((n for n, name in enumerate(_MONTHS, 1) if short in {name, name[:3]}), 0)


def _zone(text: str | None) -> tzinfo | None:
    if text is None:
        return None
    if text[0] not in "+-":
        return UTC
    return datetime.strptime(text, "%z").tzinfo
