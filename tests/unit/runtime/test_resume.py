"""Going on with runs: who owns them, who takes them over, what refuses, and what goes wrong."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import pytest

from stageflow import Pipeline, RunOutcome, StageContext, StageOutput
from stageflow._engine.fingerprint import PlanChangedError
from stageflow.builtin.sqlite_run_store import SqliteRunStore
from stageflow.codec import CodecError
from stageflow.contracts.checkpoints import LeaseHeldError, LeaseLostError
from stageflow.contracts.run_store import RunExistsError, RunNotFoundError
from stageflow.contracts.storage import (
    StorageBusyError,
    StorageError,
    StorageFullError,
    StorageReadOnlyError,
)
from stageflow.runtime import RunNotResumableError, owners
from stageflow.testing import TestClock
from support.durable import RUN_ID, Place, chain_of, place

__all__ = ("place",)

pytestmark = pytest.mark.anyio


def dying(place: Place, names: str, last: str) -> Pipeline:
    """A chain whose process dies in one of its stages."""
    return chain_of(place, names, **{last: lambda _: place.mortal.kill()})


@pytest.fixture
def dead() -> str:
    """How a process called itself that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    host, _, _, machine = owners.this_process().split("/")
    name = f"{host}/{process.pid}/{owners._start_of(process.pid)}/{machine}"
    assert not owners.is_gone(name)
    process.kill()
    process.communicate()
    return name


