"""What assets on S3 cost, beside the bare client through the same interface, and bare pyarrow.

Each pair takes turns on the same server in one process; the figures are medians, and a ratio above
1 says that Stageflow is faster. The server is the emulator of the tests, or the one that
STAGEFLOW_TEST_S3_ENDPOINT names.

    python bench/s3.py [--json] [--turns N]
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Self

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import anyio
import anyio.to_thread
import obstore
import pyarrow as pa
import pyarrow.parquet as pq

from stageflow_io_s3 import S3IOManager, S3ItemReader, S3ReaderSettings
from support.s3 import given, ministack
from support.s3_readers import reader_settings

TURNS = 7
AT_ONCE = 16
SMALL = b"x" * 1024
LARGE = bytes(range(256)) * (64 * 4096)
ROWS = 1_000_000
KEYS = 5_000
WANTED = {"small put": 0.8, "small get": 0.8, "64 MiB put": 0.9, "64 MiB get": 0.9}
WANTED |= {"list 5,000 keys": 0.8, "parquet table": 0.85}

Work = Callable[[], Awaitable[object]]


async def at_once(call: Callable[[int], Awaitable[object]], count: int = 320) -> None:
    """Make *count* calls, so many of them at the same time."""
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await call(number)

    async with anyio.create_task_group() as group:
        for _ in range(AT_ONCE):
            group.start_soon(worker)


async def compared(pairs: dict[str, tuple[Work, Work]], turns: int) -> dict[str, Any]:
    """Return seconds of the bare client and of Stageflow, by what was measured.

    Beside those on the clock stand those of this process on a processor: other work on the machine
    changes them less.
    """
    found: dict[str, Any] = {}
    for name, (bare, ours) in pairs.items():
        times: tuple[list[float], list[float]] = ([], [])
        work: tuple[list[float], list[float]] = ([], [])
        for turn in range(turns + 1):
            order = (0, 1) if turn % 2 else (1, 0)
            for place in order:
                began, worked = time.perf_counter(), time.process_time()
                await (bare, ours)[place]()
                if turn:  # the first one warms up
                    times[place].append(time.perf_counter() - began)
                    work[place].append(time.process_time() - worked)
        medians = [statistics.median(each) for each in times]
        processor = [statistics.median(each) for each in work]
        found[name] = {
            "bare_s": round(medians[0], 4),
            "ours_s": round(medians[1], 4),
            "ratio": round(medians[0] / medians[1], 2),
            "bare_cpu_s": round(processor[0], 4),
            "ours_cpu_s": round(processor[1], 4),
            "wanted": WANTED[name],
        }
    return found


def anonymous_memory() -> int:
    """Return the bytes of memory that belong to this process alone."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


class Peak:
    """The most memory that was in use during a block, over what was at its beginning."""

    def __enter__(self) -> Self:
        self.base = anonymous_memory()
        self.most = self.base
        self._end = threading.Event()
        self._watch = threading.Thread(target=self._look)
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._watch.join()

    def _look(self) -> None:
        while not self._end.wait(0.002):
            self.most = max(self.most, anonymous_memory())

    @property
    def parts(self) -> float:
        """How many parts of 8 MiB that is."""
        return round((self.most - self.base) / 2**23, 2)


async def measure(server: Any, turns: int) -> dict[str, Any]:
    """Return all figures."""
    bucket = server.bucket()
    settings = server.settings(bucket, uuid.uuid4().hex)
    table = pa.table(
        {
            "id": pa.array(range(ROWS)),
            "place": [f"place {number % 997}" for number in range(ROWS)],
            "value": [number * 0.5 for number in range(ROWS)],
        }
    )
    thread = anyio.to_thread.run_sync
    async with S3IOManager(settings) as manager:
        store = manager._bucket.store

        def put(key: str, data: bytes) -> None:
            obstore.put(store, key, data, chunk_size=settings.part_size)

        def get(key: str) -> bytes:
            return obstore.get(store, key).bytes().to_bytes()

        def put_table() -> None:
            file = io.BytesIO()
            pq.write_table(table, file)
            obstore.put(store, "table", file.getvalue(), chunk_size=settings.part_size)

        def list_all() -> int:
            return sum(len(chunk) for chunk in obstore.list(store, "many"))

        for number in range(320):
            await thread(put, f"bare/{number}", SMALL)
            await manager.store("small", SMALL, number)
        await at_once(lambda n: thread(put, f"many/{n:05}", b""), KEYS)
        await thread(put, "large", LARGE)
        await manager.store("large", LARGE, None)
        reader = S3ItemReader(reader_settings(server, bucket, S3ReaderSettings, prefix="many/"))

        async def read_all() -> None:
            state = await reader.init({}, {})
            page = await reader.read(state, KEYS)
            assert len(page.items) == KEYS
            await reader.close(state)

        pairs: dict[str, tuple[Work, Work]] = {
            "small put": (
                lambda: at_once(lambda n: thread(put, f"bare/{n}", SMALL)),
                lambda: at_once(lambda n: manager.store("small", SMALL, n)),
            ),
            "small get": (
                lambda: at_once(lambda n: thread(get, f"bare/{n}")),
                lambda: at_once(lambda n: manager.load("small", n)),
            ),
            "64 MiB put": (
                partial(thread, put, "large", LARGE),
                lambda: manager.store("large", LARGE, None),
            ),
            "64 MiB get": (partial(thread, get, "large"), lambda: manager.load("large", None)),
            "list 5,000 keys": (partial(thread, list_all), read_all),
            "parquet table": (
                partial(thread, put_table),
                lambda: manager.store("table", table, None),
            ),
        }
        found = await compared(pairs, turns)
        with Peak() as putting:
            await manager.store("large", LARGE, None)
        with Peak() as getting:
            value = await manager.load("large", None)
        found["memory"] = {
            "put_parts": putting.parts,
            "get_parts_beyond_the_value": round(getting.parts - len(value) / 2**23, 2),
            "wanted": 2,
        }
        found["interfaces"] = await interfaces(store)
    return found


async def interfaces(store: Any) -> dict[str, float]:
    """Return requests per second of obstore's two interfaces, 16 at once."""
    calls: dict[str, Callable[[int], Awaitable[object]]] = {
        "put in threads": lambda n: anyio.to_thread.run_sync(
            obstore.put, store, f"bare/{n}", SMALL
        ),
        "put_async": lambda n: obstore.put_async(store, f"bare/{n}", SMALL),
    }
    found: dict[str, float] = {}
    for name, call in calls.items():
        await at_once(call)
        times = []
        for _ in range(3):
            began = time.perf_counter()
            await at_once(call)
            times.append(320 / (time.perf_counter() - began))
        found[name] = round(statistics.median(times))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--turns", type=int, default=TURNS)
    chosen = parser.parse_args()
    server = given()
    if server is not None:
        found = asyncio.run(measure(server, chosen.turns))
    else:
        with tempfile.TemporaryDirectory() as folder, ministack(Path(folder)) as emulator:
            found = asyncio.run(measure(emulator, chosen.turns))
    time.sleep(0.1)  # threads of obstore's asynchronous interface may still be at work
    if chosen.json:
        print(json.dumps(found, indent=2))
        return
    for name, figures in found.items():
        print(f"{name:16} " + "  ".join(f"{key} {value}" for key, value in figures.items()))


if __name__ == "__main__":
    main()
