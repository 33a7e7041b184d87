"""What each call of a batch came to: one result for every call, whatever becomes of it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import attrs

from stageflow.tools.definitions import ToolOutput
from stageflow.tools.errors import (
    ToolApprovalDeniedError,
    ToolApprovalTimeoutError,
    ToolArgumentsError,
    ToolDeniedError,
    ToolError,
    ToolExecutionError,
    ToolNotFoundError,
    ToolOutcomeUnknownError,
    ToolRateLimitError,
    ToolTimeoutError,
)

__all__ = ("ToolCallResult", "ToolCallStatus")


class ToolCallStatus(StrEnum):
    """How a call ended; a member equals its lower-case string."""

    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    INVALID = "invalid"
    NOT_FOUND = "not_found"
    DENIED = "denied"
    RATE_LIMITED = "rate_limited"
    REJECTED = "rejected"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


_STATUS: Final[Mapping[type[ToolError], ToolCallStatus]] = {
    ToolTimeoutError: ToolCallStatus.TIMED_OUT,
    ToolExecutionError: ToolCallStatus.FAILED,
    ToolArgumentsError: ToolCallStatus.INVALID,
    ToolNotFoundError: ToolCallStatus.NOT_FOUND,
    ToolDeniedError: ToolCallStatus.DENIED,
    ToolRateLimitError: ToolCallStatus.RATE_LIMITED,
    ToolApprovalDeniedError: ToolCallStatus.REJECTED,
    ToolApprovalTimeoutError: ToolCallStatus.EXPIRED,
    ToolOutcomeUnknownError: ToolCallStatus.UNKNOWN,
}


@attrs.frozen
class ToolCallResult:
    """What one call came to.

    Attributes:
        call_id: The provider's id of the call; the action's id if no provider is involved.
        name: What was called.
        action_id: The action, by which it can be undone.
        status: How it ended.
        output: What the tool gave; a failure that says why if it gave nothing.
        error: What `execute` would have raised.
    """

    call_id: str
    name: str
    action_id: UUID
    status: ToolCallStatus
    output: ToolOutput
    error: ToolError | None = None

    @classmethod
    def of(
        cls, call_id: str, name: str, action_id: UUID, outcome: ToolOutput | ToolError
    ) -> ToolCallResult:
        """Return the result of a call that gave an output, or ended with an error."""
        if isinstance(outcome, ToolOutput):
            status = ToolCallStatus.COMPLETED if outcome.success else ToolCallStatus.FAILED
            return cls(call_id, name, action_id, status, outcome)
        status = next(
            (_STATUS[kind] for kind in type(outcome).__mro__ if kind in _STATUS),
            ToolCallStatus.FAILED,
        )
        # A model that mistook a name is told the near ones.
        hint = f" {outcome.hint}" if status is ToolCallStatus.NOT_FOUND and outcome.hint else ""
        told = ToolOutput.fail(f"{outcome.message}{hint}")
        return cls(call_id, name, action_id, status, told, outcome)

    @property
    def success(self) -> bool:
        """Whether the tool did what was asked."""
        return self.output.success

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain data; what only the undo needs is left out."""
        output = {k: v for k, v in self.output.to_dict().items() if k != "undo_metadata"}
        return {
            "call_id": self.call_id,
            "name": self.name,
            "action_id": str(self.action_id),
            "status": self.status.value,
            "output": output,
            "error": None if self.error is None else self.error.to_dict(),
        }
