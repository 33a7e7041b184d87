"""Definitions, inputs, outputs and undo metadata: what they hold and how they are written."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import attrs
import pytest

from stageflow.context import PipelineContext
from stageflow.tools import (
    RateLimit,
    ToolAction,
    ToolDefinition,
    ToolDefinitionError,
    ToolExecutorConfig,
    ToolInput,
    ToolOutput,
    UndoMetadata,
)
from support.tools import definition, echo

ACTION = UUID("00000000-0000-4000-8000-000000000001")


def test_a_definition_needs_a_name_a_type_and_a_handler():
    made = ToolDefinition("edit", "EDIT", echo)
    assert (made.description, made.input_schema, made.allowed_behaviors) == ("", {}, ())
    assert (made.requires_approval, made.approval_message) == (False, None)
    assert (made.undoable, made.undo_handler, made.artifact_type) == (False, None, None)


def test_a_definition_is_written_without_its_handlers():
    written = ToolDefinition(
        "edit",
        "EDIT",
        echo,
        "Edits.",
        {"type": "object"},
        ["practice", "doc"],
        True,
        "Edit it?",
        True,
        echo,
        "document",
        rate_limit=RateLimit(3, 60),
    ).to_dict()
    assert json.loads(json.dumps(written)) == written
    assert written == {
        "name": "edit",
        "action_type": "EDIT",
        "description": "Edits.",
        "input_schema": {"type": "object"},
        "allowed_behaviors": ["practice", "doc"],
        "requires_approval": True,
        "approval_message": "Edit it?",
        "undoable": True,
        "idempotent": False,
        "artifact_type": "document",
        "output_schema": None,
        "timeout_seconds": None,
        "max_concurrency": None,
        "rate_limit": {"calls": 3, "per_seconds": 60, "max_wait_seconds": None},
    }


@pytest.mark.parametrize(
    ("allowed", "behavior", "expected"),
    [
        ((), "practice", True),
        ((), None, True),
        (("practice", "doc"), "practice", True),
        (("practice", "doc"), "roleplay", False),
        (("practice",), None, False),
    ],
)
def test_an_empty_list_of_behaviors_allows_all(allowed, behavior, expected):
    tool = definition(allowed_behaviors=allowed)
    assert tool.is_behavior_allowed(behavior) is expected


def test_a_definition_that_cannot_work_tells_every_fault():
    with pytest.raises(ToolDefinitionError) as caught:
        ToolDefinition(
            "",
            " ",
            None,
            allowed_behaviors="practice",
            timeout_seconds=0,
            max_concurrency=1.5,
            description=None,
            approval_message=5,
            output_schema=5,
            rate_limit=5,
            check=5,
        )
    assert len(caught.value.faults) == 11


@pytest.mark.parametrize(
    "wrong",
    [
        {"calls": 0},
        {"calls": "3"},
        {"calls": 2.5},
        {"per_seconds": 0},
        {"per_seconds": "60"},
        {"per_seconds": math.nan},
        {"max_wait_seconds": -1},
        {"key": "order"},
    ],
)
def test_a_rate_limit_needs_numbers_that_make_sense(wrong):
    with pytest.raises(ToolDefinitionError):
        RateLimit(**{"calls": 1, "per_seconds": 1.0, **wrong})


@pytest.mark.parametrize(
    "wrong",
    [
        {"approval_timeout_seconds": -1},
        {"approval_timeout_seconds": "60"},
        {"undo_ttl_seconds": None},
        {"max_arguments_bytes": math.inf},
    ],
)
def test_an_executor_is_configured_with_numbers(wrong):
    with pytest.raises(ToolDefinitionError, match=next(iter(wrong))):
        ToolExecutorConfig(**wrong)


def test_an_input_takes_its_ids_and_behavior_from_the_context():
    ctx = PipelineContext(pipeline_run_id=uuid4(), request_id=uuid4(), execution_mode="practice")
    made = ToolInput.from_action(ToolAction(ACTION, "EDIT", {"x": 1}), "edit", ctx)
    assert made == ToolInput(
        ACTION, "edit", {"x": 1}, "practice", ctx.pipeline_run_id, ctx.request_id
    )
    assert made.to_dict() == {
        "action_id": str(ACTION),
        "tool_name": "edit",
        "payload": {"x": 1},
        "behavior": "practice",
        "pipeline_run_id": str(ctx.pipeline_run_id),
        "request_id": str(ctx.request_id),
    }


def test_an_input_without_a_context_has_no_ids():
    made = ToolInput.from_action(ToolAction(ACTION, "EDIT", {}), "edit", None)
    assert (made.behavior, made.pipeline_run_id, made.request_id) == (None, None, None)
    written = made.to_dict()
    assert written["pipeline_run_id"] is None
    assert written["request_id"] is None


def test_outputs_are_written_without_what_is_absent():
    assert ToolOutput.ok().to_dict() == {"success": True}
    assert ToolOutput.fail("no").to_dict() == {"success": False, "error": "no"}
    full = ToolOutput.ok({"a": 1}, [{"t": "x"}], {"before": 0})
    assert full.to_dict() == {
        "success": True,
        "data": {"a": 1},
        "artifacts": [{"t": "x"}],
        "undo_metadata": {"before": 0},
    }
    kept = UndoMetadata(ACTION, "edit", {"before": 0}, "2025-01-01T00:00:00+00:00")
    written = ToolOutput.ok(undo_metadata=kept).to_dict()["undo_metadata"]
    assert written == kept.to_dict()


def test_undo_metadata_round_trips_and_is_created_now():
    made = UndoMetadata(ACTION, "edit", {"before": 0})
    assert made.to_dict()["action_id"] == str(ACTION)
    assert UndoMetadata.from_dict(made.to_dict()) == made
    age = datetime.now(UTC) - datetime.fromisoformat(made.created_at)
    assert timedelta(0) <= age < timedelta(minutes=1)


def test_undo_metadata_without_a_time_is_created_now():
    made = UndoMetadata.from_dict(
        {"action_id": str(ACTION), "tool_name": "edit", "undo_data": {"a": 1}}
    )
    assert made.action_id == ACTION
    assert datetime.fromisoformat(made.created_at).utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "value",
    [
        ToolAction(ACTION, "EDIT"),
        ToolInput(ACTION, "edit", {}),
        ToolOutput.ok(),
        UndoMetadata(ACTION, "edit", {}),
        definition(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_cannot_be_changed(value):
    name = attrs.fields(type(value))[0].name
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(value, name, None)
