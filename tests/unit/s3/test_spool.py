"""A value that is written piece by piece lies in memory, until it is large."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stageflow_io_s3._spool import Spool


@given(st.lists(st.binary(max_size=20)), st.integers(0, 60))
def test_what_is_written_is_there(pieces, most):
    spool = Spool(most)
    for piece in pieces:
        spool.write(piece)
    whole = b"".join(pieces)
    content = spool.content()

    assert isinstance(content, bytes) is (len(whole) <= most)
    if not isinstance(content, bytes):
        with content as file:
            content = file.read()
    assert content == whole
    assert (spool.size, spool.crc) == (len(whole), zlib.crc32(whole))


@pytest.mark.parametrize("most", [0, 100])
def test_bytes_are_counted_not_elements(most):
    spool = Spool(most)

    assert spool.write(memoryview(b"12345678").cast("I")) == 8

    assert spool.size == 8
    spool.close()
