"""A project folder of its own for each test, and the command run in this process."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import attrs
import pytest
from typer.testing import CliRunner

from stageflow.cli.app import app


@attrs.frozen
class Done:
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty project that is the current folder; what it changes in the process is put back."""
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    modules = set(sys.modules)
    loggers = [logging.getLogger(), logging.getLogger("stageflow")]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    yield tmp_path
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers = handlers


@pytest.fixture
def write(project: Path) -> Callable[[str, str], Path]:
    """Write a file of the project."""

    def write(name: str, text: str) -> Path:
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
        return path

    return write


@pytest.fixture
def cli(project: Path) -> Callable[..., Done]:
    """Run the command in this process."""

    def run(*arguments: str) -> Done:
        done = CliRunner().invoke(app, list(arguments), prog_name="stageflow")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Done(done.exit_code, done.stdout, done.stderr)

    return run
