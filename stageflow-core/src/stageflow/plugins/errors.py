"""What can be wrong with settings, plugins and resources, each with its own code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self

from stageflow.errors import ConfigurationError, ContractErrorInfo, did_you_mean

__all__ = (
    "AmbiguousSettingsError",
    "BlockedPluginError",
    "ContractLoadError",
    "ContractVersionError",
    "DuplicatePluginError",
    "HookSignatureError",
    "LegacyPluginWarning",
    "MissingMethodError",
    "NoDefaultError",
    "PluginBuildError",
    "PluginError",
    "PluginImportError",
    "PluginOpenError",
    "PluginShapeError",
    "RegistryFrozenError",
    "ResourceCloseError",
    "ResourceCycleError",
    "ResourceOpenError",
    "ResourceTeardownError",
    "ResourceUnavailableError",
    "ResourceUnhealthyError",
    "SecretExposureError",
    "SettingsError",
    "SettingsFileError",
    "SignatureError",
    "UnknownContractError",
    "UnknownPluginError",
)

_MOST_FAULTS_SHOWN = 20


class LegacyPluginWarning(UserWarning):
    """A plugin does not state which contract version it was written for."""


# --- settings ---------------------------------------------------------------------------


class SettingsError(ConfigurationError):
    """Settings are wrong; all their faults are listed.

    Attributes:
        faults: Every fault, each with its own code and, under `origin`, where it was written.
    """

    code = "SF201"

    def __init__(self, faults: Iterable[ContractErrorInfo]) -> None:
        self.faults = tuple(faults)
        shown = [f"  {fault}" for fault in self.faults[:_MOST_FAULTS_SHOWN]]
        if len(self.faults) > len(shown):
            shown.append(f"  and {len(self.faults) - len(shown)} more")
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__("\n".join([f"{count} in the settings:", *shown]))


class SettingsFileError(ConfigurationError):
    """A settings file cannot be read or is not valid TOML."""

    code = "SF207"

    def __init__(self, path: str, reason: str) -> None:
        hint = "Mend the file or its access rights."
        super().__init__(f"{path} cannot be read: {reason}.", hint=hint)
        self.path = path


class AmbiguousSettingsError(ConfigurationError):
    """Two files of one folder both hold settings."""

    code = "SF208"

    def __init__(self, first: str, second: str) -> None:
        super().__init__(
            f"Both {first} and {second} hold settings.",
            hint="Keep the settings in one of them; neither wins over the other.",
        )
        self.paths = (first, second)


class SecretExposureError(ConfigurationError, TypeError):
    """Something tried to write a secret out."""

    code = "SF209"

    def __init__(self) -> None:
        super().__init__(
            "A secret cannot be pickled.",
            hint="Pass the reference (env:NAME or file:PATH) on, and resolve it where it is used.",
        )


# --- plugins ----------------------------------------------------------------------------


class PluginError(ConfigurationError):
    """A plugin cannot be used.

    Attributes:
        registry: Plural name of its contract, such as `io_managers`.
        name: Name of the implementation or instance asked for.
        origin: Distribution and version it comes from, if known.
    """

    def __init__(
        self, message: str, *, registry: str, name: str, origin: str | None = None, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.registry = registry
        self.name = name
        self.origin = origin


class UnknownPluginError(PluginError):
    """No implementation and no instance has the name asked for."""

    code = "SF210"

    def __init__(
        self,
        registry: str,
        name: str,
        known: Iterable[str],
        *,
        install: str | None = None,
        where: str | None = None,
    ) -> None:
        asked = f" ({where})" if where else ""
        hint = f"Install {install}, which has it." if install else did_you_mean(name, known)
        told = f"Nothing in {registry} is named {name!r}{asked}."
        super().__init__(told, registry=registry, name=name, hint=hint)
        self.install = install


class DuplicatePluginError(PluginError):
    """Two owners claim one name.

    Attributes:
        origins: Everyone who claims it.
    """

    code = "SF211"

    def __init__(self, registry: str, name: str, origins: Sequence[str]) -> None:
        super().__init__(
            f"{registry}.{name} is claimed by {' and by '.join(origins)}.",
            registry=registry,
            name=name,
            hint="Uninstall one, or name its distribution in plugins.block of the settings.",
        )
        self.origins = tuple(origins)


class PluginImportError(PluginError):
    """The module of a plugin fails to import, or lacks the named object."""

    code = "SF212"


class ContractVersionError(PluginError):
    """A plugin was written for a contract version that this core does not serve.

    Attributes:
        stated: The version the plugin states.
        required: The versions that would work.
    """

    code = "SF213"

    def __init__(self, registry: str, name: str, origin: str, *, stated: str, offered: str) -> None:
        major, _, minor = offered.partition(".")
        self.required = f"{major}.0 to {major}.{minor}" if minor.strip("0") else offered
        super().__init__(
            f"{registry}.{name} of {origin} states contract version {stated}; "
            f"this stageflow-core serves {self.required}.",
            registry=registry,
            name=name,
            origin=origin,
            hint=f"Install a release of {origin.partition(' ')[0]} written for {self.required}, "
            "or the stageflow-core that it was written for.",
        )
        self.stated = stated


class PluginShapeError(PluginError):
    """An implementation does not have the shape its contract asks for; all faults are listed.

    Attributes:
        faults: Every missing method and every signature that does not fit.
    """

    code = "SF216"

    def __init__(
        self, registry: str, name: str, origin: str, faults: Sequence[ContractErrorInfo]
    ) -> None:
        self.faults = tuple(faults)
        told = "; ".join(fault.summary for fault in self.faults[:_MOST_FAULTS_SHOWN])
        super().__init__(
            f"{registry}.{name} of {origin} does not fit its contract: {told}.",
            registry=registry,
            name=name,
            origin=origin,
            hint="Correct the implementation, or install a release of it that fits.",
        )


class MissingMethodError(PluginShapeError):
    """An implementation lacks something its contract asks for."""

    code = "SF214"


class SignatureError(PluginShapeError):
    """A method of an implementation cannot be called as its contract says."""

    code = "SF215"


class PluginBuildError(PluginError):
    """Making an implementation from its settings failed."""

    code = "SF217"


class PluginOpenError(PluginBuildError):
    """An implementation was made, and opening it failed."""

    code = "SF224"


class RegistryFrozenError(PluginError):
    """Something was registered after the registries had been frozen."""

    code = "SF218"

    def __init__(self, registry: str, name: str, origin: str) -> None:
        super().__init__(
            f"{registry}.{name} of {origin} came after the registry had been frozen.",
            registry=registry,
            name=name,
            origin=origin,
            hint="Register before the runtime opens, in the hook stageflow_register.",
        )


class BlockedPluginError(PluginError):
    """The settings forbid the plugin asked for."""

    code = "SF219"

    def __init__(self, registry: str, name: str, origin: str, rule: str) -> None:
        super().__init__(
            f"{registry}.{name} of {origin} is {rule}.",
            registry=registry,
            name=name,
            origin=origin,
            hint="Change plugins.allow or plugins.block in the settings, or use another one.",
        )


class NoDefaultError(PluginError):
    """Nothing was chosen for a contract that has no embedded default."""

    code = "SF220"

    def __init__(self, registry: str, key: str, known: Iterable[str]) -> None:
        names = ", ".join(sorted(known)) or "nothing is installed for it"
        super().__init__(
            f"No implementation of {registry} is chosen, and there is no default.",
            registry=registry,
            name=key,
            hint=f"Set {key} in the settings; to choose from: {names}.",
        )


class UnknownContractError(ConfigurationError):
    """No contract has the name asked for."""

    code = "SF221"

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"There is no contract named {name!r}.", hint=did_you_mean(name, known))
        self.name = name


class ContractLoadError(ConfigurationError):
    """A contract that a distribution declares cannot be used itself."""

    code = "SF222"

    def __init__(self, name: str, origin: str, reason: str) -> None:
        super().__init__(
            f"The contract {name} of {origin} cannot be used: {reason}.",
            hint="An entry point of stageflow.contracts names the protocol class; "
            "its module holds a CONTRACT of the same name, with a regular plural.",
        )
        self.name = name
        self.origin = origin


class HookSignatureError(PluginError):
    """A hook implementation does not match any hook."""

    code = "SF223"


# --- resources --------------------------------------------------------------------------


class ResourceCycleError(ConfigurationError):
    """Resources require each other in a circle.

    Attributes:
        cycle: The names in order; the first is repeated at the end.
    """

    code = "SF230"

    def __init__(self, cycle: Sequence[str]) -> None:
        self.cycle = tuple(cycle)
        super().__init__(
            f"Resources require each other in a circle: {' -> '.join(self.cycle)}.",
            hint="Take one name of the circle out of a `requires`.",
        )


class ResourceOpenError(PluginBuildError):
    """A resource failed to open.

    Attributes:
        close_failures: What failed while the resources opened before it were closed again.
    """

    code = "SF231"
    close_failures: tuple[Exception, ...] = ()


class ResourceUnhealthyError(ResourceOpenError):
    """A resource opened, but its health check failed."""

    code = "SF232"


class ResourceUnavailableError(PluginError):
    """A resource that is not open was asked for."""

    code = "SF233"


class ResourceTeardownError(PluginBuildError):
    """A resource failed to close."""

    code = "SF234"


class ResourceCloseError(ConfigurationError, ExceptionGroup[ResourceTeardownError]):
    """Some resources failed to close; every close was tried."""

    code = "SF235"

    def __new__(cls, exceptions: Sequence[ResourceTeardownError]) -> Self:
        """Make the group; its text is that of the error."""
        return super().__new__(cls, _names_told(exceptions), exceptions)

    def __init__(self, exceptions: Sequence[ResourceTeardownError]) -> None:
        hint = "Look at the grouped errors; every other resource has been closed."
        super().__init__(_names_told(exceptions), hint=hint)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.exceptions,)

    def derive(self, excs: Sequence[Any], /) -> ResourceCloseError:  # type: ignore[override]
        """Return a group of the same kind with *excs* in it."""
        return ResourceCloseError(excs)


def _names_told(exceptions: Sequence[ResourceTeardownError]) -> str:
    return f"Resources failed to close: {', '.join(error.name for error in exceptions)}."
