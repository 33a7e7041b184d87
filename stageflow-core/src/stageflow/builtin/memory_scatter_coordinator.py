"""MemoryScatterCoordinator: barriers are known as long as the process lives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

import anyio.lowlevel

from stageflow.builtin._packed_items import CANCELLED, COMPLETED, FAILED, LATE, PENDING, PackedItems
from stageflow.builtin._pages import Pages, check_page_size
from stageflow.codec import Codec
from stageflow.contracts.clock import Clock, SystemClock
from stageflow.contracts.coordination import coordination_id, error_as_value, run_prefix
from stageflow.contracts.partitions import Partition
from stageflow.contracts.scatter_coordinator import (
    BarrierNotCompleteError,
    BarrierNotFoundError,
    BarrierSealedError,
    BarrierState,
    BarrierStatus,
    FailurePolicy,
    Insertion,
    ScatterCoordinatorCapabilities,
    UnknownScatterKeyError,
)
from stageflow.contracts.scatter_keys import ScatterKey, ScatterResults
from stageflow.contracts.storage import StorageClosedError

__all__ = ("MemoryScatterCoordinator",)


class MemoryScatterCoordinator:
    """Keeps barriers in this process, packed: a million small items take some tens of megabytes.

    Keys, results and errors are kept encoded, so that what works here works in any other
    coordinator. No call suspends, so each has happened completely before anything else does.

    Args:
        codec: What keys, results, errors and checkpoints are encoded with; the default one
            unless given.
        clock: Where the time of leases comes from.
    """

    capabilities: Final = ScatterCoordinatorCapabilities(
        claims=True, checkpoint=True, pages=True, deletion=True
    )

    def __init__(self, *, codec: Codec | None = None, clock: Clock | None = None) -> None:
        self._codec = codec or Codec.default()
        self._clock = clock or SystemClock()
        self._barriers: dict[str, _Barrier] = {}
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
        """Forget all barriers and refuse further calls; again is no error."""
        self._closed = True
        self._barriers.clear()
        await anyio.lowlevel.checkpoint()

    async def create_barrier(
        self,
        run_id: UUID | str,
        asset_name: str,
        partition: Partition,
        *,
        keys: Iterable[Any] = (),
        sealed: bool = True,
        checkpoint: Any = None,
        failure_threshold: float | None = None,
        failure_mode: str = "all_or_nothing",
    ) -> str:
        """See `ScatterCoordinator.create_barrier`."""
        self._check_open()
        barrier_id = coordination_id(run_id, asset_name, partition)
        policy = FailurePolicy.of(failure_threshold, failure_mode)
        first, encoded = self._keys(keys), self._codec.encode(checkpoint, where="checkpoint")
        if barrier_id not in self._barriers:
            barrier = _Barrier(barrier_id, policy)
            barrier.insert(first, encoded, sealed=sealed)
            self._barriers[barrier_id] = barrier
        return barrier_id

    async def insert_results(
        self,
        barrier_id: str,
        keys: Iterable[Any],
        *,
        checkpoint: Any = None,
        sealed: bool = False,
    ) -> Insertion:
        """See `ScatterCoordinator.insert_results`."""
        barrier = self._barrier(barrier_id)
        page = self._keys(keys)
        encoded = None
        if checkpoint is not None:
            encoded = self._codec.encode(checkpoint, where="checkpoint")
        return Insertion(added=barrier.insert(page, encoded, sealed=sealed), status=barrier.status)

    async def complete(self, barrier_id: str, key: Any, result: Any) -> BarrierStatus:
        """See `ScatterCoordinator.complete`."""
        return await self.record(barrier_id, completed=((key, result),))

    async def fail(self, barrier_id: str, key: Any, error: Any) -> BarrierStatus:
        """See `ScatterCoordinator.fail`."""
        return await self.record(barrier_id, failed=((key, error),))

    async def record(
        self,
        barrier_id: str,
        *,
        completed: Iterable[tuple[Any, Any]] = (),
        failed: Iterable[tuple[Any, Any]] = (),
    ) -> BarrierStatus:
        """See `ScatterCoordinator.record`."""
        barrier = self._barrier(barrier_id)
        encode = self._codec.encode
        nothing = encode(None)  # what most items give that give nothing, encoded once
        # All of it is looked at before any of it is kept.
        outcomes = [
            (
                barrier.number(key, self._codec),
                COMPLETED,
                nothing if result is None else encode(result, where="result"),
            )
            for key, result in completed
        ]
        outcomes += [
            (barrier.number(key, self._codec), FAILED, encode(error_as_value(error), where="error"))
            for key, error in failed
        ]
        barrier.record(outcomes)
        return barrier.status

    async def gather(self, barrier_id: str) -> ScatterResults:
        """See `ScatterCoordinator.gather`."""
        barrier = self._barrier(barrier_id)
        if barrier.status is not BarrierStatus.COMPLETE:
            raise BarrierNotCompleteError(barrier_id, barrier.status)
        codec = self._codec
        return ScatterResults(
            (
                (ScatterKey(key, codec), codec.decode(result))
                for _, key, result in barrier.items.outcomes(0, COMPLETED, None)
            ),
            codec,
        )

    async def cancel(self, barrier_id: str) -> None:
        """See `ScatterCoordinator.cancel`."""
        self._barrier(barrier_id).cancel()

    async def status(self, barrier_id: str) -> BarrierState:
        """See `ScatterCoordinator.status`."""
        return self._barrier(barrier_id).state(self._clock.monotonic())

    async def claim(
        self, barrier_id: str, worker: str, *, limit: int = 1, lease: float = 60.0
    ) -> Sequence[ScatterKey]:
        """See `KeyClaims.claim`."""
        barrier = self._barrier(barrier_id)
        claimed = barrier.claim(worker, limit, self._clock.monotonic(), lease)
        return tuple(ScatterKey(key, self._codec) for key in claimed)

    async def renew(
        self, barrier_id: str, worker: str, keys: Iterable[Any], *, lease: float = 60.0
    ) -> Sequence[ScatterKey]:
        """See `KeyClaims.renew`."""
        barrier = self._barrier(barrier_id)
        deadline = self._clock.monotonic() + lease
        return tuple(key for key in self._keys(keys) if barrier.renew(worker, key, deadline))

    async def release(self, barrier_id: str, worker: str, keys: Iterable[Any] | None = None) -> int:
        """See `KeyClaims.release`."""
        barrier = self._barrier(barrier_id)
        if keys is None:
            return barrier.free([n for n, (whose, _) in barrier.claims.items() if whose == worker])
        held = {barrier.claimed_by(worker, key) for key in self._keys(keys)}
        return barrier.free([number for number in held if number is not None])

    async def checkpoint(self, barrier_id: str) -> Any:
        """See `ReaderCheckpoints.checkpoint`."""
        return self._codec.decode(self._barrier(barrier_id).checkpoint)

    def gather_pages(
        self, barrier_id: str, page_size: int = 1000, *, failed: bool = False
    ) -> AsyncIterator[Sequence[tuple[Any, Any]]]:
        """See `ResultPages.gather_pages`."""
        codec, kind = self._codec, FAILED if failed else COMPLETED

        async def fetch(after: int) -> tuple[int, Sequence[tuple[Any, Any]]]:
            check_page_size(page_size)
            found = self._barrier(barrier_id).items.outcomes(after, kind, page_size)
            rows = list(found)
            page = [(codec.decode(key), codec.decode(outcome)) for _, key, outcome in rows]
            return (rows[-1][0] + 1 if rows else after), page

        return Pages(fetch)

    async def delete_barrier(self, barrier_id: str) -> bool:
        """See `BarrierDeletion.delete_barrier`."""
        self._check_open()
        return self._barriers.pop(barrier_id, None) is not None

    async def delete_run(self, run_id: UUID | str) -> int:
        """See `BarrierDeletion.delete_run`."""
        self._check_open()
        prefix = run_prefix(run_id)
        found = [barrier_id for barrier_id in self._barriers if barrier_id.startswith(prefix)]
        for barrier_id in found:
            del self._barriers[barrier_id]
        return len(found)

    def _check_open(self) -> None:
        if self._closed:
            raise StorageClosedError("MemoryScatterCoordinator")

    def _barrier(self, barrier_id: str) -> _Barrier:
        self._check_open()
        barrier = self._barriers.get(barrier_id)
        if barrier is None:
            raise BarrierNotFoundError(barrier_id)
        return barrier

    def _keys(self, keys: Iterable[Any]) -> list[ScatterKey]:
        of, codec = ScatterKey.of, self._codec
        return [of(key, codec) for key in keys]

    def __repr__(self) -> str:
        return f"MemoryScatterCoordinator({len(self._barriers)} barriers)"


class _Barrier:
    """The items of one scatter, their counts, and who works on them."""

    def __init__(self, barrier_id: str, policy: FailurePolicy) -> None:
        self.status = BarrierStatus.PENDING
        self.items = PackedItems()
        self.claims: dict[int, tuple[str, float]] = {}
        self.checkpoint = b""
        self._id = barrier_id
        self._policy = policy
        self._sealed = False
        self._completed = self._failed = self._cancelled = self._late = self._duplicates = 0
        self._cursor = 0  # no key before it is free to be claimed
        self._first_deadline = float("inf")

    def insert(
        self, keys: list[ScatterKey], checkpoint: bytes | None, *, sealed: bool
    ) -> list[ScatterKey]:
        if self.status in {BarrierStatus.CANCELLED, BarrierStatus.THRESHOLD_EXCEEDED}:
            return []
        if self._sealed:
            if any(self.items.find(key.digest) is None for key in keys):
                raise BarrierSealedError(self._id)
            added: list[ScatterKey] = []
        else:
            added = [key for key in keys if self.items.add(key)]
        self._duplicates += len(keys) - len(added)
        if checkpoint is not None:
            self.checkpoint = checkpoint
        self._sealed = self._sealed or sealed
        self._decide()
        return added

    def number(self, key: Any, codec: Codec) -> int:
        normal = ScatterKey.of(key, codec)
        number = self.items.find(normal.digest)
        if number is None:
            raise UnknownScatterKeyError(self._id, normal.value)
        return number

    def record(self, outcomes: list[tuple[int, int, bytes]]) -> None:
        for number, kind, payload in outcomes:
            state = self.items.states[number]
            if state == PENDING:
                self.items.end(number, kind, payload)
                self.claims.pop(number, None)
                if kind == COMPLETED:
                    self._completed += 1
                else:
                    self._failed += 1
            elif state == CANCELLED:
                self.items.states[number] = LATE
                self._late += 1
        self._decide()

    def cancel(self) -> None:
        self._cancelled += self.items.cancel_pending()
        self.claims.clear()
        if self.status is BarrierStatus.PENDING:
            self.status = BarrierStatus.CANCELLED

    def state(self, now: float) -> BarrierState:
        return BarrierState(
            status=self.status,
            total=len(self.items),
            completed=self._completed,
            failed=self._failed,
            cancelled=self._cancelled,
            claimed=sum(deadline > now for _, deadline in self.claims.values()),
            late=self._late,
            duplicates=self._duplicates,
            sealed=self._sealed,
        )

    def claim(self, worker: str, limit: int, now: float, lease: float) -> list[bytes]:
        if now >= self._first_deadline:
            self.free([n for n, (_, deadline) in self.claims.items() if deadline <= now])
        self._first_deadline = min(self._first_deadline, now + lease)
        found: list[bytes] = []
        number = self._cursor
        while len(found) < limit and (number := self.items.next_pending(number)) >= 0:
            if number not in self.claims:
                self.claims[number] = (worker, now + lease)
                found.append(self.items.key(number))
            number += 1
        self._cursor = number if number >= 0 else len(self.items)
        return found

    def renew(self, worker: str, key: ScatterKey, deadline: float) -> bool:
        number = self.claimed_by(worker, key)
        if number is None:
            return False
        self.claims[number] = (worker, deadline)
        self._first_deadline = min(self._first_deadline, deadline)
        return True

    def claimed_by(self, worker: str, key: ScatterKey) -> int | None:
        number = self.items.find(key.digest)
        if number is not None and self.claims.get(number, ("", 0))[0] == worker:
            return number
        return None

    def free(self, numbers: list[int]) -> int:
        for number in numbers:
            del self.claims[number]
        self._cursor = min(self._cursor, *numbers) if numbers else self._cursor
        deadlines = (deadline for _, deadline in self.claims.values())
        self._first_deadline = min(deadlines, default=float("inf"))
        return len(numbers)

    def _decide(self) -> None:
        if self.status is BarrierStatus.PENDING:
            self.status = self._policy.decide(
                sealed=self._sealed,
                total=len(self.items),
                completed=self._completed,
                failed=self._failed,
            )
