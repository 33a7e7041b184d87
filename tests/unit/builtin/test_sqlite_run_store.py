"""What the SQLite run store keeps through crowds, upgrades and faults of the file."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from datetime import UTC, datetime
from uuid import UUID

import anyio
import anyio.to_thread
import pytest

from stageflow.builtin import _sqlite
from stageflow.builtin._sqlite_runs import SCHEMA
from stageflow.builtin.sqlite_run_store import SqliteRunStore
from stageflow.contracts.checkpoints import CheckpointEntry, LeaseLostError
from stageflow.contracts.run_store import RunEvent
from stageflow.contracts.storage import (
    StorageBusyError,
    StorageCorruptError,
    StorageError,
    StorageFullError,
    StorageReadOnlyError,
)
from stageflow.testing import TestClock

pytestmark = pytest.mark.anyio

RUN = UUID(int=1)
START = datetime(2025, 1, 1, tzinfo=UTC)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs.sqlite3"


@pytest.fixture
async def store(path):
    async with SqliteRunStore(path, synchronous="normal", busy_timeout=0) as store:
        yield store


async def leased(store, run_id=RUN):
    await store.create_run(run_id, service="voice", status="running")
    return await store.acquire_lease(run_id, "me", ttl=60)


def entry(key, value=b"{}"):
    return CheckpointEntry(key=key, value=value)


def event(kind="a"):
    return RunEvent(type=kind, at=START)


async def sql(store, statement, *parameters):
    return await store._database.write(
        lambda connection: connection.execute(statement, parameters).fetchall()
    )


async def parked(store, run_id, *, timeout=None):
    lease = await leased(store, run_id)
    await store.open_wait(lease, "w", stage="ask", name="approval", timeout=timeout)
    assert await store.park_run(lease, ["w"])


# --- upgrades -------------------------------------------------------------------

VERSION_1 = """
    create table stageflow_schema (component text primary key, version integer not null)
        without rowid;
    insert into stageflow_schema values ('runs', 1);
    create table runs (
        seq integer primary key autoincrement, run_id text not null unique, service text not null,
        topology text, execution_mode text, status text not null, error text, duration_ms,
        created_at text not null, updated_at text not null
    );
    create index runs_by_status on runs (status, seq);
    create index runs_by_service on runs (service, seq);
    create table run_metadata (
        seq integer not null references runs (seq) on delete cascade, name text not null,
        value blob not null, primary key (seq, name)
    ) without rowid;
    create table run_events (
        seq integer not null references runs (seq) on delete cascade, number integer not null,
        type text not null, at text not null, data blob not null, primary key (seq, number)
    ) without rowid;
    insert into runs values
        (1, '00000000-0000-0000-0000-000000000001', 'voice', null, null, 'running', null, null,
         '2024-01-01T00:00:00+00:00', '2024-01-02T00:00:00+00:00'),
        (2, '00000000-0000-0000-0000-000000000002', 'voice', null, null, 'failed', 'no', 2.5,
         '2024-01-01T00:00:00+00:00', '2024-01-02T00:00:00+00:00');
    insert into run_metadata values (1, 'user', '{"stageflow":1,"plain":"u-1"}');
    insert into run_events values
        (1, 1, 'a', '2024-01-01T00:00:00+00:00', '{"stageflow":1,"plain":null}');
"""


@pytest.fixture
def old_file(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_1)
    return path


def table_info(connection, table):
    return connection.execute("select * from pragma_table_info(?)", (table,)).fetchall()


def columns(path):
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute("select name from sqlite_master where type = 'table'")
        return {table: table_info(connection, table) for (table,) in tables.fetchall()}


async def test_a_file_of_the_first_version_goes_on(old_file):
    async with SqliteRunStore(old_file) as store:
        record = await store.get_run(RUN)
        assert (record.status, record["user"]) == ("running", "u-1")
        assert await store.claim_run("me", ttl=60) is None  # it never had a lease
        lease = await store.acquire_lease(RUN, "me", ttl=60)
        await store.commit(lease, [entry("a")], events=[event("b")])
        assert [found.type for found in await store.read_events(RUN)] == ["a", "b"]
        assert await store.prune_runs(before=START) == (UUID(int=2),)
        assert await store.prune_runs(before=START) == ()


async def test_an_old_file_becomes_what_a_new_one_is(old_file, tmp_path):
    new_file = tmp_path / "new.sqlite3"
    for file in (old_file, new_file):
        async with SqliteRunStore(file):
            pass
    assert columns(old_file) == columns(new_file)


async def test_an_old_file_for_reading_only_says_what_to_do(old_file):
    store = SqliteRunStore(old_file, read_only=True)
    with pytest.raises(StorageReadOnlyError, match="version 1 of the layout of runs") as caught:
        await store.list_runs()
    assert "Open it once for writing" in caught.value.hint
    await store.aclose()
    with closing(sqlite3.connect(old_file)) as connection:
        assert connection.execute("select version from stageflow_schema").fetchall() == [(1,)]


def test_versions_that_are_out_there_are_never_changed():
    with closing(sqlite3.connect(":memory:")) as new, closing(sqlite3.connect(":memory:")) as old:
        for statement in SCHEMA.migrations[0]:
            new.execute(statement)
        old.executescript(VERSION_1)
        for table in ("runs", "run_metadata", "run_events"):
            assert table_info(new, table) == table_info(old, table)


# --- several processes ----------------------------------------------------------

_WORKER = """
import sys, anyio
from uuid import UUID
from stageflow.builtin.sqlite_run_store import SqliteRunStore
from stageflow.contracts.checkpoints import CheckpointEntry
from stageflow.contracts.shared_values import ValueChangedError

