"""The pool: every wait ends, what is lost is told as it is, nothing shows a password."""

from __future__ import annotations

import socket
import traceback
from typing import ClassVar

import anyio
import pytest
import trio

from stageflow.contracts.resource import ResourceCapabilities
from stageflow.contracts.storage import (
    StorageBusyError,
    StorageClosedError,
    StorageReadOnlyError,
    StorageUnavailableError,
)
from stageflow.plugins import Secret
from stageflow.testing.resource import ResourceConformance
from stageflow_io_postgres import (
    AsyncioOnlyError,
    Database,
    DatabaseAccessError,
    DatabaseRefusedError,
    OutcomeUnknownError,
    PostgresResource,
    PostgresSettings,
)
from support.cut_wire import CutWire
from support.postgres import statement

pytestmark = pytest.mark.anyio

HOSTILE = "p@ss w/rd?#[]%40&'\"\\:;é=$1"


class TestPostgresResource(ResourceConformance):
    capabilities = ResourceCapabilities(health_check=True)
    event_loops = ("asyncio",)

    @pytest.fixture
    async def resource(self, settings):
        type(self).config = {"dsn": settings.dsn}
        return PostgresResource()

    bad_config: ClassVar = {"dsn": None, "port": 0}

    async def use(self, opened):
        assert await opened.fetchval("select 1") == 1


def test_on_trio_it_says_that_it_needs_asyncio(settings):
    with pytest.raises(AsyncioOnlyError, match="SF380"):
        trio.run(Database(settings).open)


async def test_a_server_that_is_not_there_is_told_at_once():
    settings = PostgresSettings(dsn=Secret("postgresql://u:secret-word@127.0.0.1:1/x"))
    with pytest.raises(StorageUnavailableError) as caught:
        await Database(settings).open()
    assert "secret-word" not in "".join(traceback.format_exception(caught.value))


async def test_a_server_that_says_nothing_is_not_waited_for_for_ever():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        settings = PostgresSettings(host="127.0.0.1", port=port, user="u", connect_timeout=0.05)
        with pytest.raises(StorageUnavailableError, match=r"no answer within 0\.05 s"):
            await Database(settings).open()


async def test_who_finds_no_free_connection_waits_for_so_long(server, name):
    async with Database(server.settings(name, max_connections=1, acquire_timeout=0.05)) as one:
        async with one.connection():
            with pytest.raises(StorageBusyError, match="none of its 1 connections"):
                await one.fetchval("select 1")
        assert await one.fetchval("select 1") == 1


async def test_who_asks_first_is_served_first(server, name):
    served = []
    async with Database(server.settings(name, max_connections=1)) as one:

        async def ask(number):
            await one.fetchval("select 1")
            served.append(number)

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(ask, number)
    assert served == list(range(20))


async def test_a_statement_that_takes_too_long_is_given_up(server, name):
    async with Database(server.settings(name, statement_timeout=0.05)) as hasty:
        with pytest.raises(StorageBusyError, match="statement timeout"):
            await hasty.fetchval("select pg_sleep(30)")


async def test_a_cancelled_call_leaves_its_connection_usable(server, name):
    async with Database(server.settings(name, max_connections=1)) as one:
        for _ in range(3):
            with anyio.move_on_after(0.02) as scope:
                await one.fetchval("select pg_sleep(30)")
            assert scope.cancelled_caught
        assert await one.fetchval("select 1") == 1


async def test_who_changed_a_session_leaves_no_trace(database):
    async with database.connection() as connection:
        await connection.execute("set search_path to nowhere")
        await connection.execute("begin")
    assert await database.fetchval("show search_path") == '"$user", public'


async def test_what_was_begun_is_rolled_back(database):
    async def work(connection):
        await connection.execute("create table half (n int)")
        raise KeyError

    with pytest.raises(KeyError):
        await database.run(work)
    assert await database.fetchval("select to_regclass('half')") is None


async def test_deadlocks_are_made_again(database):
    await database.execute("create table pairs (n int primary key, v int)")
    await database.execute("insert into pairs values (1, 0), (2, 0)")
    tries = []

    async def add(connection, first, second):
        tries.append(first)
        await connection.execute("set local deadlock_timeout = '10ms'")
        for number in (first, second):
            await connection.execute("update pairs set v = v + 1 where n = $1", number)
            await connection.execute("select pg_sleep(0.05)")

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(database.run, lambda one: add(one, 1, 2))
            group.start_soon(database.run, lambda one: add(one, 2, 1))
        assert len(tries) > 2, "there was no deadlock"
        assert await database.fetchval("select sum(v)::int from pairs") == 4
    finally:
        await database.execute("drop table pairs")


async def test_after_closing_every_call_is_refused(settings):
    database = Database(settings)
    await database.open()
    await database.aclose()
    await database.aclose()
    with pytest.raises(StorageClosedError):
        await database.fetchval("select 1")


