"""S3Resource: a client of one bucket that the stages of a run share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, final

import attrs

from stageflow.contracts.resource import Health, Healthy, ResourceCapabilities, Unhealthy
from stageflow.errors import StageflowError
from stageflow_io_s3._bucket import Bucket, Missing
from stageflow_io_s3.settings import S3Settings

__all__ = ("S3Client", "S3Object", "S3Resource")


@attrs.frozen
class S3Object:
    """What is told of an object.

    Attributes:
        key: Its key, below the url.
        size: Its bytes.
        etag: Its tag, without quotes.
    """

    key: str
    size: int
    etag: str


@final
class S3Client:
    """Reads and writes objects below a url; works on every event loop.

    Args:
        settings: The place, and how it is reached.
    """

    def __init__(self, settings: S3Settings) -> None:
        self._bucket = Bucket(settings)
        self._base = settings.base

    async def get(self, key: str) -> bytes:
        """Return what an object holds.

        Raises:
            FileNotFoundError: There is none.
            StorageError: The store fails.
        """
        try:
            return await self._bucket.run(
                lambda: self._bucket.get(f"{self._base}{key}").bytes().to_bytes()
            )
        except Missing:
            raise FileNotFoundError(key) from None

    async def put(self, key: str, data: bytes, *, content_type: str | None = None) -> None:
        """Write an object, whole or not at all; one that is there is replaced.

        Raises:
            StorageError: The store fails.
        """
        attributes = {"Content-Type": content_type} if content_type else {}
        path = f"{self._base}{key}"
        if len(data) < self._bucket.settings.part_size:
            await self._bucket.run(self._bucket.put, path, data, attributes)
        else:
            await self._bucket.run_until_cancelled(
                lambda stop: self._bucket.put_parts(path, memoryview(data), attributes, stop)
            )

    async def delete(self, key: str) -> None:
        """Delete an object; none is no error.

        Raises:
            StorageError: The store fails.
        """
        await self._bucket.run(self._bucket.delete, f"{self._base}{key}")

    async def list(
        self, prefix: str = "", *, after: str = "", limit: int = 1_000
    ) -> list[S3Object]:
        """Return at most *limit* objects by their keys: those with *prefix*, after *after*.

        Raises:
            StorageError: The store fails.
        """
        start = f"{self._base}{after}" if after else ""
        page = await self._bucket.run(
            self._bucket.list_page, f"{self._base}{prefix}", start, min(limit, 1_000)
        )
        return [
            S3Object(found.key[len(self._base) :], found.size, found.etag) for found in page.objects
        ]

    async def aclose(self) -> None:
        """Refuse further calls; again is no error."""
        await self._bucket.aclose()

    def __repr__(self) -> str:
        return f"S3Client({self._bucket.name!r})"


class S3Resource:
    """Gives the stages of a run an `S3Client`; its table has the settings of `S3Settings`."""

    capabilities: ClassVar[ResourceCapabilities] = ResourceCapabilities(health_check=True)
    name: Final = "s3"

    def setup(self, config: Mapping[str, Any]) -> S3Client:
        """See `Resource.setup`; nothing is asked of the store yet.

        Raises:
            SettingsError: The configuration is wrong.
            ConnectionSettingsError: Settings do not go together.
        """
        from stageflow.plugins import make_settings

        structure = make_settings().structurer.structure
        return S3Client(structure(dict(config), S3Settings, ("resources", self.name)))

    async def teardown(self, resource: S3Client) -> None:
        """See `Resource.teardown`."""
        await resource.aclose()

    async def health_check(self, resource: S3Client) -> Health:
        """See `HealthCheck.health_check`: whether the bucket can be listed."""
        try:
            await resource.list(limit=1)
        except StageflowError as error:
            return Unhealthy(error.message)
        return Healthy()
