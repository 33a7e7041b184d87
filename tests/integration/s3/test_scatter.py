"""A scatter over the objects of a bucket survives that its process is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import obstore
import pytest

from stageflow_io_s3._bucket import Bucket

pytestmark = pytest.mark.slow

ITEMS, PAGE = 10_000, 500
PROGRAM = """
import os, sys
from pathlib import Path

import anyio

from stageflow import Runtime
from stageflow.assets import AssetStore, scatter
from stageflow.builtin.files_io_manager import FilesIOManager
from stageflow.builtin.sqlite_run_store import SqliteRunStore

async def main(folder, page):
    folder, page = Path(folder), int(page)
    worked = os.open(folder / "worked", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def add(total, results):
        return [total[0] + len(results), total[1] + sum(result for _, result in results)]

    @scatter(reader="s3", fold=add, initial=(0, 0), page_size=page, max_concurrent=8)
    async def sizes(item):
        os.write(worked, item["key"].encode() + b"\\n")
        return int(item["key"][-5:])

    data = FilesIOManager(folder / "data")
    run_store = SqliteRunStore(folder / "runs.sqlite3", synchronous="normal")
    async with Runtime(run_store=run_store, event_sink=None) as runtime:
        async with AssetStore([sizes], runtime, io_manager=data, lease=1.0, poll=0.05) as store:
            await store.materialize("sizes")
            print(*await store.get("sizes"))

anyio.run(main, *sys.argv[1:])
"""


def test_ten_thousand_objects_survive_a_kill(primary, tmp_path):
    bucket = primary.bucket()
    store = Bucket(primary.settings(bucket)).store
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda n: obstore.put(store, f"in/{n:05}", b""), range(ITEMS)))
    variables = {
        "STAGEFLOW_ITEM_READERS__S3__URL": f"s3://{bucket}",
        "STAGEFLOW_ITEM_READERS__S3__PREFIX": "in/",
        "AWS_ENDPOINT_URL": primary.endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    start = partial(
        subprocess.Popen,
        [sys.executable, "-c", PROGRAM, str(tmp_path), str(PAGE)],
        cwd=tmp_path,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        text=True,
    )
    path = tmp_path / "worked"
    with start() as process:
        until = time.monotonic() + 50
        while not path.exists() or path.read_bytes().count(b"\n") < ITEMS // 3:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < until, "it does not get on"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    with start() as process:
        said, _ = process.communicate(timeout=50)
        assert process.returncode == 0
    assert said.split() == [str(ITEMS), str(sum(range(ITEMS)))]
    times = Counter(path.read_text(encoding="ascii").split())
    assert len(times) == ITEMS
    assert times.total() - ITEMS < PAGE, "a page or more was worked on again"
