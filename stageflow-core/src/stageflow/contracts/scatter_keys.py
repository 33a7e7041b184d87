"""Scatter keys: what stands for one item of a scatter, written in one way only.

A key is any value that the codec can store: a text, a number, or a whole item with what it
takes to work on it. Two keys are the same if they are of the same types and equal throughout,
in whatever order their mappings name things.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Any, Final

from stageflow.codec import Codec

__all__ = ("ScatterKey", "ScatterResults")

_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_ABSENT: Final = object()
_LONG: Final = 128


class ScatterKey:
    """One key in its normal form; made by `of`, taken wherever a key is.

    Whoever passes the same key several times makes it once and saves the work.

    Attributes:
        payload: The key as bytes, which the codec reads; equal keys have equal bytes.
    """

    __slots__ = ("_codec", "_digest", "_value", "payload")

    def __init__(self, payload: bytes, codec: Codec, value: Any = _ABSENT) -> None:
        self.payload: Final = payload
        self._codec = codec
        self._value = value
        self._digest: bytes | None = None

    @classmethod
    def of(cls, value: Any, codec: Codec | None = None) -> ScatterKey:
        """Return the normal form of *value*; one that is in normal form comes back as it is.

        Args:
            value: The key.
            codec: What it is encoded with; the default one unless given.

        Raises:
            CodecError: The codec cannot store it.
        """
        if type(value) is cls:
            return value
        codec = codec or Codec.default()
        payload = codec.encode(value, where="key")
        if type(value) in _SCALARS:
            return cls(payload, codec, value)
        return cls(_in_order(payload), codec)

    @property
    def value(self) -> Any:
        """The key as whoever inserted it gave it; its own copy."""
        if self._value is _ABSENT:
            self._value = self._codec.decode(self.payload)
        return self._value

    @property
    def digest(self) -> bytes:
        """Sixteen bytes that no other key has."""
        if self._digest is None:
            self._digest = blake2b(self.payload, digest_size=16).digest()
        return self._digest

    @property
    def identity(self) -> bytes:
        """The payload if it is short, else the digest: what an index can hold.

        Short ones stand in an index in the order of their text, near those they came with,
        which a database rewards; digests are all over it.
        """
        return self.payload if len(self.payload) <= _LONG else self.digest

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ScatterKey) and self.payload == other.payload

    def __hash__(self) -> int:
        return hash(self.payload)

    def __repr__(self) -> str:
        return f"ScatterKey({self.value!r:.100})"


class ScatterResults(Mapping[Any, Any]):
    """Results by key, in the order in which the keys were inserted.

    Unlike a `dict`, it has keys that cannot be hashed, such as mappings, and tells 1 from True.

    Args:
        pairs: Each key, normalised or not, with its result.
        codec: What keys are encoded with; the default one unless given.
    """

    def __init__(self, pairs: Iterable[tuple[Any, Any]] = (), codec: Codec | None = None) -> None:
        self._codec = codec or Codec.default()
        self._pairs = {ScatterKey.of(key, self._codec): result for key, result in pairs}

    def __getitem__(self, key: Any) -> Any:
        try:
            return self._pairs[ScatterKey.of(key, self._codec)]
        except KeyError:
            raise KeyError(key) from None

    def __iter__(self) -> Iterator[Any]:
        return (key.value for key in self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        theirs = other if isinstance(other, ScatterResults) else ScatterResults(other.items())
        return self._pairs == theirs._pairs

    __hash__ = None  # type: ignore[assignment] # results may be anything

    def __repr__(self) -> str:
        return f"ScatterResults({len(self)} keys)"


def _in_order(payload: bytes) -> bytes:
    """Return *payload* with the names of each mapping sorted."""
    envelope = json.loads(payload, object_hook=_with_sorted_pairs)
    return _dumped(envelope).encode()


def _with_sorted_pairs(found: dict[str, Any]) -> dict[str, Any]:
    # How the codec writes a mapping whose keys are not all text.
    if found.get("$type") == "dict" and isinstance(found.get("$value"), list):
        found["$value"].sort(key=_dumped)
    return found


def _dumped(value: Any) -> str:
    return json.dumps(
        value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
    )
