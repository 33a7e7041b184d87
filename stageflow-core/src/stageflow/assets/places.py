"""Places: the IO managers and executors that assets name, opened once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import attrs

from stageflow.assets.declaration import Asset
from stageflow.contracts.io_manager import IOManager
from stageflow.contracts.partitions import Partition

if TYPE_CHECKING:
    from stageflow.contracts.executor import Executor
    from stageflow.plugins import Implementation, Plugins, Registry
    from stageflow.runtime import Runtime

__all__ = ("Place", "Places")


@attrs.frozen
class Place:
    """Where the data of an asset lie.

    Attributes:
        name: The IO manager's name in the settings; its class, if it was given as an object.
        manager: The IO manager.
    """

    name: str
    manager: IOManager

    async def load(self, asset: Asset, partition: Partition) -> Any:
        """Return the data; raise `AssetNotFoundError` if there are none."""
        return await self.manager.load(asset.name, partition, **asset.io_options)

    async def store(self, asset: Asset, data: Any, partition: Partition) -> None:
        """Keep the data."""
        await self.manager.store(asset.name, data, partition, **asset.io_options)

    async def exists(self, asset: Asset, partition: Partition) -> bool:
        """Return whether there are data."""
        return await self.manager.exists(asset.name, partition, **asset.io_options)

    async def delete(self, asset: Asset, partition: Partition) -> None:
        """Forget the data."""
        await self.manager.delete(asset.name, partition, **asset.io_options)


class Places:
    """The IO managers and executors of some assets; those given by name are opened and closed here.

    Args:
        runtime: Whose settings know the names, and whose resources they need.
        default: Where the data of assets lie that name none; what the settings choose, or else
            the embedded default, unless given.
    """

    def __init__(self, runtime: Runtime, default: Any = None) -> None:
        self._runtime = runtime
        self._default = default
        self._plugins: Plugins | None = runtime.plugins
        self._stack = AsyncExitStack()
        self._named: dict[str | None, Place] = {}
        self._executors: dict[str, Executor] = {}

    async def open(self, assets: Iterable[Asset]) -> None:
        """Open what these assets name.

        Raises:
            PluginError: If a name is unknown, or its IO manager cannot be opened.
        """
        for each in assets:
            wanted = self._default if each.io_manager is None else each.io_manager
            if wanted is None or isinstance(wanted, str):
                await self._open_named(wanted, each)
            if isinstance(each.executor, str) and each.executor not in self._executors:
                found = _resolved(self.registry("executor", named=True), each.executor, each)
                opening = found.open(resources=self._runtime.resources)
                self._executors[found.name] = await self._stack.enter_async_context(opening)

    async def aclose(self) -> None:
        """Close what was opened."""
        self._named.clear()
        self._executors.clear()
        await self._stack.aclose()

    def of(self, asset: Asset) -> Place:
        """Return where the data of an asset lie."""
        wanted = self._default if asset.io_manager is None else asset.io_manager
        if wanted is None or isinstance(wanted, str):
            return self._named[wanted]
        return wanted if isinstance(wanted, Place) else Place(type(wanted).__name__, wanted)

    def executor_of(self, asset: Asset) -> Executor | None:
        """Return where the function of an asset runs; None for here."""
        wanted: Any = asset.executor
        return self._executors[wanted] if isinstance(wanted, str) else wanted

    @property
    def resources(self) -> Mapping[str, Any]:
        """The open resources, by name."""
        return self._runtime.resources

    def chooses(self, contract: str) -> bool:
        """Return whether the settings choose an implementation of a contract."""
        return self._plugins is not None and bool(self._plugins.settings.choices.get(contract))

    async def run_store(self) -> Any:
        """Return a run store in memory, for a runtime that has none."""
        found = _embedded("run_store").resolve("memory")
        return await self._stack.enter_async_context(found.open())

    async def _open_named(self, name: str | None, asset: Asset) -> None:
        if name in self._named:
            return
        registry = self.registry("io_manager", named=name is not None)
        found = registry.default() if name is None else _resolved(registry, name, asset)
        opening = found.open(resources=self._runtime.resources)
        self._named[name] = Place(found.name, await self._stack.enter_async_context(opening))

    def registry(self, contract: str, *, named: bool) -> Registry[Any]:
        """Return what a contract offers; settings are read only where a name needs them."""
        if self._plugins is None and not named:
            return _embedded(contract)
        if self._plugins is None:
            from stageflow.plugins import Plugins

            self._plugins = Plugins.load()
        return self._plugins.registry(contract)


def _resolved(registry: Registry[Any], name: str, asset: Asset) -> Implementation[Any]:
    """Return what a name stands for; what is wrong with it is told with the asset."""
    from stageflow.plugins import PluginError

    try:
        return registry.resolve(name)
    except PluginError as error:
        if name in (asset.io_manager, asset.executor):
            error.args = (f"{error.message.removesuffix('.')} (asset {asset.name!r}).",)
        raise


def _embedded(contract: str) -> Registry[Any]:
    """Return what is installed for a contract, without any settings."""
    from stageflow.plugins import CORE_CONTRACTS, Registry, process_discovery

    (entry,) = (each for each in CORE_CONTRACTS if each.name == contract)
    registry: Registry[Any] = Registry(entry)
    for found in process_discovery().group(entry.group):
        registry.offer(found)
    return registry
