"""What the event loop, careless stages and the engine's own ways could do to a run."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import threading
import types
from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread
import pytest

from stageflow import Pipeline, PipelineContext, RetryPolicy, StageKind, StageOutput
from stageflow._engine.plan import StagePolicy, compile_plan
from stageflow._engine.run import Run, RunOptions, RunReport
from stageflow.errors import RunError
from stageflow.events.delivery import lost_events
from stageflow.interceptors import BaseInterceptor, ErrorAction, TransientError
from stageflow.testing import TestClock
from support.play import every_thread_is_free, leaves_nothing_behind
from support.runs import RememberingSink, node, run_nodes

pytestmark = pytest.mark.anyio

ENDS = {"stage.completed", "stage.skipped", "stage.cancelled", "stage.failed"}

on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])


def jumping() -> RunOptions:
    return RunOptions(clock=TestClock(autojump=True))


def statuses(report: RunReport) -> dict[str, str]:
    return {name: output.status.value for name, output in report.outputs.items()}


async def no_op(ctx: Any) -> None: ...


# 1. A stage and its own task.


@on_asyncio
@pytest.mark.parametrize("waits", [True, False])
async def test_a_stage_that_cancels_its_own_task_harms_nobody_else(waits: bool) -> None:
    ran: list[str] = []

    async def cancels_itself(ctx: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        if waits:
            await asyncio.sleep(0)

    async def after(ctx: Any) -> None:
        await asyncio.sleep(0)
        ran.append(ctx.stage_name)

    sink = RememberingSink()
    report = await run_nodes(
        [node("self", cancels_itself), node("b", after), node("c", after, "b")],
        on_failure="continue",
        sink=sink,
    )
    assert ran == ["b", "c"]
    # A cancellation that never reached the stage is nobody's any more.
    assert statuses(report) == {"self": "fail" if waits else "ok", "b": "ok", "c": "ok"}
    assert len(sink.types("self")) == 2
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@pytest.mark.parametrize("waits", [True, False])
async def test_a_cancellation_that_nobody_asked_for_is_a_failure(waits: bool) -> None:
    calls: list[int] = []

    async def raises(ctx: Any) -> None:
        calls.append(1)
        if waits:
            await anyio.lowlevel.checkpoint()
        raise asyncio.CancelledError

    policy = StagePolicy(retry=RetryPolicy(max_attempts=3, retry_all=True))
    report = await run_nodes(
        [node("raises", raises, policy=policy), node("after", no_op, "raises"), node("b", no_op)],
        on_failure="continue",
        options=jumping(),
    )
    assert statuses(report) == {"raises": "fail", "after": "skip", "b": "ok"}
    assert isinstance(report.error, asyncio.CancelledError)
    assert "by itself" in (report.outputs["raises"].error or "")
    assert calls == [1]


async def test_a_thread_that_raises_a_cancellation_fails() -> None:
    def raises(ctx: Any) -> None:
        raise asyncio.CancelledError

    report = await run_nodes([node("raises", raises), node("b", no_op)], on_failure="continue")
    assert statuses(report) == {"raises": "fail", "b": "ok"}
    await every_thread_is_free()


@pytest.mark.parametrize("waits", [True, False])
async def test_a_stage_that_raises_generator_exit_fails(waits: bool) -> None:
    async def raises(ctx: Any) -> None:
        if waits:
            await anyio.lowlevel.checkpoint()
        raise GeneratorExit

    report = await run_nodes([node("raises", raises), node("b", no_op)], on_failure="continue")
    assert statuses(report) == {"raises": "fail", "b": "ok"}
    assert isinstance(report.error, GeneratorExit)


async def test_errors_of_a_stages_own_tasks_beside_its_cancellation_are_its_failure() -> None:
    waiting = anyio.Event()

    async def spoils_its_end() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("in the middle of being cancelled")

    async def has_tasks(ctx: Any) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            tasks.start_soon(spoils_its_end)
            await anyio.wait_all_tasks_blocked()
            waiting.set()

    async def fails(ctx: Any) -> StageOutput:
        await waiting.wait()
        return StageOutput.fail("no")

    report = await run_nodes([node("has_tasks", has_tasks), node("fails", fails)])
    assert statuses(report) == {"has_tasks": "fail", "fails": "fail"}
    assert report.stage == "fails"


async def test_what_is_no_exception_is_raised_when_all_is_wound_up() -> None:
    class Stop(BaseException):
        pass

    cleaned: list[str] = []
    waiting = anyio.Event()

    async def waits(ctx: Any) -> None:
        ctx.register_cleanup(lambda: cleaned.append("waits"))
        waiting.set()
        await anyio.sleep_forever()

    async def stops(ctx: Any) -> None:
        await waiting.wait()
        raise Stop

    sink = RememberingSink()
    nodes = [node("waits", waits), node("stops", stops), node("after", no_op, "stops")]
    with pytest.raises(Stop), leaves_nothing_behind():
        await run_nodes(nodes, sink=sink, on_failure="continue")
    assert cleaned == ["waits"]
    ends = {data["stage"]: name for name, data in sink.events if name in ENDS}
    assert ends == {
        "stops": "stage.failed",
        "waits": "stage.cancelled",
        "after": "stage.cancelled",
    }
    assert sink.types()[-1] == "pipeline.failed"


async def test_an_exception_that_cannot_say_its_message_is_a_failure_like_any() -> None:
    class Mute(Exception):
        retryable = True

        def __str__(self) -> str:
            raise ValueError("no words")

    async def raises(ctx: Any) -> None:
        raise Mute

    policy = StagePolicy(retry=RetryPolicy(max_attempts=2))
    sink = RememberingSink()
    graph = Pipeline().with_stage("a", raises, StageKind.WORK, retry=policy.retry)
    report = await graph.build(clock=TestClock(autojump=True)).execute(
        PipelineContext(event_sink=sink)
    )
    assert report.outputs["a"].error == "Mute"
    assert sink.of("stage.retry_scheduled")[0]["error"] == "Mute"


@pytest.mark.parametrize("given", [None, [1], 5, "text"])
async def test_an_output_whose_data_is_no_mapping_is_a_failure_of_its_stage(given: Any) -> None:
    async def gives(ctx: Any) -> StageOutput:
        return StageOutput("ok", given)  # type: ignore[arg-type]

    sink = RememberingSink()
    report = await run_nodes(
        [node("gives", gives), node("after", no_op, "gives", conditional=True), node("b", no_op)],
        on_failure="continue",
        sink=sink,
    )
    assert statuses(report) == {"gives": "fail", "after": "skip", "b": "ok"}
    assert "data" in str(report.error)


@pytest.mark.parametrize("returned", [5, "text", [1], object(), StageOutput])
async def test_what_is_no_outcome_is_a_failure_that_says_so(returned: Any) -> None:
    report = await run_nodes([node("a", lambda ctx: returned)])
    assert type(returned).__name__ in str(report.error)
    assert getattr(report.error, "code", "") == "SF304"


@pytest.mark.parametrize("route", [66, 1.5, True, {"b": 1}, [["b"]], [None], object()])
@pytest.mark.parametrize("kind", [StageKind.ROUTE, StageKind.WORK])
async def test_a_route_that_names_nobody_is_data_like_any(route: Any, kind: StageKind) -> None:
    report = await run_nodes(
        [
            node("a", lambda ctx: {"route": route}, kind=kind),
            node("b", no_op, "a", conditional=True),
        ]
    )
    assert statuses(report) == {"a": "ok", "b": "ok"}


@pytest.mark.parametrize("route", [66, "elsewhere", ["one", None]])
async def test_a_router_with_keyed_branches_that_chooses_another_fails(route: Any) -> None:
    branch = StagePolicy(branch_key="one")
    report = await run_nodes(
        [
            node("router", lambda ctx: {"route": route}, kind=StageKind.ROUTE),
            node("b", no_op, "router", conditional=True, policy=branch),
        ]
    )
    assert statuses(report) == {"router": "fail", "b": "cancel"}
    assert "branches: one" in str(report.error)


# 2. Long and wide graphs.


@pytest.mark.parametrize(
    "size", [5_000, pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.timeout(120)])]
)
@pytest.mark.parametrize("shape", ["chain", "wide", "skipped", "branch", "waiting"])
async def test_a_large_graph_needs_no_recursion(size: int, shape: str) -> None:
    async def waits(ctx: Any) -> None:
        await anyio.lowlevel.checkpoint()

    first = {
        "skipped": lambda ctx: StageOutput.skip("no"),
        "branch": lambda ctx: StageOutput.cancel("no", scope="branch"),
    }
    body = waits if shape == "waiting" else no_op
    needs = [() if n == 0 or shape == "wide" else (f"s{n - 1}",) for n in range(size)]
    nodes = [node(f"s{n}", body, *needs[n], conditional=shape == "skipped") for n in range(size)]
    nodes[0] = node("s0", first.get(shape, body))
    report = await run_nodes(nodes)
    ends = {"skipped": "skip", "branch": "cancel"}.get(shape, "ok")
    assert report.status == "completed"
    assert set(statuses(report).values()) == {ends}


class SlowlyGoing(TestClock):
    """A clock on which a little time passes each time one looks at it."""

    def monotonic(self) -> float:
        self.tick(0.0001)
        return super().monotonic()


class Counting(Run):
    """A run that counts the workers it starts."""

    spawned = 0

    def _spawn(self) -> None:
        type(self).spawned += 1
        super()._spawn()


@pytest.mark.parametrize("shape", ["chain", "wide"])
async def test_stages_that_never_suspend_let_others_go_on(shape: str) -> None:
    size, turns = 2000, 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    chained = shape == "chain"
    plan = compile_plan(
        [node(f"s{n}", no_op, *([f"s{n - 1}"] if chained and n else [])) for n in range(size)]
    )
    Counting.spawned = 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(turn)
        report = await Counting(
            plan, PipelineContext(event_sink=None), RunOptions(clock=SlowlyGoing())
        ).execute()
        tasks.cancel_scope.cancel()
    assert report.status == "completed"
    # By this clock a stage takes a tenth of a slice, and two workers may have their slices in turn.
    assert turns >= size / 10 / 2 - 2
    # A worker that lets others go on is one that can go on, too: none is started instead.
    assert Counting.spawned <= 3


async def test_a_wide_graph_starts_a_worker_only_for_stages_that_suspend() -> None:
    size, suspending = 1000, 10
    gate = anyio.Event()

    async def waits(ctx: Any) -> None:
        await gate.wait()

    async def last(ctx: Any) -> None:
        gate.set()

    nodes = [node(f"w{n}", waits) for n in range(suspending)]
    nodes += [node(f"s{n}", no_op) for n in range(size)]
    nodes.append(node("last", last, f"s{size - 1}"))
    Counting.spawned = 0
    plan = compile_plan(nodes)
    report = await Counting(plan, PipelineContext(event_sink=None)).execute()
    assert report.status == "completed"
    assert Counting.spawned <= suspending + 3


# 3. Cancellation that a stage does not heed.


async def test_a_stage_that_swallows_the_cancellation_by_a_sibling_releases_nobody() -> None:
    ran: list[str] = []
    waiting = anyio.Event()

    async def stubborn(ctx: Any) -> dict[str, int]:
        try:
            waiting.set()
            await anyio.sleep_forever()
        except BaseException:  # noqa: BLE001 - what a badly written stage does
            return {"x": 1}
        return {}

    async def fails(ctx: Any) -> StageOutput:
        await waiting.wait()
        return StageOutput.fail("no")

    async def records(ctx: Any) -> None:
        ran.append(ctx.stage_name)

    report = await run_nodes(
        [node("stubborn", stubborn), node("fails", fails), node("after", records, "stubborn")]
    )
    assert ran == []
    assert statuses(report) == {"stubborn": "ok", "fails": "fail", "after": "cancel"}


@pytest.mark.parametrize("how", ["swallows", "is shielded"])
async def test_when_the_caller_is_cancelled_nothing_starts_any_more(how: str) -> None:
    ran: list[str] = []
    waiting, go_on = anyio.Event(), anyio.Event()

    async def stubborn(ctx: Any) -> None:
        waiting.set()
        with anyio.CancelScope(shield=how == "is shielded"):
            try:
                await go_on.wait()
            except BaseException:  # noqa: BLE001 - what a badly written stage does
                return

    async def records(ctx: Any) -> None:
        ran.append(ctx.stage_name)

    sink = RememberingSink()
    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:

            async def cancels() -> None:
                await waiting.wait()
                scope.cancel()
                await anyio.wait_all_tasks_blocked()
                go_on.set()

            tasks.start_soon(cancels)
            with leaves_nothing_behind():
                await run_nodes(
                    [node("stubborn", stubborn), node("b", records, "stubborn")], sink=sink
                )
        assert scope.cancelled_caught
    assert ran == []
    assert sink.types("stubborn")[-1] == "stage.completed"
    assert sink.types("b") == ["stage.cancelled"]
    assert sink.events[-1][1]["reason"] == "the caller was cancelled"


async def test_a_run_begun_in_a_cancelled_scope_starts_nothing() -> None:
    ran: list[str] = []
    sink = RememberingSink()

    async def records(ctx: Any) -> None:
        ran.append(ctx.stage_name)

    with anyio.CancelScope() as scope:
        scope.cancel()
        await run_nodes([node("a", records), node("b", records)], sink=sink)
    assert scope.cancelled_caught
    assert ran == []
    assert sink.types() == [
        "pipeline.started",
        "stage.cancelled",
        "stage.cancelled",
        "pipeline.cancelled",
    ]


@on_asyncio
async def test_asyncios_own_cancellation_goes_through_a_run() -> None:
    waiting = asyncio.Event()

    async def waits(ctx: Any) -> None:
        waiting.set()
        await asyncio.sleep(3600)

    sink = RememberingSink()
    task = asyncio.create_task(run_nodes([node("a", waits), node("b", no_op, "a")], sink=sink))
    await waiting.wait()
    task.cancel("enough")
    await asyncio.wait([task])
    assert task.cancelled()
    assert sink.types()[1:] == [
        "stage.started",
        "stage.cancelled",
        "stage.cancelled",
        "pipeline.cancelled",
    ]


@on_asyncio
async def test_asyncios_timeouts_and_groups_work_within_a_stage() -> None:
    async def fails() -> None:
        raise ValueError("in a group")

    async def times_out(ctx: Any) -> dict[str, bool]:
        try:
            async with asyncio.timeout(0):
                await asyncio.sleep(3600)
        except TimeoutError:
            return {"timed_out": True}
        return {}

    async def groups(ctx: Any) -> dict[str, int]:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fails())
                group.create_task(asyncio.sleep(3600))
        except* ValueError:
            pass
        return {"x": 1}

    nodes = [node("a", times_out), node("b", groups, "a"), node("c", no_op, "b")]
    report = await run_nodes(nodes)
    assert statuses(report) == {"a": "ok", "b": "ok", "c": "ok"}
    assert report.outputs["a"].data == {"timed_out": True}


async def test_a_leaked_cancel_scope_ends_its_run_and_no_more() -> None:
    """A scope that a stage enters and leaves open is its worker's from then on.

    Nothing can be done about that; but the run ends, with an end for each stage.
    """

    async def leaks(ctx: Any) -> None:
        scope = anyio.CancelScope()
        scope.__enter__()
        scope.cancel()

    async def waits(ctx: Any) -> None:
        await anyio.lowlevel.checkpoint()

    sink = RememberingSink()
    nodes = [node("leaks", leaks), node("after", waits, "leaks")]
    # Each event loop has its own words for it.
    own_words = contextlib.suppress(Exception, BaseExceptionGroup)
    with anyio.fail_after(10), leaves_nothing_behind(), own_words:
        await run_nodes(nodes, sink=sink)
    assert len([name for name in sink.types() if name in ENDS]) == 2
    assert sink.types()[-1].startswith("pipeline.")
    report = await run_nodes([node("next", waits)])
    assert report.status == "completed"


# 4. Exceptions and their contexts.


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("layered", [True, False])
async def test_an_exception_has_no_context_that_is_not_its_own(waits: bool, layered: bool) -> None:
    async def raises(ctx: Any) -> None:
        if waits:
            await anyio.lowlevel.checkpoint()
        raise ValueError("plain")

    policy = StagePolicy(timeout=60) if layered else StagePolicy()
    report = await run_nodes([node("a", raises, policy=policy)])
    assert report.error is not None
    assert report.error.__context__ is None
    assert report.error.__cause__ is None


async def test_what_a_stage_raises_on_its_cancellation_has_that_for_context_and_no_more() -> None:
    seen: list[BaseException] = []
    waiting = anyio.Event()

    async def raises(ctx: Any) -> None:
        try:
            waiting.set()
            await anyio.sleep_forever()
        except BaseException as error:  # noqa: BLE001 - it is what is looked at
            seen.append(error)
            raise ValueError("on the way out") from None

    async def fails(ctx: Any) -> StageOutput:
        await waiting.wait()
        return StageOutput.fail("no")

    plan = compile_plan([node("raises", raises), node("fails", fails)])
    run = Run(plan, PipelineContext(event_sink=None))
    await run.execute()
    [cancelled] = seen
    assert isinstance(cancelled, anyio.get_cancelled_exc_class())
    assert cancelled.__context__ is None
    assert run.errors[0].__context__ is cancelled


async def test_a_raised_failure_is_the_cause_of_the_runs() -> None:
    error = ValueError("mine")

    async def raises(ctx: Any) -> None:
        raise error

    graph = Pipeline().with_stage("a", raises, StageKind.WORK).build()
    with pytest.raises(RunError) as caught:
        await graph.run(PipelineContext())
    assert caught.value.__cause__ is error
    assert error.__context__ is None


class Raising(BaseInterceptor):
    def __init__(self, where: str) -> None:
        self.where = where

    async def before(self, stage_name: str, ctx: PipelineContext) -> None:
        self._raise("before")

    async def after(self, stage_name: str, result: Any, ctx: PipelineContext) -> None:
        self._raise("after")

    async def on_error(
        self, stage_name: str, error: Exception, ctx: PipelineContext
    ) -> ErrorAction:
        self._raise("on_error")
        return ErrorAction.FAIL

    def _raise(self, here: str) -> None:
        if self.where == here:
            raise LookupError(here)


@pytest.mark.parametrize("where", ["before", "after", "on_error"])
async def test_what_an_interceptor_raises_is_its_stages_failure(where: str) -> None:
    ran: list[str] = []

    async def stage(ctx: Any) -> None:
        ran.append(ctx.stage_name)
        if where == "on_error":
            raise ValueError("the stage's own")

    sink = RememberingSink()
    report = await run_nodes(
        [node("a", stage), node("b", stage, "a"), node("c", no_op)],
        layers=[Raising(where)],
        on_failure="continue",
        sink=sink,
    )
    assert ran == ([] if where == "before" else ["a"])
    assert isinstance(report.error, LookupError)
    expected = {"a": "fail", "b": "skip", "c": "ok" if where == "on_error" else "fail"}
    assert statuses(report) == expected
    context = report.error.__context__
    assert isinstance(context, ValueError) if where == "on_error" else context is None


# 5. Threads.


class Blocking:
    """A body that blocks its thread until it is released."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.go_on = threading.Event()
        self.ended = threading.Event()

    def __call__(self, ctx: Any) -> Any:
        self.began.set()
        try:
            self.go_on.wait(30)
            return self.finish(ctx)
        finally:
            self.ended.set()

    def finish(self, ctx: Any) -> Any:
        return None


