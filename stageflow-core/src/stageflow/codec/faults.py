"""Faults on their way out of a nested value, gathering the path as they go."""

from __future__ import annotations

from enum import Enum
from typing import Any, Literal
from uuid import UUID

__all__ = ("ITEM", "KEY", "Fault", "FaultKind", "Faults")

FaultKind = Literal["type", "value", "cycle", "depth", "size"]

KEY = object()
"""Path segment of a key that is at fault itself."""
ITEM = object()
"""Path segment of an item of a set."""

_MOST_FAULTS = 20
_LONGEST_PATH = 200
_SHOWN_KEYS = (int, float, bool, type(None), UUID, Enum)


class Fault:
    """One fault: its kind, what is wrong, and the way to it, innermost segment first."""

    __slots__ = ("kind", "name", "problem", "segments")

    def __init__(self, kind: FaultKind, problem: str, name: str = "") -> None:
        self.kind = kind
        self.problem = problem
        self.name = name
        self.segments: list[Any] = []

    @property
    def path(self) -> str:
        """The way to the fault, as one would write it in Python, shortened in the middle."""
        text = "".join(map(_segment, reversed(self.segments))).removeprefix(".")
        if len(text) > _LONGEST_PATH:
            half = _LONGEST_PATH // 2
            return f"{text[:half]}...{text[-half:]}"
        return text


class Faults(Exception):
    """Faults found in one part of a value; the walk goes on beside them unless one is final."""

    def __init__(self, fault: Fault, *, cause: BaseException | None = None) -> None:
        super().__init__()
        self.found = [fault]
        self.first_cause = cause

    @property
    def final(self) -> bool:
        """Whether looking further makes no sense."""
        return len(self.found) >= _MOST_FAULTS or self.found[-1].kind in ("cycle", "depth", "size")

    @property
    def listed(self) -> tuple[tuple[str, str], ...]:
        """Each fault's path with its problem."""
        return tuple((fault.path, fault.problem) for fault in self.found)

    def within(self, segment: Any, others: Faults | None) -> Faults:
        """Return these faults as seen from the container, after *others* found in it.

        Raises:
            Faults: The same, if looking further makes no sense.
        """
        for fault in self.found:
            fault.segments.append(segment)
        both = self
        if others is not None:
            both = others
            both.found.extend(self.found)
        if both.final:
            raise both
        return both


def _segment(segment: Any) -> str:
    if segment is KEY:
        return "{key}"
    if segment is ITEM:
        return "{item}"
    if isinstance(segment, str):
        if not segment:
            return ""
        return f".{segment}" if segment.isidentifier() else f"[{segment[:60]!r}]"
    return f"[{segment}]" if isinstance(segment, _SHOWN_KEYS) else f"[{type(segment).__name__}]"
