"""Processes are killed between request, decision, call and undo; the tool runs once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.slow,  # each life is a process of its own
    pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL"),
]


@pytest.fixture
def live(tmp_path):
    """Live a life in a process of its own; return what it said, or None if it was killed."""

    def live(life, kill=""):
        done = subprocess.run(
            [sys.executable, "-m", "support.tool_processes", life, str(tmp_path), kill],
            env={**os.environ, "PYTHONPATH": str(TESTS)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode == -signal.SIGKILL:
            return None
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    return live


@pytest.fixture
def roll(tmp_path):
    def read():
        path = tmp_path / "roll.txt"
        return path.read_text().splitlines() if path.exists() else []

    return read


def test_killed_between_request_and_decision(live, roll):
    assert live("ask") is None
    assert roll() == []
    live("decide")
    assert live("resume") == ["completed", "completed"]
    assert roll() == ["paid"]
    assert live("undo") == ["True"]
    assert roll() == ["paid", "taken back"]


@pytest.mark.parametrize(
    ("kill", "status", "paid"),
    [
        ("before paying", "unknown", []),
        ("after paying", "unknown", ["paid"]),
        ("after the call", "completed", ["paid"]),
    ],
)
def test_killed_after_the_decision(live, roll, kill, status, paid):
    assert live("ask") is None
    live("decide")
    assert live("resume", kill) is None
    assert roll() == paid
    # What nobody can know is reported; it is not done again.
    assert live("resume") == ["completed", status]
    assert roll() == paid


def test_killed_between_action_and_undo_and_while_undoing(live, roll):
    assert live("ask") is None
    live("decide")
    assert live("resume", "after the call") is None
    assert live("undo", "while undoing") is None
    assert roll() == ["paid", "taken back"]
    assert live("undo") == ["UndoUnderWayError"]
    assert roll() == ["paid", "taken back"]
