"""Bodies: how the function of an asset is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from stageflow.assets.context import AssetCall
from stageflow.assets.declaration import CONTEXT, AssetBody

__all__ = ("FUNCTION_BODY", "FunctionBody", "call_function")


class FunctionBody:
    """Calls the asset's function with its inputs: `async def` here, `def` in a thread."""

    async def produce(self, call: AssetCall) -> Any:
        """See `AssetBody.produce`."""
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