class TestOwners:
    def test_of_the_living_and_of_strangers_nothing_is_said(self, dead: str) -> None:
        assert owners.is_gone(dead)
        assert not owners.is_gone(owners.this_process())
        for stranger in ("other", dead.replace("/", "-"), f"{dead}x", "a/b/c/d"):
            assert not owners.is_gone(stranger)
        # A number that was given again, to a process that began at another time.
        host, _, _, machine = dead.split("/")
        assert owners.is_gone(f"{host}/{os.getpid()}/1/{machine}")

    async def test_no_lease_is_left_whatever_becomes_of_the_run(self, place: Place) -> None:
        ends: list[Any] = [
            None,
            lambda _: StageOutput.fail("no"),
            lambda _: StageOutput.cancel("enough"),
        ]
        for number, end in enumerate(ends):
            await place.run(chain_of(place, "ab", b=end), run_id=UUID(int=100 + number))
        assert await place.leases() == []

    async def test_a_run_that_is_under_way_is_nobody_elses(self, place: Place) -> None:
        async def look(ctx: StageContext) -> None:
            with pytest.raises(LeaseHeldError):
                async with place.process() as other:
                    await other.resume(RUN_ID, pipeline)

        pipeline = chain_of(place, "ab", b=look)
        outcome = await place.run(pipeline)
        assert outcome is not None
        assert outcome.status == "completed"
        assert place.ran == ["a", "b"]

    async def test_of_two_who_resume_at_once_one_runs(self, place: Place) -> None:
        assert await place.run(dying(place, "abc", "b")) is None
        place.clock.tick(60)
        pipeline = chain_of(place, "abc")
        outcomes: list[RunOutcome] = []
        refused: list[LeaseHeldError] = []

        async def resume() -> None:
            async with place.process() as runtime:
                try:
                    outcomes.append(await runtime.resume(RUN_ID, pipeline))
                except LeaseHeldError as error:
                    refused.append(error)

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(resume)
        assert outcomes
        assert len(outcomes) + len(refused) == 5
        assert {outcome.status for outcome in outcomes} == {"completed"}
        assert place.counts == {"a": 1, "b": 2, "c": 1}
        assert await place.leases() == []

    async def test_who_comes_just_as_it_ended_is_answered(self, place: Place) -> None:
        """The record said running; by the time of the lease it had completed."""
        assert await place.run(dying(place, "ab", "b")) is None
        place.clock.tick(60)
        pipeline = chain_of(place, "ab")
        first: list[RunOutcome] = []

        async def overtake(_: str) -> None:
            async with place.process() as other:
                first.append(await other.resume(RUN_ID, pipeline))

        async with place.process("acquire_lease.before=call") as late:
            place.mortal.faults.call = overtake
            outcome = await late.resume(RUN_ID, pipeline)
        assert outcome.status == "completed"
        assert outcome.outputs == first[0].outputs
        assert place.counts == {"a": 1, "b": 2}
        assert await place.leases() == []

    async def test_the_dead_of_this_machine_are_known_at_once(
        self, place: Place, dead: str
    ) -> None:
        await place.store.create_run(RUN_ID, service="pipeline")
        lease = await place.store.acquire_lease(RUN_ID, dead, ttl=1000.0)
        async with place.process() as runtime:
            with pytest.raises(RunNotResumableError):
                await runtime.resume(RUN_ID, chain_of(place, "a"))
        assert (await place.store.get_lease(RUN_ID)) is None
        assert lease.token == 1

    async def test_a_lease_is_renewed_while_the_run_goes_on(self, place: Place) -> None:
        async def long(ctx: StageContext) -> None:
            for _ in range(100):
                await place.clock.advance(1.0)
                lease = await place.store.get_lease(RUN_ID)
                assert lease.expires_at > place.clock.now()

        outcome = await place.run(chain_of(place, "a", a=long))
        assert outcome is not None
        assert outcome.status == "completed"

    @pytest.mark.parametrize("jump", [100_000.0, -100_000.0])
    async def test_a_clock_that_is_set_harms_nobody(self, place: Place, jump: float) -> None:
        def set_clock(ctx: StageContext) -> None:
            place.clock.shift_wall(jump)

        outcome = await place.run(chain_of(place, "abc", b=set_clock))
        assert outcome is not None
        assert outcome.status == "completed"
        assert outcome.results["c"].ended_at >= outcome.results["c"].started_at
        assert (
            await place.run(
                chain_of(place, "abc", a=set_clock, c=lambda _: place.mortal.kill()),
                run_id=UUID(int=8),
            )
            is None
        )
        place.clock.shift_wall(-jump)
        place.clock.shift_wall(abs(jump) + 100)  # until even that lease is over
        again = await place.resume(chain_of(place, "abc"), run_id=UUID(int=8))
        assert again is not None
        assert again.status == "completed"
        assert place.counts["a"] == 2
        assert all(out.duration_ms is not None for out in again.outputs.values())

    async def test_a_lease_that_is_lost_stops_the_run_and_nothing_more_is_written(
        self, place: Place
    ) -> None:
        started = anyio.Event()
        went_on: list[str] = []

        async def lose(ctx: StageContext) -> None:
            # Somebody else thinks that this process is dead, and takes over.
            held = await place.store.get_lease(RUN_ID)
            await place.store.acquire_lease(RUN_ID, "other", ttl=1000.0, take_over=held.token)

        async def long(ctx: StageContext) -> None:
            started.set()
            try:
                await anyio.sleep_forever()
            finally:
                went_on.append("stopped")

        pipeline = (
            Pipeline("lost")
            .with_stage("long", place.stage("long", long))
            .with_stage("lose", place.stage("lose", lose))
            .with_stage("after", place.stage("after"), dependencies=["lose"])
        )
        with anyio.fail_after(5), pytest.raises(LeaseLostError):
            await place.run(pipeline)
        assert went_on == ["stopped"]
        assert "after" not in place.counts
        assert await place.keys_kept() == []
        assert await place.status() == "running"
        logged = [event.type for event in await place.store.read_events(RUN_ID)]
        assert "pipeline.cancelled" not in logged
        assert (await place.store.get_lease(RUN_ID)).owner == "other"

    async def test_a_lease_that_is_lost_is_noticed_while_nothing_ends(self, place: Place) -> None:
        async def wait(ctx: StageContext) -> None:
            held = await place.store.get_lease(RUN_ID)
            await place.store.acquire_lease(RUN_ID, "other", ttl=1000.0, take_over=held.token)
            await anyio.sleep_forever()

        async with place.process() as runtime:
            errors: list[BaseException] = []

            async def run() -> None:
                try:
                    await runtime.run(chain_of(place, "a", a=wait), run_id=RUN_ID)
                except LeaseLostError as error:
                    errors.append(error)

            with anyio.fail_after(5):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(run)
                    while not errors:
                        await place.clock.advance(0.5)
        assert errors


