"""MemoryIOManager: the data of assets lies in this process, encoded."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

import anyio.lowlevel

from stageflow.codec import Codec
from stageflow.contracts.io_manager import (
    AssetNotFoundError,
    IOManagerCapabilities,
    refuse_options,
)
from stageflow.contracts.partitions import Partition, parse_partition_key, partition_key
from stageflow.contracts.storage import StorageClosedError

__all__ = ("MemoryIOManager",)


class MemoryIOManager:
    """Keeps data in this process as bytes, so that what works here works in any other place.

    No call suspends, so each has happened completely before anything else does.

    Args:
        codec: What data is encoded with; the default one unless given.
    """

    capabilities: Final = IOManagerCapabilities(list_partitions=True)

    def __init__(self, *, codec: Codec | None = None) -> None:
        self._codec = codec or Codec.default()
        self._assets: dict[str, dict[str, bytes]] = {}
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
        """See `IOManager.load`."""
        stored = self._partitions(asset_name, opts).get(partition_key(partition))
        if stored is None:
            raise AssetNotFoundError(asset_name, partition)
        return self._codec.decode(stored)

    async def store(self, asset_name: str, data: Any, partition: Partition, **opts: Any) -> None:
        """See `IOManager.store`."""
        partitions = self._partitions(asset_name, opts)
        partitions[partition_key(partition)] = self._codec.encode(data, where="data")
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

    def _partitions(self, asset_name: str, opts: dict[str, Any]) -> dict[str, bytes]:
        if self._closed:
            raise StorageClosedError("MemoryIOManager")
        refuse_options(self, opts)
        return self._assets.get(asset_name, {})

    def __repr__(self) -> str:
        return f"MemoryIOManager({len(self._assets)} assets)"
