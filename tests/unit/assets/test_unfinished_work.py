"""What a dead run had begun: found by whoever takes over, or forgotten for good."""

from __future__ import annotations

import pytest

from stageflow.assets import AssetFailedError, Assets, asset, route, scatter
from stageflow.builtin.memory_scatter_coordinator import MemoryScatterCoordinator
from stageflow.builtin.routing_coordinators import MemoryRoutingCoordinator
from support.scatters import keep_coordinator

pytestmark = pytest.mark.anyio


async def die(backends, store, name):
    """Have an asset fail in a run that ends without a word, and time pass until nobody waits."""
    write = store._records.write

    async def without_a_word(asset, key, entry):
        if entry.claim is None:
            raise OSError("killed")
        return await write(asset, key, entry)

    store._records.write = without_a_word
    with pytest.raises(AssetFailedError):
        await store.materialize(name, force=True)
    store._records.write = write
    await backends.clock.advance(61)
    assert (await store.status(name)).state == "missing"


class Numbers:
    """A scatter of ten numbers, which stops at the eighth as long as it is told to."""

    def __init__(self):
        self.worked, self.stops = [], False

        @scatter(lambda: range(10), max_concurrent=1, page_size=2)
        async def numbers(item):
            if self.stops and item == 7:
                raise ValueError("stopped")
            self.worked.append(item)
            return item

        self.asset = numbers


class Way:
    """A router that goes the way it is told, and what it leads to."""

    def __init__(self, place):
        self.choice, self.asked = "left", 0

        @route({"left": "left", "right": "right"}, io_manager=place)
        def way():
            self.asked += 1
            return self.choice

        @asset
        def left():
            return "left"

        @asset
        def right():
            return "right"

        self.assets = Assets([way, left, right])


class Place:
    """An IO manager that stores nothing as long as it is full."""

    def __init__(self, inner):
        self._inner, self.is_full = inner, False

    def __getattr__(self, name):
        return getattr(self._inner, name)

    async def store(self, name, data, partition, **options):
        if self.is_full:
            raise OSError("full")
        await self._inner.store(name, data, partition, **options)


async def test_a_scatter_that_was_made_before_goes_on_where_a_dead_run_had_got_to(backends):
    coordinator, numbers = MemoryScatterCoordinator(clock=backends.clock), Numbers()
    async with backends.open([numbers.asset]) as store:
        keep_coordinator(store, coordinator)
        await store.materialize("numbers")
        numbers.worked.clear()
        numbers.stops = True
        await die(backends, store, "numbers")
        numbers.stops = False
        await store.materialize("numbers")
        assert await store.get("numbers") == {n: n for n in range(10)}
    assert sorted(numbers.worked) == list(range(10))  # none of them twice
    assert "(0 barriers)" in repr(coordinator)


async def test_a_router_that_decided_before_goes_the_way_that_a_dead_run_chose(backends):
    place = Place(backends.data)
    way, coordinator = Way(place), MemoryRoutingCoordinator(clock=backends.clock)
    async with backends.open(way.assets) as store:
        keep_coordinator(store, coordinator, "routing_coordinator")
        await store.materialize("way")
        way.choice, place.is_full = "right", True
        await die(backends, store, "way")
        way.choice, place.is_full = "neither", False
        await store.materialize("way")
        assert (await store.get("way"))["route"] == "right"
        assert way.asked == 2


async def test_to_invalidate_a_scatter_forgets_what_was_done_of_it(backends):
    coordinator, numbers = MemoryScatterCoordinator(clock=backends.clock), Numbers()
    async with backends.open([numbers.asset]) as store:
        keep_coordinator(store, coordinator)
        numbers.stops = True
        for _ in range(2):
            with pytest.raises(AssetFailedError):
                await store.materialize("numbers")
        assert "(0 barriers)" not in repr(coordinator)
        assert await store.invalidate("numbers")
        assert "(0 barriers)" in repr(coordinator)
        numbers.stops = False
        numbers.worked.clear()
        await store.materialize("numbers")
    assert numbers.worked == list(range(10))


async def test_a_router_that_was_invalidated_decides_anew(backends):
    way = Way(backends.data)
    async with backends.open(way.assets) as store:
        await store.materialize("way")
        way.choice = "right"
        assert await store.invalidate("way")
        await store.materialize("way")
        assert (await store.get("way"))["route"] == "right"


async def test_what_a_dead_run_chose_is_kept_apart_from_what_was_made_of_other_data(backends):
    place = Place(backends.data)
    asked = []

    @asset
    def source():
        return len(asked)

    @route({"left": "left"}, io_manager=place)
    def way(source):
        asked.append(source)
        return "left"

    @asset
    def left():
        return 1

    async with backends.open([source, way, left]) as store:
        place.is_full = True
        with pytest.raises(AssetFailedError):
            await store.materialize("way")
        place.is_full = False
        await store.materialize("source", force=True)
        await store.materialize("way")
    assert asked == [0, 1]
