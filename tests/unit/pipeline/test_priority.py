"""Ready stages by priority where not all can run at once, and none waits for ever."""

from __future__ import annotations

from collections import deque
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stageflow import Pipeline, PipelineBuilder, PipelineContext, stage
from stageflow._engine.plan import compile_plan
from stageflow._engine.ready import PATIENCE, ReadyQueue
from stageflow._engine.run import Run
from stageflow.context import PipelineContext as Context
from support.runs import node

pytestmark = pytest.mark.anyio


def drained(queue: ReadyQueue) -> list[int]:
    return [queue.popleft() for _ in range(len(queue))]


def test_higher_priority_goes_first_and_equals_go_by_arrival() -> None:
    assert drained(ReadyQueue([0, 2, 1, 2, 0], range(5))) == [1, 3, 2, 0, 4]


def test_bug011_a_low_priority_stage_is_overtaken_a_stated_number_of_times() -> None:
    queue = ReadyQueue([0, *[9] * 100], range(101))
    assert drained(queue).index(0) == PATIENCE


def test_bug011_newcomers_do_not_starve_it_either() -> None:
    queue = ReadyQueue([0, *[9] * 100], [0])
    went = []
    for newcomer in range(1, 101):
        queue.append(newcomer)
        went.append(queue.popleft())
    assert went.index(0) == PATIENCE
    assert went[:PATIENCE] == list(range(1, PATIENCE + 1))


def test_bug011_the_bound_holds_for_every_place_in_the_line() -> None:
    lows, highs = 5, 200
    queue = ReadyQueue([*[0] * lows, *[1] * highs], range(lows + highs))
    order = drained(queue)
    for place in range(lows):
        assert sum(stage >= lows for stage in order[: order.index(place)]) == (place + 1) * PATIENCE


def test_an_empty_queue_gives_nothing() -> None:
    queue = ReadyQueue([1], [0])
    assert queue
    queue.popleft()
    assert not queue
    with pytest.raises(IndexError):
        queue.popleft()


def test_each_operation_looks_at_few_entries() -> None:
    compared = 0

    class Priority(int):
        def __neg__(self) -> Any:
            return Priority(-int(self))

        def __lt__(self, other: Any) -> bool:
            nonlocal compared
            compared += 1
            return int(self) < int(other)

    size = 4096
    # 389 and 1000 have no common factor: every priority comes, in no order.
    queue = ReadyQueue([Priority(389 * item % 1000) for item in range(size)], range(size))
    drained(queue)
    assert compared <= 4 * size * size.bit_length()


class AgainstModel(RuleBasedStateMachine):
    """The queue beside a list that is searched from end to end."""

    def __init__(self) -> None:
        super().__init__()
        self.priorities: list[int] = []
        self.queue = ReadyQueue(self.priorities)
        self.waiting: list[int] = []
        self.overtaken = 0

    @rule(priority=st.integers(-3, 3))
    def append(self, priority: int) -> None:
        self.priorities.append(priority)
        self.queue.append(len(self.priorities) - 1)
        self.waiting.append(len(self.priorities) - 1)

    @precondition(lambda self: self.waiting)
    @rule()
    def take(self) -> None:
        oldest = self.waiting[0]
        best = max(self.waiting, key=lambda item: (self.priorities[item], -item))
        expected = oldest if self.overtaken >= PATIENCE else best
        self.overtaken = 0 if expected == oldest else self.overtaken + 1
        self.waiting.remove(expected)
        assert self.queue.popleft() == expected

    @invariant()
    def counts(self) -> None:
        assert len(self.queue) == len(self.waiting)


TestAgainstModel = AgainstModel.TestCase
TestAgainstModel.settings = settings(max_examples=25, stateful_step_count=60, deadline=None)


async def order_of(pipeline: Any, **options: Any) -> list[str]:
    graph = pipeline.build(**options)
    order: list[str] = []
    await graph.run(PipelineContext(data={"order": order}, inputs={"order": order}))
    return order


async def notes(ctx: Any) -> None:
    ctx.inputs.get("order").append(ctx.stage_name)
    await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("limit", [1, 2])
async def test_a_run_starts_ready_stages_by_priority_when_it_is_limited(limit: int) -> None:
    pipeline = Pipeline()
    for name, priority in (("low", -1), ("none", 0), ("high", 5), ("higher", 6)):
        pipeline = pipeline.with_stage(name, notes, priority=priority)
    order = await order_of(pipeline, max_concurrency=limit)
    assert order == ["higher", "high", "none", "low"]
    assert await order_of(pipeline) == ["low", "none", "high", "higher"]


async def test_bug011_a_run_lets_no_stage_starve() -> None:
    pipeline = Pipeline().with_stage("low", notes, priority=0)
    before: tuple[str, ...] = ()
    for index in range(40):
        pipeline = pipeline.with_stage(f"high{index}", notes, dependencies=before, priority=9)
        before = (f"high{index}",)
    order = await order_of(pipeline, max_concurrency=1)
    assert order.index("low") == PATIENCE


async def test_every_way_to_declare_takes_a_priority() -> None:
    @stage(priority=3)
    async def high(order: list[str]) -> None:
        order.append("high")

    @stage
    async def low(order: list[str]) -> None:
        order.append("low")

    assert await order_of(Pipeline().with_stages([low, high]), max_concurrency=1) == ["high", "low"]
    builder = PipelineBuilder().with_stage("low", notes).with_stage("high", notes, priority=1)
    assert await order_of(builder, max_concurrency=1) == ["high", "low"]


def test_nothing_is_paid_where_nothing_is_ordered() -> None:
    stages = [node("a", notes), node("b", notes)]
    for plan in (compile_plan(stages), compile_plan(stages, max_concurrency=1)):
        assert type(Run(plan, Context())._ready) is deque


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-2, 2), min_size=1, max_size=12), st.integers(1, 3))
def test_every_stage_runs_once_whatever_the_priorities(priorities: list[int], limit: int) -> None:
    pipeline = Pipeline()
    for index, priority in enumerate(priorities):
        needs = [f"s{index - 2}"] if index >= 2 else []
        pipeline = pipeline.with_stage(f"s{index}", notes, dependencies=needs, priority=priority)

    async def main() -> list[str]:
        return await order_of(pipeline, max_concurrency=limit)

    assert sorted(anyio.run(main)) == sorted(f"s{index}" for index in range(len(priorities)))
