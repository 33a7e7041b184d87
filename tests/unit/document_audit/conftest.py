"""A labelled folder, made once for all tests that only read it."""

from __future__ import annotations

import pytest

from support.labelled_folder import make_folder


@pytest.fixture(scope="session")
def labelled(tmp_path_factory):
    made = make_folder(tmp_path_factory.mktemp("labelled"))
    yield made
    if (locked := made.root / "locked.txt").exists():
        locked.chmod(0o600)
