"""Read a text as a person would: without disguise, and knowing where each character came from.

A text has several *readings*. The first has the look-alikes of Unicode folded to what they look
like. Others undo what else hides a text from a pattern: spaced-out letters, spelled-out digits and
separators. Every reading can tell which part of the original a part of it came from.

A plain text has one reading, which is the text itself, and that is found out quickly.
"""

# ruff: noqa: RUF001 - look-alikes are what this module is about

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache
from typing import Final

from stageflow.helpers.guardrails.errors import GuardrailContentError

__all__ = ("Content", "Reading", "plain_leetspeak", "readings_of")

Edit = tuple[int, int, str]
"""From where to where something is replaced, and by what."""

# --- readings ------------------------------------------------------------------------------


class Reading:
    """A text made from another one, which knows what each part of it was made from.

    Args:
        text: What is read.
        below: The reading that this one was made from; None for the original.
    """

    __slots__ = ("_below", "_edits", "_starts", "text")

    def __init__(self, text: str, below: Reading | None = None) -> None:
        self.text = text
        self._below = below
        # (start, end) in this text and (start, end) in the one below, for each edit in order.
        self._edits: list[tuple[int, int, int, int]] = []
        self._starts: list[int] = []

    def edited(self, edits: Iterable[Edit]) -> Reading:
        """Return this reading with *edits*, which are in order and do not overlap."""
        pieces: list[str] = []
        marks: list[tuple[int, int, int, int]] = []
        read = written = 0
        for start, end, replacement in edits:
            pieces += (self.text[read:start], replacement)
            written += start - read
            marks.append((written, written + len(replacement), start, end))
            written += len(replacement)
            read = end
        if not marks:
            return self
        pieces.append(self.text[read:])
        made = Reading("".join(pieces), self)
        made._edits = marks
        made._starts = [mark[0] for mark in marks]
        return made

    def respelled(self, text: str) -> Reading:
        """Return a reading of *text*, which has a character for each one of this reading."""
        return Reading(text, self)

    def original_span(self, start: int, end: int) -> tuple[int, int]:
        """Return what part of the original the part from *start* to *end* was made from.

        What was made from a longer stretch stands for the whole of it.
        """
        if self._below is None or end <= start:
            return start, end
        if self._edits:
            start, end = self._below_of(start)[0], self._below_of(end - 1)[1]
        return self._below.original_span(start, end)

    def _below_of(self, position: int) -> tuple[int, int]:
        place = bisect_right(self._starts, position) - 1
        if place < 0:
            return position, position + 1
        _, end, below_start, below_end = self._edits[place]
        if position < end:
            return below_start, below_end
        below = below_end + position - end
        return below, below + 1


class Content(str):
    """A text that works out its readings once, however many detectors ask for them."""

    __slots__ = ("__dict__",)

    @cached_property
    def readings(self) -> tuple[Reading, ...]:
        """The readings of the text, the most literal first; never the same text twice."""
        return _read(str(self))

    @cached_property
    def lowered(self) -> tuple[Reading, ...]:
        """The readings in lower case."""
        return tuple(reading.respelled(reading.text.lower()) for reading in self.readings)

    @cached_property
    def word_readings(self) -> tuple[Reading, ...]:
        """The readings in lower case, then those that differ with leetspeak written out."""
        known = {reading.text for reading in self.lowered}
        plain = (
            reading.respelled(text)
            for reading in self.lowered
            if (text := plain_leetspeak(reading.text)) not in known
        )
        return (*self.lowered, *plain)


def readings_of(content: str) -> Content:
    """Return *content* with its readings; the ones it has already, if it is a `Content`.

    Raises:
        GuardrailContentError: It is no text; what cannot be read must not pass as harmless.
    """
    if not isinstance(content, str):
        raise GuardrailContentError("", None, type(content).__name__)
    return content if isinstance(content, Content) else Content(content)


def plain_leetspeak(text: str) -> str:
    """Return *text* with digits and signs that stand for letters replaced, one for one."""
    plain = text.translate(_LEETSPEAK)
    return _LETTER_SIGN.sub(lambda sign: _LETTER_SIGNS[sign[0]], plain)


def _read(text: str) -> tuple[Reading, ...]:
    folded = _folded(text)
    revealed = folded
    for reveal in (_close_up, _drop_signs, _digits, _separators):
        revealed = revealed.edited(reveal(revealed.text))
    return (folded,) if revealed is folded else (folded, revealed)


_LEETSPEAK: Final = str.maketrans("013457@$", "oieastas")
# Signs that end a word more often than they stand for its last letter.
_LETTER_SIGNS: Final = {"!": "i", "|": "l", "+": "t"}
_LETTER_SIGN: Final = re.compile(r"[!|+](?=[\w!|+])")

