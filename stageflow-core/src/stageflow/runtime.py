"""Runtime: the backends of an application, opened once, and the runs that use them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, Self
from uuid import UUID

import anyio
import attrs

from stageflow._engine.announce import Listener
from stageflow._engine.errors import (
    UnifiedPipelineCancelled,
    UnifiedStageExecutionError,
    describe,
)
from stageflow._engine.retrying import is_transient, retryable_by
from stageflow._engine.run import RunOptions, RunReport, RunStatus
from stageflow.context import PipelineContext
from stageflow.contracts.clock import Clock
from stageflow.contracts.event_sink import EventSink
from stageflow.contracts.logs import get_logger
from stageflow.contracts.run_store import (
    RunEvent,
    RunExistsError,
    RunStore,
    RunStoreCapabilities,
)
from stageflow.contracts.telemetry_emitter import TelemetryEmitter
from stageflow.errors import ConfigurationError
from stageflow.events.sinks import NoOpEventSink
from stageflow.observability.telemetry import lifecycle_telemetry
from stageflow.plugins.combined import ChainedConfigProvider, FanOutEventSink
from stageflow.stages import StageOutput, StageResult

if TYPE_CHECKING:
    from stageflow.plugins import Plugins
    from stageflow.plugins.implementation import Implementation

__all__ = ("CHOSEN", "Buildable", "RunOutcome", "Runnable", "Runtime", "RuntimeCloseError")

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
        status: `completed`, `failed` or `cancelled`.
        outputs: Every stage's output, by name, in declared order.
        results: Every stage's result with its times, by name, in declared order.
        stage: The stage that failed first or asked to cancel, if one did.
        error: What that stage raised, if it failed.
        reason: Why the run was cancelled, if it was.
        duration_ms: How long it took, clean-ups apart.
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

    def raise_for_status(self) -> None:
        """Raise the error of a run that failed or was cancelled; do nothing if it completed.

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
            listeners: Are told each lifecycle event as it happens; must not wait.
            raise_on_error: Whether a failed run is raised. A cancelled one is returned.
            **fields: Further fields of the context.

        Raises:
            PipelineValidationError: If the declaration is wrong.
            UnifiedStageExecutionError: If a stage failed and *raise_on_error* is true.
            ConfigurationError: If the runtime is not open.
            TypeError: If a field is unknown, or given beside a context.
        """
        if not self._entered:
            raise ConfigurationError(
                "This Runtime is not open.",
                hint="Use it as `async with Runtime(…) as runtime:`.",
            )
        graph: Runnable = target.build() if hasattr(target, "build") else target
        if context is None:
            context = PipelineContext.for_run(
                inputs=inputs, input_text=input_text, new_id=graph.options.new_id, **fields
            )
        elif inputs is not None or input_text is not None or fields:
            raise TypeError("A run takes a context, or what one is made from, not both.")
        if self._event_sink is not None and isinstance(context.event_sink, _NO_SINK):
            context.event_sink = self._event_sink
        context.identify(run_id or context.pipeline_run_id or graph.options.new_id())
        assert context.pipeline_run_id is not None
        options = self._options(graph, listeners)
        graph.check_inputs(context.inputs)
        if self._run_store is None:
            report = await graph.execute(context, options)
        else:
            recorder = _Recorder(self._run_store, context, graph.name)
            report = await recorder.record(graph, options)
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
        )
        if raise_on_error and outcome.status == "failed":
            outcome.raise_for_status()
        return outcome

    def _options(self, graph: Runnable, listeners: Sequence[Listener]) -> RunOptions:
        changes: dict[str, Any] = {}
        if self._clock is not None:
            changes["clock"] = self._clock
        # A graph that brings a judge of its own keeps it.
        if self._is_retryable is not None and graph.options.is_retryable is is_transient:
            changes["is_retryable"] = self._is_retryable
        return attrs.evolve(
            graph.options,
            config=self._config,
            resources=self._resources,
            listeners=(*graph.options.listeners, *self._observers, *listeners),
            **changes,
        )


class _Recorder:
    """Keeps the record of one run: its status, and its events where the store can log them.

    A store that fails does not fail the run; what it missed is said once.
    """

    def __init__(self, store: RunStore, context: PipelineContext, pipeline: str) -> None:
        assert context.pipeline_run_id is not None
        self._store: Any = store
        self._context = context
        self._run_id = context.pipeline_run_id
        self._pipeline = pipeline
        self._logs_events = RunStoreCapabilities.of(store).event_log
        self._events: list[RunEvent] = []
        self._news = anyio.Event()
        self._ended = False
        self._lost = 0

    async def record(self, graph: Runnable, options: RunOptions) -> RunReport:
        """Run *graph* and keep its record meanwhile.

        Raises:
            RunExistsError: If there is a record of a run with this identity.
        """
        context = self._context
        if not await self._create():
            return await graph.execute(context, options)
        if self._logs_events:
            listeners = (*options.listeners, self._note(options.clock))
            options = attrs.evolve(options, listeners=listeners)
        report: RunReport | None = None
        error: BaseException | None = None
        async with anyio.create_task_group() as tasks:
            if self._logs_events:
                tasks.start_soon(self._write)
            try:
                report = await graph.execute(context, options)
            except anyio.get_cancelled_exc_class():
                raise
            except BaseException as raised:  # noqa: BLE001 - the group would wrap it
                error = raised
            finally:
                self._ended = True
                self._news.set()
                with anyio.CancelScope(shield=True):
                    await self._end(report, error)
        if error is not None:
            raise error
        assert report is not None
        return report

    async def _create(self) -> bool:
        context = self._context
        try:
            await self._store.create_run(
                self._run_id,
                service=context.service,
                topology=context.topology,
                execution_mode=context.execution_mode,
                status="running",
                pipeline_name=self._pipeline,
            )
        except RunExistsError:
            raise
        except Exception as error:  # noqa: BLE001 - keeping a record never fails a run
            _log.exception("run.not_recorded", run_id=str(self._run_id), error=str(error))
            return False
        return True

    def _note(self, clock: Clock) -> Listener:
        def note(type: str, data: dict[str, Any]) -> None:
            self._events.append(RunEvent(type=type, data=data, at=clock.now()))
            self._news.set()

        return note

    async def _write(self) -> None:
        # Shielded, so that the last events of a cancelled run are written, too.
        with anyio.CancelScope(shield=True):
            while True:
                await self._news.wait()
                self._news = anyio.Event()
                events, self._events = self._events, []
                if events:
                    await self._try("append_events", len(events), self._run_id, events)
                elif self._ended:
                    return
                if self._ended:
                    self._news.set()

    async def _end(self, report: RunReport | None, raised: BaseException | None) -> None:
        status = "cancelled" if report is None else report.status
        facts: dict[str, Any] = {}
        if raised is not None:
            status = "failed"
            facts["error"] = f"{type(raised).__name__}: {raised}"
        if report is not None:
            facts["duration_ms"] = report.duration_ms
            if report.error is not None:
                facts["error"] = describe(report.error)
            if report.stage is not None:
                facts["stage"] = report.stage
            if report.reason is not None:
                facts["reason"] = report.reason
        await self._try("update_status", 0, self._run_id, status, **facts)

    async def _try(self, method: str, events: int, *args: Any, **kwargs: Any) -> None:
        try:
            await getattr(self._store, method)(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - keeping a record never fails a run
            self._lost += events
            _log.exception(
                "run.record_failed",
                run_id=str(self._run_id),
                method=method,
                events_lost=self._lost,
                error=str(error),
            )


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


async def _settle(value: Any) -> None:
    if inspect.isawaitable(value):
        await value


def _failures(exceptions: Sequence[BaseException]) -> str:
    return f"{len(exceptions)} of the Runtime's backends failed to close."
