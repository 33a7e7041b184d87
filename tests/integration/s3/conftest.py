"""The servers that tests of S3 and DynamoDB talk to, started once for all of them."""

from __future__ import annotations

import pytest

from support.s3 import given, ministack, moto


@pytest.fixture(scope="session")
def primary(tmp_path_factory):
    """The server that most tests use: the one that the environment names, else ministack."""
    if (server := given()) is not None:
        yield server
        return
    with ministack(tmp_path_factory.mktemp("ministack")) as server:
        yield server


@pytest.fixture(scope="session")
def second():
    """A second implementation, which knows the protocol from elsewhere."""
    with moto() as server:
        yield server


@pytest.fixture(scope="session")
def bucket(primary):
    return primary.bucket()


@pytest.fixture(scope="session")
def second_bucket(second):
    return second.bucket()
