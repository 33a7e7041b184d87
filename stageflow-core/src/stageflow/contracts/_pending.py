"""What becomes of an emit that nobody awaits: the run takes it, a task does, or it is counted."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Awaitable, Callable, Generator
from contextvars import ContextVar
from typing import Any, Final

import attrs

from stageflow.contracts.logs import get_logger

__all__ = ("Collector", "EmitLedger", "PendingEmit", "event_collector", "ledger")

_log = get_logger("stageflow.events")


@attrs.define(eq=False)
class PendingEmit:
    """An event whose sink has yet to finish with it.

    Awaiting it finishes the emit; it never raises, cancellation apart. `close` gives it up.
    Either way the event is delivered or counted as lost, once.

    Attributes:
        type: The event's type.
        sink: The sink that has to finish.
    """

    type: str
    sink: object
    _work: Awaitable[object]
    _ledger: EmitLedger
    _settled: bool = False

    def __await__(self) -> Generator[Any, Any, None]:
        return self._finish().__await__()

    async def _finish(self) -> None:
        try:
            await self._work
        except Exception as error:  # noqa: BLE001 - a sink's failure never reaches a run
            self._lose(f"{type(error).__name__}: {error}")
        except BaseException:
            self._lose("its delivery was cancelled")
            raise
        self._settled = True

    def close(self, reason: str = "there was no time left to deliver it") -> None:
        """Give the event up, unless it is settled: it is counted as lost, for *reason*."""
        if self._settled:
            return
        # A coroutine has `close`, a future `cancel`; without either, it would warn later.
        give_up = getattr(self._work, "close", None) or getattr(self._work, "cancel", None)
        if give_up is not None:
            give_up()
        self._lose(reason)

    def _lose(self, reason: str) -> None:
        self._settled = True
        self._ledger.lose(self.sink, self.type, reason)


Collector = Callable[[PendingEmit], object]
"""Takes over an emit and sees that it is awaited or closed; may be called from any thread."""

event_collector: Final[ContextVar[Collector | None]] = ContextVar(
    "stageflow_event_collector", default=None
)
"""The collector of the run that is under way in this context, if one is."""


@attrs.define(eq=False)
class _Losses:
    anchor: object  # keeps the sink's id from being given to another object unnoticed
    count: int = 0


class EmitLedger:
    """Owner of the emits that nobody awaits: which are under way, and how many were lost."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._losses: dict[int, _Losses] = {}
        self._lock = threading.Lock()

    def take(self, work: Awaitable[object], *, sink: object, type: str) -> None:
        """See that *work*, which *sink* gave back for an event, is finished by somebody.

        The collector of the current run gets it; without one, a task of the running asyncio
        loop; without that, the event is counted as lost.
        """
        pending = PendingEmit(type, sink, work, self)
        collector = event_collector.get()
        if collector is not None:
            try:
                collector(pending)
            except Exception as error:  # noqa: BLE001 - emitting an event never raises
                pending.close(f"the run did not take it: {error}")
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            pending.close("no run and no asyncio loop is there to finish it")
            return
        task = loop.create_task(pending._finish(), name=f"emit {type}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def lose(self, sink: object, type: str, reason: str) -> None:
        """Count an event of *sink* as lost; the first one of a sink is a warning."""
        with self._lock:
            losses = self._losses.get(id(sink)) or self._open_account(sink)
            losses.count += 1
            first = losses.count == 1
        say = _log.warning if first else _log.debug
        say("event.dropped", event_type=type, sink=_name(sink), reason=reason)

    def lost(self, sink: object) -> int:
        """Return how many events of *sink* were lost."""
        losses = self._losses.get(id(sink))
        return 0 if losses is None else losses.count

    async def wait(self) -> None:
        """Return when every task of the running loop that finishes an emit has ended."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # such tasks exist on asyncio alone
        while tasks := self._tasks_of(loop):
            await asyncio.wait(tasks)

    def _tasks_of(self, loop: asyncio.AbstractEventLoop) -> list[asyncio.Task[None]]:
        # A loop that was closed under its tasks leaves them behind for good.
        self._tasks -= {task for task in list(self._tasks) if task.get_loop().is_closed()}
        me = asyncio.current_task()
        return [t for t in list(self._tasks) if t.get_loop() is loop and t is not me]

    def _open_account(self, sink: object) -> _Losses:
        key = id(sink)
        try:
            anchor: object = weakref.ref(sink, lambda _: self._losses.pop(key, None))
        except TypeError:
            anchor = sink
        return self._losses.setdefault(key, _Losses(anchor))


ledger: Final = EmitLedger()
"""The process's ledger, for emits outside any run; tests make one of their own."""


def _name(sink: object) -> str:
    return type(sink).__qualname__
