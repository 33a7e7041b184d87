"""Imports go one way. The layers stand in the root pyproject.toml, [tool.importlinter]."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.workspace import MEMBERS, ROOT, run, uv

COMMAND = ("lint-imports", "--no-cache", "--config", ROOT / "pyproject.toml")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All distributions in one plain folder: an editable install would show core's part alone."""
    target = tmp_path_factory.mktemp("installed")
    uv("pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", target, *MEMBERS)
    return target


def test_imports_go_one_way(installed: Path):
    run(*COMMAND, PYTHONPATH=str(installed))


@pytest.mark.parametrize(
    ("module", "forbidden", "contract"),
    [
        ("errors.py", "import stageflow.contracts.contract", "layers"),
        ("contracts/contract.py", "from stageflow import stages", "layers"),
        ("stages/kinds.py", "def lazily():\n    import stageflow.builtin", "builtin"),
    ],
)
def test_a_wrong_import_is_found(
    installed: Path, module: str, forbidden: str, contract: str, monkeypatch: pytest.MonkeyPatch
):
    path = installed / "stageflow" / module
    before = path.read_text(encoding="utf-8")
    path.write_text(f"{before}\n{forbidden}\n", encoding="utf-8")
    try:
        done = run(*COMMAND, "--contract", contract, status=1, PYTHONPATH=str(installed))
    finally:
        path.write_text(before, encoding="utf-8")
    assert "BROKEN" in done.stdout


def test_a_room_without_a_place_in_the_layers_is_found(installed: Path):
    room = installed / "stageflow" / "attic"
    room.mkdir()
    (room / "__init__.py").touch()
    try:
        done = run(*COMMAND, status=1, PYTHONPATH=str(installed))
    finally:
        (room / "__init__.py").unlink()
        room.rmdir()
    assert "attic" in done.stdout
