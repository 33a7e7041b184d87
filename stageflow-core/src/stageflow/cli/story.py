"""The story of a run, as its events tell it: while it runs, or later from its record."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import attrs

from stageflow.cli.text import plural

__all__ = ("RunStory", "StageStory")

_ENDS: Final = {
    "stage.completed": "ok",
    "stage.skipped": "skip",
    "stage.cancelled": "cancel",
    "stage.failed": "fail",
}
_RUN_ENDS: Final = {
    "pipeline.completed",
    "pipeline.failed",
    "pipeline.cancelled",
    "pipeline.waiting",
}
_LAST: Final = 50


@attrs.define(eq=False)
class StageStory:
    """What happened to one stage.

    Attributes:
        name: The stage.
        kind: What kind of work it does.
        status: `waiting`, `running`, `retrying`, `awaiting` a signal, or how it ended:
            `ok skip cancel fail`.
        attempts: How many attempts have begun.
        started_at: When it began.
        ended_at: When it ended.
        duration_ms: How long it took, all attempts together.
        resumes_at: When its next attempt begins, if it waits for one.
        note: Why it failed, was skipped, or is tried again.
        abandoned: Whether a thread of it was given up while it was busy.
        kept: Whether it had ended before the run went on last, and did not run again.
    """

    name: str
    kind: str = ""
    status: str = "waiting"
    attempts: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    duration_ms: float | None = None
    resumes_at: datetime | None = None
    note: str = ""
    abandoned: bool = False
    kept: bool = False

    @property
    def has_ended(self) -> bool:
        """Whether it is over."""
        return self.status in {"ok", "skip", "cancel", "fail"}

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-able data."""
        return {
            "name": self.name,
            "kind": self.kind,
            "status": self.status,
            "attempts": self.attempts,
            "started_at": self.started_at and self.started_at.isoformat(),
            "ended_at": self.ended_at and self.ended_at.isoformat(),
            "duration_ms": self.duration_ms,
            "error": self.note if self.status == "fail" else None,
            "reason": self.note or None if self.status in {"skip", "cancel"} else None,
            "thread_abandoned": self.abandoned,
            "kept": self.kept,
        }


