"""RetryPolicy: how often, how soon and on what a stage is tried again."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from random import Random
from typing import Any

import attrs

__all__ = ("DEFAULT_RETRY", "BackoffStrategy", "JitterStrategy", "RetryPolicy")


class BackoffStrategy(StrEnum):
    """How the delay grows from one retry to the next."""

    EXPONENTIAL = "exponential"
    LINEAR = "linear"
    CONSTANT = "constant"


class JitterStrategy(StrEnum):
    """How chance spreads the delay, so that many retries do not come at once."""

    NONE = "none"
    FULL = "full"
    EQUAL = "equal"
    DECORRELATED = "decorrelated"


def _at_least_one(_: Any, attribute: attrs.Attribute[int], value: int) -> None:
    if value < 1:
        raise ValueError(f"{attribute.name} must be at least 1, not {value}")


def _not_negative(_: Any, attribute: attrs.Attribute[float], value: float) -> None:
    if value < 0:
        raise ValueError(f"{attribute.name} must not be negative, not {value}")


def _classes(
    given: Iterable[type[BaseException]] | type[BaseException] | None,
) -> tuple[type[BaseException], ...] | None:
    if given is None:
        return None
    return (given,) if isinstance(given, type) else tuple(given)


@attrs.frozen
class RetryPolicy:
    """When a failed attempt of a stage is followed by another.

    Attributes:
        max_attempts: Attempts in all, the first included.
        base_delay_ms: Delay before the first retry, in milliseconds, before jitter.
        max_delay_ms: Upper bound of any delay, in milliseconds.
        backoff: How the delay grows.
        jitter: How chance spreads it.
        multiplier: Growth factor of the exponential backoff.
        retry_on: Exception classes worth another attempt; None leaves it to the error
            normalizer's verdict.
        retry_on_timeout: Whether an attempt that timed out may be followed by another.
        retry_all: Whether every failure is worth another attempt, whatever its kind.
    """

    max_attempts: int = attrs.field(default=3, validator=_at_least_one)
    base_delay_ms: float = attrs.field(default=1000.0, validator=_not_negative)
    max_delay_ms: float = attrs.field(default=30_000.0, validator=_not_negative)
    backoff: BackoffStrategy = attrs.field(
        default=BackoffStrategy.EXPONENTIAL, converter=BackoffStrategy
    )
    jitter: JitterStrategy = attrs.field(default=JitterStrategy.FULL, converter=JitterStrategy)
    multiplier: float = attrs.field(default=2.0, validator=_not_negative)
    retry_on: tuple[type[BaseException], ...] | None = attrs.field(default=None, converter=_classes)
    retry_on_timeout: bool = True
    retry_all: bool = False

    def delay_ms(self, retry: int, random: Random, previous_ms: float | None = None) -> float:
        """Return the delay before retry number *retry*, in milliseconds.

        Args:
            retry: 1 for the first retry.
            random: Source of the jitter.
            previous_ms: The delay before, which decorrelated jitter grows from.
        """
        base = self.base_delay_ms
        if self.backoff is BackoffStrategy.EXPONENTIAL:
            # Past 2**64 every bound is reached; a larger exponent would overflow a float.
            grown = base * self.multiplier ** min(retry - 1, 64)
        elif self.backoff is BackoffStrategy.LINEAR:
            grown = base * retry
        else:
            grown = base
        bound = min(grown, self.max_delay_ms)
        if self.jitter is JitterStrategy.FULL:
            return random.uniform(0.0, bound)
        if self.jitter is JitterStrategy.EQUAL:
            return bound / 2 + random.uniform(0.0, bound / 2)
        if self.jitter is JitterStrategy.DECORRELATED:
            upper = max(base, (base if previous_ms is None else previous_ms) * 3)
            return min(self.max_delay_ms, random.uniform(base, upper))
        return bound


DEFAULT_RETRY = RetryPolicy(max_attempts=3, base_delay_ms=100.0, max_delay_ms=2_000.0)
"""What a stage that asks for a retry gets when no policy was set for it."""
