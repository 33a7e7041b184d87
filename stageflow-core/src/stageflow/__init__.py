"""Stageflow runs graphs of stages: async, structured, observable, durable."""

from __future__ import annotations

from importlib import import_module
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stageflow.context import (
        AudioPorts as AudioPorts,
        ContextSnapshot as ContextSnapshot,
        Conversation as Conversation,
        CorePorts as CorePorts,
        CorrelationIds as CorrelationIds,
        DocumentEnrichment as DocumentEnrichment,
        Enrichments as Enrichments,
        ExtensionBundle as ExtensionBundle,
        LLMPorts as LLMPorts,
        MemoryEnrichment as MemoryEnrichment,
        Message as Message,
        MissingInputError as MissingInputError,
        PipelineContext as PipelineContext,
        PipelineTimer as PipelineTimer,
        ProfileEnrichment as ProfileEnrichment,
        RoutingDecision as RoutingDecision,
        RunIdentity as RunIdentity,
        StageContext as StageContext,
        StageInputs as StageInputs,
        UndeclaredDependencyError as UndeclaredDependencyError,
        create_stage_context as create_stage_context,
        create_stage_inputs as create_stage_inputs,
    )
    from stageflow.errors import (
        ConfigurationError as ConfigurationError,
        ContractErrorInfo as ContractErrorInfo,
        DefinitionError as DefinitionError,
        RunError as RunError,
        StageflowError as StageflowError,
    )
    from stageflow.pipeline import (
        CancellationToken as CancellationToken,
        CleanupRegistry as CleanupRegistry,
        CycleDetectedError as CycleDetectedError,
        FunctionStage as FunctionStage,
        Pipeline as Pipeline,
        PipelineValidationError as PipelineValidationError,
        RunInputError as RunInputError,
        StageTimeoutError as StageTimeoutError,
        UnifiedPipelineCancelled as UnifiedPipelineCancelled,
        UnifiedStageExecutionError as UnifiedStageExecutionError,
        UnifiedStageGraph as UnifiedStageGraph,
        UnifiedStageSpec as UnifiedStageSpec,
        stage as stage,
    )
    from stageflow.protocols import (
        ConfigProvider as ConfigProvider,
        EventSink as EventSink,
        RunStore as RunStore,
    )
    from stageflow.runtime import (
        RunOutcome as RunOutcome,
        Runtime as Runtime,
    )
    from stageflow.stages import (
        BackoffStrategy as BackoffStrategy,
        JitterStrategy as JitterStrategy,
        RetryPolicy as RetryPolicy,
        Stage as Stage,
        StageArtifact as StageArtifact,
        StageEvent as StageEvent,
        StageKind as StageKind,
        StageOutput as StageOutput,
        StageResult as StageResult,
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
    "stageflow.pipeline": (
        "CancellationToken",
        "CleanupRegistry",
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
    "CancellationToken",
    "CleanupRegistry",
    "ConfigProvider",
    "ConfigurationError",
    "ContextSnapshot",
    "ContractErrorInfo",
    "Conversation",
    "CorePorts",
    "CorrelationIds",
    "CycleDetectedError",
    "DefinitionError",
    "DocumentEnrichment",
    "Enrichments",
    "EventSink",
    "ExtensionBundle",
    "FunctionStage",
    "JitterStrategy",
    "LLMPorts",
    "MemoryEnrichment",
    "Message",
    "MissingInputError",
    "Pipeline",
    "PipelineContext",
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
    "StageInputs",
    "StageKind",
    "StageOutput",
    "StageResult",
    "StageStatus",
    "StageTimeoutError",
    "StageflowError",
    "UndeclaredDependencyError",
    "UnifiedPipelineCancelled",
    "UnifiedStageExecutionError",
    "UnifiedStageGraph",
    "UnifiedStageSpec",
    "create_stage_context",
    "create_stage_inputs",
    "stage",
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
