"""Rows are read in the order of their key, each once, and on after whatever happens."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from stageflow.testing import ItemReaderConformance
from stageflow_io_postgres.item_reader import PostgresItemReader, PostgresReaderSettings

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
