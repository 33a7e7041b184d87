"""Assets as they are declared: functions whose parameters name the assets they are made from."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol, overload

import attrs

from stageflow.assets.errors import AssetDefinitionError
from stageflow.assets.mapping import SAME_PARTITION, PartitionMapping
from stageflow.assets.partitions import Partitions, as_partitions
from stageflow.contracts.partitions import Partition
from stageflow.errors import ContractErrorInfo
from stageflow.stages import StageKind
from stageflow.stages.retry import RetryPolicy

__all__ = ("Asset", "AssetBody", "AssetOutput", "Dep", "Need", "asset")

CONTEXT: Final = "ctx"


@attrs.frozen
class Dep:
    """What an asset is made from, where a parameter's name alone does not say it.

    Attributes:
        asset: The upstream asset.
        mapping: From which of its partitions; the same one unless given.
        optional: Whether the asset can be made without it: where it was skipped or is not there,
            the function is given the parameter's default, or None.
        skippable: Whether it may be skipped for good and is needed otherwise: what joins
            branches is made anew where one of them is stale, not where it was not chosen.
    """

    asset: str
    mapping: PartitionMapping = SAME_PARTITION
    optional: bool = attrs.field(default=False, kw_only=True)
    skippable: bool = attrs.field(default=False, kw_only=True)


@attrs.frozen
class Need:
    """A dependency, resolved.

    Attributes:
        dep: On what, and how.
        parameter: Which parameter is given its value; None if it is only waited for.
        default: What the parameter is given where there is nothing.
    """

    dep: Dep
    parameter: str | None = None
    default: Any = None


@attrs.frozen
class AssetOutput:
    """What an asset's function may return instead of its data alone.

    Attributes:
        value: The data.
        metadata: Facts for the record of the materialization.
        data_version: Names the state of the data, such as a hash of it: who was made from data
            of the same version stays fresh. A new one for each materialization unless given.
    """

    value: Any
    metadata: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True)
    data_version: str | None = attrs.field(default=None, kw_only=True)


class AssetBody(Protocol):
    """How an asset gets its data once its inputs are there: what kinds of assets differ in."""

    async def produce(self, call: Any) -> Any:
        """Return the data, or an `AssetOutput`, or a `StageOutput` that is not OK.

        Args:
            call: An `AssetCall`: the context, the inputs by parameter, and the run's services.
        """
        ...


@attrs.frozen(eq=False, kw_only=True)
class Asset:
    """Something that is made, kept, and made again when what it was made from has changed.

    Attributes:
        name: Unique among the assets that are used together.
        function: What makes it; calling the asset calls it.
        deps: Dependencies by parameter, where its name does not say them.
        after: Assets that it waits for and is stale without, but does not read.
        partitions: Its partitions; None if it is one whole.
        io_manager: Where its data lie: a configured name, an open object, or None for the default.
        io_options: What the IO manager is given with each call, such as a serializer.
        resources: Names of the resources that it is given.
        executor: Where its function runs: a configured name, an object, or None for here.
        retry: When another attempt is made.
        timeout: Seconds that one attempt may take.
        version: Of what the function means; what another version made is stale.
        description: What it is; the function's docstring unless given.
        metadata: Facts about it, for people.
        group: With which others it is listed.
        kind: What kind of node it is in the graph.
        conditional: Whether it is skipped when what it needs was skipped or chose another way.
        branch_key: The choice of its router that it stands for.
        body: How it gets its data; by calling its function unless given.
        parameters: What it names assets by: the function's parameters unless given.
    """

    name: str
    function: Callable[..., Any]
    deps: Mapping[str, Dep] = attrs.field(factory=dict, repr=False)
    after: tuple[Dep, ...] = attrs.field(default=(), repr=False)
    partitions: Partitions | None = attrs.field(default=None, repr=False)
    io_manager: Any = attrs.field(default=None, repr=False)
    io_options: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    resources: tuple[str, ...] = attrs.field(default=(), repr=False)
    executor: Any = attrs.field(default=None, repr=False)
    retry: RetryPolicy | None = attrs.field(default=None, repr=False)
    timeout: float | None = attrs.field(default=None, repr=False)
    version: str | None = attrs.field(default=None, repr=False)
    description: str = attrs.field(default="", repr=False)
    metadata: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    group: str = attrs.field(default="", repr=False)
    kind: StageKind = attrs.field(default=StageKind.TRANSFORM, repr=False)
    conditional: bool = attrs.field(default=False, repr=False)
    branch_key: str | None = attrs.field(default=None, repr=False)
    body: AssetBody | None = attrs.field(default=None, repr=False)
    parameters: Mapping[str, inspect.Parameter] = attrs.field(repr=False)

    @parameters.default
    def _from_signature(self) -> Mapping[str, inspect.Parameter]:
        try:
            return inspect.signature(self.function).parameters
        except (TypeError, ValueError) as error:
            raise AssetDefinitionError(
                [
                    ContractErrorInfo(
                        "SF705",
                        f"Asset {self.name!r} cannot be made of {self.function!r:.100}: {error}.",
                        "Decorate a function whose parameters can be read.",
                    )
                ]
            ) from None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself, as a test does."""
        return self.function(*args, **kwargs)

    def label(self, partition: Partition) -> str:
        """Return the asset with its partition, as people read it."""
        return self.name if self.partitions is None else f"{self.name}[{self.text(partition)}]"

    def text(self, partition: Any) -> str:
        """Return a partition of it as people write it; empty if it has none."""
        return "" if self.partitions is None else self.partitions.text(partition)


