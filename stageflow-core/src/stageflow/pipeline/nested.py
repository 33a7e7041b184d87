"""SubpipelineStage: a whole pipeline as one stage of another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from stageflow._engine.errors import UnifiedStageExecutionError
from stageflow._engine.run import DEFAULT_OPTIONS, Run, RunOptions
from stageflow._engine.validation import fault, raise_faults
from stageflow.context import PipelineContext, StageContext
from stageflow.errors import RunError, did_you_mean
from stageflow.pipeline.functions import value_of
from stageflow.pipeline.graph import UnifiedStageGraph, raise_for_report
from stageflow.pipeline.subpipelines import (
    SubpipelineResult,
    SubpipelineSpawner,
    get_subpipeline_spawner,
)
from stageflow.stages import StageKind, StageOutput, StageStatus
from stageflow.stages.output import CancelScope

if TYPE_CHECKING:
    from stageflow.pipeline.declaration import Declaration

__all__ = ("AmbiguousOutputError", "Inputs", "Outputs", "SubpipelineStage")

Inputs = Mapping[str, str] | Callable[[StageContext], Mapping[str, Any]]
"""The inputs of a child run: each by the key that is read here, or what makes all of them."""

Outputs = Mapping[str, str] | Callable[[Mapping[str, StageOutput]], Any]
"""The data of a stage that is a pipeline: each key by the child's stage, or what makes it."""


class AmbiguousOutputError(RunError, ValueError):
    """Two last stages of a pipeline that is a stage give the same key.

    Attributes:
        pipeline: The pipeline.
        key: The key.
        stages: The stages that give it.
    """

    code = "SF345"

    def __init__(self, pipeline: str, key: str, stages: tuple[str, ...]) -> None:
        super().__init__(
            f"The stages {', '.join(map(repr, stages))}, with which pipeline {pipeline!r} ends,"
            f" all give {key!r}.",
            hint="Say which to take: as_stage(outputs={key: stage}).",
        )
        self.pipeline = pipeline
        self.key = key
        self.stages = stages


