"""The pages of the reference that list what there is: contracts, events and settings."""

from __future__ import annotations

import inspect
import re
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from stageflow.plugins import Plugins, SettingField
    from stageflow.plugins.catalogue import ContractEntry
    from stageflow.testing import ConformanceKit

__all__ = ("contracts_page", "events_page", "settings_page")

CONTRACTS_INTRODUCTION = """\
# Contracts

<!-- Made by `make docs` from the docstrings of the contracts: change it there. -->

What a plugin may implement, and what it then promises.
Each promise is a clause, with an id that is never used for another one.
The kit of the contract proves each clause by tests that begin with its id.
A clause that names a capability in brackets binds those alone that declare it.

A plugin states the version that it was written for.
It works with every core that serves the same major version and no older minor one.
[Write a plugin](../how-to/write-a-plugin.md) shows how.
"""
EVENTS_INTRODUCTION = """\
# Events

<!-- Made by `make docs` from the catalogues of events: change it there. -->

Every event has a type, and a payload with these keys and no others unless that is said.
Times are in UTC, ids are texts, and whatever else JSON cannot hold is turned into a text.
"""
SETTINGS_INTRODUCTION = """\
# Settings

<!-- Made by `make docs` from the classes of the settings: change it there. -->

Settings stand in `[tool.stageflow]` of `pyproject.toml`, or at the top of `stageflow.toml`.
Variables win over the file: `STAGEFLOW_EVENT_SINK`, `STAGEFLOW_RUN_STORES__SQLITE__PATH`.
Arguments given in code win over both.
[Configure backends](../how-to/configure-backends.md) shows how they go together.

A value may refer to a variable, `env:NAME`, or to a file, `file:PATH`; a secret must.
A text that begins so and means itself is written `literal:TEXT`.
"""
ATTRIBUTE = re.compile(r"^(\w+): (.*(?:\n {4}.*)*)", re.MULTILINE)


def contracts_page() -> str:
    """Return the text of the page with every clause of every contract."""
    from stageflow import testing
    from stageflow.plugins import CORE_CONTRACTS

    kits = {
        name.removesuffix("Conformance"): getattr(testing, name)
        for name in testing.__all__
        if name.endswith("Conformance")
    }
    parts = [CONTRACTS_INTRODUCTION]
    for contract in CORE_CONTRACTS:
        kit = kits.get(contract.target.partition(":")[2])
        if kit is not None:
            parts.append(_contract(contract, kit))
    return "\n".join(parts)


def _contract(contract: ContractEntry, kit: type[ConformanceKit]) -> str:
    from stageflow.plugins import process_discovery
    from stageflow.testing.conformance import clauses_of

    definition = contract.load()
    assert definition is not None
    doc = inspect.getdoc(definition.protocol) or ""
    summary = doc.partition("\n")[0]
    ours = [
        f"`{each.name}`"
        for each in process_discovery().group(contract.group)
        if each.distribution == "stageflow-core"
    ]
    facts = [
        f"Version {definition.version}, entry-point group `{contract.group}`,",
        f"`{contract.target.replace(':', '.')}`,",
        f"kit `stageflow.testing.{kit.__name__}`.",
    ]
    if ours:
        facts.append(f"Core has {', '.join(ours)}.")
    clauses = [
        f"- **{clause.id}** {f'[{clause.capability}] ' if clause.capability else ''}{clause.text}"
        for clause in clauses_of(*kit.contracts).values()
    ]
    return "\n".join([f"## {contract.name}", "", summary, "", *facts, "", *clauses, ""])


def events_page() -> str:
    """Return the text of the page with every event that Stageflow emits."""
    from stageflow.assets import ASSET_EVENTS
    from stageflow.events.schemas import EVENTS
    from stageflow.helpers import HELPER_EVENTS
    from stageflow.tools import TOOL_EVENTS

    chapters = {
        "Core": EVENTS,
        "Assets": ASSET_EVENTS,
        "Helpers": HELPER_EVENTS,
        "Tools": TOOL_EVENTS,
    }
    parts = [EVENTS_INTRODUCTION]
    for title, catalogue in chapters.items():
        below = re.sub(r"^## ", "### ", catalogue.to_markdown(), flags=re.MULTILINE)
        parts += [f"## {title}\n", below]
    return "\n".join(parts)


def settings_page() -> str:
    """Return the text of the page with every setting of core and of what it ships."""
    from stageflow.plugins import CoreSettings, PluginRules, Plugins

    parts = [SETTINGS_INTRODUCTION, "## Core\n", _own_table(CoreSettings)]
    parts += ["## plugins\n", _summary(PluginRules), _own_table(PluginRules)]
    with tempfile.TemporaryDirectory() as nowhere:
        plugins = Plugins.load(directory=nowhere, environ={})
        for registry in plugins.registries:
            if registry.contract.load() is not None:
                parts += _of_contract(registry.contract, plugins)
    return "\n".join(parts)


def _own_table(kind: type) -> str:
    told = attribute_texts(kind)
    rows = [
        (field.name, told.get(field.name, ""), field.default)
        for field in attrs.fields(kind)
        if not attrs.has(type(field.default))
    ]
    lines = [f"| `{name}` | `{_written(default)}` | {text} |" for name, text, default in rows]
    return "\n".join(["| Key | Default | What it is |", "| --- | --- | --- |", *lines, ""])


def _written(default: Any) -> str:
    return "[]" if default == () else _in_toml(repr(default))


def _in_toml(shown: str) -> str:
    return {"True": "true", "False": "false", "None": "not set"}.get(shown, shown)


def _summary(kind: Any) -> str:
    return (inspect.getdoc(kind) or "").partition("\n")[0] + "\n"


def _of_contract(contract: ContractEntry, plugins: Plugins) -> Iterator[str]:
    from stageflow.plugins import show_plugin

    yield f"## {contract.plural}\n"
    if contract.name == "resource":
        yield (
            "Each table `resources.NAME` is a resource that is opened with the Runtime; "
            'with `on_failure = "continue"` it may be missing.\n'
        )
    else:
        several = ", or a list of names" if contract.many else ""
        default = f"; `{contract.default}` unless it is set" if contract.default else ""
        yield f"`{contract.name}` chooses by name{several}{default}.\n"
    for found in plugins.discovery.group(contract.group):
        if found.distribution != "stageflow-core":
            continue
        (detail,) = show_plugin(plugins, f"{contract.plural}.{found.name}")
        kind = plugins.registry(contract.name).resolve(found.name).settings_type
        yield f"### {contract.plural}.{found.name}\n"
        yield f"{detail.summary}\n"
        if kind is not None:
            yield _table(detail.settings, attribute_texts(kind))


def _table(fields: tuple[SettingField, ...], told: dict[str, str]) -> str:
    lines = [
        f"| `{field.name}` | {field.kind} | "
        f"{'must be set' if field.default is None else f'`{_in_toml(field.default)}`'} | "
        f"{told.get(field.name, '')} |"
        for field in fields
    ]
    head = ["| Key | Value | Default | What it is |", "| --- | --- | --- | --- |"]
    return "\n".join([*head, *lines, ""])


def attribute_texts(kind: type) -> dict[str, str]:
    """Return what the docstrings of a class and its bases say of each attribute."""
    found: dict[str, str] = {}
    for cls in reversed(kind.__mro__):
        section = (cls.__doc__ or "").partition("Attributes:\n")[2]
        for name, text in ATTRIBUTE.findall(inspect.cleandoc(section)):
            found[name] = " ".join(text.split())
    return found
