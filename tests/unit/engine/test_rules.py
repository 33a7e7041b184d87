"""The rules of the engine, one by one, where no other test names them."""

from __future__ import annotations

import asyncio
import random
from typing import Any
from uuid import UUID

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
    UndeclaredDependencyError,
    UnifiedPipelineCancelled,
    UnifiedStageExecutionError,
)
from stageflow._engine.plan import StagePolicy, compile_plan
from stageflow._engine.run import Run, RunOptions, RunReport
from stageflow.context.views import OutputMutationError, ReadOnlyDict, ReadOnlyList
from stageflow.interceptors import BaseInterceptor, InterceptorResult, TransientError
from stageflow.testing import TestClock
from support.play import leaves_nothing_behind
from support.runs import RememberingSink, node, run_nodes

pytestmark = pytest.mark.anyio

WORK = StageKind.WORK
TERMINAL = ("completed", "skipped", "cancelled", "failed")


def jumping() -> RunOptions:
    return RunOptions(clock=TestClock(autojump=True))


def statuses(report: RunReport) -> dict[str, str]:
    return {name: output.status.value for name, output in report.outputs.items()}


async def no_op(ctx: Any) -> None: ...


def waits(seconds: float) -> Any:
    async def body(ctx: Any) -> dict[str, float]:
        await ctx._run.clock.sleep(seconds)
        return {"waited": seconds}

    return body


class TestRule1StartsAsSoonAsDependenciesAreDone:
    async def test_nobody_waits_for_unrelated_stages(self) -> None:
        nodes = [
            node("slow", waits(10)),
            node("quick", waits(1)),
            node("after_quick", waits(1), "quick"),
            node("after_both", waits(1), "after_quick", "slow"),
        ]
        report = await run_nodes(nodes, options=jumping())
        began = report.results()["slow"].started_at
        starts = {
            name: (result.started_at - began).total_seconds()
            for name, result in report.results().items()
        }
        assert starts == {"slow": 0, "quick": 0, "after_quick": 1, "after_both": 10}
        assert report.duration_ms == 11_000

    async def test_a_place_that_gets_free_is_taken_at_once(self) -> None:
        nodes = [node("a", waits(1)), node("b", waits(3)), node("c", waits(1)), node("d", waits(1))]
        report = await run_nodes(nodes, options=jumping(), max_concurrency=2)
        assert report.duration_ms == 3_000


@pytest.mark.parametrize("size", [200, 2000])
async def test_rule1_a_routers_branches_cost_their_number(size: int) -> None:
    """Looks of the plan's index at names, per branch: constant."""
    looks = 0

    class Index(dict[str, int]):
        def get(self, key: Any, default: Any = None) -> Any:
            nonlocal looks
            looks += 1
            return super().get(key, default)

    nodes = [node("router", lambda ctx: {"route": f"b{size - 1}"}, kind=StageKind.ROUTE)]
    nodes += [node(f"b{n}", no_op, "router", conditional=True) for n in range(size)]
    plan = compile_plan(nodes)
    object.__setattr__(plan, "index", Index(plan.index))
    report = await Run(plan, PipelineContext(event_sink=None)).execute()
    assert list(statuses(report).values()).count("ok") == 2
    assert looks <= 2 * size


class Path:
    """Ways in which a run may end, each with a stage that is running then."""

    def __init__(self) -> None:
        self.caller = anyio.CancelScope()
        self.running = anyio.Event()
        self.cleaned: list[str] = []

    async def sibling(self, ctx: Any) -> None:
        for name in ("first", "second"):
            ctx.register_cleanup(lambda name=name: self.cleaned.append(name), name=name)

        async def third() -> None:
            await anyio.lowlevel.checkpoint()
            self.cleaned.append("third")

        ctx.register_cleanup(third)
        self.running.set()
        await anyio.sleep_forever()

    async def goes_well(self, ctx: Any) -> None:
        await self.running.wait()

    async def cancels_the_caller(self, ctx: Any) -> None:
        await self.running.wait()
        self.caller.cancel()
        await anyio.sleep_forever()

    async def fails(self, ctx: Any) -> StageOutput:
        await self.running.wait()
        return StageOutput.fail("no")

    async def raises(self, ctx: Any) -> None:
        await self.running.wait()
        raise ValueError("no")

    async def exits(self, ctx: Any) -> None:
        await self.running.wait()
        raise SystemExit(3)

    async def cancels(self, ctx: Any) -> StageOutput:
        await self.running.wait()
        return StageOutput.cancel("enough")

    async def asks(self, ctx: Any) -> None:
        await self.running.wait()
        ctx._run.context.mark_canceled("enough")
        await anyio.sleep_forever()

    async def retries(self, ctx: Any) -> StageOutput:
        await self.running.wait()
        return StageOutput.retry("later")


