"""One SQLite file: opened when needed, shared by processes, clear about what is wrong with it."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from stageflow.builtin import _sqlite, _sqlite_errors
from stageflow.builtin._sqlite import Schema, SqliteDatabase
from stageflow.contracts.storage import (
    StorageBusyError,
    StorageClosedError,
    StorageCorruptError,
    StorageError,
    StorageFullError,
    StorageReadOnlyError,
    StorageUnavailableError,
    StorageVersionError,
)

pytestmark = pytest.mark.anyio

NOTES = Schema(component="notes", migrations=[["create table notes (text)"]])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data.sqlite3"


@pytest.fixture
async def database(path):
    async with SqliteDatabase(path, schema=NOTES, synchronous="normal") as database:
        yield database


@pytest.fixture
def waiting(monkeypatch):
    """An event that is set once a call has met a lock and is about to try again."""
    event = threading.Event()
    monkeypatch.setattr(_sqlite.time, "sleep", lambda _: event.set())
    return event


def note(text):
    def work(connection):
        connection.execute("insert into notes values (?)", (text,))

    return work


def notes(connection):
    return [row[0] for row in connection.execute("select text from notes order by rowid")]


def lock(path):
    """Begin to write as another process does; nobody else can until this is committed."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("begin immediate")
    return other


async def seen(event):
    assert await anyio.to_thread.run_sync(event.wait, 5)


async def turns():
    for _ in range(10):
        await anyio.lowlevel.checkpoint()


# --- opening and closing --------------------------------------------------------


async def test_the_first_call_opens_the_file_and_makes_its_folders(tmp_path):
    database = SqliteDatabase(tmp_path / "a" / "b" / "data.sqlite3", schema=NOTES)
    assert not (tmp_path / "a").exists()
    await database.write(note("x"))
    assert await database.read(notes) == ["x"]
    await database.aclose()
    assert sorted(p.name for p in (tmp_path / "a" / "b").iterdir()) == ["data.sqlite3"]


async def test_it_is_in_wal_mode_with_the_safety_asked_for(path):
    for synchronous, level in (("full", 2), ("normal", 1)):
        async with SqliteDatabase(path, schema=NOTES, synchronous=synchronous) as database:
            for pragma, expected in (("synchronous", level), ("journal_mode", "wal")):
                found = await database.read(
                    lambda c, pragma=pragma: c.execute(f"pragma {pragma}").fetchone()[0]
                )
                assert found == expected


async def test_closing_one_that_was_never_opened_makes_no_file(path):
    database = SqliteDatabase(path, schema=NOTES)
    await database.aclose()
    await database.aclose()
    assert not path.exists()
    with pytest.raises(StorageClosedError) as caught:
        await database.read(notes)
    assert caught.value.storage == str(path)


async def test_closing_waits_for_calls_made_before(database):
    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(database.write, note(number))
        await turns()
        await database.aclose()
    with sqlite3.connect(database.path) as connection:
        assert sorted(notes(connection)) == list(range(10))
    connection.close()


async def test_closing_happens_also_when_it_is_cancelled(path):
    database = SqliteDatabase(path, schema=NOTES)
    await database.write(note("x"))
    with anyio.CancelScope() as scope:
        scope.cancel()
        await database.aclose()
    assert not path.with_name(f"{path.name}-wal").exists()


async def test_one_that_is_not_closed_warns(path):
    database = SqliteDatabase(path, schema=NOTES)
    await database.open()
    holder = [database]
    del database
    with pytest.warns(ResourceWarning, match=r"data\.sqlite3.* was not closed"):
        holder.clear()


def test_it_may_serve_one_event_loop_after_the_other(path):
    database = SqliteDatabase(path, schema=NOTES, synchronous="normal")
    for backend in ("asyncio", "trio", "asyncio"):
        anyio.run(database.write, note(backend), backend=backend)
    assert anyio.run(database.read, notes) == ["asyncio", "trio", "asyncio"]
    anyio.run(database.aclose)


async def test_nobody_need_be_there_any_more_to_hear_of_the_end():
    def wake(_):
        raise RuntimeError("Event loop is closed")

    _sqlite._Job(None, wake).finish()


# --- transactions ---------------------------------------------------------------


async def test_work_that_raises_leaves_nothing(database):
    def work(connection):
        note("half")(connection)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await database.write(work)
    assert await database.read(notes) == []
    await database.write(note("whole"))
    assert await database.read(notes) == ["whole"]


