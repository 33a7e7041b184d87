"""AssetContext: what an asset's function may know of the materialization it is part of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from stageflow.assets.declaration import Asset
from stageflow.assets.partitions import same_key
from stageflow.assets.records import AssetRecord
from stageflow.context import StageContext
from stageflow.contracts.partitions import Partition

if TYPE_CHECKING:
    from stageflow.assets.services import AssetServices
    from stageflow.contracts.executor import Executor

__all__ = ("AssetCall", "AssetContext", "PartitionValues", "RemoteContext")


@attrs.frozen(kw_only=True, eq=False)
class AssetContext:
    """What an asset's function is given as `ctx`.

    Attributes:
        asset: The asset.
        partition: The partition that is made; None if the asset has none.
        resources: The open resources that the asset names.
        previous: How it was made the last time; None if it never was.
        stage: The context of the stage that it is in its run.
    """

    asset: Asset
    partition: Any
    resources: Mapping[str, Any] = attrs.field(repr=False)
    previous: AssetRecord | None = attrs.field(default=None, repr=False)
    stage: StageContext = attrs.field(repr=False)
    _metadata: dict[str, Any] = attrs.field(factory=dict, init=False, repr=False)

    @property
    def run_id(self) -> str:
        """The run."""
        return str(self.stage.pipeline_run_id)

    @property
    def attempt(self) -> int:
        """1 for the first attempt."""
        return self.stage.attempt

    @property
    def config(self) -> Any:
        """The configuration provider that the run was given, or None."""
        return self.stage.config

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody asked the run to stop; for threads, which cannot be interrupted."""
        return self.stage.is_cancelled

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What was added so far."""
        return self._metadata

    def add_metadata(self, **facts: Any) -> None:
        """Add facts to the record of this materialization, such as a count of rows."""
        self._metadata.update(facts)


@attrs.frozen(kw_only=True, eq=False)
class RemoteContext:
    """What an asset's function is given as `ctx` where an executor runs it.

    Attributes:
        partition: The partition that is made; None if the asset has none.
        run_id: The run.
        attempt: 1 for the first attempt.
        metadata: What was added so far.
    """

    partition: Any
    run_id: str
    attempt: int
    metadata: dict[str, Any] = attrs.field(factory=dict, init=False, repr=False)

    def add_metadata(self, **facts: Any) -> None:
        """Add facts to the record of this materialization, such as a count of rows."""
        self.metadata.update(facts)


class PartitionValues(Mapping[Any, Any]):
    """The data of several partitions of one asset, by partition, in their order.

    Args:
        pairs: Each partition with its data.
    """

    def __init__(self, pairs: Mapping[str, tuple[Partition, Any]]) -> None:
        # By key, since a partition of several dimensions is a dictionary and cannot be one.
        self._pairs = pairs

    def __getitem__(self, partition: Any) -> Any:
        try:
            return self._pairs[same_key(partition)][1]
        except LookupError:
            raise KeyError(partition) from None

    def __iter__(self) -> Iterator[Any]:
        return (partition for partition, _ in self._pairs.values())

    def __len__(self) -> int:
        return len(self._pairs)

    def __contains__(self, partition: object) -> bool:
        try:
            return same_key(partition) in self._pairs
        except LookupError:
            return False

    def values(self) -> Any:
        """Return the data, in the order of the partitions."""
        return [value for _, value in self._pairs.values()]

    def items(self) -> Any:
        """Return each partition with its data, in their order."""
        return list(self._pairs.values())

    def __repr__(self) -> str:
        return f"PartitionValues({len(self)} partitions)"


@attrs.frozen(kw_only=True, eq=False)
class AssetCall:
    """One attempt to get an asset's data, as its body sees it.

    Attributes:
        context: What the function is given as `ctx`.
        inputs: The data of what it is made from, by parameter.
        services: What the run offers to bodies that do more than call the function.
        executor: Where the function runs; None for here.
    """

    context: AssetContext
    inputs: Mapping[str, Any] = attrs.field(repr=False)
    services: AssetServices = attrs.field(repr=False)
    executor: Executor | None = None

    @property
    def asset(self) -> Asset:
        """The asset."""
        return self.context.asset
