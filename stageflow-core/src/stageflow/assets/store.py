"""AssetStore: assets with the backends of a runtime; what one asks for is made, or is there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import timedelta
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

import attrs

from stageflow._engine.announce import Listener
from stageflow.assets.backfill import Backfill, BackfillProgress, BackfillSummary
from stageflow.assets.barriers import forget_work
from stageflow.assets.claims import OnRunning
from stageflow.assets.declaration import Asset
from stageflow.assets.errors import (
    AssetFailedError,
    AssetNotReadyError,
    AssetRecordsError,
    AssetResourceError,
    AssetRunningError,
    UpstreamNotReadyError,
)
from stageflow.assets.execution import AssetRun, RunSettings, facts_of
from stageflow.assets.graph import Assets, Lineage
from stageflow.assets.partitions import same_key
from stageflow.assets.places import Places
from stageflow.assets.records import AssetEntry, AssetRecord, AssetRecords
from stageflow.assets.services import Coordinators
from stageflow.assets.survey import AssetStatus, Step, StepId, Survey, Surveyor, own_partition
from stageflow.contracts.clock import Clock, SystemClock
from stageflow.contracts.io_manager import AssetNotFoundError
from stageflow.contracts.logs import get_logger
from stageflow.contracts.partitions import Partition
from stageflow.contracts.routing_coordinator import RoutingCoordinatorCapabilities
from stageflow.contracts.run_store import RunStoreCapabilities
from stageflow.errors import ConfigurationError
from stageflow.events.delivery import deliver
from stageflow.observability.telemetry import lifecycle_telemetry
from stageflow.runtime import RunOutcome, Runtime
from stageflow.stages import StageStatus

__all__ = ("AssetStore", "Materialization")

_log = get_logger(__name__)

_PAGE: Final = 500
_MISSING: Final = object()


@attrs.frozen(kw_only=True)
class Materialization:
    """What came of a request to materialize an asset.

    Attributes:
        asset: The asset.
        partition: The partition.
        state: `materialized`, or `fresh` if it was already, or `made_by_another_run` if that
            was quicker, or `skipped` if it, or what it needs, chose so.
        record: Its record; None if it was skipped and never made.
        run_id: The run; None if none was needed.
        steps: Everything that the run has made, as (asset, partition), in order.
    """

    asset: str
    partition: Any
    state: Literal["materialized", "fresh", "made_by_another_run", "skipped"]
    record: AssetRecord | None = attrs.field(default=None, repr=False)
    run_id: str | None = None
    steps: tuple[tuple[str, Any], ...] = ()


class AssetStore:
    """Makes assets, keeps records of them, and reads them.

    Use it as an async context manager inside that of its runtime. The records lie in the
    runtime's run store; without one they last as long as this object.

    Args:
        assets: The assets.
        runtime: Whose backends and resources are used; open.
        io_manager: Where the data of assets lie that name no IO manager: a name or an object that
            is open. What the settings choose unless given.
        lease: For how many seconds after its last sign a run is taken for alive. It must be longer
            than an asset may block the event loop.
        poll: Seconds between looks at a partition that another run is at.
        listeners: Are told each event; must not wait.
        coordination: The folder in which coordinators keep files, unless the settings choose
            others; that of the run store if it is a file, else they keep nothing after closing.
    """

    def __init__(
        self,
        assets: Assets | Iterable[Asset],
        runtime: Runtime,
        *,
        io_manager: Any = None,
        lease: float = 60.0,
        poll: float = 0.5,
        listeners: Sequence[Listener] = (),
        coordination: Path | None = None,
    ) -> None:
        self._assets = assets if isinstance(assets, Assets) else Assets(assets)
        self._runtime = runtime
        self._places = Places(runtime, io_manager)
        self._coordinators = Coordinators(self._places, coordination)
        self._lease = lease
        self._poll = poll
        self._listeners = tuple(listeners)
        self._records: AssetRecords | None = None
        self._clock: Clock = runtime._clock or SystemClock()

    async def __aenter__(self) -> Self:
        if missing := self._missing_resources():
            raise AssetResourceError(missing, tuple(self._runtime.resources))
        try:
            await self._places.open(self._assets.values())
            store = self._runtime.run_store
            if store is None:
                store = await self._places.run_store()
            self._records = _records_in(store)
            await self._coordinators.open(self._assets, store)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        self._records = None
        try:
            await self._coordinators.aclose()
        finally:
            await self._places.aclose()

    @property
    def assets(self) -> Assets:
        """The assets."""
        return self._assets

    # --- making -----------------------------------------------------------------------------

    async def materialize(
        self,
        asset: str | Asset,
        partition: Any = None,
        *,
        force: bool = False,
        with_deps: bool = True,
        on_running: OnRunning = "wait",
        max_concurrency: int | None = None,
        listeners: Sequence[Listener] = (),
        **context: Any,
    ) -> Materialization:
        """Make an asset, unless it is fresh, in one run with all that it needs.

        Args:
            asset: The asset, or its name.
            partition: Its partition; None if it has none.
            force: Whether to make it anew although it is fresh; not what it is made from.
            with_deps: Whether what it is made from is made first where it is not fresh.
            on_running: Whether to wait for another run that is at one of the partitions, and to
                use what it makes, or to `raise`.
            max_concurrency: How many partitions may be made at once.
            listeners: Are told each event; must not wait.
            **context: Fields of the run's context, such as `user_id`.

        Raises:
            UnknownAssetError: There is no such asset.
            UnknownPartitionError: It has no such partition.
            UpstreamNotReadyError: What it needs is not fresh, and *with_deps* is false.
            AssetFailedError: It could not be made, or what it needs could not.
            AssetRunningError: Another run is at one, and *on_running* is `raise`.
            UnifiedPipelineCancelled: A function asked for the end of the run.
        """
        found = self._assets.find(asset)
        survey = await self._surveyor().look([(found, partition)])
        target = survey.steps[found.name, same_key(partition)]
        if target.is_fresh and not force:
            self.tell("asset.skipped", {**facts_of(target), "reason": "fresh"}, listeners)
            return Materialization(
                asset=found.name,
                partition=target.partition,
                state="fresh",
                record=target.entry.record,
            )
        outcome, run = await self.run_steps(
            survey,
            [target],
            force=force,
            with_deps=with_deps,
            on_running=on_running,
            max_concurrency=max_concurrency,
            listeners=listeners,
            **context,
        )
        self._raise_failure(outcome, run, survey)
        return await self._materialization(target, outcome, run)

    async def backfill(
        self,
        asset: str | Asset,
        partitions: Iterable[Any] | None = None,
        *,
        parallel: int = 8,
        skip_existing: bool = True,
        with_deps: bool = True,
        batch_size: int | None = None,
        on_progress: Callable[[BackfillProgress], object] | None = None,
        listeners: Sequence[Listener] = (),
    ) -> BackfillSummary:
        """Make many partitions of an asset, batch by batch, and return what came of it.

        Partitions that fail are counted and stop no others. What is fresh is skipped, so that a
        second call makes only what is missing, after a failure or a crash as well.

        Args:
            asset: The asset, or its name.
            partitions: Which; all of them unless given. They are read as they are needed.
            parallel: How many may be made at once.
            skip_existing: Whether fresh ones are left as they are.
            with_deps: Whether what they are made from is made first where it is not fresh.
            batch_size: How many are planned, and kept in memory, at once.
            on_progress: Is told how far it is, whenever a partition is decided; must not wait.
            listeners: Are told each event; must not wait.

        Raises:
            UnknownAssetError: There is no such asset.
            UnknownPartitionError: It has no such partition; those before it are made.
        """
        backfill = Backfill(
            self,
            self._assets.find(asset),
            partitions,
            parallel=parallel,
            skip_existing=skip_existing,
            with_deps=with_deps,
            batch_size=batch_size,
            on_progress=on_progress,
            listeners=listeners,
        )
        return await backfill.execute()

    async def survey(self, targets: Iterable[tuple[Asset, Partition]]) -> Survey:
        """Return how partitions stand, and all that they are made from."""
        return await self._surveyor().look(targets)

    async def run_steps(
        self,
        survey: Survey,
        targets: Sequence[Step],
        *,
        force: bool = False,
        with_deps: bool = True,
        on_running: OnRunning = "wait",
        max_concurrency: int | None = None,
        listeners: Sequence[Listener] = (),
        **context: Any,
    ) -> tuple[RunOutcome, AssetRun]:
        """Run the steps that *targets* need, and these, in one run; return how it went.

        Raises:
            UpstreamNotReadyError: What a target needs is not fresh, and *with_deps* is false.
        """
        wanted: dict[StepId, Step] = {step.id: step for step in targets}
        if with_deps:
            _add_unready(survey, wanted)
        else:
            for step in targets:
                unready = [each for each in survey.unready(step) if each.id not in wanted]
                if unready:
                    told = [_told(each) for each in unready]
                    raise UpstreamNotReadyError(step.asset.name, step.partition, told)
        run = AssetRun(
            self._assets.name,
            survey,
            [step for key, step in survey.steps.items() if key in wanted],
            RunSettings(
                records=self._open_records(),
                places=self._places,
                coordinators=self._coordinators,
                lease=self._lease,
                poll=self._poll,
                on_running=on_running,
                max_concurrency=max_concurrency,
            ),
            forced=frozenset(step.id for step in targets) if force else frozenset(),
            routers=self._assets.routers,
        )
        context.setdefault("service", "assets")
        outcome = await self._runtime.run(
            run,
            listeners=(*self._listeners, *listeners),
            raise_on_error=False,
            **context,
        )
        return outcome, run

    # --- reading ----------------------------------------------------------------------------

    async def get(
        self, asset: str | Asset, partition: Any = None, *, default: Any = _MISSING
    ) -> Any:
        """Return the data of an asset as they were made last, also if they are stale by now.

        Args:
            asset: The asset, or its name.
            partition: Its partition; None if it has none.
            default: What to return if there are none.

        Raises:
            AssetNotReadyError: There are none, or no record vouches for them; unless a default
                is given.
        """
        found, entry = await self._read(asset, partition)
        place = self._places.of(found)
        why = "it was never materialized"
        if entry.claim is not None:
            why = f"run {entry.claim.run_id} is at it, or died there"
        elif entry.failure is not None:
            why = f"it failed: {entry.failure.error}"
        if entry.trusted is not None:
            why = f"its data lie with {entry.trusted.io_manager}, and belong to {place.name} now"
            if entry.trusted.io_manager == place.name:
                try:
                    return await place.load(found, partition)
                except AssetNotFoundError:
                    why = "its data are gone"
        if default is not _MISSING:
            return default
        raise AssetNotReadyError(found.name, partition, why)

    async def exists(self, asset: str | Asset, partition: Any = None) -> bool:
        """Return whether `get` would find data; data without a record are none."""
        found, entry = await self._read(asset, partition)
        place = self._places.of(found)
        record = entry.trusted
        if record is None or record.io_manager != place.name:
            return False
        return await place.exists(found, partition)

    async def status(self, asset: str | Asset, partition: Any = None) -> AssetStatus:
        """Return how a partition of an asset stands: what it is, and why."""
        found = self._assets.find(asset)
        survey = await self._surveyor().look([(found, partition)])
        status = survey.steps[found.name, same_key(partition)].status
        assert status is not None
        return status

    async def statuses(
        self, asset: str | Asset, partitions: Iterable[Any] | None = None
    ) -> AsyncIterator[AssetStatus]:
        """Yield how many partitions of an asset stand, in order; all of them unless given."""
        found = self._assets.find(asset)
        chosen = (found.partitions or (None,)) if partitions is None else partitions
        left = iter(chosen)
        while batch := list(islice(left, _PAGE)):
            survey = await self._surveyor().look([(found, each) for each in batch])
            for each in batch:
                status = survey.steps[found.name, same_key(each)].status
                assert status is not None
                yield status

    async def record(self, asset: str | Asset, partition: Any = None) -> AssetRecord | None:
        """Return the last materialization of a partition; None if there is none to trust."""
        return (await self._read(asset, partition))[1].trusted

    def lineage(self, asset: str | Asset) -> Lineage:
        """Return what an asset is made from, and what is made from it.

        Raises:
            UnknownAssetError: There is no such asset.
        """
        return self._assets.lineage(asset)

    async def invalidate(self, asset: str | Asset, partition: Any = None) -> bool:
        """Forget an asset's record and data; what is made from it is stale then.

        What has been done of a scatter that is not finished, and what a router has decided, is
        forgotten as well.

        Returns:
            Whether there was anything.

        Raises:
            AssetRunningError: A run is at it.
        """
        found, entry = await self._read(asset, partition)
        if entry.claim is not None and entry.is_running(self._clock.now()):
            raise AssetRunningError(found.name, partition, entry.claim.run_id)
        place, key = self._places.of(found), same_key(partition)
        had_data = await place.exists(found, partition)
        # The record first: data without one count for nothing.
        forgotten = await self._open_records().forget(found.name, key, entry)
        await place.delete(found, partition)
        if entry.work is not None and self._coordinators.has("scatter_coordinator"):
            await forget_work(self._coordinators.scatter, entry.work)
        text = None if found.partitions is None else found.text(partition)
        facts = {"asset": found.name, "partition": text, "partition_key": key}
        self.tell("asset.invalidated", {**facts, "was_there": forgotten or had_data})
        return forgotten or had_data

    async def prune_decisions(self, older_than: timedelta) -> int:
        """Forget the decisions of routers that are older; return how many.

        The data of the routers stay, and nothing is decided anew because of it. What a run that
        died had decided is decided again by the run that takes over.
        """
        if not self._coordinators.has("routing_coordinator"):
            return 0  # none of the assets is a router
        routing: Any = self._coordinators.routing
        if not RoutingCoordinatorCapabilities.of(routing).retention:
            return 0
        pruned: int = await routing.prune(self._clock.now() - older_than)
        return pruned

    # --- telling ----------------------------------------------------------------------------

    def tell(self, type: str, facts: dict[str, Any], listeners: Sequence[Listener] = ()) -> None:
        """Tell everybody who listens of something that happened outside of any run."""
        runtime = self._runtime
        if not (runtime.event_sink or runtime.telemetry or self._listeners or listeners):
            return
        told = {
            **dict.fromkeys(_NO_IDS),
            "pipeline_name": self._assets.name,
            "service": "assets",
            "timestamp": self._clock.now().isoformat(),
            **facts,
        }
        emitters = map(lifecycle_telemetry, runtime.telemetry)
        for listener in (*emitters, *self._listeners, *listeners):
            try:
                listener(type, dict(told))
            except Exception:  # noqa: BLE001 - a listener is told, it does not decide
                _log.exception("listener.failed", event_type=type, listener=repr(listener))
        if runtime.event_sink is not None:
            deliver(runtime.event_sink, type, told)

    @property
    def clock(self) -> Clock:
        """Source of time."""
        return self._clock

    # --- inside -----------------------------------------------------------------------------

    def _surveyor(self) -> Surveyor:
        return Surveyor(self._assets, self._open_records(), self._places, self._clock)

    def _open_records(self) -> AssetRecords:
        if self._records is None:
            raise ConfigurationError(
                "This AssetStore is not open.",
                hint="Use it as `async with AssetStore(assets, runtime) as store:`.",
            )
        return self._records

    async def _read(self, asset: str | Asset, partition: Any) -> tuple[Asset, AssetEntry]:
        found = self._assets.find(asset)
        key = same_key(own_partition(found, partition))
        return found, await self._open_records().read(found.name, key)

    def _missing_resources(self) -> list[str]:
        wanted = {name for asset in self._assets.values() for name in asset.resources}
        return sorted(wanted - set(self._runtime.resources))

    def _raise_failure(self, outcome: RunOutcome, run: AssetRun, survey: Survey) -> None:
        if outcome.status == "completed":
            return
        if outcome.status == "cancelled" or outcome.stage is None or outcome.error is None:
            outcome.raise_for_status()
            return
        if isinstance(outcome.error, AssetRunningError):
            raise outcome.error
        ids = {name: each for each, name in run.names.items()}
        step = survey.steps[ids[outcome.stage]]
        raise AssetFailedError(
            step.asset.name,
            step.partition,
            outcome.error,
            str(outcome.run_id),
            stage=outcome.stage,
        ) from outcome.error

    async def _materialization(
        self, target: Step, outcome: RunOutcome, run: AssetRun
    ) -> Materialization:
        output = outcome.outputs[run.names[target.id]]
        state: Any = "skipped"
        if output.status is StageStatus.OK:
            state = output.data["state"]
        ids = {name: each for each, name in run.names.items()}
        made = [
            run.step(ids[name])
            for name, each in outcome.outputs.items()
            if each.status is StageStatus.OK and each.data["state"] == "materialized"
        ]
        return Materialization(
            asset=target.asset.name,
            partition=target.partition,
            state=state,
            record=await self.record(target.asset, target.partition),
            run_id=str(outcome.run_id),
            steps=tuple((step.asset.name, step.partition) for step in made),
        )


def _records_in(store: Any) -> AssetRecords:
    if not RunStoreCapabilities.of(store).shared_values:
        raise AssetRecordsError(type(store).__name__)
    return AssetRecords(store)


_NO_IDS: Final = (
    "pipeline_run_id",
    "request_id",
    "session_id",
    "user_id",
    "org_id",
    "interaction_id",
    "topology",
    "execution_mode",
)


def _add_unready(survey: Survey, wanted: dict[StepId, Step]) -> None:
    """Add what the wanted steps are made from and is not fresh, directly or not."""
    waiting = list(wanted.values())
    while waiting:
        for _, ids in waiting.pop().upstream:
            for each in ids:
                step = survey.steps[each]
                if not step.is_fresh and each not in wanted:
                    wanted[each] = step
                    waiting.append(step)


def _told(step: Step) -> str:
    assert step.status is not None
    return f"{step.label} is {step.status.state} ({step.status.why})"
