"""Which coordinators assets use: what is chosen, or what fits the run store."""

from __future__ import annotations

import pytest

from stageflow import Runtime
from stageflow.assets import Assets, AssetStore, asset, parallel, route, scatter
from stageflow.builtin.memory_io_manager import MemoryIOManager
from stageflow.builtin.sqlite_run_store import SqliteRunStore

pytestmark = pytest.mark.anyio

KINDS = ("Scatter", "Parallel", "Routing")


@asset
def way():
    return 1


@route([way])
def router():
    return "way"


@scatter(lambda: [1, 2])
async def items(item):
    return item


@parallel([way, items])
def both(branches):
    return list(branches)


ASSETS = Assets([way, router, items, both])


def kinds(store):
    found = store._coordinators
    return [type(each).__name__ for each in (found.scatter, found.parallel, found.routing)]


async def made(runtime, **options):
    async with (
        runtime,
        AssetStore(ASSETS, runtime, io_manager=MemoryIOManager(), **options) as store,
    ):
        await store.materialize("both")
        return kinds(store)


async def test_in_memory_unless_anything_outlives_the_process():
    assert await made(Runtime(event_sink=None)) == [f"Memory{kind}Coordinator" for kind in KINDS]


async def test_beside_a_run_store_that_is_a_file(tmp_path):
    runtime = Runtime(run_store=SqliteRunStore(tmp_path / "here" / "runs.sqlite3"))
    assert await made(runtime) == [f"Sqlite{kind}Coordinator" for kind in KINDS]
    assert (tmp_path / "here" / "coordination.sqlite3").exists()


async def test_in_the_folder_that_is_given(tmp_path):
    assert "Sqlite" in (await made(Runtime(), coordination=tmp_path))[0]
    assert (tmp_path / "coordination.sqlite3").exists()


async def test_what_the_settings_choose_wins(tmp_path):
    (tmp_path / "stageflow.toml").write_text(
        'run_store = "sqlite"\n'
        'scatter_coordinator = "memory"\n'
        'parallel_coordinator = "mine"\n'
        f'[run_stores.sqlite]\npath = "{tmp_path}/runs.sqlite3"\n'
        f'[parallel_coordinators.mine]\nuse = "sqlite"\npath = "{tmp_path}/mine.sqlite3"\n'
    )
    found = await made(Runtime.from_settings(directory=tmp_path))
    assert found == [
        "MemoryScatterCoordinator",
        "SqliteParallelCoordinator",
        "SqliteRoutingCoordinator",
    ]
    assert (tmp_path / "mine.sqlite3").exists()
    assert (tmp_path / "coordination.sqlite3").exists()


async def test_none_is_opened_that_nobody_needs(tmp_path):
    runtime = Runtime(run_store=SqliteRunStore(tmp_path / "runs.sqlite3"))
    async with runtime, AssetStore([way], runtime, io_manager=MemoryIOManager()) as store:
        assert not store._coordinators.has("routing_coordinator")
    assert not (tmp_path / "coordination.sqlite3").exists()


def test_drawings_tell_how_assets_are_made():
    names = ASSETS.build().plan.names
    assert set(names) == {
        "way",
        "router  (routes)",
        "items  (scatter, 16 at once)",
        "both  (joins)",
    }
    plan = ASSETS.build().plan
    assert plan.calls[plan.index["way"]].conditional
