"""Installed distributions, made up: what discovery would find, without files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from importlib_metadata import Distribution

from stageflow.plugins import Discovery

__all__ = ("distribution", "installed")

EntryPoints = Mapping[str, Mapping[str, str]]


class MadeUp(Distribution):
    """A distribution with the files that it is given."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files

    def read_text(self, filename: str) -> str | None:
        return self._files.get(filename)

    def locate_file(self, path: object) -> Path:
        raise FileNotFoundError(path)


def distribution(name: str, entry_points: EntryPoints, version: str = "1.0") -> Distribution:
    """Give a distribution with these entry points: group, then name and value."""
    lines = []
    for group, points in entry_points.items():
        lines += [f"[{group}]", *(f"{point} = {value}" for point, value in points.items())]
    return MadeUp(
        {
            "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nText.\n",
            "entry_points.txt": "\n".join(lines),
        }
    )


def installed(*distributions: Distribution) -> Discovery:
    """Give the discovery of an interpreter in which only *distributions* are installed."""
    return Discovery(lambda: distributions)
