"""Guard-retry (checklist 3.3): a guard that fails sends the run back, and what becomes of it."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar
from uuid import uuid4

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stageflow import (
    GuardRetryExhaustedError,
    GuardRetryPolicy,
    GuardRetryStrategy,
    Pipeline,
    PipelineBuilder,
    PipelineContext,
    PipelineValidationError,
    RetryPolicy,
    StageKind,
    StageOutput,
    StageStatus,
    UnifiedPipelineCancelled,
    UnifiedStageExecutionError,
    UnifiedStageGraph,
    UnifiedStageSpec,
    stage,
)
from stageflow._engine.guard_retry import fingerprint
from stageflow._engine.plan import compile_plan
from stageflow._engine.run import Run, RunOptions
from stageflow.testing import TestClock
from support.golden_events import assert_golden, check_schemas
from support.runs import RememberingSink, node

pytestmark = pytest.mark.anyio

GUARD = StageKind.GUARD
ENDS = ("stage.completed", "stage.failed", "stage.skipped", "stage.cancelled")


class Drafts:
    """Gives a new draft each time, unless it is told to repeat itself."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.attempts: list[int] = []
        self.keys: list[str] = []
        self.told: list[str | None] = []

    async def execute(self, ctx: Any) -> dict[str, Any]:
        self.attempts.append(ctx.attempt)
        self.keys.append(ctx.execution_key)
        verdict = ctx.inputs.get_output("guard")
        self.told.append(verdict and verdict.error)
        number = len(self.attempts)
        text = self.texts[min(number, len(self.texts)) - 1] if self.texts else f"draft {number}"
        return {"text": text, "number": number}


class Guard:
    """Refuses until it has judged often enough."""

    def __init__(self, content_at: int, source: str = "draft", **failure: Any) -> None:
        self.content_at = content_at
        self.source = source
        self.failure = failure
        self.seen: list[str] = []

    async def execute(self, ctx: Any) -> StageOutput:
        self.seen.append(ctx.inputs.get_from(self.source, "text"))
        if len(self.seen) >= self.content_at:
            return StageOutput.ok(approved=self.seen[-1])
        return StageOutput.fail(f"refused {len(self.seen)}", **self.failure)


def strategy(retry_stage: str = "draft", guard: str = "guard", **policy: Any) -> GuardRetryStrategy:
    return GuardRetryStrategy({guard: GuardRetryPolicy(retry_stage, **policy)})


def one_guard(drafts: Drafts, guard: Any) -> Pipeline:
    return (
        Pipeline("demo")
        .with_stage("draft", drafts, StageKind.AGENT)
        .with_stage("guard", guard, GUARD, ["draft"])
    )


def ends(sink: RememberingSink) -> Counter[str]:
    return Counter(data["stage"] for kind, data in sink.events if kind in ENDS)


async def test_bug010_a_failing_guard_sends_the_run_back() -> None:
    drafts, guard, sink = Drafts(), Guard(3), RememberingSink()
    graph = one_guard(drafts, guard).build(guard_retry_strategy=strategy(max_attempts=3))
    outputs = await graph.run(PipelineContext(event_sink=sink))
    assert guard.seen == ["draft 1", "draft 2", "draft 3"]
    assert outputs["draft"].data["text"] == "draft 3"
    assert outputs["guard"].data == {"approved": "draft 3"}
    assert [kind for kind, _ in sink.events if kind.startswith("guard_retry")] == [
        "guard_retry.attempt",
        "guard_retry.scheduled",
        "guard_retry.attempt",
        "guard_retry.scheduled",
        "guard_retry.recovered",
    ]


async def test_bug010_the_retried_stage_learns_why() -> None:
    drafts, guard = Drafts(), Guard(3)
    graph = one_guard(drafts, guard).build(guard_retry_strategy=strategy(max_attempts=3))
    await graph.run(PipelineContext(pipeline_run_id=uuid4()))
    assert drafts.attempts == [1, 2, 3]
    assert drafts.told == [None, "refused 1", "refused 2"]
    assert len(set(drafts.keys)) == 3


