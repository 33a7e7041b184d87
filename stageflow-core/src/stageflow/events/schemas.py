"""The schemas of core's events: each type has one, and each emitted event fits its own.

Whoever adds an event to core adds its row to `EVENTS`; another distribution makes an
`EventCatalogue` of its own.
"""

from __future__ import annotations

from typing import Final

import attrs

from stageflow.events.catalogue import EventCatalogue, EventField, EventSchema

__all__ = ("EVENTS",)

# --- keys that many events share --------------------------------------------------------

_IDS: Final = tuple(
    EventField(name, "id", about, nullable=True)
    for name, about in (
        ("pipeline_run_id", "the run"),
        ("request_id", "the request that caused the run"),
        ("session_id", "the session it belongs to"),
        ("user_id", "the user on whose behalf it runs"),
        ("org_id", "the user's organisation"),
        ("interaction_id", "the interaction it is part of"),
    )
)
_TIMESTAMP: Final = EventField("timestamp", "timestamp", "when the event happened")
_RUN: Final = (
    *_IDS,
    EventField("pipeline_name", "text", "the pipeline's name"),
    EventField("topology", "text", "the topology, if the caller named one", nullable=True),
    EventField("execution_mode", "text", "the mode the run was started in", nullable=True),
    EventField("service", "text", "the service on whose behalf it runs"),
    _TIMESTAMP,
)
_STAGE: Final = (
    *_RUN,
    EventField("stage", "text", "the stage's name"),
    EventField("kind", "text", "the stage's kind"),
    EventField("attempt", "integer", "1 for the stage's first attempt"),
)
_SPAN: Final = (
    EventField("started_at", "timestamp", "when it began"),
    EventField("ended_at", "timestamp", "when it ended"),
    EventField("duration_ms", "number", "how long it took, in milliseconds"),
)
_ERROR: Final = EventField("error", "text", "what went wrong", nullable=True)
_REASON: Final = EventField("reason", "text", "why, in the words of whoever decided it")
_MAX_ATTEMPTS: Final = EventField("max_attempts", "integer", "how many attempts there may be")


def _status(*values: str) -> EventField:
    return EventField("status", "text", "how it ended", one_of=values)


def _pipeline_end(status: str, about: str) -> EventSchema:
    return EventSchema(
        f"pipeline.{status}",
        about,
        (
            *_RUN,
            _status(status),
            *_SPAN,
            EventField("stage_counts", "object", "how many stages ended with each status"),
            _ERROR,
            EventField("failed_stage", "text", "the stage that failed first", nullable=True),
            EventField("reason", "text", "why the run was cancelled", nullable=True),
        ),
    )


def _stage_end(name: str, status: str, about: str, *further: EventField) -> EventSchema:
    return EventSchema(f"stage.{name}", about, (*_STAGE, _status(status), *_SPAN, *further))


# --- guard-retry ---------------------------------------------------------------------------

_GUARD: Final = (
    *_RUN,
    EventField("guard", "text", "the guard's name"),
    EventField("retry_stage", "text", "the stage to which the run goes back"),
    EventField("attempt", "integer", "how often the guard has judged, this time included"),
    EventField("max_attempts", "integer", "how often it may judge in all"),
    EventField("alike", "integer", "how many outputs in a row were alike by now"),
    EventField("stagnation_limit", "integer", "how many of these are too many"),
    EventField("elapsed_ms", "number", "time since the retried stage first began"),
    EventField("timeout_seconds", "number", "when it is too late to go back", nullable=True),
)


# --- child runs: what contexts add to every event of theirs, and the facts ---------------------

_PARENT: Final = EventField("parent_run_id", "id", "the run that started it")
_CHILD: Final = EventField("child_run_id", "id", "the child run")
_CHILD_NAME: Final = EventField("pipeline_name", "text", "the child's pipeline")


