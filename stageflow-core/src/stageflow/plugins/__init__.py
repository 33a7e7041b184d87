"""Plugins: found by entry point, checked against their contracts, chosen by settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stageflow.plugins.catalogue import CORE_CONTRACTS, ContractEntry
from stageflow.plugins.checks import PluginDetail, SettingField, check_plugins, show_plugin
from stageflow.plugins.commands import load_command
from stageflow.plugins.discovery import Discovery, Found, process_discovery
from stageflow.plugins.errors import (
    AmbiguousSettingsError,
    BlockedPluginError,
    ContractLoadError,
    ContractVersionError,
    DuplicatePluginError,
    HookSignatureError,
    LegacyPluginWarning,
    MissingMethodError,
    NoDefaultError,
    PluginBuildError,
    PluginError,
    PluginImportError,
    PluginShapeError,
    RegistryFrozenError,
    ResourceCloseError,
    ResourceCycleError,
    ResourceOpenError,
    ResourceTeardownError,
    ResourceUnavailableError,
    ResourceUnhealthyError,
    SecretExposureError,
    SettingsError,
    SettingsFileError,
    SignatureError,
    UnknownContractError,
    UnknownPluginError,
)
from stageflow.plugins.hooks import HookPlugin, Hooks, Observers
from stageflow.plugins.implementation import Implementation
from stageflow.plugins.listing import PluginRow, list_plugins
from stageflow.plugins.manager import Plugins, Registrar
from stageflow.plugins.registry import Entry, Registry
from stageflow.plugins.resources import ResourceManager, ResourceStatus, opened
from stageflow.plugins.secret import Secret
from stageflow.plugins.settings import CoreSettings, PluginRules, Settings, make_settings
from stageflow.plugins.sources import Origin, SettingsTree, read_settings

if TYPE_CHECKING:
    from stageflow.plugins.hookspecs import hookimpl

__all__ = (
    "CORE_CONTRACTS",
    "AmbiguousSettingsError",
    "BlockedPluginError",
    "ContractEntry",
    "ContractLoadError",
    "ContractVersionError",
    "CoreSettings",
    "Discovery",
    "DuplicatePluginError",
    "Entry",
    "Found",
    "HookPlugin",
    "HookSignatureError",
    "Hooks",
    "Implementation",
    "LegacyPluginWarning",
    "MissingMethodError",
    "NoDefaultError",
    "Observers",
    "Origin",
    "PluginBuildError",
    "PluginDetail",
    "PluginError",
    "PluginImportError",
    "PluginRow",
    "PluginRules",
    "PluginShapeError",
    "Plugins",
    "Registrar",
    "Registry",
    "RegistryFrozenError",
    "ResourceCloseError",
    "ResourceCycleError",
    "ResourceManager",
    "ResourceOpenError",
    "ResourceStatus",
    "ResourceTeardownError",
    "ResourceUnavailableError",
    "ResourceUnhealthyError",
    "Secret",
    "SecretExposureError",
    "SettingField",
    "Settings",
    "SettingsError",
    "SettingsFileError",
    "SettingsTree",
    "SignatureError",
    "UnknownContractError",
    "UnknownPluginError",
    "check_plugins",
    "hookimpl",
    "list_plugins",
    "load_command",
    "make_settings",
    "opened",
    "process_discovery",
    "read_settings",
    "show_plugin",
)


def __getattr__(name: str) -> Any:
    # pluggy is imported for those who have hooks, not for those who only list plugins.
    if name == "hookimpl":
        from stageflow.plugins.hookspecs import hookimpl

        return hookimpl
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
