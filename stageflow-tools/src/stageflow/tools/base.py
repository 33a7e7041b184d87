"""Tools as classes: what they derive from, what they are given and what they give back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import attrs

__all__ = ("BaseTool", "ToolInput", "ToolOutput")


@attrs.frozen
class ToolInput:
    """What a tool class is given.

    Attributes:
        action: What somebody wants done; it has `id`, `type` and `payload`.
    """

    action: Any


@attrs.frozen
class ToolOutput:
    """What a tool class gives back.

    Attributes:
        success: Whether it did what was asked.
        data: What it found or made.
        error: Why it did not.
        artifacts: What is to be kept.
    """

    success: bool
    data: dict[str, Any] | None = None
    error: str | None = None
    artifacts: list[dict[str, Any]] | None = None


class BaseTool(ABC):
    """A tool as a class.

    Attributes:
        name: What models and people call it; a class attribute or a property.
        description: What it does.
        action_type: What actions call it.
    """

    name: str
    description: str = ""
    action_type: str

    @abstractmethod
    async def execute(self, input: ToolInput, ctx: dict[str, Any]) -> ToolOutput:
        """Do what the action asks for.

        Args:
            input: Holds the action.
            ctx: The context, as its `to_dict` gives it.
        """