class SubpipelineStage:
    """A pipeline as a stage: it runs as a child of the run whose stage it is.

    The child has an identity, events and clean-ups of its own, and takes clock, resources and
    configuration from the run around it. What stops that run stops the child at once. If the
    child fails, the stage fails with the child's error; if the child cancels itself, the stage
    and what depends on it are cancelled, and the rest goes on.

    Args:
        pipeline: The child, declared or built.
        inputs: The child's run inputs, as `{input: key}`, where the key is read as by
            `ctx.inputs.get`, or as a function of the stage's context. Unless given, the child
            takes the run's inputs, the data of the stage's dependencies, and what each
            dependency gave under the dependency's name.
        outputs: The stage's data, as `{key: stage of the child}`, or as a function of the
            child's outputs. Unless given, it is the data of the stages with which the child
            ends, merged.
        kind: What kind of work it does.
        spawner: Starts the child; the current one unless given.

    Raises:
        PipelineValidationError: If anything is wrong with the pipeline, or *outputs* names a
            stage that it has not.
    """

    def __init__(
        self,
        pipeline: Declaration[Any] | UnifiedStageGraph,
        *,
        inputs: Inputs | None = None,
        outputs: Outputs | None = None,
        kind: StageKind = StageKind.WORK,
        spawner: SubpipelineSpawner | None = None,
    ) -> None:
        graph = pipeline if isinstance(pipeline, UnifiedStageGraph) else pipeline.build()
        self.graph = graph
        self.kind = kind
        self._inputs = inputs
        self._outputs = outputs
        self._spawner = spawner
        plan = graph.plan
        self._last = [name for i, name in enumerate(plan.names) if not plan.successors[i]]
        if isinstance(outputs, Mapping):
            raise_faults(
                [
                    fault(
                        "OUTPUT",
                        f"The output {key!r} is to be what stage {stage!r} gives, which is no"
                        f" stage of pipeline {graph.name!r}.",
                        did_you_mean(stage, plan.names),
                        key=key,
                        stage=stage,
                    )
                    for key, stage in outputs.items()
                    if stage not in plan.index
                ],
                pipeline=graph.name,
            )

    async def execute(self, ctx: StageContext) -> Any:
        """Run the child and return what it gives.

        Raises:
            UnifiedStageExecutionError: If a stage of the child failed.
            MaxDepthExceededError: If pipelines are nested too deeply.
        """
        inputs = self._given(ctx)
        options = _options(self.graph, ctx)

        async def run(child: PipelineContext) -> dict[str, StageOutput]:
            child.inputs = inputs
            report = await self.graph.execute(child, options)
            raise_for_report(report)
            return report.outputs

        spawner = self._spawner or get_subpipeline_spawner()
        result = await spawner.spawn(self.graph.name, ctx, None, ctx.stage_name, run)
        if result.cancelled:
            # The run around may learn a moment later that it is to stop: a thread is asking.
            scope: CancelScope = "run" if ctx.is_cancelled else "branch"
            return StageOutput.cancel(result.error or "", scope=scope)
        if isinstance(result.cause, UnifiedStageExecutionError):
            result.cause.retryable = options.is_retryable(result.cause.original)
        if result.cause is not None:
            raise result.cause
        return self._taken(result)

    def _given(self, ctx: StageContext) -> dict[str, Any]:
        if callable(self._inputs):
            return dict(self._inputs(ctx))
        if self._inputs is not None:
            return {name: ctx.inputs.get(key) for name, key in self._inputs.items()}
        given: dict[str, Any] = {}
        dependencies = {
            name: output
            for name, output in ctx.inputs.prior_outputs.items()
            if output.status is StageStatus.OK
        }
        for output in reversed(dependencies.values()):
            given |= output.data
        if isinstance(ctx.inputs.ports, Mapping):
            given |= ctx.inputs.ports
        given |= {name: value_of(output) for name, output in dependencies.items()}
        if self.graph.takes_only_named_inputs:
            given = {name: value for name, value in given.items() if name in self.graph.inputs}
        return given

    def _taken(self, result: SubpipelineResult) -> Any:
        outputs: dict[str, StageOutput] = result.data
        if callable(self._outputs):
            return self._outputs(outputs)
        metadata: dict[str, Any] = {"child_run_id": str(result.child_run_id)}
        artifacts = [artifact for output in outputs.values() for artifact in output.artifacts]
        if self._outputs is not None:
            data = {key: value_of(outputs[stage]) for key, stage in self._outputs.items()}
            return StageOutput.ok(data, artifacts=artifacts, metadata=metadata)
        last = {name: outputs[name] for name in self._last}
        done = {name: out for name, out in last.items() if out.status is StageStatus.OK}
        if not done:
            return _undone(last.values())
        if len(done) == 1:
            [only] = done.values()
            metadata = {**only.metadata, **metadata}
        return StageOutput.ok(self._merged(done), artifacts=artifacts, metadata=metadata)

    def _merged(self, last: Mapping[str, StageOutput]) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for output in last.values():
            for key, value in output.data.items():
                if key in merged:
                    givers = tuple(name for name, other in last.items() if key in other.data)
                    raise AmbiguousOutputError(self.graph.name, key, givers)
                merged[key] = value
        return merged

    def __repr__(self) -> str:
        return f"<SubpipelineStage {self.graph.name!r}>"


def _undone(last: Iterable[StageOutput]) -> StageOutput:
    """Return how a stage ends whose child completed without any of its last stages being done."""
    skipped = [output for output in last if output.status is StageStatus.SKIP]
    if skipped:
        return skipped[0]
    reason = next(iter(last)).data.get("cancel_reason")
    return StageOutput.cancel(str(reason or ""), scope="branch")


def _options(graph: UnifiedStageGraph, ctx: StageContext) -> RunOptions:
    run = ctx._run
    if not isinstance(run, Run):
        return graph.options
    own, around = graph.options, run.options
    inherited = {
        name: getattr(around, name)
        for name in ("clock", "new_id", "config", "resources", "is_retryable")
        if getattr(own, name) is getattr(DEFAULT_OPTIONS, name)
    }
    return attrs.evolve(own, random=around.random, **inherited)
