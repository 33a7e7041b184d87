"""Durability: what is kept of a run, when, and that nothing kept is done again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import anyio
import attrs
import pytest

from stageflow import Pipeline, RetryPolicy, StageContext, StageKind, StageOutput
from stageflow.codec import UnencodableValueError
from stageflow.interceptors import TransientError
from stageflow.runtime import DurabilityError
from stageflow.testing import TestClock
from support.durable import RUN_ID, Place, chain_of, place, wide_of

__all__ = ("place",)

pytestmark = pytest.mark.anyio

SOME_TIME = datetime(2025, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
AGAIN = RetryPolicy(max_attempts=3, base_delay_ms=0)


class Opaque:
    """Something that no codec knows."""


class TestWhatIsKept:
    async def test_nothing_but_the_record_unless_asked_for(self, place: Place) -> None:
        outcome = await place.run(chain_of(place, "ab"), durability="none")
        assert outcome is not None
        assert outcome.status == "completed"
        assert await place.store.load_entries(RUN_ID) == ()
        assert not [at for at in place.mortal.faults.reached if at.startswith("commit")]

    async def test_every_outcome_before_a_dependant_begins(self, place: Place) -> None:
        seen: list[list[str]] = []

        async def look(ctx: StageContext) -> None:
            seen.append(await place.keys_kept())

        await place.run(chain_of(place, "abc", a=look, b=look, c=look))
        assert seen == [[], ["stage/a"], ["stage/a", "stage/b"]]
        assert await place.keys_kept() == ["stage/a", "stage/b", "stage/c"]

    @pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
    async def test_exit_keeps_what_stages_gave_when_the_run_ends(
        self, place: Place, end: str
    ) -> None:
        seen: list[list[str]] = []

        async def last(ctx: StageContext) -> StageOutput:
            seen.append(await place.keys_kept())
            how = {"completed": StageOutput.ok, "failed": StageOutput.fail}
            return how.get(end, StageOutput.cancel)()

        outcome = await place.run(chain_of(place, "abc", c=last), durability="exit")
        assert outcome is not None
        assert outcome.status == end
        assert seen == [[]]
        assert await place.keys_kept() == [f"stage/{n}" for n in "abc"[: 3 - (end != "completed")]]

    async def test_exit_keeps_nothing_of_a_process_that_was_killed(self, place: Place) -> None:
        pipeline = chain_of(place, "ab", b=lambda ctx: place.mortal.kill())
        assert await place.run(pipeline, durability="exit") is None
        assert await place.keys_kept() == []
        await place.resume(chain_of(place, "ab"))
        assert place.ran == ["a", "b", "a", "b"]

    async def test_what_cannot_be_stored_refuses_the_run_before_there_is_a_record(
        self, place: Place
    ) -> None:
        with pytest.raises(UnencodableValueError, match="Opaque"):
            await place.run(chain_of(place, "a"), inputs={"thing": Opaque()})
        assert await place.store.get_run(RUN_ID) is None
        assert place.ran == []

    @pytest.mark.parametrize("durability", ["step", "exit"])
    async def test_what_cannot_be_stored_fails_the_stage_that_gave_it(
        self, place: Place, durability: str
    ) -> None:
        outcome = await place.run(
            chain_of(place, "abc", b=lambda ctx: {"thing": [Opaque()]}), durability=durability
        )
        assert outcome is not None
        assert (outcome.status, outcome.stage) == ("failed", "b")
        assert isinstance(outcome.error, UnencodableValueError)
        assert "outcome of stage 'b'" in str(outcome.error)
        assert "Opaque" in str(outcome.error)
        assert place.ran == ["a", "b"]
        resumed = await place.resume(chain_of(place, "abc"))
        assert resumed is not None
        assert resumed.status == "completed"
        assert place.ran == ["a", "b", "b", "c"]

    async def test_a_store_that_cannot_is_refused(self) -> None:
        class Plain:
            async def create_run(self, *a: Any, **k: Any) -> None: ...
            async def update_status(self, *a: Any, **k: Any) -> None: ...
            async def get_run(self, *a: Any, **k: Any) -> None: ...

        place = Place(Plain(), TestClock())
        with pytest.raises(DurabilityError, match="Plain"):
            async with _plain(place) as runtime:
                await runtime.run(chain_of(place, "a"), durability="step")
        assert place.ran == []


def _plain(place: Place) -> Any:
    from stageflow import Runtime

    return Runtime(run_store=place.store)


class TestBatches:
    async def test_a_wide_graph_needs_few_commits(self, place: Place) -> None:
        async def pause(ctx: StageContext) -> None:
            await anyio.lowlevel.checkpoint()

        names = [f"s{n}" for n in range(100)]
        await place.run(wide_of(place, names, **dict.fromkeys(names, pause)))
        commits = [at for at in place.mortal.faults.reached if at.startswith("commit.before")]
        assert len(commits) <= 30
        assert len(await place.keys_kept()) == 101

    async def test_a_stage_is_not_held_by_one_that_runs_beside_it(self, place: Place) -> None:
        done = anyio.Event()

        async def slow(ctx: StageContext) -> None:
            await done.wait()

        async def release(ctx: StageContext) -> None:
            assert await place.keys_kept() == ["stage/quick"]
            done.set()

        pipeline = (
            Pipeline("beside")
            .with_stage("slow", place.stage("slow", slow))
            .with_stage("quick", place.stage("quick"))
            .with_stage("after", place.stage("after", release), dependencies=["quick"])
        )
        with anyio.fail_after(5):
            outcome = await place.run(pipeline)
        assert outcome is not None
        assert outcome.status == "completed"

    async def test_what_ends_while_a_commit_is_under_way_goes_into_the_next(
        self, place: Place
    ) -> None:
        """The first commit of a stage waits until all others have ended: one more is enough."""
        names = [f"s{n}" for n in range(20)]

        async def hold(point: str) -> None:
            while place.counts.total() < 20:
                await anyio.lowlevel.checkpoint()

        faults = "commit.before#2=call"
        async with place.process(faults) as runtime:
            place.mortal.faults.call = hold
            await runtime.run(wide_of(place, names), run_id=RUN_ID)
        commits = [at for at in place.mortal.faults.reached if at.startswith("commit.before")]
        # begin, the first, all others, last, end
        assert len(commits) <= 5


class TestGoingOn:
    async def test_nothing_committed_is_done_again_wherever_the_process_ends(
        self, place: Place
    ) -> None:
        whole = await place.run(chain_of(place, "abcd"))
        assert whole is not None
        points = [
            point
            for point in place.mortal.faults.reached
            if not point.startswith(("create_run", "acquire_lease", "get_lease", "renew"))
        ][2:]
        assert len(points) >= 10
        for number, point in enumerate(points):
            other = Place(place.store, place.clock)
            run_id = RUN_ID.__class__(int=100 + number)
            outcome = await other.run(chain_of(other, "abcd"), f"{point}=call", run_id=run_id)
            assert outcome is None, point
            kept = [key.removeprefix("stage/") for key in await other.keys_kept(run_id)]
            before = list(other.ran)
            again = await other.resume(chain_of(other, "abcd"), run_id=run_id)
            assert again is not None
            assert again.status == "completed", point
            if await other.status(run_id) == "completed" and len(kept) == 4:
                assert other.ran == before
            assert not set(kept) & set(other.ran[len(before) :]), point
            assert {n: o.data for n, o in again.outputs.items()} == {
                n: o.data for n, o in whole.outputs.items()
            }
            assert set(again.restored) >= set(kept), point

    async def test_each_end_is_told_until_it_is_logged(self, place: Place) -> None:
        """The end of b was kept, but its process died before it could log it."""
        assert await place.run(chain_of(place, "abc", c=lambda _: place.mortal.kill())) is None
        place.events.clear()
        outcome = await place.resume(chain_of(place, "abc"))
        assert outcome is not None
        assert outcome.restored == ("a", "b")
        [resumed] = place.of("pipeline.resumed")
        assert (resumed["stages_restored"], resumed["stages_total"]) == (2, 3)
        assert [each["stage"] for each in place.of("stage.completed")] == ["b", "c"]
        assert place.types("pipeline.started") == []

    async def test_results_keep_their_times_artifacts_and_attempts(self, place: Place) -> None:
        from stageflow import StageArtifact, StageEvent

        def give(ctx: StageContext) -> StageOutput:
            place.clock.tick(1.5)
            if ctx.attempt == 1:
                raise TransientError("not yet")
            return StageOutput.ok(
                {"n": 1, "t": (1, 2), "s": {3}},
                artifacts=[StageArtifact("text", {"a": 1}, SOME_TIME)],
                events=[StageEvent("seen", {"b": 2}, SOME_TIME)],
                metadata={"m": 1},
                version="7",
            )

        def both(dies: bool) -> Pipeline:
            end = (lambda _: place.mortal.kill()) if dies else None
            return (
                Pipeline("p")
                .with_stage("a", place.stage("a", give), retry=AGAIN)
                .with_stage("b", place.stage("b", end), dependencies=["a"])
            )

        whole = await place.run(both(False), run_id=RUN_ID.__class__(int=8))
        start = place.clock.now()
        assert await place.run(both(True)) is None
        again = await place.resume(both(False))
        assert whole is not None
        assert again is not None
        assert again.outputs["a"] == whole.outputs["a"]
        assert type(again.outputs["a"].data["t"]) is tuple
        result = again.results["a"]
        assert result.metadata["attempts"] == 2
        assert result.started_at == start
        assert (result.ended_at - result.started_at).total_seconds() == 3.0

    async def test_a_completed_run_is_answered_again_and_again(self, place: Place) -> None:
        first = await place.run(chain_of(place, "ab"))
        place.events.clear()
        for _ in range(2):
            again = await place.resume(chain_of(place, "ab"))
            assert first is not None
            assert again is not None
            assert again.status == "completed"
            assert again.outputs == first.outputs
        assert place.ran == ["a", "b"]
        assert place.events == []
        assert await place.leases() == []

    async def test_a_failed_run_goes_on_from_where_it_failed(self, place: Place) -> None:
        failed = await place.run(chain_of(place, "abc", b=lambda _: StageOutput.fail("no")))
        assert failed is not None
        assert failed.status == "failed"
        again = await place.resume(chain_of(place, "abc"))
        assert again is not None
        assert again.status == "completed"
        assert place.ran == ["a", "b", "b", "c"]

    async def test_a_cancelled_run_goes_on_too(self, place: Place) -> None:
        await place.run(chain_of(place, "abc", b=lambda _: StageOutput.cancel("enough")))
        again = await place.resume(chain_of(place, "abc"))
        assert again is not None
        assert again.status == "completed"
        assert place.ran == ["a", "b", "b", "c"]

    async def test_what_ends_well_while_the_run_is_stopped_is_kept_too(self, place: Place) -> None:
        begun = anyio.Event()

        async def shielded(ctx: StageContext) -> dict[str, int]:
            with anyio.CancelScope(shield=True):
                begun.set()
                for _ in range(50):
                    await anyio.lowlevel.checkpoint()
            return {"n": 1}

        async def fail(ctx: StageContext) -> StageOutput:
            await begun.wait()
            return StageOutput.fail("no")

        def both(does: Any) -> Pipeline:
            return (
                Pipeline("p")
                .with_stage("good", place.stage("good", shielded))
                .with_stage("bad", place.stage("bad", does))
            )

        failed = await place.run(both(fail))
        assert failed is not None
        assert failed.outputs["good"].status.value == "ok"
        again = await place.resume(both(None))
        assert again is not None
        assert again.status == "completed"
        assert place.counts == {"good": 1, "bad": 2}

    async def test_the_context_is_what_it_was(self, place: Place) -> None:
        seen: list[Any] = []

        def look(ctx: StageContext) -> None:
            seen.append((ctx.inputs.get("n"), ctx.snapshot, ctx.pipeline_run_id))

        fields = {"user_id": RUN_ID, "topology": "fast", "execution_mode": "test"}
        await place.run(
            chain_of(place, "ab", a=look, b=lambda _: place.mortal.kill()),
            inputs={"n": (1, 2)},
            input_text="hello",
            **fields,
        )
        await place.resume(chain_of(place, "ab", a=look, b=look))
        first, second = seen
        assert first == second
        assert second[1].user_id == RUN_ID
        assert second[1].topology == "fast"


class TestAttempts:
    async def test_a_stage_sees_that_it_may_have_run_before(self, place: Place) -> None:
        kill = {"b": lambda _: place.mortal.kill()}
        await place.run(chain_of(place, "abc", **kill))
        await place.resume(chain_of(place, "abc", **kill))
        await place.resume(chain_of(place, "abc"))
        assert place.attempts == [("a", 1), ("b", 1), ("b", 2), ("b", 3), ("c", 1)]
        assert len({key for name, key in place.keys if name == "b"}) == 1
        assert len(set(place.keys)) == 3

    async def test_retries_count_on_after_the_process_was_killed(self, place: Place) -> None:
        def fails(ctx: StageContext) -> None:
            raise TransientError("not yet")

        def kills(ctx: StageContext) -> None:
            if place.counts["a"] == 2:
                place.mortal.kill()
            raise TransientError("not yet")

        def one(does: Any) -> Pipeline:
            return Pipeline("one").with_stage("a", place.stage("a", does), retry=AGAIN)

        assert await place.run(one(kills)) is None
        again = await place.resume(one(fails))
        assert again is not None
        assert again.status == "failed"
        # One failure was kept, one attempt was cut short: two are left.
        assert place.attempts == [("a", 1), ("a", 2), ("a", 3), ("a", 4)]

    async def test_after_a_final_failure_all_attempts_are_there_again(self, place: Place) -> None:
        def fails(ctx: StageContext) -> None:
            raise TransientError("not yet")

        pipeline = Pipeline("one").with_stage("a", place.stage("a", fails), retry=AGAIN)
        await place.run(pipeline)
        assert place.counts["a"] == 3
        await place.resume(pipeline)
        assert place.counts["a"] == 6


class TestOtherEnds:
    async def test_skips_and_routes_hold(self, place: Place) -> None:
        def build(does: Any) -> Pipeline:
            return (
                Pipeline("routes")
                .with_stage(
                    "choose", place.stage("choose", lambda _: {"route": "left"}), StageKind.ROUTE
                )
                .with_stage(
                    "left",
                    place.stage("left"),
                    dependencies=["choose"],
                    conditional=True,
                    branch_key="left",
                )
                .with_stage(
                    "right",
                    place.stage("right"),
                    dependencies=["choose"],
                    conditional=True,
                    branch_key="right",
                )
                .with_stage("skips", place.stage("skips", lambda _: StageOutput.skip("no need")))
                .with_stage(
                    "skipped", place.stage("skipped"), dependencies=["skips"], conditional=True
                )
                .with_stage("dies", place.stage("dies", does), dependencies=["left", "skips"])
            )

        await place.run(build(lambda _: place.mortal.kill()))
        again = await place.resume(build(None))
        whole = await place.run(build(None), run_id=RUN_ID.__class__(int=9))
        assert again is not None
        assert whole is not None
        assert {n: (o.status, o.data) for n, o in again.outputs.items()} == {
            n: (o.status, o.data) for n, o in whole.outputs.items()
        }
        assert again.outputs["right"].status.value == "skip"
        assert again.outputs["skipped"].status.value == "skip"
        assert place.counts == {"choose": 2, "left": 2, "skips": 2, "dies": 3}

    async def test_a_cancelled_branch_stays_so(self, place: Place) -> None:
        def build(does: Any) -> Pipeline:
            return (
                Pipeline("branches")
                .with_stage(
                    "ends", place.stage("ends", lambda _: StageOutput.cancel("x", scope="branch"))
                )
                .with_stage("behind", place.stage("behind"), dependencies=["ends"])
                .with_stage("other", place.stage("other"))
                .with_stage("dies", place.stage("dies", does), dependencies=["other"])
            )

        # Only once the branch has ended, too.
        async def die(ctx: StageContext) -> None:
            while len(await place.keys_kept()) < 2:
                await anyio.lowlevel.checkpoint()
            place.mortal.kill()

        await place.run(build(die))
        again = await place.resume(build(None))
        assert again is not None
        assert again.status == "completed"
        assert again.outputs["ends"].status.value == "cancel"
        assert again.outputs["behind"].status.value == "cancel"
        assert place.counts == {"ends": 1, "other": 1, "dies": 2}

    async def test_who_failed_without_stopping_the_run_is_tried_again(self, place: Place) -> None:
        def build(does: Any) -> Any:
            return (
                Pipeline("lenient")
                .with_stage("bad", place.stage("bad", does))
                .with_stage("behind", place.stage("behind"), dependencies=["bad"])
                .with_stage("good", place.stage("good"))
                .build(on_failure="continue")
            )

        first = await place.run(build(lambda _: StageOutput.fail("no")))
        assert first is not None
        assert first.status == "failed"
        assert first.outputs["behind"].status.value == "skip"
        again = await place.resume(build(None))
        assert again is not None
        assert again.status == "completed"
        assert again.outputs["behind"].status.value == "ok"
        assert place.counts == {"bad": 2, "behind": 1, "good": 1}

    async def test_limits_and_priorities_hold_for_what_is_left(self, place: Place) -> None:
        def build(kills: bool) -> Any:
            end = (lambda _: place.mortal.kill()) if kills else None
            pipeline = Pipeline("limited").with_stage("first", place.stage("first"))
            for number in range(4):
                pipeline = pipeline.with_stage(
                    f"s{number}",
                    place.stage(f"s{number}", end),
                    dependencies=["first"],
                    priority=number,
                )
            return pipeline.build(max_concurrency=1)

        await place.run(build(True))
        place.ran.clear()
        await place.resume(build(False))
        assert place.ran == ["s3", "s2", "s1", "s0"]


@attrs.define
class Configured:
    """A stage class; made anew in each process."""

    word: str = "no"

    async def execute(self, ctx: StageContext) -> dict[str, str]:
        return {"word": self.word}


async def test_stage_classes_go_on(place: Place) -> None:
    pipeline = Pipeline("classes").with_stage("a", Configured, config={"word": "yes"})
    dying = pipeline.with_stage(
        "b", place.stage("b", lambda _: place.mortal.kill()), dependencies=["a"]
    )
    whole = pipeline.with_stage("b", place.stage("b"), dependencies=["a"])
    await place.run(dying)
    again = await place.resume(whole)
    assert again is not None
    assert again.outputs["a"].data == {"word": "yes"}
    assert again.restored == ("a",)
