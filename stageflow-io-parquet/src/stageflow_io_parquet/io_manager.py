"""ParquetIOManager: tables in Parquet files, one for each partition."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import attrs

from stageflow.builtin.files_io_manager import FilesIOManager
from stageflow.contracts.io_manager import IOManagerCapabilities
from stageflow.contracts.partitions import Partition
from stageflow.contracts.serializer import Serializers
from stageflow_io_parquet.frames import PandasSerializer, PolarsSerializer
from stageflow_io_parquet.serializers import BatchesSerializer, RowsSerializer, TableSerializer

__all__ = ("ParquetIOManager", "ParquetSettings", "make_parquet_io_manager")


@attrs.frozen(kw_only=True)
class ParquetSettings:
    """Where tables go, and how they are written.

    Attributes:
        root: The folder that all assets lie in.
        compression: How columns are compressed: `snappy`, `zstd`, `gzip`, `lz4` or `none`.
        row_group_size: How many rows stand together; a writer that streams holds that many.
        fsync: Whether `store` returns only when the table would survive a power cut.
        stale_after: Age in seconds from which a half-written file is taken for one that its
            writer has left behind.
    """

    root: Path = Path(".stageflow/assets")
    compression: str = attrs.field(
        default="snappy",
        validator=attrs.validators.in_(("snappy", "zstd", "gzip", "lz4", "brotli", "none")),
    )
    row_group_size: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(1))
    )
    fsync: bool = True
    stale_after: float = attrs.field(default=86_400.0, validator=attrs.validators.gt(0))


class ParquetIOManager:
    """Keeps tables in Parquet files, in folders that other engines read as one table.

    It takes Arrow tables, `RecordBatches`, frames of polars and pandas, and lists of rows. A file
    lies where core's IO manager `files` would put it. Columns that a partition's mapping names
    must hold what it says; they are left out of the file, since the path tells them, and are
    back in what is loaded.

    Args:
        root: The folder; it is made when something is stored.
        compression: As in `ParquetSettings`.
        row_group_size: As in `ParquetSettings`.
        fsync: As in `ParquetSettings`.
        stale_after: As in `ParquetSettings`.
    """

    capabilities: Final = IOManagerCapabilities(list_partitions=True)

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        compression: str = "snappy",
        row_group_size: int | None = None,
        fsync: bool = True,
        stale_after: float = 86_400.0,
    ) -> None:
        self._defaults = {"compression": compression, "row_group_size": row_group_size}
        choice = Serializers.of(
            TableSerializer(),
            BatchesSerializer(),
            PolarsSerializer(),
            PandasSerializer(),
            RowsSerializer(),
        )
        self._files = FilesIOManager(root, fsync=fsync, serializers=choice, stale_after=stale_after)

    @property
    def root(self) -> Path:
        """The folder that all assets lie in."""
        return self._files.root

    async def __aenter__(self) -> Self:
        await self._files.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Refuse further calls; again is no error."""
        await self._files.aclose()

    async def load(self, asset_name: str, partition: Partition, **opts: Any) -> Any:
        """See `IOManager.load`; the value is of the kind that was stored.

        Raises:
            SchemaMismatchError: It does not have the schema that the option asks for.
        """
        return await self._files.load(asset_name, partition, **opts)

    async def store(self, asset_name: str, data: Any, partition: Partition, **opts: Any) -> None:
        """See `IOManager.store`.

        Raises:
            PartitionColumnError: A column holds something else than the partition says.
            SchemaMismatchError: It does not have the schema that the option asks for.
        """
        given = {**self._defaults, **opts}
        if isinstance(partition, Mapping):
            given.setdefault("partition_columns", dict(partition))
        await self._files.store(asset_name, data, partition, **given)

    async def exists(self, asset_name: str, partition: Partition, **opts: Any) -> bool:
        """See `IOManager.exists`."""
        return await self._files.exists(asset_name, partition, **opts)

    async def delete(self, asset_name: str, partition: Partition, **opts: Any) -> None:
        """See `IOManager.delete`."""
        await self._files.delete(asset_name, partition, **opts)

    async def list_partitions(self, asset_name: str, **opts: Any) -> Sequence[Partition]:
        """See `PartitionListing.list_partitions`."""
        return await self._files.list_partitions(asset_name, **opts)

    def __repr__(self) -> str:
        return f"ParquetIOManager({str(self.root)!r})"


def make_parquet_io_manager(settings: ParquetSettings) -> ParquetIOManager:
    """Return a manager that keeps tables in Parquet files."""
    return ParquetIOManager(
        settings.root,
        compression=settings.compression,
        row_group_size=settings.row_group_size,
        fsync=settings.fsync,
        stale_after=settings.stale_after,
    )


make_parquet_io_manager.Settings = ParquetSettings  # type: ignore[attr-defined]
