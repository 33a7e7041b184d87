"""StageContext: everything one attempt of one stage may see and do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import attrs

from stageflow.context.inputs import MISSING, StageInputs
from stageflow.context.pipeline_context import PipelineContext
from stageflow.context.services import RunServices
from stageflow.context.snapshot import ContextSnapshot
from stageflow.context.timer import PipelineTimer
from stageflow.errors import RunError
from stageflow.events.delivery import deliver

if TYPE_CHECKING:
    from stageflow.contracts.event_sink import EventSink

__all__ = ("StageContext", "create_stage_context")


class _Open:
    """The slots of `StageContext` before it is closed: filling them here costs a third."""

    __slots__ = (
        "__weakref__",
        "_run",
        "attempt",
        "event_sink",
        "inputs",
        "snapshot",
        "stage_name",
        "timer",
    )


@attrs.frozen(weakref_slot=False)
class StageContext(_Open):
    """What a stage is given when it runs: an immutable view, made for one attempt.

    Attributes:
        snapshot: What was known when the run began.
        inputs: The outputs of the declared dependencies, and the run's inputs.
        stage_name: The stage that runs.
        timer: The time since the run began.
        event_sink: Where the run's events go; None if nobody listens.
        attempt: 1 for the first attempt of this stage.
    """

    snapshot: ContextSnapshot[Any]
    inputs: StageInputs
    stage_name: str
    timer: PipelineTimer
    event_sink: EventSink | None = None
    attempt: int = 1
    _run: RunServices | None = attrs.field(default=None, repr=False, eq=False)

    @property
    def pipeline_run_id(self) -> UUID | None:
        """The run this stage belongs to."""
        return self.snapshot.pipeline_run_id

    @property
    def request_id(self) -> UUID | None:
        """The request that caused the run."""
        return self.snapshot.request_id

    @property
    def execution_mode(self) -> str | None:
        """The mode the run was started in."""
        return self.snapshot.execution_mode

    @property
    def started_at(self) -> datetime:
        """When the run began, in UTC."""
        return self.timer.started_at

    @property
    def is_cancelled(self) -> bool:
        """Whether the run was asked to stop, is stopping, has no time left or is over.

        For threads, which cannot be interrupted: nobody waits for the stage any more.
        """
        run = self._run
        return run is not None and (run.is_stopping or run.cancel_token.is_cancelled)

    @property
    def config(self) -> Any:
        """The configuration provider that the run was given, or None."""
        return None if self._run is None else self._run.config

    @property
    def resources(self) -> Mapping[str, Any]:
        """The opened resources that the run was given, by name."""
        return {} if self._run is None or self._run.resources is None else self._run.resources

    @property
    def execution_key(self) -> str:
        """A text that names this execution, the same for all its attempts.

        Hand it to outside services that can recognise a repeated call.
        """
        if self._run is None:
            return f"{self.pipeline_run_id}/{self.stage_name}"
        return self._run.execution_key(self.stage_name)

    @classmethod
    def now(cls) -> datetime:
        """Return the current time in UTC."""
        return datetime.now(UTC)

    def register_cleanup(self, callback: Callable[[], Any], *, name: str | None = None) -> None:
        """Call *callback* when the run ends, however it ends; the last registered is called first.

        Args:
            callback: Takes nothing; what it returns is awaited if it can be.
            name: What to call it in reports.

        Raises:
            RunError: If this context was made by hand and belongs to no run.
        """
        if self._run is None:
            raise RunError(
                f"Stage {self.stage_name!r} registers a clean-up, but belongs to no run.",
                hint="Run the stage in a pipeline, or clean up where the context was made.",
            )
        self._run.register_cleanup(callback, name, self.stage_name)

    async def wait_for(
        self, name: str, *, timeout: float | None = None, default: Any = MISSING
    ) -> Any:
        """Wait until somebody gives the signal *name* to this run, and return what it says.

        The signal may come before or after this call, from any process, however often the run is
        interrupted meanwhile; each signal answers one call. A run that is resumed begins this
        stage anew, and the same call returns the answer if there is one. So what a stage does
        before it waits may be done twice: do it in a stage before, or under `execution_key`.

        Args:
            name: What to wait for, such as `approval`.
            timeout: Seconds after which to wait no longer; counted from the first call, also
                while no process runs the stage. The stage's own time limit stands still.
            default: What to return then; unless given, that is an error.

        Raises:
            SignalTimeoutError: If no signal came in time, and there is no default.
            NotDurableError: If nothing is kept of the run.
            RunError: If this context was made by hand and belongs to no run.
        """
        if self._run is None:
            raise RunError(
                f"Stage {self.stage_name!r} waits for {name!r}, but belongs to no run.",
                hint="Run the stage in a pipeline.",
            )
        try:
            return await self._run.wait_for(self, name, timeout)
        except TimeoutError as error:
            if default is MISSING or getattr(error, "wait", None) is None:
                raise
            return default

    def try_emit_event(self, type: str, data: Mapping[str, Any] | None = None) -> None:
        """Tell the run's listeners that something happened; never raises and never waits."""
        if self.event_sink is None:
            return
        known = {
            "pipeline_run_id": _text(self.pipeline_run_id),
            "request_id": _text(self.request_id),
            "execution_mode": self.execution_mode,
        }
        collector = None if self._run is None else self._run.collect_delivery
        deliver(self.event_sink, type, data, known=known, collector=collector)

    def record_stage_event(self, stage: str, status: str, **data: Any) -> None:
        """Tell the run's listeners that *stage* reached *status*."""
        self.try_emit_event(f"stage.{stage}.{status}", {"stage": stage, "status": status, **data})

    def to_dict(self) -> dict[str, Any]:
        """Return the context as JSON-able data: the snapshot's, and which stage this is."""
        return {
            **self.snapshot.to_dict(),
            "stage_name": self.stage_name,
            "attempt": self.attempt,
            "started_at": self.started_at.isoformat(),
        }

    def as_pipeline_context(
        self,
        *,
        data: dict[str, Any] | None = None,
        configuration: dict[str, Any] | None = None,
        service: str = "pipeline",
        db: Any = None,
    ) -> PipelineContext:
        """Return a `PipelineContext` with the same identity, for code that wants one.

        It stays a part of the run: it has the run's ancestry and its request to stop.
        """
        snapshot = self.snapshot
        lineage = {} if self._run is None else self._run.context.lineage()
        return PipelineContext(
            pipeline_run_id=snapshot.pipeline_run_id,
            request_id=snapshot.request_id,
            session_id=snapshot.session_id,
            user_id=snapshot.user_id,
            org_id=snapshot.org_id,
            interaction_id=snapshot.interaction_id,
            topology=snapshot.topology,
            execution_mode=snapshot.execution_mode,
            configuration=configuration or {},
            service=service,
            event_sink=self.event_sink,
            data=data or {},
            db=db,
            snapshot=snapshot,
            **lineage,
        )


def create_stage_context(
    snapshot: ContextSnapshot[Any],
    inputs: StageInputs,
    stage_name: str,
    timer: PipelineTimer,
    event_sink: EventSink | None = None,
) -> StageContext:
    """Return a context for one stage, for tests and for callers without an engine."""
    return StageContext(snapshot, inputs, stage_name, timer, event_sink)


def make_stage_context(
    snapshot: ContextSnapshot[Any],
    inputs: StageInputs,
    stage_name: str,
    timer: PipelineTimer,
    event_sink: EventSink | None,
    run: RunServices,
) -> StageContext:
    """Return the context of a first attempt in *run*, for the engine's hot path."""
    context: Any = _Open()
    context.snapshot = snapshot
    context.inputs = inputs
    context.stage_name = stage_name
    context.timer = timer
    context.event_sink = event_sink
    context.attempt = 1
    context._run = run
    context.__class__ = StageContext
    return context  # type: ignore[no-any-return]


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)
