"""Survey: which partitions a materialization touches, and which of them are fresh.

A partition is fresh if its record says that the asset's present version made it from what is
upstream now, each of which is fresh itself, and if its data are there. That data alone are there
means nothing: they may be left from a run that died, or from another version.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import anyio
import attrs

from stageflow.assets.declaration import Asset, Need
from stageflow.assets.errors import UnknownPartitionError
from stageflow.assets.graph import Assets
from stageflow.assets.partitions import same_key
from stageflow.assets.places import Places
from stageflow.assets.records import AssetEntry, AssetRecord, AssetRecords, fold_versions
from stageflow.contracts.clock import Clock
from stageflow.contracts.partitions import Partition

__all__ = ("AssetState", "AssetStatus", "Step", "StepId", "Survey", "Surveyor", "own_partition")

StepId = tuple[str, str]
"""An asset's name and the key of one of its partitions."""

AssetState = str
"""`missing`, `fresh`, `stale`, `failed` or `running`."""

_AT_ONCE: Final = 16


@attrs.frozen(kw_only=True)
class AssetStatus:
    """How a partition of an asset stands.

    Attributes:
        asset: The asset.
        partition: The partition; None if it has none.
        state: `missing`, `fresh`, `stale`, `failed` or `running`.
        why: Why it is not fresh; empty if it is.
        record: Its last materialization.
        run_id: The run that is at it, or that failed, or that made it.
    """

    asset: str
    partition: Any
    state: AssetState
    why: str = ""
    record: AssetRecord | None = attrs.field(default=None, repr=False)
    run_id: str | None = None

    @property
    def is_fresh(self) -> bool:
        """Whether nothing needs to be done."""
        return self.state == "fresh"


@attrs.define(eq=False)
class Step:
    """One partition of one asset, in a survey.

    Attributes:
        asset: The asset.
        partition: The partition.
        key: Its key.
        upstream: What it is made from: each need with the steps it stands for.
        entry: What is recorded of it.
        status: How it stands.
    """

    asset: Asset
    partition: Any
    key: str
    upstream: tuple[tuple[Need, tuple[StepId, ...]], ...]
    entry: AssetEntry = attrs.field(factory=AssetEntry)
    status: AssetStatus | None = None

    @property
    def id(self) -> StepId:
        """What it is found by."""
        return (self.asset.name, self.key)

    @property
    def label(self) -> str:
        """What people call it."""
        return self.asset.label(self.partition)

    @property
    def is_fresh(self) -> bool:
        """Whether nothing needs to be done for it."""
        return self.status is not None and self.status.is_fresh


@attrs.frozen
class Survey:
    """Steps by their ids, each after those it is made from."""

    steps: Mapping[StepId, Step]

    def unready(self, step: Step) -> Iterator[Step]:
        """Return what a step is made from directly and is not fresh."""
        for need, ids in step.upstream:
            if not need.dep.optional:
                yield from (self.steps[each] for each in ids if not self.steps[each].is_fresh)


def own_partition(asset: Asset, partition: Partition) -> Partition:
    """Return *partition* if the asset has it.

    Raises:
        UnknownPartitionError: It has not, or has none, or needs one.
    """
    own = asset.partitions
    if own is None:
        if partition is None:
            return None
        raise UnknownPartitionError(asset.name, partition, "it has none at all")
    if partition in own:
        return partition
    why = "one of its partitions must be named" if partition is None else "it is not among them"
    raise UnknownPartitionError(asset.name, partition, why, hint=f"There are: {own.describe()}.")


