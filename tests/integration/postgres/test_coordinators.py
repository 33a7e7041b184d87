"""The coordinators keep their contracts, and what many processes do to them at once is exact."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

import anyio
import pytest

from stageflow.contracts.clock import SystemClock
from stageflow.contracts.scatter_coordinator import BarrierSealedError, BarrierStatus
from stageflow.contracts.storage import StorageBusyError
from stageflow.testing import ParallelCoordinatorConformance, RoutingCoordinatorConformance
from stageflow.testing.conformance import all_at_once
from stageflow.testing.scatter_coordinator import ScatterCoordinatorConformance
from stageflow_io_postgres.database import Database
from stageflow_io_postgres.errors import OutcomeUnknownError
from stageflow_io_postgres.parallel_coordinator import PostgresParallelCoordinator
from stageflow_io_postgres.routing_coordinator import PostgresRoutingCoordinator
from stageflow_io_postgres.scatter_coordinator import PostgresScatterCoordinator
from support.cut_wire import CutWire
from support.postgres import statement

pytestmark = pytest.mark.anyio

CUT = (
    "select pg_terminate_backend(pid) from pg_stat_activity"
    " where pid <> pg_backend_pid() and datname = current_database()"
)


class TestPostgresScatterCoordinator(ScatterCoordinatorConformance):
    capabilities = PostgresScatterCoordinator.capabilities
    event_loops = ("asyncio",)

    @pytest.fixture
    async def coordinator(self, database):
        async with PostgresScatterCoordinator(database) as coordinator:
            yield coordinator


class TestPostgresParallelCoordinator(ParallelCoordinatorConformance):
    capabilities = PostgresParallelCoordinator.capabilities
    event_loops = ("asyncio",)

    @pytest.fixture
    async def coordinator(self, database):
        async with PostgresParallelCoordinator(database) as coordinator:
            yield coordinator


class TestPostgresRoutingCoordinator(RoutingCoordinatorConformance):
    capabilities = PostgresRoutingCoordinator.capabilities
    event_loops = ("asyncio",)

    @pytest.fixture
    async def coordinator(self, database):
        async with PostgresRoutingCoordinator(database) as coordinator:
            yield coordinator


@pytest.fixture
def coordinator(database):
    return PostgresScatterCoordinator(database)


async def count(database, table):
    return await database.fetchval(f"select count(*) from stageflow.{table}", repeatable=True)  # noqa: S608


# --- creating -------------------------------------------------------------------


class Interrupted(Sequence):
    """Numbers; something happens as one of them is asked for the first time."""

    def __init__(self, size, at, happens):
        self._size, self._at, self._happens = size, at, happens

    def __len__(self):
        return self._size

    def __getitem__(self, number):
        if number >= self._size:
            raise IndexError(number)
        if number == self._at and self._happens is not None:
            happens, self._happens = self._happens, None
            happens()
        return number


async def test_fs1222_a_barrier_that_is_cut_off_is_created_whole(server, name, coordinator):
    keys = Interrupted(30_000, 25_000, lambda: statement(server, CUT, database=name))
    barrier_id = await coordinator.create_barrier("run", "asset", None, keys=keys)
    assert keys._happens is None, "nothing was cut"
    state = await coordinator.status(barrier_id)
    assert (state.total, state.duplicates, state.sealed) == (30_000, 0, True)


async def test_fs1222_a_barrier_that_fails_leaves_no_item(database, coordinator):
    def fail():
        raise RuntimeError("the source is gone")

    with pytest.raises(RuntimeError):
        await coordinator.create_barrier(
            "run", "asset", None, keys=Interrupted(30_000, 25_000, fail)
        )
    assert await count(database, "scatter_barriers") == 0
    assert await count(database, "scatter_items") == 0


async def test_keys_given_twice_are_counted_across_pages(coordinator, monkeypatch):
    monkeypatch.setattr("stageflow_io_postgres.scatter_coordinator._COPIED", 5_000)
    keys = [*range(12_000), *range(5_000), "x" * 500, "x" * 500]
    barrier_id = await coordinator.create_barrier("run", "asset", None, keys=keys, sealed=False)
    state = await coordinator.status(barrier_id)
    assert (state.total, state.duplicates) == (12_001, 5_001)
    inserted = await coordinator.insert_results(barrier_id, [*range(11_990, 24_010), "x" * 500])
    assert [key.value for key in inserted.added] == list(range(12_000, 24_010))
    claimed = await coordinator.claim(barrier_id, "w", limit=24_011)
    expected = [*range(12_000), "x" * 500, *range(12_000, 24_010)]
    assert [key.value for key in claimed] == expected


async def test_processes_that_create_at_once_create_one_barrier(database, settings):
    async with Database(settings) as other:
        coordinators = [PostgresScatterCoordinator(each) for each in (database, other)]
        ids = await all_at_once(
            partial(coordinators[n % 2].create_barrier, "run", "asset", "p", keys=range(50))
            for n in range(8)
        )
    assert len(set(ids)) == 1
    assert await count(database, "scatter_items") == 50


async def test_an_id_longer_than_an_index_takes_is_an_id(coordinator):
    barrier_id = await coordinator.create_barrier("run", "a" * 9_000, "p" * 9_000, keys=["k"])
    assert await coordinator.complete(barrier_id, "k", 1) is BarrierStatus.COMPLETE


class Meanwhile(SystemClock):
    """Lets something happen, once, instead of a pause between two attempts."""

    happens = None

    async def sleep(self, seconds):
        happens, self.happens = self.happens, None
        await (super().sleep(seconds) if happens is None else happens())


@pytest.mark.parametrize("answer", [b"UPDATE", b"COMMIT"])
async def test_an_insertion_whose_answer_is_lost_is_made_once(server, name, answer):
    async with CutWire(server.port) as wire:
        settings = server.settings(name, host="127.0.0.1", port=wire.port)
        async with Database(settings) as database:
            coordinator = PostgresScatterCoordinator(database)
            barrier_id = await coordinator.create_barrier(
                "run", "asset", None, keys=[0], sealed=False
            )
            wire.swallow(answer)
            page = await coordinator.insert_results(barrier_id, [1, 0, 2, 2], checkpoint=2)
            assert wire.cuts == 1
            assert [key.value for key in page.added] == [1, 2]
            state = await coordinator.status(barrier_id)
            assert (state.total, state.duplicates) == (3, 2)
            assert await coordinator.checkpoint(barrier_id) == 2
            await coordinator.insert_results(barrier_id, [3], sealed=True)
            with pytest.raises(BarrierSealedError):
                await coordinator.insert_results(barrier_id, [4])


async def test_an_insertion_that_nobody_can_tell_of_any_more_is_told_as_that(
    server, name, coordinator
):
    barrier_id = await coordinator.create_barrier("run", "asset", None, sealed=False)
    clock = Meanwhile()
    async with CutWire(server.port) as wire:
        settings = server.settings(name, host="127.0.0.1", port=wire.port)
        async with Database(settings, clock=clock) as database:
            clock.happens = partial(coordinator.insert_results, barrier_id, [9])
            wire.swallow(b"COMMIT")
            with pytest.raises(OutcomeUnknownError):
                await PostgresScatterCoordinator(database).insert_results(barrier_id, [1, 2])
    assert (await coordinator.status(barrier_id)).total in {1, 3}
    await coordinator.insert_results(barrier_id, [1, 2])
    assert (await coordinator.status(barrier_id)).total == 3


# --- recording ------------------------------------------------------------------


async def test_outcomes_whose_answer_is_lost_are_counted_once(server, name):
    async with CutWire(server.port) as wire:
        settings = server.settings(name, host="127.0.0.1", port=wire.port)
        async with Database(settings) as database:
            coordinator = PostgresScatterCoordinator(database)
            barrier_id = await coordinator.create_barrier("run", "asset", None, keys=range(30))
            for start in (0, 10, 20):
                wire.swallow(b"SELECT 1")
                outcomes = [(key, key) for key in range(start, start + 10)]
                status = await coordinator.record(barrier_id, completed=outcomes)
            assert (status, wire.cuts) == (BarrierStatus.COMPLETE, 3)
            state = await coordinator.status(barrier_id)
            assert (state.completed, state.failed, state.late) == (30, 0, 0)


async def test_those_who_record_wait_for_no_other_and_count_exactly(settings, database):
    size = 400
    pages = [range(start, start + 40) for start in range(0, size, 20)]
    async with Database(settings) as other:
        ours, theirs = PostgresScatterCoordinator(database), PostgresScatterCoordinator(other)
        barrier_id = await ours.create_barrier(
            "run", "asset", None, keys=range(size), failure_threshold=1.0, failure_mode="partial"
        )

        def record(number, page):
            keys = [key for key in (page if number % 2 else reversed(page)) if key < size]
            outcomes = [(key, None) for key in keys]
            tell = {"completed": outcomes} if number % 3 else {"failed": outcomes}
            return partial((ours, theirs)[number % 2].record, barrier_id, **tell)

        answers = await all_at_once(record(*each) for each in enumerate([*pages, *pages]))
        assert all(isinstance(answer, BarrierStatus) for answer in answers), answers
        assert BarrierStatus.COMPLETE in answers, "whoever was last sees that all is done"
        state = await ours.status(barrier_id)
        assert (state.status, state.completed + state.failed) == (BarrierStatus.COMPLETE, size)
    assert await count(database, "scatter_outcomes") == size


async def test_a_threshold_is_decided_once_whoever_exceeds_it(database, coordinator):
    barrier_id = await coordinator.create_barrier(
        "run", "asset", None, keys=range(60), failure_threshold=10, failure_mode="partial"
    )
    answers = await all_at_once(
        partial(coordinator.fail if key % 2 else coordinator.complete, barrier_id, key, None)
        for key in range(60)
    )
    assert {*answers} <= {BarrierStatus.PENDING, BarrierStatus.THRESHOLD_EXCEEDED}
    state = await coordinator.status(barrier_id)
    assert (state.status, state.completed, state.failed) == ("threshold_exceeded", 30, 30)
    noted = await database.fetchval("select status from stageflow.scatter_barriers")
    assert noted == "threshold_exceeded"


async def test_cancelling_among_those_who_record_gives_each_key_one_end(database, coordinator):
    for turn in range(5):
        barrier_id = await coordinator.create_barrier("run", "asset", turn, keys=range(40))
        calls = [partial(coordinator.complete, barrier_id, key, None) for key in range(40)]
        calls.insert(10 + 3 * turn, partial(coordinator.cancel, barrier_id))
        await all_at_once(calls)
        state = await coordinator.status(barrier_id)
        assert (state.pending, state.completed + state.cancelled) == (0, 40)
        assert state.late == state.cancelled
        expected = "cancelled" if state.cancelled else "complete"
        assert state.status == expected


async def test_deleting_among_those_who_record_leaves_nothing(database, coordinator):
    for turn in range(5):
        barrier_id = await coordinator.create_barrier("run", "asset", turn, keys=range(20))
        await coordinator.claim(barrier_id, "w", limit=5)
        calls = [partial(coordinator.complete, barrier_id, key, None) for key in range(20)]
        calls.insert(5 + turn, partial(coordinator.delete_run, "run"))
        await all_at_once(calls)
    for table in ("barriers", "items", "outcomes", "counts", "claims"):
        assert await count(database, f"scatter_{table}") == 0, table


# --- claims ---------------------------------------------------------------------

DYING = """
import asyncio, json, sys
from stageflow.plugins import Secret
from stageflow_io_postgres.database import Database
from stageflow_io_postgres.scatter_coordinator import PostgresScatterCoordinator
from stageflow_io_postgres.settings import PostgresSettings

