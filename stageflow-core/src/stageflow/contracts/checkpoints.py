"""Checkpoints: what a run store keeps so that a run can go on in another process.

A capability of `RunStore`, with the waits (`contracts/waits.py`) and the shared values
(`contracts/shared_values.py`) beside it. A run has at most one owner at a time: whoever holds its
lease. Each lease of a run has a higher token than the one before, and whatever an owner writes
names its token, so that one who was taken for dead changes nothing after another has taken over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import attrs

from stageflow.contracts.run_store import RunEvent, RunStatus, RunStoreError

__all__ = (
    "CheckpointEntry",
    "LeaseHeldError",
    "LeaseLostError",
    "RunCheckpoints",
    "RunLease",
    "RunRetention",
)


@attrs.frozen(kw_only=True)
class RunLease:
    """The right to go on with a run, held by one owner for a while.

    Attributes:
        run_id: The run.
        owner: Who holds it, as the owner calls itself.
        token: Counted from 1 per run; each lease that is acquired has a higher one.
        expires_at: Until when it holds unless renewed, on the store's clock, in UTC.
        cancel_requested: Why the run is to be cancelled, if somebody asked for that.
    """

    run_id: UUID
    owner: str
    token: int
    expires_at: datetime
    cancel_requested: str | None = None


@attrs.frozen(kw_only=True)
class CheckpointEntry:
    """One fact about a run, such as the output of a stage.

    Attributes:
        key: Unique in its run; a later entry replaces an earlier one.
        value: What there is to know, encoded by whoever wrote it.
        number: Its place in the order of writing, counted from 1; 0 until a store has given it
            one. An entry that replaces another moves to the end. Numbers may have gaps.
    """

    key: str
    value: bytes = attrs.field(repr=False)
    number: int = 0


class LeaseHeldError(RunStoreError):
    """Somebody else has the run.

    Attributes:
        lease: What the other one holds.
    """

    code = "SF426"

    def __init__(self, lease: RunLease) -> None:
        super().__init__(
            f"Run {lease.run_id} belongs to {lease.owner} until {lease.expires_at.isoformat()}.",
            hint="Wait until it ends or its owner is gone, or ask for its cancellation.",
        )
        self.lease = lease


class LeaseLostError(RunStoreError):
    """A run no longer belongs to the one who wanted to write; nothing was written.

    Attributes:
        lease: What the writer had held.
    """

    code = "SF427"

    def __init__(self, lease: RunLease) -> None:
        super().__init__(
            f"Run {lease.run_id} no longer belongs to {lease.owner}: its lease {lease.token} was"
            " released, or another owner has taken over.",
            hint="Nothing was written. Stop working on the run; its new owner goes on with it.",
        )
        self.lease = lease


class RunCheckpoints(Protocol):
    """The capability `checkpoints`: a run's progress, and who may add to it.

    RS-27  [checkpoints] A run without a lease is acquired by one of any number of attempts; the
      others raise `LeaseHeldError` with the lease that is held, and change nothing.
    RS-28  [checkpoints] Each lease of a run has a higher token than every earlier one, also when
      that was released; a lease that has expired is acquired like none.
    RS-29  [checkpoints] A lease is taken over while it holds if `take_over` is its token, and by
      one of any number of attempts; with another token that raises `LeaseHeldError`.
    RS-30  [checkpoints] A lease is renewed from now on, for as long as nobody acquired a later
      one and it was not released, also after it has expired; else that raises `LeaseLostError`.
    RS-31  [checkpoints] A lease that was released is none; releasing it again, or one that was
      lost, answers False and changes nothing.
    RS-32  [checkpoints] A commit keeps all its entries, removals, events and the status, or
      nothing at all, also when it is cancelled.
    RS-33  [checkpoints] A commit with a lease that was released or lost raises `LeaseLostError`
      and keeps nothing, no matter how it races with a take-over.
    RS-34  [checkpoints] Entries are loaded in the order of writing, those that were replaced or
      removed not at all; pages of any size, each after the last number of the one before, show
      each entry once.
    RS-35  [checkpoints] Values come back as they were given, whatever bytes they hold.
    RS-36  [checkpoints] A status that is committed obeys the rules of `update_status`; a final one
      releases the lease in the same transaction.
    RS-37  [checkpoints] What a run is asked to stop for is shown by its lease when it is read,
      acquired or renewed next, and forgotten when the run ends; a run that is not there or has
      ended is asked for nothing, which the answer False tells.
    RS-38  [checkpoints] A run that ought to go on though nobody goes on with it is claimed by one
      of any number of claimers: one that is not final and whose lease has expired, and one that is
      waiting without a lease and was asked to stop, or has, among the waits that it was parked for
      last, one that was answered or whose deadline has passed. A run that never had a lease is not
      claimed. None is left: None.
    RS-39  [checkpoints] Leases that were not released are listed, those that have expired too,
      by run, in pages as entries are.
    RS-40  [checkpoints] Deleting a run forgets its lease, entries and waits; no later lease of a
      run under the same id has a token that was given before.
    """

    async def acquire_lease(
        self, run_id: UUID, owner: str, *, ttl: float, take_over: int | None = None
    ) -> RunLease:
        """Become the owner of the run for *ttl* seconds.

        Args:
            run_id: The run.
            owner: Who wants it.
            ttl: Seconds for which it holds unless renewed.
            take_over: Token of a lease whose owner is known to be gone; that one is ended.

        Raises:
            RunNotFoundError: There is no such run.
            LeaseHeldError: Somebody has it.
        """
        ...

    async def renew_lease(self, lease: RunLease, *, ttl: float) -> RunLease:
        """Hold *lease* for *ttl* seconds from now; return it with its new end.

        Raises:
            LeaseLostError: It is no longer the run's.
        """
        ...

    async def release_lease(self, lease: RunLease) -> bool:
        """End *lease*; return whether it was the run's. Idempotent."""
        ...

    async def get_lease(self, run_id: UUID) -> RunLease | None:
        """Return the run's lease, also one that has expired; None if there is none."""
        ...

    async def list_leases(
        self, *, after: UUID | None = None, limit: int = 100
    ) -> Sequence[RunLease]:
        """Return up to *limit* leases that were not released, by run id, from *after* on."""
        ...

    async def claim_run(self, owner: str, *, ttl: float) -> RunLease | None:
        """Acquire some run that ought to go on; None if there is none."""
        ...

    async def request_cancel(self, run_id: UUID, reason: str) -> bool:
        """Ask the owner of the run, now or later, to cancel it; return whether it can be asked."""
        ...

    async def commit(
        self,
        lease: RunLease,
        entries: Iterable[CheckpointEntry] = (),
        *,
        removed: Iterable[str] = (),
        events: Iterable[RunEvent] = (),
        status: RunStatus | None = None,
        facts: dict[str, Any] | None = None,
    ) -> None:
        """Keep what is new about a run, in one transaction.

        Idempotent but for *events*. A cancelled call has happened completely or not at all.

        Args:
            lease: The writer's; it need not be renewed as long as nobody else took over.
            entries: What became known. Removals come first.
            removed: Keys that hold no longer.
            events: What happened, for the event log.
            status: The status that the run has from now on.
            facts: What else `update_status` would be given with it: `error`, `duration_ms` and
                metadata.

        Raises:
            LeaseLostError: The lease is no longer the run's.
            InvalidTransitionError: The run cannot have the status.
        """
        ...

    async def load_entries(
        self, run_id: UUID, *, after: int = 0, limit: int | None = None
    ) -> Sequence[CheckpointEntry]:
        """Return what is known of the run, in the order of writing; nothing of an unknown run."""
        ...


class RunRetention(Protocol):
    """The capability `retention`: forgets runs by age.

    RS-41  [retention] Runs that ended before the time given and have one of the statuses given
      are forgotten as by `delete_run`, the oldest first; a run that has a lease never is.
    RS-42  [retention] A dry run answers what would be forgotten, and forgets nothing.
    RS-43  [retention] A status that is not final raises `RunStoreError`.
    """

    async def prune_runs(
        self,
        *,
        before: datetime,
        statuses: Iterable[str] = ("completed", "failed", "cancelled"),
        limit: int = 1000,
        dry_run: bool = False,
    ) -> Sequence[UUID]:
        """Forget up to *limit* runs that ended before *before*; return which, oldest first."""
        ...
