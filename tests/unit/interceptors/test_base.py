"""BaseInterceptor: what can stand around a stage, in which order, and what it can do there."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from stageflow import (
    PipelineContext,
    RetryPolicy,
    StageKind,
    StageOutput,
    StageResult,
    StageStatus,
)
from stageflow._engine.errors import StageReturnError
from stageflow._engine.plan import StagePolicy
from stageflow._engine.run import RunOptions, RunReport
from stageflow.interceptors import (
    BaseInterceptor,
    ErrorAction,
    InterceptorDeniedError,
    InterceptorResult,
    TransientError,
)
from stageflow.testing import TestClock
from support.runs import RememberingSink, node, run_nodes

pytestmark = pytest.mark.anyio


def jumping() -> RunOptions:
    return RunOptions(clock=TestClock(autojump=True))


async def run_one(
    runner: Any, *layers: Any, retry: RetryPolicy | None = None, **more: Any
) -> RunReport:
    return await run_nodes(
        [node("a", runner, policy=StagePolicy(retry=retry))],
        layers=layers,
        options=jumping(),
        **more,
    )


class Notes(BaseInterceptor):
    """Writes down what it sees, by its name."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self.name = name
        self.notes = notes

    async def before(self, stage_name: str, ctx: PipelineContext) -> InterceptorResult | None:
        self.notes.append(f"before {self.name}")
        return None

    async def after(
        self, stage_name: str, result: StageResult, ctx: PipelineContext
    ) -> StageOutput | None:
        self.notes.append(f"after {self.name}: {result.status}")
        return None

    async def on_error(
        self, stage_name: str, error: Exception, ctx: PipelineContext
    ) -> ErrorAction:
        self.notes.append(f"error {self.name}: {error}")
        return ErrorAction.FAIL


class TestOrder:
    async def test_they_nest_and_see_the_same_context(self) -> None:
        notes: list[str] = []
        seen: list[Any] = []

        class Shares(Notes):
            async def before(
                self, stage_name: str, ctx: PipelineContext
            ) -> InterceptorResult | None:
                seen.append((stage_name, ctx))
                ctx.data["shared"] = self.name
                return await super().before(stage_name, ctx)

        async def stage(ctx: Any) -> dict[str, int]:
            notes.append("stage")
            return {"x": 1}

        context = PipelineContext()
        layers = [Shares("outer", notes), Notes("inner", notes)]
        report = await run_one(stage, *layers, context=context)
        assert notes == [
            "before outer",
            "before inner",
            "stage",
            "after inner: ok",
            "after outer: ok",
        ]
        assert seen == [("a", context)]
        assert context.data == {"shared": "outer"}
        assert report.outputs["a"].data == {"x": 1}

    async def test_an_error_goes_out_through_all_of_them(self) -> None:
        notes: list[str] = []

        async def stage(ctx: Any) -> None:
            raise ValueError("mine")

        report = await run_one(stage, Notes("outer", notes), Notes("inner", notes))
        assert notes == ["before outer", "before inner", "error inner: mine", "error outer: mine"]
        assert isinstance(report.error, ValueError)

    async def test_a_failure_that_was_returned_is_a_result_and_no_error(self) -> None:
        notes: list[str] = []
        report = await run_one(lambda ctx: StageOutput.fail("no"), Notes("it", notes))
        assert notes == ["before it", "after it: fail"]
        assert report.status == "failed"

    async def test_all_attempts_happen_within(self) -> None:
        notes: list[str] = []

        async def flaky(ctx: Any) -> StageOutput | None:
            notes.append(f"attempt {ctx.attempt}")
            return StageOutput.retry("again") if ctx.attempt < 3 else None

        await run_one(flaky, Notes("it", notes))
        assert notes == ["before it", "attempt 1", "attempt 2", "attempt 3", "after it: ok"]

    async def test_stages_that_end_unrun_are_nobodys_business(self) -> None:
        notes: list[str] = []
        await run_nodes(
            [
                node("skips", lambda ctx: StageOutput.skip("no")),
                node("skipped", lambda ctx: None, "skips", conditional=True),
            ],
            layers=[Notes("it", notes)],
        )
        assert notes == ["before it", "after it: skip"]

    async def test_it_may_stand_around_some_stages_only(self) -> None:
        notes: list[str] = []
        asked: list[tuple[str, StageKind]] = []

        class Guards(Notes):
            def applies_to(self, name: str, kind: StageKind) -> bool:
                asked.append((name, kind))
                return kind is StageKind.GUARD

        nodes = [node("a", lambda ctx: None), node("b", lambda ctx: None, kind=StageKind.GUARD)]
        await run_nodes(nodes, layers=[Guards("it", notes)])
        assert asked == [("a", StageKind.TRANSFORM), ("b", StageKind.GUARD)]
        assert notes == ["before it", "after it: ok"]


