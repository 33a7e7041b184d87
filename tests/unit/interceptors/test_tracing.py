"""TracingInterceptor: real spans, and nothing where there is no OpenTelemetry."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from stageflow import Pipeline, PipelineContext, RetryPolicy, StageOutput
from stageflow.interceptors import (
    BaseInterceptor,
    TracingInterceptor,
    TransientError,
    run_with_interceptors,
    tracing,
)
from stageflow.testing import TestClock

pytestmark = pytest.mark.anyio

RUN, REQUEST = UUID(int=1), UUID(int=2)


class Traces:
    """A provider of its own, and what was exported through it."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.interceptor = TracingInterceptor(self.provider)

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self._exporter.get_finished_spans()}

    @property
    def count(self) -> int:
        return len(self._exporter.get_finished_spans())


@pytest.fixture
def traces() -> Traces:
    return Traces()


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def id_of(span: ReadableSpan) -> int:
    return span.get_span_context().span_id


def raising(error: BaseException) -> Any:
    async def stage(ctx: Any) -> None:
        raise error

    return stage


async def test_v21_tracing_makes_real_spans_and_the_stages_are_children_of_the_run(
    traces: Traces,
) -> None:
    graph = (
        Pipeline("p")
        .with_stage("a", lambda _: {"x": 1}, "work")
        .with_stage("b", lambda _: None, "enrich", ["a"])
        .build(interceptors=[traces.interceptor])
    )
    await graph.run(PipelineContext())
    spans = traces.spans
    assert set(spans) == {"pipeline p", "stage a", "stage b"}
    run = spans["pipeline p"]
    assert parent_of(run) is None
    assert parent_of(spans["stage a"]) == parent_of(spans["stage b"]) == id_of(run)
    assert len({span.context.trace_id for span in spans.values() if span.context}) == 1
    assert [link.context.span_id for link in spans["stage b"].links] == [id_of(spans["stage a"])]
    assert spans["stage a"].links == ()


async def test_spans_say_what_they_are_about(traces: Traces) -> None:
    graph = (
        Pipeline("p")
        .with_stage("a", lambda _: None, "work")
        .build(interceptors=[traces.interceptor])
    )
    await graph.run(
        PipelineContext(pipeline_run_id=RUN, request_id=REQUEST, topology="t", execution_mode="m")
    )
    about = {
        "stageflow.pipeline.name": "p",
        "stageflow.run.id": str(RUN),
        "stageflow.request.id": str(REQUEST),
        "stageflow.topology": "t",
        "stageflow.execution_mode": "m",
    }
    assert dict(traces.spans["pipeline p"].attributes or {}) == {
        **about,
        "stageflow.pipeline.stages": 1,
    }
    assert dict(traces.spans["stage a"].attributes or {}) == {
        **about,
        "stageflow.stage.name": "a",
        "stageflow.stage.kind": "work",
        "stageflow.stage.status": "ok",
        "stageflow.stage.attempts": 1,
    }


async def test_v21_parallel_stages_have_spans_of_their_own_times(traces: Traces) -> None:
    clock = TestClock(autojump=True)

    def sleeping(seconds: float) -> Any:
        async def stage(ctx: Any) -> None:
            await clock.sleep(seconds)

        return stage

    graph = (
        Pipeline("p")
        .with_stage("slow", sleeping(4), "work")
        .with_stage("quick", sleeping(1), "work")
        .build(interceptors=[traces.interceptor], clock=clock)
    )
    await graph.run(PipelineContext())
    lasted = {
        name: ((span.end_time or 0) - (span.start_time or 0)) / 1e9
        for name, span in traces.spans.items()
    }
    assert lasted == {"stage slow": 4, "stage quick": 1, "pipeline p": 4}


async def test_spans_made_inside_a_stage_are_children_of_its_span(traces: Traces) -> None:
    tracer = traces.provider.get_tracer("test")

    async def works(ctx: Any) -> None:
        await anyio.lowlevel.checkpoint()
        with tracer.start_as_current_span(f"inside {ctx.stage_name}"):
            await anyio.lowlevel.checkpoint()

    def blocks(ctx: Any) -> None:
        tracer.start_span(f"inside {ctx.stage_name}").end()

    graph = (
        Pipeline("p")
        .with_stage("a", works, "work")
        .with_stage("b", works, "work")
        .with_stage("threaded", blocks, "work")
        .build(interceptors=[traces.interceptor])
    )
    await graph.run(PipelineContext())
    for stage in ("a", "b", "threaded"):
        inside = traces.spans[f"inside {stage}"]
        assert parent_of(inside) == id_of(traces.spans[f"stage {stage}"])


async def test_a_run_started_in_a_stage_is_a_child_of_that_stage(traces: Traces) -> None:
    inner = Pipeline("inner").with_stage("leaf", lambda _: None, "work")
    child = inner.build(interceptors=[traces.interceptor])

    async def starts(ctx: Any) -> None:
        await child.run(PipelineContext())

    graph = Pipeline("p").with_stage("a", starts, "work").build(interceptors=[traces.interceptor])
    await graph.run(PipelineContext())
    spans = traces.spans
    assert parent_of(spans["pipeline inner"]) == id_of(spans["stage a"])
    assert parent_of(spans["stage leaf"]) == id_of(spans["pipeline inner"])


async def test_a_run_is_a_child_of_the_callers_span_and_leaves_it_current(traces: Traces) -> None:
    graph = (
        Pipeline("p")
        .with_stage("a", lambda _: None, "work")
        .build(interceptors=[traces.interceptor])
    )
    with traces.provider.get_tracer("test").start_as_current_span("caller") as caller:
        await graph.run(PipelineContext())
        assert trace.get_current_span() is caller
    assert parent_of(traces.spans["pipeline p"]) == caller.get_span_context().span_id


