"""Branches: which steps of a run belong to branches of parallel assets, and for how long."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import anyio
import attrs

from stageflow.assets.fanout_errors import BranchTimeoutError
from stageflow.assets.parallel_asset import Branch, ParallelBody

if TYPE_CHECKING:
    from stageflow._engine.run import Run
    from stageflow.assets.survey import Step, StepId

__all__ = ("BranchTimes", "Branches")


@attrs.define(eq=False)
class BranchTimes:
    """The times of one parallel asset's branches, which begin with the first step of each.

    Attributes:
        asset: The parallel asset.
        body: Its branches.
        ends: When the time of each branch is over, on the run's clock; under "" that of all.
    """

    asset: str
    body: ParallelBody
    ends: dict[str, float] = attrs.field(factory=dict)

    def left(self, branch: str, now: float) -> Iterator[tuple[float, str, float]]:
        """Yield what is left for a step of the branch: seconds, whose they are, and of how many."""
        declared = self.body.branches.get(branch, Branch("")).timeout
        for whose, timeout in ((branch, declared), ("", self.body.timeout)):
            if timeout is not None:
                end = self.ends.setdefault(whose, now + timeout)
                yield end - now, whose, timeout


class Branches:
    """The steps of a run that belong to branches; what fails there stops nothing else.

    Args:
        steps: All steps of the run, by id.
    """

    def __init__(self, steps: Mapping[StepId, Step]) -> None:
        self._times: dict[StepId, list[tuple[BranchTimes, str]]] = {}
        self.failures: dict[StepId, str] = {}
        for step in steps.values():
            body = step.asset.body
            if isinstance(body, ParallelBody):
                self._add(step, body, steps)

    def __contains__(self, step: StepId) -> bool:
        return step in self._times

    async def within_time(
        self, step: StepId, run: Run, proceed: Callable[[], Awaitable[Any]]
    ) -> Any:
        """Return what *proceed* gives.

        Raises:
            BranchTimeoutError: The time of the branch, or of all branches, was over before.
        """
        now = run.clock.monotonic()
        limits = [
            (left, times, whose, timeout)
            for times, branch in self._times[step]
            for left, whose, timeout in times.left(branch, now)
        ]
        if not limits:
            return await proceed()
        left, times, whose, timeout = min(limits, key=lambda limit: limit[0])
        if left <= 0:
            raise BranchTimeoutError(times.asset, whose, timeout)
        value: Any = None
        with anyio.CancelScope() as scope:
            limit = run.deadlines.add(scope, left)
            try:
                value = await proceed()
            finally:
                limit.close()
        if limit.passed:
            raise BranchTimeoutError(times.asset, whose, timeout)
        return value

    def _add(self, step: Step, body: ParallelBody, steps: Mapping[StepId, Step]) -> None:
        """Find the steps of each branch: what it ends in, and what only that is made from."""
        times = BranchTimes(step.asset.name, body)
        ends = {branch.asset: name for name, branch in body.branches.items()}
        reached: dict[StepId, set[str]] = {}
        for need, ids in step.upstream:
            if need.parameter is None and need.dep.asset in ends:
                branch = ends[need.dep.asset]
                for each in _upstream(ids, steps):
                    reached.setdefault(each, set()).add(branch)
        for each, names in reached.items():
            # What several branches are made from is on the time of all of them alone.
            branch = next(iter(names)) if len(names) == 1 else ""
            self._times.setdefault(each, []).append((times, branch))


def _upstream(ids: tuple[StepId, ...], steps: Mapping[StepId, Step]) -> set[StepId]:
    found: set[StepId] = set()
    waiting = [each for each in ids if each in steps]
    while waiting:
        each = waiting.pop()
        if each not in found:
            found.add(each)
            near = (needed for _, ids in steps[each].upstream for needed in ids)
            waiting += [needed for needed in near if needed in steps]
    return found
