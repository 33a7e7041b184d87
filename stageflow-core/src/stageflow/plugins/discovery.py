"""Discovery: which plugins are installed, read from package metadata and from nothing else."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, final

import attrs
import importlib_metadata
from importlib_metadata import Distribution

from stageflow.plugins.catalogue import CORE_CONTRACTS, ContractEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = ("COMMANDS_GROUP", "HOOKS_GROUP", "Discovery", "Found", "process_discovery")

HOOKS_GROUP = "stageflow"
COMMANDS_GROUP = "stageflow.commands"
CONTRACTS_GROUP = "stageflow.contracts"
VERSIONS_GROUP = "stageflow.contract_versions"
ENTRY_POINTS_FILE = "entry_points.txt"


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
        source: Gives the distributions to look at; those of the running interpreter unless a
            test says otherwise.
    """

    def __init__(self, source: Callable[[], Iterable[Distribution]] | None = None) -> None:
        self._source = source
        self._groups: Mapping[str, tuple[Found, ...]] | None = None

    def group(self, name: str) -> tuple[Found, ...]:
        """Return everything found in one entry-point group, sorted by name and distribution."""
        if self._groups is None:
            self._groups = _scan(_installed() if self._source is None else self._source())
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


def _installed() -> Iterator[Any]:
    """Give the distributions with entry points of ours, each in the release that is in force."""
    seen: set[str] = set()
    for distribution in importlib_metadata.distributions():
        # Most have none, and to see that in the text is much cheaper than to parse it.
        text = distribution.read_text(ENTRY_POINTS_FILE)
        if text is None or "[stageflow" not in text:
            continue
        name, _ = _identity(distribution)
        # A release hides those behind it on the path, also when it has nothing for us itself.
        if name not in seen and Distribution.from_name(name).read_text(ENTRY_POINTS_FILE) == text:
            yield distribution
        seen.add(name)


def _scan(distributions: Iterable[Any]) -> dict[str, tuple[Found, ...]]:
    groups: dict[str, list[Found]] = {}
    for each in distributions:
        points = [point for point in each.entry_points if _is_ours(point.group)]
        versions = {point.name: point.value for point in points if point.group == VERSIONS_GROUP}
        distribution, version = _identity(each)
        for point in points:
            stated = versions.get(f"{point.group.removeprefix('stageflow.')}.{point.name}")
            contract_version = _version_of(stated)
            found = Found(
                point.group, point.name, distribution, version, point.value, contract_version
            )
            groups.setdefault(point.group, []).append(found)
    groups.pop(VERSIONS_GROUP, None)
    return {
        group: tuple(sorted(members, key=lambda found: (found.name, found.distribution)))
        for group, members in groups.items()
    }


def _is_ours(group: str) -> bool:
    return group == HOOKS_GROUP or group.startswith("stageflow.")


def _identity(distribution: Any) -> tuple[str, str]:
    """Return name and version, from the first lines of the metadata if these are as usual."""
    head = (distribution.read_text("METADATA") or "").partition("\n\n")[0]
    fields = dict(line.split(": ", 1) for line in head.splitlines() if ": " in line)
    if "Name" in fields and "Version" in fields:
        return fields["Name"], fields["Version"]
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
