"""Builders of pipelines, as a user writes them: only checked for its types, never run."""

from __future__ import annotations

from typing import Any, assert_type

from stageflow import (
    ContractSuggestion,
    FluentPipelineBuilder,
    GuardRetryPolicy,
    GuardRetryStrategy,
    Pipeline,
    PipelineBuilder,
    PipelineContext,
    PipelineSpec,
    StageGraph,
    StageOutput,
    StageResult,
    StageSpec,
    UnifiedStageGraph,
    get_contract_suggestion,
    with_conditional_branch,
    with_fan_out_fan_in,
    with_linear_chain,
    with_parallel_stages,
)


async def work(ctx: Any) -> None: ...


def numbered(index: int) -> tuple[str, Any]:
    return f"s{index}", work


builder = PipelineBuilder("p").with_stage("a", work, ["b"], inputs=["x"], outputs="y")
assert_type(builder, PipelineBuilder)
assert_type(builder.with_stages([PipelineSpec("b", work)]), PipelineBuilder)
assert_type(builder.compose(Pipeline("q")), PipelineBuilder)
assert_type(Pipeline("q").compose(builder), Pipeline)
assert_type(builder.stages, dict[str, PipelineSpec])
assert_type(builder.get_stage("a"), PipelineSpec | None)
assert_type(builder.stage_names(), list[str])
assert_type(with_linear_chain(builder, 2, numbered, first_depends_on="a"), PipelineBuilder)
assert_type(with_parallel_stages(Pipeline(), 2, numbered), Pipeline)
assert_type(with_fan_out_fan_in(builder, ("out", work), 2, numbered, ("in", work)), PipelineBuilder)
assert_type(with_conditional_branch(builder, ("r", work), {"k": ("x", work)}), PipelineBuilder)
assert_type(
    FluentPipelineBuilder("p").stage("a", work).parallel(2, numbered).builder, PipelineBuilder
)
strategy = GuardRetryStrategy({"guard": GuardRetryPolicy("draft", hash_fields=["text"])})
assert_type(builder.build(guard_retry_strategy=strategy), UnifiedStageGraph)
assert_type(get_contract_suggestion("CONTRACT-004-CYCLE"), ContractSuggestion | None)


async def run() -> None:
    context = PipelineContext()
    graph = StageGraph([StageSpec(name="a", runner=work)])
    assert_type(await graph.run(context), dict[str, StageResult])
    assert_type(await builder.build().run(context), dict[str, StageOutput])
