"""Listing many plugins imports none of them, and none of what only using them needs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.plugins import install_plugins
from stageflow.plugins import Discovery, Plugins
from support.workspace import run

LIST = """
import sys
from stageflow.cli.main import main
status = main(["plugins", "list", *sys.argv[1:]])
print(*sys.modules, file=sys.stderr)
sys.exit(status)
"""
# Each costs more than all that listing does.
HEAVY = {"anyio", "cattrs", "pluggy", "pydantic", "rich", "structlog", "stageflow.contracts"}


@pytest.mark.parametrize("json", [(), ("--json",)])
def test_fifty_plugins_are_listed_without_importing_one(tmp_path: Path, json: tuple[str, ...]):
    install_plugins(tmp_path, 50)
    done = run(sys.executable, "-c", LIST, *json, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert all(f"acme-{number}" in done.stdout for number in range(50))
    imported = set(done.stderr.split())
    assert "stageflow.plugins.listing" in imported
    assert not [name for name in imported if name.startswith(("acme_", "stageflow.builtin"))]
    assert imported & HEAVY == set()


def test_a_name_is_resolved_once(tmp_path: Path):
    registry = Plugins.load(directory=tmp_path, environ={}, discovery=Discovery()).registry(
        "io_manager"
    )
    first = registry.resolve("memory")
    assert registry.resolve("memory") is first
