"""Tables as Parquet: partition columns, schemas, streams, and what other engines make of it."""

from __future__ import annotations

import io
import subprocess
import sys
from datetime import date

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stageflow.builtin.files_io_manager import FilesIOManager
from stageflow.contracts import AssetNotFoundError, MalformedDataError, StorageCorruptError
from stageflow.contracts.serializer import UnserializableValueError
from stageflow.plugins import Plugins, SettingsError, installed_serializers
from stageflow_io_parquet import (
    BatchesSerializer,
    FrameLibraryError,
    ParquetIOManager,
    PartitionColumnError,
    PolarsSerializer,
    RecordBatches,
    SchemaMismatchError,
    TableSerializer,
)

pytestmark = pytest.mark.anyio

DAY = date(2025, 1, 31)
PARTITION = {"day": DAY, "region": "eu"}
TABLE = pa.table({"region": ["eu", "eu"], "visits": [3, 5], "day": [DAY, DAY]})


@pytest.fixture
async def manager(tmp_path):
    async with ParquetIOManager(tmp_path, fsync=False) as manager:
        yield manager


async def test_partition_columns_are_left_out_and_come_back(manager):
    await manager.store("places", TABLE, PARTITION)
    (path,) = manager.root.rglob("*.parquet")
    assert path.parent == manager.root / "places/day=2025-01-31/region=eu"
    assert pq.ParquetFile(path).schema_arrow.names == ["visits"]
    assert await manager.load("places", PARTITION) == TABLE
    some = await manager.load("places", PARTITION, columns=["day", "visits"])
    assert some == TABLE.select(["day", "visits"])


async def test_other_engines_read_an_asset_as_one_table(manager):
    for region in ("eu", "us"):
        table = pa.table({"visits": [1, 2], "region": [region, region]})
        await manager.store("places", table, {"region": region})
    root = str(manager.root / "places")
    read = pq.read_table(root, partitioning="hive").to_pandas()
    assert sorted(zip(read["region"], read["visits"], strict=True)) == [
        ("eu", 1),
        ("eu", 2),
        ("us", 1),
        ("us", 2),
    ]
    scanned = pl.scan_parquet(f"{root}/**/*.parquet", hive_partitioning=True).collect()
    assert sorted(scanned["region"].to_list()) == ["eu", "eu", "us", "us"]


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"region": ["eu", "us"], "visits": [1, 2]}),
        pa.table({"region": ["eu", None], "visits": [1, 2]}),
        pa.table({"region": [1, 2], "visits": [1, 2]}),
    ],
)
async def test_rows_of_another_partition_are_refused(manager, table):
    with pytest.raises(PartitionColumnError) as caught:
        await manager.store("places", table, PARTITION)
    assert caught.value.column == "region"
    assert not await manager.exists("places", PARTITION)


async def test_a_table_of_partition_columns_alone_keeps_them(manager):
    table = pa.table({"region": ["eu", "eu"]})
    await manager.store("places", table, {"region": "eu"})
    assert await manager.load("places", {"region": "eu"}) == table


@pytest.mark.parametrize("rows", [0, 1])
async def test_partition_columns_of_any_kind_come_back(manager, rows):
    kinds = {"a": pa.large_string(), "b": pa.int16(), "c": pa.date64()}
    columns = {"a": "x", "b": 7, "c": DAY}
    table = pa.table(
        {
            "kept": pa.array([1] * rows, pa.int8()),
            **{name: pa.array([columns[name]] * rows, kind) for name, kind in kinds.items()},
        }
    )
    await manager.store("t", table, columns)
    found = await manager.load("t", columns)
    assert found == table
    assert found.schema == table.schema


async def test_batches_stream_through_partition_columns(manager):
    batches = RecordBatches(TABLE.schema, lambda: TABLE.to_batches(max_chunksize=1))
    await manager.store("places", batches, PARTITION, row_group_size=1)
    (path,) = manager.root.rglob("*.parquet")
    assert pq.ParquetFile(path).metadata.num_row_groups == 2
    found = await manager.load("places", PARTITION)
    assert isinstance(found, RecordBatches)
    for _ in range(2):
        assert found.reader().read_all() == TABLE
    assert pa.table(found) == TABLE
    chosen = await manager.load("places", PARTITION, columns=["visits", "region"])
    assert chosen.reader().read_all() == TABLE.select(["visits", "region"])


async def test_batches_can_be_read_when_their_file_is_gone(manager):
    batches = RecordBatches(TABLE.schema, TABLE.to_batches)
    await manager.store("places", batches, None)
    found = await manager.load("places", None)
    await manager.store("places", RecordBatches(TABLE.schema, lambda: ()), None)
    assert found.reader().read_all() == TABLE
    await manager.delete("places", None)
    assert found.reader().read_all() == TABLE


