"""What the run stores of core do with leases, entries, waits and values beyond the contract."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stageflow.builtin.memory_run_store import MemoryRunStore
from stageflow.builtin.sqlite_run_store import SqliteRunStore
from stageflow.codec import UnencodableValueError
from stageflow.contracts.checkpoints import CheckpointEntry
from stageflow.contracts.run_store import RunEvent, RunStoreError
from stageflow.contracts.waits import WaitState
from stageflow.testing import TestClock

pytestmark = pytest.mark.anyio

RUN = UUID(int=1)
START = datetime(2025, 1, 1, tzinfo=UTC)
HALF = "caf\udce9"  # half a surrogate pair, as in the name of a file that is no text
ESCAPED = "caf\\udce9"


@pytest.fixture
def clock():
    return TestClock()


@pytest.fixture(params=["memory", "sqlite"])
async def store(request, tmp_path, clock):
    if request.param == "memory":
        opened = MemoryRunStore(clock=clock)
    else:
        path = tmp_path / "runs.sqlite3"
        opened = SqliteRunStore(path, synchronous="normal", clock=clock)
    async with opened as store:
        yield store


async def leased(store, run_id=RUN, *, ttl=60.0):
    await store.create_run(run_id, service="voice", status="running")
    return await store.acquire_lease(run_id, "me", ttl=ttl)


def entry(key, value=b"{}"):
    return CheckpointEntry(key=key, value=value)


# --- leases and entries ---------------------------------------------------------


async def test_a_number_is_not_given_again_after_the_last_entry_was_removed(store):
    lease = await leased(store)
    await store.commit(lease, [entry("a"), entry("b")])
    await store.commit(lease, removed=["b"])
    await store.commit(lease, [entry("c")])
    follower = await store.load_entries(RUN, after=2)
    assert [found.key for found in follower] == ["c"]


async def test_a_commit_writes_a_key_once_though_it_is_given_twice(store):
    lease = await leased(store)
    await store.commit(lease, [entry("a", b"1"), entry("b"), entry("a", b"2")])
    found = await store.load_entries(RUN)
    assert [(each.key, each.value) for each in found] == [("b", b"{}"), ("a", b"2")]


async def test_facts_may_be_committed_without_a_status(store):
    lease = await leased(store)
    await store.commit(lease, facts={"error": "so far", "duration_ms": 1.5, "note": (1, 2)})
    record = await store.get_run(RUN)
    assert (record.status, record.error, record.duration_ms) == ("running", "so far", 1.5)
    assert record.metadata == {"note": (1, 2)}


@pytest.mark.parametrize("bad", ["events", "facts"])
async def test_a_commit_that_cannot_be_encoded_keeps_nothing(store, bad):
    lease = await leased(store)
    given = {
        "events": {"events": [RunEvent(type="a", at=START, data={"x": object()})]},
        "facts": {"status": "completed", "facts": {"x": object()}},
    }[bad]
    with pytest.raises(UnencodableValueError):
        await store.commit(lease, [entry("a")], **given)
    assert list(await store.load_entries(RUN)) == []
    assert (await store.get_run(RUN)).status == "running"
    assert await store.get_lease(RUN) == lease


async def test_the_first_reason_to_stop_stays(store):
    await leased(store)
    assert await store.request_cancel(RUN, "too dear")
    assert await store.request_cancel(RUN, "too late")
    assert (await store.get_lease(RUN)).cancel_requested == "too dear"


async def test_a_clock_set_back_lets_a_lease_hold_longer_and_breaks_nothing(store, clock):
    lease = await leased(store, ttl=10)
    clock.shift_wall(-3600)
    assert await store.claim_run("other", ttl=10) is None
    renewed = await store.renew_lease(lease, ttl=10)
    assert renewed.expires_at == clock.now() + timedelta(seconds=10)
    clock.shift_wall(7200)
    taken = await store.claim_run("other", ttl=10)
    assert (taken.owner, taken.token) == ("other", lease.token + 1)


async def test_a_lease_has_expired_at_the_moment_at_which_it_expires(store, clock):
    await leased(store, ttl=10)
    clock.tick(10)
    assert (await store.acquire_lease(RUN, "other", ttl=10)).token == 2
    clock.tick(10)
    assert (await store.claim_run("third", ttl=10)).token == 3


async def test_a_run_that_was_never_leased_since_it_was_made_anew_is_not_claimed(store):
    await leased(store)
    await store.delete_run(RUN)
    await store.create_run(RUN, service="voice", status="waiting")
    await store.request_cancel(RUN, "enough")
    assert await store.claim_run("other", ttl=10) is None


# --- retention ------------------------------------------------------------------


async def test_a_run_is_as_old_as_its_end_whatever_was_noted_later(store, clock):
    await store.create_run(RUN, service="voice", status="failed")
    clock.tick(100)
    await store.update_status(RUN, "failed", seen_by="somebody")
    cut = START + timedelta(seconds=50)
    assert await store.prune_runs(before=cut, dry_run=True) == (RUN,)


async def test_a_run_that_ended_at_the_time_given_is_not_pruned(store):
    await store.create_run(RUN, service="voice", status="failed")
    assert await store.prune_runs(before=START) == ()


async def test_a_run_that_was_taken_up_again_ends_anew(store, clock):
    await store.create_run(RUN, service="voice", status="failed")
    await store.update_status(RUN, "running")
    cut = START + timedelta(seconds=50)
    assert await store.prune_runs(before=cut) == ()
    clock.tick(100)
    await store.update_status(RUN, "completed")
    assert await store.prune_runs(before=cut) == ()
    assert await store.prune_runs(before=cut + timedelta(seconds=51)) == (RUN,)


async def test_bug008_a_time_without_offset_prunes_nothing(store):
    await store.create_run(RUN, service="voice", status="failed")
    with pytest.raises(RunStoreError, match="no offset"):
        await store.prune_runs(before=datetime(2030, 1, 1))  # noqa: DTZ001 - that is the fault
    elsewhere = datetime.fromisoformat("2025-01-01T09:00:01+09:00")
    assert await store.prune_runs(before=elsewhere) == (RUN,)


# --- waits ----------------------------------------------------------------------


async def test_a_signal_that_is_repeated_after_the_end_is_answered_like_the_first(store):
    lease = await leased(store)
    await store.open_wait(lease, "w", stage="ask", name="approval")
    first = await store.signal_run(RUN, "approval", b"yes", signal_id="s-1")
    await store.commit(lease, status="completed")
    again = await store.signal_run(RUN, "approval", b"yes", signal_id="s-1")
    assert (first.wait_id, again.wait_id, again.repeated) == ("w", "w", True)


async def test_a_signal_that_was_kept_is_repeated_without_a_second_answer(store):
    lease = await leased(store)
    first = await store.signal_run(RUN, "approval", b"yes", signal_id="s-1")
    answered = await store.open_wait(lease, "w1", stage="ask", name="approval")
    again = await store.signal_run(RUN, "approval", b"yes", signal_id="s-1")
    opened = await store.open_wait(lease, "w2", stage="ask", name="approval")
    assert (first.wait_id, again.wait_id, again.repeated) == (None, None, True)
    assert (answered.state, opened.state) == (WaitState.ANSWERED, WaitState.OPEN)


async def test_a_parked_run_is_due_at_its_earliest_deadline(store, clock):
    lease = await leased(store)
    for name, timeout in (("a", 30.0), ("b", 20.0), ("c", None)):
        await store.open_wait(lease, name, stage="ask", name=name, timeout=timeout)
    assert await store.park_run(lease, ["a", "b", "c"])
    clock.tick(19)
    assert await store.claim_run("other", ttl=10) is None
    clock.tick(1)
    assert (await store.claim_run("other", ttl=10)).run_id == RUN


async def test_a_run_is_not_parked_for_a_wait_that_is_not_there(store):
    lease = await leased(store)
    await store.open_wait(lease, "w", stage="ask", name="approval")
    assert await store.park_run(lease, ["w", "nowhere"]) is False
    assert await store.get_lease(RUN) == lease


async def test_an_answer_of_no_bytes_is_an_answer(store):
    lease = await leased(store)
    await store.signal_run(RUN, "early", b"")
    early = await store.open_wait(lease, "w1", stage="ask", name="early")
    await store.open_wait(lease, "w2", stage="ask", name="late")
    await store.signal_run(RUN, "late", b"")
    late = (await store.list_waits(RUN))[1]
    assert (early.state, early.value) == (late.state, late.value) == (WaitState.ANSWERED, b"")


async def test_a_run_that_waits_in_memory_first_is_due_once_it_is_parked(store, clock):
    lease = await leased(store)
    await store.open_wait(lease, "w", stage="ask", name="approval", timeout=20)
    await store.commit(lease, status="waiting")
    assert await store.park_run(lease, ["w"])
    assert await store.claim_run("other", ttl=10) is None
    clock.tick(20)
    assert (await store.claim_run("other", ttl=10)).run_id == RUN


# --- names ----------------------------------------------------------------------


async def test_names_with_half_a_character_stay_apart_and_come_back(store):
    lease = await leased(store)
    await store.commit(lease, [entry(HALF, b"1"), entry(ESCAPED, b"2")])
    assert [found.key for found in await store.load_entries(RUN)] == [HALF, ESCAPED]
    for name in (HALF, ESCAPED):
        await store.open_wait(lease, name, stage=name, name=name)
    receipt = await store.signal_run(RUN, ESCAPED, b"", signal_id=HALF)
    assert receipt.wait_id == ESCAPED
    assert [(w.wait_id, w.stage, w.name) for w in await store.list_waits(RUN)] == [
        (name,) * 3 for name in (HALF, ESCAPED)
    ]
    await store.write_values(HALF, [(HALF, b"1", 0), (ESCAPED, b"2", 0)])
    assert [value.key for value in await store.list_values(HALF)] == [ESCAPED, HALF]
    assert list(await store.list_values(ESCAPED)) == []


_fresh = itertools.count()
_keys = st.text(st.characters(codec=None), max_size=4)


@given(keys=st.sets(_keys, max_size=12), prefix=_keys, after=st.none() | _keys)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_values_are_listed_by_the_bytes_of_any_keys(store, keys, prefix, after):
    namespace = f"n{next(_fresh)}"
    await store.write_values(namespace, [(key, b"", None) for key in keys])
    found = await store.list_values(namespace, prefix=prefix, after=after)

    def utf8(text):
        return text.encode("utf-8", "surrogatepass")

    wanted = sorted(
        (k for k in keys if k.startswith(prefix) and (after is None or utf8(k) > utf8(after))),
        key=utf8,
    )
    assert [value.key for value in found] == wanted


# --- values ---------------------------------------------------------------------


async def test_a_value_written_twice_in_one_call_is_written_in_order(store):
    first, second = await store.write_values("n", [("k", b"1", 0), ("k", b"2", 1)])
    assert (first.version, second.version, second.value) == (1, 2, b"2")
    assert await store.read_value("n", "k") == second


async def test_a_value_that_is_gone_is_expected_to_be_none(store):
    await store.write_value("n", "k", b"1")
    await store.delete_value("n", "k")
    assert await store.delete_value("n", "k", expected=0) is False
    again = await store.write_value("n", "k", b"2", expected=0)
    assert again.version == 2
