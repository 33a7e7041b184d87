"""What can be wrong with a table that is stored or loaded."""

from __future__ import annotations

from collections.abc import Sequence

from stageflow.contracts.io_manager import IOManagerError
from stageflow.contracts.serializer import SerializerError
from stageflow.errors import ConfigurationError

__all__ = ("FrameLibraryError", "PartitionColumnError", "SchemaMismatchError")


class SchemaMismatchError(SerializerError, ValueError):
    """A table has other columns than it should have.

    Attributes:
        differences: Each difference, in words.
    """

    code = "SF580"

    def __init__(self, differences: Sequence[str], *, serializer: str) -> None:
        super().__init__(
            f"The table does not have the schema that was asked for: {'; '.join(differences)}.",
            serializer=serializer,
            hint="Mend what makes the table, or the option `schema` of the asset.",
        )
        self.differences = tuple(differences)


class PartitionColumnError(IOManagerError, ValueError):
    """A column that is named after the partition holds something else than the partition.

    Attributes:
        column: The column.
    """

    code = "SF581"

    def __init__(self, column: str, reason: str) -> None:
        super().__init__(
            f"The column {column!r} stands in the partition, and {reason}.",
            hint="Store rows in the partition they belong to; or name the column otherwise.",
        )
        self.column = column


class FrameLibraryError(ConfigurationError):
    """What was stored is a frame of a library that is not installed.

    Attributes:
        library: The library.
    """

    code = "SF582"

    def __init__(self, library: str) -> None:
        super().__init__(
            f"{library} is needed for this frame, and cannot be imported.",
            hint=f"Install stageflow-io-parquet[{library}], or load the value as a table: "
            'serializer = "parquet".',
        )
        self.library = library
