"""Executions that are kept: interrupted anywhere, they go on elsewhere."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

import anyio
import pytest

from stageflow import Runtime
from stageflow._engine.fingerprint import PlanChangedError
from stageflow.builtin.memory_run_store import MemoryRunStore
from stageflow.codec import CodecError
from stageflow.contracts.checkpoints import LeaseHeldError
from stageflow.contracts.run_store import RunNotFoundError
from stageflow.data.pipeline import (
    CancellationReason,
    Pipeline,
    PipelineCancelledException,
    PipelineContext,
    PipelineProgress,
    PipelineResult,
    PipelineStatus,
    RetryConfig,
    RetryStrategy,
    Stage,
    StageExecutionException,
    StageStatus,
    TimeoutConfig,
)
from stageflow.runtime import DurabilityError, RunNotResumableError
from support.durable import RUN_ID, DeadError, Place, place
from support.functions import gives, pipeline_of, raises

__all__ = ("place",)

pytestmark = pytest.mark.anyio


class Opaque:
    """Something that no codec knows."""


def noting(place: Place, name: str, value: Any = None, *, dies: bool = False) -> Any:
    """Return a handler that notes what it was given, and may end its process."""

    async def handler(ctx: PipelineContext, given: Any) -> Any:
        place.ran.append(name)
        place.keys.append((name, ctx.get_execution_key(name)))
        if dies:
            place.mortal.kill()
        ctx.set("last", name)
        return [name, given] if value is None else value

    return handler


def chain(place: Place, names: str, *, dies_in: str = "", **limits: Any) -> Pipeline:
    stages = [
        (name, noting(place, name, dies=name == dies_in), [names[number - 1]] if number else [])
        for number, name in enumerate(names)
    ]
    return pipeline_of(*stages, **limits)


async def execute(
    place: Place, pipeline: Pipeline, given: Any = None, **how: Any
) -> PipelineResult | None:
    """Execute *pipeline* in a process of its own; None if that ended meanwhile."""
    how = {"run_id": RUN_ID, "durability": "step", **how}
    async with place.process() as runtime:
        try:
            return await pipeline.execute(given, runtime=runtime, **how)
        except DeadError:
            return None


async def resume(place: Place, pipeline: Pipeline, **how: Any) -> PipelineResult:
    """Go on in a process of its own, once all leases have expired."""
    place.clock.tick(60)
    async with place.process() as runtime:
        return await pipeline.resume_run(RUN_ID, runtime=runtime, **how)


# What is kept.


async def test_what_had_completed_is_not_executed_again(place: Place) -> None:
    assert await execute(place, chain(place, "abc", dies_in="b"), {"since": (1, 2)}) is None
    result = await resume(place, chain(place, "abc"))
    assert place.ran == ["a", "b", "b", "c"]
    assert result.status is PipelineStatus.COMPLETED
    assert result.stage_results["c"].result == ["c", ["b", ["a", {"since": (1, 2)}]]]
    assert result.restored_stages == ["a"]
    assert [stage.restored for stage in result.stage_results.values()] == [True, False, False]
    assert (result.run_id, result.pipeline_id) == (RUN_ID, str(RUN_ID))
    assert "a: COMPLETED (0 ms), kept from before" in result.summary()
    told = result.to_dict()
    assert (told["restored_stages"], told["run_id"]) == (["a"], str(RUN_ID))
    assert told["stage_results"]["a"]["restored"] is True


async def test_a_result_equals_that_of_an_execution_that_was_not_interrupted(place: Place) -> None:
    await execute(place, chain(place, "abc", dies_in="c"), 1)
    resumed = await resume(place, chain(place, "abc"))
    whole = await chain(place, "abc").execute(1)
    assert [stage.result for stage in resumed.stage_results.values()] == [
        stage.result for stage in whole.stage_results.values()
    ]
    facts = resumed.stage_results["a"]
    assert facts.start_time is not None
    assert facts.attempt_count == 1
    assert facts.metrics["queued_ms"] >= 0.0


async def test_the_shared_context_is_not_kept(place: Place) -> None:
    seen: list[Any] = []

    async def look(ctx: PipelineContext, given: Any) -> None:
        seen.append((ctx.get("last"), ctx.get_stage_result("a").result))

    def build(*, dies: bool) -> Pipeline:
        return pipeline_of(
            ("a", noting(place, "a", 1)),
            ("b", noting(place, "b", dies=dies), ["a"]),
            ("c", look, ["b"]),
        )

    await execute(place, build(dies=True), "in")
    async with place.process() as runtime:
        document = await runtime.document(RUN_ID)
        assert document.fields["inputs"] == {"initial_input": "in"}
    await resume(place, build(dies=False))
    assert seen == [("b", 1)]


async def test_a_stage_that_was_interrupted_counts_on_under_the_same_key(place: Place) -> None:
    await execute(place, chain(place, "ab", dies_in="b"))
    result = await resume(place, chain(place, "ab"))
    assert result.stage_results["b"].attempt_count == 2
    keys = [key for name, key in place.keys if name == "b"]
    assert len(keys) == 2
    assert keys[0] == keys[1] == f"{RUN_ID}/b"
    assert PipelineContext("x").get_execution_key("b") == "x/b"


async def test_exit_keeps_what_stages_gave_when_the_run_ends(place: Place) -> None:
    await execute(place, chain(place, "ab", dies_in="b"), durability="exit")
    await resume(place, chain(place, "ab"))
    assert place.ran == ["a", "b", "a", "b"]


async def test_a_runtime_records_runs_that_nothing_else_is_kept_of(place: Place) -> None:
    result = await execute(place, chain(place, "ab"), Opaque(), durability="none")
    assert result is not None
    assert await place.status() == "completed"
    with pytest.raises(RunNotResumableError):
        await resume(place, chain(place, "ab"))


async def test_the_runtime_chooses_the_durability_unless_it_is_given(place: Place) -> None:
    await execute(place, chain(place, "ab"), durability=None)
    assert await place.keys_kept() == ["stage/a", "stage/b"]


@pytest.mark.parametrize("wrong", ["always", "step"])
async def test_what_cannot_be_kept_is_refused(wrong: Any) -> None:
    pipeline = pipeline_of(("a", gives(1)))
    async with Runtime() as runtime:
        with pytest.raises(DurabilityError):
            await pipeline.execute(runtime=runtime, durability=wrong)
    assert not pipeline.is_running
    with pytest.raises(TypeError, match="runtime"):
        await pipeline.execute(durability=wrong)


async def test_what_cannot_be_stored_is_told(place: Place) -> None:
    with pytest.raises(CodecError, match="Opaque"):
        await execute(place, chain(place, "a"), Opaque())
    assert await place.store.get_run(RUN_ID) is None
    result = await execute(place, pipeline_of(("a", gives(Opaque()))))
    assert result is not None
    assert result.failed_stages == ["a"]
    assert isinstance(result.stage_results["a"].exception, CodecError)


# How it goes on.


async def test_what_failed_and_what_it_kept_from_running_run_again(place: Place) -> None:
    def build(broken: Any) -> Pipeline:
        return pipeline_of(
            ("a", noting(place, "a", 1)),
            Stage("b", "B", broken, ["a"], critical=False),
            ("c", noting(place, "c", 3), ["b"]),
            ("d", noting(place, "d", 4), ["a"]),
        )

    async def bad(ctx: PipelineContext, given: Any) -> None:
        raise ValueError("no")

    async def now_good(ctx: PipelineContext, given: Any) -> int:
        return 2

    bad.__qualname__ = now_good.__qualname__  # the same one, mended
    first = await execute(place, build(bad))
    assert first is not None
    assert first.status is PipelineStatus.PARTIALLY_COMPLETED
    assert first.skipped_stages == ["c"]
    second = await resume(place, build(now_good))
    assert second.status is PipelineStatus.COMPLETED
    assert second.restored_stages == ["a", "d"]
    assert place.ran == ["a", "d", "c"]


async def test_a_completed_run_is_answered_from_what_was_kept(place: Place) -> None:
    first = await execute(place, chain(place, "ab"), 1)
    assert first is not None
    pipeline = chain(place, "ab")
    again = await resume(place, pipeline)
    assert place.ran == ["a", "b"]
    assert again.restored_stages == ["a", "b"]
    assert again.stage_results["b"].result == first.stage_results["b"].result
    assert pipeline.result is again


async def test_failures_are_raised_if_wanted(place: Place) -> None:
    pipeline = pipeline_of(("a", raises(ValueError("no"))))
    with pytest.raises(StageExecutionException, match="no"):
        await execute(place, pipeline, raise_on_error=True)
    with pytest.raises(StageExecutionException, match="no"):
        await resume(place, pipeline, raise_on_error=True)


async def test_another_handler_is_a_change(place: Place) -> None:
    async def other(ctx: PipelineContext, given: Any) -> str:
        return f"other {given}"

    def changed() -> Pipeline:
        return pipeline_of(("a", other), ("b", noting(place, "b"), ["a"]))

    await execute(place, chain(place, "ab", dies_in="b"))
    with pytest.raises(PlanChangedError, match="runner of stage 'a'"):
        await resume(place, changed())
    pinned = await resume(place, changed(), on_change="pin")
    assert pinned.stage_results["b"].result == ["b", ["a", None]]


async def test_adopting_a_change_runs_it_and_all_after_it_anew(place: Place) -> None:
    await execute(place, chain(place, "ab", dies_in="b"))
    changed = pipeline_of(("a", gives("new")), ("b", noting(place, "b"), ["a"]))
    result = await resume(place, changed, on_change="adopt")
    assert result.stage_results["b"].result == ["b", "new"]
    assert result.restored_stages == []


async def test_a_run_that_nobody_knows_and_one_that_somebody_has(place: Place) -> None:
    pipeline = chain(place, "a")
    with pytest.raises(RunNotFoundError):
        await resume(place, pipeline)
    with pytest.raises(ValueError, match="UUID"):
        await pipeline.resume_run("not an id", runtime=Runtime())
    begun, go = anyio.Event(), anyio.Event()

    async def holds(ctx: PipelineContext, _: Any) -> None:
        begun.set()
        await go.wait()

    held = pipeline_of(("a", holds))
    async with place.process() as runtime, anyio.create_task_group() as tasks:
        tasks.start_soon(partial(held.execute, runtime=runtime, run_id=str(RUN_ID)))
        await begun.wait()
        with pytest.raises(LeaseHeldError):
            await held.resume_run(RUN_ID, runtime=runtime)
        go.set()
    assert await place.status() == "completed"


async def test_whoever_recovers_runs_takes_them_over(place: Place) -> None:
    await execute(place, chain(place, "abc", dies_in="c"), 5)
    place.clock.tick(60)
    pipeline = chain(place, "abc")
    async with place.process() as runtime:
        [found] = await runtime.recover(pipeline)
    assert found.error is None
    assert place.ran == ["a", "b", "c", "c"]
    assert pipeline.result is not None
    assert pipeline.result.restored_stages == ["a", "b"]
    assert pipeline.result.stage_results["a"].result == ["a", 5]
    assert not pipeline.is_running


async def test_a_runtime_runs_what_is_built(place: Place) -> None:
    pipeline = chain(place, "ab")
    async with place.process() as runtime:
        for given in ({"initial_input": 1}, {}):
            outcome = await runtime.run(pipeline, inputs=given)
            assert outcome.status == "completed"
            assert outcome.outputs["a"].data == {"value": ["a", given.get("initial_input")]}


async def test_many_executions_share_a_runtime(place: Place) -> None:
    pipeline = chain(place, "ab")
    results: list[PipelineResult] = []

    async def once(number: int) -> None:
        results.append(await pipeline.execute(number, runtime=runtime))

    async with place.process() as runtime, anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(once, number)
    assert sorted(result.stage_results["a"].result[1] for result in results) == list(range(10))
    assert len({result.run_id for result in results}) == 10


async def test_a_contexts_identity_is_the_runs_if_it_can_be(place: Place) -> None:
    pipeline = chain(place, "a")
    async with place.process() as runtime:
        for name in (str(RUN_ID), "night-run-7"):
            result = await pipeline.execute(runtime=runtime, context=PipelineContext(name))
            assert result.pipeline_id == name
            assert (result.run_id == RUN_ID) is (name == str(RUN_ID))
            assert await place.status(result.run_id) == "completed"


# Everything else is as it is without a runtime.


async def test_retries_are_those_of_the_pipeline(place: Place) -> None:
    tries: list[int] = []

    async def flaky(ctx: PipelineContext, _: Any) -> str:
        tries.append(1)
        if len(tries) < 3:
            raise ValueError("not yet")
        return "at last"

    again = RetryConfig(max_retries=2, strategy=RetryStrategy.IMMEDIATE)
    result = await execute(place, pipeline_of(Stage("a", "A", flaky, retry_config=again)))
    assert result is not None
    assert result.stage_results["a"].attempt_count == 3


@pytest.mark.parametrize("whose", ["stage", "pipeline"])
async def test_time_limits_are_those_of_the_pipeline(place: Place, whose: str) -> None:
    async def slow(ctx: PipelineContext, _: Any) -> None:
        tasks.start_soon(late)
        await anyio.sleep_forever()

    async def late() -> None:
        place.clock.tick(5.5)

    limits = TimeoutConfig(**{f"{whose}_timeout_seconds": 5.0})
    async with anyio.create_task_group() as tasks:
        result = await execute(place, pipeline_of(("slow", slow), limits=limits))
    assert result is not None
    assert result.stage_results["slow"].status is StageStatus.TIMED_OUT
    ended = {"stage": (PipelineStatus.FAILED, None, "failed")}.get(
        whose, (PipelineStatus.CANCELLED, CancellationReason.TIMEOUT, "cancelled")
    )
    assert (result.status, result.cancellation_reason, await place.status()) == ended


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("by", ["pipeline", "runtime"])
async def test_a_durable_execution_can_be_cancelled(place: Place, by: str, resumed: bool) -> None:
    begun = anyio.Event()

    async def holds(ctx: PipelineContext, _: Any) -> None:
        begun.set()
        await anyio.sleep_forever()

    def build(handler: Any) -> Pipeline:
        handler.__qualname__ = "holds"
        return pipeline_of(("a", noting(place, "a", 1)), ("holds", handler, ["a"]))

    pipeline = build(holds)
    if resumed:
        assert await execute(place, build(noting(place, "holds", dies=True))) is None
        place.clock.tick(60)
    results: list[PipelineResult] = []

    async def go(runtime: Runtime) -> None:
        start = pipeline.resume_run if resumed else pipeline.execute
        results.append(await start(run_id=RUN_ID, runtime=runtime))

    async with place.process() as runtime, anyio.create_task_group() as tasks:
        tasks.start_soon(go, runtime)
        await begun.wait()
        assert pipeline.is_running
        if by == "pipeline":
            pipeline.cancel(CancellationReason.RESOURCE_LIMIT)
        else:
            assert await runtime.cancel(RUN_ID, "because they said so")
    [result] = results
    assert result.status is PipelineStatus.CANCELLED
    wanted = CancellationReason.RESOURCE_LIMIT if by == "pipeline" else CancellationReason.EXTERNAL
    assert result.cancellation_reason is wanted
    with pytest.raises(PipelineCancelledException):
        result.raise_for_status()
    assert await place.status() == "cancelled"


async def test_a_cancellation_before_the_first_commit_is_not_lost(place: Place) -> None:
    pipeline = chain(place, "a")
    context = PipelineContext("early")
    context.cancel()
    assert context.get_progress() is None
    result = await execute(place, pipeline, context=context)
    assert result is not None
    assert result.status is PipelineStatus.CANCELLED
    assert place.ran == []


async def test_what_is_asked_before_the_run_begins_is_answered(place: Place) -> None:
    context = PipelineContext("early")
    seen: list[Any] = []

    class Asking(MemoryRunStore):
        async def create_run(self, *args: Any, **given: Any) -> Any:
            seen.append((context.get_progress(), context.get_stage_status("a")))
            return await super().create_run(*args, **given)

    async with Runtime(run_store=Asking()) as runtime:
        await pipeline_of(("a", gives(1))).execute(
            runtime=runtime, context=context, durability="step"
        )
    [(progress, status)] = seen
    assert (progress.completed, progress.elapsed_seconds) == (0, 0.0)
    assert status is StageStatus.QUEUED


async def test_a_resumed_execution_can_be_paused(place: Place) -> None:
    await execute(place, chain(place, "ab", dies_in="b"))
    context = PipelineContext(str(RUN_ID))
    context.pause()
    pipeline = chain(place, "ab")
    place.clock.tick(60)
    async with place.process() as runtime, anyio.create_task_group() as tasks:
        tasks.start_soon(partial(pipeline.resume_run, RUN_ID, runtime=runtime, context=context))
        await anyio.wait_all_tasks_blocked()
        assert pipeline.status is PipelineStatus.PAUSED
        assert place.ran == ["a", "b"]
        pipeline.resume()
    assert place.ran == ["a", "b", "b"]


async def test_progress_counts_what_is_there_already(place: Place) -> None:
    await execute(place, chain(place, "abcd", dies_in="c"))
    seen: list[PipelineProgress] = []
    pipeline = chain(place, "abcd", on_progress=seen.append)
    result = await resume(place, pipeline)
    assert [(each.stage_id, each.completed) for each in seen] == [
        ("c", 2),
        ("c", 3),
        ("d", 3),
        ("d", 4),
    ]
    assert result.is_success


# Clean-ups.


async def test_a_stage_that_was_not_executed_again_is_cleaned_up_too(place: Place) -> None:
    cleaned: list[Any] = []

    async def clean(ctx: PipelineContext) -> None:
        if not place.mortal.is_dead:
            cleaned.append(ctx.get_stage_result("a").result)

    def build(*, dies: bool) -> Pipeline:
        return pipeline_of(
            Stage("a", "A", noting(place, "a", 1), cleanup_handler=clean),
            Stage("b", "B", noting(place, "b", dies=dies), ["a"], cleanup_handler=clean),
        )

    await execute(place, build(dies=True))
    assert cleaned == []
    await resume(place, build(dies=False))
    assert cleaned == [1, 1], "also of the stage that was interrupted"


async def test_a_completed_run_that_is_asked_again_cleans_nothing_up(place: Place) -> None:
    cleaned: list[str] = []
    pipeline = pipeline_of(
        Stage("a", "A", gives(1), cleanup_handler=lambda ctx: cleaned.append("a"))
    )
    await execute(place, pipeline)
    await resume(place, pipeline)
    assert cleaned == ["a"]


def test_the_identity_of_a_run_is_in_every_result() -> None:
    result = anyio.run(pipeline_of(("a", gives(1))).execute)
    assert isinstance(result.run_id, UUID)
    assert str(result.run_id) == result.pipeline_id
