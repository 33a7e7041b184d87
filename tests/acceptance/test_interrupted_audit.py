"""The document audit is killed in the middle, goes on, and tells what it kept and what it ran."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.workspace import ROOT, run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL"),
]

AUDIT = f"{ROOT / 'examples' / 'document_audit' / 'audit.py'}:pipeline"
FILES = 60
SENTENCE = "The audit reads file {0} and says in line {1} what lies there, {2} words and all.\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of texts, each long enough to take a moment."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(FILES):
        lines = [SENTENCE.format(number, line, number * line % 97) for line in range(300)]
        (folder / f"{number:02}.txt").write_text("".join(lines), encoding="utf-8")
    return folder


def command(folder: Path, *more: str) -> list[str]:
    inputs = ("-i", f"folder={folder}", "-i", "output=report", "-i", "batch_files=1")
    return [sys.executable, "-m", "stageflow", "run", AUDIT, *inputs, *more]


def project(tmp_path: Path, name: str) -> Path:
    place = tmp_path / name
    place.mkdir()
    (place / "pyproject.toml").write_text("[project]\nname = 'x'\n", encoding="utf-8")
    return place


def report(place: Path) -> Any:
    found = json.loads((place / "report" / "report.json").read_text(encoding="utf-8"))
    found.pop("created_at")
    return found


def test_an_audit_that_was_killed_goes_on_where_it_was(tmp_path: Path, folder: Path):
    here, elsewhere = project(tmp_path, "here"), project(tmp_path, "elsewhere")
    with subprocess.Popen(
        command(folder, "--durability", "step"), cwd=here, stdout=subprocess.PIPE, text=True
    ) as audit:
        assert audit.stdout is not None
        ended = 0
        while ended < 5:
            ended += "stage.completed        batch-" in audit.stdout.readline()
        audit.kill()
        left = audit.stdout.read()
        assert "pipeline.completed" not in left, "it was faster than the test"
        assert audit.wait(timeout=30) == -signal.SIGKILL
    assert not (here / "report").exists()

    told = json.loads(run("stageflow", "runs", "resume", "--json", cwd=here).stdout)
    assert (told["status"], told["errors"]) == ("completed", [])
    run(*command(folder, "--no-record"), cwd=elsewhere)
    assert report(here) == report(elsewhere)

    shown = json.loads(run("stageflow", "runs", "show", "--json", cwd=here).stdout)
    kept = {name for name, stage in shown["stages"].items() if stage["kept"]}
    assert kept >= {"list"}
    assert 5 < len(kept) == told["restored"] < FILES
    assert {stage["status"] for stage in shown["stages"].values()} == {"ok"}
    page = run("stageflow", "runs", "show", "--all", cwd=here).stdout
    assert f"{len(kept)} of them kept from before" in page
    parts = [line.split()[2] for line in page.splitlines() if line.startswith("   ✓")]
    assert (parts.count("kept"), parts.count("ran")) == (len(kept), FILES + 2 - len(kept))
