"""One server for the session; per test a database with all tables, empty or of its own.

To make a database takes longer than most tests do, so those that leave the tables as they are
share one, which is emptied before each of them.
"""

from __future__ import annotations

import anyio
import pytest

from stageflow_io_postgres.database import Database
from stageflow_io_postgres.migrations import apply_migrations
from support.postgres import EMPTY, database_on, session_server, statement


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
    """The name of a database with all tables, which tests share or copy."""

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
def own_name(server, template):
    """The name of a database with all tables that no other test sees."""
    with database_on(server, template=template) as name:
        yield name


@pytest.fixture
def name(server, template):
    """The name of a database with all tables, and nothing in them."""
    statement(server, EMPTY, database=template)
    return template


@pytest.fixture
def settings(server, name):
    return server.settings(name)


@pytest.fixture
async def database(settings):
    """A database that is open."""
    async with Database(settings) as database:
        yield database
