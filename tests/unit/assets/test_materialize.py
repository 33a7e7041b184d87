"""Making assets, and reading them: what is fresh, what is not and why."""

from __future__ import annotations

import threading
from datetime import date

import anyio
import pytest

from stageflow import RetryPolicy, Runtime, StageOutput
from stageflow.assets import (
    AllPartitions,
    AssetFailedError,
    AssetNotReadyError,
    AssetOutput,
    AssetRecordsError,
    AssetResourceError,
    Assets,
    AssetStore,
    DatePartitions,
    Dep,
    DimensionPartition,
    LastPartitions,
    MappedPartitions,
    MultiPartitions,
    UnknownAssetError,
    UnknownPartitionError,
    UpstreamNotReadyError,
    asset,
)
from stageflow.builtin.memory_io_manager import MemoryIOManager
from stageflow.errors import ConfigurationError, StageflowError

pytestmark = pytest.mark.anyio

DAYS = DatePartitions(date(2025, 1, 1), date(2025, 1, 11))
DAY = date(2025, 1, 5)


class Shop:
    """Three assets that count how often they are made."""

    def __init__(self):
        self.made = []

        @asset
        def rates():
            self.made.append("rates")
            return {"eur": 2}

        @asset(partitions=DAYS)
        async def orders(ctx):
            self.made.append(f"orders {ctx.partition.day}")
            return [ctx.partition.day]

        @asset(partitions=DAYS)
        async def revenue(orders, rates):
            self.made.append(f"revenue {orders[0]}")
            return orders[0] * rates["eur"]

        self.assets = Assets([revenue, orders, rates], name="shop")


@pytest.fixture
def shop():
    return Shop()


async def test_an_asset_is_made_with_all_that_it_is_made_from(backends, shop):
    async with backends.open(shop.assets) as store:
        done = await store.materialize("revenue", DAY)
        assert done.state == "materialized"
        assert sorted(done.steps) == [("orders", DAY), ("rates", None), ("revenue", DAY)]
        assert await store.get("revenue", DAY) == 10
        assert sorted(shop.made) == ["orders 5", "rates", "revenue 5"]
        assert done.record.run_id == done.run_id
        assert set(done.record.upstream) == {"orders", "rates"}
        assert (await backends.run_store.list_runs())[0].topology is None


async def test_what_is_fresh_is_not_made_again_not_even_by_another_process(backends, shop):
    async with backends.open(shop.assets) as store:
        first = await store.materialize("revenue", DAY)
    async with backends.open(Shop().assets) as store:
        again = await store.materialize("revenue", DAY)
        assert (again.state, again.run_id, again.steps) == ("fresh", None, ())
        assert again.record == first.record
        other = await store.materialize("revenue", date(2025, 1, 6))
        assert ("rates", None) not in other.steps


async def test_force_makes_the_asset_anew_and_not_what_it_is_made_from(backends, shop):
    async with backends.open(shop.assets) as store:
        first = await store.materialize("revenue", DAY)
        shop.made.clear()
        again = await store.materialize("revenue", DAY, force=True)
        assert shop.made == ["revenue 5"]
        assert again.record.data_version != first.record.data_version


async def test_without_deps_everything_that_is_not_fresh_is_told(backends, shop):
    async with backends.open(shop.assets) as store:
        with pytest.raises(UpstreamNotReadyError) as raised:
            await store.materialize("revenue", DAY, with_deps=False)
        assert raised.value.missing == (
            "orders[2025-01-05] is missing (it was never materialized)",
            "rates is missing (it was never materialized)",
        )
        await store.materialize("orders", DAY)
        await store.materialize("rates")
        assert (await store.materialize("revenue", DAY, with_deps=False)).steps == (
            ("revenue", DAY),
        )


async def test_what_is_upstream_made_again_makes_stale_all_the_way_down(backends):
    @asset
    async def a():
        return 1

    @asset
    async def b(a):
        return a

    @asset
    async def c(b):
        return b

    async with backends.open([a, b, c]) as store:
        await store.materialize("c")
        assert (await store.status("c")).is_fresh
        await store.materialize("a", force=True)
        assert (await store.status("b")).why == "'a' was materialized again"
        assert (await store.status("c")).why == "b is stale"
        done = await store.materialize("c")
        assert [name for name, _ in done.steps] == ["b", "c"]


