"""Readers of rows: one item for each line of JSON, or for each record of a CSV file."""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import json
import zlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, ClassVar, Final, Literal, NoReturn, cast

import attrs

from stageflow.builtin._source_reader import Source, SourceItemReader
from stageflow.contracts.item_reader import BadRowError, CheckpointError, ItemReaderError
from stageflow.errors import ConfigurationError

__all__ = (
    "CsvItemReader",
    "CsvReaderSettings",
    "JsonlItemReader",
    "JsonlReaderSettings",
    "ReaderConfigError",
)

_GZIP: Final = b"\x1f\x8b"
_TAIL: Final = 64


class ReaderConfigError(ConfigurationError):
    """A reader is not told what to read, or how, or told so in two ways."""

    code = "SF445"


@attrs.frozen(kw_only=True)
class JsonlReaderSettings:
    """What is read, and what happens to bad rows.

    Attributes:
        path: The file; each reading must have one, here or of its own. If it is compressed
            with gzip, what is in it is read.
        on_error: Whether a bad row ends the reading with an error, or is passed over and counted.
        max_row_bytes: The longest row that is read.
    """

    path: Path | None = None
    on_error: Literal["raise", "skip"] = "raise"
    max_row_bytes: int = attrs.field(default=16 * 2**20, validator=attrs.validators.ge(1))


@attrs.frozen(kw_only=True)
class CsvReaderSettings(JsonlReaderSettings):
    """What is read, how its rows are written, and what happens to bad ones.

    Attributes:
        columns: The names of the columns; those in the first row unless given.
        delimiter: What stands between two values.
        encoding: How text is encoded.
    """

    columns: tuple[str, ...] | None = None
    delimiter: str = attrs.field(default=",", validator=attrs.validators.max_len(1))
    encoding: str = "utf-8"


@attrs.frozen
class _RowPosition:
    """Where a row begins.

    Attributes:
        offset: How many bytes stand before it; of what was compressed, if it is.
        line: The number of its line, counted from 0.
        skipped: How many rows before it were passed over.
        tail: A digest of the bytes just before it, by which the file is known again.
    """

    offset: int = 0
    line: int = 0
    skipped: int = 0
    tail: str = ""


class _RowSource(Source[_RowPosition]):
    """A file of rows."""

    def __init__(self, settings: JsonlReaderSettings) -> None:
        if settings.path is None:
            raise ReaderConfigError(
                "No file is named to read from.", hint='Give its path: {"path": "items.jsonl"}.'
            )
        super().__init__(settings.path)
        self._settings = settings
        self._file: IO[bytes] | None = None
        self._recent = b""  # the end of what has been read
        # Where the next row begins. Numbers, since a position for each row would cost too much.
        self._offset = self._line = self._skipped = 0
        self._at = _RowPosition()

    @abstractmethod
    def row(self) -> Any:
        """Return the next item, or `_NONE_LEFT`; advances whatever it is.

        Raises:
            BadRowError: The row is bad; what follows can be read.
        """

    def open(self) -> _RowPosition:
        plain = self.path.open("rb")
        is_compressed = plain.read(2) == _GZIP
        plain.seek(0)
        self._file = plain
        if is_compressed:
            plain.close()
            self._file = cast("IO[bytes]", gzip.GzipFile(self.path, "rb"))
        self._skip_mark()
        self._at = self._here()
        return self._at

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def read(self, position: _RowPosition, n: int) -> tuple[list[Any], _RowPosition, bool]:
        if (self._offset, position) != (position.offset, self._at):
            self.go_to(position)
        items: list[Any] = []
        while len(items) < n:
            try:
                item = self.row()
            except BadRowError:
                if self._settings.on_error == "raise":
                    raise
                self._skipped += 1
                continue
            if item is _NONE_LEFT:
                return items, self._here(), True
            items.append(item)
        self._at = self._here()
        return items, self._at, False

    def freeze(self, position: _RowPosition) -> dict[str, Any]:
        return attrs.asdict(position)

    def thaw(self, frozen: Mapping[str, Any]) -> _RowPosition:
        names = [field.name for field in attrs.fields(_RowPosition)]
        position = _RowPosition(**{name: frozen[name] for name in names})
        if any(type(frozen[name]) is not int or frozen[name] < 0 for name in names[:3]):
            raise ValueError("a number is none")
        self.go_to(position)
        return position

    def go_to(self, position: _RowPosition) -> None:
        """Have the row at *position* be the next one.

        Raises:
            CheckpointError: The file has changed before that.
        """
        before = min(position.offset, _TAIL)
        try:
            self.file.seek(position.offset - before)
            self._recent = self.file.read(before)
        except EOFError:
            self._recent = b""
        if position.tail and _digest(self._recent) != position.tail:
            told = f"the file has changed, or is another one, before byte {position.offset}"
            raise CheckpointError(told, source=str(self.path))
        self._at = position
        self._offset, self._line = position.offset, position.line
        self._skipped = position.skipped

    @property
    def file(self) -> IO[bytes]:
        assert self._file is not None, "it was opened at init"
        return self._file

    def line(self) -> bytes:
        """Return the next line with its end, and advance; empty at the end of the file.

        Raises:
            BadRowError: It is too long.
            ItemReaderError: The compressed data is damaged.
        """
        limit = self._settings.max_row_bytes
        line = self._readline(limit + 1)
        if not line:
            return b""
        length, is_long = len(line), len(line) > limit
        self._recent = line[-_TAIL:] if length >= _TAIL else (self._recent + line)[-_TAIL:]
        while is_long and not self._recent.endswith(b"\n") and (more := self._readline(2**20)):
            length += len(more)
            self._recent = (self._recent + more)[-_TAIL:]
        self._offset += length
        self._line += 1
        if is_long:
            raise self.bad(f"it is longer than {limit} bytes")
        return line

    def bad(self, reason: str, line: int | None = None) -> BadRowError:
        """Return the error for the row whose line was just read, or for another line."""
        return BadRowError(str(self.path), line or self._line, reason)

    def _readline(self, limit: int) -> bytes:
        try:
            return self.file.readline(limit)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ItemReaderError(
                f"{self.path}: the compressed data is damaged after line {self._line}: {error}.",
                source=str(self.path),
                hint="Fetch or write the file again.",
            ) from error

    def _skip_mark(self) -> None:
        """Pass over the mark that some programs begin UTF-8 with."""
        if self.file.read(3) == codecs.BOM_UTF8:
            self._recent = codecs.BOM_UTF8
            self._offset = 3
        else:
            self.file.seek(0)

    def _here(self) -> _RowPosition:
        return _RowPosition(self._offset, self._line, self._skipped, _digest(self._recent))


