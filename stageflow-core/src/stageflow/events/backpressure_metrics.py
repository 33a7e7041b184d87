"""BackpressureMetrics: how many events a bounded queue saw, and what became of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import attrs

__all__ = ("BackpressureMetrics",)


@attrs.define(eq=False)
class BackpressureMetrics:
    """How many events came, and what became of them.

    Every event ends in exactly one of `delivered`, `failed` and `dropped`.

    Attributes:
        emitted: Events accepted.
        dropped: Events that were not delivered: refused, or accepted and then left over.
        queue_full_count: Events refused because the queue was full.
        last_emit_time: When the last event was accepted, on the monotonic clock.
        last_drop_time: When the last event was dropped, likewise.
        delivered: Events that the downstream sink took.
        failed: Events for which the downstream sink raised.
        undelivered: Events that were accepted and then dropped, when the sink stopped.
    """

    emitted: int = 0
    dropped: int = 0
    queue_full_count: int = 0
    last_emit_time: float | None = None
    last_drop_time: float | None = None
    delivered: int = 0
    failed: int = 0
    undelivered: int = 0
    _monotonic: Callable[[], float] = attrs.field(default=time.monotonic, kw_only=True, repr=False)

    def record_emit(self) -> None:
        """Count an accepted event."""
        self.emitted += 1
        self.last_emit_time = self._monotonic()

    def record_drop(self, *, queue_full: bool = True) -> None:
        """Count a refused event; *queue_full* tells whether that was for want of room."""
        self.dropped += 1
        self.queue_full_count += queue_full
        self.last_drop_time = self._monotonic()

    @property
    def drop_rate(self) -> float:
        """The share of all events that were dropped, in percent; 0 if there were none."""
        total = self.emitted + self.dropped - self.undelivered
        return self.dropped / total * 100.0 if total else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the counts by name, and the drop rate rounded to two places."""
        return {
            "emitted": self.emitted,
            "dropped": self.dropped,
            "queue_full_count": self.queue_full_count,
            "last_emit_time": self.last_emit_time,
            "last_drop_time": self.last_drop_time,
            "delivered": self.delivered,
            "failed": self.failed,
            "undelivered": self.undelivered,
            "drop_rate_percent": round(self.drop_rate, 2),
        }
