"""Integration contracts as assets use them: stores, resources and records that a user brings."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from stageflow import Runtime
from stageflow.assets import Assets, AssetStore, DatePartitions, asset
from stageflow.builtin.sqlite_run_store import SqliteRunStore
from stageflow.contracts.io_manager import AssetNotFoundError

pytestmark = pytest.mark.anyio

DAYS = DatePartitions(date(2025, 1, 1), date(2025, 1, 4))


class PlainManager:
    """An IO manager that is nothing but a class with the four methods."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, Any], Any] = {}
        self.calls: list[str] = []

    async def load(self, asset_name: str, partition: Any, **opts: Any) -> Any:
        self.calls.append("load")
        try:
            return self.kept[asset_name, partition]
        except KeyError:
            raise AssetNotFoundError(asset_name, partition) from None

    async def store(self, asset_name: str, data: Any, partition: Any, **opts: Any) -> None:
        self.calls.append(f"store {opts['format']}")
        self.kept[asset_name, partition] = data

    async def exists(self, asset_name: str, partition: Any, **opts: Any) -> bool:
        return (asset_name, partition) in self.kept

    async def delete(self, asset_name: str, partition: Any, **opts: Any) -> None:
        self.kept.pop((asset_name, partition), None)


async def test_an_io_manager_stores_by_name_and_partition_and_is_asked_before_anything_runs():
    manager = PlainManager()

    @asset(partitions=DAYS, io_manager=manager, io_options={"format": "json"})
    async def orders(ctx):
        return [ctx.partition.isoformat()]

    @asset(partitions=DAYS, io_manager=manager, io_options={"format": "text"})
    async def report(orders):
        return " ".join(orders)

    async with Runtime() as runtime, AssetStore([orders, report], runtime) as store:
        await store.materialize("report", DAYS[0])
        assert manager.kept == {
            ("orders", DAYS[0]): ["2025-01-01"],
            ("report", DAYS[0]): "2025-01-01",
        }
        assert manager.calls == ["store json", "load", "store text"]
        await store.materialize("report", DAYS[0])
        assert len(manager.calls) == 3
        await store.invalidate("report", DAYS[0])
        assert set(manager.kept) == {("orders", DAYS[0])}


class Connection:
    """A resource: set up when the runtime opens, torn down when it closes."""

    def __init__(self) -> None:
        self.is_open = False

    async def __aenter__(self):
        self.is_open = True
        return self

    async def __aexit__(self, *error: object) -> None:
        self.is_open = False


async def test_a_resource_is_open_while_assets_are_made():
    connection = Connection()

    @asset(resources=["warehouse"])
    async def rows(ctx):
        return ctx.resources["warehouse"].is_open

    async with (
        Runtime(resources={"warehouse": connection}) as runtime,
        AssetStore([rows], runtime) as store,
    ):
        await store.materialize("rows")
        assert await store.get("rows") is True
    assert not connection.is_open


async def test_names_of_io_managers_come_from_the_settings(tmp_path: Path):
    settings = {"io_managers": {"lake": {"use": "files", "root": str(tmp_path / "lake")}}}
    runtime = Runtime.from_settings(directory=tmp_path, arguments=settings, run_store=None)

    @asset(io_manager="lake")
    async def rows():
        return [1]

    async with runtime, AssetStore([rows], runtime) as store:
        done = await store.materialize("rows")
        assert done.record is not None
        assert done.record.io_manager == "lake"
        assert await store.get("rows") == [1]
    assert any((tmp_path / "lake").rglob("*"))


async def test_records_on_disk_outlive_the_process(tmp_path: Path):
    made = []

    @asset(partitions=DAYS)
    async def rows(ctx):
        made.append(ctx.partition)
        return 1

    settings = {"io_managers": {"files": {"root": str(tmp_path / "data"), "fsync": False}}}

    async def backfill():
        runtime = Runtime.from_settings(
            directory=tmp_path,
            arguments={"io_manager": "files", **settings},
            run_store=SqliteRunStore(tmp_path / "runs.sqlite3"),
        )
        async with runtime, AssetStore([rows], runtime) as store:
            return await store.backfill("rows")

    first, second = await backfill(), await backfill()
    assert (first.materialized, second.materialized, second.skipped) == (3, 0, 3)
    assert sorted(made) == list(DAYS)


