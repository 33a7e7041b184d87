"""Telemetry: spans for those who write emitters, and the bridge from other libraries."""

from __future__ import annotations

import anyio
import pytest

from stageflow.observability import (
    TelemetryBridge,
    lifecycle_telemetry,
    run_span,
    under_stageflow,
)

pytestmark = pytest.mark.anyio


class Keeps:
    def __init__(self):
        self.told = []

    def execute(self, event, measurements, metadata):
        self.told.append((event, dict(measurements), dict(metadata)))

    async def span(self, event, metadata, fun):
        raise NotImplementedError


class Library:
    """Another library's telemetry: handlers are attached, and called by name."""

    def __init__(self):
        self.handlers = []

    def attach(self, handler):
        self.handlers.append(handler)
        return lambda: self.handlers.remove(handler)

    def happens(self, *event, **metadata):
        for handler in list(self.handlers):
            handler(event, {"duration": 1}, metadata)


def test_our_name_is_put_in_front_once():
    assert under_stageflow(("a", "b")) == ("stageflow", "a", "b")
    assert under_stageflow(("stageflow", "a")) == ("stageflow", "a")
    assert under_stageflow(()) == ("stageflow",)


# --- spans ------------------------------------------------------------------------


async def span(keeps, fun, **metadata):
    times, days = iter([10.0, 10.25]), iter([1000.0])
    return await run_span(
        keeps.execute,
        ("call",),
        metadata,
        fun,
        monotonic=lambda: next(times),
        time_of_day=lambda: next(days),
    )


START = (("call", "start"), {"system_time": 1000.0, "monotonic_time": 10.0}, {"n": 1})
TIMES = {"duration": 0.25, "duration_ms": 250.0, "monotonic_time": 10.25}


async def test_a_span_tells_when_it_begins_and_how_long_it_took():
    keeps = Keeps()

    async def later():
        await anyio.lowlevel.checkpoint()
        return 3

    assert await span(keeps, later, n=1) == 3
    assert keeps.told == [START, (("call", "stop"), TIMES, {"n": 1})]
    assert await span(Keeps(), lambda: 4) == 4


async def test_a_span_tells_of_an_exception_and_passes_it_on():
    keeps, error = Keeps(), ValueError("no")

    def fails():
        raise error

    with pytest.raises(ValueError, match="no") as raised:
        await span(keeps, fails, n=1)
    assert raised.value is error
    told = {"n": 1, "kind": "error", "reason": "ValueError", "error": "no"}
    assert keeps.told == [START, (("call", "exception"), TIMES, told)]


async def test_a_span_tells_of_cancellation_and_passes_it_on():
    keeps = Keeps()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await span(keeps, anyio.sleep_forever, n=1)
    assert scope.cancelled_caught
    name, _, metadata = keeps.told[-1]
    assert (name, metadata["kind"]) == (("call", "exception"), "cancelled")


# --- the bridge ---------------------------------------------------------------------


def test_another_librarys_events_come_out_under_our_name():
    keeps, library = Keeps(), Library()
    TelemetryBridge(keeps).attach(library.attach)
    library.happens("some_library", "call", "stop", host="a")
    assert keeps.told == [
        (("stageflow", "some_library", "call", "stop"), {"duration": 1}, {"host": "a"})
    ]


def test_attaching_returns_the_function_that_detaches():
    keeps, library = Keeps(), Library()
    detach = TelemetryBridge(keeps).attach(library.attach)
    detach()
    detach()
    library.happens("some_library", "call")
    assert (keeps.told, library.handlers) == ([], [])


def test_a_library_that_cannot_take_a_handler_out_is_detached_from_all_the_same():
    keeps, handlers = Keeps(), []
    detach = TelemetryBridge(keeps).attach(handlers.append)
    handlers[0](("a",), {}, {})
    detach()
    handlers[0](("a",), {}, {})
    assert len(keeps.told) == 1


def test_one_bridge_may_be_attached_twice():
    keeps, first, second = Keeps(), Library(), Library()
    bridge = TelemetryBridge(keeps)
    detach = bridge.attach(first.attach)
    bridge.attach(second.attach)
    detach()
    first.happens("a")
    second.happens("b")
    assert [name for name, _, _ in keeps.told] == [("stageflow", "b")]


def test_only_the_events_asked_for_pass():
    keeps, library = Keeps(), Library()
    TelemetryBridge(keeps, events=[("lib", "call"), ("lib", "open")]).attach(library.attach)
    for name in (("lib", "call", "start"), ("lib", "other"), ("call",), ("lib", "open"), ("lib",)):
        library.happens(*name)
    assert [name[1:] for name, _, _ in keeps.told] == [("lib", "call", "start"), ("lib", "open")]


def test_events_may_be_renamed_or_left_out():
    keeps, library = Keeps(), Library()

    def rename(event):
        return None if event[-1] == "noise" else ("http", *event[1:])

    TelemetryBridge(keeps, rename=rename).attach(library.attach)
    library.happens("lib", "call")
    library.happens("lib", "noise")
    assert [name for name, _, _ in keeps.told] == [("stageflow", "http", "call")]


def test_the_other_library_never_sees_what_goes_wrong(caplog):
    class Fails(Keeps):
        def execute(self, event, measurements, metadata):
            raise ValueError("no")

    library = Library()
    TelemetryBridge(Fails()).attach(library.attach)
    library.happens("lib", "call")
    assert "bridge_failed" in caplog.text


async def test_lifecycle_events_become_measurements_of_their_numbers():
    emitter = Keeps()
    listen = lifecycle_telemetry(emitter)
    listen("stage.completed", {"stage": "a", "duration_ms": 1.5, "attempt": 2, "final": True})
    assert emitter.told == [
        (
            ("stageflow", "stage", "completed"),
            {"duration_ms": 1.5, "attempt": 2},
            {"stage": "a", "final": True},
        )
    ]