@overload
def asset(function: Callable[..., Any], /) -> Asset: ...


@overload
def asset(
    *,
    name: str | None = ...,
    deps: Mapping[str, str | Asset | Dep] | None = ...,
    after: Iterable[str | Asset | Dep] = ...,
    partitions: Partitions | Iterable[str | int] | None = ...,
    io_manager: Any = ...,
    io_options: Mapping[str, Any] | None = ...,
    resources: Iterable[str] = ...,
    executor: Any = ...,
    retry: RetryPolicy | None = ...,
    timeout: float | None = ...,
    version: str | None = ...,
    description: str | None = ...,
    metadata: Mapping[str, Any] | None = ...,
    group: str = ...,
) -> Callable[[Callable[..., Any]], Asset]: ...


def asset(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    deps: Mapping[str, str | Asset | Dep] | None = None,
    after: Iterable[str | Asset | Dep] = (),
    partitions: Partitions | Iterable[str | int] | None = None,
    io_manager: Any = None,
    io_options: Mapping[str, Any] | None = None,
    resources: Iterable[str] = (),
    executor: Any = None,
    retry: RetryPolicy | None = None,
    timeout: float | None = None,
    version: str | None = None,
    description: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    group: str = "",
) -> Asset | Callable[[Callable[..., Any]], Asset]:
    """Make an asset of a function; its parameters name the assets that it is made from.

    A parameter that has the name of an asset is given that asset's data, loaded from where they
    lie: of the same partition, or of the whole if that one has no partitions. A parameter called
    `ctx` is given the `AssetContext`. Any other one must have a default. Names are checked when
    the assets are put together.

    Args:
        function: An `async def`, or a `def`, which then runs in a worker thread.
        name: The asset's name; the function's unless given.
        deps: For parameters with other names than their assets, and for other partitions than
            the same: the asset, or a `Dep`.
        after: Assets to wait for without reading them.
        partitions: Its partitions, or a list of texts or numbers.
        io_manager: Where its data lie: a name that the settings know, or an object that is open.
        io_options: What the IO manager is given with each call.
        resources: Names of the resources in `ctx.resources`.
        executor: Where the function runs.
        retry: When another attempt is made.
        timeout: Seconds that one attempt may take.
        version: Of what the function means; change it to have everything made anew.
        description: What it is; the docstring's first line unless given.
        metadata: Facts about it, for people.
        group: With which others it is listed.

    Raises:
        PartitionsError: If *partitions* are none.
    """

    def decorate(function: Callable[..., Any]) -> Asset:
        doc = inspect.getdoc(function) or ""
        return Asset(
            name=name or _name_of(function),
            function=function,
            deps={parameter: _as_dep(each) for parameter, each in (deps or {}).items()},
            after=tuple(_as_dep(each) for each in _listed(after)),
            partitions=None if partitions is None else as_partitions(partitions),
            io_manager=io_manager,
            io_options=MappingProxyType(dict(io_options or {})),
            resources=tuple(_listed(resources)),
            executor=executor,
            retry=retry,
            timeout=timeout,
            version=version,
            description=doc.partition("\n")[0] if description is None else description,
            metadata=MappingProxyType(dict(metadata or {})),
            group=group,
        )

    return decorate if function is None else decorate(function)


def _listed(given: Any) -> tuple[Any, ...]:
    return (given,) if isinstance(given, str | Asset | Dep) else tuple(given)


def _as_dep(given: str | Asset | Dep) -> Dep:
    if isinstance(given, Dep):
        return given
    return Dep(given.name if isinstance(given, Asset) else given)


def _name_of(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))
