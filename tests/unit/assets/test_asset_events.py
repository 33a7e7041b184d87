"""Every event of assets, as it is told."""

from __future__ import annotations

import anyio
import pytest

from stageflow import Runtime
from stageflow.assets import ASSET_EVENTS, AssetFailedError, AssetStore, asset
from stageflow.events.schemas import EVENTS
from support.golden_events import ANY_ID, ANY_MS, ANY_TIME, assert_golden, check_schemas
from support.runs import RememberingSink

pytestmark = pytest.mark.anyio

HEX: object = type("Hex", (), {"__eq__": lambda _, other: len(other) == 32, "__hash__": None})()


def base(**facts):
    return {
        "pipeline_run_id": None,
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
        **facts,
    }


X = {"asset": "a", "partition": "x", "partition_key": "s_x"}
IN_RUN = {"pipeline_run_id": ANY_ID}
MATERIALIZED = {
    "asset_version": "1",
    "data_version": HEX,
    "io_manager": "MemoryIOManager",
    "duration_ms": ANY_MS,
    "metadata": {"rows": 3},
}
NONE_DONE = {"total": 2, "done": 0, "materialized": 0, "skipped": 0, "failed": 0}
ALL_DONE = {"total": 2, "done": 2, "materialized": 0, "skipped": 1, "failed": 1}


@pytest.fixture
def a():
    @asset(partitions=["x", "y"], version="1")
    async def a(ctx):
        if ctx.partition == "y":
            raise ValueError("no y")
        ctx.add_metadata(rows=3)
        return 1

    return a


def of_assets(events):
    return [(kind, data) for kind, data in events if kind.startswith("asset.")]


async def test_golden_events_of_assets(backends, a):
    async with backends.open([a]) as store:
        await store.materialize("a", "x", user_id=None)
        await store.materialize("a", "x")
        with pytest.raises(AssetFailedError):
            await store.materialize("a", "y")
        await store.backfill("a")
        await store.invalidate("a", "x")
    y = {**X, "partition": "y", "partition_key": "s_y"}
    failed = {"error": "ValueError: no y", "error_code": None}
    assert_golden(
        of_assets(backends.events),
        [
            ("asset.materialized", base(**IN_RUN, **X, **MATERIALIZED)),
            ("asset.skipped", base(**X, reason="fresh")),
            ("asset.failed", base(**IN_RUN, **y, **failed)),
            ("asset.backfill_started", base(asset="a", **NONE_DONE)),
            ("asset.skipped", base(**X, reason="fresh")),
            ("asset.failed", base(**IN_RUN, **y, **failed)),
            (
                "asset.backfill_progress",
                base(asset="a", **ALL_DONE, elapsed_ms=ANY_MS, remaining_ms=ANY_MS),
            ),
            ("asset.backfill_completed", base(asset="a", **ALL_DONE, duration_ms=ANY_MS)),
            ("asset.invalidated", base(**X, was_there=True)),
        ],
        ASSET_EVENTS,
    )
    check_schemas([each for each in backends.events if not each[0].startswith("asset.")])


async def test_golden_events_of_one_who_waits(backends):
    entered, let_go = anyio.Event(), anyio.Event()

    @asset
    async def a():
        entered.set()
        await let_go.wait()
        return 1

    async with backends.open([a]) as store, anyio.create_task_group() as tasks:
        tasks.start_soon(store.materialize, "a")
        await entered.wait()
        tasks.start_soon(store.materialize, "a")
        while "asset.waiting" not in backends.types():
            await anyio.lowlevel.checkpoint()
        let_go.set()
    told = dict(of_assets(backends.events))
    whole = {"asset": "a", "partition": None, "partition_key": "-"}
    assert_golden(
        [(kind, told[kind]) for kind in ("asset.waiting", "asset.skipped")],
        [
            ("asset.waiting", base(**IN_RUN, **whole, other_run_id=ANY_ID)),
            ("asset.skipped", base(**IN_RUN, **whole, reason="made_by_another_run")),
        ],
        ASSET_EVENTS,
    )


async def test_sinks_are_told_each_event_once_and_the_records_of_runs_hold_theirs(a):
    sink = RememberingSink()
    async with Runtime(event_sink=sink) as runtime, AssetStore([a], runtime) as store:
        await store.materialize("a", "x")
        await store.materialize("a", "x")
    assert [kind for kind, _ in of_assets(sink.events)] == ["asset.materialized", "asset.skipped"]


async def test_the_log_of_a_run_tells_what_it_made(backends, a):
    async with backends.open([a]) as store:
        done = await store.materialize("a", "x")
        (record,) = await backends.run_store.list_runs()
        log = await backends.run_store.read_events(record.run_id)
    assert str(record.run_id) == done.run_id
    assert "asset.materialized" in [event.type for event in log]


async def test_a_listener_that_fails_changes_nothing(backends, a):
    def fail(type, data):
        raise ValueError(type)

    async with backends.open([a], listeners=[fail]) as store:
        assert (await store.materialize("a", "x")).state == "materialized"
        assert (await store.materialize("a", "x")).state == "fresh"


def test_events_of_assets_are_not_cores_and_can_be_printed():
    assert not set(ASSET_EVENTS) & set(EVENTS)
    page = ASSET_EVENTS.to_markdown()
    assert all(f"## {kind}\n" in page for kind in ASSET_EVENTS)
