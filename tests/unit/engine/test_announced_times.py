"""Announced times: written by hand, and to the letter as `isoformat` writes them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stageflow._engine.announce import Announcer
from stageflow._engine.plan import compile_plan
from stageflow._engine.run import Run, RunOptions
from stageflow.context import PipelineContext
from stageflow.testing import TestClock
from support.runs import node


def announcer_at(start: datetime) -> tuple[Announcer, Run]:
    async def nothing(_: object) -> None: ...

    run = Run(
        compile_plan([node("a", nothing)]),
        PipelineContext(event_sink=None),
        RunOptions(clock=TestClock(start=start), listeners=(lambda *event: None,)),
    )
    run.began = run.clock.monotonic()
    assert run._announcer is not None
    return run._announcer, run


@settings(max_examples=300)
@given(
    st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001 - given a zone below
    st.lists(
        st.one_of(
            st.integers(0, 3).map(float),
            st.integers(0, 3000).map(lambda milli: milli / 1e3),
            st.integers(0, 3_000_000).map(lambda micro: micro / 1e6),
            st.floats(0, 90_000),
        ),
        min_size=1,
        max_size=8,
    ),
)
def test_every_instant_is_written_as_isoformat_writes_it(
    start: datetime, seconds: list[float]
) -> None:
    announcer, run = announcer_at(start.replace(tzinfo=UTC))
    for passed in [*seconds, *seconds]:
        instant = run.began + passed
        assert announcer._text_of(instant) == run.time_of(instant).isoformat()


@pytest.mark.parametrize(
    ("microseconds", "end"),
    [
        (0, "00:00:00+00:00"),
        (1, "00:00:00.000001+00:00"),
        (1000, "00:00:00.001000+00:00"),
        (999_999, "00:00:00.999999+00:00"),
        (1_000_000, "00:00:01+00:00"),
        (2_000_001, "00:00:02.000001+00:00"),
    ],
)
def test_what_there_is_nothing_of_is_left_out(microseconds: int, end: str) -> None:
    announcer, run = announcer_at(datetime(2025, 1, 1, tzinfo=UTC))
    text: Callable[[float], str] = announcer._text_of
    assert text(run.began + timedelta(microseconds=microseconds).total_seconds()).endswith(end)
