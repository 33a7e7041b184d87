"""FolderIOManager: one file for each partition of an asset."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import anyio.to_thread
import attrs

from stageflow.codec import Codec
from stageflow.contracts.io_manager import AssetNotFoundError, refuse_options
from stageflow.contracts.partitions import Partition, partition_key
from stageflow.contracts.storage import StorageClosedError

__all__ = ("FolderIOManager", "FolderSettings")

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class FolderSettings:
    """Where the data lies.

    Attributes:
        root: The folder; it is made when something is stored.
    """

    root: Path


class FolderIOManager:
    """Keeps each partition in a file of its own, named by a hash of asset and partition.

    Args:
        settings: Where to keep them.
    """

    Settings = FolderSettings

    def __init__(self, settings: FolderSettings) -> None:
        self._root = settings.root
        self._codec = Codec.default()
        self._is_closed = False

    async def aclose(self) -> None:
        """Refuse further calls; again is no error."""
        self._is_closed = True

    async def load(self, asset_name: str, partition: Partition, **opts: Any) -> Any:
        """See `IOManager.load`."""
        path = self._path(asset_name, partition, opts)
        try:
            data = await self._in_thread(path.read_bytes)
        except FileNotFoundError:
            raise AssetNotFoundError(asset_name, partition) from None
        return self._codec.decode(data)

    async def store(self, asset_name: str, data: Any, partition: Partition, **opts: Any) -> None:
        """See `IOManager.store`."""
        path = self._path(asset_name, partition, opts)
        encoded = self._codec.encode(data, where="data")
        await self._in_thread(lambda: _replace(path, encoded))

    async def exists(self, asset_name: str, partition: Partition, **opts: Any) -> bool:
        """See `IOManager.exists`."""
        return await self._in_thread(self._path(asset_name, partition, opts).exists)

    async def delete(self, asset_name: str, partition: Partition, **opts: Any) -> None:
        """See `IOManager.delete`."""
        path = self._path(asset_name, partition, opts)
        await self._in_thread(lambda: path.unlink(missing_ok=True))

    def _path(self, asset_name: str, partition: Partition, opts: dict[str, Any]) -> Path:
        if self._is_closed:
            raise StorageClosedError("FolderIOManager")
        refuse_options(self, opts)
        # A hash is a safe name of one length, whatever people call their assets.
        return self._root / _hash(asset_name) / _hash(partition_key(partition))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        # Once begun it is finished, so that a cancelled call has happened wholly or not at all.
        return await anyio.to_thread.run_sync(work)


def _hash(name: str) -> str:
    return sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


def _replace(path: Path, data: bytes) -> None:
    """Put *data* into the file at once: nobody ever reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(data)
    Path(file.name).replace(path)