class TestRecovery:
    async def test_runs_of_the_dead_are_taken_over(self, place: Place) -> None:
        for number in range(5):
            await place.run(dying(place, "ab", "b"), run_id=UUID(int=100 + number))
        place.clock.tick(60)
        async with place.process() as runtime:
            found = await runtime.recover(chain_of(place, "ab"), max_concurrency=2)
            assert await runtime.recover() == []
        assert {each.run_id.int for each in found} == set(range(100, 105))
        assert {each.outcome.status for each in found if each.outcome} == {"completed"}
        assert place.counts == {"a": 5, "b": 10}
        assert await place.leases() == []

    async def test_several_who_recover_share_the_runs(self, place: Place) -> None:
        for number in range(6):
            await place.run(dying(place, "ab", "b"), run_id=UUID(int=100 + number))
        place.clock.tick(60)
        found: list[Any] = []

        async def recover() -> None:
            async with place.process() as runtime:
                found.extend(await runtime.recover(chain_of(place, "ab"), limit=2))

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(recover)
        assert sorted(each.run_id.int for each in found) == list(range(100, 106))
        assert place.counts == {"a": 6, "b": 12}

    async def test_whoever_cannot_go_on_leaves_the_run_to_others(self, place: Place) -> None:
        await place.run(dying(place, "ab", "b"), run_id=UUID(int=100))
        place.clock.tick(1)
        other = Pipeline("known").with_stage("x", place.stage("x", lambda _: place.mortal.kill()))
        await place.run(other, run_id=UUID(int=101))
        place.clock.tick(60)
        known = Pipeline("known").with_stage("x", place.stage("x"))
        async with place.process() as runtime:
            found = {each.run_id.int: each for each in await runtime.recover(known)}
        # The first run is not known here, which is no reason not to reach the second.
        assert isinstance(found[100].error, RunNotResumableError)
        assert found[100].outcome is None
        assert found[101].outcome is not None
        # Whoever knows it still finds it, and at once.
        async with place.process() as runtime:
            [again] = await runtime.recover(chain_of(place, "ab"))
        assert again.outcome is not None
        assert again.outcome.status == "completed"
        assert await place.leases() == []

    async def test_one_that_fails_is_told_and_the_others_go_on(self, place: Place) -> None:
        class Unwilling:
            async def execute(self, ctx: StageContext) -> None:
                place.note("a", ctx)

            async def on_resume(self, ctx: StageContext, output: StageOutput) -> None:
                raise ValueError("cannot open it again")

        broken = Pipeline("broken").with_stage("a", Unwilling)
        end = {"dependencies": ["a"]}
        await place.run(
            broken.with_stage("b", place.stage("b", lambda _: place.mortal.kill()), **end),
            run_id=UUID(int=100),
        )
        await place.run(dying(place, "ab", "b"), run_id=UUID(int=101))
        place.clock.tick(60)
        async with place.process() as runtime:
            found = {
                each.run_id.int: each
                for each in await runtime.recover(
                    chain_of(place, "ab"), broken.with_stage("b", place.stage("b"), **end)
                )
            }
        assert isinstance(found[100].error, ValueError)
        assert found[101].outcome is not None
        assert found[101].outcome.status == "completed"

    async def test_a_run_that_never_began_is_said_to_have_failed(self, place: Place) -> None:
        assert await place.run(chain_of(place, "a"), "commit.before#1=call") is None
        assert await place.status() == "created"
        place.clock.tick(60)
        async with place.process() as runtime:
            [found] = await runtime.recover(chain_of(place, "a"))
            assert isinstance(found.error, RunNotResumableError)
            assert await runtime.recover(chain_of(place, "a")) == []
        assert await place.status() == "failed"
        assert place.ran == []


