"""Plugins: everything installed, chosen and configured for a project, in one object.

A runtime owns one. It costs little to make: implementations are imported when they are asked
for, and only plugins with hooks are imported at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, final

import attrs

from stageflow.errors import ContractErrorInfo
from stageflow.plugins.catalogue import CORE, ContractEntry
from stageflow.plugins.commands import load_command
from stageflow.plugins.discovery import (
    COMMANDS_GROUP,
    HOOKS_GROUP,
    Discovery,
    Found,
    process_discovery,
)
from stageflow.plugins.errors import (
    DuplicatePluginError,
    SettingsError,
    UnknownContractError,
)
from stageflow.plugins.hooks import Hooks, Observers
from stageflow.plugins.implementation import Implementation
from stageflow.plugins.registry import Registry
from stageflow.plugins.resources import ResourceManager
from stageflow.plugins.settings import (
    CoreSettings,
    PluginRules,
    Settings,
    make_settings,
    plugin_rules,
)
from stageflow.plugins.sources import SettingsTree, read_settings

__all__ = ("Plugins", "Registrar")


@final
class Registrar:
    """What a plugin registers with, in `stageflow_register`.

    Args:
        plugins: Where it is registered.
        origin: Who registers, for messages.
    """

    def __init__(self, plugins: Plugins, origin: str) -> None:
        self._plugins = plugins
        self._origin = origin

    @property
    def settings(self) -> Settings:
        """The settings of the project."""
        return self._plugins.settings

    def register(
        self,
        contract: str,
        name: str,
        value: Any,
        *,
        settings_type: type | None = None,
        default_settings: Mapping[str, Any] | None = None,
        contract_version: str | None = None,
    ) -> None:
        """Give an implementation of *contract* a name; the rest is as in `Registry.register`."""
        self._plugins.registry(contract).register(
            name,
            value,
            origin=self._origin,
            settings_type=settings_type,
            default_settings=default_settings,
            contract_version=contract_version,
        )


@final
class Plugins:
    """Settings, registries and hooks of one project.

    Attributes:
        settings: What is chosen and configured.
        discovery: What is installed.
        hooks: The plugins with hooks.

    Args:
        tree: The settings as written; `read_settings()` makes it.
        discovery: What is installed; the scan that the process shares unless given.
        hooks: Objects with hooks that take part besides the installed plugins, by name.

    Raises:
        SettingsError: With every fault of the settings that shows without a plugin.
        HookSignatureError: If one of *hooks* does not fit; an installed one is only noted.
    """

    def __init__(
        self,
        tree: SettingsTree,
        *,
        discovery: Discovery | None = None,
        hooks: Mapping[str, Any] | None = None,
    ) -> None:
        self.discovery = discovery or process_discovery()
        self._rules = plugin_rules(tree)
        self._contracts = tuple(self._allowed(self.discovery.contracts()))
        self.hooks = Hooks()
        for name, value in (hooks or {}).items():
            self.hooks.register(value, name=name, origin="the program")
        self._load_hooks()
        self.settings = make_settings(tree, contracts=self._contracts, sections=self._sections())
        self._registries = self._make_registries()
        self._register_by_hook()

    @classmethod
    def load(
        cls,
        *,
        directory: str | Path | None = None,
        environ: Mapping[str, str] | None = None,
        arguments: Mapping[str, Any] | None = None,
        assignments: Iterable[str] = (),
        discovery: Discovery | None = None,
        hooks: Mapping[str, Any] | None = None,
    ) -> Plugins:
        """Read the settings of a project and return its plugins.

        Args:
            directory: Where the search for the settings file begins, upwards.
            environ: Variables to read; the process's own unless given.
            arguments: Settings given in code; they win.
            assignments: Settings given as text, each `dotted.path=value`; they win, too.
            discovery: What is installed; the scan that the process shares unless given.
            hooks: Objects with hooks that take part besides the installed plugins, by name.

        Raises:
            ConfigurationError: If the settings cannot be read, or are wrong.
        """
        discovery = discovery or process_discovery()
        tree = read_settings(
            directory=directory,
            environ=environ,
            arguments=arguments,
            assignments=assignments,
            known=discovery.names(),
        )
        return cls(tree, discovery=discovery, hooks=hooks)

    # --- contracts ----------------------------------------------------------------------

    @property
    def contracts(self) -> tuple[ContractEntry, ...]:
        """Every contract: those of core, then those that distributions declare."""
        return self._contracts

    @property
    def registries(self) -> tuple[Registry[Any], ...]:
        """One registry for each contract that has one owner."""
        return tuple(self._registries.values())

    def registry(self, contract: str) -> Registry[Any]:
        """Return the registry of a contract, named in the singular or the plural.

        Raises:
            UnknownContractError: If there is no such contract.
            DuplicatePluginError: If two distributions declare it.
        """
        found = self._registries.get(contract) or self._registries.get(f"{contract}s")
        if found is not None:
            return found
        owners = [each.origin for each in self._contracts if contract in {each.name, each.plural}]
        if owners:
            raise DuplicatePluginError("contracts", contract, owners)
        raise UnknownContractError(contract, [each.name for each in self._contracts])

    def freeze(self) -> None:
        """Refuse every registration from now on; a runtime does so when it opens."""
        for registry in self._registries.values():
            registry.freeze()

    def prepare(self, *needs: tuple[str, str | None]) -> tuple[Implementation[Any], ...]:
        """Resolve what is needed and check all its settings together, before anything opens.

        Args:
            *needs: Each a contract and a name; None stands for all that is chosen.

        Returns:
            The implementations, in order.

        Raises:
            PluginError: For the first that cannot be resolved.
            SettingsError: With the faults of the settings of all of them, and of the
                resources that are configured or that they require.
        """
        implementations: list[Implementation[Any]] = []
        for contract, name in needs:
            registry = self.registry(contract)
            implementations += registry.defaults() if name is None else [registry.resolve(name)]
        faults: list[ContractErrorInfo] = []
        required: list[str] = []
        for implementation in implementations:
            settings, found = implementation.attempt()
            faults += found
            required += () if found else implementation.requires(settings)
        try:
            self.resources().plan([*self.registry("resource").instances(), *required])
        except SettingsError as error:
            faults += error.faults
        if faults:
            raise SettingsError(faults)
        return tuple(implementations)

    def resources(self) -> ResourceManager:
        """Return a new manager of the resources that are configured."""
        return ResourceManager(self.registry("resource"), self.settings)

    # --- hooks and commands -------------------------------------------------------------

    def observers(self) -> Observers | None:
        """Return what a run tells its events to; None, which costs it nothing, if nobody looks."""
        return self.hooks.observers()

    def commands(self) -> tuple[Found, ...]:
        """Return the commands that plugins add to the command line; imports none."""
        return self.discovery.group(COMMANDS_GROUP)

    def load_command(self, name: str) -> Any:
        """Import one command and return it.

        Raises:
            UnknownPluginError: If there is none of that name.
            DuplicatePluginError: If two distributions have one.
            BlockedPluginError: If the settings forbid it.
            PluginImportError: If it cannot be imported.
        """
        return load_command(self.discovery, name, self._rules)

    # --- making -------------------------------------------------------------------------

    def _refusal(self, found: Found, name: str) -> str | None:
        if self._rules is None:  # they are faulty, and the settings will say so
            return "kept out: plugins.allow and plugins.block cannot be read"
        return self._rules.refusal(found.distribution, name)

    def _allowed(self, contracts: Iterable[ContractEntry]) -> Iterator[ContractEntry]:
        rules = self._rules or PluginRules()
        taken = {field.name for field in attrs.fields(CoreSettings)}
        for contract in contracts:
            distribution = contract.origin.partition(" ")[0]
            refusal = rules.refusal(distribution, f"contracts.{contract.name}")
            # Its keys in the settings must not be those that core has already.
            if refusal is None and not taken & {contract.name, contract.plural}:
                yield contract

    def _load_hooks(self) -> None:
        for found in self.discovery.group(HOOKS_GROUP):
            self.hooks.load(found, refusal=self._refusal(found, f"hooks.{found.name}"))

    def _sections(self) -> dict[str, type]:
        taken = {field.name: CORE for field in attrs.fields(CoreSettings)}
        for contract in self._contracts:
            taken |= {contract.name: contract.origin, contract.plural: contract.origin}
        sections: dict[str, type] = {}
        for call in self.hooks.implementations("stageflow_settings_sections"):
            try:
                declared = dict(call({}))
                check_sections(declared, taken, call.plugin.origin)
            except Exception as error:  # noqa: BLE001 - one plugin's failure is its own
                self.hooks.fail(call.key, error)
            else:
                sections |= declared
                taken |= dict.fromkeys(declared, call.plugin.origin)
        return sections

    def _make_registries(self) -> dict[str, Registry[Any]]:
        owners: dict[str, list[ContractEntry]] = {}
        for contract in self._contracts:
            owners.setdefault(contract.plural, []).append(contract)
        registries: dict[str, Registry[Any]] = {}
        for plural, entries in owners.items():
            # Whoever declares a contract of core once more takes it from nobody.
            if len(entries) > 1 and entries[0].origin != CORE:
                continue
            registry: Registry[Any] = Registry(entries[0], self.settings)
            for found in self.discovery.group(entries[0].group):
                registry.offer(found, refusal=self._refusal(found, f"{plural}.{found.name}"))
            registries[plural] = registry
        return registries

    def _register_by_hook(self) -> None:
        for call in self.hooks.implementations("stageflow_register"):
            try:
                call({"plugins": Registrar(self, call.plugin.origin)})
            except Exception as error:  # noqa: BLE001 - one plugin's failure is its own
                self.hooks.fail(call.key, error)


def check_sections(declared: Mapping[str, Any], taken: Mapping[str, str], origin: str) -> None:
    """Return if a plugin can have these sections of the settings.

    Raises:
        DuplicatePluginError: If a name is taken.
        TypeError: If what is declared is no attrs class.
    """
    for name, kind in declared.items():
        if name in taken:
            raise DuplicatePluginError("settings", name, [taken[name], origin])
        if not attrs.has(kind):
            raise TypeError(f"the section {name} is not given as an attrs class")
