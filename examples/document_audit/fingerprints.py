"""Sketch a text so that two sketches tell how much of the texts is alike.

A text is taken as the set of its runs of three words. A sketch keeps, for each of 64 parts
of the space of hashes, the smallest hash that falls there: of two texts, the share of equal
places estimates the share of common runs (one-permutation MinHash, after Li, Owen and Zhang;
an empty place borrows from another, after Shrivastava). Sketches are the same on every
machine, in every process and in every version of Python.
"""

from __future__ import annotations

import struct
from base64 import b64decode, b64encode
from functools import lru_cache
from hashlib import blake2b
from operator import eq
from typing import Final

__all__ = ("PLACES", "SIZE", "from_text", "similarity", "sketch", "to_text")

PLACES: Final = 64
SIZE: Final = 4 * PLACES
_MIN_WORDS: Final = 26
_MIN_FILLED: Final = 16
_HASH: Final = (1 << 38) - 1  # six bits name the place, 32 are kept there
_EMPTY: Final = _HASH + 1
_PACKED = struct.Struct(f"<{PLACES}I")
# Letters, digits and whatever is not ASCII make words; this is twice as fast as a pattern.
_WORD_BYTES: Final = bytes(
    byte if byte >= 0x80 or chr(byte).isalnum() else 0x20 for byte in range(256)
)


@lru_cache(maxsize=65_536)
def _hash_of(word: bytes) -> int:
    return int.from_bytes(blake2b(word, digest_size=8).digest(), "little")


def sketch(text: str) -> bytes | None:
    """Return the sketch of *text*, or None if it is too short to be like another."""
    lowered = text.lower().encode("utf-8", "surrogatepass")
    words = list(map(_hash_of, lowered.translate(_WORD_BYTES).split()))
    if len(words) < _MIN_WORDS:
        return None
    smallest = [_EMPTY] * PLACES
    start, size = 0, 1_024
    while start < len(words) - 2:
        # The further on, the fewer runs are small enough to matter: the rest is left out
        # where it is cheap, and each part can be larger than the one before.
        part = words[start : start + size + 2]
        bound = max(smallest)
        small = [
            run
            for first, second, third in zip(part, part[1:], part[2:], strict=False)
            if (run := (first ^ (second >> 5) ^ (third >> 11)) & _HASH) < bound
        ]
        for run in small:
            place = run & (PLACES - 1)
            if run < smallest[place]:  # noqa: PLR1730 - a call of `min` takes twice as long
                smallest[place] = run
        start, size = start + size, size * 4
    if PLACES - smallest.count(_EMPTY) < _MIN_FILLED:
        return None
    return _PACKED.pack(*(run >> 6 for run in _filled(smallest)))


def _filled(smallest: list[int]) -> list[int]:
    """Let every empty place borrow from one that depends on nothing but the place."""
    if _EMPTY not in smallest:
        return smallest
    filled = list(smallest)
    for place, run in enumerate(smallest):
        state = place
        while run == _EMPTY:
            state = (state * 1_103_515_245 + 12_345) & 0x7FFFFFFF
            run = smallest[(state >> 16) % PLACES]  # noqa: PLW2901
        filled[place] = run
    return filled


def similarity(one: bytes, other: bytes) -> float:
    """Return how alike two sketches say their texts are: from 0 to 1."""
    equal: int = sum(map(eq, _PACKED.unpack(one), _PACKED.unpack(other)))
    return equal / PLACES


def to_text(packed: bytes | None) -> str:
    """Return a sketch as text that JSON can carry; none is an empty text."""
    return b64encode(packed).decode("ascii") if packed else ""


def from_text(text: str) -> bytes:
    """Return what `to_text` was given."""
    return b64decode(text)
