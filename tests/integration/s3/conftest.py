"""The servers that tests of S3 and DynamoDB talk to, started once for all of them."""

from __future__ import annotations

import pytest

from stageflow_io_s3 import DynamoDBItemReader, DynamoDBSettings
from support.s3 import given, ministack, moto


@pytest.fixture
def anyio_backend():
    """Run on asyncio; the kits, and what cancels, run on trio too."""
    return "asyncio"


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


def dynamodb_settings(server, table, **changes):
    given = server.settings("unused")
    names = ("endpoint", "region", "access_key_id", "secret_access_key")
    return DynamoDBSettings(
        table=table, **{name: getattr(given, name) for name in names}, **changes
    )


def make_table(server, name, items):
    """Make a table with items of the numbers 0, 1, …, all in one partition."""
    client = server.client("dynamodb")
    keys = [
        {"AttributeName": "kind", "KeyType": "HASH"},
        {"AttributeName": "n", "KeyType": "RANGE"},
    ]
    types = [
        {"AttributeName": "kind", "AttributeType": "S"},
        {"AttributeName": "n", "AttributeType": "N"},
    ]
    client.create_table(
        TableName=name,
        KeySchema=keys,
        AttributeDefinitions=types,
        BillingMode="PAY_PER_REQUEST",
    )
    for number in range(items):
        item = {"kind": {"S": "a"}, "n": {"N": str(number)}, "odd": {"BOOL": number % 2 == 1}}
        client.put_item(TableName=name, Item=item)
    client.close()


@pytest.fixture(scope="session")
def table_reader(primary):
    # One for all tests: what botocore has to read of a service takes longer than any of them.
    make_table(primary, "numbers", 7)
    return DynamoDBItemReader(dynamodb_settings(primary, "numbers"))


@pytest.fixture(scope="session")
def second_table_reader(second):
    make_table(second, "numbers", 7)
    return DynamoDBItemReader(dynamodb_settings(second, "numbers"))
