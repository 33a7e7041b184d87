"""AnalyticsEvent: one thing that happened, as exporters write it down."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import attrs

__all__ = ("AnalyticsEvent",)


def _utc_now() -> datetime:
    return datetime.now(UTC)


@attrs.frozen
class AnalyticsEvent:
    """One thing that happened.

    Attributes:
        event_type: What happened, such as `stage.completed`.
        timestamp: When.
        data: The facts.
        pipeline_run_id: The run it happened in.
        stage_name: The stage it happened in.
        duration_ms: How long it took.
        metadata: Facts about the record itself.
    """

    event_type: str
    timestamp: datetime = attrs.field(factory=_utc_now)
    data: dict[str, Any] = attrs.field(factory=dict, hash=False)
    pipeline_run_id: UUID | str | None = None
    stage_name: str | None = None
    duration_ms: float | None = None
    metadata: dict[str, Any] = attrs.field(factory=dict, hash=False)

    def to_dict(self) -> dict[str, Any]:
        """Return type, time and data, and of the other fields those that say something."""
        written: dict[str, Any] = {
            "event_type": self.event_type,
            "timestamp": self.timestamp.isoformat(),
            "data": dict(self.data),
        }
        if self.pipeline_run_id is not None:
            written["pipeline_run_id"] = str(self.pipeline_run_id)
        if self.stage_name is not None:
            written["stage_name"] = self.stage_name
        if self.duration_ms is not None:
            written["duration_ms"] = self.duration_ms
        if self.metadata:
            written["metadata"] = dict(self.metadata)
        return written

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> AnalyticsEvent:
        """Return the event that `to_dict` wrote.

        Raises:
            KeyError: `event_type` or `timestamp` is missing.
            ValueError: The time is not ISO 8601, or the run id no UUID.
        """
        run_id = data.get("pipeline_run_id")
        return cls(
            event_type=data["event_type"],
            timestamp=datetime.fromisoformat(data["timestamp"]),
            data=dict(data.get("data") or {}),
            pipeline_run_id=UUID(str(run_id)) if run_id else None,
            stage_name=data.get("stage_name"),
            duration_ms=data.get("duration_ms"),
            metadata=dict(data.get("metadata") or {}),
        )
