"""What a scan found in a text, shown so that it gives nothing away."""

from __future__ import annotations

from bisect import bisect_right, insort
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ("SEVERITIES", "Finding", "Hit", "blank_out", "to_findings")

SEVERITIES: Final = ("high", "medium", "low", "info")
# A table of a million mail addresses must not make a result of a million findings.
MAX_PER_RULE: Final = {"high": 20, "medium": 20, "low": 5, "info": 5}
_DOT = "\u2022"


@attrs.frozen
class Hit:
    """A match within a text, before it is known on which line it stands.

    Attributes:
        start: Where it begins.
        end: Where it ends.
        rule: The name of the rule that it matches.
        severity: One of `SEVERITIES`.
        excerpt: What may be shown of it.
    """

    start: int
    end: int
    rule: str
    severity: str
    excerpt: str


@attrs.frozen
class Finding:
    """One place that somebody should look at.

    Attributes:
        rule: The name of the rule that matched.
        severity: One of `SEVERITIES`.
        line: The number of the line, from one.
        excerpt: The match, redacted.
    """

    rule: str
    severity: str
    line: int
    excerpt: str

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as a JSON-able dictionary."""
        return attrs.asdict(self)


def blank_out(secret: str, *, keep_start: int = 0, keep_end: int = 0) -> str:
    """Return *secret* as dots, but for so many characters at its ends, and its length."""
    end = secret[len(secret) - keep_end :] if keep_end else ""
    return f"{secret[:keep_start]}{_DOT * 6}{end} ({len(secret)} characters)"


def to_findings(text: str, hits: Iterable[Hit]) -> tuple[list[Finding], dict[str, int]]:
    """Return the findings in the order of the text, and how many hits each rule had.

    Where two hits overlap, the earlier in *hits* stands: give the exact rules first. Of each
    rule, the first few are kept, as `MAX_PER_RULE` says; the counts are of all.
    """
    counts: dict[str, int] = {}
    kept: list[Hit] = []
    for hit in _without_overlaps(hits):
        counts[hit.rule] = counts.get(hit.rule, 0) + 1
        if counts[hit.rule] <= MAX_PER_RULE[hit.severity]:
            kept.append(hit)
    line_of = _line_counter(text)
    return [
        Finding(hit.rule, hit.severity, line_of(hit.start), hit.excerpt) for hit in kept
    ], counts


def _without_overlaps(hits: Iterable[Hit]) -> Iterator[Hit]:
    taken: list[tuple[int, int]] = []
    standing: list[Hit] = []
    for hit in hits:
        place = bisect_right(taken, (hit.start, hit.end))
        before = place > 0 and taken[place - 1][1] > hit.start
        behind = place < len(taken) and taken[place][0] < hit.end
        if not before and not behind:
            insort(taken, (hit.start, hit.end))
            standing.append(hit)
    standing.sort(key=lambda hit: hit.start)
    yield from standing


def _line_counter(text: str) -> Callable[[int], int]:
    """Return what tells the line of a position; positions must not go back."""
    seen, line = 0, 1

    def line_of(position: int) -> int:
        nonlocal seen, line
        line += text.count("\n", seen, position)
        seen = position
        return line

    return line_of
