"""The first door: pipelines of stage classes and of functions that are stages."""

from stageflow._engine.cleanup import CleanupRegistry
from stageflow._engine.errors import (
    GuardRetryExhaustedError,
    OutputSchemaError,
    StageTimeoutError,
    UnifiedPipelineCancelled,
    UnifiedStageExecutionError,
)
from stageflow._engine.guard_retry import GuardRetryPolicy, GuardRetryStrategy
from stageflow._engine.validation import CycleDetectedError, PipelineValidationError
from stageflow.context.cancellation import CancellationToken
from stageflow.errors import ContractErrorInfo
from stageflow.pipeline.builder import PipelineBuilder
from stageflow.pipeline.functions import FunctionStage, RunInputError, stage
from stageflow.pipeline.graph import UnifiedStageGraph, UnifiedStageSpec
from stageflow.pipeline.helpers import (
    FluentPipelineBuilder,
    with_conditional_branch,
    with_fan_out_fan_in,
    with_linear_chain,
    with_parallel_stages,
)
from stageflow.pipeline.legacy import StageGraph, StageSpec
from stageflow.pipeline.pipeline import Pipeline
from stageflow.pipeline.spec import PipelineSpec
from stageflow.pipeline.suggestions import (
    ContractSuggestion,
    SuggestionRegistry,
    get_contract_suggestion,
    get_suggestion_registry,
    register_suggestion,
    set_suggestion_registry,
)

__all__ = (
    "CancellationToken",
    "CleanupRegistry",
    "ContractErrorInfo",
    "ContractSuggestion",
    "CycleDetectedError",
    "FluentPipelineBuilder",
    "FunctionStage",
    "GuardRetryExhaustedError",
    "GuardRetryPolicy",
    "GuardRetryStrategy",
    "OutputSchemaError",
    "Pipeline",
    "PipelineBuilder",
    "PipelineSpec",
    "PipelineValidationError",
    "RunInputError",
    "StageGraph",
    "StageSpec",
    "StageTimeoutError",
    "SuggestionRegistry",
    "UnifiedPipelineCancelled",
    "UnifiedStageExecutionError",
    "UnifiedStageGraph",
    "UnifiedStageSpec",
    "get_contract_suggestion",
    "get_suggestion_registry",
    "register_suggestion",
    "set_suggestion_registry",
    "stage",
    "with_conditional_branch",
    "with_fan_out_fan_in",
    "with_linear_chain",
    "with_parallel_stages",
)
