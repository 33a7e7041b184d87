"""StageContext: what one attempt of a stage may see and do."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import attrs
import pytest

from stageflow import (
    ContextSnapshot,
    PipelineTimer,
    RetryPolicy,
    RunIdentity,
    StageContext,
    StageOutput,
    create_stage_context,
    create_stage_inputs,
)
from stageflow._engine.plan import StagePolicy
from stageflow._engine.run import RunOptions
from stageflow.errors import RunError
from stageflow.testing import TestClock
from support.runs import RememberingSink, node, run_nodes

RUN_ID, REQUEST_ID, USER_ID = (UUID(int=n) for n in (1, 2, 3))
SNAPSHOT: ContextSnapshot[Any] = ContextSnapshot(
    run_id=RunIdentity(pipeline_run_id=RUN_ID, request_id=REQUEST_ID, user_id=USER_ID),
    topology="fast",
    execution_mode="practice",
    input_text="hello",
)


def by_hand(**given: Any) -> StageContext:
    inputs = create_stage_inputs(SNAPSHOT, prior_outputs={"before": StageOutput.ok(x=1)})
    return create_stage_context(
        SNAPSHOT, inputs, "mine", given.pop("timer", PipelineTimer()), **given
    )


def test_it_says_whose_it_is() -> None:
    context = by_hand()
    assert (context.pipeline_run_id, context.request_id) == (RUN_ID, REQUEST_ID)
    assert (context.stage_name, context.execution_mode, context.attempt) == ("mine", "practice", 1)
    assert context.inputs.get_from("before", "x") == 1


def test_it_is_immutable_and_a_value() -> None:
    timer = PipelineTimer()
    context = by_hand(timer=timer)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        context.attempt = 2  # type: ignore[misc]
    assert attrs.evolve(context, attempt=2).attempt == 2
    assert by_hand(timer=timer) == context
    assert attrs.evolve(context, attempt=2) != context


def test_its_times_come_from_the_timer() -> None:
    clock = TestClock()
    timer = PipelineTimer(clock)
    context = by_hand(timer=timer)
    clock.tick(2.5)
    assert context.started_at == clock.now() - timedelta(seconds=2.5)
    assert context.timer.elapsed_ms() == 2500
    assert timer.now_ms() - timer.pipeline_start_ms == 2500
    now = StageContext.now()
    assert now.tzinfo is UTC
    assert abs(datetime.now(UTC) - now) < timedelta(minutes=1)


def test_one_made_by_hand_belongs_to_no_run() -> None:
    context = by_hand()
    assert context.config is None
    assert dict(context.resources) == {}
    assert not context.is_cancelled
    assert context.execution_key == f"{RUN_ID}/mine"
    with pytest.raises(RunError, match="belongs to no run"):
        context.register_cleanup(lambda: None)


def test_its_dictionary_can_be_written_as_json() -> None:
    written = json.loads(json.dumps(by_hand().to_dict()))
    assert written["stage_name"] == "mine"
    assert written["attempt"] == 1
    assert written["input_text"] == "hello"
    assert datetime.fromisoformat(written["started_at"]).tzinfo is not None


def test_a_stages_own_events_bear_its_status_in_their_type() -> None:
    sink = RememberingSink()
    by_hand(event_sink=sink).record_stage_event("mine", "loading", share=0.5)
    [(name, data)] = sink.events
    assert name == "stage.mine.loading"
    assert data["stage"] == "mine"
    assert (data["status"], data["share"]) == ("loading", 0.5)
    assert data["pipeline_run_id"] == str(RUN_ID)


def test_a_pipeline_context_of_it_has_the_same_identity() -> None:
    sink = RememberingSink()
    context = by_hand(event_sink=sink).as_pipeline_context(
        data={"a": 1}, configuration={"b": 2}, service="audit", db="db"
    )
    assert (context.pipeline_run_id, context.user_id) == (RUN_ID, USER_ID)
    assert (context.topology, context.execution_mode) == ("fast", "practice")
    assert (context.data, context.configuration) == ({"a": 1}, {"b": 2})
    assert (context.service, context.db) == ("audit", "db")
    assert context.snapshot is SNAPSHOT
    assert context.event_sink is sink


@pytest.mark.anyio
class TestInARun:
    async def test_it_offers_what_the_run_was_given(self) -> None:
        seen: list[Any] = []

        async def look(ctx: StageContext) -> None:
            seen.extend([ctx.config, ctx.resources, ctx.started_at, ctx.event_sink])

        clock = TestClock()
        options = RunOptions(config="config", resources={"db": "db"}, clock=clock)
        await run_nodes([node("a", look)], options=options)
        assert seen == ["config", {"db": "db"}, clock.now(), None]

    async def test_a_thread_can_see_that_the_run_is_to_stop(self) -> None:
        seen: list[bool] = []

        async def asks(ctx: StageContext) -> None:
            seen.append(ctx.is_cancelled)
            ctx._run.context.mark_canceled("enough")  # type: ignore[union-attr]
            seen.append(ctx.is_cancelled)

        await run_nodes([node("a", asks)])
        assert seen == [False, True]

    async def test_each_attempt_has_a_context_of_its_own(self) -> None:
        seen: list[StageContext] = []

        async def flaky(ctx: StageContext) -> StageOutput | None:
            seen.append(ctx)
            return StageOutput.retry("again") if len(seen) < 3 else None

        policy = StagePolicy(retry=RetryPolicy(max_attempts=3))
        options = RunOptions(clock=TestClock(autojump=True))
        await run_nodes([node("a", flaky, policy=policy)], options=options)
        assert [context.attempt for context in seen] == [1, 2, 3]
        assert len({context.execution_key for context in seen}) == 1

    async def test_it_equals_one_made_by_hand_of_the_same(self) -> None:
        seen: list[StageContext] = []

        async def look(ctx: StageContext) -> None:
            seen.append(ctx)

        await run_nodes([node("a", look)])
        [context] = seen
        assert type(context) is StageContext
        assert repr(context).startswith("StageContext(snapshot=")
        again = create_stage_context(
            context.snapshot, context.inputs, "a", context.timer, context.event_sink
        )
        assert again == context
