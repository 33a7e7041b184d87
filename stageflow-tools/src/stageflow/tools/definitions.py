"""What a tool is, what it is given and what it gives back: values without any behaviour."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import attrs

from stageflow.contracts import SystemClock
from stageflow.tools._limits import RateLimit, is_count, is_number
from stageflow.tools.errors import ToolDefinitionError

if TYPE_CHECKING:
    from stageflow.protocols import ExecutionContext

__all__ = (
    "RateLimit",
    "ToolAction",
    "ToolDefinition",
    "ToolHandler",
    "ToolInput",
    "ToolOutput",
    "UndoHandler",
    "UndoMetadata",
)

ToolHandler = Callable[..., Any]
"""Takes a `ToolInput`, and the context if it has a second parameter; gives a `ToolOutput`.

It may be `async def`, or plain `def`, which runs in a worker thread.
"""
UndoHandler = Callable[..., Any]
"""Takes an `UndoMetadata`, and the context if it has a second parameter; raises if it fails."""


@attrs.frozen
class ToolAction:
    """One thing that somebody wants a tool to do; anything with these attributes is an action.

    Attributes:
        id: Identifies the action; the same id names the same action after a restart.
        type: The action type, or the name, of the tool.
        payload: The arguments.
    """

    id: UUID
    type: str
    payload: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class ToolInput:
    """What a handler is given.

    Attributes:
        action_id: The action it carries out; the same if it is carried out again.
        tool_name: The tool's name.
        payload: The arguments, which fit the tool's input schema.
        behavior: The execution mode of the run.
        pipeline_run_id: The run.
        request_id: The request that caused the run.
    """

    action_id: UUID
    tool_name: str
    payload: dict[str, Any]
    behavior: str | None = None
    pipeline_run_id: UUID | None = None
    request_id: UUID | None = None

    @classmethod
    def from_action(cls, action: Any, tool_name: str, ctx: ExecutionContext | None) -> ToolInput:
        """Return the input that *action* is for the tool of that name in *ctx*."""
        return cls(
            action.id,
            tool_name,
            dict(action.payload or {}),
            None if ctx is None else ctx.execution_mode,
            None if ctx is None else ctx.pipeline_run_id,
            None if ctx is None else ctx.request_id,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the input as plain data, ids as text."""
        return {
            "action_id": _text(self.action_id),
            "tool_name": self.tool_name,
            "payload": dict(self.payload),
            "behavior": self.behavior,
            "pipeline_run_id": _text(self.pipeline_run_id),
            "request_id": _text(self.request_id),
        }


def _now() -> str:
    return SystemClock().now().isoformat()


