"""Items of a scatter in as few bytes as possible, in the order in which they came.

A million items of a few bytes take about 30 MB, where a dictionary of them would take 300:
known keys are told by digests that lie side by side, and keys and outcomes are compressed
together in blocks once nothing in a block changes any more.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

import attrs

from stageflow.contracts.scatter_keys import ScatterKey

__all__ = ("CANCELLED", "COMPLETED", "FAILED", "LATE", "PENDING", "PackedItems")

PENDING, COMPLETED, FAILED, CANCELLED, LATE = range(5)

_BLOCK: Final = 256
_DIGEST: Final = 16
_ENTRY: Final = _DIGEST + 4
# No payload holds one: JSON escapes it.
_BETWEEN: Final = b"\n"


class _Numbers:
    """Which number each digest has: buckets of some dozens, each searched at the speed of C."""

    def __init__(self) -> None:
        self._buckets: dict[int, bytearray] = {}

    def find(self, digest: bytes) -> int | None:
        bucket = self._buckets.get(digest[0] | (digest[1] & 63) << 8)
        if bucket is None:
            return None
        at = bucket.find(digest)
        while at % _ENTRY and at > 0:  # across two entries
            at = bucket.find(digest, at + 1)
        if at < 0:
            return None
        return int.from_bytes(bucket[at + _DIGEST : at + _ENTRY], "little")

    def put(self, digest: bytes, number: int) -> None:
        bucket = self._buckets.setdefault(digest[0] | (digest[1] & 63) << 8, bytearray())
        bucket += digest + number.to_bytes(4, "little")


@attrs.define(eq=False)
class _Block:
    """Keys and outcomes of neighbours; each half is packed when it is whole."""

    keys: list[bytes] | bytes = attrs.field(factory=list)
    outcomes: dict[int, bytes] | bytes = attrs.field(factory=dict)


class PackedItems:
    """Items by number and by digest.

    Attributes:
        states: One byte per item: what has become of it.
    """

    def __init__(self) -> None:
        self.states: Final = bytearray()
        self._numbers = _Numbers()
        self._blocks: list[_Block] = []
        self._unpacked: tuple[int, list[bytes]] = (-1, [])

    def __len__(self) -> int:
        return len(self.states)

    def find(self, digest: bytes) -> int | None:
        """Return the number of the item that has this digest, if there is one."""
        return self._numbers.find(digest)

    def add(self, key: ScatterKey) -> bool:
        """Add an item, which is pending, and return whether it was not there."""
        if self._numbers.find(key.digest) is not None:
            return False
        number = len(self.states)
        self._numbers.put(key.digest, number)
        self.states.append(PENDING)
        if number % _BLOCK == 0:
            self._blocks.append(_Block())
        block = self._blocks[-1]
        assert isinstance(block.keys, list)
        block.keys.append(key.payload)
        if len(block.keys) == _BLOCK:
            block.keys = _packed(block.keys)
        return True

    def key(self, number: int) -> bytes:
        """Return the payload of an item's key."""
        return self._keys(number // _BLOCK)[number % _BLOCK]

    def end(self, number: int, state: int, outcome: bytes) -> None:
        """Keep the outcome of an item that was pending."""
        self.states[number] = state
        block = self._blocks[number // _BLOCK]
        assert isinstance(block.outcomes, dict)
        block.outcomes[number % _BLOCK] = outcome
        if len(block.outcomes) == _BLOCK:
            block.outcomes = _packed([block.outcomes[place] for place in range(_BLOCK)])

    def next_pending(self, start: int) -> int:
        """Return the number of the first item from *start* on that is pending, or -1."""
        return self.states.find(PENDING, start)

    def cancel_pending(self) -> int:
        """Cancel every item that is pending and return how many there were."""
        pending = self.states.count(PENDING)
        self.states[:] = self.states.translate(_CANCELLING)
        return pending

    def outcomes(
        self, start: int, state: int, limit: int | None
    ) -> Iterator[tuple[int, bytes, bytes]]:
        """Give number, key and outcome of at most *limit* items in that state, from *start* on."""
        place, found = -1, 0
        keys: list[bytes] = []
        outcomes: dict[int, bytes] = {}
        number = self.states.find(state, start)
        while number >= 0 and found != limit:
            if number // _BLOCK != place:
                place = number // _BLOCK
                keys, outcomes = self._keys(place), _unpacked_outcomes(self._blocks[place].outcomes)
            yield number, keys[number % _BLOCK], outcomes[number % _BLOCK]
            found += 1
            number = self.states.find(state, number + 1)

    def _keys(self, place: int) -> list[bytes]:
        keys = self._blocks[place].keys
        if isinstance(keys, list):
            return keys
        if self._unpacked[0] != place:
            self._unpacked = place, _unpacked(keys)
        return self._unpacked[1]


_CANCELLING: Final = bytes([CANCELLED if state == PENDING else state for state in range(256)])


def _packed(payloads: list[bytes]) -> bytes:
    return zlib.compress(_BETWEEN.join(payloads), 1)


def _unpacked(packed: bytes) -> list[bytes]:
    return zlib.decompress(packed).split(_BETWEEN)


def _unpacked_outcomes(outcomes: dict[int, bytes] | bytes) -> dict[int, bytes]:
    return outcomes if isinstance(outcomes, dict) else dict(enumerate(_unpacked(outcomes)))
