"""Functions of scatters at the top of a module, as an executor in another process needs them."""

from __future__ import annotations

import os
from typing import Any

from stageflow.assets import Batching, ItemFailure, Route, asset, route, scatter

__all__ = ("batched", "crashing", "fork", "parsed", "way")


@scatter(lambda: ["1", "2"], executor="inline", batch=Batching(max_items=1, shared=lambda: "x"))
async def parsed(items: list[str], shared: str) -> list[Any]:
    return [[int(item), shared] for item in items]


@scatter(
    lambda: ["1", "x", "2"],
    executor="inline",
    failure_mode="partial",
    batch=Batching(max_items=3, on_item_error="collect_errors"),
)
def batched(items: list[str]) -> list[Any]:
    return [int(item) if item.isdigit() else ItemFailure(f"{item} is no number") for item in items]


@scatter(lambda: ["dies", "lives"], executor="process", failure_mode="partial", max_concurrent=1)
def crashing(item: str, ctx: Any) -> int:
    if item == "dies":
        os._exit(3)
    return os.getpid()


@route(["way"], executor="inline")
def fork() -> Route:
    return Route("way", "it is the only one")


@asset
def way() -> int:
    return 1
