"""The command `stageflow transcript FILE`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from stageflow_sample.event_sink import read_transcript

__all__ = ("transcript",)


def transcript(path: Path) -> None:
    """Count the events in a transcript by their type."""
    counts = Counter(name for name, _ in read_transcript(path))
    for name, count in sorted(counts.items()):
        print(f"{count:6} {name}")  # noqa: T201 - a command talks on stdout
