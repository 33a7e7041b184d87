"""Registries: one for each contract, from names to implementations, imported when asked for."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Generic, TypeVar, final

import attrs

from stageflow.errors import ContractErrorInfo
from stageflow.plugins.catalogue import ContractEntry
from stageflow.plugins.discovery import Found
from stageflow.plugins.errors import (
    BlockedPluginError,
    ContractVersionError,
    DuplicatePluginError,
    LegacyPluginWarning,
    NoDefaultError,
    PluginImportError,
    PluginShapeError,
    RegistryFrozenError,
    UnknownPluginError,
)
from stageflow.plugins.implementation import Implementation, check_shape, is_factory, merged
from stageflow.plugins.known import known_distribution
from stageflow.plugins.settings import Settings, make_settings

__all__ = ("Entry", "Registry")

T = TypeVar("T")


@attrs.frozen
class _Loaded:
    """An imported and checked implementation."""

    entry: Entry
    factory: Any
    settings_type: type | None
    protocol: type | None


@attrs.frozen(kw_only=True, eq=False)
class Entry:
    """One offer of a name.

    Attributes:
        name: The name.
        origin: Distribution and version, or whoever registered it.
        found: The entry point; None if it was registered in code.
        refusal: Why the settings forbid it; None if they do not.
        contract_version: The version it was written for, if stated.
        value: What was registered in code.
        settings_type: The class of its settings, if given at registration.
        default_settings: Settings under what is configured.
    """

    name: str
    origin: str
    found: Found | None = None
    refusal: str | None = None
    contract_version: str | None = None
    value: Any = attrs.field(default=None, repr=False)
    settings_type: type | None = attrs.field(default=None, repr=False)
    default_settings: Mapping[str, Any] = attrs.field(factory=dict, repr=False)


@final
class Registry(Generic[T]):
    """Names of one contract's implementations and instances, and what they stand for.

    It is filled, then frozen, then only read. Nothing that is registered is ever replaced.

    Args:
        contract: The contract.
        settings: What is chosen and configured; nothing unless given.
    """

    def __init__(self, contract: ContractEntry, settings: Settings | None = None) -> None:
        self.contract = contract
        self._settings = settings or make_settings()
        self._sections = self._settings.tree.table(contract.plural)
        self._reserved = {"use", "on_failure"} if contract.name == "resource" else {"use"}
        self._entries: dict[str, tuple[Entry, ...]] = {}
        self._resolved: dict[str, Implementation[T]] = {}
        self._loaded: dict[str, _Loaded] = {}
        self._is_frozen = False

    # --- filling ------------------------------------------------------------------------

    def register(
        self,
        name: str,
        value: Any,
        *,
        origin: str,
        settings_type: type | None = None,
        default_settings: Mapping[str, Any] | None = None,
        contract_version: str | None = None,
    ) -> None:
        """Give an implementation a name.

        Args:
            name: The name.
            value: A class or function that makes implementations, or an object that is one.
            origin: Who registers it, for messages.
            settings_type: The attrs class of its settings; its attribute `Settings` unless given.
            default_settings: Settings that what is configured is merged over.
            contract_version: The version of the contract it was written for.

        Raises:
            DuplicatePluginError: If the name is taken.
            RegistryFrozenError: If the registry is frozen.
        """
        if self._is_frozen:
            raise RegistryFrozenError(self.contract.plural, name, origin)
        if taken := [entry.origin for entry in self._usable(name)]:
            raise DuplicatePluginError(self.contract.plural, name, [*taken, origin])
        entry = Entry(
            name=name,
            origin=origin,
            contract_version=contract_version,
            value=value,
            settings_type=settings_type,
            default_settings=default_settings or {},
        )
        self._entries[name] = (*self._entries.get(name, ()), entry)

    def offer(self, found: Found, *, refusal: str | None = None) -> None:
        """Note an installed implementation; two of one name are an error when it is asked for."""
        entry = Entry(
            name=found.name,
            origin=found.origin,
            found=found,
            refusal=refusal,
            contract_version=found.contract_version,
        )
        self._entries[found.name] = (*self._entries.get(found.name, ()), entry)

    def freeze(self) -> None:
        """Refuse whatever comes from now on."""
        self._is_frozen = True

    # --- reading ------------------------------------------------------------------------

    def list(self) -> tuple[Entry, ...]:
        """Return every offer by name, also the refused and the contested, importing nothing."""
        return tuple(entry for name in sorted(self._entries) for entry in self._entries[name])

    def instances(self) -> tuple[str, ...]:
        """Return the names that the settings configure, of instances and of implementations."""
        return tuple(self._sections)

    @property
    def chosen(self) -> tuple[str, ...]:
        """The names in force: what the settings choose, else the embedded default, else none."""
        names = self._settings.choices.get(self.contract.name)
        if names is None:
            return () if self.contract.default is None else (self.contract.default,)
        return names

    def default(self) -> Implementation[T]:
        """Return what the first of the chosen names stands for.

        Raises:
            NoDefaultError: If nothing is chosen and there is no embedded default.
            PluginError: As `resolve` does.
        """
        for name in self.chosen:
            return self.resolve(name)
        raise NoDefaultError(self.contract.plural, self.contract.name, self._entries)

    def defaults(self) -> tuple[Implementation[T], ...]:
        """Return what all the chosen names stand for."""
        return tuple(self.resolve(name) for name in self.chosen)

    def resolve(self, name: str) -> Implementation[T]:
        """Return what *name* stands for: an instance of that name, else an implementation.

        The first call imports the one entry point and checks it; later ones look it up.

        Raises:
            UnknownPluginError: If there is no such name.
            DuplicatePluginError: If two distributions claim it.
            BlockedPluginError: If the settings forbid it.
            ContractVersionError: If it was written for another version of the contract.
            PluginImportError: If it cannot be imported.
            PluginShapeError: If it does not fit the contract.
        """
        try:
            return self._resolved[name]
        except KeyError:
            pass
        section = self._sections.get(name)
        section = section if isinstance(section, Mapping) else {}
        used = str(section.get("use", name))
        loaded = self._load(used, asked=name)
        written = {key: value for key, value in section.items() if key not in self._reserved}
        implementation: Implementation[T] = Implementation(
            registry=self.contract.plural,
            name=name,
            implementation=used,
            origin=loaded.entry.origin,
            factory=loaded.factory,
            settings_type=loaded.settings_type,
            configured=merged(loaded.entry.default_settings, written),
            protocol=loaded.protocol,
            settings=self._settings,
        )
        return self._resolved.setdefault(name, implementation)

    def load(self, name: str) -> Any:
        """Import and check the implementation of that name; return what its entry point names.

        Instances are not looked at.

        Raises:
            PluginError: As `resolve` does.
        """
        return self._load(name, asked=name).factory

    def resolve_with_config(
        self,
        name: str,
        overrides: Mapping[str, Any] | None = None,
        *,
        resources: Mapping[str, Any] | None = None,
    ) -> T:
        """Return a new object for *name*, built from its settings and *overrides* over them.

        Raises:
            PluginError: As `resolve` and `Implementation.build` do.
            SettingsError: If its settings are wrong.
        """
        return self.resolve(name).build(overrides, resources=resources)

    # --- opening ------------------------------------------------------------------------

    def _usable(self, name: str) -> tuple[Entry, ...]:
        return tuple(entry for entry in self._entries.get(name, ()) if entry.refusal is None)

    def _load(self, used: str, *, asked: str) -> _Loaded:
        loaded = self._loaded.get(used)
        if loaded is None:
            loaded = self._loaded.setdefault(used, self._open(self._only(used, asked)))
        return loaded

    def _only(self, used: str, asked: str) -> Entry:
        plural = self.contract.plural
        usable = self._usable(used)
        if len(usable) == 1:
            return usable[0]
        if usable:
            raise DuplicatePluginError(plural, used, [entry.origin for entry in usable])
        for entry in self._entries.get(used, ()):
            raise BlockedPluginError(plural, used, entry.origin, str(entry.refusal))
        origin = None
        if asked in self._sections:
            origin = self._settings.origin(plural, asked, "use")
        elif asked in self.chosen:
            origin = self._settings.origin(self.contract.name)
        raise UnknownPluginError(
            plural,
            used,
            [*self._entries, *self._sections],
            install=known_distribution(plural, used),
            where=None if origin is None else str(origin),
        )

    def _open(self, entry: Entry) -> _Loaded:
        definition = self.contract.load()
        if definition is not None:
            self._check_version(entry, definition.version)
        value = entry.value if entry.found is None else self._import(entry, entry.found)
        settings_type = entry.settings_type or getattr(value, "Settings", None)
        if settings_type is not None and not attrs.has(settings_type):
            told = "Settings is not an attrs class"
            faults = [ContractErrorInfo(PluginShapeError.code, told)]
            raise PluginShapeError(self.contract.plural, entry.name, entry.origin, faults)
        if settings_type is None and self.contract.name == "resource":
            settings_type = dict[str, Any]  # `setup` is handed the table as it is
        protocol = None if definition is None else definition.protocol
        if isinstance(value, type) or not is_factory(value):
            check_shape(protocol, value, self.contract.plural, entry.name, entry.origin)
        return _Loaded(entry, value, settings_type, protocol)

    def _check_version(self, entry: Entry, offered: str) -> None:
        stated = entry.contract_version
        if stated is None:
            if entry.found is not None:
                warnings.warn(
                    f"{self.contract.plural}.{entry.name} of {entry.origin} does not state the "
                    f"contract version it was written for; {offered} is assumed.",
                    LegacyPluginWarning,
                    stacklevel=2,
                )
        elif not is_compatible(stated, offered):
            raise ContractVersionError(
                self.contract.plural, entry.name, entry.origin, stated=stated, offered=offered
            )

    def _import(self, entry: Entry, found: Found) -> Any:
        try:
            return found.load()
        except (Exception, SystemExit) as error:
            module = found.value.partition(":")[0]
            raise PluginImportError(
                f"{self.contract.plural}.{entry.name} of {entry.origin} cannot be imported "
                f"from {found.value}: {type(error).__name__}: {error}.",
                registry=self.contract.plural,
                name=entry.name,
                origin=entry.origin,
                hint=f'Reinstall {found.distribution}; `python -c "import {module}"` shows more.',
            ) from error


def is_compatible(stated: str, offered: str) -> bool:
    """Whether an implementation for one contract version works where another is served."""
    major, _, minor = stated.partition(".")
    ours, _, our_minor = offered.partition(".")
    return major == ours and minor.isdigit() and int(minor) <= int(our_minor)
