"""Moving audio and other chunks between tasks: bounded, accounted for, observable.

Between tasks of one's own with `ChunkQueue`, between stages with `Stream` and `StreamingGraph`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stageflow.helpers.streaming.audio import (
    AudioChunk,
    AudioFormat,
    calculate_audio_duration_ms,
    encode_audio_for_logging,
)
from stageflow.helpers.streaming.backpressure import BackpressureMonitor, BackpressureStats
from stageflow.helpers.streaming.buffer import StreamingBuffer
from stageflow.helpers.streaming.collect import CollectedStream, collect_stream
from stageflow.helpers.streaming.errors import (
    StreamBrokenError,
    StreamNotLinkedError,
    StreamUseError,
)
from stageflow.helpers.streaming.queue import ChunkQueue
from stageflow.helpers.streaming.stream import Stream, StreamLink, StreamReader, StreamWriter

if TYPE_CHECKING:
    from stageflow.helpers.streaming.graph import StreamingGraph, StreamWiringError

__all__ = (
    "AudioChunk",
    "AudioFormat",
    "BackpressureMonitor",
    "BackpressureStats",
    "ChunkQueue",
    "CollectedStream",
    "Stream",
    "StreamBrokenError",
    "StreamLink",
    "StreamNotLinkedError",
    "StreamReader",
    "StreamUseError",
    "StreamWiringError",
    "StreamWriter",
    "StreamingBuffer",
    "StreamingGraph",
    "calculate_audio_duration_ms",
    "collect_stream",
    "encode_audio_for_logging",
)

_OF_GRAPHS = frozenset({"StreamWiringError", "StreamingGraph"})


def __getattr__(name: str) -> Any:
    # Who moves chunks between tasks of their own does not pay for importing the engine.
    if name not in _OF_GRAPHS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from stageflow.helpers.streaming import graph

    return getattr(graph, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
