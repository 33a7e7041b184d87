"""run_with_interceptors and the default chain: the engine's own, around a single stage."""

from __future__ import annotations

from random import Random
from typing import Any

import anyio
import pytest

from stageflow import Pipeline, PipelineContext, StageKind, StageOutput, StageResult, StageStatus
from stageflow.interceptors import (
    BaseInterceptor,
    ErrorAction,
    IdempotencyInterceptor,
    InterceptorResult,
    JitterStrategy,
    RetryInterceptor,
    TimeoutInterceptor,
    TransientError,
    get_default_interceptors,
    run_with_interceptors,
)
from stageflow.testing import TestClock
from stageflow.testing.factories import create_test_stage_context
from support.runs import RememberingSink

pytestmark = pytest.mark.anyio


class Notes(BaseInterceptor):
    """Writes down who was asked when."""

    def __init__(self, name: str, priority: int, notes: list[str]) -> None:
        self.name = name
        self.priority = priority
        self.notes = notes

    async def before(self, stage_name: str, ctx: PipelineContext) -> InterceptorResult | None:
        self.notes.append(f"before {self.name}")
        return None

    async def after(
        self, stage_name: str, result: StageResult, ctx: PipelineContext
    ) -> StageOutput | None:
        self.notes.append(f"after {self.name}")
        return None


async def give(value: Any = None) -> Any:
    return value


async def test_the_chain_is_ordered_by_priority() -> None:
    notes: list[str] = []
    chain = [Notes("inner", 9, notes), Notes("outer", 1, notes), Notes("middle", 5, notes)]
    result = await run_with_interceptors("a", lambda: give({"x": 1}), PipelineContext(), chain)
    assert notes == [
        "before outer",
        "before middle",
        "before inner",
        "after inner",
        "after middle",
        "after outer",
    ]
    assert (result.name, result.status, result.data) == ("a", StageStatus.OK, {"x": 1})


async def test_a_chain_can_short_circuit_the_stage() -> None:
    class Supplies(BaseInterceptor):
        priority = 3

        async def before(self, stage_name: str, ctx: PipelineContext) -> InterceptorResult:
            return InterceptorResult(stage_ran=False, result={"x": "supplied"})

    notes: list[str] = []
    ran: list[str] = []

    async def stage() -> None:
        ran.append("stage")

    chain = [Notes("outer", 1, notes), Supplies(), Notes("inner", 9, notes)]
    result = await run_with_interceptors("a", stage, PipelineContext(), chain)
    assert result.data == {"x": "supplied"}
    assert ran == []
    assert notes == ["before outer", "after outer"]


async def test_v03_a_denied_single_stage_is_never_ok() -> None:
    class Denies(BaseInterceptor):
        async def before(self, stage_name: str, ctx: PipelineContext) -> InterceptorResult:
            return InterceptorResult(stage_ran=False, error="Not authenticated")

    result = await run_with_interceptors("a", give, PipelineContext(), [Denies()])
    assert result.status is StageStatus.FAIL
    assert "Not authenticated" in (result.error or "")


async def test_a_chain_can_observe_and_transform_errors() -> None:
    seen: list[str] = []

    class Observes(BaseInterceptor):
        priority = 9

        async def on_error(
            self, stage_name: str, error: Exception, ctx: PipelineContext
        ) -> ErrorAction:
            seen.append(f"{type(error).__name__}: {error}")
            raise LookupError("another") from error

    class FallsBack(BaseInterceptor):
        priority = 1

        async def on_error(
            self, stage_name: str, error: Exception, ctx: PipelineContext
        ) -> ErrorAction:
            seen.append(f"{type(error).__name__}: {error}")
            return ErrorAction.FALLBACK

        async def fallback(
            self, stage_name: str, error: Exception, ctx: PipelineContext
        ) -> dict[str, Any]:
            return {"fallback": True}

    async def fails() -> None:
        raise ValueError("first")

    result = await run_with_interceptors("a", fails, PipelineContext(), [Observes(), FallsBack()])
    assert seen == ["ValueError: first", "LookupError: another"]
    assert (result.status, result.data) == (StageStatus.OK, {"fallback": True})


async def test_a_failure_is_returned_as_a_result() -> None:
    async def fails() -> None:
        raise ValueError("no")

    result = await run_with_interceptors("a", fails, PipelineContext(), [])
    assert (result.status, result.error) == (StageStatus.FAIL, "ValueError: no")


@pytest.mark.parametrize(
    "given",
    [
        StageOutput.ok(x=1),
        {"x": 1},
        StageResult("other", StageStatus.OK, TestClock().now(), TestClock().now(), {"x": 1}),
    ],
)
async def test_a_stage_gives_an_output_a_result_or_data(given: Any) -> None:
    result = await run_with_interceptors("a", lambda: give(given), PipelineContext(), [])
    assert (result.name, result.data) == ("a", {"x": 1})


