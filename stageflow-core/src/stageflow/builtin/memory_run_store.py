"""MemoryRunStore: runs are known as long as the process lives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

import anyio.lowlevel
import attrs

from stageflow.builtin._memory_checkpoints import MemoryCheckpoints
from stageflow.builtin._memory_runs import StoredRun
from stageflow.builtin._memory_values import MemorySharedValues
from stageflow.builtin._memory_waits import MemoryWaits
from stageflow.contracts.run_store import (
    RunEvent,
    RunExistsError,
    RunRecord,
    RunStoreCapabilities,
    as_run_status,
    check_run_limit,
)

__all__ = ("MemoryRunStore",)


class MemoryRunStore(MemoryCheckpoints, MemoryWaits, MemorySharedValues):
    """Keeps runs in this process, encoded, so that what works here works in any other store.

    No call suspends, so each has happened completely before anything else does.

    Args:
        codec: What metadata and events are encoded with; the default one unless given.
        clock: Where the times in records, leases and waits come from.
    """

    capabilities: Final = RunStoreCapabilities(
        listing=True,
        event_log=True,
        deletion=True,
        checkpoints=True,
        retention=True,
        waits=True,
        shared_values=True,
    )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Forget all runs and refuse further calls; again is no error."""
        self._closed = True
        self._runs.clear()
        self._namespaces.clear()
        await anyio.lowlevel.checkpoint()

    async def create_run(
        self,
        run_id: UUID,
        *,
        service: str,
        topology: str | None = None,
        execution_mode: str | None = None,
        status: str = "created",
        **metadata: Any,
    ) -> RunRecord:
        """See `RunStore.create_run`."""
        self._check_open()
        now = self._clock.now()
        record = RunRecord(
            run_id=run_id,
            service=service,
            topology=topology,
            execution_mode=execution_mode,
            status=as_run_status(status),
            created_at=now,
            updated_at=now,
        )
        encoded = self._encode(metadata)
        if run_id in self._runs:
            raise RunExistsError(run_id)
        run = StoredRun(record, encoded, token=self._last_tokens.pop(run_id, 0))
        run.ended_at = now if record.status.is_final else None
        self._runs[run_id] = run
        return self._decode(run)

    async def update_status(
        self,
        run_id: UUID,
        status: str,
        *,
        error: str | None = None,
        duration_ms: float | None = None,
        **data: Any,
    ) -> None:
        """See `RunStore.update_status`."""
        self._check_open()
        new, encoded = as_run_status(status), self._encode(data)
        self._update(self._run(run_id), new, encoded, error=error, duration_ms=duration_ms)

    async def get_run(self, run_id: UUID) -> RunRecord | None:
        """See `RunStore.get_run`."""
        self._check_open()
        run = self._runs.get(run_id)
        return None if run is None else self._decode(run)

    async def list_runs(
        self,
        *,
        status: str | None = None,
        service: str | None = None,
        limit: int = 100,
        before: UUID | None = None,
    ) -> Sequence[RunRecord]:
        """See `RunListing.list_runs`."""
        self._check_open()
        check_run_limit(limit)
        wanted = None if status is None else as_run_status(status)
        newest_first = reversed(self._runs.values())
        if before is not None:
            last = self._run(before)
            while next(newest_first) is not last:
                continue
        found: list[RunRecord] = []
        for run in newest_first:
            if len(found) == limit:
                break
            if wanted in {None, run.record.status} and service in {None, run.record.service}:
                found.append(self._decode(run))
        return tuple(found)

    async def append_events(self, run_id: UUID, events: Iterable[RunEvent]) -> int:
        """See `RunEventLog.append_events`."""
        self._check_open()
        encoded = self._encode_events(events)
        log = self._run(run_id).events
        log.extend(encoded)
        return len(log)

    async def read_events(
        self, run_id: UUID, *, after: int = 0, limit: int | None = None
    ) -> Sequence[RunEvent]:
        """See `RunEventLog.read_events`."""
        self._check_open()
        run = self._runs.get(run_id)
        after = max(after, 0)
        end = None if limit is None else after + max(limit, 0)
        return tuple(
            RunEvent(type=kind, data=self._codec.decode(data), at=at, number=number)
            for number, (kind, at, data) in enumerate(
                run.events[after:end] if run else (), start=after + 1
            )
        )

    async def delete_run(self, run_id: UUID) -> bool:
        """See `RunDeletion.delete_run`."""
        self._check_open()
        return self._forget(run_id)

    def _decode(self, run: StoredRun) -> RunRecord:
        metadata = {name: self._codec.decode(value) for name, value in run.metadata.items()}
        return attrs.evolve(run.record, metadata=metadata)

    def __repr__(self) -> str:
        return f"MemoryRunStore({len(self._runs)} runs)"
