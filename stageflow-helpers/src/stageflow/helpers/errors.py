"""The errors the helpers raise on purpose; their codes are SF600 to SF649."""

from __future__ import annotations

from collections.abc import Sequence

from stageflow.errors import ConfigurationError, RunError

__all__ = (
    "AudioFormatError",
    "ExportError",
    "ExporterClosedError",
    "HelperSettingError",
    "MemoryStoreError",
    "MockAuthError",
    "MockFailureError",
    "StreamItemError",
    "TimestampError",
    "TimestampTypeError",
    "TrackerInactiveError",
)


class HelperSettingError(ConfigurationError, ValueError):
    """A helper was built with a value that it cannot work with.

    Attributes:
        helper: The class that refused the value.
        setting: The parameter.
        value: What was given.
    """

    code = "SF600"

    def __init__(self, helper: str, setting: str, value: object, *, rule: str) -> None:
        super().__init__(
            f"{helper}: {setting}={value!r} is not possible.", hint=f"{setting} must be {rule}."
        )
        self.helper = helper
        self.setting = setting
        self.value = value


def check_whole_number(helper: str, setting: str, value: object, least: int) -> None:
    """Return if *value* is a whole number, *least* or more.

    Raises:
        HelperSettingError: It is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        rule = f"a whole number, at least {least}"
        raise HelperSettingError(helper, setting, value, rule=rule)


class ExporterClosedError(RunError):
    """An event was given to an exporter that is closed already; it was not accepted."""

    code = "SF601"

    def __init__(self, exporter: str) -> None:
        super().__init__(
            f"{exporter} is closed and accepts no more events.",
            hint="Close the exporter after its last event, or build another one.",
        )
        self.exporter = exporter


class ExportError(RunError):
    """Some exporters of several failed; all of them were tried.

    Attributes:
        operation: What was asked of them: `export`, `export_batch`, `flush` or `close`.
        errors: What the failing ones raised, in their order.
    """

    code = "SF602"

    def __init__(self, operation: str, errors: Sequence[Exception]) -> None:
        shown = "; ".join(f"{type(e).__name__}: {str(e)[:200]}" for e in errors[:5])
        super().__init__(
            f"{len(errors)} exporter(s) failed to {operation}: {shown}",
            hint="The others were served. Mend what `.errors` shows.",
        )
        self.operation = operation
        self.errors = tuple(errors)


class AudioFormatError(RunError, ValueError):
    """Audio does not fit where it was put, or is not what it says it is."""

    code = "SF603"


class StreamItemError(RunError, ValueError):
    """Something was put into a queue that cannot be told from the end of the stream."""

    code = "SF604"

    def __init__(self) -> None:
        super().__init__(
            "None cannot be put into a ChunkQueue: `get` returns None at the end of the stream.",
            hint="Call `close()` to end the stream, or wrap the value.",
        )


class TrackerInactiveError(RunError, RuntimeError):
    """A memory tracker was asked for a sample before it was started."""

    code = "SF605"

    def __init__(self, label: str) -> None:
        super().__init__(
            f"MemoryTracker is not active, so {label!r} cannot be observed.",
            hint="Call `start()`, or build it with `auto_start=True`.",
        )
        self.label = label


class TimestampError(RunError, ValueError):
    """A value does not denote a point in time that can be represented."""

    code = "SF606"

    def __init__(self, value: object, why: str) -> None:
        super().__init__(
            f"{_short(value)} is not a timestamp: {why}.",
            hint="Give unix time, RFC 2822, ISO 8601 or a date such as 'October 5, 2023'.",
        )
        self.value = value


class TimestampTypeError(RunError, TypeError):
    """A timestamp was given as something other than text or a number."""

    code = "SF607"

    def __init__(self, value: object) -> None:
        super().__init__(
            f"A timestamp cannot be read from {type(value).__name__}.",
            hint="Give a str, int or float; a datetime goes to `normalize_to_utc`.",
        )
        self.value = value


class MockFailureError(RunError):
    """The failure that a mock provider was told to simulate."""

    code = "SF608"

    def __init__(self, message: str) -> None:
        super().__init__(message, hint="This failure is simulated; `fail_rate` sets how often.")


class MockAuthError(RunError, ValueError):
    """The mock auth provider refused a token."""

    code = "SF609"

    def __init__(self, message: str) -> None:
        super().__init__(message, hint="Tokens come from `valid_tokens` or `create_token`.")


class MemoryStoreError(RunError):
    """A memory store could not do what was asked; nothing was changed."""

    code = "SF610"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
