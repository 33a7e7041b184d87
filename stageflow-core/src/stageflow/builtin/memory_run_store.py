"""MemoryRunStore: runs are known as long as the process lives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

import anyio.lowlevel
import attrs

from stageflow.codec import Codec
from stageflow.contracts.clock import Clock, SystemClock
from stageflow.contracts.run_store import (
    RunEvent,
    RunExistsError,
    RunNotFoundError,
    RunRecord,
    RunStatus,
    RunStoreCapabilities,
    as_run_status,
    check_run_limit,
    check_run_transition,
)
from stageflow.contracts.storage import StorageClosedError

__all__ = ("MemoryRunStore",)


@attrs.define(eq=False)
class _Run:
    record: RunRecord  # without its metadata
    metadata: dict[str, bytes]
    events: list[tuple[str, datetime, bytes]] = attrs.field(factory=list)


class MemoryRunStore:
    """Keeps runs in this process, encoded, so that what works here works in any other store.

    No call suspends, so each has happened completely before anything else does.

    Args:
        codec: What metadata and events are encoded with; the default one unless given.
        clock: Where the times in records come from.
    """

    capabilities: Final = RunStoreCapabilities(listing=True, event_log=True, deletion=True)

    def __init__(self, *, codec: Codec | None = None, clock: Clock | None = None) -> None:
        self._codec = codec or Codec.default()
        self._clock = clock or SystemClock()
        self._runs: dict[UUID, _Run] = {}
        self._closed = False

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
        self._runs[run_id] = run = _Run(record, encoded)
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
        run = self._run(run_id)
        old = run.record
        check_run_transition(run_id, old.status, new)
        is_taken_up = old.status.is_final and new is RunStatus.RUNNING
        run.record = attrs.evolve(
            old,
            status=new,
            error=error if error is not None or is_taken_up else old.error,
            duration_ms=duration_ms if duration_ms is not None or is_taken_up else old.duration_ms,
            updated_at=self._clock.now(),
        )
        run.metadata.update(encoded)

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
        encoded = [
            (event.type, event.at, self._codec.encode(event.data, where="data")) for event in events
        ]
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
        return self._runs.pop(run_id, None) is not None

    def _check_open(self) -> None:
        if self._closed:
            raise StorageClosedError("MemoryRunStore")

    def _run(self, run_id: UUID) -> _Run:
        run = self._runs.get(run_id)
        if run is None:
            raise RunNotFoundError(run_id)
        return run

    def _encode(self, metadata: dict[str, Any]) -> dict[str, bytes]:
        return {name: self._codec.encode(value, where=name) for name, value in metadata.items()}

    def _decode(self, run: _Run) -> RunRecord:
        metadata = {name: self._codec.decode(value) for name, value in run.metadata.items()}
        return attrs.evolve(run.record, metadata=metadata)

    def __repr__(self) -> str:
        return f"MemoryRunStore({len(self._runs)} runs)"
