"""Pipeline: the declaration of a graph of stages, and the shortest way to run it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import anyio

from stageflow._engine.plan import Node, OnFailure
from stageflow.context import PipelineContext
from stageflow.pipeline.declaration import Declaration, StageLike, as_node, make_policy
from stageflow.pipeline.functions import FunctionStage
from stageflow.pipeline.graph import UnifiedStageGraph, make_node
from stageflow.stages import StageKind, StageOutput
from stageflow.stages.retry import RetryPolicy

__all__ = ("Pipeline",)


class Pipeline(Declaration[Node]):
    """An immutable declaration of stages; each `with_…` returns a new one that shares the rest.

    A chain of `with_…` is checked by `build`, so that stages may be declared in any order;
    stages that are given whole are checked at once.

    Args:
        name: The pipeline's name, for messages and events.
        stages: Stages to begin with, by name.

    Raises:
        PipelineValidationError: If anything is wrong with *stages*; it lists every fault.
    """

    __slots__ = ("_built",)

    def __init__(
        self, name: str = "pipeline", stages: Mapping[str, StageLike] | None = None
    ) -> None:
        self._built: UnifiedStageGraph | None = None
        super().__init__(name, stages)

    @staticmethod
    def _as_item(given: StageLike) -> Node:
        return as_node(given)

    @staticmethod
    def _alike(left: Node, right: Node) -> bool:
        return left == right

    def with_stage(
        self,
        name: str | FunctionStage,
        runner: Any = None,
        kind: StageKind | str | None = None,
        dependencies: Iterable[str] | str | None = None,
        conditional: bool = False,
        config: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        retry: RetryPolicy | None = None,
        on_failure: OnFailure | None = None,
        priority: int = 0,
        branch_key: str | None = None,
        version: str | None = None,
        output_schema: Any = None,
    ) -> Pipeline:
        """Return a pipeline that also has this stage.

        Args:
            name: Unique in the pipeline; or a function made a stage by `@stage`, alone.
            runner: A stage class, an object with `execute`, or a function of the context. A
                class is instantiated once per run; everything else must be shareable.
            kind: What kind of work it does; the runner's own kind unless given.
            dependencies: The stages it waits for and may read.
            conditional: Whether it is skipped when a dependency was skipped or routes past it.
            config: Keywords for a runner class.
            timeout: Seconds that one attempt may take.
            retry: When another attempt is made.
            on_failure: What its failure does to the run; the pipeline's choice unless given.
            priority: Among ready stages, higher goes first when concurrency is limited.
            branch_key: The value of its router's `route` that selects this conditional stage.
            version: Version of its meaning, for durable runs.
            output_schema: What its data must look like: a JSON schema, a class with fields, or
                a function that says what is wrong with it.
        """
        if isinstance(name, FunctionStage):
            return self._extended((as_node(name),))
        policy = make_policy(
            runner,
            timeout=timeout,
            retry=retry,
            on_failure=on_failure,
            priority=priority,
            branch_key=branch_key,
            version=version,
            output_schema=output_schema,
        )
        node = make_node(
            name,
            runner,
            kind if kind is not None else getattr(runner, "kind", None),
            dependencies,
            conditional=conditional,
            config=config,
            policy=policy,
        )
        return self._extended((node,))

    async def run(
        self,
        context: PipelineContext | None = None,
        *,
        inputs: Mapping[str, Any] | None = None,
        input_text: str | None = None,
        **fields: Any,
    ) -> dict[str, StageOutput]:
        """Build the pipeline if that was not done before, run it, and return the outputs by name.

        Args:
            context: Who the run is for; made from the other arguments unless given.
            inputs: The run's inputs, which stages read by name.
            input_text: The text the run is about, as `ctx.snapshot.input_text`.
            **fields: Further fields of the `PipelineContext`, such as `event_sink`.

        Raises:
            PipelineValidationError: If the declaration is wrong.
            UnifiedStageExecutionError: If a stage failed.
            UnifiedPipelineCancelled: If the run was cancelled.
            TypeError: If a field is unknown, or given beside a context.
        """
        if self._built is None:
            self._built = self.build()
        if context is None:
            new_id = self._built.options.new_id
            context = PipelineContext.for_run(
                inputs=inputs, input_text=input_text, new_id=new_id, **fields
            )
        elif inputs is not None or input_text is not None or fields:
            raise TypeError("A run takes a context, or what one is made from, not both.")
        return await self._built.run(context)

    def run_sync(
        self,
        context: PipelineContext | None = None,
        *,
        inputs: Mapping[str, Any] | None = None,
        input_text: str | None = None,
        **fields: Any,
    ) -> dict[str, StageOutput]:
        """Do what `run` does, in an event loop of its own; for scripts.

        Raises:
            RuntimeError: If an event loop is running in this thread already.
        """

        async def main() -> dict[str, StageOutput]:
            return await self.run(context, inputs=inputs, input_text=input_text, **fields)

        return anyio.run(main)
