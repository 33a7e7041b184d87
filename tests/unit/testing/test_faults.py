"""Fault points: what is armed happens where and when it is told, once, and nowhere else."""

from __future__ import annotations

import copy
import inspect
import os
import signal
import subprocess
import sys
from uuid import UUID

import anyio
import anyio.lowlevel
import pytest

from stageflow.builtin.memory_run_store import MemoryRunStore
from stageflow.contracts.checkpoints import CheckpointEntry
from stageflow.contracts.run_store import RunStore, RunStoreCapabilities
from stageflow.contracts.storage import (
    StorageBusyError,
    StorageCorruptError,
    StorageFullError,
    StorageReadOnlyError,
    StorageUnavailableError,
)
from stageflow.testing import TestClock
from stageflow.testing.faults import (
    FAULTS_VARIABLE,
    Fault,
    Faults,
    FaultyStore,
    run_store_points,
)

pytestmark = pytest.mark.anyio

RUN = UUID(int=1)


async def owned(faults=(), **given):
    """Return a faulty store with a run, and the run's lease."""
    store = FaultyStore(MemoryRunStore(), Faults(faults, **given))
    await store.store.create_run(RUN, service="voice", status="running")
    return store, await store.store.acquire_lease(RUN, "me", ttl=60)


async def committed(store):
    return [entry.key for entry in await store.store.load_entries(RUN)]


def entry(key):
    return CheckpointEntry(key=key, value=b"1")


# --- how faults are told --------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("commit.before=kill", Fault("commit.before", "kill")),
        ("commit.after#3=fail:full", Fault("commit.after", "fail", 3, "full")),
        (" load_entries.before#*=delay:0.5 ", Fault("load_entries.before", "delay", None, "0.5")),
        ("stage-a.b/c=call", Fault("stage-a.b/c", "call")),
    ],
)
def test_a_fault_is_read_and_written_as_text(text, fault):
    assert Fault.parse(text) == fault
    assert Fault.parse(str(fault)) == fault


@pytest.mark.parametrize(
    "text",
    [
        *("", "commit.before", "commit.before#0=kill", "commit.before#-1=kill", "=kill"),
        *("commit.before=explode", "commit.before=fail:softly", "commit.before=delay"),
        *("commit.before=delay:long", "commit.before = kill"),
    ],
)
def test_what_tells_no_fault_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        Fault.parse(text)


def test_a_child_is_told_in_a_variable():
    told = Faults.from_environment(
        {FAULTS_VARIABLE: "commit.before#2=kill; signal_run.after=fail;"}
    )
    assert told.pending == (Fault("commit.before", "kill", 2), Fault("signal_run.after", "fail"))
    assert Faults.from_environment({}).pending == ()


def test_the_points_stand_around_every_call_of_the_contract():
    calls = {
        name
        for name, member in inspect.getmembers(MemoryRunStore, inspect.iscoroutinefunction)
        if not name.startswith("_") and name != "aclose"
    }
    expected = sorted(f"{name}.{when}" for name in calls for when in ("before", "after"))
    assert sorted(run_store_points()) == expected


# --- when they happen -----------------------------------------------------------


async def test_a_call_fails_before_it_is_made():
    store, lease = await owned("commit.before#2=fail")
    await store.commit(lease, [entry("a")])
    with pytest.raises(StorageUnavailableError, match=r"commit\.before#2=fail"):
        await store.commit(lease, [entry("b")])
    await store.commit(lease, [entry("c")])
    assert await committed(store) == ["a", "c"]
    assert store.faults.pending == ()


async def test_a_call_fails_after_it_was_made():
    store, lease = await owned("commit.after=fail")
    with pytest.raises(StorageUnavailableError, match="after it had happened"):
        await store.commit(lease, [entry("a")])
    assert await committed(store) == ["a"]


async def test_a_call_that_raises_never_reaches_its_end():
    store, lease = await owned("commit.after=fail")
    await store.store.release_lease(lease)
    with pytest.raises(Exception, match="SF427"):
        await store.commit(lease)
    assert store.faults.reached == ("commit.before#1",)
    assert store.faults.pending == (Fault("commit.after", "fail"),)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("busy", StorageBusyError),
        ("corrupt", StorageCorruptError),
        ("full", StorageFullError),
        ("read-only", StorageReadOnlyError),
        ("unavailable", StorageUnavailableError),
    ],
)
async def test_a_call_fails_as_a_medium_does(kind, error):
    store, lease = await owned(f"commit.before#*=fail:{kind}")
    for _ in range(2):
        with pytest.raises(error):
            await store.commit(lease)
    store.faults.disarm()
    await store.commit(lease)


