"""Collecting a stream keeps what came, and says whether that is all."""

from __future__ import annotations

import anyio
import pytest

from stageflow.helpers.streaming import ChunkQueue, collect_stream
from stageflow.testing import TestClock

pytestmark = pytest.mark.anyio


async def numbers(clock, delays, *, fail_at=None):
    for number, delay in enumerate(delays):
        await clock.sleep(delay)
        if number == fail_at:
            raise RuntimeError("the line went dead")
        yield number


async def test_a_stream_that_ends_is_whole():
    clock = TestClock(autojump=True)
    result = await collect_stream(numbers(clock, [1, 1]), timeout_seconds=10, clock=clock)
    assert result.chunks == (0, 1)
    assert (result.partial, result.reason, result.error) == (False, None, None)


async def test_bug079_chunks_before_a_timeout_are_kept_and_marked_partial():
    clock = TestClock(autojump=True)
    source = numbers(clock, [1, 1, 100])
    result = await collect_stream(source, timeout_seconds=10, clock=clock)
    await source.aclose()
    assert result.chunks == (0, 1)
    assert (result.partial, result.reason) == (True, "timeout")


async def test_chunks_before_an_error_are_kept_with_the_error():
    clock = TestClock(autojump=True)
    result = await collect_stream(numbers(clock, [0, 0, 0], fail_at=2), clock=clock)
    assert result.chunks == (0, 1)
    assert (result.partial, result.reason) == (True, "error")
    assert str(result.error) == "the line went dead"


async def test_a_queue_can_be_collected():
    queue = ChunkQueue()
    await queue.put("a")
    await queue.close()
    assert (await collect_stream(queue)).chunks == ("a",)


async def test_cancelling_the_caller_is_passed_on():
    clock = TestClock()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await collect_stream(ChunkQueue(), timeout_seconds=10, clock=clock)
        pytest.fail("went on although it was cancelled")
    assert scope.cancelled_caught
