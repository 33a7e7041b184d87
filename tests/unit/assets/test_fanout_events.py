"""Every event of scatters, branches and routers, as it is told."""

from __future__ import annotations

import pytest

from stageflow.assets import ASSET_EVENTS, AssetFailedError, Branch, Route, asset, parallel, route
from stageflow.assets import scatter as scatter_asset
from support.golden_events import ANY_ID, ANY_MS, ANY_TIME, assert_golden

pytestmark = pytest.mark.anyio

ANY_TEXT: object = type("Text", (), {"__eq__": lambda _, other: bool(other), "__hash__": None})()


def base(name, **facts):
    return {
        "pipeline_run_id": ANY_ID,
        "request_id": None,
        "session_id": None,
        "user_id": None,
        "org_id": None,
        "interaction_id": None,
        "pipeline_name": "assets",
        "topology": None,
        "execution_mode": None,
        "service": "assets",
        "timestamp": ANY_TIME,
        "asset": name,
        "partition": None,
        "partition_key": "-",
        **facts,
    }


def of(events, *kinds):
    return [(kind, data) for kind, data in events if kind.removeprefix("asset.") in kinds]


SCATTER = ("scatter_started", "scatter_progress", "scatter_completed")


async def test_golden_events_of_a_scatter(backends):
    @scatter_asset(lambda: [1, 1, 2], failure_mode="partial")
    async def items(item):
        if item == 2:
            raise ValueError

    async with backends.open([items]) as store:
        await store.materialize("items")
    counts = {"barrier_id": ANY_TEXT, "total": 2, "completed": 1, "failed": 1}
    ended = {"status": "complete", "duplicates": 1, "duration_ms": ANY_MS}
    assert_golden(
        of(backends.events, *SCATTER),
        [
            ("asset.scatter_started", base("items", barrier_id=ANY_TEXT, resumed=False)),
            ("asset.scatter_progress", base("items", **counts)),
            ("asset.scatter_completed", base("items", **counts, **ended)),
        ],
        ASSET_EVENTS,
    )


async def test_a_scatter_that_fails_ends_with_an_event_too(backends):
    @scatter_asset(lambda: [1])
    async def items(item):
        raise ValueError

    async with backends.open([items]) as store:
        with pytest.raises(AssetFailedError):
            await store.materialize("items")
    ((_, told),) = of(backends.events, "scatter_completed")
    assert (told["status"], told["failed"]) == ("failed", 1)


async def test_how_far_a_scatter_is_is_told_at_most_once_a_second(backends):
    @scatter_asset(lambda: range(100), max_concurrent=1, page_size=4)
    async def items(item):
        await backends.clock.sleep(0.1)

    async with backends.open([items]) as store:
        await store.materialize("items")
    told = [data["completed"] for _, data in of(backends.events, "scatter_progress")]
    assert 5 <= len(told) <= 12
    assert told == sorted(told)
    assert told[-1] == 100


async def test_golden_events_of_branches(backends):
    @asset
    def good():
        return 1

    @asset
    def bad():
        raise ValueError("no")

    @parallel({"a": good, "b": Branch("bad", required=False)})
    def both(branches):
        return 1

    async with backends.open([good, bad, both]) as store:
        await store.materialize("both")
    common = {"execution_id": ANY_TEXT}
    a = {**common, "branch": "a", "status": "ok", "required": True, "why": None}
    b = {**common, "branch": "b", "status": "failed", "required": False, "why": "ValueError: no"}
    assert_golden(
        of(backends.events, "branch_ended"),
        [("asset.branch_ended", base("both", **a)), ("asset.branch_ended", base("both", **b))],
        ASSET_EVENTS,
    )


async def test_golden_events_of_a_router(backends):
    @asset
    def way():
        return 1

    @route([way])
    def router():
        return Route("way", "it is short")

    async with backends.open([way, router]) as store:
        await store.materialize("way")
    facts = {"decision_id": ANY_TEXT, "route": "way", "reason": "it is short", "replayed": False}
    assert_golden(
        of(backends.events, "routed"),
        [("asset.routed", base("router", **facts))],
        ASSET_EVENTS,
    )
