"""Make the generated pages of the reference from the source.

    python -m dev.reference             write them
    python -m dev.reference --check     fail if a committed one is not what the source says

The pages that list errors, contracts, events and settings are committed, so that they can be read
without a build. The pages of the public packages, `docs/reference/api/*.md`, only name what the
documentation builder is to fill in; they are made anew for each build.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import shutil
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from stageflow.errors import StageflowError

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
ERRORS_PAGE = REFERENCE / "errors.md"
API_PAGES = REFERENCE / "api"

RANGES = {
    "SF0": "Roots",
    "SF1": "Definitions",
    "SF2": "Settings and plugins",
    "SF3": "Runs",
    "SF4": "Contracts, stores and sinks",
    "SF5": "Tools, and plugins that keep things elsewhere",
    "SF6": "Helpers",
    "SF7": "Assets",
    "SF8": "Function pipelines",
    "SF9": "Command line",
}
ERRORS_INTRODUCTION = """\
# Errors

<!-- Made by `make docs` from the docstrings of the error classes: change it there. -->

Every error that Stageflow raises on purpose has a code that is never used for another kind.
Its message says what happened and where, its hint what to do, and its facts are attributes.
"""
FAULTS_INTRODUCTION = """\
## Faults of a definition

A `PipelineValidationError` lists all faults of a definition at once, each with one of these codes.
"""
API_ENTRY = """\
```{{eval-rst}}
.. automodule:: {module}
   :members: {names}
```
"""
FAULT_CODE = re.compile(
    r'(?P<told>(?:^#: ?.*\n)+)^\w+(?:: [\w\[\]]+)? = "(?P<code>SF\d{3})"', re.MULTILINE
)
SECTION = re.compile(r"^(Args|Attributes|Example|Examples|Note|Raises|Returns):$", re.MULTILINE)


def packages() -> list[str]:
    """Return the import names of all distributions in the workspace."""
    return sorted({path.name for path in ROOT.glob("stageflow-*/src/*") if path.is_dir()})


@cache
def modules() -> tuple[ModuleType, ...]:
    """Import and return every module of every distribution, parents first."""
    found = []
    for name in packages():
        package = importlib.import_module(name)
        below = pkgutil.walk_packages(package.__path__, f"{name}.")
        names = [info.name for info in below if not info.name.endswith("__main__")]
        found += [package, *map(importlib.import_module, names)]
    return tuple(found)


def is_public(module: str) -> bool:
    """Tell whether a module's path holds no name with an underscore in front."""
    return not any(part.startswith("_") for part in module.split("."))


def error_classes() -> list[type[StageflowError]]:
    """Return every error class of the workspace, in the order of the codes."""
    from stageflow.errors import StageflowError

    ours = {module.__name__ for module in modules()}
    found: dict[type[StageflowError], None] = {}
    waiting = [StageflowError]
    while waiting:
        cls = waiting.pop()
        if cls.__module__ in ours:
            found[cls] = None
        waiting.extend(cls.__subclasses__())
    return sorted(found, key=lambda cls: (cls.code, "code" not in vars(cls), cls.__qualname__))


def sources() -> list[str]:
    """Return the text of every source file of the workspace."""
    return [
        path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("stageflow-*/src/**/*.py"))
    ]


def fault_codes() -> dict[str, str]:
    """Return the codes that faults have but no error class, with what `#:` comments say of them."""
    found = [match for text in sources() for match in FAULT_CODE.finditer(text)]
    return {
        match["code"]: re.sub(r"^#: ?", "", match["told"], flags=re.MULTILINE) for match in found
    }


def definition_faults() -> dict[str, list[str]]:
    """Return what a faulty definition is told, by code: every message with its hint."""
    told: dict[str, list[str]] = defaultdict(list)
    for node in (node for text in sources() for node in ast.walk(ast.parse(text))):
        match node:
            case ast.Call(
                func=ast.Name(id="fault"), args=[ast.Constant(value=str(code)), summary, hint, *_]
            ):
                told[f"CONTRACT-004-{code}"].append(
                    f"- {_template(summary)}\n  {_template(hint)}\n"
                )
    return dict(sorted(told.items()))


def _template(text: ast.expr) -> str:
    match text:
        case ast.Constant(value=str(literal)):
            return literal
        case ast.JoinedStr(values=parts):
            return "".join(map(_template, parts))
    return "…"


