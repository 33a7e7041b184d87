"""Run: one execution of a plan; the only owner of everything that changes meanwhile.

Children of one task group, the workers, take ready stages from a queue. Before a worker runs a
stage while others are ready, it makes sure that one more worker is scheduled: should the stage
suspend, the event loop starts that one, and it does the same; should it not, the spare finds
nothing to do and ends. So a chain runs in one task, a wide graph in as many as it needs, and
nobody has to be told that a stage suspended.
"""

from __future__ import annotations

import asyncio
import sys
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator, Mapping
from contextvars import Context, copy_context
from datetime import datetime, timedelta
from random import Random
from typing import Any, Literal
from uuid import UUID, uuid4

import anyio
import anyio.lowlevel
import anyio.to_thread
import attrs
from anyio.abc import TaskGroup

from stageflow._engine.announce import Announcer, Listener, WideEvents
from stageflow._engine.call import Invocation, as_output, execute_again
from stageflow._engine.cleanup import CleanupRegistry
from stageflow._engine.deadlines import Deadlines, TimeLimit
from stageflow._engine.deliveries import Deliveries
from stageflow._engine.errors import StageFailedError, UnfinishedStagesError, describe
from stageflow._engine.gates import chosen_branches, verdict
from stageflow._engine.guard_regions import Region
from stageflow._engine.guard_retry import GuardRetries
from stageflow._engine.journal import Journal, NotDurableError
from stageflow._engine.keeping import Keeper
from stageflow._engine.outcomes import Outcome
from stageflow._engine.pausing import PauseGate
from stageflow._engine.plan import Plan
from stageflow._engine.ready import ReadyQueue
from stageflow._engine.restoring import take_over_cleanups
from stageflow._engine.retrying import is_transient
from stageflow._engine.threads import LoopDoor, call_in_thread, runs_on_asyncio
from stageflow._engine.waiting import parked_on
from stageflow.context import PipelineContext, PipelineTimer, StageContext
from stageflow.context.cancellation import CancellationToken
from stageflow.context.inputs import make_stage_inputs, shared_output
from stageflow.context.stage_context import make_stage_context
from stageflow.contracts.clock import Clock, SystemClock
from stageflow.contracts.logs import get_logger
from stageflow.errors import RunError
from stageflow.events.delivery import PendingEmit, event_collector
from stageflow.events.sinks import NoOpEventSink
from stageflow.stages import StageOutput, StageResult, StageStatus
from stageflow.stages.output import timed_output
from stageflow.stages.retry import RetryPolicy

__all__ = ("Run", "RunOptions", "RunReport", "RunStatus")

RunStatus = Literal["completed", "failed", "cancelled", "waiting"]

_log = get_logger(__name__)

_SLICE_SECONDS = 0.001
"""How long stages that never suspend may hold the event loop."""

_SYSTEM_CLOCK = SystemClock()
_WORKER = "stageflow worker"
_CALLER_CANCELLED = "the caller was cancelled"


@attrs.frozen(kw_only=True)
class RunOptions:
    """What a run is given besides its plan and its context.

    Attributes:
        clock: Source of time.
        random: Source of chance, for jitter.
        new_id: Source of identities.
        cleanup_timeout: Seconds for all clean-ups together, and for late event deliveries.
        config: Configuration provider that stages see as `ctx.config`.
        resources: Opened resources that stages see as `ctx.resources`.
        listeners: Are told every lifecycle event.
        wide_stage: Summarises each stage; None for nobody.
        wide_pipeline: Summarises the run; None for nobody.
        is_retryable: Says of an exception whether another attempt could help.
        announce_run: Whether listeners are told that the run begins and ends; of its stages
            they are told in any case.
        timeout: Seconds that the run may take, pauses included, before it is cancelled; None
            for no limit.
        thread_grace: Seconds for which a stage that is cancelled waits for its thread to end by
            itself before the thread is given up.
        pause_gate: While it is closed, no further stage starts; None for a run that nobody pauses.
    """

    clock: Clock = _SYSTEM_CLOCK
    random: Random = attrs.field(factory=Random)
    new_id: Callable[[], UUID] = uuid4
    cleanup_timeout: float = 10.0
    config: Any = None
    resources: Mapping[str, Any] | None = None
    listeners: tuple[Listener, ...] = ()
    wide_stage: WideEvents | None = None
    wide_pipeline: WideEvents | None = None
    is_retryable: Callable[[BaseException], bool] = is_transient
    announce_run: bool = True
    timeout: float | None = None
    thread_grace: float = 0.0
    pause_gate: PauseGate | None = None


DEFAULT_OPTIONS = RunOptions()


