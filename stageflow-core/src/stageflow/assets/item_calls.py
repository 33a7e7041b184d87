"""Calls of a scatter's function: for one item or a batch, here or where an executor runs it."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs

from stageflow.assets.bodies import _function_of, _received, _sendable, _target_of, run_there
from stageflow.assets.context import AssetCall, RemoteContext
from stageflow.assets.declaration import CONTEXT
from stageflow.assets.fanout_errors import BatchResultError, ItemFailedError
from stageflow.codec import codec_type
from stageflow.contracts.coordination import error_as_value

__all__ = ("SHARED", "ItemFailure", "Worker", "produce_items", "results_of", "worker_of")

SHARED: Final = "shared"

Worker: TypeAlias = Callable[[Any], Awaitable[Any]]
"""Returns what the function gives for an item, or for a list of them."""


@codec_type(name="stageflow.ItemFailure")
@attrs.frozen
class ItemFailure:
    """What a function returns in place of the result of one item of a batch that failed.

    An exception in that place stands for the same, wherever exceptions need not cross to
    another process.

    Attributes:
        reason: What went wrong.
    """

    reason: str


def worker_of(
    call: AssetCall, names: Sequence[str], *, shared: Any, timeout: float | None
) -> Worker:
    """Return what calls the asset's function for an item, or for a list of them.

    Args:
        call: The attempt at the asset.
        names: The parameters of the function after the first.
        shared: What is given as the parameter `shared`.
        timeout: Seconds that an executor may take for one call.

    Raises:
        UnsendableCallError: An executor is to run the function, and it cannot be imported.
    """
    arguments = {name: call.inputs[name] for name in names if name in call.inputs}
    if SHARED in names:
        arguments[SHARED] = shared
    if call.executor is not None:
        return _remote_worker(call, arguments, timeout)
    if CONTEXT in names:
        arguments[CONTEXT] = call.context
    return _local_worker(call, arguments)


def _local_worker(call: AssetCall, arguments: Mapping[str, Any]) -> Worker:
    function: Any = call.asset.function
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        type(function).__call__
    ):
        if not arguments:
            worker: Worker = function
            return worker
        return lambda item: function(item, **arguments)
    stage = call.context.stage
    is_lambda = getattr(function, "__name__", "") == "<lambda>"

    async def work(item: Any) -> Any:
        if is_lambda or stage._run is None:
            value = function(item, **arguments)
        else:
            value = await stage._run.call_in_thread(lambda _: function(item, **arguments), stage)
        return await value if inspect.isawaitable(value) else value

    return work


def _remote_worker(call: AssetCall, arguments: Mapping[str, Any], timeout: float | None) -> Worker:
    executor, context = call.executor, call.context
    assert executor is not None
    target = _target_of(call.asset)
    given = {name: _sendable(value) for name, value in arguments.items()}
    facts = {"partition": context.partition, "run_id": context.run_id, "attempt": context.attempt}

    async def work(item: Any) -> Any:
        return await run_there(executor, produce_items, target, item, given, facts, timeout=timeout)

    return work


async def produce_items(
    target: str, item: Any, inputs: Mapping[str, Any], facts: Mapping[str, Any]
) -> Any:
    """Call the function of a scatter by its import path; what an executor does at the far side."""
    function = _function_of(pkgutil.resolve_name(target))
    arguments = {name: _received(value) for name, value in inputs.items()}
    if CONTEXT in inspect.signature(function).parameters:
        arguments[CONTEXT] = RemoteContext(**facts)
    made = function(item, **arguments)
    if inspect.isawaitable(made):
        made = await made
    if isinstance(made, list):
        return [ItemFailure(_told(each)) if isinstance(each, Exception) else each for each in made]
    return made


def results_of(asset: str, returned: Any, wanted: int) -> list[Any]:
    """Return one result for each item of a batch; those that failed as exceptions.

    Raises:
        BatchResultError: The function did not return as many.
    """
    if returned is None:
        return [None] * wanted
    if not isinstance(returned, Sequence) or isinstance(returned, str | bytes):
        raise BatchResultError(asset, None, wanted)
    if len(returned) != wanted:
        raise BatchResultError(asset, len(returned), wanted)
    return [
        ItemFailedError(each.reason) if isinstance(each, ItemFailure) else each for each in returned
    ]


def _told(error: Exception) -> str:
    told = error_as_value(error)
    return f"{told['type']}: {told['message']}"
