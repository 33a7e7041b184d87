"""Core's event sinks as they are configured: settings, and who makes a sink of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import attrs

from stageflow.builtin._configured import configured_by
from stageflow.events.sinks import LoggingEventSink

if TYPE_CHECKING:
    from stageflow.builtin.jsonl_event_sink import JsonlEventSink
    from stageflow.builtin.sqlite_event_sink import SqliteEventSink

__all__ = (
    "JsonlSettings",
    "LoggingSettings",
    "SqliteSettings",
    "make_jsonl_sink",
    "make_logging_sink",
    "make_sqlite_sink",
)


@attrs.frozen(kw_only=True)
class LoggingSettings:
    """How events are logged.

    Attributes:
        level: Level of the log records.
    """

    level: Literal["debug", "info", "warning", "error", "critical"] = "info"


@attrs.frozen(kw_only=True)
class _BufferSettings:
    """What sinks with a buffer have in common.

    Attributes:
        max_buffer: How many events may wait to be written.
        flush_interval: How long an event waits for others, in seconds.
        strict: Whether a file that cannot be written is an error, not just a loss of events.
    """

    max_buffer: int = attrs.field(default=10_000, validator=attrs.validators.ge(1))
    flush_interval: float = attrs.field(default=0.2, validator=attrs.validators.ge(0))
    strict: bool = False


@attrs.frozen(kw_only=True)
class JsonlSettings(_BufferSettings):
    """Where lines of JSON go, and when.

    Attributes:
        path: The file.
        flush_every: With so many events waiting, they are written at once.
    """

    path: Path
    flush_every: int = attrs.field(default=256, validator=attrs.validators.ge(1))


@attrs.frozen(kw_only=True)
class SqliteSettings(_BufferSettings):
    """Where rows go, and when.

    Attributes:
        path: The file.
        batch_size: How many events are written in one transaction.
    """

    path: Path
    batch_size: int = attrs.field(default=256, validator=attrs.validators.ge(1))


@configured_by(LoggingSettings)
def make_logging_sink(settings: LoggingSettings) -> LoggingEventSink:
    """Return a sink that logs events."""
    return LoggingEventSink(level=settings.level)


@configured_by(JsonlSettings)
def make_jsonl_sink(settings: JsonlSettings) -> JsonlEventSink:
    """Return a sink that appends events to a file."""
    from stageflow.builtin.jsonl_event_sink import JsonlEventSink

    return JsonlEventSink(**attrs.asdict(settings))


@configured_by(SqliteSettings)
def make_sqlite_sink(settings: SqliteSettings) -> SqliteEventSink:
    """Return a sink that keeps events in a SQLite file."""
    from stageflow.builtin.sqlite_event_sink import SqliteEventSink

    return SqliteEventSink(**attrs.asdict(settings))
