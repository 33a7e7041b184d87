"""Hive-style paths: where the data of an asset's partition lies, so that other engines find it.

A path is the folder of the asset, then a folder `column=value` for each column of a mapping,
by name; any other partition has the one column `partition`, and None has none:

    places, None                                     places
    places, date(2025, 1, 31)                        places/partition=2025-01-31
    places, {"region": "eu", "day": date(…)}         places/day=2025-01-31/region=eu
    places, "eu/west"                                places/partition=eu~2Fwest
    places, "42"                                     places/partition=s_42
    places, ("eu", 1)                                places/partition=x(s_eu,i_1)

Text, whole numbers and dates stand as they are, and text that looks like something else as its
partition key, so that every path leads back to one partition. For a place that cannot tell `A`
from `a`, upper-case letters of text are escaped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Final

from stageflow.contracts.io_manager import IOManagerError
from stageflow.contracts.partitions import (
    Partition,
    PartitionError,
    PartitionKeyError,
    escape_segment,
    parse_partition_key,
    partition_key,
    unescape_segment,
)

__all__ = ("AssetNameError", "asset_folder", "parse_partition_path", "partition_path")

_COLUMN: Final = "partition"
_LONGEST: Final = 700
_INT: Final = re.compile(r"-?[0-9]+")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TYPED: Final = re.compile(r"-\Z|[a-z]_|[xm]\(")
# Text that one would take for another kind, or that Hive means something else by.
_AMBIGUOUS: Final = re.compile(rf"\Z|__|{_TYPED.pattern}|(?:{_INT.pattern}|{_DATE.pattern})\Z")
_RESERVED: Final = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|\Z)", re.IGNORECASE)
_TO_FOLD: Final = re.compile(r"~[0-9A-F]{2}|[A-Z]")
_FOLDED: Final = re.compile(r"~(4[1-9A-F]|5[0-9A])")


class AssetNameError(IOManagerError):
    """A text cannot name an asset where data is kept.

    Attributes:
        asset_name: The text.
    """

    code = "SF437"

    def __init__(self, asset_name: str) -> None:
        super().__init__(
            f"{asset_name!r:.100} cannot name an asset: it cannot be encoded in UTF-8.",
            hint="It holds half a surrogate pair; give the asset a name of whole characters.",
        )
        self.asset_name = asset_name


def asset_folder(asset_name: str, *, distinct_case: bool = False) -> str:
    """Return the folder of an asset: one segment of a path, different for every name.

    Args:
        asset_name: The asset.
        distinct_case: Whether folders must differ in more than the case of letters.

    Raises:
        AssetNameError: The name cannot be encoded.
    """
    try:
        segment = escape_segment(asset_name)
    except ValueError:
        raise AssetNameError(asset_name) from None
    if not segment:
        return "~"
    if _RESERVED.match(segment):
        return f"~{ord(segment[0]):02X}{_cased(segment[1:], distinct_case)}"
    return _cased(segment, distinct_case)


def partition_path(partition: Partition, *, distinct_case: bool = False) -> tuple[str, ...]:
    """Return the folders below the asset's: one `column=value` for each column.

    Args:
        partition: The partition.
        distinct_case: Whether paths must differ in more than the case of letters.

    Raises:
        PartitionError: The value cannot name a partition.
    """
    key = partition_key(partition)
    if partition is None:
        return ()
    if isinstance(partition, Mapping) and partition.keys() - {_COLUMN}:
        columns = tuple(
            f"{_cased(escape_segment(name), distinct_case)}="
            f"{_value_segment(partition[name], distinct_case)}"
            for name in sorted(partition)
        )
        if sum(map(len, columns)) <= _LONGEST:
            return columns
        return (f"{_COLUMN}={_cased(key, distinct_case)}",)
    return (f"{_COLUMN}={_value_segment(partition, distinct_case)}",)


def parse_partition_path(segments: Sequence[str]) -> Partition:
    """Return the partition whose path is *segments*.

    Raises:
        PartitionKeyError: `partition_path` makes no such path.
    """
    try:
        partition = _parse(segments)
        if tuple(segments) in {
            partition_path(partition, distinct_case=cased) for cased in (False, True)
        }:
            return partition
    except (ValueError, OverflowError, PartitionError, PartitionKeyError):
        pass
    raise PartitionKeyError("/".join(segments))


def _value_segment(value: Partition, distinct_case: bool) -> str:
    key = partition_key(value)
    if isinstance(value, datetime):
        return key  # its letters are always the same
    if isinstance(value, (int, date)):
        return key[2:]
    if isinstance(value, str) and not _AMBIGUOUS.match(key[2:]):
        key = key[2:]
    return _cased(key, distinct_case)


def _parse(segments: Sequence[str]) -> Partition:
    columns: dict[str, Partition] = {}
    for segment in segments:
        name, separator, value = segment.partition("=")
        if not separator:
            raise ValueError(segment)
        columns[unescape_segment(_unfolded(name))] = _parse_value(_unfolded(value))
    if not columns:
        return None
    return columns[_COLUMN] if columns.keys() == {_COLUMN} else columns


def _parse_value(segment: str) -> Partition:
    if _INT.fullmatch(segment):
        return int(segment)
    if _DATE.fullmatch(segment):
        return date.fromisoformat(segment)
    if _TYPED.match(segment):
        return parse_partition_key(segment)
    return unescape_segment(segment)


def _cased(segment: str, distinct_case: bool) -> str:
    return _folded(segment) if distinct_case else segment


def _folded(segment: str) -> str:
    """Escape upper-case letters; those of an escape never differ in their case alone."""
    return _TO_FOLD.sub(lambda m: m[0] if m[0][0] == "~" else f"~{ord(m[0]):02X}", segment)


def _unfolded(segment: str) -> str:
    return _FOLDED.sub(lambda m: chr(int(m[1], 16)), segment)
