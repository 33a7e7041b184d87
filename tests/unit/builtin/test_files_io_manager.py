"""FilesIOManager: where files lie, what a killed writer leaves, and what a file system may do."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stageflow.builtin.files_io_manager import FilesIOManager
from stageflow.builtin.io_managers import FilesSettings, make_files_io_manager
from stageflow.builtin.serializers import BytesSerializer, JsonSerializer, TextSerializer
from stageflow.contracts.io_manager import AssetNotFoundError, UnknownOptionError
from stageflow.contracts.partitions import PartitionKeyError, partition_key
from stageflow.contracts.serializer import (
    SerializerCapabilities,
    Serializers,
    UnknownSerializerError,
    UnserializableValueError,
)
from stageflow.contracts.storage import (
    StorageCorruptError,
    StorageFullError,
    StorageReadOnlyError,
    StorageUnavailableError,
)

pytestmark = pytest.mark.anyio


def files_below(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


@pytest.fixture
def manager(tmp_path: Path) -> FilesIOManager:
    return FilesIOManager(tmp_path, fsync=False)


async def test_files_lie_where_other_engines_look_for_them(manager, tmp_path):
    await manager.store("places", {"rows": [1]}, {"region": "eu", "day": date(2025, 1, 31)})
    await manager.store("places", "text", date(2025, 1, 31))
    await manager.store("places", b"\0", None)
    assert files_below(tmp_path) == [
        "places/day=2025-01-31/region=eu/part-0-json.json",
        "places/part-0-bytes.bin",
        "places/partition=2025-01-31/part-0-text.txt",
    ]
    whole = json.loads((tmp_path / files_below(tmp_path)[0]).read_bytes())
    assert whole["plain"] == {"rows": [1]}
    assert (tmp_path / files_below(tmp_path)[2]).read_text() == "text"


async def test_what_one_manager_stores_another_one_loads(manager, tmp_path):
    await manager.store("places", ("a", 1), "eu")
    async with FilesIOManager(tmp_path) as other:
        assert await other.load("places", "eu") == ("a", 1)
        assert await other.list_partitions("places") == ("eu",)


# --- serialisers --------------------------------------------------------------------------


async def test_the_serialiser_that_wrote_a_value_reads_it(manager, tmp_path):
    for value, name in [("a", None), ("b", "json"), (b"c", None), ("d", "text"), ("e", "text")]:
        await manager.store("places", value, None, **({"serializer": name} if name else {}))
        assert await manager.load("places", None) == value
        # An asset's options are given to every call; a value is read as it was written.
        assert await manager.load("places", None, serializer="json") == value
        assert len(files_below(tmp_path)) == 1, "an older value stays"
    assert files_below(tmp_path) == ["places/part-3-text.txt"]
    await manager.delete("places", None)
    assert not await manager.exists("places", None)
    assert not (tmp_path / "places").exists(), "an empty folder stays"


async def test_two_values_at_once_are_one_for_everybody(manager, tmp_path):
    # As two processes may leave them, which store values of two kinds at the same time.
    await manager.store("places", "text", None)
    (tmp_path / "places" / "part-1-bytes.bin").write_bytes(b"newer")
    assert await manager.load("places", None) == b"newer"
    await manager.store("places", b"newest", None)
    assert files_below(tmp_path) == ["places/part-1-bytes.bin"]
    (tmp_path / "places" / "part-0-text.txt").write_text("older")
    await manager.delete("places", None)
    assert not await manager.exists("places", None)


async def test_wrong_choices_are_told(manager, tmp_path):
    with pytest.raises(UnknownSerializerError, match="Did you mean 'json'"):
        await manager.store("places", {}, None, serializer="jsn")
    with pytest.raises(UnserializableValueError, match="'bytes' cannot carry"):
        await manager.store("places", {}, None, serializer="bytes")
    with pytest.raises(UnserializableValueError, match="install a distribution"):
        await manager.store("places", object(), None)
    with pytest.raises(UnknownOptionError, match="Did you mean 'serializer'"):
        await manager.store("places", {}, None, serialiser="json")
    (tmp_path / "places").mkdir()
    (tmp_path / "places" / "part-0-parquet.parquet").touch()
    with pytest.raises(UnknownSerializerError, match="'parquet'"):
        await FilesIOManager(tmp_path, serializers=Serializers.of(JsonSerializer())).load(
            "places", None
        )


async def test_damage_is_told_with_its_place(manager, tmp_path):
    await manager.store("places", {"a": 1}, None)
    (path,) = [tmp_path / name for name in files_below(tmp_path)]
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(StorageCorruptError, match="'json' wrote") as caught:
        await manager.load("places", None)
    assert caught.value.storage == str(path)
    assert str(path) in caught.value.message


class Streams(TextSerializer):
    name = "streams"
    capabilities = SerializerCapabilities(streaming=True, options=frozenset({"limit"}))

    def write(self, value, file, /, *, limit=None, **opts):
        for number, part in enumerate(value):
            if number == limit:
                raise RuntimeError("no more")
            file.write(part.encode())

    def read(self, file, /, *, limit=None, **opts):
        return file.read(limit).decode()


async def test_values_are_streamed_and_options_reach_the_serialiser(tmp_path):
    choice = Serializers.of(Streams(), BytesSerializer())
    manager = FilesIOManager(tmp_path, fsync=False, serializers=choice)
    await manager.store("places", ["a", "b", "c"], None, serializer="streams")
    assert await manager.load("places", None) == "abc"
    assert await manager.load("places", None, limit=2) == "ab"
    assert await manager.exists("places", None, limit=2)
    with pytest.raises(RuntimeError, match="no more"):
        await manager.store("places", ["d", "e"], None, serializer="streams", limit=1)
    assert await manager.load("places", None) == "abc", "half a value took its place"
    assert files_below(tmp_path) == ["places/part-0-streams.txt"], "a file is left over"


# --- names --------------------------------------------------------------------------------

hostile = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.text("./\\~aA:\0 ", max_size=8),
    st.sampled_from(["..", "../..", "/etc/passwd", "C:\\x", "con", "NUL.txt", "~", "_key", ""]),
    st.integers(100, 400).map(lambda n: "x/" * n),
    st.just(".unfinished"),
)
partitions = st.recursive(
    hostile | st.none() | st.integers() | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple) | st.dictionaries(hostile, inner, max_size=3)
    ),
    max_leaves=5,
)


@given(st.lists(st.tuples(hostile, partitions), min_size=1, max_size=4))
@settings(
    deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_no_name_leads_anywhere_else(places):
    with TemporaryDirectory() as folder:
        root = Path(folder) / "deep" / "root"
        manager = FilesIOManager(root, fsync=False)
        stored = {}
        for number, (asset, partition) in enumerate(places):
            await manager.store(asset, number, partition)
            stored[asset, partition_key(partition)] = number
        for asset, partition in places:
            assert await manager.load(asset, partition) == stored[asset, partition_key(partition)]
            listed = [partition_key(each) for each in await manager.list_partitions(asset)]
            assert sorted(listed) == sorted(key for name, key in stored if name == asset)
        assert len([p for p in root.rglob("part-*") if p.is_file()]) == len(stored)
        outside = [p for p in root.parent.parent.rglob("*") if root not in p.parents]
        assert outside == [root.parent, root]
        names = [str(p.relative_to(root)).lower() for p in root.rglob("*")]
        assert len(names) == len(set(names)), "two paths differ in the case of letters alone"
        assert max(len(part.encode()) for name in names for part in name.split("/")) <= 143


async def test_long_names_are_kept_in_full_beside_what_they_name(manager, tmp_path):
    long = "x" * 1000
    await manager.store("places", 1, long)
    await manager.store("places", 2, long + "y")
    assert sorted(await manager.list_partitions("places")) == [long, long + "y"]
    await manager.store("columns", 1, {long: 1, "b": 2})
    assert await manager.list_partitions("columns") == ({"b": 2, long: 1},)
    await manager.store("columns", 1, {"c" * 200: 1})
    assert len(await manager.list_partitions("columns")) == 2
    # Whoever removes the folder while another one stores in it takes nothing away.
    for key in tmp_path.rglob("_key"):
        key.unlink()
    await manager.store("places", 3, long)
    await manager.store("places", 3, long + "y")
    assert sorted(await manager.list_partitions("places")) == [long, long + "y"]


async def test_what_others_put_there_is_passed_over_or_told(manager, tmp_path):
    await manager.store("places", 1, "eu")
    (tmp_path / "places" / "_SUCCESS").touch()
    (tmp_path / "places" / "lost+found").mkdir()
    (tmp_path / "places" / "day=tomorrow").mkdir()
    (tmp_path / "places" / "day=tomorrow" / "data.parquet").touch()
    assert await manager.list_partitions("places") == ("eu",)
    (tmp_path / "places" / "partition=007").mkdir()
    (tmp_path / "places" / "partition=007" / "part-0-json.json").touch()
    with pytest.raises(PartitionKeyError, match="move it away"):
        await manager.list_partitions("places")


# --- writers that do not come to their end ------------------------------------------------

KILLED = """
import sys, time
from stageflow.builtin.files_io_manager import FilesIOManager
from stageflow.contracts.serializer import SerializerCapabilities, Serializers
import anyio

