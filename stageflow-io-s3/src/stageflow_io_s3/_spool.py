"""Where a value is written before it is sent."""

from __future__ import annotations

import io
import tempfile
import zlib
from typing import Any, BinaryIO, cast

__all__ = ("Spool",)


class Spool:
    """A file that is written, in memory until it has more than *most* bytes; and its checksum."""

    def __init__(self, most: int) -> None:
        self._file: Any = io.BytesIO()
        self._left = most
        self.crc = 0
        self.size = 0

    def write(self, data: Any) -> int:
        count = memoryview(data).nbytes
        self.crc = zlib.crc32(data, self.crc)
        self.size += count
        if count > self._left and isinstance(self._file, io.BytesIO):
            memory = self._file
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - whoever takes it closes it
            self._file.write(memory.getbuffer())
        self._left -= count
        self._file.write(data)
        return count

    def content(self) -> bytes | BinaryIO:
        """Return what was written; a file stands at its beginning."""
        if isinstance(self._file, io.BytesIO):
            return self._file.getvalue()  # shares its memory
        self._file.flush()
        self._file.seek(0)
        return cast("BinaryIO", self._file)

    def close(self) -> None:
        self._file.close()
