"""The schemas of the helpers' events: each type has one, and each emitted event fits its own."""

from __future__ import annotations

from typing import Final

from stageflow.events.catalogue import EventCatalogue, EventField, EventSchema

__all__ = ("HELPER_EVENTS",)

# A context's `try_emit_event` adds these; an emitter of one's own need not.
_CONTEXT: Final = (
    EventField("pipeline_run_id", "id", "the run", nullable=True, required=False),
    EventField("request_id", "id", "the request that caused it", nullable=True, required=False),
    EventField("execution_mode", "text", "the run's mode", nullable=True, required=False),
    EventField("topology", "text", "the run's topology, if it has one", required=False),
)
# Those of a queue between two stages say which; one's own queue has no name.
_BETWEEN: Final = (
    EventField("stream", "text", "the stream between stages that it belongs to", required=False),
    EventField("consumer", "text", "the stage that reads that stream", required=False),
)
_LEVEL: Final = (
    EventField("queue_size", "integer", "how many items wait"),
    EventField("max_size", "integer", "how many can wait"),
)
_FILL: Final = EventField("fill_percentage", "number", "how full the queue is, in percent")
_BUFFERED: Final = EventField(
    "buffer_duration_ms", "number", "how long the buffered audio sounds, in milliseconds"
)
_READ: Final = (
    EventField("requested_ms", "number", "how much the reader asked for, in milliseconds"),
    EventField("read_ms", "number", "how much it got, in milliseconds"),
    _BUFFERED,
)
_VIOLATIONS: Final = (
    EventField("violations", "objects", "the violations, each as its `to_dict` gives it"),
    EventField("violation_count", "integer", "how many there are"),
    EventField("violations_truncated", "boolean", "whether there are more than are listed"),
)


def _event(type: str, about: str, *fields: EventField) -> EventSchema:
    return EventSchema(type, about, (*fields, *_CONTEXT))


HELPER_EVENTS: Final = EventCatalogue(
    (
        _event(
            "stream.chunk_dropped",
            "A chunk was dropped from a queue, or refused by it; each chunk has its own event.",
            *_LEVEL,
            *_BETWEEN,
            EventField(
                "reason",
                "text",
                "`overflow` for the oldest chunk of a full queue, `queue_full` for one that was"
                " refused, otherwise what the caller of `clear` said",
            ),
        ),
        _event(
            "stream.producer_blocked",
            "A producer had to wait for room.",
            EventField("blocked_ms", "number", "how long, in milliseconds"),
            _LEVEL[0],
            *_BETWEEN,
        ),
        _event(
            "stream.throttle_started",
            "A queue was filled to the high-water mark; producers should slow down.",
            *_LEVEL,
            *_BETWEEN,
            _FILL,
        ),
        _event(
            "stream.throttle_ended",
            "A queue is down to the low-water mark again.",
            *_LEVEL,
            *_BETWEEN,
            _FILL,
        ),
        _event(
            "stream.queue_closed",
            "A queue accepts no more chunks; those that wait can still be got.",
            *_LEVEL,
            *_BETWEEN,
            EventField("total_items", "integer", "how many chunks were accepted"),
            EventField("dropped_items", "integer", "how many were dropped or refused"),
            EventField("blocked_puts", "integer", "how often a producer had to wait"),
            EventField("max_queue_size", "integer", "the most chunks that waited at once"),
            EventField("total_blocked_ms", "number", "how long producers waited in all"),
            EventField("drop_rate", "number", "dropped chunks for each accepted one"),
        ),
        _event(
            "stream.interrupted",
            "Streams between stages were cut short; what waited in them was dropped.",
            EventField("streams", "texts", "their names", ordered=True),
            EventField("reason", "text", "why"),
            EventField("dropped", "integer", "how many chunks were dropped"),
        ),
        _event(
            "stream.finished",
            "A stage is done with reading a stream, or will never read it; every reader of every"
            " stream has its own event, unless no stage of the run opened any. What was accepted"
            " was received or dropped.",
            EventField("stream", "text", "the stream"),
            EventField("producer", "text", "the stage that writes it"),
            EventField("consumer", "text", "the stage that reads it"),
            EventField(
                "outcome",
                "text",
                "`completed` if it was read to its end, `abandoned` if the reader left before,"
                " `broken` if the producer did not finish it",
                one_of=("completed", "abandoned", "broken", "interrupted"),
            ),
            EventField("accepted", "integer", "how many chunks were put in for this reader"),
            EventField("received", "integer", "how many of them it got"),
            EventField("dropped", "integer", "how many of them were dropped"),
        ),
        _event(
            "stream.buffer_overflow",
            "A buffer made room by dropping its oldest audio.",
            EventField("bytes_dropped", "integer", "how much, in bytes"),
            _BUFFERED,
            EventField("max_duration_ms", "number", "how much it holds at most, in milliseconds"),
        ),
        _event(
            "stream.buffer_underrun",
            "A reader got less audio than it asked for; the first time in a row.",
            *_READ,
        ),
        _event(
            "stream.buffer_recovered",
            "A reader got all it asked for, after an underrun.",
            *_READ,
        ),
        _event(
            "analytics.overflow",
            "An exporter's buffer overflows; emitted by an `on_overflow` that one connects.",
            EventField(
                "dropped", "integer", "events dropped so far; -1 warns that the buffer fills up"
            ),
            EventField("buffer_size", "integer", "how many events are buffered"),
        ),
        _event(
            "guardrail.violations_detected",
            "A check of a guardrail stage found violations; each check has its own event.",
            EventField(
                "check", "text", "the class of the check; that of the stage for what it left out"
            ),
            *_VIOLATIONS,
        ),
        _event(
            "guardrail.fail_open",
            "A guardrail stage let content pass in spite of violations, as it was told to.",
            EventField("stage", "text", "the stage's name"),
            EventField("fail_on_violation", "boolean", "always false"),
            EventField("content_truncated", "boolean", "whether part of it was not checked"),
            *_VIOLATIONS,
        ),
        _event(
            "memory.truncated",
            "Older entries of a conversation were left out because of the limits.",
            EventField("session_id", "id", "the conversation"),
            EventField("kept", "integer", "how many entries were fetched"),
            EventField("left_out", "integer", "how many were not"),
            EventField("max_entries", "integer", "the limit of entries", nullable=True),
            EventField("max_tokens", "integer", "the limit of tokens", nullable=True),
        ),
    )
)