async def test_a_call_is_delayed_on_the_clock():
    clock = TestClock()
    store, lease = await owned("commit.before=delay:5", clock=clock)
    async with anyio.create_task_group() as group:
        group.start_soon(store.commit, lease, [entry("a")])
        await clock.advance(4)
        assert await committed(store) == []
        await clock.advance(1)
    assert await committed(store) == ["a"]


@pytest.mark.parametrize(("when", "kept"), [("before", []), ("after", ["a"])])
async def test_a_call_is_cancelled_around_its_work(when, kept):
    store, lease = await owned(f"commit.{when}=cancel")
    with anyio.CancelScope() as scope:
        store.faults.cancel = scope.cancel
        await store.commit(lease, [entry("a")])
        pytest.fail("it was not cancelled")
    assert scope.cancelled_caught
    assert await committed(store) == kept


async def test_anything_may_be_called_at_a_point():
    store, lease = await owned("commit.before=call; commit.after=call")
    calls = []

    async def steal(point):
        await anyio.lowlevel.checkpoint()
        calls.append(point)
        if point == "commit.before":
            await store.store.acquire_lease(RUN, "thief", ttl=60, take_over=lease.token)

    store.faults.call = steal
    with pytest.raises(Exception, match="SF427"):
        await store.commit(lease, [entry("a")])
    store.faults.call = calls.append
    await store.commit(await store.get_lease(RUN), [entry("b")])
    assert calls == ["commit.before", "commit.after"]
    assert await committed(store) == ["b"]


@pytest.mark.parametrize("action", ["call", "cancel"])
async def test_what_has_nothing_to_call_says_so(action):
    with pytest.raises(ValueError, match=action):
        await Faults(f"here={action}").reach("here")


async def test_a_fault_counts_from_when_it_is_armed():
    faults = Faults()
    for _ in range(3):
        await faults.reach("here")
    faults.arm("here#2=fail")
    await faults.reach("here")
    with pytest.raises(StorageUnavailableError):
        await faults.reach("here")
    await faults.reach("here")


async def test_an_undisturbed_run_tells_where_it_may_be_broken():
    async def work(store, lease):
        await store.get_run(RUN)
        await store.commit(lease)
        await store.commit(lease, status="completed")

    store, lease = await owned()
    await work(store, lease)
    points = store.faults.reached
    assert points == (
        *("get_run.before#1", "get_run.after#1", "commit.before#1", "commit.after#1"),
        *("commit.before#2", "commit.after#2"),
    )
    for point in points:
        store, lease = await owned(f"{point}=fail")
        with pytest.raises(StorageUnavailableError):
            await work(store, lease)
        assert store.faults.pending == ()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_is_killed_at_a_point(tmp_path, when):
    program = """
import anyio, pathlib, sys
from stageflow.testing.faults import Faults

async def main():
    faults = Faults.from_environment()
    for number in range(5):
        await faults.reach("work.before")
        pathlib.Path(sys.argv[1], str(number)).touch()
        await faults.reach("work.after")

anyio.run(main)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        env=os.environ | {FAULTS_VARIABLE: f"work.{when}#3=kill"},
        check=False,
        capture_output=True,
    )
    assert (done.returncode, done.stderr) == (-signal.SIGKILL, b"")
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == ["0", "1", "2"][: 2 if when == "before" else 3]


# --- the store ------------------------------------------------------------------


async def test_a_faulty_store_is_what_it_wraps():
    inner = MemoryRunStore()
    store = FaultyStore(inner, "commit.before=fail")
    assert isinstance(store, RunStore)
    assert store.capabilities == inner.capabilities
    assert FaultyStore(object()).capabilities == RunStoreCapabilities()
    assert not hasattr(store, "no_such_call")
    assert copy.copy(store).store is inner
    assert "commit.before#1=fail" in repr(store)
    async with store:
        await store.create_run(RUN, service="voice")
    with pytest.raises(Exception, match="closed"):
        await store.get_run(RUN)
