"""Coordinators that outlive the store that uses them, as a server's would."""

from __future__ import annotations

from typing import Any

from stageflow.assets import AssetStore

__all__ = ("keep_coordinator",)


def keep_coordinator(
    store: AssetStore, coordinator: Any, contract: str = "scatter_coordinator"
) -> None:
    """Have an open store use *coordinator*."""
    store._coordinators._opened[contract] = coordinator
