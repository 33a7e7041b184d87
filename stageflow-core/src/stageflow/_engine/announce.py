"""Announcer: says what happens in a run to those who listen; absent when nobody does."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from stageflow.contracts.logs import get_logger
from stageflow.events.delivery import deliver
from stageflow.stages import StageOutput, StageResult, StageStatus

if TYPE_CHECKING:
    from stageflow._engine.call import Invocation
    from stageflow._engine.run import Run
    from stageflow.context import PipelineContext
    from stageflow.contracts.event_sink import EventSink
    from stageflow.stages.retry import RetryPolicy

__all__ = ("Announcer", "Listener", "WideEvents")

Listener = Callable[[str, dict[str, Any]], object]
"""Is told the type and the facts of each event; must not wait. The facts are its own."""


class WideWriter(Protocol):
    """Writes the wide events of one run by the figures it is given, without results."""

    def stage_ended(self, stage: str, output: StageOutput, started_at: str, ended_at: str) -> None:
        """Emit the summary of a stage."""

    def note_stage(self, stage: str, output: StageOutput, started_at: str, ended_at: str) -> object:
        """Take up a stage whose summary nobody wanted."""

    def knows(self, stage: str) -> bool:
        """Say whether the stage was taken up."""
        ...

    def run_ended(self, outputs: Mapping[str, StageOutput], span: dict[str, Any]) -> None:
        """Emit the summary of the run."""


class WideEvents(Protocol):
    """Summarises stages and runs; what is called with positional arguments only."""

    def emit_stage_wide(self, stage_name: str, result: StageResult, ctx: Any, /) -> None:
        """Summarise a stage."""

    def emit_pipeline_wide(self, results: dict[str, StageResult], ctx: Any, /) -> None:
        """Summarise a run."""


_log = get_logger(__name__)

_STAGE_EVENTS = {
    "ok": "stage.completed",
    "skip": "stage.skipped",
    "cancel": "stage.cancelled",
    "fail": "stage.failed",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_THOUSAND = 1_000


class Announcer:
    """Builds the payload of each lifecycle event and tells every listener.

    Two events per stage are the most that most runs do besides their stages' own work, so what
    is the same in all of them is prepared once: identity, keys, and the text of the second.
    """

    __slots__ = (
        "_base",
        "_calls",
        "_collect",
        "_context",
        "_ended",
        "_ends",
        "_epoch",
        "_is_kept",
        "_last",
        "_last_text",
        "_listeners",
        "_names",
        "_prefix",
        "_results",
        "_run",
        "_run_writer",
        "_shift",
        "_sink",
        "_stage_writer",
        "_start_instants",
        "_start_texts",
        "_started",
        "_wide_pipeline",
        "_wide_stage",
    )

    def __init__(self, run: Run, sink: EventSink | None, context: PipelineContext) -> None:
        self._run = run
        self._sink = sink
        self._collect = run.collect_delivery
        self._listeners = run.options.listeners
        self._is_kept = run.is_kept
        self._names = run.plan.names
        self._calls = run.plan.calls
        self._context = context
        self._wide_stage = stage = run.options.wide_stage
        self._wide_pipeline = pipeline = run.options.wide_pipeline
        self._stage_writer = writer = _writer_of(stage, run, context)
        self._run_writer = writer if pipeline is stage else _writer_of(pipeline, run, context)
        self._base = base = {**_identity(run, context), "timestamp": ""}
        # All keys are there from the start: filling them in never makes a dictionary grow.
        self._started = {**base, "stage": "", "kind": "", "attempt": 1}
        ended = dict.fromkeys(("status", "started_at", "ended_at", "duration_ms"))
        self._ended: dict[str, Any] = {**self._started, **ended, "data_keys": None}
        self._epoch = (run.started_at - _EPOCH) // _MICROSECOND
        # The millisecond written last: its microseconds since the run began, and its text; so
        # far one that no instant is in.
        self._shift = -sys.maxsize
        self._prefix = ""
        self._ends = _ends_of_texts()
        self._last = -1.0
        self._last_text = ""
        self._results: dict[str, StageResult] = {}
        self._start_texts: list[str | None] = [None] * len(run.plan)
        self._start_instants = [0.0] * len(run.plan)

    def tell(self, type: str, facts: Mapping[str, Any]) -> None:
        """Tell every listener what happened, with the run's identity and the time of day."""
        told = {**self._base, **facts}
        told["timestamp"] = self._text_of(self._run.clock.monotonic())
        self._send(type, told)

    def _send(self, type: str, facts: dict[str, Any]) -> None:
        listeners = self._listeners
        if self._sink is not None:
            own = facts.copy() if listeners else facts
            deliver(self._sink, type, own, collector=self._collect)
        for listener in listeners:
            _tell_one(listener, type, facts.copy())

    def _text_of(self, instant: float) -> str:
        """Return the time of day at an instant of the run's clock, as `isoformat` writes it."""
        if instant == self._last:
            return self._last_text
        micro = round((instant - self._run.began) * 1e6) - self._shift
        if not 0 <= micro < _THOUSAND:
            milli, micro = divmod(micro + self._shift + self._epoch, _THOUSAND)
            self._shift = milli * _THOUSAND - self._epoch
            moment = _EPOCH + timedelta(milliseconds=milli)
            self._prefix = moment.isoformat(timespec="milliseconds")[:23]
        text = self._prefix + self._ends[micro]
        if not micro and self._prefix.endswith(".000"):
            # `isoformat` leaves out what there is nothing of.
            text = text.replace(".000000", "")
        self._last = instant
        self._last_text = text
        return text

    def run_started(self) -> None:
        """Tell that the run begins, if anybody is to know."""
        if not self._run.options.announce_run:
            return
        self.tell("pipeline.started", {"stages_total": len(self._run.plan)})

    def run_resumed(self, restored: int, lease: int) -> None:
        """Tell that the run goes on, with *restored* stages that need not run again."""
        if not self._run.options.announce_run:
            return
        total = len(self._run.plan)
        self.tell(
            "pipeline.resumed",
            {"stages_total": total, "stages_restored": restored, "lease": lease},
        )

    def run_ended(self, status: str, facts: Mapping[str, Any]) -> None:
        """Tell that the run is over; *status* is completed, failed or cancelled."""
        run = self._run
        if not run.options.announce_run:
            return
        ended = Counter([output.status._value_ for output in run.outputs if output is not None])
        counts = {status: ended[status] for status in _STAGE_EVENTS}
        self.tell(
            f"pipeline.{status}",
            {
                "status": status,
                "started_at": self._text_of(run.began),
                "ended_at": self._text_of(run.ended),
                "duration_ms": (run.ended - run.began) * 1000.0,
                "stage_counts": counts,
                **facts,
            },
        )

    def summarise_run(self) -> None:
        """Have the run summarised, if anybody wants that."""
        if self._run_writer is not None:
            self._summarise(self._write_run, self._run_writer)
        elif self._wide_pipeline is not None:
            known, run = self._results, self._run
            results = {
                name: known.get(name) or run.result(index)
                for index, name in enumerate(self._names)
                if run.outputs[index] is not None
            }
            self._summarise(self._wide_pipeline.emit_pipeline_wide, results, self._context)

    def _write_run(self, writer: WideWriter) -> None:
        run = self._run
        outputs: dict[str, StageOutput] = {}
        spanned: list[float] = []
        for index, (name, output) in enumerate(zip(self._names, run.outputs, strict=True)):
            if output is None:
                continue  # it waits
            outputs[name] = output
            began, ended = run.starts[index], run.ends[index]
            began = ended if began is None else began
            spanned += (began, ended)
            if not writer.knows(name):
                writer.note_stage(name, output, self._text_of(began), self._text_of(ended))
        began, ended = min(spanned, default=run.began), max(spanned, default=run.began)
        span = {
            "started_at": self._text_of(began),
            "ended_at": self._text_of(ended),
            "duration_ms": (ended - began) * 1000.0,
        }
        writer.run_ended(outputs, span)

    def _summarise(self, emit: Callable[..., None], *args: Any) -> None:
        try:
            self._run.call_isolated(emit, *args)
        except Exception:  # noqa: BLE001 - a summary is about the run, not a part of it
            _log.exception("wide_event.failed", emitter=repr(emit))

    def stage_started(self, index: int) -> None:
        """Tell that a stage begins its first attempt here; nothing if a guard has it run again."""
        run = self._run
        if self._start_texts[index] is not None:
            return
        facts = self._started.copy()
        began = run.starts[index]
        assert began is not None
        # A stage most often begins when another one ends.
        text = self._last_text if began == self._last else self._text_of(began)
        facts["timestamp"] = self._start_texts[index] = text
        self._start_instants[index] = began
        facts["stage"] = self._names[index]
        facts["kind"] = self._calls[index].kind._value_
        if index in run.attempts or self._is_kept:
            facts["attempt"] = 1 + sum(run.earlier_attempts(index), run.attempts.get(index, 0))
        self._send("stage.started", facts)

    def stage_ended(self, index: int, output: StageOutput) -> None:
        """Tell how a stage ended, or, if a guard may yet have it run again, tell that later."""
        run = self._run
        if run.guard_retries is None:
            self._tell_end(index, output, None)
            return
        now = run.clock.monotonic()
        for final in run.guard_retries.now_final(index):
            ended = run.outputs[final]
            assert ended is not None
            self._tell_end(final, ended, now)

    def stage_restored(self, index: int) -> None:
        """Tell how a stage ended whose end another process kept and had no time to tell."""
        output = self._run.outputs[index]
        assert output is not None
        self._tell_end(index, output, None)

    def _tell_end(self, index: int, output: StageOutput, now: float | None) -> None:
        """Tell how a stage ended, if that becomes known *now*, and not just when it ended."""
        run = self._run
        status = output.status._value_
        facts = self._ended.copy()
        facts["ended_at"] = ended_at = self._text_of(run.ends[index])
        facts["timestamp"] = ended_at if now is None else self._text_of(now)
        facts["stage"] = self._names[index]
        facts["kind"] = self._calls[index].kind._value_
        started_at = self._start_texts[index]
        if index in run.attempts:
            facts["attempt"] = run.attempts[index]
            started_at = None
        facts["status"] = status
        facts["started_at"] = started_at or self._began_again(index) or ended_at
        facts["duration_ms"] = output.duration_ms
        if status == "ok":
            facts["data_keys"] = sorted(map(str, output.data)) if output.data else []
        else:
            del facts["data_keys"]
            facts.update(self._reason(index, output))
        self._send(_STAGE_EVENTS[status], facts)
        if self._stage_writer is not None:
            # Not always what the events say: a stage that waited for a thread began later.
            began = run.starts[index]
            if began is None:
                started_at = ended_at
            elif started_at is None or began != self._start_instants[index]:
                started_at = self._text_of(began)
            try:
                self._stage_writer.stage_ended(self._names[index], output, started_at, ended_at)
            except Exception:  # noqa: BLE001 - as in `_summarise`
                _log.exception("wide_event.failed", emitter=repr(self._wide_stage))
        elif self._wide_stage is not None:
            name = self._names[index]
            result = self._results[name] = run.result(index)
            self._summarise(self._wide_stage.emit_stage_wide, name, result, self._context)

    def _began_again(self, index: int) -> str | None:
        """Return when a stage began whose beginning was not told, or is not the last one."""
        began = self._run.starts[index]
        return None if began is None else self._text_of(began)

    def _reason(self, index: int, output: StageOutput) -> dict[str, Any]:
        if output.status is StageStatus.FAIL:
            error = self._run.errors.get(index)
            return {
                "error": output.error,
                "error_type": None if error is None else type(error).__name__,
                "error_code": getattr(error, "code", None),
            }
        key = "reason" if output.status is StageStatus.SKIP else "cancel_reason"
        return {"reason": output.data.get(key, "")}

    def retry(
        self,
        invocation: Invocation,
        policy: RetryPolicy,
        error: str | None,
        delay_ms: float | None,
    ) -> None:
        """Tell that a stage is tried again after *delay_ms*, or, without a delay, no more."""
        facts: dict[str, Any] = {
            "stage": invocation.stage_name,
            "kind": invocation.call.kind.value,
            "attempt": invocation.attempt,
            "max_attempts": policy.max_attempts,
            "error": error,
        }
        if delay_ms is None:
            self.tell("stage.retry_exhausted", facts)
        else:
            self.tell("stage.retry_scheduled", {**facts, "delay_ms": delay_ms})

    def thread_abandoned(self, stage: str) -> None:
        """Tell that a thread which cannot be stopped was given up."""
        call = self._run.plan.calls[self._run.plan.index[stage]]
        attempt = self._run.attempts.get(self._run.plan.index[stage], 1)
        facts = {"stage": stage, "kind": call.kind.value, "attempt": attempt}
        self.tell("stage.thread_abandoned", facts)


