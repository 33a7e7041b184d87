"""Telemetry emitters: one logs, one does nothing."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, TypeVar, overload

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


class _Emitter(ABC):
    """Makes spans of measurements."""

    def __init__(
        self,
        monotonic: Callable[[], float] = time.perf_counter,
        time_of_day: Callable[[], float] = time.time,
    ) -> None:
        self._monotonic = monotonic
        self._time_of_day = time_of_day

    @abstractmethod
    def execute(
        self, event: TelemetryEvent, measurements: Mapping[str, Any], metadata: Mapping[str, Any]
    ) -> None:
        """Pass one measurement on."""

    @overload
    async def span(
        self, event: TelemetryEvent, metadata: Mapping[str, Any], fun: Callable[[], Awaitable[T]]
    ) -> T: ...

    @overload
    async def span(
        self, event: TelemetryEvent, metadata: Mapping[str, Any], fun: Callable[[], T]
    ) -> T: ...

    async def span(
        self, event: TelemetryEvent, metadata: Mapping[str, Any], fun: Callable[[], Any]
    ) -> Any:
        """Return what *fun* returns, and pass on when it began and how long it took."""
        return await run_span(
            self.execute,
            event,
            metadata,
            fun,
            monotonic=self._monotonic,
            time_of_day=self._time_of_day,
        )


class NoOpTelemetryEmitter(_Emitter):
    """Measures nothing."""

    def __init__(self) -> None:
        super().__init__()

    def execute(
        self, event: TelemetryEvent, measurements: Mapping[str, Any], metadata: Mapping[str, Any]
    ) -> None:
        """Do nothing."""

    def __repr__(self) -> str:
        return "NoOpTelemetryEmitter()"


class LoggingTelemetryEmitter(_Emitter):
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
        super().__init__(monotonic, time_of_day)
        self._level = level
        self._logger = logger or logging.getLogger("stageflow.telemetry")

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
