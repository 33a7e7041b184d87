"""Routing: an asset that chooses which of several assets is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import attrs

from stageflow.assets.bodies import call_function, call_remotely
from stageflow.assets.context import AssetCall
from stageflow.assets.declaration import CONTEXT, Asset, AssetOutput, asset
from stageflow.assets.fanout_errors import RouteError
from stageflow.codec import codec_type
from stageflow.contracts.routing_coordinator import DecisionNotFoundError
from stageflow.stages import StageKind

__all__ = ("Route", "RouteBody", "route")


@codec_type(name="stageflow.Route")
@attrs.frozen
class Route:
    """What a router's function may return instead of a branch alone.

    Attributes:
        branch: The key of the branch; None for none at all.
        reason: Why, for people.
    """

    branch: str | None
    reason: str | None = None


def route(
    branches: Mapping[str, str | Asset] | Iterable[str | Asset],
    /,
    **options: Any,
) -> Callable[[Callable[..., Any]], Asset]:
    """Make an asset of a function that chooses which of several assets is made.

    The function's parameters name assets, as those of every asset do; it returns the key of a
    branch, or None for none, or a `Route`. What it has decided is recorded before anything else
    happens: a run that takes over from one that died goes the same way. The assets that were not
    chosen are skipped, and so is what needs them; an asset that brings the branches together
    has parameters with defaults for them.

    Args:
        branches: The assets, by the key that stands for each; or a list of assets, whose names
            are the keys.
        **options: What `asset` takes.

    Raises:
        TypeError: *options* has what `asset` does not take.
    """
    if isinstance(branches, Mapping):
        named = {str(key): _name(each) for key, each in branches.items()}
    else:
        named = {_name(each): _name(each) for each in branches}
    body = RouteBody(named)

    def decorate(function: Callable[..., Any]) -> Asset:
        return attrs.evolve(asset(**options)(function), body=body, kind=StageKind.ROUTE)

    return decorate


class RouteBody:
    """Gets a router's data, which are its decision.

    Args:
        branches: The names of assets, by key.
    """

    contract: Final = "routing_coordinator"

    def __init__(self, branches: Mapping[str, str]) -> None:
        self.branches = MappingProxyType(dict(branches))

    def wrong(self) -> list[tuple[str, Any, str]]:
        """Return each option with a value that it cannot have, and what it must be."""
        sound = self.branches and all(key and isinstance(key, str) for key in self.branches)
        return [] if sound else [("branches", dict(self.branches), "assets by keys that are texts")]

    def describe(self) -> str:
        """Return in a few words what is done."""
        return "routes"

    async def produce(self, call: AssetCall) -> AssetOutput:
        """See `AssetBody.produce`."""
        services, name = call.services, call.asset.name
        coordinator, place = services.coordinators.routing, services.partition
        metadata: Mapping[str, Any] = {}
        reason, replayed = None, True
        try:
            chosen = await coordinator.get(services.work_id, name, place)
        except DecisionNotFoundError:
            output = await self._decided(call)
            metadata, replayed = output.metadata, False
            chosen, reason = output.value.branch, output.value.reason
        decision = await coordinator.record(services.work_id, name, place, chosen, reason=reason)
        told = await coordinator.to_output(decision)
        services.tell(
            "asset.routed",
            decision_id=decision,
            route=told["route"],
            reason=told["reason"],
            replayed=replayed,
        )
        # The same decision again leaves fresh what was made because of it.
        version = "none" if told["route"] is None else f"route={told['route']}"
        told["run_id"] = call.context.run_id
        facts = {"route": told["route"], **metadata}
        return AssetOutput(told, metadata=facts, data_version=version)

    async def _decided(self, call: AssetCall) -> AssetOutput:
        if call.executor is not None:
            made: Any = await call_remotely(call, call.executor)
        else:
            arguments = dict(call.inputs)
            if CONTEXT in call.asset.parameters:
                arguments[CONTEXT] = call.context
            made = await call_function(call, partial(call.asset.function, **arguments))
        output = made if isinstance(made, AssetOutput) else AssetOutput(made)
        found = output.value if isinstance(output.value, Route) else Route(output.value)
        if found.branch is not None and found.branch not in self.branches:
            raise RouteError(call.asset.name, found.branch, tuple(self.branches))
        return attrs.evolve(output, value=found)


def _name(given: str | Asset) -> str:
    return given.name if isinstance(given, Asset) else given
