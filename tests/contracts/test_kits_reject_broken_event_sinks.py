"""The kit of event sinks notices each broken clause, and blames no other."""

from __future__ import annotations

import json
import threading

import anyio
import anyio.lowlevel
import pytest

from stageflow.contracts.event_sink import EventSink
from stageflow.testing.conformance import clauses_of, failed_clauses
from stageflow.testing.event_sink import EventSinkConformance

pytestmark = pytest.mark.anyio


class Good:
    """Keeps events, and has to be closed."""

    def __init__(self):
        self.events = []
        self.closed = False

    def keep(self, type, data):
        self.events.append((type, data))

    async def emit(self, *, type, data):
        await anyio.lowlevel.checkpoint()
        self.keep(type, data)

    def try_emit(self, *, type, data):
        self.keep(type, data)

    async def aclose(self):
        self.closed = True


class Kit(EventSinkConformance):
    async def arrived(self, sink):
        return sink.events


class LosesNothings(Good):
    """ES-1"""

    def keep(self, type, data):
        super().keep(type, data or {})


class PutsInFront(Good):
    """ES-2"""

    def keep(self, type, data):
        # Only where it matters for no other clause: in the second ten of twenty.
        at = len(self.events) - 1 if len(self.events) >= 15 and type == "test.19" else None
        self.events.insert(len(self.events) if at is None else at, (type, data))


class RefusesWhatIsNotJson(Good):
    """ES-3"""

    def try_emit(self, *, type, data):
        json.dumps(data)
        self.keep(type, data)


class AnswersInItsOwnWay(Good):
    """ES-4"""

    def try_emit(self, *, type, data):
        self.keep(type, data)
        return "accepted" if type == "test.answer" else None


class AddsAKey(Good):
    """ES-5"""

    def try_emit(self, *, type, data):
        self.keep(type, None if data is None else dict(data))
        if type == "test.kept" and data is not None:
            data["seen"] = True


class KeepsAndThenWaits(Good):
    """ES-6"""

    async def emit(self, *, type, data):
        self.keep(type, data)
        try:
            await anyio.lowlevel.checkpoint()
        except anyio.get_cancelled_exc_class():
            self.keep(type, data)
            raise


class MixesWhatComesAtOnce(Good):
    """ES-7"""

    async def emit(self, *, type, data):
        self.current = data
        await anyio.lowlevel.checkpoint()
        self.keep(type, self.current)


class IsForOneThread(Good):
    """ES-8"""

    def __init__(self):
        super().__init__()
        self.thread = threading.get_ident()

    def try_emit(self, *, type, data):
        if threading.get_ident() != self.thread:
            return False
        return super().try_emit(type=type, data=data)


class ForgetsWhenItIsClosed(Good):
    """ES-9"""

    async def aclose(self):
        self.events = self.events[:5]


class MindsBeingClosedTwice(Good):
    """ES-10"""

    async def aclose(self):
        if self.closed:
            raise RuntimeError("it is closed")
        self.closed = True


class MindsBeingUsedOnceItIsClosed(Good):
    """ES-10"""

    def try_emit(self, *, type, data):
        if self.closed:
            raise RuntimeError("it is closed")
        super().try_emit(type=type, data=data)


BROKEN = [cls for cls in Good.__subclasses__() if cls.__doc__]


def test_there_is_a_broken_sink_for_every_clause():
    assert {cls.__doc__ for cls in BROKEN} == set(clauses_of(EventSink)) == set(Kit.proofs())


async def test_a_good_sink_fails_nothing():
    assert await failed_clauses(Kit, Good) == {}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
async def test_a_broken_sink_fails_exactly_its_clause(broken):
    failures = await failed_clauses(Kit, broken)
    assert list(failures) == [broken.__doc__], failures