async def abandon(body: Blocking, **run: Any) -> RunReport:
    """Return how a run goes in which *body* is given up by its timeout."""
    clock = TestClock()
    stages = [node("blocks", body, policy=StagePolicy(timeout=5))]
    reports: list[RunReport] = []

    async def call() -> None:
        reports.append(await run_nodes(stages, options=RunOptions(clock=clock), **run))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await anyio.to_thread.run_sync(body.began.wait, 10)
            clock.tick(5)
    return reports[0]


async def end(body: Blocking) -> None:
    """Let *body* end, and return when its thread has given back its place."""
    body.go_on.set()
    assert await anyio.to_thread.run_sync(body.ended.wait, 10)
    await every_thread_is_free()


async def test_an_abandoned_thread_keeps_its_place_until_it_ends() -> None:
    limiter = anyio.to_thread.current_default_thread_limiter()
    body = Blocking()
    before = limiter.borrowed_tokens
    report = await abandon(body)
    assert statuses(report) == {"blocks": "fail"}
    assert limiter.borrowed_tokens == before + 1
    assert not body.ended.is_set()
    await end(body)
    assert limiter.borrowed_tokens == before


async def test_where_there_is_no_place_a_plain_stage_waits_for_one() -> None:
    limiter = anyio.to_thread.current_default_thread_limiter()
    limiter.total_tokens, before = 2, limiter.total_tokens
    began: list[str] = []
    try:
        body = Blocking()
        await abandon(body)
        limiter.total_tokens = 1
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run_nodes, [node("next", lambda_free(began))])
            await anyio.wait_all_tasks_blocked()
            assert began == []
            body.go_on.set()
        assert began == ["next"]
    finally:
        limiter.total_tokens = before
    await every_thread_is_free()


