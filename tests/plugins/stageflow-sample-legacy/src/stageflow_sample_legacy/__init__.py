"""A plugin from before contract versions were stated."""

from __future__ import annotations

from typing import Any


class LegacySink:
    """Drops every event."""

    async def emit(self, *, type: str, data: dict[str, Any] | None) -> None:
        """Drop the event."""

    def try_emit(self, *, type: str, data: dict[str, Any] | None) -> None:
        """Drop the event."""
