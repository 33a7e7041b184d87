"""What `stageflow plugins list` costs with 50 plugins installed, beside `stageflow --version`.

Both commands take turns, each in a process of its own; the figures are medians over many turns,
and the ratio is the median of the ratios of each turn. Resolving a name the second time stands
beside looking it up in a dictionary.

    python bench/plugins.py [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from stageflow.plugins import Plugins

PLUGINS = 50
TURNS = 25
CALLS = 100_000
COMMAND = Path(sys.executable).with_name("stageflow")


def install_plugins(folder: Path, count: int) -> None:
    """Put *count* distributions into *folder*, each with a plugin that cannot be imported."""
    for number in range(count):
        package = f"acme_{number}"
        info = folder / f"{package}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: acme-{number}\nVersion: 1.0\n", encoding="utf-8"
        )
        (info / "entry_points.txt").write_text(
            f"[stageflow.io_managers]\nacme-{number} = {package}:Manager\n\n"
            f"[stageflow.event_sinks]\nacme-{number} = {package}:Sink\n\n"
            "[stageflow.contract_versions]\n"
            f"event_sinks.acme-{number} = stageflow.contracts.event_sink:v1_0\n"
            f"io_managers.acme-{number} = stageflow.contracts.io_manager:v1_0\n",
            encoding="utf-8",
        )
        (folder / f"{package}.py").write_text("raise SystemExit('imported')\n", encoding="utf-8")


def seconds(*arguments: str, path: Path) -> float:
    """Return how long the command takes, from its start to its end."""
    variables = {**os.environ, "PYTHONPATH": str(path)}
    began = time.perf_counter()
    subprocess.run(
        [COMMAND, *arguments],
        cwd=path.parent,
        env=variables,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - began


def nanoseconds(call: Callable[[], object]) -> float:
    """Return the nanoseconds that one of many calls takes."""
    began = time.perf_counter_ns()
    for _ in range(CALLS):
        call()
    return (time.perf_counter_ns() - began) / CALLS


def commands() -> dict[str, float]:
    """Return the figures of both commands."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "installed")
        install_plugins(path, PLUGINS)
        seconds("plugins", "list", path=path)  # writes what Python compiles
        turns = [
            (seconds("plugins", "list", path=path), seconds("--version", path=path))
            for _ in range(TURNS)
        ]
    return {
        "ms": statistics.median(listed for listed, _ in turns) * 1000,
        "baseline_ms": statistics.median(base for _, base in turns) * 1000,
        "ratio": statistics.median(listed / base for listed, base in turns),
    }


def resolving() -> dict[str, float]:
    """Return the figures of resolving a name for the second time."""
    with tempfile.TemporaryDirectory() as folder:
        registry = Plugins.load(directory=folder, environ={}).registry("io_manager")
    known = {"memory": registry.resolve("memory")}
    turns = [
        (nanoseconds(lambda: registry.resolve("memory")), nanoseconds(lambda: known["memory"]))
        for _ in range(5)
    ]
    return {
        "ns": statistics.median(found for found, _ in turns),
        "baseline_ns": statistics.median(base for _, base in turns),
        "ratio": statistics.median(found / base for found, base in turns),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args()
    listing, found = commands(), resolving()
    if arguments.json:
        print(json.dumps({"plugins list / --version": listing, "resolve": found}, indent=2))
        return
    print(f"{listing['ms']:8.0f} ms {listing['ratio']:6.2f}x  plugins list, {PLUGINS} / --version")
    print(f"{found['ns']:8.0f} ns {found['ratio']:6.2f}x  resolving again / a look-up in a dict")


if __name__ == "__main__":
    main()
