"""Telemetry emitters: one logs, one does nothing."""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, TypeVar, cast

import attrs

from stageflow.builtin._configured import configured_by
from stageflow.contracts.telemetry_emitter import TelemetryEvent
from stageflow.observability.telemetry import run_span, under_stageflow

__all__ = (
    "LoggingTelemetryEmitter",
    "LoggingTelemetrySettings",
    "NoOpTelemetryEmitter",
    "make_logging_emitter",
)

T = TypeVar("T")


class NoOpTelemetryEmitter:
    """Measures nothing."""

    __slots__ = ("__weakref__",)

    def execute(
        self, event: TelemetryEvent, measurements: Mapping[str, Any], metadata: Mapping[str, Any]
    ) -> None:
        """Do nothing."""

    async def span(
        self,
        event: TelemetryEvent,
        metadata: Mapping[str, Any],
        fun: Callable[[], Awaitable[T] | T],
    ) -> T:
        """Return what *fun* returns."""
        result = fun()
        if inspect.isawaitable(result):
            result = await result
        return cast("T", result)

    def __repr__(self) -> str:
        return "NoOpTelemetryEmitter()"


class LoggingTelemetryEmitter:
    """Logs every measurement to the standard logger `stageflow.telemetry`.

    Name, measurements and metadata are attributes of the log record: `telemetry_event`,
    `telemetry_measurements`, `telemetry_metadata`.

    Args:
        level: Level of the log records.
        logger: The logger to use instead.
        monotonic: Reads the time that durations are taken from, in seconds.
        time_of_day: Reads the time of day, in seconds since 1970.
    """

    def __init__(
        self,
        *,
        level: int = logging.INFO,
        logger: logging.Logger | None = None,
        monotonic: Callable[[], float] = time.perf_counter,
        time_of_day: Callable[[], float] = time.time,
    ) -> None:
        self._level = level
        self._logger = logger or logging.getLogger("stageflow.telemetry")
        self._monotonic = monotonic
        self._time_of_day = time_of_day

    def execute(
        self, event: TelemetryEvent, measurements: Mapping[str, Any], metadata: Mapping[str, Any]
    ) -> None:
        """Log one measurement."""
        name = under_stageflow(event)
        facts = {
            "telemetry_event": name,
            "telemetry_measurements": measurements,
            "telemetry_metadata": metadata,
        }
        self._logger.log(self._level, "Telemetry: %s", ".".join(name), extra=facts)

    async def span(
        self,
        event: TelemetryEvent,
        metadata: Mapping[str, Any],
        fun: Callable[[], Awaitable[T] | T],
    ) -> T:
        """Return what *fun* returns, and log its start and its end."""
        return await run_span(
            self.execute,
            event,
            metadata,
            fun,
            monotonic=self._monotonic,
            time_of_day=self._time_of_day,
        )

    def __repr__(self) -> str:
        return f"LoggingTelemetryEmitter(level={logging.getLevelName(self._level)})"


@attrs.frozen(kw_only=True)
class LoggingTelemetrySettings:
    """How measurements are logged.

    Attributes:
        level: Level of the log records.
    """

    level: Literal["debug", "info", "warning", "error", "critical"] = "info"


@configured_by(LoggingTelemetrySettings)
def make_logging_emitter(settings: LoggingTelemetrySettings) -> LoggingTelemetryEmitter:
    """Return an emitter that logs."""
    return LoggingTelemetryEmitter(level=logging.getLevelNamesMapping()[settings.level.upper()])
