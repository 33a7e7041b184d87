"""ToolExecutor: lets a tool start a pipeline by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from stageflow.context import PipelineContext, StageContext
    from stageflow.pipeline import PipelineRegistry, SubpipelineResult, SubpipelineSpawner

__all__ = ("ToolExecutor",)


class ToolExecutor:
    """Starts pipelines by name, as children of the run that a tool belongs to.

    Args:
        spawner: Starts them; the spawner of those who name none unless given.
        registry: Knows the pipelines; without one there are none.
    """

    name = "tool_executor"

    def __init__(
        self,
        *,
        spawner: SubpipelineSpawner | None = None,
        registry: PipelineRegistry | None = None,
    ) -> None:
        self._spawner = spawner
        self._registry = registry

    async def spawn_subpipeline(
        self,
        pipeline_name: str,
        ctx: PipelineContext | StageContext,
        correlation_id: UUID | None,
        *,
        topology_override: str | None = None,
        execution_mode_override: str | None = None,
    ) -> SubpipelineResult:
        """Run a pipeline as a child and say how it ended; its failure is returned, not raised.

        Args:
            pipeline_name: The pipeline's name in the registry.
            ctx: The context of the run, or of the stage, that the tool is called in.
            correlation_id: The caller's id for this start.
            topology_override: The child's topology; the parent's unless given.
            execution_mode_override: The child's mode; the parent's unless given.

        Raises:
            UnknownPipelineError: There is no such pipeline.
            MaxDepthExceededError: There are too many runs above the child.
        """
        from stageflow.pipeline import PipelineRegistry, get_subpipeline_spawner

        registry = self._registry if self._registry is not None else PipelineRegistry()
        pipeline = registry.get(pipeline_name)

        def run(child: PipelineContext) -> Any:
            graph = pipeline.build() if hasattr(pipeline, "build") else pipeline
            return graph.run(child)

        spawner = self._spawner or get_subpipeline_spawner()
        return await spawner.spawn(
            pipeline_name,
            ctx,
            correlation_id,
            getattr(ctx, "stage_name", self.name),
            run,
            topology=topology_override,
            execution_mode=execution_mode_override,
        )
