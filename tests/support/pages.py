"""Run what a page of the documentation shows, the way a reader would.

A page is one story, told in an empty folder (a page of an example in a copy of that example):

- ``python`` blocks run one after the other in one module; those with prompts are doctests;
- a block whose first line is a comment with a file name (``# orders.py``, ``# stageflow.toml``) is
  also that file from there on;
- in ``console`` blocks the commands behind ``$`` run, must succeed, and must say what the block
  says; ``...`` stands for anything. Commands that would change the machine (pip, make, git, …) are
  passed over, but ``pip install .`` makes the distribution of the page found from there on.

What cannot run is preceded by ``<!-- skip: next "why" -->``.
"""

from __future__ import annotations

import doctest
import re
import shutil
import sys
import zipfile
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING
from unittest import SkipTest

from sybil.document import Document
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

from support.workspace import ROOT, run

if TYPE_CHECKING:
    import pytest
    from sybil import Example

RUN = {"cat", "ls", "python", "stageflow"}
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
FILE_NAME = re.compile(r"# ([\w./-]+\.(?:py|toml))\n")


def pages() -> list[Path]:
    """Return every page that shows code: the documentation and all READMEs."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("examples/*/*.md")]
    return sorted({*found, *ROOT.glob("docs/**/*.md")} - {*ROOT.glob("docs/reference/api/*.md")})


def run_page(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run all that *path* shows, in *folder*; raise at the first block that does not hold."""
    if path.is_relative_to(ROOT / "examples"):
        shutil.copytree(path.parent, folder, dirs_exist_ok=True)
    monkeypatch.chdir(folder)
    for place in (folder / "src", folder):
        monkeypatch.syspath_prepend(str(place))
    story = ModuleType("story")
    monkeypatch.setitem(sys.modules, story.__name__, story)
    python = PythonCodeBlockParser(doctest_optionflags=FLAGS)
    python.codeblock_parser = CodeBlockParser("python", _python)
    parsers = (
        SkipParser(),
        python,
        CodeBlockParser("toml", _save),
        CodeBlockParser("console", partial(_console, monkeypatch)),
    )
    document = Document.parse(str(path), *parsers)
    document.namespace = vars(story)
    try:
        for example in document.examples():
            with suppress(SkipTest):  # the page says why; the rest of it runs all the same
                example.evaluate()
    finally:
        _forget_modules(folder)


def _forget_modules(folder: Path) -> None:
    """Leave no module of this page's files behind; another page may have files of those names."""
    for name, module in list(sys.modules.items()):
        if Path(getattr(module, "__file__", None) or "/").is_relative_to(folder):
            del sys.modules[name]


def _python(example: Example) -> str | None:
    _save(example)
    return PythonEvaluator()(example)


def _save(example: Example) -> None:
    if name := FILE_NAME.match(example.parsed):
        target = Path(name[1])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(str(example.parsed), encoding="utf-8")


def _console(monkeypatch: pytest.MonkeyPatch, example: Example) -> str | None:
    checker = doctest.OutputChecker()
    for block in re.split(r"^\$ ", example.parsed, flags=re.MULTILINE)[1:]:
        command, _, expected = block.partition("\n")
        if command == "pip install .":
            _install(monkeypatch)
        words = [word for word in command.split() if not word.startswith("STAGEFLOW_")]
        if words[0] not in RUN:
            continue
        said = run("bash", "-c", f"{command} 2>&1", cwd=Path.cwd(), NO_COLOR="1").stdout
        if not checker.check_output(expected, said, FLAGS):
            return f"$ {command}\n--- expected\n{expected}\n--- said\n{said}"
    return None


def _install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do what pip would with the distribution in this folder, into a folder beside it."""
    from hatchling.build import build_wheel

    site = Path.cwd() / ".site"
    wheel = build_wheel(str(site))
    # To unpack a wheel of plain Python is to install it.
    with zipfile.ZipFile(site / wheel) as archive:
        archive.extractall(site)
    monkeypatch.setenv("PYTHONPATH", str(site))
