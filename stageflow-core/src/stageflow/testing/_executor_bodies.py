"""What the kit of executors has executed; importable wherever Stageflow is installed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, NoReturn

import anyio

__all__ = (
    "block",
    "block_with_child",
    "boil_over",
    "crash",
    "deliver",
    "give",
    "give_later",
    "give_unstorable",
    "later",
    "meet",
    "noise",
    "process_id",
    "wait_for_ever",
)

# Seconds that `meet` waits.
PATIENCE = 20.0


class Boiled(Exception):
    """What `boil_over` raises."""


def give(*args: Any, **kwargs: Any) -> Any:
    """Return the arguments."""
    return [args, kwargs]


async def give_later(*args: Any, **kwargs: Any) -> Any:
    """Return the arguments, after a moment."""
    await anyio.lowlevel.checkpoint()
    return [args, kwargs]


def later(*args: Any) -> Awaitable[Any]:
    """Return something to be awaited."""
    return give_later(*args)


def boil_over(message: str) -> NoReturn:
    """Raise an error."""
    raise Boiled(message)


def give_unstorable() -> Any:
    """Return what no codec knows."""
    return object()


def process_id() -> int:
    """Return the id of the process."""
    return os.getpid()


def crash(how: str) -> None:
    """End the process: by a signal, or with an exit code."""
    if how == "signal":
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(7)


def noise(text: str) -> str:
    """Write to both standard streams by all ways there are, and read; return what was read."""
    print(text)  # noqa: T201 - it is what this is about
    sys.stderr.write(text)
    sys.stdout.flush()
    os.write(1, text.encode())
    subprocess.run([sys.executable, "-c", "print('from below')"], check=True)
    return sys.stdin.read() + os.read(0, 100).decode()


def block(folder: str) -> None:
    """Tell who it is, and block until a file `go` comes, or the folder goes."""
    (Path(folder) / f"pid-{os.getpid()}").touch()
    while Path(folder).exists() and not (Path(folder) / "go").exists():
        time.sleep(0.002)


def block_with_child(folder: str) -> None:
    """Start a process that blocks as well, and block."""
    code = f"from stageflow.testing._executor_bodies import block; block({folder!r})"
    subprocess.Popen([sys.executable, "-c", code])  # noqa: S603 - our own code
    block(folder)


async def wait_for_ever(folder: str) -> None:
    """Tell that it waits, and then that it was cancelled."""
    (Path(folder) / f"waiting-{os.getpid()}").touch()
    try:
        await anyio.sleep_forever()
    finally:
        (Path(folder) / "cancelled").touch()


def deliver(folder: str, name: str) -> str:
    """Leave a file, and return its name."""
    (Path(folder) / name).touch()
    return name


def meet(folder: str, name: str, other: str) -> str:
    """Return *name* once both have come; they must be here at the same time."""
    (Path(folder) / name).touch()
    end = time.monotonic() + PATIENCE
    while not (Path(folder) / other).exists():
        if time.monotonic() > end:
            raise TimeoutError(f"{other} has not come")
        time.sleep(0.002)
    return name
