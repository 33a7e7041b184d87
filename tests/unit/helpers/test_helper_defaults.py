"""What each helper does when it is told nothing, in one table."""

from __future__ import annotations

import inspect

import pytest

from stageflow import Pipeline, helpers
from stageflow.helpers.errors import AudioFormatError, HelperSettingError
from stageflow.helpers.guardrails import GuardrailContentError

NOTHING = inspect.Parameter.empty

DEFAULTS = {
    "AnalyticsEvent": {"pipeline_run_id": None, "stage_name": None, "duration_ms": None},
    "JSONFileExporter": {"append": True},
    "ConsoleExporter": {"colorize": True, "verbose": False},
    "BufferedExporter": {
        "batch_size": 100,
        "flush_interval_seconds": 10.0,
        "max_buffer_size": 10_000,
        "on_overflow": None,
        "high_water_mark": 0.8,
    },
    "AnalyticsSink": {"exporter": NOTHING, "include_patterns": None, "exclude_patterns": None},
    "AudioChunk": {
        "data": NOTHING,
        "sample_rate": 16_000,
        "channels": 1,
        "format": helpers.AudioFormat.PCM_16,
    },
    "BackpressureMonitor": {"high_water_mark": 80, "low_water_mark": 20},
    "ChunkQueue": {"max_size": 100, "drop_on_overflow": False, "event_emitter": None},
    "StreamingBuffer": {
        "target_duration_ms": 200,
        "max_duration_ms": 2000,
        "sample_rate": 16_000,
        "channels": 1,
        "event_emitter": None,
    },
    "Stream": {"name": NOTHING, "max_size": 100, "drop_on_overflow": False},
    "encode_audio_for_logging": {"max_bytes": 100},
    "calculate_audio_duration_ms": {"sample_rate": 16_000, "channels": 1, "bytes_per_sample": 2},
    "PIIDetector": {"redact": False, "redaction_char": "*", "detect_types": None},
    "ContentFilter": {
        "block_profanity": True,
        "profanity_list": None,
        "blocked_patterns": None,
        "max_severity": 0.3,
    },
    "InjectionDetector": {"additional_patterns": None},
    "ContentLengthCheck": {"max_chars": 0, "max_tokens": 0, "min_chars": 0},
    "GuardrailConfig": {
        "fail_on_violation": True,
        "transform_content": True,
        "log_violations": True,
        "violation_threshold": 0.0,
    },
    "GuardrailStage": {"checks": NOTHING, "config": None, "content_key": None},
    "MemoryConfig": {
        "max_entries": 20,
        "max_tokens": 4000,
        "include_system": True,
        "recency_window_seconds": 0,
    },
    "MemoryWindow": {"left_out": 0},
    "MemoryWriteStage": {"response_stage": "llm", "response_key": "response"},
    "MockLLMProvider": {"responses": None, "patterns": None, "echo": False, "latency_ms": 0},
    "MockSTTProvider": {"transcriptions": None, "simulate_confidence": True},
    "MockAuthProvider": {
        "valid_tokens": None,
        "default_claims": None,
        "accept_any": False,
        "fail_rate": 0.0,
    },
    "MockToolExecutor": {"tools": None, "default_output": None, "latency_ms": 10},
    "MemoryTracker": {"auto_start": True},
    "track_memory": {"label": None, "tracker": None},
    "PipelineRunner": {
        "verbose": True,
        "colorize": True,
        "capture_events": True,
        "enable_uuid_monitor": False,
        "enable_memory_tracker": False,
    },
    "ObservableEventSink": {"verbose": True, "colorize": True, "capture": True},
    "RunResult": {"duration_ms": 0.0, "error": None, "error_type": None, "pipeline_run_id": None},
    "LLMResponse": {
        "content": NOTHING,
        "model": NOTHING,
        "provider": NOTHING,
        "input_tokens": 0,
        "output_tokens": 0,
        "latency_ms": 0.0,
        "finish_reason": None,
        "cached_tokens": 0,
        "raw_response": None,
    },
    "STTResponse": {
        "text": NOTHING,
        "confidence": 1.0,
        "duration_ms": 0.0,
        "language": "en",
        "provider": "",
        "model": "",
        "latency_ms": 0.0,
        "is_final": True,
        "raw_response": None,
    },
    "TTSResponse": {
        "audio": NOTHING,
        "duration_ms": 0.0,
        "sample_rate": 16_000,
        "format": "pcm_16",
        "provider": "",
        "model": "",
        "latency_ms": 0.0,
        "channels": 1,
        "characters_processed": 0,
        "raw_response": None,
    },
}


@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_a_helper_has_the_defaults_it_promises(name):
    parameters = inspect.signature(getattr(helpers, name)).parameters
    found = {key: parameters[key].default for key in DEFAULTS[name]}
    assert found == DEFAULTS[name]


