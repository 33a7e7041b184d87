"""Scatter coordinators against a simple model, packed tightly, and shared by processes."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections import Counter

import anyio
import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stageflow.builtin import _packed_items
from stageflow.builtin._packed_items import CANCELLED, COMPLETED, FAILED, PENDING, PackedItems
from stageflow.builtin.coordinators import (
    SqliteCoordinatorSettings,
    make_sqlite_parallel_coordinator,
    make_sqlite_scatter_coordinator,
)
from stageflow.builtin.memory_scatter_coordinator import MemoryScatterCoordinator
from stageflow.builtin.sqlite_scatter_coordinator import SqliteScatterCoordinator
from stageflow.codec import UnencodableValueError
from stageflow.contracts.scatter_coordinator import (
    BarrierNotCompleteError,
    BarrierState,
    BarrierStatus,
    UnknownScatterKeyError,
)
from stageflow.contracts.scatter_keys import ScatterKey
from stageflow.contracts.storage import StorageCorruptError
from stageflow.testing import TestClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path):
    return tmp_path / "scatter.sqlite3"


@pytest.fixture(params=["memory", "sqlite"])
async def coordinator(request, path):
    made = MemoryScatterCoordinator()
    if request.param == "sqlite":
        made = SqliteScatterCoordinator(path, synchronous="normal")
    async with made:
        yield made


# --- against a model ------------------------------------------------------------------

pages = st.lists(st.integers(0, 7), max_size=4)
ended = st.lists(st.integers(0, 3), max_size=3) | pages
workers = st.sampled_from("ab")
steps = st.one_of(
    st.tuples(st.just("insert"), pages, st.booleans()),
    st.tuples(st.just("complete"), ended),
    st.tuples(st.just("fail"), ended),
    st.tuples(st.just("claim"), workers, st.integers(0, 3), st.sampled_from([5.0, 50.0])),
    st.tuples(st.just("renew"), workers, ended, st.sampled_from([5.0, 20.0])),
    st.tuples(st.just("release"), workers, ended | st.none()),
    st.tuples(st.just("claim"), workers, st.just(2), st.just(5.0)),
    st.tuples(st.just("wait"), st.sampled_from([5.0, 10.0])),
    st.tuples(st.just("cancel")),
)
thresholds = st.sampled_from([None, None, 3, 1, 0, 0.0, 0.25, 0.5, 1.0])


@attrs.define
class Model:
    """A barrier as one would write it on paper: a row per key, everything else counted."""

    threshold: float | None
    mode: str
    rows: dict[int, str] = attrs.field(factory=dict)
    claims: dict[int, tuple[str, float]] = attrs.field(factory=dict)
    sealed: bool = False
    status: str = "pending"
    duplicates: int = 0
    now: float = 0.0

    def insert(self, page, sealed):
        new = [key for key in dict.fromkeys(page) if key not in self.rows]
        if self.status in {"cancelled", "threshold_exceeded"}:
            return []
        if self.sealed and new:
            return "refused"
        self.rows.update(dict.fromkeys(new, "pending"))
        self.duplicates += len(page) - len(new)
        self.sealed = self.sealed or sealed
        self.decide()
        return new

    def end(self, page, outcome):
        if any(key not in self.rows for key in page):
            return "unknown"
        for key in page:
            if self.rows[key] == "pending":
                self.rows[key] = outcome
                self.claims.pop(key, None)
            elif self.rows[key] == "cancelled":
                self.rows[key] = "late"
        self.decide()
        return self.status

    def cancel(self):
        self.rows = {k: "cancelled" if v == "pending" else v for k, v in self.rows.items()}
        self.claims.clear()
        if self.status == "pending":
            self.status = "cancelled"

    def decide(self):
        if self.status != "pending":
            return
        failed, total = self.count("failed"), len(self.rows)
        limit = self.threshold
        if limit is None:
            limit = total if self.mode == "partial" else 0
        elif isinstance(limit, float):
            limit = limit * total if self.sealed else total
        if failed > limit:
            self.status = "threshold_exceeded"
        elif self.sealed and not self.count("pending"):
            bad = failed and self.mode == "all_or_nothing"
            self.status = "failed" if bad else "complete"

    def claim(self, worker, limit, lease):
        self.claims = {k: claim for k, claim in self.claims.items() if claim[1] > self.now}
        free = [k for k, row in self.rows.items() if row == "pending" and k not in self.claims]
        self.claims.update(dict.fromkeys(free[:limit], (worker, self.now + lease)))
        return free[:limit]

    def held(self, worker, page):
        return [key for key in page if self.claims.get(key, ("", 0))[0] == worker]

    def count(self, *states):
        return sum(row in states for row in self.rows.values())

    def state(self):
        return BarrierState(
            status=BarrierStatus(self.status),
            total=len(self.rows),
            completed=self.count("completed"),
            failed=self.count("failed"),
            cancelled=self.count("cancelled", "late"),
            claimed=sum(deadline > self.now for _, deadline in self.claims.values()),
            late=self.count("late"),
            duplicates=self.duplicates,
            sealed=self.sealed,
        )


async def step_both(coordinator, clock, barrier_id, model, step):
    match step:
        case ("insert", page, sealed):
            expected = model.insert(page, sealed)
            if expected == "refused":
                with pytest.raises(Exception, match="sealed"):
                    await coordinator.insert_results(barrier_id, page, sealed=sealed)
            else:
                found = await coordinator.insert_results(barrier_id, page, sealed=sealed)
                assert ([key.value for key in found.added], found.status) == (
                    expected,
                    model.status,
                )
        case ("complete" | "fail" as kind, page):
            done = kind == "complete"
            expected = model.end(page, "completed" if done else "failed")
            outcomes = {"completed" if done else "failed": [(key, [key]) for key in page]}
            if expected == "unknown":
                with pytest.raises(UnknownScatterKeyError):
                    await coordinator.record(barrier_id, **outcomes)
            else:
                assert await coordinator.record(barrier_id, **outcomes) == expected
        case ("claim", worker, limit, lease):
            found = await coordinator.claim(barrier_id, worker, limit=limit, lease=lease)
            assert [key.value for key in found] == model.claim(worker, limit, lease)
        case ("renew", worker, page, lease):
            held = model.held(worker, page)
            found = await coordinator.renew(barrier_id, worker, page, lease=lease)
            assert [key.value for key in found] == held
            model.claims.update(dict.fromkeys(held, (worker, model.now + lease)))
        case ("release", worker, page):
            held = set(model.held(worker, model.rows if page is None else page))
            assert await coordinator.release(barrier_id, worker, page) == len(held)
            for key in held:
                del model.claims[key]
        case ("wait", seconds):
            clock.tick(seconds)
            model.now += seconds
        case ("cancel",):
            await coordinator.cancel(barrier_id)
            model.cancel()


async def play(make, threshold, mode, played):
    clock, model = TestClock(), Model(threshold, mode)
    async with make(clock) as coordinator:
        barrier_id = await coordinator.create_barrier(
            *("run", "asset", None),
            keys=range(4),
            sealed=False,
            failure_threshold=threshold,
            failure_mode=mode,
        )
        model.insert(range(4), False)
        for step in played:
            await step_both(coordinator, clock, barrier_id, model, step)
            assert await coordinator.status(barrier_id) == model.state(), step
        for failed, outcome in ((False, "completed"), (True, "failed")):
            pages = coordinator.gather_pages(barrier_id, 3, failed=failed)
            found = [pair async for page in pages for pair in page]
            assert found == [(k, [k]) for k, row in model.rows.items() if row == outcome]
        if model.status == "complete":
            assert list(await coordinator.gather(barrier_id)) == [
                key for key, row in model.rows.items() if row == "completed"
            ]
        else:
            with pytest.raises(BarrierNotCompleteError):
                await coordinator.gather(barrier_id)


@pytest.mark.parametrize(
    "make",
    [
        lambda clock: MemoryScatterCoordinator(clock=clock),
        lambda clock: SqliteScatterCoordinator(":memory:", clock=clock),
    ],
    ids=["memory", "sqlite"],
)
@settings(max_examples=60, deadline=None)
@given(
    threshold=thresholds,
    mode=st.sampled_from(["partial", "all_or_nothing"]),
    played=st.lists(steps, min_size=12, max_size=24),
)
def test_a_barrier_does_what_its_model_does(make, threshold, mode, played):
    anyio.run(play, make, threshold, mode, played)


# --- packing ----------------------------------------------------------------------------


def packed(numbers):
    items = PackedItems()
    for number in numbers:
        items.add(ScatterKey.of(number))
    return items


def test_what_has_ended_is_packed_and_read_back():
    items = packed(range(600))
    for number in reversed(range(600)):
        items.end(number, FAILED if number % 2 else COMPLETED, b"%d" % number)
    whole = items._blocks[:2]
    assert all(type(half) is bytes for block in whole for half in (block.keys, block.outcomes))
    assert sum(len(block.keys) + len(block.outcomes) for block in whole) < 512 * 10
    for state, first in ((COMPLETED, 0), (FAILED, 1)):
        expected = [(n, ScatterKey.of(n).payload, b"%d" % n) for n in range(first, 600, 2)]
        assert list(items.outcomes(0, state, None)) == expected
        assert list(items.outcomes(300, state, 5)) == expected[150:155]
    assert [items.key(n) for n in (0, 255, 256, 599)] == [
        ScatterKey.of(n).payload for n in (0, 255, 256, 599)
    ]


def test_a_block_that_was_partly_cancelled_is_read_back():
    items = packed(range(300))
    items.end(3, COMPLETED, b"x")
    assert items.cancel_pending() == 299
    assert items.next_pending(0) == -1
    assert Counter(items.states) == {CANCELLED: 299, COMPLETED: 1}
    assert [number for number, _, _ in items.outcomes(0, COMPLETED, None)] == [3]


def test_an_item_is_found_by_its_digest_alone(monkeypatch):
    # A digest that begins where another one ends may be found across two entries.
    items = PackedItems()
    first, second = ScatterKey.of("first"), ScatterKey.of("second")
    first._digest = b"\x00" * 16
    second._digest = b"\x00" * 12 + b"\x01" + b"\x00" * 3
    across = ScatterKey.of("across")
    across._digest = b"\x00" * 16
    assert items.add(second)
    assert items.find(b"\x00" * 16) is None
    assert items.add(first)
    assert not items.add(across)
    assert items.find(first.digest) == 1
    assert items.find(b"\xff" * 16) is None
    assert list(items.states) == [PENDING] * 2


async def test_items_stay_packed_while_they_come_and_go():
    async with MemoryScatterCoordinator() as coordinator:
        barrier_id = await coordinator.create_barrier("run", "asset", None, sealed=False)
        for start in range(0, 1024, 128):
            page = await coordinator.insert_results(barrier_id, range(start, start + 128))
            await coordinator.record(barrier_id, completed=[(key, None) for key in page.added])
        blocks = coordinator._barriers[barrier_id].items._blocks
        assert len(blocks) == 1024 // _packed_items._BLOCK
        assert all(type(b.keys) is bytes and type(b.outcomes) is bytes for b in blocks)


# --- known faults -----------------------------------------------------------------------


async def test_fs1222_a_barrier_is_created_with_its_items(coordinator):
    with pytest.raises(UnencodableValueError):
        await coordinator.create_barrier("run", "asset", None, keys=["a", object()])
    barrier_id = await coordinator.create_barrier("run", "asset", None, keys=["a", "b"])
    state = await coordinator.status(barrier_id)
    assert (state.total, state.sealed, state.status) == (2, True, "pending")


async def test_fs1222_items_are_inserted_by_the_page(path, monkeypatch):
    async with SqliteScatterCoordinator(path, synchronous="normal") as coordinator:
        barrier_id = await coordinator.create_barrier("run", "asset", None, sealed=False)
        transactions = []
        write = coordinator._database.write
        monkeypatch.setattr(
            coordinator._database, "write", lambda work: transactions.append(1) or write(work)
        )
        for start in range(0, 3000, 1000):
            page = await coordinator.insert_results(
                barrier_id, range(start, start + 1000), checkpoint={"at": start}
            )
            await coordinator.record(barrier_id, completed=[(key, None) for key in page.added])
        assert len(transactions) == 6
        assert (await coordinator.status(barrier_id)).completed == 3000


async def test_fs1222_ids_of_two_runs_never_meet(coordinator):
    ids = {
        await coordinator.create_barrier(run, asset, partition)
        for run, asset, partition in (("1", "a", "b"), ("1/a", "b", None), ("2", "a", "b"))
    }
    assert len(ids) == 3


async def test_fs1214_keys_and_results_do_not_stay_python_objects_in_memory():
    async with MemoryScatterCoordinator() as coordinator:
        barrier_id = await coordinator.create_barrier("run", "asset", None, keys=[("eu", 1)])
        with pytest.raises(UnencodableValueError):
            await coordinator.complete(barrier_id, ("eu", 1), lambda: None)
        result = {"at": ("tuple", 1)}
        await coordinator.complete(barrier_id, ("eu", 1), result)
        found = (await coordinator.gather(barrier_id))["eu", 1]
        assert found == result
        assert found is not result


# --- one file ---------------------------------------------------------------------------


async def test_a_barrier_outlives_the_process(path):
    async with SqliteScatterCoordinator(path, synchronous="normal") as first:
        barrier_id = await first.create_barrier(
            "run", "asset", "p", sealed=False, failure_threshold=0.5, failure_mode="partial"
        )
        await first.insert_results(barrier_id, range(4), checkpoint={"offset": 4})
        await first.claim(barrier_id, "first", limit=2)
        await first.complete(barrier_id, 0, "zero")
    async with SqliteScatterCoordinator(path, synchronous="normal") as second:
        assert await second.create_barrier("run", "asset", "p") == barrier_id
        assert await second.checkpoint(barrier_id) == {"offset": 4}
        assert await second.release(barrier_id, "first") == 1
        left = await second.claim(barrier_id, "second", limit=9)
        assert [key.value for key in left] == [1, 2, 3]
        await second.record(barrier_id, completed=[(key, key.value) for key in left])
        inserted = await second.insert_results(barrier_id, [], sealed=True)
        assert inserted.status == "complete"
        assert await second.gather(barrier_id) == {0: "zero", 1: 1, 2: 2, 3: 3}


async def test_what_is_damaged_is_told(path):
    async with SqliteScatterCoordinator(path, synchronous="normal") as coordinator:
        barrier_id = await coordinator.create_barrier("run", "asset", None, keys=["a"])
        await coordinator.complete(barrier_id, "a", 1)
        with sqlite3.connect(path) as other:
            other.execute("update scatter_items set outcome = x'00'")
        other.close()
        with pytest.raises(StorageCorruptError, match="run/asset/-") as caught:
            await coordinator.gather(barrier_id)
        assert caught.value.storage == str(path)
        assert "scatter.sqlite3" in repr(coordinator)


async def test_deleting_a_barrier_leaves_no_rows(path):
    async with SqliteScatterCoordinator(path, synchronous="normal") as coordinator:
        barrier_id = await coordinator.create_barrier("run", "asset", None, keys=range(5))
        await coordinator.delete_barrier(barrier_id)
        count = await coordinator._database.read(
            lambda c: c.execute("select count(*) from scatter_items").fetchone()[0]
        )
        assert count == 0


async def test_coordinators_share_a_file(path):
    made = SqliteCoordinatorSettings(path=path, synchronous="normal")
    async with (
        make_sqlite_scatter_coordinator(made) as scatter,
        make_sqlite_parallel_coordinator(made) as parallel,
    ):
        await scatter.create_barrier("run", "asset", None)
        await parallel.create_execution("run", "asset", ["a"])
    assert [file.name for file in path.parent.iterdir()] == ["scatter.sqlite3"]


async def test_a_lease_lasts_as_long_as_it_says(path):
    clock = TestClock()
    for made in (
        MemoryScatterCoordinator(clock=clock),
        SqliteScatterCoordinator(path, synchronous="normal", clock=clock),
    ):
        async with made as coordinator:
            barrier_id = await coordinator.create_barrier("run", "asset", None, keys=["a", "b"])
            await coordinator.claim(barrier_id, "first", lease=60)
            clock.tick(30)
            await coordinator.renew(barrier_id, "first", ["a"], lease=40)
            clock.tick(39)
            assert [k.value for k in await coordinator.claim(barrier_id, "x", limit=2)] == ["b"]
            clock.tick(1)
            assert (await coordinator.status(barrier_id)).claimed == 1
            assert [k.value for k in await coordinator.claim(barrier_id, "x", limit=2)] == ["a"]


_WORKER = """
import sys, anyio
from stageflow.builtin.sqlite_scatter_coordinator import SqliteScatterCoordinator

