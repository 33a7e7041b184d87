"""The command as a whole: help, version, and the commands that plugins add."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stageflow.cli.main import main
from stageflow.plugins import process_discovery

PLUGIN = """
    import typer

    def shout(word: str, loud: bool = False):
        '''Say a word.'''
        print(word.upper() if loud else word)

    group = typer.Typer(help="A group.")

    @group.command()
    def one(): print("one")

    @group.command()
    def two(): raise typer.Exit(5)

    not_a_command = 3
"""


@pytest.fixture
def install(
    write: Callable[[str, str], Path], project: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., None]]:
    """Install a plugin with commands, each `name` for an object of the plugin's module."""

    def install(**commands: str) -> None:
        info = "site/plugin_x-1.0.dist-info"
        points = [f"{name} = plugin_x:{attribute}" for name, attribute in commands.items()]
        write("site/plugin_x.py", PLUGIN)
        write(f"{info}/METADATA", "Metadata-Version: 2.1\nName: plugin-x\nVersion: 1.0\n")
        write(f"{info}/entry_points.txt", "\n".join(["[stageflow.commands]", *points]))
        monkeypatch.syspath_prepend(str(project / "site"))
        process_discovery.cache_clear()

    yield install
    process_discovery.cache_clear()


def test_help_has_examples(cli: Callable[..., Any]):
    done = cli("--help")
    assert done.status == 0
    assert "stageflow run hello.py:pipeline" in done.out
    for command in ("run", "graph", "runs", "plugins"):
        assert f"\n  {command} " in done.out
    assert cli("-h").out == done.out


@pytest.mark.parametrize(
    "command",
    ["run", "graph", "runs list", "runs show", "plugins list", "plugins check", "plugins show"],
)
def test_every_command_has_help(cli: Callable[..., Any], command: str):
    done = cli(*command.split(), "--help")
    assert done.status == 0
    assert f"Usage: stageflow {command}" in done.out


def test_the_version(capsys: pytest.CaptureFixture[str]):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("stageflow 0.")


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]):
    assert main(["rnu"]) == 2
    assert "No such command 'rnu'" in capsys.readouterr().err


def test_without_typer_the_command_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    for name in [name for name in sys.modules if name.startswith("stageflow.cli.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "typer", None)
    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "pip install 'stageflow-core[cli]'" in captured.err
    assert captured.out == ""


def test_a_defect_is_told_without_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "stageflow.cli.runs_command", None)
    assert main(["runs", "list"]) == 1
    assert "error SF999" in capsys.readouterr().err
    with pytest.raises(ImportError):
        main(["runs", "list", "--debug"])


def test_a_function_of_a_plugin_is_a_command(install: Callable[..., None], cli: Callable[..., Any]):
    install(shout="shout")
    assert cli("shout", "hello", "--loud").out == "HELLO\n"
    assert "Say a word." in cli("shout", "--help").out
    assert cli("shout").status == 2


def test_a_group_of_a_plugin_is_a_command(install: Callable[..., None], cli: Callable[..., Any]):
    install(things="group")
    assert cli("things", "one").out == "one\n"
    assert cli("things", "two").status == 5


def test_help_lists_the_commands_of_plugins_and_imports_none(
    install: Callable[..., None], cli: Callable[..., Any]
):
    install(shout="shout", broken="nothing_there")
    out = cli("--help").out
    assert re.search(r"^ +shout +From plugin-x 1\.0\.", out, re.MULTILINE)
    assert "broken" in out
    assert "plugin_x" not in sys.modules


def test_a_command_of_ours_is_never_a_plugins(
    install: Callable[..., None], cli: Callable[..., Any]
):
    install(runs="shout")
    assert "Read the records of runs" in cli("runs", "--help").out
    assert cli("--help").out.count("\n  runs ") == 1


@pytest.mark.parametrize(
    ("attribute", "code"), [("nothing_there", "SF212"), ("not_a_command", "SF940")]
)
def test_a_broken_command_is_told(
    install: Callable[..., None], cli: Callable[..., Any], attribute: str, code: str
):
    install(broken=attribute, shout="shout")
    done = cli("broken")
    assert done.status == 2
    assert f"error {code}" in done.err
    assert cli("shout", "hi").status == 0, "it stops nobody else"


def test_a_blocked_command_is_not_loaded(
    install: Callable[..., None], cli: Callable[..., Any], write: Callable[[str, str], Path]
):
    install(shout="shout")
    write("pyproject.toml", "[tool.stageflow.plugins]\nblock = ['commands.shout']\n")
    done = cli("shout", "hi")
    assert done.status == 2
    assert "plugins.block" in done.err


def test_what_a_command_does_is_imported_when_it_is_invoked():
    code = "import sys, stageflow.cli.app; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "typer" in loaded
    heavy = {"anyio", "attrs", "importlib_metadata", "rich", "stageflow.runtime", "structlog"}
    assert heavy & loaded == set()
