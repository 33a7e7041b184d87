"""Every distribution of the workspace is made after one pattern."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from support.workspace import MEMBERS, ROOT, run, toml

VERSION = Version(toml(ROOT / "pyproject.toml")["project"]["version"])
LOCK = ROOT / "requirements.lock"

every_member = pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.name)


def declared(member: Path) -> list[Requirement]:
    project = toml(member / "pyproject.toml")["project"]
    groups = [project.get("dependencies", []), *project.get("optional-dependencies", {}).values()]
    return [Requirement(text) for group in groups for text in group]


@every_member
def test_the_version_comes_from_the_workspace(member: Path):
    settings = toml(member / "pyproject.toml")
    assert "version" in settings["project"]["dynamic"]
    assert settings["tool"]["hatch"]["version"]["path"] == "../pyproject.toml"


@every_member
def test_a_distribution_says_what_it_is(member: Path):
    project = toml(member / "pyproject.toml")["project"]
    assert project["name"] == member.name
    assert {"description", "readme", "requires-python", "license", "classifiers"} <= set(project)
    assert "Typing :: Typed" in project["classifiers"]
    assert (member / "README.md").read_text(encoding="utf-8").startswith(f"# {member.name}\n")
    assert (member / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@every_member
def test_siblings_are_pinned_to_one_minor(member: Path):
    following = Version(f"{VERSION.major}.{VERSION.minor + 1}")
    for requirement in declared(member):
        if requirement.name.startswith("stageflow-"):
            assert VERSION in requirement.specifier, str(requirement)
            assert following not in requirement.specifier, str(requirement)


@every_member
def test_every_part_is_marked_as_typed(member: Path):
    for package in (member / "src").iterdir():
        parts = [package] if (package / "__init__.py").exists() else package.iterdir()
        for part in parts:
            assert not part.is_dir() or (part / "py.typed").exists(), f"{part.name}/py.typed"


@every_member
def test_the_tools_see_every_distribution(member: Path):
    tool = toml(ROOT / "pyproject.toml")["tool"]
    source = f"{member.name}/src"
    assert source in tool["coverage"]["run"]["source_dirs"]
    assert f"$MYPY_CONFIG_FILE_DIR/{source}" in tool["mypy"]["mypy_path"]
    packages = {package.name for package in (member / "src").iterdir() if package.is_dir()}
    assert packages <= set(tool["importlinter"]["root_packages"])


def test_only_core_has_the_top_of_the_package():
    tops = [member.name for member in MEMBERS if (member / "src/stageflow/__init__.py").exists()]
    assert tops == ["stageflow-core"]


@every_member
def test_the_lock_knows_every_dependency(member: Path):
    locked = set(re.findall(r"^([a-z0-9.-]+)==", LOCK.read_text(encoding="utf-8"), re.MULTILINE))
    wanted = {canonicalize_name(requirement.name) for requirement in declared(member)}
    ours = {other.name for other in MEMBERS}
    assert wanted - locked - ours == set(), "run `make lock`"


def test_the_lock_names_no_place():
    lines = LOCK.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if re.search(r"://|^\s*-|@ ", line.split("--hash")[0])] == []


def test_one_version_of_uv_is_meant_everywhere():
    pinned = re.search(
        r"^UV_VERSION := (\S+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE
    )
    assert pinned
    told = {
        version
        for page in ROOT.glob("docs/**/*.md")
        for version in re.findall(r"\buv==(\S+)", page.read_text("utf-8"))
    }
    assert told == {pinned[1]}


def test_help_lists_the_targets_people_rely_on():
    listed = re.findall(r"make ([a-z-]+)", run("make", "-s", "help").stdout)
    assert {
        *("setup", "demo", "test", "test-all", "check", "lint", "types", "format"),
        *("docs", "bench", "build", "chaos", "clean"),
    } <= set(listed)
