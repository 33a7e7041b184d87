"""Every implementation on S3 and DynamoDB keeps every clause, on two servers that differ."""

from __future__ import annotations

import gzip
import json
import uuid
from types import MappingProxyType

import obstore.exceptions
import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError

from stageflow.contracts.item_reader import ItemReaderCapabilities
from stageflow.contracts.resource import ResourceCapabilities
from stageflow.testing.error_normalizer import ErrorNormalizerConformance
from stageflow.testing.io_manager import IOManagerConformance
from stageflow.testing.item_reader import ItemReaderConformance
from stageflow.testing.resource import ResourceConformance
from stageflow_io_s3 import (
    AccessDeniedError,
    S3Capabilities,
    S3ErrorNormalizer,
    S3IOManager,
    S3ItemReader,
    S3LinesItemReader,
    S3LinesSettings,
    S3Resource,
    ThrottledError,
)
from support.s3_readers import reader_settings


class S3IOManagerKit(IOManagerConformance):
    capabilities = S3Capabilities(list_partitions=True, conditional_writes=True)


class TestS3IOManager(S3IOManagerKit):
    @pytest.fixture
    async def io_manager(self, primary, bucket):
        async with S3IOManager(primary.settings(bucket, uuid.uuid4().hex)) as manager:
            yield manager


class TestS3IOManagerOnMoto(S3IOManagerKit):
    event_loops = ("asyncio",)  # the other server is there for its answers

    @pytest.fixture
    async def io_manager(self, second, second_bucket):
        async with S3IOManager(second.settings(second_bucket, f"a/{uuid.uuid4().hex}")) as manager:
            yield manager


KEYS = ("a", "a b", "a//b", "a/./b", "a/../b", "b%2Fc", "b+c", "b?c&d=e", "naïve", "\U0001f600")
HEAD = "listed/"


def put(server, bucket, objects):
    """Store objects by other means than those that are tested."""
    client = server.client()
    for key, body in objects.items():
        client.put_object(Bucket=bucket, Key=key, Body=body)
    client.close()


@pytest.fixture(scope="session")
def listed(primary, bucket):
    """Objects of which names that nobody would expect are a part, and some that are no items."""
    names = (*KEYS, "other.csv", "folder/")
    put(primary, bucket, {f"{HEAD}{name}": name.encode() for name in names})
    return bucket


class TestS3ItemReader(ItemReaderConformance):
    capabilities = ItemReaderCapabilities(checkpoint=True, close=True)
    items = tuple(f"{HEAD}{key}" for key in sorted((*KEYS, "other.csv")))
    config = MappingProxyType({"prefix": HEAD})
    wrong_configs = (
        *({"prefx": "a"}, {"page_size": 0}, {"page_size": 1_001}, {"max_items": 0}),
        *({"url": "s3://"}, {"url": "s3://no-such-bucket-there"}, {"manifest": "absent"}),
    )

    @pytest.fixture
    def item_reader(self, primary, listed):
        return S3ItemReader(reader_settings(primary, listed))

    def shown(self, item):
        assert item["size"] == len(item["key"].removeprefix(HEAD).encode())
        return item["key"]


@pytest.mark.slow
class TestS3ItemReaderInSmallPages(TestS3ItemReader):
    event_loops = ("asyncio",)
    config = MappingProxyType({"prefix": HEAD, "page_size": 2})


INVENTORY = "inventory"
SCHEMA = "Bucket, Key, Size, LastModifiedDate, ETag, IsLatest, IsDeleteMarker"


def inventory_row(key, *, latest="true", gone="false"):
    return f'"there","{key}","7","2025-01-31T12:00:00.000Z","abc","{latest}","{gone}"\n'


@pytest.fixture(scope="session")
def inventory(primary, bucket):
    rows = [inventory_row(f"in/{number}+%26") for number in range(6)]
    rows[3:3] = [
        inventory_row("in/old", latest="false"),
        inventory_row("in/gone", gone="true"),
        inventory_row("out/1"),
    ]
    files = {
        f"{INVENTORY}/data/{part}.csv.gz": gzip.compress("".join(rows[part::2]).encode())
        for part in range(2)
    }
    told = {"fileFormat": "CSV", "fileSchema": SCHEMA, "files": [{"key": key} for key in files]}
    manifest = {f"{INVENTORY}/manifest.json": json.dumps(told).encode()}
    put(primary, bucket, {**files, **manifest, f"{INVENTORY}/orc.json": b'{"fileFormat": "ORC"}'})
    return bucket


class TestInventory(ItemReaderConformance):
    event_loops = ("asyncio",)
    capabilities = ItemReaderCapabilities(checkpoint=True, close=True)
    items = tuple(f"in/{number} &" for number in (0, 2, 3, 5, 1, 4))
    config = MappingProxyType({"manifest": f"{INVENTORY}/manifest.json", "prefix": "in/"})
    wrong_configs = ({"manifest": f"{INVENTORY}/orc.json"}, {"manifest": "absent"})

    @pytest.fixture
    def item_reader(self, primary, inventory):
        return S3ItemReader(reader_settings(primary, inventory))

    def shown(self, item):
        assert (item["bucket"], item["size"], item["modified"].year) == ("there", 7, 2025)
        return item["key"]


