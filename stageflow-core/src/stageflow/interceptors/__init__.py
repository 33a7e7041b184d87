"""What can stand around a stage: one chain, composed when the pipeline is built."""

from stageflow.interceptors.base import (
    BaseInterceptor,
    ErrorAction,
    InterceptorDeniedError,
    InterceptorResult,
)
from stageflow.interceptors.chain import get_default_interceptors, run_with_interceptors
from stageflow.interceptors.circuit_breaker import (
    CircuitBreakerInterceptor,
    CircuitOpenError,
    CircuitState,
)
from stageflow.interceptors.hardening import (
    ContextSizeInterceptor,
    ContextSizeMetrics,
    ImmutabilityInterceptor,
    SnapshotMutatedError,
)
from stageflow.interceptors.idempotency import IdempotencyInterceptor, IdempotencyParamMismatch
from stageflow.interceptors.idempotency_store import (
    CachedStageResult,
    IdempotencyStore,
    InMemoryIdempotencyStore,
)
from stageflow.interceptors.limits import (
    RateLimitError,
    RetryInterceptor,
    ServiceUnavailableError,
    TimeoutInterceptor,
    TransientError,
)
from stageflow.interceptors.observers import (
    ChildTrackerMetricsInterceptor,
    LoggingInterceptor,
    MetricsInterceptor,
    MetricsSource,
    StageMetrics,
)
from stageflow.interceptors.tracing import TracingInterceptor
from stageflow.stages.retry import BackoffStrategy, JitterStrategy

__all__ = (
    "BackoffStrategy",
    "BaseInterceptor",
    "CachedStageResult",
    "ChildTrackerMetricsInterceptor",
    "CircuitBreakerInterceptor",
    "CircuitOpenError",
    "CircuitState",
    "ContextSizeInterceptor",
    "ContextSizeMetrics",
    "ErrorAction",
    "IdempotencyInterceptor",
    "IdempotencyParamMismatch",
    "IdempotencyStore",
    "ImmutabilityInterceptor",
    "InMemoryIdempotencyStore",
    "InterceptorDeniedError",
    "InterceptorResult",
    "JitterStrategy",
    "LoggingInterceptor",
    "MetricsInterceptor",
    "MetricsSource",
    "RateLimitError",
    "RetryInterceptor",
    "ServiceUnavailableError",
    "SnapshotMutatedError",
    "StageMetrics",
    "TimeoutInterceptor",
    "TracingInterceptor",
    "TransientError",
    "get_default_interceptors",
    "run_with_interceptors",
)