def _of_context(run: str) -> tuple[EventField, ...]:
    return (
        EventField("pipeline_run_id", "id", run),
        EventField("request_id", "id", "the request that caused the run", nullable=True),
        EventField("execution_mode", "text", "the mode the run was started in", nullable=True),
        EventField("topology", "text", "the topology", required=False),
        _TIMESTAMP,
    )


def _child_event(name: str, about: str, *facts: EventField) -> EventSchema:
    shared = (*_of_context("the run that started it"), _PARENT, _CHILD, _CHILD_NAME)
    return EventSchema(f"pipeline.{name}", about, (*shared, *facts))


# --- wide events ----------------------------------------------------------------------------

_CORRELATION: Final = EventField("correlation_ids", "object", "the ids above, together")
_METADATA: Final = EventField(
    "pipeline_metadata", "object", "service, topology and execution mode, together"
)
_EXTRA: Final = EventField("extra", "object", "what the emitter's caller adds", required=False)
_WIDE: Final = (
    *_IDS,
    EventField("topology", "text", "the topology, if the caller named one", nullable=True),
    EventField("execution_mode", "text", "the mode the run was started in", nullable=True),
    EventField("service", "text", "the service on whose behalf it runs", nullable=True),
    _CORRELATION,
    _METADATA,
    _EXTRA,
)
_WIDE_SPAN: Final = tuple(attrs.evolve(field, nullable=True) for field in _SPAN)
_COUNTED: Final = (
    ("stages_total", "stages that ended"),
    ("stages_completed", "stages that ended with OK"),
    ("stages_failed", "stages that failed"),
    ("stages_skipped", "stages that were skipped"),
    ("stages_cancelled", "stages that were cancelled"),
)

