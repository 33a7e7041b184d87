"""The command as a process: exit statuses, pipes, Ctrl-C, terminals."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")]

COMMAND = (sys.executable, "-m", "stageflow")

FLOW = """
    import os, subprocess, sys, time
    import anyio
    from stageflow import Pipeline, stage

    @stage
    async def noisy():
        print("printed")
        os.write(1, b"written\\n")
        subprocess.run([sys.executable, "-c", "print('from a child')"])
        return {"done": True}

    noise = Pipeline("noise").with_stage(noisy)

    @stage(kind="work")
    async def waits(ctx):
        async def clean():
            await anyio.sleep(0)
            print("cleaned up", flush=True)
        ctx.register_cleanup(clean, name="tidy")
        print("waiting", flush=True)
        await anyio.sleep(60)

    @stage
    def works():
        print("working", flush=True)
        time.sleep(60)

    @stage
    async def blocks():
        print("waiting", flush=True)
        while True:
            time.sleep(0.01)

    waiting = Pipeline("waiting").with_stage(waits)
    threads = Pipeline("threads").with_stage(works)
    blocking = Pipeline("blocking").with_stage(blocks)

    @stage
    async def quick():
        await anyio.sleep(0.3)  # until the view is there
        print("a word from a stage")
        await anyio.sleep(0.1)

    @stage
    async def bad(quick):
        raise ValueError("boom")

    terminal = Pipeline("terminal").with_stages([quick, bad])
"""


@pytest.fixture(autouse=True)
def flow(write: Callable[[str, str], Path]) -> None:
    write("flow_x.py", FLOW)


def restore_signals() -> None:
    # Whoever runs the tests in the background has Ctrl-C switched off for all below it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen(
        [*COMMAND, *arguments],
        text=True,
        preexec_fn=restore_signals,  # noqa: PLW1509 - there are no threads here
        **streams,
    )


def wait_for(word: str, stream: IO[str]) -> None:
    for line in stream:
        if word in line:
            return
    raise AssertionError(f"{word!r} never came")


def test_json_is_all_there_is_on_stdout():
    done = start("run", "flow_x.py:noise", "--json")
    out, err = done.communicate(timeout=30)
    assert done.returncode == 0
    assert json.loads(out)["outputs"] == {"noisy": {"done": True}}
    assert {"printed", "written", "from a child"} <= set(err.split("\n"))


def test_a_pipe_gets_neither_colours_nor_movement():
    done = start("run", "flow_x.py:terminal")
    out, err = done.communicate(timeout=30)
    assert done.returncode == 1
    assert "\x1b" not in out + err
    assert "\r" not in out + err


def test_a_reader_may_leave_early():
    done = start("run", "flow_x.py:terminal")
    assert done.stdout is not None
    assert done.stderr is not None
    assert "pipeline.started" in done.stdout.readline()
    done.stdout.close()
    err = done.stderr.read()
    assert done.wait(timeout=30) == 1, "the run went on, and failed as it should"
    assert "Broken" not in err
    assert "error SF301" in err
    done.stderr.close()


def test_ctrl_c_cancels_cleans_up_and_records(project: Path):
    done = start("run", "flow_x.py:waiting")
    assert done.stdout is not None
    wait_for("waiting\n", done.stdout)
    done.send_signal(signal.SIGINT)
    out, err = done.communicate(timeout=30)
    assert done.returncode == 130
    assert "Cancelling the run" in err
    assert "cleaned up\n" in out
    assert "reason  interrupted by Ctrl-C" in out
    listed = start("runs", "list", "--json").communicate(timeout=30)[0]
    assert [run["status"] for run in json.loads(listed)] == ["cancelled"]


def test_a_second_ctrl_c_stops_at_once_even_a_blocked_loop():
    done = start("run", "flow_x.py:blocking", "--no-record")
    assert done.stdout is not None
    assert done.stderr is not None
    wait_for("waiting\n", done.stdout)
    done.send_signal(signal.SIGINT)
    wait_for("Cancelling", done.stderr)
    done.send_signal(signal.SIGINT)
    err = done.communicate(timeout=30)[1]
    assert done.returncode == 130
    assert "Stopped at once" in err


def test_a_busy_thread_keeps_nobody_waiting():
    done = start("run", "flow_x.py:threads", "--json", "--no-record")
    assert done.stderr is not None
    wait_for("working", done.stderr)
    done.send_signal(signal.SIGINT)
    out, err = done.communicate(timeout=30)
    assert done.returncode == 130
    assert json.loads(out)["stages"]["works"]["thread_abandoned"] is True
    assert "Leaving a busy thread behind, of stage 'works'." in err


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    try:
        yield master, slave
    finally:
        os.close(master)


def read_all(master: int) -> str:
    parts = []
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # Linux says so when the last writer has gone
            break
        if not part:
            break
        parts.append(part)
    return b"".join(parts).decode()


def test_a_terminal_gets_a_live_view():
    environ = {**os.environ, "TERM": "xterm-256color"}
    environ.pop("NO_COLOR", None)
    with terminal() as (master, slave):
        done = start("run", "flow_x.py:terminal", stdout=slave, stderr=slave, env=environ)
        os.close(slave)
        seen = read_all(master)
        assert done.wait(timeout=30) == 1
    assert "\x1b[?25l" in seen
    assert seen.rindex("\x1b[?25h") > seen.rindex("\x1b[?25l"), "the cursor is shown again"
    plain = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", seen)
    assert re.search(r"[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏]  quick", plain)
    last = plain[plain.rindex("terminal  2 stages") :]
    assert re.search(r"✓  quick +transform +[\d.]+ m?s", last)
    assert re.search(r"✗  bad +transform .*ValueError: boom", last)
    assert "error SF301" in last
    assert len(re.findall(r"(?:^|[\r\n])a word from a stage\r", plain)) == 1, "on a line above"


def test_a_dumb_terminal_gets_lines():
    with terminal() as (master, slave):
        environ = {**os.environ, "TERM": "dumb"}
        done = start("run", "flow_x.py:terminal", stdout=slave, stderr=slave, env=environ)
        os.close(slave)
        seen = read_all(master)
        assert done.wait(timeout=30) == 1
    assert "\x1b" not in seen
    assert "stage.completed" in seen


@pytest.mark.parametrize("arguments", [("run", "flow_x.py:noise"), ("runs", "list", "--json")])
def test_nobody_needs_to_read_what_it_writes(arguments: tuple[str, ...]):
    command = ["sh", "-c", 'exec "$@" >&-', "sh", *COMMAND, *arguments]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has it")  # noqa: PTH110
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "arguments", [("runs", "list"), ("runs", "list", "--json"), ("--version",)]
)
def test_a_full_disk_is_told_in_one_line(arguments: tuple[str, ...], unbuffered: str):
    environ = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = start(*arguments, stdout=full, env=environ)
        err = done.communicate(timeout=30)[1]
    assert done.returncode == 1
    assert err == "Cannot write the output: No space left on device.\n"


@pytest.mark.parametrize("where", ["stageflow.cli.app", "stageflow.cli.run_command"])
def test_ctrl_c_while_it_starts_is_answered(where: str):
    script = f"""
import signal, sys
class Finder:
    def find_spec(self, name, *rest):
        if name == {where!r}:
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Finder())
from stageflow.cli.main import main
sys.exit(main(["run", "flow_x.py:noise"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        preexec_fn=restore_signals,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Interrupted.\n")
