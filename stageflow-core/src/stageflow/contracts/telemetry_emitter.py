"""TelemetryEmitter: where measurements and spans go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

from stageflow.contracts.contract import Contract

__all__ = ("CONTRACT", "TelemetryEmitter", "TelemetryEvent")

CONTRACT: Final = Contract("telemetry_emitter", "1.0")

TelemetryEvent = tuple[str, ...]
"""The name of a telemetry event in parts, from the general to the particular."""

T = TypeVar("T")


@runtime_checkable
class TelemetryEmitter(Protocol):
    """Passes measurements on to a telemetry system.

    TE-1  `execute` passes the event on under its name with `stageflow` put before it, unless
          the name begins with it already, with measurements and metadata as they were given.
    TE-2  `execute` never raises and never waits; a telemetry system that fails stops nobody.
    TE-3  `span` calls the function once and gives back what it returns; an awaitable result
          is awaited first.
    TE-4  A span is `event + ("start",)` before the call and `event + ("stop",)` after it; the
          measurements of the second have `duration`, in seconds.
    TE-5  If the function raises, `event + ("exception",)` takes the place of the stop, its
          metadata tell `kind` and `reason`, and the exception goes on unchanged. Cancellation
          is such an exception.
    TE-6  Both methods may be called from several tasks at once.
    """

    def execute(
        self,
        event: TelemetryEvent,
        measurements: Mapping[str, Any],
        metadata: Mapping[str, Any],
    ) -> None:
        """Pass one measurement on.

        Not a checkpoint. Not idempotent: two calls are two measurements. Never raises.

        Args:
            event: The event's name in parts.
            measurements: Numbers, by name.
            metadata: What they are about, by name.
        """
        ...

    async def span(
        self,
        event: TelemetryEvent,
        metadata: Mapping[str, Any],
        fun: Callable[[], Awaitable[T] | T],
    ) -> T:
        """Return what *fun* returns, and measure how long it took.

        A checkpoint exactly where *fun*'s awaitable is one. Idempotent if *fun* is. A
        cancelled call has cancelled *fun* and told of it.

        Args:
            event: The span's name in parts.
            metadata: What the span is about, by name.
            fun: Takes nothing; its result is awaited if it is an awaitable.

        Raises:
            BaseException: Whatever *fun* raises, unchanged.
        """
        ...