class TestRule2And3EveryPathEndsAlike:
    @pytest.mark.parametrize(
        ("way", "status"),
        [
            ("goes_well", "failed"),  # the sibling times out
            ("fails", "failed"),
            ("raises", "failed"),
            ("exits", "failed"),
            ("cancels", "cancelled"),
            ("asks", "cancelled"),
            ("retries", "failed"),
            ("cancels_the_caller", "cancelled"),
        ],
    )
    async def test_one_end_for_each_stage_and_every_cleanup_and_no_task(
        self, way: str, status: str
    ) -> None:
        path, sink = Path(), RememberingSink()
        nodes = [
            node("sibling", path.sibling, policy=StagePolicy(timeout=60)),
            node("stage", getattr(path, way)),
            node("after", no_op, "sibling", "stage"),
        ]
        raised: list[BaseException] = []

        async def run() -> None:
            try:
                with leaves_nothing_behind():
                    await run_nodes(nodes, sink=sink, options=jumping())
            except SystemExit as error:
                raised.append(error)

        with path.caller:
            await run()
        assert bool(raised) == (way == "exits")
        for name in ("sibling", "stage", "after"):
            assert len([t for t in sink.types(name) if t.split(".")[1] in TERMINAL]) == 1, name
        assert sink.types()[0] == "pipeline.started"
        assert sink.types()[-1] == f"pipeline.{status}"
        assert len([t for t in sink.types() if t.startswith("pipeline.")]) == 2
        assert path.cleaned == ["third", "second", "first"]

    async def test_a_cleanup_that_fails_or_hangs_does_not_keep_the_others_from_running(
        self,
    ) -> None:
        cleaned: list[str] = []

        async def hangs() -> None:
            await anyio.sleep_forever()

        async def raises() -> None:
            raise ValueError("no")

        async def awaits_what_was_cancelled() -> None:
            raise asyncio.CancelledError

        async def stage(ctx: Any) -> None:
            ctx.register_cleanup(lambda: cleaned.append("first"))
            for callback in (hangs, raises, awaits_what_was_cancelled):
                ctx.register_cleanup(callback)
            ctx.register_cleanup(lambda: cleaned.append("last"))

        report = await run_nodes([node("a", stage)], options=RunOptions(cleanup_timeout=0.02))
        assert report.status == "completed"
        assert cleaned == ["last", "first"]

    async def test_a_cleanup_may_register_another(self) -> None:
        cleaned: list[str] = []

        async def stage(ctx: Any) -> None:
            def first() -> None:
                ctx.register_cleanup(lambda: cleaned.append("second"))
                cleaned.append("first")

            ctx.register_cleanup(first)

        await run_nodes([node("a", stage)])
        assert cleaned == ["first", "second"]