async def test_the_same_data_version_leaves_fresh_what_was_made_from_it(backends):
    @asset
    async def a():
        return AssetOutput([1], data_version="etag", metadata={"rows": 1})

    @asset
    async def b(a):
        return a

    async with backends.open([a, b]) as store:
        await store.materialize("b")
        done = await store.materialize("a", force=True)
        assert (done.record.data_version, done.record.metadata) == ("etag", {"rows": 1})
        assert (await store.status("b")).is_fresh


async def test_another_version_of_an_asset_makes_it_stale(backends):
    def assets(version):
        @asset(version=version)
        async def a():
            return version

        @asset
        async def b(a):
            return a

        return [a, b]

    async with backends.open(assets("1")) as store:
        await store.materialize("b")
    async with backends.open(assets("2")) as store:
        assert (await store.status("a")).why == "version 1 made it, and it has version 2 now"
        assert await store.get("a") == "1"
        await store.materialize("b")
        assert await store.get("b") == "2"


async def test_other_dependencies_make_stale(backends):
    @asset
    async def a():
        return 1

    @asset
    async def b():
        return 2

    @asset(name="c")
    async def from_a(a):
        return a

    @asset(name="c")
    async def from_b(b):
        return b

    async with backends.open([a, b, from_a]) as store:
        await store.materialize("c")
    async with backends.open([a, b, from_b]) as store:
        await store.materialize("b")
        assert (await store.status("c")).why == (
            "it was not made from 'b' then; it is not made from 'a' any more"
        )


async def test_several_partitions_come_as_a_mapping_in_order(backends):
    @asset(partitions=DAYS)
    async def day(ctx):
        return ctx.partition.day

    @asset(deps={"days": Dep("day", AllPartitions())})
    async def total(days):
        assert list(days) == list(DAYS)
        assert days[DAY] == 5
        assert "x" not in days
        return sum(days.values())

    @asset(partitions=DAYS, deps={"days": Dep("day", LastPartitions(3))})
    async def moving(days):
        return list(days.values())

    @asset(deps={"days": Dep("day", LastPartitions(2))})
    async def newest(days):
        return list(days.items())

    async with backends.open([day, total, moving, newest]) as store:
        await store.materialize("total")
        await store.materialize("moving", DAY)
        await store.materialize("moving", date(2025, 1, 1))
        await store.materialize("newest")
        assert await store.get("total") == 55
        assert await store.get("moving", DAY) == [3, 4, 5]
        assert await store.get("moving", date(2025, 1, 1)) == [1]
        assert await store.get("newest") == [(date(2025, 1, 9), 9), (date(2025, 1, 10), 10)]
        await store.materialize("day", date(2025, 1, 2), force=True)
        assert (await store.status("total")).why == "'day' was materialized again"
        assert (await store.status("moving", DAY)).is_fresh


async def test_partitions_of_several_dimensions_and_of_ones_own_mapping(backends):
    grid = MultiPartitions({"day": DAYS, "region": ["eu", "us"]})

    @asset(partitions=DAYS)
    async def day(ctx):
        return ctx.partition.day

    @asset(partitions=grid, deps={"day": Dep("day", DimensionPartition("day"))})
    async def cell(ctx, day):
        return f"{ctx.partition['region']}{day}"

    def cells(day):
        return [{"day": day, "region": region} for region in ("us", "eu")]

    @asset(partitions=DAYS, deps={"cells": Dep("cell", MappedPartitions(cells, many=True))})
    async def row(ctx, cells):
        return [cells[{"region": "eu", "day": ctx.partition}], *cells.values()]

    async with backends.open([day, cell, row]) as store:
        await store.materialize("row", DAY)
        assert await store.get("row", DAY) == ["eu5", "us5", "eu5"]
        assert await store.get("cell", {"region": "us", "day": DAY}) == "us5"


async def test_a_mapping_to_a_partition_that_is_not_there_is_told(backends):
    @asset(partitions=["a"])
    async def up():
        return 1

    @asset(partitions=DAYS, deps={"up": Dep("up", MappedPartitions(lambda day: "b"))})
    async def down(up):
        return up

    async with backends.open([up, down]) as store:
        with pytest.raises(UnknownPartitionError, match="Asset 'up' has no partition 'b'"):
            await store.materialize("down", DAY)


