"""Stageflow runs graphs of stages: async, structured, observable, durable."""

from __future__ import annotations

from importlib import import_module
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stageflow.context import (
        AudioPorts as AudioPorts,
    )
    from stageflow.context import (
        ContextSnapshot as ContextSnapshot,
    )
    from stageflow.context import (
        Conversation as Conversation,
    )
    from stageflow.context import (
        CorePorts as CorePorts,
    )
    from stageflow.context import (
        CorrelationIds as CorrelationIds,
    )
    from stageflow.context import (
        DocumentEnrichment as DocumentEnrichment,
    )
    from stageflow.context import (
        Enrichments as Enrichments,
    )
    from stageflow.context import (
        ExtensionBundle as ExtensionBundle,
    )
    from stageflow.context import (
        LLMPorts as LLMPorts,
    )
    from stageflow.context import (
        MemoryEnrichment as MemoryEnrichment,
    )
    from stageflow.context import (
        Message as Message,
    )
    from stageflow.context import (
        MissingInputError as MissingInputError,
    )
    from stageflow.context import (
        PipelineContext as PipelineContext,
    )
    from stageflow.context import (
        PipelineTimer as PipelineTimer,
    )
    from stageflow.context import (
        ProfileEnrichment as ProfileEnrichment,
    )
    from stageflow.context import (
        RoutingDecision as RoutingDecision,
    )
    from stageflow.context import (
        RunIdentity as RunIdentity,
    )
    from stageflow.context import (
        StageContext as StageContext,
    )
    from stageflow.context import (
        StageInputs as StageInputs,
    )
    from stageflow.context import (
        UndeclaredDependencyError as UndeclaredDependencyError,
    )
    from stageflow.context import (
        create_stage_context as create_stage_context,
    )
    from stageflow.context import (
        create_stage_inputs as create_stage_inputs,
    )
    from stageflow.errors import (
        ConfigurationError as ConfigurationError,
    )
    from stageflow.errors import (
        ContractErrorInfo as ContractErrorInfo,
    )
    from stageflow.errors import (
        DefinitionError as DefinitionError,
    )
    from stageflow.errors import (
        RunError as RunError,
    )
    from stageflow.errors import (
        StageflowError as StageflowError,
    )
    from stageflow.interceptors import (
        BaseInterceptor as BaseInterceptor,
    )
    from stageflow.interceptors import (
        ChildTrackerMetricsInterceptor as ChildTrackerMetricsInterceptor,
    )
    from stageflow.interceptors import (
        CircuitBreakerInterceptor as CircuitBreakerInterceptor,
    )
    from stageflow.interceptors import (
        ErrorAction as ErrorAction,
    )
    from stageflow.interceptors import (
        InterceptorResult as InterceptorResult,
    )
    from stageflow.interceptors import (
        LoggingInterceptor as LoggingInterceptor,
    )
    from stageflow.interceptors import (
        MetricsInterceptor as MetricsInterceptor,
    )
    from stageflow.interceptors import (
        TimeoutInterceptor as TimeoutInterceptor,
    )
    from stageflow.interceptors import (
        TracingInterceptor as TracingInterceptor,
    )
    from stageflow.interceptors import (
        get_default_interceptors as get_default_interceptors,
    )
    from stageflow.interceptors import (
        run_with_interceptors as run_with_interceptors,
    )
    from stageflow.pipeline import (
        CancellationToken as CancellationToken,
    )
    from stageflow.pipeline import (
        ChildRunTracker as ChildRunTracker,
    )
    from stageflow.pipeline import (
        CleanupRegistry as CleanupRegistry,
    )
    from stageflow.pipeline import (
        ContractSuggestion as ContractSuggestion,
    )
    from stageflow.pipeline import (
        CycleDetectedError as CycleDetectedError,
    )
    from stageflow.pipeline import (
        FluentPipelineBuilder as FluentPipelineBuilder,
    )
    from stageflow.pipeline import (
        FunctionStage as FunctionStage,
    )
    from stageflow.pipeline import (
        GuardRetryExhaustedError as GuardRetryExhaustedError,
    )
    from stageflow.pipeline import (
        GuardRetryPolicy as GuardRetryPolicy,
    )
    from stageflow.pipeline import (
        GuardRetryStrategy as GuardRetryStrategy,
    )
    from stageflow.pipeline import (
        MaxDepthExceededError as MaxDepthExceededError,
    )
    from stageflow.pipeline import (
        OutputSchemaError as OutputSchemaError,
    )
    from stageflow.pipeline import (
        Pipeline as Pipeline,
    )
    from stageflow.pipeline import (
        PipelineBuilder as PipelineBuilder,
    )
    from stageflow.pipeline import (
        PipelineRegistry as PipelineRegistry,
    )
    from stageflow.pipeline import (
        PipelineSpec as PipelineSpec,
    )
    from stageflow.pipeline import (
        PipelineValidationError as PipelineValidationError,
    )
    from stageflow.pipeline import (
        RunInputError as RunInputError,
    )
    from stageflow.pipeline import (
        StageGraph as StageGraph,
    )
    from stageflow.pipeline import (
        StageSpec as StageSpec,
    )
    from stageflow.pipeline import (
        StageTimeoutError as StageTimeoutError,
    )
    from stageflow.pipeline import (
        StructuredTaskGroup as StructuredTaskGroup,
    )
    from stageflow.pipeline import (
        SubpipelineResult as SubpipelineResult,
    )
    from stageflow.pipeline import (
        SubpipelineSpawner as SubpipelineSpawner,
    )
    from stageflow.pipeline import (
        SubpipelineStage as SubpipelineStage,
    )
    from stageflow.pipeline import (
        UnifiedPipelineCancelled as UnifiedPipelineCancelled,
    )
    from stageflow.pipeline import (
        UnifiedStageExecutionError as UnifiedStageExecutionError,
    )
    from stageflow.pipeline import (
        UnifiedStageGraph as UnifiedStageGraph,
    )
    from stageflow.pipeline import (
        UnifiedStageSpec as UnifiedStageSpec,
    )
    from stageflow.pipeline import (
        cleanup_on_cancel as cleanup_on_cancel,
    )
    from stageflow.pipeline import (
        clear_child_tracker as clear_child_tracker,
    )
    from stageflow.pipeline import (
        clear_subpipeline_spawner as clear_subpipeline_spawner,
    )
    from stageflow.pipeline import (
        get_child_tracker as get_child_tracker,
    )
    from stageflow.pipeline import (
        get_contract_suggestion as get_contract_suggestion,
    )
    from stageflow.pipeline import (
        get_subpipeline_spawner as get_subpipeline_spawner,
    )
    from stageflow.pipeline import (
        register_suggestion as register_suggestion,
    )
    from stageflow.pipeline import (
        run_with_cleanup as run_with_cleanup,
    )
    from stageflow.pipeline import (
        set_child_tracker as set_child_tracker,
    )
    from stageflow.pipeline import (
        set_subpipeline_spawner as set_subpipeline_spawner,
    )
    from stageflow.pipeline import (
        stage as stage,
    )
    from stageflow.pipeline import (
        with_conditional_branch as with_conditional_branch,
    )
    from stageflow.pipeline import (
        with_fan_out_fan_in as with_fan_out_fan_in,
    )
    from stageflow.pipeline import (
        with_linear_chain as with_linear_chain,
    )
    from stageflow.pipeline import (
        with_parallel_stages as with_parallel_stages,
    )
    from stageflow.protocols import (
        ConfigProvider as ConfigProvider,
    )
    from stageflow.protocols import (
        EventSink as EventSink,
    )
    from stageflow.protocols import (
        RunStore as RunStore,
    )
    from stageflow.runtime import (
        RunOutcome as RunOutcome,
    )
    from stageflow.runtime import (
        Runtime as Runtime,
    )
    from stageflow.stages import (
        BackoffStrategy as BackoffStrategy,
    )
    from stageflow.stages import (
        JitterStrategy as JitterStrategy,
    )
    from stageflow.stages import (
        RetryPolicy as RetryPolicy,
    )
    from stageflow.stages import (
        Stage as Stage,
    )
    from stageflow.stages import (
        StageArtifact as StageArtifact,
    )
    from stageflow.stages import (
        StageEvent as StageEvent,
    )
    from stageflow.stages import (
        StageKind as StageKind,
    )
    from stageflow.stages import (
        StageOutput as StageOutput,
    )
    from stageflow.stages import (
        StageResult as StageResult,
    )
    from stageflow.stages import (
        StageStatus as StageStatus,
    )