@pytest.mark.parametrize("max_attempts", [1, 2, 4])
async def test_bug010_exactly_the_stated_attempts_then_a_clear_failure(max_attempts: int) -> None:
    drafts, guard, sink = Drafts(), Guard(99), RememberingSink()
    graph = one_guard(drafts, guard).build(guard_retry_strategy=strategy(max_attempts=max_attempts))
    with pytest.raises(UnifiedStageExecutionError) as caught:
        await graph.run(PipelineContext(event_sink=sink))
    assert len(guard.seen) == max_attempts
    error = caught.value.original
    assert isinstance(error, GuardRetryExhaustedError)
    assert (error.guard, error.retry_stage, error.attempts, error.reason) == (
        "guard",
        "draft",
        max_attempts,
        "max_attempts",
    )
    assert f"refused {max_attempts}" in str(error)
    assert caught.value.results["draft"].data["number"] == max_attempts
    assert caught.value.results["guard"].error == error.message
    [exhausted] = sink.of("guard_retry.exhausted")
    assert (exhausted["reason"], exhausted["attempt"]) == ("max_attempts", max_attempts)
    assert len(sink.of("guard_retry.scheduled")) == max_attempts - 1


async def test_3_3_stagnation_is_told_by_the_hash_of_the_output() -> None:
    drafts, guard, sink = Drafts("a", "b"), Guard(99), RememberingSink()
    policy = strategy(max_attempts=9, stagnation_limit=3, hash_fields=("text",))
    graph = one_guard(drafts, guard).build(guard_retry_strategy=policy)
    with pytest.raises(UnifiedStageExecutionError) as caught:
        await graph.run(PipelineContext(event_sink=sink))
    assert guard.seen == ["a", "b", "b", "b"]
    assert caught.value.original.reason == "stagnation"  # type: ignore[attr-defined]
    assert [event["alike"] for event in sink.of("guard_retry.attempt")] == [1, 1, 2, 3]


async def test_3_3_fields_that_are_not_chosen_do_not_count() -> None:
    # `number` is another one each time.
    drafts, guard = Drafts("a"), Guard(4)
    graph = one_guard(drafts, guard).build(guard_retry_strategy=strategy(max_attempts=9))
    await graph.run(PipelineContext())
    assert len(guard.seen) == 4


async def test_3_3_fields_may_be_the_guards() -> None:
    drafts, guard = Drafts(), Guard(99, violations=["same"])
    policy = strategy(max_attempts=9, hash_fields="violations")
    graph = one_guard(drafts, guard).build(guard_retry_strategy=policy)
    with pytest.raises(UnifiedStageExecutionError):
        await graph.run(PipelineContext())
    assert len(guard.seen) == 2


async def test_3_3_no_attempt_begins_when_the_time_is_over() -> None:
    clock, sink = TestClock(autojump=True), RememberingSink()

    class Slow(Drafts):
        async def execute(self, ctx: Any) -> dict[str, Any]:
            await clock.sleep(4.0)
            return await super().execute(ctx)

    guard = Guard(99)
    policy = strategy(max_attempts=9, timeout_seconds=10.0)
    graph = one_guard(Slow(), guard).build(guard_retry_strategy=policy, clock=clock)
    with pytest.raises(UnifiedStageExecutionError) as caught:
        await graph.run(PipelineContext(event_sink=sink))
    assert len(guard.seen) == 3
    assert caught.value.original.reason == "timeout"  # type: ignore[attr-defined]
    elapsed = [event["elapsed_ms"] for event in sink.of("guard_retry.attempt")]
    assert elapsed == pytest.approx([4000.0, 8000.0, 12000.0])


async def test_a_guard_that_says_no_retry_helps_is_believed() -> None:
    guard = Guard(99, retryable=False)
    graph = one_guard(Drafts(), guard).build(guard_retry_strategy=strategy(max_attempts=9))
    with pytest.raises(UnifiedStageExecutionError) as caught:
        await graph.run(PipelineContext())
    assert len(guard.seen) == 1
    assert caught.value.original.reason == "not_retryable"  # type: ignore[attr-defined]


async def test_a_stage_that_was_never_run_is_not_run_again() -> None:
    async def skips(ctx: Any) -> StageOutput:
        return StageOutput.skip("nothing to do")

    judged: list[bool] = []

    async def refuses(ctx: Any) -> StageOutput:
        judged.append(ctx.inputs.has_output("draft"))
        return StageOutput.fail("there is no draft")

    graph = (
        Pipeline()
        .with_stage("skips", skips)
        .with_stage("draft", Drafts(), dependencies=["skips"], conditional=True)
        .with_stage("guard", refuses, GUARD, ["draft"])
        .build(guard_retry_strategy=strategy(max_attempts=9))
    )
    with pytest.raises(UnifiedStageExecutionError) as caught:
        await graph.run(PipelineContext())
    assert judged == [True]
    assert caught.value.original.reason == "not_run"  # type: ignore[attr-defined]


