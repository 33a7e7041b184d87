"""The first door: pipelines of stage classes and of functions that are stages."""

from stageflow._engine.cleanup import (
    CleanupRegistry,
    CleanupTimeoutError,
    cleanup_on_cancel,
    run_with_cleanup,
)
from stageflow._engine.errors import (
    GuardRetryExhaustedError,
    OutputSchemaError,
    StageTimeoutError,
    UnifiedPipelineCancelled,
    UnifiedStageExecutionError,
)
from stageflow._engine.guard_retry import GuardRetryPolicy, GuardRetryStrategy
from stageflow._engine.structured import (
    GroupTask,
    StructuredTaskGroup,
    TaskCancelledError,
    TaskGroupClosedError,
)
from stageflow._engine.validation import CycleDetectedError, PipelineValidationError
from stageflow.context.cancellation import CancellationToken
from stageflow.errors import ContractErrorInfo
from stageflow.pipeline.builder import PipelineBuilder
from stageflow.pipeline.child_events import (
    PipelineCanceledEvent,
    PipelineChildCompletedEvent,
    PipelineChildFailedEvent,
    PipelineSpawnedChildEvent,
)
from stageflow.pipeline.child_runs import (
    ChildRunTracker,
    LineageError,
    clear_child_tracker,
    get_child_tracker,
    set_child_tracker,
)
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
from stageflow.pipeline.nested import AmbiguousOutputError, SubpipelineStage
from stageflow.pipeline.pipeline import Pipeline
from stageflow.pipeline.registry import (
    DuplicatePipelineError,
    PipelineRegistry,
    UnknownPipelineError,
)
from stageflow.pipeline.spec import PipelineSpec
from stageflow.pipeline.subpipelines import (
    MaxDepthExceededError,
    SubpipelineResult,
    SubpipelineSpawner,
    clear_subpipeline_spawner,
    get_subpipeline_spawner,
    set_subpipeline_spawner,
)
from stageflow.pipeline.suggestions import (
    ContractSuggestion,
    SuggestionRegistry,
    get_contract_suggestion,
    get_suggestion_registry,
    register_suggestion,
    set_suggestion_registry,
)

__all__ = (
    "AmbiguousOutputError",
    "CancellationToken",
    "ChildRunTracker",
    "CleanupRegistry",
    "CleanupTimeoutError",
    "ContractErrorInfo",
    "ContractSuggestion",
    "CycleDetectedError",
    "DuplicatePipelineError",
    "FluentPipelineBuilder",
    "FunctionStage",
    "GroupTask",
    "GuardRetryExhaustedError",
    "GuardRetryPolicy",
    "GuardRetryStrategy",
    "LineageError",
    "MaxDepthExceededError",
    "OutputSchemaError",
    "Pipeline",
    "PipelineBuilder",
    "PipelineCanceledEvent",
    "PipelineChildCompletedEvent",
    "PipelineChildFailedEvent",
    "PipelineRegistry",
    "PipelineSpawnedChildEvent",
    "PipelineSpec",
    "PipelineValidationError",
    "RunInputError",
    "StageGraph",
    "StageSpec",
    "StageTimeoutError",
    "StructuredTaskGroup",
    "SubpipelineResult",
    "SubpipelineSpawner",
    "SubpipelineStage",
    "SuggestionRegistry",
    "TaskCancelledError",
    "TaskGroupClosedError",
    "UnifiedPipelineCancelled",
    "UnifiedStageExecutionError",
    "UnifiedStageGraph",
    "UnifiedStageSpec",
    "UnknownPipelineError",
    "cleanup_on_cancel",
    "clear_child_tracker",
    "clear_subpipeline_spawner",
    "get_child_tracker",
    "get_contract_suggestion",
    "get_subpipeline_spawner",
    "get_suggestion_registry",
    "register_suggestion",
    "run_with_cleanup",
    "set_child_tracker",
    "set_subpipeline_spawner",
    "set_suggestion_registry",
    "stage",
    "with_conditional_branch",
    "with_fan_out_fan_in",
    "with_linear_chain",
    "with_parallel_stages",
)
