"""When a failed attempt is followed by another, in a pipeline and around any function."""

from __future__ import annotations

import itertools
from typing import Any

import anyio
import pytest

from stageflow.data.pipeline import (
    Pipeline,
    PipelineConfig,
    PipelineContext,
    PipelineValidationError,
    RetryConfig,
    RetryStrategy,
    Stage,
    StageStatus,
    with_retry,
)
from support.functions import Journal, pipeline_of

NONE, IMMEDIATE, CONSTANT = RetryStrategy.NONE, RetryStrategy.IMMEDIATE, RetryStrategy.CONSTANT
LINEAR, EXPONENTIAL = RetryStrategy.LINEAR_BACKOFF, RetryStrategy.EXPONENTIAL_BACKOFF


def failing(journal: Journal, times: int, error: type[Exception] = ValueError) -> Any:
    """Return a handler that fails that often before it succeeds."""
    left = [times]

    async def handler(ctx: PipelineContext, given: Any) -> str:
        journal.note("tried")
        left[0] -= 1
        if left[0] >= 0:
            raise error("not yet")
        return "done"

    return handler


@pytest.mark.parametrize(
    ("strategy", "delays"),
    [
        (NONE, [0, 0, 0]),
        (IMMEDIATE, [0, 0, 0]),
        (CONSTANT, [2, 2, 2]),
        (LINEAR, [2, 4, 6]),
        (EXPONENTIAL, [2, 6, 18]),
    ],
)
def test_get_delay_counts_attempts_from_0(strategy: RetryStrategy, delays: list[int]) -> None:
    config = RetryConfig(strategy=strategy, initial_delay_seconds=2.0, backoff_factor=3.0)
    assert [config.get_delay(attempt) for attempt in range(3)] == delays
    assert config.get_delay(attempt=2) == delays[2]


@pytest.mark.parametrize("strategy", [CONSTANT, LINEAR, EXPONENTIAL])
def test_no_delay_is_longer_than_the_longest(strategy: RetryStrategy) -> None:
    config = RetryConfig(
        strategy=strategy, initial_delay_seconds=4.0, max_delay_seconds=5.0, backoff_factor=9.0
    )
    assert config.get_delay(900) == (4.0 if strategy is CONSTANT else 5.0)


def test_a_strategy_may_be_given_by_its_value() -> None:
    assert RetryConfig(strategy="constant").strategy is CONSTANT  # type: ignore[arg-type]


@pytest.mark.anyio
@pytest.mark.parametrize("strategy", list(RetryStrategy))
async def test_the_delays_of_a_stage_are_those_of_get_delay(strategy: RetryStrategy) -> None:
    journal = Journal()
    config = RetryConfig(max_retries=3, strategy=strategy)
    stage = Stage("a", "A", failing(journal, 9), retry_config=config)
    result = await pipeline_of(stage, clock=journal.clock).execute()
    tried = [instant for instant, _ in journal.entries]
    waited = [after - before for before, after in itertools.pairwise(tried)]
    expected = [] if strategy is NONE else [config.get_delay(attempt) for attempt in range(3)]
    assert waited == pytest.approx(expected)
    assert result.stage_results["a"].attempt_count == len(tried)


@pytest.mark.anyio
@pytest.mark.parametrize("retries", [0, 1, 4])
async def test_there_are_max_retries_and_one_attempts(retries: int) -> None:
    journal = Journal()
    retry = RetryConfig(max_retries=retries, strategy=IMMEDIATE)
    result = await pipeline_of(("a", failing(journal, 99)), retry=retry).execute()
    assert len(journal.entries) == retries + 1
    assert result.stage_results["a"].attempt_count == retries + 1


@pytest.mark.anyio
async def test_a_stage_that_succeeds_in_time_has_completed() -> None:
    journal = Journal()
    pipeline = Pipeline(PipelineConfig(), clock=journal.clock)
    pipeline.add_stage(Stage("a", "A", failing(journal, 2)))
    found = (await pipeline.execute()).stage_results["a"]
    assert (found.status, found.result, found.attempt_count) == (StageStatus.COMPLETED, "done", 3)
    assert journal.entries == [(0, "tried"), (1, "tried"), (3, "tried")]


@pytest.mark.anyio
async def test_only_the_stated_exceptions_are_tried_again() -> None:
    journal = Journal()
    retry = RetryConfig(strategy=IMMEDIATE, retry_on_exceptions=[ConnectionError])  # type: ignore[arg-type]
    await pipeline_of(("a", failing(journal, 1, ConnectionResetError)), retry=retry).execute()
    assert len(journal.entries) == 2
    await pipeline_of(("a", failing(journal, 1, ValueError)), retry=retry).execute()
    assert len(journal.entries) == 3


