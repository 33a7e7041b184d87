"""The tables come and change by migrations: once, by one, and so that two versions of code work."""

from __future__ import annotations

from uuid import uuid4

import anyio
import pytest
from typer.testing import CliRunner

from stageflow.contracts.storage import StorageBusyError, StorageVersionError
from stageflow.testing.run_store import RunStoreConformance
from stageflow_io_postgres import (
    Database,
    DatabaseAccessError,
    PostgresSettings,
    SchemaMissingError,
    SchemaOutdatedError,
)
from stageflow_io_postgres.command import app
from stageflow_io_postgres.migrations import (
    NEWEST_VERSION,
    OLDEST_VERSION,
    applied_steps,
    apply_migrations,
    migration_steps,
    pending_steps,
)
from stageflow_io_postgres.queries import read_sql
from stageflow_io_postgres.run_store import PostgresRunStore
from support.postgres import EMPTY, database_on, statement
from support.postgres_runs import move_back

pytestmark = pytest.mark.anyio

SCHEMA = "stageflow"
CATALOGUE = {
    "relations": """
        select c.relname, c.relkind::text, c.reloptions::text from pg_class c
        join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1
    """,
    "columns": """
        select c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
            a.attidentity::text, pg_get_expr(d.adbin, d.adrelid)
        from pg_attribute a join pg_class c on c.oid = a.attrelid
        join pg_namespace n on n.oid = c.relnamespace
        left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
        where n.nspname = $1 and a.attnum > 0 and not a.attisdropped and c.relkind <> 'i'
    """,
    "indexes": "select indexdef from pg_indexes where schemaname = $1",
    "constraints": """
        select r.conname, pg_get_constraintdef(r.oid) from pg_constraint r
        join pg_namespace n on n.oid = r.connamespace where n.nspname = $1
    """,
    "views": "select viewname, definition from pg_views where schemaname = $1",
}


async def catalogue(database, schema=SCHEMA):
    found = {}
    for what, query in CATALOGUE.items():
        rows = await database.fetch(query, schema)
        found[what] = sorted(
            [str(value).replace(schema, "S") for value in row.values()] for row in rows
        )
    return found


@pytest.fixture
async def bare(server, empty):
    """A database that is connected and has no tables."""
    database = Database(server.settings(empty))
    await database.connect()
    yield database
    await database.aclose()


def until(step):
    """What `applied` is when everything up to *step* has been."""
    return [(each.version, each.phase) for each in migration_steps() if each.place <= step.place]


async def apply_until(database, last):
    """Apply the steps up to *last*, as the release that brought it did."""

    async def apply(connection):
        for step in migration_steps():
            if step.place <= last.place:
                await connection.execute(step.sql(SCHEMA))

    await database.execute("create schema stageflow")
    await database.execute(
        "create table stageflow.schema_versions (version integer not null, phase text not null,"
        " applied_at timestamptz not null default now(), primary key (version, phase))"
    )
    await database.run(apply)
    for version, phase in until(last):
        await database.execute(
            "insert into stageflow.schema_versions values ($1, $2)", version, phase
        )


# --- one after the other --------------------------------------------------------


def test_versions_follow_one_another_and_each_has_a_step_before():
    versions = [step.version for step in migration_steps() if step.phase == "pre"]
    assert versions == list(range(1, NEWEST_VERSION + 1))
    assert OLDEST_VERSION == NEWEST_VERSION - 1


async def test_the_migrations_make_what_the_schema_file_says(server, bare):
    await apply_migrations(bare)
    async with bare.connection() as connection:
        await connection.execute("create schema other")
        await connection.execute(read_sql(".", "schema.sql").replace("{schema}", '"other"'))
    made, written = await catalogue(bare), await catalogue(bare, "other")
    for what, rows in written.items():
        ledger = "schema_versions"
        assert [row for row in made[what] if ledger not in str(row)] == rows, what


@pytest.mark.parametrize("first", migration_steps(), ids=str)
async def test_every_earlier_state_leads_to_the_same_tables(bare, first):
    await apply_until(bare, first)
    steps = await apply_migrations(bare)
    assert [step.place for step in steps] == [
        step.place for step in migration_steps() if step.place > first.place
    ]
    assert await apply_migrations(bare) == ()
    upgraded = await catalogue(bare)
    await bare.execute("drop schema stageflow cascade")
    await apply_migrations(bare)
    fresh = await catalogue(bare)
    assert upgraded == fresh


async def test_runs_outlive_an_upgrade(bare):
    await apply_until(bare, migration_steps()[0])
    store = PostgresRunStore(bare)
    run_id = uuid4()
    await store.create_run(run_id, service="test", status="running", fact=1)
    lease = await store.acquire_lease(run_id, "me", ttl=60)
    await apply_migrations(bare, until="pre")
    await store.renew_lease(lease, ttl=60)
    await apply_migrations(bare)
    await store.renew_lease(lease, ttl=60)
    assert (await store.get_run(run_id))["fact"] == 1


@pytest.mark.slow
class TestOnTheVersionBefore(RunStoreConformance):
    """The code works with the tables of the version before, all of it."""

    capabilities = PostgresRunStore.capabilities
    event_loops = ("asyncio",)

    @pytest.fixture(scope="class")
    @staticmethod
    def old(server):
        async def prepare(name):
            database = Database(server.settings(name))
            await database.connect()
            before = [each for each in migration_steps() if each.version == OLDEST_VERSION][-1]
            await apply_until(database, before)
            await database.aclose()

        with database_on(server) as name:
            anyio.run(prepare, name)
            yield name

    @pytest.fixture
    async def store(self, server, old):
        statement(server, EMPTY, database=old)
        async with Database(server.settings(old)) as self.database:
            yield PostgresRunStore(self.database)

    async def pass_time(self, seconds):
        await move_back(self.database, seconds)


