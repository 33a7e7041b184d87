"""Durable runs: how a process becomes the owner of a run, and keeps what is known of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, get_args
from urllib.parse import unquote
from uuid import UUID

import anyio
import attrs

from stageflow._engine.fingerprint import (
    OnChange,
    PlanChange,
    PlanChangedError,
    affected_by,
    changes,
    fingerprint_of,
)
from stageflow._engine.journal import Journal, Ledger
from stageflow._engine.plan import Plan
from stageflow._engine.waiting import Waits
from stageflow.codec import Codec
from stageflow.context import ContextSnapshot, PipelineContext
from stageflow.contracts.checkpoints import LeaseHeldError, LeaseLostError, RunLease
from stageflow.contracts.clock import Clock
from stageflow.contracts.logs import get_logger
from stageflow.contracts.run_store import RunEvent, RunRecord, RunStatus, RunStoreCapabilities
from stageflow.errors import ConfigurationError, RunError, did_you_mean
from stageflow.runtime.owners import is_gone, this_process

__all__ = (
    "LEASE_SECONDS",
    "Durability",
    "DurabilityError",
    "NothingKeptError",
    "RunDocument",
    "RunNotResumableError",
    "Tenure",
    "cancelled_event",
    "check_durability",
    "take_lease",
)

_log = get_logger(__name__)

Durability = Literal["none", "exit", "step"]

LEASE_SECONDS: Final = 30.0
"""For how long a run is its owner's unless renewed."""
_BEAT_SECONDS: Final = 1.0
"""How often an owner looks whether the run is still its own, and whether it is to stop."""
_PAGE: Final = 5000
_ENDS: Final = frozenset({"stage.completed", "stage.skipped", "stage.cancelled", "stage.failed"})
_RUN: Final = "run"
_PLAN: Final = "plan"
_IDS: Final = ("request_id", "session_id", "user_id", "org_id", "interaction_id")


class DurabilityError(ConfigurationError):
    """A run is to be durable, and cannot be."""

    code = "SF238"


class RunNotResumableError(RunError):
    """A run cannot go on, because what it needs for that was not kept or is not at hand."""

    code = "SF353"


class NothingKeptError(RunNotResumableError):
    """Nothing was kept of a run with which it could go on."""

    code = "SF354"


def check_durability(wanted: str, store: object) -> None:
    """Return if *store* can keep a run as durable as is *wanted*.

    Raises:
        DurabilityError: It cannot, or nothing is called that.
    """
    known = get_args(Durability)
    if wanted not in known:
        raise DurabilityError(
            f"There is no durability {wanted!r}.",
            hint=did_you_mean(wanted, known) or f"Choose one of {', '.join(known)}.",
        )
    if wanted == "none":
        return
    if store is None:
        raise DurabilityError(
            f"A run with durability {wanted!r} needs a run store, and this Runtime has none.",
            hint="Give it one: Runtime(run_store='sqlite'), or `run_store = \"sqlite\"` in the"
            " settings.",
        )
    can = RunStoreCapabilities.of(store)
    if not (can.checkpoints and can.waits):
        raise DurabilityError(
            f"The run store {type(store).__name__} keeps no checkpoints, which durability"
            f" {wanted!r} needs.",
            hint="Choose one that does, such as 'sqlite', or durability 'none'.",
        )


@attrs.frozen(kw_only=True)
class RunDocument:
    """What a run was started with, as it is kept for who goes on with it.

    Attributes:
        pipeline: The pipeline's name.
        durability: What is kept of it, and when.
        origin: How whoever started it finds the pipeline again, in its own terms.
        fields: Its context, as plain data.
    """

    pipeline: str
    durability: Durability
    origin: Any
    fields: Mapping[str, Any]

    @classmethod
    def of(
        cls, context: PipelineContext, pipeline: str, durability: Durability, origin: Any
    ) -> RunDocument:
        """Return the document of a run that begins."""
        return cls(
            pipeline=pipeline,
            durability=durability,
            origin=origin,
            fields={
                "snapshot": context.snapshot.to_dict(),
                "inputs": dict(context.inputs),
                "data": dict(context.data),
                "configuration": dict(context.configuration),
                "service": context.service,
                "topology": context.topology,
                "execution_mode": context.execution_mode,
            },
        )

    def check(self) -> None:
        """Return if all of it can be stored.

        Raises:
            CodecError: It cannot; says which part.
        """
        self.encoded()

    def encoded(self, codec: Codec | None = None) -> bytes:
        """Return the document as it is stored."""
        codec = codec or Codec.default()
        return codec.encode(attrs.asdict(self, recurse=False), where="the context of the run")

    def context(self, run_id: UUID) -> PipelineContext:
        """Return the context with which the run goes on."""
        fields = dict(self.fields)
        snapshot: ContextSnapshot[Any] = ContextSnapshot.from_dict(fields.pop("snapshot"))
        context = PipelineContext(snapshot=snapshot, event_sink=None, **fields)
        context.identify(run_id)
        return context


