"""What ends a function pipeline early, as exceptions for those who ask for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stageflow.data.pipeline.config import CancellationReason
from stageflow.errors import RunError

if TYPE_CHECKING:
    from stageflow.data.pipeline.results import PipelineResult

__all__ = (
    "DependencyFailedException",
    "PipelineCancelledException",
    "PipelineException",
    "PipelineTimeoutException",
    "StageExecutionException",
    "StageTimeoutException",
)


class PipelineException(RunError):
    """A function pipeline did not complete.

    Attributes:
        result: What there is of its result, if its execution has ended.
    """

    code = "SF800"
    result: PipelineResult | None = None


class StageTimeoutException(PipelineException):
    """A stage took longer than it may, in its last attempt.

    Attributes:
        stage_id: The stage.
        timeout_seconds: Its limit.
    """

    code = "SF801"

    def __init__(self, stage_id: str, timeout_seconds: float) -> None:
        super().__init__(
            f"Stage {stage_id!r} timed out after {timeout_seconds:g} s.",
            hint="Raise its timeout_seconds, or make the stage do less.",
        )
        self.stage_id = stage_id
        self.timeout_seconds = timeout_seconds


class PipelineTimeoutException(PipelineException):
    """The whole pipeline took longer than it may.

    Attributes:
        timeout_seconds: Its limit.
    """

    code = "SF802"

    def __init__(self, timeout_seconds: float) -> None:
        super().__init__(
            f"The pipeline timed out after {timeout_seconds:g} s.",
            hint="Raise its pipeline_timeout_seconds; its result has what the stages gave so far.",
        )
        self.timeout_seconds = timeout_seconds


class PipelineCancelledException(PipelineException):
    """The pipeline was cancelled.

    Attributes:
        reason: Why.
    """

    code = "SF803"

    def __init__(self, reason: CancellationReason = CancellationReason.USER_REQUESTED) -> None:
        super().__init__(
            f"The pipeline was cancelled: {reason.value}.",
            hint="Its result has what the stages gave so far.",
        )
        self.reason = reason


class StageExecutionException(PipelineException):
    """A stage raised, and was not tried again.

    Attributes:
        stage_id: The stage.
        error: What went wrong, as text.
        cause: What the stage raised.
    """

    code = "SF804"

    def __init__(self, stage_id: str, error: str, cause: BaseException | None = None) -> None:
        super().__init__(
            f"Stage {stage_id!r} failed: {error}",
            hint="The exception's `cause` is what the stage raised.",
        )
        self.stage_id = stage_id
        self.error = error
        self.cause = cause


class DependencyFailedException(PipelineException):
    """A stage was not executed, because a stage that it needs had failed.

    Attributes:
        stage_id: The stage that was skipped.
        failed_dependency: The stage that failed.
    """

    code = "SF805"

    def __init__(self, stage_id: str, failed_dependency: str) -> None:
        super().__init__(
            f"Stage {stage_id!r} was skipped: it needs {failed_dependency!r}, which failed.",
            hint=f"See the result of {failed_dependency!r} for what went wrong.",
        )
        self.stage_id = stage_id
        self.failed_dependency = failed_dependency