def lambda_free(began: list[str]) -> Callable[[Any], None]:
    def body(ctx: Any) -> None:
        began.append(ctx.stage_name)

    return body


async def test_a_plain_stage_that_was_cancelled_before_its_thread_began_never_runs() -> None:
    limiter = anyio.to_thread.current_default_thread_limiter()
    ran: list[str] = []
    sink = RememberingSink()
    holders = [object() for _ in range(int(limiter.total_tokens))]
    for holder in holders:
        limiter.acquire_on_behalf_of_nowait(holder)
    async with anyio.create_task_group() as tasks:

        async def call() -> None:
            await run_nodes([node("late", lambda_free(ran))], sink=sink)

        tasks.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    for holder in holders:
        limiter.release_on_behalf_of(holder)
    await every_thread_is_free()
    assert ran == []
    # It was cancelled, not given up: there was no thread.
    assert sink.types("late") == ["stage.started", "stage.cancelled"]


async def test_what_comes_from_a_thread_after_its_run_is_not_lost_without_a_word() -> None:
    refused: list[RunError] = []

    class Late(Blocking):
        def finish(self, ctx: Any) -> Any:
            try:
                ctx.register_cleanup(lambda: None)
            except RunError as error:
                refused.append(error)
            ctx.try_emit_event("too.late", {})
            return no_op(ctx)

    class Slow:
        async def emit(self, *, type: str, data: dict[str, Any] | None) -> None:
            await anyio.lowlevel.checkpoint()

        def try_emit(self, *, type: str, data: dict[str, Any] | None) -> Any:
            return self.emit(type=type, data=data)

    body, sink = Late(), Slow()
    await abandon(body, context=PipelineContext(event_sink=sink))
    assert lost_events(sink) == 0
    await end(body)
    [error] = refused
    assert "after its run had ended" in str(error)
    assert lost_events(sink) == 1
    gc.collect()  # a coroutine that was never awaited would be a warning, hence an error


