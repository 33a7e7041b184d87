"""Mappings: which partitions of an upstream asset a partition is made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import attrs

from stageflow.assets.partitions import Partitions
from stageflow.assets.product_partitions import MultiPartitions
from stageflow.contracts.partitions import Partition

__all__ = (
    "SAME_PARTITION",
    "AllPartitions",
    "DimensionPartition",
    "LastPartitions",
    "MappedPartitions",
    "PartitionMapping",
    "SamePartition",
)


class PartitionMapping(Protocol):
    """Says from which upstream partitions a partition is made."""

    @property
    def many(self) -> bool:
        """Whether the function is given a mapping from partitions to values, not one value."""
        ...

    def fault(self, own: Partitions | None, theirs: Partitions | None) -> str | None:
        """Return why the partitions do not go together; None if they do.

        Args:
            own: The partitions of the asset; None if it has none.
            theirs: Those of the upstream asset.
        """
        ...

    def upstream(
        self, partition: Any, own: Partitions | None, theirs: Partitions | None
    ) -> Sequence[Partition]:
        """Return the upstream partitions that *partition* is made from; `(None,)` if theirs is."""
        ...


@attrs.frozen
class SamePartition:
    """The partition of the same key; the whole of an asset without partitions. The default."""

    many: bool = attrs.field(default=False, init=False)

    def fault(self, own: Partitions | None, theirs: Partitions | None) -> str | None:
        """See `PartitionMapping.fault`."""
        if theirs is None:
            return None
        if own is None:
            return "it has none itself, and does not say which of them it needs"
        if theirs.covers(own):
            return None
        return f"its own are {own.describe()}, and those are {theirs.describe()}"

    def upstream(
        self, partition: Any, own: Partitions | None, theirs: Partitions | None
    ) -> Sequence[Partition]:
        """See `PartitionMapping.upstream`."""
        return (None,) if theirs is None else (partition,)


SAME_PARTITION: Final = SamePartition()


@attrs.frozen
class AllPartitions:
    """Every partition of the upstream asset."""

    many: bool = attrs.field(default=True, init=False)

    def fault(self, own: Partitions | None, theirs: Partitions | None) -> str | None:
        """See `PartitionMapping.fault`."""
        return _none_to_choose_from(theirs)

    def upstream(
        self, partition: Any, own: Partitions | None, theirs: Partitions | None
    ) -> Sequence[Partition]:
        """See `PartitionMapping.upstream`."""
        return () if theirs is None else theirs


@attrs.frozen
class LastPartitions:
    """The last *count* partitions up to the same key, this one included; at the start fewer.

    For an asset without partitions they are the last ones of all.

    Attributes:
        count: How many.
    """

    count: int = attrs.field(validator=attrs.validators.ge(1))
    many: bool = attrs.field(default=True, init=False)

    def fault(self, own: Partitions | None, theirs: Partitions | None) -> str | None:
        """See `PartitionMapping.fault`."""
        if own is None or theirs is None:
            return _none_to_choose_from(theirs)
        return SAME_PARTITION.fault(own, theirs)

    def upstream(
        self, partition: Any, own: Partitions | None, theirs: Partitions | None
    ) -> Sequence[Partition]:
        """See `PartitionMapping.upstream`."""
        if theirs is None:
            return ()
        end = len(theirs)
        if own is not None:
            found = theirs.find(partition)
            if found is None:
                return (partition,)  # whoever looks it up says that it is not there
            end = found + 1
        return theirs[max(0, end - self.count) : end]


@attrs.frozen
class DimensionPartition:
    """The partition whose key is one dimension of the asset's own key.

    Attributes:
        name: The dimension of the asset's `MultiPartitions`.
    """

    name: str
    many: bool = attrs.field(default=False, init=False)

    def fault(self, own: Partitions | None, theirs: Partitions | None) -> str | None:
        """See `PartitionMapping.fault`."""
        if theirs is None:
            return _none_to_choose_from(theirs)
        if not isinstance(own, MultiPartitions) or self.name not in own.dimensions:
            return f"its own have no dimension {self.name!r}"
        return SAME_PARTITION.fault(own.dimensions[self.name], theirs)

    def upstream(
        self, partition: Any, own: Partitions | None, theirs: Partitions | None
    ) -> Sequence[Partition]:
        """See `PartitionMapping.upstream`."""
        return (partition[self.name],)


@attrs.frozen
class MappedPartitions:
    """The partitions that a function says.

    Attributes:
        function: From the asset's partition to an upstream partition, or with *many* to several.
        many: Whether it says several.
    """

    function: Callable[[Any], Any]
    many: bool = False

    def fault(self, own: Partitions | None, theirs: Partitions | None) -> str | None:
        """See `PartitionMapping.fault`."""
        return _none_to_choose_from(theirs)

    def upstream(
        self, partition: Any, own: Partitions | None, theirs: Partitions | None
    ) -> Sequence[Partition]:
        """See `PartitionMapping.upstream`."""
        found = self.function(partition)
        return tuple(found) if self.many else (found,)


def _none_to_choose_from(theirs: Partitions | None) -> str | None:
    return "that one has none to choose from" if theirs is None else None
