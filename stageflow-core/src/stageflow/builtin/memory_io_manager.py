"""MemoryIOManager: the data of assets lies in this process, as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

import anyio.lowlevel

from stageflow.contracts.io_manager import AssetNotFoundError, IOManagerCapabilities
from stageflow.contracts.partitions import Partition, parse_partition_key, partition_key
from stageflow.contracts.serializer import Serializers
from stageflow.contracts.storage import StorageClosedError

__all__ = ("MemoryIOManager",)


_OPTIONS: Final = ("serializer",)


class MemoryIOManager:
    """Keeps data in this process as bytes, so that what works here works in any other place.

    No call suspends, so each has happened completely before anything else does. The option
    `serializer` of an asset chooses how it is encoded; other options go to the serialiser.

    Args:
        serializers: What to choose from; all that are installed unless given.
    """

    capabilities: Final = IOManagerCapabilities(list_partitions=True)

    def __init__(self, *, serializers: Serializers | None = None) -> None:
        self._serializers = serializers
        self._assets: dict[str, dict[str, tuple[str, bytes]]] = {}
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
        """Forget all data and refuse further calls; again is no error."""
        self._closed = True
        self._assets.clear()
        await anyio.lowlevel.checkpoint()

    async def load(self, asset_name: str, partition: Partition, **opts: Any) -> Any:
        """See `IOManager.load`; the serialiser is the one that wrote the value."""
        stored = self._partitions(asset_name, opts).get(partition_key(partition))
        if stored is None:
            raise AssetNotFoundError(asset_name, partition)
        _, passed_on = self._options(opts)
        name, data = stored
        return self._choice.named(name).decode(data, **passed_on)

    async def store(self, asset_name: str, data: Any, partition: Partition, **opts: Any) -> None:
        """See `IOManager.store`.

        Raises:
            UnknownSerializerError: The option `serializer` names none that is there.
            UnserializableValueError: The serialiser, or none, can carry the value.
        """
        partitions = self._partitions(asset_name, opts)
        own, passed_on = self._options(opts)
        key = partition_key(partition)
        serializer = self._choice.choose(data, own.get("serializer"))
        partitions[key] = (serializer.name, serializer.encode(data, **passed_on))
        self._assets[asset_name] = partitions

    async def exists(self, asset_name: str, partition: Partition, **opts: Any) -> bool:
        """See `IOManager.exists`."""
        return partition_key(partition) in self._partitions(asset_name, opts)

    async def delete(self, asset_name: str, partition: Partition, **opts: Any) -> None:
        """See `IOManager.delete`."""
        self._partitions(asset_name, opts).pop(partition_key(partition), None)

    async def list_partitions(self, asset_name: str, **opts: Any) -> Sequence[Partition]:
        """See `PartitionListing.list_partitions`."""
        return tuple(map(parse_partition_key, self._partitions(asset_name, opts)))

    def _partitions(self, asset_name: str, opts: dict[str, Any]) -> dict[str, tuple[str, bytes]]:
        if self._closed:
            raise StorageClosedError("MemoryIOManager")
        self._options(opts)
        return self._assets.get(asset_name, {})

    def _options(self, opts: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        return self._choice.split(self, opts, _OPTIONS) if opts else ({}, {})

    @property
    def _choice(self) -> Serializers:
        if self._serializers is None:
            from stageflow.plugins import installed_serializers

            self._serializers = installed_serializers()
        return self._serializers

    def __repr__(self) -> str:
        return f"MemoryIOManager({len(self._assets)} assets)"
