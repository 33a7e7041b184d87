"""`stageflow plugins new` writes a distribution that is right as it stands."""

from __future__ import annotations

import ast
import contextlib
import importlib
import os
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling.build import build_wheel

from stageflow.cli.app import app
from stageflow.contracts.contract import Contract
from stageflow.plugins import (
    Discovery,
    Plugins,
    ScaffoldError,
    check_plugins,
    new_plugin_contracts,
    write_plugin,
)
from stageflow.plugins.catalogue import CORE_CONTRACTS
from support.installed import distribution, installed
from support.workspace import ROOT, run, toml

NOTHING = installed()


def test_every_contract_with_a_kit_has_a_template():
    import stageflow.testing as kits

    names = {f"{each.target.partition(':')[2]}Conformance": each.name for each in CORE_CONTRACTS}
    with_kit = {names[kit] for kit in kits.__all__ if kit in names}
    assert set(new_plugin_contracts()) == with_kit


@pytest.mark.parametrize("contract", new_plugin_contracts())
def test_what_is_written_fits_together(contract: str, tmp_path: Path):
    files = write_plugin("acme-two", contract, into=tmp_path, discovery=NOTHING)
    folder = tmp_path / "stageflow-acme-two"
    assert sorted(files) == sorted(path for path in folder.rglob("*") if path.is_file())
    points = toml(folder / "pyproject.toml")["project"]["entry-points"]
    module, _, name = points[f"stageflow.{contract}s"]["acme-two"].partition(":")
    source = folder / "src" / f"{module.replace('.', '/')}.py"
    tree = ast.parse(source.read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    (stated,) = points["stageflow.contract_versions"].items()
    declared: Contract = importlib.import_module(f"stageflow.contracts.{contract}").CONTRACT
    version = f"v{declared.version.replace('.', '_')}"
    assert stated == (f"{contract}s.acme-two", f"stageflow.contracts.{contract}:{version}")
    assert not [path for path in files if "$" in path.read_text("utf-8").replace("$ ", "")]


def test_its_own_tests_pass_at_once(tmp_path: Path):
    command = ("plugins", "new", "acme", "--contract", "io_manager", "--into", tmp_path)
    run("stageflow", *command)
    said = run(sys.executable, "-m", "pytest", "-q", cwd=tmp_path / "stageflow-acme").stdout
    assert " passed" in said


@pytest.mark.slow
def test_the_tests_of_every_contract_pass_and_its_code_is_clean(tmp_path: Path):
    projects = []
    for contract in new_plugin_contracts():
        name = f"acme-{contract.replace('_', '-')}"
        write_plugin(name, contract, into=tmp_path, discovery=NOTHING)
        projects.append(tmp_path / f"stageflow-{name}")
    sources = [str(project / "src") for project in projects]
    path = os.pathsep.join(sources)
    tests = [project / "tests" for project in projects]
    said = run(
        *(sys.executable, "-m", "pytest", "-q", "--import-mode=importlib", *tests),
        cwd=tmp_path,
        PYTHONPATH=path,
    ).stdout
    assert " passed" in said
    # The order of imports and the width of lines depend on the name.
    chosen = ["check", "--select", "E4,E7,E9,F,B,UP,ANN,D,RUF,PL", "--ignore", "PLR0913"]
    settings = ("--no-cache", "--config", "lint.pydocstyle.convention = 'google'")
    run("ruff", *chosen, *settings, "--ignore", "D105,D107,ANN401", *sources)
    run(
        *("mypy", "--strict", "--config-file", "", "--cache-dir", tmp_path / "cache"),
        *("--explicit-package-bases", "--follow-imports", "silent", *sources),
        cwd=tmp_path,
        MYPYPATH=os.pathsep.join([path, str(ROOT / "stageflow-core" / "src")]),
    )


@pytest.mark.anyio
@pytest.mark.parametrize("contract", new_plugin_contracts())
async def test_its_wheel_is_found_chosen_and_opened(
    contract: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    name = f"acme-{contract[:2]}"
    write_plugin(name, contract, into=tmp_path, discovery=NOTHING)
    with contextlib.chdir(tmp_path / f"stageflow-{name}"):
        wheel = tmp_path / build_wheel(str(tmp_path))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    chosen = {} if contract == "resource" else {contract: name}
    plugins = Plugins.load(
        directory=tmp_path,
        environ={},
        arguments={**chosen, f"{contract}s.{name}": {}},
        discovery=Discovery(),
    )
    (row,) = [row for row in await check_plugins(plugins) if row.name == name]
    assert (row.distribution, row.loadable, row.healthy, row.code) == (
        f"stageflow-{name}",
        True,
        True,
        None,
    )


@pytest.mark.parametrize(
    ("name", "contract", "told"),
    [
        ("Acme", "io_manager", "lower-case letters"),
        ("", "io_manager", "lower-case letters"),
        ("../acme", "io_manager", "lower-case letters"),
        ("acme", "io_manger", "Did you mean 'io_manager'"),
        ("acme", "carrier_pigeon", "Known:"),
        ("taken", "io_manager", r"io_managers\.taken is there already, from other 1\.0"),
        ("there", "io_manager", "another folder: --into"),
    ],
)
def test_what_cannot_be_written_is_refused(name: str, contract: str, told: str, tmp_path: Path):
    (tmp_path / "stageflow-there").mkdir()
    other = distribution("other", {"stageflow.io_managers": {"taken": "other:It"}})
    with pytest.raises(ScaffoldError, match=told):
        write_plugin(name, contract, into=tmp_path, discovery=installed(other))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["stageflow-there"]


def test_the_command_says_what_it_wrote_and_what_is_wrong(tmp_path: Path):
    from typer.testing import CliRunner

    arguments = ["plugins", "new", "stageflow-acme", "--contract", "resource"]
    done = CliRunner().invoke(app, [*arguments, "--into", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert str(tmp_path / "stageflow-acme" / "pyproject.toml") in done.output
    again = CliRunner().invoke(app, [*arguments, "--into", str(tmp_path)])
    assert (again.exit_code, "SF225" in again.output) == (2, True)
