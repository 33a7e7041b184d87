"""The errors of guardrails; their codes are SF650 to SF659."""

from __future__ import annotations

from stageflow.errors import ConfigurationError, RunError

__all__ = ("GuardrailContentError", "GuardrailPatternError")


class GuardrailPatternError(ConfigurationError, ValueError):
    """A pattern that a guardrail was given is no regular expression.

    Attributes:
        pattern: What was given.
        position: Where it goes wrong, if that is known.
    """

    code = "SF650"

    def __init__(self, pattern: str, why: str, *, position: int | None = None) -> None:
        shown = pattern if len(pattern) <= 80 else f"{pattern[:77]}..."
        super().__init__(
            f"{shown!r} is no pattern to look for: {why}.",
            hint="Patterns are written as for the module `re`; escape plain text by `re.escape`.",
        )
        self.pattern = pattern
        self.position = position


class GuardrailContentError(RunError, TypeError):
    """A guardrail was to check something other than text; it lets nothing pass unseen.

    Attributes:
        stage: The stage; empty if a detector was called by itself.
        content_key: The key under which it was found; None for the snapshot's input text.
        found: The type of what was found.
    """

    code = "SF651"

    def __init__(self, stage: str, content_key: str | None, found: str) -> None:
        where = "the input text" if content_key is None else f"input {content_key!r}"
        super().__init__(
            f"Guardrail stage {stage!r} checks text, but {where} is of type {found}."
            if stage
            else f"A guardrail checks text, not {found}.",
            hint="Let `content_key` name a text, or turn the value into one in a stage before.",
        )
        self.stage = stage
        self.content_key = content_key
        self.found = found
