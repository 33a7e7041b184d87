"""Values of any size come back as they were, and what they say can be queried."""

from __future__ import annotations

import pytest

from stageflow.contracts.storage import StorageCorruptError
from stageflow.testing import IOManagerConformance
from stageflow_io_postgres.database import Database
from stageflow_io_postgres.io_manager import PostgresIOManager, ValueTooLargeError
from support.cut_wire import CutWire

pytestmark = pytest.mark.anyio


class TestPostgresIOManager(IOManagerConformance):
    capabilities = PostgresIOManager.capabilities
    event_loops = ("asyncio",)

    @pytest.fixture
    async def io_manager(self, database):
        async with PostgresIOManager(database) as manager:
            yield manager


class TestPostgresIOManagerInChunks(TestPostgresIOManager):
    @pytest.fixture
    async def io_manager(self, database):
        async with PostgresIOManager(database, chunk_bytes=16) as manager:
            yield manager


@pytest.fixture
def manager(database):
    return PostgresIOManager(database, chunk_bytes=1000)


async def rows(database, table):
    return await database.fetch(f"select * from stageflow.{table}")  # noqa: S608


async def test_what_json_says_can_be_queried(database, manager):
    await manager.store("orders", {"rows": [{"id": 7}], "at": 1e16}, "eu")
    said = await database.fetchval(
        "select document #>> '{plain,rows,0,id}' from stageflow.asset_values where asset = $1",
        "orders",
    )
    assert said == "7"


@pytest.mark.parametrize(
    "value",
    [{"b": 1, "a": 2}, [1e16, -0.0, 2.0], {"text": "nul \0 and half \ud800"}, {"": [10**400]}],
    ids=["order", "floats", "text", "number"],
)
async def test_nothing_changes_by_being_queryable(manager, value):
    await manager.store("asset", value, None)
    found = await manager.load("asset", None)
    assert repr(found) == repr(value)


async def test_what_is_not_to_be_queried_is_kept_once(database):
    await PostgresIOManager(database, jsonb=False).store("asset", {"id": 7}, None)
    assert [row["document"] for row in await rows(database, "asset_values")] == [None]


async def test_large_values_lie_in_chunks_and_leave_none_behind(database, manager):
    large, larger = bytes(range(256)) * 10, b"x" * 5000
    for value, chunks in ((large, 3), (larger, 5), (b"small", 0), (large, 3)):
        await manager.store("asset", value, None)
        assert await manager.load("asset", None) == value
        assert len(await rows(database, "asset_chunks")) == chunks
    await manager.delete("asset", None)
    assert await rows(database, "asset_chunks") == []


async def test_a_value_above_the_limit_is_refused_and_the_old_one_stays(database):
    manager = PostgresIOManager(database, max_bytes=100, chunk_bytes=30)
    await manager.store("asset", b"x" * 100, None)
    with pytest.raises(ValueTooLargeError) as raised:
        await manager.store("asset", b"x" * 101, None)
    assert (raised.value.size, raised.value.limit) == (101, 100)
    assert await manager.load("asset", None) == b"x" * 100


async def test_a_lost_chunk_is_told_not_passed_over(database, manager):
    await manager.store("asset", b"x" * 2500, None)
    await database.execute("delete from stageflow.asset_chunks where number = 1")
    with pytest.raises(StorageCorruptError, match="chunk 1"):
        await manager.load("asset", None)


async def test_partitions_are_listed_in_pages(database, manager, monkeypatch):
    monkeypatch.setattr("stageflow_io_postgres.io_manager._LISTED", 3)
    for number in range(7):
        await manager.store("asset", number, number)
    assert sorted([each async for each in manager.partitions("asset")]) == list(range(7))


@pytest.mark.parametrize("answer", [b"DELETE", b"COPY", b"COMMIT"])
async def test_a_store_whose_answer_is_lost_is_made_again(server, name, answer):
    async with CutWire(server.port) as wire:
        settings = server.settings(name, host="127.0.0.1", port=wire.port)
        async with Database(settings) as database:
            manager = PostgresIOManager(database, chunk_bytes=1000)
            await manager.store("asset", b"old" * 1000, None)
            wire.swallow(answer)
            await manager.store("asset", b"x" * 3500, None)
            assert wire.cuts == 1
            wire.cut()
            assert await manager.load("asset", None) == b"x" * 3500
            assert len(await rows(database, "asset_chunks")) == 4
