"""Moving audio and other chunks between tasks: bounded, accounted for, observable."""

from __future__ import annotations

from stageflow.helpers.streaming.audio import (
    AudioChunk,
    AudioFormat,
    calculate_audio_duration_ms,
    encode_audio_for_logging,
)
from stageflow.helpers.streaming.backpressure import BackpressureMonitor, BackpressureStats
from stageflow.helpers.streaming.buffer import StreamingBuffer
from stageflow.helpers.streaming.collect import CollectedStream, collect_stream
from stageflow.helpers.streaming.queue import ChunkQueue

__all__ = (
    "AudioChunk",
    "AudioFormat",
    "BackpressureMonitor",
    "BackpressureStats",
    "ChunkQueue",
    "CollectedStream",
    "StreamingBuffer",
    "calculate_audio_duration_ms",
    "collect_stream",
    "encode_audio_for_logging",
)
