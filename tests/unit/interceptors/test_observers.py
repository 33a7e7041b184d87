"""Logging, metrics and child runs: what is told and counted, stage by stage."""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

import anyio
import pytest

from stageflow import Pipeline, PipelineContext, RetryPolicy, StageOutput
from stageflow.interceptors import (
    ChildTrackerMetricsInterceptor,
    LoggingInterceptor,
    MetricsInterceptor,
    StageMetrics,
    TransientError,
)
from stageflow.testing import TestClock

pytestmark = pytest.mark.anyio

RUN = UUID(int=7)


def raising(error: BaseException) -> Any:
    async def stage(ctx: Any) -> None:
        raise error

    return stage


class TestMetrics:
    async def test_v21_parallel_stages_do_not_overwrite_each_others_times(self) -> None:
        clock = TestClock(autojump=True)

        def sleeping(seconds: float) -> Any:
            async def stage(ctx: Any) -> None:
                await clock.sleep(seconds)

            return stage

        metrics = MetricsInterceptor()
        graph = (
            Pipeline()
            .with_stage("slow", sleeping(4), "work")
            .with_stage("quick", sleeping(1), "work")
            .with_stage("middling", sleeping(2), "work")
            .build(interceptors=[metrics], clock=clock)
        )
        await graph.run(PipelineContext())
        found = {name: stage.total_ms for name, stage in metrics.get_metrics().items()}
        assert found == {"slow": 4000, "quick": 1000, "middling": 2000}

    async def test_v21_two_runs_of_one_stage_at_once_keep_their_own_times(self) -> None:
        clock = TestClock(autojump=True)
        metrics = MetricsInterceptor()

        async def sleeps(ctx: Any) -> None:
            await clock.sleep(float(ctx.snapshot.input_text))

        graph = (
            Pipeline().with_stage("a", sleeps, "work").build(interceptors=[metrics], clock=clock)
        )
        async with anyio.create_task_group() as tasks:
            for seconds in ("1", "5", "3"):
                tasks.start_soon(graph.run, PipelineContext.for_run(input_text=seconds))
        found = metrics.get_metrics()["a"]
        assert (found.total_ms, found.min_ms, found.max_ms, found.mean_ms) == (
            9000,
            1000,
            5000,
            3000,
        )

    async def test_every_end_is_counted_as_what_it_is(self) -> None:
        metrics = MetricsInterceptor()
        for outcome in (
            {"x": 1},
            StageOutput.skip("no"),
            StageOutput.cancel("no"),
            StageOutput.fail("no"),
        ):
            graph = (
                Pipeline()
                .with_stage("a", lambda _, outcome=outcome: outcome, "work")
                .build(interceptors=[metrics])
            )
            await graph.execute(PipelineContext())
        for error in (ValueError(), ValueError(), LookupError()):
            graph = Pipeline().with_stage("a", raising(error), "work").build(interceptors=[metrics])
            await graph.execute(PipelineContext())
        found = metrics.get_metrics()["a"]
        assert (found.completed, found.skipped, found.cancelled, found.failed) == (1, 1, 1, 4)
        assert found.errors == {"ValueError": 2, "LookupError": 1}
        assert (found.ended, found.running) == (7, 0)

    async def test_a_stage_that_is_cancelled_from_outside_is_counted_as_such(self) -> None:
        metrics = MetricsInterceptor()
        context = PipelineContext()
        seen: list[StageMetrics] = []

        async def waits(ctx: Any) -> None:
            seen.append(metrics.get_metrics()["a"])
            context.mark_canceled()
            await anyio.sleep_forever()

        graph = Pipeline().with_stage("a", waits, "work").build(interceptors=[metrics])
        await graph.execute(context)
        assert seen[0].running == 1
        found = metrics.get_metrics()["a"]
        assert (found.running, found.cancelled, found.failed) == (0, 1, 0)

    async def test_retries_are_counted(self) -> None:
        metrics = MetricsInterceptor()
        graph = (
            Pipeline()
            .with_stage("a", raising(TransientError()), "work", retry=RetryPolicy(4))
            .build(interceptors=[metrics], clock=TestClock(autojump=True))
        )
        await graph.execute(PipelineContext())
        found = metrics.get_metrics()["a"]
        assert (found.retries, found.failed) == (3, 1)

    async def test_each_instance_has_figures_of_its_own_and_can_be_reset(self) -> None:
        first, second = MetricsInterceptor(), MetricsInterceptor()
        graph = Pipeline().with_stage("a", lambda _: None, "work").build(interceptors=[first])
        await graph.run(PipelineContext())
        assert second.get_metrics() == {}
        first.reset()
        assert first.get_metrics() == {}

    def test_figures_of_nothing_are_zero(self) -> None:
        metrics = MetricsInterceptor()
        assert metrics.get_metrics() == {}


