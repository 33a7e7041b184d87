"""Tools that agents call: declared, checked, gated, approved, bounded in time, and undone.

A name is imported with its module when it is first asked for, so importing this package costs next
to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stageflow.tools.errors import (
        DuplicateToolError,
        ToolApprovalDeniedError,
        ToolApprovalTimeoutError,
        ToolArgumentsError,
        ToolCallFormatError,
        ToolDefinitionError,
        ToolDeniedError,
        ToolError,
        ToolExecutionError,
        ToolNotFoundError,
        ToolOutputError,
        ToolTimeoutError,
        ToolUndoError,
    )

__all__ = (
    "DuplicateToolError",
    "ToolApprovalDeniedError",
    "ToolApprovalTimeoutError",
    "ToolArgumentsError",
    "ToolCallFormatError",
    "ToolDefinitionError",
    "ToolDeniedError",
    "ToolError",
    "ToolExecutionError",
    "ToolNotFoundError",
    "ToolOutputError",
    "ToolTimeoutError",
    "ToolUndoError",
)

# What each module gives; the module is imported with the first of its names.
_NAMES_BY_MODULE = {
    "errors": (
        "DuplicateToolError",
        "ToolApprovalDeniedError",
        "ToolApprovalTimeoutError",
        "ToolArgumentsError",
        "ToolCallFormatError",
        "ToolDefinitionError",
        "ToolDeniedError",
        "ToolError",
        "ToolExecutionError",
        "ToolNotFoundError",
        "ToolOutputError",
        "ToolTimeoutError",
        "ToolUndoError",
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
