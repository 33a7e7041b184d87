"""The time zones of the world: what they are made of, and a page for each region.

The tables are those that the package `tzdata` carries. They are in the public domain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from stageflow import StageOutput
from stageflow.assets import (
    AllPartitions,
    AssetContext,
    AssetOutput,
    Assets,
    Branch,
    Dep,
    Route,
    StaticPartitions,
    asset,
    parallel,
    route,
    scatter,
)

__all__ = ("REGIONS", "places")

Row: TypeAlias = dict[str, Any]

REGIONS = StaticPartitions(
    [
        "Africa",
        "America",
        "Antarctica",
        "Asia",
        "Atlantic",
        "Australia",
        "Europe",
        "Indian",
        "Pacific",
    ]
)
LONG = 30
WINTER, SUMMER = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 7, 1, tzinfo=UTC)


def lines(table: str) -> Iterator[list[str]]:
    """Yield the rows of a table of `tzdata`, each a list of its columns."""
    text = files("tzdata.zoneinfo").joinpath(table).read_text(encoding="utf-8")
    for line in text.splitlines():
        if line and not line.startswith("#"):
            yield line.split("\t")


@asset(group="tables")
def countries() -> list[Row]:
    """The countries, by their ISO codes."""
    return [{"code": code, "name": name} for code, name in lines("iso3166.tab")]


# --- a scatter: each zone by itself ---------------------------------------------------------------


def zone_rows() -> Iterator[Row]:
    """Yield the rows of the table of zones: the items of the scatter below."""
    for codes, place, zone, *comment in lines("zone1970.tab"):
        yield {"codes": codes, "place": place, "zone": zone, "comment": "".join(comment)}


def in_order(results: Mapping[Row, Row]) -> AssetOutput:
    """Gather what is known of the zones, by name."""
    rows = sorted(results.values(), key=lambda row: str(row["zone"]))
    return AssetOutput(rows, metadata={"zones": len(rows)})


@scatter(
    zone_rows, gather=in_order, max_concurrent=8, max_attempts=2, item_timeout=30, group="tables"
)
def zones(row: Row, countries: Sequence[Row]) -> Row:
    """Where each zone lies, whose it is, and how far its clocks are from UTC."""
    names = {country["code"]: country["name"] for country in countries}
    latitude, longitude = coordinates(row["place"])
    offsets = hours_from_utc(row["zone"])
    return {
        "zone": row["zone"],
        "region": row["zone"].partition("/")[0],
        "countries": ", ".join(names[code] for code in row["codes"].split(",")),
        "latitude": latitude,
        "longitude": longitude,
        "winter": offsets[0],
        "summer": offsets[1],
    }


def coordinates(place: str) -> tuple[float, float]:
    """Return latitude and longitude in degrees of a place such as `+4230+00131`."""
    split = max(place.rfind("+"), place.rfind("-"))
    return degrees(place[:split], 2), degrees(place[split:], 3)


def degrees(text: str, width: int) -> float:
    """Return degrees of a text with as many digits of them, then minutes, perhaps seconds."""
    sign = -1 if text[0] == "-" else 1
    whole, minutes, seconds = text[1 : 1 + width], text[1 + width : 3 + width], text[3 + width :]
    return round(sign * (int(whole) + int(minutes) / 60 + int(seconds or 0) / 3600), 4)


def hours_from_utc(zone: str) -> tuple[float, float]:
    """Return the offsets of a zone in January and in July, in hours."""
    source = files("tzdata.zoneinfo").joinpath(*zone.split("/"))
    with source.open("rb") as stream:
        info = ZoneInfo.from_file(stream, zone)
    winter, summer = (moment.astimezone(info).utcoffset() for moment in (WINTER, SUMMER))
    hour = timedelta(hours=1)
    return (winter or timedelta()) / hour, (summer or timedelta()) / hour


# --- partitions: each region by itself ------------------------------------------------------------


@asset(partitions=REGIONS, group="regions")
def region(zones: Sequence[Row], ctx: AssetContext) -> list[Row]:
    """The zones of a region."""
    found = [row for row in zones if row["region"] == ctx.partition]
    ctx.add_metadata(zones=len(found))
    return found


# --- parallel branches: what is special about a region -------------------------------------------


@asset(partitions=REGIONS, group="facts")
def northernmost(region: Sequence[Row]) -> list[Row]:
    """The zone that lies furthest in the north."""
    return [max(region, key=lambda row: float(row["latitude"]))]


@asset(partitions=REGIONS, group="facts")
def southernmost(region: Sequence[Row]) -> list[Row]:
    """The zone that lies furthest in the south."""
    return [min(region, key=lambda row: float(row["latitude"]))]


@asset(partitions=REGIONS, group="facts")
def odd_hours(region: Sequence[Row]) -> list[Row] | StageOutput:
    """A zone whose clocks are not whole hours from UTC; not every region has one."""
    found = [row for row in region if row["winter"] % 1]
    return found[:1] or StageOutput.skip("all of its clocks are whole hours from UTC")


@parallel(
    {
        "north": northernmost,
        "south": southernmost,
        "odd hours": Branch("odd_hours", required=False),
    },
    partitions=REGIONS,
    timeout=60,
    group="facts",
)
def facts(branches: Mapping[str, Sequence[Row]]) -> list[Row]:
    """What is special about a region, as far as there is anything."""
    return [{"fact": name, "zone": rows[0]["zone"]} for name, rows in branches.items()]


# --- a route: short regions in full, long ones in short ------------------------------------------


@route({"short": "listing", "long": "summary"}, partitions=REGIONS, group="pages")
def length(region: Sequence[Row]) -> Route:
    """Whether the page of a region lists its zones."""
    chosen = "long" if len(region) > LONG else "short"
    return Route(chosen, f"{len(region)} zones")


@asset(partitions=REGIONS, group="pages")
def listing(region: Sequence[Row]) -> list[Row]:
    """Every zone of a region, with its countries."""
    return [{"line": f"{row['zone']}: {row['countries']}"} for row in region]


@asset(partitions=REGIONS, group="pages")
def summary(region: Sequence[Row]) -> list[Row]:
    """How many zones of a region there are by their offset."""
    hours = sorted({float(row["winter"]) for row in region})
    return [
        {"line": f"UTC{each:+g}: {sum(row['winter'] == each for row in region)} zones"}
        for each in hours
    ]


@asset(partitions=REGIONS, group="pages")
def page(
    facts: Sequence[Row],
    listing: Sequence[Row] | None = None,
    summary: Sequence[Row] | None = None,
) -> list[Row]:
    """The page of a region: what is special about it, and what its zones are."""
    special = [{"line": f"{row['fact']}: {row['zone']}"} for row in facts]
    return [*special, *(listing or summary or ())]


@asset(deps={"pages": Dep("page", AllPartitions())}, group="pages")
def atlas(pages: Mapping[str, Sequence[Row]]) -> list[Row]:
    """All pages, one after the other."""
    return [{"region": name, **row} for name, rows in pages.items() for row in rows]


places = Assets(
    [
        countries,
        zones,
        region,
        northernmost,
        southernmost,
        odd_hours,
        facts,
        length,
        listing,
        summary,
        page,
        atlas,
    ],
    name="places",
)
