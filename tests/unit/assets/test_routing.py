"""Routing: one asset decides which others are made."""

from __future__ import annotations

from datetime import timedelta

import pytest

from stageflow.assets import (
    AssetDefinitionError,
    AssetFailedError,
    Assets,
    Route,
    RouteError,
    asset,
    route,
)
from stageflow.builtin.routing_coordinators import MemoryRoutingCoordinator
from support.scatters import keep_coordinator

pytestmark = pytest.mark.anyio


class Shop:
    """A router with two branches and what brings them together; it counts what is made."""

    def __init__(self, choice, **options):
        self.choice = choice
        self.made = []

        @asset
        def order():
            return {"sum": 10}

        @route({"cheap": "plain", "dear": "fancy"}, **options)
        def wrapping(order):
            self.made.append("wrapping")
            if isinstance(self.choice, Exception):
                raise self.choice
            return self.choice

        @asset
        def plain(order):
            self.made.append("plain")
            return "plain"

        @asset
        def fancy(order):
            self.made.append("fancy")
            return "fancy"

        @asset
        def bow(fancy):
            self.made.append("bow")
            return f"{fancy} with a bow"

        @asset
        def parcel(plain=None, bow="no bow"):
            return [plain, bow]

        self.assets = Assets([parcel, bow, fancy, plain, wrapping, order], name="shop")


@pytest.mark.parametrize(
    ("choice", "parcel", "made"),
    [
        ("cheap", ["plain", "no bow"], ["wrapping", "plain"]),
        (Route("dear", "a present"), [None, "fancy with a bow"], ["wrapping", "fancy", "bow"]),
        (None, [None, "no bow"], ["wrapping"]),
    ],
)
async def test_what_was_not_chosen_is_skipped_and_so_is_what_needs_it(
    backends, choice, parcel, made
):
    shop = Shop(choice)
    async with backends.open(shop.assets) as store:
        await store.materialize("parcel")
        assert await store.get("parcel") == parcel
        assert shop.made == made
        again = await store.materialize("parcel")
        assert (again.state, again.steps) == ("fresh", ())
    assert shop.made == made


async def test_the_decision_is_the_data_of_the_router(backends):
    shop = Shop(Route("dear", "a present"))
    async with backends.open(shop.assets) as store:
        done = await store.materialize("wrapping")
        told = await store.get("wrapping")
    assert (told["route"], told["reason"], told["router"]) == ("dear", "a present", "wrapping")
    assert told["run_id"] == done.run_id
    assert done.record.metadata == {"route": "dear"}


async def test_a_branch_that_was_not_chosen_is_skipped_when_it_is_asked_for_itself(backends):
    shop = Shop("cheap")
    async with backends.open(shop.assets) as store:
        await store.materialize("wrapping")
        assert (await store.materialize("fancy")).state == "skipped"
        assert (await store.materialize("plain")).state == "materialized"
    assert shop.made == ["wrapping", "plain"]


async def test_the_same_decision_again_leaves_fresh_what_was_made(backends):
    shop = Shop("cheap")
    async with backends.open(shop.assets) as store:
        await store.materialize("parcel")
        await store.materialize("wrapping", force=True)
        assert (await store.materialize("parcel")).state == "fresh"


async def test_another_decision_makes_the_other_branch(backends):
    shop = Shop("cheap")
    async with backends.open(shop.assets) as store:
        await store.materialize("parcel")
        shop.choice = "dear"
        await store.materialize("wrapping", force=True)
        await store.materialize("bow")
        await store.materialize("parcel")
        assert await store.get("parcel") == [None, "fancy with a bow"]


async def test_it_is_decided_once_and_replayed_from_the_record(backends):
    coordinator = MemoryRoutingCoordinator(clock=backends.clock)

    class Full:
        """Has no room for the decision at first."""

        def __init__(self, inner):
            self._inner, self.is_full = inner, True

        def __getattr__(self, name):
            return getattr(self._inner, name)

        async def store(self, name, data, partition, **options):
            if self.is_full:
                raise OSError("full")
            await self._inner.store(name, data, partition, **options)

    place = Full(backends.data)
    shop = Shop("cheap", io_manager=place)
    async with backends.open(shop.assets) as store:
        keep_coordinator(store, coordinator, "routing_coordinator")
        with pytest.raises(AssetFailedError):
            await store.materialize("parcel")
        place.is_full = False
        shop.choice = "dear"
        await store.materialize("parcel")
        assert await store.get("parcel") == ["plain", "no bow"]
    assert shop.made == ["wrapping", "plain"]
    told = [data["replayed"] for kind, data in backends.events if kind == "asset.routed"]
    assert told == [False, True]


async def test_each_partition_goes_its_own_way(backends):
    @route({"even": "evens", "odd": "odds"}, partitions=range(4))
    def parity(ctx):
        return ["even", "odd"][int(ctx.partition) % 2]

    @asset(partitions=range(4))
    def evens(ctx):
        return ctx.partition

    @asset(partitions=range(4))
    def odds(ctx):
        return ctx.partition

    @asset(partitions=range(4))
    def either(evens=None, odds=None):
        return [evens, odds]

    async with backends.open([parity, evens, odds, either]) as store:
        done = await store.backfill("either")
        assert (done.materialized, done.failed) == (4, 0)
        assert await store.get("either", 2) == [2, None]
        assert await store.get("either", 3) == [None, 3]
        again = await store.backfill("either")
        assert (again.materialized, again.skipped) == (0, 4)


async def test_what_is_no_branch_is_told(backends):
    async with backends.open(Shop("chaep").assets) as store:
        with pytest.raises(AssetFailedError) as raised:
            await store.materialize("parcel")
    error = raised.value.original
    assert isinstance(error, RouteError)
    assert "cheap" in error.hint


async def test_a_router_that_fails_fails_what_waits_for_it(backends):
    async with backends.open(Shop(ValueError("undecided")).assets) as store:
        with pytest.raises(AssetFailedError, match="undecided"):
            await store.materialize("plain")


async def test_a_router_may_run_elsewhere(backends):
    from support.remote_scatters import fork, way

    async with backends.open([fork, way]) as store:
        assert (await store.materialize("way")).state == "materialized"
        assert (await store.get("fork"))["reason"] == "it is the only one"


async def test_old_decisions_are_forgotten(backends):
    coordinator = MemoryRoutingCoordinator(clock=backends.clock)
    shop = Shop("cheap")
    async with backends.open(shop.assets) as store:
        keep_coordinator(store, coordinator, "routing_coordinator")
        await store.materialize("parcel")
        assert await store.prune_decisions(timedelta(days=1)) == 0
        await backends.clock.advance(2 * 86400)
        assert await store.prune_decisions(timedelta(days=1)) == 1
        assert (await store.materialize("parcel")).state == "fresh"


def test_branches_that_are_no_assets_are_told():
    @route(["noone"])
    def router():
        return None

    with pytest.raises(AssetDefinitionError, match="'noone', which there is not"):
        Assets([router])


def test_a_router_has_branches():
    @route([])
    def router():
        return None

    with pytest.raises(AssetDefinitionError, match="branches="):
        Assets([router])


def test_lineage_leads_from_the_router_to_its_branches():
    found = Shop("cheap").assets.lineage("plain")
    assert found.upstream == ("order", "wrapping")
    assert ("wrapping", "plain") in found.edges