def cancelled_event(
    record: RunRecord,
    document: RunDocument | None,
    counts: Mapping[str, int],
    reason: str,
    now: datetime,
) -> RunEvent:
    """Return `pipeline.cancelled` for a run that is cancelled where nobody runs it.

    Args:
        record: The run's.
        document: What it was started with; None if that was not kept.
        counts: How many stages ended with each status.
        reason: Why it is cancelled.
        now: When.
    """
    snapshot = {} if document is None else document.fields["snapshot"]
    ids = dict(snapshot.get("run_id") or {})
    data = {
        "pipeline_run_id": str(record.run_id),
        **{name: ids.get(name) for name in _IDS},
        "pipeline_name": record.metadata.get("pipeline_name", ""),
        "topology": record.topology,
        "execution_mode": record.execution_mode,
        "service": record.service,
        "timestamp": now.isoformat(),
        "status": "cancelled",
        "started_at": record.created_at.isoformat(),
        "ended_at": now.isoformat(),
        "duration_ms": (now - record.created_at).total_seconds() * 1000.0,
        "stage_counts": {each: counts.get(each, 0) for each in ("ok", "skip", "cancel", "fail")},
        "error": None,
        "failed_stage": None,
        "reason": reason,
    }
    return RunEvent(type="pipeline.cancelled", data=data, at=now)


async def take_lease(
    store: Any, run_id: UUID, *, own: int | None = None, ttl: float = LEASE_SECONDS
) -> RunLease:
    """Become the owner of a run that nobody has, or whose owner is known to be gone.

    Args:
        store: Where the run is kept.
        run_id: The run.
        own: The token of a lease that this process could not give back.
        ttl: Seconds for which the lease holds unless renewed.

    Raises:
        RunNotFoundError: There is no such run.
        LeaseHeldError: Somebody has it.
    """
    owner = this_process()
    try:
        return await store.acquire_lease(run_id, owner, ttl=ttl)  # type: ignore[no-any-return]
    except LeaseHeldError as held:
        if held.lease.token != own and not is_gone(held.lease.owner):
            raise
        return await store.acquire_lease(  # type: ignore[no-any-return]
            run_id, owner, ttl=ttl, take_over=held.lease.token
        )