@attrs.define(eq=False)  # not frozen: it is made once per run, and by the engine alone
class RunReport:
    """How a run went.

    Attributes:
        status: How it ended.
        outputs: Every stage's output, by name, in declared order; of a run that is waiting, those
            of the stages that have ended.
        stage: The stage that failed first or asked to cancel, if one did.
        error: What that stage raised, or a `StageFailedError` with its message.
        reason: Why the run was cancelled.
        duration_ms: How long it took, clean-ups apart.
        timed_out: Whether it was cancelled because it took longer than it may.
    """

    status: RunStatus
    outputs: dict[str, StageOutput]
    stage: str | None
    error: BaseException | None
    reason: str | None
    duration_ms: float
    timed_out: bool
    _run: Run

    def results(self) -> dict[str, StageResult]:
        """Return every stage's result with its times, by name, in declared order."""
        run = self._run
        return {name: run.result(run.plan.index[name]) for name in self.outputs}

    @property
    def restored(self) -> tuple[str, ...]:
        """The stages whose outcomes had been committed before."""
        return self._run.restored

    @property
    def wait_ids(self) -> tuple[str, ...]:
        """What a run that is waiting waits for."""
        return self._run.wait_ids


class Run:
    """One execution of a plan. Made for one use: `await Run(plan, context).execute()`."""

    __slots__ = (
        "_announcer",
        "_asked",
        "_base_context",
        "_cancelled_type",
        "_cleaned",
        "_cleanups",
        "_closing",
        "_deadlines",
        "_deliveries",
        "_door",
        "_failure",
        "_fatal",
        "_gated",
        "_interrupted",
        "_keeper",
        "_on_asyncio",
        "_pending",
        "_ready",
        "_reason",
        "_remaining",
        "_runnable",
        "_running",
        "_sink",
        "_snapshot",
        "_source",
        "_stopping",
        "_tasks",
        "_timer",
        "abandoned",
        "attempts",
        "began",
        "context",
        "ended",
        "ends",
        "errors",
        "guard_retries",
        "options",
        "outputs",
        "plan",
        "restored",
        "starts",
        "time_limits",
        "timed_out",
    )

    def __init__(
        self, plan: Plan, context: PipelineContext, options: RunOptions = DEFAULT_OPTIONS
    ) -> None:
        size = len(plan)
        self.plan = plan
        self.context = context
        self.options = options
        self.outputs: list[StageOutput | None] = [None] * size
        self.starts: list[float | None] = [None] * size
        self.ends: list[float] = [0.0] * size
        self.attempts: dict[int, int] = {}
        self.time_limits: dict[str, TimeLimit] = {}
        self.errors: dict[int, BaseException] = {}
        self.abandoned: set[str] = set()
        self.timed_out = False
        self.guard_retries = (
            None if plan.guard_regions is None else GuardRetries(self, plan.guard_regions)
        )
        self.began = 0.0
        self.ended = 0.0
        self._snapshot = context.snapshot
        self._timer = PipelineTimer(options.clock)
        self._sink = None if isinstance(context.event_sink, NoOpEventSink) else context.event_sink
        self._source = _Outputs(plan.index, self.outputs)
        self._pending = list(plan.waits)
        self._ready: deque[int] | ReadyQueue = (
            deque(plan.roots)
            if plan.priorities is None
            else ReadyQueue(plan.priorities, plan.roots)
        )
        self._remaining = size
        self._running = 0
        self._runnable = 0
        self._gated = plan.has_conditions
        self._stopping: RunStatus | None = None
        self._reason: str | None = None
        self._failure: int | None = None
        self._asked: int | None = None
        self._fatal: BaseException | None = None
        self._cleanups = CleanupRegistry()
        self._cleaned = False
        self._closing = False
        self._deadlines: Deadlines | None = None
        self._deliveries = Deliveries(options.cleanup_timeout)
        self._tasks: TaskGroup | None = None
        self._interrupted = False
        self._announcer: Announcer | None = None
        self.restored: tuple[str, ...] = ()
        journal: Journal | None = context.journal
        self._keeper = None if journal is None else Keeper(self, journal)
        heard = self._sink is not None or options.listeners
        if heard or options.wide_stage is not None or options.wide_pipeline is not None:
            self._announcer = Announcer(self, self._sink, context)

    # What contexts, layers and the announcer ask of the run.

    @property
    def clock(self) -> Clock:
        """The run's source of time."""
        return self.options.clock

    @property
    def random(self) -> Random:
        """The run's source of chance."""
        return self.options.random

    @property
    def config(self) -> Any:
        """The configuration provider."""
        return self.options.config

    @property
    def resources(self) -> Mapping[str, Any] | None:
        """The opened resources."""
        return self.options.resources

    @property
    def cancel_token(self) -> CancellationToken:
        """The run's request to stop."""
        return self.context.cancel_token

    @property
    def stopping(self) -> RunStatus | None:
        """How the run will end that was told to stop; None while it goes on or no stage is left."""
        return self._stopping if self._remaining else None

    @property
    def is_stopping(self) -> bool:
        """Whether the run was told to stop, or is over."""
        return self._stopping is not None

    @property
    def deadlines(self) -> Deadlines:
        """The run's deadlines."""
        if self._deadlines is None:
            assert self._tasks is not None
            self._deadlines = Deadlines(self.clock, self._tasks)
        return self._deadlines

    def is_retryable(self, error: BaseException) -> bool:
        """Say whether another attempt could help against *error*."""
        return self.options.is_retryable(error)

    def execution_key(self, stage: str) -> str:
        """Return a text that names this execution of *stage*, the same for all its attempts."""
        # Work that a guard refused is to be done anew, not to be recognised as done.
        return f"{self.context.pipeline_run_id or id(self)}/{self.round_name(stage)}"

    def register_cleanup(
        self, callback: Callable[[], Any], name: str | None, stage: str | None = None
    ) -> None:
        """Call *callback* when the run ends, however it ends; safe from any thread.

        Raises:
            RunError: If the run has ended, as it may for a thread that was given up.
        """
        self._cleanups.register(callback, name=name)
        if self._keeper is not None and stage is not None:
            shown = name or str(getattr(callback, "__qualname__", callback))
            self._keeper.note_cleanup(stage, shown)
        # In this order, a registration at the last moment is either called or refused.
        if self._cleaned and self._cleanups.unregister(callback):
            raise RunError(
                "A clean-up was registered after its run had ended.",
                hint="Clean up at once: nobody waits for this stage any more.",
            )

    def collect_delivery(self, delivery: PendingEmit) -> None:
        """Finish *delivery* before the run ends; safe from any thread."""
        if self._deliveries.add(delivery):
            self._door.call(self._start_delivering)

    def _start_delivering(self) -> None:
        self._deliveries.start(self._tasks)

    async def call_in_thread(self, body: Callable[..., Any], context: StageContext) -> Any:
        """Return what *body* gives for *context*, called in a worker thread."""
        return await call_in_thread(
            body,
            context,
            limiter=anyio.to_thread.current_default_thread_limiter(),
            door=self._door,
            clock=self.clock,
            grace=self.options.thread_grace,
            on_wait=lambda: self._pause(context),
            on_turn=lambda: self._restart(context),
            on_abandoned=lambda: self._note_abandoned(context.stage_name),
        )

    def _pause(self, context: StageContext) -> None:
        limit = self.time_limits.get(context.stage_name)
        if limit is not None:
            limit.close()

    def _restart(self, context: StageContext) -> None:
        """Let a stage that waited for a free thread begin now: its time, and its time limit."""
        if context.attempt == 1:
            self.starts[self.plan.index[context.stage_name]] = self.clock.monotonic()
        limit = self.time_limits.get(context.stage_name)
        if limit is not None:
            limit.restart()

    def call_isolated(self, function: Callable[..., object], *args: Any) -> None:
        """Call *function* as a stage would: it finds the run, and leaves no variable set."""
        self._base_context.copy().run(function, *args)

    def note_attempt(self, index: int, attempt: int) -> None:
        """Remember that stage *index* is in its *attempt*."""
        self.attempts[index] = attempt

    @property
    def is_kept(self) -> bool:
        """Whether the run's progress is kept, so that it may have been under way before."""
        return self._keeper is not None

    def earlier_attempts(self, index: int) -> tuple[int, int]:
        """Return how many attempts of stage *index* another process saw fail, and be cut short."""
        return (0, 0) if self._keeper is None else self._keeper.earlier_attempts(index)

    async def note_failure(self, index: int, failures: int) -> None:
        """Have it kept that another attempt of stage *index* failed, before the next one begins."""
        if self._keeper is not None:
            await self._keeper.note_failure(index, failures)

    def note_guard(self, guard: int, state: Mapping[str, Any]) -> None:
        """Have it kept how often a guard has sent the run back."""
        if self._keeper is not None:
            self._keeper.note_guard(guard, state)

    async def wait_for(self, context: StageContext, name: str, timeout: float | None) -> Any:
        """Return the answer to a wait of a stage, whoever gives it, and whenever.

        Raises:
            SignalTimeoutError: If none came in time.
            NotDurableError: If nothing is kept of the run.
        """
        if self._keeper is None:
            raise NotDurableError(context.stage_name, f"waits for the signal {name!r}")
        limit = self.time_limits.get(context.stage_name)
        if limit is None:
            return await self._keeper.wait_for(context, name, timeout)
        limit.pause()
        try:
            return await self._keeper.wait_for(context, name, timeout)
        finally:
            limit.go_on()

    @property
    def wait_ids(self) -> tuple[str, ...]:
        """What the parked stages wait for."""
        return () if self._keeper is None else self._keeper.wait_ids

    def journal_below(self, stage: str) -> Journal | None:
        """Return the journal of the next run that *stage* starts; None if nothing is kept."""
        return None if self._keeper is None else self._keeper.journal_below(stage)

    def round_name(self, stage: str) -> str:
        """Return a text that names what *stage* is to do now; another one for a guard's retry."""
        again = 0
        if self.guard_retries is not None:
            again = self.guard_retries.round_of(self.plan.index[stage])
        return f"{stage}#{again + 1}" if again else stage

    def tell_retry_scheduled(
        self,
        invocation: Invocation,
        policy: RetryPolicy,
        delay_ms: float,
        output: StageOutput | None,
        error: BaseException | None,
    ) -> None:
        """Tell that a stage will be tried again."""
        if self._announcer is not None:
            self._announcer.retry(invocation, policy, _why(output, error), delay_ms)

    def tell_retry_exhausted(
        self,
        invocation: Invocation,
        policy: RetryPolicy,
        output: StageOutput | None,
        error: BaseException | None,
    ) -> None:
        """Tell that a stage has used all its attempts."""
        if self._announcer is not None:
            self._announcer.retry(invocation, policy, _why(output, error), None)

    def tell(self, type: str, facts: Mapping[str, Any]) -> None:
        """Tell whoever listens what happened."""
        if self._announcer is not None:
            self._announcer.tell(type, facts)

    def run_again(self, region: Region) -> None:
        """Forget how the stages of a region ended, and start it anew; its guard has just ended."""
        for index in region.stages:
            if self.starts[index] is not None:
                self.attempts.setdefault(index, 1)
            self.starts[index] = None
            self.outputs[index] = None
            self.errors.pop(index, None)
            self.forget_output(index)
            self._pending[index] = region.waits[index]
        for index, count in region.holds.items():
            self._pending[index] += count
        # All of them had been counted as ended, but for the guard.
        self._remaining += len(region.stages) - 1
        if self._keeper is None or not self._keeper.hold(region):
            self._ready.append(region.retry)

    def remember_output(self, index: int, output: StageOutput) -> None:
        """Let stage *index* be read as *output* until it ends once more."""
        self._source.remember(self.plan.names[index], output)

    def forget_output(self, index: int) -> None:
        """Let nobody read what stage *index* gave before."""
        self._source.forget(self.plan.names[index])

    @property
    def started_at(self) -> datetime:
        """The time of day, in UTC, when the run began."""
        return self._timer.started_at

    def time_of(self, instant: float) -> datetime:
        """Return the time of day, in UTC, at an instant of the run's monotonic clock."""
        # Rounded as the events' times are, which are written out without a `datetime`.
        return self.started_at + timedelta(microseconds=round((instant - self.began) * 1e6))

    def result(self, index: int) -> StageResult:
        """Return how stage *index* ended."""
        output = self.outputs[index]
        assert output is not None
        return self._result(index, output, self.ends[index])

    def result_now(self, index: int, output: StageOutput) -> StageResult:
        """Return how stage *index* would end if it ended now with *output*."""
        return self._result(index, output, self.clock.monotonic())

    def _result(self, index: int, output: StageOutput, end: float) -> StageResult:
        name = self.plan.names[index]
        ended = self.time_of(end)
        began = self.starts[index]
        started = ended if began is None else self.time_of(began)
        metadata = {**output.metadata, "attempts": self.attempts.get(index, 1)}
        if name in self.abandoned:
            metadata["thread_abandoned"] = True
        return StageResult(
            name,
            output.status,
            started,
            ended,
            output.data,
            output.error,
            output.artifacts,
            output.events,
            metadata,
        )

    # The way of a run.

    async def execute(self) -> RunReport:
        """Run every stage and return how it went; a failed run is reported, not raised.

        Raises:
            BaseException: What a stage raised that is no `Exception`, such as `SystemExit`,
                and the cancellation of the caller; the run is wound up before.
        """
        self._begin()
        forget = self.cancel_token.on_cancel(lambda: self._door.call(self._cancel_requested))
        status: RunStatus = "cancelled"
        try:
            if self._keeper is not None:
                await self._restore(self._keeper)
            if self._stopping is None and not _is_cancelled_from_outside():
                async with anyio.create_task_group() as self._tasks:
                    self._start_delivering()
                    if self.options.timeout is not None and self._remaining:
                        self.deadlines.add(_TimeLimit(self), self.options.timeout)
                    self._spawn()
            else:
                await anyio.lowlevel.checkpoint()
            status = await self._status()
        except Exception:
            status = "failed"
            raise
        except BaseException:
            self._reason = self._reason or _CALLER_CANCELLED
            if self._fatal is None:
                raise
        finally:
            forget()
            self._tasks = None
            if self._remaining or self._cleanups.pending_count:
                with anyio.CancelScope(shield=True):
                    if self._keeper is not None:
                        self._keeper.settle_the_rest()
                    await self._wind_up(status)
            else:
                self.ended = self.clock.monotonic()
                self._cleaned = True
                self._tell_end(status)
            await self._deliveries.finish()
            self._cleaned = True
            self._deliveries.close()
        if self._fatal is not None:
            raise self._fatal
        return self._report(status)

    def _begin(self) -> None:
        self.began = self.clock.monotonic()
        self._door = LoopDoor()
        self._on_asyncio = runs_on_asyncio()
        self._cancelled_type = (
            asyncio.CancelledError if self._on_asyncio else anyio.get_cancelled_exc_class()
        )
        self._base_context = copy_context()
        self._base_context.run(event_collector.set, self.collect_delivery)
        if self._announcer is not None and self._keeper is None:
            self._announcer.run_started()

    async def _restore(self, keeper: Keeper) -> None:
        """Take over what had been committed, as if it had happened here."""
        ended, journal = keeper.restore(), keeper.journal
        self.restored = tuple([self.plan.names[index] for index in ended])
        self._remaining -= len(ended)
        for index in ended:
            for follower in self.plan.releases[index]:
                self._pending[follower] -= 1
        for index in ended:
            # So that nothing ever finds it ready: it has ended.
            self._pending[index] = sys.maxsize
        if self._announcer is not None:
            if ended or journal.resumes:
                self._announcer.run_resumed(len(ended), journal.ledger.lease.token)
                for index in ended:
                    if journal.is_untold(self.plan.names[index]):
                        self._announcer.stage_restored(index)
            else:
                self._announcer.run_started()
        if journal.is_over:
            self._find_ready(ended)
            self._ready = deque()  # there ought to be nothing
        elif ended:
            await take_over_cleanups(self, journal, ended)
            self._find_ready(ended)

    def _find_ready(self, ended: Mapping[int, Outcome]) -> None:
        """Make ready what is left to run after all this had ended before."""
        if any(each.output.status is StageStatus.CANCEL for each in ended.values()):
            self._gated = True
        self._ready = deque() if self.plan.priorities is None else ReadyQueue(self.plan.priorities)
        free = [
            index
            for index, left in enumerate(self._pending)
            if not left and self.outputs[index] is None
        ]
        for index in free:
            unrun = verdict(self.plan, self.outputs, index) if self._gated else None
            if unrun is None:
                self._ready.append(index)
            else:
                self._finish_unrun(index, unrun, self.began)

    def context_of(self, index: int) -> StageContext:
        """Return a context for stage *index* outside its attempts."""
        name, readable = self.plan.names[index], self.plan.readable[index]
        ports = self.context.inputs or None
        inputs = make_stage_inputs(self._snapshot, self._source, ports, readable, name)
        return make_stage_context(self._snapshot, inputs, name, self._timer, self._sink, self)

    async def _status(self) -> RunStatus:
        if self._stopping is not None:
            if _is_cancelled_from_outside():
                # Trio's task groups end well if all of their tasks do, as shielded ones may.
                await anyio.lowlevel.checkpoint()
            return self._stopping
        if self._remaining:
            names, outputs = self.plan.names, self.outputs
            raise UnfinishedStagesError(
                [name for name, output in zip(names, outputs, strict=True) if output is None]
            )
        return "completed" if self._failure is None else "failed"

    async def _wind_up(self, status: RunStatus) -> None:
        """Give every stage its end, run the clean-ups, tell how it went."""
        self.ended = self.clock.monotonic()
        self._stopping = self._stopping or status
        if self._stopping != "waiting":  # what does not wait may go on later
            for index, output in enumerate(self.outputs):
                if output is None:
                    self._finish(index, StageOutput.cancel(self._cancel_reason()), self.ended)
        try:
            await self._clean_up()
        finally:
            self._tell_end(status)

    def _tell_end(self, status: RunStatus) -> None:
        self._stopping = self._stopping or status
        if self._announcer is not None:
            self._announcer.run_ended(status, self._end_facts(status))
            if status != "waiting":  # it has not ended; somebody will sum it up who goes on with it
                self._announcer.summarise_run()

    async def _clean_up(self) -> None:
        timeout = self.options.cleanup_timeout
        await self._cleanups.run_all(timeout=timeout)
        self._cleaned = True
        # A thread that was given up may have come in between.
        await self._cleanups.run_all(timeout=timeout)

    def _end_facts(self, status: RunStatus) -> dict[str, Any]:
        failed = None if self._failure is None else self.outputs[self._failure]
        return {
            "error": None if failed is None else failed.error,
            "failed_stage": None if self._failure is None else self.plan.names[self._failure],
            "reason": self._reason if status == "cancelled" else None,
        }

    def _report(self, status: RunStatus) -> RunReport:
        names, outputs = self.plan.names, self.outputs
        error: BaseException | None = None
        stage: str | None = None
        if self._failure is not None and status == "failed":
            stage = names[self._failure]
            error = self.errors.get(self._failure)
            if error is None:
                failed = outputs[self._failure]
                error = StageFailedError(stage, (failed and failed.error) or "Unknown error")
        elif status == "cancelled" and self._asked is not None:
            stage = names[self._asked]
        return RunReport(
            status,
            {name: out for name, out in zip(names, outputs, strict=True) if out is not None},
            stage,
            error,
            self._reason if status == "cancelled" else None,
            (self.ended - self.began) * 1000.0,
            self.timed_out,
            self,
        )

    # Workers.

    def _spawn(self) -> None:
        assert self._tasks is not None
        self._runnable += 1
        self._tasks.start_soon(self._work, name=_WORKER)

    async def _work(self) -> None:  # noqa: C901, PLR0912, PLR0915 - a flat loop: each call costs
        self._runnable -= 1
        assert self._tasks is not None
        scope = self._tasks.cancel_scope
        if scope.cancel_called:
            return  # it began after the run was told to stop
        plan, ready = self.plan, self._ready
        names, readable, calls, starts = plan.names, plan.readable, plan.calls, self.starts
        limit = plan.max_concurrency or sys.maxsize
        gate = self.options.pause_gate
        monotonic = self.clock.monotonic
        announcer = self._announcer
        if announcer is not None:
            # Set here once, it need not be set for each event that is delivered.
            event_collector.set(self.collect_delivery)
        snapshot, source, timer, sink = self._snapshot, self._source, self._timer, self._sink
        ports = self.context.inputs or None
        base = self._base_context
        keeper = self._keeper
        task = asyncio.current_task() if self._on_asyncio else None
        now = monotonic()
        slice_end = now + _SLICE_SECONDS
        while ready and self._running < limit and self._stopping is None:
            if gate is not None and gate.is_closed:
                await gate.wait()
                now = monotonic()
                slice_end = now + _SLICE_SECONDS
                continue  # others may have come through first
            index = ready.popleft()
            self._running += 1
            if ready and not self._runnable and self._running < limit:
                self._spawn()
            call = calls[index]
            starts[index] = now
            if announcer is not None:
                announcer.stage_started(index)
            name = names[index]
            inputs = make_stage_inputs(snapshot, source, ports, readable[index], name)
            context = make_stage_context(snapshot, inputs, name, timer, sink, self)
            if keeper is not None:
                context = keeper.continued(index, context)
            isolated = base.copy()
            invocation: Invocation | None = None
            suspended = False
            try:
                body = call.body
                if body is None:
                    assert call.make is not None
                    body = isolated.run(call.make)
                coroutine: Coroutine[Any, Any, Any]
                if call.layered is None:
                    coroutine = body(context)  # type: ignore[assignment]
                else:
                    invocation = Invocation(self, index, call, context, body)
                    coroutine = call.layered(invocation)  # type: ignore[assignment]
                try:
                    awaited = isolated.run(coroutine.send, None)
                except StopIteration as stop:
                    value = stop.value
                else:
                    suspended = True
                    value = await self._drive(coroutine, isolated, awaited)
                output = as_output(value, name)
                if output.status is StageStatus.RETRY:
                    suspended = True
                    invocation = invocation or Invocation(self, index, call, context, body)
                    again = execute_again(invocation, output)
                    output = await self._drive_from_start(again, isolated)
            except self._cancelled_type as error:
                if self.is_stopping or _is_cancelled_from_outside():
                    if not self.is_stopping:
                        self._stop("cancelled", _CALLER_CANCELLED)
                    self._running -= 1
                    self._finish(index, StageOutput.cancel(self._cancel_reason()), monotonic())
                    raise
                output = self._outcome_of(index, error)
            except BaseException as error:
                if self._closing:
                    raise  # the event loop throws its tasks away
                parked = None if keeper is None else parked_on(error)
                if parked is not None and keeper is not None and not self.is_stopping:
                    self._running -= 1
                    keeper.park(index, parked)
                    if not ready:
                        await keeper.leave_or_go_on()
                    now = monotonic()
                    continue
                output = self._outcome_of(index, error)
            if suspended:
                slice_end = monotonic() + _SLICE_SECONDS
                if not self.is_stopping and self._is_caller_cancelled(scope):
                    # The stage went on in spite of that, or was shielded; nothing else may start.
                    self._stop("cancelled", _CALLER_CANCELLED)
            if task is not None and task.cancelling() and not _is_cancelled_from_outside():
                await _absorb_cancellation(task)
            now = monotonic()
            self._running -= 1
            self._finish(index, output, now)
            if keeper is not None:
                if keeper.is_due:
                    if ready:
                        keeper.is_busy = True
                        self._tasks.start_soon(keeper.commit_aside)
                    else:
                        await keeper.commit()
                        now = monotonic()
                        slice_end = now + _SLICE_SECONDS
                if keeper.parked and not ready:
                    await keeper.leave_or_go_on()
                    now = monotonic()
            if now >= slice_end and ready:
                self._runnable += 1
                try:
                    await anyio.lowlevel.checkpoint()
                finally:
                    self._runnable -= 1
                now = monotonic()
                slice_end = now + _SLICE_SECONDS

    async def _drive_from_start(self, coroutine: Coroutine[Any, Any, Any], context: Context) -> Any:
        try:
            awaited = context.run(coroutine.send, None)
        except StopIteration as stop:
            return stop.value
        return await self._drive(coroutine, context, awaited)

    @types.coroutine
    def _drive(
        self, coroutine: Coroutine[Any, Any, Any], context: Context, awaited: Any
    ) -> Generator[Any, Any, Any]:
        """Step *coroutine* on in *context*; *awaited* is what it waits for now."""
        run = context.run
        while True:
            error: BaseException | None = None
            sent = None
            try:
                sent = yield awaited
            except BaseException as raised:  # noqa: BLE001 - handed on to the coroutine
                error = raised
                self._closing = self._closing or isinstance(raised, GeneratorExit)
            # Outside the handler, or the coroutine's own exceptions would get a wrong context.
            try:
                if error is None:
                    awaited = run(coroutine.send, sent)
                else:
                    self._interrupted = True
                    awaited = run(coroutine.throw, error)
            except StopIteration as stop:
                return stop.value
            finally:
                error = None

    def _finish(self, index: int, output: StageOutput, now: float) -> None:
        """Give stage *index* its one end, and start what waited for it."""
        began = self.starts[index]
        duration = 0.0 if began is None else (now - began) * 1000.0
        if self.plan.is_judged:
            judged = self._judged(index, output, now)
            if judged is None:
                return
            output = judged
        output = timed_output(output, duration)
        self.ends[index] = now
        if self._keeper is not None and self._fatal is None:
            kept = self._keeper.take(index, output)
            if kept is None:
                return  # it has ended once that is committed
            output = kept
        self.settle(index, output, now)

    def settle(self, index: int, output: StageOutput, now: float) -> None:
        """Tell the end of stage *index*, and start what waited for it."""
        call = self.plan.calls[index]
        self.outputs[index] = output
        self._remaining -= 1
        if self._announcer is not None:
            self._announcer.stage_ended(index, output)
        if self._stopping is None:
            if output.status is StageStatus.FAIL:
                self._failed(index, call.policy.on_failure or self.plan.on_failure)
            elif output.status is StageStatus.CANCEL:
                self._cancelled(index, output)
            if self._stopping is None:
                self._release(index, now)
        if not self._remaining:
            self._wind_down()

    @property
    def is_idle(self) -> bool:
        """Whether no stage runs or could start, and the run was not told to stop."""
        return not self._running and not self._ready and self._stopping is None

    def wake(self) -> None:
        """See that somebody takes what is ready."""
        limit = self.plan.max_concurrency or sys.maxsize
        if self._ready and not self._runnable and self._running < limit and self._stopping is None:
            self._spawn()

    def begin_again(self, stages: Iterable[int]) -> None:
        """Start stages anew that had left to wait."""
        for index in stages:
            self._ready.append(index)
        self.wake()

    def leave(self) -> None:
        """Stop, for somebody to go on later: all the run can do is to wait."""
        self._stop("waiting", "")

    def lose(self, error: Exception) -> None:
        """Stop, and commit nothing more: what happens cannot be kept any longer."""
        # What leaves to wait, or has left, belongs to nobody any more, as it should be.
        if self._keeper is not None and self._keeper.is_leaving:
            return  # whether it could leave, it is told by the store
        if self._fatal is None and self._remaining and self._stopping != "waiting":
            self._fatal = error
            if self._stopping is None:
                self._stop("cancelled", describe(error))

    def _release(self, index: int, now: float) -> None:
        pending, releases = self._pending, self.plan.releases
        for follower in releases[index]:
            left = pending[follower] - 1
            pending[follower] = left
            if not left:
                if self._gated:
                    unrun = verdict(self.plan, self.outputs, follower)
                    if unrun is not None:
                        # Goes through `_release` again; a chain of them must not recurse.
                        self._finish_unrun(follower, unrun, now)
                        continue
                self._ready.append(follower)

    def _finish_unrun(self, index: int, output: StageOutput, now: float) -> None:
        waiting = [(index, output)]
        pending, releases = self._pending, self.plan.releases
        while waiting:
            index, output = waiting.pop()
            self.outputs[index] = output
            self.ends[index] = now
            self._remaining -= 1
            if self._keeper is not None:
                self._keeper.note_unrun(index)
            if self._announcer is not None:
                self._announcer.stage_ended(index, output)
            for follower in releases[index]:
                pending[follower] -= 1
                if not pending[follower]:
                    unrun = verdict(self.plan, self.outputs, follower)
                    if unrun is None:
                        self._ready.append(follower)
                    else:
                        waiting.append((follower, unrun))

    def _failed(self, index: int, on_failure: str) -> None:
        if self._failure is None:
            self._failure = index
        if self._fatal is not None or on_failure == "stop":
            self._stop("failed", f"stage {self.plan.names[index]!r} failed")
        else:
            self._gated = True

    def _cancelled(self, index: int, output: StageOutput) -> None:
        if output.cancel_scope == "branch":
            self._gated = True
        else:
            self._asked = index
            self._stop("cancelled", str(output.data.get("cancel_reason") or ""))

    def _cancel_requested(self) -> None:
        if self._stopping is None and self._remaining:
            self._stop("cancelled", self.cancel_token.reason or "")

    def time_is_up(self) -> None:
        """Cancel the run because it took longer than it may."""
        if self._stopping is None and self._remaining:
            self.timed_out = True
            self._stop("cancelled", f"the run took longer than {self.options.timeout:g} s")

    def _stop(self, status: RunStatus, reason: str) -> None:
        self._stopping = status
        self._reason = reason
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()
        self._deliveries.limit()

    def _wind_down(self) -> None:
        if self._deadlines is not None:
            self._deadlines.stop()
        self._deliveries.limit()

    def _cancel_reason(self) -> str:
        return self._reason or "the run was cancelled"

    def _judged(self, index: int, output: StageOutput, now: float) -> StageOutput | None:
        """Return the output with which a stage ends, or None if the run goes back before it."""
        output = self._checked_route(index, output)
        if self.guard_retries is None or self._stopping is not None or self._fatal is not None:
            return output
        return self.guard_retries.judge(index, output, now)

    def _checked_route(self, index: int, output: StageOutput) -> StageOutput:
        keys = self.plan.branch_keys.get(index)
        if keys is None or output.status is not StageStatus.OK:
            return output
        chosen = chosen_branches(output)
        unknown = [key for key in chosen if not isinstance(key, str) or key not in keys]
        if not unknown:
            return output
        name = self.plan.names[index]
        return StageOutput.fail(
            f"Router {name!r} chose {', '.join(map(repr, unknown))}, which is no branch of it"
            f" (branches: {', '.join(sorted(keys))}).",
            output.data,
        )

    def _outcome_of(self, index: int, error: BaseException) -> StageOutput:
        """Return how a stage ends that raised *error*, which is no cancellation of the run."""
        if self.is_stopping and parked_on(error) is not None:
            return StageOutput.cancel(self._cancel_reason())
        if isinstance(error, BaseExceptionGroup) and not isinstance(error, Exception):
            # Of the tasks in a stage, some may end by its cancellation, some by their own errors.
            cancelled, rest = error.split(self._cancelled_type)
            if rest is None and (self.is_stopping or _is_cancelled_from_outside()):
                return StageOutput.cancel(self._cancel_reason())
            error = rest or cancelled or error
        self.errors[index] = error
        if isinstance(error, (asyncio.CancelledError, self._cancelled_type)):
            return StageOutput.fail(
                "The stage was cancelled by itself: it raised a cancellation that nobody asked for."
            )
        if not isinstance(error, (Exception, GeneratorExit)):
            self._fatal = error  # raised again after winding up
        return StageOutput.fail(describe(error))

    def _is_caller_cancelled(self, scope: anyio.CancelScope) -> bool:
        # Asyncio's task groups notice by themselves, if later than a stage that was interrupted.
        if self._on_asyncio and not self._interrupted:
            return scope.cancel_called
        return _is_cancelled_from_outside()

    def _note_abandoned(self, stage: str) -> None:
        self.abandoned.add(stage)
        _log.warning("stage.thread_abandoned", stage=stage)
        if self._announcer is not None:
            self._announcer.thread_abandoned(stage)


