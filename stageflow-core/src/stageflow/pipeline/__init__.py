"""The first door: pipelines of stage classes and of functions that are stages."""

from stageflow._engine.cleanup import CleanupRegistry
from stageflow._engine.errors import (
    StageTimeoutError,
    UnifiedPipelineCancelled,
    UnifiedStageExecutionError,
)
from stageflow._engine.validation import CycleDetectedError, PipelineValidationError
from stageflow.context.cancellation import CancellationToken
from stageflow.errors import ContractErrorInfo
from stageflow.pipeline.functions import FunctionStage, RunInputError, stage
from stageflow.pipeline.graph import UnifiedStageGraph, UnifiedStageSpec
from stageflow.pipeline.pipeline import Pipeline

__all__ = (
    "CancellationToken",
    "CleanupRegistry",
    "ContractErrorInfo",
    "CycleDetectedError",
    "FunctionStage",
    "Pipeline",
    "PipelineValidationError",
    "RunInputError",
    "StageTimeoutError",
    "UnifiedPipelineCancelled",
    "UnifiedStageExecutionError",
    "UnifiedStageGraph",
    "UnifiedStageSpec",
    "stage",
)