class TestRule4FailAndCancel:
    async def test_the_first_failure_is_raised_and_later_ones_are_in_the_results(self) -> None:
        first_failed = anyio.Event()

        async def first(ctx: Any) -> StageOutput:
            first_failed.set()
            return StageOutput.fail("first")

        async def second(ctx: Any) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                raise LookupError("second")

        graph = (
            Pipeline().with_stage("second", second, WORK).with_stage("first", first, WORK).build()
        )
        with pytest.raises(UnifiedStageExecutionError, match="first") as caught:
            await graph.run(PipelineContext())
        assert caught.value.stage == "first"
        assert caught.value.results["second"].error == "LookupError: second"

    async def test_a_cancel_request_of_a_stage_carries_every_output(self) -> None:
        async def cancels(ctx: Any) -> StageOutput:
            return StageOutput.cancel("enough", {"x": 1})

        sink = RememberingSink()
        graph = (
            Pipeline()
            .with_stage("a", lambda ctx: {"y": 2}, WORK)
            .with_stage("b", cancels, WORK, ["a"])
            .with_stage("c", no_op, WORK, ["b"])
            .build()
        )
        with pytest.raises(UnifiedPipelineCancelled) as caught:
            await graph.run(PipelineContext(event_sink=sink))
        assert (caught.value.stage, caught.value.reason) == ("b", "enough")
        results = caught.value.results
        assert results["a"].data == {"y": 2}
        assert results["b"].data == {"x": 1, "cancel_reason": "enough"}
        assert results["c"].status is StageStatus.CANCEL
        assert sink.types("c") == ["stage.cancelled"]

    async def test_a_cancellation_after_a_carried_failure_names_who_asked(self) -> None:
        async def fails(ctx: Any) -> StageOutput:
            return StageOutput.fail("no")

        async def cancels(ctx: Any) -> StageOutput:
            return StageOutput.cancel("enough")

        report = await run_nodes(
            [node("fails", fails), node("a", no_op), node("cancels", cancels, "a")],
            on_failure="continue",
        )
        assert (report.status, report.stage, report.error) == ("cancelled", "cancels", None)
        assert report.outputs["fails"].status is StageStatus.FAIL

    @pytest.mark.parametrize(
        ("of_plan", "of_stage", "runs_on"),
        [
            ("stop", None, False),
            ("continue", None, True),
            ("stop", "continue", True),
            ("continue", "stop", False),
        ],
    )
    async def test_what_a_failure_does_is_the_stages_choice_before_the_plans(
        self, of_plan: str, of_stage: Any, runs_on: bool
    ) -> None:
        nodes = [
            node(
                "fails", lambda ctx: StageOutput.fail("no"), policy=StagePolicy(on_failure=of_stage)
            ),
            node("other", waits(1)),
        ]
        report = await run_nodes(nodes, options=jumping(), on_failure=of_plan)
        assert report.status == "failed"
        assert statuses(report)["other"] == ("ok" if runs_on else "cancel")

    async def test_a_request_that_comes_when_all_is_done_is_too_late(self) -> None:
        context = PipelineContext()

        def last_word(type: str, data: dict[str, Any]) -> None:
            if type == "stage.completed":
                context.mark_canceled("too late")

        report = await run_nodes(
            [node("a", no_op)], context=context, options=RunOptions(listeners=(last_word,))
        )
        assert report.status == "completed"

    async def test_a_request_made_before_the_run_starts_nothing(self) -> None:
        sink = RememberingSink()
        context = PipelineContext(event_sink=sink, canceled=True)
        report = await run_nodes([node("a", no_op)], context=context)
        assert report.status == "cancelled"
        assert sink.types() == ["pipeline.started", "stage.cancelled", "pipeline.cancelled"]

    async def test_a_branch_cancel_spares_the_others_and_the_run_completes(self) -> None:
        report = await run_nodes(
            [
                node("cancels", lambda ctx: StageOutput.cancel("not here", scope="branch")),
                node("child", no_op, "cancels"),
                node("grandchild", no_op, "child", "other"),
                node("other", waits(1)),
            ],
            options=jumping(),
        )
        assert report.status == "completed"
        expected = {"cancels": "cancel", "child": "cancel", "grandchild": "cancel", "other": "ok"}
        assert statuses(report) == expected
        assert report.outputs["grandchild"].data["cancel_reason"] == "not here"


class Around(BaseInterceptor):
    def __init__(self, result: Any) -> None:
        self.result = result
        self.asked = 0

    async def before(self, stage_name: str, ctx: PipelineContext) -> InterceptorResult:
        self.asked += 1
        return InterceptorResult(stage_ran=False, result=self.result)


