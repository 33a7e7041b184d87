"""Installed distributions, made up: what discovery would find, without files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

from stageflow.plugins import Discovery

__all__ = ("distribution", "installed")

EntryPoints = Mapping[str, Mapping[str, str]]


def distribution(name: str, entry_points: EntryPoints, version: str = "1.0") -> list[Any]:
    """Give the entry points of one distribution: group, then name and value."""
    dist = SimpleNamespace(metadata={"Name": name, "Version": version})
    return [
        SimpleNamespace(group=group, name=point, value=value, dist=dist)
        for group, points in entry_points.items()
        for point, value in points.items()
    ]


def installed(*distributions: Iterable[Any]) -> Discovery:
    """Give the discovery of an interpreter in which only *distributions* are installed."""
    return Discovery(lambda: [point for points in distributions for point in points])