@pytest.mark.parametrize("body", ["thread", "lambda", "async", "class"])
async def test_stop_iteration_is_a_failure(body: str) -> None:
    def threaded(ctx: Any) -> None:
        raise StopIteration(1)

    async def coroutine(ctx: Any) -> None:
        raise StopIteration(1)

    class Never:
        def __init__(self) -> None:
            raise StopIteration(1)

        async def execute(self, ctx: Any) -> None: ...

    bodies = {
        "thread": threaded,
        "lambda": lambda ctx: next(iter(())),
        "async": coroutine,
        "class": Never,
    }
    report = await run_nodes([node("a", bodies[body])])
    assert report.status == "failed"
    assert "StopIteration" in (report.outputs["a"].error or "")
    await every_thread_is_free()


class Awaitable:
    def __await__(self) -> Any:
        yield from no_op(None).__await__()
        return {"x": 1}


@types.coroutine
def old_style() -> Any:
    yield from anyio.lowlevel.checkpoint().__await__()
    return {"x": 1}


async def new_style() -> dict[str, int]:
    await anyio.lowlevel.checkpoint()
    return {"x": 1}


@pytest.mark.parametrize("make", [Awaitable, old_style, new_style])
@pytest.mark.parametrize("threaded", [True, False])
async def test_a_plain_stage_may_give_something_to_await(make: Any, threaded: bool) -> None:
    def body(ctx: Any) -> Any:
        assert threading.current_thread() is not main
        return make()

    main = threading.current_thread()
    report = await run_nodes([node("a", body if threaded else lambda ctx: make())])
    assert report.outputs["a"].data == {"x": 1}