async def test_a_guard_that_ends_the_process_is_not_asked_again() -> None:
    calls: list[int] = []

    async def exits(ctx: Any) -> None:
        calls.append(1)
        raise SystemExit(3)

    graph = one_guard(Drafts(), exits).build(guard_retry_strategy=strategy(max_attempts=9))
    with pytest.raises(SystemExit):
        await graph.run(PipelineContext())
    assert calls == [1]


async def test_a_function_stage_reads_the_verdict_from_its_context() -> None:
    told: list[str | None] = []

    @stage
    async def draft(ctx: Any) -> dict[str, str]:
        verdict = ctx.inputs.get_output("guard")
        told.append(verdict and verdict.error)
        return {"text": f"draft {ctx.attempt}"}

    pipeline = Pipeline().with_stages([draft]).with_stage("guard", Guard(2), GUARD, ["draft"])
    await pipeline.build(guard_retry_strategy=strategy()).run(PipelineContext())
    assert told == [None, "refused 1"]


async def test_a_guard_that_raises_has_failed() -> None:
    calls: list[int] = []

    async def raises(ctx: Any) -> None:
        calls.append(1)
        if len(calls) < 2:
            raise ValueError("no")

    graph = one_guard(Drafts(), raises).build(guard_retry_strategy=strategy())
    await graph.run(PipelineContext())
    assert len(calls) == 2


async def test_the_cause_of_the_last_failure_is_kept() -> None:
    async def raises(ctx: Any) -> None:
        raise ValueError("no")

    graph = one_guard(Drafts(), raises).build(guard_retry_strategy=strategy())
    with pytest.raises(UnifiedStageExecutionError) as caught:
        await graph.run(PipelineContext())
    assert isinstance(caught.value.original.__cause__, ValueError)


async def test_3_3_golden_events_of_a_run_that_recovers() -> None:
    sink = RememberingSink()
    graph = one_guard(Drafts(), Guard(2)).build(
        guard_retry_strategy=strategy(timeout_seconds=60), clock=TestClock()
    )
    await graph.run(PipelineContext(event_sink=sink))
    run = {
        **dict.fromkeys(
            ("pipeline_run_id", "request_id", "session_id", "user_id", "org_id", "interaction_id")
        ),
        "pipeline_name": "demo",
        "topology": None,
        "execution_mode": None,
        "service": "pipeline",
        "timestamp": "2025-01-01T00:00:00+00:00",
    }
    told = {
        **run,
        "guard": "guard",
        "retry_stage": "draft",
        "attempt": 1,
        "max_attempts": 2,
        "alike": 1,
        "stagnation_limit": 2,
        "elapsed_ms": 0.0,
        "timeout_seconds": 60,
    }
    span = {"started_at": run["timestamp"], "ended_at": run["timestamp"], "duration_ms": 0.0}
    draft = {**run, "stage": "draft", "kind": "agent"}
    guard = {**run, "stage": "guard", "kind": "guard"}
    assert_golden(
        sink.events[:-1],
        [
            ("pipeline.started", {**run, "stages_total": 2}),
            ("stage.started", {**draft, "attempt": 1}),
            ("stage.started", {**guard, "attempt": 1}),
            ("guard_retry.attempt", {**told, "error": "refused 1"}),
            (
                "guard_retry.scheduled",
                {**told, "error": "refused 1", "stages": ["draft", "guard"]},
            ),
            ("guard_retry.recovered", {**told, "attempt": 2}),
            (
                "stage.completed",
                {**draft, **span, "attempt": 2, "status": "ok", "data_keys": ["number", "text"]},
            ),
            (
                "stage.completed",
                {**guard, **span, "attempt": 2, "status": "ok", "data_keys": ["approved"]},
            ),
        ],
    )


