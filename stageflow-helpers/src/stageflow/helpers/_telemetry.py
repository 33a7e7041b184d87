"""Giving events to whoever listens, without ever letting a listener stop the work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from stageflow.contracts.logs import get_logger

__all__ = ("EventEmitter", "guarded")

EventEmitter: TypeAlias = Callable[[str, dict[str, Any]], object]

_log = get_logger(__name__)


def guarded(emitter: EventEmitter | None) -> EventEmitter | None:
    """Return *emitter* such that what it raises is logged; None if nobody listens."""
    if emitter is None:
        return None

    def emit(event_type: str, data: dict[str, Any]) -> None:
        try:
            emitter(event_type, data)
        except Exception:  # noqa: BLE001 - a listener's failure is logged
            _log.exception("telemetry.emitter_failed", event_type=event_type)

    return emit
