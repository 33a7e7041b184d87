"""Objects, as a listing or an inventory tells of them."""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from urllib.parse import unquote_plus

import attrs

from stageflow.contracts.item_reader import ItemReaderError
from stageflow_io_s3._bucket import Bucket, Missing
from stageflow_io_s3._lines import LinesSource
from stageflow_io_s3._reading import Got, Source
from stageflow_io_s3._requests import ListedObject, ListedPage
from stageflow_io_s3.settings import S3LinesSettings, S3ReaderSettings, S3Settings

__all__ = ("InventorySource", "ListingSource")

_PAGES_AT_ONCE = 10


class ListingSource(Source[str]):
    """Objects in the order of their keys; a position is the last key that was given."""

    def __init__(self, settings: S3ReaderSettings, bucket: Bucket) -> None:
        names = ("url", "prefix", "suffix", "start_after", "max_items")
        super().__init__(
            f"{settings.url} ({settings.prefix}*{settings.suffix})",
            {name: getattr(settings, name) for name in names},
        )
        self._settings = settings
        self._bucket = bucket
        self._listed: tuple[str, list[str], ListedPage] | None = None

    async def begin(self) -> str:
        after = self._settings.start_after
        await self._page(after, 1)
        return after

    async def read(self, position: str, n: int) -> Got[str]:
        items: list[Any] = []
        # The server has seen to the beginning of the keys.
        bucket, suffix = self._settings.bucket, self._settings.suffix
        while True:
            objects, is_last = await self._page(position, n - len(items))
            fitting = (it for it in objects if it.key.endswith(suffix) and it.key[-1] != "/")
            chosen = list(islice(fitting, n - len(items)))
            items += [_item(bucket, found) for found in chosen]
            last = objects[-1] if objects else None
            if len(items) == n and chosen[-1] is not last:
                return Got(items, chosen[-1].key)
            if last is None or is_last:
                return Got(items, None)
            position = last.key
            if len(items) == n:
                return Got(items, position)

    def freeze(self, position: str) -> dict[str, Any]:
        return {"after": position}

    async def thaw(self, frozen: Mapping[str, Any]) -> str:
        after = frozen["after"]
        if not isinstance(after, str) or after < self._settings.start_after:
            raise ValueError("the key is none")
        return after

    async def close(self) -> None:
        self._listed = None
        await self._bucket.aclose()

    async def _page(self, after: str, wanted: int) -> tuple[list[ListedObject], bool]:
        """Return objects after a key, and whether there are no more after them."""
        if self._listed is not None:
            start, keys, page = self._listed
            if start <= after and (page.is_last or (keys and after < keys[-1])):
                return page.objects[bisect_right(keys, after) :], page.is_last
        prefix = f"{self._settings.base}{self._settings.prefix}"
        size = self._settings.page_size
        most = min(max(math.ceil(wanted / size), 1), _PAGES_AT_ONCE)
        page = await self._bucket.run(self._bucket.list_pages, prefix, after, size, most)
        self._listed = after, [found.key for found in page.objects], page
        return page.objects, page.is_last or not page.objects


class InventorySource(LinesSource):
    """Objects as the rows of an inventory tell of them."""

    def __init__(self, settings: S3ReaderSettings, bucket: Bucket) -> None:
        self._chosen = settings
        super().__init__(_as_lines(settings, (), ()), bucket)
        names = ("url", "prefix", "suffix", "start_after", "manifest", "max_items")
        self.identity.clear()
        self.identity.update({name: getattr(settings, name) for name in names})

    async def begin(self) -> Any:
        manifest = await self._bucket.run(self._manifest)
        columns = tuple(name.strip() for name in manifest["fileSchema"].split(","))
        keys = tuple(file["key"] for file in manifest["files"])
        self._settings = _as_lines(self._chosen, keys, columns)
        return await super().begin()

    async def read(self, position: Any, n: int) -> Got[Any]:
        items: list[Any] = []
        while True:
            got = await super().read(position, n - len(items))
            items += [item for row in got.items if (item := self._object(row)) is not None]
            if got.position is None or len(items) == n:
                return Got(items, got.position)
            position = got.position

    def _manifest(self) -> Any:
        key = str(self._chosen.manifest)
        told = f"s3://{self._chosen.bucket}/{key}"
        try:
            manifest = json.loads(self._bucket.get(key).bytes().to_bytes())
            is_ours = manifest["fileFormat"] == "CSV" and "Key" in manifest["fileSchema"]
            is_ours = is_ours and all(isinstance(file["key"], str) for file in manifest["files"])
        except Missing:
            raise ItemReaderError(
                f"There is no manifest {told}.", source=told, hint="Look at the setting manifest."
            ) from None
        except (ValueError, LookupError, TypeError, AttributeError):
            is_ours = False
        if not is_ours:
            raise ItemReaderError(
                f"{told} is no manifest of an inventory in CSV.",
                source=told,
                hint="Have the inventory written as CSV; ORC and Parquet are not read.",
            )
        return manifest

    def _object(self, row: Mapping[str, str]) -> dict[str, Any] | None:
        key = unquote_plus(row["Key"])
        is_gone = row.get("IsLatest") == "false" or row.get("IsDeleteMarker") == "true"
        if is_gone or not self._chosen.matches(key):
            return None
        found = ListedObject(
            key,
            int(row.get("Size") or 0),
            row.get("ETag", "").strip('"'),
            row.get("LastModifiedDate", ""),
        )
        return _item(row.get("Bucket") or self._chosen.bucket, found)


def _as_lines(
    settings: S3ReaderSettings, keys: tuple[str, ...], columns: tuple[str, ...]
) -> S3LinesSettings:
    shared = {field.name: getattr(settings, field.name) for field in attrs.fields(S3Settings)}
    return S3LinesSettings(**shared, keys=keys, columns=columns or None, format="csv")


def _item(bucket: str, found: ListedObject) -> dict[str, Any]:
    modified = datetime.fromisoformat(found.modified) if found.modified else None
    if modified is not None and modified.tzinfo is None:
        modified = modified.replace(tzinfo=UTC)
    return {
        "bucket": bucket,
        "key": found.key,
        "size": found.size,
        "etag": found.etag,
        "modified": modified,
    }
