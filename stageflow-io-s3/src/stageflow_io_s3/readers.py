"""Readers of objects: which there are, and what rows they hold."""

from __future__ import annotations

from typing import Any, ClassVar

from stageflow_io_s3._bucket import Bucket
from stageflow_io_s3._lines import LinesPosition, LinesSource
from stageflow_io_s3._objects import InventorySource, ListingSource
from stageflow_io_s3._reading import Source, StoreItemReader
from stageflow_io_s3.settings import S3LinesSettings, S3ReaderSettings

__all__ = ("S3ItemReader", "S3LinesItemReader", "S3LinesSettings", "S3ReaderSettings")


class S3ItemReader(StoreItemReader[S3ReaderSettings, Any]):
    """Reads which objects there are; an item has `bucket`, `key`, `size`, `etag`, `modified`.

    An object that comes while reading goes on is read if its key has not been passed.
    """

    name: ClassVar[str] = "s3"
    Settings = S3ReaderSettings

    def _source(self, settings: S3ReaderSettings) -> Source[Any]:
        bucket = Bucket(settings)
        if settings.manifest is not None:
            return InventorySource(settings, bucket)
        return ListingSource(settings, bucket)


class S3LinesItemReader(StoreItemReader[S3LinesSettings, LinesPosition]):
    """Reads the rows of objects, JSONL or CSV, plain or compressed with gzip.

    A checkpoint may stand inside an object; it is refused once that object has been replaced.
    """

    name: ClassVar[str] = "s3-lines"
    Settings = S3LinesSettings

    def _source(self, settings: S3LinesSettings) -> LinesSource:
        return LinesSource(settings, Bucket(settings))
