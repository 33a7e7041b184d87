"""Hooks: the section `notify` of the settings, one notifier made in code, one observer."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from stageflow.plugins import Registrar, hookimpl
from stageflow_sample_contract.notifier import ListNotifier, ListSettings

__all__ = ("LOUD", "NotifySettings")


@attrs.frozen(kw_only=True)
class NotifySettings:
    """When somebody is told.

    Attributes:
        on: The statuses of runs that are told of.
    """

    on: tuple[str, ...] = ("failed",)


LOUD = ListNotifier(ListSettings(prefix="! "))


@hookimpl
def stageflow_settings_sections() -> Mapping[str, type]:
    """Give the section `notify`."""
    return {"notify": NotifySettings}


@hookimpl
def stageflow_register(plugins: Registrar) -> None:
    """Register a notifier that is made in code."""
    plugins.register("notifier", "loud", LOUD)


@hookimpl
def stageflow_run_finished(pipeline: str, status: str) -> None:
    """Tell how a run ended."""
    LOUD.notify(f"{pipeline} {status}")
