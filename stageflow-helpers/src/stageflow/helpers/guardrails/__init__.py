"""Guardrails: checks of what goes into a model and what comes out of it, and their stage.

The conformance kit of detectors is in `stageflow.helpers.guardrails.testing`; it needs pytest.
"""

from __future__ import annotations

from stageflow.helpers.guardrails.content_filter import DEFAULT_PROFANITY, ContentFilter
from stageflow.helpers.guardrails.content_length import ContentLengthCheck
from stageflow.helpers.guardrails.contract import (
    GuardrailDetector,
    GuardrailResult,
    PolicyViolation,
    ViolationType,
)
from stageflow.helpers.guardrails.errors import GuardrailContentError, GuardrailPatternError
from stageflow.helpers.guardrails.injection import InjectionDetector
from stageflow.helpers.guardrails.pii import PIIDetector
from stageflow.helpers.guardrails.stage import GuardrailConfig, GuardrailStage

__all__ = (
    "DEFAULT_PROFANITY",
    "ContentFilter",
    "ContentLengthCheck",
    "GuardrailConfig",
    "GuardrailContentError",
    "GuardrailDetector",
    "GuardrailPatternError",
    "GuardrailResult",
    "GuardrailStage",
    "InjectionDetector",
    "PIIDetector",
    "PolicyViolation",
    "ViolationType",
)
