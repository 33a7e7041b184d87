"""GuardrailDetector: looks at a text and tells what in it breaks a rule."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from enum import StrEnum
from typing import Any, Final, Protocol

import attrs

from stageflow.contracts.contract import Contract

__all__ = (
    "CONTRACT",
    "GuardrailDetector",
    "GuardrailResult",
    "PolicyViolation",
    "ViolationType",
)

CONTRACT: Final = Contract("guardrail_detector", "1.0")


class ViolationType(StrEnum):
    """What kind of rule was broken.

    The last two mean that nobody knows: the check did not come to an end, so the content must
    not pass for checked. No threshold leaves them out.
    """

    PII_DETECTED = "pii_detected"
    PROFANITY = "profanity"
    TOXICITY = "toxicity"
    CONTENT_TOO_LONG = "content_too_long"
    RATE_LIMITED = "rate_limited"
    BLOCKED_TOPIC = "blocked_topic"
    INJECTION_ATTEMPT = "injection_attempt"
    CUSTOM = "custom"
    CHECK_TIMED_OUT = "check_timed_out"
    CHECK_FAILED = "check_failed"


@attrs.frozen
class PolicyViolation:
    """One place where a rule is broken, or one rule that the whole text breaks.

    Attributes:
        type: The kind of rule.
        message: What is wrong, in a sentence that repeats nothing private.
        severity: How bad it is, from 0 to 1.
        metadata: What else is known; JSON-able.
        location: Where it begins and ends in the content that was checked, as it was given.
    """

    type: ViolationType
    message: str
    severity: float = 1.0
    metadata: dict[str, Any] = attrs.field(factory=dict, hash=False)
    location: tuple[int, int] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the violation with its type as text."""
        return {
            "type": self.type.value,
            "message": self.message,
            "severity": self.severity,
            "metadata": dict(self.metadata),
            "location": self.location,
        }


def _in_a_row(violations: Iterable[PolicyViolation]) -> tuple[PolicyViolation, ...]:
    return tuple(violations)


@attrs.frozen
class GuardrailResult:
    """What one detector says of one content.

    Attributes:
        passed: Whether it found nothing.
        violations: What it found.
        transformed_content: The content made fit to go on, such as redacted; None to leave it.
        metadata: What else is known of the check; JSON-able.
    """

    passed: bool
    violations: tuple[PolicyViolation, ...] = attrs.field(default=(), converter=_in_a_row)
    transformed_content: str | None = None
    metadata: dict[str, Any] = attrs.field(factory=dict, hash=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the result with its violations as dictionaries."""
        return {
            "passed": self.passed,
            "violations": [violation.to_dict() for violation in self.violations],
            "transformed_content": self.transformed_content,
            "metadata": dict(self.metadata),
        }

    @classmethod
    def of(
        cls,
        violations: Iterable[PolicyViolation],
        *,
        transformed_content: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> GuardrailResult:
        """Return the result that has these violations, passed if there are none."""
        found = tuple(violations)
        return cls(not found, found, transformed_content, metadata or {})


class GuardrailDetector(Protocol):
    """Looks at one content at a time, and keeps nothing of it.

    `check` may be plain or async. A plain one is called in a worker thread, unless the detector
    has the attribute `light`, true when a text of a few thousand characters takes it well below a
    millisecond: then it may be called in the event loop.

    GD-1  A result has passed exactly when it has no violations.
    GD-2  What the detector is made for is found, and what is harmless passes.
    GD-3  A location lies within the content as it was given, and is not empty.
    GD-4  A severity is from 0 to 1.
    GD-5  `to_dict` of a result can be written as JSON.
    GD-6  Every text is judged, also an empty one, one with characters that cannot be encoded and
      one that is hostile; nothing is raised.
    GD-7  The same content has the same result each time, also from many threads at once.
    GD-8  The check context may be missing, and is not changed.
    """

    def check(
        self, content: str, context: Mapping[str, Any] | None = None
    ) -> GuardrailResult | Awaitable[GuardrailResult]:
        """Return what breaks a rule in *content*.

        Args:
            content: The text; never changed.
            context: On whose behalf: `user_id` and `session_id` as text or None.
        """
        ...
