"""What the pages about PostgreSQL show runs, and so do the examples, by a change of settings."""

from __future__ import annotations

import json

import pytest

from support.pages import run_page
from support.workspace import ROOT, run


@pytest.fixture
def address(server, empty, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", server.address(empty))
    return server.address(empty)


@pytest.mark.parametrize("name", ["run-on-postgres", "operate-postgres"])
def test_the_page_runs(name, address, tmp_path, monkeypatch):
    run_page(ROOT / "docs" / "how-to" / f"{name}.md", tmp_path, monkeypatch)


def test_the_document_audit_runs_by_changing_one_line(address, tmp_path):
    """The line is `run_store = "postgres"`; where the database is has been said before."""
    database = '[resources.postgres]\ndsn = "env:DATABASE_URL"\nmigrate_on_open = true\n'
    folder = tmp_path / "papers"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.md").write_text(f"# Page {number}\n\nMail me@example.com\n")
    target = str(ROOT / "examples" / "document_audit" / "audit.py:pipeline")
    told = {}
    for store in ("sqlite", "postgres"):
        place = tmp_path / store
        place.mkdir()
        (place / "stageflow.toml").write_text(f'run_store = "{store}"\n{database}')
        command = ("stageflow", "run", target, "--durability", "step", "--input")
        done = run(*command, f"folder={folder}", "--json", cwd=place)
        told[store] = json.loads(done.stdout)
        shown = run("stageflow", "runs", "list", "--json", cwd=place)
        assert [each["status"] for each in json.loads(shown.stdout)] == ["completed"]
    assert told["postgres"]["status"] == told["sqlite"]["status"] == "completed"
    assert told["postgres"].keys() == told["sqlite"].keys()
