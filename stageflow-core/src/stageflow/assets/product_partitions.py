"""Partitions of several parts: every combination of the keys of other sequences."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any, ClassVar

import attrs

from stageflow.assets.errors import PartitionsError
from stageflow.assets.partitions import Partitions, as_partitions
from stageflow.contracts.partitions import Partition

__all__ = ("MultiPartitions", "TuplePartitions")


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