class TestCancelling:
    async def test_by_another_process(self, place: Place) -> None:
        asked = anyio.Event()

        async def wait(ctx: StageContext) -> None:
            async with place.process() as other:
                assert await other.cancel(RUN_ID, "enough")
            asked.set()
            await anyio.sleep_forever()

        outcomes: list[RunOutcome] = []
        async with place.process() as runtime:

            async def run() -> None:
                outcomes.append(await runtime.run(chain_of(place, "a", a=wait), run_id=RUN_ID))

            with anyio.fail_after(5):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(run)
                    await asked.wait()
                    while not outcomes:
                        await place.clock.advance(0.5)
        assert (outcomes[0].status, outcomes[0].reason) == ("cancelled", "enough")
        assert await place.status() == "cancelled"

    async def test_of_a_dead_owner(self, place: Place) -> None:
        assert await place.run(dying(place, "ab", "b")) is None
        place.clock.tick(60)
        async with place.process() as runtime:
            assert await runtime.cancel(RUN_ID, "enough")
            assert await runtime.recover(chain_of(place, "ab")) == []
        assert await place.status() == "cancelled"
        assert await place.leases() == []
        again = await place.resume(chain_of(place, "ab"))
        assert again is not None
        assert again.status == "completed"

    async def test_whoever_takes_over_obeys_a_request_before_anything_runs(
        self, place: Place
    ) -> None:
        assert await place.run(dying(place, "abc", "b")) is None
        await place.store.request_cancel(RUN_ID, "enough")
        place.ran.clear()
        again = await place.resume(chain_of(place, "abc"))
        assert again is not None
        assert (again.status, again.reason) == ("cancelled", "enough")
        assert place.ran == []
        assert again.outputs["a"].status.value == "ok"

    async def test_of_a_run_that_has_just_ended(self, place: Place) -> None:
        await place.run(dying(place, "ab", "b"))
        place.clock.tick(60)

        async def overtake(_: str) -> None:
            async with place.process() as other:
                await other.resume(RUN_ID, chain_of(place, "ab"))

        async with place.process("acquire_lease.before=call") as runtime:
            place.mortal.faults.call = overtake
            # It was asked for before the other one began, which therefore stopped.
            await runtime.cancel(RUN_ID, "enough")
        assert await place.status() == "cancelled"
        assert await place.leases() == []

    async def test_of_nothing(self, place: Place) -> None:
        await place.run(chain_of(place, "a"))
        async with place.process() as runtime:
            assert not await runtime.cancel(RUN_ID)
            with pytest.raises(RunNotFoundError):
                await runtime.cancel(UUID(int=1))


