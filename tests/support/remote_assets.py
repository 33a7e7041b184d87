"""Assets at the top of a module, as an executor in another process needs them."""

from __future__ import annotations

import os
from typing import Any

from stageflow.assets import AllPartitions, Asset, Dep, asset

__all__ = ("ASSETS", "parts", "total", "where")


@asset(partitions=["x", "y"], executor="inline")
def parts(ctx: Any) -> dict[str, Any]:
    ctx.add_metadata(length=len(ctx.partition))
    return {"partition": ctx.partition, "attempt": ctx.attempt}


@asset(deps={"all": Dep("parts", AllPartitions())}, executor="thread")
async def total(all: Any) -> list[str]:
    return [part["partition"] for part in all.values()]


@asset(executor="process")
def where() -> int:
    return os.getpid()


ASSETS: list[Asset] = [parts, total]