async def test_3_3_golden_event_of_a_run_that_is_exhausted() -> None:
    sink = RememberingSink()
    graph = one_guard(Drafts(), Guard(9)).build(guard_retry_strategy=strategy(max_attempts=1))
    with pytest.raises(UnifiedStageExecutionError):
        await graph.run(PipelineContext(event_sink=sink))
    check_schemas(sink.events)
    [exhausted] = sink.of("guard_retry.exhausted")
    assert (exhausted["error"], exhausted["reason"]) == ("refused 1", "max_attempts")
    assert exhausted["timeout_seconds"] is None
    [failed] = sink.of("stage.failed")
    assert failed["error_code"] == "SF307"
    assert ends(sink) == {"draft": 1, "guard": 1}


class Counted:
    """A runner class; counts its instances and calls."""

    made = 0
    calls: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        type(self).made += 1

    async def execute(self, ctx: Any) -> dict[str, str]:
        self.calls[ctx.stage_name] += 1
        draft = ctx.inputs.get("text", default="")
        return {"text": f"{draft}>{ctx.stage_name}"}


@pytest.fixture(autouse=True)
def _fresh_counts() -> None:
    Counted.made = 0
    Counted.calls = Counter()


async def test_what_lies_between_is_run_again_and_nothing_else() -> None:
    guard, sink = Guard(3, source="polish"), RememberingSink()
    graph = (
        Pipeline()
        .with_stage("before", Counted)
        .with_stage("draft", Counted, dependencies=["before"])
        .with_stage("check", Counted, dependencies=["draft"])
        .with_stage("polish", Counted, dependencies=["draft", "check"])
        .with_stage("guard", guard, GUARD, ["polish"])
        .with_stage("aside", Counted, dependencies=["draft"])
        .with_stage("after", Counted, dependencies=["guard", "polish"])
        .with_stage("apart", Counted, dependencies=["before"])
        .build(guard_retry_strategy=strategy(max_attempts=3, stagnation_limit=9))
    )
    outputs = await graph.run(PipelineContext(event_sink=sink))
    assert Counted.calls == {
        "before": 1,
        "draft": 3,
        "check": 3,
        "polish": 3,
        "aside": 1,
        "after": 1,
        "apart": 1,
    }
    assert outputs["aside"].data["text"] == ">before>draft>aside"
    assert ends(sink) == dict.fromkeys(outputs, 1)
    assert Counter(event["stage"] for event in sink.of("stage.started")) == dict.fromkeys(
        outputs, 1
    )
    check_schemas(sink.events)


async def test_a_runner_class_is_made_once_per_run() -> None:
    graph = (
        Pipeline()
        .with_stage("draft", Counted)
        .with_stage("guard", Guard(3), GUARD, ["draft"])
        .build(guard_retry_strategy=strategy(max_attempts=3, stagnation_limit=9))
    )
    await graph.run(PipelineContext())
    assert (Counted.made, Counted.calls["draft"]) == (1, 3)
    await graph.run(PipelineContext())
    assert Counted.made == 2


async def test_nobody_sees_an_output_that_is_not_final() -> None:
    drafts, guard = Drafts(), Guard(3)
    seen: list[str] = []

    async def reads(ctx: Any) -> None:
        seen.append(ctx.inputs.get_from("draft", "text"))

    graph = (
        one_guard(drafts, guard)
        .with_stage("reads", reads, dependencies=["draft"])
        .build(guard_retry_strategy=strategy(max_attempts=3))
    )
    await graph.run(PipelineContext())
    assert seen == ["draft 3"]


async def test_two_guards_of_one_stage_both_judge_every_draft() -> None:
    drafts, sink = Drafts(), RememberingSink()
    seen: dict[str, list[str]] = {"guard": [], "tone": []}

    def refusing(*refused: str) -> Any:
        async def judge(ctx: Any) -> StageOutput:
            text = ctx.inputs.get_from("draft", "text")
            seen[ctx.stage_name].append(text)
            return StageOutput.fail("no") if text in refused else StageOutput.ok()

        return judge

    policies = {name: GuardRetryPolicy("draft", max_attempts=9) for name in seen}
    graph = (
        Pipeline()
        .with_stage("draft", drafts)
        .with_stage("guard", refusing("draft 1", "draft 3"), GUARD, ["draft"])
        .with_stage("tone", refusing("draft 2"), GUARD, ["draft"])
        .build(guard_retry_strategy=GuardRetryStrategy(policies))
    )
    outputs = await graph.run(PipelineContext(event_sink=sink))
    assert outputs["draft"].data["text"] == "draft 4"
    assert seen == {
        "guard": ["draft 1", "draft 2", "draft 3", "draft 4"],
        "tone": ["draft 2", "draft 4"],
    }
    assert ends(sink) == {"draft": 1, "guard": 1, "tone": 1}
    assert [event["guard"] for event in sink.of("guard_retry.recovered")] == [
        "guard",
        "guard",
        "tone",
    ]


