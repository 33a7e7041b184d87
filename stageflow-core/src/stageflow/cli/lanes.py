"""A graph drawn with characters: one line for each stage, and lanes beside it for what leads where.

Time goes downwards. A lane belongs to the stage it leads to: whatever joins it is needed by that
stage, and what only crosses it is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import attrs

__all__ = ("LaneNode", "LaneRow", "draw_lanes", "grouped")

_SMALLEST_GROUP: Final = 6


@attrs.frozen
class LaneNode:
    """A stage, or several that need the same and are needed by the same.

    Attributes:
        names: The stages.
        kind: What kind of work they do.
        conditional: Whether they may be skipped by what they need.
        dependencies: Numbers of the nodes it needs.
    """

    names: tuple[str, ...]
    kind: str
    conditional: bool
    dependencies: tuple[int, ...]


@attrs.frozen
class LaneRow:
    """One line of the drawing.

    Attributes:
        lanes: The part that is drawn.
        node: The node on this line; None if it only joins lanes.
    """

    lanes: str
    node: LaneNode | None = None


def grouped(
    names: Sequence[str],
    kinds: Sequence[str],
    conditional: Sequence[bool],
    dependencies: Sequence[Sequence[int]],
    *,
    smallest: int = _SMALLEST_GROUP,
) -> list[LaneNode]:
    """Return the stages as nodes; at least *smallest* stages that stand alike make one."""
    successors: list[list[int]] = [[] for _ in names]
    for number, needed in enumerate(dependencies):
        for dependency in needed:
            successors[dependency].append(number)
    alike: dict[object, list[int]] = {}
    for number, needed in enumerate(dependencies):
        place = (tuple(sorted(needed)), tuple(successors[number]))
        alike.setdefault((place, kinds[number], conditional[number]), []).append(number)
    parts: list[list[int]] = []
    for members in alike.values():
        parts += [members] if len(members) >= smallest else [[member] for member in members]
    parts.sort()
    node_of = {member: node for node, members in enumerate(parts) for member in members}
    return [
        LaneNode(
            tuple(names[member] for member in members),
            kinds[members[0]],
            conditional[members[0]],
            tuple(dict.fromkeys(node_of[needed] for needed in dependencies[members[0]])),
        )
        for members in parts
    ]


def draw_lanes(nodes: Sequence[LaneNode]) -> list[LaneRow]:
    """Return the drawing of an acyclic graph, line by line."""
    drawing = _Drawing(nodes)
    while drawing.draw_next():
        pass
    return drawing.rows


class _Drawing:
    """The lanes as they are below the last line drawn."""

    def __init__(self, nodes: Sequence[LaneNode]) -> None:
        self.rows: list[LaneRow] = []
        self._nodes = nodes
        self._successors: list[list[int]] = [[] for _ in nodes]
        for number, node in enumerate(nodes):
            for dependency in node.dependencies:
                self._successors[dependency].append(number)
        self._missing = [len(node.dependencies) for node in nodes]
        self._roots = [number for number, count in enumerate(self._missing) if not count]
        self._roots.reverse()
        self._ready: set[int] = set()
        # What each lane leads to; None where there is none.
        self._lanes: list[int | None] = []
        self._column_of: dict[int, int] = {}

    def draw_next(self) -> bool:
        """Draw one more node; return whether there was one."""
        if self._ready:
            number = min(self._ready, key=self._column_of.__getitem__)
            self._ready.remove(number)
            column = self._column_of.pop(number)
        elif self._roots:
            number = self._roots.pop()
            column = self._free_column(0)
            if self.rows and self._touches(column):
                self.rows.append(LaneRow(self._verticals()))
        else:
            return False
        self._lanes[column] = None
        node = self._nodes[number]
        self.rows.append(LaneRow(self._verticals({column: "○" if node.conditional else "●"}), node))
        self._lead_on(number, column)
        return True

    def _touches(self, column: int) -> bool:
        # A node right under another one would look like its successor.
        above = self.rows[-1].lanes
        return above[2 * column : 2 * column + 1].strip() != ""

    def _lead_on(self, number: int, column: int) -> None:
        """Draw the line on which the lanes of a node's successors begin or are joined."""
        before = set(self._column_of.values())
        targets = []
        for successor in self._successors[number]:
            if successor not in self._column_of:
                start = column if self._lanes[column] is None else column + 1
                place = self._free_column(start)
                self._lanes[place] = successor
                self._column_of[successor] = place
            targets.append(self._column_of[successor])
            self._missing[successor] -= 1
            if not self._missing[successor]:
                self._ready.add(successor)
        if any(target != column for target in targets):
            self.rows.append(LaneRow(self._joints(column, targets, before)))
        while self._lanes and self._lanes[-1] is None:
            self._lanes.pop()

    def _free_column(self, start: int) -> int:
        for column in range(start, len(self._lanes)):
            if self._lanes[column] is None:
                return column
        self._lanes += [None] * (max(start, len(self._lanes)) + 1 - len(self._lanes))
        return len(self._lanes) - 1

    def _verticals(self, marks: Mapping[int, str] | None = None) -> str:
        signs = ["│" if lane is not None else " " for lane in self._lanes]
        for column, mark in (marks or {}).items():
            signs[column] = mark
        return " ".join(signs).rstrip()

    def _joints(self, column: int, targets: Iterable[int], before: set[int]) -> str:
        others = {target for target in targets if target != column}
        left, right = min(*others, column), max(*others, column)
        goes_on = self._lanes[column] is not None
        parts = []
        for place, lane in enumerate(self._lanes):
            sides = (place > left, place < right)
            if place == column:
                sign = _ON[sides] if goes_on else _OFF[sides]
            elif place in others:
                sign = _ON[sides] if place in before else _BEGIN[sides]
            elif lane is not None:
                sign = "│"
            else:
                sign = "─" if left < place < right else " "
            parts.append(sign + ("─" if left <= place < right else " "))
        return "".join(parts).rstrip()


# By whether the horizontal line goes on to the left and to the right.
_ON: Final = {(False, True): "├", (True, False): "┤", (True, True): "┼", (False, False): "│"}
_OFF: Final = {(False, True): "╰", (True, False): "╯", (True, True): "┴", (False, False): " "}
_BEGIN: Final = {(False, True): "╭", (True, False): "╮", (True, True): "┬", (False, False): "│"}
