"""Every event of tools has its schema, and a golden payload that fits it."""

from __future__ import annotations

import pytest

from stageflow.events.schemas import EVENTS
from stageflow.tools import TOOL_EVENTS

ABOUT = {
    "tool_name": "edit_document",
    "action_type": "EDIT",
    "action_id": "00000000-0000-4000-8000-000000000001",
    "timestamp": "2025-01-01T00:00:00+00:00",
}
RUN = {
    "pipeline_run_id": "00000000-0000-4000-8000-00000000000a",
    "request_id": None,
    "execution_mode": "practice",
    "topology": "chat",
}
ASKED = {"approval_request_id": "00000000-0000-4000-8000-000000000002"}
FAILURE = {
    "duration_ms": 12.5,
    "error": "Tool 'edit_document' failed: OSError: no disk",
    "error_type": "OSError",
    "error_code": "SF506",
}
GOLDEN = {
    "tool.invoked": {"behavior": "practice", "payload": {"key": "[redacted]"}},
    "tool.denied": {
        "reason": "behavior_not_allowed",
        "detail": "Tool 'edit_document' is not allowed in behavior 'practice'.",
        "behavior": "practice",
    },
    "approval.requested": {
        **ASKED,
        "approval_message": "May it?",
        "timeout_seconds": 60,
        "payload": {"key": "[redacted]"},
    },
    "approval.decided": {
        **ASKED,
        "granted": False,
        "edited": False,
        "decided_by": "ada",
        "reason": None,
    },
    "tool.started": {},
    "tool.completed": {
        "duration_ms": 12.5,
        "data_keys": ["a", "b"],
        "artifact_count": 0,
        "undo_available": True,
    },
    "tool.failed": FAILURE,
    "tool.undone": {"duration_ms": 12.5},
    "tool.undo_failed": FAILURE,
}


def test_every_event_of_tools_has_a_golden_payload():
    assert set(GOLDEN) == set(TOOL_EVENTS)


@pytest.mark.parametrize("event_type", sorted(GOLDEN))
def test_the_golden_payload_fits_its_schema_and_fits_it_closely(event_type):
    payload = ABOUT | GOLDEN[event_type]
    assert TOOL_EVENTS.faults(event_type, payload) == ()
    assert TOOL_EVENTS.faults(event_type, payload | RUN) == ()
    for key in payload:
        without = {name: value for name, value in payload.items() if name != key}
        assert TOOL_EVENTS.faults(event_type, without)
    assert TOOL_EVENTS.faults(event_type, {**payload, "surprise": 1})


@pytest.mark.parametrize(
    ("event_type", "wrong"),
    [
        ("tool.denied", {"reason": "a bad day"}),
        ("tool.completed", {"data_keys": ["b", "a"]}),
        ("tool.invoked", {"payload": "secret"}),
        ("approval.decided", {"granted": "yes"}),
    ],
)
def test_a_payload_that_says_something_else_does_not_fit(event_type, wrong):
    assert TOOL_EVENTS.faults(event_type, ABOUT | GOLDEN[event_type] | wrong)


def test_the_events_of_tools_are_not_cores():
    assert not set(TOOL_EVENTS) & set(EVENTS)


def test_the_reference_of_every_event_can_be_printed():
    page = TOOL_EVENTS.to_markdown()
    for event_type in TOOL_EVENTS:
        assert f"## {event_type}\n" in page
