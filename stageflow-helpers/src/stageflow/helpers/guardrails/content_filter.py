"""ContentFilter: finds words and topics that are not wanted, also in disguise."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from stageflow.helpers.errors import HelperSettingError
from stageflow.helpers.guardrails.contract import GuardrailResult, PolicyViolation, ViolationType
from stageflow.helpers.guardrails.normal_form import Content, Reading, plain_leetspeak, readings_of
from stageflow.helpers.guardrails.patterns import PATTERN_SECONDS, timed_patterns

__all__ = ("DEFAULT_PROFANITY", "ContentFilter")

_PROFANITY: Final = """
    arse arsehole ass asses asshole assholes bastard bastards bitch bitches bitching bollocks
    bullshit crap crappy cunt cunts damn damned dammit dick dickhead dickheads dicks fuck fucked
    fucker fuckers fucking fucks goddamn hell motherfucker motherfuckers motherfucking piss pissed
    prick pricks shit shits shitty shitting slut sluts twat twats wanker wankers whore whores
"""
DEFAULT_PROFANITY: Final = frozenset(_PROFANITY.split())
"""The words that are looked for unless a list is given."""

_WORD: Final = re.compile(r"[^\W_]+")
# What has a sign or digit in it that may stand for a letter.
_DISGUISED: Final = re.compile(r"(?<![\w@$!|+*#])[a-z@$!|+*#]*[0-9@$!|+*#][\w@$!|+*#]*")
_STRETCH: Final = re.compile(r"([a-z])\1{2,}")
_WORD_BEHIND: Final = re.compile(r"[a-z]{0,60}")
_WORD_BEFORE: Final = re.compile(r"(?<![a-z])[a-z]{0,30}\Z")
_LETTER: Final = re.compile(r"[a-z@$]")
_MASKS: Final = re.compile(r"[*#]")
_TO_L: Final = str.maketrans("1!|", "lll")


class ContentFilter:
    """Finds profane words, and topics by pattern.

    Words are found in leetspeak, spaced out, stretched, with letters masked by `*`, or written
    with look-alikes of other alphabets. A word is a whole word: `assess` is none.

    Args:
        block_profanity: Whether to look for words at all.
        profanity_list: The words; `DEFAULT_PROFANITY` unless given.
        blocked_patterns: Regular expressions of topics, matched without regard to case.
        max_severity: The severity of a profane word.
        pattern_seconds: How long each pattern may look at one text.

    Raises:
        HelperSettingError: If a severity or time is not possible.
        GuardrailPatternError: If a pattern is no regular expression.
    """

    def __init__(
        self,
        *,
        block_profanity: bool = True,
        profanity_list: Iterable[str] | None = None,
        blocked_patterns: Iterable[str] | None = None,
        max_severity: float = 0.3,
        pattern_seconds: float = PATTERN_SECONDS,
    ) -> None:
        if not 0 <= max_severity <= 1:
            raise HelperSettingError(
                "ContentFilter", "max_severity", max_severity, rule="from 0 to 1"
            )
        if isinstance(profanity_list, str):
            raise HelperSettingError(
                "ContentFilter", "profanity_list", profanity_list, rule="several words"
            )
        listed = DEFAULT_PROFANITY if profanity_list is None else profanity_list
        spoken = {word.strip().lower(): word for word in listed if word.strip()}
        self._severity = max_severity
        self._words = frozenset(spoken) if block_profanity else frozenset()
        self._spoken = spoken
        self._phrases = _phrases(self._words)
        self._masked = _by_length(self._words)
        self._patterns = timed_patterns(
            "ContentFilter", "blocked_patterns", blocked_patterns, pattern_seconds
        )

    @property
    def light(self) -> bool:
        """Whether there is no pattern of somebody else, which could take its time."""
        return not self._patterns

    def check(self, content: str, context: Mapping[str, Any] | None = None) -> GuardrailResult:
        """Return the words and topics in *content*: each word once, each pattern once."""
        text = readings_of(content)
        violations = self._profanity(text) if self._words else []
        violations += self._topics(text)
        return GuardrailResult.of(violations)

    # --- words ---

    def _profanity(self, content: Content) -> list[PolicyViolation]:
        found: dict[str, tuple[int, int]] = {}
        for reading in content.lowered:
            for word, start, end in self._words_in(reading.text):
                if word not in found:
                    found[word] = reading.original_span(start, end)
        if self._phrases is not None:
            for reading in content.word_readings:
                for phrase in self._phrases.finditer(reading.text):
                    found.setdefault(phrase[0], reading.original_span(*phrase.span()))
        return [
            PolicyViolation(
                ViolationType.PROFANITY,
                "The content has a word that is not wanted.",
                self._severity,
                {"word": self._spoken[word]},
                location,
            )
            for word, location in sorted(found.items(), key=lambda item: item[1])
        ]

    def _words_in(self, text: str) -> Iterator[tuple[str, int, int]]:
        """Yield the listed words in a text in lower case, with a place of each."""
        for word in self._words.intersection(_WORD.findall(text)):
            place = re.search(rf"(?<![^\W_]){re.escape(word)}(?![^\W_])", text)
            assert place is not None
            yield word, *place.span()
        for token in _DISGUISED.finditer(text):
            yield from self._undisguised(token)
        for stretch in _STRETCH.finditer(text):
            yield from self._unstretched(text, stretch)

    def _unstretched(self, text: str, stretch: re.Match[str]) -> Iterator[tuple[str, int, int]]:
        """Yield the words that the word around a stretched letter may stand for."""
        before = _WORD_BEFORE.search(text[max(0, stretch.start() - 31) : stretch.start()])
        behind = _WORD_BEHIND.match(text, stretch.end())
        if before is None or behind is None:
            return
        start, end = stretch.start() - len(before[0]), behind.end()
        for times in (r"\1", r"\1\1"):
            if (word := _STRETCH.sub(times, text[start:end])) in self._words:
                yield word, start, end

    def _undisguised(self, token: re.Match[str]) -> Iterator[tuple[str, int, int]]:
        """Yield the words that a token with signs in it may stand for."""
        spelled = token[0].rstrip("!|+*#")
        bare = spelled.lstrip("*#+|!")
        if not _LETTER.search(bare):  # `455` is more often a number than a word
            return
        start = token.start() + len(spelled) - len(bare)
        span = start, start + len(bare)
        for plain in {plain_leetspeak(bare), plain_leetspeak(bare.translate(_TO_L))}:
            if plain in self._words:
                yield plain, *span
        if _MASKS.search(bare):
            for word in self._masked.get((bare[0], len(bare)), ()):
                if all(a in {b, "*", "#"} for a, b in zip(bare, word, strict=True)):
                    yield word, *span

    @staticmethod
    def _normalize_leetspeak(text: str) -> str:
        """Return *text* in lower case with leetspeak written out."""
        return plain_leetspeak(text.lower())

    # --- topics ---

    def _topics(self, content: Content) -> list[PolicyViolation]:
        violations: list[PolicyViolation] = []
        readings = (Reading(str(content)), *content.readings, *content.word_readings)
        distinct = {reading.text: reading for reading in reversed(readings)}
        for pattern in self._patterns:
            try:
                for reading in reversed(distinct.values()):
                    place = pattern.search(reading.text)
                    if place is not None:
                        break
                else:
                    continue
            except TimeoutError:
                violations.append(pattern.overran())
                continue
            normalized = reading.text != content
            start, end = reading.original_span(*place)
            violations.append(
                PolicyViolation(
                    ViolationType.BLOCKED_TOPIC,
                    "The content is about a topic that is not wanted.",
                    0.9,
                    {"pattern": pattern.pattern, "normalized": normalized},
                    (start, end) if end > start else None,
                )
            )
        return violations


def _phrases(words: Iterable[str]) -> re.Pattern[str] | None:
    """Return what finds those of *words* that are more than one word."""
    phrases = [word for word in words if not _WORD.fullmatch(word)]
    if not phrases:
        return None
    longest_first = "|".join(re.escape(phrase) for phrase in sorted(phrases, key=len)[::-1])
    return re.compile(rf"(?<!\w)(?:{longest_first})(?!\w)")


def _by_length(words: Iterable[str]) -> dict[tuple[str, int], list[str]]:
    """Return the words by first letter and length; shorter ones say too little when masked."""
    grouped: dict[tuple[str, int], list[str]] = {}
    for word in sorted(words):
        if len(word) >= 4:
            grouped.setdefault((word[0], len(word)), []).append(word)
    return grouped