class TestLogging:
    @pytest.fixture(autouse=True)
    def _lines(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG, logger="stageflow.interceptors.observers")

    async def run(self, stage: Any, **policy: Any) -> None:
        graph = (
            Pipeline("p")
            .with_stage("a", stage, "work", **policy)
            .build(interceptors=[LoggingInterceptor()], clock=TestClock(autojump=True))
        )
        await graph.execute(PipelineContext(pipeline_run_id=RUN, data={"secret": "hush"}))

    async def test_a_stage_is_logged_when_it_begins_and_ends(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        await self.run(lambda _: {"answer": "hush"})
        began, ended = caplog.records
        assert (began.levelname, began.getMessage().split()[0]) == ("DEBUG", "stage.started")
        assert (ended.levelname, ended.getMessage().split()[0]) == ("INFO", "stage.completed")
        assert ended.__dict__["stage"] == "a"
        assert ended.__dict__["run_id"] == str(RUN)
        assert ended.__dict__["pipeline"] == "p"
        assert ended.__dict__["attempts"] == 1
        assert ended.__dict__["duration_ms"] == 0
        assert "hush" not in caplog.text

    @pytest.mark.parametrize(
        ("stage", "event", "level"),
        [
            (lambda _: StageOutput.skip("no"), "stage.skipped", "INFO"),
            (lambda _: StageOutput.cancel("no"), "stage.cancelled", "INFO"),
            (lambda _: StageOutput.fail("no"), "stage.failed", "ERROR"),
            (raising(ValueError("no")), "stage.failed", "ERROR"),
        ],
    )
    async def test_every_end_is_logged(
        self, stage: Any, event: str, level: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        await self.run(stage)
        ended = caplog.records[-1]
        assert (ended.levelname, ended.getMessage().split()[0]) == (level, event)
        assert ("error" in ended.__dict__) is (level == "ERROR")
        assert len(caplog.records) == 2

    async def test_a_cancelled_stage_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        async def waits(ctx: Any) -> None:
            tasks.cancel_scope.cancel()
            await anyio.sleep_forever()

        async with anyio.create_task_group() as tasks:
            await self.run(waits)
        assert caplog.records[-1].getMessage().startswith("stage.cancelled ")

    async def test_the_number_of_attempts_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        await self.run(raising(TransientError("no")), retry=RetryPolicy(3))
        assert caplog.records[-1].__dict__["attempts"] == 3

    async def test_v21_a_quiet_logger_gets_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.CRITICAL, logger="stageflow.interceptors.observers")
        await self.run(lambda _: None)
        assert caplog.records == []


class Tracker:
    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    async def get_metrics(self) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer


class TestChildRuns:
    async def test_figures_are_those_after_the_last_stage(self) -> None:
        watches = ChildTrackerMetricsInterceptor(Tracker({"active": 1}, {"active": 2}))
        graph = (
            Pipeline()
            .with_stage("a", lambda _: None, "work")
            .with_stage("b", lambda _: None, "work", ["a"])
            .build(interceptors=[watches])
        )
        await graph.run(PipelineContext())
        assert watches.get_metrics() == {"active": 2}

    async def test_figures_are_asked_for_when_a_stage_fails_too(self) -> None:
        watches = ChildTrackerMetricsInterceptor(Tracker({"active": 1}))
        graph = Pipeline().with_stage("a", raising(ValueError()), "work")
        report = await graph.build(interceptors=[watches]).execute(PipelineContext())
        assert isinstance(report.error, ValueError)
        assert watches.get_metrics() == {"active": 1}

    async def test_a_tracker_may_answer_at_once(self) -> None:
        class AtOnce:
            def get_metrics(self) -> dict[str, int]:
                return {"active": 3}

        watches = ChildTrackerMetricsInterceptor(AtOnce())
        graph = Pipeline().with_stage("a", lambda _: None, "work").build(interceptors=[watches])
        await graph.run(PipelineContext())
        assert watches.get_metrics() == {"active": 3}

    async def test_a_broken_tracker_changes_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        watches = ChildTrackerMetricsInterceptor(Tracker(OSError("gone")))
        graph = Pipeline().with_stage("a", lambda _: None, "work").build(interceptors=[watches])
        await graph.run(PipelineContext())
        assert "child_tracker.failed" in caplog.text

    def test_without_a_tracker_it_takes_part_in_no_stage(self) -> None:
        watches = ChildTrackerMetricsInterceptor()
        graph = Pipeline().with_stage("a", lambda _: None, "work").build(interceptors=[watches])
        assert graph.plan.calls[0].layered is None
