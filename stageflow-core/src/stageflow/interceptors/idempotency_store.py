"""Idempotency stores: what a stage gave under a key, kept so that nobody does it twice."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from heapq import heappop, heappush
from typing import Any, Protocol

import anyio
import attrs

from stageflow._engine.threads import LoopDoor
from stageflow.codec import Codec
from stageflow.contracts.clock import Clock, SystemClock
from stageflow.contracts.logs import get_logger
from stageflow.stages import StageArtifact, StageEvent, StageResult

__all__ = ("CachedStageResult", "IdempotencyStore", "InMemoryIdempotencyStore", "KeyLocks")

_log = get_logger(__name__)


@attrs.frozen
class CachedStageResult:
    """What a stage gave, and for which input.

    Attributes:
        result: The result.
        params_hash: Hash of the input that it was given for; None if that was not looked at.
        expires_at: From when on it does not count any more; None for never.
        version: Version of the data's shape, if the stage named one.
    """

    result: StageResult
    params_hash: str | None = None
    expires_at: datetime | None = None
    version: str | None = attrs.field(default=None, kw_only=True)

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as data that a codec can encode if it can encode what the stage gave."""
        result = self.result
        return {
            "result": {
                "name": result.name,
                "status": result.status.value,
                "started_at": result.started_at,
                "ended_at": result.ended_at,
                "data": result.data,
                "error": result.error,
                "artifacts": [
                    [item.type, item.payload, item.timestamp] for item in result.artifacts
                ],
                "events": [[item.type, item.data, item.timestamp] for item in result.events],
                "metadata": result.metadata,
            },
            "params_hash": self.params_hash,
            "expires_at": self.expires_at,
            "version": self.version,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CachedStageResult:
        """Return the entry that `to_dict` wrote."""
        result = dict(data["result"])
        result["artifacts"] = [StageArtifact(*item) for item in result["artifacts"]]
        result["events"] = [StageEvent(*item) for item in result["events"]]
        return cls(
            StageResult(**result),
            data["params_hash"],
            data["expires_at"],
            version=data["version"],
        )


class IdempotencyStore(Protocol):
    """Where the results of stages are kept by key; any class with these methods serves.

    What it is given is made of values that the codec knows, so that a store outside the process
    can keep `codec.encode(entry.to_dict())`. A store whose entries are seen by other processes
    should also have a method `lock(key)` that returns an async context manager, held by one
    execution at a time everywhere: without it, only duplicates in one process wait for each
    other.
    """

    async def get(self, key: str) -> CachedStageResult | None:
        """Return the entry under *key* unless there is none or it has expired."""
        ...

    async def set(
        self, key: str, entry: CachedStageResult, *, ttl_seconds: float | None = None
    ) -> None:
        """Keep *entry* under *key* in place of any other, for *ttl_seconds* if they are given."""
        ...

    async def delete(self, key: str) -> None:
        """Forget the entry under *key*; nothing happens if there is none."""
        ...


class KeyLocks:
    """Locks by key that tasks wait for in the order they came, in any event loop and thread."""

    __slots__ = ("_mutex", "_waiting")

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        # A key that is in here is held by somebody.
        self._waiting: dict[str, deque[_Waiter]] = {}

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[None]:
        """Hold *key* within the block; wait until it is free before."""
        with self._mutex:
            queue = self._waiting.get(key)
            waiter = None if queue is None else _Waiter()
            if queue is None or waiter is None:
                self._waiting[key] = deque()
            else:
                queue.append(waiter)
        if waiter is not None:
            await self._wait(key, waiter)
        try:
            yield
        finally:
            self._release(key)

    async def _wait(self, key: str, waiter: _Waiter) -> None:
        try:
            await waiter.called.wait()
        except BaseException:
            with self._mutex:
                queue = self._waiting[key]
                was_called = waiter not in queue
                if not was_called:
                    queue.remove(waiter)
            if was_called:
                self._release(key)
            raise

    def _release(self, key: str) -> None:
        with self._mutex:
            queue = self._waiting[key]
            if not queue:
                del self._waiting[key]
                return
            following = queue.popleft()
        following.door.call(following.called.set)

    def __len__(self) -> int:
        return len(self._waiting)


class _Waiter:
    __slots__ = ("called", "door")

    def __init__(self) -> None:
        self.called = anyio.Event()
        self.door = LoopDoor()


class InMemoryIdempotencyStore:
    """Keeps entries in this process, encoded, so that what it gives back is nobody else's.

    Args:
        codec: What encodes the entries; the default codec unless given.
        clock: What entries expire by.
        max_entries: How many are kept; beyond, those go first that would expire first, and the
            first time this happens it is logged as a warning.
    """

    def __init__(
        self, *, codec: Codec | None = None, clock: Clock | None = None, max_entries: int = 10_000
    ) -> None:
        if max_entries < 1:
            raise ValueError(f"max_entries must be at least 1, not {max_entries}")
        self._codec = codec
        self._clock = clock or SystemClock()
        self._max_entries = max_entries
        self._entries: dict[str, tuple[float, bytes]] = {}
        # When each entry expires, the earliest first; what was replaced meanwhile is ignored.
        self._ends: list[tuple[float, str]] = []
        self._mutex = threading.Lock()
        self._locks = KeyLocks()
        self._warned = False

    async def get(self, key: str) -> CachedStageResult | None:
        """Return the entry under *key* unless there is none or it has expired."""
        with self._mutex:
            found = self._entries.get(key)
        if found is None or found[0] <= self._clock.monotonic():
            return None
        return CachedStageResult.from_dict((self._codec or Codec.default()).decode(found[1]))

    async def set(
        self, key: str, entry: CachedStageResult, *, ttl_seconds: float | None = None
    ) -> None:
        """Keep *entry* under *key* in place of any other, for *ttl_seconds* if they are given.

        Raises:
            UnencodableValueError: If the codec does not know a part of it.
        """
        payload = (self._codec or Codec.default()).encode(entry.to_dict(), where="entry")
        now = self._clock.monotonic()
        ends = float("inf") if ttl_seconds is None else now + ttl_seconds
        with self._mutex:
            self._entries[key] = (ends, payload)
            heappush(self._ends, (ends, key))
            self._make_room(now)

    async def delete(self, key: str) -> None:
        """Forget the entry under *key*; nothing happens if there is none."""
        with self._mutex:
            self._entries.pop(key, None)

    def lock(self, key: str) -> AbstractAsyncContextManager[None]:
        """Return what holds *key* within a block, and waits until it is free before."""
        return self._locks.hold(key)

    def __len__(self) -> int:
        return len(self._entries)

    def _make_room(self, now: float) -> None:
        while self._ends:
            ends, key = self._ends[0]
            known = self._entries.get(key)
            if known is not None and known[0] == ends and ends > now:
                if len(self._entries) <= self._max_entries:
                    return
                if not self._warned:
                    self._warned = True
                    _log.warning("idempotency.entries_dropped", max_entries=self._max_entries)
            heappop(self._ends)
            if known is not None and known[0] == ends:
                del self._entries[key]
