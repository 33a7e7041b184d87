"""Backpressure: how full a queue is, what it cost, and whether producers should slow down."""

from __future__ import annotations

from typing import Any

import attrs

from stageflow.helpers.errors import HelperSettingError

__all__ = ("BackpressureMonitor", "BackpressureStats")


@attrs.define
class BackpressureStats:
    """The counts of one monitor.

    Attributes:
        total_items: Items that were accepted.
        dropped_items: Items that were dropped or refused.
        blocked_puts: How often a producer had to wait.
        max_queue_size: The most items that waited at once.
        total_blocked_ms: How long producers waited in all.
    """

    total_items: int = 0
    dropped_items: int = 0
    blocked_puts: int = 0
    max_queue_size: int = 0
    total_blocked_ms: float = 0.0

    @property
    def drop_rate(self) -> float:
        """Dropped items for each accepted one."""
        return self.dropped_items / max(self.total_items, 1)

    def to_dict(self) -> dict[str, Any]:
        """Return the counts and the drop rate."""
        return {**attrs.asdict(self), "drop_rate": self.drop_rate}


class BackpressureMonitor:
    """Counts what happens to a queue, and remembers whether producers should slow down.

    Throttling begins when the queue is filled to the high-water mark and ends only when it is
    down to the low-water mark, so that it does not flicker between the two.

    Args:
        high_water_mark: Percentage at which throttling begins.
        low_water_mark: Percentage at which it ends.
    """

    __slots__ = ("_fill", "_throttling", "high_water_mark", "low_water_mark", "stats")

    def __init__(self, *, high_water_mark: float = 80, low_water_mark: float = 20) -> None:
        if not 0 <= low_water_mark <= high_water_mark <= 100:
            raise HelperSettingError(
                "BackpressureMonitor",
                "low_water_mark, high_water_mark",
                (low_water_mark, high_water_mark),
                rule="percentages, the low one not above the high one",
            )
        self.high_water_mark = high_water_mark
        self.low_water_mark = low_water_mark
        self.stats = BackpressureStats()
        self._fill = 0.0
        self._throttling = False

    @property
    def fill_percentage(self) -> float:
        """How full the queue was when it was last recorded."""
        return self._fill

    def should_throttle(self) -> bool:
        """Return whether producers should slow down."""
        return self._throttling

    def record_put(self, queue_size: int, max_size: int = 100) -> None:
        """Count an accepted item; *queue_size* includes it."""
        stats = self.stats
        stats.total_items += 1
        if queue_size > stats.max_queue_size:  # noqa: PLR1730 - `max` takes twice as long
            stats.max_queue_size = queue_size
        self.record_level(queue_size, max_size)

    def record_level(self, queue_size: int, max_size: int = 100) -> None:
        """Take note of how full the queue is now, without counting an item."""
        self._fill = fill = queue_size / max_size * 100
        if fill >= self.high_water_mark:
            self._throttling = True
        elif fill <= self.low_water_mark:
            self._throttling = False

    def record_blocked(self, blocked_ms: float) -> None:
        """Count a producer that waited *blocked_ms* for room."""
        self.stats.blocked_puts += 1
        self.stats.total_blocked_ms += blocked_ms

    def record_drop(self) -> None:
        """Count an item that was dropped or refused."""
        self.stats.dropped_items += 1