class TestChangedPlans:
    async def test_all_changes_are_listed(self, place: Place) -> None:
        assert await place.run(dying(place, "abcd", "d")) is None

        async def other(ctx: StageContext) -> None: ...

        changed = (
            Pipeline("chain")
            .with_stage("a", place.stage("a"), version="2")
            .with_stage("b", other, dependencies=["a"])
            .with_stage("c", place.stage("c"), dependencies=["a"], conditional=True)
            .with_stage("new", place.stage("new"))
        )
        with pytest.raises(PlanChangedError) as caught:
            await place.resume(changed)
        found = {(each.stage, each.what) for each in caught.value.changes}
        assert found == {
            ("a", "version"),
            ("b", "runner"),
            ("c", "dependencies"),
            ("c", "conditional"),
            ("new", "added"),
            ("d", "removed"),
        }
        assert await place.status() == "running"
        again = await place.resume(chain_of(place, "abcd"))
        assert again is not None
        assert again.status == "completed"

    async def test_pin_keeps_what_was_committed(self, place: Place) -> None:
        assert await place.run(dying(place, "abc", "c")) is None
        changed = chain_of(place, "xabcy")
        again = await place.resume(changed, on_change="pin")
        assert again is not None
        assert again.status == "completed"
        assert place.counts == {"a": 1, "b": 1, "c": 2, "x": 1, "y": 1}
        # From now on that is the plan.
        assert (await place.resume(changed)) is not None

    async def test_adopt_does_anew_what_changed_and_what_depends_on_it(self, place: Place) -> None:
        def build(version: str | None, dies: bool) -> Pipeline:
            end = (lambda _: place.mortal.kill()) if dies else None
            return (
                Pipeline("p")
                .with_stage("a", place.stage("a"))
                .with_stage("b", place.stage("b"), dependencies=["a"], version=version)
                .with_stage("c", place.stage("c"), dependencies=["b"])
                .with_stage("other", place.stage("other"), dependencies=["a"])
                .with_stage("d", place.stage("d", end), dependencies=["c", "other"])
            )

        assert await place.run(build(None, True)) is None
        again = await place.resume(build("2", False), on_change="adopt")
        assert again is not None
        assert again.status == "completed"
        assert place.counts == {"a": 1, "b": 2, "c": 2, "other": 1, "d": 2}

    async def test_check_tells_which_would_go_on(self, place: Place) -> None:
        await place.run(dying(place, "ab", "b"), run_id=UUID(int=100))
        await place.run(chain_of(place, "ab"), run_id=UUID(int=101))
        await place.run(Pipeline("other").with_stage("a", place.stage("a")))
        async with place.process() as runtime:
            [same] = await runtime.check(chain_of(place, "ab"))
            [changed] = await runtime.check(chain_of(place, "abc"))
        assert (same.run_id.int, same.continues) == (100, True)
        assert not changed.continues
        assert [str(each) for each in changed.changes] == ["stage 'c' was added"]
        place.clock.tick(60)

    async def test_of_a_completed_run_that_is_another_by_now(self, place: Place) -> None:
        await place.run(chain_of(place, "ab"))
        with pytest.raises(RunNotResumableError, match="another one"):
            await place.resume(chain_of(place, "abc"))
        assert place.ran == ["a", "b"]


class TestRefusals:
    async def test_there_is_no_such_run(self, place: Place) -> None:
        with pytest.raises(RunNotFoundError):
            await place.resume(chain_of(place, "a"))

    async def test_nothing_was_kept(self, place: Place) -> None:
        await place.run(chain_of(place, "a", a=lambda _: StageOutput.fail("no")), durability="none")
        with pytest.raises(RunNotResumableError, match="Nothing was kept"):
            await place.resume(chain_of(place, "a"))
        assert await place.status() == "failed"

    async def test_nobody_knows_the_pipeline(self, place: Place) -> None:
        await place.run(dying(place, "ab", "b"))
        with pytest.raises(RunNotResumableError, match="'chain'"):
            await place.resume(None)

    async def test_a_run_is_run_once(self, place: Place) -> None:
        await place.run(chain_of(place, "a"))
        with pytest.raises(RunExistsError):
            await place.run(chain_of(place, "a"))

    async def test_a_completed_run_of_which_something_is_missing_runs_nothing(
        self, place: Place
    ) -> None:
        await place.run(chain_of(place, "ab"))
        lease = await place.store.acquire_lease(RUN_ID, "x", ttl=1.0)
        await place.store.commit(lease, removed=["stage/b"])
        await place.store.release_lease(lease)
        with pytest.raises(RunNotResumableError, match="not all"):
            await place.resume(chain_of(place, "ab"))
        assert place.ran == ["a", "b"]

    @pytest.mark.parametrize("junk", [b"", b"\xff\x00", b"{}", b'{"stageflow":1,"value":7}'])
    async def test_what_is_kept_is_damaged(self, place: Place, junk: bytes) -> None:
        from stageflow.contracts.checkpoints import CheckpointEntry

        assert await place.run(dying(place, "abc", "c")) is None
        place.clock.tick(60)
        lease = await place.store.acquire_lease(RUN_ID, "x", ttl=1.0)
        await place.store.commit(lease, [CheckpointEntry(key="stage/b", value=junk)])
        await place.store.release_lease(lease)
        with pytest.raises(CodecError):
            await place.resume(chain_of(place, "abc"))
        assert place.counts == {"a": 1, "b": 1, "c": 1}
        assert await place.leases() == []


