"""Settings: what was chosen and configured for a project, checked and frozen.

`[tool.stageflow]` of `pyproject.toml`, or `stageflow.toml`, holds core's own keys, one key per
contract that chooses an implementation (`run_store = "postgres"`), and one table per contract
that configures them (`[tool.stageflow.run_stores.postgres]`). A table with `use` is an instance:
`[tool.stageflow.io_managers.warehouse]` with `use = "s3"` is asked for as `warehouse`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import attrs

from stageflow.errors import ContractErrorInfo, did_you_mean
from stageflow.plugins._references import WRONG_VALUE
from stageflow.plugins._structure import UNKNOWN_KEY, Structurer, fault
from stageflow.plugins.catalogue import CORE, CORE_CONTRACTS, ContractEntry
from stageflow.plugins.errors import SettingsError
from stageflow.plugins.sources import Origin, SettingsTree

__all__ = ("CoreSettings", "PluginRules", "Settings", "make_settings", "plugin_rules")

T = TypeVar("T")


def _positive(_: Any, attribute: attrs.Attribute[float], value: float) -> None:
    if value <= 0:
        raise ValueError(f"{attribute.name} must be above 0")


@attrs.frozen(kw_only=True)
class PluginRules:
    """Which plugins may be used; the table `plugins`.

    An entry is the name of a distribution, or table and name such as `io_managers.s3`; a hook
    plugin is `hooks.NAME`, a command `commands.NAME`.

    Attributes:
        allow: If not empty, nothing else may be used; core itself always may.
        block: Must not be used.
    """

    allow: tuple[str, ...] = ()
    block: tuple[str, ...] = ()

    def refusal(self, distribution: str, name: str) -> str | None:
        """Return how the rules refuse a plugin, or None if they let it pass.

        Args:
            distribution: The distribution's name.
            name: Table and name of the plugin.
        """
        if any(_names(entry, distribution, name) for entry in self.block):
            return "blocked by plugins.block"
        if not self.allow or _normal(distribution) == CORE:
            return None
        is_allowed = any(_names(entry, distribution, name) for entry in self.allow)
        return None if is_allowed else "not listed in plugins.allow"


def _names(entry: str, distribution: str, name: str) -> bool:
    return entry == name or _normal(entry) == _normal(distribution)


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


@attrs.frozen(kw_only=True)
class CoreSettings:
    """Core's own keys.

    Attributes:
        record: Where the command line records runs: a path, true for the usual place, false
            for nowhere; None leaves it to the command.
        durability: When a run's progress is kept.
        emit_stage_wide_events: Whether each stage of a run is summarised in an event.
        emit_pipeline_wide_event: Whether each run is.
        log_level: The least severe lines that the command line shows.
        cleanup_timeout: Seconds that closing something may take.
        health_timeout: Seconds that a health check may take.
        plugins: Which plugins may be used.
    """

    record: Path | bool | None = None
    durability: Literal["none", "exit", "step"] = "none"
    emit_stage_wide_events: bool = False
    emit_pipeline_wide_event: bool = False
    log_level: Literal["debug", "info", "warning", "error", "critical"] = "warning"
    cleanup_timeout: float = attrs.field(default=10.0, validator=_positive)
    health_timeout: float = attrs.field(default=5.0, validator=_positive)
    plugins: PluginRules = PluginRules()


@attrs.frozen(kw_only=True)
class Settings(CoreSettings):
    """All settings of a project.

    Attributes:
        tree: The settings as written.
        choices: Names chosen, by singular name of the contract.
        sections: Sections that plugins declared, as objects of their classes, by name.
        structurer: Makes settings objects of the tables that only plugins understand.
    """

    tree: SettingsTree
    choices: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict, hash=False)
    sections: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    structurer: Structurer = attrs.field(eq=False, repr=False)

    @property
    def root(self) -> Path:
        """Folder of the project."""
        return self.tree.root

    def origin(self, *path: str) -> Origin | None:
        """Return where a setting was written; None if it was not."""
        return self.tree.origin(path)


def plugin_rules(tree: SettingsTree) -> PluginRules | None:
    """Return which plugins may be used, or None if that cannot be made out.

    This comes before all other settings: plugins add sections to them.
    """
    written = tree.values.get("plugins")
    if written is None:
        return PluginRules()
    rules, _ = Structurer(tree).attempt(written, PluginRules, ("plugins",))
    return rules


def make_settings(
    tree: SettingsTree | None = None,
    *,
    contracts: Iterable[ContractEntry] = CORE_CONTRACTS,
    sections: Mapping[str, type] | None = None,
) -> Settings:
    """Return the settings of a project, checked as far as that needs no plugin.

    The tables that configure implementations are checked when these are built, since only
    they know what may be in them.

    Args:
        tree: The settings as written; none unless given.
        contracts: The contracts there are.
        sections: Further tables, each with the attrs class that it becomes.

    Raises:
        SettingsError: With every fault there is.
    """
    if tree is None:
        tree = SettingsTree(values={}, root=Path.cwd(), environ={}, origins={})
    structurer = Structurer(tree)
    check = _Check(tree, structurer)
    choices = check.choices(contracts)
    made = check.sections(sections or {})
    core = check.core()
    check.rest()
    if check.faults or core is None:
        raise SettingsError(check.faults)
    return Settings(
        **{field.name: getattr(core, field.name) for field in attrs.fields(CoreSettings)},
        tree=tree,
        choices=MappingProxyType(choices),
        sections=MappingProxyType(made),
        structurer=structurer,
    )


class _Check:
    """One pass over the settings as written; collects their faults."""

    def __init__(self, tree: SettingsTree, structurer: Structurer) -> None:
        self.faults: list[ContractErrorInfo] = []
        self._tree = tree
        self._structurer = structurer
        self._known: list[str] = [field.name for field in attrs.fields(CoreSettings)]
        self._left = dict(tree.values)

    def choices(self, contracts: Iterable[ContractEntry]) -> dict[str, tuple[str, ...]]:
        """Return the names chosen for each contract, and look at its table in passing."""
        chosen: dict[str, tuple[str, ...]] = {}
        for contract in contracts:
            self._known += [contract.name, contract.plural]
            if contract.name in self._left:
                kind: Any = tuple[str, ...] | str if contract.many else str
                names = self._made(self._left.pop(contract.name), kind, contract.name)
                if names is not None:
                    chosen[contract.name] = (names,) if isinstance(names, str) else names
            if contract.plural in self._left:
                self._look_at(contract.plural, self._left.pop(contract.plural))
        return chosen

    def sections(self, declared: Mapping[str, type]) -> dict[str, Any]:
        """Return the declared sections; one that is not written is left out if it has to be."""
        made: dict[str, Any] = {}
        for name, kind in declared.items():
            self._known.append(name)
            if name in self._left:
                section = self._made(self._left.pop(name), kind, name)
            else:
                section, _ = self._structurer.attempt({}, kind, (name,))
            if section is not None:
                made[name] = section
        return made

    def core(self) -> CoreSettings | None:
        """Return core's own settings."""
        mine = {field.name for field in attrs.fields(CoreSettings)} & self._left.keys()
        written = {name: self._left.pop(name) for name in sorted(mine)}
        # Structuring imports cattrs, which most of a project's commands can do without.
        made: CoreSettings | None = self._made(written, CoreSettings) if written else CoreSettings()
        return made

    def rest(self) -> None:
        """Refuse the keys that nobody has asked for."""
        for key in self._left:
            hint = did_you_mean(key, self._known)
            self._add(UNKNOWN_KEY, (key,), "unknown key", hint)

    def _made(self, written: Any, kind: Any, *path: str) -> Any:
        made, faults = self._structurer.attempt(written, kind, path)
        self.faults += faults
        return made

    def _look_at(self, plural: str, table: Any) -> None:
        """Find what can be wrong with a contract's table whatever its implementations are."""
        if not isinstance(table, Mapping):
            self._add(WRONG_VALUE, (plural,), "expected a table with one table for each name")
            return
        for name, section in table.items():
            if not isinstance(section, Mapping):
                hint = f"To choose an implementation, set {plural.removesuffix('s')}."
                self._add(WRONG_VALUE, (plural, name), "expected a table", hint)
            elif not isinstance(section.get("use", ""), str):
                self._add(WRONG_VALUE, (plural, name, "use"), "expected the name to use, a text")
            elif plural == "resources" and "on_failure" in section:
                self._made(
                    section["on_failure"], Literal["stop", "continue"], plural, name, "on_failure"
                )

    def _add(self, code: str, path: tuple[str, ...], told: str, hint: str = "") -> None:
        self.faults.append(fault(code, path, told, hint, origin=self._tree.origin(path)))
