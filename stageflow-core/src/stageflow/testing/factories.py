"""Contexts made by hand, so that a stage is tested with one line."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any
from uuid import UUID, uuid4

from stageflow.context import (
    ContextSnapshot,
    Conversation,
    Message,
    PipelineTimer,
    RunIdentity,
    StageContext,
    StageInputs,
    create_stage_inputs,
)
from stageflow.contracts.event_sink import EventSink
from stageflow.stages import StageOutput, StageStatus

__all__ = ("create_test_snapshot", "create_test_stage_context")


def create_test_snapshot(
    *,
    pipeline_run_id: UUID | None = None,
    request_id: UUID | None = None,
    session_id: UUID | None = None,
    user_id: UUID | None = None,
    org_id: UUID | None = None,
    interaction_id: UUID | None = None,
    topology: str | None = "test",
    execution_mode: str | None = "test",
    input_text: str | None = None,
    messages: Iterable[Message] | None = None,
    **fields: Any,
) -> ContextSnapshot[Any]:
    """Return a snapshot whose ids are all set, with new ones where none is given.

    Args:
        pipeline_run_id: The run.
        request_id: The request that caused it.
        session_id: The session of the request.
        user_id: Who asked.
        org_id: The organisation of whoever asked.
        interaction_id: The exchange within the session.
        topology: Name of the shape of the pipeline.
        execution_mode: The mode of the run.
        input_text: What the user wrote or said.
        messages: What was said before.
        **fields: Further fields of the snapshot.
    """
    if messages is not None:
        fields["conversation"] = Conversation(list(messages))
    return ContextSnapshot(
        run_id=RunIdentity(
            pipeline_run_id or uuid4(),
            request_id or uuid4(),
            session_id or uuid4(),
            user_id or uuid4(),
            org_id or uuid4(),
            interaction_id or uuid4(),
        ),
        topology=topology,
        execution_mode=execution_mode,
        input_text=input_text,
        **fields,
    )


def create_test_stage_context(
    *,
    snapshot: ContextSnapshot[Any] | None = None,
    inputs: StageInputs | None = None,
    prior_outputs: Mapping[str, StageOutput | Mapping[str, Any]] | None = None,
    stage_name: str = "test_stage",
    event_sink: EventSink | None = None,
    declared_deps: Collection[str] | None = None,
    run_inputs: Mapping[str, Any] | None = None,
    **snapshot_fields: Any,
) -> StageContext:
    """Return a context in which a stage can be executed without an engine.

    Args:
        snapshot: What was known when the run began; made from the further keywords unless given.
        inputs: What the stage may read; made from the next arguments unless given.
        prior_outputs: Outputs of earlier stages, or just their data, by stage name.
        stage_name: The stage that runs.
        event_sink: Where its events go.
        declared_deps: What the stage may read from; every prior output unless given.
        run_inputs: Inputs of the run, by name.
        **snapshot_fields: Fields of the snapshot.
    """
    if snapshot is None:
        snapshot = create_test_snapshot(**snapshot_fields)
    if inputs is None:
        inputs = create_stage_inputs(
            snapshot,
            prior_outputs={
                name: given
                if isinstance(given, StageOutput)
                else StageOutput(StageStatus.OK, dict(given))
                for name, given in (prior_outputs or {}).items()
            },
            ports=dict(run_inputs) if run_inputs else None,
            declared_deps=declared_deps,
            stage_name=stage_name,
        )
    return StageContext(snapshot, inputs, stage_name, PipelineTimer(), event_sink)
