"""Event sinks with one fault each."""

from __future__ import annotations

from typing import Any, Self

import attrs

from stageflow.plugins import Secret


class HalfASink:
    """Lacks `try_emit`."""

    async def emit(self, *, type: str, data: dict[str, Any] | None) -> None:
        """Drop the event."""


class StrangeSink:
    """Waits for nobody and takes other parameters."""

    def emit(self, kind: str, payload: dict[str, Any]) -> None:
        """Drop the event."""

    def try_emit(self, *, type: str, data: dict[str, Any] | None) -> None:
        """Drop the event."""


@attrs.frozen(kw_only=True)
class Settings:
    """Settings with a secret that the sinks tell everyone.

    Attributes:
        password: The secret.
    """

    password: Secret


class UnbuildableSink(StrangeSink):
    """Cannot be built."""

    Settings = Settings

    def __init__(self, settings: Settings) -> None:
        raise ConnectionError(f"cannot log in with {settings.password.reveal()}")

    async def emit(self, *, type: str, data: dict[str, Any] | None) -> None:
        """Drop the event."""


class UnopenableSink(HalfASink):
    """Cannot be opened."""

    Settings = Settings

    def __init__(self, settings: Settings) -> None:
        self._password = settings.password

    def try_emit(self, *, type: str, data: dict[str, Any] | None) -> None:
        """Drop the event."""

    async def __aenter__(self) -> Self:
        raise ConnectionError(f"cannot log in with {self._password.reveal()}")

    async def __aexit__(self, *_: object) -> None:
        """Do nothing."""
