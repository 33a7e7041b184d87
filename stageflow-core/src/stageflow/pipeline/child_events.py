"""What is told of child runs: four events, each with the payload that its schema describes."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

import attrs

__all__ = (
    "PipelineCanceledEvent",
    "PipelineChildCompletedEvent",
    "PipelineChildFailedEvent",
    "PipelineSpawnedChildEvent",
)


class _ChildEvent:
    """Something that happened to a child run."""

    __slots__ = ()
    __attrs_attrs__: ClassVar[tuple[attrs.Attribute[Any], ...]]

    def to_dict(self) -> dict[str, Any]:
        """Return the facts by name, ids as text."""
        facts = {field.name: getattr(self, field.name) for field in self.__attrs_attrs__}
        return {k: str(v) if isinstance(v, UUID) else v for k, v in facts.items()}


@attrs.frozen
class PipelineSpawnedChildEvent(_ChildEvent):
    """A stage starts a child run.

    Attributes:
        parent_run_id: The run that starts it.
        child_run_id: The child.
        parent_stage_id: The stage that starts it.
        pipeline_name: The child's pipeline.
        correlation_id: The caller's id for this start.
    """

    type: ClassVar[str] = "pipeline.spawned_child"

    parent_run_id: UUID
    child_run_id: UUID
    parent_stage_id: str
    pipeline_name: str
    correlation_id: UUID | None


@attrs.frozen
class PipelineChildCompletedEvent(_ChildEvent):
    """A child run has done its work.

    Attributes:
        parent_run_id: The run that started it.
        child_run_id: The child.
        pipeline_name: The child's pipeline.
        duration_ms: How long it took.
    """

    type: ClassVar[str] = "pipeline.child_completed"

    parent_run_id: UUID
    child_run_id: UUID
    pipeline_name: str
    duration_ms: float


@attrs.frozen
class PipelineChildFailedEvent(_ChildEvent):
    """A child run has failed.

    Attributes:
        parent_run_id: The run that started it.
        child_run_id: The child.
        pipeline_name: The child's pipeline.
        error_message: What went wrong.
    """

    type: ClassVar[str] = "pipeline.child_failed"

    parent_run_id: UUID
    child_run_id: UUID
    pipeline_name: str
    error_message: str


@attrs.frozen
class PipelineCanceledEvent(_ChildEvent):
    """A child run was cancelled.

    Attributes:
        pipeline_run_id: The child.
        parent_run_id: The run that started it.
        reason: Why.
        cascade_depth: How many runs are above it, if the cancellation came from there; 0 if the
            child itself asked for it.
    """

    type: ClassVar[str] = "pipeline.canceled"

    pipeline_run_id: UUID
    parent_run_id: UUID | None
    reason: str
    cascade_depth: int
