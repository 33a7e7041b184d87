"""What the parts of `MemoryRunStore` share: the runs, and who owns them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import attrs

from stageflow.codec import Codec
from stageflow.contracts.checkpoints import LeaseLostError, RunLease
from stageflow.contracts.clock import Clock, SystemClock
from stageflow.contracts.run_store import (
    RunEvent,
    RunNotFoundError,
    RunRecord,
    RunStatus,
    check_run_transition,
)
from stageflow.contracts.storage import StorageClosedError
from stageflow.contracts.waits import RunWait, WaitState

__all__ = ("LoggedEvent", "MemoryRuns", "StoredRun")

LoggedEvent = tuple[str, datetime, bytes]


@attrs.define(eq=False)
class StoredRun:
    """All that is known of a run; changed only between two awaits.

    Attributes:
        record: As it is handed out, but without its metadata.
        metadata: Encoded, by name.
        events: Type, time and encoded data.
        ended_at: Since when its status is final.
        owner: Who holds the lease, or held the last one; None if there never was one.
        token: The highest that was given to a run of this id.
        expires_at: Until when the lease holds; None if it was released.
        cancel_requested: Why it is to be cancelled.
        entries: Number and value by key, in the order of writing.
        last_number: The highest that an entry has had.
        waits: By id, in the order in which they were opened.
        open_waits: Ids of those that were opened, by the signal's name; some may have ended.
        parked_for: Ids of the waits that it was parked for last.
        kept_signals: Values without a wait yet, by the signal's name.
        signal_ids: The wait that each signal answered when it was given first.
    """

    record: RunRecord
    metadata: dict[str, bytes]
    events: list[LoggedEvent] = attrs.field(factory=list)
    ended_at: datetime | None = None
    owner: str | None = None
    token: int = 0
    expires_at: datetime | None = None
    cancel_requested: str | None = None
    entries: dict[str, tuple[int, bytes]] = attrs.field(factory=dict)
    last_number: int = 0
    waits: dict[str, RunWait] = attrs.field(factory=dict)
    open_waits: dict[str, deque[str]] = attrs.field(factory=dict)
    parked_for: frozenset[str] = frozenset()
    kept_signals: dict[str, deque[bytes]] = attrs.field(factory=dict)
    signal_ids: dict[str, str | None] = attrs.field(factory=dict)

    @property
    def is_parked(self) -> bool:
        """Whether it waits and nobody has it."""
        return self.record.status is RunStatus.WAITING and self.expires_at is None

    def lease(self) -> RunLease | None:
        """Return the lease that was not released, expired or not."""
        if self.owner is None or self.expires_at is None:
            return None
        return RunLease(
            run_id=self.record.run_id,
            owner=self.owner,
            token=self.token,
            expires_at=self.expires_at,
            cancel_requested=self.cancel_requested,
        )

    def ought_to_go_on(self, now: datetime) -> bool:
        """Return whether anybody may claim it at *now*."""
        if self.owner is None or self.record.status.is_final:
            return False
        if self.expires_at is not None:
            return self.expires_at <= now
        return self.is_parked and (
            self.cancel_requested is not None
            or any(_has_come(self.waits[wait_id], now) for wait_id in self.parked_for)
        )

    def become(
        self,
        new: RunStatus,
        now: datetime,
        *,
        error: str | None = None,
        duration_ms: float | None = None,
        metadata: Mapping[str, bytes],
    ) -> None:
        """Have the status *new* from *now* on; the caller has checked that it may."""
        old = self.record
        is_taken_up = old.status.is_final and not new.is_final
        self.record = attrs.evolve(
            old,
            status=new,
            error=error if error is not None or is_taken_up else old.error,
            duration_ms=duration_ms if duration_ms is not None or is_taken_up else old.duration_ms,
            updated_at=now,
        )
        self.metadata.update(metadata)
        if not new.is_final:
            self.ended_at = None
        elif not old.status.is_final:
            self.ended_at, self.cancel_requested = now, None


def _has_come(wait: RunWait, now: datetime) -> bool:
    """Return whether there is an answer to *wait*, or its time is up."""
    is_overdue = wait.deadline is not None and wait.deadline <= now
    return is_overdue or wait.state is WaitState.ANSWERED


class MemoryRuns:
    """The runs, by id; each part of the store adds the calls of one capability."""

    def __init__(self, *, codec: Codec | None = None, clock: Clock | None = None) -> None:
        self._codec = codec or Codec.default()
        self._clock = clock or SystemClock()
        self._runs: dict[UUID, StoredRun] = {}
        self._last_tokens: dict[UUID, int] = {}  # of runs that were forgotten
        self._closed = False

    def _check_open(self) -> None:
        if self._closed:
            raise StorageClosedError("MemoryRunStore")

    def _run(self, run_id: UUID) -> StoredRun:
        run = self._runs.get(run_id)
        if run is None:
            raise RunNotFoundError(run_id)
        return run

    def _owned(self, lease: RunLease) -> StoredRun:
        """Return the run that *lease* is for, if it is the run's lease still."""
        run = self._runs.get(lease.run_id)
        if run is None or run.token != lease.token or run.expires_at is None:
            raise LeaseLostError(lease)
        return run

    def _forget(self, run_id: UUID) -> bool:
        run = self._runs.pop(run_id, None)
        if run is not None and run.token:
            self._last_tokens[run_id] = run.token
        return run is not None

    def _update(
        self,
        run: StoredRun,
        new: RunStatus,
        metadata: Mapping[str, bytes],
        *,
        error: str | None = None,
        duration_ms: float | None = None,
    ) -> None:
        check_run_transition(run.record.run_id, run.record.status, new)
        run.become(new, self._clock.now(), error=error, duration_ms=duration_ms, metadata=metadata)

    def _encode(self, metadata: Mapping[str, Any]) -> dict[str, bytes]:
        return {name: self._codec.encode(value, where=name) for name, value in metadata.items()}

    def _encode_events(self, events: Iterable[RunEvent]) -> list[LoggedEvent]:
        return [
            (event.type, event.at, self._codec.encode(event.data, where="data")) for event in events
        ]