class Slow:
    name, media_type, suffix = "slow", "text/plain", ".txt"
    capabilities = SerializerCapabilities(streaming=True)
    def accepts(self, value): return True
    def encode(self, value): return value
    def decode(self, data): return data
    def read(self, file): return file.read()
    def write(self, value, file):
        file.write(value[: len(value) // 2])
        file.flush()
        print("half", flush=True)
        time.sleep(60)

async def main():
    manager = FilesIOManager(sys.argv[1], serializers=Serializers.of(Slow()))
    await manager.store("places", b"new" * 1000, "eu")

anyio.run(main)
"""


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A root whose writer was killed in the middle of a value."""
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, tmp_path], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "half\n"
        os.kill(writer.pid, signal.SIGKILL)
    return tmp_path


@pytest.mark.slow
async def test_a_killed_writer_leaves_no_half_value(killed: Path):
    manager = FilesIOManager(killed)
    assert not await manager.exists("places", "eu")
    assert await manager.list_partitions("places") == ()
    with pytest.raises(AssetNotFoundError):
        await manager.load("places", "eu")
    await manager.store("places", "whole", "eu")
    assert await manager.load("places", "eu") == "whole"


async def test_what_writers_leave_is_removed_once_it_is_old(tmp_path):
    unfinished = tmp_path / ".unfinished"
    unfinished.mkdir()
    (unfinished / "dead").write_bytes(b"half")
    (unfinished / "alive").write_bytes(b"half")
    os.utime(unfinished / "dead", (1_000, 1_000))
    os.utime(unfinished / "alive", (1_950, 1_950))
    async with FilesIOManager(tmp_path, stale_after=100, now=lambda: 2_000):
        assert files_below(tmp_path) == [".unfinished/alive"], "a live writer's file is gone"
    manager = FilesIOManager(tmp_path, stale_after=100, now=lambda: 2_100)
    await manager.store("places", 1, None)
    assert files_below(tmp_path) == ["places/part-0-json.json"]


async def test_a_value_is_moved_in_whole_and_in_one_step(manager, tmp_path, monkeypatch):
    await manager.store("places", "old", None)

    def cut(self, target):
        raise OSError(errno.EIO, "cut", str(target))

    monkeypatch.setattr(Path, "replace", cut)
    with pytest.raises(StorageUnavailableError, match="cut"):
        await manager.store("places", "new", None)
    assert files_below(tmp_path) == ["places/part-0-text.txt"]
    assert await manager.load("places", None) == "old"


async def test_a_folder_that_is_removed_meanwhile_is_made_again(manager, tmp_path, monkeypatch):
    replace, times = Path.replace, []

    def racing(self, target):
        times.append(target)
        if len(times) < 3:
            target.parent.rmdir()
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", racing)
    await manager.store("places", "new", "eu")
    assert len(times) == 3
    assert await manager.load("places", "eu") == "new"


@pytest.mark.parametrize("fsync", [True, False])
async def test_values_are_synced_before_they_are_published(tmp_path, monkeypatch, fsync):
    synced, sync = [], os.fsync

    def recording(descriptor):
        synced.append((descriptor, (tmp_path / "places" / "part-0-json.json").exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", recording)
    await FilesIOManager(tmp_path, fsync=fsync).store("places", 1, None)
    assert [published for _, published in synced] == ([False, True] if fsync else [])


async def test_stores_deletes_and_loads_at_once_leave_whole_values(manager, tmp_path):
    async def busy(value):
        for _ in range(5):
            await manager.store("places", value, "eu")
            with suppress(AssetNotFoundError):
                assert await manager.load("places", "eu") in ["text", b"bytes", [1] * 100]
            await manager.delete("places", "eu")

    async with anyio.create_task_group() as group:
        for value in ("text", b"bytes", [1] * 100) * 2:
            group.start_soon(busy, value)
    await manager.delete("places", "eu")
    assert files_below(tmp_path) == []


# --- what a file system may say -----------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (errno.ENOSPC, StorageFullError),
        (errno.EDQUOT, StorageFullError),
        (errno.EROFS, StorageReadOnlyError),
        (errno.EACCES, StorageReadOnlyError),
        (errno.EIO, StorageUnavailableError),
    ],
)
async def test_errors_of_the_system_are_told_in_our_words(manager, monkeypatch, code, error):
    def fail(*_):
        raise OSError(code, os.strerror(code), "there")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(error, match="there") as caught:
        await manager.store("places", 1, None)
    assert caught.value.storage == "there"
    assert caught.value.hint


async def test_a_root_that_is_a_file_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageUnavailableError, match="file"):
        async with FilesIOManager(tmp_path / "file"):
            pass
    assert not await FilesIOManager(tmp_path / "file").exists("places", None)


def test_it_is_made_from_settings(tmp_path):
    made = make_files_io_manager(FilesSettings(root=tmp_path, fsync=False, stale_after=5))
    assert repr(made) == f"FilesIOManager({str(tmp_path)!r})"
    assert (made._fsync, made._stale_after) == (False, 5)