async def test_connections_that_the_server_ends_are_replaced(database):
    ended = "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()"
    for _ in range(3):
        async with database.connection() as one, database.connection():
            await one.execute(f"{ended} and datname = current_database()")
        assert await database.fetchval("select 1") == 1


async def test_an_answer_that_is_lost_is_told_apart_from_a_call_that_never_was(server, name):
    async with CutWire(server.port) as wire:
        settings = server.settings(name, host="127.0.0.1", port=wire.port)
        async with Database(settings) as database:
            await database.execute("create table marks (n int)")
            try:
                wire.swallow(b"INSERT")
                with pytest.raises(OutcomeUnknownError) as caught:
                    await database.execute("insert into marks values (1)")
                assert not caught.value.retryable
                wire.swallow(b"INSERT")
                await database.execute("insert into marks values (2)", repeatable=True)
                counts = await database.fetch("select n, count(*) as c from marks group by n")
                assert {row["n"]: row["c"] for row in counts} == {1: 1, 2: 2}
            finally:
                await database.execute("drop table marks")
        assert wire.cuts >= 2


async def test_a_standby_says_that_it_cannot_be_written(database):
    async def write(connection):
        await connection.execute("set transaction read only")
        await connection.execute("create table no (n int)")

    with pytest.raises(StorageReadOnlyError):
        await database.run(write)


async def test_what_the_server_does_not_understand_is_told_with_its_code(database):
    with pytest.raises(DatabaseRefusedError) as caught:
        await database.fetchval("selec 1")
    assert caught.value.sqlstate == "42601"


# --- passwords ------------------------------------------------------------------


@pytest.fixture
def hostile(server):
    """A role whose password is checked, and made of what addresses and shells cannot bear."""
    if not server.is_own:
        pytest.skip("the server's own rules say whose password is checked")
    quoted = HOSTILE.replace("'", "''")
    statement(server, f"create role hostile login password '{quoted}'")
    yield "hostile"
    statement(server, "drop role hostile")


@pytest.mark.parametrize("way", ["parts", "dsn"])
async def test_a_password_may_hold_anything(server, name, hostile, way):
    from urllib.parse import quote

    if way == "parts":
        given = {"host": "127.0.0.1", "port": server.port, "user": hostile, "database": name}
        settings = PostgresSettings(**given, password=Secret(HOSTILE))
    else:
        address = f"postgresql://{hostile}:{quote(HOSTILE, safe='')}@127.0.0.1:{server.port}/{name}"
        settings = PostgresSettings(dsn=Secret(address))
    database = Database(settings)
    await database.connect()
    assert await database.fetchval("select current_user") == hostile
    await database.aclose()
    assert HOSTILE not in f"{settings!r} {settings} {database!r} {database.label}"


async def test_a_wrong_password_is_told_and_never_shown(server, name, hostile):
    given = {"host": "127.0.0.1", "port": server.port, "user": hostile, "database": name}
    settings = PostgresSettings(**given, password=Secret("a-wrong-password"))
    with pytest.raises(DatabaseAccessError) as caught:
        await Database(settings).open()
    told = "".join(traceback.format_exception(caught.value))
    assert "password authentication failed" in told
    assert "a-wrong-password" not in told
    assert not caught.value.retryable


async def test_a_server_without_tls_is_refused_where_tls_is_wanted(server, name):
    if not server.is_own:
        pytest.skip("it may well have TLS")
    with pytest.raises((StorageUnavailableError, DatabaseRefusedError)):
        await Database(server.settings(name, tls="require")).open()
    async with Database(server.settings(name, tls="prefer")) as database:
        assert await database.fetchval("select 1") == 1


# --- news -----------------------------------------------------------------------


async def test_news_come_at_once_and_only_to_whom_they_concern(database, settings):
    async with Database(settings) as other, anyio.create_task_group() as group:
        heard = []

        async def listen(key, ready):
            async with other.listener.subscribe("there", key) as subscription:
                ready.set()
                heard.append((key, await subscription.wait(10)))

        for key in ("mine", None):
            ready = anyio.Event()
            group.start_soon(listen, key, ready)
            await ready.wait()
        await database.execute("select pg_notify('there', 'another'), pg_notify('there', 'mine')")
    assert sorted(heard, key=str) == [("mine", True), (None, True)]


async def test_without_news_the_waiter_looks_by_itself(database):
    async with database.listener.subscribe("there", "mine") as subscription:
        await database.execute("select pg_notify('there', 'another')")
        assert not await subscription.wait(0.05)


async def test_a_listener_that_was_cut_off_wakes_its_waiters_and_listens_again(database):
    async with database.listener.subscribe("there") as subscription:
        await database.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where pid <> pg_backend_pid() and query ilike 'listen%'"
        )
        assert await subscription.wait(10), "it may have missed something"
        await database.listener.connect("there")
        await database.execute("select pg_notify('there', '')")
        assert await subscription.wait(10)
