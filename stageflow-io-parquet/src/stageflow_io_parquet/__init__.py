"""Tables as Parquet: serialisers for any IO manager, and the IO manager `parquet`.

Importing this does not import pyarrow: a serialiser does so when it first has something to do.
"""

from __future__ import annotations

from stageflow_io_parquet.batches import RecordBatches
from stageflow_io_parquet.errors import (
    FrameLibraryError,
    PartitionColumnError,
    SchemaMismatchError,
)
from stageflow_io_parquet.frames import PandasSerializer, PolarsSerializer
from stageflow_io_parquet.io_manager import ParquetIOManager, ParquetSettings
from stageflow_io_parquet.serializers import BatchesSerializer, RowsSerializer, TableSerializer

__all__ = (
    "BatchesSerializer",
    "FrameLibraryError",
    "PandasSerializer",
    "ParquetIOManager",
    "ParquetSettings",
    "PartitionColumnError",
    "PolarsSerializer",
    "RecordBatches",
    "RowsSerializer",
    "SchemaMismatchError",
    "TableSerializer",
)
