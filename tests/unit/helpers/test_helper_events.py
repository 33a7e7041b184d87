"""Every event of the helpers has its schema, and a golden payload that fits it."""

from __future__ import annotations

import pytest
from anyio.lowlevel import checkpoint

from stageflow.context import PipelineContext
from stageflow.events.schemas import EVENTS
from stageflow.helpers.analytics import AnalyticsEvent, BufferedExporter
from stageflow.helpers.events import HELPER_EVENTS
from stageflow.helpers.streaming import AudioChunk, ChunkQueue, StreamingBuffer

STATS = {
    "total_items": 3,
    "dropped_items": 1,
    "blocked_puts": 1,
    "max_queue_size": 2,
    "total_blocked_ms": 12.5,
    "drop_rate": 1 / 3,
}
READ = {"requested_ms": 20, "read_ms": 5.0, "buffer_duration_ms": 0.0}
VIOLATIONS = {
    "violations": [
        {
            "type": "pii_detected",
            "message": "The content has an e-mail address.",
            "severity": 0.8,
            "metadata": {"pii_type": "email"},
            "location": (4, 20),
        }
    ],
    "violation_count": 1,
    "violations_truncated": False,
}

GOLDEN = {
    "stream.chunk_dropped": {"queue_size": 1, "max_size": 2, "reason": "overflow"},
    "stream.producer_blocked": {"blocked_ms": 12.5, "queue_size": 2},
    "stream.throttle_started": {"queue_size": 8, "max_size": 10, "fill_percentage": 80.0},
    "stream.throttle_ended": {"queue_size": 2, "max_size": 10, "fill_percentage": 20.0},
    "stream.queue_closed": {"queue_size": 0, "max_size": 2} | STATS,
    "stream.interrupted": {"streams": ["audio", "tokens"], "reason": "barge-in", "dropped": 4},
    "stream.finished": {
        "stream": "tokens",
        "producer": "model",
        "consumer": "voice",
        "outcome": "completed",
        "accepted": 12,
        "received": 10,
        "dropped": 2,
    },
    "stream.buffer_overflow": {
        "bytes_dropped": 1600,
        "buffer_duration_ms": 160.0,
        "max_duration_ms": 200,
    },
    "stream.buffer_underrun": READ,
    "stream.buffer_recovered": READ,
    "analytics.overflow": {"dropped": -1, "buffer_size": 8000},
    "guardrail.violations_detected": {"check": "PIIDetector"} | VIOLATIONS,
    "guardrail.fail_open": {
        "stage": "guard",
        "fail_on_violation": False,
        "content_truncated": False,
    }
    | VIOLATIONS,
    "memory.truncated": {
        "session_id": "00000000-0000-4000-8000-000000000001",
        "kept": 20,
        "left_out": 3,
        "max_entries": 20,
        "max_tokens": None,
    },
}


def test_every_event_of_the_helpers_has_a_golden_payload():
    assert set(GOLDEN) == set(HELPER_EVENTS)


@pytest.mark.parametrize("event_type", sorted(GOLDEN))
def test_the_golden_payload_fits_its_schema_and_fits_it_closely(event_type):
    payload = GOLDEN[event_type]
    assert HELPER_EVENTS.faults(event_type, payload) == ()
    for key in payload:
        without = {name: value for name, value in payload.items() if name != key}
        assert HELPER_EVENTS.faults(event_type, without)
    assert HELPER_EVENTS.faults(event_type, {**payload, "surprise": 1})


def test_the_helpers_events_are_not_cores():
    assert not set(HELPER_EVENTS) & set(EVENTS)


def test_the_reference_of_every_event_can_be_printed():
    page = HELPER_EVENTS.to_markdown()
    for event_type in HELPER_EVENTS:
        assert f"## {event_type}\n" in page


class Told:
    def __init__(self):
        self.events = []

    async def emit(self, *, type, data):
        raise AssertionError("nobody waits")

    def try_emit(self, *, type, data):
        self.events.append((type, data))


@pytest.mark.anyio
async def test_helpers_wired_to_a_context_tell_its_sink_events_that_fit():
    told, exported = Told(), Told()
    ctx = PipelineContext(event_sink=told, topology="voice")
    queue = ChunkQueue(1, drop_on_overflow=True, event_emitter=ctx.try_emit_event)
    buffer = StreamingBuffer(max_duration_ms=200, event_emitter=ctx.try_emit_event)
    exporter = BufferedExporter(
        sink=exported,
        max_buffer_size=1,
        on_overflow=lambda dropped, size: ctx.try_emit_event(
            "analytics.overflow", {"dropped": dropped, "buffer_size": size}
        ),
        high_water_mark=0.8,
    )
    await queue.put(1)
    await queue.put(2)
    await queue.get()
    await queue.close()
    buffer.add_chunk(AudioChunk(bytes(10_000)))
    buffer.read(1000)
    buffer.add_chunk(AudioChunk(bytes(1000)))
    buffer.read(10)
    await exporter.export(AnalyticsEvent("x"))
    await checkpoint()
    seen = {event_type for event_type, _ in told.events}
    assert seen == {
        "stream.throttle_started",
        "stream.throttle_ended",
        "stream.chunk_dropped",
        "stream.queue_closed",
        "stream.buffer_overflow",
        "stream.buffer_underrun",
        "stream.buffer_recovered",
        "analytics.overflow",
    }
    for event_type, data in told.events:
        assert HELPER_EVENTS.faults(event_type, data) == ()
    exported.emit = lambda **_: checkpoint()
    await exporter.close()
