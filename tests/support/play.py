"""Playing a scenario on the engine, and what was seen meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import anyio
import anyio.to_thread
import attrs

from stageflow import PipelineContext, RetryPolicy, StageKind, StageOutput
from stageflow._engine.plan import Node, Plan, StagePolicy, compile_plan
from stageflow._engine.run import Run, RunOptions, RunReport
from stageflow.interceptors import BaseInterceptor, TransientError
from stageflow.stages.retry import BackoffStrategy, JitterStrategy
from stageflow.testing import TestClock
from support.model import Seen
from support.strategies import Attempt, Scenario, StagePlay

__all__ = (
    "Fatal",
    "Performance",
    "UpperBound",
    "every_thread_is_free",
    "leaves_nothing_behind",
    "plan_of",
    "play",
)

_TERMINAL = {"completed": "ok", "skipped": "skip", "cancelled": "cancel", "failed": "fail"}


class Fatal(BaseException):
    """What a stage raises that nobody but the caller may handle."""


class UpperBound(Random):
    """Chance that always gives the most."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Passing(BaseInterceptor):
    """Stands around every stage and counts."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()

    async def before(self, stage_name: str, ctx: PipelineContext) -> None:
        self.asked[stage_name] += 1

    async def after(self, stage_name: str, result: Any, ctx: PipelineContext) -> None:
        self.seen[stage_name] += 1


@attrs.define
class Performance:
    """Everything that was seen while a scenario was played.

    Attributes:
        trace: What happened to stages, in order.
        events: The types of all events, in order.
        began: For each stage, when its attempts began.
        registered: Clean-ups in the order of their registration.
        cleaned: Clean-ups in the order in which they were called.
        read: For each stage that read its needs, their statuses.
        report: The run's report, unless it raised.
        raised: What the run raised.
    """

    scenario: Scenario
    clock: TestClock = attrs.field(factory=lambda: TestClock(autojump=True))
    trace: list[Seen] = attrs.field(factory=list)
    events: list[str] = attrs.field(factory=list)
    began: dict[str, list[int]] = attrs.field(factory=dict)
    registered: list[str] = attrs.field(factory=list)
    cleaned: list[str] = attrs.field(factory=list)
    read: dict[str, dict[str, str]] = attrs.field(factory=dict)
    around: Passing = attrs.field(factory=Passing)
    report: RunReport | None = None
    raised: BaseException | None = None

    def now(self) -> int:
        """Virtual milliseconds since the run began."""
        return round(self.clock.monotonic() * 1000)

    def see(self, what: str, stage: str = "", status: str = "") -> None:
        self.trace.append(Seen(self.now(), what, stage, status))

    async def emit(self, *, type: str, data: dict[str, Any] | None) -> None:
        self.try_emit(type=type, data=data)

    def try_emit(self, *, type: str, data: dict[str, Any] | None) -> None:
        self.events.append(type)
        facts = data or {}
        subject, _, what = type.partition(".")
        if subject == "stage" and what == "started":
            self.see("start", facts["stage"])
        elif subject == "stage" and what in _TERMINAL:
            assert facts["status"] == _TERMINAL[what]
            self.see("end", facts["stage"], facts["status"])
        elif subject == "pipeline" and what != "started":
            self.see("over", status=what)

    # What stages do.

    async def act(self, play: StagePlay, ctx: Any) -> Any:
        """Do what an attempt of *play* does."""
        attempt = self._begin(play, ctx)
        try:
            with anyio.CancelScope(shield=play.on_cancel == "shielded"):
                if attempt.lasts is None:
                    await anyio.sleep_forever()
                elif attempt.lasts:
                    await self.clock.sleep(attempt.lasts / 1000)
        except anyio.get_cancelled_exc_class():
            if play.on_cancel == "swallows":
                return {"value": self._value(play, ctx)}
            raise
        return self._give(play, attempt, ctx)

    def act_in_thread(self, play: StagePlay, ctx: Any) -> Any:
        """Do the same in a thread."""
        return self._give(play, self._begin(play, ctx), ctx)

    def _begin(self, play: StagePlay, ctx: Any) -> Attempt:
        began = self.began.setdefault(play.name, [])
        began.append(self.now())
        self.read[play.name] = {
            need: ctx.inputs.get_output(need).status.value for need in play.needs
        }
        for number in range(play.cleanups):
            name = f"{play.name}.{len(began)}.{number}"
            ctx.register_cleanup(self._cleanup(name, fails=len(self.registered) % 3 == 2))
            self.registered.append(name)
        return play.attempts[min(len(began), len(play.attempts)) - 1]

    def _cleanup(self, name: str, *, fails: bool) -> Callable[[], Any]:
        async def clean() -> None:
            await anyio.lowlevel.checkpoint()
            self.cleaned.append(name)
            if fails:
                raise ValueError(name)

        return clean

    def _value(self, play: StagePlay, ctx: Any) -> int:
        values: list[int] = [ctx.inputs.get_from(n, "value", default=0) for n in play.needs]
        return 1 + sum(values)

    def _give(self, play: StagePlay, attempt: Attempt, ctx: Any) -> Any:
        data: dict[str, Any] = {"value": self._value(play, ctx)}
        if attempt.route is not None:
            data["route"] = list(attempt.route)
        outputs: dict[str, Callable[[], Any]] = {
            "ok": lambda: data,
            "skip_reason": lambda: {**data, "skip_reason": "not needed"},
            "skip": lambda: StageOutput.skip("nothing to do"),
            "cancel_run": lambda: StageOutput.cancel("enough"),
            "cancel_branch": lambda: StageOutput.cancel("not here", scope="branch"),
            "fail": lambda: StageOutput.fail("no"),
            "fail_retryable": lambda: StageOutput.fail("not now", retryable=True),
            "retry": lambda: StageOutput.retry("later"),
            "bad": lambda: 5,
        }
        errors = {"raise": ValueError, "raise_transient": TransientError, "fatal": Fatal}
        if attempt.outcome == "alone":
            raise asyncio.CancelledError
        if attempt.outcome in errors:
            raise errors[attempt.outcome]
        return outputs[attempt.outcome]()


def plan_of(seen: Performance) -> Plan:
    """Return the plan of the scenario, with what is seen told to *seen*."""
    scenario = seen.scenario
    return compile_plan(
        [
            Node(
                play.name,
                _runner(seen, play),
                StageKind.ROUTE if play.router else StageKind.WORK,
                play.needs,
                play.conditional,
                policy=_policy(play),
            )
            for play in scenario.stages
        ],
        layers=[seen.around] if scenario.layered else (),
        on_failure=scenario.on_failure,  # type: ignore[arg-type]
        max_concurrency=scenario.limit,
    )


def _policy(play: StagePlay) -> StagePolicy:
    retry = None
    if play.max_attempts is not None:
        retry = RetryPolicy(
            max_attempts=play.max_attempts,
            base_delay_ms=play.backoff,
            backoff=BackoffStrategy.CONSTANT,
            jitter=JitterStrategy.NONE,
        )
    return StagePolicy(
        timeout=None if play.timeout is None else play.timeout / 1000,
        retry=retry,
        on_failure=play.on_failure,  # type: ignore[arg-type]
        branch_key=play.branch_key,
    )


def _runner(seen: Performance, play: StagePlay) -> Any:
    async def execute(ctx: Any) -> Any:
        return await seen.act(play, ctx)

    class Runner:
        async def execute(self, ctx: Any) -> Any:
            return await seen.act(play, ctx)

    def threaded(ctx: Any) -> Any:
        return seen.act_in_thread(play, ctx)

    def later(ctx: Any) -> Any:
        return seen.act(play, ctx)

    return {
        "async": execute,
        "class": Runner,
        "object": Runner(),
        "lambda": lambda ctx: seen.act(play, ctx),
        "sync": threaded,
        "later": later,
    }[play.body]


async def play(scenario: Scenario, *, heard: bool = True) -> Performance:
    """Run *scenario* once and return what was seen.

    Args:
        scenario: What happens.
        heard: Whether anybody listens to the run's events; only then is there a trace.
    """
    seen = Performance(scenario)
    context = PipelineContext(event_sink=seen if heard else None)
    options = RunOptions(clock=seen.clock, random=UpperBound(), cleanup_timeout=60.0)
    run = Run(plan_of(seen), context, options)
    native = scenario.cancellation is not None and scenario.cancellation.how == "native"
    if native and runs_on_asyncio():
        await _play_in_task(seen, run)
    else:
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as scope:
                tasks.start_soon(_cancel_later, seen, context, scope.cancel)
                await _keep(seen, run)
            tasks.cancel_scope.cancel()
    return seen


async def _play_in_task(seen: Performance, run: Run) -> None:
    task = asyncio.create_task(_keep(seen, run))
    canceller = asyncio.create_task(_cancel_later(seen, run.context, task.cancel))
    await asyncio.wait([task])
    canceller.cancel()
    await asyncio.wait([canceller])
    if not task.cancelled():
        task.result()


async def _keep(seen: Performance, run: Run) -> None:
    try:
        seen.report = await run.execute()
    except Fatal as error:
        seen.raised = error
    except BaseException as error:
        seen.raised = error
        raise


async def _cancel_later(
    seen: Performance, context: PipelineContext, cancel: Callable[[], object]
) -> None:
    cancellation = seen.scenario.cancellation
    if cancellation is None:
        return
    await seen.clock.sleep(cancellation.at / 1000)
    seen.see("cancel")
    if cancellation.how == "token":
        context.mark_canceled("enough")
    else:
        cancel()


def runs_on_asyncio() -> bool:
    try:
        return asyncio.current_task() is not None
    except RuntimeError:
        return False


def _living() -> int:
    if runs_on_asyncio():
        return len(asyncio.all_tasks())
    import trio

    return trio.lowlevel.current_statistics().tasks_living


@contextmanager
def leaves_nothing_behind() -> Iterator[None]:
    """Fail if a task that began within the block is alive after it."""
    before = _living()
    yield
    assert _living() == before, "tasks outlived the run"


async def every_thread_is_free() -> None:
    """Return once every place for a thread can be had, which fails if one was lost."""
    limiter = anyio.to_thread.current_default_thread_limiter()
    holders = [object() for _ in range(int(limiter.total_tokens))]
    with anyio.fail_after(10):
        for holder in holders:
            await limiter.acquire_on_behalf_of(holder)
    for holder in holders:
        limiter.release_on_behalf_of(holder)
