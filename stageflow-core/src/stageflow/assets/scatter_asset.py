"""Scatter: an asset made of many items, each worked on by itself, whose results are gathered."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import anyio
import attrs

from stageflow.assets.barriers import Barrier, open_barrier
from stageflow.assets.batching import Batching
from stageflow.assets.bodies import call_function
from stageflow.assets.context import AssetCall
from stageflow.assets.declaration import CONTEXT, Asset, AssetOutput, asset
from stageflow.assets.fanout_errors import GatherError
from stageflow.assets.item_calls import SHARED, worker_of
from stageflow.assets.scattering import Scattering
from stageflow.contracts.logs import get_logger
from stageflow.contracts.scatter_coordinator import BarrierState, BarrierStatus, FailureMode
from stageflow.contracts.scatter_keys import ScatterResults
from stageflow.errors import StageflowError
from stageflow.stages import StageKind

__all__ = ("Scatter", "ScatterBody", "scatter")

_log = get_logger(__name__)

FAILURES: Final = "failures"


@attrs.frozen(kw_only=True)
class Scatter:
    """How an asset is scattered; the parameters of `scatter`."""

    items: Callable[..., Any] | None = None
    reader: Any = None
    reader_config: Mapping[str, Any] = attrs.field(factory=dict)
    gather: Callable[..., Any] | None = None
    fold: Callable[..., Any] | None = None
    initial: Any = None
    max_concurrent: int = 16
    rate_limit: float | None = None
    failure_threshold: float | None = None
    failure_mode: str = "all_or_nothing"
    max_attempts: int = 1
    item_timeout: float | None = None
    page_size: int = 1000
    batch: Batching | None = None

    @property
    def fails_early(self) -> bool:
        """Whether one failure more may be the end of it before all items are known."""
        return self.failure_mode != FailureMode.PARTIAL or isinstance(self.failure_threshold, int)

    def wrong(self) -> list[tuple[str, Any, str]]:
        """Return each option with a value that it cannot have, and what it must be."""
        wrong: list[tuple[str, Any, str]] = []
        for name in ("max_concurrent", "max_attempts", "page_size"):
            value: Any = getattr(self, name)
            if type(value) is not int or value < 1:
                wrong.append((name, value, "a whole number above 0"))
        for name in ("rate_limit", "item_timeout"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and value > 0):
                wrong.append((name, value, "a number above 0"))
        if (self.items is None) == (self.reader is None):
            wrong.append(("items", self.items, "given, or a reader, but not both"))
        if self.gather is not None and self.fold is not None:
            wrong.append(("gather", self.gather, "given, or fold, but not both"))
        if self.failure_mode not in set(FailureMode):
            wrong.append(("failure_mode", self.failure_mode, "'partial' or 'all_or_nothing'"))
        threshold: Any = self.failure_threshold
        is_share = type(threshold) is float and 0.0 <= threshold <= 1.0
        if not (threshold is None or is_share or (type(threshold) is int and threshold >= 0)):
            wrong.append(("failure_threshold", threshold, "a count, or a share from 0.0 to 1.0"))
        return wrong + ([] if self.batch is None else list(self.batch.wrong()))


def scatter(
    items: Callable[..., Any] | None = None,
    /,
    *,
    reader: Any = None,
    reader_config: Mapping[str, Any] | None = None,
    gather: Callable[..., Any] | None = None,
    fold: Callable[..., Any] | None = None,
    initial: Any = None,
    max_concurrent: int = 16,
    rate_limit: float | None = None,
    failure_threshold: float | None = None,
    failure_mode: str = "all_or_nothing",
    max_attempts: int = 1,
    item_timeout: float | None = None,
    page_size: int = 1000,
    batch: Batching | None = None,
    **options: Any,
) -> Callable[[Callable[..., Any]], Asset]:
    """Make an asset of a function that is called for each of many items.

    The function's first parameter is given the item, or with *batch* a list of items; its other
    parameters name assets, as those of every asset do, and so do those of the function *items*.
    An item is any value that the codec can store. Items that are equal count as one. What items
    have given is kept while others are worked on: whoever makes the asset after a crash goes on
    from there, and does less than a page of items again.

    Args:
        items: Returns or yields the items, plainly or as an async iterator.
        reader: An item reader instead: its name in the settings, or an object.
        reader_config: What the reader is to read; wins over its settings.
        gather: Makes the asset's data of the results, given as a mapping by item. May have a
            parameter `failures`, given the errors by item, and `ctx`. A dictionary unless given.
        fold: Makes the data of the results page by page instead, so that they need not fit into
            memory: is given the value so far and a list of pairs of item and result, and
            returns the next value.
        initial: The value that *fold* begins with.
        max_concurrent: How many items, or batches, may be under way at once.
        rate_limit: How many may begin in a second.
        failure_threshold: More failures than this end the scatter: an int is a count, a float
            a share of all items, judged once all are known. None is no limit in the mode
            `partial`, and 0 in the other.
        failure_mode: Whether the asset is made of those that did not fail (`partial`), or only
            of all (`all_or_nothing`).
        max_attempts: How often an item is attempted, with growing pauses between.
        item_timeout: Seconds that one attempt at an item, or a batch, may take.
        page_size: How many items are read, and inserted, at once.
        batch: How items are put together.
        **options: What `asset` takes.

    Raises:
        TypeError: *options* has what `asset` does not take.
    """
    spec = Scatter(
        items=items,
        reader=reader,
        reader_config=MappingProxyType(dict(reader_config or {})),
        gather=gather,
        fold=fold,
        initial=initial,
        max_concurrent=max_concurrent,
        rate_limit=rate_limit,
        failure_threshold=failure_threshold,
        failure_mode=failure_mode,
        max_attempts=max_attempts,
        item_timeout=item_timeout,
        page_size=page_size,
        batch=batch,
    )

    def decorate(function: Callable[..., Any]) -> Asset:
        made = asset(**options)(function)
        body = ScatterBody(spec, tuple(made.parameters)[1:])
        found = {name: each for name, each in made.parameters.items() if name in body.names}
        for other in (items, _callable(spec, SHARED)):
            if other is not None:
                found |= Asset(name=made.name, function=other).parameters
        found.pop(SHARED, None)
        return attrs.evolve(made, body=body, parameters=found, kind=StageKind.WORK)

    return decorate


def _callable(spec: Scatter, name: str) -> Callable[..., Any] | None:
    value = None if spec.batch is None else getattr(spec.batch, name)
    return value if callable(value) else None


class ScatterBody:
    """Gets an asset's data by working on items and gathering what they give.

    Args:
        spec: How.
        names: The parameters of the asset's function after the first.
    """

    contract: Final = "scatter_coordinator"
    first: Final = "the item"

    def __init__(self, spec: Scatter, names: tuple[str, ...]) -> None:
        self.spec = spec
        self.names = names

    def wrong(self) -> list[tuple[str, Any, str]]:
        """Return each option with a value that it cannot have, and what it must be."""
        return self.spec.wrong()

    def describe(self) -> str:
        """Return in a few words what is done."""
        return f"scatter, {self.spec.max_concurrent} at once"

    async def produce(self, call: AssetCall) -> AssetOutput:
        """See `AssetBody.produce`."""
        services, spec = call.services, self.spec
        began = services.run.clock.monotonic()
        # First of all: a function that cannot be sent is no failure of a million items.
        shared = _callable(spec, SHARED)
        given = spec.batch.shared if spec.batch is not None else None
        if shared is not None:
            given = await self._called(call, shared)
        worker = worker_of(call, self.names, shared=given, timeout=spec.item_timeout)
        barrier = await open_barrier(services.coordinators.scatter, spec, call.asset.name, services)
        facts = {"barrier_id": barrier.id, "resumed": barrier.was_begun}
        services.tell("asset.scatter_started", **facts)
        state, skipped, status = barrier.state, 0, "failed"
        try:
            if state.status is not BarrierStatus.COMPLETE:
                deps = dict(call.inputs)
                scattering = Scattering(
                    spec, call.asset.name, barrier, self._reader(call), deps, worker, services
                )
                state = await scattering.execute()
                skipped = scattering.skipped_rows
            value = await self._gathered(call, barrier, state)
            status = "complete"
        finally:
            took = (services.run.clock.monotonic() - began) * 1000.0
            if status != "complete":
                state = await _last_state(barrier) or state
            services.tell(
                "asset.scatter_completed",
                barrier_id=barrier.id,
                status=status,
                total=state.total,
                completed=state.completed,
                failed=state.failed,
                duplicates=state.duplicates,
                duration_ms=took,
            )
        services.when_recorded(barrier.forget)
        counts = {"items": state.total, "failed_items": state.failed}
        if state.duplicates:
            counts["duplicate_items"] = state.duplicates
        if skipped:
            counts["skipped_rows"] = skipped
        output = value if isinstance(value, AssetOutput) else AssetOutput(value)
        return attrs.evolve(output, metadata={**counts, **output.metadata})

    def _reader(self, call: AssetCall) -> Any:
        spec = self.spec
        if spec.reader is not None and not isinstance(spec.reader, str):
            return spec.reader
        coordinators = call.services.coordinators
        if isinstance(spec.reader, str):
            return coordinators.reader(spec.reader, {})
        assert spec.items is not None
        return coordinators.reader("custom", {"items": _Source(call, spec.items)})

    async def _called(self, call: AssetCall, function: Callable[..., Any]) -> Any:
        """Return what a function gives whose parameters name assets."""
        return await call_function(call, partial(function, **_arguments(call, function)))

    async def _gathered(self, call: AssetCall, barrier: Barrier, state: BarrierState) -> Any:
        spec = self.spec
        if spec.fold is not None:
            value = spec.initial
            async for page in barrier.pages(spec.page_size):
                value = await call_function(call, partial(spec.fold, value, page))
            return value
        pairs = [pair async for page in barrier.pages(spec.page_size) for pair in page]
        if spec.gather is None:
            return _as_dict(call.asset.name, pairs)
        names = inspect.signature(spec.gather).parameters
        more: dict[str, Any] = {CONTEXT: call.context} if CONTEXT in names else {}
        if FAILURES in names:
            pages = barrier.pages(spec.page_size, failed=True)
            more[FAILURES] = ScatterResults([pair async for page in pages for pair in page])
        return await call_function(call, partial(spec.gather, ScatterResults(pairs), **more))


class _Source:
    """The items that a function gives, as the reader of custom items wants it."""

    def __init__(self, call: AssetCall, function: Callable[..., Any]) -> None:
        self._call = call
        self._function = function

    def __call__(self, deps: Mapping[str, Any]) -> Any:
        return self._function(**_arguments(self._call, self._function))


def _arguments(call: AssetCall, function: Callable[..., Any]) -> dict[str, Any]:
    names = inspect.signature(function).parameters
    arguments = {name: call.inputs[name] for name in names if name in call.inputs}
    return arguments | ({CONTEXT: call.context} if CONTEXT in names else {})


def _as_dict(asset: str, pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key, result in pairs:
        try:
            if key in found:  # 1 and True, 1 and 1.0 are different items and the same key
                raise GatherError(asset, key)
            found[key] = result
        except TypeError:
            raise GatherError(asset, key) from None
    return found


async def _last_state(barrier: Barrier) -> BarrierState | None:
    found: BarrierState | None = None
    with anyio.CancelScope(shield=True):
        try:
            found = await barrier.coordinator.status(barrier.id)
        except StageflowError as error:  # what is under way matters more than the counts
            _log.warning("asset.counts_unknown", barrier_id=barrier.id, error=str(error))
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
