"""Every serialiser that writes Parquet, and the IO manager, keep every clause."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from stageflow.contracts.io_manager import IOManagerCapabilities
from stageflow.contracts.serializer import SerializerCapabilities
from stageflow.testing.io_manager import IOManagerConformance
from stageflow.testing.serializer import SerializerConformance
from stageflow_io_parquet import (
    BatchesSerializer,
    PandasSerializer,
    ParquetIOManager,
    PolarsSerializer,
    RecordBatches,
    RowsSerializer,
    TableSerializer,
)

SMALL = pa.table({"id": [1, 2, 3], "name": ["a", None, "naïve \U0001f600"]})
OTHER = pa.table({"id": [4]})
RICH = pa.table(
    {
        "instant": [datetime(2025, 1, 31, tzinfo=UTC)],
        "day": [date(2025, 1, 31)],
        "price": [Decimal("1.10")],
        "nested": [{"a": [1, 2], "b": {"c": None}}],
        "bytes": [b"\x00\xff"],
        "kind": pa.array(["x"]).dictionary_encode(),
        "long": pa.array(["x"], pa.large_string()),
        "nanos": pa.array([1], pa.timestamp("ns")),
    }
).replace_schema_metadata({"told": "by the author"})
EMPTY = SMALL.slice(0, 0)
OPTIONS = frozenset({"columns", "compression", "partition_columns", "row_group_size", "schema"})


class ParquetKit(SerializerConformance):
    capabilities = SerializerCapabilities(streaming=True, options=OPTIONS)
    malformed = (b"", b"PAR1", b"no Parquet at all", b"PAR1" + bytes(40) + b"PAR1")


class TestTables(ParquetKit):
    values = (SMALL, OTHER, RICH, EMPTY)

    unserializable = (object(), [1], SMALL.to_batches()[0])

    @pytest.fixture
    def serializer(self):
        return TableSerializer()

    def same(self, left, right):
        return (
            isinstance(left, pa.Table)
            and left == right
            and left.schema.metadata == right.schema.metadata
        )


class TestBatches(ParquetKit):
    values = (
        RecordBatches(SMALL.schema, lambda: SMALL.to_batches(max_chunksize=1)),
        RecordBatches(EMPTY.schema, lambda: ()),
    )
    unserializable = (object(), SMALL)

    @pytest.fixture
    def serializer(self):
        return BatchesSerializer()

    def same(self, left, right):
        return isinstance(left, RecordBatches) and left.reader().read_all() == (
            right.reader().read_all()
        )


class TestRows(ParquetKit):
    values = ([{"id": 1, "name": "a"}, {"id": 2, "name": None}], [], [{"day": date(2025, 1, 31)}])
    unserializable = (object(), [1], [{"a": 1}, {"b": 2}], [{"a": 1}, {"a": "b"}], [{"a": (1,)}])

    @pytest.fixture
    def serializer(self):
        return RowsSerializer()


class TestPolars(ParquetKit):
    values = (pl.from_arrow(SMALL), pl.DataFrame({"a": []}), pl.DataFrame({"c": [[1], None]}))
    unserializable = (object(), SMALL)

    @pytest.fixture
    def serializer(self):
        return PolarsSerializer()

    def same(self, left, right):
        return isinstance(left, pl.DataFrame) and left.equals(right)


class TestPandas(ParquetKit):
    values = (pd.DataFrame({"a": [1, 2]}, index=["x", "y"]), SMALL.to_pandas())
    unserializable = (object(), SMALL, pd.DataFrame({"a": [1, "b"]}))

    @pytest.fixture
    def serializer(self):
        return PandasSerializer()

    def same(self, left, right):
        return isinstance(left, pd.DataFrame) and left.equals(right)


class TestParquetIOManager(IOManagerConformance):
    capabilities = IOManagerCapabilities(list_partitions=True)
    values = (SMALL, OTHER, RICH, EMPTY)

    def change(self, value):
        """Tables cannot be changed."""

    @pytest.fixture
    async def io_manager(self, tmp_path):
        async with ParquetIOManager(tmp_path, fsync=False) as manager:
            yield manager
