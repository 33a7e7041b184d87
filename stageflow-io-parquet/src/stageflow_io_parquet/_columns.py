"""Partition columns: columns that the path tells, left out of the file and put back on loading.

An engine that reads Hive-style folders adds a column for each `column=value`, and stumbles over
a file that has it as well. What was left out stands in the file's metadata as an Arrow batch of
one row, with each column's place, so that a table comes back as it was.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs

from stageflow_io_parquet.errors import PartitionColumnError, SchemaMismatchError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ("Constants", "check_schema", "constants_in", "partition_constants")

_KEY: Final = b"stageflow.partition_columns"


@attrs.frozen(eq=False)
class Constants:
    """Columns that are the same in all rows.

    Attributes:
        row: One row that holds them.
        places: Where each of them stands among all columns, ascending.
    """

    row: pa.RecordBatch
    places: Sequence[int]

    def schema_without(self, schema: pa.Schema) -> pa.Schema:
        """Return *schema* without the columns, and with what brings them back."""
        for place in reversed(self.places):
            schema = schema.remove(place)
        kept = {"row": base64.b64encode(self.row.serialize()).decode(), "places": [*self.places]}
        kept["schema"] = base64.b64encode(self.row.schema.serialize()).decode()
        told = {_KEY: json.dumps(kept).encode()}
        return schema.with_metadata({**(schema.metadata or {}), **told})

    def removed(self, batch: Any, schema: pa.Schema) -> Any:
        """Return a table or batch without the columns, having made sure of what they hold.

        Raises:
            PartitionColumnError: Some row holds another value.
        """
        import pyarrow.compute as pc

        for field, value in zip(self.row.schema, self.row.columns, strict=True):
            same = pc.all(pc.equal(batch.column(field.name), value[0]), skip_nulls=False)
            if batch.num_rows and same.as_py() is not True:
                told = f"not every row has {value[0].as_py()!r:.100} there"
                raise PartitionColumnError(field.name, told)
        return batch.select(schema.names).replace_schema_metadata(schema.metadata)

    def schema_with(self, schema: pa.Schema) -> pa.Schema:
        """Return *schema* with the columns in their places."""
        for place, field in zip(self.places, self.row.schema, strict=True):
            schema = schema.insert(place, field)
        rest = {key: value for key, value in (schema.metadata or {}).items() if key != _KEY}
        return schema.with_metadata(rest or None)

    def restored(self, batch: Any, schema: pa.Schema) -> Any:
        """Return a table or batch with the columns, in the order of *schema*."""
        import pyarrow as pa

        names = self.row.schema.names
        columns = [
            pa.repeat(self.row.column(name)[0], batch.num_rows)
            if name in names
            else batch.column(name)
            for name in schema.names
        ]
        return type(batch).from_arrays(columns, schema=schema)


def partition_constants(
    schema: pa.Schema, partition_columns: Mapping[str, Any] | None
) -> Constants | None:
    """Return the columns of *schema* that the partition tells; None if there are none.

    Raises:
        PartitionColumnError: A column's type cannot hold what the partition says.
    """
    import pyarrow as pa

    names = schema.names
    places = [i for i, name in enumerate(names) if name in (partition_columns or ())]
    if not places or len(places) == len(names):
        return None  # a file without any column would not know how many rows it has
    assert partition_columns is not None
    arrays = []
    for place in places:
        field, value = schema.field(place), partition_columns[names[place]]
        try:
            arrays.append(pa.array([value], field.type))
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            told = f"its type {field.type} cannot hold {value!r:.100}"
            raise PartitionColumnError(field.name, told) from error
    row_schema = pa.schema([schema.field(place) for place in places])
    return Constants(pa.RecordBatch.from_arrays(arrays, schema=row_schema), places)


def constants_in(schema: pa.Schema) -> Constants | None:
    """Return the columns that were left out of a file of this schema; None if there are none.

    Raises:
        ValueError: What tells of them is damaged.
    """
    import pyarrow as pa

    told = (schema.metadata or {}).get(_KEY)
    if told is None:
        return None
    kept = json.loads(told)
    row_schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(kept["schema"])))
    row = pa.ipc.read_record_batch(pa.py_buffer(base64.b64decode(kept["row"])), row_schema)
    return Constants(row, kept["places"])


def check_schema(found: pa.Schema, expected: object, *, serializer: str) -> None:
    """Return if a table of schema *found* is what was asked for.

    Args:
        found: The table's schema.
        expected: A schema, or the types by name of the column, as texts or types. Metadata
            does not matter.
        serializer: Who asks; for the error.

    Raises:
        SchemaMismatchError: With every difference.
    """
    wanted = dict(_fields(expected, serializer))
    there: dict[str, Any] = {field.name: field.type for field in found}
    differences = [f"the column {name!r} is missing" for name in wanted if name not in there]
    differences += [f"the column {name!r} is too many" for name in there if name not in wanted]
    differences += [
        f"the column {name!r} is {there[name]} instead of {kind}"
        for name, kind in wanted.items()
        if name in there and there[name] != kind
    ]
    if differences:
        raise SchemaMismatchError(differences, serializer=serializer)


def _fields(expected: object, serializer: str) -> Iterable[tuple[str, Any]]:
    import pyarrow as pa

    if isinstance(expected, pa.Schema):
        return [(field.name, field.type) for field in expected]
    if not isinstance(expected, Mapping):
        told = f"{expected!r:.100} is no schema; give a pyarrow.Schema or types by column"
        raise SchemaMismatchError([told], serializer=serializer)
    fields, unknown = [], []
    for name, kind in expected.items():
        try:
            fields.append((name, pa.type_for_alias(kind) if isinstance(kind, str) else kind))
        except ValueError:
            unknown.append(f"{kind!r:.50} of the column {name!r} is no type of Arrow")
    if unknown:
        raise SchemaMismatchError(unknown, serializer=serializer)
    return fields
