"""TelemetryEmitter: where measurements and spans go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol, TypeVar, overload, runtime_checkable

import attrs

from stageflow.contracts.contract import Contract

__all__ = (
    "CONTRACT",
    "TelemetryEmitter",
    "TelemetryEmitterCapabilities",
    "TelemetryEvent",
)

CONTRACT: Final = Contract("telemetry_emitter", "1.0")

TelemetryEvent = tuple[str, ...]
"""The name of a telemetry event in parts, from the general to the particular."""

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class TelemetryEmitterCapabilities:
    """What emitters may differ in; an author states it in the emitter's conformance test.

    Attributes:
        keeps_measurements: Whether what was passed on can be looked at afterwards.
    """

    keeps_measurements: bool = True


@runtime_checkable
class TelemetryEmitter(Protocol):
    """Passes measurements on to a telemetry system.

    TE-1  [keeps_measurements] `execute` passes the event on with `stageflow` put before its
      name, unless it begins so already, and with the measurements and metadata given.
    TE-2  `execute` never raises, whatever the measurements and the metadata are.
    TE-3  `span` calls the function once and gives back what it returns; an awaitable result
      is awaited first.
    TE-4  [keeps_measurements] A span is `event + ("start",)` before the call and
      `event + ("stop",)` after it; the measurements of the stop have `duration`, in seconds.
    TE-5  An exception of the function goes on unchanged; cancellation is one.
    TE-6  [keeps_measurements] After an exception, `event + ("exception",)` takes the place of
      the stop; it has a `duration`, and its metadata tell `kind` and `reason`.
    TE-7  [keeps_measurements] Several spans may be open at once; each has its own metadata.
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
