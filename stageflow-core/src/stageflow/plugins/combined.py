"""Several implementations of one contract, used as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from stageflow.contracts.event_sink import EventSink
from stageflow.events.delivery import deliver

__all__ = ("ChainedConfigProvider", "FanOutEventSink")

_UNKNOWN: Final = object()


class FanOutEventSink:
    """Hands every event to several sinks.

    Args:
        sinks: Where each event goes.
    """

    def __init__(self, sinks: Sequence[EventSink]) -> None:
        self._sinks = tuple(sinks)

    async def emit(self, *, type: str, data: dict[str, Any] | None) -> None:
        """Emit the event to each sink in turn.

        Raises:
            ExceptionGroup: What sinks raised, after every sink had its turn.
        """
        failures = []
        for sink in self._sinks:
            try:
                await sink.emit(type=type, data=data)
            except Exception as error:  # noqa: BLE001 - the other sinks get the event, too
                failures.append(error)
        if failures:
            raise ExceptionGroup(f"{len(failures)} event sinks failed.", failures)

    def try_emit(self, *, type: str, data: dict[str, Any] | None) -> None:
        """Hand the event to each sink without waiting; never raises."""
        for sink in self._sinks:
            deliver(sink, type, data)


class ChainedConfigProvider:
    """Asks several configuration providers in turn.

    Args:
        providers: Whom to ask, first to last.
    """

    def __init__(self, providers: Sequence[Any]) -> None:
        self._providers = tuple(providers)

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of the first provider that knows *key*, or *default*."""
        for provider in self._providers:
            value = provider.get(key, _UNKNOWN)
            if value is not _UNKNOWN:
                return value
        return default
