"""Parallel: an asset that joins branches, each of which ends in an asset of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import attrs

from stageflow.assets.bodies import call_function
from stageflow.assets.context import AssetCall
from stageflow.assets.declaration import CONTEXT, Asset, AssetOutput, Dep, asset
from stageflow.assets.fanout_errors import ParallelFailedError
from stageflow.assets.mapping import SAME_PARTITION, PartitionMapping
from stageflow.codec import CodecError
from stageflow.contracts.parallel_coordinator import (
    BranchOutcome,
    BranchStatus,
    ExecutionStatus,
    ParallelCoordinatorCapabilities,
)
from stageflow.contracts.scatter_coordinator import FailureMode
from stageflow.stages import StageKind

__all__ = ("Branch", "Ending", "ParallelBody", "parallel")


@attrs.frozen
class Branch:
    """A branch of a parallel asset.

    Attributes:
        asset: The asset that it ends in.
        required: Whether the whole fails if it does; unless given, all branches are required in
            the mode `all_or_nothing` and none in `partial`.
        timeout: Seconds from when its first asset begins until its last must be made.
        mapping: From which partitions of the asset; the same one unless given.
    """

    asset: str
    required: bool | None = attrs.field(default=None, kw_only=True)
    timeout: float | None = attrs.field(default=None, kw_only=True)
    mapping: PartitionMapping = attrs.field(default=SAME_PARTITION, kw_only=True)


@attrs.frozen(kw_only=True)
class Ending:
    """How a branch ended in this run.

    Attributes:
        status: `ok`, `failed` or `skipped`.
        need: The dependency that stands for it.
        why: Why it failed or was skipped.
    """

    status: BranchStatus
    need: Any
    why: str = ""


def parallel(
    branches: Mapping[str, str | Asset | Branch] | Iterable[str | Asset | Branch],
    /,
    *,
    failure_mode: str = "all_or_nothing",
    timeout: float | None = None,
    **options: Any,
) -> Callable[[Callable[..., Any]], Asset]:
    """Make an asset of a function that joins branches which run side by side.

    A branch is an asset with all that it is made from. The function's first parameter is given
    what there is by branch: the data of each, or in the mode `partial` a `BranchOutcome` that
    tells whether it is ok, failed or was skipped. Its other parameters name assets, as those of
    every asset do. A branch that fails fails this asset if it is required, and nothing else.

    Args:
        branches: The assets in which they end, by name of the branch; or a list of assets, whose
            names are those of the branches.
        failure_mode: `all_or_nothing` or `partial`.
        timeout: Seconds from when the first branch begins until the last must have ended.
        **options: What `asset` takes, but for an executor: the join runs here.

    Raises:
        TypeError: *options* has what `asset` does not take.
    """
    if isinstance(branches, Mapping):
        found = {str(name): _as_branch(each) for name, each in branches.items()}
    else:
        found = {each.asset: each for each in map(_as_branch, branches)}
    body = ParallelBody(found, failure_mode, timeout)

    def decorate(function: Callable[..., Any]) -> Asset:
        made = asset(**options)(function)
        ends = tuple(
            Dep(each.asset, each.mapping, optional=name not in body.required, skippable=True)
            for name, each in found.items()
        )
        names = tuple(made.parameters)[1:]
        return attrs.evolve(
            made,
            body=body,
            after=(*made.after, *ends),
            parameters={name: made.parameters[name] for name in names},
            kind=StageKind.WORK,
        )

    return decorate


class ParallelBody:
    """Gets an asset's data by joining branches.

    Args:
        branches: The branches by name.
        failure_mode: Whether the join sees results or outcomes.
        timeout: Seconds for all of them.
    """

    contract: Final = "parallel_coordinator"
    first: Final = "what the branches gave"
    runs_here: Final = True

    def __init__(
        self, branches: Mapping[str, Branch], failure_mode: str, timeout: float | None
    ) -> None:
        self.branches = MappingProxyType(dict(branches))
        self.failure_mode = failure_mode
        self.timeout = timeout
        by_default = failure_mode != FailureMode.PARTIAL
        self.required = frozenset(
            name
            for name, each in self.branches.items()
            if (by_default if each.required is None else each.required)
        )

    def wrong(self) -> list[tuple[str, Any, str]]:
        """Return each option with a value that it cannot have, and what it must be."""
        wrong: list[tuple[str, Any, str]] = []
        ends = [each.asset for each in self.branches.values()]
        if not ends or len(set(ends)) < len(ends):
            wrong.append(("branches", ends, "one or more assets, each once"))
        if self.failure_mode not in set(FailureMode):
            wrong.append(("failure_mode", self.failure_mode, "'partial' or 'all_or_nothing'"))
        timeouts: list[Any] = [each.timeout for each in self.branches.values()]
        return wrong + [
            ("timeout", given, "seconds above 0")
            for given in (self.timeout, *timeouts)
            if given is not None and not (isinstance(given, int | float) and given > 0)
        ]

    def describe(self) -> str:
        """Return in a few words what is done."""
        return "joins"

    async def produce(self, call: AssetCall) -> AssetOutput:
        """See `AssetBody.produce`."""
        services, name = call.services, call.asset.name
        coordinator: Any = services.coordinators.parallel
        endings: Mapping[str, Ending] = services.endings()
        run_id = f"{call.context.run_id}:{services.work_id}"
        execution = await coordinator.create_execution(
            run_id,
            name,
            tuple(self.branches),
            partition=services.partition,
            required=self.required,
            failure_mode=self.failure_mode,
        )
        await coordinator.schedule_branches(execution)
        status = ExecutionStatus.RUNNING
        for branch, each in endings.items():
            status = await self._told(coordinator, execution, branch, each)
            services.tell(
                "asset.branch_ended",
                execution_id=execution,
                branch=branch,
                status=str(each.status),
                required=branch in self.required,
                why=each.why or None,
            )
        if ParallelCoordinatorCapabilities.of(coordinator).deletion:
            services.when_recorded(partial(coordinator.delete_run, run_id))
        if status is ExecutionStatus.FAILED:
            for branch, each in endings.items():
                if branch in self.required and each.status is BranchStatus.FAILED:
                    raise ParallelFailedError(name, branch, each.why)
        return await self._joined(call, coordinator, execution, endings)

    async def _told(
        self, coordinator: Any, execution: str, branch: str, ending: Ending
    ) -> ExecutionStatus:
        status: ExecutionStatus
        if ending.status is BranchStatus.OK:
            # The data lie with their IO manager; that they are there is all there is to keep.
            status = await coordinator.complete_branch(execution, branch, None)
        elif ending.status is BranchStatus.FAILED:
            status = await coordinator.fail_branch(execution, branch, ending.why)
        else:
            status = await coordinator.skip_branch(execution, branch, ending.why)
        return status

    async def _joined(
        self, call: AssetCall, coordinator: Any, execution: str, endings: Mapping[str, Ending]
    ) -> AssetOutput:
        """Return what the join gives; what it gave before, if an earlier attempt had got there."""
        made: list[AssetOutput] = []

        async def join(found: Mapping[str, Any]) -> list[Any]:
            branches = {
                name: await self._seen(call, endings[name], outcome)
                for name, outcome in found.items()
            }
            arguments = dict(call.inputs)
            if CONTEXT in call.asset.parameters:
                arguments[CONTEXT] = call.context
            value = await call_function(call, partial(call.asset.function, branches, **arguments))
            output = value if isinstance(value, AssetOutput) else AssetOutput(value)
            made.append(output)
            return [output.value, dict(output.metadata), output.data_version]

        try:
            value, metadata, version = await coordinator.execute_join(execution, join)
        except CodecError:
            if not made:
                raise
            # Its IO manager may store what the codec cannot; then only the record says it is done.
            return made[0]
        return AssetOutput(value, metadata=metadata, data_version=version)

    async def _seen(self, call: AssetCall, ending: Ending, outcome: Any) -> Any:
        data = None
        if ending.status is BranchStatus.OK:
            data = await call.services.load(ending.need)
        if isinstance(outcome, BranchOutcome):
            return attrs.evolve(outcome, result=data)
        return data


def _as_branch(given: str | Asset | Branch) -> Branch:
    if isinstance(given, Branch):
        return given
    return Branch(given.name if isinstance(given, Asset) else given)
