"""Assets put together: a checked, immutable collection, and who is made from whom."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from graphlib import CycleError, TopologicalSorter
from types import ModuleType
from typing import TYPE_CHECKING, Any

import attrs

from stageflow.assets.declaration import CONTEXT, Asset, Dep, Need
from stageflow.assets.errors import (
    CYCLE_FAULT,
    DEPENDENCY_FAULT,
    DOCS,
    NAME_FAULT,
    OPTION_FAULT,
    PARAMETER_FAULT,
    PARTITIONS_FAULT,
    AssetDefinitionError,
    UnknownAssetError,
)
from stageflow.errors import ContractErrorInfo, did_you_mean
from stageflow.stages import StageKind
from stageflow.stages.retry import RetryPolicy

if TYPE_CHECKING:
    from stageflow.assets.drawing import AssetDrawing
    from stageflow.assets.store import AssetStore
    from stageflow.runtime import Runtime

__all__ = ("Assets", "Lineage")


@attrs.frozen
class Lineage:
    """What an asset is made from, and what is made from it, directly or not.

    Attributes:
        asset: The asset.
        upstream: What it is made from, the first to be made first.
        downstream: What is made from it, in the same order.
        edges: Who is made directly from whom among all of these, as (upstream, downstream).
    """

    asset: str
    upstream: tuple[str, ...]
    downstream: tuple[str, ...]
    edges: tuple[tuple[str, str], ...] = attrs.field(repr=False)


class Assets(Mapping[str, Asset]):
    """Assets by name; checked as a whole, immutable, shared freely.

    Args:
        assets: The assets, or collections of them, in any order.
        name: What to call them together, in runs and drawings.

    Raises:
        AssetDefinitionError: If anything is wrong with them; it lists every fault.
    """

    def __init__(self, assets: Iterable[Asset | Assets] = (), *, name: str = "assets") -> None:
        listed: list[Any] = []
        for each in assets:
            listed.extend(each.values() if isinstance(each, Assets) else (each,))
        self.name = name
        faults = _member_faults(listed)
        known: list[Asset] = [found for found in listed if isinstance(found, Asset)]
        self._assets: dict[str, Asset] = {each.name: each for each in known}
        self._needs = {each.name: _needs_of(each, self._assets, faults) for each in known}
        self._routers: dict[str, dict[str, tuple[str, ...]]] = {}
        faults += self._route_faults()
        faults += self._mapping_faults()
        self._order, circle = _ordered(self._needs)
        if circle:
            faults.append(_circle_fault(circle))
        if faults:
            raise AssetDefinitionError(faults)
        self._ranks = {each: rank for rank, each in enumerate(self._order)}
        self._followers: dict[str, list[str]] = {each: [] for each in self._assets}
        for follower in self._assets:
            for needed in self._upstream_of(follower):
                self._followers[needed].append(follower)

    @classmethod
    def of_module(cls, module: ModuleType, *, name: str | None = None) -> Assets:
        """Return the assets that a module has as its attributes, also those in collections.

        Raises:
            AssetDefinitionError: If anything is wrong with them.
        """
        found: dict[int, Asset] = {}
        for value in vars(module).values():
            members: Iterable[Any] = value.values() if isinstance(value, Assets) else (value,)
            found |= {id(each): each for each in members if isinstance(each, Asset)}
        return cls(found.values(), name=name or module.__name__.rpartition(".")[2])

    def __getitem__(self, name: str) -> Asset:
        """Return the asset of that name.

        Raises:
            UnknownAssetError: If there is none.
        """
        try:
            return self._assets[name]
        except KeyError:
            raise UnknownAssetError(str(name), tuple(self._assets)) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._assets)

    def __len__(self) -> int:
        return len(self._assets)

    def __contains__(self, name: object) -> bool:
        return name in self._assets

    def __repr__(self) -> str:
        return f"Assets({self.name!r}, {len(self)} assets)"

    @property
    def order(self) -> tuple[str, ...]:
        """The names, each after those that it is made from."""
        return self._order

    def find(self, given: str | Asset) -> Asset:
        """Return the asset that is named, or given, as it is in here.

        Raises:
            UnknownAssetError: If there is none.
        """
        return self[given.name if isinstance(given, Asset) else given]

    def rank(self, name: str) -> int:
        """Return the place of an asset in the order."""
        return self._ranks[name]

    def needs(self, name: str) -> tuple[Need, ...]:
        """Return what an asset is made from, resolved."""
        return self._needs[name]

    def routers(self, name: str) -> Mapping[str, tuple[str, ...]]:
        """Return the routers of which an asset is a branch, each with the choices it stands for."""
        return self._routers.get(name, {})

    def lineage(self, asset: str | Asset) -> Lineage:
        """Return what an asset is made from, and what is made from it.

        Raises:
            UnknownAssetError: If there is no such asset.
        """
        name = self.find(asset).name
        upstream = self._reached(name, self._upstream_of)
        downstream = self._reached(name, self._followers.__getitem__)
        near = {name, *upstream, *downstream}
        edges = [
            (needed, each)
            for each in self._order
            if each in near
            for needed in self._upstream_of(each)
            if needed in near
        ]
        return Lineage(name, self._sorted(upstream), self._sorted(downstream), tuple(edges))

    def build(self) -> AssetDrawing:
        """Return the graph of the assets, one node each, for `stageflow graph` and its like."""
        from stageflow.assets.drawing import AssetDrawing

        return AssetDrawing(self)

    def use_sync(
        self,
        function: Callable[[AssetStore], Any],
        *,
        runtime: Runtime | None = None,
        **options: Any,
    ) -> Any:
        """Return what *function* gives for an open `AssetStore`, from where nothing is async.

        Args:
            function: Takes the store; what it returns is awaited.
            runtime: The backends, not open; those that the settings choose unless given.
            **options: What `AssetStore` takes.
        """
        import anyio

        return anyio.run(partial(_used, self, function, runtime, options))

    def materialize_sync(
        self,
        asset: str | Asset,
        partition: Any = None,
        *,
        runtime: Runtime | None = None,
        **options: Any,
    ) -> Any:
        """Materialize an asset and return its data, from where nothing is async.

        Args:
            asset: The asset.
            partition: Its partition.
            runtime: The backends, not open; those that the settings choose unless given.
            **options: What `AssetStore.materialize` takes.

        Raises:
            AssetRunError: As `AssetStore.materialize` does.
        """

        async def materialize(store: AssetStore) -> Any:
            await store.materialize(asset, partition, **options)
            return await store.get(asset, partition)

        return self.use_sync(materialize, runtime=runtime)

    def _upstream_of(self, name: str) -> list[str]:
        return list(dict.fromkeys(need.dep.asset for need in self._needs[name]))

    def _reached(self, name: str, near: Callable[[str], Iterable[str]]) -> set[str]:
        reached: set[str] = set()
        waiting = [name]
        while waiting:
            for each in near(waiting.pop()):
                if each not in reached:
                    reached.add(each)
                    waiting.append(each)
        return reached

    def _sorted(self, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted(names, key=self._ranks.__getitem__))

    def _route_faults(self) -> list[ContractErrorInfo]:
        """Have the branches of each router wait for it; return what is wrong with them."""
        faults = []
        for router in self._assets.values():
            branches: Mapping[str, str] = getattr(router.body, "branches", {})
            for key, name in branches.items() if router.kind is StageKind.ROUTE else ():
                if name not in self._assets:
                    told = f"Router {router.name!r} has the branch {name!r}, which there is not."
                    hint = f"Add it, or correct the name. {did_you_mean(name, self._assets)}"
                    faults.append(_fault(DEPENDENCY_FAULT, told, hint, router.name))
                    continue
                routers = self._routers.setdefault(name, {})
                routers[router.name] = (*routers.get(router.name, ()), key)
                if not any(need.dep.asset == router.name for need in self._needs[name]):
                    self._needs[name] += (Need(Dep(router.name)),)
        return faults

    def _mapping_faults(self) -> list[ContractErrorInfo]:
        faults = []
        for name, needs in self._needs.items():
            own = self._assets[name].partitions
            for need in needs:
                theirs = self._assets[need.dep.asset].partitions
                why = need.dep.mapping.fault(own, theirs)
                if why is not None:
                    told = f"Asset {name!r} needs partitions of {need.dep.asset!r}, but {why}."
                    hint = f"Say which: deps={{…: Dep({need.dep.asset!r}, AllPartitions())}}."
                    faults.append(_fault(PARTITIONS_FAULT, told, hint, name))
        return faults


async def _used(
    assets: Assets,
    function: Callable[[AssetStore], Any],
    runtime: Runtime | None,
    options: dict[str, Any],
) -> Any:
    from stageflow.assets.store import AssetStore
    from stageflow.runtime import Runtime

    async with (
        runtime or Runtime.from_settings() as opened,
        AssetStore(assets, opened, **options) as store,
    ):
        value = function(store)
        return await value if inspect.isawaitable(value) else value


# --- faults -------------------------------------------------------------------------------------


def _fault(code: str, summary: str, hint: str, asset: str) -> ContractErrorInfo:
    return ContractErrorInfo(code, summary, hint, f"{DOCS}#{code.lower()}", {"asset": asset})


def _member_faults(listed: list[Any]) -> list[ContractErrorInfo]:
    faults = []
    for each in listed:
        if not isinstance(each, Asset):
            told = f"{each!r:.100} is no asset."
            faults.append(_fault(OPTION_FAULT, told, "Decorate a function with @asset.", ""))
            continue
        if not str(each.name).strip():
            told = f"An asset is called {each.name!r}."
            faults.append(_fault(NAME_FAULT, told, "A name is a text that is not blank.", ""))
        faults += _option_faults(each)
    counts = Counter(each.name for each in listed if isinstance(each, Asset))
    for name, count in counts.items():
        if count > 1:
            told = f"{count} assets are called {name!r}."
            faults.append(_fault(NAME_FAULT, told, "Give each a name of its own.", name))
    return faults


def _option_faults(each: Asset) -> list[ContractErrorInfo]:
    timeout: Any = each.timeout
    retry: Any = each.retry
    version: Any = each.version
    wrong: list[tuple[str, Any, str]] = []
    if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0):
        wrong.append(("timeout", timeout, "seconds above 0"))
    if retry is not None and not isinstance(retry, RetryPolicy):
        wrong.append(("retry", retry, "a RetryPolicy, such as RetryPolicy(max_attempts=3)"))
    if version is not None and not isinstance(version, str):
        wrong.append(("version", version, "a text"))
    wrong += getattr(each.body, "wrong", tuple)()
    first = getattr(each.body, "first", None)
    if first is not None and not _takes_one(each.function):
        wanted = f"one whose first parameter is given {first}"
        wrong.append(("function", each.function, wanted))
    if each.executor is not None and getattr(each.body, "runs_here", False):
        wrong.append(("executor", each.executor, "None: what joins branches runs here"))
    if each.executor is not None and each.resources:
        wrong.append(("resources", each.resources, "empty: they stay here, the function does not"))
    return [
        _fault(
            OPTION_FAULT,
            f"Asset {each.name!r} has {option}={value!r:.60}.",
            f"It must be {wanted}.",
            each.name,
        )
        for option, value, wanted in wrong
    ]


def _takes_one(function: Callable[..., Any]) -> bool:
    """Return whether a function can be given one value by position."""
    kinds = [each.kind for each in inspect.signature(function).parameters.values()]
    return bool(kinds) and kinds[0] is not inspect.Parameter.KEYWORD_ONLY


_UNUSABLE = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.VAR_POSITIONAL,
    inspect.Parameter.VAR_KEYWORD,
)


def _needs_of(
    each: Asset, known: Mapping[str, Asset], faults: list[ContractErrorInfo]
) -> tuple[Need, ...]:
    """Return what an asset is made from, adding to *faults* what is wrong with its parameters."""
    needs = []
    for name in each.deps:
        if name not in each.parameters:
            told = f"Asset {each.name!r} says what its parameter {name!r} is, but has none."
            hint = did_you_mean(name, each.parameters)
            faults.append(_fault(PARAMETER_FAULT, told, hint, each.name))
    for name, parameter in each.parameters.items():
        if parameter.kind in _UNUSABLE:
            told = f"Asset {each.name!r} has the parameter {str(parameter)!r}, which names nothing."
            hint = "Name each asset by a parameter of its own, neither * nor /."
            faults.append(_fault(PARAMETER_FAULT, told, hint, each.name))
            continue
        has_default = parameter.default is not parameter.empty
        dep = each.deps.get(name)
        if dep is None:
            # A default that stands for no asset is the function's own business.
            if name == CONTEXT or (has_default and name not in known):
                continue
            dep = Dep(name, optional=has_default)
        needs.append(Need(dep, name, parameter.default if has_default else None))
    needs += [Need(dep) for dep in each.after]
    sound = []
    for need in needs:
        if need.dep.asset in known:
            sound.append(need)
            continue
        told = f"Asset {each.name!r} is made from {need.dep.asset!r}, which there is not."
        hint = f"Add it, or correct the name. {did_you_mean(need.dep.asset, known)}"
        faults.append(_fault(DEPENDENCY_FAULT, told, hint, each.name))
    return tuple(sound)


def _ordered(needs: Mapping[str, tuple[Need, ...]]) -> tuple[tuple[str, ...], list[str]]:
    """Return the names in order; or a circle of them, closed."""
    sorter = TopologicalSorter(
        {name: [need.dep.asset for need in found] for name, found in needs.items()}
    )
    try:
        return tuple(sorter.static_order()), []
    except CycleError as error:
        return (), list(error.args[1])


def _circle_fault(circle: list[str]) -> ContractErrorInfo:
    shown = circle if len(circle) <= 20 else [*circle[:10], "…", *circle[-10:]]
    return ContractErrorInfo(
        CYCLE_FAULT,
        f"Assets are made from each other in a circle: {' -> '.join(shown)}.",
        "Remove one of these dependencies.",
        f"{DOCS}#{CYCLE_FAULT.lower()}",
        {"cycle_path": circle},
    )
