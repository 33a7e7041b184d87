"""Memory stores keep their contract; broken ones are found out."""

from __future__ import annotations

from uuid import uuid4

import anyio
import attrs
import pytest
from anyio.lowlevel import checkpoint

from stageflow.helpers.errors import MemoryStoreError
from stageflow.helpers.memory import (
    InMemoryStore,
    MemoryConfig,
    MemoryEntry,
    MemoryStore,
    MemoryWindow,
    SqliteMemoryStore,
)
from stageflow.helpers.memory.sqlite import ConfiguredSqliteMemoryStore, SqliteMemorySettings
from stageflow.helpers.testing import MemoryStoreConformance
from stageflow.testing import TestClock
from stageflow.testing.conformance import clauses_of, failed_clauses

pytestmark = pytest.mark.anyio

SESSION = uuid4()


class TestInMemoryStore(MemoryStoreConformance):
    closable = False

    @pytest.fixture
    async def store(self):
        return InMemoryStore()


class TestSqliteMemoryStore(MemoryStoreConformance):
    @pytest.fixture
    async def store(self, tmp_path):
        async with SqliteMemoryStore(tmp_path / "folder" / "memory.sqlite3") as store:
            yield store


def test_every_clause_has_a_test():
    assert set(MemoryStoreConformance.proofs()) == set(clauses_of(MemoryStore))


# --- the kit finds broken stores out ------------------------------------------------------


class Broken:
    """Wraps a good store; each subclass breaks one promise."""

    def __init__(self):
        self.good = InMemoryStore()

    async def fetch(self, session_id, config=None):
        return await self.good.fetch(session_id, config)

    async def write(self, entry):
        await self.good.write(entry)

    async def clear(self, session_id):
        return await self.good.clear(session_id)


class LosesTheTime(Broken):
    async def write(self, entry):
        await self.good.write(attrs.evolve(entry, timestamp=entry.timestamp.replace(microsecond=0)))


class NewestFirst(Broken):
    async def fetch(self, session_id, config=None):
        window = await self.good.fetch(session_id, config)
        return MemoryWindow(reversed(window), left_out=window.left_out)


class IgnoresLimits(Broken):
    async def fetch(self, session_id, config=None):
        return await self.good.fetch(session_id, MemoryConfig(max_entries=None, max_tokens=None))


class MixesSessions(Broken):
    async def write(self, entry):
        await self.good.write(attrs.evolve(entry, session_id=SESSION))

    async def fetch(self, session_id, config=None):
        return await self.good.fetch(SESSION, config)


class StoresTwice(Broken):
    async def write(self, entry):
        metadata = {**entry.metadata, "write": str(uuid4())}
        await self.good.write(attrs.evolve(entry, metadata=metadata))

    async def fetch(self, session_id, config=None):
        window = await self.good.fetch(session_id, config)
        for entry in window:
            entry.metadata.pop("write")
        return window


class OneEntryPerId(Broken):
    def __init__(self):
        super().__init__()
        self.seen = set()

    async def write(self, entry):
        if (entry.session_id, entry.id) not in self.seen:
            await self.good.write(entry)
            self.seen.add((entry.session_id, entry.id))

    async def clear(self, session_id):
        self.seen.clear()
        return await self.good.clear(session_id)


class ForgetsToCount(Broken):
    async def clear(self, session_id):
        await self.good.clear(session_id)
        return 0


class WritesInTwoSteps(Broken):
    async def write(self, entry):
        await self.good.write(attrs.evolve(entry, id="half"))
        await checkpoint()
        await self.good.write(entry)

    async def fetch(self, session_id, config=None):
        return await self.good.fetch(session_id, config)


class SwallowsWhatItCannotStore(Broken):
    async def write(self, entry):
        try:
            await self.good.write(entry)
        except MemoryStoreError:
            return


class WorksOnWhenClosed(Broken):
    async def aclose(self):
        pass


class HandsOutItsOwn(Broken):
    def __init__(self):
        super().__init__()
        self.shared = {}

    async def write(self, entry):
        await self.good.write(entry)
        self.shared.setdefault(entry.id, entry)

    async def fetch(self, session_id, config=None):
        window = await self.good.fetch(session_id, config)
        own = [attrs.evolve(e, metadata=self.shared[e.id].metadata) for e in window]
        return MemoryWindow(own, left_out=window.left_out)


@pytest.mark.parametrize(
    ("make", "clause"),
    [
        (LosesTheTime, "MM-1"),
        (NewestFirst, "MM-2"),
        (IgnoresLimits, "MM-3"),
        (MixesSessions, "MM-4"),
        (StoresTwice, "MM-5"),
        (OneEntryPerId, "MM-6"),
        (ForgetsToCount, "MM-7"),
        (WritesInTwoSteps, "MM-8"),
        (SwallowsWhatItCannotStore, "MM-9"),
        (HandsOutItsOwn, "MM-10"),
        (WorksOnWhenClosed, "MM-11"),
    ],
)
async def test_kit_finds_a_broken_store_out(make, clause):
    assert clause in await failed_clauses(MemoryStoreConformance, make)


