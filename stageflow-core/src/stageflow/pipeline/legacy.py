"""StageGraph: the older face of the engine, whose runs give results instead of outputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from stageflow._engine.announce import WideEvents
from stageflow._engine.call import Layer
from stageflow._engine.plan import Node, ordered_names
from stageflow.context import PipelineContext
from stageflow.pipeline.graph import UnifiedStageGraph, make_node, raise_for_report
from stageflow.stages import StageResult

__all__ = ("StageGraph", "StageSpec")


@attrs.frozen(kw_only=True)
class StageSpec:
    """One stage of a `StageGraph`.

    Attributes:
        name: Unique in its graph.
        runner: A stage class, an object with `execute`, or a function of the context.
        dependencies: The stages it waits for and may read.
        conditional: Kept for its readers; a `StageGraph` runs the stage whatever it says.
    """

    name: str
    runner: Any = attrs.field(hash=False)
    dependencies: tuple[str, ...] = attrs.field(default=(), converter=ordered_names)
    conditional: bool = False

    def to_node(self) -> Node:
        """Return the stage as the engine takes it: unconditional."""
        kind = getattr(self.runner, "kind", None)
        return make_node(self.name, self.runner, kind, self.dependencies)


class StageGraph:
    """A validated graph of stages that runs on the same engine as `UnifiedStageGraph`.

    It differs in two things: its runs give a `StageResult` for each stage, and no stage is
    skipped because a dependency was, or because a router chose another branch.

    Args:
        specs: The stages.
        interceptors: What wraps every stage, ordered by their priority.
        wide_event_emitter: What makes the wide events; a plain one unless given.
        emit_stage_wide_events: Whether each stage is summarised in a wide event.
        emit_pipeline_wide_event: Whether each run is.

    Raises:
        PipelineValidationError: If anything is wrong with the definition; it lists every fault.
    """

    __slots__ = ("_graph", "_specs")

    def __init__(
        self,
        specs: Iterable[StageSpec],
        interceptors: Sequence[Layer] | None = None,
        *,
        wide_event_emitter: WideEvents | None = None,
        emit_stage_wide_events: bool = False,
        emit_pipeline_wide_event: bool = False,
        **options: Any,
    ) -> None:
        self._specs = tuple(specs)
        self._graph = UnifiedStageGraph(
            [spec.to_node() for spec in self._specs],
            interceptors=interceptors,
            wide_event_emitter=wide_event_emitter,
            emit_stage_wide_events=emit_stage_wide_events,
            emit_pipeline_wide_event=emit_pipeline_wide_event,
            **options,
        )

    @property
    def stage_specs(self) -> list[StageSpec]:
        """The stages, in declared order."""
        return list(self._specs)

    async def run(self, ctx: PipelineContext) -> dict[str, StageResult]:
        """Run every stage and return how each of them went, by name.

        Args:
            ctx: Who the run is for, and what it knows.

        Raises:
            UnifiedStageExecutionError: If a stage failed; it carries every output.
            UnifiedPipelineCancelled: If the run was cancelled; it carries every output.
        """
        report = await self._graph.execute(ctx)
        raise_for_report(report)
        return report.results()