# --- Unicode -------------------------------------------------------------------------------

_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]+")
_LOOKALIKES: Final = {
    look: letter
    for letter, looks in {
        "a": "аαɑᴀ", "b": "ЬƄʙ", "c": "сϲᴄ", "d": "ԁɗᴅ", "e": "еҽєεᴇ", "f": "ƒꜰғ", "g": "ɡɢ",
        "h": "һհʜ", "i": "іıɩιɪ", "j": "јϳᴊ", "k": "кκᴋ", "l": "ӏǀʟ", "m": "мᴍ", "n": "ոηɴ",
        "o": "оοօσᴏ", "p": "рρᴘ", "q": "ԛզ", "r": "гʀ", "s": "ѕꜱ", "t": "тτᴛ", "u": "υսᴜ",
        "v": "ѵνᴠ", "w": "ԝѡωᴡ", "x": "хχ", "y": "уγʏ", "z": "ᴢʐ",
        "A": "АΑ", "B": "ВΒ", "C": "СϹ", "E": "ЕΕ", "H": "НΗ", "I": "ІΙӀ", "J": "Ј", "K": "КΚ",
        "M": "МΜ", "N": "Ν", "O": "ОΟ", "P": "РΡ", "S": "Ѕ", "T": "ТΤ", "V": "Ѵ", "X": "ХΧ",
        "Y": "ҮΥ", "Z": "Ζ", "'": "‘’ʼ′", '"': "“”", ".": "·•∙。", "-": "−", "/": "⁄∕",
        "ss": "ß", "o'": "º", "": "\u115f\u1160\u3164\uffa0\u2800",
    }.items()
    for look in looks
}  # fmt: skip
_MARKS: Final = (
    (0x300, 0x36F), (0x483, 0x489), (0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF), (0x20D0, 0x20FF),
    (0xFE00, 0xFE0F), (0xFE20, 0xFE2F), (0xE0100, 0xE01EF),
)  # fmt: skip
# Letters in squares and circles, and those of flags, each alphabet from its A.
_ENCLOSED: Final = (0x1F150, 0x1F170, 0x1F1E6)


@lru_cache(maxsize=4096)
def _fold(char: str) -> str:
    """Return what *char* looks like in ASCII, or itself if it looks like nothing there."""
    if (look := _LOOKALIKES.get(char)) is not None:
        return look
    code, category = ord(char), unicodedata.category(char)
    if 0xE0020 <= code <= 0xE007E:  # tags: text that is there and cannot be seen
        return chr(code - 0xE0000)
    if category == "Cf" or any(first <= code <= last for first, last in _MARKS):
        return ""
    if category in {"Zs", "Zl", "Zp"}:
        return " " if category == "Zs" else "\n"
    if category == "Pd":
        return "-"
    if category == "Nd":
        return str(unicodedata.digit(char))
    for first in _ENCLOSED:
        if first <= code < first + 26:
            return chr(code - first + ord("A"))
    decomposed = unicodedata.normalize("NFKD", char)
    kept = "".join(
        _LOOKALIKES.get(part, part) for part in decomposed if not unicodedata.combining(part)
    )
    return kept if kept and kept.isascii() else char


def _folded(text: str) -> Reading:
    original = Reading(text)
    if text.isascii():
        return original
    strange = set("".join(_NOT_ASCII.findall(text)))
    folds = {char: fold for char in strange if (fold := _fold(char)) != char}
    table = {ord(char): fold for char, fold in folds.items() if len(fold) == 1}
    same_length = original.respelled(text.translate(table)) if table else original
    resized = folds.keys() - {chr(code) for code in table}
    if not resized:
        return same_length
    return same_length.edited(
        (at, at + 1, folds[char]) for at, char in enumerate(same_length.text) if char in resized
    )


# --- disguises -----------------------------------------------------------------------------

