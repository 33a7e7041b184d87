"""Notifier: tells somebody how a run ended. A contract that Stageflow itself does not have."""

from __future__ import annotations

from typing import Final, Protocol

import attrs

from stageflow.contracts.contract import Contract

__all__ = ("CONTRACT", "ListNotifier", "ListSettings", "Notifier")

CONTRACT: Final = Contract("notifier", "2.1")


class Notifier(Protocol):
    """Tells somebody how a run ended.

    NO-1  Every text that was given arrives once.
    """

    def notify(self, text: str) -> None:
        """Pass the text on, without waiting."""
        ...


@attrs.frozen(kw_only=True)
class ListSettings:
    """How texts are kept.

    Attributes:
        prefix: What each begins with.
    """

    prefix: str = ""


class ListNotifier:
    """Keeps the texts in a list.

    Attributes:
        texts: What has been told.
    """

    Settings = ListSettings

    def __init__(self, settings: ListSettings) -> None:
        self._prefix = settings.prefix
        self.texts: list[str] = []

    def notify(self, text: str) -> None:
        """Keep the text."""
        self.texts.append(f"{self._prefix}{text}")
