"""CircuitBreakerInterceptor: closed, open, half-open, and who counts how often."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import anyio.to_thread
import pytest

from stageflow import Pipeline, PipelineContext, RetryPolicy, StageOutput, UnifiedStageGraph
from stageflow._engine.run import RunReport
from stageflow.interceptors import (
    BaseInterceptor,
    CircuitBreakerInterceptor,
    CircuitOpenError,
    CircuitState,
    InterceptorDeniedError,
    InterceptorResult,
)
from stageflow.testing import TestClock

pytestmark = pytest.mark.anyio

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN


class Patient:
    """A stage that is told what to do."""

    def __init__(self) -> None:
        self.calls = 0
        self.outcome: Any = ValueError("sick")
        self.gate: anyio.Event | None = None
        self.arrived = anyio.Event()

    async def execute(self, ctx: Any) -> Any:
        self.calls += 1
        outcome = self.outcome
        self.arrived.set()
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


class Ward:
    """A patient behind a breaker, and a clock that its runs go by."""

    def __init__(self, threshold: int = 5, reset: float = 30.0, **stage: Any) -> None:
        self.patient = Patient()
        self.clock = TestClock()
        self.breaker = CircuitBreakerInterceptor(threshold, reset)
        self.graph: UnifiedStageGraph = (
            Pipeline()
            .with_stage("a", self.patient, "work", **stage)
            .build(interceptors=[self.breaker], clock=self.clock)
        )

    async def visit(self, times: int = 1) -> RunReport:
        for _ in range(times):
            report = await self.graph.execute(PipelineContext(event_sink=None))
        return report

    @property
    def state(self) -> CircuitState:
        return self.breaker.state("a")


@pytest.mark.parametrize("outcome", [ValueError("sick"), StageOutput.fail("sick")])
async def test_v04_each_failure_counts_once(outcome: Any) -> None:
    ward = Ward(threshold=5)
    ward.patient.outcome = outcome
    await ward.visit(4)
    assert ward.state is CLOSED
    await ward.visit()
    assert ward.state is OPEN
    assert ward.patient.calls == 5


async def test_v04_open_means_fail_fast_with_a_reason_and_stays_open() -> None:
    ward = Ward(threshold=2)
    await ward.visit(2)
    for _ in range(5):
        report = await ward.visit()
        assert report.status == "failed"
        error = report.error
        assert isinstance(error, CircuitOpenError)
        assert isinstance(error, InterceptorDeniedError)
        assert (error.stage, error.state, error.failures) == ("a", OPEN, 2)
        assert error.retry_after == 30
        assert "after 2 failures in a row the circuit is open for another 30 s" in str(error)
        assert error.retryable is True
    assert ward.patient.calls == 2
    assert ward.state is OPEN


async def test_v04_half_open_admits_one_probe() -> None:
    ward = Ward(threshold=1)
    await ward.visit()
    ward.clock.tick(29.999)
    assert isinstance((await ward.visit()).error, CircuitOpenError)
    ward.clock.tick(0.001)
    ward.patient.outcome, ward.patient.gate = {"x": 1}, anyio.Event()
    ward.patient.arrived = anyio.Event()
    reports: list[RunReport] = []

    async def visit() -> None:
        reports.append(await ward.visit())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(visit)
        await ward.patient.arrived.wait()
        assert ward.state is HALF_OPEN
        for _ in range(3):
            error = (await ward.visit()).error
            assert isinstance(error, CircuitOpenError)
            assert error.state is HALF_OPEN
            assert error.retry_after == 0
        ward.patient.gate.set()
    assert reports[0].status == "completed"
    assert ward.patient.calls == 2
    assert ward.state is CLOSED


async def test_a_probe_that_fails_opens_the_circuit_for_the_whole_time_again() -> None:
    ward = Ward(threshold=3)
    await ward.visit(3)
    ward.clock.tick(30)
    await ward.visit()
    assert (ward.state, ward.patient.calls) == (OPEN, 4)
    ward.clock.tick(29)
    assert isinstance((await ward.visit()).error, CircuitOpenError)
    ward.clock.tick(1)
    ward.patient.outcome = None
    assert (await ward.visit()).status == "completed"


async def test_a_probe_that_closes_the_circuit_forgets_the_failures() -> None:
    ward = Ward(threshold=2)
    await ward.visit(2)
    ward.clock.tick(30)
    ward.patient.outcome = None
    await ward.visit()
    ward.patient.outcome = ValueError()
    await ward.visit()
    assert ward.state is CLOSED


async def test_a_success_in_between_forgets_the_failures() -> None:
    ward = Ward(threshold=2)
    for outcome in (ValueError(), None, ValueError(), None, ValueError()):
        ward.patient.outcome = outcome
        await ward.visit()
    assert ward.state is CLOSED


async def test_v04_all_attempts_of_an_execution_are_one_failure() -> None:
    ward = Ward(threshold=2, retry=RetryPolicy(max_attempts=3, base_delay_ms=0, retry_all=True))
    await ward.visit()
    assert (ward.state, ward.patient.calls) == (CLOSED, 3)
    await ward.visit()
    assert ward.state is OPEN


async def test_skips_and_cancellations_are_no_failures_and_no_successes() -> None:
    ward = Ward(threshold=2)
    await ward.visit()
    for outcome in (StageOutput.skip("no"), StageOutput.cancel("no")):
        ward.patient.outcome = outcome
        await ward.visit()
    ward.patient.outcome = ValueError()
    await ward.visit()
    assert ward.state is OPEN


async def test_a_probe_that_is_cancelled_gives_its_place_to_the_next() -> None:
    ward = Ward(threshold=1)
    await ward.visit()
    ward.clock.tick(30)
    ward.patient.gate, ward.patient.arrived = anyio.Event(), anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ward.visit)
        await ward.patient.arrived.wait()
        tasks.cancel_scope.cancel()
    assert ward.state is HALF_OPEN
    ward.patient.gate, ward.patient.outcome = None, None
    assert (await ward.visit()).status == "completed"
    assert ward.state is CLOSED


async def test_a_stage_that_another_interceptor_denies_has_not_failed() -> None:
    class Denies(BaseInterceptor):
        priority = 300

        async def before(self, stage_name: str, ctx: PipelineContext) -> InterceptorResult:
            return InterceptorResult(stage_ran=False, error="no")

    breaker = CircuitBreakerInterceptor(1)
    graph = Pipeline().with_stage("a", Patient(), "work").build(interceptors=[breaker, Denies()])
    assert (await graph.execute(PipelineContext())).status == "failed"
    assert breaker.state("a") is CLOSED


async def test_a_denial_that_a_stage_passes_on_from_elsewhere_is_its_failure() -> None:
    ward = Ward(threshold=1)
    ward.patient.outcome = InterceptorDeniedError("another", "auth", "no")
    await ward.visit()
    assert ward.state is OPEN


async def test_what_began_before_the_circuit_changed_has_no_say() -> None:
    ward = Ward(threshold=1)
    late_gate = ward.patient.gate = anyio.Event()
    ward.patient.outcome = {"late": True}
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ward.visit)
        await ward.patient.arrived.wait()
        ward.patient.gate, ward.patient.outcome = None, ValueError()
        await ward.visit()
        assert ward.state is OPEN
        late_gate.set()
    assert ward.state is OPEN


async def test_a_late_failure_does_not_prolong_the_open_time() -> None:
    ward = Ward(threshold=1)
    late_gate = ward.patient.gate = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ward.visit)
        await ward.patient.arrived.wait()
        ward.patient.gate = None
        await ward.visit()
        ward.clock.tick(20)
        late_gate.set()
    ward.clock.tick(10)
    ward.patient.outcome = None
    assert (await ward.visit()).status == "completed"


async def test_stages_have_circuits_of_their_own_shared_by_all_runs() -> None:
    breaker = CircuitBreakerInterceptor(1)
    sick = Patient()
    first = Pipeline("one").with_stage("sick", sick, "work").build(interceptors=[breaker])
    await first.execute(PipelineContext())
    second = (
        Pipeline("two")
        .with_stage("well", lambda _: None, "work")
        .with_stage("sick", sick, "work", ["well"])
        .build(interceptors=[breaker])
    )
    report = await second.execute(PipelineContext())
    assert report.outputs["well"].status == "ok"
    assert isinstance(report.error, CircuitOpenError)
    assert breaker.state("unheard of") is CLOSED


async def test_a_circuit_can_be_closed_by_hand() -> None:
    ward = Ward(threshold=1)
    await ward.visit()
    ward.breaker.reset("a")
    ward.breaker.reset("unheard of")
    assert ward.state is CLOSED
    await ward.visit()
    assert ward.patient.calls == 2


async def test_several_threads_open_the_circuit_once_and_lose_no_failure() -> None:
    breaker = CircuitBreakerInterceptor(20)
    graph = Pipeline().with_stage("a", Patient(), "work").build(interceptors=[breaker])
    barrier = threading.Barrier(4)

    def many() -> None:
        async def main() -> None:
            for _ in range(5):
                await graph.execute(PipelineContext(event_sink=None))

        barrier.wait()
        anyio.run(main)

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(anyio.to_thread.run_sync, many)
    assert breaker.state("a") is OPEN


@pytest.mark.parametrize(("threshold", "reset"), [(0, 1.0), (1, 0.0), (1, -1.0)])
def test_bad_settings_are_refused(threshold: int, reset: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        CircuitBreakerInterceptor(threshold, reset)
