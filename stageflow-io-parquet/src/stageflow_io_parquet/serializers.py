"""Serialisers that write Parquet: for tables, for batches that stream, for rows.

All of them take the same options. `compression` and `row_group_size` matter to writing, `columns`
(which to load) to reading. `schema` is checked in both: a `pyarrow.Schema`, or types by column.
`partition_columns` are values by column that the path tells; an IO manager gives them, and such
columns are left out of the file and put back on loading.
"""

from __future__ import annotations

import io
import mmap
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Final

from stageflow.contracts.io_manager import refuse_options
from stageflow.contracts.serializer import (
    MalformedDataError,
    SerializerCapabilities,
    SerializerError,
    UnserializableValueError,
)
from stageflow_io_parquet._columns import (
    check_schema,
    constants_in,
    partition_constants,
)
from stageflow_io_parquet.batches import RecordBatches

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ("ArrowSerializer", "BatchesSerializer", "RowsSerializer", "TableSerializer")

_OPTIONS: Final = frozenset(
    {"columns", "compression", "partition_columns", "row_group_size", "schema"}
)
_ROW_GROUP: Final = 2**17


class ArrowSerializer(ABC):
    """What serialisers of tables have in common: everything but the kind of table."""

    name: ClassVar[str]
    media_type: Final = "application/vnd.apache.parquet"
    suffix: Final = ".parquet"
    capabilities: Final = SerializerCapabilities(streaming=True, options=_OPTIONS)
    row_group_size: ClassVar[int] = 2**20

    @abstractmethod
    def accepts(self, value: Any, /) -> bool:
        """See `Serializer.accepts`."""

    @abstractmethod
    def _parts(self, value: Any, rows: int) -> tuple[pa.Schema, Iterable[Any]]:
        """Return the schema of *value*, and tables or batches of it, each to be a row group."""

    def _value(self, file: pq.ParquetFile, columns: Sequence[str] | None) -> Any:
        """Return what is in *file*: a table, unless overridden."""
        return _table(file, columns)

    def encode(self, value: Any, /, **opts: Any) -> bytes:
        """See `Serializer.encode`."""
        file = io.BytesIO()
        self.write(value, file, **opts)
        return file.getvalue()

    def decode(self, data: bytes, /, **opts: Any) -> Any:
        """See `Serializer.decode`."""
        import pyarrow as pa

        return self._load(pa.py_buffer(data), opts)

    def write(self, value: Any, file: BinaryIO, /, **opts: Any) -> None:
        """See `StreamingSerializer.write`.

        Raises:
            PartitionColumnError: A column holds something else than the partition says.
            SchemaMismatchError: The table is not of the schema that was asked for.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        refuse_options(self, opts, sorted(_OPTIONS))
        if not self.accepts(value):
            hint = f"It carries {self._kinds()} alone; choose another serialiser, or none."
            raise UnserializableValueError(type(value), serializer=self.name, hint=hint)
        rows = opts.get("row_group_size") or self.row_group_size
        try:
            schema, parts = self._parts(value, rows)
            if (expected := opts.get("schema")) is not None:
                check_schema(schema, expected, serializer=self.name)
            constants = partition_constants(schema, opts.get("partition_columns"))
            inside = constants.schema_without(schema) if constants else schema
            compression = opts.get("compression") or "snappy"
            with pq.ParquetWriter(
                _Sink(file), inside, compression=compression, write_page_checksum=True
            ) as writer:
                for part in parts:
                    held = constants.removed(part, inside) if constants else part
                    writer.write(held, row_group_size=rows)
        except (pa.ArrowException, TypeError) as error:
            if isinstance(error, SerializerError):
                raise
            hint = "Give its columns types that Parquet has, and its rows the same columns."
            raise UnserializableValueError(
                type(value), f"{error}.", serializer=self.name, hint=hint
            ) from error

    def read(self, file: BinaryIO, /, **opts: Any) -> Any:
        """See `StreamingSerializer.read`.

        Raises:
            SchemaMismatchError: The table is not of the schema that was asked for.
        """
        return self._load(_buffer(file), opts)

    def _load(self, buffer: pa.Buffer, opts: Mapping[str, Any]) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        refuse_options(self, dict(opts), sorted(_OPTIONS))
        with _telling_malformed(self.name):
            file = pq.ParquetFile(
                pa.BufferReader(buffer), page_checksum_verification=True, pre_buffer=False
            )
            schema = _schema(file)
        if (expected := opts.get("schema")) is not None:
            check_schema(schema, expected, serializer=self.name)
        columns = opts.get("columns")
        if columns is not None:
            wanted = {field.name: field.type for field in schema if field.name in columns}
            wanted |= {name: pa.null() for name in columns if name not in wanted}
            chosen = [schema.field(name) for name in columns if name in schema.names]
            check_schema(pa.schema(chosen), wanted, serializer=self.name)
        with _telling_malformed(self.name):
            return self._value(file, columns)

    def _kinds(self) -> str:
        return (type(self).__doc__ or "").partition(",")[0].lower()


class TableSerializer(ArrowSerializer):
    """A `pyarrow.Table`, as Parquet."""

    name: ClassVar[str] = "parquet"

    def accepts(self, value: Any, /) -> bool:
        """See `Serializer.accepts`."""
        arrow = sys.modules.get("pyarrow")
        return arrow is not None and isinstance(value, arrow.Table)

    def _parts(self, value: Any, rows: int) -> tuple[pa.Schema, Iterable[Any]]:
        return value.schema, (value,)


class BatchesSerializer(ArrowSerializer):
    """`RecordBatches` or a `pyarrow.RecordBatchReader`, written and read a row group at a time.

    Either is loaded as `RecordBatches`.
    """

    name: ClassVar[str] = "parquet-batches"
    row_group_size: ClassVar[int] = _ROW_GROUP

    def accepts(self, value: Any, /) -> bool:
        """See `Serializer.accepts`."""
        arrow = sys.modules.get("pyarrow")
        readers = () if arrow is None else (arrow.RecordBatchReader,)
        return isinstance(value, (RecordBatches, *readers))

    def _parts(self, value: Any, rows: int) -> tuple[pa.Schema, Iterable[Any]]:
        return value.schema, _row_groups(value, value.schema, rows)

    def _value(self, file: pq.ParquetFile, columns: Sequence[str] | None) -> Any:
        schema = _schema(file)
        if columns is not None:
            import pyarrow as pa

            schema = pa.schema([schema.field(name) for name in columns], schema.metadata)
        return RecordBatches(schema, partial(_batches, file, schema, self.name))


class RowsSerializer(ArrowSerializer):
    """A list of dictionaries with the same keys, each of them a row; chosen by name alone."""

    name: ClassVar[str] = "parquet-rows"

    def accepts(self, value: Any, /) -> bool:
        """See `Serializer.accepts`."""
        return type(value) is list and all(type(row) is dict for row in value)

    def _parts(self, value: Any, rows: int) -> tuple[pa.Schema, Iterable[Any]]:
        import pyarrow as pa

        if any(row.keys() != value[0].keys() for row in value):
            raise TypeError("its rows do not have the same keys")
        table = pa.Table.from_pylist(value)
        if table.to_pylist() != value:
            raise TypeError("Arrow would change some of its values")
        return table.schema, (table,)

    def _value(self, file: pq.ParquetFile, columns: Sequence[str] | None) -> Any:
        return _table(file, columns).to_pylist()


def _schema(file: pq.ParquetFile) -> pa.Schema:
    """Return the schema of a file with the columns that were left out of it."""
    schema = file.schema_arrow
    constants = constants_in(schema)
    return schema if constants is None else constants.schema_with(schema)


def _table(file: pq.ParquetFile, columns: Sequence[str] | None) -> pa.Table:
    constants = constants_in(file.schema_arrow)
    if constants is None:
        return file.read() if columns is None else file.read(columns).select(columns)
    schema = constants.schema_with(file.schema_arrow)
    table = constants.restored(file.read(), schema)
    return table if columns is None else table.select(columns)


def _batches(file: pq.ParquetFile, schema: pa.Schema, name: str) -> Iterator[pa.RecordBatch]:
    constants = constants_in(file.schema_arrow)
    inside = [name for name in schema.names if name in file.schema_arrow.names]
    with _telling_malformed(name):
        for batch in file.iter_batches(batch_size=_ROW_GROUP // 2, columns=inside):
            yield constants.restored(batch, schema) if constants else batch.select(schema.names)


def _row_groups(batches: Iterable[Any], schema: pa.Schema, rows: int) -> Iterator[pa.Table]:
    """Give the batches put together, so that each row group but the last has enough rows."""
    import pyarrow as pa

    waiting: list[Any] = []
    count = 0
    for batch in batches:
        waiting.append(batch)
        count += batch.num_rows
        if count >= rows:
            yield pa.Table.from_batches(waiting, schema)
            waiting, count = [], 0
    if waiting:
        yield pa.Table.from_batches(waiting, schema)


def _buffer(file: BinaryIO) -> pa.Buffer:
    """Return what is in *file*: mapped if it lies on a disk, else in memory.

    What is mapped stays there when the file is closed, and when it is replaced by another.
    """
    import pyarrow as pa

    try:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError, AttributeError):  # not on a disk, or empty
        file.seek(0)
        return pa.py_buffer(file.read())
    return pa.py_buffer(mapped)


@contextmanager
def _telling_malformed(serializer: str) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0].removesuffix(".") if str(error) else "it is no Parquet"
        raise MalformedDataError(reason, serializer=serializer) from error


class _Sink(io.RawIOBase):
    """Passes on what is written, and leaves the file open."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._file.write(memoryview(data))
        return len(data)
