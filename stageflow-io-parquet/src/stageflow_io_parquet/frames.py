"""Serialisers for frames of polars and pandas, which need not be installed for anything else."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from stageflow_io_parquet.errors import FrameLibraryError
from stageflow_io_parquet.serializers import ArrowSerializer

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ("PandasSerializer", "PolarsSerializer")


class _FrameSerializer(ArrowSerializer):
    library: ClassVar[str]

    def accepts(self, value: Any, /) -> bool:
        """See `Serializer.accepts`."""
        library = sys.modules.get(self.library)
        frame = getattr(library, "DataFrame", None)
        return frame is not None and isinstance(value, frame)

    def _library(self) -> Any:
        try:
            return import_module(self.library)
        except ImportError as error:
            raise FrameLibraryError(self.library) from error


class PolarsSerializer(_FrameSerializer):
    """A `polars.DataFrame`, as Parquet."""

    name: ClassVar[str] = "parquet-polars"
    library: ClassVar[str] = "polars"

    def _parts(self, value: Any, rows: int) -> tuple[pa.Schema, Iterable[Any]]:
        table = value.to_arrow()
        return table.schema, (table,)

    def _value(self, file: pq.ParquetFile, columns: Sequence[str] | None) -> Any:
        return self._library().from_arrow(super()._value(file, columns))


class PandasSerializer(_FrameSerializer):
    """A `pandas.DataFrame` with its index, as Parquet."""

    name: ClassVar[str] = "parquet-pandas"
    library: ClassVar[str] = "pandas"

    def _parts(self, value: Any, rows: int) -> tuple[pa.Schema, Iterable[Any]]:
        import pyarrow as pa

        table = pa.Table.from_pandas(value)
        return table.schema, (table,)

    def _value(self, file: pq.ParquetFile, columns: Sequence[str] | None) -> Any:
        self._library()
        return super()._value(file, columns).to_pandas()