def _writer_of(
    wide_events: WideEvents | None, run: Run, context: PipelineContext
) -> WideWriter | None:
    """Return what writes wide events without results; None where somebody wants to see those."""
    # Looked up on the class, for a mock has every attribute that it is asked for.
    make = getattr(type(wide_events), "_writer", None)
    return None if make is None else make(wide_events, context, run.collect_delivery)


@cache
def _ends_of_texts() -> tuple[str, ...]:
    return tuple([f"{micro:03}+00:00" for micro in range(_THOUSAND)])


def _tell_one(listener: Listener, type: str, facts: dict[str, Any]) -> None:
    try:
        listener(type, facts)
    except Exception:  # noqa: BLE001 - a listener is told, it does not decide
        # Watching a run must not change how it goes.
        _log.exception("listener.failed", event_type=type, listener=repr(listener))


def _identity(run: Run, context: PipelineContext) -> dict[str, Any]:
    ids = {
        name: None if value is None else str(value)
        for name, value in (
            ("pipeline_run_id", context.pipeline_run_id),
            ("request_id", context.request_id),
            ("session_id", context.session_id),
            ("user_id", context.user_id),
            ("org_id", context.org_id),
            ("interaction_id", context.interaction_id),
        )
    }
    return {
        **ids,
        "pipeline_name": run.plan.name,
        "topology": context.topology,
        "execution_mode": context.execution_mode,
        "service": context.service,
    }