class TestRule5And6RetryAndDenial:
    async def test_a_retry_by_an_interceptor_does_not_go_around_the_interceptors(self) -> None:
        ran: list[str] = []

        async def secret(ctx: Any) -> None:
            ran.append("secret")

        around = Around(StageOutput.retry("busy"))
        sink = RememberingSink()
        report = await run_nodes(
            [node("a", secret, policy=StagePolicy(retry=RetryPolicy(max_attempts=3)))],
            layers=[around],
            options=jumping(),
            sink=sink,
        )
        assert ran == []
        assert around.asked == 3
        assert statuses(report) == {"a": "fail"}
        assert "after 3 attempts" in str(report.error)
        assert sink.types("a") == [
            "stage.started",
            "stage.retry_scheduled",
            "stage.retry_scheduled",
            "stage.retry_exhausted",
            "stage.failed",
        ]

    async def test_an_interceptor_may_turn_its_refusal_into_a_result_later(self) -> None:
        around = Around(StageOutput.retry("busy"))

        class Then(Around):
            async def before(self, stage_name: str, ctx: PipelineContext) -> InterceptorResult:
                decided = await super().before(stage_name, ctx)
                return InterceptorResult(result={"x": 1}) if self.asked == 2 else decided

        around = Then(StageOutput.retry("busy"))
        report = await run_nodes([node("a", no_op)], layers=[around], options=jumping())
        assert report.outputs["a"].data == {"x": 1}
        assert report.results()["a"].metadata["attempts"] == 2

    async def test_a_retry_that_is_not_to_be_had_is_a_failure_at_once(self) -> None:
        calls: list[int] = []

        async def asks(ctx: Any) -> StageOutput:
            calls.append(ctx.attempt)
            return StageOutput.retry("never mind", retryable=False)

        report = await run_nodes([node("a", asks)], options=jumping())
        assert calls == [1]
        assert report.outputs["a"].error == "never mind"

    async def test_an_exhausted_failure_says_how_often_it_was_tried(self) -> None:
        async def raises(ctx: Any) -> None:
            raise TransientError("down")

        policy = StagePolicy(retry=RetryPolicy(max_attempts=2))
        report = await run_nodes([node("a", raises, policy=policy)], options=jumping())
        assert report.error is not None
        assert "2 attempts" in report.error.__notes__[0]

    async def test_attempts_see_their_number_and_share_a_key(self) -> None:
        seen: list[tuple[int, str]] = []

        async def flaky(ctx: Any) -> StageOutput | None:
            seen.append((ctx.attempt, ctx.execution_key))
            return StageOutput.retry("again") if ctx.attempt < 3 else None

        context = PipelineContext(pipeline_run_id=UUID(int=7))
        await run_nodes([node("a", flaky)], context=context, options=jumping())
        assert seen == [(n, f"{UUID(int=7)}/a") for n in (1, 2, 3)]


class TestRule7Skip:
    async def test_the_first_reason_is_handed_on(self) -> None:
        nodes = [node("s0", lambda ctx: StageOutput.skip("no input"))]
        nodes += [node(f"s{n}", no_op, f"s{n - 1}", conditional=True) for n in range(1, 50)]
        report = await run_nodes(nodes)
        last = report.outputs["s49"].data["reason"]
        assert last == "dependency 's48' was skipped: no input"

    async def test_an_input_that_carries_a_skip_reason_skips_conditional_stages_only(self) -> None:
        report = await run_nodes(
            [
                node("a", lambda ctx: {"skip_reason": "nothing new"}),
                node("conditional", no_op, "a", conditional=True),
                node("plain", no_op, "a"),
            ]
        )
        assert statuses(report) == {"a": "ok", "conditional": "skip", "plain": "ok"}
        assert report.outputs["conditional"].data["reason"] == "nothing new"

    async def test_metadata_of_a_users_own_skips_nobody(self) -> None:
        given = StageOutput.ok(metadata={"failed_dependency": "x", "skip_cause": "y"})
        report = await run_nodes(
            [node("a", lambda ctx: given), node("b", no_op, "a", conditional=True)]
        )
        assert statuses(report) == {"a": "ok", "b": "ok"}


class TestRule8Inputs:
    async def test_only_declared_dependencies_can_be_read(self) -> None:
        async def reads(ctx: Any) -> None:
            assert ctx.inputs.get("x", default=None) is None
            assert set(ctx.inputs.prior_outputs) == {"b"}
            with pytest.raises(MissingInputError):
                ctx.inputs.get("x")
            ctx.inputs.get_from("a", "x")

        report = await run_nodes(
            [node("a", lambda ctx: {"x": 1}), node("b", no_op, "a"), node("c", reads, "b")]
        )
        assert type(report.error) is UndeclaredDependencyError

    async def test_outputs_are_deep_read_only_and_equal_to_what_was_given(self) -> None:
        given = {"list": [1, [2]], "dict": {"in": [3]}, "tuple": ([4],), "set": {5}}
        kept = {"list": [1, [2]], "dict": {"in": [3]}, "tuple": ([4],), "set": {5}}

        async def spoils(ctx: Any) -> None:
            data = ctx.inputs.get_output("a").data
            assert data == kept
            assert type(data) is ReadOnlyDict
            assert type(data["list"][1]) is ReadOnlyList
            for spoil in (
                lambda: data.update(x=1),
                lambda: data["list"].append(1),
                data["list"][1].clear,
                lambda: data["dict"]["in"].insert(0, 1),
                lambda: data["tuple"][0].append(1),
            ):
                with pytest.raises(OutputMutationError, match="'a'"):
                    spoil()
            assert not hasattr(data["set"], "add")

        report = await run_nodes([node("a", lambda ctx: given), node("b", spoils, "a")])
        assert report.error is None
        assert report.outputs["a"].data == kept

    async def test_what_a_stage_does_to_its_data_later_is_seen_by_nobody_who_has_read_it(
        self,
    ) -> None:
        kept: list[int] = [1]
        seen: list[list[int]] = []

        async def gives(ctx: Any) -> dict[str, Any]:
            return {"kept": kept}

        async def reads(ctx: Any) -> None:
            first = ctx.inputs.get("kept")
            kept.append(2)
            seen.append(list(first))
            seen.append(list(ctx.inputs.get("kept")))

        await run_nodes([node("a", gives), node("b", reads, "a")])
        assert seen == [[1], [1]]


