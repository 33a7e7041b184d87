"""One server for the session; per test a database with all tables, empty or of its own.

To make a database takes longer than most tests do, so those that leave the tables as they are
share one, which is emptied before each of them.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest

from stageflow_io_postgres.database import Database
from stageflow_io_postgres.migrations import apply_migrations
from support.postgres import BLANK, EMPTY, database_on, session_server, statement


@pytest.fixture
def anyio_backend():
    """The driver knows asyncio alone."""
    return "asyncio"


@pytest.fixture(scope="session")
def server():
    with session_server() as server:
        yield server


async def migrate(settings):
    """Make all tables."""
    database = Database(settings)
    await database.connect()
    try:
        await apply_migrations(database)
    finally:
        await database.aclose()


@pytest.fixture(scope="session")
def template(server):
    """The name of a database with all tables, which tests share or copy."""
    with database_on(server) as name:
        anyio.run(migrate, server.settings(name))
        yield name


@pytest.fixture(scope="session")
def blank(server):
    """The name of a database for tests that want to have no tables, or make some."""
    with database_on(server) as name:
        yield name


@pytest.fixture
def empty(server, blank):
    """The name of a database with nothing in it."""
    statement(server, BLANK, database=blank)
    return blank


@pytest.fixture
def own_name(server, empty):
    """The name of a database with all tables, for tests that change them."""
    with ThreadPoolExecutor(1) as threads:  # an async test has a loop running by now
        threads.submit(anyio.run, migrate, server.settings(empty)).result()
    return empty


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
