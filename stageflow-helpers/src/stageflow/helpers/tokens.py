"""Counting tokens without a tokenizer, and the place where a real one goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

__all__ = ("TokenCounter", "approximate_tokens")

TokenCounter: TypeAlias = Callable[[str], int]
"""Says how many tokens a text has for the model that will read it."""


def approximate_tokens(content: str) -> int:
    """Return a quarter of the characters: what a token is in English text, roughly."""
    return len(content) // 4
