"""The checkout as tests see it: its distributions, its files, its tools."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MEMBERS = tuple(path.parent for path in sorted(ROOT.glob("stageflow-*/pyproject.toml")))


def run(
    *command: str | Path, cwd: Path = ROOT, status: int | None = 0, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command with *variables* set; fail with all it said unless it ends with *status*.

    The project's own tools are found first; a None status accepts any.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, "PATH": path, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    said = f"{' '.join(map(str, command))} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    assert status is None or done.returncode == status, said
    return done


def uv(*arguments: str | Path, status: int | None = 0) -> subprocess.CompletedProcess[str]:
    """Run uv as `make setup` does."""
    return run(sys.executable, ROOT / "dev" / "uv.py", *arguments, status=status)


def toml(path: Path) -> dict[str, Any]:
    """Return what a TOML file holds."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def committed_files() -> list[Path]:
    """Return every file under version control that still exists."""
    # The checkout may belong to someone else, as in a container; git has to be told that it may.
    listed = run("git", "-c", f"safe.directory={ROOT}", "ls-files", "-z").stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]
