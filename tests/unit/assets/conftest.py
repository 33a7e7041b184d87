from __future__ import annotations

import pytest

from support.assets import Backends


@pytest.fixture
def backends() -> Backends:
    return Backends()
