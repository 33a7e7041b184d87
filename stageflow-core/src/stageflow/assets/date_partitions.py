"""Partitions by date and by instant."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any, ClassVar

import attrs

from stageflow.assets.errors import PartitionsError
from stageflow.assets.partitions import Partitions
from stageflow.errors import did_you_mean

__all__ = ("DatePartitions", "DatetimePartitions")


def _at_least_one(_: Any, attribute: attrs.Attribute[int], value: int) -> None:
    if type(value) is not int or value < 1:
        raise PartitionsError(
            f"{attribute.name}={value!r} makes no sequence.", hint="It must be at least 1."
        )


_UNITS = ("days", "weeks", "months", "years")


def _is_unit(_: Any, __: attrs.Attribute[str], value: str) -> None:
    if value not in _UNITS:
        raise PartitionsError(f"unit={value!r} is no unit.", hint=did_you_mean(str(value), _UNITS))


@attrs.frozen
class DatePartitions(Partitions):
    """One partition for each date from *start* on, before *end*, in steps.

    A month or year later is the same day of that month; a day that a month does not have
    cannot be a start.

    Attributes:
        start: The first date.
        end: Before which the last one lies.
        every: How many units apart they are.
        unit: `days`, `weeks`, `months` or `years`.
    """

    kind: ClassVar[str] = "date"
    start: date
    end: date
    every: int = attrs.field(default=1, validator=_at_least_one)
    unit: str = attrs.field(default="days", validator=_is_unit)

    def __attrs_post_init__(self) -> None:
        given: Any
        for given in (self.start, self.end):
            if not isinstance(given, date) or isinstance(given, datetime):
                raise PartitionsError(
                    f"{given!r:.100} is no date.",
                    hint="Give dates, such as date(2025, 1, 31); datetimes make "
                    "DatetimePartitions.",
                )
        if self.unit in ("months", "years") and self.start.day > 28:
            raise PartitionsError(
                f"Not every month has a day {self.start.day}.", hint="Start on day 28 or before."
            )

    def __len__(self) -> int:
        return max(0, -(-self._distance(self.end) // self._step))

    def key_at(self, index: int) -> date:
        """See `Partitions.key_at`."""
        if self.unit in ("days", "weeks"):
            return date.fromordinal(self.start.toordinal() + index * self._step)
        months = self.start.year * 12 + self.start.month - 1 + index * self._step
        return self.start.replace(year=months // 12, month=months % 12 + 1)

    def keys_at(self, numbers: range) -> Iterator[date]:
        """See `Partitions.keys_at`."""
        if self.unit not in ("days", "weeks"):
            return super().keys_at(numbers)
        first, step = self.start.toordinal(), self._step
        days = range(first + numbers.start * step, first + numbers.stop * step, numbers.step * step)
        return map(date.fromordinal, days)

    def find(self, key: Any) -> int | None:
        """See `Partitions.find`."""
        if not isinstance(key, date) or isinstance(key, datetime):
            return None
        if not self.start <= key < self.end:
            return None
        number, rest = divmod(self._distance(key), self._step)
        return number if rest == 0 and self.key_at(number) == key else None

    def text(self, key: date) -> str:
        """See `Partitions.text`."""
        return key.isoformat()

    def parse(self, text: str) -> date:
        """See `Partitions.parse`."""
        try:
            key = date.fromisoformat(text)
        except ValueError:
            raise self.unknown(text, "it is no date such as 2025-01-31") from None
        if key not in self:
            raise self.unknown(text)
        return key

    @property
    def _step(self) -> int:
        return self.every * {"days": 1, "weeks": 7, "months": 1, "years": 12}[self.unit]

    def _distance(self, day: date) -> int:
        """Return how many days, or begun months, lie between the start and *day*."""
        if self.unit in ("days", "weeks"):
            return day.toordinal() - self.start.toordinal()
        months = (day.year - self.start.year) * 12 + day.month - self.start.month
        return months + (1 if day.day > self.start.day else 0)


def _zone(zone: str | tzinfo) -> tzinfo:
    if isinstance(zone, tzinfo):
        return zone
    if zone.upper() == "UTC":
        return UTC
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(zone)
    except (LookupError, ValueError, OSError) as error:
        raise PartitionsError(
            f"{zone!r} is no time zone that is known here.",
            hint="Give a name such as 'Europe/Paris'; `pip install tzdata` brings the names.",
        ) from error


@attrs.frozen
class DatetimePartitions(Partitions):
    """One partition for each instant from *start* on, before *end*, in steps.

    Steps below a day are steps of time: an hour is an hour, also when clocks are changed. With
    steps of whole days the clocks of the zone show the same time each day.

    Attributes:
        start: The first instant; in the time zone *zone* if it names none.
        end: Before which the last one lies.
        step: How far they are apart.
        zone: The time zone of the keys.
    """

    kind: ClassVar[str] = "datetime"
    start: datetime
    end: datetime
    step: timedelta = timedelta(hours=1)
    zone: tzinfo = attrs.field(default=UTC, converter=_zone)

    def __attrs_post_init__(self) -> None:
        for name in ("start", "end"):
            given = getattr(self, name)
            if not isinstance(given, datetime):
                raise PartitionsError(
                    f"{given!r:.100} is no datetime.",
                    hint="Give datetimes, such as datetime(2025, 1, 31, 12); dates make "
                    "DatePartitions.",
                )
            aware = given if given.utcoffset() is not None else given.replace(tzinfo=self.zone)
            object.__setattr__(self, name, aware.astimezone(self.zone))
        if self.step <= timedelta(0):
            raise PartitionsError(f"A step of {self.step!r} has no end.", hint="Give one above 0.")

    def __len__(self) -> int:
        span = self._plain(self.end) - self._plain(self.start)
        return max(0, -(-span // self.step))

    def key_at(self, index: int) -> datetime:
        """See `Partitions.key_at`."""
        moved = self._plain(self.start) + index * self.step
        if self._by_day:
            return moved.replace(tzinfo=self.zone)
        return moved.replace(tzinfo=UTC).astimezone(self.zone)

    def find(self, key: Any) -> int | None:
        """See `Partitions.find`."""
        if not isinstance(key, datetime) or key.utcoffset() is None:
            return None
        number, rest = divmod(self._plain(key) - self._plain(self.start), self.step)
        if rest or not 0 <= number < len(self):
            # An hour that the clocks left out is read as another one.
            return None if not self._by_day else self._find_left_out(key)
        same = self.key_at(number).astimezone(UTC) == key.astimezone(UTC)
        return number if same else None

    def text(self, key: datetime) -> str:
        """See `Partitions.text`."""
        local = key.astimezone(self.zone)
        shown = local.isoformat(timespec="auto" if local.second or local.microsecond else "minutes")
        return f"{shown[:-6]}Z" if self.zone is UTC and shown.endswith("+00:00") else shown

    def parse(self, text: str) -> datetime:
        """See `Partitions.parse`; a text without an offset is read in the zone of the keys."""
        try:
            key = datetime.fromisoformat(text)
        except ValueError:
            raise self.unknown(text, "it is no time such as 2025-01-31T06:00") from None
        key = key if key.utcoffset() is not None else key.replace(tzinfo=self.zone)
        number = self.find(key)
        if number is None:
            raise self.unknown(text)
        return self.key_at(number)

    @property
    def _by_day(self) -> bool:
        return self.step % timedelta(days=1) == timedelta(0)

    def _plain(self, key: datetime) -> datetime:
        """Return the time that steps are counted in: the zone's clocks', or that of UTC."""
        zone = self.zone if self._by_day else UTC
        return key.astimezone(zone).replace(tzinfo=None, fold=0)

    def _find_left_out(self, key: datetime) -> int | None:
        near = (self._plain(key) - self._plain(self.start)) // self.step
        wanted = key.astimezone(UTC)
        for number in (near, near + 1):
            if 0 <= number < len(self) and self.key_at(number).astimezone(UTC) == wanted:
                return number
        return None