class RunStory:
    """What happened in one run so far.

    Attributes:
        stages: Every stage heard of, by name.
        running: Those under way, the longest first.
        finished: The last that ended, the newest last.
        failed: Those that failed, in order.
        counts: How many stages have each status they can end with.
        retries: How many attempts were made again.
        resumes: How often the run went on after it had been interrupted, or had waited.
        pipeline: The pipeline's name.
        total: How many stages there are.
        status: `running`, or how the run ended.
        started_at: When it began.
        resumed_at: When it went on last.
        duration_ms: How long it took, from when it began or went on last.

    Args:
        stages: Names and kinds of the stages, in the order to show them, where they are known.
        pipeline: The pipeline's name, where it is known.
    """

    def __init__(self, stages: Iterable[tuple[str, str]] = (), pipeline: str = "") -> None:
        self.stages = {name: StageStory(name, kind) for name, kind in stages}
        self.running: dict[str, StageStory] = {}
        self.finished: deque[StageStory] = deque(maxlen=_LAST)
        self.failed: list[StageStory] = []
        self.counts: Counter[str] = Counter()
        self.retries = 0
        self.resumes = 0
        self.pipeline = pipeline
        self.total = len(self.stages)
        self.status = "running"
        self.started_at: datetime | None = None
        self.resumed_at: datetime | None = None
        self.duration_ms: float | None = None

    @property
    def kept(self) -> int:
        """How many stages had ended before the run went on, and did not run again."""
        return sum(stage.kept for stage in self.stages.values()) if self.resumes else 0

    @property
    def ended(self) -> int:
        """How many stages have ended."""
        return sum(self.counts.values())

    def note(self, type: str, data: Mapping[str, Any]) -> StageStory | None:
        """Take in one event; return the stage that it is about. Unknown events change nothing."""
        if type.startswith("stage.") and "stage" in data:
            return self._note_stage(type, data)
        if type == "pipeline.started":
            self.pipeline = str(data.get("pipeline_name") or self.pipeline)
            self.total = int(data.get("stages_total") or self.total)
            self.started_at = _time(data.get("timestamp"))
        elif type == "pipeline.resumed":
            self._go_on(data)
        elif type in _RUN_ENDS:
            self.status = type.removeprefix("pipeline.")
            self.duration_ms = data.get("duration_ms")
        return None

    def _go_on(self, data: Mapping[str, Any]) -> None:
        """Keep what is final, and forget how the other stages stood: they run again."""
        self.resumes += 1
        self.status = "running"
        self.pipeline = str(data.get("pipeline_name") or self.pipeline)
        self.total = int(data.get("stages_total") or self.total)
        self.resumed_at = _time(data.get("timestamp"))
        self.started_at = self.started_at or self.resumed_at
        self.duration_ms = None
        for stage in self.stages.values():
            if stage.status in {"ok", "skip"}:
                stage.kept = True
            elif stage.status != "waiting":
                stage.status, stage.note = "waiting", ""
                stage.started_at = stage.ended_at = stage.duration_ms = None
        self.running.clear()
        self.failed.clear()
        self.counts = Counter(stage.status for stage in self.stages.values() if stage.has_ended)

    def _note_stage(self, type: str, data: Mapping[str, Any]) -> StageStory | None:
        stage = self.stages.get(data["stage"])
        if stage is None:
            stage = self.stages[data["stage"]] = StageStory(data["stage"])
        stage.kind = str(data.get("kind") or stage.kind)
        if type == "stage.started":
            # Counted on, if it was interrupted.
            stage.status, stage.attempts = "running", int(data.get("attempt") or 1)
            stage.kept = False
            stage.started_at = _time(data.get("timestamp"))
            self.running[stage.name] = stage
        elif type in _ENDS:
            self._end(stage, _ENDS[type], data)
        elif type == "stage.retry_scheduled":
            stage.status = "retrying"
            stage.attempts = int(data.get("attempt") or 0) + 1
            stage.note = str(data.get("error") or "")
            noticed = _time(data.get("timestamp"))
            if noticed is not None:
                delay = timedelta(milliseconds=float(data.get("delay_ms") or 0))
                stage.resumes_at = noticed + delay
            self.retries += 1
        elif type == "stage.waiting":
            stage.status = "awaiting"
            stage.note = f"waits for the signal {data.get('signal')}"
        elif type == "stage.cleanups_lost":
            names = ", ".join(map(str, data.get("cleanups") or ()))
            stage.note = f"clean-ups of an earlier process were lost: {names}"
        elif type == "stage.thread_abandoned":
            stage.abandoned = True
        elif type != "stage.retry_exhausted":
            return None
        return stage

    def _end(self, stage: StageStory, status: str, data: Mapping[str, Any]) -> None:
        stage.status = status
        ended_at = _time(data.get("ended_at"))
        if self.resumed_at and stage.started_at is None and ended_at and ended_at < self.resumed_at:
            # Whoever ran it had kept how it ended, and no time left to tell.
            stage.kept = True
            stage.started_at = _time(data.get("started_at"))
        # A stage that never began has no attempt, whatever the event counts.
        stage.attempts = int(data.get("attempt") or 1) if stage.started_at else 0
        if stage.started_at is not None:
            stage.started_at = _time(data.get("started_at")) or stage.started_at
        stage.ended_at = ended_at
        stage.duration_ms = data.get("duration_ms")
        stage.note = _one_of(data, "error", "reason")
        self.running.pop(stage.name, None)
        self.finished.append(stage)
        if status == "fail":
            self.failed.append(stage)
        self.counts[status] += 1

    def close(self, reason: str) -> None:
        """Note that the run has ended, which nobody was there to tell: no stage goes on."""
        for stage in self.running.values():
            stage.status, stage.note = "cancel", reason
            self.counts["cancel"] += 1
        self.running.clear()

    def ending(self) -> str:
        """Return how many stages ended how, in words."""
        words = {"ok": "done", "skip": "skipped", "cancel": "cancelled", "fail": "failed"}
        parts = [f"{self.counts[key]:,} {word}" for key, word in words.items() if self.counts[key]]
        if self.kept:
            parts.append(f"{self.kept:,} of them kept from before")
        if self.retries:
            parts.append(plural(self.retries, "retry"))
        return ", ".join(parts)


def _one_of(data: Mapping[str, Any], *keys: str) -> str:
    return next((str(data[key]) for key in keys if data.get(key)), "")


def _time(text: Any) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None
