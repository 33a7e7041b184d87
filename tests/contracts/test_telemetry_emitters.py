"""The kit of telemetry emitters: core's emitters pass, and a broken one fails its clause alone."""

from __future__ import annotations

import inspect
import logging

import anyio
import anyio.lowlevel
import pytest

from stageflow.builtin.telemetry import LoggingTelemetryEmitter, NoOpTelemetryEmitter
from stageflow.contracts.telemetry_emitter import TelemetryEmitter, TelemetryEmitterCapabilities
from stageflow.observability import run_span, under_stageflow
from stageflow.testing.conformance import clauses_of, failed_clauses
from stageflow.testing.telemetry_emitter import TelemetryEmitterConformance


class TestNoOpTelemetryEmitter(TelemetryEmitterConformance):
    capabilities = TelemetryEmitterCapabilities(keeps_measurements=False)

    @pytest.fixture
    def emitter(self):
        return NoOpTelemetryEmitter()


class Records(logging.Handler):
    def __init__(self):
        super().__init__()
        self.measurements = []

    def emit(self, record):
        self.measurements.append(
            (record.telemetry_event, record.telemetry_measurements, record.telemetry_metadata)
        )


class TestLoggingTelemetryEmitter(TelemetryEmitterConformance):
    @pytest.fixture
    def emitter(self):
        self.handler = Records()
        logger = logging.Logger("test", level=logging.INFO)  # noqa: LOG001 - for one test
        logger.addHandler(self.handler)
        return LoggingTelemetryEmitter(logger=logger)

    async def passed_on(self, emitter):
        return self.handler.measurements


class Good:
    """Keeps measurements."""

    def __init__(self):
        self.kept = []

    def execute(self, event, measurements, metadata):
        self.kept.append((under_stageflow(event), measurements, metadata))

    async def span(self, event, metadata, fun):
        return await run_span(self.execute, event, metadata, fun)


class Kit(TelemetryEmitterConformance):
    async def passed_on(self, emitter):
        return emitter.kept


class PutsOurNameTwice(Good):
    """TE-1"""

    def execute(self, event, measurements, metadata):
        twice = event[:2] == ("stageflow", "run")
        super().execute(("stageflow", *event) if twice else event, measurements, metadata)


class ShowsWhatItIsGiven(Good):
    """TE-2"""

    def execute(self, event, measurements, metadata):
        if None in measurements.values():
            raise ValueError("None is no measurement")
        super().execute(event, measurements, metadata)


class GivesBackAwaitables(Good):
    """TE-3"""

    async def span(self, event, metadata, fun):
        if event == ("test",) and fun.__name__ == "awaited":
            result = await super().span(event, metadata, fun)
            return [result]
        return await super().span(event, metadata, fun)


class MeasuresNoDuration(Good):
    """TE-4"""

    def execute(self, event, measurements, metadata):
        kept = {} if event[-1] == "stop" else measurements
        super().execute(event, kept, metadata)


class SwallowsExceptions(Good):
    """TE-5"""

    async def span(self, event, metadata, fun):
        try:
            return await super().span(event, metadata, fun)
        except Exception as error:
            if event == ("test",):
                raise RuntimeError("it failed") from error
            raise


class SwallowsCancellation(Good):
    """TE-5"""

    async def span(self, event, metadata, fun):
        if event != ("test",):
            return await super().span(event, metadata, fun)
        result = fun()
        if not inspect.isawaitable(result):
            return result
        try:
            return await result
        except anyio.get_cancelled_exc_class():
            return None


class SaysNothingOfFailures(Good):
    """TE-6"""

    def execute(self, event, measurements, metadata):
        if event[-1] != "exception":
            super().execute(event, measurements, metadata)


class MixesSpansUp(Good):
    """TE-7"""

    async def span(self, event, metadata, fun):
        self.metadata = metadata

        def execute(event, measurements, metadata):
            mixed = self.metadata if event[-1] == "stop" else metadata
            self.execute(event, measurements, mixed)

        return await run_span(execute, event, metadata, fun)


BROKEN = [cls for cls in Good.__subclasses__() if cls.__doc__]


def test_there_is_a_broken_emitter_for_every_clause():
    told = {cls.__doc__ for cls in BROKEN}
    assert told == set(clauses_of(TelemetryEmitter)) == set(Kit.proofs())


@pytest.mark.anyio
async def test_a_good_emitter_fails_nothing():
    assert await failed_clauses(Kit, Good) == {}


@pytest.mark.anyio
@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
async def test_a_broken_emitter_fails_exactly_its_clause(broken):
    failures = await failed_clauses(Kit, broken)
    assert list(failures) == [broken.__doc__], failures
