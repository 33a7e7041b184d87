"""Rows are read in the order of their key, each once, and on after whatever happens."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from stageflow.contracts.item_reader import CheckpointError
from stageflow.testing import ItemReaderConformance
from stageflow_io_postgres.database import Database
from stageflow_io_postgres.item_reader import (
    ItemKeyError,
    PostgresItemReader,
    PostgresReaderSettings,
)
from support.cut_wire import CutWire

pytestmark = pytest.mark.anyio

ROWS = tuple(
    {
        "region": "eu" if number < 4 else "us",
        "id": UUID(int=number),
        "name": f"naïve {number}",
        "price": Decimal(f"{number}.10"),
        "made_at": datetime(2025, 1, 31, 12, number, tzinfo=UTC),
        "note": None,
        "facts": {"number": number},
        "others": [[UUID(int=1)], [UUID(int=2)]],
    }
    for number in range(7)
)
TABLE = """
    create table "Odd orders" (
        region text not null, id uuid not null, name text, price numeric, made_at timestamptz,
        note text, facts jsonb, others uuid[], primary key (region, id)
    )
"""
INSERT = 'insert into "Odd orders" values ($1, $2, $3, $4, $5, $6, $7, $8)'


@pytest.fixture
async def orders(database):
    await database.execute(TABLE)
    for row in reversed(ROWS):
        written = {**row, "facts": json.dumps(row["facts"])}
        await database.execute(INSERT, *written.values())
    yield database
    await database.execute('drop table "Odd orders"')


class TestTable(ItemReaderConformance):
    event_loops = ("asyncio",)
    capabilities = PostgresItemReader.capabilities
    items = ROWS
    wrong_configs = (
        {"table": "no such table"},
        {"table": "Odd orders", "query": "select 1"},
        {"tabel": "Odd orders"},
        {"columns": "name"},
        {"key": ["no such column"]},
        {"key": ["note"]},
        {"table": ""},
    )

    @pytest.fixture
    async def item_reader(self, orders):
        return PostgresItemReader(PostgresReaderSettings(table="Odd orders"), orders)


class TestQuery(ItemReaderConformance):
    event_loops = ("asyncio",)
    capabilities = PostgresItemReader.capabilities
    items = tuple({"name": row["name"]} for row in reversed(ROWS[2:]))
    wrong_configs = ({"key": ()}, {"query": "select from nowhere"}, {"table": "t"})

    @pytest.fixture
    async def item_reader(self, orders):
        settings = PostgresReaderSettings(
            query='select *, -extract(minute from made_at) as turned from "Odd orders"'
            " where price > $1 -- a remark\n;",
            parameters=(Decimal(2),),
            key=("turned",),
            columns=("name",),
        )
        return PostgresItemReader(settings, orders)


async def rest(reader, state, n=2):
    """Return all items from a state on."""
    found = []
    while state is not None:
        page = await reader.read(state, n)
        found += page.items
        state = page.state
    return found


async def test_rows_that_come_and_go_push_no_other_row_out(database, numbers):
    state = await numbers.init({}, {})
    page = await numbers.read(state, 3)
    await database.execute("delete from numbers where id < 3")
    await database.execute("insert into numbers values (-1), (0), (100)")
    found = [*page.items, *await rest(numbers, page.state)]
    assert [item["id"] for item in found] == [1, 2, 3, 4, 5, 6, 7, 100]


async def test_a_reading_goes_on_when_its_connection_was_cut(server, name, numbers):
    async with CutWire(server.port) as wire:
        settings = server.settings(name, host="127.0.0.1", port=wire.port)
        async with Database(settings) as database:
            reader = PostgresItemReader(PostgresReaderSettings(table="numbers"), database)
            state, found = await reader.init({}, {}), []
            while state is not None:
                wire.swallow(b"SELECT")
                page = await reader.read(state, 3)
                found += [item["id"] for item in page.items]
                state = page.state
            assert found == [1, 2, 3, 4, 5, 6, 7]
            assert wire.cuts == 3


@pytest.mark.parametrize(
    ("rows", "told"),
    [("(1), (2), (2), (3)", "same values"), ("(1), (null), (3)", "no value")],
)
async def test_a_key_that_is_none_is_told_and_no_row_passed_over(database, rows, told):
    query = f"select n from (values {rows}) as given (n)"  # noqa: S608
    reader = PostgresItemReader(PostgresReaderSettings(query=query, key=("n",)), database)
    for n in (1, 2, 3):
        with pytest.raises(ItemKeyError, match=told):
            await rest(reader, await reader.init({}, {}), n)


@pytest.mark.parametrize(
    "config", [{"table": None, "query": "table numbers", "key": ["id"]}, {"columns": ["id"]}]
)
async def test_a_checkpoint_of_other_rows_is_refused(database, numbers, config):
    checkpoint = numbers.checkpoint((await numbers.read(await numbers.init({}, {}), 2)).state)
    other = await numbers.init(config, {})
    if "columns" in config:  # the rows and their order are the same
        assert len(await rest(numbers, await numbers.restore(other, checkpoint))) == 5
        return
    with pytest.raises(CheckpointError):
        await numbers.restore(other, checkpoint)


async def test_a_page_far_along_is_found_by_the_index(database, numbers):
    await database.execute("insert into numbers select n from generate_series(8, 20000) n")
    await database.execute("analyze numbers")
    state = await numbers.init({}, {})
    assert "offset" not in f"{state.reading.first}{state.reading.next}".lower()
    plan = await database.fetch(
        f"explain {state.reading.next.replace('$1', '19000').replace('$2', '10')}"
    )
    assert any("Index" in line for (line,) in plan), plan


@pytest.fixture
async def numbers(database):
    await database.execute("create table numbers (id bigint primary key)")
    await database.execute("insert into numbers select n from generate_series(1, 7) n")
    yield PostgresItemReader(PostgresReaderSettings(table="numbers"), database)
    await database.execute("drop table numbers")
