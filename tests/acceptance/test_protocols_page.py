"""Protocols as their users write them: one test for each example of the protocols page."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from typing import Any
from uuid import UUID, uuid4

import anyio
import pytest

from stageflow import (
    ConfigProvider,
    CorrelationIds,
    EventSink,
    Pipeline,
    PipelineContext,
    RunStore,
    StageContext,
    stage,
)
from stageflow.events import lost_events
from stageflow.helpers import AudioChunk, BufferedExporter, ChunkQueue, StreamingBuffer
from stageflow.helpers.analytics import AnalyticsEvent
from stageflow.protocols import ConfigProvider as ConfigProviderFromProtocols
from stageflow.protocols import CorrelationIds as CorrelationIdsFromProtocols
from stageflow.protocols import EventSink as EventSinkFromProtocols
from stageflow.protocols import ExecutionContext
from stageflow.protocols import RunStore as RunStoreFromProtocols
from stageflow.runtime import Runtime
from stageflow.testing import create_test_stage_context
from support.runs import RememberingSink

pytestmark = pytest.mark.anyio

RUN, REQUEST = uuid4(), uuid4()


def of_pipeline(sink: Any) -> ExecutionContext:
    ids = {"pipeline_run_id": RUN, "request_id": REQUEST}
    return PipelineContext(**ids, execution_mode="practice", event_sink=sink)


def of_stage(sink: Any) -> ExecutionContext:
    ids = {"pipeline_run_id": RUN, "request_id": REQUEST}
    return create_test_stage_context(**ids, execution_mode="practice", event_sink=sink)


contexts = pytest.mark.parametrize("make", [of_pipeline, of_stage])


@stage
async def greeting(name: str) -> str:
    return f"Good morning, {name}."


def test_both_places_give_the_same_protocols():
    assert EventSink is EventSinkFromProtocols
    assert RunStore is RunStoreFromProtocols
    assert ConfigProvider is ConfigProviderFromProtocols
    assert CorrelationIds is CorrelationIdsFromProtocols


@contexts
def test_a_function_works_with_every_context(make):
    seen: list[str] = []

    def look(ctx: ExecutionContext) -> None:
        seen.append(f"{ctx.pipeline_run_id} in {ctx.execution_mode}")
        ctx.try_emit_event("looked", {"what": "all"})

    sink = RememberingSink()
    context = make(sink)
    assert isinstance(context, ExecutionContext)
    look(context)
    assert seen == [f"{RUN} in practice"]
    ((kind, facts),) = sink.events
    assert (kind, facts["what"], facts["request_id"]) == ("looked", "all", str(REQUEST))
    json.dumps(context.to_dict())


@contexts
async def test_streaming_helpers_tell_their_events_through_a_context(make):
    exported = RememberingSink()

    def helpers_of(ctx: ExecutionContext) -> tuple[Any, StreamingBuffer, BufferedExporter]:
        queue = ChunkQueue(event_emitter=ctx.try_emit_event)
        buffer = StreamingBuffer(event_emitter=ctx.try_emit_event)
        exporter = BufferedExporter(
            sink=exported,
            on_overflow=lambda dropped, size: ctx.try_emit_event(
                "analytics.overflow", {"dropped": dropped, "buffer_size": size}
            ),
            high_water_mark=0.8,
        )
        return queue, buffer, exporter

    sink = RememberingSink()
    queue, buffer, exporter = helpers_of(make(sink))
    assert await queue.put(b"chunk")
    await queue.close()
    assert [chunk async for chunk in queue] == [b"chunk"]
    buffer.add_chunk(AudioChunk(bytes(16_000 * 2 * 3)))
    await exporter.export(AnalyticsEvent("heard", data={"n": 1}))
    await exporter.close()
    assert sink.types() == ["stream.queue_closed", "stream.buffer_overflow"]
    assert {facts["pipeline_run_id"] for _, facts in sink.events} == {str(RUN)}
    assert exported.events == [("heard", {"n": 1})]


class Table:
    """A database of one table; each call waits."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, Any]] = []

    async def insert(self, table: str, row: dict[str, Any]) -> dict[str, Any]:
        await anyio.lowlevel.checkpoint()
        self.rows.append((table, row))
        return row