# 6. Context variables.

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


class Sets(BaseInterceptor):
    async def before(self, stage_name: str, ctx: PipelineContext) -> None:
        VARIABLE.set(f"{VARIABLE.get()}, before {stage_name}")


@pytest.mark.parametrize("body", ["async", "lambda", "thread", "class"])
async def test_a_stage_sees_the_callers_variables_and_leaks_none(body: str) -> None:
    seen: dict[str, str] = {}

    def use(ctx: Any) -> None:
        seen[ctx.stage_name] = VARIABLE.get()
        VARIABLE.set(f"of {ctx.stage_name}")

    async def coroutine(ctx: Any) -> None:
        use(ctx)
        await anyio.lowlevel.checkpoint()
        assert VARIABLE.get() == f"of {ctx.stage_name}"

    class Instance:
        def __init__(self) -> None:
            assert VARIABLE.get() == "the caller's"
            made.append(VARIABLE.set("of the instance"))

        async def execute(self, ctx: Any) -> None:
            VARIABLE.reset(made.pop())
            use(ctx)

    made: list[contextvars.Token[str]] = []

    def threaded(ctx: Any) -> None:
        use(ctx)

    bodies = {
        "async": coroutine,
        "lambda": lambda ctx: use(ctx),  # noqa: PLW0108 - a lambda is what is tried here
        "thread": threaded,
        "class": Instance,
    }
    VARIABLE.set("the caller's")
    runner = bodies[body]
    await run_nodes([node("a", runner), node("b", runner, "a"), node("c", runner)])
    assert seen == dict.fromkeys("abc", "the caller's")
    assert VARIABLE.get() == "the caller's"


