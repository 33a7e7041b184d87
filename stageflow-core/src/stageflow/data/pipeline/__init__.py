"""The second door: pipelines of plain functions, for people who think in functions."""

from stageflow._engine.validation import CycleDetectedError, PipelineValidationError
from stageflow.data.pipeline.builder import PipelineBuilder
from stageflow.data.pipeline.config import (
    CancellationReason,
    PipelineConfig,
    PipelineStatus,
    RetryConfig,
    RetryStrategy,
    StageStatus,
    TimeoutConfig,
)
from stageflow.data.pipeline.context import PipelineContext
from stageflow.data.pipeline.errors import (
    DependencyFailedException,
    PipelineCancelledException,
    PipelineException,
    PipelineTimeoutException,
    StageExecutionException,
    StageTimeoutException,
)
from stageflow.data.pipeline.pipeline import BuiltPipeline, Pipeline, run_pipeline
from stageflow.data.pipeline.progress import PipelineProgress, ProgressCallback
from stageflow.data.pipeline.results import PipelineResult, StageResult
from stageflow.data.pipeline.retrying import with_retry
from stageflow.data.pipeline.stages import Stage, create_stage, stage

__all__ = (
    "BuiltPipeline",
    "CancellationReason",
    "CycleDetectedError",
    "DependencyFailedException",
    "Pipeline",
    "PipelineBuilder",
    "PipelineCancelledException",
    "PipelineConfig",
    "PipelineContext",
    "PipelineException",
    "PipelineProgress",
    "PipelineResult",
    "PipelineStatus",
    "PipelineTimeoutException",
    "PipelineValidationError",
    "ProgressCallback",
    "RetryConfig",
    "RetryStrategy",
    "Stage",
    "StageExecutionException",
    "StageResult",
    "StageStatus",
    "StageTimeoutException",
    "TimeoutConfig",
    "create_stage",
    "run_pipeline",
    "stage",
    "with_retry",
)
