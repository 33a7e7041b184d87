"""ContentLengthCheck: keeps content within bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stageflow.helpers.errors import HelperSettingError, check_whole_number
from stageflow.helpers.guardrails.contract import GuardrailResult, PolicyViolation, ViolationType
from stageflow.helpers.guardrails.errors import GuardrailContentError
from stageflow.helpers.tokens import TokenCounter, approximate_tokens

__all__ = ("ContentLengthCheck",)


class ContentLengthCheck:
    """Refuses content that is too long or too short.

    Args:
        max_chars: The most characters; 0 for any number.
        max_tokens: The most tokens; 0 for any number.
        min_chars: The fewest characters.
        count_tokens: Counts the tokens of a text; a quarter of its characters unless given.

    Raises:
        HelperSettingError: If a bound is no number or negative, or nothing could be within them.
    """

    def __init__(
        self,
        *,
        max_chars: int = 0,
        max_tokens: int = 0,
        min_chars: int = 0,
        count_tokens: TokenCounter = approximate_tokens,
    ) -> None:
        bounds = {"max_chars": max_chars, "max_tokens": max_tokens, "min_chars": min_chars}
        for name, bound in bounds.items():
            check_whole_number("ContentLengthCheck", name, bound, 0)
        if 0 < max_chars < min_chars:
            raise HelperSettingError(
                "ContentLengthCheck", "min_chars", min_chars, rule="no more than max_chars"
            )
        self._max_chars = max_chars
        self._max_tokens = max_tokens
        self._min_chars = min_chars
        self._count_tokens = count_tokens

    @property
    def light(self) -> bool:
        """Whether tokens are counted as quickly as characters."""
        return self._count_tokens is approximate_tokens

    def check(self, content: str, context: Mapping[str, Any] | None = None) -> GuardrailResult:
        """Return the bounds that *content* breaks; its size is in the metadata.

        Raises:
            GuardrailContentError: It is no text.
        """
        if not isinstance(content, str):
            raise GuardrailContentError("", None, type(content).__name__)
        chars, tokens = len(content), self._count_tokens(content)
        violations: list[PolicyViolation] = []
        if self._max_chars and chars > self._max_chars:
            violations.append(_too_long("characters", "char_count", chars, self._max_chars))
        if self._max_tokens and tokens > self._max_tokens:
            violations.append(_too_long("tokens", "token_count", tokens, self._max_tokens))
        if chars < self._min_chars:
            violations.append(
                PolicyViolation(
                    ViolationType.CUSTOM,
                    f"The content has {chars} characters; at least {self._min_chars} are wanted.",
                    0.5,
                    {"char_count": chars, "min_chars": self._min_chars},
                )
            )
        sizes = {"char_count": chars, "token_count": tokens}
        return GuardrailResult.of(violations, metadata=sizes)


def _too_long(unit: str, key: str, count: int, most: int) -> PolicyViolation:
    return PolicyViolation(
        ViolationType.CONTENT_TOO_LONG,
        f"The content has {count} {unit}; at most {most} are allowed.",
        0.5,
        {key: count, "limit": most},
    )