async def test_a_stages_span_is_current_for_what_stands_further_in_alone(traces: Traces) -> None:
    seen: list[bool] = []

    class Looks(BaseInterceptor):
        def __init__(self, priority: int) -> None:
            self.priority = priority

        async def after(self, stage_name: str, result: Any, ctx: Any) -> None:
            seen.append(trace.get_current_span().get_span_context().is_valid)

    graph = (
        Pipeline("p")
        .with_stage("a", lambda _: None, "work")
        .build(interceptors=[traces.interceptor, Looks(1), Looks(99)])
    )
    await graph.run(PipelineContext())
    assert seen == [True, False]


async def test_two_runs_at_once_are_two_traces(traces: Traces) -> None:
    both = anyio.Event()
    arrived: list[str] = []

    async def meets(ctx: Any) -> None:
        arrived.append(ctx.stage_name)
        if len(arrived) == 2:
            both.set()
        await both.wait()

    context = PipelineContext()
    graph = Pipeline("p").with_stage("a", meets, "work").build(interceptors=[traces.interceptor])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(graph.run, context)
        tasks.start_soon(graph.run, context)
    assert traces.count == 4
    ids = {span.context.trace_id for span in traces._exporter.get_finished_spans()}
    assert len(ids) == 2


async def test_an_exception_is_recorded_on_both_spans(traces: Traces) -> None:
    graph = (
        Pipeline("p")
        .with_stage("a", raising(ValueError("no")), "work")
        .build(interceptors=[traces.interceptor])
    )
    await graph.execute(PipelineContext())
    stage, run = traces.spans["stage a"], traces.spans["pipeline p"]
    assert (stage.status.status_code, stage.status.description) == (
        StatusCode.ERROR,
        "ValueError: no",
    )
    assert [event.name for event in stage.events] == ["exception"]
    assert (stage.events[0].attributes or {})["exception.type"] == "ValueError"
    assert (stage.attributes or {})["stageflow.stage.status"] == "fail"
    assert run.status.status_code is StatusCode.ERROR
    assert (run.attributes or {})["stageflow.pipeline.failed_stage"] == "a"


async def test_a_returned_failure_is_an_error_without_an_exception(traces: Traces) -> None:
    graph = (
        Pipeline("p")
        .with_stage("a", lambda _: StageOutput.fail("no"), "work")
        .build(interceptors=[traces.interceptor])
    )
    await graph.execute(PipelineContext())
    stage = traces.spans["stage a"]
    assert (stage.status.status_code, stage.status.description) == (StatusCode.ERROR, "no")
    assert stage.events == ()


async def test_all_attempts_are_one_span(traces: Traces) -> None:
    graph = (
        Pipeline("p")
        .with_stage("a", raising(TransientError("no")), "work", retry=RetryPolicy(3))
        .build(interceptors=[traces.interceptor], clock=TestClock(autojump=True))
    )
    await graph.execute(PipelineContext())
    assert traces.count == 2
    assert (traces.spans["stage a"].attributes or {})["stageflow.stage.attempts"] == 3


async def test_a_cancelled_stage_ends_its_span_without_an_error(traces: Traces) -> None:
    context = PipelineContext()

    async def waits(ctx: Any) -> None:
        context.mark_canceled()
        await anyio.sleep_forever()

    graph = Pipeline("p").with_stage("a", waits, "work").build(interceptors=[traces.interceptor])
    await graph.execute(context)
    stage = traces.spans["stage a"]
    assert (stage.attributes or {})["stageflow.stage.status"] == "cancel"
    assert stage.status.status_code is StatusCode.UNSET
    assert "pipeline p" in traces.spans


async def test_a_single_stage_has_no_span_of_a_run_around_it(traces: Traces) -> None:
    async def works() -> None:
        return None

    with traces.provider.get_tracer("test").start_as_current_span("caller") as caller:
        await run_with_interceptors("a", works, PipelineContext(), [traces.interceptor])
    assert set(traces.spans) == {"stage a", "caller"}
    assert parent_of(traces.spans["stage a"]) == caller.get_span_context().span_id


async def test_nothing_is_kept_of_a_run_that_is_over(traces: Traces) -> None:
    graph = (
        Pipeline("p")
        .with_stage("a", raising(ValueError()), "work")
        .build(interceptors=[traces.interceptor])
    )
    await graph.execute(PipelineContext())
    assert len(traces.interceptor._traces) == 0


async def test_without_a_provider_nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(
        trace.ProxyTracer, "start_span", lambda self, name, *a, **k: made.append(name)
    )
    graph = (
        Pipeline("p")
        .with_stage("a", lambda _: None, "work")
        .build(interceptors=[TracingInterceptor()])
    )
    await graph.run(PipelineContext())
    assert made == []


async def test_the_global_provider_is_used_once_it_is_there(
    traces: Traces, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = (
        Pipeline("p")
        .with_stage("a", lambda _: None, "work")
        .build(interceptors=[TracingInterceptor()])
    )
    await graph.run(PipelineContext())
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: traces.provider)
    await graph.run(PipelineContext())
    assert set(traces.spans) == {"pipeline p", "stage a"}


def test_without_opentelemetry_it_takes_part_in_no_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "_trace_api", lambda: None)
    graph = (
        Pipeline("p")
        .with_stage("a", lambda _: None, "work")
        .build(interceptors=[TracingInterceptor()])
    )
    assert graph.plan.calls[0].layered is None


def test_that_opentelemetry_is_missing_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry", None)
    assert tracing._trace_api.__wrapped__() is None
