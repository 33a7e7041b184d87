"""The list of who has what agrees with the workspace."""

from __future__ import annotations

from pathlib import Path

from stageflow.plugins import CORE_CONTRACTS
from stageflow.plugins.known import _known
from support.workspace import MEMBERS, toml

CONTRACTS = {contract.group: contract.plural for contract in CORE_CONTRACTS}
BUILT_IN = toml(next(m for m in MEMBERS if m.name == "stageflow-core") / "pyproject.toml")[
    "project"
]["entry-points"]


def test_every_implementation_of_the_workspace_is_known():
    has = {
        (CONTRACTS[group], name): member.name
        for member in MEMBERS
        for group, points in entry_points(member).items()
        for name in points
        if group in CONTRACTS and member.name != "stageflow-core"
    }
    members = {member.name for member in MEMBERS}
    known = {
        (plural, name): distribution
        for plural, names in _known().items()
        for name, distribution in names.items()
        if distribution in members
    }
    assert known == has


def entry_points(member: Path) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = toml(member / "pyproject.toml")["project"].get(
        "entry-points", {}
    )
    return found


def test_only_tables_of_contracts_are_known():
    assert set(_known()) <= {contract.plural for contract in CORE_CONTRACTS}


def test_every_implementation_of_core_states_its_contract_version():
    stated = BUILT_IN["stageflow.contract_versions"]
    built_in = {
        f"{group.removeprefix('stageflow.')}.{name}"
        for group, points in BUILT_IN.items()
        for name in points
        if group != "stageflow.contract_versions"
    }
    assert set(stated) == built_in
    for contract in CORE_CONTRACTS:
        definition = contract.load()
        mine = {
            key: value for key, value in stated.items() if key.startswith(f"{contract.plural}.")
        }
        if definition is not None and mine:
            version = definition.version.replace(".", "_")
            module = contract.target.partition(":")[0]
            assert set(mine.values()) == {f"{module}:v{version}"}
