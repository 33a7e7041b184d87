"""The schemas of the events of tools: each type has one, and each emitted event fits its own."""

from __future__ import annotations

from typing import Final

from stageflow.events.catalogue import EventCatalogue, EventField, EventSchema

__all__ = ("TOOL_EVENTS",)

# A context's `try_emit_event` adds these, as far as it knows them.
_CONTEXT: Final = (
    EventField("pipeline_run_id", "id", "the run", nullable=True, required=False),
    EventField("request_id", "id", "the request that caused it", nullable=True, required=False),
    EventField("execution_mode", "text", "the run's mode", nullable=True, required=False),
    EventField("topology", "text", "the topology", nullable=True, required=False),
)
_ACTION: Final = (
    EventField("tool_name", "text", "the tool's name"),
    EventField("action_type", "text", "what the action calls it"),
    EventField("action_id", "id", "the action"),
)
_TIMESTAMP: Final = EventField("timestamp", "timestamp", "when it happened")
_DURATION: Final = EventField("duration_ms", "number", "how long the handler took")
_ERROR: Final = (
    EventField("error", "text", "what went wrong"),
    EventField("error_type", "text", "the class of the error, or `ToolOutput` for a failure told"),
    EventField("error_code", "text", "the stable code of the error", nullable=True),
)
_REQUEST: Final = EventField("approval_request_id", "id", "the request for approval")
_PAYLOAD: Final = EventField(
    "payload",
    "object",
    "the arguments, secrets redacted; null if they are not readable or too large",
    nullable=True,
)


def _event(type: str, about: str, *fields: EventField) -> EventSchema:
    return EventSchema(type, about, (*_ACTION, *fields, _TIMESTAMP, *_CONTEXT))


TOOL_EVENTS: Final = EventCatalogue(
    (
        _event(
            "tool.invoked",
            "A tool is asked to do something; nothing is checked yet.",
            EventField("behavior", "text", "the execution mode of the run", nullable=True),
            _PAYLOAD,
        ),
        _event(
            "tool.denied",
            "A call ends before its handler has begun.",
            EventField(
                "reason",
                "text",
                "why",
                one_of=(
                    "approval_timeout",
                    "behavior_not_allowed",
                    "invalid_arguments",
                    "not_found",
                    "rate_limited",
                ),
            ),
            EventField("detail", "text", "what exactly, for people"),
            EventField("behavior", "text", "the execution mode of the run", nullable=True),
        ),
        _event(
            "approval.requested",
            "Somebody is asked whether a call may run.",
            _REQUEST,
            EventField("approval_message", "text", "what they are asked"),
            EventField("timeout_seconds", "number", "how long the decision is awaited"),
            _PAYLOAD,
        ),
        _event(
            "approval.decided",
            "Somebody has decided. If they have not granted it, this ends the call.",
            _REQUEST,
            EventField("granted", "boolean", "whether the call may run"),
            EventField("edited", "boolean", "whether they have changed the arguments"),
            EventField("decided_by", "text", "who", nullable=True),
            EventField("reason", "text", "why, in their words", nullable=True),
        ),
        _event("tool.started", "A handler begins."),
        _event(
            "tool.completed",
            "A handler has done what was asked.",
            _DURATION,
            EventField("data_keys", "texts", "the keys of its data", ordered=True),
            EventField("artifact_count", "integer", "how many artifacts it gave"),
            EventField("undo_available", "boolean", "whether it can be undone"),
            EventField(
                "replayed",
                "boolean",
                "there if it ran before, and gave again what it gave then",
                required=False,
            ),
        ),
        _event(
            "tool.failed",
            "A handler has failed, gave what it may not give, ran out of time, or was cancelled.",
            _DURATION,
            *_ERROR,
        ),
        _event("tool.undone", "What an action has done is undone.", _DURATION),
        _event(
            "tool.undo_failed",
            "It could not be undone; it can be tried again.",
            _DURATION,
            *_ERROR,
        ),
    )
)