# Single characters with room between them, more of it between words: `i g n o r e  t h i s`.
_SPACED: Final = re.compile(r"(?<![^\W_])[^\s](?: {1,3}[^\s]){2,}(?![^\W_])")
_ROOM: Final = re.compile(r" +")
# Single characters with the same sign between them: `s.p.a.m`.
_DOTTED: Final = re.compile(
    r"(?<![^\W_])[^\W_](?P<sep>[._*|/~-])[^\s](?P=sep)(?:[^\s](?P=sep))*[^\W_](?![^\W_])"
)
_DIGIT_WORDS: Final = {
    word: str(digit)
    for digit, words in enumerate(
        ("zero oh nought", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    )
    for word in words.split()
}
_TIMES: Final = {"double": 2, "triple": 3, "treble": 3}
_ELEMENT = rf"(?:(?:double|triple|treble)[ -])?(?:{'|'.join(_DIGIT_WORDS)}|\d{{1,4}})\b"
_BETWEEN = r"[ \t\r\n]{0,2}[,.-]?[ \t\r\n]{0,2}"
_JOINT = r"(?:(?:dash|hyphen|minus|dot|point)\b[ ,]{1,2})?"
# Words of digits in a row, at least three; digits may stand between them.
_SPELLED: Final = re.compile(
    rf"\b(?:plus )?(?:double |triple |treble )?(?:{'|'.join(_DIGIT_WORDS)})\b"
    rf"(?:{_BETWEEN}{_JOINT}{_ELEMENT}){{2,}}",
    re.IGNORECASE,
)
_SPELLED_PART: Final = re.compile(
    rf"(?:(double|triple|treble)[ -])?\b(?:({'|'.join(_DIGIT_WORDS)})|(\d+))\b"
    r"|[ ]?\b(?:(dash|hyphen|minus)|(dot|point)|(plus))\b[ ]?|,",
    re.IGNORECASE,
)
_BRACKETED: Final = re.compile(
    r"[ \t]{0,2}[\[({<][ \t]?(?:(at|@)|(?:dot|\.|punkt|point))[ \t]?[\])}>][ \t]{0,2}",
    re.IGNORECASE,
)
_BETWEEN_DIGITS: Final = re.compile(r"(?<=\d) (?:dot|point) (?=\d)", re.IGNORECASE)
_LABEL = r"[A-Za-z0-9-]{1,63}"
_NO_HOST = r"(?:the|an?|this|that|my|your|our|his|her|their|its)"
_SPACED_ADDRESS: Final = re.compile(
    rf"(?<=[\w+-])(?: ?@ ?"
    rf"|[ \t]{{1,2}}at[ \t]{{1,2}}(?!{_NO_HOST}\b)(?={_LABEL}(?: ?\.{_LABEL})*[ \t]{{1,2}}dot ))"
    # A dot with room around it may end a sentence: then what follows begins like one.
    rf"{_LABEL}(?:(?:\.| ?\. ?(?-i:(?![A-Z][a-z]))|[ \t]{{1,2}}dot[ \t]{{1,2}}){_LABEL}){{1,6}}"
    r"(?![\w@])",
    re.IGNORECASE,
)
_ADDRESS_PART: Final = re.compile(r"\s*(?:(@|\bat\b)|(\.|\bdot\b))\s*", re.IGNORECASE)


def _close_up(text: str) -> Iterator[Edit]:
    for run in _SPACED.finditer(text):
        for room in _ROOM.finditer(text, *run.span()):
            yield (*room.span(), " " if room.end() - room.start() > 1 else "")


def _drop_signs(text: str) -> Iterator[Edit]:
    for run in _DOTTED.finditer(text):
        for at in range(run.start() + 1, run.end() - 1, 2):
            yield at, at + 1, ""


def _digits(text: str) -> Iterator[Edit]:
    for run in _SPELLED.finditer(text):
        yield (*run.span(), "".join(map(_digit, _SPELLED_PART.finditer(run[0]))))


def _digit(part: re.Match[str]) -> str:
    """Return what a part of spelled-out digits stands for; a comma separates groups of them."""
    times, word, digits, dash, dot, plus = part.groups()
    if not word and not digits:
        return "-" if dash else "." if dot else "+" if plus else " "
    return (_DIGIT_WORDS[word.lower()] if word else digits) * _TIMES.get((times or "").lower(), 1)


def _separators(text: str) -> list[Edit]:
    edits: list[Edit] = []
    if any(bracket in text for bracket in "[({<"):
        edits += [(*m.span(), "@" if m[1] else ".") for m in _BRACKETED.finditer(text)]
    has_dot = any(dot in text for dot in (" dot ", " DOT ", " Dot ", " point "))
    if has_dot:
        edits += [(*m.span(), ".") for m in _BETWEEN_DIGITS.finditer(text)]
    if has_dot or " @" in text or "@ " in text or ("@" in text and " ." in text):
        edits += _in_addresses(text)
    return _apart(edits)


def _in_addresses(text: str) -> Iterator[Edit]:
    for address in _SPACED_ADDRESS.finditer(text):
        for part in _ADDRESS_PART.finditer(text, *address.span()):
            sign = "@" if part[1] else "."
            if part[0] != sign:
                yield (*part.span(), sign)


def _apart(edits: list[Edit]) -> list[Edit]:
    edits.sort()
    kept: list[Edit] = []
    for edit in edits:
        if not kept or edit[0] >= kept[-1][1]:
            kept.append(edit)
    return kept
