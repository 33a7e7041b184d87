"""The story of a run, as its events tell it."""

from __future__ import annotations

from typing import Any

import pytest

from stageflow import Pipeline, RetryPolicy, StageOutput
from stageflow.cli.story import RunStory
from stageflow.runtime import Runtime

pytestmark = pytest.mark.anyio

START = "2025-01-01T00:00:00+00:00"
LATER = "2025-01-01T00:00:02+00:00"


async def told(pipeline: Pipeline, **options: Any) -> RunStory:
    story = RunStory()
    async with Runtime() as runtime:
        graph = pipeline.build(**options)
        await runtime.run(graph, listeners=[story.note], raise_on_error=False)
    return story


async def test_a_run_with_everything():
    tries = []

    async def flaky(ctx: Any) -> StageOutput:
        tries.append(1)
        return StageOutput.retry("not yet") if len(tries) < 3 else StageOutput.ok()

    async def bad(ctx: Any) -> None:
        raise ValueError("boom")

    async def skips(ctx: Any) -> StageOutput:
        return StageOutput.skip("nothing to do")

    pipeline = (
        Pipeline("all")
        .with_stage("flaky", flaky, "work", retry=RetryPolicy(max_attempts=3, base_delay_ms=0))
        .with_stage("bad", bad, "guard")
        .with_stage("after", skips, "work", ["bad"])
        .with_stage("skips", skips, "route")
        .with_stage("conditional", skips, "work", ["skips"], conditional=True)
    )
    story = await told(pipeline, on_failure="continue")
    assert story.pipeline == "all"
    assert story.status == "failed"
    assert story.total == story.ended == 5
    assert story.running == {}
    assert dict(story.counts) == {"ok": 1, "fail": 1, "skip": 3}
    assert story.ending() == "1 done, 3 skipped, 1 failed, 2 retries"
    assert [stage.name for stage in story.failed] == ["bad"]
    stages = {name: stage.to_dict() for name, stage in story.stages.items()}
    assert stages["flaky"]["attempts"] == 3
    assert stages["bad"]["error"] == "ValueError: boom"
    assert stages["bad"]["kind"] == "guard"
    assert stages["skips"]["reason"] == "nothing to do"
    assert stages["after"]["attempts"] == stages["conditional"]["attempts"] == 0
    assert stages["after"]["started_at"] is None


def test_a_stage_waits_for_its_next_attempt():
    story = RunStory([("a", "work")])
    story.note("stage.started", {"stage": "a", "timestamp": START})
    retry = {"stage": "a", "attempt": 1, "error": "no", "delay_ms": 500.0, "timestamp": START}
    story.note("stage.retry_scheduled", retry)
    stage = story.stages["a"]
    assert (stage.status, stage.attempts, stage.note) == ("retrying", 2, "no")
    assert stage.resumes_at is not None
    assert stage.resumes_at.microsecond == 500_000
    assert list(story.running) == ["a"]
    story.note(
        "stage.completed", {"stage": "a", "attempt": 2, "ended_at": LATER, "duration_ms": 2000.0}
    )
    assert (stage.status, stage.note, story.running) == ("ok", "", {})


def test_an_abandoned_thread_is_remembered():
    story = RunStory()
    story.note("stage.started", {"stage": "a", "timestamp": START})
    story.note("stage.thread_abandoned", {"stage": "a"})
    story.note("stage.cancelled", {"stage": "a", "reason": "enough"})
    assert story.stages["a"].abandoned
    assert story.stages["a"].to_dict()["reason"] == "enough"


@pytest.mark.parametrize(
    ("type", "data"),
    [
        ("stage.wide", {}),
        ("stage.wide", {"stage": "a"}),
        ("custom", {"stage": "a"}),
        ("pipeline.wide", {}),
    ],
)
def test_unknown_events_change_nothing(type: str, data: dict[str, Any]):
    story = RunStory([("a", "work")], "x")
    before = (story.status, story.total, story.stages["a"].to_dict())
    story.note(type, data)
    assert (story.status, story.total, story.stages["a"].to_dict()) == before
