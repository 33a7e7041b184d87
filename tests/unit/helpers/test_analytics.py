"""Analytics events, the exporters that write them, and the sink that makes them."""

from __future__ import annotations

import io
import json
import logging
from datetime import UTC, datetime
from uuid import uuid4

import anyio
import attrs
import pytest

from stageflow.events import (
    NoOpEventSink,
    deliver,
    event_collector,
    lost_events,
    wait_for_event_sink_tasks,
)
from stageflow.helpers.analytics import (
    AnalyticsEvent,
    AnalyticsExporter,
    AnalyticsSink,
    BufferedExporter,
    CompositeExporter,
    ConsoleExporter,
    EventSinkExporter,
    JSONFileExporter,
)
from stageflow.helpers.errors import ExportError
from stageflow.testing import TestClock

pytestmark = pytest.mark.anyio

AT = datetime(2025, 6, 1, 12, 30, 45, 678901, tzinfo=UTC)
RUN = uuid4()


class Kept:
    """An exporter that keeps what it is given."""

    def __init__(self):
        self.events = []
        self.calls = []

    async def export(self, event):
        self.calls.append("export")
        self.events.append(event)

    async def export_batch(self, events):
        self.calls.append("export_batch")
        self.events += events

    async def flush(self):
        self.calls.append("flush")

    async def close(self):
        self.calls.append("close")


class Failing(Kept):
    async def export(self, *events):
        raise RuntimeError("the warehouse is closed")

    export_batch = flush = close = export


# --- AnalyticsEvent -------------------------------------------------------------------------


def test_event_defaults():
    before = datetime.now(UTC)
    event = AnalyticsEvent("stage.completed")
    assert before <= event.timestamp <= datetime.now(UTC)
    assert (event.data, event.metadata) == ({}, {})
    assert (event.pipeline_run_id, event.stage_name, event.duration_ms) == (None, None, None)


def test_event_to_dict_leaves_out_what_says_nothing():
    assert AnalyticsEvent("started", AT).to_dict() == {
        "event_type": "started",
        "timestamp": "2025-06-01T12:30:45.678901+00:00",
        "data": {},
    }


def test_event_to_dict_holds_what_is_there():
    event = AnalyticsEvent("done", AT, {"n": 1}, RUN, "llm", 0.0, {"v": 2})
    assert event.to_dict() == {
        "event_type": "done",
        "timestamp": "2025-06-01T12:30:45.678901+00:00",
        "data": {"n": 1},
        "pipeline_run_id": str(RUN),
        "stage_name": "llm",
        "duration_ms": 0.0,
        "metadata": {"v": 2},
    }


@pytest.mark.parametrize(
    "event",
    [
        AnalyticsEvent("started", AT),
        AnalyticsEvent("done", AT, {"n": [1]}, RUN, "llm", 12.5, {"v": 2}),
    ],
)
def test_event_from_dict_reads_what_to_dict_wrote(event):
    assert AnalyticsEvent.from_dict(json.loads(json.dumps(event.to_dict()))) == event


def test_event_from_dict_reads_a_time_with_z():
    event = AnalyticsEvent.from_dict({"event_type": "x", "timestamp": "2025-06-01T12:30:45Z"})
    assert event.timestamp == AT.replace(microsecond=0)


def test_event_is_immutable():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        AnalyticsEvent("x").event_type = "y"


# --- JSONFileExporter -----------------------------------------------------------------------


async def test_json_file_is_made_with_the_first_event_in_folders_that_are_made_for_it(tmp_path):
    path = tmp_path / "a" / "b" / "events.jsonl"
    exporter = JSONFileExporter(path)
    assert not path.parent.exists()
    await exporter.export(AnalyticsEvent("x", AT))
    await exporter.close()
    assert path.read_text(encoding="utf-8").count("\n") == 1


async def test_json_file_has_one_json_object_per_line_and_is_counted(tmp_path):
    path = tmp_path / "events.jsonl"
    exporter = JSONFileExporter(str(path))
    events = [AnalyticsEvent("x", AT, {"text": "two\nlines, ü"}, RUN), AnalyticsEvent("y", AT)]
    await exporter.export(events[0])
    await exporter.export_batch(events[1:])
    await exporter.export_batch([])
    assert exporter.event_count == 2
    await exporter.close()
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [AnalyticsEvent.from_dict(json.loads(line)) for line in lines] == events


async def test_json_file_writes_values_that_json_does_not_know_as_text(tmp_path):
    path = tmp_path / "events.jsonl"
    exporter = JSONFileExporter(path)
    circle = {}
    circle["self"] = circle
    await exporter.export(AnalyticsEvent("x", AT, {"id": RUN, "at": AT}))
    await exporter.export(AnalyticsEvent("y", AT, {RUN: {AT: 1}}))
    await exporter.export(AnalyticsEvent("z", AT, circle))
    await exporter.close()
    written = [json.loads(line)["data"] for line in path.read_text("utf-8").splitlines()]
    assert written[0] == {"id": str(RUN), "at": str(AT)}
    assert written[1] == {str(RUN): {str(AT): 1}}
    assert "self" in written[2]


