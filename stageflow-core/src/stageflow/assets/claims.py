"""Claims: of several runs that want the same partition, one makes it, and the others wait.

A claim stands in the partition's record. It is renewed while its run lives; one that has not been
for a whole lease belongs to a run that is dead, and whoever comes next takes the partition over.
The dead run, should it come back, cannot write what it made into the record any more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import anyio
import attrs

from stageflow.assets.declaration import AssetOutput
from stageflow.assets.errors import AssetRunningError, ClaimLostError
from stageflow.assets.records import (
    AssetClaim,
    AssetEntry,
    AssetFailure,
    AssetRecord,
    AssetRecords,
    fold_versions,
)
from stageflow.assets.survey import Step, StepId, merged_upstream
from stageflow.contracts.clock import Clock
from stageflow.contracts.logs import get_logger
from stageflow.contracts.shared_values import ValueChangedError

__all__ = ("Claims", "OnRunning", "Turn")

OnRunning = Literal["wait", "raise"]
"""What to do about a partition that another run is at."""

_log = get_logger(__name__)


@attrs.define(eq=False)
class Turn:
    """A partition that this run is at.

    Attributes:
        step: The partition.
        entry: What is recorded of it, this run's claim included.
        versions: The data versions of what it is made from, by asset.
        upstream: What is recorded of each partition that it is made from.
        last_sign: When this run last said that it lives, on its clock.
        began: When it began.
        output: What the body gave, once its data are stored.
        is_storing: Whether data are being stored; after a cancellation nobody knows which.
        is_lost: Whether another run has taken the partition over.
        afterwards: What is to be done once it is on record.
    """

    step: Step
    entry: AssetEntry
    versions: dict[str, dict[str, str]]
    upstream: dict[StepId, AssetEntry]
    last_sign: float
    began: float
    output: AssetOutput | None = None
    is_storing: bool = False
    is_lost: bool = False
    afterwards: list[Callable[[], Awaitable[Any]]] = attrs.field(factory=list)
    lock: anyio.Lock = attrs.field(factory=anyio.Lock)


class Claims:
    """The claims of one run.

    Args:
        records: Where they stand.
        clock: Source of time.
        run_id: The run.
        lease: For how many seconds after its last sign the run is taken for alive.
        poll: Seconds between looks at a partition that another run is at.
        on_running: What to do about such a partition.
    """

    def __init__(
        self,
        records: AssetRecords,
        clock: Clock,
        run_id: str,
        *,
        lease: float,
        poll: float,
        on_running: OnRunning,
    ) -> None:
        self._records = records
        self._clock = clock
        self._run_id = run_id
        self._lease = lease
        self._poll = poll
        self._on_running = on_running
        self._turns: dict[StepId, Turn] = {}

    def turn(self, step: StepId) -> Turn:
        """Return the turn of a partition that this run is at."""
        return self._turns[step]

    async def take(
        self, step: Step, *, again: bool, on_wait: Callable[[str], None]
    ) -> Turn | AssetRecord:
        """Claim a partition; return the record instead if another run has made it meanwhile.

        Another run is waited for also if it is at something that the partition is made from.

        Args:
            step: The partition.
            again: Whether to make it anew, whoever else has made it.
            on_wait: Is told once which run is being waited for.

        Raises:
            AssetRunningError: If another run is at it and *on_running* is `raise`.
        """
        name, key = step.id
        told = False
        while True:
            entry = await self._records.read(name, key)
            upstream = await self._upstream(step)
            now = self._clock.now()
            # Who holds a claim waits for nobody, so runs cannot wait for each other in a circle.
            other = _busy((entry, *upstream.values()), now)
            if other is not None:
                if self._on_running == "raise":
                    raise AssetRunningError(name, step.partition, other)
                if not told:
                    on_wait(other)
                    told = True
                await self._clock.sleep(self._poll)
                continue
            versions = self._versions(step, upstream)
            if not again and entry.version != step.entry.version:
                record = self._made_meanwhile(step, entry, versions)
                if record is not None:
                    return record
            claim = AssetClaim(run_id=self._run_id, since=now, lease=self._lease)
            # What a dead run may have left half done is no record any more.
            record = entry.trusted
            work = _work(step, versions, entry.work, self._run_id)
            wanted = attrs.evolve(entry, claim=claim, record=record, work=work)
            try:
                claimed = await self._records.write(name, key, wanted)
            except ValueChangedError:
                continue
            began = self._clock.monotonic()
            turn = Turn(step, claimed, versions, upstream, began, began)
            self._turns[step.id] = turn
            return turn

    async def confirm(self, turn: Turn) -> None:
        """Return if the partition is still this run's, and it had better be said again if late.

        Raises:
            ClaimLostError: If another run has taken it over.
        """
        if self._clock.monotonic() - turn.last_sign > self._lease / 2:
            await self._renew(turn)

    async def complete(self, turn: Turn, record: AssetRecord) -> None:
        """Record the materialization, and leave the partition.

        Raises:
            ClaimLostError: If another run has taken it over.
        """
        await self._leave(turn, record=record, failure=None, work=None)

    async def give_up(self, turn: Turn, failure: AssetFailure | None) -> None:
        """Leave the partition as it was before; not even that if its data may be half changed.

        Raises:
            ClaimLostError: If another run has taken it over.
        """
        record = None if turn.is_storing else turn.entry.record
        entry = turn.entry
        await self._leave(turn, record=record, failure=failure or entry.failure, work=entry.work)

    async def keep_alive(self) -> None:
        """Renew the claims of this run for ever; those that are lost show when they are used."""
        while True:
            await self._clock.sleep(self._lease / 3)
            for turn in list(self._turns.values()):
                if turn.is_lost:
                    continue
                try:
                    await self._renew(turn)
                except Exception as error:  # noqa: BLE001 - the next sign may get through
                    _log.warning("asset.claim_not_renewed", asset=turn.step.label, error=str(error))

    async def _renew(self, turn: Turn) -> None:
        async with turn.lock:
            if turn.entry.claim is None:
                return
            turn.entry = await self._write(turn, turn.entry)
            turn.last_sign = self._clock.monotonic()

    async def _leave(
        self,
        turn: Turn,
        *,
        record: AssetRecord | None,
        failure: AssetFailure | None,
        work: str | None,
    ) -> None:
        self._turns.pop(turn.step.id, None)
        async with turn.lock:
            wanted = attrs.evolve(turn.entry, claim=None, record=record, failure=failure, work=work)
            turn.entry = await self._write(turn, wanted)

    async def _write(self, turn: Turn, entry: AssetEntry) -> AssetEntry:
        name, key = turn.step.id
        try:
            return await self._records.write(name, key, entry)
        except ValueChangedError as error:
            turn.is_lost = True
            raise ClaimLostError(name, turn.step.partition) from error

    async def _upstream(self, step: Step) -> dict[StepId, AssetEntry]:
        found: dict[StepId, AssetEntry] = {}
        for name, ids in merged_upstream(step).items():
            entries = await self._records.read_many(name, [key for _, key in ids])
            found.update({(name, key): entry for key, entry in entries.items()})
        return found

    def _versions(
        self, step: Step, upstream: dict[StepId, AssetEntry]
    ) -> dict[str, dict[str, str]]:
        return {name: _folded(ids, upstream) for name, ids in merged_upstream(step).items()}

    def _made_meanwhile(
        self, step: Step, entry: AssetEntry, versions: dict[str, dict[str, str]]
    ) -> AssetRecord | None:
        record = entry.trusted
        if record is None or entry.failure is not None:
            return None
        is_same = record.asset_version == step.asset.version and record.upstream == versions
        return record if is_same else None


def _busy(entries: Iterable[AssetEntry], now: datetime) -> str | None:
    """Return the run that is at one of these; None if none is."""
    for entry in entries:
        if entry.claim is not None and entry.is_running(now):
            return entry.claim.run_id
    return None


def _work(
    step: Step, versions: Mapping[str, Mapping[str, str]], begun: str | None, run_id: str
) -> str:
    """Return a name for what is made from these versions: that of what was begun, if it is that.

    It does not hang on what was made before, since a dead run leaves no record of that.
    """
    made_from = sorted((name, *pair) for name, found in versions.items() for pair in found.items())
    told = repr((step.asset.name, step.key, step.asset.version, made_from))
    what = hashlib.sha256(told.encode()).hexdigest()[:32]
    if begun is not None and begun.startswith(f"{what}-"):
        return begun
    return f"{what}-{run_id}"


def _folded(ids: Sequence[StepId], upstream: dict[StepId, AssetEntry]) -> dict[str, str]:
    trusted: list[tuple[str, Any]] = [(each[1], upstream[each].trusted) for each in ids]
    return fold_versions((key, record.data_version) for key, record in trusted if record)
