"""Bodies: how the function of an asset is called."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from stageflow.assets.context import AssetCall, PartitionValues, RemoteContext
from stageflow.assets.declaration import CONTEXT, Asset, AssetBody, AssetOutput
from stageflow.assets.partitions import same_key

if TYPE_CHECKING:
    from stageflow.contracts.executor import Executor

__all__ = (
    "FUNCTION_BODY",
    "FunctionBody",
    "call_function",
    "call_remotely",
    "produce_here",
    "run_there",
)


class FunctionBody:
    """Calls the asset's function with its inputs: `async def` here, `def` in a thread.

    With an executor it is called there: what crosses is its import path, and its inputs and what
    it returns as bytes of the codec.
    """

    async def produce(self, call: AssetCall) -> Any:
        """See `AssetBody.produce`."""
        if call.executor is not None:
            return await call_remotely(call, call.executor)
        arguments = dict(call.inputs)
        if CONTEXT in call.asset.parameters:
            arguments[CONTEXT] = call.context
        return await call_function(call, partial(call.asset.function, **arguments))


FUNCTION_BODY: Final[AssetBody] = FunctionBody()


async def call_function(call: AssetCall, function: Callable[[], Any]) -> Any:
    """Return what *function* gives: awaited, or called in a thread if it is a plain `def`.

    A lambda is called in the event loop, as it is in every stage.
    """
    inner = function.func if isinstance(function, partial) else function
    called = type(inner).__call__
    if inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(called):
        return await function()
    stage = call.context.stage
    if getattr(inner, "__name__", "") == "<lambda>" or stage._run is None:
        value = function()
    else:
        value = await stage._run.call_in_thread(lambda _: function(), stage)
    return await value if inspect.isawaitable(value) else value


# --- elsewhere ------------------------------------------------------------------------------------


async def call_remotely(call: AssetCall, executor: Executor) -> AssetOutput:
    """Return what the asset's function gives where *executor* runs it.

    Raises:
        UnsendableCallError: The function cannot be imported, or an input cannot be sent.
        ExecutorError: As `Executor.execute` does.
    """
    context = call.context
    given = await run_there(
        executor,
        produce_here,
        _target_of(call.asset),
        {name: _sendable(value) for name, value in call.inputs.items()},
        {"partition": context.partition, "run_id": context.run_id, "attempt": context.attempt},
    )
    value, metadata, data_version = given
    return AssetOutput(value, metadata=metadata, data_version=data_version)


async def run_there(
    executor: Executor,
    function: Callable[..., Any],
    target: str,
    /,
    *args: Any,
    timeout: float | None = None,
) -> Any:
    """Return what *function*, given *target*, returns where *executor* runs it.

    Raises:
        ExecutorError: As `Executor.execute` does, but for *target*, which is what people know.
    """
    from stageflow.contracts.executor import ExecutorError, run_in

    try:
        return await run_in(executor, function, target, *args, timeout=timeout)
    except ExecutorError as error:
        error.args = (error.message.replace(error.target, target),)
        error.target = target
        raise


async def produce_here(
    target: str, inputs: Mapping[str, Any], facts: Mapping[str, Any]
) -> tuple[Any, dict[str, Any], str | None]:
    """Call the function of an asset by its import path; what an executor does at the far side."""
    found = pkgutil.resolve_name(target)
    context = RemoteContext(**facts)
    arguments = {name: _received(value) for name, value in inputs.items()}
    if CONTEXT in inspect.signature(_function_of(found)).parameters:
        arguments[CONTEXT] = context
    made = found(**arguments)
    if inspect.isawaitable(made):
        made = await made
    output = made if isinstance(made, AssetOutput) else AssetOutput(made)
    return output.value, {**context.metadata, **output.metadata}, output.data_version


def _target_of(asset: Asset) -> str:
    """Return the import path of an asset's function.

    Raises:
        UnsendableCallError: What stands there is something else, or nothing.
    """
    from stageflow.contracts.executor import UnsendableCallError

    function: Any = asset.function
    module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    target = f"{module}:{name}"
    why = "it was defined in the program itself, which no other process can import"
    if module != "__main__":
        try:
            if _function_of(pkgutil.resolve_name(target)) is function:
                return target
            why = "at its import path stands something else"
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason
            why = f"importing it gives {type(error).__name__}: {error}"
    raise UnsendableCallError(target, [f"As the function of asset {asset.name!r}, {why}."])


def _function_of(found: Any) -> Any:
    return found.function if isinstance(found, Asset) else found


def _sendable(value: Any) -> dict[str, Any]:
    if isinstance(value, PartitionValues):
        return {"partitions": [list(pair) for pair in value.items()]}
    return {"value": value}


def _received(sent: Mapping[str, Any]) -> Any:
    if "value" in sent:
        return sent["value"]
    return PartitionValues({same_key(key): (key, value) for key, value in sent["partitions"]})
