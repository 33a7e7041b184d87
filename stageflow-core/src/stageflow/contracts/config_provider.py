"""ConfigProvider: where a run's stages find their configuration (`ctx.config`)."""

from __future__ import annotations

from typing import Any, Final, Protocol, runtime_checkable

from stageflow.contracts.contract import Contract
from stageflow.errors import ConfigurationError

__all__ = (
    "CONTRACT",
    "ConfigKeyError",
    "ConfigProvider",
    "ConfigSourceError",
    "check_config_key",
)

CONTRACT: Final = Contract("config_provider", "1.0")


class ConfigKeyError(ConfigurationError):
    """What was asked for is no key.

    Attributes:
        key: What was given instead of a non-empty text.
    """

    code = "SF450"

    def __init__(self, key: object) -> None:
        super().__init__(
            f"{key!r} is no configuration key.",
            hint="A key is a text that is not empty, such as 'database.url'.",
        )
        self.key = key


class ConfigSourceError(ConfigurationError):
    """Configuration cannot be read from where it should be.

    Attributes:
        source: The file, and the table in it if there is one.
    """

    code = "SF451"

    def __init__(self, message: str, *, source: str, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.source = source


def check_config_key(key: object) -> None:
    """Return if *key* is a text that is not empty.

    Raises:
        ConfigKeyError: It is not.
    """
    if not isinstance(key, str) or not key:
        raise ConfigKeyError(key)


@runtime_checkable
class ConfigProvider(Protocol):
    """Answers keys with values, at once: what must wait for them is read beforehand.

    CP-1  A key that is set is answered with its value.
    CP-2  A key that is not set is answered with the default, None unless one is given.
    CP-3  A value is a value, however empty: the default does not take its place.
    CP-4  What is no key, such as None or an empty text, raises `ConfigKeyError`.
    CP-5  Asking changes nothing, nor does what one does with an answer.
    CP-6  A dotted key reaches into nested configuration.
    """

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of *key*, or *default* if it is not set.

        Not a checkpoint: never suspends, and may be called from any thread. Idempotent.

        Raises:
            ConfigKeyError: *key* is no text, or empty.
        """
        ...
