"""Plugins: found by entry point, checked against their contracts, chosen by settings.

Each name is imported when it is asked for: listing plugins must not cost what running them does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
        PluginOpenError,
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
    from stageflow.plugins.hookspecs import hookimpl
    from stageflow.plugins.implementation import Implementation, opened
    from stageflow.plugins.listing import PluginRow, list_plugins
    from stageflow.plugins.manager import Plugins, Registrar
    from stageflow.plugins.registry import Entry, Registry
    from stageflow.plugins.resources import ResourceManager, ResourceStatus
    from stageflow.plugins.scaffold import ScaffoldError, new_plugin_contracts, write_plugin
    from stageflow.plugins.secret import Secret
    from stageflow.plugins.serializers import installed_serializers
    from stageflow.plugins.settings import CoreSettings, PluginRules, Settings, make_settings
    from stageflow.plugins.sources import Origin, SettingsTree, read_settings

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
    "PluginOpenError",
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
    "ScaffoldError",
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
    "installed_serializers",
    "list_plugins",
    "load_command",
    "make_settings",
    "new_plugin_contracts",
    "opened",
    "process_discovery",
    "read_settings",
    "show_plugin",
    "write_plugin",
)

_HOMES = {
    "AmbiguousSettingsError": "errors",
    "BlockedPluginError": "errors",
    "CORE_CONTRACTS": "catalogue",
    "ContractEntry": "catalogue",
    "ContractLoadError": "errors",
    "ContractVersionError": "errors",
    "CoreSettings": "settings",
    "Discovery": "discovery",
    "DuplicatePluginError": "errors",
    "Entry": "registry",
    "Found": "discovery",
    "HookPlugin": "hooks",
    "HookSignatureError": "errors",
    "Hooks": "hooks",
    "Implementation": "implementation",
    "LegacyPluginWarning": "errors",
    "MissingMethodError": "errors",
    "NoDefaultError": "errors",
    "Observers": "hooks",
    "Origin": "sources",
    "PluginBuildError": "errors",
    "PluginDetail": "checks",
    "PluginError": "errors",
    "PluginImportError": "errors",
    "PluginOpenError": "errors",
    "PluginRow": "listing",
    "PluginRules": "settings",
    "PluginShapeError": "errors",
    "Plugins": "manager",
    "Registrar": "manager",
    "Registry": "registry",
    "RegistryFrozenError": "errors",
    "ResourceCloseError": "errors",
    "ResourceCycleError": "errors",
    "ResourceManager": "resources",
    "ResourceOpenError": "errors",
    "ResourceStatus": "resources",
    "ResourceTeardownError": "errors",
    "ResourceUnavailableError": "errors",
    "ResourceUnhealthyError": "errors",
    "ScaffoldError": "scaffold",
    "Secret": "secret",
    "SecretExposureError": "errors",
    "SettingField": "checks",
    "Settings": "settings",
    "SettingsError": "errors",
    "SettingsFileError": "errors",
    "SettingsTree": "sources",
    "SignatureError": "errors",
    "UnknownContractError": "errors",
    "UnknownPluginError": "errors",
    "check_plugins": "checks",
    "hookimpl": "hookspecs",
    "installed_serializers": "serializers",
    "list_plugins": "listing",
    "load_command": "commands",
    "make_settings": "settings",
    "new_plugin_contracts": "scaffold",
    "opened": "implementation",
    "process_discovery": "discovery",
    "read_settings": "sources",
    "show_plugin": "checks",
    "write_plugin": "scaffold",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
