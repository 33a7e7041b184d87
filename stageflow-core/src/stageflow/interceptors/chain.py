"""A single stage with interceptors around it, and the interceptors one starts with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from random import Random
from typing import TYPE_CHECKING, Any

import attrs

from stageflow._engine.plan import Node, compile_plan
from stageflow._engine.run import Run, RunOptions
from stageflow.context import PipelineContext, StageContext
from stageflow.interceptors.base import BaseInterceptor, output_of
from stageflow.interceptors.circuit_breaker import CircuitBreakerInterceptor
from stageflow.interceptors.idempotency import IdempotencyInterceptor
from stageflow.interceptors.limits import TimeoutInterceptor
from stageflow.interceptors.observers import (
    ChildTrackerMetricsInterceptor,
    LoggingInterceptor,
    MetricsInterceptor,
    MetricsSource,
)
from stageflow.interceptors.tracing import TracingInterceptor
from stageflow.stages import StageKind, StageOutput, StageResult

if TYPE_CHECKING:
    from stageflow._engine.call import Layer
    from stageflow.contracts.clock import Clock
    from stageflow.interceptors.idempotency_store import IdempotencyStore

__all__ = ("get_default_interceptors", "run_with_interceptors")

StageRun = Callable[[], Awaitable[StageResult | StageOutput | Mapping[str, Any] | None]]


async def run_with_interceptors(
    stage_name: str,
    stage_run: StageRun,
    ctx: PipelineContext | StageContext,
    interceptors: Iterable[Layer],
    *,
    kind: StageKind = StageKind.WORK,
    clock: Clock | None = None,
    random: Random | None = None,
) -> StageResult:
    """Run one stage as a pipeline would that has these interceptors, and return how it ended.

    Priorities, short circuits, retries, timeouts, the stage's events and its cancellation by
    the context are those of a pipeline; events of a whole run there are none. A failure is
    returned, not raised.

    Args:
        stage_name: What to call the stage.
        stage_run: Runs it; called once per attempt.
        ctx: The run that the stage belongs to.
        interceptors: What stands around it, in any order.
        kind: What kind of work it does.
        clock: Source of time.
        random: Source of chance, for jitter.

    Raises:
        PipelineValidationError: If the name or a policy of an interceptor is no good.
    """
    context = ctx if isinstance(ctx, PipelineContext) else ctx.as_pipeline_context()

    async def body(_: StageContext) -> StageOutput:
        return output_of(await stage_run(), stage_name)

    plan = compile_plan(
        [Node(stage_name, body, kind)],
        name=context.topology or "pipeline",
        layers=sorted(interceptors, key=lambda layer: getattr(layer, "priority", 0)),
    )
    options = RunOptions(announce_run=False)
    if clock is not None:
        options = attrs.evolve(options, clock=clock)
    if random is not None:
        options = attrs.evolve(options, random=random)
    report = await Run(plan, context, options).execute()
    return report.results()[stage_name]


def get_default_interceptors(
    *,
    include_idempotency: bool = True,
    idempotency_store: IdempotencyStore | None = None,
    timeout_seconds: float | None = 30.0,
    child_tracker: MetricsSource | None = None,
) -> list[BaseInterceptor]:
    """Return new instances of what most pipelines want around their stages.

    From the outside in: tracing, metrics, child runs, logging, idempotency, circuit breaker;
    and a timeout for each attempt. Interceptors of one's own stand inside the observers and
    outside of idempotency and the circuit breaker by default, so that whoever is denied gets no
    stored result and opens no circuit.

    Args:
        include_idempotency: Whether work that was asked for twice is done once.
        idempotency_store: Where its results are kept; in this process unless given.
        timeout_seconds: How long an attempt may take, unless the stage says so itself; None for
            no limit.
        child_tracker: Counts child runs; nobody asks it unless given.
    """
    chosen: list[BaseInterceptor] = [
        TracingInterceptor(),
        MetricsInterceptor(),
        LoggingInterceptor(),
        CircuitBreakerInterceptor(),
    ]
    if child_tracker is not None:
        chosen.append(ChildTrackerMetricsInterceptor(child_tracker))
    if include_idempotency:
        chosen.append(IdempotencyInterceptor(store=idempotency_store))
    if timeout_seconds is not None:
        chosen.append(TimeoutInterceptor(timeout_seconds))
    return sorted(chosen, key=lambda interceptor: interceptor.priority)
