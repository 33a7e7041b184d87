"""Checks: what loads, opens and is healthy of everything installed, and what it is.

These are the data behind `stageflow plugins check` and `stageflow plugins show`.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import attrs

from stageflow.errors import StageflowError
from stageflow.plugins._conversion import in_words
from stageflow.plugins.errors import (
    BlockedPluginError,
    DuplicatePluginError,
    LegacyPluginWarning,
    PluginOpenError,
    UnknownPluginError,
)
from stageflow.plugins.implementation import Implementation
from stageflow.plugins.listing import OTHER_GROUPS, PluginRow, list_plugins
from stageflow.plugins.manager import Plugins
from stageflow.plugins.registry import Entry
from stageflow.plugins.resources import ResourceManager

__all__ = ("PluginDetail", "SettingField", "check_plugins", "show_plugin")


@attrs.frozen(kw_only=True)
class SettingField:
    """One setting that an implementation takes.

    Attributes:
        name: Its key.
        kind: What may be written.
        default: How its default is shown; None if it must be set.
        origin: Where it is set, if it is.
    """

    name: str
    kind: str
    default: str | None = None
    origin: str | None = None


@attrs.frozen(kw_only=True)
class PluginDetail:
    """Everything there is to know of one plugin without opening it.

    Attributes:
        row: Its row, with `loadable`.
        summary: First line of its documentation.
        settings: The settings it takes.
    """

    row: PluginRow
    summary: str | None = None
    settings: tuple[SettingField, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the detail as JSON-able data."""
        return {
            **self.row.to_dict(),
            "summary": self.summary,
            "settings": [attrs.asdict(field) for field in self.settings],
        }


async def check_plugins(plugins: Plugins) -> tuple[PluginRow, ...]:
    """Return the rows of `list_plugins` after importing everything and opening what is configured.

    What is neither configured nor chosen is imported and not opened, so its health is unknown.
    Nothing of it raises: what is wrong is in the rows. Everything opened is closed again.
    """
    manager = plugins.resources()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LegacyPluginWarning)  # the rows say it
            rows = [await _checked(row, plugins, manager) for row in _all_rows(plugins)]
    finally:
        failures = await manager.close_all()
    by_name = {failure.name: failure for failure in failures}
    return tuple(_with_failure(row, by_name) for row in rows)


def show_plugin(plugins: Plugins, name: str) -> tuple[PluginDetail, ...]:
    """Return everything of that name, imported but not opened.

    Args:
        plugins: The plugins of the project.
        name: A name, or registry and name such as `io_managers.s3`.

    Raises:
        UnknownPluginError: If nothing has the name.
    """
    rows = _all_rows(plugins)
    wanted = [row for row in rows if name in {row.name, f"{row.registry}.{row.name}"}]
    if not wanted:
        raise UnknownPluginError("plugins", name, [row.name for row in rows])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LegacyPluginWarning)
        return tuple(_detail(row, plugins) for row in wanted)


def _all_rows(plugins: Plugins) -> list[PluginRow]:
    """Return the rows of what is installed or configured, and of what was registered in code."""
    registered = {
        (registry.contract.plural, entry.name): entry
        for registry in plugins.registries
        for entry in registry.list()
        if entry.found is None
    }
    rows: list[PluginRow] = []
    for row in list_plugins(plugins.discovery, plugins.settings.tree):
        entry = None
        if row.distribution is None and row.uses is None:
            entry = registered.pop((row.registry, row.name), None)
        rows.append(row if entry is None else _registered(row, entry))
    rows += [
        _registered(PluginRow(registry=registry, name=entry.name), entry)
        for (registry, _), entry in registered.items()
    ]
    return sorted(rows, key=lambda row: (row.registry, row.name, row.distribution or ""))


def _registered(row: PluginRow, entry: Entry) -> PluginRow:
    return attrs.evolve(
        row,
        distribution=entry.origin,
        contract_version=entry.contract_version,
        code=None,
        reason=None,
        hint=None,
    )


