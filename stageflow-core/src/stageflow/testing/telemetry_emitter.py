"""The kit of the contract `telemetry_emitter`: subclass it and give it an emitter."""
# ruff: noqa: D102 - the name of a test says what it proves

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import anyio
import anyio.lowlevel
import pytest

from stageflow.contracts.telemetry_emitter import (
    TelemetryEmitter,
    TelemetryEmitterCapabilities,
    TelemetryEvent,
)
from stageflow.testing.conformance import ConformanceKit, all_at_once, raising

__all__ = ("TelemetryEmitterConformance",)

Measurement = tuple[TelemetryEvent, Mapping[str, Any], Mapping[str, Any]]


class _SomeError(Exception):
    """Raised in a span."""


class TelemetryEmitterConformance(ConformanceKit):
    """Tests every clause of `TelemetryEmitter`.

    An emitter whose measurements can be looked at overrides `passed_on` as well as the fixture.
    """

    contracts = (TelemetryEmitter,)
    capabilities: ClassVar[TelemetryEmitterCapabilities] = TelemetryEmitterCapabilities()

    @pytest.fixture
    async def emitter(self) -> Any:
        """Give a fresh emitter; every author overrides this."""
        raise NotImplementedError("override the fixture `emitter`: yield a TelemetryEmitter")

    async def passed_on(self, emitter: Any) -> Sequence[Measurement]:
        """Return what the emitter has passed on, in order: name, measurements, metadata."""
        raise NotImplementedError("override `passed_on`, or declare that nothing can be seen")

    async def test_it_has_the_shape_of_its_contract(self, emitter: Any) -> None:
        self.check_shape(emitter)

    async def test_te1_a_measurement_is_passed_on_under_our_name(self, emitter: Any) -> None:
        self.needs("keeps_measurements")
        emitter.execute(("stage", "done"), {"duration": 0.5, "count": 2}, {"stage": "a"})
        emitter.execute(("stageflow", "run", "done"), {"count": 1}, {})
        found = [_plain(measurement) for measurement in await self.passed_on(emitter)]
        expected = [
            (("stageflow", "stage", "done"), {"duration": 0.5, "count": 2}, {"stage": "a"}),
            (("stageflow", "run", "done"), {"count": 1}, {}),
        ]
        assert found == expected, f"passed on: {found}"

    async def test_te2_nothing_makes_it_raise(self, emitter: Any) -> None:
        for value in (None, object(), float("nan"), 10**6000, "\ud800", {"a": {1, 2}}):
            try:
                emitter.execute(("test",), {"value": value}, {"value": value})
            except Exception as error:
                raise AssertionError(f"a value of {type(value)} made it raise {error!r}") from error

    async def test_te3_a_span_gives_what_its_function_gives(self, emitter: Any) -> None:
        calls = []

        def plain() -> str:
            calls.append("plain")
            return "one"

        async def awaited() -> str:
            await anyio.lowlevel.checkpoint()
            calls.append("awaited")
            return "two"

        results = [await emitter.span(("test",), {}, fun) for fun in (plain, awaited)]
        assert results == ["one", "two"], f"the spans gave {results}"
        assert calls == ["plain", "awaited"], f"the functions were called {calls}"

    async def test_te4_a_span_has_a_start_and_a_stop(self, emitter: Any) -> None:
        self.needs("keeps_measurements")
        seen_inside = []

        async def body() -> None:
            await anyio.lowlevel.checkpoint()
            seen_inside.extend([name for name, _, _ in await self.passed_on(emitter)])

        await emitter.span(("stage", "run"), {"stage": "a"}, body)
        start, stop = [_plain(measurement) for measurement in await self.passed_on(emitter)]
        assert [tuple(name) for name in seen_inside] == [start[0]], (
            "the start comes before the call"
        )
        names = (start[0], stop[0])
        assert names == (
            ("stageflow", "stage", "run", "start"),
            ("stageflow", "stage", "run", "stop"),
        )
        assert (start[2], stop[2]) == ({"stage": "a"}, {"stage": "a"}), "the metadata is another"
        assert _is_duration(stop[1]), f"the measurements of the stop are {stop[1]}"

    async def test_te5_an_exception_goes_on(self, emitter: Any) -> None:
        error = _SomeError("no")

        def fails() -> None:
            raise error

        async def fails_later() -> None:
            await anyio.lowlevel.checkpoint()
            raise error

        for fun in (fails, fails_later):
            outcome = await all_at_once([lambda fun=fun: emitter.span(("test",), {}, fun)])  # type: ignore[misc]
            assert outcome == [error], f"of the exception became {outcome}"

    async def test_te5_cancellation_goes_on(self, emitter: Any) -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await emitter.span(("test",), {}, anyio.sleep_forever)
        assert scope.cancelled_caught, "the span swallowed a cancellation"

    async def test_te6_an_exception_is_told(self, emitter: Any) -> None:
        self.needs("keeps_measurements")

        def fails() -> None:
            raise _SomeError("no")

        with raising(_SomeError, "a span whose function raises"):
            await emitter.span(("stage",), {"stage": "a"}, fails)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await emitter.span(("stage",), {"stage": "a"}, anyio.sleep_forever)
        told = [_plain(measurement) for measurement in await self.passed_on(emitter)]
        names = [name[1:] for name, _, _ in told]
        expected = [("stage", "start"), ("stage", "exception")] * 2
        assert names == expected, f"told were {names}"
        for _, measurements, metadata in told[1::2]:
            assert _is_duration(measurements), f"the measurements are {measurements}"
            assert metadata["stage"] == "a", f"the metadata is {metadata}"
            assert metadata.get("kind"), f"nothing says what kind it is: {metadata}"
            assert metadata.get("reason"), f"nothing says why: {metadata}"

    async def test_te7_spans_may_be_open_at_once(self, emitter: Any) -> None:
        self.needs("keeps_measurements")

        def spanning(n: int) -> Any:
            async def body() -> int:
                for _ in range(n % 3):
                    await anyio.lowlevel.checkpoint()
                return n

            return lambda: emitter.span(("test", str(n)), {"n": n}, body)

        results = await all_at_once(spanning(n) for n in range(10))
        assert results == list(range(10)), f"the spans gave {results}"
        told = [_plain(measurement) for measurement in await self.passed_on(emitter)]
        for n in range(10):
            mine = [
                (name[2:], metadata) for name, _, metadata in told if name[1:3] == ("test", str(n))
            ]
            expected = [((str(n), part), {"n": n}) for part in ("start", "stop")]
            assert mine == expected, f"of span {n} was told {mine}"


def _plain(measurement: Measurement) -> tuple[tuple[str, ...], dict[str, Any], dict[str, Any]]:
    name, measurements, metadata = measurement
    return tuple(name), dict(measurements), dict(metadata)


def _is_duration(measurements: Mapping[str, Any]) -> bool:
    duration = measurements.get("duration")
    return isinstance(duration, int | float) and duration >= 0
