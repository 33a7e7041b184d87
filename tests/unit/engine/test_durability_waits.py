"""Waiting as a state: signals before and after, in memory and parked, wherever the run goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from stageflow import (
    Pipeline,
    PipelineContext,
    RetryPolicy,
    RunOutcome,
    Runtime,
    StageContext,
    StageOutput,
)
from stageflow._engine.journal import NotDurableError
from stageflow._engine.waiting import SignalTimeoutError
from stageflow.contracts.waits import RunEndedError
from support.durable import RUN_ID, Place, place
from support.runs import node, run_nodes

__all__ = ("place",)

pytestmark = pytest.mark.anyio


def asks(place: Place, *names: str, **options: Any) -> Pipeline:
    """A stage before, one that waits for each name in turn, and one after."""

    async def ask(ctx: StageContext) -> dict[str, Any]:
        return {f"{n}{i}": await ctx.wait_for(n, **options) for i, n in enumerate(names)}

    return (
        Pipeline("asks")
        .with_stage("before", place.stage("before"))
        .with_stage("ask", place.stage("ask", ask), dependencies=["before"])
        .with_stage("after", place.stage("after"), dependencies=["ask"])
    )


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(5):
        while not condition():
            await anyio.lowlevel.checkpoint()


async def time_passes(place: Place) -> None:
    """Let time pass until the stage that asks has ended."""
    while not {"stage.failed", "stage.completed"} & {
        told for told, data in place.events if data.get("stage") == "ask"
    }:
        await place.clock.advance(1.0)


async def while_running(
    place: Place, pipeline: Any, act: Callable[[Runtime], Any], **given: Any
) -> RunOutcome:
    """Run *pipeline*, and meanwhile do something, once something is waited for."""
    outcomes: list[RunOutcome] = []
    async with place.process() as runtime:

        async def run() -> None:
            given.setdefault("raise_on_error", False)
            outcomes.append(
                await runtime.run(pipeline, run_id=RUN_ID, listeners=[place.listen], **given)
            )

        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run)
                await until(lambda: "stage.waiting" in place.types())
                await act(runtime)
    return outcomes[0]


class TestInMemory:
    async def test_an_answer_that_comes_later(self, place: Place) -> None:
        outcome = await while_running(
            place, asks(place, "ok"), lambda runtime: runtime.signal(RUN_ID, "ok", {"by": (1,)})
        )
        assert outcome.status == "completed"
        assert outcome.outputs["ask"].data == {"ok0": {"by": (1,)}}
        assert place.ran == ["before", "ask", "after"]
        [told] = place.of("stage.waiting")
        assert (told["stage"], told["signal"], told["deadline"]) == ("ask", "ok", None)

    async def test_an_answer_that_came_before(self, place: Place) -> None:
        async with place.process() as runtime:

            async def early(ctx: StageContext) -> None:
                await runtime.signal(RUN_ID, "ok", 5)

            async def ask(ctx: StageContext) -> dict[str, Any]:
                return {"word": await ctx.wait_for("ok")}

            pipeline = (
                Pipeline("early")
                .with_stage("tells", early)
                .with_stage("asks", ask, dependencies=["tells"])
            )
            outcome = await runtime.run(pipeline, run_id=RUN_ID)
        assert outcome.outputs["asks"].data == {"word": 5}

    async def test_two_names_and_two_waits_of_one_name_in_any_order(self, place: Place) -> None:
        async def act(runtime: Runtime) -> None:
            await runtime.signal(RUN_ID, "b", 1)
            await runtime.signal(RUN_ID, "a", 2)
            await runtime.signal(RUN_ID, "b", 3)

        outcome = await while_running(place, asks(place, "a", "b", "b"), act)
        assert outcome.outputs["ask"].data == {"a0": 2, "b1": 1, "b2": 3}

    async def test_a_signal_with_an_id_counts_once(self, place: Place) -> None:
        async def act(runtime: Runtime) -> None:
            for value in (1, 2):
                await runtime.signal(RUN_ID, "a", value, signal_id="x")
            await runtime.signal(RUN_ID, "a", 3, signal_id="y")

        outcome = await while_running(place, asks(place, "a", "a"), act)
        assert outcome.outputs["ask"].data == {"a0": 1, "a1": 3}

    async def test_an_answer_from_another_process(self, place: Place) -> None:
        async def act(runtime: Runtime) -> None:
            async with place.process() as other:
                assert await other.signal(RUN_ID, "ok", "there") is None
            await place.clock.advance(1.0)

        outcome = await while_running(place, asks(place, "ok"), act)
        assert outcome.outputs["ask"].data == {"ok0": "there"}

    async def test_time_is_up(self, place: Place) -> None:
        outcome = await while_running(
            place, asks(place, "ok", timeout=30.0), lambda _: time_passes(place)
        )
        assert (outcome.status, outcome.stage) == ("failed", "ask")
        assert isinstance(outcome.error, SignalTimeoutError)
        assert isinstance(outcome.error, TimeoutError)
        assert (outcome.error.stage, outcome.error.name) == ("ask", "ok")
        with pytest.raises(RunEndedError):
            async with place.process() as runtime:
                await runtime.signal(RUN_ID, "ok", 1)

    async def test_time_is_up_and_there_is_a_default(self, place: Place) -> None:
        outcome = await while_running(
            place,
            asks(place, "ok", timeout=30.0, default=None),
            lambda _: time_passes(place),
        )
        assert outcome.outputs["ask"].data == {"ok0": None}

    async def test_who_waited_in_vain_waits_anew_when_the_run_is_taken_up_again(
        self, place: Place
    ) -> None:
        failed = await while_running(
            place, asks(place, "ok", timeout=30.0), lambda _: time_passes(place)
        )
        assert failed.status == "failed"
        place.events.clear()
        outcomes: list[RunOutcome] = []
        async with place.process() as runtime:

            async def resume() -> None:
                outcomes.append(
                    await runtime.resume(
                        RUN_ID, asks(place, "ok", timeout=30.0), listeners=[place.listen]
                    )
                )

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(resume)
                await until(lambda: "stage.waiting" in place.types())
                await runtime.signal(RUN_ID, "ok", 1)
        assert outcomes[0].outputs["ask"].data == {"ok0": 1}

    async def test_what_was_answered_stays_so_when_the_stage_is_tried_again(
        self, place: Place
    ) -> None:
        async def ask(ctx: StageContext) -> dict[str, Any]:
            answer = await ctx.wait_for("ok")
            if ctx.attempt == 1:
                raise ConnectionError("not yet")
            return {"answer": answer}

        pipeline = Pipeline("p").with_stage(
            "ask", place.stage("ask", ask), retry=RetryPolicy(max_attempts=2, base_delay_ms=0)
        )
        outcome = await while_running(
            place, pipeline, lambda runtime: runtime.signal(RUN_ID, "ok", 1)
        )
        assert outcome.outputs["ask"].data == {"answer": 1}

    async def test_a_stages_time_limit_stands_still(self, place: Place) -> None:
        async def ask(ctx: StageContext) -> dict[str, Any]:
            await place.clock.sleep(6.0)
            answer = await ctx.wait_for("ok")
            await place.clock.sleep(answer)
            return {"answer": answer}

        async def act(runtime: Runtime, seconds: float) -> None:
            await place.clock.advance(100.0)
            await runtime.signal(RUN_ID, "ok", seconds)
            await until(lambda: place.clock.sleeping > 2)
            await place.clock.advance(10.0)

        async def outcome_of(seconds: float) -> RunOutcome:
            pipeline = Pipeline("p").with_stage("ask", ask, timeout=10.0)
            outcomes: list[RunOutcome] = []
            async with place.process() as runtime:

                async def run() -> None:
                    outcomes.append(
                        await runtime.run(
                            pipeline, run_id=RUN_ID, listeners=[place.listen], raise_on_error=False
                        )
                    )

                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(run)
                    await until(lambda: place.clock.sleeping >= 2)
                    await place.clock.advance(7.0)
                    await until(lambda: "stage.waiting" in place.types())
                    await act(runtime, seconds)
            return outcomes[0]

        assert (await outcome_of(3.0)).status == "completed"
        await place.store.delete_run(RUN_ID)
        place.events.clear()
        # 6 of 10 seconds had passed: of 5 more the last is too late.
        assert (await outcome_of(5.0)).status == "failed"

    async def test_the_run_may_be_cancelled_meanwhile(self, place: Place) -> None:
        outcome = await while_running(
            place, asks(place, "ok"), lambda runtime: runtime.cancel(RUN_ID, "enough")
        )
        assert (outcome.status, outcome.reason) == ("cancelled", "enough")

    async def test_without_a_store_nobody_can_wait(self) -> None:
        async def ask(ctx: StageContext) -> None:
            await ctx.wait_for("ok")

        report = await run_nodes([node("ask", ask)], context=PipelineContext())
        assert isinstance(report.error, NotDurableError)

    async def test_a_process_that_died_while_it_waited_goes_on_with_the_answer(
        self, place: Place
    ) -> None:
        async def ask(ctx: StageContext) -> dict[str, Any]:
            if place.counts["ask"] == 1:
                with anyio.move_on_after(0):
                    await ctx.wait_for("ok", timeout=100.0)
                place.mortal.kill()
                return {}
            return {"answer": await ctx.wait_for("ok", timeout=100.0)}

        pipeline = Pipeline("p").with_stage("ask", place.stage("ask", ask))
        # The wait is opened by the first process, and answered while there is none.
        first = await place.run(pipeline)
        assert first is None
        async with place.process() as runtime:
            assert await runtime.signal(RUN_ID, "ok", 7) is None
        again = await place.resume(pipeline)
        assert again is not None
        assert again.outputs["ask"].data == {"answer": 7}


class TestParked:
    async def test_a_run_leaves_memory_and_goes_on_by_a_signal(self, place: Place) -> None:
        pipeline = asks(place, "ok")
        outcome = await place.run(pipeline, park=True)
        assert outcome is not None
        assert outcome.status == "waiting"
        assert [(wait.stage, wait.name) for wait in outcome.waits] == [("ask", "ok")]
        assert set(outcome.outputs) == {"before"}
        assert await place.status() == "waiting"
        assert await place.leases() == []
        assert place.types("pipeline.waiting") == ["pipeline.waiting"]
        async with place.process() as runtime:
            again = await runtime.signal(RUN_ID, "ok", "yes", target=pipeline)
        assert again is not None
        assert again.status == "completed"
        assert again.outputs["ask"].data == {"ok0": "yes"}
        assert place.counts == {"before": 1, "ask": 2, "after": 1}
        assert await place.leases() == []

    async def test_any_number_of_restarts(self, place: Place) -> None:
        pipeline = asks(place, "a", "b")
        await place.run(pipeline, park=True)
        for _ in range(2):
            again = await place.resume(pipeline, park=True)
            assert again is not None
            assert again.status == "waiting"
        async with place.process(pipelines=[pipeline]) as runtime:
            waiting = await runtime.signal(RUN_ID, "a", 1)
            assert waiting is not None
            assert (waiting.status, waiting.waits[0].name) == ("waiting", "b")
            done = await runtime.signal(RUN_ID, "b", 2)
        assert done is not None
        assert done.outputs["ask"].data == {"a0": 1, "b1": 2}

    async def test_a_signal_for_something_else_resumes_nothing(self, place: Place) -> None:
        await place.run(asks(place, "a"), park=True)
        async with place.process() as runtime:
            assert await runtime.signal(RUN_ID, "other", 1) is None
        assert await place.status() == "waiting"

    async def test_an_answer_while_it_parks_is_not_lost(self, place: Place) -> None:
        pipeline = asks(place, "a")
        async with place.process("park_run.before=call") as runtime:
            place.mortal.faults.call = lambda _: runtime.signal(RUN_ID, "a", 1)
            with anyio.fail_after(5):
                outcome = await runtime.run(pipeline, run_id=RUN_ID, park=True)
        assert outcome.status == "completed"
        assert place.counts == {"before": 1, "ask": 2, "after": 1}
        assert place.attempts[-1] == ("after", 1)

    async def test_an_answer_while_it_leaves_is_not_lost(self, place: Place) -> None:
        """The run was parked, but its process has not quite left it."""
        found: list[RunOutcome | None] = []
        async with place.process() as runtime:

            async def open_it(ctx: StageContext) -> None:
                async def close() -> None:
                    if await place.status() == "waiting":
                        found.append(await runtime.signal(RUN_ID, "a", 1, target=pipeline))

                ctx.register_cleanup(close)

            pipeline = asks(place, "a").with_stage("opens", open_it)
            with anyio.fail_after(5):
                outcome = await runtime.run(pipeline, run_id=RUN_ID, park=True)
            assert outcome.status == "waiting"
            [again] = found
            assert again is not None
            assert again.status == "completed"
            # And the one that left first forgot nothing of the other.
            assert await place.status() == "completed"
            assert not runtime.stop(RUN_ID)

    async def test_slow_cleanups_of_a_parked_run_lose_nothing(self, place: Place) -> None:
        async def open_it(ctx: StageContext) -> None:
            async def close() -> None:
                await place.clock.sleep(5.0)

            ctx.register_cleanup(close)

        outcomes: list[RunOutcome] = []
        pipeline = asks(place, "a").with_stage("opens", open_it)
        async with place.process() as runtime:

            async def run() -> None:
                outcomes.append(await runtime.run(pipeline, run_id=RUN_ID, park=True))

            with anyio.fail_after(5):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(run)
                    while not outcomes:
                        await place.clock.advance(1.0)
        assert outcomes[0].status == "waiting"

    async def test_cleanups_of_a_parked_run_are_not_lost(self, place: Place) -> None:
        log: list[str] = []

        def open_it(ctx: StageContext) -> None:
            ctx.register_cleanup(lambda: log.append("closed"))

        pipeline = asks(place, "a").with_stage("opens", open_it)
        await place.run(pipeline, park=True)
        assert log == ["closed"]
        async with place.process(pipelines=[pipeline]) as runtime:
            await runtime.signal(RUN_ID, "a", 1, resume=False)
            await runtime.resume(RUN_ID, listeners=[place.listen])
        assert place.types("stage.cleanups_lost") == []

    async def test_who_parks_goes_on_while_others_run(self, place: Place) -> None:
        """The answer comes while another stage runs; nobody waits for that one to end."""
        done = anyio.Event()
        async with place.process() as runtime:

            async def slow(ctx: StageContext) -> None:
                await until(lambda: "stage.waiting" in place.types())
                await runtime.signal(RUN_ID, "a", 1)
                await done.wait()

            async def finish(ctx: StageContext) -> None:
                done.set()

            pipeline = (
                asks(place, "a")
                .with_stage("slow", place.stage("slow", slow))
                .with_stage("finish", finish, dependencies=["after"])
            )
            with anyio.fail_after(5):
                outcome = await runtime.run(
                    pipeline, run_id=RUN_ID, park=True, listeners=[place.listen]
                )
        assert outcome.status == "completed"
        assert place.counts == {"before": 1, "ask": 2, "after": 1, "slow": 1}

    async def test_it_parks_once_all_others_have_ended(self, place: Place) -> None:
        async def slow(ctx: StageContext) -> None:
            await until(lambda: "stage.waiting" in place.types())
            for _ in range(10):
                await anyio.lowlevel.checkpoint()

        pipeline = (
            asks(place, "a")
            .with_stage("slow", place.stage("slow", slow))
            .with_stage("then", place.stage("then"), dependencies=["slow"])
        )
        with anyio.fail_after(5):
            outcome = await place.run(pipeline, park=True)
        assert outcome is not None
        assert outcome.status == "waiting"
        assert set(outcome.outputs) == {"before", "slow", "then"}

    @pytest.mark.parametrize("end", ["fail", "cancel"])
    async def test_a_run_that_stops_does_not_wait(self, place: Place, end: str) -> None:
        async def ends(ctx: StageContext) -> StageOutput:
            await until(lambda: "stage.waiting" in place.types())
            return StageOutput.fail("no") if end == "fail" else StageOutput.cancel("enough")

        pipeline = asks(place, "a").with_stage("ends", place.stage("ends", ends))
        with anyio.fail_after(5):
            outcome = await place.run(pipeline, park=True)
        assert outcome is not None
        assert outcome.status == ("failed" if end == "fail" else "cancelled")
        assert outcome.outputs["ask"].status.value == "cancel"

    async def test_a_stage_that_parks_as_the_run_is_stopped_ends_with_it(
        self, place: Place
    ) -> None:
        async with place.process("open_wait.after=call") as runtime:
            place.mortal.faults.call = lambda _: runtime.stop(RUN_ID, "enough")
            outcome = await runtime.run(
                asks(place, "a"), run_id=RUN_ID, park=True, raise_on_error=False
            )
        assert (outcome.status, outcome.reason) == ("cancelled", "enough")
        assert await place.leases() == []

    @pytest.mark.parametrize("times", [1, 2])
    async def test_parked_in_a_child(self, place: Place, times: int) -> None:
        names = ["a", "b"][:times]
        pipeline = (
            Pipeline("parent")
            .with_stage("child", asks(place, *names).as_stage())
            .with_stage("last", place.stage("last"), dependencies=["child"])
        )
        outcome = await place.run(pipeline, park=True)
        assert outcome is not None
        assert (outcome.status, len(outcome.waits)) == ("waiting", 1)
        for number, name in enumerate(names):
            async with place.process() as runtime:
                outcome = await runtime.signal(RUN_ID, name, number, target=pipeline)
        assert outcome is not None
        assert outcome.status == "completed"
        assert place.counts == {"before": 1, "ask": 1 + times, "after": 1, "last": 1}

    async def test_answered_twice_while_a_child_parks(self, place: Place) -> None:
        """What the child had committed is restored each time it begins anew in one process."""
        pipeline = Pipeline("parent").with_stage("child", asks(place, "a", "b").as_stage())
        names = iter("ab")
        async with place.process("park_run.before#*=call") as runtime:
            place.mortal.faults.call = lambda _: runtime.signal(RUN_ID, next(names), 1)
            with anyio.fail_after(5):
                outcome = await runtime.run(pipeline, run_id=RUN_ID, park=True)
        assert outcome.status == "completed"
        assert place.counts == {"before": 1, "ask": 3, "after": 1}

    async def test_retries_are_not_forgotten_by_parking(self, place: Place) -> None:
        async def ask(ctx: StageContext) -> None:
            if place.counts["ask"] == 1:
                raise ConnectionError("not yet")
            await ctx.wait_for("a")
            raise ConnectionError("never")

        pipeline = Pipeline("p").with_stage(
            "ask", place.stage("ask", ask), retry=RetryPolicy(max_attempts=3, base_delay_ms=0)
        )
        async with place.process("park_run.before=call") as runtime:
            place.mortal.faults.call = lambda _: runtime.signal(RUN_ID, "a", 1)
            with anyio.fail_after(5):
                outcome = await runtime.run(
                    pipeline, run_id=RUN_ID, park=True, raise_on_error=False
                )
        assert outcome.status == "failed"
        assert [attempt for _, attempt in place.attempts] == [1, 2, 2, 3]

    async def test_overdue_waits_are_recovered(self, place: Place) -> None:
        pipeline = asks(place, "a", timeout=30.0, default="none came")
        await place.run(pipeline, park=True)
        async with place.process() as runtime:
            assert await runtime.recover(pipeline) == []
            place.clock.tick(31.0)
            [recovery] = await runtime.recover(pipeline)
        assert recovery.outcome is not None
        assert recovery.outcome.outputs["ask"].data == {"a0": "none came"}

    async def test_a_parked_run_is_cancelled_at_once(self, place: Place) -> None:
        await place.run(asks(place, "a"), park=True)
        async with place.process() as runtime:
            assert await runtime.cancel(RUN_ID, "enough")
            assert not await runtime.cancel(RUN_ID, "enough")
        assert await place.status() == "cancelled"
        assert await place.leases() == []

    async def test_parking_needs_no_step(self, place: Place) -> None:
        pipeline = asks(place, "a")
        await place.run(pipeline, park=True, durability="exit")
        async with place.process() as runtime:
            outcome = await runtime.signal(RUN_ID, "a", 1, target=pipeline)
        assert outcome is not None
        assert outcome.status == "completed"
        assert place.counts == {"before": 1, "ask": 2, "after": 1}
