"""Sample distributions: built into wheels once, unpacked, and put on the path of a test."""

from __future__ import annotations

import contextlib
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hatchling.build import build_wheel

from stageflow.plugins import Discovery

SAMPLES = Path(__file__).parent

# They are distributions of their own, with tests of their own.
collect_ignore_glob = ["stageflow-sample*"]


class Site:
    """Folders with one installed sample each.

    Args:
        folder: Where they are put.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, name: str) -> Path:
        """Return the folder in which the sample is installed, after building it if need be."""
        place = self._folder / name
        if not place.exists():
            with contextlib.chdir(SAMPLES / name):
                wheel = self._folder / build_wheel(str(self._folder))
            # To unpack a wheel of plain Python is to install it.
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(place)
        return place


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("samples"))


@pytest.fixture
def install(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Discovery]]:
    """Install samples for one test and return what is then found."""

    def install(*names: str) -> Discovery:
        for name in names:
            monkeypatch.syspath_prepend(site(name))
        return Discovery()

    yield install
    for module in [name for name in sys.modules if name.startswith("stageflow_sample")]:
        del sys.modules[module]
