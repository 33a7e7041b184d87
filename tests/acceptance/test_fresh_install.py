"""What is built installs and works where there is nothing of this checkout."""

from __future__ import annotations

import json
import re
import sys
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from support.workspace import MEMBERS, ROOT, run, toml, uv

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

VERSION = toml(ROOT / "pyproject.toml")["project"]["version"]
# Whatever cannot be imported must be waiting for an extra, and for nothing else.
IMPORT_ALL = """
import importlib, sys
cut = sys.argv.index("--")
for module in sys.argv[cut + 1:]:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as missing:
        if missing.name.partition(".")[0] not in sys.argv[1:cut]:
            raise
"""
every_member = pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.name)


def extras(member: Path) -> dict[str, list[str]]:
    project = toml(member / "pyproject.toml")["project"]
    found: dict[str, list[str]] = project.get("optional-dependencies", {})
    return found


def extra_imports(member: Path) -> list[str]:
    wanted = [text for group in extras(member).values() for text in group]
    return [re.match(r"[\w-]+", text)[0].replace("-", "_") for text in wanted]


def archive(folder: Path, member: Path, ending: str) -> Path:
    return next(folder.glob(f"{member.name.replace('-', '_')}-{VERSION}{ending}"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheels and source archives of all distributions, built from the checkout."""
    folder = tmp_path_factory.mktemp("built")
    for member in MEMBERS:
        run("hatchling", "build", "-d", folder, cwd=member)
    return folder


def install(venv: Path, built: Path, *distributions: str) -> Path:
    """Install *distributions* with what they declare, at the locked versions; return the Python.

    Nothing is asked of the network as long as uv's cache still holds what `make setup` fetched.
    """
    uv("venv", "-q", "--python", sys.executable, venv)
    python = venv / "bin" / "python"
    command = ("pip", "install", "-q", "--python", python, "--find-links", built)
    pinned = ("--constraints", ROOT / "requirements.lock", *distributions)
    if uv(*command, "--offline", *pinned, status=None).returncode:
        uv(*command, *pinned)
    return python


@pytest.fixture(scope="module")
def everything(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a clean environment with all distributions and their extras."""
    wanted = [f"{member.name}[{','.join(extras(member))}]=={VERSION}" for member in MEMBERS]
    return install(tmp_path_factory.mktemp("everything") / "venv", built, *wanted)


@every_member
def test_a_distribution_works_alone(member: Path, built: Path, tmp_path: Path):
    python = install(tmp_path / "venv", built, f"{member.name}=={VERSION}")
    uv("pip", "check", "-q", "--python", python)
    with zipfile.ZipFile(archive(built, member, "-*.whl")) as wheel:
        files = [PurePosixPath(name) for name in wheel.namelist() if name.endswith(".py")]
    modules = sorted(
        ".".join(file.parent.parts if file.stem == "__init__" else file.with_suffix("").parts)
        for file in files
        if file.stem != "__main__"
    )
    run(python, "-I", "-c", IMPORT_ALL, *extra_imports(member), "--", *modules, cwd=tmp_path)


@every_member
def test_a_source_archive_builds_the_same_wheel(member: Path, built: Path, tmp_path: Path):
    run("tar", "-xzf", archive(built, member, ".tar.gz"), "-C", tmp_path)
    (unpacked,) = tmp_path.iterdir()
    run("hatchling", "build", "-t", "wheel", "-d", tmp_path / "again", cwd=unpacked)
    again, first = (archive(folder, member, "-*.whl") for folder in (tmp_path / "again", built))
    assert again.read_bytes() == first.read_bytes()


# Templates of new plugins are no tests of ours: they end in `.py.in`.
TESTS_OR_CACHES = re.compile(r"(^|/)(test_[^/]*\.py$|conftest\.py$|__pycache__)")


@every_member
def test_a_wheel_carries_what_it_should_and_nothing_else(member: Path, built: Path):
    with zipfile.ZipFile(archive(built, member, "-*.whl")) as wheel:
        names = wheel.namelist()
    assert any(name.endswith("/py.typed") for name in names)
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in names)
    assert [name for name in names if TESTS_OR_CACHES.search(name)] == []
    assert ("stageflow/__init__.py" in names) == (member.name == "stageflow-core")


def test_the_parts_of_the_package_fit_together(everything: Path, tmp_path: Path):
    uv("pip", "check", "-q", "--python", everything)
    script = "import stageflow, sys; sys.exit(stageflow.__version__ != sys.argv[1])"
    run(everything, "-I", "-c", script, VERSION, cwd=tmp_path)
    said = run(everything.parent / "stageflow", "--version", cwd=tmp_path).stdout
    assert VERSION in said


def test_users_code_is_type_checked_against_what_is_installed(everything: Path, tmp_path: Path):
    run(
        *("mypy", "--strict", "--python-executable", everything),
        *("--config-file", "", "--cache-dir", tmp_path / "cache"),
        *sorted((ROOT / "tests" / "typing").glob("*.py")),
        cwd=tmp_path,
    )


def test_the_test_kits_come_with_the_wheel(everything: Path, tmp_path: Path):
    run(everything, "-I", "-c", "import stageflow.testing", cwd=tmp_path)


# --- plugins ------------------------------------------------------------------------------

FLOW = """
from stageflow import Pipeline, stage

@stage
def answer() -> int:
    return 42

pipeline = Pipeline("questions").with_stages([answer])
"""
CHOSEN = """
event_sink = "transcript"
[event_sinks.transcript]
path = "events.txt"
"""


@pytest.fixture(scope="module")
def with_plugins(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a clean environment with core and every sample plugin, all from wheels."""
    wheels = tmp_path_factory.mktemp("samples")
    samples = sorted((ROOT / "tests" / "plugins").glob("*/pyproject.toml"))
    for sample in samples:
        run("hatchling", "build", "-t", "wheel", "-d", wheels, cwd=sample.parent)
    python = install(
        tmp_path_factory.mktemp("plugins") / "venv",
        built,
        f"stageflow-core[cli,testing]=={VERSION}",
    )
    found = sorted(wheels.glob("*.whl"))
    assert len(found) == len(samples)
    uv("pip", "install", "-q", "--python", python, "--offline", "--no-deps", *found)
    return python


def test_plugins_work_from_wheels(with_plugins: Path, tmp_path: Path):
    def stageflow(*arguments: str, status: int = 0) -> str:
        done = run(with_plugins.parent / "stageflow", *arguments, cwd=tmp_path, status=status)
        return done.stdout + done.stderr

    (tmp_path / "flow.py").write_text(FLOW, encoding="utf-8")
    (tmp_path / "stageflow.toml").write_text(CHOSEN, encoding="utf-8")
    stageflow("run", "flow.py:pipeline", "--no-record")
    assert "pipeline.completed\t" in (tmp_path / "events.txt").read_text(encoding="utf-8")

    def told(*arguments: str) -> dict[str, dict[str, Any]]:
        done = run(with_plugins.parent / "stageflow", *arguments, "--json", cwd=tmp_path)
        return {f"{row['registry']}.{row['name']}": row for row in json.loads(done.stdout)}

    listed = told("plugins", "list")
    assert listed["event_sinks.transcript"]["chosen"]
    assert listed["event_sinks.legacy"]["contract_version"] is None
    assert listed["io_managers.folder"]["code"] == "SF211"
    checked = told("plugins", "check")
    assert checked["event_sinks.transcript"]["healthy"] is True
    codes = {name: row["code"] for name, row in checked.items() if row["code"]}
    assert codes["io_managers.next-year"] == "SF213"
    assert codes["event_sinks.unimportable"] == "SF212"
    assert checked["notifiers.list"]["loadable"] is True
    assert "stageflow-sample 1.0.0" in stageflow("plugins", "show", "event_sinks.transcript")

    # Two plugins have a command of that name until the settings keep one of them out.
    assert "SF211" in stageflow("transcript", "events.txt", status=2)
    blocking = f'{CHOSEN}[plugins]\nblock = ["stageflow-sample-duplicate"]\n'
    (tmp_path / "stageflow.toml").write_text(blocking, encoding="utf-8")
    assert "1 stage.completed" in stageflow("transcript", "events.txt")


def test_a_new_plugin_is_written_tested_and_used_from_wheels(with_plugins: Path, tmp_path: Path):
    stageflow = with_plugins.parent / "stageflow"
    run(stageflow, "plugins", "new", "fresh", "--contract", "event_sink", cwd=tmp_path)
    project = tmp_path / "stageflow-fresh"
    assert " passed" in run(with_plugins, "-m", "pytest", "-q", cwd=project).stdout
    run("hatchling", "build", "-t", "wheel", "-d", tmp_path, cwd=project)
    wheels = sorted(tmp_path.glob("*.whl"))
    uv("pip", "install", "-q", "--python", with_plugins, "--offline", "--no-deps", *wheels)
    (tmp_path / "flow.py").write_text(FLOW, encoding="utf-8")
    (tmp_path / "stageflow.toml").write_text('event_sink = "fresh"\n', encoding="utf-8")
    run(stageflow, "run", "flow.py:pipeline", "--no-record", cwd=tmp_path)
    (row,) = [
        row
        for row in json.loads(run(stageflow, "plugins", "check", "--json", cwd=tmp_path).stdout)
        if row["name"] == "fresh"
    ]
    assert (row["distribution"], row["healthy"]) == ("stageflow-fresh", True)


def test_the_samples_own_tests_pass_on_the_wheels(with_plugins: Path, tmp_path: Path):
    sample = ROOT / "tests" / "plugins" / "stageflow-sample"
    options = ("-p", "no:cacheprovider", "-c", sample / "pyproject.toml", "-o", "pythonpath=")
    said = run(with_plugins, "-m", "pytest", "-q", *options, sample / "tests", cwd=tmp_path).stdout
    assert " passed" in said
