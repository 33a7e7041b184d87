"""Find files that are the same, and texts that are nearly the same, without comparing all pairs."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

from document_audit.fingerprints import SIZE, similarity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ("ALIKE", "equal_groups", "near_groups")

ALIKE: Final = 0.8
# Sixteen bands of four places: of two texts that share 80 %, all but 1 in 5,000 pairs have a
# band in common, so that they meet; of two that share 30 %, one in eight.
_BANDS: Final = 16
_BAND: Final = SIZE // _BANDS
# Texts that share a band without being alike: a new one is compared with so many, no more.
_MAX_COMPARED: Final = 8


def equal_groups(digests: Iterable[tuple[int, bytes]]) -> list[list[int]]:
    """Return the numbers whose digests are equal, group by group, in the order given."""
    seen: dict[bytes, int | list[int]] = {}
    for number, digest in digests:
        others = seen.setdefault(digest, number)
        if isinstance(others, list):
            others.append(number)
        elif others != number:
            seen[digest] = [others, number]
    return [group for group in seen.values() if isinstance(group, list)]


def near_groups(
    numbers: Sequence[int], sketches: Sequence[bytes], *, alike: float = ALIKE
) -> Iterator[list[tuple[int, float]]]:
    """Yield groups of numbers, each of whose sketches is like that of another of the group.

    The time is linear in the count, and what is held beside the sketches is one table for
    one band.

    Args:
        numbers: What to call each text.
        sketches: The sketch of each.
        alike: How similar two texts of a group are at least, as far as sketches can tell.

    Yields:
        Numbers with their similarity to the first of the group, which is one for itself.
    """
    leaders = array("L", range(len(numbers)))
    for band in range(_BANDS):
        _join_band(sketches, leaders, band * _BAND, alike)
    groups: dict[int, list[int]] = {}
    for place in range(len(numbers)):
        leader = _leader(leaders, place)
        if leader != place:
            groups.setdefault(leader, [leader]).append(place)
    for leader, places in groups.items():
        first = sketches[leader]
        yield [(numbers[place], similarity(first, sketches[place])) for place in places]


def _join_band(sketches: Sequence[bytes], leaders: array[int], start: int, alike: float) -> None:
    """Join the groups of texts that are alike and have the band at *start* in common."""
    buckets: dict[bytes, int | list[int]] = {}
    for place, sketch in enumerate(sketches):
        others = buckets.setdefault(sketch[start : start + _BAND], place)
        if others == place:
            continue
        met = others if isinstance(others, list) else [others]
        mine = _leader(leaders, place)
        for other in met:
            theirs = _leader(leaders, other)
            if mine == theirs:
                break
            if similarity(sketch, sketches[other]) >= alike:
                leaders[max(mine, theirs)] = min(mine, theirs)
                break
        else:  # the group of a text that is like none of them is not met in this bucket yet
            if len(met) < _MAX_COMPARED:
                buckets[sketch[start : start + _BAND]] = [*met, place]


def _leader(leaders: array[int], place: int) -> int:
    """Return the first of the group of *place*, and shorten the way there."""
    while leaders[place] != place:
        leaders[place] = leaders[leaders[place]]
        place = leaders[place]
    return place
