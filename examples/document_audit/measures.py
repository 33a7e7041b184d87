"""Count what a text holds: lines, code, comments, words, and how easily it reads."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from document_audit.formats import Comments

__all__ = ("Measures", "measure", "reading_ease")

_MIN_SENTENCES = 3
_MIN_WORDS = 60
_SENTENCE_END = re.compile(r"[.!?]+(?=[\s\"')\]]|\Z)|\n[ \t]*\n")
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")
_VOWELS = re.compile(r"[aeiouy]+")
_SILENT_E = re.compile(r"[^aeiouyl]e\b")


@attrs.frozen(kw_only=True)
class Measures:
    """The figures of one text.

    Attributes:
        lines: All lines; a last one without a line end counts.
        blank: Lines of nothing but white space.
        comment: Lines that are comments, or strings that stand for them, and nothing else.
        words: Runs of anything but white space.
        characters: Characters, line ends included.
        longest: The length of the longest line.
    """

    lines: int = 0
    blank: int = 0
    comment: int = 0
    words: int = 0
    characters: int = 0
    longest: int = 0


def measure(text: str, comments: Comments | None) -> Measures:
    """Return the figures of *text*.

    Args:
        text: What to measure.
        comments: How comments are written in it; None if it has none.
    """
    lines = _lines_of(text)
    longest = max(map(len, lines), default=0)
    lines = list(map(str.strip, lines))
    return Measures(
        lines=len(lines),
        blank=lines.count(""),
        comment=_comment_lines(lines, comments) if comments is not None else 0,
        words=len(text.split()),
        characters=len(text),
        longest=longest,
    )


def _lines_of(text: str) -> list[str]:
    """Split at line ends alone: `str.splitlines` also splits at form feeds and the like."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return lines


def _comment_lines(lines: list[str], comments: Comments) -> int:
    """Count the comment lines among stripped *lines*.

    A comment that begins behind code counts as code: to tell it from a string that looks
    like one would take a parser.
    """
    line_marks, quotes = comments.line, comments.quotes
    openings = tuple(opening for opening, _ in comments.blocks)
    found, closing, in_comment = 0, "", False
    for line in lines:
        if closing:
            found += in_comment and line != ""
            if closing in line:
                closing = ""
        elif line.startswith(openings):  # before the marks of lines: in Lua, --[[ is also --
            found, in_comment = found + 1, True
            opening, closing = next(pair for pair in comments.blocks if line.startswith(pair[0]))
            if closing in line[len(opening) :]:
                closing = ""
        elif line.startswith(line_marks):
            found += 1
        else:
            for quote in quotes:
                if quote in line:
                    in_comment = line.startswith(quote)
                    found += in_comment
                    closing = quote if line.count(quote) % 2 else ""
                    break
    return found


def reading_ease(prose: str) -> float | None:
    """Return how easily English *prose* reads, after Flesch: from 0 (hard) to 100 (easy).

    None if there is too little prose to tell. Syllables are estimated from groups of vowels.
    """
    lowered = prose.lower()
    words = _WORD.findall(lowered)
    sentences = len(_SENTENCE_END.findall(lowered))
    if len(words) < _MIN_WORDS or sentences < _MIN_SENTENCES:
        return None
    joined = " ".join(words)
    syllables = len(_VOWELS.findall(joined)) - len(_SILENT_E.findall(joined))
    syllables = max(syllables, len(words))
    ease = 206.835 - 1.015 * len(words) / sentences - 84.6 * syllables / len(words)
    return round(min(100.0, max(0.0, ease)), 1)
