"""How much memory Python objects take over time, measured with the standard `tracemalloc`."""

from __future__ import annotations

import functools
import inspect
import tracemalloc
from collections.abc import Callable
from datetime import datetime
from typing import Any, ParamSpec, TypeVar, cast

import attrs

from stageflow.contracts.clock import Clock, SystemClock
from stageflow.contracts.logs import get_logger
from stageflow.helpers.errors import TrackerInactiveError

__all__ = ("MemorySample", "MemoryTracker", "track_memory")

_log = get_logger(__name__)
_P = ParamSpec("_P")
_R = TypeVar("_R")


@attrs.frozen
class MemorySample:
    """Memory at one moment.

    Attributes:
        timestamp: When it was measured.
        current_kb: Size of the objects allocated since tracing began and still alive.
        peak_kb: The most that was ever alive at once since tracing began.
        label: What the moment was.
    """

    timestamp: datetime
    current_kb: float
    peak_kb: float
    label: str


@attrs.define
class MemoryTracker:
    """Takes labelled samples of the memory that Python objects use.

    Tracing slows allocation down; it belongs into tests and investigations.

    Attributes:
        auto_start: Whether tracing starts at once.
        listeners: Called with each sample; one that raises is logged.
        samples: All samples so far, oldest first.
        clock: Source of the time.
    """

    auto_start: bool = True
    listeners: list[Callable[[MemorySample], object]] = attrs.field(factory=list)
    clock: Clock = attrs.field(factory=SystemClock, kw_only=True)
    samples: list[MemorySample] = attrs.field(factory=list, init=False)
    _active: bool = attrs.field(default=False, init=False)
    _owns_tracing: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        """Start if asked to."""
        if self.auto_start:
            self.start()

    @property
    def is_active(self) -> bool:
        """Whether samples can be taken."""
        return self._active

    def start(self) -> None:
        """Begin tracing; does nothing if this tracker is active already."""
        if self._active:
            return
        self._owns_tracing = not tracemalloc.is_tracing()
        if self._owns_tracing:
            tracemalloc.start()
        self._active = True

    def stop(self) -> None:
        """Take no more samples, and end tracing if this tracker began it."""
        self._active = False
        if self._owns_tracing:
            tracemalloc.stop()
            self._owns_tracing = False

    def observe(self, label: str = "") -> MemorySample:
        """Take a sample, keep it and show it to the listeners.

        Raises:
            TrackerInactiveError: The tracker is not active (a `RuntimeError` too).
        """
        if not self._active or not tracemalloc.is_tracing():
            raise TrackerInactiveError(label)
        current, peak = tracemalloc.get_traced_memory()
        sample = MemorySample(self.clock.now(), current / 1024, peak / 1024, label)
        self.samples.append(sample)
        for listener in self.listeners:
            try:
                listener(sample)
            except Exception:  # noqa: BLE001 - a listener's failure is logged
                _log.exception("memory.listener_failed", label=label)
        return sample


def track_memory(
    *, label: str | None = None, tracker: MemoryTracker | None = None
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Decorate a function, plain or async, so that each call is observed before and after.

    Args:
        label: Name of the samples, `<label>:start` and `<label>:end`; the function's name
            unless given. The second is taken on every way out.
        tracker: Takes the samples. Without one, the first call starts a tracker that logs them.
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        name = label or function.__qualname__

        @functools.cache
        def watching() -> MemoryTracker:
            return tracker or MemoryTracker(listeners=[_log_sample])

        @functools.wraps(function)
        async def observed_async(*args: _P.args, **kwargs: _P.kwargs) -> Any:
            watching().observe(f"{name}:start")
            try:
                return await cast("Any", function(*args, **kwargs))
            finally:
                watching().observe(f"{name}:end")

        @functools.wraps(function)
        def observed(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            watching().observe(f"{name}:start")
            try:
                return function(*args, **kwargs)
            finally:
                watching().observe(f"{name}:end")

        if inspect.iscoroutinefunction(function):
            return cast("Callable[_P, _R]", observed_async)
        return observed

    return decorate


def _log_sample(sample: MemorySample) -> None:
    _log.info(
        "memory.sampled",
        label=sample.label,
        current_kb=sample.current_kb,
        peak_kb=sample.peak_kb,
    )