async def test_functions_of_every_kind_are_called_where_they_belong(backends):
    here = threading.get_ident()

    @asset
    def plain():
        return threading.get_ident() != here

    @asset
    async def waiting():
        return threading.get_ident() == here

    simple = asset(name="simple")(lambda: threading.get_ident() == here)

    async with backends.open([plain, waiting, simple]) as store:
        for name in ("plain", "waiting", "simple"):
            await store.materialize(name)
            assert await store.get(name) is True


async def test_ctx_tells_what_is_made_and_takes_facts_for_the_record(backends):
    seen = []

    @asset(partitions=["eu"], resources=["db"], io_options={})
    async def a(ctx):
        seen.append((ctx.partition, ctx.attempt, ctx.previous, ctx.asset.name, ctx.run_id))
        ctx.add_metadata(rows=3)
        return ctx.resources["db"]

    async with backends.open([a], resources={"db": "pool", "other": 1}) as store:
        first = await store.materialize("a", "eu")
        await store.materialize("a", "eu", force=True)
        assert await store.get("a", "eu") == "pool"
    assert first.record.metadata == {"rows": 3}
    assert seen[0] == ("eu", 1, None, "a", first.run_id)
    assert seen[1][2] == first.record


async def test_a_resource_that_is_not_open_is_told_before_anything_runs(backends):
    @asset(resources=["dbb"])
    async def a():
        return 1

    with pytest.raises(AssetResourceError, match="Did you mean 'db'"):
        async with backends.open([a], resources={"db": 1}):
            raise AssertionError("never opened")


async def test_attempts_and_time_limits_are_the_engines(backends):
    attempts = []

    @asset(retry=RetryPolicy(max_attempts=3, retry_all=True))
    async def flaky(ctx):
        attempts.append(ctx.attempt)
        if ctx.attempt < 3:
            raise OSError("not yet")
        return "there"

    @asset(timeout=5)
    async def slow():
        await backends.clock.sleep(60)

    async with backends.open([flaky, slow]) as store:
        await store.materialize("flaky")
        assert attempts == [1, 2, 3]
        with pytest.raises(AssetFailedError, match="slow"):
            await store.materialize("slow")
        assert (await store.status("slow")).state == "failed"


async def test_a_failure_names_the_asset_and_keeps_what_was_there(backends):
    fail = []

    @asset
    async def a():
        if fail:
            raise ValueError("no luck")
        return 1

    @asset
    async def b(a):
        return a

    async with backends.open([a, b]) as store:
        await store.materialize("b")
        fail.append(True)
        with pytest.raises(AssetFailedError) as raised:
            await store.materialize("a", force=True)
        assert isinstance(raised.value.original, ValueError)
        assert (raised.value.asset, raised.value.partition) == ("a", None)
        status = await store.status("a")
        assert (status.state, status.why) == ("failed", "ValueError: no luck")
        assert status.run_id == raised.value.run_id
        assert await store.get("a") == 1
        assert (await store.status("b")).why == "a is failed"
        with pytest.raises(AssetFailedError):
            await store.materialize("b")
        fail.clear()
        assert [name for name, _ in (await store.materialize("b")).steps] == ["a", "b"]


async def test_others_go_on_when_something_upstream_fails(backends):
    made = []

    @asset
    async def bad():
        raise ValueError

    @asset
    async def good():
        made.append("good")
        return 1

    @asset
    async def both(bad, good):
        made.append("both")

    async with backends.open([bad, good, both]) as store:
        with pytest.raises(AssetFailedError, match="Asset 'bad' failed"):
            await store.materialize("both")
        assert made == ["good"]
        assert (await store.status("good")).is_fresh


async def test_an_optional_need_that_is_skipped_leaves_its_default(backends):
    @asset
    async def extra():
        return StageOutput.skip("not today")

    @asset
    async def needs(extra):
        return extra

    @asset
    async def copes(extra="nothing"):
        return extra

    async with backends.open([extra, needs, copes]) as store:
        assert (await store.materialize("copes")).state == "materialized"
        assert await store.get("copes") == "nothing"
        assert (await store.materialize("needs")).state == "skipped"
        assert not await store.exists("needs")


async def test_a_value_that_cannot_be_stored_fails_and_leaves_what_was_there(backends):
    value = ["fine"]

    @asset
    async def a():
        return value[0]

    async with backends.open([a]) as store:
        await store.materialize("a")
        value[0] = object()
        with pytest.raises(AssetFailedError) as raised:
            await store.materialize("a", force=True)
        assert isinstance(raised.value.original, StageflowError)
        assert await store.get("a") == "fine"


