"""S3IOManager: the data of assets lies in a bucket, one object for each partition."""

from __future__ import annotations

import io
import mmap
import tempfile
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Self, cast

import anyio
import attrs

from stageflow.contracts.hive import asset_folder, parse_partition_path, partition_path
from stageflow.contracts.io_manager import AssetNotFoundError, IOManagerCapabilities
from stageflow.contracts.logs import get_logger
from stageflow.contracts.partitions import Partition
from stageflow.contracts.serializer import (
    MalformedDataError,
    Serializer,
    SerializerCapabilities,
    Serializers,
    UnserializableValueError,
    read_value,
    write_value,
)
from stageflow.contracts.storage import StorageCorruptError
from stageflow.contracts.telemetry_emitter import TelemetryEmitter
from stageflow_io_s3._bucket import Bucket, ConditionMissed, Missing, go_on, is_conditional
from stageflow_io_s3._spool import Spool
from stageflow_io_s3.errors import (
    AccessDeniedError,
    ConditionalWritesError,
    ConditionFailedError,
    ObjectKeyError,
)
from stageflow_io_s3.settings import S3Settings

if TYPE_CHECKING:
    from obstore import GetResult

__all__ = ("S3Capabilities", "S3IOManager", "S3IOSettings", "make_s3_io_manager")

_OPTIONS: Final = ("if_absent", "if_match", "serializer")
_LONGEST_KEY: Final = 1024
_CHUNK: Final = 2**20
_ABOVE_ZERO: Final[Any] = attrs.validators.optional(attrs.validators.gt(0))
# Without dashes and underscores: some stores take only such names, some proxies drop the others.
_SERIALIZER: Final = "stageflowserializer"
_CRC: Final = "stageflowcrc32"
_WRITE: Final = "stageflowwrite"

_logger = get_logger(__name__)


@attrs.frozen(kw_only=True)
class S3Capabilities(IOManagerCapabilities):
    """What the manager can do beyond the contract's four methods.

    Attributes:
        conditional_writes: The options `if_absent` and `if_match` of `store` work.
    """

    conditional_writes: bool = False


@attrs.frozen(kw_only=True)
class S3IOSettings(S3Settings):
    """Where assets lie, and how surely.

    Attributes:
        file_name: What each object is called, in the folder of its partition.
        prefer: Serialisers that are asked first, in this order, before those that are installed:
            with `["parquet-rows"]` lists of rows are stored as Parquet where they are a table.
        serializer: What reads an object that does not tell, since somebody else has written it.
        conditional_writes: Whether the store has them; tried when it is opened unless known.
        stale_uploads_after: Age in seconds from which an upload in parts is taken for one that
            its writer has left behind, and ended when the manager is opened; None for never.
    """

    file_name: str = attrs.field(
        default="part-0", validator=attrs.validators.matches_re(r"[A-Za-z0-9][A-Za-z0-9._-]*")
    )
    prefer: tuple[str, ...] = ()
    serializer: str | None = None
    conditional_writes: bool | None = None
    stale_uploads_after: float | None = attrs.field(default=86_400.0, validator=_ABOVE_ZERO)


@attrs.frozen
class _Body:
    """A value as bytes.

    Attributes:
        content: The bytes, or a file that holds them.
        size: How many there are.
        attributes: What is told beside them.
    """

    content: bytes | BinaryIO
    size: int
    attributes: dict[str, str]


