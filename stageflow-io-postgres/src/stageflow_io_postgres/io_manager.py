"""PostgresIOManager: the data of assets in tables, by asset and partition."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Final

import anyio.to_thread

from stageflow.contracts.io_manager import (
    AssetNotFoundError,
    IOManagerCapabilities,
    IOManagerError,
)
from stageflow.contracts.partitions import Partition, parse_partition_key, partition_key
from stageflow.contracts.serializer import (
    MalformedDataError,
    Serializer,
    Serializers,
    read_value,
    write_value,
)
from stageflow.contracts.storage import StorageCorruptError
from stageflow_io_postgres.component import Component, digest, plain_text
from stageflow_io_postgres.database import Connection, Database, Row
from stageflow_io_postgres.errors import DatabaseRefusedError

__all__ = ("PostgresIOManager", "ValueTooLargeError")

_OPTIONS: Final = ("serializer",)
_JSON: Final = "json"
_LISTED: Final = 1_000
_IN_LOOP: Final = 2**16  # a value of more bytes is read in a worker thread
#: What the server says of a document that jsonb cannot hold: data exceptions, and limits.
_UNSAYABLE: Final = ("22", "54")


class ValueTooLargeError(IOManagerError):
    """A value takes more bytes than the manager is to store.

    Attributes:
        asset_name: The asset.
        size: How many bytes it takes at least.
        limit: How many it may take.
    """

    code = "SF530"

    def __init__(self, asset_name: str, size: int, limit: int) -> None:
        super().__init__(
            f"A value of the asset {asset_name!r:.100} takes {size} bytes or more;"
            f" {limit} are allowed.",
            hint="Raise `max_bytes`, divide the asset into partitions, or store it elsewhere.",
        )
        self.asset_name = asset_name
        self.size = size
        self.limit = limit


class PostgresIOManager(Component):
    """Keeps data in PostgreSQL as their serialiser wrote them, and JSON as `jsonb` besides.

    A value is loaded from the bytes that were written, so that nothing of it changes. What a
    value in JSON says stands in the column `document`, too, to be queried, unless it is larger
    than a chunk or `jsonb` cannot say it. Larger values lie in chunks.

    The option `serializer` of an asset chooses how it is written; other options go to the
    serialiser.

    Args:
        database: Where; it must be open for as long as this is used.
        max_bytes: The largest value that is stored.
        chunk_bytes: How large a value may be that is stored in one piece.
        jsonb: Whether values in JSON can be queried.
        serializers: What to choose from; all that are installed unless given.
    """

    capabilities: Final = IOManagerCapabilities(list_partitions=True)

    def __init__(
        self,
        database: Database,
        *,
        max_bytes: int = 2**30,
        chunk_bytes: int = 2**20,
        jsonb: bool = True,
        serializers: Serializers | None = None,
    ) -> None:
        super().__init__(database)
        self._sql = database.queries("assets")
        self._max_bytes = max_bytes
        self._chunk_bytes = chunk_bytes
        self._jsonb = jsonb
        self._serializers = serializers

    async def load(self, asset_name: str, partition: Partition, **opts: Any) -> Any:
        """See `IOManager.load`; the serialiser is the one that wrote the value."""
        _, passed_on = self._options(opts)
        place = _place(asset_name, partition)
        row = await self._database.fetchrow(self._sql["load"], *place, repeatable=True)
        with SpooledTemporaryFile(max_size=self._chunk_bytes) as file:
            if row is not None and row["data"] is not None:
                file.write(row["data"])
            elif row is not None:
                row = await self._read_chunks(place, file)
            if row is None:
                raise AssetNotFoundError(asset_name, partition)
            size = file.tell()
            serializer = self._choice.named(row["serializer"])
            try:
                if size <= _IN_LOOP:
                    return _decoded(serializer, file, passed_on)
                return await anyio.to_thread.run_sync(_decoded, serializer, file, passed_on)
            except MalformedDataError as error:
                raise StorageCorruptError(
                    error.message, storage=self._shared.label, hint=error.hint
                ) from error

    async def store(self, asset_name: str, data: Any, partition: Partition, **opts: Any) -> None:
        """See `IOManager.store`.

        Raises:
            UnknownSerializerError: The option `serializer` names none that is there.
            UnserializableValueError: The serialiser, or none, can carry the value.
            ValueTooLargeError: It takes more than `max_bytes`.
        """
        own, passed_on = self._options(opts)
        database, place = self._database, _place(asset_name, partition)
        names = (plain_text(asset_name), partition_key(partition))
        serializer = self._choice.choose(data, own.get("serializer"))
        with SpooledTemporaryFile(max_size=self._chunk_bytes) as spooled:
            file = _Limited(spooled, asset_name, self._max_bytes)
            await anyio.to_thread.run_sync(
                lambda: write_value(serializer, data, file, **passed_on)  # type: ignore[arg-type]
            )
            value, document = None, None
            if file.size <= self._chunk_bytes:
                spooled.seek(0)
                value = spooled.read()
                if self._jsonb and serializer.name == _JSON:
                    document = value.decode()

            def write(document: str | None) -> Any:
                async def store(connection: Connection) -> None:
                    row = (*place, *names, serializer.name, file.size, value, document)
                    number = await connection.fetchval(self._sql["store"], *row)
                    await connection.execute(self._sql["drop_chunks"], number)
                    if value is None:
                        await self._write_chunks(connection, number, spooled)

                return store

            try:
                await database.run(write(document), repeatable=True)
            except DatabaseRefusedError as error:
                if document is None or (error.sqlstate or "")[:2] not in _UNSAYABLE:
                    raise
                # Such as a text with U+0000, for which jsonb has no word.
                await database.run(write(None), repeatable=True)

    async def exists(self, asset_name: str, partition: Partition, **opts: Any) -> bool:
        """See `IOManager.exists`."""
        self._options(opts)
        place = _place(asset_name, partition)
        return bool(await self._database.fetchval(self._sql["exists"], *place, repeatable=True))

    async def delete(self, asset_name: str, partition: Partition, **opts: Any) -> None:
        """See `IOManager.delete`."""
        self._options(opts)
        place = _place(asset_name, partition)

        async def delete(connection: Connection) -> None:
            number = await connection.fetchval(self._sql["delete"], *place)
            if number is not None:
                await connection.execute(self._sql["drop_chunks"], number)

        await self._database.run(delete, repeatable=True)

    async def list_partitions(self, asset_name: str, **opts: Any) -> Sequence[Partition]:
        """See `PartitionListing.list_partitions`."""
        self._options(opts)
        return tuple([partition async for partition in self.partitions(asset_name)])

    async def partitions(self, asset_name: str) -> AsyncIterator[Partition]:
        """Give the partitions stored for the asset one by one, fetching them in pages.

        Each that is stored all the while is given once.

        Raises:
            StorageError: The database cannot be read.
        """
        asset, after = digest(asset_name), b""
        while rows := await self._database.fetch(
            self._sql["partitions"], asset, after, _LISTED, repeatable=True
        ):
            for row in rows:
                yield parse_partition_key(row["partition"])
            after = rows[-1]["partition_digest"]

    # --- the rest -----------------------------------------------------------------------

    async def _read_chunks(self, place: tuple[bytes, bytes], file: IO[bytes]) -> Row | None:
        """Write what is stored to *file* and return its row; None if nothing is."""

        async def read(connection: Connection) -> Row | None:
            # Whoever stores another value meanwhile takes away no chunk that is yet to be read.
            await connection.execute("set transaction isolation level repeatable read, read only")
            row: Row | None = await connection.fetchrow(self._sql["load"], *place)
            if row is None:
                return None
            file.seek(0)
            file.truncate()
            file.write(row["data"] or b"")
            number = 0
            while file.tell() < row["size"]:
                chunk = await connection.fetchval(self._sql["chunk"], row["id"], number)
                if not chunk:
                    raise self._lost_chunk(number)
                file.write(chunk)
                number += 1
            return row

        return await self._database.run(read, repeatable=True)

    def _lost_chunk(self, number: int) -> StorageCorruptError:
        label = self._shared.label
        return StorageCorruptError(
            f"{label} has lost chunk {number} of a value.",
            storage=label,
            hint="Restore a back-up, or materialize the asset again.",
        )

    async def _write_chunks(self, connection: Connection, number: int, file: IO[bytes]) -> None:
        file.seek(0)
        place = 0
        while chunk := file.read(self._chunk_bytes):
            await connection.copy_records_to_table(
                "asset_chunks",
                schema_name=self._shared.schema,
                columns=("value_id", "number", "data"),
                records=[(number, place, chunk)],
            )
            place += 1

    def _options(self, opts: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        _ = self._database
        return self._choice.split(self, opts, _OPTIONS) if opts else ({}, {})

    @property
    def _choice(self) -> Serializers:
        if self._serializers is None:
            from stageflow.plugins import installed_serializers

            self._serializers = installed_serializers()
        return self._serializers


class _Limited:
    """A file to be written that refuses more than so many bytes."""

    def __init__(self, file: IO[bytes], asset_name: str, limit: int) -> None:
        self._file = file
        self._asset_name = asset_name
        self._limit = limit
        self.size = 0

    def write(self, data: Any, /) -> int:
        self.size += memoryview(data).nbytes
        if self.size > self._limit:
            raise ValueTooLargeError(self._asset_name, self.size, self._limit)
        return self._file.write(data)


def _place(asset_name: str, partition: Partition) -> tuple[bytes, bytes]:
    return digest(asset_name), digest(partition_key(partition))


def _decoded(serializer: Serializer, file: IO[bytes], opts: dict[str, Any]) -> Any:
    file.seek(0)
    return read_value(serializer, file, **opts)  # type: ignore[arg-type]