PROGRAM = """
import sys, time
from pathlib import Path
import anyio
from stageflow import Runtime
from stageflow.assets import AssetStore, asset
from stageflow.builtin.sqlite_run_store import SqliteRunStore

@asset
def slow():
    with open("made.txt", "a") as file:
        file.write(sys.argv[1] + "\\n")
    while not Path("go").exists():
        time.sleep(0.01)
    return sys.argv[1]

async def main():
    settings = {"io_manager": "files", "io_managers": {"files": {"root": "data"}}}
    runtime = Runtime.from_settings(arguments=settings, run_store=SqliteRunStore("runs.sqlite3"))
    async with runtime, AssetStore([slow], runtime, lease=float(sys.argv[2]), poll=0.02) as store:
        def tell(type, data):
            if type == "asset.waiting":
                Path("waiting").touch()
        done = await store.materialize("slow", listeners=[tell])
        print(done.state, await store.get("slow"))

anyio.run(main)
"""


def start(folder: Path, name: str, lease: float = 60) -> subprocess.Popen[str]:
    (folder / "program.py").write_text(PROGRAM, encoding="utf-8")
    command = [sys.executable, "program.py", name, str(lease)]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} never came"
        time.sleep(0.01)


@pytest.mark.slow
def test_of_two_processes_one_makes_it_and_the_other_uses_what_it_made(tmp_path: Path):
    first = start(tmp_path, "first")
    wait_for(tmp_path / "made.txt")
    second = start(tmp_path, "second")
    wait_for(tmp_path / "waiting")
    (tmp_path / "go").touch()
    told = [each.communicate(timeout=30)[0].strip() for each in (first, second)]
    assert told == ["materialized first", "made_by_another_run first"]
    assert (tmp_path / "made.txt").read_text(encoding="utf-8") == "first\n"


@pytest.mark.slow
def test_what_a_killed_process_was_at_is_made_by_the_next(tmp_path: Path):
    first = start(tmp_path, "first", lease=0.5)
    wait_for(tmp_path / "made.txt")
    first.kill()
    first.communicate(timeout=30)
    (tmp_path / "go").touch()
    second = start(tmp_path, "second")
    assert second.communicate(timeout=30)[0].strip() == "materialized second"
    assert (tmp_path / "made.txt").read_text(encoding="utf-8") == "first\nsecond\n"


BACKFILLED = """
from pathlib import Path
import anyio
from stageflow.assets import StaticPartitions, asset

@asset(partitions=StaticPartitions(range(50)))
async def part(ctx):
    if ctx.partition == 9 and not Path("go").exists():
        Path("entered").touch()
        await anyio.sleep(60)
    return ctx.partition
"""


@pytest.mark.slow
def test_a_backfill_that_is_interrupted_leaves_in_order_and_goes_on_where_it_was(tmp_path: Path):
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n", encoding="utf-8")
    (tmp_path / "parts.py").write_text(BACKFILLED, encoding="utf-8")
    command = [sys.executable, "-m", "stageflow", "assets", "backfill", "parts.py", "part"]
    pipes = {"cwd": tmp_path, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    first = subprocess.Popen([*command, "--parallel", "1"], **pipes)
    wait_for(tmp_path / "entered")
    first.send_signal(signal.SIGINT)
    _, told = first.communicate(timeout=30)
    assert first.returncode == 130
    assert "the same command goes on from there" in told
    assert "Traceback" not in told
    (tmp_path / "go").touch()
    second = subprocess.run([*command, "--json"], **pipes, timeout=30, check=True)
    counts = json.loads(second.stdout)
    assert (counts["materialized"], counts["skipped"]) == (41, 9)


def test_a_script_needs_no_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    @asset
    def numbers():
        return [1, 2, 3]

    @asset
    def total(numbers):
        return sum(numbers)

    assert Assets([numbers, total]).materialize_sync("total", runtime=Runtime()) == 6
