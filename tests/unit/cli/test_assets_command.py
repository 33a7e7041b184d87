"""`stageflow assets`, in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SHOP = """
    from datetime import date
    from pathlib import Path
    from stageflow.assets import *

    days = DatePartitions(date(2025, 1, 1), date(2025, 1, 31))

    @asset(group="raw", version="1")
    def rates():
        '''What a euro costs.'''
        return 2

    @asset(partitions=days, group="raw")
    async def orders(ctx):
        if ctx.partition.day == 13 and not Path("mended").exists():
            raise ValueError("unlucky")
        ctx.add_metadata(rows=ctx.partition.day)
        return ctx.partition.day

    @asset(partitions=days)
    async def revenue(orders, rates):
        return orders * rates

    @asset(
        partitions=MultiPartitions({"day": days, "region": ["eu", "us"]}),
        deps={"revenue": Dep("revenue", DimensionPartition("day"))},
    )
    async def split(revenue):
        return revenue / 2

    shop = Assets([rates, orders, revenue, split], name="shop")
    number = 3
"""


@pytest.fixture
def assets(write: Callable[[str, str], Path], cli: Callable[..., Any]) -> Callable[..., Any]:
    write("shop_x.py", SHOP)
    # Nobody cuts the power meanwhile.
    write("stageflow.toml", "[io_managers.files]\nfsync = false\n")
    return lambda command, *rest: cli("assets", command, "shop_x.py", *rest)


def test_list_shows_partitions_and_what_each_is_made_from(assets: Callable[..., Any]):
    done = assets("list")
    assert done.status == 0
    assert "asset    group  partitions " in done.out
    assert "rates    raw " in done.out
    assert "What a euro costs." in done.out
    assert "2025-01-01 … 2025-01-30 (30) x eu, us (60)  revenue" in done.out
    told = {each["asset"]: each for each in assets("list", "--json").json}
    assert told["orders"]["partitions"]["count"] == 30
    assert told["split"]["made_from"] == [
        {
            "asset": "revenue",
            "parameter": "revenue",
            "mapping": "DimensionPartition",
            "optional": False,
        }
    ]


def test_looking_leaves_nothing_behind(assets: Callable[..., Any], project: Path):
    assert assets("list").status == assets("lineage", "revenue").status == 0
    done = assets("status")
    assert (done.status, done.out.splitlines()) == (
        0,
        [
            "  missing  rates  it was never materialized",
            "  orders  30 missing",
            "  revenue  30 missing",
            "  split  60 missing",
        ],
    )
    assert not (project / ".stageflow").exists()


def test_materialize_makes_what_is_needed_and_then_nothing(assets: Callable[..., Any]):
    done = assets("materialize", "revenue", "-p", "2025-01-05")
    assert done.status == 0
    assert "✓ orders[2025-01-05]" in done.out
    assert "3 partitions made in run " in done.out
    again = assets("materialize", "revenue", "--partition", "2025-01-05")
    assert again.out == "  revenue[2025-01-05] is fresh; --force makes it anew.\n"
    told = assets("materialize", "revenue", "-p", "2025-01-05", "--force", "--json").json
    assert told["state"] == "materialized"
    assert told["materialized"] == [{"asset": "revenue", "partition": "2025-01-05"}]
    told = assets("materialize", "split", "-p", "region=us,day=2025-01-05", "--json").json
    assert told["partition"] == "day=2025-01-05,region=us"


def test_a_failure_names_the_line_and_the_status_tells_it(assets: Callable[..., Any]):
    done = assets("materialize", "revenue", "-p", "2025-01-13")
    assert done.status == 1
    assert "✗ orders[2025-01-13]  ValueError: unlucky" in done.out
    assert "error SF727  Stage 'orders[2025-01-13]' failed: ValueError: unlucky" in done.err
    assert "where shop_x.py:" in done.err
    assert "failed   orders[2025-01-13]  ValueError: unlucky" in assets("status", "orders").out
    told = assets("materialize", "revenue", "-p", "2025-01-13", "--json")
    assert (told.status, told.json["state"], told.json["errors"][0]["code"]) == (
        1,
        "failed",
        "SF727",
    )


def test_a_backfill_counts_and_goes_on_where_it_was(assets: Callable[..., Any], project: Path):
    done = assets("backfill", "revenue", "--parallel", "4")
    assert done.status == 1
    last = done.out.splitlines()
    assert "  25 of 30" in last[0]
    assert "revenue: 30 partitions, 29 made, 0 fresh already, 1 failed, in " in last[1]
    assert last[2].endswith("revenue[2025-01-13]  orders[2025-01-13] failed: ValueError: unlucky")
    (project / "mended").touch()
    told = assets("backfill", "revenue", "--json")
    assert told.status == 0
    assert (told.json["materialized"], told.json["skipped"], told.json["failures"]) == (1, 29, [])


def test_a_backfill_of_some(assets: Callable[..., Any]):
    told = assets("backfill", "orders", "--from", "2025-01-28", "--json").json
    assert (told["total"], told["materialized"]) == (3, 3)
    told = assets("backfill", "orders", "--from", "2025-01-27", "--to", "2025-01-29", "--json").json
    assert (told["materialized"], told["skipped"]) == (1, 2)
    told = assets("backfill", "orders", "-p", "2025-01-01", "-p", "2025-01-29", "--json").json
    assert (told["materialized"], told["skipped"]) == (1, 1)
    told = assets("backfill", "orders", "-p", "2025-01-29", "--again", "--json").json
    assert told["materialized"] == 1


def test_status_tells_why_and_shows_all_on_request(assets: Callable[..., Any]):
    assets("backfill", "revenue", "--to", "2025-01-12")
    assert assets("status", "orders").out == "  orders  12 fresh, 18 missing\n"
    assets("materialize", "rates", "--force")
    out = assets("status", "revenue").out
    assert "  revenue  18 missing, 12 stale" in out
    assert "    stale    revenue[2025-01-01]  'rates' was materialized again" in out
    assert "    2 more partitions; --all shows all." in out
    assert assets("status", "orders", "--all").out.count("missing  orders[") == 18
    told = assets("status", "orders", "-p", "2025-01-02", "--json").json
    (one,) = told[0]["partitions"]
    assert (one["state"], one["partition"], one["metadata"]) == ("fresh", "2025-01-02", {"rows": 2})
    assert (
        "fresh    orders[2025-01-02]  made just now"
        in assets("status", "orders", "-p", "2025-01-02").out
    )


def test_lineage(assets: Callable[..., Any]):
    assert assets("lineage", "revenue").out.splitlines() == [
        "  ○ rates",
        "  ○ orders",
        "  ● revenue  ← orders, rates",
        "  ○ split  ← revenue",
    ]
    told = assets("lineage", "orders", "--json").json
    assert (told["upstream"], told["downstream"]) == ([], ["revenue", "split"])


def test_the_settings_choose_where_data_lie(assets: Callable[..., Any], project: Path):
    (project / "stageflow.toml").write_text('io_manager = "memory"\n', encoding="utf-8")
    assert assets("materialize", "rates").status == 0
    assert not (project / ".stageflow" / "assets").exists()
    assert "its data are gone" in assets("status", "rates").out


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("materialize", "shop_x.py", "ordrs"), "SF721", "Did you mean 'orders'?"),
        (("materialize", "shop_x.py", "orders"), "SF942", "Give --partition"),
        (("materialize", "shop_x.py", "rates", "-p", "x"), "SF942", "has no partitions"),
        (("materialize", "shop_x.py", "orders", "-p", "soon"), "SF722", "no date such as"),
        (("materialize", "shop_x.py", "orders", "-p", "2026-01-01"), "SF722", "There are: 2025"),
        (("materialize", "shop_x.py", "orders", "-p", "2026-01-01"), "SF722", "Asset 'orders' has"),
        (("backfill", "shop_x.py", "orders", "--to", "2026-01-01"), "SF722", "Asset 'orders'"),
        (("backfill", "shop_x.py", "orders", "--from=2025-01-09", "--to=2025-01-08"), "SF942", ""),
        (("materialize", "shop_x.py", "revenue", "-p2025-01-01", "--no-deps"), "SF724", "fresh"),
        (("backfill", "shop_x.py", "rates"), "SF942", "has no partitions"),
        (("backfill", "shop_x.py", "orders", "-p", "x", "--from", "y"), "SF942", "Give the one or"),
        (("status", "shop_x.py", "-p", "x"), "SF942", "Name one"),
        (("list", "shop_x.py:number"), "SF941", "Known: shop."),
        (("list", "empty.py"), "SF941", "Decorate functions"),
        (("list", "shop.py"), "SF902", "Did you mean 'shop_x.py'?"),
        (("list", "shop_x.py:shp"), "SF904", "Did you mean"),
        (("list", "wrong.py"), "SF702", "Did you mean 'a'?"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)  # fmt: skip
def test_what_is_wrong_is_told_with_a_code_and_what_to_do(
    assets: Callable[..., Any],
    write: Callable[[str, str], Path],
    cli: Callable[..., Any],
    arguments: tuple[str, ...],
    code: str,
    told: str,
):
    write("empty.py", "x = 1\n")
    write(
        "wrong.py", "from stageflow.assets import *\n@asset\ndef a(): ...\n@asset\ndef b(aa): ...\n"
    )
    done = cli("assets", *arguments)
    assert done.status == 2
    assert f"error {code}" in done.err
    assert told in done.err
    if arguments[0] == "list":
        document = cli("assets", *arguments, "--json").json
        assert document["errors"][0]["code"] == code


def test_no_records_no_assets(assets: Callable[..., Any], project: Path):
    (project / "stageflow.toml").write_text("record = false\n", encoding="utf-8")
    done = assets("materialize", "rates")
    assert (done.status, "error SF931" in done.err) == (2, True)


def test_assets_are_drawn_with_their_partitions_and_not_run(
    assets: Callable[..., Any], cli: Callable[..., Any]
):
    done = cli("graph", "shop_x.py:shop")
    assert done.status == 0
    assert "  shop  4 stages" in done.out
    assert "orders  [2025-01-01 … 2025-01-30 (30)]" in done.out
    assert (
        's1["orders  [2025-01-01 … 2025-01-30 (30)]"]'
        in cli("graph", "shop_x.py:shop", "-f", "mermaid").out
    )
    done = cli("run", "shop_x.py:shop")
    assert done.status == 2
    assert "error SF742" in done.err
