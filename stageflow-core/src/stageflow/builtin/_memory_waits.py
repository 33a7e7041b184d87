"""Waits and signals of `MemoryRunStore`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from datetime import timedelta
from uuid import UUID

import attrs

from stageflow.builtin._memory_runs import MemoryRuns, StoredRun
from stageflow.builtin._run_store_rules import no_such_wait
from stageflow.contracts.checkpoints import RunLease
from stageflow.contracts.run_store import RunStatus
from stageflow.contracts.waits import RunEndedError, RunWait, SignalReceipt, WaitState

__all__ = ("MemoryWaits",)


class MemoryWaits(MemoryRuns):
    """The capability `waits`."""

    async def open_wait(
        self,
        lease: RunLease,
        wait_id: str,
        *,
        stage: str,
        name: str,
        timeout: float | None = None,
    ) -> RunWait:
        """See `RunWaits.open_wait`."""
        self._check_open()
        run, now = self._owned(lease), self._clock.now()
        known = run.waits.get(wait_id)
        if known is not None:
            return known
        wait = RunWait(
            run_id=lease.run_id,
            wait_id=wait_id,
            stage=stage,
            name=name,
            created_at=now,
            deadline=None if timeout is None else now + timedelta(seconds=timeout),
        )
        kept = run.kept_signals.get(name)
        if kept:
            wait = attrs.evolve(wait, state=WaitState.ANSWERED, value=kept.popleft())
        else:
            run.open_waits.setdefault(name, deque()).append(wait_id)
        run.waits[wait_id] = wait
        return wait

    async def expire_wait(self, lease: RunLease, wait_id: str) -> RunWait:
        """See `RunWaits.expire_wait`."""
        self._check_open()
        run = self._owned(lease)
        wait = run.waits.get(wait_id)
        if wait is None:
            raise no_such_wait(lease.run_id, wait_id)
        if wait.state is WaitState.OPEN:
            run.waits[wait_id] = wait = attrs.evolve(wait, state=WaitState.TIMED_OUT)
        return wait

    async def list_waits(self, run_id: UUID) -> Sequence[RunWait]:
        """See `RunWaits.list_waits`."""
        self._check_open()
        run = self._runs.get(run_id)
        return () if run is None else tuple(run.waits.values())

    async def park_run(self, lease: RunLease, wait_ids: Iterable[str]) -> bool:
        """See `RunWaits.park_run`."""
        self._check_open()
        given = frozenset(wait_ids)
        run = self._owned(lease)
        if any(wait_id not in run.waits for wait_id in given):
            return False
        if any(run.waits[wait_id].state is not WaitState.OPEN for wait_id in given):
            return False
        self._update(run, RunStatus.WAITING, {})
        run.parked_for, run.expires_at = given, None
        return True

    async def signal_run(
        self, run_id: UUID, name: str, value: bytes, *, signal_id: str | None = None
    ) -> SignalReceipt:
        """See `RunWaits.signal_run`."""
        self._check_open()
        answer = bytes(value)
        run = self._run(run_id)
        if signal_id is not None and signal_id in run.signal_ids:
            return SignalReceipt(
                wait_id=run.signal_ids[signal_id], repeated=True, parked=run.is_parked
            )
        if run.record.status.is_final:
            raise RunEndedError(run_id, run.record.status)
        wait = _oldest_open(run, name)
        if wait is None:
            run.kept_signals.setdefault(name, deque()).append(answer)
        else:
            run.waits[wait.wait_id] = attrs.evolve(wait, state=WaitState.ANSWERED, value=answer)
        wait_id = None if wait is None else wait.wait_id
        if signal_id is not None:
            run.signal_ids[signal_id] = wait_id
        return SignalReceipt(wait_id=wait_id, parked=run.is_parked)


def _oldest_open(run: StoredRun, name: str) -> RunWait | None:
    opened = run.open_waits.get(name)
    while opened:
        wait = run.waits[opened.popleft()]
        if wait.state is WaitState.OPEN:
            return wait
    return None
