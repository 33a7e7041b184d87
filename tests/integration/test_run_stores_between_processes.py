"""One SQLite file, several processes: one of them wins, and who dies leaves all or nothing."""

from __future__ import annotations

import shutil
import sys
from collections import Counter

import anyio
import pytest

from stageflow.builtin.sqlite_run_store import SqliteRunStore
from stageflow.contracts.waits import WaitState
from stageflow.testing import TestClock
from support.durable_calls import CALLS, RUNS, create_all, prepare, write_twice
from support.store_processes import (
    acquire_all,
    answer_all,
    at_once,
    claim_all,
    commit_or_take_over,
    count_to,
    die_at,
    die_by,
    dump,
    go_on_committing,
    kill_after,
    park_or_signal,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs processes that fork")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs.sqlite3"


def using(path, work, **given):
    """Do *work* with the store in this process, and close it."""

    async def main():
        async with SqliteRunStore(path, synchronous="normal", **given) as store:
            return await work(store)

    return anyio.run(main)


# --- one of many wins -----------------------------------------------------------


@pytest.mark.parametrize("taken_over", [False, True])
def test_one_process_acquires_a_run(path, taken_over):
    using(path, lambda store: create_all(store, ttl=60 if taken_over else None))
    token = 1 if taken_over else None
    results = at_once(path, acquire_all, runs=RUNS, take_over=token)
    winners = [[lease for lease in leases if lease] for leases in zip(*results, strict=True)]
    assert [len(leases) for leases in winners] == [1] * len(RUNS)
    assert {lease.token for (lease,) in winners} == {2 if taken_over else 1}
    held = using(path, lambda store: store.list_leases())
    assert list(held) == [lease for (lease,) in winners]


def test_one_process_claims_a_run_whose_owner_is_gone(path):
    using(path, lambda store: create_all(store, ttl=1), clock=TestClock())  # long ago
    claimed = [lease.run_id for leases in at_once(path, claim_all) for lease in leases]
    assert sorted(claimed) == RUNS


def test_who_has_lost_a_run_commits_nothing_more(path):
    lease = using(path, lambda store: create_all(store, ttl=60))[0]
    known = at_once(path, commit_or_take_over, lease=lease)
    entries = using(path, lambda store: store.load_entries(lease.run_id))
    final = [entry.key for entry in entries]
    # Each owner, in turn, had seen all there was; nothing came in behind its back.
    assert known == [final[: len(keys)] for keys in known]
    assert max(map(len, known)) == len(final)
    assert len({key[0] for key in final}) > 1, "nobody took over"


def test_counting_in_several_processes_loses_nothing(path):
    using(path, create_all)
    versions = at_once(path, count_to, goal=25)
    assert sorted(version for each in versions for version in each) == list(range(1, 101))
    counter = using(path, lambda store: store.read_value("n", "counter"))
    assert (counter.value, counter.version) == (b"100", 100)


def test_a_signal_given_by_several_processes_counts_once(path):
    waits = tuple(f"w-{number}" for number in range(10))
    lease = using(path, lambda store: create_all(store, ttl=60, waits=waits))[0]
    results = at_once(path, answer_all, run_id=lease.run_id, signals=12)
    for receipts in zip(*results, strict=True):
        assert len({wait_id for wait_id, _ in receipts}) == 1, "they were told of several waits"
        assert Counter(repeated for _, repeated in receipts) == {False: 1, True: 3}
    listed = using(path, lambda store: store.list_waits(lease.run_id))
    assert [wait.wait_id for wait in listed if wait.state is WaitState.ANSWERED] == list(waits)
    answers = {wait.value.partition(b" ")[0] for wait in listed}
    assert len(answers) == len(waits), "a signal answered two waits"


def test_a_signal_and_parking_do_not_miss_each_other(path):
    leases = using(path, lambda store: create_all(store, ttl=60, waits=("w",)))
    parked, told = at_once(path, park_or_signal, count=2, leases=leases)
    assert parked == told
    left = using(path, lambda store: store.list_leases())
    assert [lease.run_id for lease in left] == [
        lease.run_id for lease, was_parked in zip(leases, parked, strict=True) if not was_parked
    ]
    resumed = at_once(path, claim_all, count=2)
    assert sum(map(len, resumed)) == sum(parked), "a parked run that was answered is not claimed"


# --- death in the middle --------------------------------------------------------


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A file with runs that each call has something to do with."""
    path = tmp_path_factory.mktemp("prepared") / "runs.sqlite3"
    using(path, prepare, clock=TestClock())
    return path


@pytest.mark.parametrize("name", CALLS)
def test_a_process_that_dies_at_any_statement_leaves_all_or_nothing(prepared, tmp_path, name):
    done = shutil.copy(prepared, tmp_path / "done")
    using(done, CALLS[name], clock=TestClock())
    before, after = dump(prepared), dump(done)
    assert before != after
    found = []
    for point in range(1, 100):
        path = shutil.copy(prepared, tmp_path / f"{point}")
        died = die_at(path, CALLS[name], point)
        found.append(dump(path))
        if not died:
            break
        using(path, lambda store: store.list_leases())  # it can be used again
    assert not died, "it never came to its end"
    *_, last, undisturbed = found
    assert all(left in (before, after) for left in found), "some of it was left"
    assert (found[0], last, undisturbed) == (before, after, after)


def test_what_takes_two_transactions_would_be_noticed(prepared, tmp_path):
    done = shutil.copy(prepared, tmp_path / "done")
    using(done, write_twice, clock=TestClock())
    allowed, found = (dump(prepared), dump(done)), []
    for point in range(1, 20):
        path = shutil.copy(prepared, tmp_path / f"{point}")
        if not die_at(path, write_twice, point):
            break
        found.append(dump(path))
    assert any(left not in allowed for left in found)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_dies_before_or_after_a_call_as_it_is_told(prepared, tmp_path, when):
    done = shutil.copy(prepared, tmp_path / "done")
    using(done, CALLS["commit"], clock=TestClock())
    path = shutil.copy(prepared, tmp_path / "died")
    assert die_by(path, CALLS["commit"], f"commit.{when}=kill")
    assert dump(path) == dump(prepared if when == "before" else done)


def test_a_process_killed_from_outside_leaves_whole_commits(path):
    (run_id, *_) = RUNS
    using(path, create_all)
    told = 0
    for steps in (1, 3, 2, 5, 1, 4):
        kill_after(path, go_on_committing, steps, run_id=run_id)

        async def look(store):
            entries = {entry.key: entry.value for entry in await store.load_entries(run_id)}
            events = [event.data["step"] for event in await store.read_events(run_id)]
            return entries, events, (await store.get_run(run_id)).metadata

        entries, events, facts = using(path, look)
        step = len(events)
        # The step told last was under way; the ones before were done.
        assert told + steps - 1 <= step
        assert events == list(range(1, step + 1))
        assert facts == ({"step": step} if step else {})
        expected = {f"k{n}": b"%d" % step * 500 for n in range(20)} | {f"only {step}": b""}
        assert entries == (expected if step else {})
        told = step
