"""Commands that plugins add to the command line: listed by metadata, imported when invoked.

An entry point of the group `stageflow.commands` names a command; what it must be is the
business of the command line.
"""

from __future__ import annotations

from typing import Any

from stageflow.plugins.discovery import COMMANDS_GROUP, Discovery
from stageflow.plugins.errors import (
    BlockedPluginError,
    DuplicatePluginError,
    PluginImportError,
    UnknownPluginError,
)
from stageflow.plugins.settings import PluginRules

__all__ = ("load_command",)


def load_command(discovery: Discovery, name: str, rules: PluginRules | None = None) -> Any:
    """Import the command of that name and return it.

    Args:
        discovery: What is installed.
        name: Name of the command.
        rules: Which plugins may be used; all unless given.

    Raises:
        UnknownPluginError: If there is none of that name.
        DuplicatePluginError: If two distributions have one.
        BlockedPluginError: If the settings forbid it.
        PluginImportError: If it cannot be imported.
    """
    rules = rules or PluginRules()
    found = [each for each in discovery.group(COMMANDS_GROUP) if each.name == name]
    if not found:
        known = [each.name for each in discovery.group(COMMANDS_GROUP)]
        raise UnknownPluginError("commands", name, known)
    refusals = {each: rules.refusal(each.distribution, f"commands.{name}") for each in found}
    allowed = [each for each, refusal in refusals.items() if refusal is None]
    if not allowed:
        raise BlockedPluginError("commands", name, found[0].origin, str(refusals[found[0]]))
    if len(allowed) > 1:
        raise DuplicatePluginError("commands", name, [each.origin for each in allowed])
    command = allowed[0]
    try:
        return command.load()
    except (Exception, SystemExit) as error:
        raise PluginImportError(
            f"The command {name} of {command.origin} cannot be imported from {command.value}: "
            f"{type(error).__name__}: {error}.",
            registry="commands",
            name=name,
            origin=command.origin,
            hint=f"Reinstall {command.distribution}.",
        ) from error
