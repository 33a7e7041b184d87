"""What can stand around a stage: one chain, composed when the pipeline is built."""

from stageflow.interceptors.base import (
    BaseInterceptor,
    ErrorAction,
    InterceptorDeniedError,
    InterceptorResult,
)
from stageflow.interceptors.limits import (
    RateLimitError,
    RetryInterceptor,
    ServiceUnavailableError,
    TimeoutInterceptor,
    TransientError,
)
from stageflow.stages.retry import BackoffStrategy, JitterStrategy

__all__ = (
    "BackoffStrategy",
    "BaseInterceptor",
    "ErrorAction",
    "InterceptorDeniedError",
    "InterceptorResult",
    "JitterStrategy",
    "RateLimitError",
    "RetryInterceptor",
    "ServiceUnavailableError",
    "TimeoutInterceptor",
    "TransientError",
)
