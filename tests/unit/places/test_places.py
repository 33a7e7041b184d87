"""The example makes its assets, whatever backends the settings choose, and only once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from places.places import REGIONS, coordinates, hours_from_utc, places
from stageflow import Runtime
from stageflow.assets import AssetStore
from support.workspace import ROOT

pytestmark = pytest.mark.anyio

HERE = ROOT / "examples" / "places"


def runtime_of(folder: Path, monkeypatch) -> Runtime:
    monkeypatch.chdir(folder)
    return Runtime.from_settings(directory=folder)


@pytest.mark.slow
async def test_everything_is_made_once_and_the_second_time_nothing(tmp_path, monkeypatch):
    shutil.copy(HERE / "stageflow.toml", tmp_path)
    async with (
        runtime_of(tmp_path, monkeypatch) as runtime,
        AssetStore(places, runtime) as store,
    ):
        first = await store.backfill("page")
        assert (first.materialized, first.failed) == (len(REGIONS), 0)
        await store.materialize("atlas")
        atlas = await store.get("atlas")
        zones = (await store.record("zones")).metadata["zones"]
        regions = [status async for status in store.statuses("region")]
        assert sum(status.record.metadata["zones"] for status in regions) == zones
    assert {"region": "Europe", "line": "north: Europe/Helsinki"} in atlas
    assert {row["region"] for row in atlas} == set(REGIONS)
    assert (tmp_path / ".stageflow" / "coordination.sqlite3").exists()
    async with (
        runtime_of(tmp_path, monkeypatch) as runtime,
        AssetStore(places, runtime) as store,
    ):
        second = await store.backfill("page")
        assert (second.materialized, second.skipped) == (0, len(REGIONS))
        assert (await store.materialize("atlas")).state == "fresh"
        assert await store.get("atlas") == atlas


async def test_another_line_of_the_settings_keeps_everything_elsewhere(tmp_path, monkeypatch):
    text = (HERE / "stageflow.toml").read_text(encoding="utf-8")
    for line, other in (('io_manager = "files"', "memory"), ('run_store = "sqlite"', "memory")):
        assert line in text
        text = text.replace(line, f'{line.partition(" = ")[0]} = "{other}"')
    (tmp_path / "stageflow.toml").write_text(text, encoding="utf-8")
    async with (
        runtime_of(tmp_path, monkeypatch) as runtime,
        AssetStore(places, runtime) as store,
    ):
        await store.materialize("page", "Indian")
        (first, *_) = await store.get("page", "Indian")
        assert first["line"].startswith("north: Indian/")
    assert not (tmp_path / ".stageflow").exists()


@pytest.mark.parametrize(
    ("text", "latitude", "longitude"),
    [
        ("+4230+00131", 42.5, 1.5167),
        ("-7824+10654", -78.4, 106.9),
        ("+404251-0740023", 40.7142, -74.0064),
    ],
)
def test_places_are_read_to_the_second(text, latitude, longitude):
    assert coordinates(text) == (latitude, longitude)


def test_offsets_are_those_of_winter_and_summer():
    assert hours_from_utc("Europe/Paris") == (1, 2)
    assert hours_from_utc("Asia/Kathmandu") == (5.75, 5.75)
