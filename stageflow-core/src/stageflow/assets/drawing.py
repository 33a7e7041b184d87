"""The graph of assets as one draws it: a node for each, with its partitions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from stageflow._engine.plan import Node, Plan, compile_plan
from stageflow._engine.run import RunOptions
from stageflow.assets.declaration import Asset
from stageflow.errors import ConfigurationError

if TYPE_CHECKING:
    from stageflow.assets.graph import Assets

__all__ = ("AssetDrawing", "AssetTargetError")


class AssetTargetError(ConfigurationError):
    """Assets were to be run like a pipeline; they are materialized instead."""

    code = "SF742"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name!r} are assets, and a run of them needs to know which to make.",
            hint="`stageflow assets materialize TARGET ASSET`, or AssetStore.materialize(…).",
        )
        self.name = name


class AssetDrawing:
    """The graph of all assets, built; to look at, not to run.

    Args:
        assets: The assets.
    """

    def __init__(self, assets: Assets) -> None:
        self._assets = assets
        titles = {name: title(assets[name]) for name in assets.order}
        self._plan = compile_plan(
            (
                Node(
                    titles[name],
                    _look,
                    assets[name].kind,
                    tuple(titles[need.dep.asset] for need in assets.needs(name)),
                    assets[name].conditional or bool(assets.routers(name)),
                )
                for name in assets.order
            ),
            name=assets.name,
        )

    @property
    def name(self) -> str:
        """What the assets are called together."""
        return self._assets.name

    @property
    def plan(self) -> Plan:
        """The graph."""
        return self._plan

    @property
    def options(self) -> RunOptions:
        """What a run would be given."""
        return RunOptions()

    @property
    def inputs(self) -> Mapping[str, Any]:
        """Nothing: assets take no inputs."""
        return {}

    def check_inputs(self, given: Mapping[str, Any]) -> None:
        """Raise `AssetTargetError`: it is not to be run."""
        raise AssetTargetError(self.name)

    async def execute(self, ctx: Any, options: Any = None) -> NoReturn:
        """Raise `AssetTargetError`: it is not to be run."""
        raise AssetTargetError(self.name)


def title(asset: Asset) -> str:
    """Return an asset's name with its partitions, and how it is made, in a few words."""
    told = asset.name
    if asset.partitions is not None:
        told = f"{told}  [{asset.partitions.describe()}]"
    describe = getattr(asset.body, "describe", None)
    return told if describe is None else f"{told}  ({describe()})"


def _look(ctx: object) -> None:
    """Stand for the work of an asset, which is not done here."""
