"""The helpers' event sinks keep every clause of the contract, and serve real runs."""

from __future__ import annotations

import pytest

from stageflow import Pipeline, StageKind, StageOutput
from stageflow.contracts.event_sink import EventSinkCapabilities
from stageflow.helpers.analytics import AnalyticsSink, BufferedExporter
from stageflow.helpers.memory import InMemoryStore, MemoryFetchStage, MemoryWriteStage
from stageflow.helpers.run_utils import ObservableEventSink, PipelineRunner
from stageflow.testing.event_sink import EventSinkConformance


class Kept:
    def __init__(self):
        self.events = []

    async def export(self, event):
        self.events.append((event.event_type, event.data))

    async def export_batch(self, events):
        for event in events:
            await self.export(event)

    async def flush(self):
        pass

    async def close(self):
        pass


# An analytics event has data, if only an empty dictionary.
WITH_DATA = {name: data for name, data in EventSinkConformance.payloads.items() if data is not None}


class TestAnalyticsSink(EventSinkConformance):
    payloads = WITH_DATA
    capabilities = EventSinkCapabilities(any_thread=False)

    @pytest.fixture
    def sink(self):
        return AnalyticsSink(Kept())

    async def arrived(self, sink):
        return sink.exporter.events


class TestBufferedAnalyticsSink(EventSinkConformance):
    payloads = WITH_DATA
    capabilities = EventSinkCapabilities(any_thread=False)

    @pytest.fixture
    async def sink(self):
        self.kept = Kept()
        async with BufferedExporter(self.kept, batch_size=3) as exporter:
            yield AnalyticsSink(exporter)

    async def arrived(self, sink):
        if not sink.exporter.closed:
            await sink.exporter.flush()
        return self.kept.events


class TestObservableEventSink(EventSinkConformance):
    payloads = WITH_DATA
    closable = False

    @pytest.fixture
    def sink(self):
        return ObservableEventSink(verbose=False)

    async def arrived(self, sink):
        return [(event["type"], event["data"]) for event in sink.events]


# --- in a run -----------------------------------------------------------------------------------


async def answer(ctx):
    remembered = ctx.inputs.get_from("memory_fetch", "memory_count", default=0)
    return StageOutput.ok(response=f"You said {ctx.snapshot.input_text}, after {remembered}.")


def chat(store):
    return (
        Pipeline("chat")
        .with_stage("memory_fetch", MemoryFetchStage(store), StageKind.ENRICH)
        .with_stage("llm", answer, StageKind.AGENT, dependencies=["memory_fetch"])
        .with_stage("memory_write", MemoryWriteStage(store), StageKind.WORK, dependencies=["llm"])
    )


@pytest.mark.anyio
async def test_the_memory_stages_remember_from_run_to_run():
    store = InMemoryStore()
    runner = PipelineRunner(verbose=False)
    session = runner.create_snapshot().session_id
    for text, expected in (("hello", "after 0"), ("bye", "after 2")):
        result = await runner.run(chat(store), input_text=text, session_id=session)
        assert result.success, result.error
        assert expected in result.get_stage_data("llm")["response"]
    said = [entry.content for entry in await store.fetch(session)]
    assert said == ["hello", "You said hello, after 0.", "bye", "You said bye, after 2."]


@pytest.mark.anyio
async def test_an_analytics_sink_has_exported_every_event_when_the_run_is_over():
    kept = Kept()
    sink = AnalyticsSink(kept, include_patterns=["pipeline."])
    await chat(InMemoryStore()).run(input_text="hello", event_sink=sink)
    assert [name for name, _ in kept.events] == ["pipeline.started", "pipeline.completed"]
