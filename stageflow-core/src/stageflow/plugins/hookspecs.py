"""The hooks: what a plugin may do besides implementing a contract.

A plugin marks a function with `@hookimpl`, gives it the name of a hook and takes those of the
hook's parameters that it wants. It is found by an entry point of the group `stageflow` that
names a module, an object, or a class to make one of. Hooks are plain functions: whatever has
to be awaited is an implementation of a contract.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from stageflow.plugins.manager import Registrar

__all__ = (
    "hookimpl",
    "stageflow_register",
    "stageflow_run_finished",
    "stageflow_run_started",
    "stageflow_settings_sections",
    "stageflow_stage_finished",
    "stageflow_stage_started",
)

hookimpl = pluggy.HookimplMarker("stageflow")
_hookspec = pluggy.HookspecMarker("stageflow")


@_hookspec
def stageflow_settings_sections() -> Mapping[str, type]:
    """Give tables of `[tool.stageflow]` that belong to the plugin, with their attrs classes.

    Called once, before the settings are read. `settings.sections[name]` has the object.
    """
    raise NotImplementedError


@_hookspec
def stageflow_register(plugins: Registrar) -> None:
    """Register implementations that are made in code, with `plugins.register(...)`.

    Called once, after the settings have been read and before anything is resolved.
    """


@_hookspec
def stageflow_run_started(run_id: str | None, pipeline: str, facts: Mapping[str, Any]) -> None:
    """Observe that a run begins.

    An observer must not wait. What it raises is logged and changes nothing. *facts* are the
    payload of the lifecycle event.
    """


@_hookspec
def stageflow_run_finished(
    run_id: str | None,
    pipeline: str,
    status: str,
    duration_ms: float | None,
    facts: Mapping[str, Any],
) -> None:
    """Observe that a run has ended; *status* is completed, failed or cancelled."""


@_hookspec
def stageflow_stage_started(
    run_id: str | None, pipeline: str, stage: str, facts: Mapping[str, Any]
) -> None:
    """Observe that a stage begins its first attempt."""


@_hookspec
def stageflow_stage_finished(
    run_id: str | None,
    pipeline: str,
    stage: str,
    status: str,
    duration_ms: float | None,
    facts: Mapping[str, Any],
) -> None:
    """Observe how a stage ended; *status* is ok, skip, cancel or fail."""
