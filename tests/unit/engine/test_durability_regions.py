"""Durability of what runs more than once or within something else: guards, children, clean-ups."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import anyio
import pytest

from stageflow import (
    GuardRetryPolicy,
    GuardRetryStrategy,
    Pipeline,
    RetryPolicy,
    StageContext,
    StageOutput,
    SubpipelineSpawner,
)
from stageflow.interceptors import TransientError
from support.durable import RUN_ID, Place, chain_of, place

__all__ = ("place",)

pytestmark = pytest.mark.anyio

AGAIN = RetryPolicy(max_attempts=3, base_delay_ms=0)


def guarded(
    place: Place, *, max_attempts: int = 5, retry: RetryPolicy | None = None, **does: Any
) -> Any:
    """start -> draft -> polish -> guard -> use; the guard sends the run back to draft."""
    pipeline = (
        Pipeline("guarded")
        .with_stage("start", place.stage("start", does.get("start")))
        .with_stage(
            "draft", place.stage("draft", does.get("draft")), dependencies=["start"], retry=retry
        )
        .with_stage("polish", place.stage("polish", does.get("polish")), dependencies=["draft"])
        .with_stage("guard", place.stage("guard", does.get("guard")), dependencies=["polish"])
        .with_stage("use", place.stage("use", does.get("use")), dependencies=["guard", "draft"])
    )
    policy = GuardRetryPolicy("draft", max_attempts=max_attempts, stagnation_limit=100)
    return pipeline.build(guard_retry_strategy=GuardRetryStrategy({"guard": policy}))


def refuses(times: int, place: Place, name: str = "guard") -> Any:
    """What a guard does that refuses the first so many executions."""

    def judge(ctx: StageContext) -> StageOutput:
        return StageOutput.fail("no") if place.counts[name] <= times else StageOutput.ok()

    return judge


class TestGuards:
    async def test_a_region_is_committed_when_no_guard_can_go_back_to_it(
        self, place: Place
    ) -> None:
        seen: list[list[str]] = []

        async def look(ctx: StageContext) -> StageOutput:
            seen.append([key for key in await place.keys_kept() if key.startswith("stage/")])
            return refuses(1, place)(ctx)

        await place.run(guarded(place, guard=look))
        assert seen == [["stage/start"]] * 2
        kept = await place.keys_kept()
        assert kept == [f"stage/{n}" for n in ("start", "draft", "polish", "guard", "use")]

    @pytest.mark.parametrize("dies_in", ["draft", "polish", "guard", "use"])
    @pytest.mark.parametrize("round_number", [1, 2, 3])
    async def test_rounds_survive_wherever_the_process_dies(
        self, place: Place, dies_in: str, round_number: int
    ) -> None:
        def die(ctx: StageContext) -> StageOutput | None:
            if dies_in != "use" and place.counts[dies_in] < round_number:
                return StageOutput.fail("no") if dies_in == "guard" else None
            place.mortal.kill()
            return None

        does = {"guard": refuses(round_number - 1, place), dies_in: die}
        assert await place.run(guarded(place, **does)) is None
        assert place.counts["draft"] == round_number
        place.ran.clear()
        place.keys.clear()
        place.attempts.clear()
        again = await place.resume(guarded(place))
        assert again is not None
        assert again.status == "completed"
        if dies_in == "use":
            assert place.ran == ["use"]
            return
        assert place.ran == ["draft", "polish", "guard", "use"]
        suffix = f"#{round_number}" if round_number > 1 else ""
        assert ("draft", f"{RUN_ID}/draft{suffix}") in place.keys
        # One attempt in each round, and the one that was cut short.
        assert place.attempts[:3] == [(n, round_number + 1) for n in ("draft", "polish", "guard")]

    async def test_the_guards_attempts_survive_the_process(self, place: Place) -> None:
        def die_in_third(ctx: StageContext) -> None:
            if place.counts["draft"] == 3:
                place.mortal.kill()

        never = {"guard": lambda _: StageOutput.fail("no")}
        first = guarded(place, max_attempts=4, draft=die_in_third, **never)
        assert await place.run(first) is None
        again = await place.resume(guarded(place, max_attempts=4, **never))
        assert again is not None
        assert again.status == "failed"
        # Two refusals had been kept; the third execution was cut short.
        assert place.counts["guard"] == 4
        assert place.counts["draft"] == 5

    async def test_after_a_final_failure_the_guard_judges_anew(self, place: Place) -> None:
        pipeline = guarded(place, max_attempts=2, guard=lambda _: StageOutput.fail("no"))
        await place.run(pipeline)
        assert place.counts["guard"] == 2
        place.keys.clear()
        again = await place.resume(pipeline)
        assert again is not None
        assert again.status == "failed"
        assert place.counts["guard"] == 4
        # What was refused is not taken for done.
        assert [key for name, key in place.keys if name == "draft"] == [
            f"{RUN_ID}/draft#3",
            f"{RUN_ID}/draft#4",
        ]

    async def test_retries_within_a_round_survive_and_begin_anew_in_the_next(
        self, place: Place
    ) -> None:
        def flaky(ctx: StageContext) -> None:
            count = place.counts["draft"]
            # First round: fails twice, succeeds. Second: fails once, then the process dies.
            if count == 5:
                place.mortal.kill()
            elif count != 3:
                raise TransientError("not yet")

        first = guarded(place, retry=AGAIN, draft=flaky, guard=refuses(1, place))
        assert await place.run(first) is None
        assert place.counts["draft"] == 5

        def fails(ctx: StageContext) -> None:
            raise TransientError("never")

        again = await place.resume(guarded(place, retry=AGAIN, draft=fails))
        assert again is not None
        assert again.status == "failed"
        assert place.counts["draft"] == 7  # one failure was kept, two are left

    async def test_what_was_kept_of_a_region_is_whole_when_nobody_listens(
        self, place: Place
    ) -> None:
        """The ends of guards are noted whether or not anybody is told of them."""
        place.store.capabilities  # noqa: B018
        import attrs

        type_ = type("Quiet", (type(place.store),), {})
        type_.capabilities = attrs.evolve(place.store.capabilities, event_log=False)
        place.store.__class__ = type_

        def build() -> Any:
            pipeline = (
                Pipeline("two")
                .with_stage("draft", place.stage("draft"))
                .with_stage(
                    "one",
                    place.stage("one", lambda _: StageOutput.fail("no")),
                    dependencies=["draft"],
                    on_failure="continue",
                )
                .with_stage("two", place.stage("two"), dependencies=["draft"])
            )
            policies = {
                "one": GuardRetryPolicy("draft", max_attempts=1 + (place.counts["one"] > 0)),
                "two": GuardRetryPolicy("draft", max_attempts=1),
            }
            return pipeline.build(
                guard_retry_strategy=GuardRetryStrategy(policies), on_failure="continue"
            )

        async with place.process() as runtime:
            outcome = await runtime.run(build(), run_id=RUN_ID, raise_on_error=False)
        assert outcome.status == "failed"
        kept = [key for key in await place.keys_kept() if key.startswith("stage/")]
        assert kept == ["stage/draft", "stage/two"]
        # What others use is not done anew for the sake of the one that refused it.
        async with place.process() as runtime:
            again = await runtime.resume(RUN_ID, build(), raise_on_error=False)
        assert again.status == "failed"
        assert place.counts == {"draft": 1, "one": 2, "two": 1}


def parent_of(place: Place, child: Pipeline, **options: Any) -> Pipeline:
    return (
        Pipeline("parent")
        .with_stage("before", place.stage("before"))
        .with_stage("child", child.as_stage(), dependencies=["before"], **options)
        .with_stage("after", place.stage("after"), dependencies=["child"])
    )


class TestChildren:
    @pytest.mark.parametrize("dies_in", ["x", "y", "z", "after"])
    async def test_a_child_goes_on_with_its_parent(self, place: Place, dies_in: str) -> None:
        ids: set[UUID | None] = set()

        def look(kills: str | None) -> Any:
            def does(name: str) -> Any:
                def run(ctx: StageContext) -> dict[str, str]:
                    if name != "after":
                        ids.add(ctx.pipeline_run_id)
                    if name == kills:
                        place.mortal.kill()
                    return {"by": name}

                return run

            child = chain_of(place, "xyz", **{n: does(n) for n in "xyz"})
            return (
                Pipeline("parent")
                .with_stage("before", place.stage("before"))
                .with_stage("child", child.as_stage(), dependencies=["before"])
                .with_stage("after", place.stage("after", does("after")), dependencies=["child"])
            )

        assert await place.run(look(dies_in)) is None
        again = await place.resume(look(None))
        assert again is not None
        assert again.status == "completed"
        assert again.outputs["child"].data == {"by": "z"}
        assert place.counts == {**dict.fromkeys(["before", *"xyz", "after"], 1), dies_in: 2}
        assert len(ids) == 1
        # Of a stage that has ended, nothing of the runs below is kept.
        assert await place.keys_kept() == ["stage/before", "stage/child", "stage/after"]
        [attempt] = [a for n, a in place.attempts[place.ran.index(dies_in) + 1 :] if n == dies_in]
        assert attempt == 2
        others = {a for n, a in place.attempts if n != dies_in}
        assert others == {1}

    async def test_nested_children_go_on(self, place: Place) -> None:
        def build(dies: bool) -> Pipeline:
            end = (lambda _: place.mortal.kill()) if dies else None
            inner = chain_of(place, "pq", q=end)
            middle = (
                Pipeline("middle")
                .with_stage("m", place.stage("m"))
                .with_stage("inner", inner.as_stage(), dependencies=["m"])
            )
            return parent_of(place, middle)

        assert await place.run(build(True)) is None
        again = await place.resume(build(False))
        assert again is not None
        assert again.status == "completed"
        assert place.counts == {"before": 1, "m": 1, "p": 1, "q": 2, "after": 1}
        assert await place.keys_kept() == ["stage/before", "stage/child", "stage/after"]

    async def test_each_of_several_children_goes_on(self, place: Place) -> None:
        def build(dies: bool) -> Pipeline:
            def child(number: int) -> Any:
                def end(ctx: StageContext) -> None:
                    if dies and number == 1:
                        place.mortal.kill()

                a, b = f"a{number}", f"b{number}"
                return chain_of(place, [a, b], **{b: end}).build()

            async def several(ctx: StageContext) -> None:
                spawner = SubpipelineSpawner()
                for number in range(3):
                    result = await spawner.spawn(
                        "each", ctx, None, ctx.stage_name, child(number).run
                    )
                    assert result.success

            return Pipeline("several").with_stage("all", several)

        assert await place.run(build(True)) is None
        again = await place.resume(build(False))
        assert again is not None
        assert again.status == "completed"
        assert place.counts == {"a0": 1, "b0": 1, "a1": 1, "b1": 2, "a2": 1, "b2": 1}

    async def test_each_of_several_children_is_told_to_start_once(self, place: Place) -> None:
        child = chain_of(place, "x").build()

        async def several(ctx: StageContext) -> None:
            for _ in range(2):
                await SubpipelineSpawner().spawn("each", ctx, None, ctx.stage_name, run)

        started: list[str] = []

        async def run(ctx: Any) -> Any:
            import attrs

            options = attrs.evolve(child.options, listeners=(lambda told, _: started.append(told),))
            return await child.execute(ctx, options)

        await place.run(Pipeline("several").with_stage("all", several))
        assert [told for told in started if told.startswith("pipeline.")] == [
            "pipeline.started",
            "pipeline.completed",
        ] * 2

    async def test_a_retry_of_the_stage_starts_its_child_anew(self, place: Place) -> None:
        ids: list[UUID | None] = []

        def flaky(ctx: StageContext) -> None:
            ids.append(ctx.pipeline_run_id)
            if place.counts["y"] == 1:
                raise TransientError("not yet")

        outcome = await place.run(parent_of(place, chain_of(place, "xy", y=flaky), retry=AGAIN))
        assert outcome is not None
        assert outcome.status == "completed"
        assert place.counts == {"before": 1, "x": 2, "y": 2, "after": 1}
        assert len(set(ids)) == 2

    async def test_a_child_in_a_retry_goes_on_under_its_own_id(self, place: Place) -> None:
        ids: list[UUID | None] = []

        def build(dies: bool) -> Pipeline:
            def flaky(ctx: StageContext) -> None:
                ids.append(ctx.pipeline_run_id)
                if place.counts["y"] == 1:
                    raise TransientError("not yet")
                if dies:
                    place.mortal.kill()

            return parent_of(place, chain_of(place, "xy", y=flaky), retry=AGAIN)

        assert await place.run(build(True)) is None
        again = await place.resume(build(False))
        assert again is not None
        assert again.status == "completed"
        assert place.counts == {"before": 1, "x": 2, "y": 3, "after": 1}
        assert ids[1] == ids[2] != ids[0]

    async def test_a_child_in_a_guards_region_goes_on_in_its_round(self, place: Place) -> None:
        ids: list[UUID | None] = []

        def build(dies: bool) -> Any:
            def end(ctx: StageContext) -> None:
                ids.append(ctx.pipeline_run_id)
                if dies and place.counts["y"] == 2:
                    place.mortal.kill()

            pipeline = (
                Pipeline("guarded")
                .with_stage("draft", chain_of(place, "xy", y=end).as_stage())
                .with_stage(
                    "guard", place.stage("guard", refuses(1, place)), dependencies=["draft"]
                )
            )
            policy = GuardRetryPolicy("draft", max_attempts=3, stagnation_limit=100)
            return pipeline.build(guard_retry_strategy=GuardRetryStrategy({"guard": policy}))

        assert await place.run(build(True)) is None
        again = await place.resume(build(False))
        assert again is not None
        assert again.status == "completed"
        assert place.counts == {"x": 2, "y": 3, "guard": 2}
        assert ids[1] == ids[2] != ids[0]


class TestCleanups:
    def build(self, place: Place, log: list[str], *, dies: bool, hook: bool) -> Pipeline:
        class Opens:
            async def execute(self, ctx: StageContext) -> dict[str, int]:
                place.note("opens", ctx)
                ctx.register_cleanup(lambda: log.append("closed"), name="close it")
                return {"n": 1}

        class Reopens(Opens):
            async def on_resume(self, ctx: StageContext, output: StageOutput) -> None:
                assert output.data == {"n": 1}
                log.append("reopened")
                ctx.register_cleanup(lambda: log.append("closed again"), name="close it")

        end = (lambda _: place.mortal.kill()) if dies else None
        return (
            Pipeline("opens")
            .with_stage("opens", Reopens if hook else Opens)
            .with_stage("next", place.stage("next", end), dependencies=["opens"])
        )

    async def test_a_stage_registers_its_cleanups_again(self, place: Place) -> None:
        log: list[str] = []
        assert await place.run(self.build(place, log, dies=True, hook=True)) is None
        log.clear()  # this process did not really end
        await place.resume(self.build(place, log, dies=False, hook=True))
        assert log == ["reopened", "closed again"]
        assert place.types("stage.cleanups_lost") == []

    async def test_cleanups_that_nobody_registers_again_are_told(self, place: Place) -> None:
        log: list[str] = []
        assert await place.run(self.build(place, log, dies=True, hook=False)) is None
        await place.resume(self.build(place, log, dies=False, hook=False))
        [lost] = place.of("stage.cleanups_lost")
        assert (lost["stage"], lost["cleanups"]) == ("opens", ["close it"])

    async def test_a_completed_run_that_is_answered_again_opens_nothing(self, place: Place) -> None:
        log: list[str] = []
        pipeline = self.build(place, log, dies=False, hook=True)
        await place.run(pipeline)
        await place.resume(pipeline)
        assert log == ["closed"]

    async def test_cleanups_that_were_run_when_the_run_failed_are_not_lost(
        self, place: Place
    ) -> None:
        log: list[str] = []
        pipeline = self.build(place, log, dies=False, hook=False)
        failing = pipeline.with_stage(
            "last", place.stage("last", lambda _: StageOutput.fail("no")), dependencies=["next"]
        )
        await place.run(failing)
        assert log == ["closed"]
        await place.resume(failing)
        assert place.types("stage.cleanups_lost") == []

    async def test_a_process_may_die_in_a_cleanup(self, place: Place) -> None:
        async def open_it(ctx: StageContext) -> None:
            async def close() -> None:
                await anyio.lowlevel.checkpoint()
                place.mortal.kill()

            ctx.register_cleanup(close, name="close it")

        pipeline = chain_of(place, "ab", a=open_it)
        assert await place.run(pipeline) is None
        assert await place.status() == "running"
        again = await place.resume(pipeline)
        assert again is not None
        assert again.status == "completed"
        assert place.ran == ["a", "b"]
        assert [lost["cleanups"] for lost in place.of("stage.cleanups_lost")] == [["close it"]]
