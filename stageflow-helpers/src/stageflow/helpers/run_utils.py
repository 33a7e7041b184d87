"""Running a pipeline from a script or a test, and looking at what happened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol
from uuid import UUID, uuid4

import anyio
import attrs

from stageflow.context import ContextSnapshot, PipelineContext, RunIdentity
from stageflow.contracts.clock import Clock, SystemClock
from stageflow.events import (
    EventSink,
    NoOpEventSink,
    clear_event_sink,
    get_event_sink,
    set_event_sink,
)
from stageflow.helpers.analytics import AnalyticsEvent, ConsoleExporter
from stageflow.helpers.memory_tracker import MemoryTracker
from stageflow.helpers.uuid_utils import UuidCollisionMonitor
from stageflow.pipeline import (
    UnifiedPipelineCancelled,
    UnifiedStageExecutionError,
    UnifiedStageGraph,
)
from stageflow.stages import StageOutput

__all__ = ("ObservableEventSink", "PipelineRunner", "RunResult")


class _Buildable(Protocol):
    """A declaration of a pipeline."""

    def build(self) -> UnifiedStageGraph:
        """Return the graph that runs it."""
        ...


@attrs.frozen
class RunResult:
    """How a run went.

    Attributes:
        success: Whether it came to its end without a failure; an early end on request is none.
        stages: Of each stage `status`, `data`, `error` and `duration_ms`, by name.
        duration_ms: How long the run took.
        error: What went wrong.
        error_type: Class of the error.
        error_stage: The stage that failed first.
        cancelled: Whether the run ended early because somebody asked for it.
        cancel_reason: Why.
        events: What happened, if that was captured: `type`, `data` and `timestamp` of each event.
        pipeline_run_id: The run.
    """

    success: bool
    stages: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    duration_ms: float = 0.0
    error: str | None = None
    error_type: str | None = None
    error_stage: str | None = None
    cancelled: bool = False
    cancel_reason: str | None = None
    events: list[dict[str, Any]] = attrs.field(factory=list)
    pipeline_run_id: UUID | None = None

    def get_stage_data(self, stage: str) -> dict[str, Any]:
        """Return the output data of *stage*; nothing if it gave none."""
        data: dict[str, Any] = self.stages.get(stage, {}).get("data", {})
        return data

    def to_dict(self) -> dict[str, Any]:
        """Return every field, the run's id as text."""
        run_id = self.pipeline_run_id
        fields = attrs.asdict(self, recurse=False)
        return {**fields, "pipeline_run_id": None if run_id is None else str(run_id)}


class ObservableEventSink(EventSink):
    """An event sink that prints events as they come and keeps them.

    Args:
        verbose: Print each event on standard output.
        colorize: Colour what is printed.
        capture: Keep events in `events`.
        clock: Source of the time.
    """

    def __init__(
        self,
        *,
        verbose: bool = True,
        colorize: bool = True,
        capture: bool = True,
        clock: Clock | None = None,
    ) -> None:
        self.events: list[dict[str, Any]] = []
        self._console = ConsoleExporter(colorize=colorize) if verbose else None
        self._capture = capture
        self._clock = clock or SystemClock()

    async def emit(self, *, type: str, data: dict[str, Any] | None) -> None:
        """Print and keep the event."""
        self.try_emit(type=type, data=data)

    def try_emit(self, *, type: str, data: dict[str, Any] | None) -> None:
        """Print and keep the event."""
        now = self._clock.now()
        facts = dict(data or {})
        if self._capture:
            self.events.append({"type": type, "data": facts, "timestamp": now.isoformat()})
        if self._console is not None:
            stage, duration = facts.get("stage"), facts.get("duration_ms")
            event = AnalyticsEvent(type, now, facts, None, stage, duration)
            self._console.show(event)

    def clear(self) -> None:
        """Forget the events that were kept."""
        self.events.clear()

    def get_events_by_type(self, event_type: str) -> list[dict[str, Any]]:
        """Return the kept events of one type."""
        return [event for event in self.events if event["type"] == event_type]

    def get_stage_events(self, stage: str) -> list[dict[str, Any]]:
        """Return the kept events that speak of one stage."""
        return [event for event in self.events if event["data"].get("stage") == stage]


