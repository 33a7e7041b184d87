"""Partitions: which ones an asset has, as sequences that are computed and not enumerated.

Each is a `Sequence`: its length, whether a key is in it, its items and its slices cost the same
for ten keys as for a million, and iterating keeps one key at a time.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, overload

import attrs

from stageflow.assets.errors import PartitionsError, UnknownPartitionError
from stageflow.contracts.partitions import Partition, PartitionError, partition_key
from stageflow.errors import did_you_mean

__all__ = (
    "PartitionSlice",
    "Partitions",
    "StaticPartitions",
    "as_partitions",
    "same_key",
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
                twice = next(key for number, key in enumerate(listed) if numbers[key] != number)
                raise PartitionsError(
                    f"{twice!r:.100} is listed more than once.", hint="List each once."
                )
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
