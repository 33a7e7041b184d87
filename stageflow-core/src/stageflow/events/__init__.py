"""Events: what happens in a run, and the sinks that are told."""

from stageflow.contracts.event_sink import EventSink, EventSinkError
from stageflow.events.backpressure import BackpressureAwareEventSink
from stageflow.events.backpressure_metrics import BackpressureMetrics
from stageflow.events.current import clear_event_sink, get_event_sink, set_event_sink
from stageflow.events.delivery import (
    PendingEmit,
    deliver,
    event_collector,
    lost_events,
    wait_for_event_sink_tasks,
)
from stageflow.events.sinks import LoggingEventSink, NoOpEventSink

__all__ = (
    "BackpressureAwareEventSink",
    "BackpressureMetrics",
    "EventSink",
    "EventSinkError",
    "LoggingEventSink",
    "NoOpEventSink",
    "PendingEmit",
    "clear_event_sink",
    "deliver",
    "event_collector",
    "get_event_sink",
    "lost_events",
    "set_event_sink",
    "wait_for_event_sink_tasks",
)