async def test_data_go_through_the_codec_also_on_the_way_to_who_is_made_from_them(backends):
    given = [(1, 2)]

    @asset
    async def a():
        return given

    @asset
    async def b(a):
        a.append("mine")
        return a

    async with backends.open([a, b]) as store:
        await store.materialize("b")
        assert await store.get("a") == [(1, 2)]
        assert await store.get("b") == [(1, 2), "mine"]
    assert given == [(1, 2)]


async def test_each_asset_lies_with_its_own_io_manager(backends):
    mine = MemoryIOManager()

    @asset(io_manager=mine)
    async def a():
        return 1

    @asset
    async def b(a):
        return a

    async with backends.open([a, b]) as store:
        await store.materialize("b")
    assert await mine.exists("a", None)
    assert not await mine.exists("b", None)
    assert await backends.data.exists("b", None)


async def test_get_exists_and_invalidate(backends, shop):
    async with backends.open(shop.assets) as store:
        assert not await store.exists("orders", DAY)
        assert await store.get("orders", DAY, default="none") == "none"
        with pytest.raises(AssetNotReadyError, match="never materialized"):
            await store.get("orders", DAY)
        await store.materialize("revenue", DAY)
        assert await store.exists("orders", DAY)
        assert await store.invalidate("orders", DAY) is True
        assert await store.invalidate("orders", DAY) is False
        assert not await store.exists("orders", DAY)
        assert not await backends.data.exists("orders", DAY)
        assert (await store.status("revenue", DAY)).why == "orders[2025-01-05] is missing"
        assert await store.get("revenue", DAY) == 10


async def test_statuses_come_in_order_for_all_partitions(backends, shop):
    async with backends.open(shop.assets) as store:
        await store.materialize("orders", DAY)
        found = [each async for each in store.statuses("orders")]
        assert [each.partition for each in found] == list(DAYS)
        assert [each.state for each in found].count("fresh") == 1
        assert [each.state async for each in store.statuses("rates")] == ["missing"]


@pytest.mark.parametrize(
    ("name", "partition", "error"),
    [
        ("order", None, UnknownAssetError),
        ("orders", None, UnknownPartitionError),
        ("orders", "2025-01-05", UnknownPartitionError),
        ("orders", date(2026, 1, 1), UnknownPartitionError),
        ("rates", DAY, UnknownPartitionError),
        ("orders", 1.5, UnknownPartitionError),
    ],
)
async def test_what_there_is_not_is_told_by_everything(backends, shop, name, partition, error):
    async with backends.open(shop.assets) as store:
        for ask in (store.materialize, store.get, store.exists, store.status, store.invalidate):
            with pytest.raises(error):
                await ask(name, partition)


async def test_a_store_must_be_open_and_needs_shared_values(backends):
    @asset
    async def a():
        return 1

    class Poor:
        async def create_run(self, run_id, **facts): ...
        async def update_status(self, run_id, status, **facts): ...
        async def get_run(self, run_id): ...

    async with Runtime() as runtime:
        with pytest.raises(ConfigurationError, match="not open"):
            await AssetStore([a], runtime).materialize("a")
    async with Runtime(run_store=Poor()) as runtime:
        with pytest.raises(AssetRecordsError, match="Poor"):
            await AssetStore([a], runtime).__aenter__()


async def test_a_runtime_without_a_store_keeps_records_as_long_as_the_asset_store(tmp_path):
    made = []

    @asset
    async def a():
        made.append(1)
        return 1

    async with Runtime() as runtime, AssetStore([a], runtime) as store:
        await store.materialize("a")
        await store.materialize("a")
    assert made == [1]


async def test_one_run_makes_at_most_so_many_at_once(backends):
    now, most = [0], [0]

    @asset(partitions=DAYS)
    async def a():
        now[0] += 1
        most[0] = max(most[0], now[0])
        await anyio.lowlevel.checkpoint()
        now[0] -= 1

    @asset(deps={"all": Dep("a", AllPartitions())})
    async def b(all):
        return len(all)

    async with backends.open([a, b]) as store:
        await store.materialize("b", max_concurrency=2)
    assert most == [2]


def test_without_async_an_asset_is_made_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    @asset
    async def a():
        return 20

    @asset
    def b(a):
        return a + 1

    assets = Assets([a, b])
    assert assets.materialize_sync("b", runtime=Runtime()) == 21
    assert assets.use_sync(lambda store: store.exists("b"), runtime=Runtime()) is False
