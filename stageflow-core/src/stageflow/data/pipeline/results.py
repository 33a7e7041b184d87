"""How stages and pipelines ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import attrs

from stageflow.data.pipeline.config import CancellationReason, PipelineStatus, StageStatus
from stageflow.data.pipeline.errors import (
    DependencyFailedException,
    PipelineCancelledException,
    PipelineException,
    PipelineTimeoutException,
    StageExecutionException,
    StageTimeoutException,
)

__all__ = ("PipelineResult", "StageResult")

_FAILED = (StageStatus.FAILED, StageStatus.TIMED_OUT)


@attrs.frozen
class StageResult:
    """How one stage ended.

    Attributes:
        stage_id: The stage.
        stage_name: Its name for people.
        status: How it ended.
        result: What it gave; None unless it completed.
        error: Why it did not complete.
        exception: What it raised, or what stands for why it did not complete.
        start_time: When it began, in seconds since the epoch; None if it never did.
        end_time: When it ended.
        attempt_count: How often it was executed.
        metrics: What was measured.
        critical: Whether its failure stops the pipeline.
        restored: Whether it did not run here, since it had ended before the execution was
            interrupted.
    """

    stage_id: str
    stage_name: str
    status: StageStatus
    result: Any = None
    error: str | None = None
    exception: BaseException | None = None
    start_time: float | None = None
    end_time: float | None = None
    attempt_count: int = 0
    metrics: Mapping[str, Any] = attrs.field(factory=dict)
    critical: bool = True
    restored: bool = False

    @property
    def duration_ms(self) -> float:
        """How long it took, in milliseconds; 0 if it was never executed."""
        return _duration_ms(self.start_time, self.end_time)

    @property
    def is_success(self) -> bool:
        """Whether it completed."""
        return self.status is StageStatus.COMPLETED

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data; what the stage gave stays as it is."""
        return {
            "stage_id": self.stage_id,
            "stage_name": self.stage_name,
            "status": self.status.name,
            "result": self.result,
            "error": self.error,
            "exception": None if self.exception is None else type(self.exception).__name__,
            "start_time": self.start_time,
            "end_time": self.end_time,
            "duration_ms": self.duration_ms,
            "attempt_count": self.attempt_count,
            "metrics": dict(self.metrics),
            "restored": self.restored,
        }


