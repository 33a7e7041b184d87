"""SqliteScatterCoordinator: barriers outlive the process, in one file that many may use."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from uuid import UUID

from stageflow.builtin._pages import Pages, check_page_size
from stageflow.builtin._sqlite import SqliteDatabase, Synchronous
from stageflow.builtin._sqlite_barriers import COMPLETED, FAILED, SCHEMA, Barrier, text
from stageflow.codec import Codec, MalformedPayloadError
from stageflow.contracts.clock import Clock, SystemClock
from stageflow.contracts.coordination import coordination_id, error_as_value
from stageflow.contracts.partitions import Partition
from stageflow.contracts.scatter_coordinator import (
    BarrierNotCompleteError,
    BarrierState,
    BarrierStatus,
    FailurePolicy,
    Insertion,
    ScatterCoordinatorCapabilities,
)
from stageflow.contracts.scatter_keys import ScatterKey, ScatterResults
from stageflow.contracts.storage import StorageCorruptError

__all__ = ("SqliteScatterCoordinator",)

T = TypeVar("T")


class SqliteScatterCoordinator:
    """Keeps barriers in an SQLite file, which any number of processes may use at once.

    Args:
        path: The file; it and the folders above it are made when they are missing.
        synchronous: `full`: what was kept survives the death of the machine; `normal`: that of
            the process.
        busy_timeout: For how many seconds a call waits for another process that writes.
        codec: What keys, results, errors and checkpoints are encoded with; the default one
            unless given.
        clock: Where the time of leases comes from.
    """

    capabilities: Final = ScatterCoordinatorCapabilities(
        claims=True, checkpoint=True, pages=True, deletion=True
    )

    def __init__(
        self,
        path: str | Path,
        *,
        synchronous: Synchronous = "full",
        busy_timeout: float = 5.0,
        codec: Codec | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._codec = codec or Codec.default()
        self._clock = clock or SystemClock()
        self._database = SqliteDatabase(
            path, schema=SCHEMA, synchronous=synchronous, busy_timeout=busy_timeout
        )

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def open(self) -> None:
        """Open the file now, so that what is wrong with it is known; otherwise a call does.

        Raises:
            StorageError: It cannot be used.
        """
        await self._database.open()

    async def aclose(self) -> None:
        """Close the file once every call made before has ended; again is no error."""
        await self._database.aclose()

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
        barrier_id = coordination_id(run_id, asset_name, partition)
        policy = FailurePolicy.of(failure_threshold, failure_mode)
        first, encoded = self._keys(keys), self._codec.encode(checkpoint, where="checkpoint")
        run = text(str(run_id))

        def create(connection: sqlite3.Connection) -> None:
            barrier = Barrier.create(connection, barrier_id, run, policy)
            if barrier is not None:
                barrier.insert(first, encoded, sealed=sealed)
                barrier.save()

        await self._database.write(create)
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
        page, encoded = self._keys(keys), None
        if checkpoint is not None:
            encoded = self._codec.encode(checkpoint, where="checkpoint")

        def insert(connection: sqlite3.Connection) -> Insertion:
            barrier = Barrier.load(connection, barrier_id)
            added = barrier.insert(page, encoded, sealed=sealed)
            barrier.save()
            return Insertion(added=added, status=barrier.status)

        return await self._database.write(insert)

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
        encode, of, codec = self._codec.encode, ScatterKey.of, self._codec
        results = [(of(key, codec), encode(result, where="result")) for key, result in completed]
        errors = [
            (of(key, codec), encode(error_as_value(error), where="error")) for key, error in failed
        ]

        def record(connection: sqlite3.Connection) -> BarrierStatus:
            barrier = Barrier.load(connection, barrier_id)
            barrier.record(COMPLETED, results)
            barrier.record(FAILED, errors)
            barrier.save()
            return barrier.status

        return await self._database.write(record)

    async def gather(self, barrier_id: str) -> ScatterResults:
        """See `ScatterCoordinator.gather`."""

        def gather(connection: sqlite3.Connection) -> list[tuple[int, bytes, bytes]]:
            barrier = Barrier.load(connection, barrier_id)
            if barrier.status is not BarrierStatus.COMPLETE:
                raise BarrierNotCompleteError(barrier_id, barrier.status)
            return barrier.outcomes(0, COMPLETED, -1)

        rows = await self._database.read(gather)
        codec = self._codec
        return ScatterResults(
            ((ScatterKey(key, codec), self._decode(result, barrier_id)) for _, key, result in rows),
            codec,
        )

    async def cancel(self, barrier_id: str) -> None:
        """See `ScatterCoordinator.cancel`."""

        def cancel(connection: sqlite3.Connection) -> None:
            barrier = Barrier.load(connection, barrier_id)
            barrier.cancel()
            barrier.save()

        await self._database.write(cancel)

    async def status(self, barrier_id: str) -> BarrierState:
        """See `ScatterCoordinator.status`."""
        now = self._now()
        return await self._on_barrier(barrier_id, lambda barrier: barrier.state(now))

    async def claim(
        self, barrier_id: str, worker: str, *, limit: int = 1, lease: float = 60.0
    ) -> Sequence[ScatterKey]:
        """See `KeyClaims.claim`."""
        now = self._now()

        def claim(connection: sqlite3.Connection) -> list[bytes]:
            barrier = Barrier.load(connection, barrier_id)
            claimed = barrier.claim(text(worker), limit, now, now + lease)
            barrier.save()
            return claimed

        return tuple(ScatterKey(key, self._codec) for key in await self._database.write(claim))

    async def renew(
        self, barrier_id: str, worker: str, keys: Iterable[Any], *, lease: float = 60.0
    ) -> Sequence[ScatterKey]:
        """See `KeyClaims.renew`."""
        wanted, deadline = self._keys(keys), self._now() + lease

        def renew(connection: sqlite3.Connection) -> list[ScatterKey]:
            return Barrier.load(connection, barrier_id).renew(text(worker), wanted, deadline)

        return tuple(await self._database.write(renew))

    async def release(self, barrier_id: str, worker: str, keys: Iterable[Any] | None = None) -> int:
        """See `KeyClaims.release`."""
        wanted = None if keys is None else self._keys(keys)

        def release(connection: sqlite3.Connection) -> int:
            barrier = Barrier.load(connection, barrier_id)
            released = barrier.release(text(worker), wanted)
            barrier.save()
            return released

        return await self._database.write(release)

    async def checkpoint(self, barrier_id: str) -> Any:
        """See `ReaderCheckpoints.checkpoint`."""
        encoded = await self._on_barrier(barrier_id, lambda barrier: barrier.checkpoint)
        return self._decode(encoded, barrier_id)

    def gather_pages(
        self, barrier_id: str, page_size: int = 1000, *, failed: bool = False
    ) -> AsyncIterator[Sequence[tuple[Any, Any]]]:
        """See `ResultPages.gather_pages`."""
        kind = FAILED if failed else COMPLETED

        async def fetch(after: int) -> tuple[int, Sequence[tuple[Any, Any]]]:
            check_page_size(page_size)
            rows = await self._on_barrier(
                barrier_id, lambda barrier: barrier.outcomes(after, kind, page_size)
            )
            page = [
                (self._decode(key, barrier_id), self._decode(outcome, barrier_id))
                for _, key, outcome in rows
            ]
            return (rows[-1][0] + 1 if rows else after), page

        return Pages(fetch)

    async def delete_barrier(self, barrier_id: str) -> bool:
        """See `BarrierDeletion.delete_barrier`."""
        return await self._delete("barrier_id", barrier_id) > 0

    async def delete_run(self, run_id: UUID | str) -> int:
        """See `BarrierDeletion.delete_run`."""
        return await self._delete("run_id", text(str(run_id)))

    async def _delete(self, column: str, value: str) -> int:
        def delete(connection: sqlite3.Connection) -> int:
            return connection.execute(
                f"delete from scatter_barriers where {column} = ?",  # noqa: S608 - fixed text
                (value,),
            ).rowcount

        return await self._database.write(delete)

    async def _on_barrier(self, barrier_id: str, look: Callable[[Barrier], T]) -> T:
        return await self._database.read(
            lambda connection: look(Barrier.load(connection, barrier_id))
        )

    def _now(self) -> float:
        # The time of day: processes have no other in common.
        return self._clock.now().timestamp()

    def _keys(self, keys: Iterable[Any]) -> list[ScatterKey]:
        of, codec = ScatterKey.of, self._codec
        return [of(key, codec) for key in keys]

    def _decode(self, payload: bytes, barrier_id: str) -> Any:
        try:
            return self._codec.decode(payload)
        except MalformedPayloadError as exc:
            raise StorageCorruptError(
                f"What {self._database.path} holds of barrier {barrier_id!r} is damaged: "
                f"{exc.message}",
                storage=str(self._database.path),
                hint="Restore a copy of the file, or delete the barrier and scatter again.",
            ) from exc

    def __repr__(self) -> str:
        return f"SqliteScatterCoordinator({str(self._database.path)!r})"
