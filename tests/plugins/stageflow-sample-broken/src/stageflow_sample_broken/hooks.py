"""Hooks that are none."""

from __future__ import annotations

from stageflow.plugins import hookimpl


@hookimpl
async def stageflow_stage_started(stage: str) -> None:
    """Wait, which a hook must not."""


@hookimpl
def stageflow_stage_endded(stage: str) -> None:
    """Implement a hook that does not exist."""
