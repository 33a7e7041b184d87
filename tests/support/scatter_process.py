"""A process that scatters numbers and may be killed at it: `python -m support.scatter_process`.

Each item leaves a line in a file before anything is recorded of it, so that one sees what was
worked on, and how often, whenever the process dies.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio

from stageflow import Runtime
from stageflow.assets import AssetStore, scatter
from stageflow.builtin.files_io_manager import FilesIOManager
from stageflow.builtin.sqlite_run_store import SqliteRunStore

__all__ = ("LEASE", "count_numbers")

LEASE = 1.0


async def count_numbers(folder: Path, items: int, page: int) -> dict[str, Any]:
    """Scatter as many numbers and return what was gathered, with the record's facts."""
    worked = os.open(folder / "worked", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def add(total: Sequence[int], results: Sequence[tuple[int, int]]) -> list[int]:
        return [total[0] + len(results), total[1] + sum(result for _, result in results)]

    @scatter(lambda: range(items), fold=add, initial=(0, 0), page_size=page, max_concurrent=8)
    async def numbers(item: int) -> int:
        os.write(worked, b"%d\n" % item)
        return item

    data = FilesIOManager(folder / "data")
    run_store = SqliteRunStore(folder / "runs.sqlite3", synchronous="normal")
    async with (
        Runtime(run_store=run_store, event_sink=None) as runtime,
        AssetStore([numbers], runtime, io_manager=data, lease=LEASE, poll=0.05) as store,
    ):
        done = await store.materialize("numbers")
        assert done.record is not None
        return {"gathered": await store.get("numbers"), **done.record.metadata}


if __name__ == "__main__":
    anyio.run(count_numbers, Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