class Tenure:
    """The time in which this process is the owner of a run.

    Args:
        store: Where the run is kept.
        lease: The right to go on with it.
        clock: Source of time.
        parks: Whether the run leaves memory when all it can do is to wait.
        ttl: Seconds for which the lease holds unless renewed.

    Attributes:
        status: What the run is; kept up by whoever owns it.
        is_over: Whether the run was left, so that there is no lease any more.
    """

    def __init__(
        self, store: Any, lease: RunLease, *, clock: Clock, parks: bool, ttl: float = LEASE_SECONDS
    ) -> None:
        self._store = store
        self._clock = clock
        self._ttl = ttl
        self._events: list[RunEvent] = []
        self.ledger = Ledger(store, lease, clock=clock, take_events=self.take_events)
        self.waits = Waits(self.ledger, parks=parks)
        self.document: RunDocument | None = None
        self.cancel: Callable[[str], object] = _no_run
        self.status = RunStatus.CREATED
        self.is_over = False
        self._known: dict[str, bytes] = {}
        self._told: set[str] | None = None

    @property
    def run_id(self) -> UUID:
        """The run."""
        return self.ledger.lease.run_id

    def note(self, event: RunEvent) -> None:
        """Have *event* logged with the next commit."""
        self._events.append(event)

    def take_events(self) -> Sequence[RunEvent]:
        """Return the events that were not logged yet, to be logged now."""
        events, self._events = self._events, []
        return events

    async def begin(self, document: RunDocument, plan: Plan) -> None:
        """Keep what the run is started with.

        Raises:
            CodecError: If an input cannot be stored; says which.
        """
        codec = self.ledger.codec
        self.document = document
        self.ledger.add(_RUN, document.encoded(codec))
        self.ledger.add(_PLAN, codec.encode(fingerprint_of(plan)))
        await self._go()

    async def load(self) -> RunDocument:
        """Read what is known of the run, and return what it was started with.

        Raises:
            RunNotResumableError: If nothing was kept.
            CodecError: If it cannot be read.
        """
        self._known = await self.ledger.load()
        value = self._known.pop(_RUN, None)
        if value is None:
            raise NothingKeptError(
                f"Nothing was kept of run {self.run_id} with which it could go on.",
                hint="Start runs with durability 'step' or 'exit' that are to be resumed.",
            )
        self.document = RunDocument(**self.ledger.codec.decode(value))
        return self.document

    async def load_told(self) -> None:
        """Find out which ends of stages are in the event log.

        They are logged with the commit after the one that keeps them, which a process that died
        may not have come to.
        """
        told: set[str] = set()
        after = 0
        while page := await self._store.read_events(self.run_id, after=after, limit=_PAGE):
            told.update(event.data["stage"] for event in page if event.type in _ENDS)
            after = page[-1].number
        self._told = told

    def changes(self, plan: Plan) -> list[PlanChange]:
        """Return what of *plan* is not as it was when the run began."""
        value = self._known.get(_PLAN)
        return (
            [] if value is None else changes(self.ledger.codec.decode(value), fingerprint_of(plan))
        )

    def count_kept(self) -> Counter[str]:
        """Return how many stages are known to have ended with each status."""
        decode = self.ledger.codec.decode
        return Counter(
            decode(value)["status"]
            for key, value in self._known.items()
            if key.startswith("stage/")
        )

    async def go_on(self, plan: Plan, on_change: OnChange) -> None:
        """Prepare the run to go on with *plan*.

        Raises:
            PlanChangedError: If it is another plan, and *on_change* does not say how to go on.
        """
        assert self.document is not None
        found = self.changes(plan)
        self._known.pop(_PLAN, None)
        if found:
            if on_change == "refuse":
                raise PlanChangedError(self.document.pipeline, found)
            self.ledger.add(_PLAN, self.ledger.codec.encode(fingerprint_of(plan)))
        if on_change == "adopt":
            again = affected_by(found, plan)
            gone = [key for key in self._known if _stage_of(key) in again]
            for key in gone:
                del self._known[key]
            self.ledger.remove(gone)
        await self._go()

    async def _go(self) -> None:
        self.status = RunStatus.RUNNING
        self.ledger.note_turn()
        await self.ledger.commit(status=RunStatus.RUNNING)

    def journal(self, *, is_over: bool = False) -> Journal:
        """Return the journal of the run; of one that *is_over*, nothing is to run."""
        assert self.document is not None
        return Journal(
            self.ledger,
            self.run_id,
            known=self._known,
            eager=self.document.durability == "step",
            waits=self.waits,
            is_over=is_over,
            told=self._told,
        )

    async def keep(self, stop: Callable[[str], object]) -> None:
        """Stay the owner, and look out for requests to stop, until cancelled.

        Args:
            stop: Is told why the run is to be cancelled.
        """
        ledger, clock = self.ledger, self._clock
        renewed = clock.monotonic()
        while True:
            await clock.sleep(_BEAT_SECONDS)
            now = clock.monotonic()
            is_due = now - renewed >= self._ttl / 3
            try:
                lease = await self._look(renew=is_due)
            except LeaseLostError as error:
                ledger.lose(error)
                return
            except RunError as error:
                _log.warning("run.lease_not_renewed", run_id=str(self.run_id), error=str(error))
                if now - renewed >= self._ttl:
                    ledger.lose(error)
                    return
                continue
            renewed = now if is_due else renewed
            if lease.cancel_requested is not None:
                stop(lease.cancel_requested)

    async def _look(self, *, renew: bool) -> RunLease:
        ledger = self.ledger
        if renew:
            return await self._store.renew_lease(ledger.lease, ttl=self._ttl)  # type: ignore[no-any-return]
        lease: RunLease | None = await self._store.get_lease(self.run_id)
        if lease is None or lease.token != ledger.lease.token:
            raise LeaseLostError(ledger.lease)
        return lease

    async def let_go(self) -> bool:
        """Leave the run as it is to whoever wants it next, unless it is left; never raises.

        One that ought to go on keeps a lease that has expired, by which whoever recovers runs
        finds it.

        Returns:
            Whether nobody is kept out by the lease any more.
        """
        if self.is_over:
            return True
        store, lease = self._store, self.ledger.lease
        with anyio.CancelScope(shield=True):
            try:
                if self.status is RunStatus.RUNNING:
                    await store.renew_lease(lease, ttl=0.0)
                else:
                    await store.release_lease(lease)
            except LeaseLostError:
                pass  # somebody wanted it already
            except Exception as error:  # noqa: BLE001 - it will expire by itself
                _log.warning("run.lease_not_released", run_id=str(self.run_id), error=str(error))
                return False
        return True


def _no_run(_reason: str) -> None:
    """There is nothing to cancel yet."""


def _stage_of(key: str) -> str | None:
    kind, _, stage = key.partition("/")
    if kind == "child":
        return unquote(stage.partition("/")[0])
    return stage or None
