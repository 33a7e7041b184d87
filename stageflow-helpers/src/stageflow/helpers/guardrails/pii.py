"""PIIDetector: finds personal data, also in disguise, and can black it out."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping
from typing import Any

from stageflow.helpers.errors import HelperSettingError
from stageflow.helpers.guardrails.contract import GuardrailResult, PolicyViolation, ViolationType
from stageflow.helpers.guardrails.normal_form import readings_of
from stageflow.helpers.guardrails.personal_data import KINDS, find_personal_data

__all__ = ("PIIDetector",)

_SEVERITY = 0.8
_IN_WORDS = {
    "credit_card": "a card number",
    "iban": "an account number (IBAN)",
    "ssn": "a social security number",
    "ip_address": "an IP address",
    "email": "an e-mail address",
    "phone": "a phone number",
}


class PIIDetector:
    """Finds e-mail addresses, phones, social security, card and account numbers, IP addresses.

    Numbers with check digits are checked. Spelled-out digits, spaced-out characters and
    look-alikes are seen through; a location is always one in the content as it was given.

    Args:
        redact: Whether to give the content with what was found blacked out.
        redaction_char: What stands for each character that was blacked out.
        detect_types: Which kinds to look for, of `email`, `phone`, `ssn`, `credit_card`, `iban`
            and `ip_address`; all of them unless given.

    Raises:
        HelperSettingError: If a kind is none of those, or what redacts is not one character.
    """

    light = True

    def __init__(
        self,
        *,
        redact: bool = False,
        redaction_char: str = "*",
        detect_types: Iterable[str] | None = None,
    ) -> None:
        if isinstance(detect_types, str):
            raise HelperSettingError(
                "PIIDetector", "detect_types", detect_types, rule="several kinds, such as a list"
            )
        wanted = KINDS if detect_types is None else tuple(detect_types)
        unknown = sorted(set(wanted) - set(KINDS))
        if unknown:
            rule = f"of {', '.join(sorted(KINDS))}"
            raise HelperSettingError("PIIDetector", "detect_types", unknown, rule=rule)
        sign: object = redaction_char
        if not isinstance(sign, str) or len(sign) != 1:
            raise HelperSettingError("PIIDetector", "redaction_char", sign, rule="one character")
        self._kinds = tuple(kind for kind in KINDS if kind in wanted)
        self._redaction = redaction_char if redact else None

    def check(self, content: str, context: Mapping[str, Any] | None = None) -> GuardrailResult:
        """Return the personal data in *content*, in its order."""
        found = self._find(content)
        return GuardrailResult.of(
            [_violation(start, end, kind) for start, end, kind in found],
            transformed_content=self._redacted(content, found) if found else None,
            metadata={"pii_types_checked": sorted(self._kinds)},
        )

    def _find(self, content: str) -> list[tuple[int, int, str]]:
        """Return the places in order; where two overlap, the surer and more literal one."""
        taken: list[tuple[int, int, str]] = []
        for reading in readings_of(content).readings:
            matches = sorted(
                find_personal_data(reading.text, self._kinds),
                key=lambda match: KINDS.index(match.kind),
            )
            for match in matches:
                start, end = reading.original_span(match.start, match.end)
                place = bisect_right(taken, (start, end, ""))
                before = place > 0 and taken[place - 1][1] > start
                behind = place < len(taken) and taken[place][0] < end
                if not before and not behind:
                    insort(taken, (start, end, match.kind))
        return taken

    def _redacted(self, content: str, found: list[tuple[int, int, str]]) -> str | None:
        if self._redaction is None:
            return None
        pieces: list[str] = []
        read = 0
        for start, end, _ in found:
            pieces += (content[read:start], self._redaction * (end - start))
            read = end
        return "".join((*pieces, content[read:]))


def _violation(start: int, end: int, kind: str) -> PolicyViolation:
    return PolicyViolation(
        ViolationType.PII_DETECTED,
        f"The content has {_IN_WORDS[kind]}.",
        _SEVERITY,
        {"pii_type": kind},
        (start, end),
    )
