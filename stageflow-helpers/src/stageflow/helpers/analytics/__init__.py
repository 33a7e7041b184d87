"""Analytics: events of a run as records, and where they are exported to."""

from __future__ import annotations

from stageflow.helpers.analytics.buffered import BufferedExporter
from stageflow.helpers.analytics.event import AnalyticsEvent
from stageflow.helpers.analytics.exporters import (
    AnalyticsExporter,
    CompositeExporter,
    ConsoleExporter,
    JSONFileExporter,
)
from stageflow.helpers.analytics.sinks import AnalyticsSink, EventSinkExporter

__all__ = (
    "AnalyticsEvent",
    "AnalyticsExporter",
    "AnalyticsSink",
    "BufferedExporter",
    "CompositeExporter",
    "ConsoleExporter",
    "EventSinkExporter",
    "JSONFileExporter",
)