@pytest.mark.parametrize("threaded", [True, False])
async def test_a_stage_sees_the_variables_that_its_interceptors_set(threaded: bool) -> None:
    seen: list[str] = []

    def look(ctx: Any) -> None:
        seen.append(VARIABLE.get())

    VARIABLE.set("the caller's")
    runner = look if threaded else lambda ctx: look(ctx)  # noqa: PLW0108 - called in the loop
    await run_nodes([node("a", runner), node("b", runner, "a")], layers=[Sets()])
    assert seen == ["the caller's, before a", "the caller's, before b"]
    assert VARIABLE.get() == "the caller's"


async def test_attempts_of_a_stage_share_its_variables() -> None:
    seen: list[str] = []

    async def flaky(ctx: Any) -> None:
        seen.append(VARIABLE.get())
        token = VARIABLE.set("within")
        await anyio.lowlevel.checkpoint()
        VARIABLE.reset(token)
        VARIABLE.set(f"of attempt {ctx.attempt}")
        if ctx.attempt < 3:
            raise TransientError

    VARIABLE.set("the caller's")
    policy = StagePolicy(retry=RetryPolicy(max_attempts=3))
    report = await run_nodes([node("a", flaky, policy=policy)], options=jumping())
    assert report.status == "completed"
    assert seen == ["the caller's", "of attempt 1", "of attempt 2"]
    assert VARIABLE.get() == "the caller's"


