"""What the run stores of core do beyond the clauses of their contract."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from stageflow.builtin.memory_run_store import MemoryRunStore
from stageflow.builtin.sqlite_run_store import SqliteRunStore
from stageflow.codec import Codec, UnencodableValueError, UnknownTagError
from stageflow.contracts.run_store import RunEvent, RunNotFoundError
from stageflow.contracts.storage import (
    StorageCorruptError,
    StorageReadOnlyError,
    StorageUnavailableError,
    StorageVersionError,
)
from stageflow.testing import TestClock

pytestmark = pytest.mark.anyio

RUN = UUID(int=1)
START = datetime(2025, 1, 1, tzinfo=UTC)


class Celsius:
    def __init__(self, degrees):
        self.degrees = degrees


def own_codec():
    codec = Codec()
    codec.register(Celsius, encode=lambda value: value.degrees, decode=Celsius)
    return codec


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs.sqlite3"


@pytest.fixture(params=["memory", "sqlite"])
def make_store(request, path):
    if request.param == "memory":
        return MemoryRunStore
    return lambda **given: SqliteRunStore(path, synchronous="normal", **given)


# --- both of them ---------------------------------------------------------------


async def test_bug008_times_come_from_the_clock(make_store):
    clock = TestClock()
    async with make_store(clock=clock) as store:
        created = await store.create_run(RUN, service="voice")
        clock.tick(90)
        await store.update_status(RUN, "running")
        record = await store.get_run(RUN)
    assert (created.created_at, created.updated_at) == (START, START)
    assert (record.created_at, record.updated_at) == (START, START + timedelta(seconds=90))


async def test_the_record_returned_is_the_one_that_is_found(make_store):
    async with make_store() as store:
        record = await store.create_run(RUN, service="voice", topology="chat", tags=("a", "b"))
        assert record == await store.get_run(RUN)


async def test_a_clock_set_back_does_not_change_the_order(make_store):
    clock = TestClock()
    async with make_store(clock=clock) as store:
        for number in range(3):
            await store.create_run(UUID(int=number), service="voice")
            clock.shift_wall(-3600)
        assert [run.run_id.int for run in await store.list_runs()] == [2, 1, 0]


async def test_fs_review_1214_values_pass_through_the_codec(make_store):
    async with make_store(codec=own_codec()) as store:
        await store.create_run(RUN, service="voice", room=Celsius(21))
        assert (await store.get_run(RUN))["room"].degrees == 21
    async with make_store() as store:
        with pytest.raises(UnencodableValueError, match="room") as caught:
            await store.create_run(uuid4(), service="voice", room=Celsius(21))
        assert caught.value.path.startswith("room")


async def test_metadata_may_be_called_as_attributes_are(make_store):
    async with make_store() as store:
        await store.create_run(RUN, service="voice", error="theirs", created_at="noon")
        await store.update_status(RUN, "failed", error="ours")
        record = await store.get_run(RUN)
    assert (record["error"], record["created_at"]) == ("ours", record.created_at)
    assert record.metadata == {"error": "theirs", "created_at": "noon"}


async def test_a_store_without_runs_lists_none(make_store):
    async with make_store() as store:
        assert list(await store.list_runs()) == []
        assert await store.delete_run(RUN) is False


# --- SQLite ---------------------------------------------------------------------


async def test_runs_outlive_the_store(path):
    async with SqliteRunStore(path) as store:
        await store.create_run(RUN, service="voice", user="u-1")
        await store.append_events(RUN, [RunEvent(type="a", at=START, data={"n": 1})])
    async with SqliteRunStore(path, read_only=True) as store:
        assert (await store.get_run(RUN))["user"] == "u-1"
        assert [event.type for event in await store.read_events(RUN)] == ["a"]
        with pytest.raises(StorageReadOnlyError):
            await store.update_status(RUN, "running")


async def test_looking_for_runs_where_there_are_none_makes_no_file(path):
    store = SqliteRunStore(path, read_only=True)
    with pytest.raises(StorageUnavailableError):
        await store.list_runs()
    await store.aclose()
    assert not path.exists()


async def test_values_of_types_that_others_know_are_left_alone(path):
    async with SqliteRunStore(path, codec=own_codec()) as store:
        await store.create_run(RUN, service="voice", room=Celsius(21))
    async with SqliteRunStore(path) as store:
        await store.update_status(RUN, "running", more=1)
        with pytest.raises(UnknownTagError, match="Celsius"):
            await store.get_run(RUN)
    async with SqliteRunStore(path, codec=own_codec()) as store:
        record = await store.get_run(RUN)
        assert (record["room"].degrees, record["more"]) == (21, 1)


async def test_a_damaged_row_says_which_run_it_is(path):
    async with SqliteRunStore(path) as store:
        await store.create_run(RUN, service="voice", user="u-1")
        await store.create_run(UUID(int=2), service="voice")
        await store._database.write(
            lambda c: c.execute("update run_metadata set value = x'00ff'").rowcount
        )
        with pytest.raises(StorageCorruptError, match=str(RUN)):
            await store.get_run(RUN)
        assert await store.get_run(UUID(int=2)) is not None
        await store.update_status(RUN, "running")
        assert await store.delete_run(RUN) is True


async def test_an_error_with_half_a_character_is_kept_readable(path):
    async with SqliteRunStore(path) as store:
        await store.create_run(RUN, service="voice")
        await store.update_status(RUN, "failed", error="no such file: caf\udce9")
        assert (await store.get_run(RUN)).error == "no such file: caf\\udce9"


async def test_a_file_of_a_newer_stageflow_is_refused(path):
    async with SqliteRunStore(path) as store:
        await store._database.write(
            lambda c: c.execute("update stageflow_schema set version = 99").rowcount
        )
    store = SqliteRunStore(path)
    with pytest.raises(StorageVersionError, match="version 99 of the layout of runs"):
        await store.open()
    await store.aclose()


async def test_two_stores_on_one_file_see_each_other(path):
    async with SqliteRunStore(path) as first, SqliteRunStore(path) as second:
        await first.create_run(RUN, service="voice")
        await second.update_status(RUN, "running", by="second")
        await first.update_status(RUN, "completed", duration_ms=1.5)
        record = await second.get_run(RUN)
        assert (record.status, record["by"], record.duration_ms) == ("completed", "second", 1.5)
        await second.delete_run(RUN)
        with pytest.raises(RunNotFoundError):
            await first.update_status(RUN, "running")


_WRITER = """
import sys, anyio
from uuid import uuid4
from datetime import datetime, UTC
from stageflow.builtin.sqlite_run_store import SqliteRunStore
from stageflow.contracts.run_store import RunEvent

async def main():
    shared = __import__("uuid").UUID(int=1)
    async with SqliteRunStore(sys.argv[1], synchronous="normal") as store:
        for number in range(50):
            await store.create_run(uuid4(), service=sys.argv[2])
            event = RunEvent(type=sys.argv[2], at=datetime.now(UTC))
            await store.append_events(shared, [event, event])

anyio.run(main)
"""


@pytest.mark.slow
async def test_processes_share_a_file(path):
    async with SqliteRunStore(path, synchronous="normal") as store:
        await store.create_run(RUN, service="shared")
        writers = [
            subprocess.Popen([sys.executable, "-c", _WRITER, str(path), name])  # noqa: ASYNC220
            for name in ("a", "b", "c")
        ]
        assert [writer.wait(30) for writer in writers] == [0, 0, 0]
        for name in ("a", "b", "c"):
            assert len(await store.list_runs(service=name)) == 50
        events = await store.read_events(RUN)
        assert [event.number for event in events] == list(range(1, 301))
        assert all(a.type == b.type for a, b in zip(events[::2], events[1::2], strict=True))
