"""Two plain sinks: one drops every event, one logs it."""

from __future__ import annotations

import logging
from typing import Any

__all__ = ("LoggingEventSink", "NoOpEventSink")


class NoOpEventSink:
    """Drops every event."""

    __slots__ = ("__weakref__",)

    async def emit(self, *, type: str, data: dict[str, Any] | None) -> None:
        """Do nothing."""

    def try_emit(self, *, type: str, data: dict[str, Any] | None) -> None:
        """Do nothing."""

    def __repr__(self) -> str:
        return "NoOpEventSink()"


class LoggingEventSink:
    """Logs every event to the standard logger `stageflow.events`.

    The event's type and data are attributes of the log record: `event_type`, `event_data`.

    Args:
        level: Level of the log records, as a number or a name.
        logger: The logger to use instead.
    """

    __slots__ = ("__weakref__", "_level", "_logger")

    def __init__(
        self, *, level: int | str = logging.INFO, logger: logging.Logger | None = None
    ) -> None:
        self._level = _number_of(level)
        self._logger = logger or logging.getLogger("stageflow.events")

    async def emit(self, *, type: str, data: dict[str, Any] | None) -> None:
        """Log the event."""
        self.try_emit(type=type, data=data)

    def try_emit(self, *, type: str, data: dict[str, Any] | None) -> None:
        """Log the event."""
        self._logger.log(
            self._level, "Event: %s", type, extra={"event_type": type, "event_data": data}
        )

    def __repr__(self) -> str:
        return f"LoggingEventSink(level={logging.getLevelName(self._level)})"


def _number_of(level: int | str) -> int:
    if isinstance(level, int):
        return level
    names = logging.getLevelNamesMapping()
    if level.upper() not in names:
        raise ValueError(f"level must be one of {', '.join(names)}, not {level!r}")
    return names[level.upper()]
