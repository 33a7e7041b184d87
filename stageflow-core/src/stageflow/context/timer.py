"""PipelineTimer: how long a run has been under way."""

from __future__ import annotations

from datetime import datetime

from stageflow.contracts.clock import Clock, SystemClock

__all__ = ("PipelineTimer",)

_SYSTEM = SystemClock()


class PipelineTimer:
    """The time since a run began, shared by all its stages."""

    __slots__ = ("_began", "_clock", "_started_at")

    def __init__(self, clock: Clock = _SYSTEM) -> None:
        self._clock = clock
        self._began = clock.monotonic()
        self._started_at = clock.now()

    @property
    def started_at(self) -> datetime:
        """When the run began, in UTC."""
        return self._started_at

    @property
    def pipeline_start_ms(self) -> float:
        """When the run began, in milliseconds since 1970."""
        return self._started_at.timestamp() * 1000.0

    def now_ms(self) -> float:
        """Return the time of day in milliseconds since 1970."""
        return self._clock.now().timestamp() * 1000.0

    def elapsed_ms(self) -> float:
        """Return the milliseconds since the run began; never goes back."""
        return (self._clock.monotonic() - self._began) * 1000.0