async def test_a_call_dropped_while_it_waits_for_its_turn_has_not_happened(database):
    entered, go = threading.Event(), threading.Event()

    def slow(connection):
        entered.set()
        assert go.wait(5)
        note("slow")(connection)

    scope = anyio.CancelScope()

    async def dropped():
        with scope:
            await database.write(note("dropped"))

    async with anyio.create_task_group() as group:
        group.start_soon(database.write, slow)
        await seen(entered)
        group.start_soon(dropped)
        await turns()
        scope.cancel()
        await turns()
        go.set()
    assert await database.read(notes) == ["slow"]


async def test_a_call_cancelled_under_way_has_happened(database):
    entered, go = threading.Event(), threading.Event()

    def slow(connection):
        entered.set()
        assert go.wait(5)
        note("slow")(connection)

    async with anyio.create_task_group() as group:
        group.start_soon(database.write, slow)
        await seen(entered)
        group.cancel_scope.cancel()
        go.set()
    assert await database.read(notes) == ["slow"]


# --- other processes ------------------------------------------------------------


async def test_it_waits_for_another_process_that_writes(database, waiting):
    other = lock(database.path)
    async with anyio.create_task_group() as group:
        group.start_soon(database.write, note("late"))
        await seen(waiting)
        other.execute("insert into notes values ('early')")
        other.execute("commit")
        other.close()
    assert await database.read(notes) == ["early", "late"]


async def test_reading_does_not_wait_for_one_that_writes(database):
    await database.write(note("before"))
    other = lock(database.path)
    other.execute("insert into notes values ('meanwhile')")
    assert await database.read(notes) == ["before"]
    other.close()


async def test_a_call_cancelled_while_it_waits_has_not_happened(path, waiting):
    async with SqliteDatabase(path, schema=NOTES, busy_timeout=3600) as database:
        other = lock(path)
        async with anyio.create_task_group() as group:
            group.start_soon(database.write, note("cancelled"))
            await seen(waiting)
            group.cancel_scope.cancel()
        other.execute("commit")
        other.close()
        assert await database.read(notes) == []


async def test_one_that_stays_locked_is_busy(path):
    async with SqliteDatabase(path, schema=NOTES, busy_timeout=0) as database:
        other = lock(path)
        with pytest.raises(StorageBusyError, match="locked") as caught:
            await database.write(note("x"))
        assert caught.value.retryable
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        other.execute("rollback")
        other.close()
        await database.write(note("x"))


def test_any_number_may_open_a_new_file_at_once(path):
    def use(number):
        async def main():
            async with SqliteDatabase(path, schema=NOTES, synchronous="normal") as database:
                await database.write(note(number))

        anyio.run(main)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(use, range(6)))
    connection = sqlite3.connect(path)
    assert sorted(notes(connection)) == list(range(6))
    connection.close()


# --- the layout of the tables ---------------------------------------------------

GROWN = Schema(
    component="notes",
    migrations=[
        *NOTES.migrations,
        ["alter table notes add column at text default 'then'", "create table tags (name)"],
    ],
)


async def test_an_older_layout_is_brought_up_to_date(path):
    async with SqliteDatabase(path, schema=NOTES) as database:
        await database.write(note("old"))
    for _ in range(2):
        async with SqliteDatabase(path, schema=GROWN) as database:
            rows = await database.read(lambda c: c.execute("select * from notes").fetchall())
            assert rows == [("old", "then")]


async def test_a_migration_that_fails_changes_nothing(path):
    async with SqliteDatabase(path, schema=NOTES) as database:
        await database.write(note("old"))
    bad = Schema(
        component="notes",
        migrations=[*NOTES.migrations, ["create table tags (name)", "create table notes (x)"]],
    )
    database = SqliteDatabase(path, schema=bad)
    with pytest.raises(StorageError, match="already exists"):
        await database.open()
    await database.aclose()
    async with SqliteDatabase(path, schema=GROWN) as database:
        assert await database.read(notes) == ["old"]


async def test_a_newer_layout_is_refused_and_left_alone(path):
    async with SqliteDatabase(path, schema=GROWN):
        pass
    database = SqliteDatabase(path, schema=NOTES)
    for _ in range(2):
        with pytest.raises(StorageVersionError) as caught:
            await database.read(notes)
        assert (caught.value.found, caught.value.supported) == (2, 1)
        assert "Upgrade" in caught.value.hint
    await database.aclose()