async def main():
    async with Database(PostgresSettings(dsn=Secret(sys.argv[1]))) as database:
        coordinator = PostgresScatterCoordinator(database)
        keys = await coordinator.claim(sys.argv[2], "dying", limit=5, lease=600)
        print(json.dumps([key.value for key in keys]), flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_keys_of_a_worker_that_was_killed_return(server, name, database, coordinator):
    barrier_id = await coordinator.create_barrier("run", "asset", None, keys=range(12))
    command = [sys.executable, "-c", DYING, server.address(name), barrier_id]
    async with await anyio.open_process(command, stderr=None) as dying:
        had = json.loads(await dying.stdout.receive())
        dying.kill()
    assert had == [0, 1, 2, 3, 4]
    claimed = [key.value for key in await coordinator.claim(barrier_id, "other", limit=20)]
    assert claimed == [5, 6, 7, 8, 9, 10, 11], "its lease is not over"
    # As if the time had passed.
    await database.execute(
        "update stageflow.scatter_claims set deadline = now() where worker = 'dying'"
    )
    claimed = [key.value for key in await coordinator.claim(barrier_id, "other", limit=20)]
    assert claimed == had
    outcomes = [(key, None) for key in range(12)]
    assert await coordinator.record(barrier_id, completed=outcomes) == "complete"
    assert await count(database, "scatter_claims") == 0


async def test_a_claim_that_comes_with_the_outcome_is_never_given_again(database, coordinator):
    barrier_id = await coordinator.create_barrier("run", "asset", None, keys=range(3))
    await coordinator.complete(barrier_id, 0, None)
    # What is left if both happen at once.
    await database.execute(
        "insert into stageflow.scatter_claims select seq, 0, 'w', now() from"
        " stageflow.scatter_barriers"
    )
    assert (await coordinator.status(barrier_id)).claimed == 0
    claimed = await coordinator.claim(barrier_id, "other", limit=9)
    assert [key.value for key in claimed] == [1, 2]


async def test_a_claim_far_along_looks_at_no_key_that_has_ended(database, coordinator):
    barrier_id = await coordinator.create_barrier("run", "asset", None, keys=range(5_000))
    await coordinator.record(barrier_id, completed=[(key, None) for key in range(4_990)])
    await coordinator.claim(barrier_id, "w", limit=5)
    start = await database.fetchval("select unclaimed_from from stageflow.scatter_barriers")
    assert start == 4_995
    await coordinator.claim(barrier_id, "w", limit=50)
    start = await database.fetchval("select unclaimed_from from stageflow.scatter_barriers")
    assert start == 5_000


# --- when things go wrong -------------------------------------------------------


async def test_what_another_transaction_holds_is_waited_for_with_a_limit(server, name):
    settings = server.settings(name, lock_timeout=0.1)
    async with Database(settings) as database, Database(settings) as blocking:
        coordinator = PostgresScatterCoordinator(database)
        barrier_id = await coordinator.create_barrier(
            "run", "asset", None, keys=range(3), sealed=False
        )
        async with blocking.connection() as connection, connection.transaction():
            await connection.execute("select from stageflow.scatter_barriers for update")
            for call in (
                partial(coordinator.insert_results, barrier_id, [4]),
                partial(coordinator.complete, barrier_id, 0, None),
                partial(coordinator.claim, barrier_id, "w"),
                partial(coordinator.cancel, barrier_id),
                partial(coordinator.delete_barrier, barrier_id),
            ):
                with anyio.fail_after(5), pytest.raises(StorageBusyError):
                    await call()
            assert (await coordinator.status(barrier_id)).pending == 3, "looking waits for nobody"
        await coordinator.complete(barrier_id, 0, None)
        assert (await coordinator.status(barrier_id)).completed == 1


async def test_a_pool_that_is_exhausted_is_waited_for_with_a_limit(server, name):
    settings = server.settings(name, max_connections=1, acquire_timeout=0.05)
    async with Database(settings) as database:
        coordinator = PostgresScatterCoordinator(database)
        barrier_id = await coordinator.create_barrier("run", "asset", None, keys=[1])
        async with database.connection():
            with anyio.fail_after(5), pytest.raises(StorageBusyError):
                await coordinator.complete(barrier_id, 1, None)
        assert await coordinator.complete(barrier_id, 1, None) == "complete"


# --- routing --------------------------------------------------------------------


async def test_old_decisions_are_forgotten_as_new_ones_are_recorded(database):
    async with PostgresRoutingCoordinator(database, keep_for=timedelta(days=1)) as coordinator:
        await coordinator.record("run", "router", "old", "fast \0 \ud800", reason="why")
        output = await coordinator.to_output(await coordinator.record("run", "router", "old", "x"))
        assert (output["route"], output["reason"]) == ("fast \0 \ud800", "why")
        await database.execute(
            "update stageflow.routing_decisions set decided_at = now() - interval '2 days'"
        )
        await coordinator.record("run", "router", "new", "slow")
        assert await count(database, "routing_decisions") == 1