async def test_a_guard_within_the_reach_of_another_begins_anew() -> None:
    inner, outer, sink = [], [], RememberingSink()

    async def inner_guard(ctx: Any) -> StageOutput:
        inner.append(1)
        return StageOutput.fail("no") if len(inner) % 2 else StageOutput.ok()

    async def outer_guard(ctx: Any) -> StageOutput:
        outer.append(1)
        return StageOutput.fail("no") if len(outer) < 3 else StageOutput.ok()

    graph = (
        Pipeline()
        .with_stage("plan", Counted)
        .with_stage("draft", Counted, dependencies=["plan"])
        .with_stage("inner", inner_guard, GUARD, ["draft"])
        .with_stage("outer", outer_guard, GUARD, ["inner"])
        .with_stage("reads", Counted, dependencies=["plan"])
        .build(
            guard_retry_strategy=GuardRetryStrategy(
                {
                    "inner": GuardRetryPolicy("plan", max_attempts=2, stagnation_limit=9),
                    "outer": GuardRetryPolicy("draft", max_attempts=3, stagnation_limit=9),
                }
            )
        )
    )
    outputs = await graph.run(PipelineContext(event_sink=sink))
    # Each time the outer guard refuses, the inner one may refuse once more.
    assert (len(inner), len(outer)) == (6, 3)
    assert Counted.calls == {"plan": 4, "draft": 6, "reads": 1}
    assert ends(sink) == dict.fromkeys(outputs, 1)
    assert outputs["inner"].status is StageStatus.OK


async def test_a_stage_of_the_region_keeps_its_own_retries() -> None:
    attempts: list[int] = []

    async def flaky(ctx: Any) -> StageOutput:
        attempts.append(ctx.attempt)
        return StageOutput.retry("later") if len(attempts) % 2 else StageOutput.ok(text=ctx.attempt)

    sink = RememberingSink()
    graph = (
        Pipeline()
        .with_stage("draft", flaky, retry=RetryPolicy(max_attempts=2, jitter="none"))
        .with_stage("guard", Guard(3), GUARD, ["draft"])
        .build(
            guard_retry_strategy=strategy(max_attempts=3, stagnation_limit=9),
            clock=TestClock(autojump=True),
        )
    )
    await graph.run(PipelineContext(event_sink=sink))
    assert attempts == [1, 2, 3, 4, 5, 6]
    assert len(sink.of("stage.retry_scheduled")) == 3
    assert [event["attempt"] for event in sink.of("stage.completed")] == [6, 3]


@pytest.mark.parametrize("how", ["caller", "sibling"])
async def test_a_run_that_ends_meanwhile_tells_each_end_once(how: str) -> None:
    again = anyio.Event()
    sink, context = RememberingSink(), None
    drafts: list[int] = []

    async def draft(ctx: Any) -> dict[str, str]:
        drafts.append(1)
        if len(drafts) == 2:
            again.set()
            await anyio.sleep_forever()
        return {"text": "x"}

    async def sibling(ctx: Any) -> StageOutput:
        await again.wait()
        if how == "caller":
            context.mark_canceled("enough")
            await anyio.sleep_forever()
        return StageOutput.fail("no")

    context = PipelineContext(event_sink=sink)
    graph = (
        Pipeline()
        .with_stage("draft", draft)
        .with_stage("between", Counted, dependencies=["draft"])
        .with_stage("guard", Guard(9, source="between"), GUARD, ["between"])
        .with_stage("after", Counted, dependencies=["guard"])
        .with_stage("sibling", sibling)
        .build(guard_retry_strategy=strategy())
    )
    with pytest.raises((UnifiedPipelineCancelled, UnifiedStageExecutionError)) as caught:
        await graph.run(context)
    results = caught.value.results
    assert {name: results[name].status for name in ("draft", "between", "guard", "after")} == (
        dict.fromkeys(("draft", "between", "guard", "after"), StageStatus.CANCEL)
    )
    assert ends(sink) == dict.fromkeys(results, 1)


