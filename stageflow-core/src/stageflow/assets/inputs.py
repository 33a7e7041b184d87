"""Inputs: what steps are made from, as far as it is there, and what its absence means for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stageflow.assets.branches import Branches
from stageflow.assets.claims import Turn
from stageflow.assets.context import PartitionValues
from stageflow.assets.declaration import Need
from stageflow.assets.errors import AssetNotReadyError
from stageflow.assets.fanout_errors import UpstreamFailedError
from stageflow.assets.parallel_asset import Ending, ParallelBody
from stageflow.assets.places import Places
from stageflow.assets.routing import RouteBody
from stageflow.assets.survey import Step, StepId, Survey
from stageflow.context import StageContext
from stageflow.contracts.io_manager import AssetNotFoundError
from stageflow.contracts.parallel_coordinator import BranchStatus
from stageflow.contracts.partitions import Partition
from stageflow.stages import StageOutput, StageStatus

__all__ = ("Inputs",)


class Inputs:
    """What the steps of one run are made from.

    Args:
        survey: How everything stands.
        places: Where data lie.
        names: What the run calls its steps.
        branches: Those of its steps that lead to a parallel asset, and how they failed.
        routers: The routers of each asset that is a branch, with the choices it stands for.
    """

    def __init__(
        self,
        survey: Survey,
        places: Places,
        names: Mapping[StepId, str],
        branches: Branches,
        routers: Callable[[str], Mapping[str, tuple[str, ...]]],
    ) -> None:
        self._survey = survey
        self._places = places
        self._names = names
        self._branches = branches
        self._routers = routers

    def endings(self, turn: Turn, ctx: StageContext) -> dict[str, Ending]:
        """Return how the branches of a parallel asset went."""
        body: Any = turn.step.asset.body
        found = {
            need.dep.asset: (need, ids)
            for need, ids in turn.step.upstream
            if need.parameter is None
        }
        return {
            name: self._ending(turn, ctx, *found[branch.asset])
            for name, branch in body.branches.items()
        }

    def _ending(self, turn: Turn, ctx: StageContext, need: Need, ids: tuple[StepId, ...]) -> Ending:
        for each in ids:
            if each in self._branches.failures:
                why = self._branches.failures[each]
                return Ending(status=BranchStatus.FAILED, need=need, why=why)
        for each in ids:
            if self._is_absent(turn, ctx, each):
                name = self._names.get(each)
                output = None if name is None else ctx.inputs.get_output(name)
                why = "it is not there" if output is None else str(output.data.get("reason", ""))
                return Ending(status=BranchStatus.SKIPPED, need=need, why=why)
        return Ending(status=BranchStatus.OK, need=need)

    async def passed_by(self, turn: Turn) -> StageOutput | None:
        """Return how a step is skipped whose router chose another branch; None if none did."""
        routers = self._routers(turn.step.asset.name)
        if not routers:
            return None
        for need, ids in turn.step.upstream:
            for each in ids:
                keys = routers.get(need.dep.asset)
                upstream = self._survey.steps[each]
                if keys is None or not isinstance(upstream.asset.body, RouteBody):
                    continue
                chosen = (await self._load_one(turn, upstream))["route"]
                if chosen not in keys:
                    told = "no branch" if chosen is None else repr(chosen)
                    return StageOutput.skip(f"router {upstream.label} chose {told}")
        return None

    async def load(self, turn: Turn, ctx: StageContext, need: Need, ids: tuple[StepId, ...]) -> Any:
        """Return what a need stands for: data, data by partition, or its default."""
        pairs: dict[str, tuple[Partition, Any]] = {}
        for each in ids:
            upstream = self._survey.steps[each]
            if not (need.dep.optional and self._is_absent(turn, ctx, each)):
                pairs[each[1]] = (upstream.partition, await self._load_one(turn, upstream))
        if need.dep.mapping.many:
            return PartitionValues(pairs)
        return next((value for _, value in pairs.values()), need.default)

    async def _load_one(self, turn: Turn, upstream: Step) -> Any:
        asset, partition = upstream.asset, upstream.partition
        if turn.upstream[upstream.id].trusted is None:
            raise AssetNotReadyError(asset.name, partition, "no record vouches for it any more")
        try:
            return await self._places.of(asset).load(asset, partition)
        except AssetNotFoundError as error:
            raise AssetNotReadyError(asset.name, partition, "its data are gone") from error

    def _is_absent(self, turn: Turn, ctx: StageContext, needed: StepId) -> bool:
        return turn.upstream[needed].trusted is None or self._was_skipped(ctx, needed)

    def _was_skipped(self, ctx: StageContext, needed: StepId) -> bool:
        name = self._names.get(needed)
        output = None if name is None else ctx.inputs.get_output(name)
        return output is not None and output.status is StageStatus.SKIP

    def skipped_need(self, step: Step, ctx: StageContext) -> str | None:
        """Return the name of a needed step that this run has skipped.

        Raises:
            UpstreamFailedError: One has failed, and this is not what joins its branch.
        """
        body = step.asset.body
        ends: set[str] = set()
        if isinstance(body, ParallelBody):
            ends = {branch.asset for branch in body.branches.values()}
        for need, ids in step.upstream:
            if need.parameter is None and need.dep.asset in ends:
                continue  # it decides by itself what that means
            for each in ids:
                if each in self._branches.failures:
                    raise UpstreamFailedError(self._names[each], self._branches.failures[each])
                if not need.dep.optional and self._was_skipped(ctx, each):
                    return self._names[each]
        return None