# `stageflow.tools`, `stageflow.helpers` and `stageflow.compression` come in distributions of
# their own; this makes them found beside core, installed as wheels or editable.
__path__ = extend_path(__path__, __name__)

# A name is imported when it is first asked for, so that importing the package costs nothing.
_HOMES = {
    "stageflow.context": (
        "AudioPorts",
        "ContextSnapshot",
        "Conversation",
        "CorePorts",
        "CorrelationIds",
        "DocumentEnrichment",
        "Enrichments",
        "ExtensionBundle",
        "LLMPorts",
        "MemoryEnrichment",
        "Message",
        "MissingInputError",
        "PipelineContext",
        "PipelineTimer",
        "ProfileEnrichment",
        "RoutingDecision",
        "RunIdentity",
        "StageContext",
        "StageInputs",
        "UndeclaredDependencyError",
        "create_stage_context",
        "create_stage_inputs",
    ),
    "stageflow.errors": (
        "ConfigurationError",
        "ContractErrorInfo",
        "DefinitionError",
        "RunError",
        "StageflowError",
    ),
    "stageflow.interceptors": (
        "BaseInterceptor",
        "ChildTrackerMetricsInterceptor",
        "CircuitBreakerInterceptor",
        "ErrorAction",
        "InterceptorResult",
        "LoggingInterceptor",
        "MetricsInterceptor",
        "TimeoutInterceptor",
        "TracingInterceptor",
        "get_default_interceptors",
        "run_with_interceptors",
    ),
    "stageflow.pipeline": (
        "CancellationToken",
        "ChildRunTracker",
        "CleanupRegistry",
        "ContractSuggestion",
        "CycleDetectedError",
        "FluentPipelineBuilder",
        "FunctionStage",
        "GuardRetryExhaustedError",
        "GuardRetryPolicy",
        "GuardRetryStrategy",
        "MaxDepthExceededError",
        "OutputSchemaError",
        "Pipeline",
        "PipelineBuilder",
        "PipelineRegistry",
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
        "UnifiedPipelineCancelled",
        "UnifiedStageExecutionError",
        "UnifiedStageGraph",
        "UnifiedStageSpec",
        "cleanup_on_cancel",
        "clear_child_tracker",
        "clear_subpipeline_spawner",
        "get_child_tracker",
        "get_contract_suggestion",
        "get_subpipeline_spawner",
        "register_suggestion",
        "run_with_cleanup",
        "set_child_tracker",
        "set_subpipeline_spawner",
        "stage",
        "with_conditional_branch",
        "with_fan_out_fan_in",
        "with_linear_chain",
        "with_parallel_stages",
    ),
    "stageflow.protocols": (
        "ConfigProvider",
        "EventSink",
        "RunStore",
    ),
    "stageflow.runtime": (
        "RunOutcome",
        "Runtime",
    ),
    "stageflow.stages": (
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
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = (
    "AudioPorts",
    "BackoffStrategy",
    "BaseInterceptor",
    "CancellationToken",
    "ChildRunTracker",
    "ChildTrackerMetricsInterceptor",
    "CircuitBreakerInterceptor",
    "CleanupRegistry",
    "ConfigProvider",
    "ConfigurationError",
    "ContextSnapshot",
    "ContractErrorInfo",
    "ContractSuggestion",
    "Conversation",
    "CorePorts",
    "CorrelationIds",
    "CycleDetectedError",
    "DefinitionError",
    "DocumentEnrichment",
    "Enrichments",
    "ErrorAction",
    "EventSink",
    "ExtensionBundle",
    "FluentPipelineBuilder",
    "FunctionStage",
    "GuardRetryExhaustedError",
    "GuardRetryPolicy",
    "GuardRetryStrategy",
    "InterceptorResult",
    "JitterStrategy",
    "LLMPorts",
    "LoggingInterceptor",
    "MaxDepthExceededError",
    "MemoryEnrichment",
    "Message",
    "MetricsInterceptor",
    "MissingInputError",
    "OutputSchemaError",
    "Pipeline",
    "PipelineBuilder",
    "PipelineContext",
    "PipelineRegistry",
    "PipelineSpec",
    "PipelineTimer",
    "PipelineValidationError",
    "ProfileEnrichment",
    "RetryPolicy",
    "RoutingDecision",
    "RunError",
    "RunIdentity",
    "RunInputError",
    "RunOutcome",
    "RunStore",
    "Runtime",
    "Stage",
    "StageArtifact",
    "StageContext",
    "StageEvent",
    "StageGraph",
    "StageInputs",
    "StageKind",
    "StageOutput",
    "StageResult",
    "StageSpec",
    "StageStatus",
    "StageTimeoutError",
    "StageflowError",
    "StructuredTaskGroup",
    "SubpipelineResult",
    "SubpipelineSpawner",
    "SubpipelineStage",
    "TimeoutInterceptor",
    "TracingInterceptor",
    "UndeclaredDependencyError",
    "UnifiedPipelineCancelled",
    "UnifiedStageExecutionError",
    "UnifiedStageGraph",
    "UnifiedStageSpec",
    "cleanup_on_cancel",
    "clear_child_tracker",
    "clear_subpipeline_spawner",
    "create_stage_context",
    "create_stage_inputs",
    "get_child_tracker",
    "get_contract_suggestion",
    "get_default_interceptors",
    "get_subpipeline_spawner",
    "register_suggestion",
    "run_with_cleanup",
    "run_with_interceptors",
    "set_child_tracker",
    "set_subpipeline_spawner",
    "stage",
    "with_conditional_branch",
    "with_fan_out_fan_in",
    "with_linear_chain",
    "with_parallel_stages",
)


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        if name == "__version__":
            from importlib.metadata import version

            return version("stageflow-core")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
