"""Commands that plugins add, beside our own: found by metadata, imported when they are invoked.

An entry point of the group `stageflow.commands` names a function, whose parameters are then
options and arguments as Typer reads them, or a `typer.Typer` with commands of its own.
"""

from __future__ import annotations

import inspect
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

__all__ = ("LightCommand", "LightGroup", "PluginCommands")


class _LightHelp:
    """Help that costs nothing when nobody asks for it.

    Without a default, Typer converts the flag that was not given, and loads pydantic to do so:
    some 70 ms, which a command that takes nothing but flags does not need.
    """

    def get_help_option(self, ctx: Any) -> Any:
        """Return the option `--help`, which is off unless given."""
        option = super().get_help_option(ctx)  # type: ignore[misc] # of the class beside
        if option is not None:
            option.default = False
        return option


class LightCommand(_LightHelp, TyperCommand):
    """A command that loads no more than it needs."""


class LightGroup(_LightHelp, TyperGroup):
    """A group of commands that loads no more than it needs."""


class PluginCommands(LightGroup):
    """A group that also has the commands of installed plugins."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return our own commands, then those of plugins."""
        return [*super().list_commands(ctx), *sorted(self._installed())]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command of our own; for one of a plugin, what help shows of it."""
        own = super().get_command(ctx, cmd_name)
        if own is not None or cmd_name not in (installed := self._installed()):
            return own
        return TyperCommand(cmd_name, help=f"From {installed[cmd_name]}.")

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that *args* ask for, importing a plugin's."""
        name = args[0]
        if super().get_command(ctx, name) is None and name in self._installed():
            from stageflow.cli.session import reporting

            with reporting():
                return name, _load(name), args[1:]
        return super().resolve_command(ctx, args)

    def _installed(self) -> dict[str, str]:
        from stageflow.plugins.discovery import COMMANDS_GROUP, process_discovery

        found = process_discovery().group(COMMANDS_GROUP)
        return {each.name: each.origin for each in found if each.name not in self.commands}


def _load(name: str) -> Any:
    from stageflow.plugins import load_command, process_discovery, read_settings
    from stageflow.plugins.settings import plugin_rules

    value = load_command(process_discovery(), name, plugin_rules(read_settings()))
    if isinstance(value, typer.Typer):
        return get_command(value)
    if not inspect.isroutine(value):
        from stageflow.cli.errors import CommandLoadError

        raise CommandLoadError(
            f"The command {name!r} is of type {type(value).__name__}, which is no command.",
            hint="Its entry point must name a function or a typer.Typer.",
        )
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(name)(value)
    return get_command(app)