async def test_the_rest_runs_on_when_it_is_told_to() -> None:
    graph = (
        one_guard(Drafts(), Guard(9))
        .with_stage("aside", Counted, dependencies=["draft"])
        .with_stage("after", Counted, dependencies=["guard"])
        .build(guard_retry_strategy=strategy(), on_failure="continue")
    )
    report = await graph.execute(PipelineContext())
    assert report.status == "failed"
    assert {name: output.status.value for name, output in report.outputs.items()} == {
        "draft": "ok",
        "guard": "fail",
        "aside": "ok",
        "after": "skip",
    }


async def test_runs_of_one_graph_do_not_share_their_attempts() -> None:
    async def draft(ctx: Any) -> dict[str, Any]:
        await anyio.lowlevel.checkpoint()
        return {"text": ctx.attempt}

    async def guard(ctx: Any) -> StageOutput:
        enough = ctx.inputs.get_from("draft", "text") >= int(ctx.snapshot.input_text)
        return StageOutput.ok() if enough else StageOutput.fail("no")

    graph = (
        Pipeline()
        .with_stage("draft", draft)
        .with_stage("guard", guard, GUARD, ["draft"])
        .build(guard_retry_strategy=strategy(max_attempts=5))
    )
    found: dict[int, Any] = {}

    async def call(times: int) -> None:
        outputs = await graph.run(PipelineContext.for_run(input_text=str(times)))
        found[times] = outputs["draft"].data["text"]

    async with anyio.create_task_group() as tasks:
        for times in range(1, 6):
            tasks.start_soon(call, times)
    assert found == {times: times for times in range(1, 6)}


async def test_every_way_to_build_takes_a_strategy() -> None:
    specs = {"draft": Drafts(), "guard": Guard(2)}
    graphs = [
        one_guard(specs["draft"], specs["guard"]).build(guard_retry_strategy=strategy()),
        PipelineBuilder()
        .with_stage("draft", Drafts())
        .with_stage("guard", Guard(2), ["draft"])
        .build(guard_retry_strategy=strategy()),
        UnifiedStageGraph(
            [
                UnifiedStageSpec(name="draft", runner=Drafts()),
                UnifiedStageSpec(name="guard", runner=Guard(2), dependencies=("draft",)),
            ],
            guard_retry_strategy=strategy(),
        ),
    ]
    for graph in graphs:
        outputs = await graph.run(PipelineContext())
        assert outputs["draft"].data["number"] == 2


def test_all_faults_of_a_strategy_come_at_once() -> None:
    policies = {
        "gard": GuardRetryPolicy("draft"),
        "guard": GuardRetryPolicy("drft", max_attempts=0),
        "draft": GuardRetryPolicy("guard", stagnation_limit=1),
        "after": GuardRetryPolicy("after", timeout_seconds=0),
    }
    pipeline = one_guard(Drafts(), Guard(1)).with_stage("after", Counted, dependencies=["guard"])
    with pytest.raises(PipelineValidationError) as caught:
        pipeline.build(guard_retry_strategy=GuardRetryStrategy(policies))
    faults = caught.value.faults
    assert {fault.code for fault in faults} == {"CONTRACT-004-GUARD_RETRY"}
    assert [fault.context["stage"] for fault in faults] == [
        "gard",
        "guard",
        "guard",
        "draft",
        "draft",
        "after",
        "after",
    ]
    assert "Did you mean 'guard'?" in str(faults[0])
    assert "Did you mean 'draft'?" in str(faults[1])
    assert "not upstream" in str(faults[3])


def test_a_strategy_is_frozen() -> None:
    policies = {"guard": GuardRetryPolicy("draft")}
    made = GuardRetryStrategy(policies)
    policies.clear()
    assert list(made.policies) == ["guard"]
    assert GuardRetryStrategy().policies == {}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=8,
)


