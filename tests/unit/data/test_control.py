"""Stopping, holding and limiting executions, and what is cleaned up then."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import anyio.to_thread
import pytest

from stageflow.data.pipeline import (
    CancellationReason,
    Pipeline,
    PipelineCancelledException,
    PipelineContext,
    PipelineException,
    PipelineResult,
    PipelineStatus,
    PipelineValidationError,
    RetryConfig,
    Stage,
    StageStatus,
    TimeoutConfig,
)
from stageflow.pipeline import StageTimeoutError
from stageflow.testing import TestClock
from support.functions import Journal, gives, pipeline_of, raises

pytestmark = pytest.mark.anyio


async def execute_while(pipeline: Pipeline, *others: Any, **how: Any) -> PipelineResult:
    """Execute *pipeline* beside other tasks."""
    async with anyio.create_task_group() as tasks:
        for other in others:
            tasks.start_soon(other)
        result = await pipeline.execute(**how)
    return result  # noqa: RET504 - the others end first


# Time limits.


async def test_a_stage_that_takes_too_long_has_timed_out() -> None:
    journal = Journal()
    result = await pipeline_of(
        Stage("a", "A", journal.takes(60, "a"), timeout_seconds=2.5),
        ("b", gives(1), ["a"]),
        clock=journal.clock,
    ).execute()
    found = result.stage_results["a"]
    assert (found.status, found.duration_ms) == (StageStatus.TIMED_OUT, 2500.0)
    assert result.status is PipelineStatus.FAILED
    assert result.cancellation_reason is None
    assert result.failed_stages == ["a"]
    assert result.stage_results["b"].status is StageStatus.SKIPPED


async def test_the_pipelines_limit_is_for_stages_without_one_and_none_is_for_ever() -> None:
    journal = Journal()
    stages = [
        Stage("own", "O", journal.takes(20, "own"), timeout_seconds=30.0, critical=False),
        Stage("common", "C", journal.takes(20, "common"), critical=False),
    ]
    limits = TimeoutConfig(stage_timeout_seconds=10.0)
    result = await pipeline_of(*stages, limits=limits, clock=journal.clock).execute()
    assert result.stage_results["own"].status is StageStatus.COMPLETED
    assert result.stage_results["common"].status is StageStatus.TIMED_OUT
    ever = TimeoutConfig(stage_timeout_seconds=None, pipeline_timeout_seconds=None)
    long = ("long", journal.takes(1e6, "long"))
    assert (await pipeline_of(long, limits=ever, clock=journal.clock).execute()).is_success


async def test_a_handlers_own_timeout_error_is_a_failure() -> None:
    for error in (TimeoutError("of its own"), StageTimeoutError("of an inner pipeline", 3.0)):
        result = await pipeline_of(("a", raises(error))).execute()
        assert result.stage_results["a"].status is StageStatus.FAILED


async def test_a_pipeline_that_takes_too_long_is_cancelled_for_that_reason() -> None:
    journal = Journal()
    pipeline = pipeline_of(
        ("done", journal.takes(1, "done")),
        ("running", journal.takes(60, "running")),
        ("waiting", gives(1), ["running"]),
        limits=TimeoutConfig(pipeline_timeout_seconds=5.0),
        clock=journal.clock,
    )
    result = await pipeline.execute()
    assert result.status is PipelineStatus.CANCELLED
    assert result.cancellation_reason is CancellationReason.TIMEOUT
    assert result.timeout_seconds == 5.0
    assert result.duration_ms == 5000.0
    assert journal.entries[-1] == (5, "running was cut off")
    told = {name: stage.status.name for name, stage in result.stage_results.items()}
    assert told == {"done": "COMPLETED", "running": "TIMED_OUT", "waiting": "CANCELLED"}


async def test_timed_out_and_cancelled_are_told_apart() -> None:
    journal = Journal()
    limits = TimeoutConfig(pipeline_timeout_seconds=5.0)

    async def cancel_at_4() -> None:
        await journal.clock.sleep(4)
        pipeline.cancel()

    pipeline = pipeline_of(("a", journal.takes(60, "a")), limits=limits, clock=journal.clock)
    cancelled = await execute_while(pipeline, cancel_at_4)
    late = await pipeline.execute()
    found = [
        (result.cancellation_reason, result.stage_results["a"].status, result.timeout_seconds)
        for result in (cancelled, late)
    ]
    assert found == [
        (CancellationReason.USER_REQUESTED, StageStatus.CANCELLED, None),
        (CancellationReason.TIMEOUT, StageStatus.TIMED_OUT, 5.0),
    ]


async def test_a_limit_that_is_not_above_0_is_a_definition_error() -> None:
    limits = TimeoutConfig(stage_timeout_seconds=-1.0, pipeline_timeout_seconds=0.0)
    with pytest.raises(PipelineValidationError) as caught:
        pipeline_of(("a", gives(1)), limits=limits).validate()
    assert len(caught.value.faults) == 2


class Blocking:
    """A handler in a thread that ends when it is told to, or when it sees a cancellation."""

    def __init__(self, *, attentive: bool) -> None:
        self.attentive = attentive
        self.began, self.release, self.ended = (threading.Event() for _ in range(3))

    def handler(self, ctx: PipelineContext, given: Any) -> str:
        self.began.set()
        try:
            while not self.release.wait(0.001 if self.attentive else 30):
                ctx.check_cancelled()
        finally:
            self.ended.set()
        return "late"


@pytest.mark.parametrize("cause", ["timeout", "cancel"])
async def test_a_thread_that_ends_within_the_grace_period_is_not_given_up(cause: str) -> None:
    clock, blocking = TestClock(), Blocking(attentive=True)
    pipeline = pipeline_of(
        ("a", blocking.handler), limits=TimeoutConfig(pipeline_timeout_seconds=9.0), clock=clock
    )

    async def stop() -> None:
        await anyio.to_thread.run_sync(blocking.began.wait, 10)
        if cause == "timeout":
            clock.tick(9)
        else:
            pipeline.cancel(CancellationReason.EXTERNAL)

    with anyio.fail_after(10):
        result = await execute_while(pipeline, stop)
    assert blocking.ended.is_set()
    found = result.stage_results["a"]
    timed_out = cause == "timeout"
    assert found.status is (StageStatus.TIMED_OUT if timed_out else StageStatus.CANCELLED)
    assert found.result is None
    assert not found.metrics["thread_abandoned"]


async def test_a_thread_is_given_up_after_the_grace_period() -> None:
    clock, blocking = TestClock(), Blocking(attentive=False)
    limits = TimeoutConfig(9.0, None, grace_period_seconds=3.0)
    pipeline = pipeline_of(("a", blocking.handler), limits=limits, clock=clock)

    async def wait_long() -> None:
        await anyio.to_thread.run_sync(blocking.began.wait, 10)
        clock.tick(9)
        while not clock.sleeping:  # until the grace period has begun
            await anyio.lowlevel.checkpoint()
        assert pipeline.is_running
        clock.tick(3)

    try:
        with anyio.fail_after(10):
            result = await execute_while(pipeline, wait_long)
        assert not blocking.ended.is_set()
    finally:
        blocking.release.set()
    found = result.stage_results["a"]
    assert found.status is StageStatus.TIMED_OUT
    assert found.metrics["thread_abandoned"]
    assert clock.monotonic() == 12
    assert await anyio.to_thread.run_sync(blocking.ended.wait, 10)


async def test_a_thread_sees_that_another_stage_stopped_the_pipeline() -> None:
    blocking = Blocking(attentive=True)
    seen: list[Any] = []

    async def fails(ctx: PipelineContext, given: Any) -> None:
        await anyio.to_thread.run_sync(blocking.began.wait, 10)
        raise ValueError

    def watching(ctx: PipelineContext, given: Any) -> None:
        try:
            blocking.handler(ctx, given)
        except PipelineCancelledException as error:
            seen.append(error.reason)
            raise

    result = await pipeline_of(("a", watching), ("b", fails)).execute()
    assert seen == [CancellationReason.ERROR]
    assert result.stage_results["a"].status is StageStatus.CANCELLED
    assert result.status is PipelineStatus.FAILED


# Cancelling.


@pytest.mark.parametrize("how", ["awaits", "checks", "returns"])
async def test_a_handler_may_cancel_its_own_pipeline(how: str) -> None:
    async def handler(ctx: PipelineContext, given: Any) -> str:
        ctx.cancel(CancellationReason.RESOURCE_LIMIT)
        if how == "awaits":
            await anyio.sleep_forever()
        if how == "checks":
            ctx.check_cancelled()
        return "done"

    result = await pipeline_of(("a", handler), ("b", gives(1), ["a"])).execute()
    assert result.status is PipelineStatus.CANCELLED
    assert result.cancellation_reason is CancellationReason.RESOURCE_LIMIT
    done = StageStatus.COMPLETED if how == "returns" else StageStatus.CANCELLED
    assert result.stage_results["a"].status is done
    assert result.stage_results["b"].status is StageStatus.CANCELLED


async def test_a_cancelled_inner_pipeline_is_a_failure_of_its_stage() -> None:
    async def handler(ctx: PipelineContext, given: Any) -> None:
        raise PipelineCancelledException

    result = await pipeline_of(("a", handler)).execute()
    assert result.stage_results["a"].status is StageStatus.FAILED


async def test_a_context_cancelled_before_executes_nothing() -> None:
    context = PipelineContext("mine")
    context.cancel()
    result = await pipeline_of(("a", gives(1))).execute(context=context)
    assert (result.pipeline_id, result.status) == ("mine", PipelineStatus.CANCELLED)
    assert result.stage_results["a"].attempt_count == 0


async def test_a_cancelled_caller_is_cancelled_after_the_clean_ups() -> None:
    journal = Journal()
    stage = Stage("a", "A", journal.takes(50, "a"), cleanup_handler=journal.cleans("a"))
    pipeline = pipeline_of(stage, clock=journal.clock)

    async def cancel_later() -> None:
        await journal.clock.sleep(1)
        scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancel_later)
        with anyio.CancelScope() as scope:
            await pipeline.execute()
    assert scope.cancelled_caught
    assert journal.notes == ["a began", "a was cut off", "a cleaned"]
    assert not pipeline.is_running


# Clean-ups.


def stages_with_clean_ups(journal: Journal, last: Any) -> list[Stage]:
    def stage(name: str, handler: Any, *needs: str) -> Stage:
        return Stage(name, name, handler, needs, cleanup_handler=journal.cleans(name))

    return [
        stage("first", gives(1)),
        stage("second", last, "first"),
        stage("third", gives(3), "second"),
    ]


@pytest.mark.parametrize("how", ["failure", "stage timeout", "timeout", "cancel"])
async def test_every_stage_that_started_is_cleaned_up_last_first(how: str) -> None:
    journal = Journal()

    async def cancels(ctx: PipelineContext, given: Any) -> None:
        ctx.cancel()
        await anyio.sleep_forever()

    handler = {"failure": raises(ValueError()), "cancel": cancels}.get(how)
    limits = TimeoutConfig(
        stage_timeout_seconds=2.0 if how == "stage timeout" else None,
        pipeline_timeout_seconds=3.0 if how == "timeout" else None,
    )
    stages = stages_with_clean_ups(journal, handler or journal.takes(60, "second"))
    await pipeline_of(*stages, limits=limits, clock=journal.clock).execute()
    cleaned = [note for note in journal.notes if note.endswith("cleaned")]
    assert cleaned == ["second cleaned", "first cleaned"]


async def test_clean_ups_run_after_success_too() -> None:
    journal = Journal()
    stages = stages_with_clean_ups(journal, gives(2))
    assert (await pipeline_of(*stages).execute()).is_success
    assert journal.notes == ["third cleaned", "second cleaned", "first cleaned"]


async def test_a_retried_stage_is_cleaned_up_once() -> None:
    journal = Journal()
    stage = Stage("a", "A", raises(ValueError()), cleanup_handler=journal.cleans("a"))
    retry = RetryConfig(max_retries=2)
    result = await pipeline_of(stage, retry=retry, clock=journal.clock).execute()
    assert result.stage_results["a"].attempt_count == 3
    assert journal.notes == ["a cleaned"]


@pytest.mark.parametrize("how", ["cancel", "timeout", "failure"])
async def test_clean_up_may_be_left_out_when_somebody_cancels(how: str) -> None:
    journal = Journal()

    async def ends(ctx: PipelineContext, given: Any) -> None:
        if how == "cancel":
            ctx.cancel()
        if how == "failure":
            raise ValueError
        await anyio.sleep_forever()

    await pipeline_of(
        Stage("a", "A", ends, cleanup_handler=journal.cleans("a")),
        limits=TimeoutConfig(pipeline_timeout_seconds=1.0),
        clock=journal.clock,
        cleanup_on_cancel=False,
    ).execute()
    assert journal.notes == ([] if how == "cancel" else ["a cleaned"])


async def test_clean_up_handlers_may_be_plain_functions_and_lambdas_and_may_raise() -> None:
    cleaned: list[str] = []
    loop_thread = threading.get_ident()

    def plain(ctx: PipelineContext) -> None:
        assert threading.get_ident() != loop_thread
        cleaned.append("plain")

    async def later(name: str) -> None:
        assert threading.get_ident() == loop_thread
        cleaned.append(name)

    async def broken(ctx: PipelineContext) -> None:
        raise ValueError

    def stage(name: str, cleanup: Any, *needs: str) -> Stage:
        return Stage(name, name, gives(1), needs, cleanup_handler=cleanup)

    result = await pipeline_of(
        stage("a", plain),
        stage("b", lambda _: later("lambda"), "a"),
        stage("c", broken, "b"),
    ).execute()
    assert cleaned == ["lambda", "plain"]
    assert result.is_success


async def test_clean_ups_end_within_their_time() -> None:
    journal = Journal()

    async def hangs(ctx: PipelineContext) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            journal.note("hung")

    stages = [
        Stage("a", "A", gives(1), cleanup_handler=journal.cleans("a")),
        Stage("b", "B", gives(1), ("a",), cleanup_handler=hangs),
    ]
    limits = TimeoutConfig(cleanup_timeout_seconds=0.0)  # each gets the least there is
    with anyio.fail_after(10):
        await pipeline_of(*stages, limits=limits).execute()
    assert journal.notes == ["hung", "a cleaned"]


async def test_a_clean_up_in_a_thread_that_takes_too_long_is_given_up() -> None:
    release, ended = threading.Event(), threading.Event()

    def blocks(ctx: PipelineContext) -> None:
        release.wait(30)
        ended.set()

    stage = Stage("a", "A", gives(1), cleanup_handler=blocks)
    limits = TimeoutConfig(cleanup_timeout_seconds=0.0)
    try:
        with anyio.fail_after(10):
            await pipeline_of(stage, limits=limits).execute()
        assert not ended.is_set()
    finally:
        release.set()
    assert await anyio.to_thread.run_sync(ended.wait, 10)


# Holding.


async def test_pause_holds_at_the_next_stage_boundary_until_resume() -> None:
    journal = Journal()
    pipeline = pipeline_of(
        ("a", journal.takes(2, "a")), ("b", journal.takes(1, "b"), ["a"]), clock=journal.clock
    )
    seen: list[PipelineStatus] = []

    async def hold() -> None:
        await journal.clock.sleep(1)
        pipeline.pause()
        await journal.clock.sleep(9)
        seen.append(pipeline.status)
        pipeline.resume()
        seen.append(pipeline.status)

    result = await execute_while(pipeline, hold)
    assert result.is_success
    assert seen == [PipelineStatus.PAUSED, PipelineStatus.RUNNING]
    assert journal.entries == [(0, "a began"), (2, "a ended"), (10, "b began"), (11, "b ended")]


async def test_a_pause_holds_all_that_wait_and_the_limit_still_holds_after_it() -> None:
    journal = Journal()
    pipeline = pipeline_of(
        *((name, journal.takes(2, name)) for name in "abcde"), max_parallel=2, clock=journal.clock
    )

    async def hold() -> None:
        await journal.clock.sleep(1)
        pipeline.pause()
        await journal.clock.sleep(9)
        pipeline.resume()

    assert (await execute_while(pipeline, hold)).is_success
    began = [instant for instant, note in journal.entries if note.endswith("began")]
    assert began == [0, 0, 10, 10, 12]


async def test_more_may_wait_at_the_end_of_a_pause_than_there_is_to_do() -> None:
    journal = Journal()
    pipeline = pipeline_of(
        ("a", journal.takes(2, "a")),
        ("b", journal.takes(3, "b")),
        ("c", journal.takes(1, "c"), ["a"]),
        clock=journal.clock,
    )

    async def hold() -> None:
        await journal.clock.sleep(1)
        pipeline.pause()
        await journal.clock.sleep(9)
        pipeline.resume()

    assert (await execute_while(pipeline, hold)).is_success
    assert journal.when("c began") == 10


async def test_a_pause_before_the_start_holds_the_first_stage() -> None:
    journal = Journal()
    context = PipelineContext("mine")
    context.pause()

    async def resume_later() -> None:
        await journal.clock.sleep(3)
        await anyio.to_thread.run_sync(context.resume)

    pipeline = pipeline_of(("a", journal.takes(1, "a")), clock=journal.clock)
    await execute_while(pipeline, resume_later, context=context)
    assert journal.when("a began") == 3


@pytest.mark.parametrize("how", ["cancel", "timeout"])
async def test_a_held_pipeline_ends_at_once_when_cancelled_or_out_of_time(how: str) -> None:
    journal = Journal()
    context = PipelineContext("mine")
    context.pause()

    async def cancel_at_3() -> None:
        await journal.clock.sleep(3)
        if how == "cancel":
            context.cancel()

    limits = TimeoutConfig(pipeline_timeout_seconds=4.0)
    pipeline = pipeline_of(("a", gives(1)), limits=limits, clock=journal.clock)
    result = await execute_while(pipeline, cancel_at_3, context=context)
    assert journal.clock.monotonic() == (3 if how == "cancel" else 4)
    assert result.stage_results["a"].status is StageStatus.CANCELLED
    assert result.stage_results["a"].attempt_count == 0


async def test_a_failure_elsewhere_ends_a_held_pipeline() -> None:
    journal = Journal()

    async def fails(ctx: PipelineContext, given: Any) -> None:
        ctx.pause()
        await journal.clock.sleep(1)
        raise ValueError

    result = await pipeline_of(
        ("a", fails), ("b", gives(1)), ("c", gives(2), ["b"]), clock=journal.clock
    ).execute()
    assert result.status is PipelineStatus.FAILED


@pytest.mark.parametrize("how", ["resume", "cancel"])
async def test_a_handler_may_wait_while_its_pipeline_is_held(how: str) -> None:
    context = PipelineContext("mine")
    context.pause()
    woken = anyio.Event()

    async def wait() -> None:
        await context.wait_if_paused()
        woken.set()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            assert not woken.is_set()
            getattr(context, how)()
            await woken.wait()
    assert not context.is_paused
    assert context.is_cancelled == (how == "cancel")


# Many at once.


async def test_the_pipeline_acts_on_all_executions_and_a_context_on_its_own() -> None:
    journal = Journal()
    pipeline = pipeline_of(("a", journal.takes(60, "a")), clock=journal.clock)
    own = PipelineContext("own")
    found: dict[str, tuple[float, PipelineResult]] = {}

    async def execute(name: str, context: PipelineContext | None) -> None:
        result = await pipeline.execute(context=context)
        found[name] = (journal.clock.monotonic(), result)
        assert pipeline.result is result

    async with anyio.create_task_group() as tasks:
        assert not pipeline.is_running
        assert pipeline.status is PipelineStatus.IDLE
        tasks.start_soon(execute, "own", own)
        tasks.start_soon(execute, "one", None)
        tasks.start_soon(execute, "two", None)
        await journal.clock.sleep(1)
        assert pipeline.is_running
        own.cancel(CancellationReason.EXTERNAL)
        await journal.clock.sleep(1)
        assert list(found) == ["own"]
        assert pipeline.is_running
        pipeline.cancel()
    assert not pipeline.is_running
    assert {name: instant for name, (instant, _) in found.items()} == {"own": 1, "one": 2, "two": 2}
    assert pipeline.result is list(found.values())[-1][1]
    assert len({result.pipeline_id for _, result in found.values()}) == 3


async def test_pause_acts_on_all_executions_and_a_context_on_its_own() -> None:
    journal = Journal()
    pipeline = pipeline_of(
        ("a", journal.takes(2, "a")), ("b", journal.takes(1, "b"), ["a"]), clock=journal.clock
    )
    own = PipelineContext("own")

    async def hold() -> None:
        await journal.clock.sleep(1)
        pipeline.pause()
        assert pipeline.status is PipelineStatus.PAUSED
        own.resume()
        assert pipeline.status is PipelineStatus.RUNNING
        await journal.clock.sleep(9)
        pipeline.resume()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hold)
        tasks.start_soon(pipeline.execute)
        await pipeline.execute(context=own)
    began = [instant for instant, note in journal.entries if note == "b began"]
    assert began == [2, 10]


async def test_a_context_serves_one_execution_only() -> None:
    context = PipelineContext("mine")
    pipeline = pipeline_of(("a", gives(1)))
    await pipeline.execute(context=context)
    with pytest.raises(PipelineException, match="'mine'"):
        await pipeline.execute(context=context)
    assert not pipeline.is_running


@pytest.mark.parametrize(("config", "most"), [({}, 4), ({"max_parallel": 2}, 2)])
async def test_max_parallel_stages_run_at_once(config: dict[str, Any], most: int) -> None:
    running, highest = [0], [0]

    async def handler(ctx: PipelineContext, given: Any) -> None:
        running[0] += 1
        highest[0] = max(highest[0], running[0])
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        running[0] -= 1

    await pipeline_of(*((f"s{n}", handler) for n in range(9)), **config).execute()
    assert highest[0] == most


async def test_without_parallel_stages_they_run_one_after_the_other() -> None:
    journal = Journal()
    pipeline = pipeline_of(
        *((name, journal.takes(1, name)) for name in "abc"),
        parallel_stages=False,
        clock=journal.clock,
    )
    await pipeline.execute()
    assert journal.notes == [f"{n} {what}" for n in "abc" for what in ("began", "ended")]
