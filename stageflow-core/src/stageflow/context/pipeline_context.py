"""PipelineContext: what one run is about, and what its stages and interceptors share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import attrs

from stageflow.context.cancellation import CancellationToken
from stageflow.context.identity import RunIdentity
from stageflow.context.snapshot import ContextSnapshot
from stageflow.errors import did_you_mean
from stageflow.events.current import get_event_sink
from stageflow.events.delivery import deliver
from stageflow.stages import StageArtifact

if TYPE_CHECKING:
    from stageflow.contracts.event_sink import EventSink

__all__ = ("PipelineContext",)

_ID_FIELDS = (
    "pipeline_run_id",
    "request_id",
    "session_id",
    "user_id",
    "org_id",
    "interaction_id",
)


@attrs.define(kw_only=True, eq=False)
class PipelineContext:
    """The identity, configuration and shared data of one run.

    Attributes:
        topology: Name of the shape of the pipeline, for observers.
        configuration: Settings of this run, chosen by the caller.
        execution_mode: The mode the run is started in.
        service: The service on whose behalf it runs.
        event_sink: Where its events go; the current sink unless given.
        data: Data that interceptors share; stages read their dependencies instead.
        inputs: The run's inputs, which stages read by name.
        db: A database handle for the application's own use.
        artifacts: What stages asked to keep.
        parent_run_id: The run that started this one, if one did.
        parent_stage_id: The stage of that run which did.
        correlation_id: The caller's id for this child run.
        ancestry: The runs above this one, the outermost first.
        cancel_token: The request to stop this run, safe to make from any thread.
        snapshot: What is known when the run begins; made from the fields above unless given.
        journal: Keeps the run's progress, if anything does; the engine's own.
    """

    pipeline_run_id: UUID | None = None
    request_id: UUID | None = None
    session_id: UUID | None = None
    user_id: UUID | None = None
    org_id: UUID | None = None
    interaction_id: UUID | None = None
    topology: str | None = None
    configuration: dict[str, Any] = attrs.field(factory=dict)
    execution_mode: str | None = None
    service: str = "pipeline"
    event_sink: EventSink | None = attrs.field(factory=get_event_sink)
    data: dict[str, Any] = attrs.field(factory=dict)
    inputs: Mapping[str, Any] = attrs.field(factory=dict)
    db: Any = None
    artifacts: list[StageArtifact] = attrs.field(factory=list)
    parent_run_id: UUID | None = None
    parent_stage_id: str | None = None
    correlation_id: UUID | None = None
    ancestry: tuple[UUID, ...] = ()
    _canceled: bool = attrs.field(default=False, alias="canceled")
    _snapshot: ContextSnapshot[Any] | None = attrs.field(default=None, alias="snapshot")
    _parent_data: Mapping[str, Any] = attrs.field(factory=dict, alias="parent_data", repr=False)
    _stage_metadata: dict[str, dict[str, Any]] = attrs.field(factory=dict, init=False, repr=False)
    cancel_token: CancellationToken = attrs.field(factory=CancellationToken, repr=False)
    journal: Any = attrs.field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.parent_run_id is not None and not self.ancestry:
            self.ancestry = (self.parent_run_id,)
        if self._canceled:
            self.cancel_token.cancel()
        if self._snapshot is not None:
            self._adopt(self._snapshot)

    def _adopt(self, snapshot: ContextSnapshot[Any]) -> None:
        # Whoever looks at the run finds the same identity in either of the two.
        for name in (*_ID_FIELDS, "topology", "execution_mode"):
            if getattr(self, name) is None:
                setattr(self, name, getattr(snapshot, name))

    @classmethod
    def for_run(
        cls,
        *,
        inputs: Mapping[str, Any] | None = None,
        input_text: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        new_id: Callable[[], UUID] = uuid4,
        **fields: Any,
    ) -> PipelineContext:
        """Return a context for one run, with an identity of its own unless one is given.

        Args:
            inputs: The run's inputs, which stages read by name.
            input_text: The text the run is about.
            metadata: Facts for the snapshot.
            new_id: Source of its identity.
            **fields: Further fields of the context.

        Raises:
            TypeError: If a field is unknown.
        """
        unknown = [name for name in fields if name not in _FIELDS]
        if unknown:
            hints = " ".join(did_you_mean(name, _FIELDS) for name in unknown)
            raise TypeError(f"A run takes no field {', '.join(map(repr, unknown))}. {hints}")
        context = cls(inputs=dict(inputs or {}), **fields)
        if context.pipeline_run_id is None:
            context.identify(new_id())
        if input_text is not None:
            context._snapshot = attrs.evolve(context.snapshot, input_text=input_text)
        if metadata:
            context._snapshot = attrs.evolve(context.snapshot, metadata=dict(metadata))
        return context

    @classmethod
    def now(cls) -> datetime:
        """Return the current time in UTC."""
        return datetime.now(UTC)

    @property
    def canceled(self) -> bool:
        """Whether somebody asked the run to stop."""
        return self.cancel_token.is_cancelled

    @property
    def is_canceled(self) -> bool:
        """Whether somebody asked the run to stop."""
        return self.cancel_token.is_cancelled

    def mark_canceled(self, reason: str = "cancelled") -> None:
        """Ask the run to stop; a run that is under way notices at once."""
        self.cancel_token.cancel(reason)

    def identify(self, run_id: UUID | None = None) -> None:
        """Give the run an identity: *run_id*, or else the one it has, or else a new one."""
        run_id = run_id or self.pipeline_run_id or uuid4()
        if run_id != self.pipeline_run_id:
            self.pipeline_run_id = run_id
            if self._snapshot is not None:
                identity = attrs.evolve(self._snapshot.run_id, pipeline_run_id=run_id)
                self._snapshot = self._snapshot.with_run_id(identity)

    @property
    def is_child_run(self) -> bool:
        """Whether another run started this one."""
        return self.parent_run_id is not None

    @property
    def snapshot(self) -> ContextSnapshot[Any]:
        """What is known when the run begins."""
        if self._snapshot is None:
            self._snapshot = ContextSnapshot(
                run_id=RunIdentity(
                    self.pipeline_run_id,
                    self.request_id,
                    self.session_id,
                    self.user_id,
                    self.org_id,
                    self.interaction_id,
                ),
                topology=self.topology,
                execution_mode=self.execution_mode,
            )
        return self._snapshot

    def fork(
        self,
        child_run_id: UUID,
        parent_stage_id: str,
        correlation_id: UUID | None = None,
        *,
        topology: str | None = None,
        execution_mode: str | None = None,
    ) -> PipelineContext:
        """Return the context of a run that *parent_stage_id* of this one starts.

        The child keeps the caller's identity, configuration, sink and snapshot, has data of its
        own, and reads this run's data, as it is now, through `get_parent_data`. Its request to
        stop is its own, too: who runs it hands on what this run is asked.

        Args:
            child_run_id: Identity of the child run.
            parent_stage_id: The stage that starts it.
            correlation_id: The caller's id for this start.
            topology: The child's topology; this run's unless given.
            execution_mode: The child's mode; this run's unless given.
        """
        topology = topology or self.topology
        execution_mode = execution_mode or self.execution_mode
        snapshot = self._snapshot
        if snapshot is not None:
            identity = attrs.evolve(snapshot.run_id, pipeline_run_id=child_run_id)
            snapshot = attrs.evolve(
                snapshot, run_id=identity, topology=topology, execution_mode=execution_mode
            )
        above = () if self.pipeline_run_id is None else (self.pipeline_run_id,)
        return PipelineContext(
            pipeline_run_id=child_run_id,
            request_id=self.request_id,
            session_id=self.session_id,
            user_id=self.user_id,
            org_id=self.org_id,
            interaction_id=self.interaction_id,
            topology=topology,
            configuration=dict(self.configuration),
            execution_mode=execution_mode,
            service=self.service,
            event_sink=self.event_sink,
            db=self.db,
            parent_run_id=self.pipeline_run_id,
            parent_stage_id=parent_stage_id,
            correlation_id=correlation_id,
            ancestry=(*self.ancestry, *above),
            snapshot=snapshot,
            parent_data=MappingProxyType(dict(self.data)),
        )

    fork_for_subpipeline = fork

    def lineage(self) -> dict[str, Any]:
        """Return what a further context of this same run must be given to stay a part of it."""
        return {
            "parent_run_id": self.parent_run_id,
            "parent_stage_id": self.parent_stage_id,
            "correlation_id": self.correlation_id,
            "ancestry": self.ancestry,
            "parent_data": self._parent_data,
            "cancel_token": self.cancel_token,
        }

    def get_parent_data(self, key: str, default: Any = None) -> Any:
        """Return what the starting run's data held under *key* when this run was forked."""
        return self._parent_data.get(key, default)

    def set_stage_metadata(self, stage: str, metadata: Mapping[str, Any]) -> None:
        """Keep *metadata* about *stage*, replacing what was kept before."""
        self._stage_metadata[stage] = dict(metadata)

    def get_stage_metadata(self, stage: str) -> dict[str, Any] | None:
        """Return a copy of what was kept about *stage*, or None."""
        found = self._stage_metadata.get(stage)
        return None if found is None else dict(found)

    def try_emit_event(self, type: str, data: Mapping[str, Any] | None = None) -> None:
        """Tell the run's listeners that something happened; never raises and never waits."""
        if self.event_sink is None:
            return
        known = {
            "pipeline_run_id": _text(self.pipeline_run_id),
            "request_id": _text(self.request_id),
            "execution_mode": self.execution_mode,
        }
        if self.topology is not None:
            known["topology"] = self.topology
        deliver(self.event_sink, type, data, known=known)

    def record_stage_event(
        self, *, stage: str, status: str, payload: Mapping[str, Any] | None = None
    ) -> None:
        """Tell the run's listeners that *stage* reached *status*."""
        data = {
            "stage": stage,
            "status": status,
            "timestamp": self.now().isoformat(),
            **(payload or {}),
        }
        self.try_emit_event(f"stage.{stage}.{status}", data)

    def to_dict(self) -> dict[str, Any]:
        """Return the identity and settings of the run as JSON-able data."""
        return {
            **{name: _text(getattr(self, name)) for name in _ID_FIELDS},
            "topology": self.topology,
            "configuration": dict(self.configuration),
            "execution_mode": self.execution_mode,
            "service": self.service,
            "data": dict(self.data),
            "canceled": self.canceled,
            "parent_run_id": _text(self.parent_run_id),
            "parent_stage_id": self.parent_stage_id,
            "correlation_id": _text(self.correlation_id),
        }


_FIELDS = tuple(
    field.alias or field.name
    for field in attrs.fields(PipelineContext)
    if field.init and field.alias not in ("inputs", "parent_data")
)


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)
