"""Timeouts and retries as interceptors: they only set the policy that the engine follows."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from stageflow._engine.plan import StagePolicy
from stageflow.errors import RunError
from stageflow.interceptors.base import BaseInterceptor
from stageflow.stages.retry import BackoffStrategy, JitterStrategy, RetryPolicy

__all__ = (
    "RateLimitError",
    "RetryInterceptor",
    "ServiceUnavailableError",
    "TimeoutInterceptor",
    "TransientError",
)


class TransientError(RunError):
    """Something failed that may succeed a little later."""

    code = "SF321"
    retryable = True

    def __init__(self, message: str = "A transient failure.", *, hint: str = "") -> None:
        super().__init__(message, hint=hint)


class RateLimitError(TransientError):
    """A service asked to be called less often.

    Attributes:
        retry_after: Seconds after which it may be called again, if it said so.
    """

    code = "SF322"

    def __init__(self, message: str = "Rate limited.", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ServiceUnavailableError(TransientError):
    """A service does not answer for now."""

    code = "SF323"


class TimeoutInterceptor(BaseInterceptor):
    """Limits each attempt of every stage that has no timeout of its own.

    Args:
        timeout_seconds: The limit in seconds.
    """

    name = "timeout"
    priority = 5

    def __init__(self, timeout_seconds: float = 30.0) -> None:
        if not timeout_seconds > 0:
            raise ValueError(f"timeout_seconds must be above 0, not {timeout_seconds!r}")
        self.timeout_seconds = timeout_seconds

    def configure(self, policy: StagePolicy) -> StagePolicy:
        """Return *policy* with the limit, unless it has one."""
        if policy.timeout is not None:
            return policy
        return attrs.evolve(policy, timeout=self.timeout_seconds)


class RetryInterceptor(BaseInterceptor):
    """Gives every stage that has no retry policy of its own this one.

    Args:
        max_attempts: Attempts in all, the first included.
        base_delay_ms: Delay before the first retry, in milliseconds, before jitter.
        max_delay_ms: Upper bound of any delay, in milliseconds.
        backoff_strategy: How the delay grows.
        jitter_strategy: How chance spreads it.
        retryable_errors: Exception classes worth another attempt; what the error normalizer
            takes to be transient unless given.
    """

    name = "retry"
    priority = 15

    def __init__(
        self,
        max_attempts: int = 3,
        base_delay_ms: float = 1000,
        max_delay_ms: float = 30000,
        backoff_strategy: BackoffStrategy = BackoffStrategy.EXPONENTIAL,
        jitter_strategy: JitterStrategy = JitterStrategy.FULL,
        retryable_errors: Iterable[type[BaseException]] | None = None,
    ) -> None:
        self.policy = RetryPolicy(
            max_attempts=max_attempts,
            base_delay_ms=base_delay_ms,
            max_delay_ms=max_delay_ms,
            backoff=backoff_strategy,
            jitter=jitter_strategy,
            retry_on=retryable_errors,
        )

    def configure(self, policy: StagePolicy) -> StagePolicy:
        """Return *policy* with the retry policy, unless it has one."""
        return policy if policy.retry is not None else attrs.evolve(policy, retry=self.policy)