LINES = {
    "lines/1.jsonl": b'\xef\xbb\xbf{"id": 1}\n\n{"id": 2}\n',
    "lines/2.jsonl.gz": gzip.compress(b'{"id": 3}\n{"id": 4}'),
    "lines/3.jsonl": b"",
    "lines/4.csv": b'id\n5\n"6\nor more"\n',
    "lines/5.txt": b"no rows",
}


@pytest.fixture(scope="session")
def lines(primary, bucket):
    put(primary, bucket, LINES)
    return bucket


class TestLines(ItemReaderConformance):
    capabilities = ItemReaderCapabilities(checkpoint=True, close=True)
    items = ({"id": 1}, {"id": 2}, {"id": 3}, {"id": 4})
    config = MappingProxyType({"keys": ["lines/1.jsonl", "lines/2.jsonl.gz", "lines/3.jsonl"]})
    wrong_configs = (
        *({"format": "xml"}, {"on_error": "ignore"}, {"delimiter": ";;", "format": "csv"}),
        {"encoding": "utf-16", "format": "csv"},
    )

    @pytest.fixture
    def item_reader(self, primary, lines):
        return S3LinesItemReader(reader_settings(primary, lines, S3LinesSettings))


@pytest.mark.slow
class TestCsvLines(TestLines):
    event_loops = ("asyncio",)
    items = ({"id": "1"}, {"id": "2"}, {"id": "5"}, {"id": "6\nor more"})
    config = MappingProxyType({"prefix": "csv/", "suffix": ".csv.gz"})

    @pytest.fixture
    def item_reader(self, primary, bucket):
        rows = {"csv/a.csv.gz": b"id\n1\n2\n", "csv/b.csv.gz": LINES["lines/4.csv"]}
        put(primary, bucket, {key: gzip.compress(body) for key, body in rows.items()})
        return S3LinesItemReader(reader_settings(primary, bucket, S3LinesSettings))


class TestDynamoDBScan(ItemReaderConformance):
    event_loops = ("asyncio",)
    capabilities = ItemReaderCapabilities(checkpoint=True, close=True)
    items = (0, 1, 2, 3)
    config = MappingProxyType({"page_size": 3, "max_items": 4})
    wrong_configs = (
        *({"table": "absent"}, {"tabel": "x"}, {"segments": 0}, {"endpoint": "nowhere"}),
        {"segments": 2, "key_condition": "n = :n"},
    )

    @pytest.fixture
    def item_reader(self, table_reader):
        return table_reader

    def shown(self, item):
        assert item["odd"] is (item["n"] % 2 == 1)
        return item["n"]


@pytest.mark.slow
class TestDynamoDBScanOnMoto(TestDynamoDBScan):
    items = (0, 1, 2)
    config = MappingProxyType({"page_size": 2, "max_items": 3})

    @pytest.fixture
    def item_reader(self, second_table_reader):
        return second_table_reader


class TestDynamoDBQuery(TestDynamoDBScan):
    items = (1, 3, 5)
    config = MappingProxyType(
        {
            "page_size": 2,
            "key_condition": "#kind = :kind",
            "filter": "odd = :odd",
            "names": {"#kind": "kind"},
            "values": {":kind": "a", ":odd": True},
        }
    )
    wrong_configs = ({"table": "absent"},)


class TestS3Resource(ResourceConformance):
    capabilities = ResourceCapabilities(health_check=True)
    bad_config = MappingProxyType({"url": "s3://"})

    @pytest.fixture
    def resource(self, primary, bucket):
        given = primary.settings(bucket)
        names = ("url", "endpoint", "region", "access_key_id", "secret_access_key")
        type(self).config = {name: getattr(given, name) for name in names}
        return S3Resource()

    async def use(self, opened):
        await opened.put("used", b"1")
        assert await opened.get("used") == b"1"


def answered(code):
    return ClientError({"Error": {"Code": code, "Message": "told"}}, "Operation")


class TestS3ErrorNormalizer(ErrorNormalizerConformance):
    examples = MappingProxyType(
        {
            "throttled": (answered("SlowDown"), True),
            "capacity": (answered("ProvisionedThroughputExceededException"), True),
            "denied": (answered("AccessDenied"), False),
            "no bucket": (answered("NoSuchBucket"), False),
            "time-out": (ConnectTimeoutError(endpoint_url="http://there"), True),
            "obstore": (obstore.exceptions.GenericError("<Code>SlowDown</Code>"), True),
            "obstore denied": (obstore.exceptions.PermissionDeniedError("no"), False),
            "ours": (ThrottledError("It is busy.", storage="s3://there"), True),
            "ours denied": (AccessDeniedError("s3://there", "AccessDenied"), False),
        }
    )

    @pytest.fixture
    def normalizer(self):
        return S3ErrorNormalizer()
