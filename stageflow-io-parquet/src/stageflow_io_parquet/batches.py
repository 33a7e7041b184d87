"""RecordBatches: a table too large for memory, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ("RecordBatches",)


@final
class RecordBatches:
    """Record batches of one schema that are made or read anew each time they are gone through.

    Args:
        schema: The schema of every batch.
        make: Gives the batches; called once for each time they are gone through.
    """

    def __init__(self, schema: pa.Schema, make: Callable[[], Iterable[pa.RecordBatch]]) -> None:
        self.schema = schema
        self._make = make

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return iter(self._make())

    def reader(self) -> pa.RecordBatchReader:
        """Return a reader of the batches, for libraries that take one."""
        import pyarrow as pa

        return pa.RecordBatchReader.from_batches(self.schema, iter(self))

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.reader().__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        return f"RecordBatches({', '.join(self.schema.names)})"
