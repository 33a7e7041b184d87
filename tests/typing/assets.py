"""Assets, as a user's type checker sees them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, assert_type

from stageflow import RetryPolicy, Runtime
from stageflow.assets import (
    AllPartitions,
    Asset,
    AssetContext,
    AssetOutput,
    AssetRecord,
    Assets,
    AssetStatus,
    AssetStore,
    BackfillProgress,
    BackfillSummary,
    DatePartitions,
    Dep,
    Lineage,
    Materialization,
    MultiPartitions,
    Partitions,
    asset,
)

days = DatePartitions(date(2025, 1, 1), date(2026, 1, 1))
grid = MultiPartitions({"day": days, "region": ["eu", "us"]})
whole: Sequence[Any] = days
assert_type(days[1:3], Partitions)
assert_type(len(grid), int)


@asset
def rates() -> dict[str, float]:
    return {"eur": 2.0}


@asset(partitions=days, retry=RetryPolicy(max_attempts=2), timeout=5, io_manager="lake")
async def orders(ctx: AssetContext) -> AssetOutput:
    ctx.add_metadata(rows=1)
    return AssetOutput([1], data_version="etag")


@asset(deps={"daily": Dep("orders", AllPartitions())}, after=[rates])
def report(daily: Any) -> int:
    return len(daily)


assert_type(rates, Asset)
assert_type(report, Asset)
shop = Assets([rates, orders, report], name="shop")
assert_type(shop["rates"], Asset)
assert_type(shop.lineage("orders"), Lineage)


def tell(at: BackfillProgress) -> None:
    assert_type(at.remaining_seconds, float | None)


async def use() -> None:
    async with Runtime() as runtime, AssetStore(shop, runtime) as store:
        done = await store.materialize(report, force=True, with_deps=False)
        assert_type(done, Materialization)
        assert_type(done.record, AssetRecord | None)
        assert_type(await store.status("orders", days[0]), AssetStatus)
        assert_type(await store.exists("orders", days[0]), bool)
        assert_type(await store.backfill(orders, days[:7], on_progress=tell), BackfillSummary)
        async for status in store.statuses(orders):
            assert_type(status.is_fresh, bool)
