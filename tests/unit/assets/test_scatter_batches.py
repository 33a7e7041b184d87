"""Batches: which items a scatter's function is given together, and how they fail together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stageflow.assets import (
    AssetDefinitionError,
    AssetFailedError,
    Assets,
    Batching,
    BatchResultError,
    ItemFailure,
    asset,
    scatter,
)
from stageflow.assets.batching import Former
from stageflow.contracts.scatter_keys import ScatterKey

pytestmark = pytest.mark.anyio


def no_items():
    return []


def formed(batching, items, *, page=1000):
    former = Former(batching, page)
    keys = [ScatterKey.of(item) for item in items]
    batches = []
    for start in range(0, len(keys), page):
        batches += former.add(keys[start : start + page])
    return [[key.value for key in batch] for batch in [*batches, *former.rest()]]


def test_a_batch_has_as_many_items_as_it_may():
    assert formed(Batching(max_items=3), range(7)) == [[0, 1, 2], [3, 4, 5], [6]]


def test_batches_reach_over_pages():
    assert formed(Batching(max_items=3), range(7), page=2) == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_batch_comes_to_no_more_bytes_than_it_may():
    batching = Batching(max_bytes=10, size=len)
    words = ["12345", "123456", "1234", "1" * 30, "1", "2"]
    assert formed(batching, words) == [["12345"], ["123456", "1234"], ["1" * 30], ["1", "2"]]


def test_sizes_are_those_of_what_the_codec_writes_unless_given():
    one = len(ScatterKey.of("x").payload)
    assert formed(Batching(max_bytes=2 * one), list("abc")) == [["a", "b"], ["c"]]


def test_a_batch_has_items_of_one_group_and_no_more_than_the_cap():
    batching = Batching(group_by=lambda word: word[0], max_items=2)
    words = ["a1", "b1", "a2", "a3", "b2", "c1"]
    assert formed(batching, words) == [["a1", "a2"], ["b1", "b2"], ["a3"], ["c1"]]


def test_no_more_items_are_held_back_than_a_page_has():
    former = Former(Batching(group_by=lambda n: n, max_items=2), 10)
    given = former.add([ScatterKey.of(n) for n in range(25)])
    assert len(given) == 15
    assert sum(len(batch) for batch in former.rest()) == 10


def test_a_function_may_put_the_items_of_a_page_together():
    batching = Batching(split=lambda page: [page[::2], page[1::2]])
    assert formed(batching, range(5)) == [[0, 2, 4], [1, 3]]


def test_items_that_the_function_forgets_or_repeats_are_in_one_batch_each():
    batching = Batching(split=lambda page: [[page[0], 99], [page[0]]])
    assert formed(batching, range(3)) == [[0], [1, 2]]


@given(
    st.lists(st.integers(), unique=True, max_size=60),
    st.integers(1, 7),
    st.integers(1, 9),
    st.booleans(),
)
def test_every_item_is_in_exactly_one_batch(items, most, page, grouped):
    batching = Batching(max_items=most, group_by=(lambda n: n % 3) if grouped else None)
    batches = formed(batching, items, page=page)
    assert sorted(item for batch in batches for item in batch) == sorted(items)
    assert all(1 <= len(batch) <= most for batch in batches)
    if grouped:
        assert all(len({n % 3 for n in batch}) == 1 for batch in batches)


async def test_the_function_is_given_the_batch_and_what_batches_share(backends):
    @asset
    def factor():
        return 10

    @scatter(lambda: range(5), batch=Batching(max_items=2, shared=lambda factor: {"by": factor}))
    async def a(items, shared):
        return [item * shared["by"] for item in items]

    async with backends.open([factor, a]) as store:
        await store.materialize("a")
        assert await store.get("a") == {0: 0, 1: 10, 2: 20, 3: 30, 4: 40}


async def test_a_batch_that_gives_nothing_gives_nothing_for_each(backends):
    @scatter(lambda: range(3), batch=Batching(max_items=2, shared="the same"))
    def a(items, shared):
        assert shared == "the same"

    async with backends.open([a]) as store:
        await store.materialize("a")
        assert await store.get("a") == dict.fromkeys(range(3))


@pytest.mark.parametrize("given", [[1], "ab", 7])
async def test_one_result_for_each_item_is_wanted(backends, given):
    @scatter(lambda: range(2), batch=Batching(max_items=2))
    async def a(_items):
        return given

    async with backends.open([a]) as store:
        with pytest.raises(AssetFailedError, match="for a batch of 2 items"):
            await store.materialize("a")
    assert BatchResultError("a", 1, 2).wanted == 2


async def test_one_item_fails_its_whole_batch(backends):
    @scatter(lambda: range(4), batch=Batching(max_items=2), failure_mode="partial")
    async def a(items):
        return [ValueError("three") if item == 3 else item for item in items]

    async with backends.open([a]) as store:
        await store.materialize("a")
        assert await store.get("a") == {0: 0, 1: 1}


async def test_or_it_fails_alone_and_is_attempted_alone(backends):
    seen = []
    batch = Batching(max_items=3, on_item_error="collect_errors")

    @scatter(lambda: range(3), batch=batch, failure_mode="partial", max_attempts=3)
    async def a(items):
        seen.append(list(items))
        failed = {1: len(seen) < 3, 2: True}
        return [ItemFailure("no") if failed.get(item) else item for item in items]

    async with backends.open([a]) as store:
        done = await store.materialize("a")
        assert await store.get("a") == {0: 0, 1: 1}
    assert seen == [[0, 1, 2], [1, 2], [1, 2]]
    assert done.record.metadata == {"items": 3, "failed_items": 1}


async def test_a_batch_that_raises_is_attempted_as_a_whole(backends):
    seen = []

    @scatter(lambda: range(2), batch=Batching(max_items=2), max_attempts=2)
    async def a(items):
        seen.append(list(items))
        if len(seen) == 1:
            raise OSError
        return items

    async with backends.open([a]) as store:
        await store.materialize("a")
    assert seen == [[0, 1], [0, 1]]


async def test_failures_of_items_cross_from_an_executor(backends):
    from support.remote_scatters import batched

    async with backends.open([batched]) as store:
        await store.materialize("batched")
        assert await store.get("batched") == {"1": 1, "2": 2}


@pytest.mark.slow
async def test_a_worker_that_dies_takes_its_item_and_no_other(backends):
    from support.remote_scatters import crashing

    async with backends.open([crashing]) as store:
        done = await store.materialize("crashing")
        assert list(await store.get("crashing")) == ["lives"]
    assert done.record.metadata["failed_items"] == 1


def test_every_wrong_option_of_batches_is_told():
    wrong = Batching(max_items=0, split=list, size=len, on_item_error="ignore")

    @scatter(no_items, batch=wrong)
    async def a(items):
        return items

    with pytest.raises(AssetDefinitionError) as raised:
        Assets([a])
    told = " ".join(fault.summary for fault in raised.value.faults)
    for option in ("max_items", "split", "size", "on_item_error"):
        assert f"batch.{option}=" in told


def test_a_batch_has_a_bound():
    @scatter(no_items, batch=Batching())
    async def a(items):
        return items

    with pytest.raises(AssetDefinitionError, match="bounded"):
        Assets([a])
