"""Short ways to make and execute function pipelines in tests."""

from __future__ import annotations

from typing import Any

from stageflow.data.pipeline import (
    Pipeline,
    PipelineConfig,
    PipelineContext,
    RetryConfig,
    RetryStrategy,
    Stage,
    TimeoutConfig,
)
from stageflow.testing import TestClock

__all__ = ("ONCE", "Journal", "gives", "pipeline_of", "raises")

ONCE = RetryConfig(strategy=RetryStrategy.NONE)


class Journal:
    """Remembers what happened when, on a clock that jumps over every wait."""

    def __init__(self) -> None:
        self.clock = TestClock(autojump=True)
        self.entries: list[tuple[float, str]] = []

    def note(self, what: str) -> None:
        self.entries.append((self.clock.monotonic(), what))

    @property
    def notes(self) -> list[str]:
        return [what for _, what in self.entries]

    def when(self, what: str) -> float:
        """The instant at which *what* happened first."""
        return next(instant for instant, noted in self.entries if noted == what)

    def takes(self, seconds: float, name: str, result: Any = None) -> Any:
        """Return a handler that notes its start, its end, and that it was cut off."""

        async def handler(ctx: PipelineContext, given: Any) -> Any:
            self.note(f"{name} began")
            try:
                await self.clock.sleep(seconds)
            except BaseException:
                self.note(f"{name} was cut off")
                raise
            self.note(f"{name} ended")
            return result

        return handler

    def cleans(self, name: str) -> Any:
        """Return a clean-up handler that notes that it was called."""

        async def cleanup(ctx: PipelineContext) -> None:
            self.note(f"{name} cleaned")

        return cleanup


def gives(value: Any) -> Any:
    """Return a handler that gives *value*."""

    async def handler(ctx: PipelineContext, given: Any) -> Any:
        return value

    return handler


def raises(error: BaseException) -> Any:
    """Return a handler that raises *error*."""

    async def handler(ctx: PipelineContext, given: Any) -> Any:
        raise error

    return handler


def pipeline_of(
    *stages: Stage | tuple[Any, ...],
    clock: TestClock | None = None,
    limits: TimeoutConfig | None = None,
    on_progress: Any = None,
    **config: Any,
) -> Pipeline:
    """Return a pipeline without retries; a stage may be given as (id, handler, dependencies)."""
    listed = [
        found
        if not isinstance(found, tuple)
        else Stage(found[0], found[0].title(), found[1], found[2] if len(found) > 2 else ())
        for found in stages
    ]
    config.setdefault("retry", ONCE)
    config = {"name": "tested", "timeout": limits or TimeoutConfig(), **config}
    return Pipeline(PipelineConfig(**config), listed, clock=clock, on_progress=on_progress)
