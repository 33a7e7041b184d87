"""The detectors as the plugin system builds them: `use = "pii"` with its settings."""

from __future__ import annotations

import attrs

from stageflow.helpers.guardrails.content_filter import ContentFilter
from stageflow.helpers.guardrails.content_length import ContentLengthCheck
from stageflow.helpers.guardrails.injection import InjectionDetector
from stageflow.helpers.guardrails.patterns import PATTERN_SECONDS
from stageflow.helpers.guardrails.pii import PIIDetector

__all__ = (
    "ConfiguredContentFilter",
    "ConfiguredContentLengthCheck",
    "ConfiguredInjectionDetector",
    "ConfiguredPIIDetector",
    "ContentFilterSettings",
    "ContentLengthSettings",
    "InjectionSettings",
    "PIISettings",
)


@attrs.frozen(kw_only=True)
class PIISettings:
    """Settings of the detector `pii`; see `PIIDetector`."""

    redact: bool = False
    redaction_char: str = "*"
    detect_types: tuple[str, ...] | None = None


class ConfiguredPIIDetector(PIIDetector):
    """`PIIDetector`, chosen by name."""

    Settings = PIISettings

    def __init__(self, settings: PIISettings) -> None:
        super().__init__(**attrs.asdict(settings))


@attrs.frozen(kw_only=True)
class ContentFilterSettings:
    """Settings of the detector `content-filter`; see `ContentFilter`."""

    block_profanity: bool = True
    profanity_list: tuple[str, ...] | None = None
    blocked_patterns: tuple[str, ...] = ()
    max_severity: float = 0.3
    pattern_seconds: float = PATTERN_SECONDS


class ConfiguredContentFilter(ContentFilter):
    """`ContentFilter`, chosen by name."""

    Settings = ContentFilterSettings

    def __init__(self, settings: ContentFilterSettings) -> None:
        super().__init__(**attrs.asdict(settings))


@attrs.frozen(kw_only=True)
class InjectionSettings:
    """Settings of the detector `injection`; see `InjectionDetector`."""

    additional_patterns: tuple[str, ...] = ()
    pattern_seconds: float = PATTERN_SECONDS


class ConfiguredInjectionDetector(InjectionDetector):
    """`InjectionDetector`, chosen by name."""

    Settings = InjectionSettings

    def __init__(self, settings: InjectionSettings) -> None:
        super().__init__(**attrs.asdict(settings))


@attrs.frozen(kw_only=True)
class ContentLengthSettings:
    """Settings of the detector `content-length`; see `ContentLengthCheck`."""

    max_chars: int = 0
    max_tokens: int = 0
    min_chars: int = 0


class ConfiguredContentLengthCheck(ContentLengthCheck):
    """`ContentLengthCheck`, chosen by name."""

    Settings = ContentLengthSettings

    def __init__(self, settings: ContentLengthSettings) -> None:
        super().__init__(**attrs.asdict(settings))
