"""PostgresScatterCoordinator: barriers that many processes work on at once."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import islice
from typing import Any, Final
from uuid import UUID, uuid4

import anyio.lowlevel
import attrs

from stageflow.codec import Codec, MalformedPayloadError
from stageflow.contracts.coordination import coordination_id, error_as_value
from stageflow.contracts.partitions import Partition
from stageflow.contracts.scatter_coordinator import (
    BarrierNotCompleteError,
    BarrierSealedError,
    BarrierState,
    BarrierStatus,
    FailurePolicy,
    Insertion,
    ScatterCoordinatorCapabilities,
    ScatterOptionError,
    UnknownScatterKeyError,
)
from stageflow.contracts.scatter_keys import ScatterKey, ScatterResults
from stageflow.contracts.storage import StorageCorruptError
from stageflow_io_postgres._barriers import Barrier
from stageflow_io_postgres.component import Component, digest, plain_text
from stageflow_io_postgres.database import Connection, Database
from stageflow_io_postgres.errors import OutcomeUnknownError

__all__ = ("PostgresScatterCoordinator",)

_COMPLETED, _FAILED = 1, 2
_COPIED: Final = 200_000  # keys that are copied at once: a copy is a statement, and ends in time
_PAGE: Final = 2_000  # keys that are made ready without a pause for others on the event loop
_INSERTED: Final = 10_000
_GATHERED: Final = 10_000
_COLUMNS: Final = ("barrier", "number", "identity", "long_key")
_CLOSED: Final = frozenset({BarrierStatus.CANCELLED, BarrierStatus.THRESHOLD_EXCEEDED})


class PostgresScatterCoordinator(Component):
    """Keeps barriers in PostgreSQL, where any number of processes may work on one at once.

    Leases are on the server's clock, so that the clocks of workers need not agree.

    Args:
        database: Where; it must be open for as long as this is used.
        codec: What keys, results, errors and checkpoints are encoded with; the default one
            unless given.
    """

    capabilities: Final = ScatterCoordinatorCapabilities(
        claims=True, checkpoint=True, pages=True, deletion=True
    )

    def __init__(self, database: Database, *, codec: Codec | None = None) -> None:
        super().__init__(database)
        self._codec = codec or Codec.default()
        self._sql = database.queries("scatter")

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
        row = (
            digest(barrier_id),
            digest(str(run_id)),
            plain_text(barrier_id),
            json.dumps(policy.threshold),
            policy.mode,
            sealed,
            self._codec.encode(checkpoint, where="checkpoint"),
        )
        first = keys if isinstance(keys, Sequence) else list(keys)

        async def create(connection: Connection) -> None:
            seq = await connection.fetchval(self._sql["create"], *row)
            if seq is not None and first:
                copied = await self._copy(connection, seq, first)
                await connection.execute(
                    self._sql["note_added"],
                    *(seq, copied, len(first) - copied, copied, None, sealed, None),
                )

        await self._database.run(create, repeatable=True)
        return barrier_id

    async def insert_results(
        self,
        barrier_id: str,
        keys: Iterable[Any],
        *,
        checkpoint: Any = None,
        sealed: bool = False,
    ) -> Insertion:
        """See `ScatterCoordinator.insert_results`.

        Raises:
            OutcomeUnknownError: The connection was lost before the server had answered, and
                somebody else has inserted since.
        """
        page, encoded = self._keys(keys), None
        if checkpoint is not None:
            encoded = self._codec.encode(checkpoint, where="checkpoint")
        place, this, distinct = digest(barrier_id), uuid4(), list(dict.fromkeys(page))
        last: list[UUID | None] = []

        async def insert(connection: Connection) -> Insertion | None:
            # Another's changes are seen by the statement after the one that has waited for it.
            await connection.execute(self._sql["lock"], place)
            row = await connection.fetchrow(self._sql["look"], place)
            barrier = Barrier.of(row, barrier_id)
            if row["last_insertion"] == this:
                added = await self._added(connection, barrier.seq, row["last_first"], distinct)
                return Insertion(added=added, status=await self._decided(connection, barrier))
            if last and row["last_insertion"] != last[0]:
                return None
            last[:] = [row["last_insertion"]]
            if barrier.status in _CLOSED:
                return Insertion(added=(), status=barrier.status)
            if barrier.sealed:
                await self._check_known(connection, barrier, distinct)
                added = ()
            else:
                added = await self._add(connection, barrier, distinct)
            numbers = 0 if barrier.sealed else len(distinct)
            duplicates = len(page) - len(added)
            await connection.execute(
                self._sql["note_added"],
                *(barrier.seq, len(added), duplicates, numbers, encoded, sealed, this),
            )
            grown = attrs.evolve(
                barrier, total=barrier.total + len(added), sealed=barrier.sealed or sealed
            )
            return Insertion(added=added, status=await self._decided(connection, grown))

        inserted = await self._database.run(insert, repeatable=True)
        if inserted is None:
            raise self._unknown(barrier_id)
        return inserted

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
        # The first outcome of a key counts, also within one call.
        outcomes: dict[ScatterKey, tuple[int, bytes]] = {}
        for key, result in completed:
            outcomes.setdefault(of(key, codec), (_COMPLETED, encode(result, where="result")))
        for key, error in failed:
            told = encode(error_as_value(error), where="error")
            outcomes.setdefault(of(key, codec), (_FAILED, told))
        database, keys = self._database, list(outcomes)
        missing: int | None = None
        if outcomes:
            rows = await database.fetch(
                self._sql["record"],
                digest(barrier_id),
                [key.identity for key in keys],
                [state for state, _ in outcomes.values()],
                [outcome for _, outcome in outcomes.values()],
                repeatable=True,
            )
            missing = rows[0]["missing"]
        # In a statement of its own, which sees what others have recorded at the same time: of
        # those who record the last outcomes, one at least sees that they are all.
        barrier = await self._look(barrier_id)
        if missing is not None:
            raise UnknownScatterKeyError(barrier_id, keys[missing - 1].value)
        return await self._decided(database, barrier)

    async def gather(self, barrier_id: str) -> ScatterResults:
        """See `ScatterCoordinator.gather`."""
        barrier = await self._look(barrier_id)
        if barrier.status is not BarrierStatus.COMPLETE:
            raise BarrierNotCompleteError(barrier_id, barrier.status)
        pairs: list[tuple[ScatterKey, Any]] = []
        start = 0
        while rows := await self._outcomes(barrier, start, _COMPLETED, _GATHERED):
            pairs += [
                (ScatterKey(key, self._codec), self._decode(outcome, barrier_id))
                for _, key, outcome in rows
            ]
            start = rows[-1][0] + 1
        return ScatterResults(pairs, self._codec)

    async def cancel(self, barrier_id: str) -> None:
        """See `ScatterCoordinator.cancel`."""
        place = digest(barrier_id)

        async def cancel(connection: Connection) -> None:
            await connection.execute(self._sql["lock"], place)
            barrier = Barrier.of(await connection.fetchrow(self._sql["look"], place), barrier_id)
            await connection.execute(self._sql["cancel"], barrier.seq)
            # Every outcome that this has waited for is there now, and may have decided.
            row = await connection.fetchrow(self._sql["look"], place)
            status = Barrier.of(row, barrier_id).status
            if status is BarrierStatus.PENDING:
                status = BarrierStatus.CANCELLED
            await connection.execute(self._sql["decide"], barrier.seq, status)

        await self._database.run(cancel, repeatable=True)

    async def status(self, barrier_id: str) -> BarrierState:
        """See `ScatterCoordinator.status`."""
        barrier = await self._look(barrier_id)
        claimed = await self._database.fetchval(self._sql["claimed"], barrier.seq, repeatable=True)
        return barrier.state(claimed)

    # --- claims -------------------------------------------------------------------------

    async def claim(
        self, barrier_id: str, worker: str, *, limit: int = 1, lease: float = 60.0
    ) -> Sequence[ScatterKey]:
        """See `KeyClaims.claim`."""
        rows = await self._database.fetch(
            self._sql["claim"],
            *(digest(barrier_id), plain_text(worker), max(limit, 0), lease),
            # What was claimed and not told is free again when its lease ends.
            repeatable=True,
        )
        if not rows:
            await self._look(barrier_id)
        return tuple(ScatterKey(row["key"], self._codec) for row in rows)

    async def renew(
        self, barrier_id: str, worker: str, keys: Iterable[Any], *, lease: float = 60.0
    ) -> Sequence[ScatterKey]:
        """See `KeyClaims.renew`."""
        wanted = self._keys(keys)
        identities = [key.identity for key in wanted]
        rows = await self._database.fetch(
            self._sql["renew"],
            *(digest(barrier_id), plain_text(worker), identities, lease),
            repeatable=True,
        )
        if not rows:
            await self._look(barrier_id)
        still = {row["identity"] for row in rows}
        return tuple(key for key in wanted if key.identity in still)

    async def release(self, barrier_id: str, worker: str, keys: Iterable[Any] | None = None) -> int:
        """See `KeyClaims.release`.

        Raises:
            OutcomeUnknownError: The connection was lost before the server had answered.
        """
        identities = None if keys is None else [key.identity for key in self._keys(keys)]
        rows = await self._database.fetch(
            self._sql["release"], digest(barrier_id), plain_text(worker), identities
        )
        if not rows:
            await self._look(barrier_id)
        return len(rows)

    # --- checkpoints, pages, deletion ---------------------------------------------------

    async def checkpoint(self, barrier_id: str) -> Any:
        """See `ReaderCheckpoints.checkpoint`."""
        return self._decode((await self._look(barrier_id)).checkpoint, barrier_id)

    def gather_pages(
        self, barrier_id: str, page_size: int = 1000, *, failed: bool = False
    ) -> AsyncIterator[Sequence[tuple[Any, Any]]]:
        """See `ResultPages.gather_pages`."""
        return _Pages(self, barrier_id, page_size, _FAILED if failed else _COMPLETED)

    async def page_of_outcomes(
        self, barrier_id: str, start: int, state: int, limit: int
    ) -> tuple[int, Sequence[tuple[Any, Any]]]:
        """Return where to go on after a page of outcomes, and the page."""
        rows = await self._outcomes(await self._look(barrier_id), start, state, limit)
        page = [
            (self._decode(key, barrier_id), self._decode(outcome, barrier_id))
            for _, key, outcome in rows
        ]
        return (rows[-1][0] + 1 if rows else start), page

    async def delete_barrier(self, barrier_id: str) -> bool:
        """See `BarrierDeletion.delete_barrier`.

        Raises:
            OutcomeUnknownError: The connection was lost before the server had answered.
        """
        return await self._delete("delete", digest(barrier_id)) > 0

    async def delete_run(self, run_id: UUID | str) -> int:
        """See `BarrierDeletion.delete_run`.

        Raises:
            OutcomeUnknownError: The connection was lost before the server had answered.
        """
        return await self._delete("delete_run", digest(str(run_id)))

    # --- the rest -----------------------------------------------------------------------

    async def _copy(self, connection: Connection, seq: int, keys: Sequence[Any]) -> int:
        """Copy the keys of a new barrier and return how many different ones there are."""
        known: set[bytes] = set()
        left = iter(keys)
        for _ in range(0, len(keys), _COPIED):
            await connection.copy_records_to_table(
                "scatter_items",
                schema_name=self._database.schema,
                columns=_COLUMNS,
                # The server takes in what has come while the rest is made.
                records=self._rows(seq, islice(left, _COPIED), known),
            )
        return len(known)

    async def _rows(
        self, seq: int, keys: Iterable[Any], known: set[bytes]
    ) -> AsyncIterator[tuple[int, int, bytes, bytes | None]]:
        of, codec, number = ScatterKey.of, self._codec, len(known)
        for value in keys:
            key = of(value, codec)
            identity = key.identity
            known.add(identity)
            if number < len(known):
                yield seq, number, identity, None if identity is key.payload else key.payload
                number += 1
                if not number % _PAGE:
                    await anyio.lowlevel.checkpoint()

    async def _add(
        self, connection: Connection, barrier: Barrier, keys: list[ScatterKey]
    ) -> Sequence[ScatterKey]:
        first, added = barrier.next_number, []
        for start in range(0, len(keys), _INSERTED):
            page = keys[start : start + _INSERTED]
            rows = await connection.fetch(
                self._sql["add"],
                barrier.seq,
                first + start,
                [key.identity for key in page],
                [None if key.identity is key.payload else key.payload for key in page],
            )
            added += sorted(row["number"] for row in rows)
        return tuple(keys[number - first] for number in added)

    async def _added(
        self, connection: Connection, seq: int, first: int, keys: list[ScatterKey]
    ) -> Sequence[ScatterKey]:
        """Return which of the keys an insertion has added whose first number was *first*."""
        rows = await connection.fetch(self._sql["added"], seq, first, len(keys))
        return tuple(keys[row["number"] - first] for row in rows)

    def _unknown(self, barrier_id: str) -> OutcomeUnknownError:
        return OutcomeUnknownError(
            f"Nobody knows which of the keys this insertion has added to {barrier_id!r}.",
            storage=self._shared.label,
            hint="Insert them again; those that were added are told as duplicates then.",
        )

    async def _check_known(
        self, connection: Connection, barrier: Barrier, keys: list[ScatterKey]
    ) -> None:
        identities = [key.identity for key in keys]
        known = await connection.fetchval(self._sql["count_known"], barrier.seq, identities)
        if known < len(keys):
            raise BarrierSealedError(barrier.id)

    async def _look(self, barrier_id: str) -> Barrier:
        row = await self._database.fetchrow(self._sql["look"], digest(barrier_id), repeatable=True)
        return Barrier.of(row, barrier_id)

    async def _decided(self, using: Connection | Database, barrier: Barrier) -> BarrierStatus:
        """Return the status of the barrier; note it if it was decided just now."""
        status = barrier.status
        if status is not barrier.noted:
            await using.execute(self._sql["decide"], barrier.seq, status)
        return status

    async def _outcomes(
        self, barrier: Barrier, start: int, state: int, limit: int
    ) -> list[tuple[int, bytes, bytes]]:
        rows = await self._database.fetch(
            self._sql["outcomes"], barrier.seq, start, state, limit, repeatable=True
        )
        return [(row["number"], row["key"], row["outcome"]) for row in rows]

    async def _delete(self, query: str, value: bytes) -> int:
        async def delete(connection: Connection) -> int:
            # Those who record keep the barrier's row while they do; what they have left is
            # seen by the statements after the first.
            gone = [row["seq"] for row in await connection.fetch(self._sql[query], value)]
            if gone:
                for table in ("claims", "counts", "outcomes", "items"):
                    await connection.execute(self._sql[f"delete_{table}"], gone)
            return len(gone)

        return await self._database.run(delete)

    def _keys(self, keys: Iterable[Any]) -> list[ScatterKey]:
        of, codec = ScatterKey.of, self._codec
        return [of(key, codec) for key in keys]

    def _decode(self, payload: bytes, barrier_id: str) -> Any:
        try:
            return self._codec.decode(payload)
        except MalformedPayloadError as exc:
            label = self._shared.label
            raise StorageCorruptError(
                f"What {label} holds of barrier {barrier_id!r} is damaged: {exc.message}",
                storage=label,
                hint="Restore a back-up, or delete the barrier and scatter again.",
            ) from exc


class _Pages(AsyncIterator[Sequence[tuple[Any, Any]]]):
    """Pages that are fetched one at a time; it may be left at any page."""

    def __init__(
        self, coordinator: PostgresScatterCoordinator, barrier_id: str, page_size: int, state: int
    ) -> None:
        self._coordinator = coordinator
        self._asked: Final = (barrier_id, page_size, state)
        self._next = 0

    async def __anext__(self) -> Sequence[tuple[Any, Any]]:
        barrier_id, size, state = self._asked
        if size < 1:
            raise ScatterOptionError("page_size", size, hint="Give at least 1.")
        self._next, page = await self._coordinator.page_of_outcomes(
            barrier_id, self._next, state, size
        )
        if not page:
            raise StopAsyncIteration
        return page
