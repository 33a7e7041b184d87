"""What `stageflow postgres migrate` does, apart from reading its options."""

from __future__ import annotations

from stageflow.plugins import Plugins
from stageflow_io_postgres.database import Database
from stageflow_io_postgres.errors import ResourceKindError
from stageflow_io_postgres.migrations import apply_migrations
from stageflow_io_postgres.settings import PostgresSettings

__all__ = ("migrate_configured",)


async def migrate_configured(resource: str, phase: str, dry_run: bool) -> list[str]:
    """Bring the tables of a configured database up to date; return the lines to show.

    Args:
        resource: Name of the resource in the settings.
        phase: `pre` or `all`.
        dry_run: Whether to return the SQL instead.

    Raises:
        ConfigurationError: The settings are wrong, or the resource is something else.
        StorageError: The database cannot be reached or refuses.
    """
    settings = Plugins.load().registry("resources").resolve(resource).settings()
    if not isinstance(settings, PostgresSettings):
        raise ResourceKindError(resource)
    database = Database(settings)
    await database.connect()
    try:
        until = "pre" if phase == "pre" else None
        steps = await apply_migrations(database, until=until, dry_run=dry_run)
    finally:
        await database.aclose()
    if not steps:
        return [f"{database.label} is up to date."]
    if dry_run:
        return [text for step in steps for text in (f"-- {step}", step.sql(database.schema))]
    return [f"{database.label}: applied {', '.join(map(str, steps))}."]
