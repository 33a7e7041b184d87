"""PipelineContext: what the stages of one execution share, and how it is stopped and held."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio.lowlevel
import attrs

from stageflow._engine.pausing import PauseGate
from stageflow.context.cancellation import CancellationToken
from stageflow.data.pipeline.config import CancellationReason, PipelineConfig, StageStatus
from stageflow.data.pipeline.errors import PipelineCancelledException, PipelineException
from stageflow.data.pipeline.results import StageResult

if TYPE_CHECKING:
    from stageflow.data.pipeline.execution import Execution
    from stageflow.data.pipeline.progress import PipelineProgress

__all__ = ("PipelineContext",)


@attrs.define(eq=False)
class PipelineContext:
    """What the handlers of one execution share; safe to use from any thread.

    A context made by hand belongs to no execution until it is handed to `Pipeline.execute`;
    that is enough to test a handler.

    Attributes:
        pipeline_id: Identity of the execution.
        config: How the pipeline runs.
        data: What handlers have stored for each other.
        cancel_token: The request to stop the execution.
        pause_gate: What holds its stages back while it is paused.
    """

    pipeline_id: str
    config: PipelineConfig = attrs.field(factory=PipelineConfig)
    data: dict[str, Any] = attrs.field(factory=dict)
    cancel_token: CancellationToken = attrs.field(factory=CancellationToken, init=False, repr=False)
    pause_gate: PauseGate = attrs.field(factory=PauseGate, init=False, repr=False)
    _execution: Execution | None = attrs.field(default=None, init=False, repr=False)
    _started: set[str] = attrs.field(factory=set, init=False, repr=False)

    def set(self, key: str, value: Any) -> None:
        """Store *value* under *key* for the other handlers of this execution."""
        self.data[key] = value

    def get(self, key: str, default: Any = None) -> Any:
        """Return what was stored under *key*, or *default*."""
        return self.data.get(key, default)

    def get_stage_result(self, stage_id: str) -> StageResult | None:
        """Return how a stage ended, or None if it has not ended yet.

        What it gave is read-only, as it is for the stages that depend on it.
        """
        return None if self._execution is None else self._execution.find_result(stage_id)

    def get_stage_status(self, stage_id: str) -> StageStatus:
        """Return where a stage stands; one that nobody knows is `PENDING`."""
        if self._execution is None:
            return StageStatus.PENDING
        return self._execution.status_of(stage_id)

    def get_progress(self) -> PipelineProgress | None:
        """Return how far the execution is, or None if there is none."""
        return None if self._execution is None else self._execution.progress()

    def get_execution_key(self, stage_id: str) -> str:
        """Return a text that names what a stage does in this execution, for calls outside.

        It is the same for all attempts of the stage, also after the execution was interrupted and
        went on elsewhere; whoever is called can tell by it what was done already.
        """
        if self._execution is None:
            return f"{self.pipeline_id}/{stage_id}"
        return self._execution.execution_key(stage_id)

    def cancel(self, reason: CancellationReason = CancellationReason.USER_REQUESTED) -> None:
        """Ask the execution to stop; it does at once, and the first reason stays."""
        self.cancel_token.cancel(reason.value)
        self.pause_gate.open()

    @property
    def is_cancelled(self) -> bool:
        """Whether the execution is to stop, or is being stopped for another reason."""
        return self.cancellation_reason is not None

    @property
    def cancellation_reason(self) -> CancellationReason | None:
        """Why the execution is to stop, or is being stopped; None while it goes on."""
        if self._execution is not None and self._execution.stopped_because is not None:
            return self._execution.stopped_because
        reason = self.cancel_token.reason
        if reason is None:
            return None
        # A durable run can be cancelled by anybody, for reasons in their own words.
        known = reason in CancellationReason._value2member_map_
        return CancellationReason(reason) if known else CancellationReason.EXTERNAL

    def check_cancelled(self) -> None:
        """Do nothing while the execution goes on; for threads, which cannot be interrupted.

        Raises:
            PipelineCancelledException: If it is to stop.
        """
        reason = self.cancellation_reason
        if reason is not None:
            raise PipelineCancelledException(reason)

    def pause(self) -> None:
        """Start no further stage until somebody resumes; what runs goes on."""
        if not self.cancel_token.is_cancelled:
            self.pause_gate.close()

    def resume(self) -> None:
        """Let stages start again."""
        self.pause_gate.open()

    @property
    def is_paused(self) -> bool:
        """Whether no further stage starts for now."""
        return self.pause_gate.is_closed

    async def wait_if_paused(self) -> None:
        """Return once nobody pauses the execution, or as soon as it is cancelled."""
        await self.pause_gate.wait()
        # A cancellation that opened the gate takes effect here.
        await anyio.lowlevel.checkpoint()

    def note_start(self, stage_id: str) -> bool:
        """Note that a stage has started; return whether it is the first time here."""
        is_first = stage_id not in self._started
        self._started.add(stage_id)
        return is_first

    def belong_to(self, execution: Execution) -> None:
        """Answer for *execution* from now on; a context does so for one only.

        Raises:
            PipelineException: If it belongs to another one.
        """
        if self._execution is not None:
            raise PipelineException(
                f"The context {self.pipeline_id!r} has been used for an execution before.",
                hint="Make a PipelineContext for each execution.",
            )
        self._execution = execution