async def test_rule9_a_timeout_counts_also_when_the_stage_held_the_event_loop() -> None:
    clock = TestClock()

    async def holds(ctx: Any) -> dict[str, int]:
        clock.tick(10)  # as long computing would, with nobody else getting a turn
        return {"late": 1}

    report = await run_nodes(
        [node("holds", holds, policy=StagePolicy(timeout=5))], options=RunOptions(clock=clock)
    )
    assert statuses(report) == {"holds": "fail"}
    assert isinstance(report.error, TimeoutError)


@pytest.mark.parametrize(("start", "timeout"), [(0.1, 0.2), (0.7, 0.1), (1.1, 2.2)])
async def test_rule9_a_deadline_passes_on_a_clock_of_whole_nanoseconds(
    start: float, timeout: float
) -> None:
    async def hangs(ctx: Any) -> None:
        await anyio.sleep_forever()

    nodes = [node("a", waits(start)), node("b", hangs, "a", policy=StagePolicy(timeout=timeout))]
    with anyio.fail_after(10):
        report = await run_nodes(nodes, options=jumping())
    assert isinstance(report.error, TimeoutError)
    assert report.duration_ms == pytest.approx((start + timeout) * 1000)


class TestRule11TimeIdsAndChanceComeFromTheRun:
    async def _events(self, seed: int) -> list[tuple[str, dict[str, Any]]]:
        attempts: list[int] = []

        async def flaky(ctx: Any) -> StageOutput | None:
            attempts.append(1)
            return StageOutput.retry("again") if len(attempts) < 3 else None

        sink = RememberingSink()
        ids = iter(UUID(int=n) for n in range(1, 100))
        clock = TestClock(autojump=True)
        chance = random.Random(seed)  # noqa: S311 - no secret
        options = RunOptions(clock=clock, random=chance, new_id=lambda: next(ids))
        pipeline = (
            Pipeline()
            .with_stage("flaky", flaky, WORK)
            .with_stage("slow", waits(3), WORK)
            .with_stage("plain", lambda ctx: {"x": 1}, WORK, ["slow"])
            .with_stage("last", no_op, WORK, ["plain", "flaky"])
        )
        graph = pipeline.build(options=options)
        context = PipelineContext.for_run(event_sink=sink, new_id=options.new_id)
        await graph.run(context)
        return sink.events

    async def test_two_runs_with_the_same_are_the_same_to_the_last_fact(self) -> None:
        first, again, other = [await self._events(seed) for seed in (1, 1, 2)]
        assert first == again
        assert first != other
        assert first[0][1]["pipeline_run_id"] == str(UUID(int=1))

    async def test_a_stage_that_starts_at_the_clocks_first_instant_has_its_times(self) -> None:
        sink = RememberingSink()
        report = await run_nodes([node("a", waits(3))], options=jumping(), sink=sink)
        assert report.outputs["a"].duration_ms == 3000
        assert report.results()["a"].duration_ms == 3000
        [ended] = sink.of("stage.completed")
        assert ended["started_at"] < ended["ended_at"]