class S3IOManager:
    """Keeps each value in one object, in folders that other engines read as well.

    An object holds what the serialiser wrote and nothing else. Its key is
    `prefix/asset/column=value/part-0` (see `stageflow.contracts.hive`), whatever the serialiser,
    so that one request replaces a value and nobody sees half of it; its metadata tell the
    serialiser and a checksum, which loading verifies. A large value is sent in parts, which are
    nothing until the last one is there, and is aborted when the call is cancelled.

    Options of `store`: `serializer` chooses how the value is written; `if_absent=True` stores
    only if nothing is there, and `if_match=tag` only if `version` still is *tag*. Other options
    go to the serialiser.

    Args:
        settings: Where assets lie, and how the store is reached.
        serializers: What to choose from; all that are installed unless given.
        telemetry: Is told of each call: `("io", "s3", "store")` and so on.
    """

    def __init__(
        self,
        settings: S3IOSettings,
        *,
        serializers: Serializers | None = None,
        telemetry: TelemetryEmitter | None = None,
    ) -> None:
        self._settings = settings
        self._bucket = Bucket(settings)
        self._serializers = serializers
        self._telemetry = telemetry
        declared = settings.conditional_writes
        self._conditional = is_conditional(settings) if declared is None else declared

    @property
    def capabilities(self) -> S3Capabilities:
        """What it can do; whether writes can be conditional may be known once it is open."""
        return S3Capabilities(list_partitions=True, conditional_writes=bool(self._conditional))

    async def __aenter__(self) -> Self:
        await self._bucket.run(self._prepare)
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
        await self._bucket.aclose()

    async def load(self, asset_name: str, partition: Partition, **opts: Any) -> Any:
        """See `IOManager.load`; the serialiser is the one that wrote the value.

        Raises:
            StorageCorruptError: What is there is not what was stored.
        """
        began = time.perf_counter()
        own, passed_on = self._options(opts)
        key = self.key(asset_name, partition)
        try:
            found, body = await self._bucket.run(self._fetch, key)
            if body is None:
                body = await self._bucket.run_until_cancelled(
                    lambda stop: self._download(found, stop)
                )
        except Missing:
            raise AssetNotFoundError(asset_name, partition) from None
        name = found.attributes.get(_SERIALIZER) or own.get("serializer")
        self._tell("load", asset_name, began, found.meta["size"])
        return await self._decoded(key, name or self._settings.serializer, body, passed_on)

    async def store(self, asset_name: str, data: Any, partition: Partition, **opts: Any) -> None:
        """See `IOManager.store`.

        Raises:
            ConditionFailedError: What the options expect to be there is not.
            ConditionalWritesError: The store has no such conditions.
            ObjectKeyError: The names make too long a key.
            UnknownSerializerError: The option `serializer` names none that is there.
            UnserializableValueError: The serialiser, or none, can carry the value.
        """
        began = time.perf_counter()
        own, passed_on = self._options(opts)
        key = self.key(asset_name, partition)
        columns = dict(partition) if isinstance(partition, Mapping) else None
        make = partial(self._body, own.get("serializer"), data, passed_on, columns)
        if own.get("if_absent") or own.get("if_match") is not None:
            await self._store_if(asset_name, key, make, own)
            return
        rest = await self._bucket.run(self._store_small, key, make)
        if rest is not None:
            with _closing(rest.content):
                await self._bucket.run_until_cancelled(lambda stop: self._upload(key, rest, stop))
        self._tell("store", asset_name, began, rest.size if rest else None)

    async def exists(self, asset_name: str, partition: Partition, **opts: Any) -> bool:
        """See `IOManager.exists`."""
        self._options(opts)
        return await self._found(asset_name, partition) is not None

    async def version(self, asset_name: str, partition: Partition) -> str | None:
        """Return the tag of what is stored, for `if_match`; None if nothing is.

        A store may make it of the bytes alone: then equal values have equal tags, and a value
        that came back counts as one that never went away.
        """
        found = await self._found(asset_name, partition)
        return None if found is None else found.meta["e_tag"]

    async def delete(self, asset_name: str, partition: Partition, **opts: Any) -> None:
        """See `IOManager.delete`."""
        self._options(opts)
        await self._bucket.run(self._bucket.delete, self.key(asset_name, partition))

    async def list_partitions(self, asset_name: str, **opts: Any) -> Sequence[Partition]:
        """See `PartitionListing.list_partitions`."""
        self._options(opts)
        folder = f"{self._settings.base}{asset_folder(asset_name)}/"
        return await self._bucket.run(self._partitions, folder)

    async def clean_up(self, older_than: float) -> int:
        """End uploads in parts that nobody goes on with, and return how many there were.

        Args:
            older_than: Age in seconds, of the upload and of its newest part, from which its
                writer is taken for gone.
        """
        limit = datetime.now(UTC) - timedelta(seconds=older_than)
        return await self._bucket.run(self._bucket.clean_up, self._settings.base, limit)

    def key(self, asset_name: str, partition: Partition) -> str:
        """Return the key of the object that holds the partition of the asset.

        Raises:
            ObjectKeyError: It is too long.
            PartitionError: *partition* cannot name one.
        """
        self._bucket.check_open()
        path = "/".join(
            (asset_folder(asset_name), *partition_path(partition), self._settings.file_name)
        )
        key = f"{self._settings.base}{path}"
        if len(key.encode()) > _LONGEST_KEY:
            raise ObjectKeyError(key, _LONGEST_KEY)
        return key

    # --- in a worker thread -------------------------------------------------------------

    def _prepare(self) -> None:
        """Try what the store can do, and end what others have left behind."""
        stale = self._settings.stale_uploads_after
        if stale is not None:
            limit = datetime.now(UTC) - timedelta(seconds=stale)
            try:
                ended = self._bucket.clean_up(self._settings.base, limit)
            except AccessDeniedError as error:
                # Who may read and write need not be allowed to list uploads.
                _logger.debug("uploads.not_listed", store=self._bucket.name, reason=error.reason)
            else:
                if ended:
                    _logger.info("uploads.ended", store=self._bucket.name, count=ended)
        if self._conditional is None:
            try:
                self._conditional = self._bucket.probe()
            except (AccessDeniedError, PermissionError):
                self._conditional = False

    def _fetch(self, key: str) -> tuple[GetResult, BinaryIO | None]:
        found = self._bucket.get(key)
        if found.meta["size"] >= self._settings.part_size:
            return found, None
        data = found.bytes().to_bytes()
        self._verify(found, len(data), zlib.crc32(data))
        return found, io.BytesIO(data)

    def _download(self, found: GetResult, stop: threading.Event) -> BinaryIO:
        """Return a file with what was found, written as it comes."""
        size = found.meta["size"]
        is_streamed = self._streams(found.attributes.get(_SERIALIZER))
        file: Any = tempfile.TemporaryFile() if is_streamed else io.BytesIO()  # noqa: SIM115
        if not is_streamed:
            file.seek(size - 1)
            file.write(b"\0")  # so that it never has to grow
            file.seek(0)
        crc = length = 0
        for chunk in found.stream(min_chunk_size=_CHUNK):
            go_on(stop)
            crc = zlib.crc32(chunk, crc)
            length += file.write(chunk)
        self._verify(found, length, crc)
        return cast("BinaryIO", file)

    def _verify(self, found: GetResult, size: int, crc: int) -> None:
        told = found.attributes.get(_CRC)
        if size != found.meta["size"] or told not in {None, f"{crc:08x}"}:
            raise StorageCorruptError(
                f"{self._bucket.name}: the object {found.meta['path']} is not what was stored.",
                storage=self._bucket.name,
                hint="Store it again, or have the store mend it.",
            )

    def _streams(self, name: str | None) -> bool:
        name = name or self._settings.serializer
        return name is not None and SerializerCapabilities.of(self._choice.named(name)).streaming

    def _body(
        self, name: str | None, value: Any, opts: dict[str, Any], columns: Mapping[str, Any] | None
    ) -> _Body:
        """Return *value* as the serialiser of that name writes it, else the first that can."""
        for preferred in self._settings.prefer if name is None else ():
            serializer = self._choice.named(preferred)
            if serializer.accepts(value):
                with suppress(UnserializableValueError):  # of the kind, but not as it is
                    return self._written(serializer, value, opts, columns)
        return self._written(self._choice.choose(value, name), value, opts, columns)

    def _written(
        self,
        serializer: Serializer,
        value: Any,
        opts: dict[str, Any],
        columns: Mapping[str, Any] | None,
    ) -> _Body:
        """Return *value* as bytes: in memory if the serialiser makes them so, or they are few."""
        if columns is not None:
            takes = SerializerCapabilities.of(serializer).options
            if "partition_columns" in takes:
                opts = {"partition_columns": columns, **opts}
        attributes = {"Content-Type": serializer.media_type, _SERIALIZER: serializer.name}
        if not SerializerCapabilities.of(serializer).streaming:
            data = serializer.encode(value, **opts)
            attributes[_CRC] = f"{zlib.crc32(data):08x}"
            return _Body(data, len(data), attributes)
        # A value of little more than one part is spared the way over the disk.
        file = Spool(self._settings.part_size * 3 // 2)
        try:
            write_value(serializer, value, cast("BinaryIO", file), **opts)
            attributes[_CRC] = f"{file.crc:08x}"
            return _Body(file.content(), file.size, attributes)
        except BaseException:
            file.close()
            raise

    def _store_small(self, key: str, make: Callable[[], _Body]) -> _Body | None:
        """Store a value if one request is enough; else return what is to be stored."""
        body = make()
        if isinstance(body.content, bytes) and body.size < self._settings.part_size:
            self._bucket.put(key, body.content, body.attributes)
            return None
        return body

    def _upload(self, key: str, body: _Body, stop: threading.Event) -> None:
        if isinstance(body.content, bytes):
            view = memoryview(body.content)
        else:
            # Its pages belong to the system, which takes them back when it needs them.
            view = memoryview(mmap.mmap(body.content.fileno(), 0, access=mmap.ACCESS_READ))
        self._bucket.put_parts(key, view, body.attributes, stop)

    def _put_if(self, key: str, body: _Body, mode: Any) -> bool:
        """Store under a condition and return whether it held."""
        write = uuid.uuid4().hex
        content = body.content if isinstance(body.content, bytes) else body.content.read()
        try:
            self._bucket.put(key, content, {**body.attributes, _WRITE: write}, mode)
        except ConditionMissed:
            # A request that was made again after its answer was lost finds what it has written.
            try:
                return self._bucket.get(key, head=True).attributes.get(_WRITE) == write
            except Missing:
                return False
        return True

    def _partitions(self, folder: str) -> tuple[Partition, ...]:
        ending = f"/{self._settings.file_name}"
        keys = (found.key for found in self._bucket.list_all(folder))
        return tuple(
            parse_partition_path(key[len(folder) : -len(ending)].split("/"))
            if len(key) >= len(folder) + len(ending)
            else None
            for key in keys
            if key.endswith(ending)
        )

    # --- the rest -----------------------------------------------------------------------

    async def _store_if(
        self, asset_name: str, key: str, make: Callable[[], _Body], own: Mapping[str, Any]
    ) -> None:
        if self._conditional is None:
            await self._bucket.run(self._prepare)
        if not self._conditional:
            raise ConditionalWritesError(self._bucket.name)
        tag = own.get("if_match")
        mode: Any = "create" if tag is None else {"e_tag": tag}
        body = await self._bucket.run(make)
        with _closing(body.content):
            held = await self._bucket.run(self._put_if, key, body, mode)
        if not held:
            told = "something is there already" if tag is None else f"its version is not {tag}"
            raise ConditionFailedError(asset_name, told)

    async def _found(self, asset_name: str, partition: Partition) -> GetResult | None:
        key = self.key(asset_name, partition)
        try:
            return await self._bucket.run(lambda: self._bucket.get(key, head=True))
        except Missing:
            return None

    async def _decoded(
        self, key: str, name: str | None, file: BinaryIO, opts: dict[str, Any]
    ) -> Any:
        if name is None:
            raise StorageCorruptError(
                f"{self._bucket.name}: the object {key} does not tell which serialiser reads it.",
                storage=self._bucket.name,
                hint="Somebody else has written it; give the option or the setting `serializer`.",
            )
        serializer = self._choice.named(name)

        def read() -> Any:
            with file:
                if SerializerCapabilities.of(serializer).streaming:
                    return read_value(serializer, file, **opts)
                data = cast("io.BytesIO", file).getvalue()  # shares its memory
                return serializer.decode(data, **opts)

        try:
            small = isinstance(file, io.BytesIO) and len(file.getbuffer()) < _CHUNK
            return read() if small else await anyio.to_thread.run_sync(read)
        except MalformedDataError as error:
            raise StorageCorruptError(
                f"{self._bucket.name}: the object {key}: {error.message}",
                storage=self._bucket.name,
                hint=error.hint,
            ) from error

    @property
    def _choice(self) -> Serializers:
        if self._serializers is None:
            from stageflow.plugins import installed_serializers

            self._serializers = installed_serializers()
        return self._serializers

    def _options(self, opts: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        self._bucket.check_open()
        return self._choice.split(self, opts, _OPTIONS) if opts else ({}, {})

    def _tell(self, what: str, asset_name: str, began: float, size: int | None) -> None:
        if self._telemetry is not None:
            measured: dict[str, Any] = {"duration": time.perf_counter() - began}
            if size is not None:
                measured["bytes"] = size
            told = {"asset": asset_name, "store": self._bucket.name}
            self._telemetry.execute(("io", "s3", what), measured, told)

    def __repr__(self) -> str:
        return f"S3IOManager({self._bucket.name!r})"


class _closing:  # noqa: N801 - it is used as a function
    """Close what a block has used, if it is a file."""

    def __init__(self, content: bytes | BinaryIO) -> None:
        self._content = content

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        if not isinstance(self._content, bytes):
            self._content.close()


def make_s3_io_manager(settings: S3IOSettings) -> S3IOManager:
    """Return a manager that keeps data in a bucket."""
    return S3IOManager(settings)


make_s3_io_manager.Settings = S3IOSettings  # type: ignore[attr-defined]
