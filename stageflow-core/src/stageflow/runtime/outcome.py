"""RunOutcome: how a run went, and what a Runtime can run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol
from uuid import UUID

import attrs

from stageflow._engine.errors import UnifiedPipelineCancelled, UnifiedStageExecutionError
from stageflow._engine.plan import Plan
from stageflow._engine.run import RunOptions, RunReport, RunStatus
from stageflow.context import PipelineContext
from stageflow.contracts.waits import RunWait
from stageflow.stages import StageOutput, StageResult

__all__ = ("Buildable", "RunOutcome", "Runnable")


class Runnable(Protocol):
    """A built pipeline, whichever door it came through."""

    @property
    def name(self) -> str:
        """The pipeline's name."""
        ...

    @property
    def options(self) -> RunOptions:
        """What every run of it is given."""
        ...

    @property
    def plan(self) -> Plan:
        """Everything about it that is the same in all its runs."""
        ...

    def check_inputs(self, given: Mapping[str, Any]) -> None:
        """Return if a run can start with the inputs *given*; raise if it cannot."""
        ...

    async def execute(self, ctx: PipelineContext, options: RunOptions | None = None) -> RunReport:
        """Run it and report how it went."""
        ...


class Buildable(Protocol):
    """A declared pipeline, which can be built."""

    def build(self) -> Runnable:
        """Return what runs it."""
        ...


@attrs.frozen(kw_only=True, eq=False)
class RunOutcome:
    """How a run went.

    Attributes:
        run_id: The run's identity, under which its record is found.
        pipeline_name: What was run.
        status: `completed`, `failed` or `cancelled`; or `waiting`, if it left memory until
            somebody gives a signal.
        outputs: Every stage's output, by name, in declared order; while it is waiting, of the
            stages that have ended.
        results: Every stage's result with its times, likewise.
        stage: The stage that failed first or asked to cancel, if one did.
        error: What that stage raised, if it failed.
        reason: Why the run was cancelled, if it was.
        duration_ms: How long it took here, clean-ups apart.
        restored: The stages that did not run here, since they had ended before.
        waits: What a waiting run waits for.
    """

    run_id: UUID
    pipeline_name: str
    status: RunStatus
    outputs: Mapping[str, StageOutput] = attrs.field(repr=False)
    results: Mapping[str, StageResult] = attrs.field(repr=False)
    stage: str | None
    error: BaseException | None
    reason: str | None
    duration_ms: float
    restored: tuple[str, ...] = attrs.field(default=(), repr=False)
    waits: tuple[RunWait, ...] = ()

    def raise_for_status(self) -> None:
        """Raise the error of a run that failed or was cancelled; do nothing otherwise.

        Raises:
            UnifiedStageExecutionError: If a stage failed.
            UnifiedPipelineCancelled: If the run was cancelled.
        """
        if self.status == "failed":
            assert self.stage is not None
            assert self.error is not None
            raise UnifiedStageExecutionError(self.stage, self.error, self.outputs) from self.error
        if self.status == "cancelled":
            raise UnifiedPipelineCancelled(self.stage, self.reason or "", self.outputs)

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome as plain data; what stages gave stands in it as it is."""
        return {
            "run_id": str(self.run_id),
            "pipeline_name": self.pipeline_name,
            "status": self.status,
            "stage": self.stage,
            "error": None if self.error is None else str(self.error),
            "reason": self.reason,
            "duration_ms": self.duration_ms,
            "restored": list(self.restored),
            "waits": [
                {
                    "wait_id": wait.wait_id,
                    "stage": wait.stage,
                    "signal": wait.name,
                    "created_at": wait.created_at.isoformat(),
                    "deadline": None if wait.deadline is None else wait.deadline.isoformat(),
                }
                for wait in self.waits
            ],
            "stages": {
                name: {
                    "status": result.status.value,
                    "duration_ms": self.outputs[name].duration_ms,
                    "attempts": result.metadata["attempts"],
                    "error": result.error,
                    "data": result.data,
                }
                for name, result in self.results.items()
            },
        }