FAILURES = {
    "full": StorageFullError,
    "read-only": StorageReadOnlyError,
    "corrupt": StorageError,
}


class TestFailingStores:
    @pytest.mark.parametrize("failure", FAILURES)
    @pytest.mark.parametrize("when", ["before", "after"])
    async def test_a_store_that_fails_in_the_middle(
        self, place: Place, failure: str, when: str
    ) -> None:
        for number in range(2, 6):
            other = Place(place.store, place.clock)
            run_id = UUID(int=100 + number)
            with pytest.raises(FAILURES[failure]):
                await other.run(
                    chain_of(other, "abc"), f"commit.{when}#{number}=fail:{failure}", run_id=run_id
                )
            ended = await other.status(run_id) == "completed"  # told, if too late
            # Nothing waits until a lease has expired: the one who failed let go.
            async with other.process() as runtime:
                again = await runtime.resume(run_id, chain_of(other, "abc"))
            assert again.status == "completed"
            kept = number - 2 + (when == "after")
            assert other.counts.total() == 3 + (kept < 3 and number < 5 and when == "before"), (
                number,
                ended,
                other.ran,
            )
        assert await place.leases() == []

    async def test_a_store_that_is_busy_for_a_while(self, place: Place) -> None:
        place.clock = clock = TestClock(autojump=True)
        faults = ";".join(f"commit.before#{n}=fail:busy" for n in (2, 3, 6))
        outcome = await place.run(chain_of(place, "abc"), faults)
        assert outcome is not None
        assert outcome.status == "completed"
        assert clock.monotonic() > 0.1
        assert place.counts == {"a": 1, "b": 1, "c": 1}

    async def test_a_store_that_stays_busy(self, place: Place) -> None:
        place.clock = TestClock(autojump=True)
        with pytest.raises(StorageBusyError):
            await place.run(chain_of(place, "abc"), "commit.before#*=fail:busy")
        assert place.ran == []

    @pytest.mark.parametrize("method", ["list_waits", "get_lease"])
    async def test_a_look_that_fails_for_a_moment_harms_nobody(
        self, place: Place, method: str
    ) -> None:
        outcomes: list[RunOutcome] = []

        async def ask(ctx: StageContext) -> dict[str, Any]:
            return {"answer": await ctx.wait_for("ok")}

        faults = ";".join(f"{method}.before#{n}=fail:full" for n in (1, 2))
        async with place.process(faults) as runtime:
            mortal = place.mortal
            assert mortal is not None

            async def run() -> None:
                outcomes.append(await runtime.run(chain_of(place, "a", a=ask), run_id=RUN_ID))

            with anyio.fail_after(5):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(run)
                    while mortal.faults.pending:
                        await place.clock.advance(0.5)
                    await runtime.signal(RUN_ID, "ok", 1)
        assert outcomes[0].status == "completed"

    async def test_a_wait_that_cannot_be_recorded_is_no_fault_of_the_stage(
        self, place: Place
    ) -> None:
        async def ask(ctx: StageContext) -> None:
            await ctx.wait_for("ok")

        with pytest.raises(StorageFullError):
            await place.run(chain_of(place, "a", a=ask), "open_wait.before=fail:full")
        assert await place.status() == "running"

    async def test_a_file_that_may_not_be_written_any_more(self, tmp_path: Path) -> None:
        clock = TestClock()
        path = tmp_path / "runs.sqlite3"
        async with SqliteRunStore(
            path, clock=clock, synchronous="normal", busy_timeout=0.0
        ) as store:
            place = Place(store, clock)
            blocker = sqlite3.connect(path, isolation_level=None)

            def lock(ctx: StageContext) -> None:
                blocker.execute("begin immediate")

            place.clock = TestClock(autojump=True)
            try:
                with pytest.raises(StorageBusyError):
                    await place.run(chain_of(place, "abc", b=lock))
            finally:
                blocker.rollback()
                blocker.close()
            place.clock = clock
            again = await place.resume(chain_of(place, "abc"))
            assert again is not None
            assert again.status == "completed"
            assert place.counts == {"a": 1, "b": 2, "c": 1}