# 7. The end of a run.


async def test_what_a_cleanup_raises_that_is_no_exception_is_raised_when_all_is_told() -> None:
    cleaned: list[str] = []

    def exits() -> None:
        raise SystemExit(3)

    async def stage(ctx: Any) -> None:
        ctx.register_cleanup(lambda: cleaned.append("first"))
        ctx.register_cleanup(exits)

    sink = RememberingSink()
    with pytest.raises(SystemExit):
        await run_nodes([node("a", stage)], sink=sink)
    assert cleaned == ["first"]
    assert sink.types()[-1] == "pipeline.completed"


@on_asyncio
async def test_a_cancellation_that_comes_during_the_cleanups_waits_for_them() -> None:
    cleaned: list[str] = []
    cleaning = asyncio.Event()

    async def cleans() -> None:
        cleaning.set()
        await asyncio.sleep(3600)

    async def stage(ctx: Any) -> None:
        ctx.register_cleanup(lambda: cleaned.append("first"))
        ctx.register_cleanup(cleans)

    sink = RememberingSink()
    task = asyncio.create_task(run_nodes([node("a", stage)], sink=sink))
    await cleaning.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert cleaned == ["first"]
    assert sink.types()[-1] == "pipeline.completed"


async def test_a_sink_that_hangs_delays_the_end_by_a_limited_time() -> None:
    class Hanging:
        """Takes the first events and hangs on the last one of the last stage."""

        def __init__(self) -> None:
            self.taken: list[str] = []

        async def emit(self, *, type: str, data: dict[str, Any] | None) -> None:
            if type == "stage.completed":
                await anyio.sleep_forever()
            self.taken.append(type)

        def try_emit(self, *, type: str, data: dict[str, Any] | None) -> Any:
            return self.emit(type=type, data=data)

    sink = Hanging()
    with anyio.fail_after(10), leaves_nothing_behind():
        report = await run_nodes(
            [node("a", no_op)],
            context=PipelineContext(event_sink=sink),
            options=RunOptions(cleanup_timeout=0.02),
        )
    assert report.status == "completed"
    assert sink.taken == ["pipeline.started", "stage.started", "pipeline.completed"]
    assert lost_events(sink) == 1


