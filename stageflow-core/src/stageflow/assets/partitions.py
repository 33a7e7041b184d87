"""Partitions: which ones an asset has, as sequences that are computed and not enumerated.

Each is a `Sequence`: its length, whether a key is in it, its items and its slices cost the same
for ten keys as for a million, and iterating keeps one key at a time.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from math import prod
from typing import Any, ClassVar, overload

import attrs

from stageflow.assets.errors import PartitionsError, UnknownPartitionError
from stageflow.contracts.partitions import Partition, PartitionError, partition_key
from stageflow.errors import did_you_mean

__all__ = (
    "DatePartitions",
    "DatetimePartitions",
    "MultiPartitions",
    "PartitionSlice",
    "Partitions",
    "StaticPartitions",
    "TuplePartitions",
)


class Partitions(Sequence[Any]):
    """The partitions of an asset, in order.

    A subclass gives `__len__`, `key_at`, `find`, `text` and `parse`.
    """

    __slots__ = ()
    kind: ClassVar[str] = "partitions"

    @abstractmethod
    def key_at(self, index: int) -> Partition:
        """Return the key number *index*, which is in range."""

    @abstractmethod
    def find(self, key: Any) -> int | None:
        """Return the number of *key*; None if it is not among them."""

    @abstractmethod
    def text(self, key: Any) -> str:
        """Return *key* as a person writes it; different keys have different texts."""

    @abstractmethod
    def parse(self, text: str) -> Any:
        """Return the key that *text* stands for.

        Raises:
            UnknownPartitionError: If it stands for none of them.
        """

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> Partitions: ...

    def __getitem__(self, index: int | slice) -> Any:
        size = len(self)
        if isinstance(index, slice):
            return PartitionSlice(self, range(size)[index])
        if not -size <= index < size:
            raise IndexError(f"There are {size:,} partitions, and none has number {index}.")
        return self.key_at(index % size)

    def __iter__(self) -> Iterator[Any]:
        return self.keys_at(range(len(self)))

    def __reversed__(self) -> Iterator[Any]:
        return self.keys_at(range(len(self) - 1, -1, -1))

    def keys_at(self, numbers: range) -> Iterator[Any]:
        """Return the keys of these numbers, one at a time."""
        return map(self.key_at, numbers)

    def __contains__(self, key: object) -> bool:
        return self.find(key) is not None

    def index(self, key: Any, start: int = 0, stop: int | None = None) -> int:
        """Return the number of *key*; raise `ValueError` if it is not among them."""
        found = self.find(key)
        if found is None or found not in range(len(self))[start:stop]:
            raise ValueError(f"{key!r:.100} is no partition of {self.describe()}.")
        return found

    def count(self, value: Any) -> int:
        """Return 1 if *value* is among them, else 0: each is there once."""
        return int(value in self)

    def covers(self, other: Partitions) -> bool:
        """Whether every key of *other* seems to be one of these; looks at its ends alone."""
        if self == other or not len(other):
            return True
        return type(self) is type(other) and other[0] in self and other[-1] in self

    def describe(self) -> str:
        """Return in a few words what they are, such as `2025-01-01 … 2025-12-31 (365)`."""
        size = len(self)
        if size == 0:
            return "none"
        if size <= 3:
            return ", ".join(map(self.text, self))
        return f"{self.text(self[0])} … {self.text(self[-1])} ({size:,})"

    def select(self, first: str, last: str) -> Partitions:
        """Return the keys from *first* to *last*, both of them included, given as texts.

        Raises:
            UnknownPartitionError: If one of the texts stands for none of them.
        """
        start, stop = self.index(self.parse(first)), self.index(self.parse(last))
        return self[start : stop + 1]

    def unknown(self, text: str, why: str = "") -> UnknownPartitionError:
        """Return the error that tells that *text* is none of them."""
        hint = f"There are: {self.describe()}." if len(self) else "There are none."
        return UnknownPartitionError("", text, why or "it is not among them", hint=hint)


@attrs.frozen(eq=False, repr=False)
class PartitionSlice(Partitions):
    """Some of the partitions of another sequence, by their numbers.

    Attributes:
        base: The other sequence.
        numbers: Which of its keys.
    """

    kind: ClassVar[str] = "slice"
    base: Partitions
    numbers: range

    def __len__(self) -> int:
        return len(self.numbers)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PartitionSlice):
            return NotImplemented
        return self.base == other.base and self.numbers == other.numbers

    def __hash__(self) -> int:
        return hash((self.base, self.numbers))

    def __repr__(self) -> str:
        return f"<{self.describe()}>"

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> Partitions: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return PartitionSlice(self.base, self.numbers[index])
        return super().__getitem__(index)

    def key_at(self, index: int) -> Partition:
        """See `Partitions.key_at`."""
        return self.base.key_at(self.numbers[index])

    def keys_at(self, numbers: range) -> Iterator[Any]:
        """See `Partitions.keys_at`."""
        return self.base.keys_at(self.numbers[numbers.start : _stop(numbers) : numbers.step])

    def find(self, key: Any) -> int | None:
        """See `Partitions.find`."""
        number = self.base.find(key)
        return self.numbers.index(number) if number in self.numbers else None  # type: ignore[arg-type] # None is in none

    def text(self, key: Any) -> str:
        """See `Partitions.text`."""
        return self.base.text(key)

    def parse(self, text: str) -> Any:
        """See `Partitions.parse`."""
        key = self.base.parse(text)
        if key not in self:
            raise self.unknown(text)
        return key


def _stop(numbers: range) -> int | None:
    """Return where a slice ends that takes these numbers; -1 would mean the last one."""
    return numbers.stop if numbers.stop >= 0 else None


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
                    f"{given!r} is no date.", hint="Give datetimes to DatetimePartitions."
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
                    f"{given!r} is no datetime.", hint="Give dates to DatePartitions."
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


@attrs.frozen(init=False, repr=False)
class StaticPartitions(Partitions):
    """The partitions that are listed: texts, or whole numbers, each once.

    A `range` is kept as it is.
    """

    kind: ClassVar[str] = "static"
    keys: Sequence[Any]
    _numbers: Mapping[Any, int] | range = attrs.field(eq=False)

    def __init__(self, *keys: str | int | Iterable[str | int]) -> None:
        given: Any = keys
        if len(keys) == 1 and not isinstance(keys[0], str | int):
            given = keys[0]
        listed = given if isinstance(given, range) else tuple(given)
        numbers: Any = listed
        if not isinstance(listed, range):
            if wrong := [key for key in listed if type(key) not in (str, int)]:
                raise PartitionsError(
                    f"{wrong[0]!r:.100} is neither a text nor a whole number.",
                    hint="Use DatePartitions, DatetimePartitions or TuplePartitions for others.",
                )
            numbers = {key: number for number, key in enumerate(listed)}
            if len(numbers) < len(listed):
                raise PartitionsError("A partition is listed twice.", hint="List each once.")
        self.__attrs_init__(listed, numbers)

    def __len__(self) -> int:
        return len(self.keys)

    def __repr__(self) -> str:
        return f"StaticPartitions({self.describe()})"

    def key_at(self, index: int) -> Any:
        """See `Partitions.key_at`."""
        return self.keys[index]

    def keys_at(self, numbers: range) -> Iterator[Any]:
        """See `Partitions.keys_at`."""
        if numbers == range(len(self.keys)):
            return iter(self.keys)
        return map(self.keys.__getitem__, numbers)

    def find(self, key: Any) -> int | None:
        """See `Partitions.find`."""
        if type(key) not in (str, int):
            return None
        if isinstance(self._numbers, range):
            return self._numbers.index(key) if key in self._numbers else None
        return self._numbers.get(key)

    def covers(self, other: Partitions) -> bool:
        """Whether every key of *other* is one of these."""
        return isinstance(other, StaticPartitions) and all(key in self for key in other)

    def text(self, key: Any) -> str:
        """See `Partitions.text`."""
        text = str(key)
        # A number and a text that looks like it are two keys.
        return f"'{text}'" if isinstance(key, str) and self._is_read_as_number(text) else text

    def parse(self, text: str) -> Any:
        """See `Partitions.parse`."""
        if text in self:
            if not self._is_read_as_number(text):
                return text
        elif text[:1] == text[-1:] == "'" and text[1:-1] in self:
            return text[1:-1]
        try:
            number = int(text)
        except ValueError:
            number = None
        if number in self:
            return number
        known = list(map(str, self[:1000]))
        why = "it is not among them"
        raise UnknownPartitionError("", text, why, hint=did_you_mean(text, known))

    def _is_read_as_number(self, text: str) -> bool:
        try:
            return int(text) in self
        except ValueError:
            return False


class _Product(Partitions):
    """Every combination of the keys of other sequences; the last one changes fastest."""

    __slots__ = ()

    @property
    @abstractmethod
    def parts(self) -> tuple[Partitions, ...]:
        """The other sequences."""

    @abstractmethod
    def _join(self, keys: tuple[Any, ...]) -> Partition: ...

    @abstractmethod
    def _split(self, key: Any) -> Sequence[Any] | None: ...

    def __len__(self) -> int:
        return prod(map(len, self.parts))

    def covers(self, other: Partitions) -> bool:
        """Whether every key of *other* seems to be one of these, part by part."""
        if type(other) is not type(self) or not isinstance(other, _Product):
            return False
        return len(self.parts) == len(other.parts) and all(
            ours.covers(theirs) for ours, theirs in zip(self.parts, other.parts, strict=True)
        )

    def key_at(self, index: int) -> Partition:
        """See `Partitions.key_at`."""
        keys = []
        for part in reversed(self.parts):
            index, number = divmod(index, len(part))
            keys.append(part.key_at(number))
        return self._join(tuple(reversed(keys)))

    def find(self, key: Any) -> int | None:
        """See `Partitions.find`."""
        keys = self._split(key)
        if keys is None or len(keys) != len(self.parts):
            return None
        total = 0
        for part, each in zip(self.parts, keys, strict=True):
            number = part.find(each)
            if number is None:
                return None
            total = total * len(part) + number
        return total

    def describe(self) -> str:
        """See `Partitions.describe`."""
        listed = " x ".join(part.describe() for part in self.parts)
        return f"{listed} ({len(self):,})"


def _escape(text: str) -> str:
    return re.sub(r"([\\,=])", r"\\\1", text)


def _pieces(text: str, separator: str) -> list[str]:
    """Return what stands between separators that no backslash stands before; not unescaped."""
    pieces, escaped = [""], False
    for character in text:
        if character == separator and not escaped:
            pieces.append("")
        else:
            pieces[-1] += character
        escaped = character == "\\" and not escaped
    return pieces


def _unescape(piece: str) -> str:
    return re.sub(r"\\(.)", r"\1", piece, flags=re.DOTALL)


@attrs.frozen(init=False)
class TuplePartitions(_Product):
    """Every combination of keys as a tuple, such as `("eu", date(2025, 1, 31))`."""

    kind: ClassVar[str] = "tuple"
    parts: tuple[Partitions, ...]

    def __init__(self, *parts: Partitions | Iterable[str | int]) -> None:
        if not parts:
            raise PartitionsError("A tuple of nothing has no partitions.", hint="Give its parts.")
        self.__attrs_init__(tuple(map(as_partitions, parts)))

    def _join(self, keys: tuple[Any, ...]) -> Partition:
        return keys

    def _split(self, key: Any) -> Sequence[Any] | None:
        return key if isinstance(key, tuple) else None

    def text(self, key: Any) -> str:
        """See `Partitions.text`."""
        pairs = zip(self.parts, key, strict=True)
        return ",".join(_escape(part.text(each)) for part, each in pairs)

    def parse(self, text: str) -> Any:
        """See `Partitions.parse`; the parts stand with commas between them."""
        pieces = _pieces(text, ",")
        if len(pieces) != len(self.parts):
            raise self.unknown(text, f"it has {len(pieces)} parts, not {len(self.parts)}")
        pairs = zip(self.parts, pieces, strict=True)
        return tuple(part.parse(_unescape(piece)) for part, piece in pairs)


@attrs.frozen(init=False)
class MultiPartitions(_Product):
    """Every combination of keys by the names of their dimensions, such as `{"region": "eu"}`."""

    kind: ClassVar[str] = "multi"
    names: tuple[str, ...]
    parts: tuple[Partitions, ...]

    def __init__(self, dimensions: Mapping[str, Partitions | Iterable[str | int]]) -> None:
        if not dimensions or not all(dimensions):
            raise PartitionsError(
                "Dimensions are given by name.", hint='Such as {"day": …, "region": …}.'
            )
        parts = tuple(map(as_partitions, dimensions.values()))
        self.__attrs_init__(tuple(dimensions), parts)

    @property
    def dimensions(self) -> dict[str, Partitions]:
        """The sequences, by name."""
        return dict(zip(self.names, self.parts, strict=True))

    def covers(self, other: Partitions) -> bool:
        """See `Partitions.covers`."""
        return isinstance(other, MultiPartitions) and (
            self.names == other.names and super().covers(other)
        )

    def _join(self, keys: tuple[Any, ...]) -> Partition:
        return dict(zip(self.names, keys, strict=True))

    def _split(self, key: Any) -> Sequence[Any] | None:
        if not isinstance(key, Mapping) or set(key) != set(self.names):
            return None
        return [key[name] for name in self.names]

    def text(self, key: Any) -> str:
        """See `Partitions.text`."""
        named = self.dimensions.items()
        return ",".join(f"{_escape(name)}={_escape(part.text(key[name]))}" for name, part in named)

    def parse(self, text: str) -> Any:
        """See `Partitions.parse`; in any order, such as `day=2025-01-31,region=eu`."""
        found: dict[str, Any] = {}
        for piece in _pieces(text, ","):
            name, *rest = _pieces(piece, "=")
            name = _unescape(name)
            part = self.dimensions.get(name)
            if part is None or len(rest) != 1:
                names = ", ".join(self.names)
                raise self.unknown(text, f"its dimensions are {names}, each as name=key")
            found[name] = part.parse(_unescape(rest[0]))
        if missing := [name for name in self.names if name not in found]:
            raise self.unknown(text, f"{', '.join(missing)} is missing")
        return {name: found[name] for name in self.names}


def as_partitions(given: Any) -> Partitions:
    """Return *given* as partitions: itself, or a list of texts or numbers as static ones.

    Raises:
        PartitionsError: If it can be neither.
    """
    if isinstance(given, Partitions):
        return given
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        raise PartitionsError(
            f"{given!r:.100} are no partitions.",
            hint="Give DatePartitions(…) or its like, or a list of texts.",
        )
    return StaticPartitions(given)


def same_key(partition: object) -> str:
    """Return the text that stands for *partition* in records and stores.

    Raises:
        UnknownPartitionError: If it can name no partition.
    """
    try:
        return partition_key(partition)  # type: ignore[arg-type] # that is what is found out
    except PartitionError as error:
        raise UnknownPartitionError("", partition, error.reason, hint=error.hint) from None