class _TimeLimit:
    """What a deadline cancels when it is the run's own."""

    __slots__ = ("cancel",)

    def __init__(self, run: Run) -> None:
        self.cancel = run.time_is_up


class _Outputs(Mapping[str, StageOutput]):
    """The outputs of one run by stage name, each shared read-only from its first reading on."""

    __slots__ = ("_index", "_outputs", "_shared")

    def __init__(self, index: Mapping[str, int], outputs: list[StageOutput | None]) -> None:
        self._index = index
        self._outputs = outputs
        self._shared: dict[str, StageOutput] = {}

    def __getitem__(self, stage: str) -> StageOutput:
        found = self._shared.get(stage)
        if found is None:
            output = self._outputs[self._index[stage]]
            if output is None:
                raise KeyError(stage)
            found = self._shared[stage] = shared_output(output, stage)
        return found

    def __contains__(self, stage: object) -> bool:
        index = self._index.get(stage)  # type: ignore[call-overload]
        return index is not None and (self._outputs[index] is not None or stage in self._shared)

    def remember(self, stage: str, output: StageOutput) -> None:
        """Give *output* to the readers of *stage* until it is forgotten."""
        self._shared[stage] = shared_output(output, stage)

    def forget(self, stage: str) -> None:
        """Read *stage* from its output again."""
        self._shared.pop(stage, None)

    def __iter__(self) -> Iterator[str]:
        outputs = self._outputs
        return (name for name, index in self._index.items() if outputs[index] is not None)

    def __len__(self) -> int:
        return sum(output is not None for output in self._outputs)


def _is_cancelled_from_outside() -> bool:
    return anyio.current_effective_deadline() == float("-inf")


async def _absorb_cancellation(task: asyncio.Task[Any]) -> None:
    """Take back a cancellation that a stage asked for its own task, before it hits the next."""
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        _log.warning("stage.cancelled_its_own_task")
    while task.cancelling():
        task.uncancel()


def _why(output: StageOutput | None, error: BaseException | None) -> str | None:
    if error is not None:
        return describe(error)
    return None if output is None else output.error
