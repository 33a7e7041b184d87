"""Listing: what is installed, chosen and configured, told by metadata and settings alone.

These are the data behind `stageflow plugins list`. No plugin is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs

from stageflow.errors import StageflowError
from stageflow.plugins.catalogue import ContractEntry
from stageflow.plugins.discovery import (
    COMMANDS_GROUP,
    CONTRACTS_GROUP,
    HOOKS_GROUP,
    Discovery,
    Found,
)
from stageflow.plugins.errors import BlockedPluginError, DuplicatePluginError, UnknownPluginError
from stageflow.plugins.sources import SettingsTree, WrittenText

__all__ = ("OTHER_GROUPS", "PluginRow", "list_plugins")

Refuse = Callable[[str, str], str | None]

OTHER_GROUPS = {
    "hooks": HOOKS_GROUP,
    "commands": COMMANDS_GROUP,
    "contracts": CONTRACTS_GROUP,
}
"""What is listed besides implementations, with the entry-point group of each."""


@attrs.frozen(kw_only=True)
class PluginRow:
    """One plugin, or one instance that the settings name.

    Attributes:
        registry: Plural name of its contract, or `hooks`, `commands` or `contracts`.
        name: Its name.
        distribution: The distribution it comes from; None if nothing installed has it.
        version: Version of the distribution.
        contract_version: Version of the contract that it states, if it states one.
        target: `module:object` of its entry point.
        uses: For an instance, the implementation that it uses.
        is_configured: Whether the settings have a table for it.
        is_chosen: Whether it is in force for its contract.
        loadable: Whether it can be imported and fits its contract; None if not tried.
        healthy: Whether it opened and is well; None if not tried.
        code: Code of what is wrong.
        reason: What is wrong.
        hint: What to do about it.
    """

    registry: str
    name: str
    distribution: str | None = None
    version: str | None = None
    contract_version: str | None = None
    target: str | None = None
    uses: str | None = None
    is_configured: bool = False
    is_chosen: bool = False
    loadable: bool | None = None
    healthy: bool | None = None
    code: str | None = None
    reason: str | None = None
    hint: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the row as JSON-able data."""
        row = attrs.asdict(self)
        row["configured"] = row.pop("is_configured")
        row["chosen"] = row.pop("is_chosen")
        return row

    def failed(self, error: StageflowError) -> PluginRow:
        """Return the row with what is wrong."""
        return attrs.evolve(self, code=error.code, reason=error.message, hint=error.hint or None)


def list_plugins(discovery: Discovery, tree: SettingsTree) -> tuple[PluginRow, ...]:
    """Return a row for everything that is installed or configured; imports none of it."""
    refuse = _refusing(tree)
    rows: list[PluginRow] = []
    listed: set[str] = set()
    for contract in discovery.contracts():
        if contract.plural not in listed:
            listed.add(contract.plural)
            rows += _contract_rows(contract, discovery, tree, refuse)
    for registry, group in OTHER_GROUPS.items():
        rows += _found_rows(registry, discovery.group(group), refuse)
    return tuple(rows)


def _refusing(tree: SettingsTree) -> Refuse:
    """Return what says of a plugin how the settings refuse it."""
    if "plugins" not in tree.values:
        return lambda _distribution, _name: None
    # Imported when there are rules: to structure them takes cattrs.
    from stageflow.plugins.settings import plugin_rules

    rules = plugin_rules(tree)
    if rules is None:
        return lambda _distribution, _name: "kept out: the table plugins cannot be read"
    return rules.refusal


def _found_rows(registry: str, found: Iterable[Found], refuse: Refuse) -> Iterator[PluginRow]:
    """Give a row for each entry point, with what is wrong with it before it is imported."""
    owners: dict[str, list[str]] = {}
    refusals: dict[Found, str | None] = {}
    for each in found:
        refusals[each] = refuse(each.distribution, f"{registry}.{each.name}")
        if refusals[each] is None:
            owners.setdefault(each.name, []).append(each.origin)
    for each, refusal in refusals.items():
        row = PluginRow(
            registry=registry,
            name=each.name,
            distribution=each.distribution,
            version=each.version,
            contract_version=each.contract_version,
            target=each.value,
        )
        if refusal is not None:
            row = row.failed(BlockedPluginError(registry, each.name, each.origin, refusal))
        elif len(owners[each.name]) > 1 and registry != "hooks":
            row = row.failed(DuplicatePluginError(registry, each.name, owners[each.name]))
        yield row


def _contract_rows(
    contract: ContractEntry, discovery: Discovery, tree: SettingsTree, refuse: Refuse
) -> Iterator[PluginRow]:
    """Give the rows of one contract: implementations, then instances and what is missing."""
    found = discovery.group(contract.group)
    installed = {each.name for each in found}
    tables = tree.table(contract.plural)
    uses = {
        name: str(table["use"])
        for name, table in tables.items()
        if isinstance(table, Mapping) and "use" in table
    }
    chosen = _chosen(contract, tree)
    # A default that this release does not have yet is nobody's mistake.
    missing = chosen if contract.name in tree.values else []
    for row in _found_rows(contract.plural, found, refuse):
        yield attrs.evolve(
            row,
            is_configured=row.name in tables and row.name not in uses,
            is_chosen=row.name in chosen and row.name not in uses,
        )
    for name in dict.fromkeys([*tables, *missing]):
        if name in installed and name not in uses:
            continue
        row = PluginRow(
            registry=contract.plural,
            name=name,
            uses=uses.get(name),
            is_configured=name in tables,
            is_chosen=name in chosen,
        )
        used = uses.get(name, name)
        # A plugin with hooks may register the name once it is imported.
        if used not in installed and not discovery.group(HOOKS_GROUP):
            from stageflow.plugins.known import known_distribution

            install = known_distribution(contract.plural, used)
            row = row.failed(UnknownPluginError(contract.plural, used, installed, install=install))
        yield row


def _chosen(contract: ContractEntry, tree: SettingsTree) -> list[str]:
    """Return the names chosen for a contract as they are written, without checking them."""
    written = tree.values.get(contract.name, contract.default)
    if contract.many and isinstance(written, WrittenText) and written.is_loose:
        return [name.strip() for name in written.split(",")]
    return [str(name) for name in (written if isinstance(written, list) else [written]) if name]
