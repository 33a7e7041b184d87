"""Scatters: items from a function or a reader, worked on side by side, gathered."""

from __future__ import annotations

import threading
from itertools import pairwise

import anyio
import anyio.lowlevel
import pytest

from stageflow.assets import (
    AssetDefinitionError,
    AssetFailedError,
    Assets,
    GatherError,
    ItemTimeoutError,
    ScatterFailedError,
    asset,
    scatter,
)
from stageflow.builtin.custom_reader import CustomItemReader, CustomReaderSettings
from stageflow.builtin.memory_scatter_coordinator import MemoryScatterCoordinator
from support.scatters import keep_coordinator

pytestmark = pytest.mark.anyio


@asset
def words():
    return ["one", "two", "three"]


def of_words(words):
    return words


def no_items():
    return []


async def test_each_item_is_worked_on_and_the_results_are_a_dictionary(backends):
    @asset
    def prefix():
        return "n"

    @scatter(of_words)
    async def lengths(word, prefix, ctx):
        return f"{prefix}{len(word)} {ctx.attempt}"

    async with backends.open([words, prefix, lengths]) as store:
        done = await store.materialize("lengths")
        assert await store.get("lengths") == {"one": "n3 1", "two": "n3 1", "three": "n5 1"}
        assert done.record.metadata == {"items": 3, "failed_items": 0}
        assert set(done.record.upstream) == {"words", "prefix"}
        assert (await store.materialize("lengths")).state == "fresh"


@pytest.mark.parametrize("kind", ["list", "generator", "async generator", "async function"])
async def test_items_come_in_every_way_in_which_python_gives_them(backends, kind):
    async def later():
        yield 1
        yield 2

    async def awaited():
        return [1, 2]

    ways = {
        "list": lambda: [1, 2],
        "generator": lambda: iter((1, 2)),
        "async generator": later,
        "async function": awaited,
    }

    @scatter(ways[kind])
    def doubled(number):
        return 2 * number

    async with backends.open([doubled]) as store:
        await store.materialize("doubled")
        assert await store.get("doubled") == {1: 2, 2: 4}


async def test_a_plain_function_runs_in_threads_as_many_as_may(backends):
    together = threading.Barrier(3, timeout=10)

    @scatter(lambda: range(3), max_concurrent=3)
    def meet(_number):
        together.wait()

    async with backends.open([meet]) as store:
        await store.materialize("meet")
        assert await store.get("meet") == dict.fromkeys(range(3))


async def test_no_more_items_are_under_way_than_may(backends):
    under_way, most = set(), []

    @scatter(lambda: range(20), max_concurrent=3)
    async def a(item):
        under_way.add(item)
        await anyio.lowlevel.checkpoint()
        most.append(len(under_way))
        under_way.remove(item)

    async with backends.open([a]) as store:
        await store.materialize("a")
    assert max(most) == 3


