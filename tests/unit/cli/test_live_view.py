"""The live view: the pictures it shows, without a terminal."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stageflow.cli.live_view import LiveView
from stageflow.cli.story import RunStory

START = datetime(2025, 1, 1, tzinfo=UTC)


def at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat()


class Show:
    """A run that a test tells event by event, and the picture of it."""

    def __init__(self, names: list[str], kind: str = "work") -> None:
        self.story = RunStory([(name, kind) for name in names], "shop")
        self.seconds = 0.0
        self.view = LiveView(
            self.story, io.StringIO(), now=lambda: START + timedelta(seconds=self.seconds)
        )
        self.tell("pipeline.started", stages_total=len(names))

    def tell(self, type: str, stage: str = "", **data: Any) -> None:
        facts = {"stage": stage} if stage else {}
        self.story.note(type, {"timestamp": at(self.seconds), **facts, **data})

    def end(
        self, stage: str, type: str = "stage.completed", took: float = 0.5, **data: Any
    ) -> None:
        self.tell(type, stage, duration_ms=took * 1000, **data)

    @property
    def lines(self) -> list[str]:
        return [line.strip() for line in self.view.picture().plain.splitlines()]


@pytest.fixture(autouse=True)
def terminal_size(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")


def test_a_small_pipeline_is_shown_stage_by_stage():
    show = Show(["read", "fetch", "pay", "send"])
    show.tell("stage.started", "read")
    show.end("read")
    show.tell("stage.started", "fetch")
    show.seconds = 1.25
    lines = show.lines
    assert lines[0] == "shop  4 stages  1 running  0.8 stages/s"
    assert lines[2].split() == ["✓", "read", "work", "500", "ms"]
    assert lines[3].split()[1:] == ["fetch", "work", "1.25", "s"]
    assert lines[4].split() == ["·", "pay", "work"]
    assert lines[-1].startswith("━━━━━━━━━")
    assert lines[-1].split()[1:] == ["1/4", "1.25", "s"]


def test_the_spinner_turns():
    show = Show(["read"])
    show.tell("stage.started", "read")
    assert show.lines[2][0] != show.lines[2][0]


def test_retries_say_when_and_why():
    show = Show(["fetch"])
    show.tell("stage.started", "fetch")
    show.tell("stage.retry_scheduled", "fetch", attempt=1, error="no answer", delay_ms=2000)
    show.seconds = 0.5
    assert show.lines[2].startswith("↻")
    assert show.lines[2].endswith("attempt 2 in 1.50 s: no answer")
    show.seconds = 2.5
    assert show.lines[2].endswith("attempt 2, after no answer")
    show.end("fetch", attempt=2)
    assert show.lines[2].endswith("2 attempts")


@pytest.mark.parametrize(
    ("type", "data", "expected"),
    [
        (
            "stage.failed",
            {"error": "ValueError: boom"},
            "✗  pay  work         500 ms  ValueError: boom",
        ),
        ("stage.skipped", {"reason": "closed"}, "↷  pay  work         500 ms  closed"),
        ("stage.cancelled", {"reason": "enough"}, "■  pay  work         500 ms  enough"),
    ],
)
def test_every_ending_has_its_sign_and_reason(type: str, data: dict[str, str], expected: str):
    show = Show(["pay"])
    show.tell("stage.started", "pay")
    show.end("pay", type, **data)
    assert expected in show.lines


def test_what_stages_say_moves_no_cursor_and_stays_on_its_line():
    show = Show(["a\x1b[2Jb\nc"])
    show.tell("stage.started", "a\x1b[2Jb\nc")
    show.end("a\x1b[2Jb\nc", "stage.failed", error="boom\n" * 50)
    picture = show.view.picture().plain
    assert "\x1b" not in picture
    assert all(len(line) <= 80 for line in picture.splitlines())
    assert len(show.lines) == 5


def test_a_large_pipeline_is_shown_by_its_progress():
    names = [f"audit-{number:04}" for number in range(3000)]
    show = Show(names)
    for name in names[:40]:
        show.tell("stage.started", name)
        show.end(name, "stage.failed" if name == "audit-0007" else "stage.completed", error="boom")
    for name in names[40:90]:
        show.tell("stage.started", name)
    show.seconds = 10.0
    lines = show.lines
    assert len(lines) < 24
    assert lines[0] == "shop  3,000 stages  50 running  4.0 stages/s"
    assert lines[2] == "✓ 39 done   ✗ 1 failed"
    assert [line for line in lines if line in {"failed", "running", "just ended"}] == [
        "failed",
        "running",
        "just ended",
    ]
    assert any("audit-0007" in line and "boom" in line for line in lines)
    assert any("audit-0040" in line for line in lines), "the longest first"
    assert any("audit-0039" in line for line in lines), "the newest last"
    assert lines[-1].endswith("40/3,000    10.0 s  about 12 min 20 s left")


def test_the_last_picture_of_a_large_run_leaves_the_rest_to_the_summary():
    names = [f"s{number}" for number in range(100)]
    show = Show(names)
    for name in names:
        show.tell("stage.started", name)
        show.end(name, "stage.failed" if name == "s3" else "stage.completed")
    show.tell("pipeline.failed", duration_ms=1000.0)
    assert [line.split()[0] for line in show.lines if line] == ["shop", "failed", "✗"]


def test_a_notice_stays_until_the_end():
    show = Show(["a"])
    show.view.announce("Cancelling the run")
    assert show.lines[-1] == "Cancelling the run"


@pytest.mark.parametrize("columns", [20, 40, 200])
def test_any_width_will_do(monkeypatch: pytest.MonkeyPatch, columns: int):
    monkeypatch.setenv("COLUMNS", str(columns))
    show = Show(["a" * 60, "b"])
    show.tell("stage.started", "a" * 60)
    show.seconds = 3
    assert all(len(line) <= max(columns, 20) for line in show.view.picture().plain.splitlines())


def resumed(show: Show, seconds: float = 60.0) -> None:
    """Let the run have been interrupted, and go on now."""
    show.seconds = seconds
    kept = show.story.counts["ok"]
    show.tell("pipeline.resumed", stages_total=show.story.total, stages_restored=kept)


def test_a_run_that_goes_on_shows_what_it_kept_and_counts_its_time_anew():
    show = Show(["read", "fetch", "pay"])
    show.tell("stage.started", "read")
    show.end("read")
    show.tell("stage.started", "fetch")
    resumed(show)
    show.seconds = 61.0
    lines = show.lines
    assert lines[0] == "shop  3 stages  resumed, 1 kept  0 running"
    assert lines[2].split() == ["✓", "read", "work", "500", "ms", "kept", "from", "before"]
    assert lines[3].split() == ["·", "fetch", "work"]
    assert lines[-1].split()[1:] == ["1/3", "1.00", "s"]
    show.tell("stage.started", "fetch", attempt=2)
    show.end("fetch", attempt=2)
    assert show.lines[0] == "shop  3 stages  resumed, 1 kept  0 running  1.0 stages/s"
    assert show.lines[3].endswith("2 attempts")


def test_a_stage_that_ended_before_and_could_not_tell_is_kept():
    show = Show(["read", "fetch"])
    show.tell("stage.started", "read")
    resumed(show)
    show.end("read", started_at=at(0.0), ended_at=at(0.5), attempt=1)
    assert show.lines[2].endswith("kept from before")
    assert show.story.stages["read"].attempts == 1


def test_a_stage_that_waits_for_a_signal_says_which():
    show = Show(["ask", "tell"])
    show.tell("stage.started", "ask")
    show.tell("stage.waiting", "ask", signal="approval")
    show.seconds = 2.0
    assert show.lines[0] == "shop  2 stages  0 running  1 waiting for signals"
    assert show.lines[2].startswith("◇  ask")
    assert "2.00 s" in show.lines[2]
    assert show.lines[2].endswith("waits for the signal approval")
    show.tell("pipeline.waiting", duration_ms=2000.0)
    assert show.lines[2].split()[:3] == ["◇", "ask", "work"]
    assert "2.00 s" not in show.lines[2], "nobody waits here any more"
    show.tell("pipeline.resumed", stages_total=2, stages_restored=0)
    show.tell("stage.started", "ask", attempt=2)
    assert show.lines[0].split()[4:6] == ["0", "kept"]
    assert "1 running" in show.lines[0]
    show.end("ask", attempt=2)
    assert "waits" not in show.lines[2]
