"""StageResult: how one stage of a run went, with its times."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs

from stageflow.codec import codec_type
from stageflow.stages.artifacts import StageArtifact, StageEvent
from stageflow.stages.kinds import StageStatus
from stageflow.stages.output import as_artifacts, as_events, as_status

__all__ = ("StageResult",)


@codec_type(name="stageflow.StageResult")
@attrs.frozen(hash=False)
class StageResult:
    """The final word on one stage of one run.

    Attributes:
        name: The stage.
        status: Its terminal status.
        started_at: When it started, in UTC.
        ended_at: When it ended, in UTC.
        data: What it gave to its dependants.
        error: Why it failed.
        artifacts: Things worth keeping that it produced.
        events: Things that happened inside it.
        metadata: Facts about the execution, such as the number of attempts.
    """

    name: str
    status: StageStatus = attrs.field(converter=as_status)
    started_at: datetime
    ended_at: datetime
    data: dict[str, Any] = attrs.field(factory=dict)
    error: str | None = None
    artifacts: tuple[StageArtifact, ...] = attrs.field(default=(), converter=as_artifacts)
    events: tuple[StageEvent, ...] = attrs.field(default=(), converter=as_events)
    metadata: dict[str, Any] = attrs.field(factory=dict)

    @property
    def duration_ms(self) -> float:
        """How long the stage took, in milliseconds."""
        return (self.ended_at - self.started_at).total_seconds() * 1000.0
