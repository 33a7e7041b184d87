"""The door translates words: how large it is, and what it leaves to the engine."""

from __future__ import annotations

import re
from pathlib import Path

import stageflow.data
from support.workspace import ROOT

SOURCES = sorted(Path(stageflow.data.__file__).parent.rglob("*.py"))
PAGE = ROOT / "docs" / "how-to" / "function-pipelines.md"


def test_the_page_states_how_many_lines_the_door_has() -> None:
    counted = sum(len(source.read_text("utf-8").splitlines()) for source in SOURCES)
    stated = re.search(r"^It has (\d+) lines", PAGE.read_text("utf-8"), re.MULTILINE)
    assert stated is not None
    assert int(stated[1]) == counted


def test_the_door_neither_schedules_nor_waits() -> None:
    engines_business = re.compile(
        r"\.sleep\(|create_task|start_soon|CancelScope|fail_after|move_on_after|Event\("
    )
    found = {
        source.name: words
        for source in SOURCES
        if (words := engines_business.findall(source.read_text("utf-8")))
    }
    assert SOURCES
    assert found == {}
