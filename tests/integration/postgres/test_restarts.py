"""A server that is killed and comes back: nothing is lost, nothing is done twice, nobody hangs."""

from __future__ import annotations

import signal
from collections import Counter
from functools import partial

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from stageflow_io_postgres.database import Database
from stageflow_io_postgres.event_sink import PostgresEventSink
from stageflow_io_postgres.scatter_coordinator import PostgresScatterCoordinator
from support.postgres import own_server, statement

pytestmark = pytest.mark.anyio

KEYS = 600
CUT = (
    "select pg_terminate_backend(pid) from pg_stat_activity"
    " where pid <> pg_backend_pid() and datname = current_database()"
)


@pytest.fixture(scope="module")
def killable():
    """A server of our own, which keeps what it has committed whatever happens to it."""
    # What a killed server syncs as it starts is the whole file system or each file by itself.
    server = own_server(safe=True, options=("-c", "recovery_init_sync_method=syncfs"))
    yield server
    server.remove()


@pytest.fixture
def its_settings(killable, request):
    schema = f"test {request.node.name}"[:60]
    return partial(killable.settings, "postgres", schema=schema, migrate_on_open=True)


async def work(coordinator, barrier_id, worker, seen):
    """Claim keys and complete them, until none is pending."""
    while (await coordinator.status(barrier_id)).pending:
        keys = await coordinator.claim(barrier_id, worker, limit=10, lease=1.0)
        if not keys:
            await anyio.sleep(0.01)  # others have them, and may not come to their end
        seen.update(key.value for key in keys)
        await coordinator.record(barrier_id, completed=[(key, key.value * 2) for key in keys])


@pytest.mark.parametrize("how", ["cut", "kill"])
async def test_a_scatter_goes_on_where_it_was(killable, its_settings, how):
    settings = its_settings(reconnect_timeout=30.0)
    async with Database(settings) as one, Database(settings) as two:
        pools = [PostgresScatterCoordinator(each) for each in (one, two)]
        barrier_id = await pools[0].create_barrier("run", "asset", None, keys=range(KEYS))
        seen, turns = Counter(), []

        async def disturb():
            for turn in (1, 2):
                while len(seen) < turn * KEYS // 3:  # the workers set the pace
                    await anyio.lowlevel.checkpoint()
                if how == "cut":
                    await anyio.to_thread.run_sync(statement, killable, CUT)
                else:
                    await anyio.to_thread.run_sync(killable.stop, signal.SIGQUIT)
                    await anyio.to_thread.run_sync(killable.start)
                turns.append(turn)

        with anyio.fail_after(50):
            async with anyio.create_task_group() as group:
                group.start_soon(disturb)
                for number in range(4):
                    worker = pools[number % 2], barrier_id, f"worker {number}", seen
                    group.start_soon(work, *worker)
        assert turns == [1, 2]
        state = await pools[0].status(barrier_id)
        assert (state.status, state.completed, state.failed) == ("complete", KEYS, 0)
        results = await pools[1].gather(barrier_id)
        assert dict(results) == {key: key * 2 for key in range(KEYS)}


async def test_a_server_that_is_away_stops_nobody_and_loses_no_event(killable, its_settings):
    async with Database(its_settings()) as database:
        events = database.qualified("events")
        async with PostgresEventSink(database, max_buffer=50, flush_interval=0) as sink:
            for n in range(20):
                sink.try_emit(type="test", data={"n": n})
            await sink.flush()
            killable.stop(signal.SIGQUIT)
            for n in range(20, 50):
                sink.try_emit(type="test", data={"n": n})
            assert not await sink.flush()
            with anyio.fail_after(10):
                for n in range(50, 120):  # some find room, and none waits for it
                    await sink.emit(type="test", data={"n": n})
            assert sink.stats.dropped >= 20
            killable.start()
            with anyio.fail_after(20):
                while sink.stats.written < sink.stats.accepted:
                    await sink.flush()
        rows = await database.fetch(
            f"select (data ->> 'n')::int as n from {events} order by id",  # noqa: S608
            repeatable=True,
        )
        found = [row["n"] for row in rows]
        assert found == sorted({*found})
        assert found[:50] == list(range(50))
        assert len(found) == sink.stats.accepted == 120 - sink.stats.dropped


async def test_closing_while_the_server_is_away_ends_in_time_and_counts(killable, its_settings):
    async with Database(its_settings()) as database:
        with anyio.fail_after(20):
            async with PostgresEventSink(database, close_timeout=0.2) as sink:
                killable.stop()
                sink.try_emit(type="test", data=None)
        killable.start()
    assert (sink.stats.accepted, sink.stats.written, sink.stats.failed) == (1, 0, 1)