@attrs.frozen
class UndoMetadata:
    """What the undo of one action needs to know.

    Attributes:
        action_id: The action.
        tool_name: The name of the tool that carried it out.
        undo_data: What the tool gave for this.
        created_at: When it was done, as an ISO time in UTC.
    """

    action_id: UUID
    tool_name: str
    undo_data: dict[str, Any]
    created_at: str = attrs.field(factory=_now)

    def to_dict(self) -> dict[str, Any]:
        """Return the metadata as plain data, the id as text."""
        return {
            "action_id": str(self.action_id),
            "tool_name": self.tool_name,
            "undo_data": dict(self.undo_data),
            "created_at": self.created_at,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> UndoMetadata:
        """Return what `to_dict` wrote; what has no time was created now."""
        action_id = data["action_id"]
        return cls(
            action_id if isinstance(action_id, UUID) else UUID(str(action_id)),
            data["tool_name"],
            dict(data.get("undo_data") or {}),
            data.get("created_at") or _now(),
        )


@attrs.frozen
class ToolOutput:
    """What a handler gives back.

    Attributes:
        success: Whether it did what was asked.
        data: What it found or made.
        error: Why it did not.
        artifacts: What is to be kept, each as a dictionary.
        undo_metadata: What the undo handler needs to know; nothing can be undone without.
    """

    success: bool
    data: dict[str, Any] | None = None
    error: str | None = None
    artifacts: list[dict[str, Any]] | None = None
    undo_metadata: Mapping[str, Any] | UndoMetadata | None = None

    @classmethod
    def ok(
        cls,
        data: dict[str, Any] | None = None,
        artifacts: list[dict[str, Any]] | None = None,
        undo_metadata: Mapping[str, Any] | UndoMetadata | None = None,
    ) -> ToolOutput:
        """Return the output of a tool that did what was asked."""
        return cls(True, data, None, artifacts, undo_metadata)

    @classmethod
    def fail(cls, error: str) -> ToolOutput:
        """Return the output of a tool that could not do what was asked, and why."""
        return cls(False, None, error)

    def to_dict(self) -> dict[str, Any]:
        """Return the output as plain data; what is absent is left out."""
        undo = self.undo_metadata
        optional = {
            "data": self.data,
            "error": self.error,
            "artifacts": self.artifacts,
            "undo_metadata": undo.to_dict() if isinstance(undo, UndoMetadata) else undo,
        }
        present = {name: value for name, value in optional.items() if value is not None}
        return {"success": self.success, **present}


def _behaviors(value: Any) -> Any:
    # A text is left as it is, so that it is refused instead of becoming its letters.
    return tuple(value) if isinstance(value, list | set | frozenset) else value


@attrs.frozen(eq=False)
class ToolDefinition:
    """Everything an executor knows about a tool.

    Attributes:
        name: What models and people call it.
        action_type: What actions call it; often the same.
        handler: Does the work; see `ToolHandler`.
        description: What it does, for the model.
        input_schema: A JSON schema of the arguments; empty if anything will do. What it marks by
            `"writeOnly": true`, `"x-secret": true` or `"format": "password"` is shown nowhere.
        allowed_behaviors: The execution modes in which it may be used; empty for all.
        requires_approval: Whether somebody must agree to each call.
        approval_message: What they are asked.
        undoable: Whether what it has done can be undone.
        undo_handler: Undoes it; see `UndoHandler`.
        artifact_type: The type of the artifacts it gives.
        output_schema: A JSON schema of the data of successful outputs.
        timeout_seconds: How long the handler may take.
        max_concurrency: How many of its calls may run at once.
        rate_limit: How often it may be called.
        idempotent: Whether the handler and the undo handler may be called again for an action for
            which they were called before, when it is not known how that ended.
        check: Looks at arguments that fit the schema; returns what is wrong with them all the
            same, each as a text.

    Raises:
        ToolDefinitionError: If it is nothing that could work; it lists every fault.
    """

    name: str
    action_type: str
    handler: ToolHandler
    description: str = ""
    input_schema: Mapping[str, Any] = attrs.field(factory=dict)
    allowed_behaviors: tuple[str, ...] = attrs.field(default=(), converter=_behaviors)
    requires_approval: bool = False
    approval_message: str | None = None
    undoable: bool = False
    undo_handler: UndoHandler | None = None
    artifact_type: str | None = None
    output_schema: Mapping[str, Any] | None = attrs.field(default=None, kw_only=True)
    timeout_seconds: float | None = attrs.field(default=None, kw_only=True)
    max_concurrency: int | None = attrs.field(default=None, kw_only=True)
    rate_limit: RateLimit | None = attrs.field(default=None, kw_only=True)
    idempotent: bool = attrs.field(default=False, kw_only=True)
    check: Callable[[Mapping[str, Any]], Sequence[str]] | None = attrs.field(
        default=None, kw_only=True
    )

    def __attrs_post_init__(self) -> None:
        if faults := [fault for wrong, fault in self._checks() if wrong]:
            raise ToolDefinitionError(str(self.name), faults)

    def _checks(self) -> Sequence[tuple[bool, str]]:
        seconds, at_once = self.timeout_seconds, self.max_concurrency
        modes: Any
        modes, undo = self.allowed_behaviors, self.undo_handler
        output: Any = self.output_schema
        limit: Any = self.rate_limit
        message: Any = self.approval_message
        return (
            (not _is_name(self.name), "name must be a text that is not empty"),
            (not _is_name(self.action_type), "action_type must be a text that is not empty"),
            (not callable(self.handler), "handler must be callable"),
            (undo is not None and not callable(undo), "undo_handler must be callable"),
            (self.check is not None and not callable(self.check), "check must be callable"),
            (not isinstance(self.description, str), "description must be a text"),
            (
                message is not None and not isinstance(message, str),
                "approval_message must be a text",
            ),
            (not isinstance(self.input_schema, Mapping), "input_schema must be a mapping"),
            (
                output is not None and not isinstance(output, Mapping),
                "output_schema must be a mapping",
            ),
            (
                limit is not None and not isinstance(limit, RateLimit),
                "rate_limit must be a RateLimit",
            ),
            (
                not isinstance(modes, tuple) or not all(map(_is_name, modes)),
                "allowed_behaviors must be a tuple of texts",
            ),
            (
                seconds is not None and not (is_number(seconds) and seconds > 0),
                "timeout_seconds must be above 0",
            ),
            (
                at_once is not None and not (is_count(at_once) and at_once >= 1),
                "max_concurrency must be a whole number, at least 1",
            ),
        )

    def is_behavior_allowed(self, behavior: str | None) -> bool:
        """Say whether the tool may be used in an execution mode."""
        return not self.allowed_behaviors or behavior in self.allowed_behaviors

    def to_dict(self) -> dict[str, Any]:
        """Return the definition as plain data, without the handlers."""
        limit = self.rate_limit
        return {
            "name": self.name,
            "action_type": self.action_type,
            "description": self.description,
            "input_schema": dict(self.input_schema),
            "allowed_behaviors": list(self.allowed_behaviors),
            "requires_approval": self.requires_approval,
            "approval_message": self.approval_message,
            "undoable": self.undoable,
            "idempotent": self.idempotent,
            "artifact_type": self.artifact_type,
            "output_schema": None if self.output_schema is None else dict(self.output_schema),
            "timeout_seconds": self.timeout_seconds,
            "max_concurrency": self.max_concurrency,
            "rate_limit": None if limit is None else limit.to_dict(),
        }


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _text(value: object) -> str | None:
    return None if value is None else str(value)