async def test_json_file_appends_to_what_is_there(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text("before\n", encoding="utf-8")
    exporter = JSONFileExporter(path, append=True)
    await exporter.export(AnalyticsEvent("x"))
    await exporter.close()
    assert path.read_text(encoding="utf-8").startswith("before\n{")


async def test_json_file_starts_anew_if_told_so_but_only_once(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text("before\n", encoding="utf-8")
    exporter = JSONFileExporter(path, append=False)
    await exporter.export(AnalyticsEvent("x"))
    await exporter.close()
    await exporter.export(AnalyticsEvent("y"))
    await exporter.close()
    types = [json.loads(line)["event_type"] for line in path.read_text("utf-8").splitlines()]
    assert types == ["x", "y"]


async def test_json_file_flush_brings_events_into_the_file(tmp_path):
    path = tmp_path / "events.jsonl"
    exporter = JSONFileExporter(path)
    await exporter.flush()
    await exporter.export(AnalyticsEvent("x"))
    await exporter.flush()
    assert path.read_text(encoding="utf-8").endswith("\n")
    await exporter.close()
    await exporter.close()


async def test_json_file_lines_of_concurrent_exports_do_not_mix(tmp_path):
    path = tmp_path / "events.jsonl"
    exporter = JSONFileExporter(path)
    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(exporter.export, AnalyticsEvent(str(number), AT, {"x": "y" * 500}))
    await exporter.close()
    lines = path.read_text(encoding="utf-8").splitlines()
    assert sorted(int(json.loads(line)["event_type"]) for line in lines) == list(range(20))


# --- ConsoleExporter ------------------------------------------------------------------------


async def printed(event, **options):
    file = io.StringIO()
    await ConsoleExporter(file=file, **options).export(event)
    return file.getvalue()


async def test_console_prints_time_type_stage_and_duration():
    event = AnalyticsEvent("stage.completed", AT, {"n": 1}, None, "llm", 12.34)
    line = await printed(event, colorize=False)
    assert line == "[12:30:45.678] stage.completed stage=llm (12.3ms)\n"


async def test_console_prints_the_data_as_json_when_verbose():
    line = await printed(AnalyticsEvent("x", AT, {"n": RUN}), colorize=False, verbose=True)
    assert line == f'[12:30:45.678] x {{"n": "{RUN}"}}\n'


@pytest.mark.parametrize(
    ("event_type", "color"),
    [
        ("stage.failed", 31),
        ("stream.chunk_dropped", 33),
        ("stage.completed", 32),
        ("stage.started", 36),
        ("something.else", 34),
    ],
)
async def test_console_colours_the_type_by_its_words(event_type, color):
    line = await printed(AnalyticsEvent(event_type, AT))
    assert line == f"[12:30:45.678] \x1b[{color}m{event_type}\x1b[0m\n"


async def test_console_counts_and_prints_to_stdout_as_it_is_then(capsys):
    exporter = ConsoleExporter(colorize=False)
    await exporter.export_batch([AnalyticsEvent("a", AT), AnalyticsEvent("b", AT)])
    assert exporter.event_count == 2
    assert capsys.readouterr().out == "[12:30:45.678] a\n[12:30:45.678] b\n"


async def test_console_flush_and_close_do_nothing():
    exporter = ConsoleExporter(file=io.StringIO())
    await exporter.flush()
    await exporter.close()
    await exporter.export(AnalyticsEvent("x"))
    assert exporter.event_count == 1


# --- CompositeExporter ----------------------------------------------------------------------


async def test_composite_gives_everything_to_all():
    first, second = Kept(), Kept()
    composite = CompositeExporter([first, second])
    event = AnalyticsEvent("x")
    await composite.export(event)
    await composite.export_batch([event])
    await composite.flush()
    await composite.close()
    for exporter in (first, second):
        assert exporter.events == [event, event]
        assert exporter.calls == ["export", "export_batch", "flush", "close"]


async def test_composite_serves_all_side_by_side():
    arrived = []
    both = anyio.Event()

    class Meeting(Kept):
        async def export(self, event):
            arrived.append(event)
            if len(arrived) == 2:
                both.set()
            await both.wait()

    with anyio.fail_after(1):
        await CompositeExporter([Meeting(), Meeting()]).export(AnalyticsEvent("x"))


@pytest.mark.parametrize("operation", ["export", "export_batch", "flush", "close"])
async def test_composite_serves_the_others_when_one_fails_and_says_so(operation):
    good = Kept()
    composite = CompositeExporter([Failing(), good, Failing()])
    arguments = {"export": [AnalyticsEvent("x")], "export_batch": [[AnalyticsEvent("x")]]}
    with pytest.raises(ExportError) as caught:
        await getattr(composite, operation)(*arguments.get(operation, []))
    assert good.calls == [operation]
    assert caught.value.operation == operation
    assert [str(error) for error in caught.value.errors] == ["the warehouse is closed"] * 2


# --- AnalyticsSink --------------------------------------------------------------------------


async def test_sink_converts_events():
    kept = Kept()
    sink = AnalyticsSink(kept, clock=TestClock(AT))
    data = {"pipeline_run_id": str(RUN), "stage": "llm", "duration_ms": 5.0, "n": 1}
    await sink.emit(type="stage.completed", data=data)
    await sink.emit(type="ping", data=None)
    assert kept.events == [
        AnalyticsEvent("stage.completed", AT, data, str(RUN), "llm", 5.0),
        AnalyticsEvent("ping", AT),
    ]


async def test_sink_drops_excluded_events_whatever_is_included():
    kept = Kept()
    sink = AnalyticsSink(kept, include_patterns=["stage"], exclude_patterns=["debug"])
    for event_type in ("stage.done", "stage.debug", "pipeline.done"):
        await sink.emit(type=event_type, data=None)
    assert [event.event_type for event in kept.events] == ["stage.done"]


async def test_sink_without_include_patterns_keeps_everything_else():
    kept = Kept()
    sink = AnalyticsSink(kept, exclude_patterns=["debug"])
    for event_type in ("stage.done", "stage.debug", "pipeline.done"):
        await sink.emit(type=event_type, data=None)
    assert [event.event_type for event in kept.events] == ["stage.done", "pipeline.done"]


async def test_sink_with_no_include_pattern_at_all_keeps_nothing():
    kept = Kept()
    await AnalyticsSink(kept, include_patterns=[]).emit(type="x", data=None)
    assert kept.events == []


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_sink_try_emit_schedules_the_export_on_asyncio():
    kept = Kept()
    sink = AnalyticsSink(kept, exclude_patterns=["debug"])
    sink.try_emit(type="a", data={"n": 1})
    sink.try_emit(type="debug", data=None)
    sink.try_emit(type="b", data=None)
    assert kept.events == []
    await wait_for_event_sink_tasks()
    assert [event.event_type for event in kept.events] == ["a", "b"]


async def test_sink_try_emit_within_a_run_is_finished_by_the_run():
    kept, pending = Kept(), []
    token = event_collector.set(pending.append)
    try:
        deliver(AnalyticsSink(kept), "a", None)
    finally:
        event_collector.reset(token)
    (emit,) = pending
    await emit
    assert [event.event_type for event in kept.events] == ["a"]


async def test_sink_try_emit_takes_no_offence_at_a_type_that_is_no_text():
    exporter = Kept()
    sink = AnalyticsSink(exporter, include_patterns=["a"], exclude_patterns=["wide"])
    sink.try_emit(type=None, data=None)
    await sink.aclose()
    assert exporter.events == []


async def test_sink_try_emit_never_raises_and_counts_what_fails():
    sink = AnalyticsSink(Failing())
    sink.try_emit(type="a", data=None)
    await wait_for_event_sink_tasks()
    assert lost_events(sink) == 1


async def test_leaving_the_sink_exports_what_was_accepted_and_closes(anyio_backend):
    kept = Kept()
    async with AnalyticsSink(kept) as sink:
        if anyio_backend == "asyncio":
            sink.try_emit(type="a", data=None)
        else:
            await sink.emit(type="a", data=None)
    assert kept.calls == ["export", "close"]


# --- EventSinkExporter ----------------------------------------------------------------------


class Told:
    def __init__(self):
        self.events = []

    async def emit(self, *, type, data):
        self.events.append((type, data))

    def try_emit(self, *, type, data):
        raise AssertionError("an exporter can wait, so it emits")


async def test_event_sink_exporter_emits_in_order_with_what_the_event_knows():
    sink = Told()
    exporter = EventSinkExporter(sink)
    await exporter.export_batch(
        [AnalyticsEvent("a", AT, {"n": 1, "stage": "own"}, RUN, "llm", 2.0), AnalyticsEvent("b")]
    )
    await exporter.flush()
    await exporter.close()
    assert sink.events == [
        ("a", {"pipeline_run_id": str(RUN), "duration_ms": 2.0, "stage": "own", "n": 1}),
        ("b", {}),
    ]


def test_every_exporter_is_one():
    for exporter in (
        JSONFileExporter("x"),
        ConsoleExporter(),
        CompositeExporter([]),
        EventSinkExporter(NoOpEventSink()),
        BufferedExporter(Kept()),
    ):
        assert isinstance(exporter, AnalyticsExporter)


async def test_an_exporter_over_a_sink_over_an_exporter_loses_nothing(caplog):
    kept = Kept()
    async with BufferedExporter(sink=AnalyticsSink(kept)) as exporter:
        with caplog.at_level(logging.ERROR):
            await exporter.export(AnalyticsEvent("x", AT, {"n": 1}, RUN, "llm", 2.0))
    (event,) = kept.events
    assert (event.event_type, event.stage_name, event.duration_ms) == ("x", "llm", 2.0)
    assert caplog.text == ""
