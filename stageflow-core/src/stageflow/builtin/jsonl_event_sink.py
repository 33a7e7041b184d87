"""JsonlEventSink: events as lines of JSON in a file."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import Any, Final

from stageflow.builtin._buffered_sink import BufferedSink, Target
from stageflow.events.encoding import encode_event

__all__ = ("JsonlEventSink",)


class JsonlEventSink(BufferedSink[bytes]):
    """Appends events to a file, one line of JSON each: `type`, `recorded_at` and `data`.

    Several processes may append to one file. A file that cannot be written costs its events,
    which are counted in `stats` and logged, and never a run, unless the sink is strict.

    Args:
        path: The file; it and the folders above it are made when they are missing.
        max_buffer: How many events may wait to be written.
        flush_every: With so many events waiting, they are written at once.
        flush_interval: How long an event waits for others, in seconds.
        strict: Whether opening, `emit` and closing raise when the file cannot be written.
        now: Reads the time of day; in UTC.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_buffer: int = 10_000,
        flush_every: int = 256,
        flush_interval: float = 0.2,
        strict: bool = False,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self.path: Final = Path(path)
        file = _LineFile(self.path)
        super().__init__(
            Target(file.open, file.write, file.close),
            max_buffer=max_buffer,
            batch_size=flush_every,
            flush_interval=flush_interval,
            strict=strict,
            now=now,
        )

    def _row(self, type: str, data: dict[str, Any] | None) -> bytes:
        return encode_event(type, data, self._now())

    def __repr__(self) -> str:
        return f"JsonlEventSink({str(self.path)!r})"


class _LineFile:
    """A file that lines are appended to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: FileIO | None = None

    def open(self) -> None:
        self._opened()

    def write(self, lines: Sequence[bytes]) -> None:
        file = self._opened()
        text = b"\n".join([*lines, b""])
        try:
            while text:
                text = text[file.write(text) :]
        except OSError:
            self.close()  # so that opening it anew looks at how it ends
            raise

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _opened(self) -> FileIO:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = FileIO(self._path, "a")
            if self._ends_in_a_torn_line(self._file):
                self._file.write(b"\n")
        return self._file

    def _ends_in_a_torn_line(self, file: FileIO) -> bool:
        """Whether a crash or a full disk has left half a line, which ours must not join."""
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or not status.st_size:
            return False
        try:
            with self._path.open("rb") as written:
                written.seek(-1, os.SEEK_END)
                return written.read(1) != b"\n"
        except OSError:
            return False  # it may be written and not read
