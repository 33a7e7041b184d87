"""What the run store on PostgreSQL does beyond the clauses that all run stores keep."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import uuid4

import anyio
import pytest

from stageflow import Pipeline, Runtime, StageContext
from stageflow.contracts.checkpoints import CheckpointEntry, LeaseLostError
from stageflow.contracts.run_store import RunEvent, RunExistsError, RunStatus
from stageflow.contracts.storage import (
    StorageBusyError,
    StorageClosedError,
    StorageCorruptError,
    StorageUnavailableError,
)
from stageflow_io_postgres import Database, OutcomeUnknownError
from stageflow_io_postgres.run_store import PostgresRunStore
from support.cut_wire import CutWire
from support.postgres import own_server

pytestmark = pytest.mark.anyio

AT = datetime(2025, 1, 1, tzinfo=UTC)


@pytest.fixture
async def store(database):
    async with PostgresRunStore(database) as store:
        yield store


async def leased(store, owner="me"):
    run_id = uuid4()
    await store.create_run(run_id, service="test", status="running")
    return await store.acquire_lease(run_id, owner, ttl=3600)


def entry(key, value=b"x"):
    return CheckpointEntry(key=key, value=value)


def event(kind="test.happened"):
    return RunEvent(type=kind, data={"n": 1}, at=AT)


async def keys(store, run_id) -> Sequence[str]:
    return [each.key for each in await store.load_entries(run_id)]


async def test_closing_a_store_leaves_its_database_open(database):
    store = PostgresRunStore(database)
    await store.aclose()
    with pytest.raises(StorageClosedError):
        await store.get_run(uuid4())
    assert await PostgresRunStore(database).get_run(uuid4()) is None


async def test_what_was_tampered_with_is_told_as_damage(store, database):
    lease = await leased(store)
    await store.update_status(lease.run_id, "running", fact=1)
    await database.execute("update stageflow.run_metadata set value = '{'")
    with pytest.raises(StorageCorruptError, match=str(lease.run_id)):
        await store.get_run(lease.run_id)


async def test_one_statement_may_remove_and_write_the_same_key(store):
    lease = await leased(store)
    await store.commit(lease, [entry("a"), entry("b")])
    await store.commit(lease, [entry("a", b"1"), entry("c"), entry("a", b"2")], removed=["a", "b"])
    found = await store.load_entries(lease.run_id)
    assert [(each.key, each.value) for each in found] == [("c", b"x"), ("a", b"2")]


async def test_deleting_a_run_leaves_nothing_of_it(store, database):
    lease = await leased(store)
    await store.commit(lease, [entry("a"), entry("b")], events=[event()], facts={"fact": 1})
    await store.open_wait(lease, "w", stage="s", name="n")
    await store.signal_run(lease.run_id, "other", b"", signal_id="1")
    assert await store.delete_run(lease.run_id)
    for table in ("runs", "run_metadata", "run_events", "run_entries", "run_waits", "run_signals"):
        count = f"select count(*) from stageflow.{table}"  # noqa: S608
        assert await database.fetchval(count) == 0, table


# --- who waits for whom ---------------------------------------------------------


async def test_a_long_transaction_holds_up_its_own_run_only_and_not_for_ever(server, name, store):
    held, free = await leased(store, "held"), await leased(store, "free")
    async with (
        Database(server.settings(name, lock_timeout=0.1)) as hasty,
        hasty.connection() as other,
    ):
        patient = PostgresRunStore(hasty)
        await other.execute("begin")
        await other.execute(
            "select 1 from stageflow.runs where run_id = $1 for update", held.run_id
        )
        with pytest.raises(StorageBusyError, match="lock timeout"):
            await patient.commit(held, [entry("a")])
        await patient.commit(free, [entry("a")])
        assert await keys(patient, held.run_id) == []
        assert len(await patient.list_runs()) == 2
        await other.execute("rollback")
        await patient.commit(held, [entry("a")])
    assert await keys(store, held.run_id) == ["a"]


async def test_who_claims_passes_over_runs_that_others_are_at(store, database):
    first, second = [await leased(store, "gone") for _ in range(2)]
    await database.execute(
        "update stageflow.runs set expires_at = now() - interval '1 s', due_at = case run_id"
        " when $1 then now() - interval '2 s' else now() - interval '1 s' end",
        first.run_id,
    )
    async with database.connection() as other:
        await other.execute("begin")
        await other.execute(
            "select 1 from stageflow.runs where run_id = $1 for update", first.run_id
        )
        claimed = await store.claim_run("new", ttl=60)
        assert claimed is not None
        assert claimed.run_id == second.run_id
        assert await store.claim_run("new", ttl=60) is None
    claimed = await store.claim_run("new", ttl=60)
    assert claimed is not None
    assert claimed.run_id == first.run_id


# --- lost answers ---------------------------------------------------------------

ROW = b"s\0\0\0\4"
"""In the answer to a statement of which one row is wanted, after all of its work."""


@pytest.fixture
async def wire(server):
    async with CutWire(server.port) as wire:
        yield wire


@pytest.fixture
async def fragile(server, name, wire):
    """A store whose wire can be cut."""
    settings = server.settings(name, host="127.0.0.1", port=wire.port)
    async with Database(settings) as database:
        yield PostgresRunStore(database)


async def test_what_is_made_again_after_a_lost_answer_happens_once(fragile, wire, store):
    run_id = uuid4()
    wire.swallow(ROW)
    record = await fragile.create_run(run_id, service="test", status="running", fact=1)
    assert record["fact"] == 1
    with pytest.raises(RunExistsError):
        await fragile.create_run(run_id, service="test")

    wire.swallow(ROW)
    lease = await fragile.acquire_lease(run_id, "me", ttl=3600)
    assert lease.token == 1

    wire.swallow(ROW)
    await fragile.commit(lease, [entry("a")], events=[event(), event()])
    wire.swallow(ROW)
    await fragile.commit(lease, [entry("b")])
    wire.swallow(ROW)
    await fragile.commit(lease, [entry("c"), entry("d")], removed=["a"], events=[event()])
    assert await keys(store, run_id) == ["b", "c", "d"]
    assert len(await store.read_events(run_id)) == 3

    await fragile.open_wait(lease, "w", stage="s", name="n")
    wire.swallow(b"COMMIT")
    assert await fragile.park_run(lease, ["w"])
    wire.swallow(b"COMMIT")
    receipt = await fragile.signal_run(run_id, "n", b"answer", signal_id="1")
    assert (receipt.wait_id, receipt.repeated) == ("w", True)

    lease = await fragile.acquire_lease(run_id, "me", ttl=3600)
    wire.swallow(b"COMMIT")
    await fragile.commit(lease, events=[event()], status=RunStatus.COMPLETED, facts={"x": 2})
    record = await store.get_run(run_id)
    assert (record.status, record["x"]) == ("completed", 2)
    assert len(await store.read_events(run_id)) == 4
    assert await store.get_lease(run_id) is None
    assert wire.cuts == 8


async def test_what_must_not_be_made_twice_says_that_nobody_knows(fragile, wire, store):
    lease = await leased(store)
    wire.swallow(ROW)
    with pytest.raises(OutcomeUnknownError):
        await fragile.append_events(lease.run_id, [event()])
    assert len(await store.read_events(lease.run_id)) == 1
    wire.swallow(b"COMMIT")
    with pytest.raises(OutcomeUnknownError):
        await fragile.write_value("a", "k", b"1", expected=0)
    assert (await store.read_value("a", "k")).version == 1


async def test_a_commit_that_is_made_again_too_late_is_refused(fragile, wire, store):
    lease = await leased(store)
    taken = await store.acquire_lease(lease.run_id, "other", ttl=60, take_over=lease.token)
    wire.cut()
    with pytest.raises(LeaseLostError):
        await fragile.commit(lease, [entry("a")], events=[event()])
    await store.commit(taken, [entry("b")])
    assert await keys(store, lease.run_id) == ["b"]


async def test_connections_that_are_cut_all_the_time_lose_and_double_nothing(fragile, wire, store):
    lease = await leased(store)
    wire.cut_every(19)  # anywhere: in connecting, in asking, in the answer
    for number in range(60):
        await fragile.commit(lease, [entry(f"{number:02}")], events=[event(f"e.{number}")])
    assert await keys(store, lease.run_id) == [f"{number:02}" for number in range(60)]
    found = await store.read_events(lease.run_id)
    assert [each.type for each in found] == [f"e.{number}" for number in range(60)]
    assert wire.cuts > 2


# --- news -----------------------------------------------------------------------


async def test_an_answer_wakes_whoever_waits_in_another_process(store, server, name):
    lease = await leased(store)
    await store.open_wait(lease, "w", stage="s", name="n")
    async with Database(server.settings(name)) as database:
        elsewhere = PostgresRunStore(database)
        async with elsewhere.news(lease.run_id) as news:
            assert not await news.wait(0)
            await store.signal_run(lease.run_id, "n", b"answer")
            assert await news.wait(30)
            await store.request_cancel(lease.run_id, "enough")
            assert await news.wait(30)


async def test_a_run_that_waits_goes_on_by_the_news_of_an_answer(
    store, database, server, name, monkeypatch
):
    monkeypatch.setattr("stageflow._engine.waiting.POLL_SECONDS", 3600.0)

    async def ask(ctx: StageContext):
        return {"answer": await ctx.wait_for("approval")}

    async def answer(run_id):
        listens = "select count(*) from pg_stat_activity where query ilike 'listen%'"
        while not await database.fetchval(f"{listens} and datname = current_database()"):  # noqa: ASYNC110 - nothing tells
            await anyio.sleep(0.005)
        async with (
            Database(server.settings(name)) as elsewhere,
            Runtime(run_store=PostgresRunStore(elsewhere)) as other,
        ):
            await other.signal(run_id, "approval", "yes", resume=False)

    run_id = uuid4()
    async with Runtime(run_store=store, durability="step") as runtime:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(answer, run_id)
                outcome = await runtime.run(Pipeline("asks").with_stage("ask", ask), run_id=run_id)
    assert outcome.outputs["ask"].data == {"answer": "yes"}


# --- the server dies ------------------------------------------------------------


@pytest.fixture(scope="module")
def mortal():
    """A server of our own, which keeps what it has committed when it is killed."""
    server = own_server(safe=True)
    yield server
    server.remove()


async def test_a_run_goes_on_when_the_server_is_killed_and_started_again(mortal):
    ran: list[str] = []

    def restart():
        mortal.stop(signal.SIGQUIT)
        mortal.start()

    def stage(number):
        async def body(ctx: StageContext) -> dict[str, int]:
            ran.append(ctx.stage_name)
            if number in (3, 9):  # while the stage beside it commits
                await anyio.to_thread.run_sync(restart)
            return {"n": number}

        return body

    pipeline = Pipeline("long")
    for number in range(12):
        needs = [f"s{number - 2}"] if number > 1 else []
        pipeline = pipeline.with_stage(f"s{number}", stage(number), dependencies=needs)
    settings = mortal.settings("postgres", migrate_on_open=True)
    async with Database(settings) as database:
        store = PostgresRunStore(database)
        async with Runtime(run_store=PostgresRunStore(database)) as runtime:
            outcome = await runtime.run(pipeline.build(), durability="step")
        outcome.raise_for_status()
        kept = await keys(store, outcome.run_id)
        events = await store.read_events(outcome.run_id)
        record = await store.get_run(outcome.run_id)
    assert sorted(ran) == sorted(f"s{number}" for number in range(12))
    assert {key for key in kept if key.startswith("stage/")} == {f"stage/{name}" for name in ran}
    assert [each.type for each in events].count("stage.completed") == 12
    assert record.status == "completed"


async def test_a_server_that_stays_away_is_not_waited_for_for_ever(mortal):
    settings = mortal.settings("postgres", migrate_on_open=True, reconnect_timeout=0.2)
    async with Database(settings) as database:
        mortal.stop(signal.SIGQUIT)
        with pytest.raises(StorageUnavailableError):
            await PostgresRunStore(database).get_run(uuid4())
        mortal.start()
        assert await PostgresRunStore(database).get_run(uuid4()) is None