class TestFingerprint:
    @settings(max_examples=25, deadline=None)
    @given(st.dictionaries(st.text(), VALUES))
    def test_it_does_not_depend_on_the_order_of_keys(self, data: dict[str, Any]) -> None:
        turned = dict(reversed(data.items()))
        assert fingerprint(data, {}, None) == fingerprint(turned, {}, None) is not None

    @settings(max_examples=25, deadline=None)
    @given(st.lists(VALUES), st.lists(VALUES))
    def test_it_tells_values_apart(self, one: list[Any], two: list[Any]) -> None:
        same = fingerprint({"x": one}, {}, None) == fingerprint({"x": two}, {}, None)
        assert same == (repr(one) == repr(two)) or same == (one == two)

    def test_a_value_that_cannot_be_written_is_like_no_other(self) -> None:
        class Broken:
            def __repr__(self) -> str:
                raise ValueError

        assert fingerprint({"x": Broken()}, {}, None) is None

    def test_fields_that_are_not_there_are_like_each_other(self) -> None:
        assert fingerprint({"a": 1}, {}, ("x",)) == fingerprint({"a": 2}, {}, ("x",))
        assert fingerprint({"x": None}, {}, ("x",)) != fingerprint({}, {}, ("x",))


@st.composite
def guarded_graphs(draw: Any) -> tuple[list[tuple[int, ...]], dict[int, int], list[int]]:
    """Edges, guards with the stage each goes back to, and how often each stage refuses."""
    size = draw(st.integers(2, 9))
    edges: list[tuple[int, ...]] = []
    ancestors: list[set[int]] = []
    for number in range(size):
        needed = draw(st.sets(st.integers(0, number - 1))) if number else set()
        edges.append(tuple(sorted(needed)))
        ancestors.append(needed.union(*(ancestors[each] for each in needed)))
    guards = {
        number: draw(st.sampled_from(sorted(ancestors[number])))
        for number in range(size)
        if ancestors[number] and draw(st.booleans())
    }
    refusals = draw(st.lists(st.integers(0, 2), min_size=size, max_size=size))
    return edges, guards, refusals


@settings(max_examples=60, deadline=None)
@given(guarded_graphs(), st.sampled_from([None, 1, 2]))
def test_whatever_the_guards_do_outputs_agree_and_each_stage_ends_once(
    graph: tuple[list[tuple[int, ...]], dict[int, int], list[int]], limit: int | None
) -> None:
    edges, guards, refusals = graph
    executions: Counter[str] = Counter()
    refused: Counter[str] = Counter()

    def runner(number: int) -> Any:
        async def run(ctx: Any) -> StageOutput:
            name = ctx.stage_name
            executions[name] += 1
            if executions[name] % 2:
                await anyio.lowlevel.checkpoint()
            seen = {f"s{n}": ctx.inputs.get_from(f"s{n}", "number") for n in edges[number]}
            if number in guards and refused[name] < refusals[number]:
                refused[name] += 1
                return StageOutput.fail("no")
            return StageOutput.ok(number=executions[name], seen=seen)

        return run

    policy = {
        f"s{guard}": GuardRetryPolicy(f"s{retry}", max_attempts=99, stagnation_limit=99)
        for guard, retry in guards.items()
    }
    plan = compile_plan(
        [node(f"s{n}", runner(n), *(f"s{d}" for d in edges[n])) for n in range(len(edges))],
        guard_retry_strategy=GuardRetryStrategy(policy),
        max_concurrency=limit,
    )
    sink = RememberingSink()

    async def main() -> Any:
        return await Run(plan, PipelineContext(event_sink=sink), RunOptions()).execute()

    report = anyio.run(main)
    assert report.status == "completed"
    for output in report.outputs.values():
        # What a stage has read is what its dependency gave in the end.
        for dependency, number in output.data["seen"].items():
            assert report.outputs[dependency].data["number"] == number
    regions = {stage for region in _regions(plan) for stage in region}
    for name, output in report.outputs.items():
        assert output.data["number"] == executions[name]
        assert executions[name] == 1 or name in regions
    assert ends(sink) == dict.fromkeys(report.outputs, 1)


def _regions(plan: Any) -> list[list[str]]:
    found = plan.guard_regions.regions.values() if plan.guard_regions else ()
    return [[plan.names[stage] for stage in region.stages] for region in found]


def test_a_plan_shows_who_depends_on_whom_not_who_is_held() -> None:
    pipeline = one_guard(Drafts(), Guard(1)).with_stage("aside", Counted, dependencies=["draft"])
    plan = pipeline.build(guard_retry_strategy=strategy()).plan
    assert plan.successors == pipeline.build().plan.successors
    assert [plan.names[stage] for stage in plan.releases[plan.index["guard"]]] == ["aside"]