def test_a_stream_is_written_without_holding_it():
    alive = peak = 0

    class Counted:
        def __init__(self):
            nonlocal alive, peak
            alive += 1
            peak = max(peak, alive)

        def __del__(self):
            nonlocal alive
            alive -= 1

    held: dict[int, Counted] = {}

    def batches():
        for number in range(200):
            held.clear()
            held[number] = Counted()
            yield pa.record_batch({"n": pa.array(range(1_000))})

    schema = pa.schema({"n": pa.int64()})
    before = pa.total_allocated_bytes()
    most = 0

    class Watching(io.BytesIO):
        def write(self, data):
            nonlocal most
            most = max(most, pa.total_allocated_bytes() - before)
            return super().write(data)

    file = Watching()
    BatchesSerializer().write(RecordBatches(schema, batches), file, row_group_size=5_000)
    assert pq.ParquetFile(file).metadata.num_row_groups == 40
    assert most < 200_000 * 8 / 4
    assert peak <= 2


def test_schema_is_checked_when_stored_and_when_loaded():
    serializer = TableSerializer()
    data = serializer.encode(TABLE, schema={"region": "string", "visits": "int64", "day": "date32"})
    assert serializer.decode(data, schema=TABLE.schema) == TABLE
    wrong = {"region": "string", "visits": "int32", "night": "date32"}
    for call in (lambda: serializer.encode(TABLE, schema=wrong),):
        with pytest.raises(SchemaMismatchError) as caught:
            call()
        assert caught.value.differences == (
            "the column 'night' is missing",
            "the column 'day' is too many",
            "the column 'visits' is int64 instead of int32",
        )
    with pytest.raises(SchemaMismatchError):
        serializer.read(io.BytesIO(data), schema=wrong)
    for no_schema in ({"region": "no-type"}, 7):
        with pytest.raises(SchemaMismatchError):
            serializer.decode(data, schema=no_schema)


async def test_partition_columns_belong_to_the_schema(manager):
    await manager.store("places", TABLE, PARTITION, schema=TABLE.schema)
    assert await manager.load("places", PARTITION, schema=TABLE.schema) == TABLE


async def test_columns_that_are_not_there_are_named(manager):
    await manager.store("places", TABLE, PARTITION)
    with pytest.raises(SchemaMismatchError) as caught:
        await manager.load("places", PARTITION, columns=["visits", "nights"])
    assert caught.value.differences == ("the column 'nights' is missing",)


async def test_a_damaged_page_is_noticed(manager):
    table = pa.table({"n": list(range(1_000))})
    await manager.store("t", table, None, compression="none")
    (path,) = manager.root.rglob("*.parquet")
    data = bytearray(path.read_bytes())
    data[2_000] ^= 1
    path.write_bytes(data)
    with pytest.raises(StorageCorruptError):
        await manager.load("t", None)


def test_what_parquet_cannot_hold_says_why():
    union = pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])
    with pytest.raises(UnserializableValueError, match="union"):
        TableSerializer().encode(pa.table({"u": union}))


def test_no_parquet_is_malformed():
    with pytest.raises(MalformedDataError, match="parquet"):
        TableSerializer().decode(b"PAR1PAR1")


def test_a_frame_without_its_library_says_what_to_install(monkeypatch):
    data = PolarsSerializer().encode(pl.DataFrame({"a": [1]}))
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(FrameLibraryError) as caught:
        PolarsSerializer().decode(data)
    assert caught.value.library == "polars"
    assert "stageflow-io-parquet[polars]" in caught.value.hint
    assert TableSerializer().decode(data).to_pydict() == {"a": [1]}


async def test_any_manager_writes_tables_as_parquet(tmp_path):
    serializers = installed_serializers()
    assert serializers.choose(TABLE).name == "parquet"
    assert serializers.choose(pl.DataFrame({"a": [1]})).name == "parquet-polars"
    assert serializers.choose([{"a": 1}]).name == "json"
    async with FilesIOManager(tmp_path, fsync=False) as manager:
        await manager.store("places", [{"a": 1}], None, serializer="parquet-rows")
        assert await manager.load("places", None) == [{"a": 1}]
        await manager.store("places", TABLE, None, compression="zstd")
        assert await manager.load("places", None, columns=["visits"]) == TABLE.select(["visits"])


async def test_it_is_configured_by_name(tmp_path):
    settings = {
        "io_manager": "parquet",
        "io_managers": {"parquet": {"root": str(tmp_path), "compression": "zstd"}},
    }
    plugins = Plugins.load(directory=tmp_path, environ={}, arguments=settings)
    async with plugins.registry("io_manager").default().open() as manager:
        await manager.store("places", TABLE, None)
    (path,) = tmp_path.rglob("*.parquet")
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"
    with pytest.raises(SettingsError):
        plugins.registry("io_manager").default().build({"compression": "no"})


async def test_nothing_is_there_before_something_is_stored(manager):
    with pytest.raises(AssetNotFoundError):
        await manager.load("places", PARTITION)


def test_pyarrow_is_imported_only_when_it_is_needed():
    code = (
        "import sys, stageflow_io_parquet as p; "
        "assert not p.TableSerializer().accepts(1); "
        "assert not {'pyarrow', 'polars', 'pandas'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
