"""Many partitions: counted, resumed, and never all in memory at once."""

from __future__ import annotations

from datetime import date, timedelta

import anyio
import pytest

from stageflow import StageOutput
from stageflow.assets import (
    BackfillFailedError,
    DatePartitions,
    StaticPartitions,
    UnknownPartitionError,
    asset,
)

pytestmark = pytest.mark.anyio

DAYS = DatePartitions(date(2025, 1, 1), date(2025, 1, 31))


class Daily:
    """A partitioned asset and what it is made from; some days fail."""

    def __init__(self):
        self.made = []
        self.fails = set()

        @asset
        async def rates():
            self.made.append("rates")
            return 2

        @asset(partitions=DAYS)
        async def day(ctx, rates):
            if ctx.partition.day in self.fails:
                raise ValueError(f"day {ctx.partition.day}")
            self.made.append(ctx.partition.day)
            return rates * ctx.partition.day

        self.assets = [day, rates]


@pytest.fixture
def daily():
    return Daily()


async def test_a_backfill_makes_all_partitions_and_a_second_one_nothing(backends, daily):
    async with backends.open(daily.assets) as store:
        first = await store.backfill("day")
        assert (first.total, first.materialized, first.skipped, first.failed) == (30, 30, 0, 0)
        assert sorted(map(str, daily.made)) == sorted(["rates", *map(str, range(1, 31))])
        assert await store.get("day", DAYS[29]) == 60
    async with backends.open(daily.assets) as store:
        second = await store.backfill("day")
        assert (second.materialized, second.skipped, second.runs) == (0, 30, 0)
        second.raise_for_status()
    assert len(daily.made) == 31


async def test_failures_are_counted_and_a_second_call_makes_only_what_is_missing(backends, daily):
    daily.fails = {3, 17}
    async with backends.open(daily.assets) as store:
        first = await store.backfill("day", batch_size=7)
        assert (first.materialized, first.failed, first.runs) == (28, 2, 5)
        assert [(each.partition.day, each.error) for each in first.failures] == [
            (3, "ValueError: day 3"),
            (17, "ValueError: day 17"),
        ]
        with pytest.raises(BackfillFailedError, match="2 of 30 partitions"):
            first.raise_for_status()
        daily.fails, daily.made = set(), []
        second = await store.backfill("day")
        assert (second.materialized, second.skipped, second.failed) == (2, 28, 0)
        assert daily.made == [3, 17]


async def test_what_fails_upstream_counts_as_a_failure_with_its_reason(backends):
    @asset(partitions=["x", "y"])
    async def up(ctx):
        if ctx.partition == "y":
            raise ValueError("no y")
        return 1

    @asset(partitions=["x", "y"])
    async def down(up):
        return up

    async with backends.open([up, down]) as store:
        done = await store.backfill("down")
        assert (done.materialized, done.failed) == (1, 1)
        assert done.failures[0].error == "up[y] failed: ValueError: no y"


async def test_a_backfill_that_was_cancelled_goes_on_where_it_was(backends, daily):
    seen = []
    async with backends.open(daily.assets) as store:
        with anyio.CancelScope() as scope:

            def stop(at):
                seen.append(at.done)
                if at.done >= 12:
                    scope.cancel()

            await store.backfill("day", parallel=2, batch_size=5, on_progress=stop)
        assert scope.cancelled_caught
        made = len(daily.made) - 1
        assert 10 <= made < 30
        again = await store.backfill("day")
        assert again.skipped >= made - 2
        assert sorted({each for each in daily.made if each != "rates"}) == list(range(1, 31))


async def test_skip_existing_can_be_switched_off(backends, daily):
    async with backends.open(daily.assets) as store:
        await store.backfill("day", DAYS[:3])
        daily.made.clear()
        again = await store.backfill("day", DAYS[:3], skip_existing=False)
        assert (again.materialized, again.skipped) == (3, 0)
        assert sorted(daily.made) == [1, 2, 3]