async def test_a_stage_context_serves_as_well() -> None:
    ctx = create_test_stage_context()
    seen: list[Any] = []

    class Sees(BaseInterceptor):
        async def before(self, stage_name: str, ctx: PipelineContext) -> None:
            seen.append(ctx.pipeline_run_id)

    await run_with_interceptors("a", give, ctx, [Sees()])
    assert seen == [ctx.pipeline_run_id]


async def test_retries_are_the_engines_with_their_events_but_no_run_is_announced() -> None:
    calls: list[int] = []

    async def flaky() -> dict[str, int]:
        calls.append(1)
        if len(calls) < 3:
            raise TransientError
        return {"x": 1}

    sink = RememberingSink()
    clock = TestClock(autojump=True)
    retry = RetryInterceptor(base_delay_ms=100, jitter_strategy=JitterStrategy.NONE)
    result = await run_with_interceptors(
        "a",
        flaky,
        PipelineContext(event_sink=sink),
        [retry],
        clock=clock,
        random=Random(1),  # noqa: S311
    )
    assert (result.status, result.metadata["attempts"]) == (StageStatus.OK, 3)
    assert result.duration_ms == 300
    assert sink.types() == [
        "stage.started",
        "stage.retry_scheduled",
        "stage.retry_scheduled",
        "stage.completed",
    ]


async def test_a_timeout_is_the_engines() -> None:
    async def sleeps() -> None:
        await anyio.sleep_forever()

    clock = TestClock(autojump=True)
    result = await run_with_interceptors(
        "a", sleeps, PipelineContext(), [TimeoutInterceptor(5)], clock=clock
    )
    assert result.status is StageStatus.FAIL
    assert "timed out after 5 s" in (result.error or "")


async def test_a_single_stage_is_cancelled_by_its_context() -> None:
    context = PipelineContext()

    async def cancels() -> None:
        context.mark_canceled("enough")
        await anyio.sleep_forever()

    result = await run_with_interceptors("a", cancels, context, [])
    assert (result.status, result.data) == (StageStatus.CANCEL, {"cancel_reason": "enough"})


async def test_a_single_stage_is_work_unless_it_is_said_to_be_else() -> None:
    calls: list[int] = []

    async def works() -> dict[str, int]:
        calls.append(1)
        return {"n": len(calls)}

    once = IdempotencyInterceptor()
    context = PipelineContext(data={"idempotency_key": "k"})
    for _ in range(2):
        result = await run_with_interceptors("a", works, context, [once])
        assert result.data == {"n": 1}
    result = await run_with_interceptors("a", works, context, [once], kind=StageKind.TRANSFORM)
    assert result.data == {"n": 2}


class TestDefaults:
    def test_the_default_chain_observes_outside_and_decides_inside(self) -> None:
        names = [interceptor.name for interceptor in get_default_interceptors()]
        assert names == [
            "timeout",
            "tracing",
            "metrics",
            "logging",
            "idempotency",
            "circuit_breaker",
        ]

    def test_parts_of_the_default_chain_can_be_left_out_or_added(self) -> None:
        class Tracker:
            def get_metrics(self) -> dict[str, int]:
                return {}

        chain = get_default_interceptors(
            include_idempotency=False, timeout_seconds=None, child_tracker=Tracker()
        )
        assert [interceptor.name for interceptor in chain] == [
            "tracing",
            "metrics",
            "child_tracker_metrics",
            "logging",
            "circuit_breaker",
        ]

    def test_every_chain_has_instances_of_its_own(self) -> None:
        first, second = get_default_interceptors(), get_default_interceptors()
        assert not {id(item) for item in first} & {id(item) for item in second}

    async def test_who_is_denied_gets_no_stored_result_and_opens_no_circuit(self) -> None:
        class Gate(BaseInterceptor):
            is_open = True

            async def before(
                self, stage_name: str, ctx: PipelineContext
            ) -> InterceptorResult | None:
                return None if self.is_open else InterceptorResult(stage_ran=False, error="no")

        gate = Gate()
        chain = [gate, *get_default_interceptors()]
        graph = Pipeline().with_stage("a", lambda _: {"x": 1}, "work").build(interceptors=chain)
        context = PipelineContext(data={"idempotency_key": "k"})
        assert (await graph.execute(context)).status == "completed"
        gate.is_open = False
        for _ in range(9):
            report = await graph.execute(context)
            assert "no" in (report.outputs["a"].error or "")
            assert report.outputs["a"].status is StageStatus.FAIL
        gate.is_open = True
        assert (await graph.execute(context)).outputs["a"].data == {"x": 1}
