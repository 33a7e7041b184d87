"""Handing an event to a sink, so that nothing the sink does reaches the one who emits."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from stageflow.contracts._pending import Collector, PendingEmit, event_collector, ledger
from stageflow.contracts.event_sink import EventSink

__all__ = (
    "Collector",
    "PendingEmit",
    "deliver",
    "event_collector",
    "lost_events",
    "wait_for_event_sink_tasks",
)


def deliver(
    sink: EventSink,
    type: str,
    data: Mapping[str, Any] | None,
    *,
    known: Mapping[str, Any] | None = None,
    collector: Collector | None = None,
) -> None:
    """Give an event to *sink* without waiting; never raises.

    A sink whose `try_emit` gives back an awaitable has it finished by the run that is under
    way, before the run ends; outside a run by an asyncio task, which
    `wait_for_event_sink_tasks` waits for. Where neither exists, and where the sink raises, the
    event is counted as lost and the sink's first loss is logged as a warning.

    Args:
        sink: Where the event goes.
        type: What happened.
        data: The facts.
        known: Further facts; those in *data* win.
        collector: Takes over an emit that is yet to be finished; the one in
            `event_collector` unless given.
    """
    # The sink's own code may end up here again, so the run's collector must be found there too.
    token = None
    if collector is not None and event_collector.get() != collector:
        token = event_collector.set(collector)
    try:
        facts: Any = data if known is None else {**known, **(data or {})}
        outcome = sink.try_emit(type=type, data=facts)
        if outcome is None or isinstance(outcome, bool):
            return
        if inspect.isawaitable(outcome):
            ledger.take(outcome, sink=sink, type=type)
    except Exception as error:  # noqa: BLE001 - emitting an event never raises
        _close_stranded(error)
        ledger.lose(sink, type, f"{error.__class__.__name__}: {error}")
    finally:
        if token is not None:
            event_collector.reset(token)


def lost_events(sink: EventSink) -> int:
    """Return how many events for *sink* were lost outside its own doing.

    Those are the events for which it raised, and those whose emit nobody could finish. What a
    sink drops by itself is in its own metrics.
    """
    return ledger.lost(sink)


async def wait_for_event_sink_tasks() -> None:
    """Return when every emit that was left to a task of this event loop has been finished.

    A checkpoint if there is any. A cancelled call leaves the emits going on.
    """
    await ledger.wait()


def _close_stranded(error: Exception) -> None:
    """Close coroutines that *error* kept from being started.

    `asyncio.create_task(self.emit(…))`, the usual body of a `try_emit`, raises where no asyncio
    loop runs and leaves its coroutine behind. It would warn that it was never awaited, beside
    the warning that tells what happened.
    """
    if not isinstance(error, RuntimeError):
        return
    step = error.__traceback__
    while step is not None:
        for value in step.tb_frame.f_locals.values():
            if inspect.iscoroutine(value) and inspect.getcoroutinestate(value) == "CORO_CREATED":
                value.close()
        step = step.tb_next
