"""TracingInterceptor: one OpenTelemetry span per run and per stage."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

import attrs

from stageflow._engine.call import Invocation, Proceed
from stageflow.interceptors.base import BaseInterceptor
from stageflow.interceptors.per_run import PerRun
from stageflow.stages import StageKind, StageOutput, StageStatus

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, SpanContext, Tracer, TracerProvider

    from stageflow._engine.run import Run

__all__ = ("TracingInterceptor",)

_SCOPE = "stageflow"


@attrs.define(eq=False)
class _RunTrace:
    """The spans of one run.

    Attributes:
        run: The run.
        tracer: Makes spans.
        span: The run's own; None where a single stage runs without a pipeline around it.
        context: What stages' spans have as their parent.
        stages: Where the spans of ended stages are found, by the stage's number.
        failed: The first stage that failed.
    """

    run: Run
    tracer: Tracer
    span: Span | None
    context: Context
    stages: dict[int, SpanContext] = attrs.field(factory=dict)
    failed: str | None = None


class TracingInterceptor(BaseInterceptor):
    """Makes a span for each run and one for each of its stages, over OpenTelemetry's API.

    The span of a run is a child of the span that is current where the run is started. The spans
    of its stages are children of it and are linked to those of the stages they depend on. While
    a stage runs its span is the current one, so spans made inside become its children, those of
    sub-pipelines included. All attempts of a stage are one span. Failures are recorded as
    exceptions and set the status of both spans.

    Where OpenTelemetry is not installed nothing is done and nothing costs; where it is, but no
    provider is set up, next to nothing.

    Args:
        tracer_provider: Makes the tracer; the global provider at the time of the run unless
            given.
    """

    name = "tracing"
    priority = 10

    def __init__(self, tracer_provider: TracerProvider | None = None) -> None:
        self._provider = tracer_provider
        self._idle = (0, 0.0)
        self._traces: PerRun[_RunTrace] = PerRun(self._begin, _end)

    def applies_to(self, name: str, kind: StageKind) -> bool:
        """Say whether OpenTelemetry is installed."""
        return _trace_api() is not None

    def around(self, invocation: Invocation, proceed: Proceed) -> Awaitable[StageOutput]:
        """Run the stage in a span of its own."""
        if self._provider is None and not self._is_set_up(invocation.run):
            return proceed()
        return self._trace(invocation, proceed)

    async def _trace(self, invocation: Invocation, proceed: Proceed) -> StageOutput:
        from opentelemetry import context as otel_context
        from opentelemetry import trace

        run = invocation.run
        traced = self._traces.of(run)
        span = traced.tracer.start_span(
            f"stage {invocation.stage_name}",
            traced.context,
            attributes=_stage_attributes(invocation),
            links=[
                trace.Link(traced.stages[number])
                for number in run.plan.dependencies[invocation.index]
                if number in traced.stages
            ],
            start_time=_nanoseconds(run),
        )
        traced.stages[invocation.index] = span.get_span_context()
        token = otel_context.attach(trace.set_span_in_context(span))
        status = StageStatus.CANCEL
        try:
            output = await proceed()
        except Exception as error:
            status = StageStatus.FAIL
            span.record_exception(error, timestamp=_nanoseconds(run))
            _fail(span, traced, invocation.stage_name, f"{type(error).__name__}: {error}")
            raise
        else:
            status = output.status
            if status is StageStatus.FAIL:
                _fail(span, traced, invocation.stage_name, output.error or "Unknown error")
            return output
        finally:
            otel_context.detach(token)
            span.set_attribute("stageflow.stage.status", status.value)
            span.set_attribute("stageflow.stage.attempts", invocation.attempt)
            span.end(_nanoseconds(run))

    def _is_set_up(self, run: Run) -> bool:
        """Say whether spans would go anywhere if the global provider made them."""
        # The answer is looked up in the environment. A run that was told no is not told again.
        if self._idle == (id(run), run.began):
            return False
        trace = _trace_api()
        assert trace is not None
        if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            return True
        self._idle = (id(run), run.began)
        return False

    def _begin(self, run: Run) -> _RunTrace:
        from opentelemetry import context as otel_context
        from opentelemetry import trace

        tracer = trace.get_tracer(_SCOPE, tracer_provider=self._provider)
        parent = otel_context.get_current()
        if not run.options.announce_run:
            return _RunTrace(run, tracer, None, parent)
        span = tracer.start_span(
            f"pipeline {run.plan.name}",
            parent,
            attributes={**_run_attributes(run), "stageflow.pipeline.stages": len(run.plan)},
            start_time=int(run.time_of(run.began).timestamp() * 1e9),
        )
        return _RunTrace(run, tracer, span, trace.set_span_in_context(span, parent))


def _end(traced: _RunTrace) -> None:
    span = traced.span
    if span is None:
        return
    if traced.failed is not None:
        span.set_attribute("stageflow.pipeline.failed_stage", traced.failed)
    span.end(_nanoseconds(traced.run))


def _fail(span: Span, traced: _RunTrace, stage: str, description: str) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_status(Status(StatusCode.ERROR, description))
    if traced.failed is None:
        traced.failed = stage
        if traced.span is not None:
            traced.span.set_status(Status(StatusCode.ERROR, f"Stage {stage!r} failed"))


def _stage_attributes(invocation: Invocation) -> dict[str, Any]:
    return {
        **_run_attributes(invocation.run),
        "stageflow.stage.name": invocation.stage_name,
        "stageflow.stage.kind": invocation.kind.value,
    }


def _run_attributes(run: Run) -> dict[str, Any]:
    ctx = run.context
    known = {
        "stageflow.pipeline.name": run.plan.name,
        "stageflow.run.id": ctx.pipeline_run_id,
        "stageflow.request.id": ctx.request_id,
        "stageflow.topology": ctx.topology,
        "stageflow.execution_mode": ctx.execution_mode,
    }
    return {name: str(value) for name, value in known.items() if value is not None}


def _nanoseconds(run: Run) -> int:
    return int(run.clock.now().timestamp() * 1e9)


@cache
def _trace_api() -> ModuleType | None:
    try:
        from opentelemetry import trace
    except ImportError:
        return None
    return trace
