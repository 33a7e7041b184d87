"""Every contract a plugin may implement: where it is defined and what serves it by default.

This is the one place that lists the contracts of core. Reading the list imports no contract;
version and protocol are read from the contract's own module when they are needed.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import attrs

from stageflow.plugins.errors import ContractLoadError

__all__ = ("CORE", "CORE_CONTRACTS", "ContractEntry", "Definition")

CORE = "stageflow-core"


@attrs.frozen
class Definition:
    """What the module of a contract says about it.

    Attributes:
        version: `MAJOR.MINOR` that this process serves.
        protocol: The class that implementations look like.
    """

    version: str
    protocol: type


@attrs.frozen
class ContractEntry:
    """One contract, as much of it as is known without importing it.

    Attributes:
        name: Singular name; the settings key that chooses an implementation.
        target: `module:Class` of the protocol; the module holds its `CONTRACT`.
        default: Name of the implementation that serves when none is chosen.
        many: Whether several implementations may be chosen to work side by side.
        origin: Distribution that declares the contract.
        stated_version: Its version, as the declaring distribution's metadata state it.
    """

    name: str
    target: str
    default: str | None = None
    many: bool = attrs.field(default=False, kw_only=True)
    origin: str = attrs.field(default=CORE, kw_only=True)
    stated_version: str | None = attrs.field(default=None, kw_only=True)

    @property
    def plural(self) -> str:
        """Name of its registry and of its settings table."""
        return f"{self.name}s"

    @property
    def group(self) -> str:
        """Entry-point group in which its implementations are found."""
        return f"stageflow.{self.plural}"

    def load(self) -> Definition | None:
        """Return what the contract's module says, importing it.

        None stands for a contract of core that this release has a name for and no definition:
        its implementations are found, and not checked.

        Raises:
            ContractLoadError: If the module or what it must hold is missing or wrong.
        """
        return _load(self)


@cache
def _load(entry: ContractEntry) -> Definition | None:
    module_name, _, attribute = entry.target.partition(":")
    try:
        module: Any = import_module(module_name)
    except ModuleNotFoundError as error:
        if entry.origin == CORE and error.name == module_name:
            return None
        raise ContractLoadError(entry.name, entry.origin, str(error)) from error
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ContractLoadError(entry.name, entry.origin, reason) from error
    contract: Any = getattr(module, "CONTRACT", None)
    protocol = getattr(module, attribute, None)
    if (getattr(contract, "name", None), getattr(contract, "plural", None)) != (
        entry.name,
        entry.plural,
    ):
        reason = f"{module_name} has no CONTRACT named {entry.name!r}, plural {entry.plural!r}"
        raise ContractLoadError(entry.name, entry.origin, reason)
    if not isinstance(protocol, type):
        raise ContractLoadError(entry.name, entry.origin, f"{entry.target} is not a class")
    if entry.stated_version not in {None, contract.version}:
        reason = f"its metadata state version {entry.stated_version}, its module {contract.version}"
        raise ContractLoadError(entry.name, entry.origin, reason)
    return Definition(contract.version, protocol)


def _core(name: str, protocol: str, default: str | None, *, many: bool = False) -> ContractEntry:
    return ContractEntry(name, f"stageflow.contracts.{name}:{protocol}", default, many=many)


CORE_CONTRACTS: tuple[ContractEntry, ...] = (
    _core("event_sink", "EventSink", "noop", many=True),
    _core("run_store", "RunStore", "memory"),
    _core("config_provider", "ConfigProvider", "env", many=True),
    _core("io_manager", "IOManager", "memory"),
    _core("serializer", "Serializer", "json"),
    # A reader reads something: none can serve before it is told what.
    _core("item_reader", "ItemReader", None),
    _core("scatter_coordinator", "ScatterCoordinator", "memory"),
    _core("parallel_coordinator", "ParallelCoordinator", "memory"),
    _core("routing_coordinator", "RoutingCoordinator", "memory"),
    _core("resource", "Resource", None),
    _core("telemetry_emitter", "TelemetryEmitter", "noop", many=True),
    _core("error_normalizer", "ErrorNormalizer", "standard", many=True),
    _core("executor", "Executor", "inline"),
)
