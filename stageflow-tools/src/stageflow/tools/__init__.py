"""Tools that agents call: declared, checked, gated, approved, bounded in time, and undone.

A name is imported with its module when it is first asked for, so importing this package costs next
to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stageflow.tools.adapters import (
        DictContextAdapter,
        adapt_context,
    )
    from stageflow.tools.advanced import (
        AdvancedToolExecutor,
    )
    from stageflow.tools.approval import (
        ApprovalService,
        Signal,
        clear_approval_service,
        get_approval_service,
        set_approval_service,
    )
    from stageflow.tools.approval_log import (
        ApprovalDecision,
        ApprovalExecution,
        ApprovalLog,
        ApprovalRequest,
        ApprovalSettlement,
        ApprovalStatus,
    )
    from stageflow.tools.approval_logs import (
        MemoryApprovalLog,
        SharedApprovalLog,
    )
    from stageflow.tools.base import (
        BaseTool,
    )
    from stageflow.tools.config import (
        ToolExecutorConfig,
    )
    from stageflow.tools.definitions import (
        RateLimit,
        ToolAction,
        ToolDefinition,
        ToolHandler,
        ToolInput,
        ToolOutput,
        UndoHandler,
        UndoMetadata,
    )
    from stageflow.tools.durable import (
        open_approvals,
        open_undo,
    )
    from stageflow.tools.errors import (
        ApprovalDecisionError,
        ApprovalMismatchError,
        ApprovalNotFoundError,
        ApprovalSettledError,
        DuplicateToolError,
        ToolApprovalDeniedError,
        ToolApprovalTimeoutError,
        ToolArgumentsError,
        ToolDefinitionError,
        ToolDeniedError,
        ToolError,
        ToolExecutionError,
        ToolNotFoundError,
        ToolOutcomeUnknownError,
        ToolOutputError,
        ToolRateLimitError,
        ToolTimeoutError,
        ToolUndoError,
        UndoUnderWayError,
    )
    from stageflow.tools.events import (
        TOOL_EVENTS,
    )
    from stageflow.tools.executor import (
        ToolExecutor,
    )
    from stageflow.tools.formats import (
        CALL_FORMATS,
        ParsedToolCall,
        ToolCallFormat,
        UnknownCallFormatError,
        get_call_format,
    )
    from stageflow.tools.functions import (
        FunctionTool,
        definition_of,
        tool,
    )
    from stageflow.tools.registry import (
        ResolvedToolCall,
        ToolRegistry,
        UnresolvedToolCall,
        clear_tool_registry,
        get_tool_registry,
        register_tool,
        set_tool_registry,
    )
    from stageflow.tools.results import (
        ToolCallResult,
        ToolCallStatus,
    )
    from stageflow.tools.stage import (
        ToolStage,
    )
    from stageflow.tools.undo import (
        UndoStore,
        clear_undo_store,
        get_undo_store,
        set_undo_store,
    )
    from stageflow.tools.undo_log import (
        UndoClaim,
        UndoEntry,
        UndoLog,
    )
    from stageflow.tools.undo_logs import (
        MemoryUndoLog,
        SharedUndoLog,
    )

__all__ = (
    "CALL_FORMATS",
    "TOOL_EVENTS",
    "AdvancedToolExecutor",
    "ApprovalDecision",
    "ApprovalDecisionError",
    "ApprovalExecution",
    "ApprovalLog",
    "ApprovalMismatchError",
    "ApprovalNotFoundError",
    "ApprovalRequest",
    "ApprovalService",
    "ApprovalSettledError",
    "ApprovalSettlement",
    "ApprovalStatus",
    "BaseTool",
    "DictContextAdapter",
    "DuplicateToolError",
    "FunctionTool",
    "MemoryApprovalLog",
    "MemoryUndoLog",
    "ParsedToolCall",
    "RateLimit",
    "ResolvedToolCall",
    "SharedApprovalLog",
    "SharedUndoLog",
    "Signal",
    "ToolAction",
    "ToolApprovalDeniedError",
    "ToolApprovalTimeoutError",
    "ToolArgumentsError",
    "ToolCallFormat",
    "ToolCallResult",
    "ToolCallStatus",
    "ToolDefinition",
    "ToolDefinitionError",
    "ToolDeniedError",
    "ToolError",
    "ToolExecutionError",
    "ToolExecutor",
    "ToolExecutorConfig",
    "ToolHandler",
    "ToolInput",
    "ToolNotFoundError",
    "ToolOutcomeUnknownError",
    "ToolOutput",
    "ToolOutputError",
    "ToolRateLimitError",
    "ToolRegistry",
    "ToolStage",
    "ToolTimeoutError",
    "ToolUndoError",
    "UndoClaim",
    "UndoEntry",
    "UndoHandler",
    "UndoLog",
    "UndoMetadata",
    "UndoStore",
    "UndoUnderWayError",
    "UnknownCallFormatError",
    "UnresolvedToolCall",
    "adapt_context",
    "clear_approval_service",
    "clear_tool_registry",
    "clear_undo_store",
    "definition_of",
    "get_approval_service",
    "get_call_format",
    "get_tool_registry",
    "get_undo_store",
    "open_approvals",
    "open_undo",
    "register_tool",
    "set_approval_service",
    "set_tool_registry",
    "set_undo_store",
    "tool",
)

# What each module gives; the module is imported with the first of its names.
_NAMES_BY_MODULE = {
    "adapters": (
        "DictContextAdapter",
        "adapt_context",
    ),
    "advanced": ("AdvancedToolExecutor",),
    "approval": (
        "ApprovalService",
        "Signal",
        "clear_approval_service",
        "get_approval_service",
        "set_approval_service",
    ),
    "approval_log": (
        "ApprovalDecision",
        "ApprovalExecution",
        "ApprovalLog",
        "ApprovalRequest",
        "ApprovalSettlement",
        "ApprovalStatus",
    ),
    "approval_logs": (
        "MemoryApprovalLog",
        "SharedApprovalLog",
    ),
    "base": ("BaseTool",),
    "config": ("ToolExecutorConfig",),
    "definitions": (
        "RateLimit",
        "ToolAction",
        "ToolDefinition",
        "ToolHandler",
        "ToolInput",
        "ToolOutput",
        "UndoHandler",
        "UndoMetadata",
    ),
    "durable": (
        "open_approvals",
        "open_undo",
    ),
    "errors": (
        "ApprovalDecisionError",
        "ApprovalMismatchError",
        "ApprovalNotFoundError",
        "ApprovalSettledError",
        "DuplicateToolError",
        "ToolApprovalDeniedError",
        "ToolApprovalTimeoutError",
        "ToolArgumentsError",
        "ToolDefinitionError",
        "ToolDeniedError",
        "ToolError",
        "ToolExecutionError",
        "ToolNotFoundError",
        "ToolOutcomeUnknownError",
        "ToolOutputError",
        "ToolRateLimitError",
        "ToolTimeoutError",
        "ToolUndoError",
        "UndoUnderWayError",
    ),
    "events": ("TOOL_EVENTS",),
    "executor": ("ToolExecutor",),
    "formats": (
        "CALL_FORMATS",
        "ParsedToolCall",
        "ToolCallFormat",
        "UnknownCallFormatError",
        "get_call_format",
    ),
    "functions": (
        "FunctionTool",
        "definition_of",
        "tool",
    ),
    "registry": (
        "ResolvedToolCall",
        "ToolRegistry",
        "UnresolvedToolCall",
        "clear_tool_registry",
        "get_tool_registry",
        "register_tool",
        "set_tool_registry",
    ),
    "results": (
        "ToolCallResult",
        "ToolCallStatus",
    ),
    "stage": ("ToolStage",),
    "undo": (
        "UndoStore",
        "clear_undo_store",
        "get_undo_store",
        "set_undo_store",
    ),
    "undo_log": (
        "UndoClaim",
        "UndoEntry",
        "UndoLog",
    ),
    "undo_logs": (
        "MemoryUndoLog",
        "SharedUndoLog",
    ),
}
_MODULES = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, *(name for name in globals() if name.startswith("__"))]
