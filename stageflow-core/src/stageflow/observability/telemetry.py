"""Telemetry: spans for those who write emitters, and a bridge from other libraries."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import anyio

from stageflow.contracts.logs import get_logger
from stageflow.contracts.telemetry_emitter import TelemetryEmitter, TelemetryEvent

__all__ = (
    "Detach",
    "TelemetryBridge",
    "TelemetryHandler",
    "lifecycle_telemetry",
    "run_span",
    "under_stageflow",
)

TelemetryHandler = Callable[[TelemetryEvent, Mapping[str, Any], Mapping[str, Any]], object]
"""Takes a telemetry event: its name, its measurements, its metadata."""

Detach = Callable[[], None]
"""Takes back what attaching did; calling it again does nothing."""

_ROOT: Final = "stageflow"
_log = get_logger(__name__)


def under_stageflow(event: TelemetryEvent) -> TelemetryEvent:
    """Return the event's name with `stageflow` before it, unless it begins so already."""
    return event if event[:1] == (_ROOT,) else (_ROOT, *event)


async def run_span(
    execute: TelemetryHandler,
    event: TelemetryEvent,
    metadata: Mapping[str, Any],
    fun: Callable[[], Any],
    *,
    monotonic: Callable[[], float] = time.perf_counter,
    time_of_day: Callable[[], float] = time.time,
) -> Any:
    """Return what *fun* returns, with a start and a stop, or an exception, told to *execute*.

    Authors of emitters build `span` on it.

    Args:
        execute: The emitter's `execute`.
        event: The span's name in parts.
        metadata: What the span is about.
        fun: Takes nothing; its result is awaited if it is an awaitable.
        monotonic: Reads the time that durations are taken from, in seconds.
        time_of_day: Reads the time of day, in seconds since 1970.

    Raises:
        BaseException: Whatever *fun* raises, unchanged.
    """
    began = monotonic()
    execute((*event, "start"), {"system_time": time_of_day(), "monotonic_time": began}, metadata)
    try:
        result = fun()
        if inspect.isawaitable(result):
            result = await result
    except BaseException as error:
        cancelled = isinstance(error, anyio.get_cancelled_exc_class())
        facts = {
            **metadata,
            "kind": "cancelled" if cancelled else "error",
            "reason": type(error).__name__,
            "error": str(error),
        }
        execute((*event, "exception"), _since(began, monotonic()), facts)
        raise
    execute((*event, "stop"), _since(began, monotonic()), metadata)
    return result


def lifecycle_telemetry(emitter: TelemetryEmitter) -> Callable[[str, dict[str, Any]], None]:
    """Return a listener of runs that passes on each lifecycle event as one measurement.

    `stage.completed` becomes `("stageflow", "stage", "completed")`; the numbers of its payload
    are the measurements, all else is metadata.

    Args:
        emitter: Where the measurements go.
    """

    def listen(type: str, data: dict[str, Any]) -> None:
        numbers = {key: value for key, value in data.items() if _is_number(value)}
        facts = {key: value for key, value in data.items() if key not in numbers}
        emitter.execute((_ROOT, *type.split(".")), numbers, facts)

    return listen


class TelemetryBridge:
    """Passes another library's telemetry on under Stageflow's names.

    An event `("some_library", "call", "stop")` comes out as
    `("stageflow", "some_library", "call", "stop")`.

    Args:
        emitter: Where the events go.
        events: Only events whose names begin with one of these; all unless given.
        rename: Gives an event its name before `stageflow` is put before it, or None to leave
            the event out.
    """

    def __init__(
        self,
        emitter: TelemetryEmitter,
        *,
        events: Iterable[TelemetryEvent] | None = None,
        rename: Callable[[TelemetryEvent], TelemetryEvent | None] | None = None,
    ) -> None:
        self._emitter = emitter
        self._events = None if events is None else tuple(map(tuple, events))
        self._rename = rename

    def attach(
        self, subscribe: Callable[[TelemetryHandler], Callable[[], object] | None]
    ) -> Detach:
        """Begin to pass events on, and return the function that ends it.

        Args:
            subscribe: Registers a handler with the other library, and gives back the function
                that takes it out again, if the library has one.

        Returns:
            Call it to pass no more events on; calling it again does nothing.
        """
        attached = True

        def handle(
            event: TelemetryEvent, measurements: Mapping[str, Any], metadata: Mapping[str, Any]
        ) -> None:
            if attached:
                self._pass_on(event, measurements, metadata)

        unsubscribe = subscribe(handle)

        def detach() -> None:
            nonlocal attached
            if attached:
                attached = False
                if unsubscribe is not None:
                    unsubscribe()

        return detach

    def _pass_on(
        self, event: TelemetryEvent, measurements: Mapping[str, Any], metadata: Mapping[str, Any]
    ) -> None:
        """Pass one event on; the other library never sees what goes wrong with that."""
        try:
            name = tuple(event)
            if self._events is not None and not any(name[: len(e)] == e for e in self._events):
                return
            renamed = name if self._rename is None else self._rename(name)
            if renamed is not None:
                self._emitter.execute(under_stageflow(renamed), measurements, metadata)
        except Exception:  # noqa: BLE001 - somebody else's call is not to fail for our sake
            _log.exception("telemetry.bridge_failed", telemetry_event=str(event))


def _since(began: float, now: float) -> dict[str, float]:
    return {"duration": now - began, "duration_ms": (now - began) * 1000.0, "monotonic_time": now}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
