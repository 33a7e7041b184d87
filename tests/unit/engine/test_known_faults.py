"""Faults of earlier systems that touch the engine: each test bears the number of its fault."""

from __future__ import annotations

import sys
import threading
from typing import Any

import anyio
import anyio.to_thread
import pytest

from stageflow import (
    MissingInputError,
    Pipeline,
    PipelineContext,
    RetryPolicy,
    StageKind,
    StageOutput,
    StageStatus,
    UnifiedPipelineCancelled,
    UnifiedStageExecutionError,
)
from stageflow._engine.plan import StagePolicy, compile_plan
from stageflow._engine.run import Run, RunOptions, RunReport
from stageflow.context.views import OutputMutationError
from stageflow.interceptors import (
    BaseInterceptor,
    InterceptorDeniedError,
    InterceptorResult,
    RetryInterceptor,
    TransientError,
)
from stageflow.testing import TestClock
from support.runs import RememberingSink, node, run_nodes

pytestmark = pytest.mark.anyio

WORK = StageKind.WORK


def jumping() -> RunOptions:
    return RunOptions(clock=TestClock(autojump=True))


class Flaky:
    """Fails or asks to be retried until its last outcome."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = list(outcomes)
        self.calls = 0

    async def execute(self, ctx: Any) -> Any:
        self.calls += 1
        outcome = self.outcomes[min(self.calls, len(self.outcomes)) - 1]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


class TestV01RetryRunsAgain:
    async def test_v01_a_dependant_never_sees_retry(self) -> None:
        flaky = Flaky(StageOutput.retry("later"), StageOutput.retry("later"), {"x": 1})
        seen: list[StageStatus] = []

        async def dependant(ctx: Any) -> None:
            seen.append(ctx.inputs.get_output("flaky").status)

        report = await run_nodes(
            [node("flaky", flaky), node("dependant", dependant, "flaky")], options=jumping()
        )
        assert report.status == "completed"
        assert flaky.calls == 3
        assert seen == [StageStatus.OK]

    async def test_v01_exhausted_means_fail(self) -> None:
        flaky = Flaky(StageOutput.retry("later"))
        ran: list[str] = []

        async def dependant(ctx: Any) -> None:
            ran.append("dependant")

        sink = RememberingSink()
        report = await run_nodes(
            [node("flaky", flaky), node("dependant", dependant, "flaky")],
            options=jumping(),
            sink=sink,
        )
        assert report.status == "failed"
        assert report.outputs["flaky"].status is StageStatus.FAIL
        assert flaky.calls == 3
        assert ran == []
        assert sink.types("flaky") == [
            "stage.started",
            "stage.retry_scheduled",
            "stage.retry_scheduled",
            "stage.retry_exhausted",
            "stage.failed",
        ]

    async def test_v01_with_a_retry_interceptor_attached(self) -> None:
        flaky = Flaky(StageOutput.retry("later"), {"x": 1})
        graph = (
            Pipeline()
            .with_stage("flaky", flaky, WORK)
            .build(interceptors=[RetryInterceptor(max_attempts=2)], clock=TestClock(autojump=True))
        )
        outputs = await graph.run(PipelineContext())
        assert outputs["flaky"].status is StageStatus.OK
        assert flaky.calls == 2


@pytest.mark.parametrize(
    ("attempts", "failures", "ok"), [(5, 3, True), (3, 3, False), (1, 1, False)]
)
async def test_v02_exactly_the_stated_attempts(attempts: int, failures: int, ok: bool) -> None:
    flaky = Flaky(*[TransientError()] * failures, {"x": 1})
    sink = RememberingSink()
    graph = (
        Pipeline()
        .with_stage("flaky", flaky, WORK)
        .build(
            interceptors=[RetryInterceptor(max_attempts=attempts)], clock=TestClock(autojump=True)
        )
    )
    report = await graph.execute(PipelineContext(event_sink=sink))
    assert (report.status == "completed") is ok
    assert flaky.calls == min(attempts, failures + 1)
    scheduled = sink.of("stage.retry_scheduled")
    assert [event["attempt"] for event in scheduled] == list(range(1, flaky.calls))
    assert len(sink.of("stage.retry_exhausted")) == (0 if ok else 1)


class Refuse(BaseInterceptor):
    def __init__(self, decision: InterceptorResult) -> None:
        self.decision = decision

    async def before(self, stage_name: str, ctx: PipelineContext) -> InterceptorResult:
        return self.decision


@pytest.mark.parametrize(
    "decision",
    [
        InterceptorResult(stage_ran=False, error="Not authenticated"),
        InterceptorResult(stage_ran=False),
        InterceptorResult(stage_ran=True, error="Not authenticated"),
    ],
)
async def test_v03_denied_stage_is_never_ok(decision: InterceptorResult) -> None:
    ran: list[str] = []

    async def record(ctx: Any) -> None:
        ran.append(ctx.stage_name)

    graph = (
        Pipeline()
        .with_stage("secret", record, WORK)
        .with_stage("after", record, WORK, ["secret"])
        .build(interceptors=[Refuse(decision)])
    )
    with pytest.raises(UnifiedStageExecutionError) as caught:
        await graph.run(PipelineContext())
    assert ran == []
    assert caught.value.results["secret"].status is StageStatus.FAIL
    assert caught.value.results["after"].status is StageStatus.CANCEL
    assert isinstance(caught.value.original, InterceptorDeniedError)
    assert (decision.error or "neither") in str(caught.value)


async def test_v03_a_supplied_result_is_the_stages() -> None:
    decision = InterceptorResult(stage_ran=False, result={"cached": True})
    graph = (
        Pipeline().with_stage("a", Flaky(ValueError()), WORK).build(interceptors=[Refuse(decision)])
    )
    outputs = await graph.run(PipelineContext())
    assert outputs["a"].data == {"cached": True}


async def test_v06_failure_carries_every_output_and_siblings_are_awaited() -> None:
    running = anyio.Event()
    ended: list[str] = []

    async def first(ctx: Any) -> dict[str, int]:
        return {"x": 1}

    async def sibling(ctx: Any) -> None:
        running.set()
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            ended.append("sibling")

    async def failing(ctx: Any) -> StageOutput:
        await running.wait()
        return StageOutput.fail("no")

    graph = (
        Pipeline()
        .with_stage("first", first, WORK)
        .with_stage("sibling", sibling, WORK, ["first"])
        .with_stage("failing", failing, WORK, ["first"])
        .build()
    )
    with pytest.raises(UnifiedStageExecutionError) as caught:
        await graph.run(PipelineContext())
    assert ended == ["sibling"]
    assert caught.value.stage == "failing"
    assert {name: out.status.value for name, out in caught.value.results.items()} == {
        "first": "ok",
        "sibling": "cancel",
        "failing": "fail",
    }


async def test_v06_siblings_run_on_when_told_to_continue() -> None:
    failed = anyio.Event()

    async def failing(ctx: Any) -> StageOutput:
        failed.set()
        return StageOutput.fail("no")

    async def sibling(ctx: Any) -> dict[str, int]:
        await failed.wait()
        return {"x": 1}

    nodes = [
        node("failing", failing),
        node("sibling", sibling),
        node("skipped", sibling, "failing"),
        node("also", sibling, "skipped"),
    ]
    report = await run_nodes(nodes, on_failure="continue")
    assert report.status == "failed"
    assert report.stage == "failing"
    assert [out.status.value for out in report.outputs.values()] == ["fail", "ok", "skip", "skip"]
    assert "failing" in report.outputs["also"].data["reason"]


async def test_v07_cancelling_the_caller_leaves_nothing_running() -> None:
    started = anyio.Event()
    ended: list[str] = []

    async def waits(ctx: Any) -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("waits")

    sink = RememberingSink()
    async with anyio.create_task_group() as tasks:

        async def call() -> None:
            await run_nodes([node("waits", waits), node("after", waits, "waits")], sink=sink)

        tasks.start_soon(call)
        await started.wait()
        tasks.cancel_scope.cancel()
    assert ended == ["waits"]
    assert sink.types() == [
        "pipeline.started",
        "stage.started",
        "stage.cancelled",
        "stage.cancelled",
        "pipeline.cancelled",
    ]


@pytest.mark.parametrize("from_thread", [False, True])
async def test_v08_cancel_wakes_the_scheduler_at_once(from_thread: bool) -> None:
    started = anyio.Event()

    async def waits(ctx: Any) -> None:
        started.set()
        await anyio.sleep_forever()

    context = PipelineContext()
    graph = Pipeline().with_stage("last", waits, WORK).build()
    caught: list[UnifiedPipelineCancelled] = []

    async def call() -> None:
        try:
            await graph.run(context)
        except UnifiedPipelineCancelled as error:
            caught.append(error)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await started.wait()
            if from_thread:
                await anyio.to_thread.run_sync(context.mark_canceled)
            else:
                context.mark_canceled()
    assert caught[0].results["last"].status is StageStatus.CANCEL


async def test_v09_cleanups_belong_to_their_run() -> None:
    cleaned: list[str] = []
    both = anyio.Event()
    arrived: list[str] = []

    async def registers(ctx: Any) -> None:
        name = ctx.snapshot.input_text
        ctx.register_cleanup(lambda: cleaned.append(name))
        arrived.append(name)
        if len(arrived) == 2:
            both.set()
        await both.wait()

    graph = Pipeline().with_stage("a", registers, WORK).build()
    async with anyio.create_task_group() as tasks:
        for name in ("one", "two"):
            tasks.start_soon(graph.run, PipelineContext.for_run(input_text=name))
    assert sorted(cleaned) == ["one", "two"]


async def test_v10_a_blocking_stage_times_out_and_its_late_result_is_dropped() -> None:
    began, release, ended = threading.Event(), threading.Event(), threading.Event()

    def blocks(ctx: Any) -> dict[str, int]:
        began.set()
        release.wait(30)
        ended.set()
        return {"late": 1}

    sink = RememberingSink()
    clock = TestClock()
    stages = [node("blocks", blocks, policy=StagePolicy(timeout=5))]
    reports: list[RunReport] = []

    async def call() -> None:
        reports.append(await run_nodes(stages, sink=sink, options=RunOptions(clock=clock)))

    try:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call)
                await anyio.to_thread.run_sync(began.wait, 10)
                clock.tick(5)
        assert not ended.is_set()
    finally:
        release.set()
    (report,) = reports
    assert report.status == "failed"
    assert isinstance(report.error, TimeoutError)
    assert report.outputs["blocks"].data == {}
    assert sink.types("blocks")[1:] == ["stage.thread_abandoned", "stage.failed"]
    assert report.results()["blocks"].metadata["thread_abandoned"] is True
    assert await anyio.to_thread.run_sync(ended.wait, 10)


async def test_v10_an_async_stage_that_swallows_its_timeout_is_late_all_the_same() -> None:
    async def stubborn(ctx: Any) -> dict[str, int]:
        try:
            await anyio.sleep_forever()
        except BaseException:  # noqa: BLE001 - what a badly written stage does
            return {"late": 1}
        return {}

    report = await run_nodes(
        [node("stubborn", stubborn, policy=StagePolicy(timeout=5))], options=jumping()
    )
    assert report.status == "failed"
    assert isinstance(report.error, TimeoutError)


async def test_v11_plain_functions_and_lambdas_are_stages() -> None:
    loop_thread = threading.get_ident()

    class Plain:
        def execute(self, ctx: Any) -> dict[str, bool]:
            return {"threaded": threading.get_ident() != loop_thread}

    async def later() -> dict[str, int]:
        return {"x": 2}

    report = await run_nodes(
        [
            node("class", Plain),
            node("function", lambda ctx: {"in_loop": threading.get_ident() == loop_thread}),
            node("awaitable", lambda ctx: later()),
        ]
    )
    assert [out.data for out in report.outputs.values()] == [
        {"threaded": True},
        {"in_loop": True},
        {"x": 2},
    ]


async def test_v12_skip_goes_on_where_declared_and_reading_from_it_is_an_error() -> None:
    ran: list[str] = []

    async def record(ctx: Any) -> None:
        ran.append(ctx.stage_name)

    async def reads(ctx: Any) -> dict[str, Any]:
        assert ctx.inputs.get_from("skips", "x", default=7) == 7
        return {"x": ctx.inputs.get_from("skips", "x")}

    report = await run_nodes(
        [
            node("skips", lambda ctx: StageOutput.skip("nothing to do")),
            node("conditional", record, "skips", conditional=True),
            node("onward", record, "conditional", conditional=True),
            node("merge", record, "onward"),
            node("reads", reads, "skips"),
        ],
        on_failure="continue",
    )
    assert ran == ["merge"]
    assert [out.status.value for out in report.outputs.values()] == [
        "skip",
        "skip",
        "skip",
        "ok",
        "fail",
    ]
    assert isinstance(report.error, MissingInputError)
    assert "nothing to do" in str(report.error)


async def test_v13_a_missing_key_names_stage_key_and_near_matches() -> None:
    async def gives(ctx: Any) -> dict[str, int]:
        return {"temperature": 1}

    async def reads(ctx: Any) -> None:
        ctx.inputs.get_from("gives", "temprature")

    report = await run_nodes([node("gives", gives), node("reads", reads, "gives")])
    assert isinstance(report.error, MissingInputError)
    for part in ("'reads'", "'gives'", "'temprature'", "'temperature'"):
        assert part in str(report.error)


async def test_v14_outputs_cannot_be_changed_by_who_reads_them() -> None:
    async def gives(ctx: Any) -> dict[str, Any]:
        return {"items": [1, {"deep": [2]}]}

    async def spoils(ctx: Any) -> None:
        items = ctx.inputs.get_from("gives", "items")
        with pytest.raises(OutputMutationError, match="gives"):
            items.append(3)
        with pytest.raises(OutputMutationError):
            items[1]["deep"].append(3)
        with pytest.raises(OutputMutationError):
            items[1]["new"] = 1
        with pytest.raises(OutputMutationError):
            items += [4]

    async def reads(ctx: Any) -> None:
        items = ctx.inputs.get_from("gives", "items")
        assert items == [1, {"deep": [2]}]
        assert isinstance(items, list)
        assert isinstance(items[1], dict)

    report = await run_nodes(
        [
            node("gives", gives),
            node("spoils", spoils, "gives"),
            node("reads", reads, "gives", "spoils"),
        ]
    )
    assert report.error is None


def test_v15_a_failure_takes_data() -> None:
    assert StageOutput.fail("no", foo=1).data == {"foo": 1}
    assert StageOutput.fail("no", {"a": 1}, foo=2, response="x").data == {
        "a": 1,
        "foo": 2,
        "response": "x",
    }


def _lines_per_stage(size: int) -> float:
    """Count the lines of the engine that one run executes, per stage."""
    lines = 0

    async def no_op(ctx: Any) -> None: ...

    plan = compile_plan(
        [node(f"s{i}", no_op, *([f"s{i - 1}"] if i % 2 else [])) for i in range(size)]
    )

    def count(frame: Any, event: str, arg: Any) -> Any:
        nonlocal lines
        if "stageflow" not in frame.f_code.co_filename:
            return None
        lines += event == "line"
        return count

    async def main() -> None:
        # Slices of the event loop depend on real time; a clock that stands still has none.
        sys.settrace(count)
        try:
            await Run(
                plan, PipelineContext(event_sink=None), RunOptions(clock=TestClock())
            ).execute()
        finally:
            sys.settrace(None)

    anyio.run(main)
    return lines / size


def test_v16_engine_steps_per_stage_are_constant() -> None:
    small, large = _lines_per_stage(100), _lines_per_stage(10_000)
    assert large <= small


async def test_v01_policy_of_the_stage_wins() -> None:
    flaky = Flaky(StageOutput.retry("later"))
    policy = StagePolicy(retry=RetryPolicy(max_attempts=6))
    report = await run_nodes([node("flaky", flaky, policy=policy)], options=jumping())
    assert flaky.calls == 6
    assert report.results()["flaky"].metadata["attempts"] == 6


async def test_waiting_for_a_free_thread_takes_none_of_a_stages_time() -> None:
    clock = TestClock()
    limiter = anyio.to_thread.current_default_thread_limiter()
    before = limiter.total_tokens
    limiter.total_tokens = 1
    began, release = threading.Event(), threading.Event()

    def first(ctx: Any) -> None:
        began.set()
        release.wait(10)

    stages = [
        node("first", first),
        node("second", lambda ctx: None),
        node("waits", lambda_in_thread, policy=StagePolicy(timeout=5)),
    ]
    reports: list[RunReport] = []

    async def call() -> None:
        reports.append(await run_nodes(stages, options=RunOptions(clock=clock)))

    try:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call)
                while not began.is_set():
                    await anyio.lowlevel.checkpoint()
                clock.tick(6)
                release.set()
    finally:
        release.set()
        limiter.total_tokens = before
    (report,) = reports
    assert report.status == "completed"
    assert report.outputs["first"].duration_ms == 6000
    assert report.outputs["waits"].duration_ms == 0


def lambda_in_thread(ctx: Any) -> None: ...
