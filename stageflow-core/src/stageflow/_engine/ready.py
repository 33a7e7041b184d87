"""ReadyQueue: which ready stage goes next where not all can go at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from typing import Final

__all__ = ("PATIENCE", "ReadyQueue")

PATIENCE: Final = 8
"""How many stages of higher priority may go before the stage that has waited longest."""


class ReadyQueue:
    """Ready stages by priority, and by arrival among equals; none waits for ever.

    The stage that arrived first is overtaken by at most `PATIENCE` others, then it goes. So a
    stage with *n* earlier arrivals waiting before it is overtaken at most `(n + 1) * PATIENCE`
    times, whatever else becomes ready meanwhile. Both operations cost O(log n).

    Args:
        priorities: The priority of every stage, by number; higher goes first.
        stages: Stages that are ready already, in order of arrival.
    """

    __slots__ = ("_arrivals", "_by_priority", "_count", "_line", "_overtaken", "_priorities")

    def __init__(self, priorities: Sequence[int], stages: Iterable[int] = ()) -> None:
        self._priorities = priorities
        # Each stage that waits is in both; the one it is taken from last drops it when it comes
        # to the front. An entry is [-priority, arrival, stage or -1 once it was taken].
        self._by_priority: list[list[int]] = []
        self._line: deque[list[int]] = deque()
        self._arrivals = 0
        self._count = 0
        self._overtaken = 0
        for stage in stages:
            self.append(stage)

    def __len__(self) -> int:
        return self._count

    def append(self, stage: int) -> None:
        """Let *stage* wait."""
        entry = [-self._priorities[stage], self._arrivals, stage]
        self._arrivals += 1
        self._count += 1
        heappush(self._by_priority, entry)
        self._line.append(entry)

    def popleft(self) -> int:
        """Return the stage that goes next.

        Raises:
            IndexError: If none waits.
        """
        line, heap = self._line, self._by_priority
        while line and line[0][2] < 0:
            line.popleft()
        oldest = line[0]
        if self._overtaken < PATIENCE:
            while heap[0][2] < 0:
                heappop(heap)
            entry = heappop(heap)
        else:
            entry = oldest
        self._overtaken = 0 if entry is oldest else self._overtaken + 1
        stage, entry[2] = entry[2], -1
        self._count -= 1
        return stage
