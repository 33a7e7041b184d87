"""ChildRunTracker: which run was started by which, while they run."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Generic, TypeVar
from uuid import UUID

from stageflow.errors import RunError

__all__ = (
    "ChildRunTracker",
    "LineageError",
    "Shared",
    "clear_child_tracker",
    "get_child_tracker",
    "set_child_tracker",
)

T = TypeVar("T")


class LineageError(RunError, ValueError):
    """A run was to become the child of a second run, or of one of its own descendants.

    Attributes:
        parent: The run that was to be its parent.
        child: The run.
    """

    code = "SF343"

    def __init__(self, parent: UUID, child: UUID, why: str) -> None:
        super().__init__(
            f"Run {child} cannot be a child of run {parent}: {why}.",
            hint="Start every child run under a new id.",
        )
        self.parent = parent
        self.child = child


class ChildRunTracker:
    """A forest of runs; safe from any thread and any task.

    The methods are awaited, but never wait: each happens as a whole.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parents: dict[UUID, UUID] = {}
        self._children: dict[UUID, dict[UUID, None]] = {}
        self._counts: Counter[str] = Counter()

    async def register_child(self, parent: UUID, child: UUID) -> None:
        """Note that *parent* has started *child*; once more changes nothing.

        Raises:
            LineageError: If *child* has another parent, or is *parent* or above it.
        """
        with self._lock:
            known = self._parents.get(child)
            if known == parent:
                return
            if known is not None:
                raise LineageError(parent, child, f"it is one of run {known}")
            if child in self._line(parent):
                raise LineageError(parent, child, "a run cannot start itself or a run above it")
            self._parents[child] = parent
            self._children.setdefault(parent, {})[child] = None
            self._counts["registration_count"] += 1

    async def unregister_child(self, parent: UUID, child: UUID) -> None:
        """Forget that *parent* has started *child*; nothing if it has not."""
        with self._lock:
            if self._parents.get(child) == parent:
                self._cut(child)
                self._counts["unregistration_count"] += 1

    async def get_children(self, parent: UUID) -> set[UUID]:
        """Return the runs that *parent* has started itself."""
        with self._lock:
            self._counts["lookup_count"] += 1
            return set(self._children.get(parent, ()))

    async def get_parent(self, child: UUID) -> UUID | None:
        """Return the run that has started *child*, or None."""
        with self._lock:
            self._counts["lookup_count"] += 1
            return self._parents.get(child)

    async def get_all_descendants(self, run: UUID) -> set[UUID]:
        """Return the children of *run*, their children, and so on."""
        with self._lock:
            self._counts["tree_traversal_count"] += 1
            return set(self._below(run))

    async def get_ancestors(self, run: UUID) -> list[UUID]:
        """Return the runs above *run*, its parent first."""
        with self._lock:
            self._counts["tree_traversal_count"] += 1
            return self._line(run)[1:]

    async def get_root_run(self, run: UUID) -> UUID:
        """Return the outermost run above *run*: itself if there is none."""
        with self._lock:
            self._counts["tree_traversal_count"] += 1
            return self._line(run)[-1]

    async def cleanup_run(self, run: UUID) -> None:
        """Forget *run* and all its descendants."""
        with self._lock:
            for gone in self._below(run):
                self._cut(gone)
            self._cut(run)
            self._counts["cleanup_count"] += 1

    async def get_metrics(self) -> dict[str, int]:
        """Return what was counted: runs that are tracked now, and calls so far."""
        with self._lock:
            counted = (
                "registration_count",
                "unregistration_count",
                "lookup_count",
                "tree_traversal_count",
                "cleanup_count",
            )
            return {
                "active_parents": len(self._children),
                "active_children": len(self._parents),
                **{name: self._counts[name] for name in counted},
            }

    def _line(self, run: UUID) -> list[UUID]:
        line = [run]
        while (above := self._parents.get(line[-1])) is not None:
            line.append(above)
        return line

    def _below(self, run: UUID) -> list[UUID]:
        found = list(self._children.get(run, ()))
        for child in found:  # grows while it is walked
            found.extend(self._children.get(child, ()))
        return found

    def _cut(self, child: UUID) -> None:
        parent = self._parents.pop(child, None)
        if parent is not None:
            siblings = self._children[parent]
            del siblings[child]
            if not siblings:
                del self._children[parent]


class Shared(Generic[T]):
    """What those use who name nothing of their own: made at the first use, and replaceable."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._lock = threading.Lock()
        self._make = make
        self._value: T | None = None

    def get(self) -> T:
        """Return what is shared."""
        with self._lock:
            if self._value is None:
                self._value = self._make()
            return self._value

    def set(self, value: T | None) -> None:
        """Share *value*; without one, make a new one at the next use."""
        with self._lock:
            self._value = value


_current = Shared(ChildRunTracker)


def get_child_tracker() -> ChildRunTracker:
    """Return the tracker of those who name none."""
    return _current.get()


def set_child_tracker(tracker: ChildRunTracker) -> None:
    """Have *tracker* used by those who name none."""
    _current.set(tracker)


def clear_child_tracker() -> None:
    """Have a new tracker used by those who name none, from the next use on."""
    _current.set(None)
