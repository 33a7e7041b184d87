"""FilesIOManager: the data of assets lies in files, one for each partition."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import anyio.lowlevel
import anyio.to_thread

from stageflow.builtin._asset_folders import AssetFolders, ValueFile
from stageflow.builtin._os_errors import translated_os_errors
from stageflow.contracts.io_manager import AssetNotFoundError, IOManagerCapabilities
from stageflow.contracts.partitions import Partition
from stageflow.contracts.serializer import (
    MalformedDataError,
    Serializer,
    Serializers,
    read_value,
    write_value,
)
from stageflow.contracts.storage import (
    StorageClosedError,
    StorageCorruptError,
    StorageUnavailableError,
)

__all__ = ("FilesIOManager",)

T = TypeVar("T")

_OPTIONS: Final = ("serializer",)
_UNFINISHED: Final = ".unfinished"
_ATTEMPTS: Final = 100


class FilesIOManager:
    """Keeps each value in a file of its own, in folders that other engines read as well.

    A file holds what the serialiser wrote and nothing else. It lies at
    `root/asset/column=value/part-0-json.json` (see `stageflow.contracts.hive`); its name tells
    the serialiser, and the number how often that has changed. A name that is too long for a
    file system is cut and hashed, and stands in full in a file `_key` beside what it names. A
    value is written elsewhere and moved in whole, so nobody sees half of it, whenever the
    writer may end; what a killed writer leaves in `root/.unfinished` is removed once it is old.

    Several processes may use one root. The option `serializer` of an asset chooses how it is
    written; other options go to the serialiser.

    Args:
        root: The folder; it is made when something is stored.
        fsync: Whether `store` returns only when the value would survive a power cut.
        serializers: What to choose from; all that are installed unless given.
        stale_after: Age in seconds from which an unfinished file is taken for abandoned.
        now: Reads the time that files are dated with, in seconds.
    """

    capabilities: Final = IOManagerCapabilities(list_partitions=True)

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        fsync: bool = True,
        serializers: Serializers | None = None,
        stale_after: float = 86_400.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.root: Final = Path(root)
        self._folders = AssetFolders(self.root)
        self._fsync = fsync
        self._serializers = serializers
        self._stale_after = stale_after
        self._now = now
        self._is_swept = False
        self._is_closed = False

    async def __aenter__(self) -> Self:
        await self._in_thread(self._sweep)
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
        self._is_closed = True
        await anyio.lowlevel.checkpoint()

    async def load(self, asset_name: str, partition: Partition, **opts: Any) -> Any:
        """See `IOManager.load`; the serialiser is the one that wrote the value."""
        _, passed_on = self._options(opts)
        segments = self._folders.of(asset_name, partition)
        found, value = await self._in_thread(self._read, segments, passed_on)
        if not found:
            raise AssetNotFoundError(asset_name, partition)
        return value

    async def store(self, asset_name: str, data: Any, partition: Partition, **opts: Any) -> None:
        """See `IOManager.store`.

        Raises:
            UnknownSerializerError: The option `serializer` names none that is there.
            UnserializableValueError: The serialiser, or none, can carry the value.
        """
        own, passed_on = self._options(opts)
        segments = self._folders.of(asset_name, partition)
        name = own.get("serializer")
        await self._in_thread(self._write, segments, data, name, passed_on)

    async def exists(self, asset_name: str, partition: Partition, **opts: Any) -> bool:
        """See `IOManager.exists`."""
        self._options(opts)
        segments = self._folders.of(asset_name, partition)
        return bool(await self._in_thread(self._folders.value_files, segments))

    async def delete(self, asset_name: str, partition: Partition, **opts: Any) -> None:
        """See `IOManager.delete`."""
        self._options(opts)
        await self._in_thread(self._remove, self._folders.of(asset_name, partition))

    async def list_partitions(self, asset_name: str, **opts: Any) -> Sequence[Partition]:
        """See `PartitionListing.list_partitions`."""
        self._options(opts)
        return await self._in_thread(lambda: tuple(self._folders.partitions(asset_name)))

    # --- in a worker thread -------------------------------------------------------------

    def _read(self, segments: Sequence[str], opts: dict[str, Any]) -> tuple[bool, Any]:
        for _ in range(_ATTEMPTS):
            files = self._folders.value_files(segments)
            if not files:
                return False, None
            serializer = self._choice.named(files[-1].serializer)
            try:
                with files[-1].path.open("rb") as file:
                    return True, read_value(serializer, file, **opts)
            except FileNotFoundError:
                continue  # replaced or deleted since it was listed
            except MalformedDataError as error:
                path = str(files[-1].path)
                told = f"{path}: {error.message}"
                raise StorageCorruptError(told, storage=path, hint=error.hint) from error
        raise StorageUnavailableError(
            f"{self._folders.path(segments)} changes again and again.",
            storage=str(self.root),
            hint="Others store and delete there at the same time; try again.",
        )

    def _write(
        self, segments: Sequence[str], value: Any, name: str | None, opts: dict[str, Any]
    ) -> None:
        serializer = self._choice.choose(value, name)
        if not self._is_swept:
            self._sweep()
        unfinished = self._unfinished / uuid.uuid4().hex
        try:
            with unfinished.open("xb") as file:
                write_value(serializer, value, file, **opts)
                if self._fsync:
                    file.flush()
                    os.fsync(file.fileno())
            self._publish(unfinished, segments, serializer)
        finally:
            unfinished.unlink(missing_ok=True)

    def _publish(self, unfinished: Path, segments: Sequence[str], serializer: Serializer) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                folder = self._folders.make(segments)
                older = self._folders.value_files(segments)
                target = _successor(older, folder, serializer)
                unfinished.replace(target.path)
            except (FileNotFoundError, FileExistsError):
                # Somebody has removed the folder, which was empty, while we were at it.
                if attempt == _ATTEMPTS or not unfinished.exists():
                    raise
                continue
            break
        self._folders.keep_keys(segments)
        if self._fsync:
            _sync_folder(folder)
        for old in older:
            if old < target:
                old.path.unlink(missing_ok=True)

    def _remove(self, segments: Sequence[str]) -> None:
        # The one in force goes last, or an older one would be in its place for a moment.
        for file in self._folders.value_files(segments):
            file.path.unlink(missing_ok=True)
        folder = self._folders.path(segments)
        if self._fsync and folder.exists():
            _sync_folder(folder)
        self._folders.remove(segments)

    def _sweep(self) -> None:
        """Remove what writers have left that did not come to their end."""
        self._unfinished.mkdir(parents=True, exist_ok=True)
        eldest = self._now() - self._stale_after
        with os.scandir(self._unfinished) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # finished, or swept by somebody else
                    if entry.stat().st_mtime < eldest:
                        Path(entry.path).unlink()
        self._is_swept = True

    @property
    def _unfinished(self) -> Path:
        # No name of an asset begins with a dot.
        return self.root / _UNFINISHED

    @property
    def _choice(self) -> Serializers:
        if self._serializers is None:
            from stageflow.plugins import installed_serializers

            self._serializers = installed_serializers()
        return self._serializers

    # --- the rest -----------------------------------------------------------------------

    def _options(self, opts: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        if self._is_closed:
            raise StorageClosedError(repr(self))
        return self._choice.split(self, opts, _OPTIONS) if opts else ({}, {})

    async def _in_thread(self, call: Callable[..., T], *arguments: Any) -> T:
        # A call that has begun comes to its end, so a cancelled one leaves nothing half done.
        with translated_os_errors(self.root):
            return await anyio.to_thread.run_sync(call, *arguments)

    def __repr__(self) -> str:
        return f"FilesIOManager({str(self.root)!r})"


def _successor(older: Sequence[ValueFile], folder: Path, serializer: Serializer) -> ValueFile:
    """Return the file that takes the place of *older*: the same one, if its serialiser stays."""
    turn = 0
    if older:
        turn = older[-1].turn + (older[-1].serializer != serializer.name)
    path = folder / f"part-{turn}-{serializer.name}{serializer.suffix}"
    return ValueFile(turn, serializer.name, path)


def _sync_folder(folder: Path) -> None:
    """Have the names in *folder* survive a power cut, where folders can be synced at all."""
    if os.name != "posix":
        return
    with suppress(FileNotFoundError):  # deleted meanwhile
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