def test_methods_have_them_as_well():
    def default(function, parameter):
        return inspect.signature(function).parameters[parameter].default

    assert default(helpers.BackpressureMonitor.record_put, "max_size") == 100
    assert default(helpers.StreamingBuffer.read, "duration_ms") == 20
    assert default(helpers.MockLLMProvider.stream, "chunk_size") == 5
    assert default(helpers.MockTTSProvider.stream, "chunk_duration_ms") == 100
    assert default(helpers.PipelineRunner.create_snapshot, "execution_mode") == "practice"


def test_the_least_and_the_most_that_are_allowed_are_allowed():
    assert helpers.Stream("x", 1).max_size == 1
    assert helpers.ChunkQueue(1).max_size == 1
    monitor = helpers.BackpressureMonitor(high_water_mark=100, low_water_mark=100)
    monitor.record_put(1, 1)
    assert monitor.should_throttle()
    assert helpers.BackpressureMonitor(high_water_mark=0, low_water_mark=0).fill_percentage == 0


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: helpers.GuardrailStage([]), "one detector or more"),
        (lambda: helpers.GuardrailStage(helpers.PIIDetector()), "a list of detectors"),
        (lambda: helpers.GuardrailStage([helpers.PIIDetector]), "one detector or more"),
        (lambda: helpers.AnalyticsSink("events.jsonl"), "an exporter"),
        (
            lambda: helpers.AnalyticsSink(helpers.ConsoleExporter(), include_patterns="stage."),
            "several texts",
        ),
        (
            lambda: helpers.AnalyticsSink(helpers.ConsoleExporter(), exclude_patterns="stage."),
            "several texts",
        ),
        (lambda: helpers.MockLLMProvider(responses="Yes."), "several texts"),
        (lambda: helpers.MockSTTProvider(transcriptions="Yes."), "several texts"),
        (lambda: helpers.MemoryConfig(max_entries=-1), "at least 0"),
        (lambda: helpers.MemoryConfig(max_tokens="many"), "at least 0"),
        (lambda: helpers.ChunkQueue("3"), "a whole number, at least 1"),
        (lambda: helpers.ChunkQueue(1.5), "a whole number, at least 1"),
        (lambda: helpers.ChunkQueue(True), "a whole number, at least 1"),
        (lambda: helpers.StreamingBuffer(sample_rate="16000"), "a whole number, at least 1"),
        (lambda: helpers.BufferedExporter(helpers.ConsoleExporter(), batch_size="9"), "a whole"),
        (lambda: helpers.BufferedExporter(helpers.ConsoleExporter(), high_water_mark=-1), "share"),
        (lambda: helpers.GuardrailConfig(max_chars="9"), "a whole number, at least 1"),
        (lambda: helpers.GuardrailStage([helpers.PIIDetector()], {}), "a GuardrailConfig"),
        (lambda: helpers.GuardrailStage([helpers.PIIDetector()], content_key=""), "not empty"),
        (lambda: helpers.GuardrailStage([helpers.PIIDetector()], content_key=5), "a text"),
        (lambda: helpers.ContentLengthCheck(max_chars="9"), "a whole number, at least 0"),
        (lambda: helpers.ContentLengthCheck(max_chars=5, min_chars=6), "no more than max_chars"),
        (lambda: helpers.PIIDetector(redaction_char="##"), "one character"),
        (lambda: helpers.PIIDetector(redaction_char=None), "one character"),
        (lambda: helpers.PIIDetector(detect_types="email"), "several kinds"),
        (lambda: helpers.UuidCollisionMonitor(max_entries="9"), "a whole number, at least 1"),
        (lambda: helpers.MockTTSProvider(sample_rate="9"), "a whole number, at least 1"),
        (lambda: helpers.StreamingGraph(Pipeline(), None), "a list of links"),
    ],
    ids=map(str, range(28)),
)
def test_what_cannot_be_meant_is_refused_where_it_is_given(build, says):
    with pytest.raises(HelperSettingError, match=says):
        build()


@pytest.mark.parametrize(
    "detector",
    [
        helpers.PIIDetector(),
        helpers.ContentFilter(blocked_patterns=["x"]),
        helpers.InjectionDetector(additional_patterns=["x"]),
        helpers.ContentLengthCheck(max_chars=9),
    ],
    ids=lambda detector: type(detector).__name__,
)
@pytest.mark.parametrize("content", [None, b"bob@example.com", 5])
def test_a_detector_lets_nothing_pass_that_it_cannot_read(detector, content):
    with pytest.raises(GuardrailContentError, match="A guardrail checks text"):
        detector.check(content)


@pytest.mark.parametrize(
    "facts",
    [
        {"data": "text"},
        {"data": b"", "sample_rate": 0},
        {"data": b"", "channels": 0},
        {"data": b"", "format": "mp3"},
    ],
)
def test_a_chunk_that_could_not_be_played_is_refused_where_it_is_made(facts):
    with pytest.raises(AudioFormatError):
        helpers.AudioChunk(**facts)


def test_a_format_may_be_given_by_its_name():
    assert helpers.AudioChunk(bytes(8), format="float_32").duration_ms == 0.125