class Decides(BaseInterceptor):
    def __init__(self, decision: Any) -> None:
        self.decision = decision

    async def before(self, stage_name: str, ctx: PipelineContext) -> Any:
        return self.decision


class TestBefore:
    @pytest.mark.parametrize(
        ("result", "status", "data"),
        [
            ({"x": 1}, "ok", {"x": 1}),
            ({}, "ok", {}),
            (StageOutput.ok(x=1), "ok", {"x": 1}),
            (StageOutput.skip("known"), "skip", {"reason": "known"}),
            (StageOutput.fail("no", x=1), "fail", {"x": 1}),
            (StageOutput.cancel("enough"), "cancel", {"cancel_reason": "enough"}),
        ],
    )
    async def test_what_it_supplies_is_what_the_stage_gives(
        self, result: Any, status: str, data: dict[str, Any]
    ) -> None:
        ran: list[str] = []

        async def stage(ctx: Any) -> None:
            ran.append("stage")

        decision = InterceptorResult(stage_ran=False, result=result)
        report = await run_one(stage, Decides(decision))
        assert ran == []
        assert report.outputs["a"].status == status
        assert report.outputs["a"].data == data

    async def test_a_result_of_before_is_supplied_as_it_was(self) -> None:
        notes: list[str] = []
        earlier = (await run_one(lambda ctx: {"x": 1})).results()["a"]
        decision = InterceptorResult(stage_ran=False, result=earlier)
        outer = Notes("outer", notes)
        report = await run_one(lambda ctx: {"x": 2}, outer, Decides(decision))
        assert report.outputs["a"].data == {"x": 1}
        assert notes == ["before outer", "after outer: ok"]

    @pytest.mark.parametrize(
        ("decision", "reason"),
        [
            (InterceptorResult(stage_ran=False, error="Not authenticated"), "Not authenticated"),
            (InterceptorResult(error="Not authenticated"), "Not authenticated"),
            (InterceptorResult(stage_ran=False, result={"x": 1}, error="both"), "both"),
            (InterceptorResult(stage_ran=False, error=""), "it gave no reason"),
            (False, "its before() gave False, not an InterceptorResult"),
            ({"allowed": False}, "not an InterceptorResult"),
            (InterceptorResult(stage_ran=False), "neither"),
        ],
    )
    async def test_v03_a_denial_says_who_and_why_and_nothing_behind_it_is_asked(
        self, decision: Any, reason: str
    ) -> None:
        notes: list[str] = []
        inner, outer = Notes("inner", notes), Notes("outer", notes)
        report = await run_one(lambda ctx: notes.append("stage"), outer, Decides(decision), inner)
        assert report.outputs["a"].status is StageStatus.FAIL
        assert isinstance(report.error, InterceptorDeniedError)
        assert (report.error.stage, report.error.interceptor) == ("a", "Decides")
        assert reason in report.error.reason
        assert notes[0] == "before outer"
        assert notes[1].startswith("error outer: [SF320]")
        assert len(notes) == 2

    @pytest.mark.parametrize("decision", [False, True, "no", StageOutput.ok(), {"x": 1}])
    async def test_v03_what_is_no_decision_does_not_let_the_stage_run(self, decision: Any) -> None:
        ran: list[str] = []
        report = await run_one(lambda ctx: ran.append("stage"), Decides(decision))
        assert ran == []
        assert report.status == "failed"

    async def test_a_decision_to_run_lets_it_run(self) -> None:
        report = await run_one(lambda ctx: {"x": 1}, Decides(InterceptorResult()))
        assert report.outputs["a"].data == {"x": 1}


