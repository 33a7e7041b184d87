"""PipelineBuilder: the configuration and the stages of a pipeline in one chain of calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import attrs

from stageflow.data.pipeline.config import (
    PipelineConfig,
    RetryConfig,
    RetryStrategy,
    TimeoutConfig,
)
from stageflow.data.pipeline.pipeline import Pipeline
from stageflow.data.pipeline.progress import ProgressCallback
from stageflow.data.pipeline.stages import Stage, create_stage

if TYPE_CHECKING:
    from stageflow.contracts.clock import Clock

__all__ = ("PipelineBuilder",)

_Chain = tuple["_Chain", Stage] | None


@attrs.frozen(eq=False)
class PipelineBuilder:
    """A pipeline to be; immutable: each method returns a new builder that shares the rest.

    Attributes:
        name: The pipeline's name.
        config: How its stages will run; with the builder's name unless given.
    """

    name: str = "pipeline"
    config: PipelineConfig = attrs.field(
        default=attrs.Factory(lambda self: PipelineConfig(self.name), takes_self=True)
    )
    _chain: _Chain = attrs.field(default=None, repr=False)
    _on_progress: ProgressCallback | None = attrs.field(default=None, repr=False)

    def with_retry(
        self,
        max_retries: int = 3,
        strategy: RetryStrategy = RetryStrategy.EXPONENTIAL_BACKOFF,
        initial_delay: float = 1.0,
        max_delay: float = 60.0,
        backoff_factor: float = 2.0,
        retry_on_exceptions: Iterable[type[BaseException]] | None = None,
        retry_on_timeout: bool = True,
    ) -> PipelineBuilder:
        """Set when a failed attempt of a stage is followed by another; see `RetryConfig`."""
        retry = RetryConfig(
            max_retries,
            strategy,
            initial_delay,
            max_delay,
            backoff_factor,
            retry_on_exceptions,
            retry_on_timeout,
        )
        return self._with(retry=retry)

    def with_timeout(
        self,
        stage_timeout: float | None = 300.0,
        pipeline_timeout: float | None = 3600.0,
        cleanup_timeout: float = 30.0,
        grace_period: float = 5.0,
    ) -> PipelineBuilder:
        """Set how long things may take, in seconds; see `TimeoutConfig`."""
        timeout = TimeoutConfig(stage_timeout, pipeline_timeout, cleanup_timeout, grace_period)
        return self._with(timeout=timeout)

    def with_parallel(self, enabled: bool = True, max_parallel: int = 4) -> PipelineBuilder:
        """Set whether stages that do not need each other run at the same time, and how many."""
        return self._with(parallel_stages=enabled, max_parallel=max_parallel)

    def with_metrics(self, enabled: bool = True) -> PipelineBuilder:
        """Set whether results come with metrics."""
        return self._with(collect_metrics=enabled)

    def with_cleanup_on_cancel(self, enabled: bool = True) -> PipelineBuilder:
        """Set whether the clean-up handlers also run when somebody cancels the pipeline."""
        return self._with(cleanup_on_cancel=enabled)

    def continue_on_error(self, enabled: bool = True) -> PipelineBuilder:
        """Set whether the others run on when a critical stage has failed."""
        return self._with(continue_on_error=enabled)

    def on_progress(self, callback: ProgressCallback | None) -> PipelineBuilder:
        """Set who is told how far an execution is."""
        return attrs.evolve(self, on_progress=callback)

    def add_stage(
        self,
        stage_id: str | Stage,
        name: str | None = None,
        handler: Callable[..., Any] | None = None,
        dependencies: Iterable[str] = (),
        timeout_seconds: float | None = None,
        retry_config: RetryConfig | None = None,
        critical: bool = True,
        cleanup_handler: Callable[..., Any] | None = None,
        description: str = "",
        tags: Iterable[str] = (),
    ) -> PipelineBuilder:
        """Add a stage: a `Stage`, alone, or what one is made of; see there for the arguments."""
        if not isinstance(stage_id, Stage):
            stage_id = create_stage(
                stage_id,
                name or stage_id,
                handler,  # type: ignore[arg-type]  # its absence is a fault that `build` reports
                dependencies,
                timeout_seconds,
                retry_config,
                critical,
                cleanup_handler,
                description,
                tags,
            )
        return attrs.evolve(self, chain=(self._chain, stage_id))

    def build(self, *, clock: Clock | None = None) -> Pipeline:
        """Return the pipeline.

        Args:
            clock: Source of time.

        Raises:
            PipelineValidationError: If anything is wrong with it; it lists every fault.
        """
        stages = []
        chain = self._chain
        while chain is not None:
            chain, stage = chain
            stages.append(stage)
        pipeline = Pipeline(
            self.config, reversed(stages), on_progress=self._on_progress, clock=clock
        )
        pipeline.validate()
        return pipeline

    def _with(self, **changes: Any) -> PipelineBuilder:
        return attrs.evolve(self, config=attrs.evolve(self.config, **changes))
