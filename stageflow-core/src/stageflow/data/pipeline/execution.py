"""Execution: one run of the engine, told in the words of function pipelines."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any
from uuid import UUID

import attrs

from stageflow._engine.errors import StageTimeoutError
from stageflow._engine.plan import Plan
from stageflow._engine.run import Run, RunOptions, RunReport
from stageflow.context import PipelineContext as RunContext
from stageflow.context.views import read_only
from stageflow.data.pipeline.config import (
    CancellationReason,
    PipelineConfig,
    PipelineStatus,
    StageStatus,
)
from stageflow.data.pipeline.context import PipelineContext
from stageflow.data.pipeline.errors import (
    DependencyFailedException,
    PipelineException,
    PipelineTimeoutException,
    StageTimeoutException,
)
from stageflow.data.pipeline.handlers import CONTEXT, INITIAL, VALUE
from stageflow.data.pipeline.progress import PipelineProgress, ProgressCallback
from stageflow.data.pipeline.results import PipelineResult, StageResult
from stageflow.data.pipeline.stages import Stage
from stageflow.errors import did_you_mean
from stageflow.stages import StageResult as EngineResult
from stageflow.stages import StageStatus as Outcome

__all__ = ("Execution",)

_Ending = tuple[StageStatus, str | None, BaseException | None]
_UNDER_WAY = {
    "stage.started": StageStatus.RUNNING,
    "stage.retry_scheduled": StageStatus.RETRYING,
}
_ENDS = frozenset({"stage.completed", "stage.failed", "stage.skipped", "stage.cancelled"})


class Execution:
    """One execution of a pipeline.

    Args:
        plan: What the engine runs.
        stages: The stages, by id.
        config: How they run.
        options: What every execution of the pipeline is given.
        context: What the handlers share; made anew unless given.
        on_progress: Is told how far it is.
        run_id: Its identity as a run; the context's, if it has one, or a new one unless given.

    Attributes:
        context: What the handlers share.
        run_id: Its identity as a run.

    Raises:
        PipelineException: If *context* was used before.
    """

    def __init__(
        self,
        plan: Plan,
        stages: Mapping[str, Stage],
        config: PipelineConfig,
        options: RunOptions,
        *,
        context: PipelineContext | None = None,
        on_progress: ProgressCallback | None = None,
        run_id: UUID | None = None,
    ) -> None:
        self.run_id = run_id or _uuid_of(context) or options.new_id()
        self.context = context or PipelineContext(str(self.run_id), config)
        self.context.belong_to(self)
        self._plan = plan
        self._stages = stages
        self._config = config
        self._options = options
        self._on_progress = on_progress
        self._limit = config.timeout.pipeline_timeout_seconds
        self._heard = 0
        self._heard_executed = 0
        self._restored: frozenset[str] = frozenset()
        self._has_begun = False
        self._report: RunReport | None = None
        # Stands for the run until it begins: whoever asks is told that nothing has happened yet.
        self._run = Run(plan, self.run_context(None), options)

    def run_context(self, initial_input: Any) -> RunContext:
        """Return the context of a run of it, as it may be stored."""
        return RunContext(
            pipeline_run_id=self.run_id,
            inputs={INITIAL: initial_input},
            cancel_token=self.context.cancel_token,
        )

    async def execute(self, ctx: RunContext, options: RunOptions | None = None) -> RunReport:
        """Run every stage in *ctx*, and report how it went."""
        own = self.context.cancel_token
        if ctx.cancel_token is not own:
            # A run that goes on brings a token of its own; either stops both.
            own.on_cancel(lambda: ctx.mark_canceled(own.reason or ""))
            ctx.cancel_token.on_cancel(lambda: own.cancel(ctx.cancel_token.reason or ""))
        ctx.inputs = {**ctx.inputs, CONTEXT: self.context}
        options = options or self._options
        if ctx.journal is not None and ctx.journal.is_over:
            options = attrs.evolve(options, timeout=None)  # nothing runs that could be late
        hear = () if self._on_progress is None else (self._hear,)
        options = attrs.evolve(
            options, pause_gate=self.context.pause_gate, listeners=(*options.listeners, *hear)
        )
        self._run = Run(self._plan, ctx, options)
        self._has_begun = True
        self._report = await self._run.execute()
        return self._report

    def result(self) -> PipelineResult:
        """Return how it went; asked when it is over."""
        report, run = self._report, self._run
        assert report is not None
        results = {name: self._stage_result(number) for number, name in enumerate(self._plan.names)}
        status = self._status(report, results)
        reason: CancellationReason | None = None
        if status is PipelineStatus.CANCELLED:
            reason = self.stopped_because or self.context.cancellation_reason
        return PipelineResult(
            pipeline_id=self.context.pipeline_id,
            pipeline_name=self._plan.name,
            status=status,
            stage_results=results,
            start_time=run.time_of(run.began).timestamp(),
            end_time=run.time_of(run.ended).timestamp(),
            cancellation_reason=reason,
            metadata=_totals(results) if self._config.collect_metrics else {},
            timeout_seconds=self._limit if report.timed_out else None,
            run_id=self.run_id,
        )

    # What the context is asked.

    @property
    def stopped_because(self) -> CancellationReason | None:
        """Why it is being stopped, unless the context was asked to cancel it."""
        if self._run.timed_out:
            return CancellationReason.TIMEOUT
        if self._run.stopping == "failed":
            return CancellationReason.ERROR
        if self._run.stopping == "cancelled" and not self.context.cancel_token.is_cancelled:
            return CancellationReason.EXTERNAL
        return None

    def find_result(self, stage_id: str) -> StageResult | None:
        """Return how a stage ended, read-only, or None if it has not ended yet."""
        number = self._number(stage_id)
        if self._run.outputs[number] is None:
            return None
        found = self._stage_result(number)
        return attrs.evolve(found, result=read_only(found.result, stage_id))

    def status_of(self, stage_id: str) -> StageStatus:
        """Return where a stage stands."""
        number, run = self._number(stage_id), self._run
        if run.outputs[number] is not None:
            return self._stage_result(number).status
        if run.starts[number] is not None:
            return StageStatus.RUNNING
        needs = self._plan.dependencies[number]
        waits = any(run.outputs[dependency] is None for dependency in needs)
        return StageStatus.PENDING if waits else StageStatus.QUEUED

    def execution_key(self, stage_id: str) -> str:
        """Return a text that names what a stage does, the same for all its attempts."""
        self._number(stage_id)
        return self._run.execution_key(stage_id)

    def progress(self) -> PipelineProgress:
        """Return how far it is."""
        run = self._run
        ended = [number for number, output in enumerate(run.outputs) if output is not None]
        executed = sum(run.starts[number] is not None for number in ended) - len(run.restored)
        return self._progress(None, None, len(ended), executed)

    def _progress(
        self, stage_id: str | None, status: StageStatus | None, ended: int, executed: int
    ) -> PipelineProgress:
        run = self._run
        elapsed = run.clock.monotonic() - run.began if self._has_begun else 0.0
        left = len(self._plan) - ended
        return PipelineProgress(
            pipeline_id=self.context.pipeline_id,
            pipeline_name=self._plan.name,
            stage_id=stage_id,
            stage_status=status,
            completed=ended,
            total=len(self._plan),
            elapsed_seconds=elapsed,
            remaining_seconds=elapsed / executed * left if executed else None,
        )

    def _hear(self, type: str, facts: dict[str, Any]) -> None:
        assert self._on_progress is not None
        status = _UNDER_WAY.get(type)
        if status is None and type not in _ENDS:
            return
        stage = facts["stage"]
        if self._is_restored(stage):
            return  # that it ended is news for the log only
        if status is None:
            status = self.status_of(stage)
            # Counted here, since to count anew for each of many stages would cost their square.
            self._heard += 1
            self._heard_executed += self._run.starts[self._plan.index[stage]] is not None
        ended = self._heard + len(self._run.restored)
        self._on_progress(self._progress(stage, status, ended, self._heard_executed))

    def _number(self, stage_id: str) -> int:
        number = self._plan.index.get(stage_id)
        if number is None:
            raise PipelineException(
                f"Pipeline {self._plan.name!r} has no stage {stage_id!r}.",
                hint=did_you_mean(stage_id, self._plan.index),
            )
        return number

    # What the engine's words mean.

    def _stage_result(self, number: int) -> StageResult:
        run, found = self._run, self._run.result(number)
        stage = self._stages[found.name]
        executed = run.starts[number] is not None
        status, error, exception = self._ending(number, found)
        return StageResult(
            stage_id=stage.stage_id,
            stage_name=stage.name,
            status=status,
            result=found.data[VALUE] if status is StageStatus.COMPLETED else None,
            error=error,
            exception=exception,
            start_time=found.started_at.timestamp() if executed else None,
            end_time=found.ended_at.timestamp(),
            attempt_count=found.metadata["attempts"] if executed else 0,
            metrics=self._metrics(number, found) if self._config.collect_metrics else {},
            critical=stage.critical,
            restored=self._is_restored(found.name),
        )

    def _ending(self, number: int, found: EngineResult) -> _Ending:
        name, run = found.name, self._run
        if found.status is Outcome.OK:
            return StageStatus.COMPLETED, None, None
        raised = run.errors.get(number)
        if found.status is Outcome.FAIL:
            if isinstance(raised, StageTimeoutError) and raised.stage == name:
                late = StageTimeoutException(name, raised.timeout)
                return StageStatus.TIMED_OUT, late.message, late
            return StageStatus.FAILED, found.error, raised
        if run.starts[number] is None:
            failed = found.metadata.get("failed_dependency") or self._failed_before.get(name)
            if failed is not None:
                skipped = DependencyFailedException(name, failed)
                return StageStatus.SKIPPED, f"its dependency {failed!r} failed", skipped
        elif run.timed_out:
            assert self._limit is not None
            stopped = PipelineTimeoutException(self._limit)
            return StageStatus.TIMED_OUT, stopped.message, stopped
        return StageStatus.CANCELLED, found.data.get("cancel_reason"), None

    def _is_restored(self, stage_id: str) -> bool:
        restored = self._run.restored
        if len(self._restored) != len(restored):  # known from when the run goes on
            self._restored = frozenset(restored)
        return stage_id in self._restored

    @cached_property
    def _failed_before(self) -> Mapping[str, str]:
        """The failed stage that each stage depends on, directly or not; asked when it is over."""
        plan, run = self._plan, self._run
        failed = [
            number
            for number, output in enumerate(run.outputs)
            if output is not None and output.status is Outcome.FAIL
        ]
        causes: dict[str, str] = {}
        for first in sorted(failed, key=run.ends.__getitem__):
            waiting = [first]
            while waiting:
                for follower in plan.successors[waiting.pop()]:
                    if plan.names[follower] not in causes:
                        causes[plan.names[follower]] = plan.names[first]
                        waiting.append(follower)
        return causes

    def _status(self, report: RunReport, results: Mapping[str, StageResult]) -> PipelineStatus:
        if report.status == "cancelled":
            return PipelineStatus.CANCELLED
        if report.status == "completed":
            return PipelineStatus.COMPLETED
        calls, outputs = self._plan.calls, report.outputs
        stopped = any(
            call.policy.on_failure == "stop" and outputs[name].status is Outcome.FAIL
            for name, call in zip(self._plan.names, calls, strict=True)
        )
        if stopped or not any(result.is_success for result in results.values()):
            return PipelineStatus.FAILED
        return PipelineStatus.PARTIALLY_COMPLETED

    def _metrics(self, number: int, found: EngineResult) -> dict[str, Any]:
        run = self._run
        began = run.starts[number]
        if began is None:
            return {}
        ready = [run.ends[dependency] for dependency in self._plan.dependencies[number]]
        return {
            "attempts": found.metadata["attempts"],
            "duration_ms": found.duration_ms,
            # What ended before the run went on may have begun before it did.
            "queued_ms": max(0.0, began - max(ready, default=run.began)) * 1000.0,
            "thread_abandoned": found.metadata.get("thread_abandoned", False),
        }


def _uuid_of(context: PipelineContext | None) -> UUID | None:
    try:
        return None if context is None else UUID(context.pipeline_id)
    except ValueError:
        return None  # it is called as its user likes


def _totals(results: Mapping[str, StageResult]) -> dict[str, Any]:
    return {
        "stages": len(results),
        "attempts": sum(result.attempt_count for result in results.values()),
        "stage_time_ms": sum(result.duration_ms for result in results.values()),
    }