class TestAfter:
    async def test_it_may_replace_what_the_stage_gave(self) -> None:
        class Replaces(BaseInterceptor):
            async def after(
                self, stage_name: str, result: StageResult, ctx: PipelineContext
            ) -> StageOutput:
                return StageOutput.ok({**result.data, "seen": True}, metadata=result.metadata)

        report = await run_one(lambda ctx: {"x": 1}, Replaces())
        assert report.outputs["a"].data == {"x": 1, "seen": True}

    @pytest.mark.parametrize("wrong", [5, "text", InterceptorResult()])
    async def test_what_is_no_output_is_a_failure(self, wrong: Any) -> None:
        class Replaces(BaseInterceptor):
            async def after(
                self, stage_name: str, result: StageResult, ctx: PipelineContext
            ) -> Any:
                return wrong

        report = await run_one(lambda ctx: {"x": 1}, Replaces())
        assert isinstance(report.error, StageReturnError)

    async def test_it_may_ask_for_another_attempt_of_everything_within(self) -> None:
        notes: list[str] = []

        class Once(BaseInterceptor):
            async def after(
                self, stage_name: str, result: StageResult, ctx: PipelineContext
            ) -> StageOutput | None:
                attempts = result.metadata["attempts"]
                return StageOutput.retry("not good enough") if attempts < 2 else None

        async def stage(ctx: Any) -> dict[str, int]:
            notes.append("stage")
            return {"attempt": ctx.attempt}

        sink = RememberingSink()
        report = await run_one(stage, Once(), Notes("inner", notes), sink=sink)
        assert notes == ["before inner", "stage", "after inner: ok"] * 2
        assert report.outputs["a"].data == {"attempt": 2}
        assert sink.types("a") == ["stage.started", "stage.retry_scheduled", "stage.completed"]

    async def test_it_knows_when_the_stage_began_and_ended(self) -> None:
        seen: list[StageResult] = []
        clock = TestClock(autojump=True)

        class Looks(BaseInterceptor):
            async def after(
                self, stage_name: str, result: StageResult, ctx: PipelineContext
            ) -> None:
                seen.append(result)

        async def stage(ctx: Any) -> None:
            await clock.sleep(2)

        await run_nodes([node("a", stage)], layers=[Looks()], options=RunOptions(clock=clock))
        assert (seen[0].name, seen[0].duration_ms) == ("a", 2000)


class Acts(BaseInterceptor):
    """Does *action* about errors, up to *times* times."""

    def __init__(self, action: Any, times: int = 100) -> None:
        self.action = action
        self.left = times

    async def on_error(self, stage_name: str, error: Exception, ctx: PipelineContext) -> Any:
        self.left -= 1
        return self.action if self.left >= 0 else ErrorAction.FAIL

    async def fallback(
        self, stage_name: str, error: Exception, ctx: PipelineContext
    ) -> dict[str, str]:
        return {"instead of": str(error)}


class Flaky:
    def __init__(self, failures: int, error: type[Exception] = ValueError) -> None:
        self.failures = failures
        self.error = error
        self.calls = 0

    async def execute(self, ctx: Any) -> dict[str, int]:
        self.calls += 1
        await anyio.lowlevel.checkpoint()
        if self.calls <= self.failures:
            raise self.error(f"number {self.calls}")
        return {"calls": self.calls}


