"""PipelineBuilder: pipelines declared by specs, one call per stage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from stageflow._engine.plan import OnFailure
from stageflow.pipeline.declaration import Declaration, StageLike, as_node, make_policy
from stageflow.pipeline.spec import PipelineSpec
from stageflow.stages import StageKind
from stageflow.stages.retry import RetryPolicy

__all__ = ("PipelineBuilder",)


class PipelineBuilder(Declaration[PipelineSpec]):
    """An immutable declaration of stages; each `with_…` returns a new one that shares the rest.

    A chain of `with_…` is checked by `build`, so that stages may be declared in any order;
    stages that are given whole are checked at once.

    Args:
        name: The pipeline's name, for messages and events.
        stages: Stages to begin with, by name.

    Raises:
        PipelineValidationError: If anything is wrong with *stages*; it lists every fault.
        CycleDetectedError: If one of the faults is a circle of stages.
    """

    __slots__ = ()

    @staticmethod
    def _as_item(given: StageLike) -> PipelineSpec:
        return given if isinstance(given, PipelineSpec) else PipelineSpec.of_node(as_node(given))

    @staticmethod
    def _alike(left: PipelineSpec, right: PipelineSpec) -> bool:
        # What a stage says to read and to give is for readers; all else changes what is run.
        return left.to_node() == right.to_node()

    def with_stage(
        self,
        name: str,
        runner: Any,
        dependencies: Iterable[str] | str | None = None,
        inputs: Iterable[str] | str = (),
        outputs: Iterable[str] | str = (),
        conditional: bool = False,
        args: Mapping[str, Any] | None = None,
        *,
        kind: StageKind | str | None = None,
        timeout: float | None = None,
        retry: RetryPolicy | None = None,
        on_failure: OnFailure | None = None,
        priority: int = 0,
        branch_key: str | None = None,
        version: str | None = None,
        output_schema: Any = None,
    ) -> PipelineBuilder:
        """Return a builder that also has this stage.

        Args:
            name: Unique in the pipeline.
            runner: A stage class, an object with `execute`, or a function of the context. A
                class is instantiated once per run; everything else must be shareable.
            dependencies: The stages it waits for and may read.
            inputs: The keys it reads, for readers of the pipeline.
            outputs: The keys it gives, for readers of the pipeline.
            conditional: Whether it is skipped when a dependency was skipped or routes past it.
            args: Keywords for a runner class.
            kind: What kind of work it does; the runner's own kind unless given.
            timeout: Seconds that one attempt may take.
            retry: When another attempt is made.
            on_failure: What its failure does to the run; the pipeline's choice unless given.
            priority: Among ready stages, higher goes first when concurrency is limited.
            branch_key: The value of its router's `route` that selects this conditional stage.
            version: Version of its meaning, for durable runs.
            output_schema: What its data must look like: a JSON schema, a class with fields, or
                a function that says what is wrong with it.

        Raises:
            PipelineValidationError: If the name is blank or the stage depends on itself.
        """
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
        spec = PipelineSpec(
            name, runner, dependencies, inputs, outputs, conditional, args, kind=kind, policy=policy
        )
        return self._extended((spec,))

    def get_stage(self, name: str) -> PipelineSpec | None:
        """Return the stage called *name*, or None."""
        return next((spec for spec in self._all() if spec.name == name), None)

    def has_stage(self, name: str) -> bool:
        """Say whether there is a stage called *name*."""
        return self.get_stage(name) is not None

    def stage_names(self) -> list[str]:
        """Return the stages' names, in declared order."""
        return [spec.name for spec in self._all()]
