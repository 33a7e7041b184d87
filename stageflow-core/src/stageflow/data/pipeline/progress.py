"""PipelineProgress: how far an execution is, and how long the rest may take."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from stageflow.data.pipeline.config import StageStatus

__all__ = ("PipelineProgress", "ProgressCallback")


@attrs.frozen(kw_only=True)
class PipelineProgress:
    """How far one execution is.

    Attributes:
        pipeline_id: Identity of the execution.
        pipeline_name: The pipeline's name.
        stage_id: The stage whose news this is; None if nobody's.
        stage_status: Where that stage stands now.
        completed: How many stages have ended, however they did.
        total: How many stages there are.
        elapsed_seconds: How long the execution has taken so far.
        remaining_seconds: How long the rest takes if it goes on at the same pace; None until
            a stage that was executed has ended.
    """

    pipeline_id: str
    pipeline_name: str
    stage_id: str | None = None
    stage_status: StageStatus | None = None
    completed: int = 0
    total: int = 0
    elapsed_seconds: float = 0.0
    remaining_seconds: float | None = None

    @property
    def fraction(self) -> float:
        """How much of it is done, from 0 to 1."""
        return self.completed / self.total if self.total else 1.0

    @property
    def percent(self) -> float:
        """How much of it is done, from 0 to 100."""
        return self.fraction * 100.0


ProgressCallback = Callable[[PipelineProgress], object]
"""Is told whenever a stage begins, is about to be tried again, or has ended; must not wait."""
