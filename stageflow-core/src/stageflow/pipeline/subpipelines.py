"""SubpipelineSpawner: runs that are started by a stage of another run, and end with it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import anyio
import attrs

from stageflow._engine.errors import UnifiedPipelineCancelled, describe
from stageflow._engine.run import Run
from stageflow._engine.threads import LoopDoor
from stageflow._engine.waiting import StageParked
from stageflow.context import PipelineContext, StageContext
from stageflow.contracts.clock import Clock, SystemClock
from stageflow.errors import RunError
from stageflow.pipeline.child_events import (
    PipelineCanceledEvent,
    PipelineChildCompletedEvent,
    PipelineChildFailedEvent,
    PipelineSpawnedChildEvent,
)
from stageflow.pipeline.child_runs import ChildRunTracker, Shared, get_child_tracker
from stageflow.stages import StageOutput, StageStatus

__all__ = (
    "MaxDepthExceededError",
    "SubpipelineResult",
    "SubpipelineSpawner",
    "clear_subpipeline_spawner",
    "get_subpipeline_spawner",
    "set_subpipeline_spawner",
)

_Event = (
    PipelineSpawnedChildEvent
    | PipelineChildCompletedEvent
    | PipelineChildFailedEvent
    | PipelineCanceledEvent
)
_PARENT_STOPPED = "the run that started it was stopped"


class MaxDepthExceededError(RunError):
    """Runs start runs that start runs: one more would be nested too deeply.

    Attributes:
        current_depth: How many runs are above the one that was to start another.
        max_depth: How many there may be above a run.
    """

    code = "SF340"

    def __init__(self, current_depth: int, max_depth: int) -> None:
        super().__init__(
            f"A run with {current_depth} runs above it cannot start another"
            f" (max_depth={max_depth}).",
            hint="Look for a pipeline that starts itself, or raise the spawner's max_depth.",
        )
        self.current_depth = current_depth
        self.max_depth = max_depth


@attrs.frozen
class SubpipelineResult:
    """How a child run ended.

    Attributes:
        success: Whether it completed.
        child_run_id: The child.
        data: What its runner returned: the outputs by stage, for a pipeline's `run`.
        error: Why it did not complete.
        duration_ms: How long it took.
        cancelled: Whether it was cancelled, or cancelled itself.
        cause: What its runner raised, if it raised.
    """

    success: bool
    child_run_id: UUID
    data: Any = None
    error: str | None = None
    duration_ms: float = 0.0
    cancelled: bool = attrs.field(default=False, kw_only=True)
    cause: Exception | None = attrs.field(default=None, kw_only=True, repr=False, eq=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain data, ids as text."""
        return {
            "success": self.success,
            "child_run_id": str(self.child_run_id),
            "data": _plain(self.data),
            "error": self.error,
            "duration_ms": self.duration_ms,
            "cancelled": self.cancelled,
        }


@attrs.define
class _End:
    """How a runner came to its end."""

    value: Any = None
    error: str | None = None
    cause: Exception | None = None
    cancelled: bool = False
    from_above: bool = False