async def test_one_built_graph_runs_a_hundred_times_at_once() -> None:
    class Counts:
        """Made anew for each run."""

        def __init__(self) -> None:
            self.calls = 0

        async def execute(self, ctx: Any) -> dict[str, int]:
            self.calls += 1
            await anyio.lowlevel.checkpoint()
            return {"calls": self.calls, "number": int(ctx.snapshot.input_text)}

    cleaned: list[int] = []

    async def doubles(ctx: Any) -> dict[str, int]:
        number = ctx.inputs.get_from("first", "number")
        ctx.register_cleanup(lambda: cleaned.append(number))
        await anyio.lowlevel.checkpoint()
        return {"number": number * 2}

    async def sometimes_fails(ctx: Any) -> StageOutput | None:
        number = ctx.inputs.get_from("first", "number")
        await anyio.lowlevel.checkpoint()
        return StageOutput.fail("odd") if number % 2 else None

    graph = (
        Pipeline()
        .with_stage("first", Counts, WORK)
        .with_stage("doubled", doubles, WORK, ["first"])
        .with_stage("odd", sometimes_fails, WORK, ["first"], on_failure="continue")
        .with_stage("last", no_op, WORK, ["odd", "doubled"])
        .build()
    )
    reports: dict[int, RunReport] = {}

    async def run(number: int) -> None:
        context = PipelineContext.for_run(input_text=str(number))
        reports[number] = await graph.execute(context)

    with leaves_nothing_behind():
        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(run, number)
    assert sorted(cleaned) == list(range(100))
    for number, report in reports.items():
        odd = bool(number % 2)
        assert report.outputs["first"].data == {"calls": 1, "number": number}
        assert report.outputs["doubled"].data == {"number": number * 2}
        assert report.status == ("failed" if odd else "completed")
        assert statuses(report)["last"] == ("skip" if odd else "ok")
        assert report.results()["last"].name == "last"


async def test_the_order_of_events_is_the_order_of_what_happens() -> None:
    sink = RememberingSink()
    nodes = [
        node("c", waits(1), "a"),
        node("a", waits(1)),
        node("b", waits(2)),
        node("d", no_op, "b"),
    ]
    await run_nodes(nodes, options=jumping(), sink=sink)
    told = [(name.split(".")[1], data.get("stage")) for name, data in sink.events]
    assert told == [
        ("started", None),
        ("started", "a"),
        ("started", "b"),
        ("completed", "a"),
        ("started", "c"),
        ("completed", "b"),
        ("started", "d"),
        ("completed", "d"),
        ("completed", "c"),
        ("completed", None),
    ]
    times = [data["timestamp"] for _, data in sink.events]
    assert times == sorted(times)


class TestRouting:
    @pytest.mark.parametrize(
        ("route", "run"),
        [
            ("one", {"b1"}),
            (["one", "two"], {"b1", "b2"}),
            (("two",), {"b2"}),
            ({"two"}, {"b2"}),
            ([], set()),
            (None, set()),
        ],
    )
    @pytest.mark.parametrize("kind", [StageKind.ROUTE, WORK])
    async def test_a_router_chooses_by_keys(self, route: Any, run: set[str], kind: Any) -> None:
        report = await run_nodes(
            [
                node("router", lambda ctx: {"route": route}, kind=kind),
                node("b1", no_op, "router", conditional=True, policy=StagePolicy(branch_key="one")),
                node("b2", no_op, "router", conditional=True, policy=StagePolicy(branch_key="two")),
                node("merge", no_op, "b1", "b2"),
            ]
        )
        assert {n for n, status in statuses(report).items() if status == "ok"} == run | {
            "router",
            "merge",
        }

    @pytest.mark.parametrize(
        ("route", "run"), [("b1", {"b1"}), (["b1", "b2"], {"b1", "b2"}), ([], set()), (None, set())]
    )
    async def test_or_by_the_names_of_conditional_stages(self, route: Any, run: set[str]) -> None:
        report = await run_nodes(
            [
                node("router", lambda ctx: {"route": route}, kind=StageKind.ROUTE),
                *[node(name, no_op, "router", conditional=True) for name in ("b1", "b2")],
                node("always", no_op, "router"),
            ]
        )
        chosen = {n for n, status in statuses(report).items() if status == "ok"}
        assert chosen == run | {"router", "always"}

    async def test_a_route_that_is_some_other_stages_data_chooses_nothing(self) -> None:
        branch = StagePolicy(branch_key="one")
        report = await run_nodes(
            [
                node("router", lambda ctx: {"route": "one"}, kind=StageKind.ROUTE),
                node("map", lambda ctx: {"route": "A66"}),
                node("b", no_op, "map", "router", conditional=True, policy=branch),
            ]
        )
        assert statuses(report) == {"router": "ok", "map": "ok", "b": "ok"}
