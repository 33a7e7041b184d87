"""Runtime: the backends of an application, opened once, and the runs that use them."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self
from uuid import UUID

import anyio
import attrs

from stageflow._engine.announce import Listener
from stageflow._engine.errors import UnfinishedStagesError
from stageflow._engine.fingerprint import OnChange, PlanChange
from stageflow._engine.retrying import is_transient, retryable_by
from stageflow._engine.run import RunOptions, RunReport
from stageflow.codec import Codec
from stageflow.context import PipelineContext
from stageflow.contracts.checkpoints import LeaseHeldError, RunLease
from stageflow.contracts.clock import Clock, SystemClock
from stageflow.contracts.event_sink import EventSink
from stageflow.contracts.logs import get_logger
from stageflow.contracts.run_store import (
    RunEvent,
    RunNotFoundError,
    RunRecord,
    RunStatus,
    RunStore,
    RunStoreCapabilities,
)
from stageflow.contracts.telemetry_emitter import TelemetryEmitter
from stageflow.errors import ConfigurationError
from stageflow.events.sinks import NoOpEventSink
from stageflow.observability.telemetry import lifecycle_telemetry
from stageflow.observability.wide_events import WideEventEmitter
from stageflow.plugins.combined import ChainedConfigProvider, FanOutEventSink
from stageflow.runtime.durable import (
    LEASE_SECONDS,
    Durability,
    DurabilityError,
    NothingKeptError,
    RunDocument,
    RunNotResumableError,
    Tenure,
    cancelled_event,
    check_durability,
    take_lease,
)
from stageflow.runtime.outcome import Buildable, Runnable, RunOutcome
from stageflow.runtime.owners import is_gone, this_process
from stageflow.runtime.recording import Recorder, create_record
from stageflow.runtime.shared import SharedState

if TYPE_CHECKING:
    from stageflow.plugins import Plugins
    from stageflow.plugins.implementation import Implementation

__all__ = ("CHOSEN", "Recovery", "RunCheck", "Runtime", "RuntimeCloseError")

_log = get_logger(__name__)

_Close = Callable[[type[BaseException] | None, BaseException | None, TracebackType | None], object]
"""Closes something, told like `__exit__` what went wrong meanwhile; may be awaitable."""


class RuntimeCloseError(ConfigurationError, ExceptionGroup[Exception]):
    """Some backends of a Runtime failed to close; every close was tried."""

    code = "SF236"

    def __new__(cls, exceptions: Sequence[Exception]) -> Self:
        """Make the group; its text is that of the error."""
        return super().__new__(cls, _failures(exceptions), exceptions)

    def __init__(self, exceptions: Sequence[Exception]) -> None:
        hint = "Look at the grouped errors; everything else has been closed."
        super().__init__(_failures(exceptions), hint=hint)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.exceptions,)

    def derive(self, excs: Sequence[Any], /) -> RuntimeCloseError:  # type: ignore[override]
        """Return a group of the same kind with *excs* in it."""
        return RuntimeCloseError(excs)


class _Chosen(Enum):
    CHOSEN = "what the settings choose"


CHOSEN: Final = _Chosen.CHOSEN
"""Leaves a backend of a `Runtime` to its settings; without settings there is none."""

_ChosenType = Literal[_Chosen.CHOSEN]


class Runtime:
    """Owns the backends of an application: opens them, runs pipelines with them, closes them.

    Use it as an async context manager. A backend is an object, or the name of one that the
    settings configure, or what the settings choose. Resources are opened first, then the
    backends in the order below, and all are closed in reverse. Every close is tried; those that
    fail raise one `RuntimeCloseError`, or are noted on the error that ends the block if there is
    one.

    Args:
        run_store: Keeps a record of each run; None keeps none.
        event_sink: Where the events of runs go whose context names no sink.
        config: Configuration provider, seen by stages as `ctx.config`.
        resources: Resources by name, seen by stages as `ctx.resources`, besides configured ones.
        clock: Source of time.
        plugins: The settings and plugins of a project, as `Plugins.load()` makes them. Loaded
            when a backend is given by name; otherwise not used unless given.
        durability: How durable runs are that do not say it themselves: `none` keeps nothing
            but the record; `exit` keeps what stages gave when the run ends, however it ends;
            `step` keeps what a stage gave before anything that depends on it begins. What the
            settings say unless given, and `none` if there are none.
        pipelines: What interrupted runs may belong to; found by name when they go on.
        find_pipeline: Finds the pipeline of an interrupted run that is none of these, or gives
            None; may be async.

    Raises:
        ConfigurationError: If a backend is given by name and the settings cannot be read.
    """

    def __init__(
        self,
        *,
        run_store: RunStore | str | _ChosenType | None = CHOSEN,
        event_sink: EventSink | str | _ChosenType | None = CHOSEN,
        config: Any = CHOSEN,
        resources: Mapping[str, Any] | None = None,
        clock: Clock | None = None,
        plugins: Plugins | None = None,
        durability: Durability | None = None,
        pipelines: Iterable[Runnable | Buildable] = (),
        find_pipeline: Callable[[RunDocument], Any] | None = None,
    ) -> None:
        self._wanted = {"run_store": run_store, "event_sink": event_sink, "config_provider": config}
        if plugins is None and any(isinstance(wanted, str) for wanted in self._wanted.values()):
            from stageflow.plugins import Plugins

            plugins = Plugins.load()
        self._plugins = plugins
        self._given_resources = dict(resources or {})
        self._clock = clock
        self._run_store: RunStore | None = None
        self._event_sink: EventSink | None = None
        self._config: Any = None
        self._resources: Mapping[str, Any] = {}
        self._telemetry: tuple[TelemetryEmitter, ...] = ()
        self._observers: tuple[Listener, ...] = ()
        self._is_retryable: Callable[[BaseException], bool] | None = None
        self._durability: Durability = durability or (
            "none" if plugins is None else plugins.settings.durability
        )
        self._find_pipeline = find_pipeline
        self._pipelines: dict[str, Runnable] = {}
        self._live: dict[UUID, Tenure] = {}
        self._stranded: dict[UUID, int] = {}
        for each in pipelines:
            self._known(each)
        self._entered = False
        self._opened: list[_Close] = []
        self._open_items: dict[int, Any] = {}

    @classmethod
    def from_settings(
        cls,
        *,
        directory: str | Path | None = None,
        arguments: Mapping[str, Any] | None = None,
        **backends: Any,
    ) -> Self:
        """Return a runtime with the backends that the settings of a project choose.

        Args:
            directory: Where the search for the settings file begins, upwards; here unless given.
            arguments: Settings given in code; they win.
            **backends: What `Runtime` takes; wins over the settings.

        Raises:
            ConfigurationError: If the settings cannot be read, or are wrong.
        """
        from stageflow.plugins import Plugins

        plugins = Plugins.load(directory=directory, arguments=arguments)
        return cls(plugins=plugins, **backends)

    @property
    def run_store(self) -> RunStore | None:
        """Where runs are recorded."""
        return self._run_store

    @property
    def event_sink(self) -> EventSink | None:
        """Where the events of runs go whose context names no sink."""
        return self._event_sink

    @property
    def telemetry(self) -> tuple[TelemetryEmitter, ...]:
        """The telemetry emitters that the settings choose; each is told what happens in runs."""
        return self._telemetry

    @property
    def resources(self) -> Mapping[str, Any]:
        """The open resources, by name."""
        return self._resources

    @property
    def plugins(self) -> Plugins | None:
        """The settings and plugins of the project."""
        return self._plugins

    async def __aenter__(self) -> Self:
        if self._entered:
            raise ConfigurationError(
                "This Runtime is open already.",
                hint="Open it once and share it, or make another one.",
            )
        self._entered = True
        try:
            await self._open()
        except BaseException as error:
            await self._close(error)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._close(error)

    async def _open(self) -> None:
        if self._plugins is not None:
            await self._open_configured(self._plugins)
        for name, resource in self._given_resources.items():
            await self._open_item(resource)
            self._resources = {**self._resources, name: resource}
        stores = await self._backends("run_store")
        self._run_store = stores[0] if stores else None
        sinks = await self._backends("event_sink")
        self._event_sink = FanOutEventSink(sinks) if len(sinks) > 1 else next(iter(sinks), None)
        configs = await self._backends("config_provider")
        several = len(configs) > 1
        self._config = ChainedConfigProvider(configs) if several else next(iter(configs), None)

    async def _open_configured(self, plugins: Plugins) -> None:
        """Check everything that is to be opened, together; then open the resources."""
        plugins.freeze()
        needs = [
            (contract, wanted if isinstance(wanted, str) else None)
            for contract, wanted in self._wanted.items()
            if wanted is CHOSEN or isinstance(wanted, str)
        ]
        extras = [key for key in _EXTRAS if plugins.settings.choices.get(key)]
        prepared = plugins.prepare(*needs, *((key, None) for key in extras))
        required = [name for each in prepared for name in each.requires(each.settings())]
        manager = plugins.resources()
        await self._open_item(manager)
        await manager.open()
        if required:  # some may be served by their defaults alone
            await manager.open(*required)
        self._resources = manager.opened
        for key in extras:
            chosen = plugins.registry(key).defaults()
            opened = tuple([await self._open_named(each) for each in chosen])
            if key == "error_normalizer":
                self._is_retryable = retryable_by(opened)
            else:
                self._telemetry = opened
        observers = plugins.observers()
        told = map(lifecycle_telemetry, self._telemetry)
        self._observers = (*(() if observers is None else (observers,)), *told)

    async def _backends(self, contract: str) -> list[Any]:
        wanted = self._wanted[contract]
        if wanted is None or (wanted is CHOSEN and self._plugins is None):
            return []
        if wanted is not CHOSEN and not isinstance(wanted, str):
            await self._open_item(wanted)
            return [wanted]
        assert self._plugins is not None
        registry = self._plugins.registry(contract)
        named = [registry.resolve(wanted)] if isinstance(wanted, str) else registry.defaults()
        return [await self._open_named(each) for each in named]

    async def _open_named(self, implementation: Implementation[Any]) -> Any:
        opening = implementation.open(resources=self._resources)
        opened = await opening.__aenter__()
        self._opened.append(opening.__aexit__)
        return opened

    async def _open_item(self, item: Any) -> None:
        if id(item) in self._open_items:
            return  # one object may be several backends
        close = await _open(item)
        self._open_items[id(item)] = item
        if close is not None:
            self._opened.append(close)

    async def _close(self, reason: BaseException | None) -> None:
        """Close whatever is open, the last opened first; *reason* is what ends the block."""
        facts = (type(reason), reason, reason.__traceback__) if reason else (None, None, None)
        failures: list[Exception] = []
        fatal: BaseException | None = None
        with anyio.CancelScope(shield=True):
            while self._opened:
                try:
                    await _settle(self._opened.pop()(*facts))
                except BaseException as error:  # noqa: BLE001 - the others are to be closed, too
                    if error is reason:
                        continue
                    _log.warning("runtime.close_failed", error=repr(error))
                    if isinstance(error, Exception):
                        failures.append(error)
                    else:
                        fatal = error
        self._entered = False
        self._open_items.clear()
        if fatal is not None:
            raise fatal
        if reason is not None:
            for failure in failures:
                reason.add_note(f"On closing the Runtime: {failure!r}")
        elif failures:
            raise RuntimeCloseError(failures)

    async def run(
        self,
        target: Runnable | Buildable,
        *,
        context: PipelineContext | None = None,
        inputs: Mapping[str, Any] | None = None,
        input_text: str | None = None,
        run_id: UUID | None = None,
        durability: Durability | None = None,
        park: bool = False,
        origin: Any = None,
        listeners: Sequence[Listener] = (),
        raise_on_error: bool = True,
        **fields: Any,
    ) -> RunOutcome:
        """Run *target* and return how it went.

        Args:
            target: A pipeline, declared or built.
            context: Who the run is for; made from the arguments below unless given. One that
                names no event sink is given the runtime's.
            inputs: The run's inputs, which stages read by name.
            input_text: The text the run is about.
            run_id: The run's identity; a new one unless given here or in *context*.
            durability: What is kept of the run, and when; the runtime's choice unless given.
            park: Whether a run in which everything waits for signals leaves memory, with the
                status `waiting`, instead of waiting here; such a run is durable in any case.
            origin: How to find the pipeline again, kept with a durable run for whoever resumes
                it; the command line keeps its target there.
            listeners: Are told each lifecycle event as it happens; must not wait.
            raise_on_error: Whether a failed run is raised. A cancelled one is returned.
            **fields: Further fields of the context.

        Raises:
            PipelineValidationError: If the declaration is wrong.
            UnifiedStageExecutionError: If a stage failed and *raise_on_error* is true.
            ConfigurationError: If the runtime is not open.
            DurabilityError: If the run store cannot keep the run as durable as is wanted.
            CodecError: If an input of a durable run cannot be stored.
            StorageError: If a durable run cannot be kept any longer; `resume` goes on with it.
            LeaseLostError: If another process took over a durable run.
            TypeError: If a field is unknown, or given beside a context.
        """
        self._check_open()
        graph = self._known(target)
        if context is None:
            context = PipelineContext.for_run(
                inputs=inputs, input_text=input_text, new_id=graph.options.new_id, **fields
            )
        elif inputs is not None or input_text is not None or fields:
            raise TypeError("A run takes a context, or what one is made from, not both.")
        context.identify(run_id or context.pipeline_run_id or graph.options.new_id())
        assert context.pipeline_run_id is not None
        options = self._options(graph, listeners)
        graph.check_inputs(context.inputs)
        durability = durability or ("step" if park else self._durability)
        check_durability(durability, self._run_store)
        if park and durability == "none":
            check_durability("exit", self._run_store)
            durability = "exit"
        if self._event_sink is not None and isinstance(context.event_sink, _NO_SINK):
            context.event_sink = self._event_sink
        if self._run_store is None:
            report = await graph.execute(context, options)
            return _outcome(context, graph, report, raise_on_error=raise_on_error)
        if durability == "none":
            recorder = Recorder(self._run_store, context, graph.name)
            report = await recorder.record(graph, options)
            return _outcome(context, graph, report, raise_on_error=raise_on_error)
        document = RunDocument.of(context, graph.name, durability, origin)
        # Before there is a record: what cannot be stored is no reason to leave one.
        document.check()
        await create_record(
            self._run_store, context, graph.name, RunStatus.CREATED, durability=durability
        )
        lease = await take_lease(self._run_store, context.pipeline_run_id)
        async with self._tenure(lease, options.clock, park=park) as tenure:
            await tenure.begin(document, graph.plan)
            return await self._execute(
                graph, context, options, tenure, raise_on_error=raise_on_error
            )

    async def resume(
        self,
        run_id: UUID,
        target: Runnable | Buildable | None = None,
        *,
        on_change: OnChange = "refuse",
        park: bool = False,
        listeners: Sequence[Listener] = (),
        raise_on_error: bool = True,
    ) -> RunOutcome:
        """Go on with a durable run that was interrupted, failed, was cancelled, or waits.

        What was committed is not run again. A run that has completed is answered from what was
        kept. Two who resume a run at once do not both run it.

        Args:
            run_id: The run.
            target: Its pipeline; by the pipeline's name, one of those that this runtime was
                made with or ran before, unless given.
            on_change: What to do if the pipeline has changed since: `refuse`; `pin` keeps all
                that was committed and runs the rest as it is now; `adopt` runs anew what
                changed and all that depends on it.
            park: As for `run`.
            listeners: As for `run`.
            raise_on_error: As for `run`.

        Raises:
            RunNotFoundError: If there is no such run.
            RunNotResumableError: If too little was kept of it, or its pipeline is not known.
            LeaseHeldError: If a process that may be alive has it.
            PlanChangedError: If the pipeline has changed, and *on_change* is `refuse`.
            UnifiedStageExecutionError: If a stage failed and *raise_on_error* is true.
        """
        store = self._durable_store()
        record = await store.get_run(run_id)
        if record is None:
            raise RunNotFoundError(run_id)
        if record.status is RunStatus.COMPLETED:
            return await self._replay(run_id, target)
        return await self._go_on(
            await self._take(run_id),
            target,
            on_change=on_change,
            park=park,
            listeners=listeners,
            raise_on_error=raise_on_error,
        )

    async def recover(
        self,
        *targets: Runnable | Buildable,
        on_change: OnChange = "refuse",
        park: bool = False,
        limit: int | None = None,
        max_concurrency: int = 8,
    ) -> list[Recovery]:
        """Take over every run whose owner is gone, or that waited for what has come, and go on.

        Several processes may do so at once: each run is taken over by one of them.

        Args:
            *targets: The pipelines that runs may belong to, besides those known already.
            on_change: As for `resume`.
            park: As for `run`.
            limit: How many runs at most.
            max_concurrency: How many of them at once.

        Returns:
            How it went, one for each run that was taken over. None is raised: what failed is in
            its `outcome` or `error`.
        """
        store = self._durable_store()
        for each in targets:
            self._known(each)
        found: list[Recovery] = []
        seen: set[UUID] = set()
        stuck: list[RunLease] = []
        # A turn comes first: a lease that waits for one might expire.
        turns = anyio.Semaphore(max_concurrency)

        async def go_on(lease: RunLease) -> None:
            outcome: RunOutcome | None = None
            error: BaseException | None = None
            try:
                outcome = await self._go_on(
                    lease, None, on_change=on_change, park=park, raise_on_error=False
                )
                error = outcome.error
            except Exception as raised:  # noqa: BLE001 - the other runs go on
                error = raised
            finally:
                turns.release()
            found.append(Recovery(run_id=lease.run_id, outcome=outcome, error=error))

        async with (
            aclosing(_claims(store, self._stranded)) as claims,
            anyio.create_task_group() as tasks,
        ):
            while limit is None or len(seen) < limit:
                await turns.acquire()
                lease = await anext(claims, None)
                if lease is None or lease in stuck:
                    break
                if lease.run_id in seen:
                    # It could not go on here; as long as it is held, others come to light.
                    stuck.append(lease)
                    turns.release()
                    continue
                seen.add(lease.run_id)
                tasks.start_soon(go_on, lease)
        for lease in stuck:
            await self._give_back(lease)
        return found

    async def _give_back(self, lease: RunLease) -> None:
        """Leave a run to whoever can go on with it."""
        store = self._durable_store()
        tenure = Tenure(store, lease, clock=SystemClock(), parks=False)
        record = await store.get_run(lease.run_id)
        if record is not None:
            tenure.status = record.status
        await tenure.let_go()

    async def signal(
        self,
        run_id: UUID,
        name: str,
        value: Any = None,
        *,
        signal_id: str | None = None,
        target: Runnable | Buildable | None = None,
        resume: bool = True,
        park: bool = True,
        raise_on_error: bool = True,
    ) -> RunOutcome | None:
        """Answer what a stage of a run waits for, or will wait for, under *name*.

        A run that is under way, here or in another process, goes on by itself. One that has
        left memory is resumed here.

        Args:
            run_id: The run.
            name: What the stage calls it in `ctx.wait_for(name)`.
            value: What the stage is told; must be known to the codec.
            signal_id: Makes the call idempotent: the same id of the same run counts once.
            target: The run's pipeline, as for `resume`.
            resume: Whether to go on here with a run that has left memory.
            park: As for `run`, if it goes on here.
            raise_on_error: As for `run`, if it goes on here.

        Returns:
            How the run went, if it went on here.

        Raises:
            RunNotFoundError: If there is no such run.
            RunEndedError: If it has ended.
            CodecError: If *value* cannot be stored.
        """
        store = self._durable_store()
        encoded = Codec.default().encode(value, where=f"the signal {name!r}")
        receipt = await store.signal_run(run_id, name, encoded, signal_id=signal_id)
        if not receipt.parked:
            here = self._live.get(run_id)
            if here is not None:
                here.waits.look()
            return None
        if not resume or (receipt.wait_id is None and not receipt.repeated):
            return None
        try:
            return await self.resume(run_id, target, park=park, raise_on_error=raise_on_error)
        except LeaseHeldError:
            return None  # somebody else was faster

    async def cancel(self, run_id: UUID, reason: str = "cancelled") -> bool:
        """Have a durable run cancelled, wherever it is; return whether there was one to cancel.

        A run that somebody owns is cancelled by that process, within a few seconds; one that
        waits without an owner, or whose owner is gone, at once.

        Raises:
            RunNotFoundError: If there is no such run.
        """
        store = self._durable_store()
        record = await store.get_run(run_id)
        if record is None:
            raise RunNotFoundError(run_id)
        if not await store.request_cancel(run_id, reason):
            return False
        if self.stop(run_id, reason):
            return True
        try:
            lease = await self._take(run_id)
        except LeaseHeldError:
            return True
        record = await store.get_run(run_id)
        if record is None or record.status.is_final:
            await store.release_lease(lease)  # it has just ended
            return False
        event = await self._told_cancelled(record, reason)
        facts = {"reason": reason}
        await store.commit(lease, status=RunStatus.CANCELLED, facts=facts, events=(event,))
        return True

    async def _told_cancelled(self, record: RunRecord, reason: str) -> RunEvent:
        """Return the last event of a run that nobody is there to tell of."""
        now = (self._clock or SystemClock()).now()
        try:
            tenure = await self._look_at(record.run_id)
        except RunNotResumableError:
            return cancelled_event(record, None, {}, reason, now)
        return cancelled_event(record, tenure.document, tenure.count_kept(), reason, now)

    async def check(self, target: Runnable | Buildable) -> list[RunCheck]:
        """Say of all unfinished runs of a pipeline whether they would go on under *target*.

        Raises:
            DurabilityError: If the store keeps no checkpoints.
        """
        store = self._durable_store()
        graph = self._known(target)
        found = []
        for status in (RunStatus.RUNNING, RunStatus.WAITING):
            async for record in _listed(store, status):
                if record.get("pipeline_name") != graph.name:
                    continue
                try:
                    tenure = await self._look_at(record.run_id)
                except RunNotResumableError:
                    continue
                changed = tuple(tenure.changes(graph.plan))
                found.append(RunCheck(run_id=record.run_id, status=record.status, changes=changed))
        return found

    async def document(self, run_id: UUID) -> RunDocument:
        """Return what a durable run was started with.

        Raises:
            RunNotResumableError: If nothing was kept of it.
        """
        self._durable_store()
        tenure = await self._look_at(run_id)
        assert tenure.document is not None
        return tenure.document

    async def _look_at(self, run_id: UUID) -> Tenure:
        """Return what is known of a run, for who only reads."""
        lease = RunLease(run_id=run_id, owner="", token=1, expires_at=SystemClock().now())
        tenure = Tenure(self._run_store, lease, clock=SystemClock(), parks=False)
        await tenure.load()
        return tenure

    def stop(self, run_id: UUID, reason: str = "cancelled") -> bool:
        """Cancel a durable run that is under way in this process; return whether there is one."""
        here = self._live.get(run_id)
        if here is not None:
            here.cancel(reason)
        return here is not None

    async def prune(
        self,
        older_than: timedelta,
        *,
        statuses: Iterable[str] = ("completed", "failed", "cancelled"),
        dry_run: bool = False,
    ) -> list[UUID]:
        """Forget the runs that ended longer ago than *older_than*; return which.

        Args:
            older_than: How long ago.
            statuses: Only runs that ended so.
            dry_run: Whether to say only what would be forgotten.

        Raises:
            DurabilityError: If the store cannot do that.
        """
        self._check_open()
        store: Any = self._run_store
        if not RunStoreCapabilities.of(store).retention:
            check_durability("exit", store)
            raise ConfigurationError(
                f"The run store {type(store).__name__} forgets no runs by age."
            )
        before = (self._clock or SystemClock()).now() - older_than
        found: list[UUID] = []
        while True:
            page = await store.prune_runs(before=before, statuses=statuses, dry_run=dry_run)
            found += page
            if dry_run or not page:
                return found

    def shared(self, namespace: str) -> SharedState:
        """Return the values of *namespace* that runs and processes share in the run store.

        Raises:
            DurabilityError: If the store shares no values.
        """
        self._check_open()
        if not RunStoreCapabilities.of(self._run_store).shared_values:
            raise DurabilityError(
                "The run store of this Runtime shares no values."
                if self._run_store is not None
                else "This Runtime has no run store, which would share values.",
                hint="Choose one that does, such as 'memory' or 'sqlite'.",
            )
        return SharedState(self._run_store, namespace)

    def _check_open(self) -> None:
        if not self._entered:
            raise ConfigurationError(
                "This Runtime is not open.",
                hint="Use it as `async with Runtime(…) as runtime:`.",
            )

    def _durable_store(self) -> Any:
        self._check_open()
        check_durability("exit", self._run_store)
        return self._run_store

    def _known(self, target: Runnable | Buildable) -> Runnable:
        graph: Runnable = target.build() if hasattr(target, "build") else target
        self._pipelines[graph.name] = graph
        return graph

    async def _take(self, run_id: UUID) -> RunLease:
        """Become the owner of a run, also if it is ours because it could not be let go."""
        lease = await take_lease(self._run_store, run_id, own=self._stranded.get(run_id))
        self._stranded.pop(run_id, None)
        return lease

    @asynccontextmanager
    async def _tenure(self, lease: RunLease, clock: Clock, *, park: bool) -> AsyncIterator[Tenure]:
        tenure = Tenure(self._run_store, lease, clock=clock, parks=park)
        self._live[lease.run_id] = tenure
        try:
            yield tenure
        finally:
            if not await tenure.let_go():
                self._stranded[lease.run_id] = lease.token  # nobody else goes on with it yet
            if self._live.get(lease.run_id) is tenure:  # it may have gone on here meanwhile
                del self._live[lease.run_id]

    async def _go_on(
        self,
        lease: RunLease,
        target: Runnable | Buildable | None,
        *,
        on_change: OnChange,
        park: bool,
        listeners: Sequence[Listener] = (),
        raise_on_error: bool = True,
    ) -> RunOutcome:
        clock = self._clock or SystemClock()
        store: Any = self._run_store
        async with self._tenure(lease, clock, park=park) as tenure:
            # Asked again: only now it cannot change any more.
            record = await store.get_run(lease.run_id)
            if record is None:
                raise RunNotFoundError(lease.run_id)
            tenure.status = record.status
            if record.status is RunStatus.COMPLETED:
                return await self._replay(lease.run_id, target)
            try:
                document = await tenure.load()
            except NothingKeptError as error:
                if record.status is RunStatus.CREATED:
                    # Its process ended before it began; nobody will ever go on with it.
                    await store.commit(
                        lease, status=RunStatus.FAILED, facts={"error": error.message}
                    )
                    tenure.is_over = True
                raise
            graph = await self._graph_of(document, lease.run_id, target)
            if record.status is RunStatus.RUNNING and RunStoreCapabilities.of(store).event_log:
                await tenure.load_told()
            await tenure.go_on(graph.plan, on_change)
            context = document.context(lease.run_id)
            context.event_sink = self._event_sink
            options = self._options(graph, listeners)
            return await self._execute(
                graph, context, options, tenure, raise_on_error=raise_on_error
            )

    async def _execute(
        self,
        graph: Runnable,
        context: PipelineContext,
        options: RunOptions,
        tenure: Tenure,
        *,
        raise_on_error: bool,
    ) -> RunOutcome:
        assert self._run_store is not None
        context.journal = tenure.journal()
        tenure.cancel = context.mark_canceled
        asked = tenure.ledger.lease.cancel_requested
        if asked is not None:
            context.mark_canceled(asked)
        recorder = Recorder(self._run_store, context, graph.name, tenure)
        report = await recorder.record(graph, options)
        waits = ()
        if report.status == "waiting":
            store: Any = self._run_store
            listed = await store.list_waits(tenure.run_id)
            waits = tuple(wait for wait in listed if wait.wait_id in report.wait_ids)
        return _outcome(context, graph, report, raise_on_error=raise_on_error, waits=waits)

    async def _replay(self, run_id: UUID, target: Runnable | Buildable | None) -> RunOutcome:
        """Return how a completed run went, from what was kept of it."""
        tenure = await self._look_at(run_id)
        document = tenure.document
        assert document is not None
        graph = await self._graph_of(document, run_id, target)
        context = document.context(run_id)
        context.journal = tenure.journal(is_over=True)
        options = attrs.evolve(graph.options, listeners=(), wide_stage=None, wide_pipeline=None)
        if tenure.changes(graph.plan):
            raise RunNotResumableError(
                f"Run {run_id} has completed, and its pipeline is another one by now.",
                hint=f"`stageflow runs show {run_id}` tells how it went.",
            )
        try:
            report = await graph.execute(context, options)
        except UnfinishedStagesError as error:
            raise RunNotResumableError(
                f"Run {run_id} has completed, but not all of what its stages gave was kept.",
                hint=f"`stageflow runs show {run_id}` tells how it went.",
            ) from error
        return _outcome(context, graph, report, raise_on_error=False)

    async def _graph_of(
        self, document: RunDocument, run_id: UUID, target: Runnable | Buildable | None
    ) -> Runnable:
        if target is not None:
            return self._known(target)
        if self._find_pipeline is not None:
            found = await _settle(self._find_pipeline(document))
            if found is not None:
                return self._known(found)
        graph = self._pipelines.get(document.pipeline)
        if graph is None:
            raise RunNotResumableError(
                f"Run {run_id} is one of pipeline {document.pipeline!r}, which this Runtime does"
                " not know.",
                hint="Hand the pipeline over: resume(run_id, pipeline), or"
                " Runtime(pipelines=[pipeline]).",
            )
        return graph

    def _options(self, graph: Runnable, listeners: Sequence[Listener]) -> RunOptions:
        changes: dict[str, Any] = {}
        if self._clock is not None:
            changes["clock"] = self._clock
        # What a graph brings itself, it keeps.
        if self._is_retryable is not None and graph.options.is_retryable is is_transient:
            changes["is_retryable"] = self._is_retryable
        if self._plugins is not None:
            settings, own = self._plugins.settings, graph.options
            if settings.emit_stage_wide_events and own.wide_stage is None:
                changes["wide_stage"] = own.wide_pipeline or WideEventEmitter()
            if settings.emit_pipeline_wide_event and own.wide_pipeline is None:
                changes["wide_pipeline"] = own.wide_stage or WideEventEmitter()
        return attrs.evolve(
            graph.options,
            config=self._config,
            resources=self._resources,
            listeners=(*graph.options.listeners, *self._observers, *listeners),
            **changes,
        )


@attrs.frozen(kw_only=True)
class Recovery:
    """What became of a run that was taken over.

    Attributes:
        run_id: The run.
        outcome: How it went from there; None if it could not go on.
        error: Why it could not go on, or what failed in it.
    """

    run_id: UUID
    outcome: RunOutcome | None
    error: BaseException | None


@attrs.frozen(kw_only=True)
class RunCheck:
    """Whether an unfinished run would go on under the code at hand.

    Attributes:
        run_id: The run.
        status: How far it has come.
        changes: What of its pipeline has changed since it began.
    """

    run_id: UUID
    status: RunStatus
    changes: tuple[PlanChange, ...]

    @property
    def continues(self) -> bool:
        """Whether it goes on without being told how."""
        return not self.changes


def _outcome(
    context: PipelineContext,
    graph: Runnable,
    report: RunReport,
    *,
    raise_on_error: bool,
    waits: Iterable[Any] = (),
) -> RunOutcome:
    assert context.pipeline_run_id is not None
    outcome = RunOutcome(
        run_id=context.pipeline_run_id,
        pipeline_name=graph.name,
        status=report.status,
        outputs=report.outputs,
        results=report.results(),
        stage=report.stage,
        error=report.error,
        reason=report.reason,
        duration_ms=report.duration_ms,
        restored=report.restored,
        waits=tuple(waits),
    )
    if raise_on_error and outcome.status == "failed":
        outcome.raise_for_status()
    return outcome


async def _claims(store: Any, stranded: dict[UUID, int]) -> AsyncGenerator[RunLease, None]:
    """Yield a lease of each run that ought to go on though nobody goes on with it.

    Args:
        store: Where the runs are kept.
        stranded: The tokens of leases that this process could not give back.
    """
    owner = this_process()
    after: UUID | None = None
    while page := await store.list_leases(after=after):
        for lease in page:
            if lease.token != stranded.get(lease.run_id) and not is_gone(lease.owner):
                continue
            try:
                claimed = await store.acquire_lease(
                    lease.run_id, owner, ttl=LEASE_SECONDS, take_over=lease.token
                )
            except (LeaseHeldError, RunNotFoundError):
                continue
            yield claimed
        after = page[-1].run_id
    while (claimed := await store.claim_run(owner, ttl=LEASE_SECONDS)) is not None:
        yield claimed


async def _listed(store: Any, status: RunStatus) -> AsyncIterator[Any]:
    before: UUID | None = None
    while True:
        page = await store.list_runs(status=status, before=before)
        for record in page:
            yield record
        if not page:
            return
        before = page[-1].run_id


_EXTRAS: Final = ("error_normalizer", "telemetry_emitter")
"""Contracts that only the settings choose for, and that nothing serves unless they do."""

_NO_SINK = (NoOpEventSink, type(None))


async def _open(item: Any) -> _Close | None:
    """Open *item* if it can be opened, and return what closes it, if anything does."""
    if hasattr(item, "__aenter__"):
        await item.__aenter__()
        return item.__aexit__  # type: ignore[no-any-return]
    if hasattr(item, "__enter__"):
        item.__enter__()
        return item.__exit__  # type: ignore[no-any-return]
    close = getattr(item, "aclose", None) or getattr(item, "close", None)
    return (lambda *_: close()) if callable(close) else None


async def _settle(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def _failures(exceptions: Sequence[BaseException]) -> str:
    return f"{len(exceptions)} of the Runtime's backends failed to close."
