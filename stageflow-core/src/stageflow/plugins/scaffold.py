"""Scaffold: a new distribution with one plugin, complete with the tests that prove it right."""

from __future__ import annotations

import re
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template

from stageflow.errors import ConfigurationError, did_you_mean
from stageflow.plugins.catalogue import CORE_CONTRACTS, ContractEntry
from stageflow.plugins.discovery import Discovery, process_discovery

__all__ = ("ScaffoldError", "new_plugin_contracts", "write_plugin")

_TEMPLATES = files("stageflow.plugins") / "templates"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_PREFIX = "stageflow-"


class ScaffoldError(ConfigurationError):
    """A new plugin cannot be written as asked."""

    code = "SF225"


def new_plugin_contracts() -> tuple[str, ...]:
    """Return the contracts that a new plugin can be written for: those with a kit."""
    return tuple(
        contract.name
        for contract in CORE_CONTRACTS
        if (_TEMPLATES / f"{contract.name}.py.in").is_file()
    )


def write_plugin(
    name: str, contract: str, *, into: Path, discovery: Discovery | None = None
) -> tuple[Path, ...]:
    """Write a distribution that implements *contract* and passes its own tests; return its files.

    Args:
        name: The name that settings will choose it by, such as `redis`. The distribution is
            called `stageflow-redis`; that may be given as well.
        contract: The contract, such as `io_manager`.
        into: The folder that its folder is made in.
        discovery: What is installed, to see which names are taken.

    Raises:
        ScaffoldError: If the name or the contract will not do, or the folder is there already.
    """
    name = name.removeprefix(_PREFIX)
    distribution = f"{_PREFIX}{name}"
    entry = _entry(contract)
    _check_name(name, entry, distribution, discovery or process_discovery())
    folder = into / distribution
    if folder.exists():
        raise ScaffoldError(
            f"{folder} is there already.", hint="Choose another name, or another folder: --into."
        )
    words = _words(name, distribution, entry)
    package = Path("src", words["package"])
    sources = {
        Path("pyproject.toml"): "pyproject.toml",
        Path("README.md"): "README.md",
        package / "__init__.py": "__init__.py",
        package / "py.typed": None,
        package / f"{contract}.py": f"{contract}.py",
        Path("tests", "test_conformance.py"): f"test_{contract}.py",
    }
    for path, source in sources.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_filled(source, words), encoding="utf-8")
    return tuple(folder / path for path in sources)


def _entry(contract: str) -> ContractEntry:
    known = new_plugin_contracts()
    if contract not in known:
        raise ScaffoldError(
            f"No new plugin can be written for {contract!r}.", hint=did_you_mean(contract, known)
        )
    return next(each for each in CORE_CONTRACTS if each.name == contract)


def _check_name(name: str, entry: ContractEntry, distribution: str, discovery: Discovery) -> None:
    if not _NAME.fullmatch(name):
        raise ScaffoldError(
            f"{name!r} is no name for a plugin.",
            hint="Take lower-case letters, digits and single hyphens, such as `redis-cluster`.",
        )
    for found in discovery.group(entry.group):
        if found.name == name and found.distribution != distribution:
            raise ScaffoldError(
                f"{entry.plural}.{name} is there already, from {found.origin}.",
                hint="Choose another name; two owners of one could not be told apart.",
            )


def _words(name: str, distribution: str, entry: ContractEntry) -> dict[str, str]:
    definition = entry.load()
    assert definition is not None, "what has a template is defined"
    camel = "".join(part.capitalize() for part in name.split("-"))
    protocol = entry.target.partition(":")[2]
    spoken = entry.name.replace("_", " ").replace("io ", "IO ")
    is_chosen = entry.name != "resource"  # all that are configured are opened
    return {
        "name": name,
        "distribution": distribution,
        "package": distribution.replace("-", "_"),
        "contract": entry.name,
        "plural": entry.plural,
        "title": f"{'An' if protocol[0] in 'AEIO' else 'A'} {spoken}",
        "Camel": camel,
        "Class": f"{camel}{protocol}",
        "Settings": f"{camel}Settings",
        "version": f"v{definition.version.replace('.', '_')}",
        "core": ".".join(version("stageflow-core").split(".")[:2]),
        "choice": f'\n{entry.name} = "{name}"' if is_chosen else "",
    }


def _filled(source: str | None, words: dict[str, str]) -> str:
    if source is None:
        return ""
    text = (_TEMPLATES / f"{source}.in").read_text(encoding="utf-8")
    return Template(text).substitute(words)
