"""The kit of the contract `event_sink`: subclass `EventSinkConformance` and give it a sink."""
# ruff: noqa: D102 - the name of a test says what it proves

from __future__ import annotations

import copy
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar

import anyio
import anyio.to_thread
import pytest

from stageflow.contracts.event_sink import EventSink, EventSinkCapabilities
from stageflow.events.delivery import PendingEmit, event_collector
from stageflow.testing.conformance import ConformanceKit, all_at_once, every_cut

__all__ = ("EventSinkConformance", "RecordingEventSink")

Event = tuple[str, dict[str, Any] | None]


class RecordingEventSink:
    """Keeps every event in memory, for tests to look at.

    Attributes:
        events: Type and data of each event, in order of arrival.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def emit(self, *, type: str, data: dict[str, Any] | None) -> None:
        """Keep the event."""
        self.events.append((type, data))

    def try_emit(self, *, type: str, data: dict[str, Any] | None) -> None:
        """Keep the event."""
        self.events.append((type, data))

    @property
    def types(self) -> list[str]:
        """The type of each event."""
        return [name for name, _ in self.events]

    def of(self, type: str) -> list[dict[str, Any]]:
        """Return the data of each event of one type."""
        return [data or {} for name, data in self.events if name == type]


class _Hostile:
    """Cannot be shown, compared or hashed."""

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        raise RuntimeError("it does not want to be shown")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("it does not want to be compared")


class EventSinkConformance(ConformanceKit):
    """Tests every clause of `EventSink`.

    A sink that keeps its events overrides `arrived` as well as the fixture.

    Attributes:
        payloads: The data of the events that are emitted, by name.
    """

    contracts = (EventSink,)
    capabilities: ClassVar[EventSinkCapabilities] = EventSinkCapabilities()
    payloads: ClassVar[Mapping[str, dict[str, Any] | None]] = {
        "nothing": None,
        "empty": {},
        "plain": {"text": "naïve \U0001f600 'quoted' \"twice\"\n", "n": 1, "x": 0.5, "no": None},
        "nested": {"list": [1, {"deep": [True]}], "object": {"empty": {}}},
    }

    @pytest.fixture
    async def sink(self) -> Any:
        """Give a fresh, opened sink; every author overrides this."""
        raise NotImplementedError("override the fixture `sink`: yield a fresh, opened EventSink")

    async def arrived(self, sink: Any) -> Sequence[Event]:
        """Return the events that have come to where the sink keeps them, in order.

        It may wait for what is under way, and it is also asked after the sink was closed.
        """
        raise NotImplementedError("override `arrived`, or declare that the sink keeps no events")

    async def test_it_has_the_shape_of_its_contract(self, sink: Any) -> None:
        self.check_shape(sink)

    async def test_es1_an_emitted_event_arrives_as_it_was_given(self, sink: Any) -> None:
        self.needs("keeps_events")
        for name, data in self.payloads.items():
            await sink.emit(type=f"test.{name}", data=copy.deepcopy(data))
        await self._expect(sink, [(f"test.{name}", data) for name, data in self.payloads.items()])

    async def test_es1_a_tried_event_arrives_as_it_was_given(self, sink: Any) -> None:
        self.needs("keeps_events")
        for name, data in self.payloads.items():
            await _finish(sink, f"test.{name}", copy.deepcopy(data))
        await self._expect(sink, [(f"test.{name}", data) for name, data in self.payloads.items()])

    async def test_es2_events_arrive_in_order(self, sink: Any) -> None:
        self.needs("keeps_events")
        events: list[Event] = [(f"test.{n}", {"n": n}) for n in range(20)]
        for number, (name, data) in enumerate(events):
            if number % 3:
                await _finish(sink, name, data)
            else:
                await sink.emit(type=name, data=data)
        await self._expect(sink, events)

    async def test_es3_no_data_makes_it_raise(self, sink: Any) -> None:
        cycle: dict[str, Any] = {}
        cycle["self"] = cycle
        hostile: Mapping[str, dict[Any, Any]] = {
            "an object": {"value": object()},
            "an object that cannot be shown": {"value": _Hostile()},
            "a cycle": cycle,
            "an endless number": {"value": float("inf")},
            "a huge number": {"value": 10**6000},
            "a lone surrogate": {"value": "\ud800"},
            "a key that is no text": {(1, 2): 3},
            "bytes": {"value": b"\x00\xff"},
        }
        for what, data in hostile.items():
            try:
                await _finish(sink, "test.hostile", data)
            except Exception as error:
                raise AssertionError(f"{what} in the data made try_emit raise {error!r}") from error

    async def test_es4_it_answers_in_one_of_three_ways(self, sink: Any) -> None:
        answer = await _finish(sink, "test.answer", {"n": 1})
        fits = answer is None or isinstance(answer, bool) or inspect.isawaitable(answer)
        assert fits, f"try_emit answered {answer!r}"

    async def test_es5_what_it_is_given_stays_as_it_is(self, sink: Any) -> None:
        for name, data in self.payloads.items():
            given = copy.deepcopy(data)
            await sink.emit(type="test.kept", data=given)
            assert given == data, f"emit changed {name} to {given}"
            await _finish(sink, "test.kept", given)
            assert given == data, f"try_emit changed {name} to {given}"

    async def test_es6_a_cancelled_emit_is_whole(self, sink: Any) -> None:
        cuts = every_cut(lambda n: sink.emit(type=f"test.{n}", data={"n": n}))
        completed = {f"test.{cut.step}" async for cut in cuts if cut.completed}
        await sink.emit(type="test.after", data=None)
        if self.capabilities.keeps_events:
            found = [name for name, _ in await self.arrived(sink)]
            assert len(found) == len(set(found)), f"an event arrived twice: {found}"
            lost = (completed | {"test.after"}) - set(found)
            assert not lost, f"emit returned for {lost}, and they have not arrived"

    async def test_es7_tasks_may_emit_at_once(self, sink: Any) -> None:
        self.needs("keeps_events")

        def emitting(n: int) -> Callable[[], Awaitable[object]]:
            event: Event = (f"test.{n}", {"n": n})
            return lambda: (
                sink.emit(type=event[0], data=event[1]) if n % 2 else _finish(sink, *event)
            )

        await all_at_once(emitting(n) for n in range(30))
        found = sorted(await self.arrived(sink), key=lambda event: event[1]["n"])  # type: ignore[index]
        assert found == [(f"test.{n}", {"n": n}) for n in range(30)], f"arrived: {found}"

    async def test_es8_threads_may_try_at_once(self, sink: Any) -> None:
        self.needs("any_thread")
        pending: list[PendingEmit] = []
        answers: list[Any] = []

        def tries(thread: int) -> None:
            answers.extend(_try(sink, pending, f"test.{thread}.{n}", {"n": n}) for n in range(10))

        async with anyio.create_task_group() as group:
            for thread in range(3):
                group.start_soon(anyio.to_thread.run_sync, tries, thread)
        for emit in [*pending, *filter(inspect.isawaitable, answers)]:
            await emit
        refused = answers.count(False)
        assert not refused, f"of 30 events from threads {refused} were refused"
        if self.capabilities.keeps_events:
            found = sorted(name for name, _ in await self.arrived(sink))
            expected = sorted(f"test.{thread}.{n}" for thread in range(3) for n in range(10))
            assert found == expected, f"of 30 events from threads these arrived: {found}"

    async def test_es9_closing_delivers_what_was_accepted(self, sink: Any) -> None:
        self.needs("keeps_events")
        self.needs_closing()
        events: list[Event] = [(f"test.{n}", {"n": n}) for n in range(10)]
        for name, data in events:
            await _finish(sink, name, data)
        await sink.aclose()
        await self._expect(sink, events)

    async def test_es10_it_may_be_closed_twice(self, sink: Any) -> None:
        self.needs_closing()
        await sink.emit(type="test.before", data=None)
        await sink.aclose()
        await sink.aclose()
        try:
            await _finish(sink, "test.after", {"n": 1})
        except Exception as error:
            raise AssertionError(f"try_emit raises {error!r} once it is closed") from error

    async def _expect(self, sink: Any, events: Sequence[Event]) -> None:
        found = list(await self.arrived(sink))
        assert found == list(events), f"expected {list(events)}, found {found}"


def _try(sink: Any, pending: list[PendingEmit], type: str, data: Any) -> Any:
    """Return the answer of `try_emit`, which finds a run that takes over what it cannot finish."""
    token = event_collector.set(pending.append)
    try:
        return sink.try_emit(type=type, data=data)
    finally:
        event_collector.reset(token)


async def _finish(sink: Any, type: str, data: Any) -> Any:
    """Return the answer of `try_emit` once the event it was given is finished."""
    pending: list[PendingEmit] = []
    answer = _try(sink, pending, type, data)
    if inspect.isawaitable(answer):
        await answer
    for emit in pending:
        await emit
    return answer