class TableSink:
    """Emits from a task of its own, as sinks that must wait often do."""

    def __init__(self, db: Table) -> None:
        self.db = db
        self.tasks: set[Any] = set()

    async def emit(self, *, type: str, data: dict[str, Any] | None) -> None:
        await self.db.insert("events", {"type": type, "data": data})

    def try_emit(self, *, type: str, data: dict[str, Any] | None) -> None:
        self.tasks.add(asyncio.create_task(self.emit(type=type, data=data)))


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_sink_of_ones_own_may_start_tasks():
    db = Table()
    sink = TableSink(db)
    assert isinstance(sink, EventSink)
    await Pipeline().with_stage(greeting).run(inputs={"name": "Ada"}, event_sink=sink)
    await asyncio.gather(*sink.tasks)
    types = [row["type"] for _, row in db.rows]
    assert types == ["pipeline.started", "stage.started", "stage.completed", "pipeline.completed"]


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_where_no_such_task_can_be_started_its_events_are_counted_as_lost():
    sink = TableSink(Table())
    outputs = await Pipeline().with_stage(greeting).run(inputs={"name": "Ada"}, event_sink=sink)
    assert outputs["greeting"].data["value"] == "Good morning, Ada."
    assert lost_events(sink) == 4


class Records:
    """A run store with the three methods, and no base class."""

    def __init__(self) -> None:
        self.runs: dict[UUID, dict[str, Any]] = {}

    async def create_run(self, run_id, *, service, topology=None, **metadata):
        self.runs[run_id] = {"service": service, "topology": topology, **metadata}
        return self.runs[run_id]

    async def update_status(self, run_id, status, *, error=None, duration_ms=None, **data):
        self.runs[run_id].update(status=status, error=error, duration_ms=duration_ms, **data)

    async def get_run(self, run_id):
        return self.runs.get(run_id)


async def test_a_run_store_of_ones_own_records_runs():
    store = Records()
    assert isinstance(store, RunStore)
    async with Runtime(run_store=store) as runtime:
        outcome = await runtime.run(Pipeline().with_stage(greeting), inputs={"name": "Ada"})
    record = await store.get_run(outcome.run_id)
    assert (record["service"], record["status"], record["error"]) == ("pipeline", "completed", None)
    assert record["duration_ms"] is not None


def test_a_config_provider_of_ones_own(monkeypatch):
    class FromEnvironment:
        def get(self, key: str, default: Any = None) -> Any:
            return os.environ.get(key, default)

    class FromDict:
        def __init__(self, values: dict[str, Any]) -> None:
            self._values = values

        def get(self, key: str, default: Any = None) -> Any:
            return self._values.get(key, default)

    monkeypatch.setenv("GREETING", "hello")
    assert isinstance(FromEnvironment(), ConfigProvider)
    assert FromEnvironment().get("GREETING") == FromDict({"GREETING": "hello"}).get("GREETING")
    assert FromDict({}).get("GREETING", "none") == "none"


def test_correlation_ids_go_into_a_log_record(caplog):
    ids = CorrelationIds(
        run_id=RUN,
        request_id=REQUEST,
        trace_id="4bf92f35",
        session_id=uuid4(),
        user_id=uuid4(),
        org_id=uuid4(),
        extra={"interaction_id": str(uuid4())},
    )
    with caplog.at_level(logging.INFO):
        logging.getLogger("app").info("working", extra=ids.to_dict())
    (record,) = caplog.records
    assert (record.run_id, record.trace_id) == (str(RUN), "4bf92f35")
    json.dumps(ids.to_dict())
    few = CorrelationIds(run_id=RUN, user_id=ids.user_id)
    assert (few.trace_id, few.extra) == (None, {})


async def test_a_stage_may_hand_its_context_on():
    def note(ctx: ExecutionContext) -> None:
        ctx.try_emit_event("debug.context", ctx.to_dict())

    async def notes(ctx: StageContext) -> None:
        note(ctx)

    sink = RememberingSink()
    await Pipeline().with_stage("notes", notes).run(event_sink=sink)
    ((_, facts),) = [event for event in sink.events if event[0] == "debug.context"]
    assert facts["stage_name"] == "notes"
