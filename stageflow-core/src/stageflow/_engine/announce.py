"""Announcer: says what happens in a run to those who listen; absent when nobody does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from stageflow.contracts.logs import get_logger
from stageflow.stages import StageOutput, StageResult, StageStatus

if TYPE_CHECKING:
    from stageflow._engine.call import Invocation
    from stageflow._engine.run import Run
    from stageflow.context import PipelineContext
    from stageflow.stages.retry import RetryPolicy

__all__ = ("Announcer", "Listener", "WideEvents")

Listener = Callable[[str, dict[str, Any]], object]
"""Is told the type and the facts of each event; must not wait. The facts are its own."""


class WideEvents(Protocol):
    """Summarises stages and runs; what is called with positional arguments only."""

    def emit_stage_wide(self, stage_name: str, result: StageResult, ctx: Any, /) -> None:
        """Summarise a stage."""

    def emit_pipeline_wide(self, results: dict[str, StageResult], ctx: Any, /) -> None:
        """Summarise a run."""


_log = get_logger(__name__)

_STAGE_EVENTS = {
    StageStatus.OK: "stage.completed",
    StageStatus.SKIP: "stage.skipped",
    StageStatus.CANCEL: "stage.cancelled",
    StageStatus.FAIL: "stage.failed",
}


class Announcer:
    """Builds the payload of each lifecycle event and tells every listener."""

    __slots__ = ("_base", "_context", "_listeners", "_run", "_wide_pipeline", "_wide_stage")

    def __init__(self, run: Run, listeners: Sequence[Listener], context: PipelineContext) -> None:
        self._run = run
        self._listeners = tuple(listeners)
        self._context = context
        self._wide_stage = run.options.wide_stage
        self._wide_pipeline = run.options.wide_pipeline
        self._base = _identity(run, context)

    def tell(self, type: str, facts: Mapping[str, Any]) -> None:
        """Tell every listener what happened, with the run's identity and the time of day."""
        base = {**self._base, "timestamp": self._run.clock.now().isoformat()}
        for listener in self._listeners:
            try:
                listener(type, {**base, **facts})
            except Exception:  # noqa: BLE001 - a listener is told, it does not decide
                # Watching a run must not change how it goes.
                _log.exception("listener.failed", event_type=type, listener=repr(listener))

    def run_started(self) -> None:
        """Tell that the run begins, if anybody is to know."""
        if not self._run.options.announce_run:
            return
        self.tell("pipeline.started", {"stages_total": len(self._run.plan)})

    def run_ended(self, status: str, facts: Mapping[str, Any]) -> None:
        """Tell that the run is over; *status* is completed, failed or cancelled."""
        run = self._run
        if not run.options.announce_run:
            return
        counts = dict.fromkeys((status.value for status in _STAGE_EVENTS), 0)
        for output in run.outputs:
            if output is not None:
                counts[output.status.value] += 1
        self.tell(
            f"pipeline.{status}",
            {
                "status": status,
                "started_at": run.time_of(run.began).isoformat(),
                "ended_at": run.time_of(run.ended).isoformat(),
                "duration_ms": (run.ended - run.began) * 1000.0,
                "stage_counts": counts,
                **facts,
            },
        )

    def summarise_run(self) -> None:
        """Have the run summarised, if anybody wants that."""
        if self._wide_pipeline is not None:
            run = self._run
            results = {name: run.result(index) for index, name in enumerate(run.plan.names)}
            self._summarise(self._wide_pipeline.emit_pipeline_wide, results, self._context)

    def _summarise(self, emit: Callable[..., None], *args: Any) -> None:
        try:
            self._run.call_isolated(emit, *args)
        except Exception:  # noqa: BLE001 - a summary is about the run, not a part of it
            _log.exception("wide_event.failed", emitter=repr(emit))

    def stage_started(self, index: int) -> None:
        """Tell that a stage begins its first attempt; nothing if a guard has it run again."""
        if index in self._run.attempts:
            return
        plan = self._run.plan
        self.tell(
            "stage.started",
            {"stage": plan.names[index], "kind": plan.calls[index].kind.value, "attempt": 1},
        )

    def stage_ended(self, index: int, output: StageOutput) -> None:
        """Tell how a stage ended, or, if a guard may yet have it run again, tell that later."""
        retries = self._run.guard_retries
        if retries is None:
            self._tell_end(index, output)
            return
        for final in retries.now_final(index):
            ended = self._run.outputs[final]
            assert ended is not None
            self._tell_end(final, ended)

    def _tell_end(self, index: int, output: StageOutput) -> None:
        run = self._run
        facts: dict[str, Any] = {
            "stage": run.plan.names[index],
            "kind": run.plan.calls[index].kind.value,
            "attempt": run.attempts.get(index, 1),
            "status": output.status.value,
            "started_at": run.time_of(_either(run.starts[index], run.ends[index])).isoformat(),
            "ended_at": run.time_of(run.ends[index]).isoformat(),
            "duration_ms": output.duration_ms,
        }
        if output.status is StageStatus.OK:
            facts["data_keys"] = sorted(map(str, output.data))
        elif output.status is StageStatus.FAIL:
            error = run.errors.get(index)
            facts["error"] = output.error
            facts["error_type"] = None if error is None else type(error).__name__
            facts["error_code"] = getattr(error, "code", None)
        elif output.status is StageStatus.SKIP:
            facts["reason"] = output.data.get("reason", "")
        else:
            facts["reason"] = output.data.get("cancel_reason", "")
        self.tell(_STAGE_EVENTS[output.status], facts)
        if self._wide_stage is not None:
            name = run.plan.names[index]
            self._summarise(
                self._wide_stage.emit_stage_wide, name, run.result(index), self._context
            )

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


def _either(start: float | None, end: float) -> float:
    return end if start is None else start


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
