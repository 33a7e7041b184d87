"""Waits: what stages of a run wait for, and the signals that answer them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

import attrs

from stageflow.contracts.checkpoints import RunLease
from stageflow.contracts.run_store import RunStoreError

__all__ = (
    "News",
    "RunEndedError",
    "RunNews",
    "RunWait",
    "RunWaits",
    "SignalReceipt",
    "WaitState",
)


class WaitState(StrEnum):
    """How far a wait has come; the last two are final."""

    OPEN = "open"
    ANSWERED = "answered"
    TIMED_OUT = "timed_out"


@attrs.frozen(kw_only=True)
class RunWait:
    """One stage waiting for one signal.

    Attributes:
        run_id: The run.
        wait_id: Unique in its run, and the same whenever the stage asks again.
        stage: Who waits.
        name: The signal's name.
        created_at: Since when, in UTC.
        deadline: Until when, on the store's clock, in UTC; None for ever.
        state: How far it has come.
        value: The answer, encoded by whoever gave it; None unless it was answered.
    """

    run_id: UUID
    wait_id: str
    stage: str
    name: str
    created_at: datetime
    deadline: datetime | None = None
    state: WaitState = attrs.field(default=WaitState.OPEN, converter=WaitState)
    value: bytes | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class SignalReceipt:
    """What became of a signal.

    Attributes:
        wait_id: The wait that it answered; None if it is kept for the next wait of its name.
        repeated: Whether a signal with this id had been given before; then nothing changed.
        parked: Whether the run is waiting without an owner, so that somebody has to resume it.
    """

    wait_id: str | None
    repeated: bool = False
    parked: bool = False


class RunEndedError(RunStoreError):
    """A run was given a signal after it had ended."""

    code = "SF428"

    def __init__(self, run_id: UUID, status: str) -> None:
        super().__init__(
            f"Run {run_id} has ended ({status}); a signal would reach nobody.",
            hint="A run that failed or was cancelled takes signals again once it is resumed.",
        )
        self.run_id = run_id
        self.status = status


class RunWaits(Protocol):
    """The capability `waits`: stages wait for signals, also while no process runs them.

    RS-44  [waits] A wait that is opened again is found as it is, with its first times.
    RS-45  [waits] A signal answers the oldest open wait of its name; while there is none it is
      kept, and the oldest kept one answers the next wait of its name when that is opened.
    RS-46  [waits] Each signal answers one wait, and each wait is answered once, no matter how
      signals, waits and expiry race; an answer never changes.
    RS-47  [waits] A signal whose id was given to this run before changes nothing and is answered
      like the first; ids count per run.
    RS-48  [waits] A signal to a run that is not there raises `RunNotFoundError`, to one that has
      ended `RunEndedError`; neither keeps it.
    RS-49  [waits] An open wait is expired; one that was answered before stays so. Both give the
      wait as it is then. One that is not there raises `RunStoreError`.
    RS-50  [waits] Opening, expiring and parking with a lease that was released or lost raises
      `LeaseLostError` and changes nothing.
    RS-51  [waits] A run is parked only while all the waits given are open: then it has the status
      waiting and its lease is released, in one transaction, and True is answered. Otherwise
      nothing changes, and False is.
    RS-52  [waits] Waits are listed in the order in which they were opened, with their states.
    RS-53  [waits] A receipt says `parked` for a run with the status waiting that has no lease.
    """

    async def open_wait(
        self,
        lease: RunLease,
        wait_id: str,
        *,
        stage: str,
        name: str,
        timeout: float | None = None,
    ) -> RunWait:
        """Record that a stage waits, unless that is recorded; return the wait as it is then.

        Args:
            lease: The run's owner's.
            wait_id: Unique in the run.
            stage: Who waits.
            name: The signal's name.
            timeout: Seconds after which the wait is overdue.

        Raises:
            LeaseLostError: The lease is no longer the run's.
        """
        ...

    async def expire_wait(self, lease: RunLease, wait_id: str) -> RunWait:
        """End a wait that is open because its time is up; return the wait as it is then.

        Raises:
            LeaseLostError: The lease is no longer the run's.
        """
        ...

    async def list_waits(self, run_id: UUID) -> Sequence[RunWait]:
        """Return all waits of the run, ended ones too, oldest first."""
        ...

    async def park_run(self, lease: RunLease, wait_ids: Iterable[str]) -> bool:
        """Leave the run to whoever answers one of these waits, if all of them are open.

        Raises:
            LeaseLostError: The lease is no longer the run's.
        """
        ...

    async def signal_run(
        self, run_id: UUID, name: str, value: bytes, *, signal_id: str | None = None
    ) -> SignalReceipt:
        """Answer a wait of the run, or keep the signal for the next one of its name.

        Args:
            run_id: The run.
            name: The signal's name.
            value: The answer, encoded.
            signal_id: Makes the call idempotent.

        Raises:
            RunNotFoundError: There is no such run.
            RunEndedError: It has ended.
        """
        ...


class News(Protocol):
    """What somebody hears of one run while it listens."""

    async def wait(self, timeout: float, /) -> bool:
        """Return True once there was news since the last call, or False after *timeout* seconds.

        A cancelled call loses no news.
        """
        ...


class RunNews(Protocol):
    """The capability `news`: says at once that a run is to be looked at, so nobody need ask often.

    News may be lost with a connection, and may come though nothing changed: who listens looks
    once the block is entered, at each True, and now and then besides.

    RS-61  [news] Within the block, a wait of the run that is answered is news, whoever answers it,
      also between entering the block and the call; without news False is answered in time.
    """

    def news(self, run_id: UUID) -> AbstractAsyncContextManager[News]:
        """Return a block within which news of the run is heard, from any process."""
        ...