async def test_kit_finds_nothing_wrong_with_a_good_store():
    assert await failed_clauses(TestInMemoryStore, InMemoryStore) == {}


# --- in memory ------------------------------------------------------------------------------


async def test_recency_is_measured_by_the_stores_clock():
    clock = TestClock()
    store = InMemoryStore(clock=clock)
    await store.write(MemoryEntry("1", SESSION, "user", "hello", clock.now()))
    clock.tick(30)
    assert len(await store.fetch(SESSION, MemoryConfig(recency_window_seconds=31))) == 1
    # At exactly the window's age an entry is too old.
    assert len(await store.fetch(SESSION, MemoryConfig(recency_window_seconds=30))) == 0


# --- SQLite ---------------------------------------------------------------------------------


async def test_sqlite_recency_is_measured_by_the_stores_clock(tmp_path):
    clock = TestClock()
    async with SqliteMemoryStore(tmp_path / "m.sqlite3", clock=clock) as store:
        await store.write(MemoryEntry("1", SESSION, "user", "hello", clock.now()))
        clock.tick(30)
        assert len(await store.fetch(SESSION, MemoryConfig(recency_window_seconds=31))) == 1
        assert len(await store.fetch(SESSION, MemoryConfig(recency_window_seconds=30))) == 0


async def test_sqlite_keeps_entries_beyond_the_process_that_wrote_them(tmp_path):
    entry = MemoryEntry("1", SESSION, "user", "hello")
    async with SqliteMemoryStore(tmp_path / "m.sqlite3") as first:
        await first.write(entry)
    async with SqliteMemoryStore(tmp_path / "m.sqlite3") as second:
        assert list(await second.fetch(SESSION)) == [entry]


async def test_sqlite_stores_on_one_file_share_it(tmp_path):
    async with (
        SqliteMemoryStore(tmp_path / "m.sqlite3") as first,
        SqliteMemoryStore(tmp_path / "m.sqlite3") as second,
    ):
        async with anyio.create_task_group() as group:
            for number in range(10):
                store = first if number % 2 else second
                group.start_soon(
                    store.write, MemoryEntry(str(number), SESSION, "user", f"hello {number}")
                )
        assert len(await first.fetch(SESSION)) == 10


async def test_sqlite_says_which_file_it_cannot_use(tmp_path):
    path = tmp_path / "no-database.sqlite3"
    path.write_bytes(b"this is no database, although it is long enough to have a header" * 20)
    async with SqliteMemoryStore(path) as store:
        with pytest.raises(MemoryStoreError, match=r"no-database\.sqlite3"):
            await store.fetch(SESSION)


async def test_sqlite_refuses_a_file_of_a_newer_version(tmp_path):
    path = tmp_path / "m.sqlite3"
    async with SqliteMemoryStore(path) as store:
        await store.fetch(SESSION)
        store._connection.execute("pragma user_version = 99")
    async with SqliteMemoryStore(path) as store:
        with pytest.raises(MemoryStoreError, match="newer"):
            await store.fetch(SESSION)


async def test_sqlite_refuses_text_that_is_no_unicode(tmp_path):
    async with SqliteMemoryStore(tmp_path / "m.sqlite3") as store:
        with pytest.raises(MemoryStoreError):
            await store.write(MemoryEntry("1", SESSION, "user", "\ud800"))
        assert list(await store.fetch(SESSION)) == []


async def test_sqlite_can_be_built_from_settings(tmp_path):
    settings = SqliteMemorySettings(path=tmp_path / "m.sqlite3", busy_timeout_seconds=1)
    async with ConfiguredSqliteMemoryStore(settings) as store:
        assert await store.clear(SESSION) == 0


@pytest.mark.parametrize(
    "wrong",
    [{"content": 5}, {"role": None}, {"session_id": "s"}, {"id": 1}, {"timestamp": "today"}],
    ids=str,
)
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_an_entry_that_would_make_its_session_unreadable_is_refused(kind, wrong, tmp_path):
    good = MemoryEntry("1", SESSION, "user", "said")
    async with SqliteMemoryStore(tmp_path / "memory.sqlite3") as sqlite:
        store = InMemoryStore() if kind == "memory" else sqlite
        await store.write(good)
        with pytest.raises(MemoryStoreError, match=rf"its {next(iter(wrong))} is of type"):
            await store.write(attrs.evolve(good, **wrong))
        assert list(await store.fetch(SESSION)) == [good]
