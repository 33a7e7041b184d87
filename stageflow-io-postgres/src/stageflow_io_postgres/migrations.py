"""Migrations: how the tables come to be, and how they follow the code.

A version has a step before the deployment of the code that wants it (`pre`), which the code of
the version before gets on with, and may have one after it (`post`), which takes away what only
that code needed. So code works with the version that it knows, with the one before, and with the
`pre` step of the one after.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final, Literal

import attrs

from stageflow.contracts.storage import StorageVersionError
from stageflow_io_postgres.errors import SchemaMissingError, SchemaOutdatedError
from stageflow_io_postgres.queries import quoted, read_sql

if TYPE_CHECKING:
    from stageflow_io_postgres.database import Connection, Database

__all__ = (
    "NEWEST_VERSION",
    "OLDEST_VERSION",
    "MigrationStep",
    "applied_steps",
    "apply_migrations",
    "migration_steps",
    "pending_steps",
    "prepare_schema",
)

NEWEST_VERSION: Final = 2
"""The version of the tables that this code is written for."""
OLDEST_VERSION: Final = NEWEST_VERSION - 1
"""The oldest version that it works with."""

_STATEMENT_SECONDS: Final = 600.0
Phase = Literal["pre", "post"]
#: Between `pre` and `post` of one version the code is deployed.
_FILE: Final = re.compile(r"(?P<version>\d{4})_(?P<phase>pre|post)(_[a-z0-9_]+)?\.sql")
_ORDER: Final = ("pre", "post")


@attrs.frozen(kw_only=True, order=False)
class MigrationStep:
    """One step; its files are applied in the order of their names, in one transaction.

    Attributes:
        version: Of the tables, after it.
        phase: Whether it comes before or after the deployment of the code.
        files: Their names.
    """

    version: int
    phase: Phase
    files: tuple[str, ...] = ()

    @property
    def place(self) -> tuple[int, int]:
        """Where it stands in the order of all steps."""
        return self.version, _ORDER.index(self.phase)

    def sql(self, schema: str) -> str:
        """Return what it does to the schema of that name."""
        texts = (read_sql("migrations", name) for name in self.files)
        return "\n".join(texts).replace("{schema}", quoted(schema))

    def __str__(self) -> str:
        return f"{self.version} {self.phase}"


@cache
def migration_steps() -> tuple[MigrationStep, ...]:
    """Return all steps, in order."""
    found: dict[tuple[int, Phase], list[str]] = {}
    for entry in files("stageflow_io_postgres").joinpath("migrations").iterdir():
        match = _FILE.fullmatch(entry.name)
        if match is not None:
            phase: Phase = "pre" if match["phase"] == "pre" else "post"
            found.setdefault((int(match["version"]), phase), []).append(entry.name)
    steps = (
        MigrationStep(version=version, phase=phase, files=tuple(sorted(names)))
        for (version, phase), names in found.items()
    )
    return tuple(sorted(steps, key=lambda step: step.place))


def pending_steps(
    applied: Iterable[tuple[int, str]], *, until: str | None = None
) -> tuple[MigrationStep, ...]:
    """Return the steps that are still to be applied.

    Args:
        applied: Version and phase of those that have been.
        until: `pre` leaves out the `post` step of the newest version, as long as code of the
            version before may be running.
    """
    done = set(applied)
    wanted = [step for step in migration_steps() if (step.version, step.phase) not in done]
    if until == "pre":
        wanted = [step for step in wanted if step.place != (NEWEST_VERSION, _ORDER.index("post"))]
    return tuple(wanted)


async def applied_steps(database: Database) -> tuple[tuple[int, str], ...]:
    """Return version and phase of the steps that the database has had, in order."""
    return await database.run(
        lambda connection: _applied(connection, database.schema), repeatable=True
    )


async def apply_migrations(
    database: Database,
    *,
    until: str | None = None,
    dry_run: bool = False,
    patience: float = 60.0,
) -> Sequence[MigrationStep]:
    """Bring the tables up to date and return what that took; nothing if they are.

    Of any number of processes that do so at once one does it, the others wait for it. Either all
    steps are applied or none.

    Args:
        database: It has to be connected.
        until: As of `pending_steps`.
        dry_run: Whether to return what it would take, and change nothing.
        patience: For how many seconds to wait for another migration, and for each lock.

    Raises:
        StorageBusyError: That was too short.
        DatabaseAccessError: The role may not make tables.
        StorageVersionError: They are newer than all steps that are known here.
    """
    schema = database.schema

    async def apply(connection: Connection) -> Sequence[MigrationStep]:
        # A pooler does not pass settings of sessions on; these end with the transaction.
        limits = (("lock_timeout", patience), ("statement_timeout", _STATEMENT_SECONDS))
        for name, seconds in limits:
            await connection.execute(f"set local {name} = {max(1, round(seconds * 1000))}")
        await connection.execute(
            "select pg_advisory_xact_lock(hashtextextended($1, 0))",
            f"stageflow.migrate.{schema}",
            timeout=patience + 5.0,
        )
        applied = await _applied(connection, schema)
        _check_not_newer(database, applied)
        steps = pending_steps(applied, until=until)
        if not steps or dry_run:
            return steps
        await connection.execute(f"create schema if not exists {quoted(schema)}")
        await connection.execute(_LEDGER.replace("{schema}", quoted(schema)))
        for step in steps:
            await connection.execute(step.sql(schema), timeout=_STATEMENT_SECONDS)
            await connection.execute(
                f"insert into {quoted(schema)}.schema_versions (version, phase) values ($1, $2)",  # noqa: S608
                step.version,
                step.phase,
            )
        return steps

    return await database.run(apply, repeatable=True)


async def prepare_schema(database: Database, *, migrate: bool) -> None:
    """Return once the tables are such that this code works with them.

    Args:
        database: It has to be connected.
        migrate: Whether to make them so. What only older code needs stays, unless there was
            nothing at all.

    Raises:
        SchemaMissingError: They are not there.
        SchemaOutdatedError: They are too old.
        StorageVersionError: They are too new.
    """
    applied = await applied_steps(database)
    if migrate and pending_steps(applied, until="pre"):
        await apply_migrations(database, until="pre" if applied else None)
        applied = await applied_steps(database)
    if not applied:
        raise SchemaMissingError(
            database.label, f"schema {database.schema!r} has never been migrated"
        )
    versions = [version for version, phase in applied if phase == "pre"]
    found = max(versions, default=0)
    if found < OLDEST_VERSION:
        raise SchemaOutdatedError(database.label, found=found, oldest=OLDEST_VERSION)
    _check_not_newer(database, applied)


def _check_not_newer(database: Database, applied: Sequence[tuple[int, str]]) -> None:
    # The `pre` step of the next version is made to be borne by this one.
    newest = max((version - (phase == "pre") for version, phase in applied), default=0)
    if newest > NEWEST_VERSION:
        found = max(version for version, _ in applied)
        raise StorageVersionError(
            database.label, component="Stageflow", found=found, supported=NEWEST_VERSION
        )


_LEDGER: Final = """
    create table if not exists {schema}.schema_versions (
        version integer not null,
        phase text not null,
        applied_at timestamptz not null default now(),
        primary key (version, phase)
    )
"""


async def _applied(connection: Connection, schema: str) -> tuple[tuple[int, str], ...]:
    table = f"{quoted(schema)}.schema_versions"
    if await connection.fetchval("select to_regclass($1)::text", table) is None:
        return ()
    rows = await connection.fetch(
        f"select version, phase from {table} order by version, phase = 'post'"  # noqa: S608
    )
    return tuple((row["version"], row["phase"]) for row in rows)
