"""Discovery: which plugins are installed, read from package metadata and from nothing else."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, final

import attrs
import importlib_metadata

from stageflow.plugins.catalogue import CORE_CONTRACTS, ContractEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ("COMMANDS_GROUP", "HOOKS_GROUP", "Discovery", "Found", "process_discovery")

HOOKS_GROUP = "stageflow"
COMMANDS_GROUP = "stageflow.commands"
CONTRACTS_GROUP = "stageflow.contracts"
VERSIONS_GROUP = "stageflow.contract_versions"


@attrs.frozen
class Found:
    """One entry point of an installed distribution; nothing of it has been imported.

    Attributes:
        group: Entry-point group.
        name: Name it is asked for by.
        distribution: Name of the distribution.
        version: Version of the distribution.
        value: `module:object` it stands for.
        contract_version: `MAJOR.MINOR` of the contract it was written for; None if not stated,
            the text as it stands if that is not a version.
    """

    group: str
    name: str
    distribution: str
    version: str
    value: str
    contract_version: str | None = None

    @property
    def origin(self) -> str:
        """Distribution and version, as messages show them."""
        return f"{self.distribution} {self.version}"

    def load(self) -> Any:
        """Import the module and return the object.

        Raises:
            Exception: Whatever the import raises; AttributeError if the object is not there.
        """
        return importlib_metadata.EntryPoint(self.name, self.value, self.group).load()


@final
class Discovery:
    """What is installed, scanned once and then kept.

    Args:
        source: Gives the entry points to look at; those of the running interpreter unless a
            test says otherwise.
    """

    def __init__(self, source: Callable[[], Iterable[Any]] | None = None) -> None:
        self._source = source or importlib_metadata.entry_points
        self._groups: Mapping[str, tuple[Found, ...]] | None = None

    def group(self, name: str) -> tuple[Found, ...]:
        """Return everything found in one entry-point group, sorted by name and distribution."""
        if self._groups is None:
            self._groups = _scan(self._source())
        return self._groups.get(name, ())

    def names(self) -> dict[str, list[str]]:
        """Return the names of all installed implementations by their contract's plural."""
        return {
            contract.plural: [found.name for found in self.group(contract.group)]
            for contract in self.contracts()
        }

    def contracts(self) -> tuple[ContractEntry, ...]:
        """Return the contracts of core and after them those that other distributions declare.

        A contract that two distributions declare is listed twice; so is one that takes the name
        of a contract of core.
        """
        declared = (
            ContractEntry(
                found.name,
                found.value,
                origin=found.origin,
                stated_version=found.contract_version,
            )
            for found in self.group(CONTRACTS_GROUP)
        )
        return (*CORE_CONTRACTS, *declared)


@cache
def process_discovery() -> Discovery:
    """Return the one discovery of this process, shared by all who bring none of their own."""
    return Discovery()


def _scan(entry_points: Iterable[Any]) -> dict[str, tuple[Found, ...]]:
    ours = [point for point in entry_points if _is_ours(point.group)]
    # Reading a distribution's metadata parses a file: once for each is enough.
    identities = {id(point.dist): _identity(point.dist) for point in ours}
    versions = {
        (id(point.dist), point.name): point.value for point in ours if point.group == VERSIONS_GROUP
    }
    groups: dict[str, list[Found]] = {}
    for point in ours:
        if point.group == VERSIONS_GROUP:
            continue
        key = f"{point.group.removeprefix('stageflow.')}.{point.name}"
        stated = versions.get((id(point.dist), key))
        distribution, version = identities[id(point.dist)]
        found = Found(
            point.group, point.name, distribution, version, point.value, _version_of(stated)
        )
        groups.setdefault(point.group, []).append(found)
    return {
        group: tuple(sorted(members, key=lambda found: (found.name, found.distribution)))
        for group, members in groups.items()
    }


def _is_ours(group: str) -> bool:
    return group == HOOKS_GROUP or group.startswith("stageflow.")


def _identity(distribution: Any) -> tuple[str, str]:
    if distribution is None:
        return "unknown", "0"
    metadata = distribution.metadata
    return metadata["Name"] or "unknown", metadata["Version"] or "0"


def _version_of(stated: str | None) -> str | None:
    """Turn `module:v1_0` into `1.0`; leave what has another shape as it is, to be refused later."""
    if stated is None:
        return None
    text = stated.rpartition(":")[2]
    major, _, minor = text.removeprefix("v").partition("_")
    if text.startswith("v") and major.isdigit() and (minor or "0").isdigit():
        return f"{major}.{minor or 0}"
    return stated