async def test_deadlines_that_are_over_are_forgotten() -> None:
    size = 3000
    policy = StagePolicy(timeout=3600)
    nodes = [
        node(f"s{n}", no_op, *([f"s{n - 1}"] if n else []), policy=policy) for n in range(size)
    ]
    most = 0

    class Watched(Run):
        def _finish(self, *args: Any) -> None:
            nonlocal most
            most = max(most, len(self.deadlines._heap))
            super()._finish(*args)

    plan = compile_plan(nodes)
    report = await Watched(plan, PipelineContext(event_sink=None), jumping()).execute()
    assert report.status == "completed"
    assert most <= 200


async def test_an_earlier_deadline_passes_first_though_it_was_set_later() -> None:
    clock = TestClock(autojump=True)

    async def waits(ctx: Any) -> None:
        await clock.sleep(1)

    async def hangs(ctx: Any) -> None:
        await anyio.sleep_forever()

    report = await run_nodes(
        [
            node("late", hangs, policy=StagePolicy(timeout=100)),
            node("waits", waits),
            node("early", hangs, "waits", policy=StagePolicy(timeout=5)),
        ],
        on_failure="continue",
        options=RunOptions(clock=clock),
    )
    assert report.outputs["early"].duration_ms == 5_000
    assert report.outputs["late"].duration_ms == 100_000