@pytest.mark.anyio
@pytest.mark.parametrize(("on_timeout", "attempts"), [(True, 3), (False, 1)])
async def test_a_timeout_is_tried_again_if_that_is_wanted(on_timeout: bool, attempts: int) -> None:
    journal = Journal()
    retry = RetryConfig(max_retries=2, strategy=IMMEDIATE, retry_on_timeout=on_timeout)
    stage = Stage("a", "A", journal.takes(60, "a"), timeout_seconds=5.0)
    result = await pipeline_of(stage, retry=retry, clock=journal.clock).execute()
    assert result.stage_results["a"].status is StageStatus.TIMED_OUT
    assert result.stage_results["a"].attempt_count == attempts
    assert journal.clock.monotonic() == 5 * attempts


@pytest.mark.anyio
async def test_the_retries_of_a_stage_go_before_those_of_the_pipeline() -> None:
    journal = Journal()
    own = RetryConfig(max_retries=1, strategy=IMMEDIATE)
    stage = Stage("a", "A", failing(journal, 99), retry_config=own)
    await pipeline_of(stage, retry=RetryConfig(max_retries=7, strategy=IMMEDIATE)).execute()
    assert len(journal.entries) == 2


@pytest.mark.anyio
async def test_a_cancel_does_not_wait_for_a_retry() -> None:
    journal = Journal()
    retry = RetryConfig(strategy=CONSTANT, initial_delay_seconds=50.0)
    pipeline = pipeline_of(("a", failing(journal, 9)), retry=retry, clock=journal.clock)

    async def cancel_later() -> None:
        await journal.clock.sleep(1)
        pipeline.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancel_later)
        result = await pipeline.execute()
    assert result.stage_results["a"].status is StageStatus.CANCELLED
    assert journal.clock.monotonic() == 1


def test_wrong_numbers_are_definition_errors_all_at_once() -> None:
    wrong = RetryConfig(max_retries=-2)
    stages = [Stage(name, name, print, retry_config=wrong, timeout_seconds=-1.0) for name in "ab"]
    with pytest.raises(PipelineValidationError) as caught:
        pipeline_of(*stages, max_parallel=0).validate()
    assert len(caught.value.faults) == 5


@pytest.mark.anyio
async def test_with_retry_tries_again_until_it_succeeds() -> None:
    journal = Journal()
    left = [2]

    @with_retry(max_retries=3, strategy=EXPONENTIAL, initial_delay=1.0, clock=journal.clock)
    async def add(x: int, *, y: int) -> int:
        """Add two numbers, sooner or later."""
        journal.note("tried")
        left[0] -= 1
        if left[0] >= 0:
            raise ConnectionError
        return x + y

    assert await add(1, y=2) == 3
    assert journal.entries == [(0, "tried"), (1, "tried"), (3, "tried")]
    assert (add.__name__, add.__doc__) == ("add", "Add two numbers, sooner or later.")


@pytest.mark.anyio
async def test_with_retry_raises_the_last_exception() -> None:
    count = [0]

    @with_retry(max_retries=2, strategy=IMMEDIATE)
    async def fails() -> None:
        count[0] += 1
        raise ValueError(count[0])

    with pytest.raises(ValueError, match="3"):
        await fails()
    with pytest.raises(ValueError, match="6"):
        await fails()


@pytest.mark.anyio
async def test_with_retry_leaves_other_exceptions_alone_and_none_means_one_attempt() -> None:
    journal = Journal()
    only = with_retry(strategy=IMMEDIATE, retry_on_exceptions=(ConnectionError,))
    never = with_retry(strategy=NONE)
    for decorate in (only, never):
        with pytest.raises(ValueError, match="not yet"):
            await decorate(failing(journal, 9))(PipelineContext("x"), None)
    assert len(journal.entries) == 2


@pytest.mark.anyio
async def test_with_retry_may_be_called_many_times_at_once_also_in_a_stage() -> None:
    @with_retry(strategy=IMMEDIATE)
    async def double(number: int) -> int:
        await anyio.lowlevel.checkpoint()
        return 2 * number

    async def handler(ctx: PipelineContext, given: int) -> int:
        return await double(given)

    found: dict[int, Any] = {}
    pipeline = pipeline_of(("a", handler))

    async def execute(number: int) -> None:
        found[number] = (await pipeline.execute(number)).stage_results["a"].result

    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(execute, number)
    assert found == {number: 2 * number for number in range(5)}


@pytest.mark.anyio
async def test_a_call_with_retry_can_be_cancelled() -> None:
    @with_retry()
    async def hangs() -> None:
        await anyio.sleep_forever()

    with anyio.CancelScope() as scope:
        scope.cancel()
        await hangs()
    assert scope.cancelled_caught


def test_with_retry_refuses_wrong_numbers_when_it_decorates() -> None:
    async def function() -> None:
        """Do nothing."""

    with pytest.raises(PipelineValidationError, match="function"):
        with_retry(initial_delay=-1.0)(function)
