"""Partition keys: one text per partition value, the same for every backend, and back again.

A key is safe as one segment of a path, of an object's name and of a URL: ASCII letters
and digits, `_`, `-`, `.`, `~`, and for composite values `(`, `)`, `,` and `=`. It never
begins with a dot or ends with one, and equal values have equal keys.

    None                                -         str "eu/west"      s_eu~2Fwest
    int 42                              i_42      date               d_2025-01-31
    datetime, aware (in UTC)            t_2025-01-31T06~3A00~3A00Z
    datetime, naive                     n_2025-01-31T06~3A00~3A00
    tuple ("eu", 1)                     x(s_eu,i_1)
    mapping {"day": date, "region": …}  m(day=d_2025-01-31,region=s_eu)

Case matters, and a key may be long: a backend that cannot tell `A` from `a`, or has a
limit of length, adds a hash of the key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Final, TypeAlias

from stageflow.errors import RunError

__all__ = (
    "Partition",
    "PartitionError",
    "PartitionKeyError",
    "escape_segment",
    "parse_partition_key",
    "partition_key",
    "unescape_segment",
)

Partition: TypeAlias = (
    "str | int | date | datetime | tuple[Partition, ...] | Mapping[str, Partition] | None"
)

_NONE: Final = "-"
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_.-]|\A\.|\.\Z")
_ESCAPED: Final = re.compile(r"(?:~[0-9A-F]{2})+")
_SEGMENT: Final = re.compile(r"(?:[A-Za-z0-9_.-]|~[0-9A-F]{2})*")
_DEEPEST: Final = 50


class PartitionError(RunError):
    """A value cannot name a partition.

    Attributes:
        partition: The value.
    """

    code = "SF440"

    def __init__(self, partition: object, reason: str) -> None:
        shown = repr(partition)
        shown = shown if len(shown) <= 100 else f"{shown[:97]}..."
        super().__init__(
            f"{shown} cannot name a partition: {reason}.",
            hint="A partition is None, a str, int, date or datetime, or a tuple or "
            "a mapping (with str keys) of those.",
        )
        self.partition = partition
        self.reason = reason


class PartitionKeyError(RunError):
    """A text is not the key of any partition.

    Attributes:
        key: The text.
    """

    code = "SF441"

    def __init__(self, key: str) -> None:
        super().__init__(
            f"{key[:100]!r} is not the key of a partition.",
            hint="Something else than Stageflow has put it there; move it away.",
        )
        self.key = key


def partition_key(partition: Partition) -> str:
    """Return the one text that stands for *partition*.

    Raises:
        PartitionError: The value is of a kind that cannot name a partition.
    """
    return _encode(partition, partition, 0)


def parse_partition_key(key: str) -> Partition:
    """Return the partition whose key is *key*; mappings come as `dict`, aware times in UTC.

    Raises:
        PartitionKeyError: `partition_key` makes no such text.
    """
    try:
        value, end = _decode(key, 0, 0)
        if end == len(key) and partition_key(value) == key:
            return value
    except (ValueError, OverflowError, PartitionError):
        pass
    raise PartitionKeyError(key)


def escape_segment(text: str) -> str:
    """Return *text* in the safe characters `A-Z a-z 0-9 _ - . ~`, not beginning with a dot.

    Whatever else there is becomes `~` and two hexadecimal digits per byte of its UTF-8 form.

    Raises:
        ValueError: The text cannot be encoded in UTF-8: it holds half a surrogate pair.
    """
    return _UNSAFE.sub(lambda found: _escaped(found.group()), text)


def unescape_segment(segment: str) -> str:
    """Return the text whose escaped form is *segment*.

    Raises:
        ValueError: `escape_segment` makes no such segment.
    """
    if not _SEGMENT.fullmatch(segment):
        raise ValueError(f"{segment[:100]!r} is not an escaped text")
    return _ESCAPED.sub(
        lambda found: bytes.fromhex(found.group().replace("~", "")).decode(), segment
    )


def _escaped(text: str) -> str:
    return "".join(f"~{byte:02X}" for byte in text.encode())


def _encode(value: object, whole: object, depth: int) -> str:
    if depth > _DEEPEST:
        raise PartitionError(whole, f"it is nested more than {_DEEPEST} deep")
    match value:
        case None:
            return _NONE
        case bool():
            raise PartitionError(whole, "a bool is no partition; use a str or an int")
        case str():
            return f"s_{_text(value, whole)}"
        case int():
            return f"i_{_digits(value, whole)}"
        case datetime():
            return _encode_datetime(value, whole)
        case date():
            return f"d_{value.isoformat()}"
        case tuple():
            return f"x({','.join(_encode(item, whole, depth + 1) for item in value)})"
        case Mapping():
            if not all(isinstance(name, str) for name in value):
                raise PartitionError(whole, "the keys of a mapping must be str")
            named = (
                f"{_text(name, whole)}={_encode(value[name], whole, depth + 1)}"
                for name in sorted(value)
            )
            return f"m({','.join(named)})"
        case _:
            raise PartitionError(whole, f"{type(value).__name__} is not a kind that can")


def _text(text: str, whole: object) -> str:
    try:
        return escape_segment(text)
    except ValueError:
        raise PartitionError(whole, "its text cannot be encoded in UTF-8") from None


def _digits(value: int, whole: object) -> str:
    try:
        return str(int(value))
    except ValueError:
        # Not `whole`: its repr would fail in the same way.
        raise PartitionError(type(whole).__name__, "it holds an int of too many digits") from None


def _encode_datetime(value: datetime, whole: object) -> str:
    if value.utcoffset() is None:
        return f"n_{escape_segment(value.replace(tzinfo=None).isoformat())}"
    try:
        instant = value.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:
        raise PartitionError(whole, "its instant lies outside the years 1 to 9999 in UTC") from None
    return f"t_{escape_segment(instant.isoformat())}Z"


_SCALARS: Final[dict[str, Callable[[str], Partition]]] = {
    "s_": unescape_segment,
    "i_": int,
    "d_": date.fromisoformat,
    "n_": lambda body: datetime.fromisoformat(unescape_segment(body)),
    "t_": lambda body: datetime.fromisoformat(unescape_segment(body)).astimezone(UTC),
}


def _decode(key: str, start: int, depth: int) -> tuple[Partition, int]:
    """Return the value whose key begins at *start*, and where it ends."""
    if depth > _DEEPEST:
        raise ValueError(key)
    if key.startswith(("x(", "m("), start):
        return _decode_composite(key, start, depth)
    end = _end_of_segment(key, start)
    segment = key[start:end]
    if segment == _NONE:
        return None, end
    parse = _SCALARS.get(segment[:2])
    if parse is None:
        raise ValueError(key)
    return parse(segment[2:]), end


def _decode_composite(key: str, start: int, depth: int) -> tuple[Partition, int]:
    items: list[Partition] = []
    names: list[str] = []
    named = key[start] == "m"
    at = start + 2
    while not (key.startswith(")", at) and not items):
        if named:
            end = _end_of_segment(key, at)
            if not key.startswith("=", end):
                raise ValueError(key)
            names.append(unescape_segment(key[at:end]))
            at = end + 1
        item, at = _decode(key, at, depth + 1)
        items.append(item)
        if not key.startswith(",", at):
            break
        at += 1
    if not key.startswith(")", at):
        raise ValueError(key)
    return (dict(zip(names, items, strict=True)) if named else tuple(items)), at + 1


def _end_of_segment(key: str, start: int) -> int:
    match = _SEGMENT.match(key, start)
    return match.end() if match else start
