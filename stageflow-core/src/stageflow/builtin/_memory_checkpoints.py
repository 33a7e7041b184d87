"""Checkpoints and retention of `MemoryRunStore`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any
from uuid import UUID

from stageflow.builtin._memory_runs import MemoryRuns, StoredRun
from stageflow.builtin._run_store_rules import check_aware, final_statuses
from stageflow.contracts.checkpoints import CheckpointEntry, LeaseHeldError, RunLease
from stageflow.contracts.run_store import RunEvent, RunStatus, as_run_status

__all__ = ("MemoryCheckpoints",)


class MemoryCheckpoints(MemoryRuns):
    """The capabilities `checkpoints` and `retention`."""

    async def acquire_lease(
        self, run_id: UUID, owner: str, *, ttl: float, take_over: int | None = None
    ) -> RunLease:
        """See `RunCheckpoints.acquire_lease`."""
        self._check_open()
        run, now = self._run(run_id), self._clock.now()
        held = run.lease()
        if held is not None and held.expires_at > now and held.token != take_over:
            raise LeaseHeldError(held)
        return _lease(run, owner, now, ttl)

    async def renew_lease(self, lease: RunLease, *, ttl: float) -> RunLease:
        """See `RunCheckpoints.renew_lease`."""
        self._check_open()
        run = self._owned(lease)
        run.expires_at = self._clock.now() + timedelta(seconds=ttl)
        return run.lease() or lease

    async def release_lease(self, lease: RunLease) -> bool:
        """See `RunCheckpoints.release_lease`."""
        self._check_open()
        run = self._runs.get(lease.run_id)
        if run is None or run.token != lease.token or run.expires_at is None:
            return False
        run.expires_at = None
        return True

    async def get_lease(self, run_id: UUID) -> RunLease | None:
        """See `RunCheckpoints.get_lease`."""
        self._check_open()
        run = self._runs.get(run_id)
        return None if run is None else run.lease()

    async def list_leases(
        self, *, after: UUID | None = None, limit: int = 100
    ) -> Sequence[RunLease]:
        """See `RunCheckpoints.list_leases`."""
        self._check_open()
        leases = [lease for run in self._runs.values() if (lease := run.lease()) is not None]
        leases.sort(key=lambda lease: lease.run_id)
        wanted = (lease for lease in leases if after is None or lease.run_id > after)
        return tuple(islice(wanted, max(limit, 0)))

    async def claim_run(self, owner: str, *, ttl: float) -> RunLease | None:
        """See `RunCheckpoints.claim_run`."""
        self._check_open()
        now = self._clock.now()
        for run in self._runs.values():
            if run.ought_to_go_on(now):
                return _lease(run, owner, now, ttl)
        return None

    async def request_cancel(self, run_id: UUID, reason: str) -> bool:
        """See `RunCheckpoints.request_cancel`."""
        self._check_open()
        run = self._runs.get(run_id)
        if run is None or run.record.status.is_final:
            return False
        if run.cancel_requested is None:
            run.cancel_requested = reason
        return True

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
        """See `RunCheckpoints.commit`."""
        self._check_open()
        # All that can be refused is looked at before anything changes.
        new = None if status is None else as_run_status(status)
        metadata = dict(facts or {})
        error, duration_ms = metadata.pop("error", None), metadata.pop("duration_ms", None)
        encoded = self._encode(metadata)
        logged = self._encode_events(events)
        written = [(entry.key, bytes(entry.value)) for entry in entries]
        gone = tuple(removed)
        run = self._owned(lease)
        if new is not None or facts:
            self._update(
                run, new or run.record.status, encoded, error=error, duration_ms=duration_ms
            )
        if new is not None and new.is_final:
            run.expires_at = None
        for key in gone:
            run.entries.pop(key, None)
        for key, value in written:
            run.entries.pop(key, None)  # so that it moves to the end
            run.last_number += 1
            run.entries[key] = (run.last_number, value)
        run.events.extend(logged)

    async def load_entries(
        self, run_id: UUID, *, after: int = 0, limit: int | None = None
    ) -> Sequence[CheckpointEntry]:
        """See `RunCheckpoints.load_entries`."""
        self._check_open()
        run = self._runs.get(run_id)
        found = (
            CheckpointEntry(key=key, value=value, number=number)
            for key, (number, value) in (run.entries.items() if run else ())
            if number > after
        )
        return tuple(islice(found, None if limit is None else max(limit, 0)))

    async def prune_runs(
        self,
        *,
        before: datetime,
        statuses: Iterable[str] = ("completed", "failed", "cancelled"),
        limit: int = 1000,
        dry_run: bool = False,
    ) -> Sequence[UUID]:
        """See `RunRetention.prune_runs`."""
        self._check_open()
        check_aware(before)
        wanted = final_statuses(statuses)
        ended = [
            (run.ended_at, run_id)
            for run_id, run in self._runs.items()
            if run.record.status in wanted
            and run.ended_at is not None
            and run.ended_at < before
            and run.expires_at is None
        ]
        ended.sort(key=lambda found: found[0])  # those that ended at once stay as created
        chosen = tuple(run_id for _, run_id in ended[: max(limit, 0)])
        if not dry_run:
            for run_id in chosen:
                self._forget(run_id)
        return chosen


def _lease(run: StoredRun, owner: str, now: datetime, ttl: float) -> RunLease:
    run.owner, run.token = owner, run.token + 1
    run.expires_at = now + timedelta(seconds=ttl)
    return RunLease(
        run_id=run.record.run_id,
        owner=owner,
        token=run.token,
        expires_at=run.expires_at,
        cancel_requested=run.cancel_requested,
    )
