"""A scatter whose process is killed goes on where it was, and counts each item once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import anyio
import pytest

from support.scatter_process import count_numbers
from support.workspace import ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills a process by a signal")


def kill_after(folder: Path, items: int, page: int, lines: int) -> None:
    """Start the process, and kill it once so many items have been worked on in all."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    command = [sys.executable, "-m", "support.scatter_process", str(folder), str(items), str(page)]
    with subprocess.Popen(command, env=environment) as process:
        deadline = time.monotonic() + 50
        while len(worked(folder)) < lines:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline, "it does not get on"
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()


def worked(folder: Path) -> list[bytes]:
    """Return the items that have been worked on, as often as they were."""
    path = folder / "worked"
    return path.read_bytes().splitlines() if path.exists() else []


def check(folder: Path, items: int, page: int, kills: int) -> None:
    """Finish the scatter in this process, and look at what became of it."""
    done = anyio.run(count_numbers, folder, items, page)
    assert done["gathered"] == [items, sum(range(items))]
    assert (done["items"], done["failed_items"]) == (items, 0)
    times = Counter(worked(folder))
    assert len(times) == items
    again = times.total() - items
    assert again < kills * page, "a page or more was worked on again after a kill"


def test_a_killed_scatter_goes_on_and_counts_each_key_once(tmp_path: Path):
    kill_after(tmp_path, 5_000, 100, 500)
    check(tmp_path, 5_000, 100, 1)


@pytest.mark.slow
def test_fs1222_a_hundred_thousand_items_survive_kills(tmp_path: Path):
    for lines in (10_000, 40_000, 70_000):
        kill_after(tmp_path, 100_000, 1000, lines)
    check(tmp_path, 100_000, 1000, 3)
