"""Rows of objects, one object after the other."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import attrs

from stageflow.builtin.row_readers import (
    CsvItemReader,
    CsvReaderSettings,
    JsonlItemReader,
    JsonlReaderSettings,
    ReaderConfigError,
)
from stageflow.contracts.item_reader import BadRowError, CheckpointError, ItemReaderError
from stageflow_io_s3._bucket import Bucket, Missing, go_on
from stageflow_io_s3._reading import Got, Source
from stageflow_io_s3.errors import ObjectChangedError
from stageflow_io_s3.settings import S3LinesSettings

__all__ = ("LinesPosition", "LinesSource")

_CHUNK: Final = 2**20
_FORMATS: Final = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
}


@attrs.frozen(eq=False)
class LinesPosition:
    """Where a reading stands: in an object, or at the end of it.

    Attributes:
        key: The object; empty before the first.
        etag: Its tag.
        inner: The state of the reader of its rows; None at its end.
    """

    key: str = ""
    etag: str = ""
    inner: Any = None


class LinesSource(Source[LinesPosition]):
    """The rows of objects; of each a copy lies on the disk while it is read.

    Args:
        settings: Which objects, and how they are written.
        bucket: Where they are.
    """

    def __init__(self, settings: S3LinesSettings, bucket: Bucket) -> None:
        names = ("url", "keys", "prefix", "suffix", "format", "columns", "delimiter", "encoding")
        told: dict[str, Any] = {name: getattr(settings, name) for name in names}
        told |= {name: list(value) for name, value in told.items() if isinstance(value, tuple)}
        super().__init__(
            f"{settings.url} ({settings.prefix}*{settings.suffix})",
            {**told, "max_items": settings.max_items},
        )
        self._settings = settings
        self._bucket = bucket
        self._open: dict[str, tuple[Any, Any]] = {}  # the reader of each object, and a state of it

    async def begin(self) -> LinesPosition:
        # The first object is looked for at once: so a bucket that is not there is told of here.
        await self._next_key("")
        return LinesPosition()

    async def read(self, position: LinesPosition, n: int) -> Got[LinesPosition]:
        await self._forget_others(position.key)
        items: list[Any] = []
        skipped = 0
        while len(items) < n:
            if position.inner is None:
                key = await self._next_key(position.key)
                if key is None:
                    return Got(items, None, skipped)
                position = await self._opened(key)
            reader = self._open[position.key][0]
            try:
                page = await reader.read(position.inner, n - len(items))
            except BadRowError as error:
                raise BadRowError(self._told(position.key), error.line, error.reason) from None
            except ItemReaderError as error:
                told = error.message.replace(error.source, self._told(position.key))
                raise ItemReaderError(
                    told, source=self._told(position.key), hint=error.hint
                ) from None
            items += page.items
            skipped += page.skipped
            position = attrs.evolve(position, inner=page.state)
        return Got(items, position, skipped)

    def freeze(self, position: LinesPosition) -> dict[str, Any]:
        inner = None
        if position.inner is not None:
            inner = self._open[position.key][0].checkpoint(position.inner)
            del inner["path"]
        return {"key": position.key, "etag": position.etag, "inner": inner}

    async def thaw(self, frozen: Mapping[str, Any]) -> LinesPosition:
        key, etag, inner = frozen["key"], frozen["etag"], frozen["inner"]
        if not isinstance(key, str) or not isinstance(etag, str):
            raise TypeError("the key is none")
        if key and self._settings.keys is not None and key not in self._settings.keys:
            raise ValueError(f"{key} is not read")
        if inner is None:
            return LinesPosition(key, etag)
        position = await self._opened(key)
        if position.etag != etag:
            raise CheckpointError(f"{key} has been replaced", source=self.name)
        reader, state = self._open[key]
        path = str(state.source.path)
        restored = await reader.restore(state, {**inner, "path": path})
        return attrs.evolve(position, inner=restored)

    async def close(self) -> None:
        await self._forget_others("")
        await self._bucket.aclose()

    async def _opened(self, key: str) -> LinesPosition:
        """Fetch an object, and return the position of its first row."""
        if (there := self._open.pop(key, None)) is not None:
            await there[0].close(there[1])
        reader = self._reader(key, self._settings.format or _format_of(key))
        path, etag = await self._bucket.run_until_cancelled(
            lambda stop: _fetched(self._bucket, key, stop)
        )
        try:
            state = await reader.init({"path": str(path)}, {})
        finally:
            with suppress(OSError):  # where a file that is open cannot be removed
                path.unlink()
        self._open[key] = reader, state
        return LinesPosition(key, etag, state)

    async def _forget_others(self, key: str) -> None:
        """Close what has been read up, except the object that is being read."""
        for other in [each for each in self._open if each != key]:
            reader, state = self._open.pop(other)
            await reader.close(state)

    async def _next_key(self, key: str) -> str | None:
        """Return the key of the object after *key*; None if there is none."""
        chosen = self._settings.keys
        if chosen is not None:
            place = chosen.index(key) + 1 if key else 0
            return chosen[place] if place < len(chosen) else None
        return await self._bucket.run(self._find_next, key)

    def _find_next(self, key: str) -> str | None:
        prefix = f"{self._settings.base}{self._settings.prefix}"
        while True:
            page = self._bucket.list_page(prefix, key, 100)
            for found in page.objects:
                if found.key.endswith(self._settings.suffix) and not found.key.endswith("/"):
                    return found.key
            if page.is_last or not page.objects:
                return None
            key = page.objects[-1].key

    def _reader(self, key: str, kind: str) -> Any:
        settings = self._settings
        common: dict[str, Any] = {
            "path": Path(key or "unset"),
            "on_error": settings.on_error,
            "max_row_bytes": settings.max_row_bytes,
        }
        if kind == "jsonl":
            return JsonlItemReader(JsonlReaderSettings(**common))
        return CsvItemReader(
            CsvReaderSettings(
                **common,
                columns=settings.columns,
                delimiter=settings.delimiter,
                encoding=settings.encoding,
            )
        )

    def _told(self, key: str) -> str:
        return f"s3://{self._settings.bucket}/{key}"


def _format_of(key: str) -> str:
    name = key.lower().removesuffix(".gz")
    found = next((kind for ending, kind in _FORMATS.items() if name.endswith(ending)), None)
    if found is None:
        raise ReaderConfigError(
            f"The key {key!r:.200} does not tell how the rows of the object are written.",
            hint='Set format = "jsonl" or "csv", or narrow suffix.',
        )
    return found


def _fetched(bucket: Bucket, key: str, stop: threading.Event) -> tuple[Path, str]:
    """Return a file with what the object holds, and the object's tag."""
    try:
        found = bucket.get(key)
    except Missing:
        raise ObjectChangedError(f"{bucket.name}: {key}") from None
    descriptor, name = tempfile.mkstemp(prefix="stageflow-")
    path = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for chunk in found.stream(min_chunk_size=_CHUNK):
                go_on(stop)
                file.write(chunk)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path, (found.meta["e_tag"] or "").strip('"')