class SubpipelineSpawner:
    """Starts child runs, tells of them, and sees that none outlives its parent.

    Args:
        child_tracker: Knows which run was started by which; the current one unless given.
        emit_events: Whether the parent's sink is told.
        max_depth: How many runs there may be above a run.
        clock: Source of time; that of the run if a stage's context is given to `spawn`.
        new_id: Source of the children's ids; likewise.
    """

    def __init__(
        self,
        child_tracker: ChildRunTracker | None = None,
        emit_events: bool = True,
        max_depth: int = 5,
        *,
        clock: Clock | None = None,
        new_id: Callable[[], UUID] = uuid4,
    ) -> None:
        self._tracker = child_tracker
        self._emits = emit_events
        self._clock = clock or SystemClock()
        self._new_id = new_id
        self.max_depth = max_depth

    async def spawn(
        self,
        pipeline_name: str,
        ctx: PipelineContext | StageContext,
        correlation_id: UUID | None,
        parent_stage_id: str,
        runner: Callable[[PipelineContext], Any],
        *,
        topology: str | None = None,
        execution_mode: str | None = None,
    ) -> SubpipelineResult:
        """Run a child to its end and say how it ended; its failure is returned, not raised.

        When the parent is asked to stop, the child is at once: its context says so, and its
        runner is cancelled. The same when the caller is cancelled. Either way it is awaited.

        Args:
            pipeline_name: The child's pipeline, for events.
            ctx: The context of the parent run, or of the stage that starts the child.
            correlation_id: The caller's id for this start.
            parent_stage_id: The stage that starts it.
            runner: Is given the child's context and runs it, as a pipeline's `run` does. What it
                returns becomes the result's data.
            topology: The child's topology; the parent's unless given.
            execution_mode: The child's mode; the parent's unless given.

        Raises:
            MaxDepthExceededError: If there are too many runs above the child.
        """
        parent, clock, new_id = self._surroundings(ctx)
        parent.identify()
        parent_id = parent.pipeline_run_id
        assert parent_id is not None
        tracker = self._tracker or get_child_tracker()
        # A context knows the runs above it if it was forked, the tracker if they were spawned.
        depth = max(len(parent.ancestry), len(await tracker.get_ancestors(parent_id)))
        if depth >= self.max_depth:
            raise MaxDepthExceededError(depth, self.max_depth)
        run = None if isinstance(ctx, PipelineContext) else ctx._run
        journal = run.journal_below(parent_stage_id) if isinstance(run, Run) else None
        # What is resumed goes by the name that it had.
        child_id = new_id() if journal is None else journal.run_id
        child = parent.fork(
            child_id,
            parent_stage_id,
            correlation_id,
            topology=topology,
            execution_mode=execution_mode,
        )
        child.journal = journal
        await tracker.register_child(parent_id, child_id)
        tell = partial(self._tell, parent, clock)
        tell(
            PipelineSpawnedChildEvent(
                parent_id, child_id, parent_stage_id, pipeline_name, correlation_id
            )
        )
        began = clock.monotonic()
        end: _End | None = _End(error=_PARENT_STOPPED, cancelled=True, from_above=True)
        try:
            end = await _run_child(parent, child, runner)
        except anyio.get_cancelled_exc_class():
            child.mark_canceled(_reason(parent))
            assert end is not None
            end.error = child.cancel_token.reason
            raise
        except StageParked:
            end = None
            raise
        except BaseException as error:
            end = _End(error=describe(error))
            raise
        finally:
            duration_ms = (clock.monotonic() - began) * 1000.0
            if end is None:
                pass  # it has not ended: it waits
            elif end.cancelled:
                levels = depth + 1 if end.from_above else 0
                tell(PipelineCanceledEvent(child_id, parent_id, end.error or "", levels))
            elif end.error is not None:
                tell(PipelineChildFailedEvent(parent_id, child_id, pipeline_name, end.error))
            else:
                tell(PipelineChildCompletedEvent(parent_id, child_id, pipeline_name, duration_ms))
            await tracker.unregister_child(parent_id, child_id)
        assert end is not None
        return SubpipelineResult(
            end.error is None,
            child_id,
            end.value,
            end.error,
            duration_ms,
            cancelled=end.cancelled,
            cause=end.cause,
        )

    def _surroundings(
        self, ctx: PipelineContext | StageContext
    ) -> tuple[PipelineContext, Clock, Callable[[], UUID]]:
        if isinstance(ctx, PipelineContext):
            return ctx, self._clock, self._new_id
        run = ctx._run
        if isinstance(run, Run):
            return run.context, run.clock, run.options.new_id
        return ctx.as_pipeline_context(), self._clock, self._new_id

    def _tell(self, parent: PipelineContext, clock: Clock, event: _Event) -> None:
        if self._emits:
            parent.try_emit_event(
                event.type, {**event.to_dict(), "timestamp": clock.now().isoformat()}
            )


async def _run_child(
    parent: PipelineContext, child: PipelineContext, runner: Callable[[PipelineContext], Any]
) -> _End:
    with anyio.CancelScope() as scope:
        door = LoopDoor()

        def stop() -> None:
            # First the child's own way to end, then whatever its runner may wait for.
            child.mark_canceled(_reason(parent))
            door.call(scope.cancel)

        # Before the parent's run: what it stops would have ended without knowing the reason.
        forget = parent.cancel_token.on_cancel(stop, first=True)
        try:
            if not child.is_canceled:
                value = runner(child)
                return _judged(await value if inspect.isawaitable(value) else value)
        except UnifiedPipelineCancelled as error:
            reason = error.reason or "cancelled"
            return _End(error=reason, cause=error, cancelled=True, from_above=parent.is_canceled)
        except Exception as error:  # noqa: BLE001 - whatever it is, the child has failed
            return _End(error=describe(error), cause=error)
        finally:
            forget()
    return _End(error=child.cancel_token.reason, cancelled=True, from_above=True)


def _judged(value: Any) -> _End:
    if not isinstance(value, StageOutput):
        return _End(dict(value) if isinstance(value, Mapping) else value)
    if value.status is StageStatus.CANCEL:
        reason = str(value.data.get("cancel_reason") or "cancelled")
        return _End(value.data, error=reason, cancelled=True)
    if value.status in (StageStatus.FAIL, StageStatus.RETRY):
        return _End(value.data, error=value.error or "Unknown error")
    return _End(value.data)


def _reason(parent: PipelineContext) -> str:
    return parent.cancel_token.reason or _PARENT_STOPPED


def _plain(data: Any) -> Any:
    if isinstance(data, StageOutput):
        return {"status": data.status.value, "data": dict(data.data), "error": data.error}
    if isinstance(data, Mapping):
        return {str(key): _plain(value) for key, value in data.items()}
    return data


_current = Shared(SubpipelineSpawner)


def get_subpipeline_spawner() -> SubpipelineSpawner:
    """Return the spawner of those who name none."""
    return _current.get()


def set_subpipeline_spawner(spawner: SubpipelineSpawner) -> None:
    """Have *spawner* used by those who name none."""
    _current.set(spawner)


def clear_subpipeline_spawner() -> None:
    """Have a new spawner used by those who name none, from the next use on."""
    _current.set(None)
