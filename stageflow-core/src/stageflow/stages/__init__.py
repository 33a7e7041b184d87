"""What a stage is and what it gives: immutable values."""

from stageflow.stages.artifacts import StageArtifact, StageEvent
from stageflow.stages.kinds import StageKind, StageStatus
from stageflow.stages.output import StageOutput
from stageflow.stages.result import StageResult
from stageflow.stages.retry import BackoffStrategy, JitterStrategy, RetryPolicy
from stageflow.stages.stage import Stage

__all__ = (
    "BackoffStrategy",
    "JitterStrategy",
    "RetryPolicy",
    "Stage",
    "StageArtifact",
    "StageEvent",
    "StageKind",
    "StageOutput",
    "StageResult",
    "StageStatus",
)