async def add_one(store):
    while True:
        found = await store.read_value("n", "count")
        count, version = (int(found.value), found.version) if found else (0, 0)
        try:
            await store.write_value("n", "count", str(count + 1).encode(), expected=version)
            return
        except ValueChangedError:
            pass

async def main():
    path, name = sys.argv[1:]
    async with SqliteRunStore(path, synchronous="normal", busy_timeout=30) as store:
        while (lease := await store.claim_run(name, ttl=3600)) is not None:
            await store.commit(lease, [CheckpointEntry(key=name, value=b"")], status="completed")
            await add_one(store)

anyio.run(main)
"""


@pytest.mark.slow
async def test_bug080_processes_share_runs_and_a_counter_and_lose_nothing(path):
    runs = [UUID(int=number) for number in range(1, 61)]
    async with SqliteRunStore(path, synchronous="normal", busy_timeout=30) as store:
        for run_id in runs:
            await parked(store, run_id)
            await store.signal_run(run_id, "approval", b"yes")
        workers = [
            subprocess.Popen([sys.executable, "-c", _WORKER, str(path), name])  # noqa: ASYNC220
            for name in ("a", "b", "c")
        ]
        assert [worker.wait(60) for worker in workers] == [0, 0, 0]
        owners = [len(await store.load_entries(run_id)) for run_id in runs]
        assert owners == [1] * 60, "a run was taken by nobody or by two"
        assert (await store.read_value("n", "count")).value == b"60"
        assert list(await store.list_leases()) == []


async def test_of_two_stores_on_one_file_the_later_owner_alone_commits(path):
    clock = TestClock()
    async with (
        SqliteRunStore(path, synchronous="normal", clock=clock) as first,
        SqliteRunStore(path, synchronous="normal", clock=clock) as second,
    ):
        lease = await leased(first)
        clock.tick(61)
        taken = await second.claim_run("other", ttl=60)
        with pytest.raises(LeaseLostError):
            await first.commit(lease, [entry("a")], events=[event()], status="completed")
        await second.commit(taken, [entry("b")])
        assert [found.key for found in await first.load_entries(RUN)] == ["b"]
        assert list(await first.read_events(RUN)) == []


# --- faults of the file ---------------------------------------------------------


async def kept(store):
    record = await store.get_run(RUN)
    return (
        record.status,
        dict(record.metadata),
        await store.load_entries(RUN),
        await store.read_events(RUN),
        await store.get_lease(RUN),
        await store.list_waits(RUN),
    )


async def test_a_commit_to_a_full_disk_keeps_nothing_and_can_be_made_again(store):
    lease = await leased(store)
    await store.commit(lease, [entry("a")])
    before = await kept(store)
    pages = (await sql(store, "pragma page_count"))[0][0]
    await sql(store, f"pragma max_page_count = {pages}")
    large = [entry("a", b"x" * 50_000), entry("b", b"x" * 50_000)]
    commit = {"removed": ["a"], "events": [event()], "status": "completed", "facts": {"n": 1}}
    with pytest.raises(StorageFullError, match="no room"):
        await store.commit(lease, large, **commit)
    assert await kept(store) == before
    await sql(store, "pragma max_page_count = 100000")
    await store.commit(lease, large, **commit)
    assert [found.key for found in await store.load_entries(RUN)] == ["a", "b"]


async def test_a_locked_file_is_busy_and_nothing_is_kept(path, monkeypatch):
    monkeypatch.setattr(_sqlite, "_PATIENCE", 0.001)
    async with SqliteRunStore(path, synchronous="normal", busy_timeout=0) as store:
        lease = await leased(store)
        before = await kept(store)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("begin immediate")
            for call in writes(store, lease).values():
                with pytest.raises(StorageBusyError, match="locked") as caught:
                    await call()
                assert caught.value.retryable
            assert await kept(store) == before  # reading goes on
            other.execute("rollback")
        await store.commit(lease, [entry("a")])


def writes(store, lease):
    """Return every call that writes by its name, each ready to be made."""
    return {
        "acquire_lease": lambda: store.acquire_lease(RUN, "other", ttl=60, take_over=lease.token),
        "renew_lease": lambda: store.renew_lease(lease, ttl=60),
        "release_lease": lambda: store.release_lease(lease),
        "claim_run": lambda: store.claim_run("other", ttl=60),
        "request_cancel": lambda: store.request_cancel(RUN, "enough"),
        "commit": lambda: store.commit(lease, [entry("a")]),
        "prune_runs": lambda: store.prune_runs(before=START),
        "open_wait": lambda: store.open_wait(lease, "new", stage="ask", name="approval"),
        "expire_wait": lambda: store.expire_wait(lease, "w"),
        "park_run": lambda: store.park_run(lease, []),
        "signal_run": lambda: store.signal_run(RUN, "approval", b"yes"),
        "write_value": lambda: store.write_value("n", "k", b"1"),
        "delete_value": lambda: store.delete_value("n", "k"),
    }


async def test_a_file_for_reading_only_is_read_and_not_written(store, path):
    lease = await leased(store)
    await store.commit(lease, [entry("a")])
    await store.open_wait(lease, "w", stage="ask", name="approval")
    await store.write_value("n", "k", b"1")
    before = await kept(store)
    async with SqliteRunStore(path, read_only=True) as reader:
        idle = {"claim_run": None, "prune_runs": ()}  # there is nothing to claim or to prune
        for name, call in writes(reader, lease).items():
            if name in idle:
                assert await call() == idle[name]
            else:
                with pytest.raises(StorageReadOnlyError, match="cannot be written"):
                    await call()
        assert await kept(reader) == before
        assert list(await reader.list_leases()) == [lease]
        assert await reader.prune_runs(before=START, dry_run=True) == ()
        assert (await reader.list_values("n"))[0].value == b"1"


@pytest.mark.parametrize(
    ("damage", "call"),
    [
        ("update run_entries set value = 'text'", "load_entries"),
        ("update run_entries set key = x'ff'", "load_entries"),
        ("update run_waits set state = 'lost'", "list_waits"),
        ("update run_waits set deadline = 'noon'", "list_waits"),
        ("update run_waits set value = 7", "list_waits"),
        ("update runs set expires_at = 'noon'", "get_lease"),
        ("update runs set expires_at = 'noon'", "acquire"),
        ("update runs set status = 'lost'", "get_run"),
        ("update runs set status = 'lost'", "commit"),
        ("update runs set status = 'lost'", "park"),
        ("update runs set status = 'lost'", "signal"),
        ("update runs set status = 'lost'", "update"),
        ("update runs set created_at = 'noon'", "get_run"),
        ("update run_events set at = 'noon'", "read_events"),
        ("update run_events set data = x'00'", "read_events"),
    ],
)
async def test_a_damaged_row_is_told_of_with_its_run(store, damage, call):
    lease = await leased(store)
    await store.commit(lease, [entry("a")], events=[event()])
    await store.open_wait(lease, "w", stage="ask", name="approval", timeout=60)
    before = await sql(store, "select * from run_entries")
    await sql(store, damage)
    calls = {
        "load_entries": lambda: store.load_entries(RUN),
        "list_waits": lambda: store.list_waits(RUN),
        "get_lease": lambda: store.get_lease(RUN),
        "get_run": lambda: store.get_run(RUN),
        "read_events": lambda: store.read_events(RUN),
        "acquire": lambda: store.acquire_lease(RUN, "other", ttl=60),
        "commit": lambda: store.commit(lease, [entry("b")], status="completed"),
        "park": lambda: store.park_run(lease, ["w"]),
        "signal": lambda: store.signal_run(RUN, "approval", b"yes"),
        "update": lambda: store.update_status(RUN, "completed"),
    }
    with pytest.raises(StorageCorruptError, match=f"run {RUN}") as caught:
        await calls[call]()
    assert caught.value.storage == str(store._database.path)
    if call == "commit":
        assert await sql(store, "select * from run_entries") == before
    await store.create_run(UUID(int=2), service="voice")  # others are not affected
    assert await store.delete_run(RUN)


async def test_a_damaged_shared_value_is_told_of(store):
    await store.write_values("n", [("k", b"1", None), ("other", b"2", None)])
    await sql(store, "update shared_values set updated_at = 'noon' where key = cast('k' as blob)")
    for call in (
        lambda: store.read_value("n", "k"),
        lambda: store.list_values("n"),
        lambda: store.write_value("n", "k", b"3"),
    ):
        with pytest.raises(StorageCorruptError, match="shared value b'k' of 'n'"):
            await call()
    assert (await store.read_value("n", "other")).value == b"2"


async def test_a_page_that_was_overwritten_is_corrupt(path):
    async with SqliteRunStore(path, synchronous="normal") as store:
        lease = await leased(store)
        await store.commit(lease, [entry(f"e{n}", b"x" * 500) for n in range(50)])
        root = await sql(store, "select rootpage from sqlite_master where name = 'run_entries'")
    with path.open("r+b") as file:
        file.seek((root[0][0] - 1) * 4096)
        file.write(b"\xaa" * 4096)
    async with SqliteRunStore(path) as store:
        with pytest.raises(StorageCorruptError, match="not a sound SQLite database"):
            await store.load_entries(RUN)
        with pytest.raises(StorageError):
            await store.commit(lease, [entry("more")])
        assert await store.get_run(RUN) is not None


async def test_a_commit_that_is_cancelled_while_it_waits_keeps_nothing(path, monkeypatch):
    met_the_lock = threading.Event()
    monkeypatch.setattr(_sqlite.time, "sleep", lambda _: met_the_lock.set())
    async with SqliteRunStore(path, synchronous="normal", busy_timeout=3600) as store:
        lease = await leased(store)
        before = await kept(store)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("begin immediate")
            async with anyio.create_task_group() as group:
                group.start_soon(store.commit, lease, [entry("a")])
                assert await anyio.to_thread.run_sync(met_the_lock.wait, 5)
                group.cancel_scope.cancel()
            other.execute("rollback")
        assert await kept(store) == before


# --- what a call costs ----------------------------------------------------------


async def steps(store, call):
    """Return how many tens of instructions SQLite needs for *call*."""
    count = 0

    def step():
        nonlocal count
        count += 1

    await store._database.read(lambda connection: connection.set_progress_handler(step, 10))
    await call()
    await store._database.read(lambda connection: connection.set_progress_handler(None, 10))
    return count


async def test_claiming_a_run_costs_the_same_however_many_are_parked(store):
    costs = []
    for first, last in ((1, 5), (5, 60)):
        for number in range(first, last):
            await parked(store, UUID(int=number), timeout=3600)
        costs.append(await steps(store, lambda: store.claim_run("me", ttl=60)))
    assert costs[1] <= costs[0] + 2


async def test_a_commit_costs_the_same_however_much_was_committed(store):
    lease = await leased(store)
    costs = []
    for number in (5, 500):
        await store.commit(lease, [entry(f"{number}-{n}") for n in range(number)])
        await store.commit(lease, events=[event()] * number)
        costs.append(
            await steps(
                store, lambda: store.commit(lease, [entry("more")], events=[event(), event()])
            )
        )
    assert costs[1] <= costs[0] + 2


async def test_a_signal_costs_the_same_however_many_waits_there_are(store):
    lease = await leased(store)
    costs = []
    for first, last in ((0, 5), (5, 10), (10, 120)):
        ids = [f"w{number}" for number in range(first, last)]
        for wait_id in ids:
            await store.open_wait(lease, wait_id, stage="ask", name=wait_id)
        costs.append(
            await steps(
                store, lambda ids=ids: store.signal_run(RUN, ids[-1], b"", signal_id=ids[-1])
            )
        )
    assert costs[2] <= costs[1] + 2


async def test_loading_in_pages_reads_each_entry_once(store):
    lease = await leased(store)
    costs = []
    for number in (100, 1000):
        await store.commit(lease, [entry(f"e{n}") for n in range(number)])

        async def load():
            last, page = 0, [None]
            while page := await store.load_entries(RUN, after=last, limit=50):
                last = page[-1].number

        costs.append(await steps(store, load) / number)
    assert costs[1] <= costs[0] * 1.2


@pytest.mark.parametrize("prefix", ["", "k"])
async def test_a_page_of_shared_values_costs_the_same_wherever_it_begins(store, prefix):
    keys = [f"k{number:04}" for number in range(1000)]
    await store.write_values("n", [(key, b"", None) for key in keys])
    costs = []
    for after in (None, keys[10], keys[-60]):

        async def listed(after=after):
            page = await store.list_values("n", prefix=prefix, after=after, limit=20)
            assert len(page) == 20

        costs.append(await steps(store, listed))
    assert max(costs) <= min(costs) + 2


async def test_a_page_of_shared_values_begins_with_its_prefix_whatever_came_before(store):
    await store.write_values("n", [(key, b"", None) for key in ("a", "b1", "b2", "c")])
    page = await store.list_values("n", prefix="b", after="a")
    assert [value.key for value in page] == ["b1", "b2"]
    assert await store.list_values("n", prefix="b", after="c") == ()
