"""ToolExecutorConfig: how an executor treats all of its calls."""

from __future__ import annotations

import attrs

from stageflow.tools._limits import is_number
from stageflow.tools.errors import ToolDefinitionError

__all__ = ("ToolExecutorConfig",)


@attrs.frozen
class ToolExecutorConfig:
    """How an executor treats all of its calls.

    Attributes:
        approval_timeout_seconds: How long a decision is awaited.
        undo_ttl_seconds: How long an action can be undone.
        emit_events: Whether listeners are told.
        max_arguments_bytes: Arguments that are larger, written as JSON, are refused.

    Raises:
        ToolDefinitionError: If a number is none, or too small.
    """

    approval_timeout_seconds: float = 60
    undo_ttl_seconds: float = 3600
    emit_events: bool = True
    max_arguments_bytes: int = attrs.field(default=1_048_576, kw_only=True)

    def __attrs_post_init__(self) -> None:
        faults = [
            f"{name} must be a number, 0 or above"
            for name in ("approval_timeout_seconds", "undo_ttl_seconds", "max_arguments_bytes")
            if not (is_number(value := getattr(self, name)) and value >= 0)
        ]
        if faults:
            raise ToolDefinitionError("ToolExecutorConfig", faults)
