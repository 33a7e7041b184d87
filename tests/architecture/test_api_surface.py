"""What users of the framework write, name by name, is there and takes what they give it.

The table is frozen: an entry may be added, and changed only together with a note for users. A star
marks what `stageflow` itself exports as well. A default of `...` is any default; parameters that
the table does not show must have one.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import attrs
import pytest

import stageflow
from dev.reference import is_public, modules, write_api_pages

IDS = (
    "pipeline_run_id=None, request_id=None, session_id=None, user_id=None, org_id=None,"
    " interaction_id=None"
)
SURFACE = {
    "stages": """
        *Stage.execute(ctx)
        *StageKind.TRANSFORM  *StageKind.ENRICH  *StageKind.ROUTE  *StageKind.GUARD
        *StageKind.WORK  *StageKind.AGENT
        *StageStatus.OK  *StageStatus.SKIP  *StageStatus.CANCEL  *StageStatus.FAIL
        *StageStatus.RETRY
        *StageOutput(status, data=..., artifacts=(), events=(), error=None, duration_ms=None,
            version=None, metadata=..., retryable=None)
        StageOutput.ok(data=None, *, artifacts=(), events=(), metadata=None, version=None,
            **as_data)
        StageOutput.skip(reason="", data=None, *, version=None)
        StageOutput.cancel(reason="", data=None, *, scope="run", version=None)
        StageOutput.fail(error="Unknown error", data=None, *, retryable=None, response=None,
            version=None, **as_data)
        StageOutput.retry(reason, data=None, *, retryable=True, version=None)
        StageOutput.with_duration(ms)  StageOutput.with_version(v)
        *StageArtifact(type, payload, timestamp=...)  *StageEvent(type, data, timestamp=...)
        *StageResult(name, status, started_at, ended_at, data=..., error=None, artifacts=(),
            events=(), metadata=...)
        StageResult.duration_ms
    """,
    "context": f"""
        *RunIdentity({IDS}, created_at=...)  RunIdentity.to_dict()  RunIdentity.from_dict(d)
        *ContextSnapshot(run_id=..., enrichments=None, conversation=None, extensions=None,
            input_text=None, input_audio_duration_ms=None, topology=None, execution_mode=None,
            created_at=..., metadata=...)
        ContextSnapshot.pipeline_run_id  ContextSnapshot.request_id  ContextSnapshot.session_id
        ContextSnapshot.user_id  ContextSnapshot.org_id  ContextSnapshot.interaction_id
        ContextSnapshot.messages  ContextSnapshot.routing_decision  ContextSnapshot.profile
        ContextSnapshot.memory  ContextSnapshot.documents  ContextSnapshot.web_results
        ContextSnapshot.to_dict()  ContextSnapshot.from_dict(d, extension_types=None)
        ContextSnapshot.with_run_id(x)  ContextSnapshot.with_enrichments(x)
        ContextSnapshot.with_conversation(x)  ContextSnapshot.with_extensions(x)
        *Message(role, content, timestamp=None, metadata=...)
        *RoutingDecision(agent_id, pipeline_name, topology, reason=None)
        *Conversation(messages=..., routing_decision=None)
        *Enrichments(profile=None, memory=None, documents=..., web_results=...)
        *ProfileEnrichment(user_id=None, display_name=None, preferences=..., goals=...)
        *MemoryEnrichment(*, recent_topics, key_facts, interaction_history_summary)
        *DocumentEnrichment(*, document_id, document_type, blocks, metadata)
        *ExtensionBundle.to_dict()  ExtensionBundle.from_dict(d)
        ContextBag()  async ContextBag.write(key, value, stage_name)
        ContextBag.read(key, default=None)  ContextBag.has(key)  ContextBag.keys()
        ContextBag.get_writer(key)  ContextBag.to_dict()
        DataConflictError(key, existing_writer, new_writer)  OutputConflictError
        OutputBag()  async OutputBag.write(stage_name, output, *, attempt=1,
            allow_overwrite=False)
        OutputBag.get(stage)  OutputBag.attempts(stage)  OutputBag.to_dict()
        DictContextAdapter(values)  adapt_context(x)  register_extension(name, type)
        *StageInputs(snapshot, prior_outputs=..., ports=None, declared_deps=frozenset(),
            stage_name=None, strict=True)
        StageInputs.get(key, default=...)  StageInputs.get_from(stage, key, default=...)
        StageInputs.require_from(stage, key)  StageInputs.has_output(stage)
        StageInputs.get_output(stage)
        *create_stage_inputs(snapshot, *, prior_outputs, ports, declared_deps, stage_name,
            strict=True)
        *UndeclaredDependencyError.stage_name  UndeclaredDependencyError.declared_deps
        UndeclaredDependencyError.accessing_stage  *MissingInputError
        *PipelineContext(*, {IDS}, topology=None, configuration=..., execution_mode=None,
            service="pipeline", event_sink=..., data=..., db=None, canceled=False, artifacts=...,
            parent_run_id=None, parent_stage_id=None, correlation_id=None)
        PipelineContext.record_stage_event(*, stage, status, payload=None)
        PipelineContext.set_stage_metadata(s, m)  PipelineContext.get_stage_metadata(s)
        PipelineContext.to_dict()  PipelineContext.try_emit_event(type, data)
        PipelineContext.mark_canceled()  PipelineContext.is_canceled  PipelineContext.is_child_run
        PipelineContext.fork(child_run_id, parent_stage_id, correlation_id, *, topology=None,
            execution_mode=None)
        PipelineContext.fork_for_subpipeline(child_run_id, parent_stage_id, correlation_id)
        PipelineContext.get_parent_data(key, default=None)  PipelineContext.now()
        *StageContext(snapshot, inputs, stage_name, timer, event_sink=None)
        StageContext.pipeline_run_id  StageContext.request_id  StageContext.execution_mode
        StageContext.started_at  StageContext.to_dict()  StageContext.try_emit_event(type, data)
        StageContext.record_stage_event(stage, status, **data)
        StageContext.as_pipeline_context(*, data, configuration, service, db)  StageContext.now()
        *create_stage_context(snapshot, inputs, stage_name, timer, event_sink=None)
        *PipelineTimer()  PipelineTimer.pipeline_start_ms  PipelineTimer.now_ms()
        PipelineTimer.elapsed_ms()  PipelineTimer.started_at
        *CorePorts(db=None)  *LLMPorts(llm_provider=None)  *AudioPorts(tts_provider=None)
        create_core_ports(*, db)  create_llm_ports(*, llm_provider)
        create_audio_ports(*, tts_provider)
    """,
    "pipeline": """
        *Pipeline(name="pipeline", stages=...)
        Pipeline.with_stage(name, runner, kind, dependencies=None, conditional=False, config=None)
        Pipeline.with_stages(iterable)  Pipeline.compose(other)
        Pipeline.build(*, interceptors=None, guard_retry_strategy=None,
            emit_stage_wide_events=False, emit_pipeline_wide_event=False,
            wide_event_emitter=None, on_failure="stop")
        async Pipeline.run()  Pipeline.run_sync()
        *PipelineBuilder(name="pipeline", stages=...)
        PipelineBuilder.with_stage(name, runner, dependencies=None, inputs=(), outputs=(),
            conditional=False, args=...)
        PipelineBuilder.compose(other)  PipelineBuilder.build()  PipelineBuilder.get_stage(n)
        PipelineBuilder.has_stage(n)  PipelineBuilder.stage_names()
        *PipelineSpec(name, runner, dependencies=(), inputs=(), outputs=(),
            conditional=False, args=...)
        *PipelineValidationError(message, stages, error_info)  PipelineValidationError.faults
        PipelineValidationError.code  PipelineValidationError.to_dict()
        *CycleDetectedError.cycle_path
        *ContractErrorInfo(code, summary, fix_hint=None, doc_url=None, context=...)
        ContractErrorInfo.with_context(**kw)  ContractErrorInfo.to_dict()
        ContractSuggestion(code, title, summary, fix_steps, doc_url=None)  register_suggestion(s)
        get_contract_suggestion(code)
        *with_linear_chain(builder, count, stage_factory, *, first_depends_on=None)
        *with_parallel_stages(builder, count, stage_factory, *, depends_on=None)
        *with_fan_out_fan_in(builder, fan_out_stage, parallel_count, parallel_factory,
            fan_in_stage, *, fan_out_depends_on=None)
        *with_conditional_branch(builder, router_stage, branches, merge_stage=None, *,
            router_depends_on=None)
        *stage(function=None)
        *FluentPipelineBuilder(name)  FluentPipelineBuilder.builder
        FluentPipelineBuilder.stage(name, runner, *, depends_on=None, conditional=False)
        FluentPipelineBuilder.linear_chain(count, factory)
        FluentPipelineBuilder.parallel(count, factory)
        FluentPipelineBuilder.fan_out_fan_in(fan_out, parallel_count, parallel_factory, fan_in)
        *UnifiedStageGraph(specs, *, cleanup_timeout=10.0, guard_retry_strategy=None)
        UnifiedStageGraph.stage_specs  async UnifiedStageGraph.run(ctx)
        *UnifiedStageSpec(*, name, runner, kind=None, dependencies=(), conditional=False)
        *UnifiedStageExecutionError.stage  UnifiedStageExecutionError.original
        UnifiedStageExecutionError.results  *UnifiedPipelineCancelled.stage
        UnifiedPipelineCancelled.reason  UnifiedPipelineCancelled.results
        *StageGraph(specs, interceptors=None, *, wide_event_emitter=None,
            emit_stage_wide_events=False, emit_pipeline_wide_event=False)
        StageGraph.stage_specs  async StageGraph.run(ctx)
        *StageSpec(*, name, runner, dependencies=(), conditional=False)
        *GuardRetryPolicy(retry_stage, max_attempts=2, stagnation_limit=2, hash_fields=None,
            timeout_seconds=None)
        *GuardRetryStrategy(policies=...)
        *CleanupRegistry()  CleanupRegistry.register(cb, *, name=None)
        CleanupRegistry.unregister(cb)  CleanupRegistry.pending_count
        async CleanupRegistry.run_all(*, timeout=10.0)
        *CancellationToken()  CancellationToken.cancel(reason)  CancellationToken.on_cancel(cb)
        CancellationToken.is_cancelled  CancellationToken.reason
        *StructuredTaskGroup(*, cleanup_timeout=10.0)  StructuredTaskGroup.create_task(coro)
        StructuredTaskGroup.cleanup_registry  StructuredTaskGroup.cancel_token
        *cleanup_on_cancel(cleanup, *, name=None)
        async *run_with_cleanup(coro, cleanup, *, cleanup_timeout=5.0)
        *PipelineRegistry()  PipelineRegistry.register(name, pipeline)  PipelineRegistry.get(name)
        *SubpipelineSpawner(child_tracker=None, emit_events=True, max_depth=5)
        async SubpipelineSpawner.spawn(pipeline_name, ctx, correlation_id, parent_stage_id,
            runner, *, topology, execution_mode)
        *SubpipelineResult(success, child_run_id, data=None, error=None, duration_ms=0.0)
        SubpipelineResult.to_dict()
        *MaxDepthExceededError.current_depth  MaxDepthExceededError.max_depth
        *ChildRunTracker()  async ChildRunTracker.register_child(parent, child)
        async ChildRunTracker.unregister_child(parent, child)
        async ChildRunTracker.get_children(p)  async ChildRunTracker.get_parent(c)
        async ChildRunTracker.get_all_descendants(r)  async ChildRunTracker.get_root_run(r)
        async ChildRunTracker.cleanup_run(r)  async ChildRunTracker.get_metrics()
        get_child_tracker()  set_child_tracker(t)  clear_child_tracker()
        get_subpipeline_spawner()  set_subpipeline_spawner(s)  clear_subpipeline_spawner()
        PipelineSpawnedChildEvent(parent_run_id, child_run_id, parent_stage_id,
            pipeline_name, correlation_id)
        PipelineChildCompletedEvent(parent_run_id, child_run_id, pipeline_name, duration_ms)
        PipelineChildFailedEvent(parent_run_id, child_run_id, pipeline_name, error_message)
        PipelineCanceledEvent(pipeline_run_id, parent_run_id, reason, cascade_depth)
        PipelineSpawnedChildEvent.to_dict()  PipelineChildCompletedEvent.to_dict()
        PipelineChildFailedEvent.to_dict()  PipelineCanceledEvent.to_dict()
    """,
    "interceptors": """
        *BaseInterceptor.name  BaseInterceptor.priority
        async BaseInterceptor.before(stage_name, ctx)
        async BaseInterceptor.after(stage_name, result, ctx)
        async BaseInterceptor.on_error(stage_name, error, ctx)
        *InterceptorResult(*, stage_ran=True, result=None, error=None)
        *ErrorAction.RETRY  *ErrorAction.FALLBACK  *ErrorAction.FAIL
        async *run_with_interceptors(stage_name, stage_run, ctx, interceptors)
        *get_default_interceptors(*, include_idempotency=True)
        *LoggingInterceptor()  *MetricsInterceptor()  *TracingInterceptor()  *TimeoutInterceptor()
        *CircuitBreakerInterceptor()  *ChildTrackerMetricsInterceptor()
        ImmutabilityInterceptor(crash_on_violation=True)
        ContextSizeInterceptor(max_size_bytes=1048576, warn_on_growth_bytes=102400)
        IdempotencyInterceptor(*, store=None, ttl_seconds=86400, validate_params=True)
        IdempotencyParamMismatch  CachedStageResult(result, params_hash=None, expires_at=None)
        InMemoryIdempotencyStore()  async InMemoryIdempotencyStore.get(key)
        async InMemoryIdempotencyStore.set(key, entry, *, ttl_seconds=None)
        async InMemoryIdempotencyStore.delete(key)
        RetryInterceptor(max_attempts=3, base_delay_ms=1000, max_delay_ms=30000,
            backoff_strategy=EXPONENTIAL, jitter_strategy=FULL, retryable_errors=None)
        BackoffStrategy.EXPONENTIAL  BackoffStrategy.LINEAR  BackoffStrategy.CONSTANT
        JitterStrategy.NONE  JitterStrategy.FULL  JitterStrategy.EQUAL  JitterStrategy.DECORRELATED
        RateLimitError(message, retry_after=None)  ServiceUnavailableError  TransientError
    """,
    "events": """
        EventSink.emit  EventSink.try_emit  NoOpEventSink()  LoggingEventSink(*, level=20)
        BackpressureAwareEventSink(downstream=None, *, max_queue_size=1000, on_drop=None)
        BackpressureMetrics  set_event_sink(sink)  clear_event_sink()  get_event_sink()
        async wait_for_event_sink_tasks()
    """,
    "observability": "WideEventEmitter()  emit_stage_wide  emit_pipeline_wide  EventSink",
    "protocols": """
        ExecutionContext  *EventSink  *RunStore  *ConfigProvider
        *CorrelationIds(run_id=None, request_id=None, trace_id=None, session_id=None,
            user_id=None, org_id=None, extra=...)
        CorrelationIds.to_dict()
    """,
    "testing": f"""
        create_test_snapshot(*, {IDS.replace("=None", "=...")}, topology="test",
            execution_mode="test", input_text=None, messages=None)
        create_test_stage_context(*, snapshot=None, inputs=None, prior_outputs=None,
            stage_name, event_sink=None, declared_deps=None, input_text)
    """,
    "helpers": """
        LLMResponse(content, model, provider, input_tokens=0, output_tokens=0, latency_ms=0.0,
            finish_reason=None, tool_calls=..., cached_tokens=0, raw_response=None)
        LLMResponse.total_tokens  LLMResponse.to_dict()  LLMResponse.to_otel_attributes()
        STTResponse(text, confidence=1.0, duration_ms=0.0, language="en", provider="", model="",
            latency_ms=0.0, words=..., is_final=True, raw_response=None)
        TTSResponse(audio, duration_ms=0.0, sample_rate=16000, format="pcm_16", provider="",
            model="", latency_ms=0.0, channels=1, characters_processed=0, raw_response=None)
        TTSResponse.byte_count
        AnalyticsEvent(event_type, timestamp=..., data=..., pipeline_run_id=None, stage_name=None,
            duration_ms=None, metadata=...)
        JSONFileExporter(path, *, append=True)  JSONFileExporter.event_count
        ConsoleExporter(*, colorize=True, verbose=False)
        BufferedExporter(exporter, *, batch_size=100, flush_interval_seconds=10.0,
            max_buffer_size=10000, on_overflow=None, high_water_mark=0.8)
        BufferedExporter.stats  BufferedExporter.dropped_count
        CompositeExporter(exporters)
        AnalyticsSink(exporter, *, include_patterns=None, exclude_patterns=None)
        BackpressureMonitor(*, high_water_mark=80, low_water_mark=20)
        BackpressureMonitor.should_throttle()  BackpressureMonitor.fill_percentage
        ChunkQueue(max_size=100, *, drop_on_overflow=False, event_emitter=None)
        StreamingBuffer(*, target_duration_ms=200, max_duration_ms=2000, sample_rate=16000,
            channels=1, event_emitter=None)
        StreamingBuffer.read(duration_ms=20)  StreamingBuffer.is_ready()  StreamingBuffer.clear()
        encode_audio_for_logging(data, max_bytes=100)
    """,
    "tools": """
        ToolDefinition(name, action_type, handler, description="", input_schema=...,
            allowed_behaviors=(), requires_approval=False, approval_message=None, undoable=False,
            undo_handler=None, artifact_type=None)
        ToolDefinition.is_behavior_allowed  ToolDefinition.to_dict()
        ToolInput(action_id, tool_name, payload, behavior=None, pipeline_run_id=None,
            request_id=None)
        ToolOutput.to_dict()
        UndoMetadata(action_id, tool_name, undo_data, created_at=...)
        ToolRegistry()  get_tool_registry()  clear_tool_registry()
        AdvancedToolExecutor(config=None, undo_store=None, approval_service=None)
        AdvancedToolExecutor.register(definition)
        async AdvancedToolExecutor.execute(action, ctx)
        async AdvancedToolExecutor.undo_action(action_id, ctx)
    """,
    "tools.registry": """
        ToolRegistry.register_factory(action_type, factory)  ToolRegistry.get_tool(t)
        ToolRegistry.can_execute(t)  ToolRegistry.list_tools()
        ToolRegistry.parse_and_resolve(calls, *, id_field="id", name_field="name",
            arguments_field="arguments", function_wrapper="function")
        ResolvedToolCall(tool, call_id, name, arguments, raw=None)
        UnresolvedToolCall(call_id, name, arguments, error, raw=None)
    """,
    "tools.approval": """
        ApprovalDecision(request_id, granted, decided_by=None, reason=None)
        ApprovalService(default_timeout_seconds=60.0)
        async ApprovalService.request_approval(action_id, tool_name, pipeline_run_id=None,
            approval_message="")
        async ApprovalService.await_decision(request_id, timeout_seconds=None)
        async ApprovalService.record_decision(request_id, granted, decided_by=None, reason=None)
        get_approval_service()  set_approval_service(s)  clear_approval_service()
    """,
    "tools.undo": """
        UndoStore(default_ttl_seconds=3600.0)
        async UndoStore.store(action_id, tool_name, undo_data, ttl_seconds=None)
        async UndoStore.get_all()  async UndoStore.cleanup_expired()
        get_undo_store()  set_undo_store(s)  clear_undo_store()
    """,
}  # fmt: skip


@attrs.frozen
class Row:
    """One entry of the table."""

    room: str
    path: str
    parameters: str | None
    is_async: bool
    is_top: bool

    def __str__(self) -> str:
        return f"{self.room}.{self.path}"

    def value(self) -> Any:
        found = importlib.import_module(f"stageflow.{self.room}")
        for part in self.path.split("."):
            found = getattr(found, part)
        return found


def rows() -> Iterator[Row]:
    for room, text in SURFACE.items():
        lines = re.sub(r",\n +", ", ", text).splitlines()
        entries = (entry for line in lines for entry in line.strip().split("  "))
        for entry in filter(None, entries):
            is_async = entry.startswith("async ")
            starred = entry.removeprefix("async ")
            path, opened, rest = starred.lstrip("*").partition("(")
            parameters = rest.removesuffix(")") if opened else None
            yield Row(room, path, parameters, is_async, starred.startswith("*"))


ROWS = list(rows())


def shown(row: Row) -> ast.arguments:
    tree = ast.parse(f"lambda {row.parameters}: 0", mode="eval").body
    assert isinstance(tree, ast.Lambda)
    return tree.args


def is_default(real: Any, wanted: ast.expr) -> bool:
    match wanted:
        case ast.Constant(value=value) if value is ...:
            return real is not inspect.Parameter.empty
        case ast.Name(id=name):
            return isinstance(real, Enum) and real.name == name
        case ast.Call():
            return bool(real == frozenset())
    return bool(real == ast.literal_eval(wanted))


def mismatches(row: Row) -> list[str]:
    """Return how the real signature differs from what the table shows."""
    given = shown(row)
    real = dict(inspect.signature(row.value()).parameters)
    is_method = "." in row.path and inspect.isfunction(
        inspect.getattr_static(*_owner_and_name(row), None)
    )
    if is_method:
        real.pop(next(iter(real)))
    takes_any = any(each.kind is each.VAR_KEYWORD for each in real.values())
    by_position = [
        each
        for each in real.values()
        if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
    ]
    faults, seen = [], set()
    defaults = [None] * (len(given.args) - len(given.defaults)) + list(given.defaults)
    for place, (wanted, default) in enumerate(zip(given.args, defaults, strict=True)):
        found = by_position[place] if place < len(by_position) else None
        if found is None or (found.name != wanted.arg and not _is_letter(row, wanted.arg)):
            faults.append(f"parameter {place} is {found}, not {wanted.arg}")
            continue
        seen.add(found.name)
        if default is not None and not is_default(found.default, default):
            faults.append(f"{found} defaults otherwise than {ast.unparse(default)}")
    for wanted, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        found = real.get(wanted.arg)
        seen.add(wanted.arg)
        if found is None:
            if not takes_any:
                faults.append(f"there is no {wanted.arg}=")
        elif default is not None and not is_default(found.default, default):
            faults.append(f"{found} defaults otherwise than {ast.unparse(default)}")
    if given.kwarg and not takes_any:
        faults.append("it takes no keywords of any name")
    needed = [
        name
        for name, each in real.items()
        if each.default is each.empty
        and each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
        and name not in seen
    ]
    return [*faults, *(f"{name} must be given" for name in needed)]


def _owner_and_name(row: Row) -> tuple[Any, str]:
    owner, _, name = row.path.rpartition(".")
    return attrs.evolve(row, path=owner).value(), name


# Names of parameters that the table only sketches, since nobody writes them.
SKETCHED = {"d", "x", "s", "m", "n", "p", "c", "r", "t", "cb", "v", "ms", "kw", "parent", "child",
            "iterable", "other", "factory", "parallel_factory", "fan_out", "fan_in", "values",
            "stage", "type"}  # fmt: skip


def _is_letter(row: Row, name: str) -> bool:
    return name in SKETCHED


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_name_is_in_its_room(row: Row):
    first = row.path.split(".")[0]
    room = importlib.import_module(f"stageflow.{row.room}")
    assert first in room.__all__
    if row.is_top:
        assert first in stageflow.__all__
        assert getattr(stageflow, first) is getattr(room, first)


@pytest.mark.parametrize("row", [row for row in ROWS if row.parameters is None], ids=str)
def test_an_attribute_is_there(row: Row):
    owner, _, name = row.path.rpartition(".")
    if not owner:
        return
    cls = attrs.evolve(row, path=owner).value()
    is_set = any(f"self.{name}" in inspect.getsource(base) for base in cls.__mro__[:-1]
                 if base.__module__.startswith("stageflow."))  # fmt: skip
    is_declared = any(name in vars(base).get("__annotations__", {}) for base in cls.__mro__)
    assert hasattr(cls, name) or is_declared or is_set


@pytest.mark.parametrize("row", [row for row in ROWS if row.parameters is not None], ids=str)
def test_a_signature_takes_what_users_give(row: Row):
    assert mismatches(row) == []
    assert inspect.iscoroutinefunction(row.value()) or not row.is_async


MEMBERS = re.compile(r"automodule:: (\S+)\n   :members: (.+)")


def test_every_public_name_is_on_a_page_of_the_reference(tmp_path: Path):
    write_api_pages(tmp_path / "api")
    told = {
        (name, id(getattr(importlib.import_module(module), name)))
        for page in (tmp_path / "api").glob("*.md")
        for module, names in MEMBERS.findall(page.read_text(encoding="utf-8"))
        for name in names.split(", ")
    }
    public = {
        (name, id(getattr(module, name))): f"{module.__name__}.{name}"
        for module in modules()
        if is_public(module.__name__)
        for name in getattr(module, "__all__", ())
    }
    assert len(public) > 500
    assert [path for key, path in public.items() if key not in told] == []


def sample(parameters: str) -> Row:
    return Row("stages", "StageEvent", parameters, is_async=False, is_top=True)


@pytest.mark.parametrize(
    "parameters",
    ["type", "kind, data", "type, data, timestamp=None", "data, type", "type, data, *, more"],
)
def test_a_signature_that_differs_is_found(parameters: str):
    assert mismatches(sample("type, data, timestamp=...")) == []
    assert mismatches(sample(parameters)) != []