_NONE_LEFT: Final = object()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# `json.loads` would make a decoder for each row.
_JSON: Final = json.JSONDecoder(parse_constant=_refuse)


class _JsonlSource(_RowSource):
    """A file with one item of JSON on each line."""

    def row(self) -> Any:
        while line := self.line():
            if line.isspace():
                continue
            try:
                return _JSON.decode(line.decode())
            except (ValueError, RecursionError) as error:
                raise self.bad(f"it is no JSON ({error})") from None
        return _NONE_LEFT


class _CsvSource(_RowSource):
    """A file with one item in each record, which may span several lines."""

    def __init__(self, settings: CsvReaderSettings) -> None:
        super().__init__(settings)
        self._delimiter = settings.delimiter
        self._encoding = settings.encoding
        self._columns = settings.columns or ()
        try:
            is_fit = "\n".encode(settings.encoding) == b"\n"
        except LookupError:
            is_fit = False
        if not is_fit:
            raise ReaderConfigError(
                f"The encoding {settings.encoding!r} is not known, or its lines have other ends.",
                hint="Use utf-8, latin-1 or another one that ASCII is a part of.",
            )

    def open(self) -> _RowPosition:
        super().open()
        if not self._columns:
            self._columns = tuple(self._record() or ())
        doubled = sorted({name for name in self._columns if self._columns.count(name) > 1})
        if doubled:
            raise self.bad(f"two columns are called {doubled[0]!r}")
        self._at = self._here()
        return self._at

    def row(self) -> Any:
        while (values := self._record()) is not None:
            if not values:
                continue  # an empty line
            if len(values) != len(self._columns):
                told = f"it has {len(values)} values for {len(self._columns)} columns"
                raise self.bad(told, self._first)
            return dict(zip(self._columns, values, strict=True))
        return _NONE_LEFT

    def _record(self) -> list[str] | None:
        start, line_before = self._offset, self._line
        self._first = line_before + 1
        after_first = (start, line_before, self._recent)

        def lines() -> Iterator[str]:
            nonlocal after_first
            while line := self.line():
                if self._line == line_before + 1:
                    after_first = (self._offset, self._line, self._recent)
                if self._offset - start > self._settings.max_row_bytes:
                    raise csv.Error(f"it is longer than {self._settings.max_row_bytes} bytes")
                yield line.decode(self._encoding)

        try:
            return next(csv.reader(lines(), delimiter=self._delimiter, strict=True), None)
        except (csv.Error, UnicodeDecodeError) as error:
            reason = str(error)
        # A quote that is never closed takes in all that follows: only its own line is bad.
        self._offset, self._line, self._recent = after_first
        self.file.seek(self._offset)
        raise self.bad(f"it is no CSV ({reason})", self._first)


class JsonlItemReader(SourceItemReader[JsonlReaderSettings, _RowPosition]):
    """Reads the lines of a file, each an item in JSON; empty lines are no items."""

    name: ClassVar[str] = "jsonl"
    Settings = JsonlReaderSettings

    def _source(self, settings: JsonlReaderSettings) -> _JsonlSource:
        return _JsonlSource(settings)


class CsvItemReader(SourceItemReader[CsvReaderSettings, _RowPosition]):
    """Reads the records of a CSV file, each an item: its values by column, as text."""

    name: ClassVar[str] = "csv"
    Settings = CsvReaderSettings

    def _source(self, settings: CsvReaderSettings) -> _CsvSource:
        return _CsvSource(settings)
