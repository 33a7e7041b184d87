"""ProcessExecutor: what only processes can do, and what they must not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from stageflow.builtin import process_executor
from stageflow.builtin._frames import frame, length_of
from stageflow.builtin.executors import (
    ProcessExecutorSettings,
    ThreadExecutor,
    ThreadExecutorSettings,
    make_process_executor,
    make_thread_executor,
)
from stageflow.builtin.process_executor import ProcessExecutor
from stageflow.contracts.executor import (
    ExecutionTimeoutError,
    ExecutorClosedError,
    RemoteError,
    UnsendableCallError,
    WorkerCrashedError,
    run_in,
)
from stageflow.testing import _executor_bodies as bodies

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
async def executor():
    async with ProcessExecutor(max_workers=1) as executor:
        yield executor


MODULE = """
import asyncio
import attrs
from stageflow.codec import codec_type
from stageflow.errors import RunError

@codec_type
@attrs.frozen
class Place:
    name: str

class Busy(RunError):
    code = "SFX01"
    retryable = True

class Hidden(Exception):
    def __str__(self): raise RuntimeError("no")

def moved(place): return Place(place.name + "!")
def fail(): raise Busy("It is busy.", hint="Wait.")
def hide(): raise Hidden
def leave(): raise SystemExit(3)
async def inner(): return 5
def own_loop(): return asyncio.run(inner())
"""


@pytest.fixture
def places(tmp_path, monkeypatch):
    import importlib

    (tmp_path / "process_places.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    from stageflow.codec import Codec, set_default_codec

    before = set_default_codec(Codec())
    sys.modules.pop("process_places", None)
    yield importlib.import_module("process_places")
    set_default_codec(before)
    sys.modules.pop("process_places", None)


async def test_registered_classes_cross_and_the_import_path_is_ours(executor, places):
    assert await run_in(executor, places.moved, places.Place("a")) == places.Place("a!")


async def test_errors_tell_their_code_and_whether_to_try_again(executor, places):
    with pytest.raises(RemoteError, match="Busy: It is busy") as caught:
        await run_in(executor, places.fail)
    assert (caught.value.error_code, caught.value.retryable) == ("SFX01", True)
    with pytest.raises(RemoteError, match="showing it raised RuntimeError"):
        await run_in(executor, places.hide)


async def test_a_plain_function_may_run_a_loop_of_its_own(executor, places):
    assert await run_in(executor, places.own_loop) == 5


async def test_a_function_that_leaves_the_program_ends_its_worker_alone(executor, places):
    with pytest.raises(WorkerCrashedError, match="ended with 3"):
        await run_in(executor, places.leave)
    assert await run_in(executor, bodies.give) == [(), {}]


async def test_what_cannot_cross_is_told_before_a_worker_begins(executor):
    with pytest.raises(UnsendableCallError):
        await run_in(executor, lambda: None)
    assert executor._idle == []


async def test_a_worker_that_died_while_idle_costs_no_call(executor):
    pid = await run_in(executor, bodies.process_id)
    os.kill(pid, signal.SIGKILL)
    (worker,) = executor._idle
    await worker.process.wait()
    assert await run_in(executor, bodies.process_id) != pid


async def test_no_more_workers_than_allowed_and_each_is_used_again(executor):
    pids = set()

    async def call():
        pids.add(await run_in(executor, bodies.process_id))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(call)
    assert len(pids) == 1


async def test_large_arguments_and_results_cross(executor):
    text = "naïve " * 1_000_000
    assert await run_in(executor, bodies.give, text) == [(text,), {}]


async def test_a_program_that_is_no_worker_is_told(monkeypatch):
    for code, told in (
        ("print('hello, world')", "ended"),
        ("import time; time.sleep(60)", "longer"),
    ):
        monkeypatch.setattr(process_executor, "_COMMAND", (sys.executable, "-c", code))
        async with ProcessExecutor(start_timeout=0.3) as executor:
            with pytest.raises((WorkerCrashedError, ExecutionTimeoutError), match=told):
                await run_in(executor, bodies.give)


async def test_calls_that_wait_for_a_worker_end_when_it_is_closed(executor, tmp_path):
    ended = []

    async def call():
        try:
            await run_in(executor, bodies.block, str(tmp_path))
        except ExecutorClosedError as error:
            ended.append(error.target)

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(call)
        while not list(tmp_path.glob("pid-*")):  # noqa: ASYNC110 - another process tells by a file
            await anyio.sleep(0.002)
        await executor.aclose()
    assert ended == [f"{bodies.__name__}:block"] * 3


OWNER = """
import sys, anyio
from stageflow.builtin.process_executor import ProcessExecutor
from stageflow.contracts.executor import run_in
from stageflow.testing._executor_bodies import block_with_child

async def main():
    async with ProcessExecutor() as executor:
        await run_in(executor, block_with_child, sys.argv[1])

anyio.run(main)
"""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1][1] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")
async def test_workers_end_with_their_owner_even_if_it_is_killed(tmp_path):
    owner = subprocess.Popen([sys.executable, "-c", OWNER, tmp_path])  # noqa: ASYNC220 - at once
    with anyio.fail_after(30):
        while len(list(tmp_path.glob("pid-*"))) < 2:  # noqa: ASYNC110 - as above
            await anyio.sleep(0.002)
        owner.kill()
        owner.wait()
        pids = [int(path.name[4:]) for path in tmp_path.glob("pid-*")]
        while any(map(is_alive, pids)):  # noqa: ASYNC110 - as above
            await anyio.sleep(0.002)


async def test_threads_that_were_given_up_count_until_they_end(tmp_path):
    async with ThreadExecutor(max_workers=1) as executor:
        with pytest.raises(ExecutionTimeoutError):
            await run_in(executor, bodies.block, str(tmp_path), timeout=0.02)
        with pytest.raises(ExecutionTimeoutError):
            await run_in(executor, bodies.give, timeout=0.02)
        (tmp_path / "go").touch()
        assert await run_in(executor, bodies.give, timeout=30) == [(), {}]


def test_frames_have_a_length_that_can_be():
    assert length_of(frame(b"abc")[:4]) == 3
    with pytest.raises(ValueError, match="bytes"):
        length_of(b"http")


def test_they_are_made_from_settings():
    process = make_process_executor(ProcessExecutorSettings(max_workers=3, grace=0))
    assert repr(process) == "ProcessExecutor(3 workers at most)"
    assert process._grace == 0
    assert make_process_executor(ProcessExecutorSettings())._max_workers >= 1
    assert make_thread_executor(ThreadExecutorSettings(max_workers=2))._max_workers == 2
