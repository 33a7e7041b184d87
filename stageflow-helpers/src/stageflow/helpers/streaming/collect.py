"""Collecting a whole stream, and keeping what came if it does not end in time."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import Generic, TypeVar

import anyio
import attrs

from stageflow.contracts.clock import Clock, SystemClock

__all__ = ("CollectedStream", "collect_stream")

T = TypeVar("T")


@attrs.frozen
class CollectedStream(Generic[T]):
    """What came out of a stream.

    Attributes:
        chunks: Everything that arrived, in order.
        partial: True if the stream did not reach its end.
        reason: Why it did not: `timeout` or `error`.
        error: What the stream raised.
    """

    chunks: tuple[T, ...]
    partial: bool = False
    reason: str | None = None
    error: Exception | None = None


async def collect_stream(
    source: AsyncIterable[T],
    *,
    timeout_seconds: float | None = None,
    clock: Clock | None = None,
) -> CollectedStream[T]:
    """Return all chunks of *source*; those that came before a time-out or an error are kept.

    Args:
        source: The stream. It is left where it stopped if it times out.
        timeout_seconds: How long the whole stream may take; for ever if None.
        clock: Source of the time.

    Returns:
        The chunks, marked partial if the stream did not end by itself.
    """
    chunks: list[T] = []
    timed_out = False
    failure: Exception | None = None

    async def watch(scope: anyio.CancelScope, seconds: float) -> None:
        nonlocal timed_out
        await (clock or SystemClock()).sleep(seconds)
        timed_out = True
        scope.cancel()

    async with anyio.create_task_group() as group:
        if timeout_seconds is not None:
            group.start_soon(watch, group.cancel_scope, timeout_seconds)
        try:
            async for chunk in source:
                chunks.append(chunk)  # noqa: PERF401 - what came before a failure is kept
        except Exception as error:  # noqa: BLE001 - the result carries it
            failure = error
        group.cancel_scope.cancel()
    if failure is not None:
        return CollectedStream(tuple(chunks), True, "error", failure)
    if timed_out:
        return CollectedStream(tuple(chunks), True, "timeout")
    return CollectedStream(tuple(chunks))
