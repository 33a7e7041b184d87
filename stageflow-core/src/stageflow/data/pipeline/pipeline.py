"""Pipeline: stages of plain functions, executed as often as one likes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

import attrs

from stageflow._engine.plan import Plan, compile_plan
from stageflow._engine.run import RunOptions
from stageflow._engine.validation import fault
from stageflow.data.pipeline.config import CancellationReason, PipelineConfig, PipelineStatus
from stageflow.data.pipeline.context import PipelineContext
from stageflow.data.pipeline.execution import Execution
from stageflow.data.pipeline.handlers import Obedience, make_node
from stageflow.data.pipeline.progress import ProgressCallback
from stageflow.data.pipeline.results import PipelineResult
from stageflow.data.pipeline.stages import Stage

if TYPE_CHECKING:
    from stageflow.contracts.clock import Clock

__all__ = ("Pipeline", "run_pipeline")


class Pipeline:
    """Stages, and how to run them; may be executed many times at once.

    Args:
        config: How the stages run.
        stages: Stages to begin with.
        on_progress: Is told whenever a stage begins, is tried again or has ended; must not wait.
        clock: Source of time.
        options: What every execution is given besides; its time limits come from *config*.
    """

    def __init__(
        self,
        config: PipelineConfig | None = None,
        stages: Iterable[Stage] = (),
        *,
        on_progress: ProgressCallback | None = None,
        clock: Clock | None = None,
        options: RunOptions | None = None,
    ) -> None:
        self._config = config or PipelineConfig()
        self._stages = list(stages)
        self._on_progress = on_progress
        options = options or RunOptions()
        self._options = options if clock is None else attrs.evolve(options, clock=clock)
        self._plan: Plan | None = None
        self._executions: list[Execution] = []
        self._result: PipelineResult | None = None

    @property
    def config(self) -> PipelineConfig:
        """How the stages run."""
        return self._config

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages, in the order they were added."""
        return tuple(self._stages)

    @property
    def is_running(self) -> bool:
        """Whether any execution is under way."""
        return bool(self._executions)

    @property
    def status(self) -> PipelineStatus:
        """Where the pipeline stands: paused if all that runs is, or how it ended last."""
        if self._executions:
            paused = all(execution.context.is_paused for execution in self._executions)
            return PipelineStatus.PAUSED if paused else PipelineStatus.RUNNING
        return PipelineStatus.IDLE if self._result is None else self._result.status

    @property
    def result(self) -> PipelineResult | None:
        """The result of the execution that ended last; None before."""
        return self._result

    def add_stage(self, stage: Stage) -> Self:
        """Add *stage* for executions that begin from now on, and return the pipeline."""
        return self.add_stages((stage,))

    def add_stages(self, stages: Iterable[Stage]) -> Self:
        """Add *stages* for executions that begin from now on, and return the pipeline."""
        self._stages.extend(stages)
        self._plan = None
        return self

    def validate(self) -> None:
        """Do nothing if the pipeline can be executed.

        Raises:
            PipelineValidationError: If anything is wrong with it; it lists every fault.
        """
        self._compiled()

    async def execute(
        self,
        initial_input: Any = None,
        *,
        raise_on_error: bool = False,
        context: PipelineContext | None = None,
    ) -> PipelineResult:
        """Run every stage and return how it went, also if stages failed.

        Args:
            initial_input: For the stages without dependencies.
            raise_on_error: Whether to raise what kept the pipeline from completing.
            context: What the handlers share, for who wants to watch or stop this execution
                alone; made anew unless given.

        Raises:
            PipelineValidationError: If anything is wrong with the pipeline.
            PipelineException: With *raise_on_error*, as `PipelineResult.raise_for_status` does;
                or if *context* was used before.
        """
        execution = Execution(
            self._compiled(),
            {stage.stage_id: stage for stage in self._stages},
            self._config,
            self._options,
            context=context,
            initial_input=initial_input,
            on_progress=self._on_progress,
        )
        self._executions.append(execution)
        try:
            result = self._result = await execution.execute()
        finally:
            self._executions.remove(execution)
        if raise_on_error:
            result.raise_for_status()
        return result

    def cancel(self, reason: CancellationReason = CancellationReason.USER_REQUESTED) -> None:
        """Cancel every execution that is under way."""
        for execution in tuple(self._executions):
            execution.context.cancel(reason)

    def pause(self) -> None:
        """Start no further stage in any execution that is under way; what runs goes on."""
        for execution in tuple(self._executions):
            execution.context.pause()

    def resume(self) -> None:
        """Let stages start again in every execution that is under way."""
        for execution in tuple(self._executions):
            execution.context.resume()

    def _compiled(self) -> Plan:
        if self._plan is None:
            config = self._config
            faults = []
            limit = config.timeout.pipeline_timeout_seconds
            if limit is not None and not limit > 0:
                summary = f"pipeline_timeout_seconds is {limit!r}."
                faults.append(fault("PARAMETER", summary, "It must be above 0, or None."))
            nodes = [make_node(stage, config, faults) for stage in self._stages]
            self._plan = compile_plan(
                nodes,
                name=config.name,
                layers=(Obedience(),),
                max_concurrency=config.max_parallel if config.parallel_stages else 1,
                known_faults=faults,
            )
        return self._plan


async def run_pipeline(
    stages: Iterable[Stage],
    initial_input: Any = None,
    config: PipelineConfig | None = None,
    *,
    raise_on_error: bool = False,
    on_progress: ProgressCallback | None = None,
    clock: Clock | None = None,
) -> PipelineResult:
    """Make a pipeline of *stages*, execute it once, and return how it went.

    Args:
        stages: The stages.
        initial_input: For the stages without dependencies.
        config: How they run.
        raise_on_error: Whether to raise what kept the pipeline from completing.
        on_progress: Is told how far it is.
        clock: Source of time.

    Raises:
        PipelineValidationError: If anything is wrong with the pipeline.
        PipelineException: With *raise_on_error*, as `PipelineResult.raise_for_status` does.
    """
    pipeline = Pipeline(config, stages, on_progress=on_progress, clock=clock)
    return await pipeline.execute(initial_input, raise_on_error=raise_on_error)
