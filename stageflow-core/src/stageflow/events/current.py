"""The current event sink: the one that a run uses when it is given none."""

from __future__ import annotations

from contextvars import ContextVar

from stageflow.contracts.event_sink import EventSink
from stageflow.events.sinks import NoOpEventSink

__all__ = ("clear_event_sink", "get_event_sink", "set_event_sink")

_current: ContextVar[EventSink | None] = ContextVar("stageflow_event_sink", default=None)


def set_event_sink(sink: EventSink) -> None:
    """Make *sink* the current one, in this context and in tasks started from it."""
    _current.set(sink)


def clear_event_sink() -> None:
    """Have no current sink in this context."""
    _current.set(None)


def get_event_sink() -> EventSink:
    """Return the current sink, or a new one that drops everything if there is none."""
    sink = _current.get()
    return NoOpEventSink() if sink is None else sink
