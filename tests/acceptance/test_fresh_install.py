"""What is built installs and works where there is nothing of this checkout."""

from __future__ import annotations

import re
import sys
import zipfile
from pathlib import Path, PurePosixPath

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


@every_member
def test_a_wheel_carries_what_it_should_and_nothing_else(member: Path, built: Path):
    with zipfile.ZipFile(archive(built, member, "-*.whl")) as wheel:
        names = wheel.namelist()
    assert any(name.endswith("/py.typed") for name in names)
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in names)
    assert [name for name in names if re.search(r"(^|/)(test_|conftest|__pycache__)", name)] == []
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