class TestRetention:
    async def test_only_what_has_ended_is_forgotten(self, place: Place) -> None:
        from datetime import timedelta

        await place.run(chain_of(place, "a"), run_id=UUID(int=100))
        await place.run(dying(place, "ab", "b"), run_id=UUID(int=101))
        await place.run(
            chain_of(place, "a", a=lambda _: StageOutput.fail("no")), run_id=UUID(int=102)
        )
        place.clock.tick(1000)
        async with place.process() as runtime:
            age = timedelta(seconds=500)
            assert len(await runtime.prune(age, dry_run=True)) == 2
            assert await runtime.prune(age, statuses=["completed"]) == [UUID(int=100)]
            assert await runtime.prune(age) == [UUID(int=102)]
            assert await runtime.prune(age) == []
        again = await place.resume(chain_of(place, "ab"), run_id=UUID(int=101))
        assert again is not None
        assert again.status == "completed"


async def test_events_of_a_run_are_logged_in_order_over_all_processes(place: Place) -> None:
    await place.run(dying(place, "abc", "b"))
    await place.resume(chain_of(place, "abc"))
    logged = [
        (event.type, event.data.get("stage")) for event in await place.store.read_events(RUN_ID)
    ]
    assert logged[0] == ("pipeline.started", None)
    assert ("pipeline.resumed", None) in logged
    assert [each for each in logged if each[0] == "stage.completed"] == [
        ("stage.completed", name) for name in "abc"
    ]
    assert logged[-1] == ("pipeline.completed", None)


class TestTurns:
    async def test_who_was_refused_has_not_attempted_anything(self, place: Place) -> None:
        assert await place.run(dying(place, "abc", "b")) is None
        for _ in range(3):
            with pytest.raises(PlanChangedError):
                await place.resume(chain_of(place, "acb"))
        await place.resume(chain_of(place, "abc"))
        assert place.attempts == [("a", 1), ("b", 1), ("b", 2), ("c", 1)]

    async def test_a_run_of_which_nothing_was_kept_goes_on_and_does_not_begin(
        self, place: Place
    ) -> None:
        """Also told so, or its record could not tell why its first stage ran twice."""
        assert await place.run(dying(place, "ab", "a")) is None
        assert await place.resume(chain_of(place, "ab")) is not None
        assert place.types("pipeline.started", "pipeline.resumed") == [
            "pipeline.started",
            "pipeline.resumed",
        ]
        [told] = place.of("pipeline.resumed")
        assert told["stages_restored"] == 0
        assert place.attempts == [("a", 1), ("a", 2), ("b", 1)]

    @pytest.mark.parametrize("how", ["resume", "recover"])
    async def test_a_run_that_could_not_be_let_go_is_still_ones_own(
        self, place: Place, how: str
    ) -> None:
        """The store failed, and worse: the lease could not be given back. Nobody else has it."""
        pipeline = chain_of(place, "ab")
        faults = "commit.before#2=fail:full; renew_lease.before#1=fail"
        async with place.process(faults) as runtime:
            with pytest.raises(StorageError):
                await runtime.run(pipeline, run_id=RUN_ID)
            [left] = await place.leases()
            assert left.expires_at > place.clock.now()
            async with place.process() as other:
                with pytest.raises(LeaseHeldError):
                    await other.resume(RUN_ID, pipeline)
                assert await other.recover(pipeline) == []
            if how == "resume":
                assert (await runtime.resume(RUN_ID)).status == "completed"
            else:
                assert [each.error for each in await runtime.recover()] == [None]
        assert await place.leases() == []
