"""Pipeline: stages of plain functions, executed as often as one likes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

import attrs

from stageflow._engine.plan import Plan, compile_plan
from stageflow._engine.run import RunOptions, RunReport
from stageflow._engine.validation import fault
from stageflow.context import PipelineContext as RunContext
from stageflow.data.pipeline.config import CancellationReason, PipelineConfig, PipelineStatus
from stageflow.data.pipeline.context import PipelineContext
from stageflow.data.pipeline.execution import Execution
from stageflow.data.pipeline.handlers import INITIAL, Obedience, make_node
from stageflow.data.pipeline.progress import ProgressCallback
from stageflow.data.pipeline.results import PipelineResult
from stageflow.data.pipeline.stages import Stage

if TYPE_CHECKING:
    from stageflow.contracts.clock import Clock
    from stageflow.runtime import Durability, OnChange, Runtime

__all__ = ("BuiltPipeline", "Pipeline", "run_pipeline")


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

    def build(self) -> BuiltPipeline:
        """Return the pipeline as a `Runtime` runs it, and resumes and recovers runs of it.

        Raises:
            PipelineValidationError: If anything is wrong with it; it lists every fault.
        """
        return BuiltPipeline(self)

    async def execute(
        self,
        initial_input: Any = None,
        *,
        raise_on_error: bool = False,
        context: PipelineContext | None = None,
        runtime: Runtime | None = None,
        durability: Durability | None = None,
        run_id: UUID | str | None = None,
    ) -> PipelineResult:
        """Run every stage and return how it went, also if stages failed.

        Args:
            initial_input: For the stages without dependencies.
            raise_on_error: Whether to raise what kept the pipeline from completing.
            context: What the handlers share, for who wants to watch or stop this execution
                alone; made anew unless given.
            runtime: Records the run, and gives it its backends; must be open.
            durability: What *runtime* keeps of the run, and when: `none`, `exit` or `step`; the
                runtime's choice unless given. `resume_run` goes on with what was kept.
            run_id: The run's identity; a new one unless given here or by *context*.

        Raises:
            PipelineValidationError: If anything is wrong with the pipeline.
            PipelineException: With *raise_on_error*, as `PipelineResult.raise_for_status` does;
                or if *context* was used before.
            DurabilityError: If the run store of *runtime* cannot keep that much.
            CodecError: If the *initial_input* of a durable run cannot be stored.
            StorageError: If a durable run cannot be kept any longer.
            TypeError: If a *durability* is given without a *runtime*.
        """
        if durability is not None and runtime is None:
            raise TypeError("Only a runtime can keep anything: give execute one.")
        built = self.build()
        execution = built.begin(context, _uuid(run_id))
        ctx = execution.run_context(initial_input)
        with self._under_way(execution):
            if runtime is None:
                await execution.execute(ctx)
            else:
                await runtime.run(built, context=ctx, durability=durability, raise_on_error=False)
        return self._concluded(execution, raise_on_error=raise_on_error)

    async def resume_run(
        self,
        run_id: UUID | str,
        *,
        runtime: Runtime,
        on_change: OnChange = "refuse",
        raise_on_error: bool = False,
        context: PipelineContext | None = None,
    ) -> PipelineResult:
        """Go on with a durable run of this pipeline, and return how it went in all.

        What had completed is not executed again; its results say `restored`. What handlers have
        stored in their context is not kept, and time limits begin anew.

        Args:
            run_id: The run: `PipelineResult.run_id`.
            runtime: Has the run store that keeps it; must be open.
            on_change: What to do if the pipeline has changed since, as for `Runtime.resume`.
            raise_on_error: Whether to raise what kept the pipeline from completing.
            context: What the handlers share; made anew unless given.

        Raises:
            RunNotFoundError: If there is no such run.
            RunNotResumableError: If too little was kept of it.
            LeaseHeldError: If a process that may be alive has it.
            PlanChangedError: If the pipeline has changed, and *on_change* is `refuse`.
            PipelineException: As `execute` does.
        """
        built = self.build()
        execution = built.begin(context, _uuid(run_id))
        with self._under_way(execution):
            await runtime.resume(execution.run_id, built, on_change=on_change, raise_on_error=False)
        return self._concluded(execution, raise_on_error=raise_on_error)

    @contextmanager
    def _under_way(self, execution: Execution) -> Iterator[None]:
        self._executions.append(execution)
        try:
            yield
        finally:
            self._executions.remove(execution)

    def _concluded(self, execution: Execution, *, raise_on_error: bool = False) -> PipelineResult:
        result = self._result = execution.result()
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


class BuiltPipeline:
    """A pipeline of functions as a `Runtime` runs it; made by `Pipeline.build`.

    Args:
        pipeline: What it is built of; stages that are added later are not in it.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._stages = {stage.stage_id: stage for stage in pipeline.stages}
        self._begun: Execution | None = None
        self.plan = pipeline._compiled()
        limits = pipeline.config.timeout
        self.options = attrs.evolve(
            pipeline._options,
            cleanup_timeout=limits.cleanup_timeout_seconds,
            timeout=limits.pipeline_timeout_seconds,
            thread_grace=limits.grace_period_seconds,
        )

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self.plan.name

    def begin(
        self, context: PipelineContext | None = None, run_id: UUID | None = None
    ) -> Execution:
        """Return the execution that the next run with this identity is.

        Raises:
            PipelineException: If *context* was used before.
        """
        self._begun = Execution(
            self.plan,
            self._stages,
            self._pipeline.config,
            self.options,
            context=context,
            on_progress=self._pipeline._on_progress,
            run_id=run_id,
        )
        return self._begun

    def check_inputs(self, given: Mapping[str, Any]) -> None:
        """Return: all that stages are given from outside is the `initial_input`, or None."""

    async def execute(self, ctx: RunContext, options: RunOptions | None = None) -> RunReport:
        """Run it and report how it went."""
        begun, self._begun = self._begun, None  # a runtime may keep this for other runs
        if begun is not None and begun.run_id == ctx.pipeline_run_id:
            return await begun.execute(ctx, options)
        execution = self.begin(run_id=ctx.pipeline_run_id)
        self._begun = None
        ctx.inputs = {INITIAL: None, **ctx.inputs}
        with self._pipeline._under_way(execution):
            report = await execution.execute(ctx, options)
        self._pipeline._concluded(execution)
        return report


def _uuid(run_id: UUID | str | None) -> UUID | None:
    return UUID(run_id) if isinstance(run_id, str) else run_id


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