async def test_progress_goes_up_to_the_total_and_estimates_what_is_left(backends):
    @asset(partitions=DAYS)
    async def day():
        await backends.clock.sleep(1)
        return 1

    seen = []
    async with backends.open([day]) as store:
        await store.materialize("day", DAYS[0])
        await store.backfill("day", parallel=1, batch_size=10, on_progress=seen.append)
    done = [at.done for at in seen]
    assert done == sorted(done)
    assert (done[-1], seen[-1].total, seen[-1].skipped) == (30, 30, 1)
    assert seen[-1].remaining_seconds == 0
    middle = next(at for at in seen if at.done == 16)
    assert middle.remaining_seconds == pytest.approx(14, rel=0.1)


async def test_at_most_so_many_are_made_at_once(backends):
    now, most = [0], [0]

    @asset(partitions=DAYS)
    async def day():
        now[0] += 1
        most[0] = max(most[0], now[0])
        await backends.clock.sleep(1)
        now[0] -= 1

    async with backends.open([day]) as store:
        await store.backfill("day", parallel=3)
    assert most == [3]


async def test_partitions_are_read_as_they_are_needed(backends):
    read, made_when_read = [], []

    @asset(partitions=range(1000))
    async def number(ctx):
        made_when_read.append(len(read))
        return ctx.partition

    def keys():
        for each in range(100):
            read.append(each)
            yield each

    async with backends.open([number]) as store:
        done = await store.backfill("number", keys(), batch_size=10)
    assert (done.total, done.materialized) == (100, 100)
    assert made_when_read[0] == 10


async def test_a_key_that_comes_twice_is_made_once(backends):
    made = []

    @asset(partitions=["x"])
    async def a():
        made.append(1)
        return 1

    async with backends.open([a]) as store:
        done = await store.backfill("a", ["x", "x"])
    assert (done.total, done.materialized, done.skipped, made) == (2, 1, 1, [1])


async def test_without_deps_a_backfill_makes_nothing_else(backends, daily):
    async with backends.open(daily.assets) as store:
        await store.materialize("rates")
        done = await store.backfill("day", DAYS[:2], with_deps=False)
        assert done.materialized == 2


async def test_what_skips_itself_is_no_failure(backends):
    @asset(partitions=["x", "y"])
    async def a(ctx):
        return 1 if ctx.partition == "x" else StageOutput.skip("holiday")

    async with backends.open([a]) as store:
        done = await store.backfill("a")
    assert (done.materialized, done.skipped, done.failed) == (1, 1, 0)


@pytest.mark.parametrize("partitions", [None, ["x"]])
async def test_an_asset_without_partitions_is_not_backfilled(backends, daily, partitions):
    async with backends.open(daily.assets) as store:
        with pytest.raises(UnknownPartitionError, match="Use materialize"):
            await store.backfill("rates", partitions)
        with pytest.raises(ValueError, match="parallel"):
            await store.backfill("day", parallel=0)
        with pytest.raises(UnknownPartitionError):
            await store.backfill("day", ["x"])


async def test_reading_what_is_recorded_of_a_batch_takes_few_calls(backends):
    calls = []
    days = DatePartitions(date(2000, 1, 1), date(2000, 1, 1) + timedelta(days=240))

    @asset(partitions=days)
    async def day():
        return 1

    async with backends.open([day]) as store:
        await store.backfill("day", days, batch_size=80)
        values = store._records._values
        listed, read = values.list_values, values.read_value

        class Counting:
            def __getattr__(self, name):
                return getattr(values, name)

            async def list_values(self, *args, **kwargs):
                calls.append("list")
                return await listed(*args, **kwargs)

            async def read_value(self, *args, **kwargs):
                calls.append("read")
                return await read(*args, **kwargs)

        store._records._values = Counting()
        done = await store.backfill("day", days, batch_size=80)
    assert done.skipped == 240
    assert calls == ["list"] * 3


async def test_sparse_keys_are_found_among_many(backends):
    numbers = StaticPartitions(range(300))

    @asset(partitions=numbers)
    async def a(ctx):
        return ctx.partition

    async with backends.open([a]) as store:
        await store.backfill("a", parallel=50)
        chosen = [0, 7, 10, 99, 100, 101, 299]
        records = store._records
        found = await records.read_many("a", [f"i_{number}" for number in chosen] + ["i_300"])
        assert [key for key, entry in found.items() if entry.record is None] == ["i_300"]
        assert await records.read_many("b", ["i_1", "i_2", "i_3"]) != {}
        states = [each.state async for each in store.statuses("a", chosen)]
        assert states == ["fresh"] * len(chosen)
