"""IOManager: where the data of assets lies, by asset and partition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol, runtime_checkable

import attrs

from stageflow.contracts.contract import Contract
from stageflow.contracts.partitions import Partition
from stageflow.errors import RunError, did_you_mean

__all__ = (
    "CONTRACT",
    "AssetNotFoundError",
    "IOManager",
    "IOManagerCapabilities",
    "IOManagerError",
    "PartitionListing",
    "UnknownOptionError",
    "refuse_options",
)

CONTRACT: Final = Contract("io_manager", "1.0")


@attrs.frozen(kw_only=True)
class IOManagerCapabilities:
    """What an IO manager can do beyond the contract's four methods.

    Attributes:
        list_partitions: It is a `PartitionListing`.
    """

    list_partitions: bool = False

    @classmethod
    def of(cls, manager: object) -> IOManagerCapabilities:
        """Return what *manager* declares as `capabilities`; nothing if it declares none."""
        declared = getattr(manager, "capabilities", None)
        return declared if isinstance(declared, IOManagerCapabilities) else cls()


class IOManagerError(RunError):
    """An IO manager refused a call."""

    code = "SF430"


class AssetNotFoundError(IOManagerError):
    """Nothing is stored for this partition of the asset.

    Attributes:
        asset_name: The asset.
        partition: The partition.
    """

    code = "SF431"

    def __init__(self, asset_name: str, partition: Partition) -> None:
        where = f"asset {asset_name!r}"
        if partition is not None:
            where = f"partition {partition!r:.100} of {where}"
        super().__init__(
            f"Nothing is stored for {where}.",
            hint="Materialize it first, or ask `exists` before loading.",
        )
        self.asset_name = asset_name
        self.partition = partition


class UnknownOptionError(IOManagerError):
    """An option was given that the manager does not have.

    Attributes:
        options: The names that it does not know.
    """

    code = "SF432"

    def __init__(self, manager: str, options: Sequence[str], known: Sequence[str] = ()) -> None:
        names = ", ".join(repr(name) for name in sorted(options))
        hint = did_you_mean(options[0], known) if known else f"{manager} has no options."
        super().__init__(f"{manager} does not know {names}.", hint=hint)
        self.options = tuple(options)


def refuse_options(manager: object, opts: dict[str, Any], known: Sequence[str] = ()) -> None:
    """Return if *opts* has no other names than *known*.

    Raises:
        UnknownOptionError: It has.
    """
    if unknown := [name for name in opts if name not in known]:
        raise UnknownOptionError(type(manager).__name__, unknown, known)


@runtime_checkable
class IOManager(Protocol):
    """Stores what assets produce and loads it again.

    Every method may suspend and be cancelled. Every method may raise a `StorageError` when
    the medium fails; then the call has not happened, unless the error says otherwise.
    Which values can be stored is the manager's to say; one for tables need not take text.

    IO-1  What was stored is loaded: equal, and of the same types throughout.
    IO-2  Loading what is not stored raises `AssetNotFoundError`.
    IO-3  `exists` tells whether `load` would find something.
    IO-4  Storing again replaces what was there.
    IO-5  What was deleted is not there any more; deleting what is not there is no error.
    IO-6  Assets are apart from each other, and partitions of an asset, however alike they
      are spelled.
    IO-7  Every kind of partition works, and equal partitions are the same one.
    IO-8  A name or partition is never anything but a name: no text leads elsewhere.
    IO-9  What is kept does not change with the object it was given as or is handed out as.
    IO-10  A value that cannot be stored raises, and what was there stays.
    IO-11  A value that cannot name a partition raises `PartitionError`.
    IO-12  An option that the manager does not have raises `UnknownOptionError`.
    IO-13  Calls at once leave one of the values stored, whole; who loads meanwhile sees one.
    IO-14  A cancelled call has happened completely or not at all.
    IO-15  After `aclose`, which may be called again, every call raises `StorageClosedError`.
    IO-17  What the manager declares as `capabilities` is what it can do beyond this.
    """

    async def load(self, asset_name: str, partition: Partition, **opts: Any) -> Any:
        """Return what is stored for the partition of the asset.

        Changes nothing, however it ends.

        Args:
            asset_name: The asset.
            partition: None for an asset without partitions.
            **opts: Settings of the asset that the manager knows, such as a format.

        Raises:
            AssetNotFoundError: Nothing is stored.
            PartitionError: *partition* cannot name one.
            UnknownOptionError: The manager does not have such an option.
        """
        ...

    async def store(self, asset_name: str, data: Any, partition: Partition, **opts: Any) -> None:
        """Keep *data* for the partition of the asset, instead of what was there.

        Idempotent. A cancelled call may or may not have happened; repeating it is safe.

        Raises:
            PartitionError: *partition* cannot name one.
            UnknownOptionError: The manager does not have such an option.
            StageflowError: *data* is nothing that the manager can store.
        """
        ...

    async def exists(self, asset_name: str, partition: Partition, **opts: Any) -> bool:
        """Return whether something is stored, without loading it.

        Changes nothing, however it ends.

        Raises:
            PartitionError: *partition* cannot name one.
            UnknownOptionError: The manager does not have such an option.
        """
        ...

    async def delete(self, asset_name: str, partition: Partition, **opts: Any) -> None:
        """Forget what is stored for the partition of the asset.

        Idempotent. A cancelled call may or may not have happened; repeating it is safe.

        Raises:
            PartitionError: *partition* cannot name one.
            UnknownOptionError: The manager does not have such an option.
        """
        ...


class PartitionListing(Protocol):
    """The capability `list_partitions`: tells which partitions of an asset are stored.

    IO-16  [list_partitions] Each stored partition is listed once, equal to what it was
      stored under, and no other; an asset of which nothing is stored has none.
    """

    async def list_partitions(self, asset_name: str, **opts: Any) -> Sequence[Partition]:
        """Return the partitions stored for the asset, in no particular order.

        Changes nothing, however it ends.

        Raises:
            UnknownOptionError: The manager does not have such an option.
        """
        ...
