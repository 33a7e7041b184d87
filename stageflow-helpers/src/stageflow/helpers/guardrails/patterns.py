r"""Match other people's patterns without letting one of them run for ever.

The engine is that of the package `regex`. Its syntax and its answers are those of `re`, Unicode,
look-around and references included, which no engine of linear time has: with one of those a
pattern such as `\bмир\b` or `(?<!no )refund` would be refused, or would quietly find nothing.
`regex` gives up when its time is over, and lets other threads run meanwhile.
"""

# ruff: noqa: RUF002 - a Cyrillic word is the example

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from stageflow.helpers.errors import HelperSettingError
from stageflow.helpers.guardrails.contract import PolicyViolation, ViolationType
from stageflow.helpers.guardrails.errors import GuardrailPatternError

if TYPE_CHECKING:
    import regex

__all__ = ("PATTERN_SECONDS", "TimedPattern", "timed_patterns")

PATTERN_SECONDS: Final = 0.1
"""How long one pattern may look at one text unless told otherwise."""


class TimedPattern:
    """A pattern that somebody else wrote; matched without regard to case.

    Args:
        pattern: A regular expression as for `re`.
        seconds: How long it may look at one text.
    """

    __slots__ = ("_compiled", "_seconds", "pattern")

    def __init__(self, pattern: str, seconds: float) -> None:
        import regex

        if not isinstance(pattern, str):
            raise GuardrailPatternError(repr(pattern), f"it is of type {type(pattern).__name__}")
        self.pattern = pattern
        self._seconds = seconds
        try:
            self._compiled: regex.Pattern[str] = regex.compile(pattern, regex.IGNORECASE)
        except regex.error as error:
            position = getattr(error, "pos", None)
            raise GuardrailPatternError(pattern, str(error), position=position) from error

    def search(self, text: str) -> tuple[int, int] | None:
        """Return where the pattern matches first; None if it does not.

        Raises:
            TimeoutError: Its time is over; what it would have found nobody knows.
        """
        match = self._compiled.search(text, timeout=self._seconds, concurrent=True)
        return None if match is None else match.span()

    def overran(self) -> PolicyViolation:
        """Return the violation that says that the content could not be checked in time."""
        return PolicyViolation(
            ViolationType.CHECK_TIMED_OUT,
            f"A pattern took longer than {self._seconds:g} s, so the content is not checked.",
            1.0,
            {"pattern": self.pattern, "seconds": self._seconds},
        )


def timed_patterns(
    owner: str, setting: str, patterns: Iterable[str] | None, seconds: float
) -> tuple[TimedPattern, ...]:
    """Return *patterns* ready to be matched.

    Raises:
        HelperSettingError: If the time is not positive, or one text was given instead of several.
        GuardrailPatternError: If one of them is no regular expression.
    """
    if not seconds > 0:
        raise HelperSettingError(owner, "pattern_seconds", seconds, rule="above 0")
    if isinstance(patterns, str):
        raise HelperSettingError(owner, setting, patterns, rule="several patterns, such as a list")
    return tuple(TimedPattern(pattern, seconds) for pattern in patterns or ())
