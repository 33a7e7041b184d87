"""EventSink: where the events of runs go."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable
from typing import Any, Final, Protocol, runtime_checkable

import attrs

from stageflow.contracts._pending import ledger
from stageflow.contracts.contract import Contract
from stageflow.errors import RunError

__all__ = ("CONTRACT", "EventSink", "EventSinkCapabilities", "EventSinkError")

CONTRACT: Final = Contract("event_sink", "1.0")


class EventSinkError(RunError):
    """A sink could not be opened, or could not take or keep an event.

    Attributes:
        sink: The sink, as its users know it.
    """

    code = "SF470"

    def __init__(self, message: str, *, sink: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.sink = sink


@attrs.frozen(kw_only=True)
class EventSinkCapabilities:
    """What sinks may differ in; an author states it in the sink's conformance test.

    Attributes:
        keeps_events: Whether accepted events can be looked at afterwards.
        any_thread: Whether `try_emit` may be called from any thread.
    """

    keeps_events: bool = True
    any_thread: bool = True


@runtime_checkable
class EventSink(Protocol):
    """Takes the events of runs, to keep them, to pass them on, or to drop them.

    A plain class with these two methods is a sink. Subclassing this one is a choice that
    saves writing `try_emit`. A sink that must be closed has `aclose` and is an async context
    manager; the Runtime that it is given to enters it before the first event and leaves it
    after the last.

    ES-1  [keeps_events] An accepted event arrives once, with its type and its data.
    ES-2  [keeps_events] Events of one caller arrive in the order in which they were accepted.
    ES-3  `try_emit` never raises, whatever the data are.
    ES-4  `try_emit` gives back None or True for an accepted event, False for a dropped one, or
      an awaitable that finishes the emit.
    ES-5  `data` may be None, and neither method changes what it is given.
    ES-6  A cancelled `emit` has accepted its event wholly or not at all; the sink stays usable.
    ES-7  [keeps_events] Several tasks may emit at once; no event is lost or mixed with another.
    ES-8  [any_thread] Several threads may call `try_emit` at once.
    ES-9  [keeps_events] Closing delivers what was accepted.
    ES-10  Closing twice is harmless, and `try_emit` after that still does not raise.
    """

    @abstractmethod
    async def emit(self, *, type: str, data: dict[str, Any] | None) -> None:
        """Accept the event, waiting for room if there is none.

        A checkpoint where it has to wait. Not idempotent: two calls are two events. A
        cancelled call has accepted the event wholly or not at all.

        Args:
            type: What happened, such as `stage.completed`.
            data: The facts, as JSON-able data, or None.

        Raises:
            EventSinkError: If the event cannot be accepted.
        """
        ...

    def try_emit(
        self, *, type: str, data: dict[str, Any] | None
    ) -> Awaitable[object] | bool | None:
        """Accept the event if that is possible without waiting; never raises.

        Not a checkpoint. Not idempotent. This default has `emit` finished by the run that is
        under way, or, outside a run, by an asyncio task that
        `stageflow.events.wait_for_event_sink_tasks` waits for.

        Args:
            type: What happened.
            data: The facts, as JSON-able data, or None.

        Returns:
            None or True if the event was accepted, False if it was dropped; or an awaitable
            that finishes the emit, which whoever called must see to:
            `stageflow.events.deliver` does.
        """
        ledger.take(self.emit(type=type, data=data), sink=self, type=type)
        return None
