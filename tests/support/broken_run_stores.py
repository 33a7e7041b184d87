"""What tests of the kit of run stores share: one clock, and the kit's verdict over a store."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from stageflow.builtin.memory_run_store import MemoryRunStore
from stageflow.testing import TestClock
from stageflow.testing.conformance import failed_clauses
from stageflow.testing.run_store import RunStoreConformance

__all__ = ("Kit", "failures_of", "named_clauses")

_CLOCK = TestClock()


class Kit(RunStoreConformance):
    """The kit for stores made of `MemoryRunStore`, whose clock is the same in every test."""

    capabilities = MemoryRunStore.capabilities
    clock = _CLOCK


class NewsKit(Kit):
    """The kit for a store that also tells news."""

    capabilities = attrs.evolve(Kit.capabilities, news=True)


async def failures_of(broken: type[MemoryRunStore]) -> dict[str, str]:
    """Return the clauses that a store breaks, each with what the kit says of it."""
    kit = NewsKit if broken.capabilities.news else Kit
    failures = await failed_clauses(kit, lambda: broken(clock=_CLOCK))
    return {clause: str(failure) for clause, failure in failures.items()}


def named_clauses(broken: Iterable[type]) -> set[str]:
    """Return the first clause that the docstring of each broken store names."""
    return {(store.__doc__ or "").split(", ")[0] for store in broken}
