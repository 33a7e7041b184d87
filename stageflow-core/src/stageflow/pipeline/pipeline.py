"""Pipeline: the declaration of a graph of stages, and the shortest way to run it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import anyio

from stageflow._engine.announce import WideEvents
from stageflow._engine.call import Layer
from stageflow._engine.plan import DEFAULT_POLICY, Node, OnFailure, StagePolicy
from stageflow._engine.validation import PipelineValidationError, fault, raise_faults
from stageflow.context import PipelineContext
from stageflow.errors import ContractErrorInfo
from stageflow.pipeline.functions import FunctionStage
from stageflow.pipeline.graph import UnifiedStageGraph, UnifiedStageSpec, make_node
from stageflow.stages import StageKind, StageOutput
from stageflow.stages.retry import RetryPolicy

__all__ = ("Pipeline",)

StageLike = FunctionStage | UnifiedStageSpec | Node


class Pipeline:
    """An immutable declaration of stages; each `with_…` returns a new one that shares the rest.

    Nothing is checked before `build`, so stages may be declared in any order.

    Args:
        name: The pipeline's name, for messages and events.
        stages: Stages to begin with, by name.
    """

    __slots__ = ("_before", "_built", "_name", "_nodes", "_tail")

    def __init__(
        self, name: str = "pipeline", stages: Mapping[str, UnifiedStageSpec | Node] | None = None
    ) -> None:
        self._name = name
        self._before: Pipeline | None = None
        self._tail: tuple[Node, ...] = tuple(_as_node(spec) for spec in (stages or {}).values())
        self._nodes: tuple[Node, ...] | None = None
        self._built: UnifiedStageGraph | None = None

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self._name

    @property
    def stages(self) -> dict[str, Node]:
        """The stages by name, in declared order."""
        return {node.name: node for node in self._all_nodes()}

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
        """
        if isinstance(name, FunctionStage):
            return self._extended((_as_node(name),))
        policy = StagePolicy(
            timeout=timeout,
            retry=retry,
            on_failure=on_failure,
            priority=priority,
            branch_key=branch_key,
            version=version,
        )
        if isinstance(runner, FunctionStage) and policy == DEFAULT_POLICY:
            policy = runner.policy
        node = make_node(
            name,
            runner,
            kind if kind is not None else getattr(runner, "kind", None),
            dependencies,
            conditional=conditional,
            config=config,
            policy=DEFAULT_POLICY if policy == DEFAULT_POLICY else policy,
        )
        return self._extended((node,))

    def with_stages(self, stages: Iterable[StageLike]) -> Pipeline:
        """Return a pipeline that also has *stages*: functions made stages, or specs."""
        return self._extended(tuple(_as_node(item) for item in stages))

    def compose(self, other: Pipeline) -> Pipeline:
        """Return a pipeline with the stages of both, called `left+right`.

        A stage that both declare alike is taken once.

        Raises:
            PipelineValidationError: If both have a stage of one name that differs; it lists
                every such stage.
        """
        merged = {node.name: node for node in self._all_nodes()}
        faults: list[ContractErrorInfo] = []
        for node in other._all_nodes():
            known = merged.get(node.name)
            if known is None:
                merged[node.name] = node
            elif known != node:
                faults.append(_conflict_fault(node.name, self._name, other._name))
        name = f"{self._name}+{other._name}"
        if faults:
            raise_faults(faults, pipeline=name)
        return Pipeline(name)._extended(tuple(merged.values()))

    def build(
        self,
        *,
        interceptors: Sequence[Layer] | None = None,
        on_failure: OnFailure = "stop",
        max_concurrency: int | None = None,
        cleanup_timeout: float = 10.0,
        emit_stage_wide_events: bool = False,
        emit_pipeline_wide_event: bool = False,
        wide_event_emitter: WideEvents | None = None,
        **options: Any,
    ) -> UnifiedStageGraph:
        """Validate the declaration and return the graph that runs it.

        Args:
            interceptors: What wraps every stage, ordered by their priority.
            on_failure: What a failure does to the run: `stop` or `continue`.
            max_concurrency: How many stages may run at once.
            cleanup_timeout: Seconds for all clean-ups of a run together.
            emit_stage_wide_events: Whether each stage is summarised in a wide event.
            emit_pipeline_wide_event: Whether each run is.
            wide_event_emitter: What makes the wide events; a plain one unless given.
            **options: Further keywords of `UnifiedStageGraph`.

        Raises:
            PipelineValidationError: If anything is wrong; it lists every fault.
        """
        return UnifiedStageGraph(
            self._all_nodes(),
            name=self._name,
            interceptors=interceptors,
            on_failure=on_failure,
            max_concurrency=max_concurrency,
            cleanup_timeout=cleanup_timeout,
            emit_stage_wide_events=emit_stage_wide_events,
            emit_pipeline_wide_event=emit_pipeline_wide_event,
            wide_event_emitter=wide_event_emitter,
            **options,
        )

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
            TypeError: If a field is unknown.
        """
        if self._built is None:
            self._built = self.build()
        if context is None:
            context = PipelineContext.for_run(inputs=inputs, input_text=input_text, **fields)
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

    def __repr__(self) -> str:
        return f"<Pipeline {self._name!r}: {len(self._all_nodes())} stages>"

    def _extended(self, nodes: tuple[Node, ...]) -> Self:
        # Shares everything before it: a chain of n calls costs n, not n squared.
        longer = type(self)(self._name)
        longer._before = self
        longer._tail = nodes
        return longer

    def _all_nodes(self) -> tuple[Node, ...]:
        if self._nodes is None:
            parts = []
            part: Pipeline | None = self
            while part is not None:
                if part._nodes is not None:
                    parts.append(part._nodes)
                    break
                parts.append(part._tail)
                part = part._before
            self._nodes = tuple([node for nodes in reversed(parts) for node in nodes])
            self._before = None
        return self._nodes


def _as_node(item: StageLike) -> Node:
    if isinstance(item, Node):
        return item
    if isinstance(item, FunctionStage):
        return make_node(
            item.name,
            item,
            item.kind,
            item.after,
            conditional=item.conditional,
            policy=item.policy,
        )
    if isinstance(item, UnifiedStageSpec):
        return item.to_node()
    raise PipelineValidationError(
        f"{item!r} is not a stage.",
        (),
        fault(
            "RUNNER",
            f"{item!r} is not a stage.",
            "Decorate a function with @stage, or use with_stage(name, runner, kind).",
        ),
    )


def _conflict_fault(stage: str, left: str, right: str) -> ContractErrorInfo:
    return fault(
        "CONFLICT",
        f"Stage {stage!r} is declared differently in {left!r} and in {right!r}.",
        "Rename one of the two, or declare both alike.",
        stage=stage,
    )
