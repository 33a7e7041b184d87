"""Owners: who has a run, and whether that process is still there."""

from __future__ import annotations

import functools
import os
import platform
from pathlib import Path

__all__ = ("is_gone", "this_process")


def this_process() -> str:
    """Return what this process calls itself as an owner of runs: `host/pid/start/machine`."""
    pid = os.getpid()
    return "/".join((platform.node() or "localhost", str(pid), _start_of(pid), _machine()))


def is_gone(owner: str) -> bool:
    """Say whether the process that calls itself *owner* is known to have ended.

    Only processes of this machine, since it was started, can be looked for; of all others, and of
    owners that are called otherwise, nothing is known.
    """
    parts = owner.split("/")
    if len(parts) != 4 or os.name != "posix" or not parts[1].isdigit():
        return False
    _, pid, start, machine = parts
    if not machine or machine != _machine():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass  # it is there, but somebody else's
    # Another process may have been given the same number.
    return bool(start) and _start_of(int(pid)) != start


def _start_of(pid: int) -> str:
    """Return when a process was started, in the units of this machine; empty if unknown."""
    try:
        # Its name, which may hold anything, stands in brackets before what is looked for.
        facts = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    # A process that has ended and waits for its parent to ask does nothing any more.
    return "" if len(facts) < 20 else f"{facts[19]}{'z' if facts[0] in 'ZX' else ''}"


@functools.cache
def _machine() -> str:
    """Return a name of this machine from its start on, in which process numbers are unique."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        return f"{platform.system()}-{platform.node()}" if platform.node() else ""
    return f"{boot}-{space}"
