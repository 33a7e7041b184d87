"""Between events and analytics: an event sink that exports, and an exporter that emits."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, Self

from stageflow.contracts.clock import Clock, SystemClock
from stageflow.contracts.event_sink import EventSink
from stageflow.events import wait_for_event_sink_tasks
from stageflow.helpers.analytics.event import AnalyticsEvent
from stageflow.helpers.analytics.exporters import AnalyticsExporter
from stageflow.helpers.errors import HelperSettingError

__all__ = ("AnalyticsSink", "EventSinkExporter")


class AnalyticsSink(EventSink):
    """An event sink that turns events into analytics events and exports them.

    `aclose`, or leaving `async with sink`, exports what was accepted and closes the exporter.

    Args:
        exporter: Where the events go.
        include_patterns: If given, only events whose type contains one of these texts.
        exclude_patterns: No events whose type contains one of these; decides first.
        clock: Source of the time.
    """

    def __init__(
        self,
        exporter: AnalyticsExporter,
        *,
        include_patterns: Iterable[str] | None = None,
        exclude_patterns: Iterable[str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        if not isinstance(exporter, AnalyticsExporter):
            raise HelperSettingError(
                "AnalyticsSink",
                "exporter",
                exporter,
                rule="an exporter (export, export_batch, flush, close)",
            )
        for name, value in (
            ("include_patterns", include_patterns),
            ("exclude_patterns", exclude_patterns),
        ):
            if isinstance(value, str):
                raise HelperSettingError(
                    "AnalyticsSink", name, value, rule="several texts, such as a list"
                )
        self.exporter = exporter
        self._include = tuple(include_patterns) if include_patterns is not None else None
        self._exclude = tuple(exclude_patterns or ())
        self._clock = clock or SystemClock()

    async def emit(self, *, type: str, data: dict[str, Any] | None) -> None:
        """Export the event, if it passes the patterns."""
        if self._wants(type):
            await self.exporter.export(self._convert(type, data))

    def try_emit(
        self, *, type: str, data: dict[str, Any] | None
    ) -> Awaitable[object] | bool | None:
        """Have the event exported by the run under way, or else by a task of the event loop."""
        if not self._wants(type):
            return None
        return super().try_emit(type=type, data=data)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Export what was accepted and close the exporter."""
        try:
            await wait_for_event_sink_tasks()
        finally:
            await self.exporter.close()

    def _wants(self, event_type: str) -> bool:
        event_type = str(event_type)  # whoever emits the wrong thing is not told so by an error
        if any(pattern in event_type for pattern in self._exclude):
            return False
        return self._include is None or any(pattern in event_type for pattern in self._include)

    def _convert(self, event_type: str, data: dict[str, Any] | None) -> AnalyticsEvent:
        facts = data or {}
        return AnalyticsEvent(
            event_type=event_type,
            timestamp=self._clock.now(),
            data=facts,
            pipeline_run_id=facts.get("pipeline_run_id"),
            stage_name=facts.get("stage"),
            duration_ms=facts.get("duration_ms"),
        )


class EventSinkExporter:
    """An exporter that emits each event to an event sink.

    The sink gets the event's type and data, with the run, the stage and the duration under
    `pipeline_run_id`, `stage` and `duration_ms` unless the data has those keys.
    """

    def __init__(self, sink: EventSink) -> None:
        self.sink = sink

    async def export(self, event: AnalyticsEvent) -> None:
        """Emit one event."""
        facts = {
            "pipeline_run_id": event.pipeline_run_id and str(event.pipeline_run_id),
            "stage": event.stage_name,
            "duration_ms": event.duration_ms,
        }
        known = {key: value for key, value in facts.items() if value is not None}
        await self.sink.emit(type=event.event_type, data={**known, **event.data})

    async def export_batch(self, events: Sequence[AnalyticsEvent]) -> None:
        """Emit several events, in order."""
        for event in events:
            await self.export(event)

    async def flush(self) -> None:
        """Do nothing: an event is out once the sink has accepted it."""

    async def close(self) -> None:
        """Do nothing: the sink is closed by whoever opened it."""
