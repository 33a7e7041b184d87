"""JsonlEventSink: lines of JSON in a file, and a file that cannot be written stops nobody."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from uuid import UUID

import anyio
import pytest

from stageflow.builtin.jsonl_event_sink import JsonlEventSink
from stageflow.contracts.event_sink import EventSink, EventSinkError

pytestmark = pytest.mark.anyio
AT = datetime(2025, 1, 1, tzinfo=UTC)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.jsonl"


def lines(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


async def test_a_line_says_what_when_and_with_which_facts(path):
    async with JsonlEventSink(path, now=lambda: AT) as sink:
        sink.try_emit(type="stage.completed", data={"id": UUID(int=1), "text": "naïve\n"})
        await sink.emit(type="other", data=None)
    at = "2025-01-01T00:00:00+00:00"
    assert lines(path) == [
        {
            "type": "stage.completed",
            "recorded_at": at,
            "data": {"id": str(UUID(int=1)), "text": "naïve\n"},
        },
        {"type": "other", "recorded_at": at, "data": None},
    ]


def test_it_is_an_event_sink(path):
    assert isinstance(JsonlEventSink(path), EventSink)


async def test_nothing_is_made_before_it_is_opened(path):
    JsonlEventSink(path / "below")
    assert list(path.parent.iterdir()) == []


async def test_it_appends(path):
    path.write_text('{"type":"before"}\n')
    async with JsonlEventSink(path) as sink:
        sink.try_emit(type="after", data=None)
    assert [line["type"] for line in lines(path)] == ["before", "after"]


async def test_folders_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "events.jsonl"
    async with JsonlEventSink(path) as sink:
        await sink.emit(type="a", data=None)
    assert len(lines(path)) == 1


async def test_emit_returns_when_the_line_is_in_the_file(path):
    async with JsonlEventSink(path, flush_interval=600) as sink:
        await sink.emit(type="a", data=None)
        assert len(lines(path)) == 1


async def test_emit_waits_for_room(path):
    async with JsonlEventSink(path, max_buffer=1, flush_interval=600) as sink:
        for _ in range(3):
            await sink.emit(type="a", data=None)
    assert len(lines(path)) == 3
    assert sink.stats.dropped == 0


async def test_the_data_are_taken_as_they_are_at_the_moment(path):
    data = {"n": 1}
    async with JsonlEventSink(path, flush_interval=600) as sink:
        sink.try_emit(type="a", data=data)
        data["n"] = 2
    assert lines(path)[0]["data"] == {"n": 1}


async def test_half_a_line_is_not_joined(path):
    path.write_bytes(b'{"type":"torn')
    async with JsonlEventSink(path) as sink:
        sink.try_emit(type="whole", data=None)
    torn, whole = path.read_bytes().splitlines()
    assert torn == b'{"type":"torn'
    assert json.loads(whole)["type"] == "whole"


async def test_a_write_that_fails_half_way_is_not_joined(path, caplog):
    async with JsonlEventSink(path) as sink:
        await sink.emit(type="first", data=None)
        sink._target.close()
        sink._target.write.__self__._file = HalfWriter(path)
        await sink.emit(type="second", data=None)
        await sink.emit(type="third", data=None)
    first, half, third = path.read_bytes().splitlines()
    assert half == b'{"type"'
    assert [json.loads(line)["type"] for line in (first, third)] == ["first", "third"]
    assert (sink.stats.written, sink.stats.failed) == (2, 1)
    assert "No space left" in caplog.text


class HalfWriter:
    """A file on a disk that becomes full after seven bytes."""

    def __init__(self, path):
        self.file = path.open("ab", buffering=0)
        self.writes = 0

    def write(self, text):
        self.writes += 1
        if self.writes > 1:
            raise OSError(28, "No space left on device")
        return self.file.write(text[:7])

    def close(self):
        self.file.close()


async def test_a_special_file_will_do():
    async with JsonlEventSink(os.devnull) as sink:
        await sink.emit(type="a", data=None)
    assert sink.stats.written == 1


async def test_a_file_that_cannot_be_written_stops_nobody(tmp_path, caplog):
    path = tmp_path / "file" / "events.jsonl"
    path.parent.write_text("a file where a folder should be")
    async with JsonlEventSink(path) as sink:
        assert sink.try_emit(type="a", data=None) is True
        await sink.emit(type="b", data=None)
    assert sink.stats.failed == 2
    told = [record.getMessage().partition(" ")[0] for record in caplog.records]
    assert told == ["event_sink.open_failed", "event_sink.write_failed"]


async def test_a_strict_sink_cannot_be_opened_on_such_a_file(tmp_path):
    with pytest.raises(EventSinkError, match="cannot be opened") as raised:
        async with JsonlEventSink(tmp_path, strict=True):
            pass
    assert isinstance(raised.value.__cause__, OSError)
    assert raised.value.hint


def take_the_file_away(sink):
    sink._target.close()
    sink._target.write.__self__._path = sink.path.parent


async def test_a_strict_sink_says_what_it_could_not_keep(path):
    sink = JsonlEventSink(path, strict=True)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(sink)
        take_the_file_away(sink)
        assert sink.try_emit(type="a", data=None) is True
        with pytest.raises(EventSinkError, match="cannot write"):
            await sink.emit(type="b", data=None)
        stack.pop_all()
        with pytest.raises(EventSinkError, match="has lost 2 events"):
            await sink.aclose()


async def test_the_error_of_the_block_comes_before_that_of_the_sink(path):
    async def block():
        async with JsonlEventSink(path, strict=True) as sink:
            take_the_file_away(sink)
            sink.try_emit(type="a", data=None)
            raise KeyError

    with pytest.raises(KeyError):
        await block()


async def test_a_closed_sink_refuses(path):
    async with JsonlEventSink(path) as sink:
        pass
    assert sink.closed
    assert sink.try_emit(type="a", data=None) is False
    with pytest.raises(EventSinkError, match="is closed"):
        await sink.emit(type="b", data=None)


async def test_a_cancelled_scope_does_not_keep_it_from_writing(path):
    with anyio.CancelScope() as scope:
        async with JsonlEventSink(path, flush_interval=600) as sink:
            sink.try_emit(type="a", data=None)
            scope.cancel()
    assert len(lines(path)) == 1


async def test_no_thread_stays_behind(path):
    async with JsonlEventSink(path) as sink:
        await sink.emit(type="a", data=None)
        assert any("Jsonl" in thread.name for thread in threading.enumerate())
    assert not any("Jsonl" in thread.name for thread in threading.enumerate())


def test_it_works_without_a_loop_and_without_being_opened(path):
    sink = JsonlEventSink(path, flush_interval=600)
    sink.try_emit(type="a", data=None)
    del sink
    gc.collect()
    assert len(lines(path)) == 1


@pytest.mark.slow
def test_a_forgotten_sink_writes_when_python_ends(path):
    program = (
        "import sys\n"
        "from stageflow.builtin.jsonl_event_sink import JsonlEventSink\n"
        "sink = JsonlEventSink(sys.argv[1], flush_interval=600)\n"
        "sink.try_emit(type='a', data=None)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, timeout=60)
    assert len(lines(path)) == 1