class TestOnError:
    @pytest.mark.parametrize("action", [ErrorAction.FALLBACK, "fallback"], ids=["member", "text"])
    async def test_a_fallback_is_what_the_stage_gives(self, action: Any) -> None:
        report = await run_one(Flaky(1), Acts(action))
        assert report.outputs["a"].data == {"instead of": "number 1"}
        assert report.status == "completed"

    async def test_without_a_fallback_of_its_own_the_error_stays(self) -> None:
        class Wants(BaseInterceptor):
            async def on_error(
                self, stage_name: str, error: Exception, ctx: PipelineContext
            ) -> ErrorAction:
                return ErrorAction.FALLBACK

        report = await run_one(Flaky(1), Wants())
        assert isinstance(report.error, ValueError)

    @pytest.mark.parametrize("action", [ErrorAction.RETRY, "retry"], ids=["member", "text"])
    async def test_a_retry_runs_the_stage_again_under_its_policy(self, action: Any) -> None:
        flaky, sink = Flaky(2), RememberingSink()
        retry = RetryPolicy(max_attempts=5, base_delay_ms=100, jitter="none")  # type: ignore[arg-type]
        report = await run_one(flaky, Acts(action), retry=retry, sink=sink)
        assert report.outputs["a"].data == {"calls": 3}
        assert report.results()["a"].metadata["attempts"] == 3
        assert [event["delay_ms"] for event in sink.of("stage.retry_scheduled")] == [100, 200]

    @pytest.mark.parametrize("error", [ValueError, TransientError])
    async def test_a_retry_ends_with_the_policy_and_is_exhausted_once(self, error: Any) -> None:
        flaky, sink = Flaky(9, error), RememberingSink()
        retry = RetryPolicy(max_attempts=3)
        report = await run_one(flaky, Acts("retry"), Acts("retry"), retry=retry, sink=sink)
        assert flaky.calls == 3
        assert isinstance(report.error, error)
        assert len(sink.of("stage.retry_scheduled")) == 2
        assert len(sink.of("stage.retry_exhausted")) == 1

    async def test_without_a_policy_it_is_the_default_one(self) -> None:
        flaky = Flaky(9)
        await run_one(flaky, Acts(ErrorAction.RETRY))
        assert flaky.calls == 3

    @pytest.mark.parametrize("action", [ErrorAction.FAIL, None], ids=str)
    async def test_else_the_error_fails_the_stage(self, action: Any) -> None:
        flaky = Flaky(1)
        report = await run_one(flaky, Acts(action))
        assert flaky.calls == 1
        assert isinstance(report.error, ValueError)
        assert report.error.__context__ is None

    async def test_another_error_may_be_raised_in_its_place(self) -> None:
        class Translates(BaseInterceptor):
            async def on_error(
                self, stage_name: str, error: Exception, ctx: PipelineContext
            ) -> ErrorAction:
                raise LookupError("translated") from error

        report = await run_one(Flaky(1), Acts(ErrorAction.FAIL), Translates())
        assert isinstance(report.error, LookupError)
        assert isinstance(report.error.__cause__, ValueError)

    async def test_nobody_is_asked_about_a_cancellation(self) -> None:
        notes: list[str] = []
        waiting = anyio.Event()

        async def waits(ctx: Any) -> None:
            waiting.set()
            await anyio.sleep_forever()

        async def fails(ctx: Any) -> StageOutput:
            await waiting.wait()
            return StageOutput.fail("no")

        class Only(Notes):
            def applies_to(self, name: str, kind: StageKind) -> bool:
                return name == "waits"

        nodes = [node("waits", waits), node("fails", fails)]
        await run_nodes(nodes, layers=[Only("it", notes)])
        assert notes == ["before it"]

    async def test_a_timeout_is_an_error_like_any(self) -> None:
        notes: list[str] = []

        async def hangs(ctx: Any) -> None:
            await anyio.sleep_forever()

        nodes = [node("a", hangs, policy=StagePolicy(timeout=5))]
        await run_nodes(nodes, layers=[Notes("it", notes)], options=jumping())
        assert notes[1].startswith("error it: [SF303]")


class TestAround:
    async def test_it_can_do_everything_itself(self) -> None:
        class Twice(BaseInterceptor):
            async def around(self, invocation: Any, proceed: Any) -> StageOutput:
                first, second = await proceed(), await proceed()
                return StageOutput.ok(results=[first.data, second.data], kind=invocation.kind)

        report = await run_one(Flaky(0), Twice())
        assert report.outputs["a"].data == {
            "results": [{"calls": 1}, {"calls": 2}],
            "kind": StageKind.TRANSFORM,
        }

    async def test_the_same_one_serves_all_stages_of_all_runs_at_once(self) -> None:
        notes: list[str] = []
        layer = Notes("it", notes)
        nodes = [node(f"s{n}", Flaky(0)) for n in range(5)]
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(lambda: run_nodes(nodes, layers=[layer]))
        assert notes.count("before it") == notes.count("after it: ok") == 20


class TestNames:
    def test_it_is_called_like_its_class_unless_it_has_a_name(self) -> None:
        class Plain(BaseInterceptor):
            pass

        class Below(Plain):
            pass

        class Named(BaseInterceptor):
            name = "mine"

        class BelowNamed(Named):
            pass

        names = [each.name for each in (Plain(), Below(), Named(), BelowNamed())]
        assert names == ["Plain", "Below", "mine", "mine"]
        assert BaseInterceptor().priority == 100
