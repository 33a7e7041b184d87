"""FilesItemReader: the files below a folder as items, by pattern, in the order of their paths."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Final

import attrs

from stageflow.builtin._source_reader import Source, SourceItemReader
from stageflow.builtin.row_readers import ReaderConfigError

__all__ = ("FilesItemReader", "FilesReaderSettings")

_DEEPEST: Final = 100
_TOKEN: Final = re.compile(r"\*+|\?|\[!?(?:\][^\]/]*|[^\]/]+)\]|.", re.DOTALL)


@attrs.frozen(kw_only=True)
class FilesReaderSettings:
    """Which files are read.

    Attributes:
        root: The folder; each reading must have one, here or of its own.
        pattern: What the path below the folder must be like: `*`, `?` and `[…]` stand for
            parts of a name, `**` for any number of folders.
    """

    root: Path | None = None
    pattern: str = "**"


# The parts of the path of the last file that was given, from the root.
_Cursor = tuple[str, ...]


class _FilesSource(Source[_Cursor]):
    """The files below a folder."""

    def __init__(self, settings: FilesReaderSettings) -> None:
        if settings.root is None:
            raise ReaderConfigError(
                "No folder is named to read from.", hint='Give its path: {"root": "incoming"}.'
            )
        super().__init__(settings.root)
        self._pattern = _compiled(settings.pattern)
        self._at: _Cursor = ()
        self._paths: Iterator[_Cursor] = iter(())

    def open(self) -> _Cursor:
        os.scandir(self.path).close()  # that it is a folder is known at once
        self._paths = self._below((), ())
        return ()

    def close(self) -> None:
        self._paths = iter(())

    def read(self, position: _Cursor, n: int) -> tuple[list[Any], _Cursor, bool]:
        if position != self._at:
            self._paths, self._at = self._below((), position), position
        items: list[Any] = []
        for parts in self._paths:
            self._at = parts
            name = "/".join(parts)
            if not self._pattern.fullmatch(name):
                continue
            try:
                items.append(self._item(name))
            except FileNotFoundError:
                continue  # deleted since it was listed
            if len(items) == n:
                return items, self._at, False
        return items, self._at, True

    def freeze(self, position: _Cursor) -> dict[str, Any]:
        return {"after": list(position)}

    def thaw(self, frozen: Mapping[str, Any]) -> _Cursor:
        parts = frozen["after"]
        if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
            raise ValueError("its cursor is no path")
        return tuple(parts)

    def _item(self, name: str) -> dict[str, Any]:
        status = (self.path / name).stat()
        return {
            "path": str(self.path / name),
            "name": name,
            "size": status.st_size,
            "modified": datetime.fromtimestamp(status.st_mtime, UTC),
        }

    def _below(self, folder: _Cursor, after: _Cursor) -> Iterator[_Cursor]:
        """Give the files below *folder*, in order, that come after the path *after*."""
        try:
            with os.scandir(self.path.joinpath(*folder)) as entries:
                names = sorted(
                    (entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries
                )
        except FileNotFoundError:
            return  # deleted since it was listed
        first, rest = (after[0], after[1:]) if after else ("", ())
        for name, is_folder in names:
            if name < first:
                continue
            if is_folder:
                if len(folder) < _DEEPEST:
                    yield from self._below((*folder, name), rest if name == first else ())
            elif name != first or rest:
                yield (*folder, name)


class FilesItemReader(SourceItemReader[FilesReaderSettings, _Cursor]):
    """Reads which files there are; an item has the `path`, `name`, `size` and time `modified`.

    `name` is the path below the root. Links to folders are not followed. A file that comes
    while reading goes on is read if its place in the order has not been passed.
    """

    name: ClassVar[str] = "files"
    Settings = FilesReaderSettings

    def _source(self, settings: FilesReaderSettings) -> _FilesSource:
        return _FilesSource(settings)


def _compiled(pattern: str) -> re.Pattern[str]:
    parts = pattern.split("/")
    if pattern.startswith("/") or ".." in parts or not all(parts):
        raise ReaderConfigError(
            f"{pattern!r} is no pattern of paths below a folder.",
            hint='Write it without a slash at either end and without "..", such as "**/*.json".',
        )
    *folders, last = parts
    found = ["(?:[^/]+/)*" if part == "**" else f"{_compiled_name(part)}/" for part in folders]
    found.append(".+" if last == "**" else _compiled_name(last))
    return re.compile("".join(found), re.DOTALL)


def _compiled_name(part: str) -> str:
    def translated(token: re.Match[str]) -> str:
        text = token[0]
        if text[0] == "*":
            return "[^/]*"
        if text == "?":
            return "[^/]"
        if len(text) > 1:
            inner = text[1:-1].replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
            return f"(?!/)[^{inner[1:]}]" if inner[0] == "!" else f"(?!/)[{inner}]"
        return re.escape(text)

    try:
        return re.compile(_TOKEN.sub(translated, part), re.DOTALL).pattern
    except re.error as error:
        raise ReaderConfigError(
            f"{part!r} is no pattern of names: {error}.", hint="Look at what stands in brackets."
        ) from None
