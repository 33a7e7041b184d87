"""PostgresResource: the pool of connections that everything on one database shares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import anyio

from stageflow.contracts.resource import (
    Health,
    Healthy,
    ResourceCapabilities,
    ResourceSetupError,
    Unhealthy,
)
from stageflow.contracts.storage import StorageError
from stageflow_io_postgres.database import Database
from stageflow_io_postgres.settings import PostgresSettings

__all__ = ("PostgresResource",)

_HEALTH_SECONDS: Final = 5.0


class PostgresResource:
    """Opens databases and closes them; stages find a `Database` in `ctx.resources["postgres"]`."""

    Settings = PostgresSettings
    capabilities: Final = ResourceCapabilities(health_check=True)

    async def setup(self, config: Mapping[str, Any]) -> Database:
        """See `Resource.setup`; *config* holds what `PostgresSettings` does.

        Raises:
            ResourceSetupError: *config* is wrong.
            AsyncioOnlyError: The event loop is not asyncio's.
            StorageError: The database cannot be used.
        """
        try:
            settings = PostgresSettings(**config)
        except (TypeError, ValueError) as error:
            raise ResourceSetupError(
                f"The database cannot be opened with these settings: {error}.",
                resource="postgres",
                hint="`stageflow plugins show postgres` lists what can be set.",
            ) from None
        database = Database(settings)
        await database.open()
        return database

    async def teardown(self, resource: Database) -> None:
        """See `Resource.teardown`."""
        await resource.aclose()

    async def health_check(self, resource: Database) -> Health:
        """See `HealthCheck.health_check`."""
        try:
            with anyio.fail_after(_HEALTH_SECONDS):
                await resource.ping()
        except StorageError as error:
            return Unhealthy(error.message)
        except TimeoutError:
            return Unhealthy(f"no answer within {_HEALTH_SECONDS:g} s")
        return Healthy()
