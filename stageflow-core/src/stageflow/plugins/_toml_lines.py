"""Where in a TOML text each key is written, so that a fault can name the line.

The standard parser gives values without places. This scanner gives places without values: it
reads text that the parser has accepted, so it need not recognise mistakes.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

__all__ = ("key_lines",)

_PIECE = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'  # text over several lines may end in two quotes of its own
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|\#[^\n]*"
    r"|\n"
    r"|[\[\]{}=.,]"
    r"|[^\s\[\]{}=.,\"'\#]+",
    re.DOTALL,
)


def key_lines(text: str) -> dict[tuple[str, ...], int]:
    """Return the line of every table header and key, counted from 1, by dotted path.

    Keys inside an inline table are not told apart from the key that holds it. An element of
    an array of tables has its number in the path.

    Args:
        text: Valid TOML.
    """
    lines: dict[tuple[str, ...], int] = {}
    arrays: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for pieces, line in _statements(text):
        if pieces[0] == "[":
            is_array = pieces[1:2] == ["["]
            table = _header(_parts(pieces), arrays, is_array=is_array)
            for depth in range(1, len(table) + 1):
                lines.setdefault(table[:depth], line)
        else:
            path = table
            for part in _parts(pieces[: pieces.index("=")]):
                path = (*path, part)
                lines.setdefault(path, line)
    return lines


def _statements(text: str) -> Iterator[tuple[list[str], int]]:
    """Give the pieces of each table header and each key with its value, and the line it begins."""
    line, depth, begun = 1, 0, 1
    pieces: list[str] = []
    for match in _PIECE.finditer(text):
        piece = match.group()
        if piece == "\n" and depth == 0:
            if pieces:
                yield pieces, begun
            pieces = []
        elif piece != "\n" and not piece.startswith("#"):
            begun = begun if pieces else line
            pieces.append(piece)
            depth += (piece in "[{") - (piece in "]}")
        line += piece.count("\n")
    if pieces:
        yield pieces, begun


def _parts(pieces: list[str]) -> list[str]:
    """Return the names in a key or header, without dots, brackets and quotes."""
    return [_unquoted(piece) for piece in pieces if piece not in {"[", "]", "."}]


def _unquoted(piece: str) -> str:
    if piece[0] in "\"'":
        name: str = tomllib.loads(f"key = {piece}")["key"]
        return name
    return piece


def _header(
    parts: list[str], arrays: dict[tuple[str, ...], int], *, is_array: bool
) -> tuple[str, ...]:
    """Return the path of a table, with the number of each array element on the way."""
    path: tuple[str, ...] = ()
    for part in parts[:-1]:
        path = (*path, part)
        if path in arrays:
            path = (*path, str(arrays[path]))
    path = (*path, parts[-1])
    if is_array:
        arrays[path] = arrays.get(path, -1) + 1
        path = (*path, str(arrays[path]))
    return path
