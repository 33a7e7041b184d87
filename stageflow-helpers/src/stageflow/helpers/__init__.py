"""Helpers around a run: analytics, streaming, guardrails, memory and more, each usable alone.

A name is imported with its module when it is first asked for, so importing this package costs next
to nothing. The conformance kit of memory stores is in `stageflow.helpers.testing`; it needs pytest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stageflow.helpers.analytics import (
        AnalyticsEvent,
        AnalyticsExporter,
        AnalyticsSink,
        BufferedExporter,
        CompositeExporter,
        ConsoleExporter,
        EventSinkExporter,
        JSONFileExporter,
    )
    from stageflow.helpers.errors import (
        AudioFormatError,
        ExporterClosedError,
        ExportError,
        HelperSettingError,
        MemoryStoreError,
        MockAuthError,
        MockFailureError,
        StreamItemError,
        TimestampError,
        TimestampTypeError,
        TrackerInactiveError,
    )
    from stageflow.helpers.events import (
        HELPER_EVENTS,
    )
    from stageflow.helpers.guardrails import (
        DEFAULT_PROFANITY,
        ContentFilter,
        ContentLengthCheck,
        GuardrailConfig,
        GuardrailContentError,
        GuardrailDetector,
        GuardrailPatternError,
        GuardrailResult,
        GuardrailStage,
        InjectionDetector,
        PIIDetector,
        PolicyViolation,
        ViolationType,
    )
    from stageflow.helpers.memory import (
        InMemoryStore,
        MemoryConfig,
        MemoryEntry,
        MemoryFetchStage,
        MemoryStore,
        MemoryWindow,
        MemoryWriteStage,
        SqliteMemoryStore,
        keep_newest,
    )
    from stageflow.helpers.memory_tracker import (
        MemorySample,
        MemoryTracker,
        track_memory,
    )
    from stageflow.helpers.mocks import (
        MockAudioChunk,
        MockAuthProvider,
        MockJWTClaims,
        MockLLMProvider,
        MockLLMResponse,
        MockSTTProvider,
        MockToolExecutor,
        MockToolResult,
        MockTTSProvider,
    )
    from stageflow.helpers.providers import (
        LLMResponse,
        STTResponse,
        TTSResponse,
    )
    from stageflow.helpers.run_utils import (
        ObservableEventSink,
        PipelineRunner,
        RunResult,
    )
    from stageflow.helpers.streaming import (
        AudioChunk,
        AudioFormat,
        BackpressureMonitor,
        BackpressureStats,
        ChunkQueue,
        CollectedStream,
        Stream,
        StreamBrokenError,
        StreamingBuffer,
        StreamingGraph,
        StreamLink,
        StreamNotLinkedError,
        StreamReader,
        StreamUseError,
        StreamWiringError,
        StreamWriter,
        calculate_audio_duration_ms,
        collect_stream,
        encode_audio_for_logging,
    )
    from stageflow.helpers.timestamps import (
        detect_unix_precision,
        normalize_to_utc,
        parse_timestamp,
    )
    from stageflow.helpers.tokens import (
        TokenCounter,
        approximate_tokens,
    )
    from stageflow.helpers.uuid_utils import (
        ClockSkewDetector,
        UuidCollisionMonitor,
        UuidEvent,
        generate_uuid7,
    )

__all__ = (
    "DEFAULT_PROFANITY",
    "HELPER_EVENTS",
    "AnalyticsEvent",
    "AnalyticsExporter",
    "AnalyticsSink",
    "AudioChunk",
    "AudioFormat",
    "AudioFormatError",
    "BackpressureMonitor",
    "BackpressureStats",
    "BufferedExporter",
    "ChunkQueue",
    "ClockSkewDetector",
    "CollectedStream",
    "CompositeExporter",
    "ConsoleExporter",
    "ContentFilter",
    "ContentLengthCheck",
    "EventSinkExporter",
    "ExportError",
    "ExporterClosedError",
    "GuardrailConfig",
    "GuardrailContentError",
    "GuardrailDetector",
    "GuardrailPatternError",
    "GuardrailResult",
    "GuardrailStage",
    "HelperSettingError",
    "InMemoryStore",
    "InjectionDetector",
    "JSONFileExporter",
    "LLMResponse",
    "MemoryConfig",
    "MemoryEntry",
    "MemoryFetchStage",
    "MemorySample",
    "MemoryStore",
    "MemoryStoreError",
    "MemoryTracker",
    "MemoryWindow",
    "MemoryWriteStage",
    "MockAudioChunk",
    "MockAuthError",
    "MockAuthProvider",
    "MockFailureError",
    "MockJWTClaims",
    "MockLLMProvider",
    "MockLLMResponse",
    "MockSTTProvider",
    "MockTTSProvider",
    "MockToolExecutor",
    "MockToolResult",
    "ObservableEventSink",
    "PIIDetector",
    "PipelineRunner",
    "PolicyViolation",
    "RunResult",
    "STTResponse",
    "SqliteMemoryStore",
    "Stream",
    "StreamBrokenError",
    "StreamItemError",
    "StreamLink",
    "StreamNotLinkedError",
    "StreamReader",
    "StreamUseError",
    "StreamWiringError",
    "StreamWriter",
    "StreamingBuffer",
    "StreamingGraph",
    "TTSResponse",
    "TimestampError",
    "TimestampTypeError",
    "TokenCounter",
    "TrackerInactiveError",
    "UuidCollisionMonitor",
    "UuidEvent",
    "ViolationType",
    "approximate_tokens",
    "calculate_audio_duration_ms",
    "collect_stream",
    "detect_unix_precision",
    "encode_audio_for_logging",
    "generate_uuid7",
    "keep_newest",
    "normalize_to_utc",
    "parse_timestamp",
    "track_memory",
)

_NAMES_BY_MODULE = {
    "analytics": (
        "AnalyticsEvent",
        "AnalyticsExporter",
        "AnalyticsSink",
        "BufferedExporter",
        "CompositeExporter",
        "ConsoleExporter",
        "EventSinkExporter",
        "JSONFileExporter",
    ),
    "errors": (
        "AudioFormatError",
        "ExportError",
        "ExporterClosedError",
        "HelperSettingError",
        "MemoryStoreError",
        "MockAuthError",
        "MockFailureError",
        "StreamItemError",
        "TimestampError",
        "TimestampTypeError",
        "TrackerInactiveError",
    ),
    "events": ("HELPER_EVENTS",),
    "guardrails": (
        "DEFAULT_PROFANITY",
        "ContentFilter",
        "ContentLengthCheck",
        "GuardrailConfig",
        "GuardrailContentError",
        "GuardrailDetector",
        "GuardrailPatternError",
        "GuardrailResult",
        "GuardrailStage",
        "InjectionDetector",
        "PIIDetector",
        "PolicyViolation",
        "ViolationType",
    ),
    "memory": (
        "InMemoryStore",
        "MemoryConfig",
        "MemoryEntry",
        "MemoryFetchStage",
        "MemoryStore",
        "MemoryWindow",
        "MemoryWriteStage",
        "SqliteMemoryStore",
        "keep_newest",
    ),
    "memory_tracker": (
        "MemorySample",
        "MemoryTracker",
        "track_memory",
    ),
    "mocks": (
        "MockAudioChunk",
        "MockAuthProvider",
        "MockJWTClaims",
        "MockLLMProvider",
        "MockLLMResponse",
        "MockSTTProvider",
        "MockTTSProvider",
        "MockToolExecutor",
        "MockToolResult",
    ),
    "providers": (
        "LLMResponse",
        "STTResponse",
        "TTSResponse",
    ),
    "run_utils": (
        "ObservableEventSink",
        "PipelineRunner",
        "RunResult",
    ),
    "streaming": (
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
    ),
    "timestamps": (
        "detect_unix_precision",
        "normalize_to_utc",
        "parse_timestamp",
    ),
    "tokens": (
        "TokenCounter",
        "approximate_tokens",
    ),
    "uuid_utils": (
        "ClockSkewDetector",
        "UuidCollisionMonitor",
        "UuidEvent",
        "generate_uuid7",
    ),
}
_MODULES = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, *(name for name in globals() if name.startswith("__"))]
