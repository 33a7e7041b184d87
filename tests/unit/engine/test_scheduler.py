"""Runs of any graph, with anything happening in it, go as a plain model says."""

from __future__ import annotations

import logging
from collections import Counter

import anyio
import pytest
from hypothesis import given, settings

from support.model import Model, Seen
from support.play import Fatal, Performance, every_thread_is_free, leaves_nothing_behind, play
from support.strategies import Scenario, scenarios


@pytest.fixture(autouse=True, scope="module")
def _quiet():
    """Thousands of runs in which everything goes wrong would only tell the log."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


backends = pytest.mark.parametrize("backend", ["asyncio", "trio"])


async def perform(scenario: Scenario) -> Performance:
    with leaves_nothing_behind():
        seen = await play(scenario)
    await every_thread_is_free()
    return seen


def check(seen: Performance) -> None:
    model = Model(seen.scenario)
    model.follow(seen.trace)
    check_events(seen, model)
    check_outcome(seen, model)
    check_bodies(seen, model)


def check_events(seen: Performance, model: Model) -> None:
    runs = [event for event in seen.events if event.startswith("pipeline.")]
    assert runs[0] == seen.events[0] == "pipeline.started"
    assert runs[1:] == seen.events[-1:]
    assert set(model.ended) == set(model.plays)
    retried = sum(max(0, len(times) - 1) for times in seen.began.values())
    assert seen.events.count("stage.retry_scheduled") >= retried


def check_outcome(seen: Performance, model: Model) -> None:
    [over] = [each.status for each in seen.trace if each.what == "over"]
    assert isinstance(seen.raised, Fatal) == model.fatal
    if seen.report is None:
        assert model.fatal or model.caller_left_at is not None
        return
    report = seen.report
    assert report.status == over
    assert {name: out.status.value for name, out in report.outputs.items()} == model.ended
    assert list(report.outputs) == [play.name for play in seen.scenario.stages]
    blamed = {"failed": model.first_failure, "cancelled": model.asked, "completed": None}
    assert report.stage == blamed[over]
    assert (report.error is not None) == (over == "failed")
    values = model.values()
    for name, output in report.outputs.items():
        if output.status == "ok":
            assert output.data["value"] == values[name]
    for name, result in report.results().items():
        assert result.name == name
        assert result.status == model.ended[name]


def check_bodies(seen: Performance, model: Model) -> None:
    assert seen.cleaned == seen.registered[::-1]
    for name, times in seen.began.items():
        expected, whole = model.attempts_of(name)
        assert tuple(times) == (expected if whole else expected[: len(times)])
    for name, statuses in seen.read.items():
        assert statuses == {need: model.ended[need] for need in model.plays[name].needs}
    if seen.scenario.layered:
        assert dict(seen.around.asked) == dict.fromkeys(model.started, 1)


@backends
@given(scenario=scenarios())
@settings(deadline=None)
def test_a_run_goes_as_the_model_says(backend: str, scenario: Scenario) -> None:
    check(anyio.run(perform, scenario, backend=backend))


def determined(seen: Performance) -> list[Seen]:
    """The trace, without the order in which the event loop cancels what was running at the end."""
    model = Model(seen.scenario)
    for number, each in enumerate(seen.trace, 1):
        model.follow([each])
        if model.stopped_at is not None:
            rest = sorted(seen.trace[number:], key=lambda each: (each.at, each.what, each.stage))
            return seen.trace[:number] + rest
    return seen.trace


def facts(seen: Performance) -> tuple[object, ...]:
    """Everything about a performance that must come out again."""
    report = seen.report
    outcome = None if report is None else (report.status, report.stage, report.outputs)
    events = Counter(seen.events)
    return determined(seen), events, seen.began, seen.cleaned, outcome, type(seen.raised)


@given(scenario=scenarios(threads=False))
@settings(deadline=None)
def test_the_same_run_goes_the_same_way_again(scenario: Scenario) -> None:
    first, second = (anyio.run(perform, scenario, backend="asyncio") for _ in range(2))
    assert facts(first) == facts(second)


async def perform_unheard(scenario: Scenario) -> Performance:
    with leaves_nothing_behind():
        return await play(scenario, heard=False)


@given(scenario=scenarios(threads=False))
@settings(deadline=None)
def test_a_run_that_nobody_listens_to_goes_the_same_way(scenario: Scenario) -> None:
    heard = anyio.run(perform, scenario, backend="asyncio")
    unheard = anyio.run(perform_unheard, scenario, backend="asyncio")
    assert (unheard.began, unheard.cleaned) == (heard.began, heard.cleaned)
    assert type(unheard.raised) is type(heard.raised)
    if heard.report is not None and unheard.report is not None:
        assert unheard.report.status == heard.report.status
        assert unheard.report.stage == heard.report.stage
        assert unheard.report.outputs == heard.report.outputs
    else:
        assert unheard.report is heard.report
