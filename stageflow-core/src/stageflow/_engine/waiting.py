"""Waits: what the stages of a run wait for, in memory or until another process goes on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Final

import anyio
from anyio.abc import TaskGroup

from stageflow.contracts.checkpoints import LeaseLostError
from stageflow.contracts.logs import get_logger
from stageflow.contracts.run_store import RunStoreCapabilities
from stageflow.contracts.storage import StorageError
from stageflow.contracts.waits import RunWait, WaitState
from stageflow.errors import RunError

if TYPE_CHECKING:
    from stageflow._engine.journal import Ledger

__all__ = ("SignalTimeoutError", "StageParked", "Waits", "parked_on")

_log = get_logger(__name__)

_NEWS_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.5
"""How often the store is asked whether another process has given an answer."""


class SignalTimeoutError(RunError, TimeoutError):
    """A stage waited for a signal longer than it was willing to.

    Attributes:
        stage: Who waited.
        name: The signal.
        wait: The wait, as it is recorded.
    """

    code = "SF352"
    retryable: ClassVar[bool] = False
    """Whoever wanted to wait longer would have said so."""

    def __init__(self, wait: RunWait) -> None:
        super().__init__(
            f"Stage {wait.stage!r} waited for the signal {wait.name!r} in vain"
            f" since {wait.created_at.isoformat()}.",
            hint=f"Give it in time: `stageflow runs signal {wait.run_id} {wait.name} VALUE`; or let"
            " the stage wait longer, or give wait_for a default.",
        )
        self.stage = wait.stage
        self.name = wait.name
        self.wait = wait


class StageParked(BaseException):
    """Ends a stage's stay in memory: the answer that it waits for has not come yet.

    No `Exception`, so that a stage which handles its errors lets it through.
    """

    def __init__(self, wait_ids: tuple[str, ...]) -> None:
        super().__init__(*wait_ids)
        self.wait_ids = wait_ids


class Waits:
    """What the stages of one run, and of those below it, wait for.

    Args:
        ledger: Whose run and lease it is.
        parks: Whether a stage that has to wait leaves memory.
    """

    def __init__(self, ledger: Ledger, *, parks: bool) -> None:
        self._ledger = ledger
        self.parks = parks
        self._open: dict[str, tuple[RunWait, anyio.Event]] = {}
        self._parked: dict[str, Callable[[], object]] = {}
        self._news = anyio.Event()

    async def wait(
        self,
        wait_id: str,
        *,
        attempt: tuple[int, int],
        stage: str,
        name: str,
        timeout: float | None,
        on_open: Callable[[RunWait], None],
    ) -> Any:
        """Return the answer to a wait, which may have been given before.

        Args:
            wait_id: Names the wait, the same whenever the stage begins again.
            attempt: How often the run has ended, and the stage has failed, without success; what
                was waited for in vain before is waited for anew.
            stage: Who waits.
            name: The signal.
            timeout: Seconds after which it waits no longer.
            on_open: Is told of the wait if there is no answer yet.

        Raises:
            SignalTimeoutError: If no answer came in time.
            StageParked: If the stage is to leave memory instead of waiting.
        """
        ledger = self._ledger
        try:
            if any(attempt):
                wait_id = await self._last_of(wait_id, "~{}.{}".format(*attempt))
            wait = await ledger.persist(
                lambda: ledger.store.open_wait(
                    ledger.lease, wait_id, stage=stage, name=name, timeout=timeout
                )
            )
        except (StorageError, LeaseLostError) as error:
            # No fault of the stage: the run cannot be kept any longer.
            ledger.lose(error)
            raise
        if wait.state is WaitState.OPEN:
            on_open(wait)
            if self.parks:
                raise StageParked((wait_id,))
            answered = anyio.Event()
            self._open[wait_id] = (wait, answered)
            self._news.set()
            try:
                await answered.wait()
                wait = self._open[wait_id][0]
            finally:
                del self._open[wait_id]
        if wait.state is WaitState.TIMED_OUT:
            raise SignalTimeoutError(wait)
        return ledger.codec.decode(wait.value or b"")

    async def _last_of(self, wait_id: str, again: str) -> str:
        """Return the id of the last wait that stands for this one, or of the one to be opened."""
        ledger = self._ledger
        known = [
            wait
            for wait in await ledger.persist(lambda: ledger.store.list_waits(ledger.lease.run_id))
            if wait.wait_id == wait_id or wait.wait_id.startswith(f"{wait_id}~")
        ]
        hopeful = [wait.wait_id for wait in known if wait.state is not WaitState.TIMED_OUT]
        return hopeful[-1] if hopeful else wait_id + (again if known else "")

    def call_when_answered(self, wait_ids: Iterable[str], call: Callable[[], object]) -> None:
        """Call *call* as soon as one of these waits is over, for a stage that left because of it.

        Only while the run goes on: once it has left memory, there is nobody to be called.
        """
        for wait_id in wait_ids:
            self._parked[wait_id] = call
        self._news.set()

    def look(self) -> None:
        """Ask the store at once: something may have been answered; safe in the event loop."""
        self._news.set()

    async def park(self, wait_ids: Iterable[str]) -> bool:
        """Leave the run if nothing of this was answered; return whether it was left."""
        ledger, wanted = self._ledger, tuple(wait_ids)
        overdue = await self._expire_overdue(set(wanted))
        if overdue:
            return False
        left: bool = await ledger.persist(lambda: ledger.store.park_run(ledger.lease, wanted))
        return left

    async def watch(self) -> None:
        """Look out for answers, for as long as the run goes on."""
        async with anyio.create_task_group() as tasks:
            await self._watch(tasks)
            tasks.cancel_scope.cancel()

    async def _watch(self, tasks: TaskGroup) -> None:
        clock = self._ledger.clock
        hears = not RunStoreCapabilities.of(self._ledger.store).news
        while True:
            self._news = anyio.Event()
            if (self._open or self._parked) and not hears:
                hears = True
                tasks.start_soon(self._hear)
            try:
                await self._look()
            except LeaseLostError as error:
                self._ledger.lose(error)
                return
            except StorageError as error:
                # Whoever keeps the run's progress finds out whether that is for good.
                _log.warning(
                    "run.waits_not_read", run_id=str(self._ledger.lease.run_id), error=str(error)
                )
            pause = POLL_SECONDS if self._open or self._parked else math.inf
            async with anyio.create_task_group() as naps:
                if pause < math.inf:
                    naps.start_soon(self._nap, clock.sleep, pause, naps.cancel_scope)
                await self._news.wait()
                naps.cancel_scope.cancel()

    async def _hear(self) -> None:
        """Look whenever the store has news, for as long as it can tell."""
        try:
            async with self._ledger.store.news(self._ledger.lease.run_id) as news:
                self.look()
                while True:
                    if await news.wait(_NEWS_SECONDS):
                        self.look()
        except StorageError as error:
            # The watch goes on to look by itself.
            run_id = str(self._ledger.lease.run_id)
            _log.warning("run.news_not_heard", run_id=run_id, error=str(error))

    async def _nap(self, sleep: Any, seconds: float, scope: anyio.CancelScope) -> None:
        await sleep(seconds)
        self._news.set()
        scope.cancel()

    async def _look(self) -> None:
        if not self._open and not self._parked:
            return
        await self._expire_overdue({*self._open, *self._parked})
        for wait in await self._ledger.store.list_waits(self._ledger.lease.run_id):
            if wait.state is WaitState.OPEN:
                continue
            found = self._open.get(wait.wait_id)
            if found is not None:
                self._open[wait.wait_id] = (wait, found[1])
                found[1].set()
            call = self._parked.pop(wait.wait_id, None)
            if call is not None:
                call()

    async def _expire_overdue(self, wait_ids: set[str]) -> bool:
        ledger = self._ledger
        now = ledger.clock.now()
        found = False
        for wait in await self._of(wait_ids):
            if wait.state is WaitState.OPEN and wait.deadline is not None and wait.deadline <= now:
                await ledger.store.expire_wait(ledger.lease, wait.wait_id)
                found = True
        return found

    async def _of(self, wait_ids: set[str]) -> list[RunWait]:
        known = [self._open[each][0] for each in wait_ids if each in self._open]
        if len(known) == len(wait_ids):
            return known
        listed = await self._ledger.store.list_waits(self._ledger.lease.run_id)
        return [wait for wait in listed if wait.wait_id in wait_ids]


def parked_on(error: BaseException) -> tuple[str, ...] | None:
    """Return what a stage waits for that ended by *error*; None if it did not leave to wait."""
    if isinstance(error, StageParked):
        return error.wait_ids
    if isinstance(error, BaseExceptionGroup):
        # Of the tasks in a stage, some may wait while the others were cut short.
        found, rest = error.split(StageParked)
        if found is not None and (rest is None or rest.split(Exception)[0] is None):
            return tuple(wait for each in _leaves(found) for wait in each.wait_ids)
    return None


def _leaves(group: BaseExceptionGroup[StageParked]) -> Iterable[StageParked]:
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _leaves(each)
        else:
            yield each