def public_path(cls: type) -> str:
    """Return the shortest path by which users import *cls*; its home if it has no public one."""
    homes = [
        module.__name__
        for module in modules()
        if is_public(module.__name__) and cls.__name__ in getattr(module, "__all__", ())
        if getattr(module, cls.__name__, None) is cls
    ]
    return f"{min(homes, key=len, default=cls.__module__)}.{cls.__name__}"


def errors_page() -> str:
    """Return the text of the page that explains every error."""
    chapters: dict[str, list[str]] = defaultdict(list)
    for cls in error_classes():
        if "code" in vars(cls):
            chapters[cls.code[:3]].append(_entry(cls))
    for code, told in fault_codes().items():
        chapters[code[:3]].append(f"### {code}\n\nOne fault of several in an error.\n\n{told}")
    parts = [ERRORS_INTRODUCTION]
    for start, entries in sorted(chapters.items()):
        parts += [f"## {RANGES[start]}\n", *sorted(entries)]
    parts.append(FAULTS_INTRODUCTION)
    for code, lines in definition_faults().items():
        parts += [f"### {code}\n", *dict.fromkeys(lines)]
    return "\n".join(parts)


def _entry(cls: type[StageflowError]) -> str:
    prose, *sections = SECTION.split(inspect.getdoc(cls) or "")
    bases = ", ".join(f"`{base.__name__}`" for base in cls.__bases__)
    lines = [f"### {cls.code}\n", f"`{public_path(cls)}`, a kind of {bases}.\n", prose.strip(), ""]
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        if title == "Attributes":
            lines += [*_bullets(body), ""]
    return "\n".join(lines)


def _bullets(section: str) -> list[str]:
    items = inspect.cleandoc(section).splitlines()
    return [
        re.sub(r"^(\w+): ", r"- `\1`: ", item) if not item.startswith(" ") else f"  {item.strip()}"
        for item in items
    ]


def write_api_pages(folder: Path) -> None:
    """Write one page for each public room; what several of them export is explained in one."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rooms: dict[str, list[ModuleType]] = defaultdict(list)
    for module in modules():
        if is_public(module.__name__) and hasattr(module, "__all__"):
            rooms[_room(module.__name__)].append(module)
    told: set[tuple[str, int]] = set()
    for room in sorted(rooms, key=lambda name: ("." not in name, name)):
        page, elsewhere = [f"# {room}\n"], set[str]()
        for module in rooms[room]:
            exported = {(name, id(getattr(module, name))) for name in module.__all__}
            strangers = {item for item in exported - told if _lives_elsewhere(module, item[0])}
            elsewhere |= {name for name, _ in strangers | (exported & told)}
            if new := exported - told - strangers:
                told |= new
                heading = [f"## {module.__name__}\n"] if module.__name__ != room else []
                names = ", ".join(sorted(name for name, _ in new))
                page += [*heading, API_ENTRY.format(module=module.__name__, names=names)]
        if room.count(".") == 0 and elsewhere:
            names = ", ".join(f"`{name}`" for name in sorted(elsewhere))
            page.append(f"For convenience, these can be imported from here: {names}.\n")
        (folder / f"{room}.md").write_text("\n".join(page), encoding="utf-8")


def _room(module: str) -> str:
    return ".".join(module.split(".")[:2])


def _lives_elsewhere(module: ModuleType, name: str) -> bool:
    if name not in vars(module):  # it is fetched from its home on first use
        return True
    value = getattr(module, name)
    # Of any other object, `__module__` is that of its class.
    has_home = inspect.isclass(value) or inspect.isroutine(value)
    home = (value.__module__ if has_home else None) or module.__name__
    here = _room(module.__name__)
    return home.startswith("stageflow.") and is_public(home) and _room(home) != here


def committed_pages() -> dict[Path, str]:
    """Return what each of the committed pages should say."""
    from dev.catalogues import contracts_page, events_page, settings_page

    return {
        ERRORS_PAGE: errors_page(),
        REFERENCE / "contracts.md": contracts_page(),
        REFERENCE / "events.md": events_page(),
        REFERENCE / "settings.md": settings_page(),
    }


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or compare the committed ones; return an exit status."""
    for path, page in committed_pages().items():
        if "--check" not in arguments:
            path.write_text(page, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != page:
            print(f"{path.relative_to(ROOT)} is not what the source says: run `make docs`")
            return 1
    if "--check" not in arguments:
        write_api_pages(API_PAGES)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
