"""One server for the session, one database with all tables per test."""

from __future__ import annotations

import anyio
import pytest

from stageflow_io_postgres.database import Database
from stageflow_io_postgres.migrations import apply_migrations
from support.postgres import database_on, session_server


@pytest.fixture
def anyio_backend():
    """The driver knows asyncio alone."""
    return "asyncio"


@pytest.fixture(scope="session")
def server():
    with session_server() as server:
        yield server


@pytest.fixture(scope="session")
def template(server):
    """A database with all tables, of which each test gets a copy: that is faster than migrating."""

    async def prepare(name):
        database = Database(server.settings(name))
        await database.connect()
        try:
            await apply_migrations(database)
        finally:
            await database.aclose()

    with database_on(server) as name:
        anyio.run(prepare, name)
        yield name


@pytest.fixture
def empty(server):
    """The name of a database with nothing in it."""
    with database_on(server) as name:
        yield name


@pytest.fixture
def name(server, template):
    """The name of a database with all tables."""
    with database_on(server, template=template) as name:
        yield name


@pytest.fixture
def settings(server, name):
    return server.settings(name)


@pytest.fixture
async def database(settings):
    """A database that is open."""
    async with Database(settings) as database:
        yield database
