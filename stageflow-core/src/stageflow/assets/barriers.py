"""Barriers of scatters: found where somebody had begun, made anew where that had failed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs

from stageflow.contracts.scatter_coordinator import (
    BarrierState,
    BarrierStatus,
    ScatterCoordinator,
    ScatterCoordinatorCapabilities,
)

if TYPE_CHECKING:
    from stageflow.assets.scatter_asset import Scatter
    from stageflow.assets.services import AssetServices

__all__ = ("SOUND", "Barrier", "forget_work", "open_barrier")

SOUND: Final = frozenset({BarrierStatus.PENDING, BarrierStatus.COMPLETE})
"""What a barrier may be that is worth going on with."""


@attrs.frozen(kw_only=True)
class Barrier:
    """The barrier of a scatter, found or made.

    Attributes:
        coordinator: Keeps it.
        capabilities: What that can do.
        id: Its id.
        state: How far it had come.
        runs: The names under which barriers of this scatter were made.
    """

    coordinator: Any = attrs.field(repr=False)
    capabilities: ScatterCoordinatorCapabilities
    id: str
    state: BarrierState
    runs: tuple[str, ...]

    @property
    def was_begun(self) -> bool:
        """Whether there is something to go on with."""
        return self.state.total > 0 or self.state.sealed

    async def pages(self, size: int, *, failed: bool = False) -> AsyncIterator[Sequence[Any]]:
        """Yield keys with results, or with errors, page by page."""
        if self.capabilities.pages:
            async for page in self.coordinator.gather_pages(self.id, size, failed=failed):
                yield page
        elif not failed:
            found = list((await self.coordinator.gather(self.id)).items())
            for start in range(0, len(found), size):
                yield found[start : start + size]

    async def forget(self) -> None:
        """Delete all that was kept of this scatter, where the coordinator can."""
        if self.capabilities.deletion:
            for each in self.runs:
                await self.coordinator.delete_run(each)


async def open_barrier(
    coordinator: ScatterCoordinator, spec: Scatter, asset: str, services: AssetServices
) -> Barrier:
    """Return the barrier of what is to be made: the one that a dead run left, or a new one.

    What had failed is begun anew with what was completed.
    """
    capabilities = ScatterCoordinatorCapabilities.of(coordinator)
    name = services.work_id
    if not capabilities.claims:
        # Nobody can say which of its keys are pending, so nobody goes on with it.
        name = services.run.options.new_id().hex
    runs: list[str] = []
    before: Barrier | None = None
    while True:
        runs.append(_run_of(name, len(runs)))
        barrier_id = await coordinator.create_barrier(
            runs[-1],
            asset,
            services.partition,
            sealed=False,
            failure_threshold=spec.failure_threshold,
            failure_mode=spec.failure_mode,
        )
        found = Barrier(
            coordinator=coordinator,
            capabilities=capabilities,
            id=barrier_id,
            state=await coordinator.status(barrier_id),
            runs=tuple(runs),
        )
        if found.state.status in SOUND:
            break
        before = found
    if before is None or found.state.sealed or not capabilities.pages:
        return found
    await _carry_over(before, found, spec.page_size)
    if capabilities.deletion and before.state.total:
        await _bury(before, asset, services.partition)
    return attrs.evolve(found, state=await coordinator.status(found.id))


async def forget_work(coordinator: ScatterCoordinator, work_id: str) -> None:
    """Delete every barrier that was made for a piece of work, where the coordinator can."""
    if not ScatterCoordinatorCapabilities.of(coordinator).deletion:
        return
    deleting: Any = coordinator
    number = 0
    # Each that failed stands before the next one, so the first that is not there ends them.
    while await deleting.delete_run(_run_of(work_id, number)):
        number += 1


def _run_of(work_id: str, number: int) -> str:
    return f"{work_id}-{number}"


async def _carry_over(before: Barrier, barrier: Barrier, page_size: int) -> None:
    """Have the completed items of a barrier that failed in another one, too."""
    async for page in before.pages(page_size):
        await barrier.coordinator.insert_results(barrier.id, [key for key, _ in page])
        await barrier.coordinator.record(barrier.id, completed=page)


async def _bury(barrier: Barrier, asset: str, partition: Any) -> None:
    """Leave an empty barrier that says that there was one, for whoever counts them."""
    await barrier.coordinator.delete_barrier(barrier.id)
    again = await barrier.coordinator.create_barrier(
        barrier.runs[-1], asset, partition, sealed=False
    )
    await barrier.coordinator.cancel(again)
