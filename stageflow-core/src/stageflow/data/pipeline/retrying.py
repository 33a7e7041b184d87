"""with_retry: the engine's retries around any function, without a pipeline."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from stageflow._engine.plan import Node, StagePolicy, compile_plan
from stageflow._engine.run import Run, RunOptions
from stageflow.context import PipelineContext, StageContext
from stageflow.data.pipeline.config import RetryConfig, RetryStrategy
from stageflow.data.pipeline.handlers import VALUE, make_retry, runner_for
from stageflow.errors import ContractErrorInfo
from stageflow.stages import StageKind

if TYPE_CHECKING:
    from stageflow.contracts.clock import Clock

__all__ = ("with_retry",)

P = ParamSpec("P")
T = TypeVar("T")

_STAGE = "call"


def with_retry(
    max_retries: int = 3,
    strategy: RetryStrategy = RetryStrategy.EXPONENTIAL_BACKOFF,
    initial_delay: float = 1.0,
    max_delay: float = 60.0,
    backoff_factor: float = 2.0,
    retry_on_exceptions: Iterable[type[BaseException]] | None = None,
    *,
    clock: Clock | None = None,
) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Awaitable[T]]]:
    """Make an async function try again when it raises; the last exception is raised.

    Args:
        max_retries: Attempts after the first.
        strategy: How the delay grows.
        initial_delay: Seconds before the first retry.
        max_delay: Upper bound of any delay, in seconds.
        backoff_factor: What an exponential delay is multiplied by each time.
        retry_on_exceptions: Exception classes worth another attempt; None for all.
        clock: Source of time.

    Raises:
        PipelineValidationError: If a number is out of its range; when a function is decorated.
    """
    config = RetryConfig(
        max_retries,
        strategy,
        initial_delay,
        max_delay,
        backoff_factor,
        retry_on_exceptions,
    )
    options = RunOptions() if clock is None else RunOptions(clock=clock)

    def decorate(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        name = getattr(function, "__qualname__", repr(function))
        faults: list[ContractErrorInfo] = []
        policy = StagePolicy(retry=make_retry(config, name, faults))
        node = Node(_STAGE, runner_for(function, _arguments), StageKind.WORK, policy=policy)
        plan = compile_plan([node], name=name, known_faults=faults)

        @functools.wraps(function)
        async def call(*args: P.args, **kwargs: P.kwargs) -> T:
            context = PipelineContext(event_sink=None, inputs={"args": args, "kwargs": kwargs})
            report = await Run(plan, context, options).execute()
            if report.error is not None:
                raise report.error
            return cast("T", report.outputs[_STAGE].data[VALUE])

        return call

    return decorate


def _arguments(ctx: StageContext) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    return ctx.inputs.ports["args"], ctx.inputs.ports["kwargs"]