async def test_components_share_a_file(path):
    other = Schema(component="tags", migrations=[["create table tags (name)"]])
    async with (
        SqliteDatabase(path, schema=NOTES) as first,
        SqliteDatabase(path, schema=other) as second,
    ):
        await first.write(note("x"))
        await second.write(lambda c: c.execute("insert into tags values ('t')").rowcount)
        versions = await first.read(
            lambda c: c.execute("select * from stageflow_schema order by 1").fetchall()
        )
    assert versions == [("notes", 1), ("tags", 1)]


# --- what may be wrong with a file ----------------------------------------------


async def test_one_for_reading_only_is_not_written(path):
    async with SqliteDatabase(path, schema=NOTES) as database:
        await database.write(note("x"))
    async with SqliteDatabase(path, schema=NOTES, read_only=True) as database:
        assert await database.read(notes) == ["x"]
        with pytest.raises(StorageReadOnlyError, match="cannot be written"):
            await database.write(note("y"))
    database = SqliteDatabase(path, schema=GROWN, read_only=True)
    with pytest.raises(StorageReadOnlyError, match="version 1 of the layout of notes"):
        await database.read(notes)
    await database.aclose()


async def test_one_for_reading_only_must_be_there(tmp_path):
    path = tmp_path / "a" / "data.sqlite3"
    database = SqliteDatabase(path, schema=NOTES, read_only=True)
    with pytest.raises(StorageUnavailableError, match="cannot be opened"):
        await database.read(notes)
    await database.aclose()
    assert not path.parent.exists()


async def test_a_disk_without_room_is_full(database):
    await database.read(lambda c: c.execute("pragma max_page_count = 8").fetchone())
    with pytest.raises(StorageFullError, match="no room"):
        await database.write(note("x" * 100_000))
    assert await database.read(notes) == []
    await database.write(note("small"))
    assert await database.read(notes) == ["small"]


async def test_what_is_no_database_is_corrupt(path):
    path.write_text("This is a letter, and a long one at that. " * 100)
    database = SqliteDatabase(path, schema=NOTES)
    with pytest.raises(StorageCorruptError, match="not a sound SQLite database"):
        await database.open()
    await database.aclose()
    assert path.read_text().startswith("This is a letter")


async def test_a_folder_or_a_file_in_the_way_is_unavailable(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "data.sqlite3"):
        database = SqliteDatabase(path, schema=NOTES)
        with pytest.raises(StorageUnavailableError, match="cannot be opened") as caught:
            await database.open()
        assert caught.value.storage == str(path)
        await database.aclose()


async def test_other_faults_keep_the_message_of_sqlite(database):
    with pytest.raises(StorageError, match="no such table: nowhere") as caught:
        await database.read(lambda c: c.execute("select * from nowhere"))
    assert type(caught.value) is StorageError


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (sqlite3.SQLITE_FULL, StorageFullError),
        (sqlite3.SQLITE_IOERR_SHMSIZE, StorageFullError),
        (sqlite3.SQLITE_IOERR_WRITE, StorageError),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, StorageBusyError),
        (sqlite3.SQLITE_READONLY_DBMOVED, StorageReadOnlyError),
        (sqlite3.SQLITE_CORRUPT_INDEX, StorageCorruptError),
        (sqlite3.SQLITE_NOTADB, StorageCorruptError),
        (sqlite3.SQLITE_CANTOPEN_ISDIR, StorageUnavailableError),
        (None, StorageError),
    ],
)
def test_result_codes_and_their_extensions_have_a_meaning(code, meaning):
    fault = sqlite3.OperationalError("said SQLite")
    if code is not None:
        fault.sqlite_errorcode = code
    told = _sqlite_errors.translated(fault, "a/file")
    assert (type(told), told.storage) == (meaning, "a/file")
    assert "said SQLite" in told.message
    assert told.hint


# --- from threads without an event loop -----------------------------------------


def test_a_thread_without_event_loop_may_block_on_it(path):
    database = SqliteDatabase(path, schema=NOTES)
    database.open_now()
    database.write_now(note("x"))
    with pytest.raises(StorageError, match="no such table"):
        database.write_now(lambda c: c.execute("drop table nowhere"))
    assert database.write_now(notes) == ["x"]
    for _ in range(2):
        database.close_now()
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name]
    with pytest.raises(StorageClosedError):
        database.open_now()


def test_closing_what_was_never_opened_blocks_nobody(path):
    SqliteDatabase(path, schema=NOTES).close_now()
    assert not path.exists()