class PipelineRunner:
    """Runs pipelines and reports on each run, whatever its outcome.

    Args:
        verbose: Print events as they come.
        colorize: Colour what is printed.
        capture_events: Keep the events of each run in its result.
        enable_uuid_monitor: Watch the ids of the runs for repeats; see `uuid_monitor`.
        enable_memory_tracker: Take samples of memory around each run; see `memory_tracker`.
        new_id: Source of the ids that are not given.
        clock: Source of the time.

    Attributes:
        uuid_monitor: Watches the ids of the runs, if enabled.
        memory_tracker: Holds the samples, if enabled; tracing goes on until it is stopped.
    """

    def __init__(
        self,
        *,
        verbose: bool = True,
        colorize: bool = True,
        capture_events: bool = True,
        enable_uuid_monitor: bool = False,
        enable_memory_tracker: bool = False,
        new_id: Callable[[], UUID] = uuid4,
        clock: Clock | None = None,
    ) -> None:
        self._verbose = verbose
        self._colorize = colorize
        self._capture_events = capture_events
        self._new_id = new_id
        self._clock = clock or SystemClock()
        self.uuid_monitor = (
            UuidCollisionMonitor(category="pipeline_run_id", clock=self._clock)
            if enable_uuid_monitor
            else None
        )
        self.memory_tracker = MemoryTracker(clock=self._clock) if enable_memory_tracker else None

    def create_snapshot(
        self,
        *,
        input_text: str | None = None,
        execution_mode: str | None = "practice",
        pipeline_run_id: UUID | None = None,
        request_id: UUID | None = None,
        session_id: UUID | None = None,
        user_id: UUID | None = None,
        org_id: UUID | None = None,
        interaction_id: UUID | None = None,
        topology: str | None = None,
        channel: str = "text",
    ) -> ContextSnapshot:
        """Return what a run shall know when it begins; ids that are not given are made.

        Args:
            input_text: The text the run is about.
            execution_mode: The mode the run is started in.
            pipeline_run_id: The run itself.
            request_id: The request that caused it.
            session_id: The session the request belongs to.
            user_id: Who asked.
            org_id: The organisation of whoever asked.
            interaction_id: The exchange within the session.
            topology: Name of the shape of the pipeline.
            channel: How the text came; goes into the metadata.
        """
        now = self._clock.now()
        identity = RunIdentity(
            pipeline_run_id=pipeline_run_id or self._new_id(),
            request_id=request_id or self._new_id(),
            session_id=session_id or self._new_id(),
            user_id=user_id or self._new_id(),
            org_id=org_id or self._new_id(),
            interaction_id=interaction_id or self._new_id(),
            created_at=now,
        )
        return ContextSnapshot(
            run_id=identity,
            input_text=input_text,
            topology=topology,
            execution_mode=execution_mode,
            created_at=now,
            metadata={"channel": channel},
        )

    async def run(
        self,
        pipeline: UnifiedStageGraph | _Buildable,
        *,
        input_text: str | None = None,
        snapshot: ContextSnapshot | None = None,
        inputs: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> RunResult:
        """Run *pipeline* and say how it went; a failure is in the result and is not raised.

        An `ObservableEventSink` is the current sink while the run goes on. Being cancelled from
        outside is passed on.

        Args:
            pipeline: A pipeline, which is built, or a built one.
            input_text: The text the run is about.
            snapshot: What the run knows when it begins; made from the other arguments unless given.
            inputs: The run's inputs, which stages read by name.
            **fields: Further arguments of `create_snapshot`.
        """
        if snapshot is None:
            snapshot = self.create_snapshot(input_text=input_text, **fields)
        run_id = snapshot.pipeline_run_id
        if self.uuid_monitor is not None and run_id is not None:
            self.uuid_monitor.observe(run_id)
        sink = ObservableEventSink(
            verbose=self._verbose,
            colorize=self._colorize,
            capture=self._capture_events,
            clock=self._clock,
        )
        previous = get_event_sink()
        set_event_sink(sink)
        started = self._clock.monotonic()
        self._observe_memory("start")
        try:
            outcome = await self._outcome(pipeline, _context_of(snapshot, inputs))
        except anyio.get_cancelled_exc_class():
            self._observe_memory("cancelled")
            raise
        finally:
            # An empty place answers with a new no-op sink each time; leave it empty again.
            if isinstance(previous, NoOpEventSink):
                clear_event_sink()
            else:
                set_event_sink(previous)
        duration_ms = (self._clock.monotonic() - started) * 1000
        return attrs.evolve(
            outcome, duration_ms=duration_ms, events=sink.events, pipeline_run_id=run_id
        )

    async def _outcome(
        self, pipeline: UnifiedStageGraph | _Buildable, context: PipelineContext
    ) -> RunResult:
        try:
            graph = pipeline if isinstance(pipeline, UnifiedStageGraph) else pipeline.build()
            outputs = await graph.run(context)
        except UnifiedPipelineCancelled as cancelled:
            self._observe_memory("cancelled")
            return RunResult(
                success=True,
                stages=_plain(cancelled.results),
                cancelled=True,
                cancel_reason=cancelled.reason,
            )
        except Exception as error:  # noqa: BLE001 - the result carries it
            self._observe_memory("error")
            failed = error if isinstance(error, UnifiedStageExecutionError) else None
            return RunResult(
                success=False,
                stages=_plain(failed.results) if failed else {},
                error=str(error),
                error_type=type(error).__name__,
                error_stage=failed.stage if failed else None,
            )
        self._observe_memory("end")
        return RunResult(success=True, stages=_plain(outputs))

    def _observe_memory(self, moment: str) -> None:
        if self.memory_tracker is not None:
            self.memory_tracker.observe(f"pipeline:{moment}")


def _context_of(snapshot: ContextSnapshot, inputs: Mapping[str, Any] | None) -> PipelineContext:
    identity = snapshot.run_id
    return PipelineContext(
        pipeline_run_id=identity.pipeline_run_id,
        request_id=identity.request_id,
        session_id=identity.session_id,
        user_id=identity.user_id,
        org_id=identity.org_id,
        interaction_id=identity.interaction_id,
        topology=snapshot.topology,
        execution_mode=snapshot.execution_mode,
        inputs=dict(inputs or {}),
        snapshot=snapshot,
    )


def _plain(outputs: Mapping[str, StageOutput]) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "status": output.status.value,
            "data": dict(output.data),
            "error": output.error,
            "duration_ms": output.duration_ms,
        }
        for name, output in outputs.items()
    }
