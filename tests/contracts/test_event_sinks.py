"""Every event sink of core keeps every clause of the contract."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from stageflow.builtin.jsonl_event_sink import JsonlEventSink
from stageflow.builtin.sqlite_event_sink import SqliteEventSink
from stageflow.contracts.event_sink import EventSink, EventSinkCapabilities
from stageflow.events import (
    BackpressureAwareEventSink,
    LoggingEventSink,
    NoOpEventSink,
    wait_for_event_sink_tasks,
)
from stageflow.testing.event_sink import EventSinkConformance, RecordingEventSink


class TestNoOpEventSink(EventSinkConformance):
    capabilities = EventSinkCapabilities(keeps_events=False)
    closable = False

    @pytest.fixture
    def sink(self):
        return NoOpEventSink()


class Records(logging.Handler):
    def __init__(self):
        super().__init__()
        self.events = []

    def emit(self, record):
        self.events.append((record.event_type, record.event_data))


class TestLoggingEventSink(EventSinkConformance):
    closable = False

    @pytest.fixture
    def sink(self):
        self.handler = Records()
        logger = logging.Logger("test", level=logging.INFO)  # noqa: LOG001 - for one test
        logger.addHandler(self.handler)
        return LoggingEventSink(logger=logger)

    async def arrived(self, sink):
        return self.handler.events


class TestRecordingEventSink(EventSinkConformance):
    closable = False

    @pytest.fixture
    def sink(self):
        return RecordingEventSink()

    async def arrived(self, sink):
        return sink.events


class TestBackpressureAwareEventSink(EventSinkConformance):
    @pytest.fixture
    async def sink(self):
        self.downstream = RecordingEventSink()
        async with BackpressureAwareEventSink(self.downstream) as sink:
            yield sink

    async def arrived(self, sink):
        await sink.stop()
        await sink.start()
        return self.downstream.events


class TestJsonlEventSink(EventSinkConformance):
    @pytest.fixture
    async def sink(self, tmp_path):
        async with JsonlEventSink(tmp_path / "events.jsonl", flush_interval=0) as sink:
            yield sink

    async def arrived(self, sink):
        await sink.flush()
        lines = map(json.loads, sink.path.read_bytes().splitlines())
        return [(line["type"], line["data"]) for line in lines]


class TestSqliteEventSink(EventSinkConformance):
    @pytest.fixture
    async def sink(self, tmp_path):
        async with SqliteEventSink(tmp_path / "events.sqlite3", flush_interval=0) as sink:
            yield sink

    async def arrived(self, sink):
        if not sink.closed:
            return [(event.type, event.data) for event in await sink.read()]
        async with SqliteEventSink(sink.path) as again:
            return [(event.type, event.data) for event in await again.read()]


class EmitOnly(EventSink):
    def __init__(self):
        self.events = []

    async def emit(self, *, type, data):
        self.events.append((type, data))


class TestSubclassWithEmitAlone(EventSinkConformance):
    closable = False

    @pytest.fixture
    def sink(self):
        return EmitOnly()

    async def arrived(self, sink):
        return sink.events


class Asynchronous(EmitOnly):
    async def try_emit(self, *, type, data):
        await self.emit(type=type, data=data)


class TestSinkWhoseTryEmitIsAsync(EventSinkConformance):
    closable = False

    @pytest.fixture
    def sink(self):
        return Asynchronous()

    async def arrived(self, sink):
        return sink.events


class StartsTasks:
    """A plain class, as one would write it for asyncio."""

    def __init__(self):
        self.events = []
        self.tasks = set()

    async def emit(self, *, type, data):
        self.events.append((type, data))

    def try_emit(self, *, type, data):
        task = asyncio.create_task(self.emit(type=type, data=data))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


class TestPlainClassThatStartsTasks(EventSinkConformance):
    capabilities = EventSinkCapabilities(keeps_events=False, any_thread=False)
    event_loops = ("asyncio",)
    closable = False

    @pytest.fixture
    async def sink(self):
        sink = StartsTasks()
        yield sink
        await wait_for_event_sink_tasks()
        if sink.tasks:
            await asyncio.wait(sink.tasks)
