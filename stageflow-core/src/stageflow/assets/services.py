"""Services: what kinds of assets other than plain functions need of their run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from stageflow.contracts.logs import get_logger

if TYPE_CHECKING:
    from stageflow._engine.run import Run
    from stageflow.assets.declaration import Asset
    from stageflow.assets.parallel_asset import Ending
    from stageflow.assets.places import Places
    from stageflow.contracts.item_reader import ItemReader
    from stageflow.contracts.parallel_coordinator import ParallelCoordinator
    from stageflow.contracts.routing_coordinator import RoutingCoordinator
    from stageflow.contracts.scatter_coordinator import ScatterCoordinator

__all__ = ("AssetServices", "Coordinators", "done_after")

_log = get_logger(__name__)


class Coordinators:
    """The coordinators that assets need, opened once.

    A coordinator is what the settings choose. If they choose none it is SQLite in the folder
    of a run store that is a file, so that what was begun outlives the process as the records do,
    and memory beside any other run store.

    Args:
        places: Knows the settings.
        folder: Where files of coordinators lie; that of the run store unless given.
    """

    def __init__(self, places: Places, folder: Path | None = None) -> None:
        self._places = places
        self._folder = folder
        self._opened: dict[str, Any] = {}
        self._stack = AsyncExitStack()

    async def open(self, assets: Mapping[str, Asset], run_store: Any) -> None:
        """Open what these assets need.

        Raises:
            PluginError: If one cannot be opened.
        """
        path = getattr(run_store, "path", None)
        if self._folder is None and isinstance(path, Path) and path.name != ":memory:":
            self._folder = path.parent
        for each in assets.values():
            contract = getattr(each.body, "contract", None)
            if contract is not None and contract not in self._opened:
                self._opened[contract] = await self._open(contract)

    async def aclose(self) -> None:
        """Close what was opened."""
        self._opened.clear()
        await self._stack.aclose()

    @property
    def scatter(self) -> ScatterCoordinator:
        """Keeps the items of scatters."""
        found: ScatterCoordinator = self._opened["scatter_coordinator"]
        return found

    @property
    def parallel(self) -> ParallelCoordinator:
        """Keeps how far branches have come."""
        found: ParallelCoordinator = self._opened["parallel_coordinator"]
        return found

    def has(self, contract: str) -> bool:
        """Return whether a coordinator was needed, and is open."""
        return contract in self._opened

    @property
    def routing(self) -> RoutingCoordinator:
        """Keeps decisions."""
        found: RoutingCoordinator = self._opened["routing_coordinator"]
        return found

    def reader(self, name: str, config: Mapping[str, Any]) -> ItemReader:
        """Return a new item reader by its name in the settings.

        Raises:
            PluginError: If it cannot be made.
        """
        registry = self._places.registry("item_reader", named=name != "custom")
        found: ItemReader = registry.resolve(name).build(config, resources=self._places.resources)
        return found

    async def _open(self, contract: str) -> Any:
        registry = self._places.registry(contract, named=False)
        overrides: dict[str, Any] = {}
        found = registry.default()
        if not self._places.chooses(contract) and self._folder is not None:
            found = registry.resolve("sqlite")
            if "path" not in found.configured:
                overrides["path"] = str(self._folder / "coordination.sqlite3")
        opening = found.open(overrides, resources=self._places.resources)
        return await self._stack.enter_async_context(opening)


@attrs.frozen(kw_only=True, eq=False)
class AssetServices:
    """What one attempt at an asset may use.

    Attributes:
        run: The run of the engine.
        coordinators: The open coordinators.
        partition: The partition that is made.
        work_id: Names what is being made: the same for whoever makes it again after a crash.
        tell: Tells whoever listens of something, with the facts of the step.
        when_recorded: Has something done once the materialization is on record.
        load: Returns the data of what a need stands for.
        endings: Returns how the branches of a parallel asset went in this run.
    """

    run: Run
    coordinators: Coordinators
    partition: Any
    work_id: str
    tell: Callable[..., None]
    when_recorded: Callable[[Callable[[], Awaitable[Any]]], None]
    load: Callable[[Any], Awaitable[Any]]
    endings: Callable[[], Mapping[str, Ending]]


async def done_after(actions: list[Callable[[], Awaitable[Any]]], label: str) -> None:
    """Do what was to be done after the record; what fails changes nothing that counts."""
    for action in actions:
        try:
            await action()
        except Exception as error:  # noqa: BLE001 - the asset is made; this only tidies up
            _log.warning("asset.not_tidied_up", asset=label, error=str(error))