async def work(coordinator, barrier_id, name):
    while keys := await coordinator.claim(barrier_id, name, limit=7):
        for number, key in enumerate(keys):
            tell = coordinator.fail if key.value % 10 == 0 else coordinator.complete
            await tell(barrier_id, key, name)
            if number == 0:
                await tell(barrier_id, key, "again")

async def main():
    path, name = sys.argv[1:]
    async with SqliteScatterCoordinator(path, synchronous="normal", busy_timeout=30) as coordinator:
        barrier_id = await coordinator.create_barrier(
            "run", "asset", None, sealed=False, failure_mode="partial"
        )
        for start in range(0, 300, 60):
            await coordinator.insert_results(barrier_id, range(start, start + 60))
        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(work, coordinator, barrier_id, f"{name}-{number}")

anyio.run(main)
"""


@pytest.mark.slow
async def test_processes_share_a_scatter_and_counts_stay_exact(path):
    workers = [
        subprocess.Popen([sys.executable, "-c", _WORKER, str(path), name])  # noqa: ASYNC220
        for name in ("a", "b", "c")
    ]
    assert [worker.wait(50) for worker in workers] == [0, 0, 0]
    async with SqliteScatterCoordinator(path, synchronous="normal") as coordinator:
        barrier_id = await coordinator.create_barrier("run", "asset", None)
        state = await coordinator.status(barrier_id)
        assert (state.total, state.completed, state.failed, state.duplicates, state.claimed) == (
            *(300, 270, 30, 600),
            0,
        )
        inserted = await coordinator.insert_results(barrier_id, [], sealed=True)
        assert inserted.status == "complete"
        results = await coordinator.gather(barrier_id)
        assert set(results.values()) <= {f"{name}-{n}" for name in "abc" for n in range(3)}