class Surveyor:
    """Looks at how partitions stand.

    Args:
        assets: The assets.
        records: What is recorded of them.
        places: Where their data lie.
        clock: Source of time.
    """

    def __init__(self, assets: Assets, records: AssetRecords, places: Places, clock: Clock) -> None:
        self._assets = assets
        self._records = records
        self._places = places
        self._clock = clock

    async def look(
        self, targets: Iterable[tuple[Asset, Partition]], *, check_data: bool = True
    ) -> Survey:
        """Return how these partitions stand, and all that they are made from.

        Args:
            targets: Assets with their partitions.
            check_data: Whether to ask if the data are there, too.

        Raises:
            UnknownPartitionError: If an asset has no such partition.
        """
        steps = self._closure(targets)
        for name, keys in _by_asset(steps).items():
            entries = await self._records.read_many(name, keys)
            for key, entry in entries.items():
                steps[name, key].entry = entry
        there = await self._those_with_data(steps.values()) if check_data else None
        ordered = sorted(steps.values(), key=lambda step: self._assets.rank(step.asset.name))
        now = self._clock.now()
        for step in ordered:
            has_data = there is None or step.id in there
            step.status = _status(step, steps, now, self._place_of(step.asset), has_data)
        return Survey({step.id: step for step in ordered})

    def _place_of(self, asset: Asset) -> str:
        return self._places.of(asset).name

    def _closure(self, targets: Iterable[tuple[Asset, Partition]]) -> dict[StepId, Step]:
        steps: dict[StepId, Step] = {}
        waiting = deque((asset, own_partition(asset, partition)) for asset, partition in targets)
        while waiting:
            asset, partition = waiting.popleft()
            key = same_key(partition)
            if (asset.name, key) in steps:
                continue
            upstream = []
            for need in self._assets.needs(asset.name):
                found = self._mapped(asset, partition, need)
                theirs = self._assets[need.dep.asset]
                upstream.append((need, tuple((theirs.name, same_key(each)) for each in found)))
                waiting += ((theirs, each) for each in found)
            steps[asset.name, key] = Step(asset, partition, key, tuple(upstream))
        return steps

    def _mapped(self, asset: Asset, partition: Partition, need: Need) -> Sequence[Partition]:
        theirs = self._assets[need.dep.asset]
        found = need.dep.mapping.upstream(partition, asset.partitions, theirs.partitions)
        if found is theirs.partitions:
            return found
        if need.dep.optional:
            return [
                each for each in found if theirs.partitions is None or each in theirs.partitions
            ]
        return [own_partition(theirs, each) for each in found]

    async def _those_with_data(self, steps: Iterable[Step]) -> set[StepId]:
        """Return the steps whose data are there, among those that a record makes worth asking."""
        worth = [step for step in steps if step.entry.trusted is not None]
        left = iter(worth)
        there: set[StepId] = set()
        errors: list[Exception] = []

        async def ask() -> None:
            try:
                for step in left:
                    if await self._places.of(step.asset).exists(step.asset, step.partition):
                        there.add(step.id)
            except Exception as error:  # noqa: BLE001 - raised below; the group would wrap it
                errors.append(error)
                tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            for _ in range(min(_AT_ONCE, len(worth))):
                tasks.start_soon(ask)
        if errors:
            raise errors[0]
        return there


def _by_asset(steps: Iterable[StepId]) -> dict[str, list[str]]:
    keys: dict[str, list[str]] = {}
    for name, key in steps:
        keys.setdefault(name, []).append(key)
    return keys


def _status(
    step: Step, steps: Mapping[StepId, Step], now: datetime, place: str, has_data: bool
) -> AssetStatus:
    entry, record = step.entry, step.entry.record
    state, why, run_id = "fresh", "", None if record is None else record.run_id
    if entry.claim is not None:
        run_id = entry.claim.run_id
        if entry.is_running(now):
            state, why = "running", f"run {run_id} is at it"
        else:
            state, why = "missing", f"run {run_id} was at it and ended without a word"
    elif entry.failure is not None:
        state, why, run_id = "failed", entry.failure.error, entry.failure.run_id
    elif record is None:
        state, why = "missing", "it was never materialized"
    elif not has_data:
        state, why = "missing", "its data are gone"
    else:
        why = "; ".join(_stale_because(step, steps, record, place))
        state = "stale" if why else "fresh"
    return AssetStatus(
        asset=step.asset.name,
        partition=step.partition,
        state=state,
        why=why,
        record=record,
        run_id=run_id,
    )


def _stale_because(
    step: Step, steps: Mapping[StepId, Step], record: AssetRecord, place: str
) -> Iterator[str]:
    asset = step.asset
    if record.asset_version != asset.version:
        yield f"version {record.asset_version} made it, and it has version {asset.version} now"
    if record.io_manager != place:
        yield f"its data lie with {record.io_manager}, and belong to {place} now"
    for name, ids in merged_upstream(step).items():
        made_from = record.upstream.get(name)
        skippable = _is_skippable(step, name)
        unready = [
            steps[each]
            for each in ids
            # What was never made, and was not when this was made, has not changed.
            if not (steps[each].is_fresh or (skippable and steps[each].entry.record is None))
        ]
        if made_from is None:
            yield f"it was not made from {name!r} then"
        elif unready and not _is_optional(step, name):
            first = unready[0]
            assert first.status is not None
            more = f", and {len(unready) - 1} more" if len(unready) > 1 else ""
            yield f"{first.label} is {first.status.state}{more}"
        elif made_from != versions_of(steps[each] for each in ids):
            yield f"{name!r} was materialized again"
    for name in record.upstream:
        if name not in merged_upstream(step):
            yield f"it is not made from {name!r} any more"


def merged_upstream(step: Step) -> dict[str, tuple[StepId, ...]]:
    """Return the steps that a step is made from, by asset, each once."""
    merged: dict[str, dict[StepId, None]] = {}
    for need, ids in step.upstream:
        merged.setdefault(need.dep.asset, {}).update(dict.fromkeys(ids))
    return {name: tuple(ids) for name, ids in merged.items()}


def versions_of(steps: Iterable[Step]) -> dict[str, str]:
    """Return the data versions that are recorded of steps, as records keep them."""
    return fold_versions(
        (step.key, step.entry.trusted.data_version)
        for step in steps
        if step.entry.trusted is not None
    )


def _is_skippable(step: Step, name: str) -> bool:
    return all(need.dep.skippable for need, _ in step.upstream if need.dep.asset == name)


def _is_optional(step: Step, name: str) -> bool:
    return all(need.dep.optional for need, _ in step.upstream if need.dep.asset == name)
