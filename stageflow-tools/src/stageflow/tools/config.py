"""ToolExecutorConfig: how an executor treats all of its calls."""

from __future__ import annotations

import attrs

__all__ = ("ToolExecutorConfig",)


@attrs.frozen
class ToolExecutorConfig:
    """How an executor treats all of its calls.

    Attributes:
        approval_timeout_seconds: How long a decision is awaited.
        undo_ttl_seconds: How long an action can be undone.
        emit_events: Whether listeners are told.
        max_arguments_bytes: Arguments that are larger, written as JSON, are refused.
    """

    approval_timeout_seconds: float = 60
    undo_ttl_seconds: float = 3600
    emit_events: bool = True
    max_arguments_bytes: int = attrs.field(default=1_048_576, kw_only=True)
