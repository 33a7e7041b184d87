"""Contexts for tools that are called without a run."""

from __future__ import annotations

from stageflow.context import DictContextAdapter, adapt_context

__all__ = ("DictContextAdapter", "adapt_context")