async def test_items_that_are_equal_count_as_one_in_whatever_order_they_name_things(backends):
    worked = []

    @scatter(
        lambda: [{"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1}, {"a": 1}],
        gather=lambda results: [list(pair) for pair in results.items()],
        page_size=2,
    )
    async def each(item):
        worked.append(item)

    async with backends.open([each]) as store:
        done = await store.materialize("each")
        assert await store.get("each") == [[{"a": 1, "b": 2}, None], [{"a": 1}, None]]
    assert worked == [{"a": 1, "b": 2}, {"a": 1}]
    assert done.record.metadata == {"items": 2, "failed_items": 0, "duplicate_items": 2}


async def test_items_start_before_the_reader_is_exhausted(backends):
    started = anyio.Event()

    async def endless_at_first():
        for number in range(4):
            yield number
        await started.wait()
        yield 4

    @scatter(endless_at_first, page_size=2)
    async def a(_item):
        started.set()

    async with backends.open([a]) as store:
        with anyio.fail_after(5):
            await store.materialize("a")
        assert len(await store.get("a")) == 5


async def test_no_more_pages_are_read_than_there_is_work_for(backends):
    read, done, ahead = [], [], []

    def numbers():
        for number in range(1000):
            read.append(number)
            yield number

    @scatter(numbers, page_size=10, max_concurrent=2, fold=lambda n, page: n + len(page), initial=0)
    async def a(item):
        await anyio.lowlevel.checkpoint()
        done.append(item)
        ahead.append(len(read) - len(done))

    async with backends.open([a]) as store:
        await store.materialize("a")
        assert await store.get("a") == 1000
    assert max(ahead) <= 40


async def test_results_are_folded_page_by_page(backends):
    sizes = []

    def add(total, page):
        sizes.append(len(page))
        return total + sum(result for _, result in page)

    @scatter(lambda: range(10), fold=add, initial=100, page_size=4)
    async def a(item):
        return item

    async with backends.open([a]) as store:
        await store.materialize("a")
        assert await store.get("a") == 145
    assert sizes == [4, 4, 2]


async def test_a_gather_sees_failures_and_the_context_if_it_asks(backends):
    def gather(results, failures, ctx):
        ctx.add_metadata(seen=True)
        return {"ok": dict(results), "failed": sorted(failures)}

    @scatter(lambda: range(4), gather=gather, failure_mode="partial")
    async def a(item):
        if item % 2:
            raise ValueError(item)
        return item

    async with backends.open([a]) as store:
        done = await store.materialize("a")
        assert await store.get("a") == {"ok": {0: 0, 2: 2}, "failed": [1, 3]}
    assert done.record.metadata == {"items": 4, "failed_items": 2, "seen": True}


async def test_items_that_are_no_keys_of_a_dictionary_want_a_gather(backends):
    @scatter(lambda: [{"a": 1}])
    async def a(_item):
        pass

    async with backends.open([a]) as store:
        with pytest.raises(AssetFailedError) as raised:
            await store.materialize("a")
    assert isinstance(raised.value.original, GatherError)


async def test_one_failure_is_one_too_many_unless_some_are_allowed(backends):
    worked = []

    @scatter(lambda: range(1000), page_size=10, max_concurrent=1)
    async def a(item):
        worked.append(item)
        if item == 5:
            raise ValueError("five")

    async with backends.open([a]) as store:
        with pytest.raises(AssetFailedError) as raised:
            await store.materialize("a")
    error = raised.value.original
    assert isinstance(error, ScatterFailedError)
    assert error.errors == ((5, "ValueError: five"),)
    assert error.state.failed == 1
    assert len(worked) < 30  # the rest was not worth beginning


@pytest.mark.parametrize(
    ("threshold", "failing", "is_made"),
    [(2, 2, True), (2, 3, False), (0.2, 2, True), (0.2, 3, False)],
)
async def test_a_threshold_is_exceeded_not_reached(backends, threshold, failing, is_made):
    @scatter(lambda: range(10), failure_mode="partial", failure_threshold=threshold)
    async def a(item):
        if item < failing:
            raise ValueError

    async with backends.open([a]) as store:
        if is_made:
            await store.materialize("a")
            assert len(await store.get("a")) == 10 - failing
        else:
            with pytest.raises(AssetFailedError):
                await store.materialize("a")


async def test_an_item_is_attempted_as_often_as_it_may_be(backends):
    attempts = []

    @scatter(lambda: ["x"], max_attempts=3)
    async def a(item):
        attempts.append(item)
        if len(attempts) < 3:
            raise ValueError("not yet")
        return "done"

    async with backends.open([a]) as store:
        await store.materialize("a")
        assert await store.get("a") == {"x": "done"}
    assert attempts == ["x", "x", "x"]


async def test_an_item_that_takes_too_long_fails(backends):
    @scatter(lambda: ["slow", "quick"], item_timeout=5.0, failure_mode="partial")
    async def a(item):
        if item == "slow":
            await backends.clock.sleep(60)
        return item

    async with backends.open([a]) as store:
        await store.materialize("a")
        assert await store.get("a") == {"quick": "quick"}
    assert backends.clock.monotonic() < 60


async def test_the_time_of_an_item_says_whose_it_was(backends):
    @scatter(lambda: ["slow"], item_timeout=5.0)
    async def a(_item):
        await backends.clock.sleep(60)

    async with backends.open([a]) as store:
        with pytest.raises(AssetFailedError, match="ItemTimeoutError"):
            await store.materialize("a")
    assert ItemTimeoutError("a", 5.0).timeout == 5.0


async def test_items_begin_no_faster_than_the_rate_allows(backends):
    times = []

    @scatter(lambda: range(5), rate_limit=2.0)
    async def a(_item):
        times.append(backends.clock.monotonic())

    async with backends.open([a]) as store:
        await store.materialize("a")
    assert [after - before for before, after in pairwise(times)] == [0.5] * 4


async def test_a_result_that_cannot_be_stored_is_the_failure_of_its_item(backends):
    @scatter(lambda: ["bad", "good"], failure_mode="partial")
    async def a(item):
        return object() if item == "bad" else item

    async with backends.open([a]) as store:
        done = await store.materialize("a")
        assert await store.get("a") == {"good": "good"}
    assert done.record.metadata == {"items": 2, "failed_items": 1}


async def test_the_items_of_each_partition_are_its_own(backends):
    @scatter(lambda ctx: [f"{ctx.partition}{n}" for n in range(2)], partitions=["x", "y"])
    async def a(item):
        return item

    async with backends.open([a]) as store:
        await store.backfill("a")
        assert await store.get("a", "x") == {"x0": "x0", "x1": "x1"}
        assert await store.get("a", "y") == {"y0": "y0", "y1": "y1"}


async def test_a_scatter_without_items_gathers_nothing(backends):
    @scatter(no_items)
    async def a(_item):
        raise AssertionError

    async with backends.open([a]) as store:
        await store.materialize("a")
        assert await store.get("a") == {}


async def test_what_the_source_raises_is_why_the_asset_failed(backends):
    def items():
        yield 1
        raise OSError("the disk")

    @scatter(items)
    async def a(_item):
        pass

    async with backends.open([a]) as store:
        with pytest.raises(AssetFailedError) as raised:
            await store.materialize("a")
    assert isinstance(raised.value.original, OSError)


async def test_a_source_that_gives_nothing_to_iterate_over_is_told(backends):
    @scatter(lambda: 5)
    async def a(item):
        return item

    async with backends.open([a]) as store:
        with pytest.raises(AssetFailedError, match="returned int, nothing to iterate over"):
            await store.materialize("a")


async def test_a_reader_is_found_by_its_name(backends, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"n": 1}\nnot json\n{"n": 2}\n')

    @scatter(
        reader="jsonl",
        reader_config={"path": str(path), "on_error": "skip"},
        gather=lambda results: sum(results.values()),
    )
    async def a(row):
        return row["n"]

    async with backends.open([a]) as store:
        done = await store.materialize("a")
        assert await store.get("a") == 3
    assert done.record.metadata["skipped_rows"] == 1


async def test_a_reader_may_be_an_object_and_is_closed(backends):
    closed = []
    settings = CustomReaderSettings(
        init=lambda config, deps: {"left": list(deps["words"]), **config},
        read=lambda state, n: (state["left"][:n], None),
        close=lambda state: closed.append(state["x"]),
    )

    @scatter(reader=CustomItemReader(settings), reader_config={"x": 1})
    async def a(item, words):
        return len(words)

    async with backends.open([words, a]) as store:
        await store.materialize("a")
        assert await store.get("a") == {"one": 3, "two": 3, "three": 3}
    assert closed == [1]


async def test_an_executor_runs_the_items(backends):
    from support.remote_scatters import parsed

    async with backends.open([parsed]) as store:
        await store.materialize("parsed")
        assert await store.get("parsed") == {"1": [1, "x"], "2": [2, "x"]}


async def test_a_function_that_cannot_be_sent_is_told_before_any_item_is_read(backends):
    @scatter(lambda: pytest.fail("read"), executor="inline")
    def a(item):
        return item

    async with backends.open([a]) as store:
        with pytest.raises(AssetFailedError, match="cannot be sent"):
            await store.materialize("a")


def test_every_wrong_option_is_told_at_once():
    @scatter(
        max_concurrent=0,
        rate_limit=-1,
        failure_mode="some",
        failure_threshold=2.5,
        max_attempts=True,
        item_timeout=0,
        gather=len,
        fold=len,
    )
    async def a(item):
        return item

    with pytest.raises(AssetDefinitionError) as raised:
        Assets([a])
    wrong = {fault.summary.partition(" has ")[2].partition("=")[0] for fault in raised.value.faults}
    assert wrong == {
        "max_concurrent",
        "rate_limit",
        "failure_mode",
        "failure_threshold",
        "max_attempts",
        "item_timeout",
        "items",
        "gather",
    }


def test_a_function_without_a_parameter_for_the_item_is_told():
    @scatter(no_items)
    def a():
        return 1

    with pytest.raises(AssetDefinitionError, match="whose first parameter is given the item"):
        Assets([a])


# --- going on -----------------------------------------------------------------------------------


async def test_what_was_interrupted_goes_on_where_it_was(backends):
    coordinator = MemoryScatterCoordinator(clock=backends.clock)
    worked, read = [], []
    reached = anyio.Event()

    def numbers():
        for number in range(100):
            read.append(number)
            yield number

    def build(*, stops):
        @scatter(numbers, page_size=10, max_concurrent=2)
        async def a(item):
            if stops and item == 35:
                reached.set()
                await anyio.sleep_forever()
            worked.append(item)
            return item

        return a

    async with backends.open([build(stops=True)]) as store:
        keep_coordinator(store, coordinator)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.materialize, "a")
            await reached.wait()
            for _ in range(500):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
    assert 35 not in worked
    before = len(worked)
    read.clear()
    async with backends.open([build(stops=False)]) as store:
        keep_coordinator(store, coordinator)
        await store.materialize("a")
        assert await store.get("a") == {n: n for n in range(100)}
    assert sorted(worked) == list(range(100))  # none of them twice
    assert len(worked) - before < 70
    told = [data for kind, data in backends.events if kind == "asset.scatter_started"]
    assert [data["resumed"] for data in told] == [False, True]
    assert "MemoryScatterCoordinator(0 barriers)" in repr(coordinator)  # forgotten at last


async def test_what_failed_is_begun_anew_with_what_was_completed(backends):
    coordinator = MemoryScatterCoordinator(clock=backends.clock)
    worked, is_mended = [], []

    @scatter(lambda: range(50), page_size=10, max_concurrent=1)
    async def a(item):
        worked.append(item)
        if item == 25 and not is_mended:
            raise ValueError("not yet")
        return item

    async with backends.open([a]) as store:
        keep_coordinator(store, coordinator)
        for _ in range(2):
            with pytest.raises(AssetFailedError):
                await store.materialize("a")
        is_mended.append(True)
        await store.materialize("a")
        assert await store.get("a") == {n: n for n in range(50)}
    assert sorted(worked) == sorted([*range(50), 25, 25])
    assert "(0 barriers)" in repr(coordinator)


async def test_what_is_made_from_other_data_begins_anew(backends):
    coordinator = MemoryScatterCoordinator(clock=backends.clock)
    factor = [1]

    @asset
    def base():
        return factor[0]

    @scatter(lambda: range(3), max_concurrent=1)
    async def a(item, base):
        if item == 2 and base == 1:
            raise ValueError
        return item * base

    async with backends.open([base, a]) as store:
        keep_coordinator(store, coordinator)
        with pytest.raises(AssetFailedError):
            await store.materialize("a")
        factor[0] = 10
        await store.materialize("base", force=True)
        await store.materialize("a")
        assert await store.get("a") == {0: 0, 1: 10, 2: 20}


async def test_forcing_it_works_on_all_items_again(backends):
    coordinator = MemoryScatterCoordinator(clock=backends.clock)
    worked = []

    @scatter(lambda: range(3))
    async def a(item):
        worked.append(item)

    async with backends.open([a]) as store:
        keep_coordinator(store, coordinator)
        await store.materialize("a")
        await store.materialize("a", force=True)
    assert worked == [0, 1, 2, 0, 1, 2]


async def test_without_claims_nobody_goes_on_and_everything_is_right(backends):
    class Plain:
        """A coordinator that can do what the contract says, and no more."""

        def __init__(self):
            self._inner = MemoryScatterCoordinator(clock=backends.clock)

        def __getattr__(self, name):
            if name in {"capabilities", "claim", "checkpoint", "gather_pages", "delete_run"}:
                raise AttributeError(name)
            return getattr(self._inner, name)

    coordinator, worked = Plain(), []

    @scatter(lambda: range(5), max_concurrent=1)
    async def a(item):
        worked.append(item)
        if len(worked) == 3:
            raise ValueError
        return item

    async with backends.open([a]) as store:
        keep_coordinator(store, coordinator)
        with pytest.raises(AssetFailedError):
            await store.materialize("a")
        await store.materialize("a")
        assert await store.get("a") == {n: n for n in range(5)}
    assert worked == [0, 1, 2, 0, 1, 2, 3, 4]


# --- faults of earlier systems --------------------------------------------------------------------


async def test_fs1222_items_are_inserted_and_recorded_by_the_page(backends):
    calls = []

    class Counting(MemoryScatterCoordinator):
        async def insert_results(self, barrier_id, keys, **options):
            calls.append("insert")
            return await super().insert_results(barrier_id, keys, **options)

        async def record(self, barrier_id, **outcomes):
            calls.append("record")
            return await super().record(barrier_id, **outcomes)

    @scatter(lambda: range(1000), page_size=100, failure_mode="partial")
    async def a(item):
        if item % 2:
            raise ValueError

    async with backends.open([a]) as store:
        keep_coordinator(store, Counting(clock=backends.clock))
        await store.materialize("a")
    assert calls.count("insert") <= 11
    assert calls.count("record") <= 60


async def test_fs1222_items_checkpoint_and_seal_are_inserted_in_one_call(backends):
    calls = []

    class Watched(MemoryScatterCoordinator):
        async def create_barrier(self, run_id, asset_name, partition, **options):
            calls.append(options)
            return await super().create_barrier(run_id, asset_name, partition, **options)

        async def insert_results(self, barrier_id, keys, **options):
            keys = list(keys)
            calls.append((keys, options["checkpoint"], options["sealed"]))
            return await super().insert_results(barrier_id, keys, **options)

    @scatter(lambda: range(5), page_size=2, failure_mode="partial", failure_threshold=1)
    async def a(item):
        pass

    async with backends.open([a]) as store:
        keep_coordinator(store, Watched(clock=backends.clock))
        await store.materialize("a")
    assert calls == [
        {"sealed": False, "failure_threshold": 1, "failure_mode": "partial"},
        ([0, 1], {"position": 2}, False),
        ([2, 3], {"position": 4}, False),
        ([4], None, True),
    ]


@pytest.mark.parametrize("call", ["create_barrier", "insert_results", "record", "gather_pages"])
async def test_fs1222_what_goes_wrong_with_the_coordinator_surfaces(backends, call):
    class Failing(MemoryScatterCoordinator):
        pass

    def fail(*_, **__):
        raise ConnectionError("gone")

    setattr(Failing, call, fail)

    @scatter(lambda: range(5))
    async def a(item):
        pass

    async with backends.open([a]) as store:
        keep_coordinator(store, Failing(clock=backends.clock))
        with pytest.raises(AssetFailedError, match="gone"):
            await store.materialize("a")


async def test_fs1214_items_and_results_pass_through_the_codec(backends):
    given = {"a": (1, 2)}

    @scatter(lambda: [given], gather=lambda results: [list(pair) for pair in results.items()])
    async def a(item):
        assert item is not given
        return item

    async with backends.open([a]) as store:
        await store.materialize("a")
        assert await store.get("a") == [[given, given]]
