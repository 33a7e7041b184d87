"""InjectionDetector: finds texts that try to give a model other instructions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from stageflow.helpers.guardrails.contract import GuardrailResult, PolicyViolation, ViolationType
from stageflow.helpers.guardrails.injection_rules import INJECTION_RULES
from stageflow.helpers.guardrails.normal_form import Content, readings_of
from stageflow.helpers.guardrails.patterns import PATTERN_SECONDS, timed_patterns

__all__ = ("InjectionDetector",)


class InjectionDetector:
    """Finds attempts to replace, undo or bring to light the instructions of a model.

    Look-alikes, leetspeak, spaced-out letters and text that cannot be seen are seen through. A
    pattern is no proof: what is measured of the built-in ones stands in the documentation.

    Args:
        additional_patterns: Regular expressions to look for as well, without regard to case.
        pattern_seconds: How long each of them may look at one text.

    Raises:
        HelperSettingError: If the time is not possible.
        GuardrailPatternError: If a pattern is no regular expression.
    """

    def __init__(
        self,
        *,
        additional_patterns: Iterable[str] | None = None,
        pattern_seconds: float = PATTERN_SECONDS,
    ) -> None:
        self._patterns = timed_patterns(
            "InjectionDetector", "additional_patterns", additional_patterns, pattern_seconds
        )

    @property
    def light(self) -> bool:
        """Whether there is no pattern of somebody else, which could take its time."""
        return not self._patterns

    def check(self, content: str, context: Mapping[str, Any] | None = None) -> GuardrailResult:
        """Return what in *content* matches, each pattern once."""
        text = readings_of(content)
        violations = self._built_in(text) + self._additional(text)
        return GuardrailResult.of(violations)

    @staticmethod
    def _built_in(content: Content) -> list[PolicyViolation]:
        found: dict[str, tuple[int, int]] = {}
        for reading in content.word_readings:
            text = reading.text
            for rule in INJECTION_RULES:
                pattern = rule.pattern.pattern
                if pattern in found or not any(hint in text for hint in rule.hints):
                    continue
                if match := rule.pattern.search(text):
                    found[pattern] = reading.original_span(*match.span())
        return [_violation(pattern, place) for pattern, place in found.items()]

    def _additional(self, content: Content) -> list[PolicyViolation]:
        violations: list[PolicyViolation] = []
        for pattern in self._patterns:
            try:
                for reading in (*content.readings, *content.word_readings):
                    if place := pattern.search(reading.text):
                        span = reading.original_span(*place)
                        violations.append(_violation(pattern.pattern, span))
                        break
            except TimeoutError:
                violations.append(pattern.overran())
        return violations


def _violation(pattern: str, place: tuple[int, int]) -> PolicyViolation:
    return PolicyViolation(
        ViolationType.INJECTION_ATTEMPT,
        "The content tries to give a model other instructions.",
        1.0,
        {"matched_pattern": pattern},
        place if place[1] > place[0] else None,
    )