EVENTS: Final = EventCatalogue(
    (
        EventSchema(
            "pipeline.started",
            "A run begins.",
            (*_RUN, EventField("stages_total", "integer", "how many stages the pipeline has")),
        ),
        _pipeline_end("completed", "A run has come to its end; no failure stopped it."),
        _pipeline_end("failed", "A run has ended because a stage failed."),
        _pipeline_end("cancelled", "A run has ended early because a stage or the caller said so."),
        _pipeline_end("waiting", "A run has left memory until a signal comes; it has not ended."),
        EventSchema(
            "pipeline.resumed",
            "A run goes on that was interrupted, failed, cancelled or waiting.",
            (
                *_RUN,
                EventField("stages_total", "integer", "how many stages it has"),
                EventField("stages_restored", "integer", "how many need not run again"),
                EventField("lease", "integer", "how often somebody became its owner, counted up"),
            ),
        ),
        EventSchema("stage.started", "A stage begins its first attempt.", _STAGE),
        _stage_end(
            "completed",
            "ok",
            "A stage has done its work; no guard can have it run again any more.",
            EventField("data_keys", "texts", "the keys of its output", ordered=True),
        ),
        _stage_end(
            "failed",
            "fail",
            "A stage has failed, and will not be tried again.",
            _ERROR,
            EventField(
                "error_type", "text", "the exception's class, if one was raised", nullable=True
            ),
            EventField("error_code", "text", "the stable code of the error", nullable=True),
        ),
        _stage_end("skipped", "skip", "A stage was skipped, by itself or for a reason.", _REASON),
        _stage_end(
            "cancelled",
            "cancel",
            "A stage was cancelled: it asked for that, or it was running or waiting at the end.",
            _REASON,
        ),
        EventSchema(
            "stage.retry_scheduled",
            "An attempt of a stage has failed, and another one will follow.",
            (
                *_STAGE,
                _MAX_ATTEMPTS,
                EventField("delay_ms", "number", "time until then, in milliseconds"),
                _ERROR,
            ),
        ),
        EventSchema(
            "stage.retry_exhausted",
            "The last attempt that a stage may have has failed; `stage.failed` follows.",
            (*_STAGE, _MAX_ATTEMPTS, _ERROR),
        ),
        EventSchema(
            "stage.thread_abandoned",
            "The thread of a stage cannot be stopped and is given up; its result will not count.",
            _STAGE,
        ),
        EventSchema(
            "stage.waiting",
            "A stage waits for a signal that has not come yet.",
            (
                *_STAGE,
                EventField("signal", "text", "the signal's name"),
                EventField("wait_id", "text", "names the wait, unique in its run"),
                EventField("deadline", "timestamp", "until when it waits", nullable=True),
            ),
        ),
        EventSchema(
            "stage.cleanups_lost",
            "A restored stage had registered clean-ups in a process that is gone.",
            (*_STAGE, EventField("cleanups", "texts", "what they were called", ordered=True)),
        ),
        EventSchema(
            "guard_retry.attempt",
            "A guard with a guard-retry policy has failed; `guard_retry.scheduled` or"
            " `guard_retry.exhausted` follows.",
            (*_GUARD, _ERROR),
        ),
        EventSchema(
            "guard_retry.scheduled",
            "The run goes back. The stages that are run again start without a `stage.started` of"
            " their own, and each ends with one event, when no guard can send the run back to it"
            " any more; its times are those of the last time, its attempts those of all.",
            (*_GUARD, _ERROR, EventField("stages", "texts", "the stages that are run again")),
        ),
        EventSchema(
            "guard_retry.exhausted",
            "The run does not go back any more; the guard's `stage.failed` follows.",
            (
                *_GUARD,
                _ERROR,
                EventField(
                    "reason",
                    "text",
                    "why",
                    one_of=("max_attempts", "stagnation", "timeout", "not_retryable", "not_run"),
                ),
            ),
        ),
        EventSchema(
            "guard_retry.recovered",
            "A guard that had failed is content.",
            _GUARD,
        ),
        _child_event(
            "spawned_child",
            "A stage starts a child run.",
            EventField("parent_stage_id", "text", "the stage that starts it"),
            EventField("correlation_id", "id", "the caller's id for this start", nullable=True),
        ),
        _child_event(
            "child_completed",
            "A child run has done its work.",
            EventField("duration_ms", "number", "how long it took, in milliseconds"),
        ),
        _child_event(
            "child_failed",
            "A child run has failed.",
            EventField("error_message", "text", "what went wrong"),
        ),
        EventSchema(
            "pipeline.canceled",
            "A child run was cancelled; its own `pipeline.cancelled`, if it has one, came before.",
            (
                *_of_context("the child run"),
                _PARENT,
                _REASON,
                EventField(
                    "cascade_depth",
                    "integer",
                    "how many runs are above it, if the cancellation came from there; else 0",
                ),
            ),
        ),
        EventSchema(
            "stage.wide",
            "One summary of a stage, when it has ended; only if wide events are switched on.",
            (
                *_WIDE,
                EventField("stage_name", "text", "the stage's name"),
                EventField("stage", "text", "the stage's name, once more"),
                _status("OK", "SKIP", "CANCEL", "FAIL", "RETRY"),
                *_WIDE_SPAN,
                _ERROR,
                EventField("data_keys", "texts", "the keys of its output", ordered=True),
                EventField("artifacts_count", "integer", "how many artifacts it produced"),
                EventField("events_count", "integer", "how many events its output holds"),
            ),
            open=True,
        ),
        EventSchema(
            "pipeline.wide",
            "One summary of a run, when it has ended; only if wide events are switched on.",
            (
                *_WIDE,
                EventField("pipeline_name", "text", "the pipeline's name"),
                _status("OK", "FAIL", "CANCEL"),
                EventField(
                    "state",
                    "text",
                    "the same, in words",
                    one_of=("completed", "failed", "cancelled"),
                ),
                *_WIDE_SPAN,
                *(EventField(name, "integer", about) for name, about in _COUNTED),
                EventField("stage_counts", "object", "how many stages ended with each status"),
                _ERROR,
                EventField("stage_summaries", "objects", "each stage's end, in short"),
                EventField("stage_details", "objects", "each stage's end, in full"),
            ),
            open=True,
        ),
    )
)
"""The events of core."""