@attrs.frozen
class PipelineResult:
    """How one execution of a pipeline ended.

    Attributes:
        pipeline_id: Identity of the execution.
        pipeline_name: The pipeline's name.
        status: How it ended.
        stage_results: How every stage ended, by its id, in the order they were added.
        start_time: When it began, in seconds since the epoch.
        end_time: When it ended, clean-ups apart.
        cancellation_reason: Why it was cancelled, if it was.
        metadata: Further facts.
        timeout_seconds: The limit that it exceeded; None unless it took too long.
        run_id: Its identity as a run, by which a durable one is resumed.
    """

    pipeline_id: str
    pipeline_name: str
    status: PipelineStatus
    stage_results: Mapping[str, StageResult] = attrs.field(factory=dict)
    start_time: float | None = None
    end_time: float | None = None
    cancellation_reason: CancellationReason | None = None
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
    timeout_seconds: float | None = None
    run_id: UUID | None = None

    @property
    def duration_ms(self) -> float:
        """How long it took, in milliseconds."""
        return _duration_ms(self.start_time, self.end_time)

    @property
    def successful_stages(self) -> list[str]:
        """The stages that completed."""
        return self._stages(StageStatus.COMPLETED)

    @property
    def failed_stages(self) -> list[str]:
        """The stages that failed or took too long."""
        return self._stages(*_FAILED)

    @property
    def skipped_stages(self) -> list[str]:
        """The stages that were not executed because a dependency had failed."""
        return self._stages(StageStatus.SKIPPED)

    @property
    def restored_stages(self) -> list[str]:
        """The stages that did not run here, since they had ended before an interruption."""
        return [name for name, stage in self.stage_results.items() if stage.restored]

    @property
    def is_success(self) -> bool:
        """Whether every stage completed."""
        return self.status is PipelineStatus.COMPLETED

    def raise_for_status(self) -> None:
        """Raise what kept the pipeline from completing; do nothing if it completed.

        Raises:
            PipelineCancelledException: If it was cancelled.
            PipelineTimeoutException: If it took longer than it may.
            StageTimeoutException: If its first failure was a stage that took too long.
            StageExecutionException: If its first failure was a stage that raised.
            DependencyFailedException: If its first failure was one of a stage that is not
                critical, and a critical stage was skipped because of it.
        """
        error, cause = self._why()
        if error is not None:
            error.result = self
            raise error from cause

    def summary(self) -> str:
        """Return the result as text for people, a line for each stage."""
        reason = self.cancellation_reason
        done, total = len(self.successful_stages), len(self.stage_results)
        lines = [
            f"Pipeline {self.pipeline_name!r} ({self.pipeline_id}): {self.status.name}"
            + ("" if reason is None else f" ({reason.value})"),
            f"{done} of {total} stages completed in {self.duration_ms:.0f} ms",
        ]
        for stage in self.stage_results.values():
            line = f"  {stage.stage_id}: {stage.status.name} ({stage.duration_ms:.0f} ms)"
            if stage.restored:
                line += ", kept from before"
            if stage.attempt_count > 1:
                line += f", {stage.attempt_count} attempts"
            lines.append(line if stage.error is None else f"{line}: {stage.error}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data; what the stages gave stays as it is."""
        reason = self.cancellation_reason
        return {
            "pipeline_id": self.pipeline_id,
            "pipeline_name": self.pipeline_name,
            "status": self.status.name,
            "stage_results": {name: stage.to_dict() for name, stage in self.stage_results.items()},
            "start_time": self.start_time,
            "end_time": self.end_time,
            "duration_ms": self.duration_ms,
            "cancellation_reason": None if reason is None else reason.value,
            "successful_stages": self.successful_stages,
            "failed_stages": self.failed_stages,
            "skipped_stages": self.skipped_stages,
            "restored_stages": self.restored_stages,
            "run_id": None if self.run_id is None else str(self.run_id),
            "metadata": dict(self.metadata),
        }

    def _stages(self, *statuses: StageStatus) -> list[str]:
        return [name for name, stage in self.stage_results.items() if stage.status in statuses]

    def _why(self) -> tuple[PipelineException | None, BaseException | None]:
        if self.timeout_seconds is not None:
            return PipelineTimeoutException(self.timeout_seconds), None
        if self.status is PipelineStatus.CANCELLED:
            reason = self.cancellation_reason or CancellationReason.USER_REQUESTED
            return PipelineCancelledException(reason), None
        failed = [self.stage_results[name] for name in self.failed_stages]
        if not failed:
            return None, None
        first = min(failed, key=lambda stage: stage.end_time or 0.0)
        error = _failure(first)
        for skipped in map(self.stage_results.__getitem__, self.skipped_stages):
            why = skipped.exception
            if skipped.critical and not first.critical and _is_because_of(why, first.stage_id):
                return DependencyFailedException(skipped.stage_id, first.stage_id), error
        return error, first.exception


def _failure(stage: StageResult) -> PipelineException:
    raised = stage.exception
    if isinstance(raised, StageTimeoutException):
        return StageTimeoutException(raised.stage_id, raised.timeout_seconds)
    return StageExecutionException(stage.stage_id, stage.error or "unknown error", raised)


def _is_because_of(error: BaseException | None, stage_id: str) -> bool:
    return isinstance(error, DependencyFailedException) and error.failed_dependency == stage_id


def _duration_ms(start: float | None, end: float | None) -> float:
    return 0.0 if start is None or end is None else (end - start) * 1000.0