def _tried(row: PluginRow, plugins: Plugins) -> PluginRow:
    """Return the row after importing what it stands for."""
    if row.code == BlockedPluginError.code:
        return row
    try:
        _load(row, plugins)
    except StageflowError as error:
        return attrs.evolve(row.failed(error), loadable=False)
    is_silent = row.target and row.contract_version is None and row.registry not in OTHER_GROUPS
    reason = "states no contract version; taken as compatible" if is_silent else None
    return attrs.evolve(row, loadable=True, code=None, reason=reason, hint=None)


def _load(row: PluginRow, plugins: Plugins) -> Any:
    """Import what a row stands for, and return it if it is an implementation."""
    if row.registry == "commands":
        plugins.load_command(row.name)
    elif row.registry == "contracts":
        owners = [each.origin for each in plugins.contracts if each.name == row.name]
        if len(owners) > 1:
            raise DuplicatePluginError("contracts", row.name, owners)
        plugins.registry(row.name).contract.load()
    elif row.registry == "hooks":
        for plugin in plugins.hooks.plugins:
            is_meant = plugin.found is not None and plugin.found.distribution == row.distribution
            if is_meant and plugin.name == row.name and plugin.error is not None:
                raise plugin.error
    else:
        registry = plugins.registry(row.registry)
        is_instance = row.uses is not None
        return registry.resolve(row.name).factory if is_instance else registry.load(row.name)
    return None


async def _checked(row: PluginRow, plugins: Plugins, manager: ResourceManager) -> PluginRow:
    row = _tried(row, plugins)
    is_in_use = row.is_configured or row.is_chosen
    if not row.loadable or not is_in_use or row.registry in OTHER_GROUPS:
        return row
    try:
        await _open(plugins.registry(row.registry).resolve(row.name), plugins, manager)
    except StageflowError as error:
        return attrs.evolve(row.failed(error), healthy=False)
    return attrs.evolve(row, healthy=True)


async def _open(
    implementation: Implementation[Any], plugins: Plugins, manager: ResourceManager
) -> None:
    """Open an implementation and close it again; a resource stays open for who requires it."""
    if implementation.registry == "resources":
        await manager.open(implementation.name)
        manager.get(implementation.name)
        return
    settings = implementation.settings()
    if required := implementation.requires(settings):
        await manager.open(*required)
    limit = plugins.settings.health_timeout
    with anyio.move_on_after(limit) as scope:
        async with implementation.open(resources=manager.opened):
            return
    if scope.cancelled_caught:
        late = TimeoutError(f"it took longer than {limit:g} s")
        raise implementation.failed("could not be opened", late, frozenset(), PluginOpenError)


def _with_failure(row: PluginRow, failures: Mapping[str, StageflowError]) -> PluginRow:
    failure = failures.get(row.name) if row.registry == "resources" else None
    return row if failure is None else attrs.evolve(row.failed(failure), healthy=False)


def _detail(row: PluginRow, plugins: Plugins) -> PluginDetail:
    row = _tried(row, plugins)
    if not row.loadable or row.registry in OTHER_GROUPS:
        return PluginDetail(row=row)
    implementation = plugins.registry(row.registry).resolve(row.name)
    documented = (inspect.getdoc(implementation.factory) or "").strip().splitlines()
    return PluginDetail(
        row=row,
        summary=documented[0] if documented else None,
        settings=tuple(_fields(implementation, plugins)),
    )


def _fields(implementation: Implementation[Any], plugins: Plugins) -> Iterator[SettingField]:
    kind = implementation.settings_type
    if kind is None or not attrs.has(kind):
        return
    for field in attrs.fields(attrs.resolve_types(kind)):
        default = field.default
        if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
            default = None if default.takes_self else default.factory()
        path = (*implementation.path, field.alias)
        is_set = field.alias in implementation.configured
        yield SettingField(
            name=field.alias,
            kind=in_words(field.type),
            default=None if default is attrs.NOTHING else _shown(default),
            origin=str(plugins.settings.origin(*path)) if is_set else None,
        )


def _shown(default: Any) -> str:
    return str(default) if isinstance(default, Path) else repr(default)
