"""Assets at the top of a module, as an executor in another process needs them."""

from __future__ import annotations

import os
from typing import Any

from stageflow.assets import AllPartitions, Asset, Dep, asset

__all__ = ("ASSETS", "Unknown", "broken", "dying", "parts", "strange", "total", "where")


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


@asset(executor="process")
def dying() -> None:
    os._exit(3)


@asset(executor="process")
def broken() -> None:
    raise ValueError("broken")


class Unknown:
    """What no codec knows."""


@asset(executor="inline")
def strange() -> Unknown:
    return Unknown()


ASSETS: list[Asset] = [parts, total]
