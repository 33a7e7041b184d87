"""What an interceptor keeps for each run that is under way, and forgets when the run ends."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from stageflow._engine.run import Run

__all__ = ("PerRun",)

T = TypeVar("T")


class PerRun(Generic[T]):
    """One value per run, made when it is first asked for and given up when the run ends.

    An interceptor serves many runs at once, so nothing about one of them may stand in its own
    attributes. The value is given up after every clean-up of the run's stages.

    Args:
        make: Makes the value.
        end: Is called with the value when the run ends, however it ends.
    """

    __slots__ = ("_end", "_make", "_values")

    def __init__(self, make: Callable[[Run], T], end: Callable[[T], object] | None = None) -> None:
        self._make = make
        self._end = end
        self._values: dict[int, T] = {}

    def of(self, run: Run) -> T:
        """Return the value of *run*."""
        # No two runs that are under way share an id, and whatever ended was forgotten.
        key = id(run)
        found = self._values.get(key)
        if found is None:
            found = self._values[key] = self._make(run)
            run.register_cleanup(partial(self._forget, key), "interceptor")
        return found

    def __len__(self) -> int:
        return len(self._values)

    def _forget(self, key: int) -> None:
        value = self._values.pop(key)
        if self._end is not None:
            self._end(value)
