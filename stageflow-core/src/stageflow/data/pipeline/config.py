"""How a function pipeline is to run: its words for states, retries and time limits."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto
from random import Random

import attrs

from stageflow.stages.retry import BackoffStrategy, JitterStrategy, RetryPolicy

__all__ = (
    "CancellationReason",
    "PipelineConfig",
    "PipelineStatus",
    "RetryConfig",
    "RetryStrategy",
    "StageStatus",
    "TimeoutConfig",
)


class StageStatus(Enum):
    """Where a stage stands, or how it ended."""

    PENDING = auto()
    """It waits for its dependencies."""
    QUEUED = auto()
    """Its dependencies are done; it waits for its turn."""
    RUNNING = auto()
    """It is being executed."""
    COMPLETED = auto()
    """It gave its result."""
    FAILED = auto()
    """It raised, and was not tried again."""
    CANCELLED = auto()
    """The pipeline was cancelled or stopped before it had ended."""
    SKIPPED = auto()
    """It was not executed, because a dependency failed."""
    RETRYING = auto()
    """It failed, and waits to be tried again."""
    TIMED_OUT = auto()
    """It, or the pipeline while it was running, took longer than it may."""


class PipelineStatus(Enum):
    """Where a pipeline stands, or how its last execution ended."""

    IDLE = auto()
    """It was never executed."""
    RUNNING = auto()
    """It is being executed."""
    PAUSED = auto()
    """It is being executed, and starts no further stage until it is resumed."""
    COMPLETED = auto()
    """Every stage gave its result."""
    FAILED = auto()
    """A critical stage stopped it, or no stage gave a result."""
    CANCELLED = auto()
    """It was cancelled, or took longer than it may; the reason says which."""
    PARTIALLY_COMPLETED = auto()
    """Some stages gave their result, some failed or were skipped."""


class RetryStrategy(Enum):
    """How the delay grows from one retry to the next."""

    NONE = "none"
    IMMEDIATE = "immediate"
    LINEAR_BACKOFF = "linear_backoff"
    EXPONENTIAL_BACKOFF = "exponential_backoff"
    CONSTANT = "constant"


class CancellationReason(Enum):
    """Why a pipeline ended early."""

    USER_REQUESTED = "user_requested"
    TIMEOUT = "timeout"
    DEPENDENCY_FAILED = "dependency_failed"
    RESOURCE_LIMIT = "resource_limit"
    ERROR = "error"
    EXTERNAL = "external"


_BACKOFF = {
    RetryStrategy.LINEAR_BACKOFF: BackoffStrategy.LINEAR,
    RetryStrategy.EXPONENTIAL_BACKOFF: BackoffStrategy.EXPONENTIAL,
}


def _classes(
    given: Iterable[type[BaseException]] | type[BaseException] | None,
) -> tuple[type[BaseException], ...] | None:
    if given is None:
        return None
    return (given,) if isinstance(given, type) else tuple(given)


@attrs.frozen
class RetryConfig:
    """When a failed attempt of a stage is followed by another.

    Attributes:
        max_retries: Attempts after the first; none with the strategy `NONE`.
        strategy: How the delay grows.
        initial_delay_seconds: Delay before the first retry.
        max_delay_seconds: Upper bound of any delay.
        backoff_factor: What an exponential delay is multiplied by each time.
        retry_on_exceptions: Exception classes worth another attempt; None for all.
        retry_on_timeout: Whether an attempt that took too long is followed by another.
    """

    max_retries: int = 3
    strategy: RetryStrategy = attrs.field(
        default=RetryStrategy.EXPONENTIAL_BACKOFF, converter=RetryStrategy
    )
    initial_delay_seconds: float = 1.0
    max_delay_seconds: float = 60.0
    backoff_factor: float = 2.0
    retry_on_exceptions: tuple[type[BaseException], ...] | None = attrs.field(
        default=None, converter=_classes
    )
    retry_on_timeout: bool = True

    def get_delay(self, attempt: int) -> float:
        """Return the seconds between attempt number *attempt*, counted from 0, and the next."""
        policy = self.to_policy()
        no_jitter = Random()  # noqa: S311 - nobody draws from it
        return 0.0 if policy is None else policy.delay_ms(attempt + 1, no_jitter) / 1000.0

    def to_policy(self) -> RetryPolicy | None:
        """Return this as the engine takes it; None if there is never another attempt.

        Raises:
            ValueError: If a number is out of its range.
        """
        if self.strategy is RetryStrategy.NONE or self.max_retries == 0:
            return None
        immediate = self.strategy is RetryStrategy.IMMEDIATE
        return RetryPolicy(
            max_attempts=self.max_retries + 1,
            base_delay_ms=0.0 if immediate else self.initial_delay_seconds * 1000.0,
            max_delay_ms=self.max_delay_seconds * 1000.0,
            backoff=_BACKOFF.get(self.strategy, BackoffStrategy.CONSTANT),
            jitter=JitterStrategy.NONE,
            multiplier=self.backoff_factor,
            retry_on=self.retry_on_exceptions,
            retry_on_timeout=self.retry_on_timeout,
            retry_all=self.retry_on_exceptions is None,
        )


@attrs.frozen
class TimeoutConfig:
    """How long things may take, in seconds.

    Attributes:
        stage_timeout_seconds: One attempt of a stage that has no limit of its own; None for ever.
        pipeline_timeout_seconds: The whole execution, pauses included; None for ever.
        cleanup_timeout_seconds: All clean-ups together.
        grace_period_seconds: How long a stage in a thread, once cancelled or out of time, is
            waited for before its thread is given up.
    """

    stage_timeout_seconds: float | None = 300.0
    pipeline_timeout_seconds: float | None = 3600.0
    cleanup_timeout_seconds: float = 30.0
    grace_period_seconds: float = 5.0


@attrs.frozen
class PipelineConfig:
    """How a pipeline runs.

    Attributes:
        name: Its name, for messages and events.
        retry: When a failed attempt is followed by another, unless the stage says otherwise.
        timeout: How long things may take.
        continue_on_error: Whether the others run on when a critical stage has failed.
        parallel_stages: Whether stages that do not need each other run at the same time.
        max_parallel: How many may.
        collect_metrics: Whether results come with metrics.
        cleanup_on_cancel: Whether the clean-up handlers run when somebody cancelled the
            pipeline; they run in any other case.
    """

    name: str = "pipeline"
    retry: RetryConfig = attrs.field(factory=RetryConfig)
    timeout: TimeoutConfig = attrs.field(factory=TimeoutConfig)
    continue_on_error: bool = False
    parallel_stages: bool = True
    max_parallel: int = 4
    collect_metrics: bool = True
    cleanup_on_cancel: bool = True
