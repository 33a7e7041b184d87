"""StreamingBuffer: bounded, in steps of 50 ms, with underrun and recovery told once each."""

from __future__ import annotations

import logging

import pytest

from stageflow.helpers.errors import AudioFormatError, HelperSettingError
from stageflow.helpers.events import HELPER_EVENTS
from stageflow.helpers.streaming import AudioChunk, AudioFormat, StreamingBuffer

MS = 32  # bytes of a millisecond: 16 kHz, 16 bit, mono


class Recorder:
    def __init__(self):
        self.events = []

    def __call__(self, event_type, data):
        assert HELPER_EVENTS.faults(event_type, data) == ()
        self.events.append((event_type, data))


def audio(duration_ms, value=0):
    return AudioChunk(bytes([value]) * int(duration_ms * MS))


def test_duration_and_readiness_follow_what_is_buffered():
    buffer = StreamingBuffer(target_duration_ms=100)
    buffer.add_chunk(audio(99))
    assert (buffer.duration_ms, buffer.is_ready()) == (99.0, False)
    buffer.add_chunk(audio(1))
    assert (buffer.duration_ms, buffer.is_ready()) == (100.0, True)


def test_read_takes_the_oldest_audio():
    buffer = StreamingBuffer()
    buffer.add_chunk(audio(20, 1))
    buffer.add_chunk(audio(20, 2))
    assert buffer.read(20) == bytes([1]) * 20 * MS
    assert buffer.read() == bytes([2]) * 20 * MS  # 20 ms unless told


def test_read_may_return_less_than_was_asked_for():
    buffer = StreamingBuffer()
    buffer.add_chunk(audio(5))
    assert len(buffer.read(20)) == 5 * MS
    assert buffer.read(20) == b""


def test_overflow_drops_the_oldest_in_steps_of_fifty_milliseconds():
    recorder = Recorder()
    buffer = StreamingBuffer(target_duration_ms=0, max_duration_ms=200, event_emitter=recorder)
    buffer.add_chunk(audio(200, 1))
    buffer.add_chunk(audio(10, 2))
    assert buffer.stats["total_dropped"] == 50 * MS
    assert buffer.duration_ms == 160.0
    buffer.add_chunk(audio(91, 3))
    assert buffer.stats["total_dropped"] == 150 * MS
    assert buffer.duration_ms == 151.0
    assert recorder.events == [
        (
            "stream.buffer_overflow",
            {"bytes_dropped": 50 * MS, "buffer_duration_ms": 160.0, "max_duration_ms": 200},
        ),
        (
            "stream.buffer_overflow",
            {"bytes_dropped": 100 * MS, "buffer_duration_ms": 151.0, "max_duration_ms": 200},
        ),
    ]


def test_overflow_drops_no_new_audio_while_there_is_old_audio_to_drop():
    buffer = StreamingBuffer(target_duration_ms=0, max_duration_ms=100)
    buffer.add_chunk(audio(20, 1))
    buffer.add_chunk(audio(90, 2))
    assert buffer.stats["total_dropped"] == 20 * MS
    assert buffer.read(1000) == bytes([2]) * 90 * MS


def test_bug033_the_bound_is_hard_for_a_chunk_that_alone_is_too_long():
    buffer = StreamingBuffer(target_duration_ms=0, max_duration_ms=100)
    buffer.add_chunk(audio(30, 1))
    buffer.add_chunk(AudioChunk(bytes(range(256)) * 20))  # 160 ms
    assert buffer.duration_ms == 60.0  # two steps of 50 ms off its beginning
    assert buffer.stats["total_dropped"] == 30 * MS + 100 * MS
    assert (bytes(range(256)) * 20).endswith(buffer.read(1000))


def test_underrun_and_recovery_are_emitted_on_the_transitions_only():
    recorder = Recorder()
    buffer = StreamingBuffer(event_emitter=recorder)
    buffer.add_chunk(audio(20))
    buffer.read(20)
    buffer.read(20)
    assert buffer.stats["underrun_active"]
    buffer.read(20)
    buffer.add_chunk(audio(60))
    assert buffer.stats["underrun_active"]
    buffer.read(20)
    buffer.read(20)
    assert not buffer.stats["underrun_active"]
    assert recorder.events == [
        (
            "stream.buffer_underrun",
            {"requested_ms": 20, "read_ms": 0.0, "buffer_duration_ms": 0.0},
        ),
        (
            "stream.buffer_recovered",
            {"requested_ms": 20, "read_ms": 20.0, "buffer_duration_ms": 40.0},
        ),
    ]


def test_stats_tell_the_level_and_the_totals():
    buffer = StreamingBuffer(target_duration_ms=10, max_duration_ms=50)
    buffer.add_chunk(audio(60))
    buffer.read(4)
    assert buffer.stats == {
        "duration_ms": 6.0,
        "bytes_buffered": 6 * MS,
        "total_received": 60 * MS,
        "total_read": 4 * MS,
        "total_dropped": 50 * MS,
        "is_ready": False,
        "underrun_active": False,
    }


def test_clear_drops_and_counts_everything():
    buffer = StreamingBuffer()
    buffer.add_chunk(audio(60))
    buffer.clear()
    assert buffer.duration_ms == 0.0
    assert buffer.stats["total_dropped"] == 60 * MS


def test_an_emitter_that_raises_stops_nothing_and_is_logged(caplog):
    def broken(event_type, data):
        raise RuntimeError("no listener")

    buffer = StreamingBuffer(max_duration_ms=200, event_emitter=broken)
    with caplog.at_level(logging.ERROR):
        buffer.add_chunk(audio(300))
        buffer.read(1000)
    assert "stream.buffer_overflow" in caplog.text
    assert "stream.buffer_underrun" in caplog.text


@pytest.mark.parametrize(
    "chunk",
    [
        AudioChunk(b"", sample_rate=8000),
        AudioChunk(b"", channels=2),
        AudioChunk(b"", format=AudioFormat.FLOAT_32),
    ],
)
def test_a_chunk_that_would_play_at_the_wrong_speed_is_refused(chunk):
    buffer = StreamingBuffer()
    with pytest.raises(AudioFormatError):
        buffer.add_chunk(chunk)
    assert buffer.stats["total_received"] == 0


@pytest.mark.parametrize(
    "settings",
    [
        {"sample_rate": 0},
        {"channels": 0},
        {"max_duration_ms": 0, "target_duration_ms": 0},
        {"target_duration_ms": 300, "max_duration_ms": 200},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(HelperSettingError):
        StreamingBuffer(**settings)
