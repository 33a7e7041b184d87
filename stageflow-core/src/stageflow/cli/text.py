"""Text for people: safe on any terminal, aligned, and coloured where that is wanted."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Mapping, MutableMapping, Sequence
from datetime import datetime
from typing import Any, Final, TextIO
from weakref import WeakKeyDictionary

__all__ = (
    "GLYPHS",
    "STATUS_STYLES",
    "UNWRITABLE",
    "Terminal",
    "ago",
    "columns",
    "cut",
    "one_line",
    "padded",
    "plural",
    "short_json",
    "span",
    "width",
)

GLYPHS: Final = {
    "waiting": "·",
    "running": "▸",
    "retrying": "↻",
    "awaiting": "◇",
    "ok": "✓",
    "skip": "↷",
    "cancel": "■",
    "fail": "✗",
}
"""What stands before a stage, by its status."""

STATUS_STYLES: Final = {
    "waiting": "dim",
    "created": "dim",
    "running": "cyan",
    "retrying": "yellow",
    "awaiting": "cyan",
    "ok": "green",
    "completed": "green",
    "skip": "dim",
    "cancel": "yellow",
    "cancelled": "yellow",
    "fail": "red",
    "failed": "red",
}
"""The colour of a status of a stage or a run."""

_CODES: Final = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
    "bright_blue": "94",
}
_PIPE_WIDTH: Final = 100
_LONGEST: Final = 4000
_ASCII: Final = str.maketrans(
    {
        **dict(zip("·▸↻✓↷■✗●○←↳", ".>~+/#x*o<>", strict=True)),
        "…": "...",
        **dict(zip("─━│├┤┬┴┼╭╮╰╯", "--|+++++++++", strict=True)),
        **dict.fromkeys("█▉▊▋▌▍▎▏▐", "#"),
    }
)


UNWRITABLE: Final[MutableMapping[TextIO, OSError]] = WeakKeyDictionary()
"""The streams that could not be written to, and why; what was meant for them is lost."""


class Terminal:
    """One of the standard streams, and what can be shown on it.

    Lines go on being accepted when whoever read them has gone away, or the disk is full.

    Attributes:
        stream: Where the lines go.
        is_terminal: Whether a person looks at it who can be shown colours and movement.
        has_colour: Whether to use colours.
        is_utf8: Whether every character can be shown.
    """

    def __init__(self, stream: TextIO, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self.stream = stream
        self.is_terminal = stream.isatty() and environ.get("TERM", "") != "dumb"
        wanted = bool(environ.get("FORCE_COLOR")) or self.is_terminal
        self.has_colour = wanted and not environ.get("NO_COLOR")
        # A stream without an encoding keeps characters as they are.
        self.is_utf8 = (stream.encoding or "utf-8").lower().replace("-", "") == "utf8"
        self._is_closed = False

    @property
    def width(self) -> int:
        """How many characters fit on a line."""
        return shutil.get_terminal_size((_PIPE_WIDTH, 24)).columns

    def paint(self, text: str, style: str = "") -> str:
        """Return *text* in a style such as `bold red`; as it is where colours are not wanted."""
        if not (style and self.has_colour and text):
            return text
        codes = ";".join(_CODES[name] for name in style.split())
        return f"\x1b[{codes}m{text}\x1b[0m"

    def line(self, text: str = "") -> None:
        """Write one line at once; in ASCII where the stream knows nothing else."""
        if self._is_closed:
            return
        if not self.is_utf8:
            text = text.translate(_ASCII)
        try:
            try:
                self.stream.write(f"{text}\n")
            except UnicodeEncodeError:
                encoding = self.stream.encoding or "ascii"
                self.stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
            self.stream.flush()
        except BrokenPipeError:
            self._is_closed = True
            # The interpreter flushes once more when it ends, and would complain again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())
        except OSError as error:
            self._is_closed = True
            UNWRITABLE[self.stream] = error

    def lines(self, texts: Sequence[str]) -> None:
        """Write several lines."""
        for text in texts:
            self.line(text)


def one_line(text: object) -> str:
    """Return *text* on one line of bounded length, with what could move a cursor made visible."""
    plain = str(text)
    if len(plain) > _LONGEST:
        plain = f"{plain[:_LONGEST]}… ({len(plain) - _LONGEST:,} characters more)"
    if plain.isprintable():
        return plain
    return "".join(
        char if char.isprintable() else " " if char in "\n\r\t" else ascii(char)[1:-1]
        for char in plain
    )


def width(text: str) -> int:
    """Return how many columns *text* takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def cut(text: str, limit: int) -> str:
    """Return *text*, shortened with an ellipsis if it takes more than *limit* columns."""
    if width(text) <= limit:
        return text
    kept = text[: max(limit - 1, 0)]
    while width(kept) > limit - 1:
        kept = kept[:-1]
    return f"{kept}…"


def padded(text: str, size: int, *, right: bool = False) -> str:
    """Return *text* filled up with blanks to *size* columns, behind it or, with *right*, before."""
    blanks = " " * (size - width(text))
    return blanks + text if right else text + blanks


def columns(
    terminal: Terminal,
    head: Sequence[str],
    rows: Sequence[Sequence[str | tuple[str, str]]],
    *,
    right: Sequence[int] = (),
) -> list[str]:
    """Return a table as lines; the last column is cut where the terminal ends.

    Args:
        terminal: Where it will be shown.
        head: The titles.
        rows: Texts, or texts with their style.
        right: Numbers of the columns that are aligned on the right.
    """
    pairs = [[cell if isinstance(cell, tuple) else (cell, "") for cell in row] for row in rows]
    pairs.insert(0, [(title, "bold") for title in head])
    sizes = [max(width(row[place][0]) for row in pairs) for place in range(len(head))]
    if terminal.is_terminal:
        room = terminal.width - sum(sizes[:-1]) - 2 * (len(head) - 1)
        sizes[-1] = min(sizes[-1], max(room, 8))
    lines = []
    for row in pairs:
        cells = [
            terminal.paint(padded(cut(text, size), size, right=place in right), style)
            for place, ((text, style), size) in enumerate(zip(row, sizes, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def span(milliseconds: float | None) -> str:
    """Return a duration as people say it."""
    if milliseconds is None:
        return ""
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.1f} ms"
    seconds = milliseconds / 1000
    if seconds < 59.95:
        return f"{seconds:.1f} s" if seconds >= 10 else f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def ago(then: datetime, now: datetime) -> str:
    """Return how long ago something was, roughly."""
    seconds = int((now - then).total_seconds())
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            return f"{plural(seconds // size, unit)} ago"
    return "just now"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun, such as `2 stages`."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun[:-1]}ies" if noun.endswith("ry") else f"{count:,} {noun}s"


def short_json(value: Any, limit: int) -> str:
    """Return *value* as JSON on one line of at most *limit* columns."""
    from stageflow.events.encoding import to_json

    return cut(one_line(to_json(value)), limit)
