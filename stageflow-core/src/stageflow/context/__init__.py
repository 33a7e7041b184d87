"""What surrounds a run: who it is for, what it knows, and what a stage may read and do."""

from stageflow.context.adapter import DictContextAdapter, adapt_context
from stageflow.context.bags import (
    ContextBag,
    DataConflictError,
    OutputBag,
    OutputConflictError,
)
from stageflow.context.cancellation import CancellationToken
from stageflow.context.conversation import Conversation, Message, RoutingDecision
from stageflow.context.enrichments import (
    DocumentEnrichment,
    Enrichments,
    MemoryEnrichment,
    ProfileEnrichment,
)
from stageflow.context.extensions import ExtensionBundle, register_extension
from stageflow.context.identity import CorrelationIds, RunIdentity
from stageflow.context.inputs import (
    MISSING,
    InputKeyError,
    MissingInputError,
    StageInputs,
    UndeclaredDependencyError,
    create_stage_inputs,
)
from stageflow.context.pipeline_context import PipelineContext
from stageflow.context.ports import (
    AudioPorts,
    CorePorts,
    LLMPorts,
    create_audio_ports,
    create_core_ports,
    create_llm_ports,
)
from stageflow.context.snapshot import ContextSnapshot
from stageflow.context.stage_context import StageContext, create_stage_context
from stageflow.context.timer import PipelineTimer
from stageflow.context.views import OutputMutationError, ReadOnlyDict, ReadOnlyList

__all__ = (
    "MISSING",
    "AudioPorts",
    "CancellationToken",
    "ContextBag",
    "ContextSnapshot",
    "Conversation",
    "CorePorts",
    "CorrelationIds",
    "DataConflictError",
    "DictContextAdapter",
    "DocumentEnrichment",
    "Enrichments",
    "ExtensionBundle",
    "InputKeyError",
    "LLMPorts",
    "MemoryEnrichment",
    "Message",
    "MissingInputError",
    "OutputBag",
    "OutputConflictError",
    "OutputMutationError",
    "PipelineContext",
    "PipelineTimer",
    "ProfileEnrichment",
    "ReadOnlyDict",
    "ReadOnlyList",
    "RoutingDecision",
    "RunIdentity",
    "StageContext",
    "StageInputs",
    "UndeclaredDependencyError",
    "adapt_context",
    "create_audio_ports",
    "create_core_ports",
    "create_llm_ports",
    "create_stage_context",
    "create_stage_inputs",
    "register_extension",
)