# --- at once, by whom, and not at all -------------------------------------------


async def test_of_many_who_migrate_at_once_one_does(server, empty):
    applied = []

    async def migrate():
        async with Database(server.settings(empty, migrate_on_open=True)) as database:
            applied.append(await applied_steps(database))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(migrate)
    everything = tuple((step.version, step.phase) for step in migration_steps())
    assert applied == [everything] * 5


async def test_who_waits_for_another_migration_does_not_wait_for_ever(server, empty, bare):
    async with bare.connection() as other:
        await other.execute("begin")
        await other.execute(
            "select pg_advisory_xact_lock(hashtextextended('stageflow.migrate.stageflow', 0))"
        )
        with pytest.raises(StorageBusyError):
            await apply_migrations(bare, patience=0.1)


async def test_a_migration_that_fails_leaves_nothing(bare):
    await bare.execute("create schema stageflow")
    await bare.execute("create table stageflow.run_events (n int)")
    with pytest.raises(Exception, match="already exists"):
        await apply_migrations(bare)
    assert await applied_steps(bare) == ()
    assert await bare.fetchval("select to_regclass('stageflow.runs')") is None


async def test_opening_does_not_take_away_what_older_code_needs(server, bare, empty):
    await apply_until(bare, migration_steps()[0])
    async with Database(server.settings(empty, migrate_on_open=True)) as database:
        applied = await applied_steps(database)
    assert pending_steps(applied) == migration_steps()[-1:]
    assert pending_steps(applied, until="pre") == ()


async def test_a_dry_run_changes_nothing(bare):
    steps = await apply_migrations(bare, dry_run=True)
    assert steps == migration_steps()
    assert await applied_steps(bare) == ()


async def test_a_schema_may_be_called_anything(server, empty):
    given = {"schema": 'say "no"; drop', "migrate_on_open": True}
    async with Database(server.settings(empty, **given)) as database:
        store = PostgresRunStore(database)
        assert await store.list_runs() == ()
        async with store.news() as news:
            assert not await news.wait(0)


async def test_without_tables_it_says_how_to_make_them(server, empty):
    with pytest.raises(SchemaMissingError, match="stageflow postgres migrate"):
        await Database(server.settings(empty)).open()


async def test_tables_that_are_too_old_or_too_new_are_refused(server, own_name):
    async def opened(versions):
        rows = ", ".join(f"({version}, '{phase}')" for version, phase in versions)
        ledger = "stageflow.schema_versions"
        statement(server, "delete from stageflow.schema_versions", database=own_name)
        statement(server, f"insert into {ledger} values {rows}", database=own_name)  # noqa: S608
        async with Database(server.settings(own_name)):
            pass

    await opened([(NEWEST_VERSION + 1, "pre")])
    with pytest.raises(StorageVersionError):
        await opened([(NEWEST_VERSION + 1, "pre"), (NEWEST_VERSION + 1, "post")])
    with pytest.raises(StorageVersionError):
        await opened([(NEWEST_VERSION + 2, "pre")])
    with pytest.raises(SchemaOutdatedError):
        await opened([(OLDEST_VERSION - 1, "pre")])


async def test_a_role_without_rights_is_told_so(server, own_name):
    statement(server, "create role weak login")
    try:
        given = {"host": "127.0.0.1", "port": server.port, "user": "weak", "database": own_name}
        settings = PostgresSettings(**given)
        with pytest.raises(DatabaseAccessError, match="permission denied"):
            await Database(settings).open()
        statement(server, GRANTS, database=own_name)
        async with Database(settings) as database:
            store = PostgresRunStore(database)
            assert await store.list_runs() == ()
            with pytest.raises(DatabaseAccessError, match="permission denied"):
                await store.create_run(uuid4(), service="test")
            with pytest.raises(DatabaseAccessError):
                await database.execute("create table stageflow.mine (n int)")
    finally:
        statement(server, "drop owned by weak", database=own_name)
        statement(server, "drop role weak")


GRANTS = """
grant usage on schema stageflow to weak;
grant select on all tables in schema stageflow to weak
"""


# --- the command ----------------------------------------------------------------


@pytest.fixture
def project(server, empty, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", server.address(empty))
    text = '[resources.postgres]\ndsn = "env:DATABASE_URL"\n[resources.other]\nuse = "postgres"\n'
    (tmp_path / "stageflow.toml").write_text(text)
    return empty


def call(*arguments):
    return CliRunner().invoke(app, ["migrate", *arguments])


def test_the_command_migrates_once(project):
    result = call("--dry-run")
    assert result.exit_code == 0, result.output
    assert "create table" in result.output
    assert "-- 2 post" in result.output
    result = call("--phase", "pre")
    assert result.exit_code == 0
    assert "applied 1 pre, 2 pre." in result.output
    assert "applied 2 post." in call().output
    assert "is up to date" in call().output


def test_the_command_tells_what_is_wrong(project, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:secret-word@127.0.0.1:1/x")
    result = call()
    assert result.exit_code == 2
    assert "SF487" in result.output
    assert "secret-word" not in result.output
    monkeypatch.delenv("DATABASE_URL")
    result = call()
    assert (result.exit_code, "SF205" in result.output) == (2, True)


def test_the_command_leaves_tables_that_are_newer_than_itself(project, server):
    assert call().exit_code == 0
    newer = "insert into stageflow.schema_versions (version, phase) values (3, 'pre'), (3, 'post')"
    statement(server, newer, database=project)
    for arguments in ((), ("--dry-run",)):
        result = call(*arguments)
        assert (result.exit_code, "SF486" in result.output) == (2, True), result.output
