"""`stageflow assets` tells how far scatters are, what is done without, and what was chosen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stageflow.cli.assets_command import _ItemCount

TOWN = """
    from stageflow.assets import *

    @scatter(lambda: range(3), failure_mode="partial")
    async def houses(number):
        if number == 2:
            raise ValueError("no house")
        return number

    @asset
    def bridge(houses):
        raise ValueError("no river")

    @route({"day": "sun", "night": "moon"})
    def sky():
        return Route("night", "it is late")

    @asset
    def sun():
        return "sun"

    @asset
    def moon():
        return "moon"

    @parallel(
        {"houses": houses, "bridge": Branch("bridge", required=False), "sun": sun, "moon": moon},
        partitions=None,
    )
    def town(branches):
        return sorted(branches)

    @scatter(lambda: range(3), partitions=["a", "b"])
    async def streets(number):
        return number

    everything = Assets([houses, bridge, sky, sun, moon, town, streets], name="town")
"""


@pytest.fixture
def assets(write: Callable[[str, str], Path], cli: Callable[..., Any]) -> Callable[..., Any]:
    write("town_x.py", TOWN)
    write("stageflow.toml", "[io_managers.files]\nfsync = false\n")
    return lambda command, *rest: cli("assets", command, "town_x.py", *rest)


def test_materialize_tells_what_happened_on_the_way(assets: Callable[..., Any]):
    done = assets("materialize", "town")
    assert done.status == 0
    for line in (
        "▸ houses  2 of 3 items, 1 failed",
        "✗ bridge  ValueError: no river",
        "▸ sky  chose night, it is late",
        "↷ sun  skipped",
        "↷ town  goes without branch bridge: ValueError: no river",
        "✓ town",
    ):
        assert line in done.out
    again = assets("materialize", "town")
    assert "town is fresh" in again.out


def test_a_backfill_of_scatters_is_told_by_partition(assets: Callable[..., Any]):
    done = assets("backfill", "streets")
    assert "streets: 2 partitions, 2 made" in done.out


def test_the_bar_shows_how_many_items_are_done_in_all():
    shown: list[str] = []
    count = _ItemCount(shown.append)
    items = {"completed": 900, "failed": 100}
    count.note("asset.scatter_progress", {"barrier_id": "a", **items})
    count.note("asset.scatter_progress", {"barrier_id": "b", **items})
    count.note("asset.scatter_completed", {"barrier_id": "a", "completed": 1900, "failed": 100})
    count.note("asset.materialized", {})
    assert shown == ["1,000 items", "2,000 items", "3,000 items"]
