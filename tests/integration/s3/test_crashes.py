"""A process that ends in the middle leaves no half value, and a reading can go on elsewhere."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import anyio
import attrs
import pyarrow as pa
import pytest

from stageflow.contracts import AssetNotFoundError
from stageflow.contracts.io_manager import IOManagerError
from stageflow_io_s3 import (
    DynamoDBItemReader,
    EventLoopError,
    S3IOManager,
    S3ItemReader,
    S3LinesItemReader,
    S3LinesSettings,
    TableNotFoundError,
)
from support import fault_proxy as faults
from support.fault_proxy import Fault, fault_proxy
from support.s3 import ministack
from support.s3_readers import reader_settings

pytestmark = pytest.mark.anyio

BIG = b"x" * (20 * 2**20)
WRITER = """
import sys, anyio
from stageflow.plugins import Secret
from stageflow_io_s3 import S3IOManager, S3IOSettings

async def main(url, endpoint):
    settings = S3IOSettings(
        url=url, endpoint=endpoint, region="us-east-1",
        access_key_id=Secret("test"), secret_access_key=Secret("test"),
    )
    async with S3IOManager(settings) as manager:
        await manager.store("asset", b"x" * (20 * 2**20), None)

anyio.run(main, *sys.argv[1:])
"""


def uploads(server, bucket):
    client = server.client()
    found = client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    client.close()
    return found


@pytest.fixture
def place(primary):
    """A bucket of its own: uploads that others have begun do not lie in it."""
    return primary.bucket()


async def until(condition):
    def wait():
        while not condition():
            time.sleep(0.01)

    with anyio.fail_after(30):
        await anyio.to_thread.run_sync(wait, abandon_on_cancel=True)


async def test_a_killed_writer_leaves_nothing_to_be_seen(primary, place):
    held = threading.Event()
    try:
        with fault_proxy(primary.endpoint) as proxy:
            waiting = Fault(is_passed_on=False, wait=held)
            proxy.rule = faults.always(waiting, "PUT", "partNumber=3")
            writer = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
                [sys.executable, "-c", WRITER, f"s3://{place}/lake", proxy.endpoint]
            )
            try:
                await until(lambda: any("partNumber=3" in path for _, path in proxy.seen))
                writer.send_signal(signal.SIGKILL)
            finally:
                writer.kill()
                writer.wait()
                held.set()
    finally:
        held.set()
    settings = primary.settings(place, "lake", stale_uploads_after=None)
    async with S3IOManager(settings) as manager:
        assert not await manager.exists("asset", None)
        with pytest.raises(AssetNotFoundError):
            await manager.load("asset", None)
        assert await manager.list_partitions("asset") == ()
        assert len(uploads(primary, place)) == 1
        assert await manager.clean_up(older_than=3_600) == 0, "it may still be at work"
        assert len(uploads(primary, place)) == 1
        await anyio.to_thread.run_sync(time.sleep, 1.1)  # servers tell times in whole seconds
        assert await manager.clean_up(older_than=0.05) == 1
        assert uploads(primary, place) == []
        await manager.store("asset", b"again", None)
        assert await manager.load("asset", None) == b"again"


async def test_opening_ends_old_uploads_below_the_prefix_alone(primary, place):
    client = primary.client()
    for key in ("lake/a", "lakes/a"):
        client.create_multipart_upload(Bucket=place, Key=key)
    client.close()
    async with S3IOManager(primary.settings(place, "lake")):
        assert len(uploads(primary, place)) == 2
    await anyio.to_thread.run_sync(time.sleep, 1.1)
    async with S3IOManager(primary.settings(place, "lake", stale_uploads_after=0.05)):
        assert [upload["Key"] for upload in uploads(primary, place)] == ["lakes/a"]


def test_a_writer_that_sent_a_part_lately_is_safe(primary, place):
    from stageflow_io_s3._bucket import Bucket

    client = primary.client()
    upload = client.create_multipart_upload(Bucket=place, Key="lake/a")["UploadId"]
    begun = datetime.now(UTC)
    time.sleep(1.1)
    client.upload_part(Bucket=place, Key="lake/a", UploadId=upload, PartNumber=1, Body=b"1")
    client.close()
    bucket = Bucket(primary.settings(place))
    # Older than the limit is the upload, but not its newest part.
    limit = begun.replace(microsecond=0).fromtimestamp(begun.timestamp() + 0.9, UTC)
    assert bucket.clean_up("lake/", limit) == 0
    assert bucket.clean_up("lake/", datetime.fromtimestamp(time.time() + 5, UTC)) == 1


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_cancelled_upload_is_aborted_at_once(primary, place):
    held = threading.Event()
    with fault_proxy(primary.endpoint) as proxy:
        settings = primary.settings(place, "lake", endpoint=proxy.endpoint, part_concurrency=1)
        async with S3IOManager(settings) as manager:
            await manager.store("asset", b"old", None)
            proxy.rule = faults.first(1, Fault(wait=held, status=500), "PUT", "partNumber=1")
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(manager.store, "asset", BIG, None)
                    await until(lambda: any("partNumber=1" in path for _, path in proxy.seen))
                    group.cancel_scope.cancel()
                    held.set()
            finally:
                held.set()
            assert await manager.load("asset", None) == b"old"
            assert uploads(primary, place) == []
            sent = [path for method, path in proxy.seen if "partNumber=3" in path]
            assert sent == [], "it went on although nobody waited"


async def test_what_was_stored_outlives_the_server(tmp_path):
    with ministack(tmp_path, is_persistent=True) as server:
        bucket = server.bucket()
        async with S3IOManager(server.settings(bucket, "lake")) as manager:
            await manager.store("asset", {"a": 1}, "day")
            server.stop()
            server.start()
            assert await manager.load("asset", "day") == {"a": 1}
            assert await manager.list_partitions("asset") == ("day",)


async def test_large_tables_stream_through_files(primary, place):
    settings = primary.settings(place, "lake", part_size=5 * 2**20)
    table = pa.table({"n": pa.array(range(700_000)), "day": ["a"] * 700_000})
    async with S3IOManager(settings) as manager:
        await manager.store("t", table, {"day": "a"}, compression="none", row_group_size=100_000)
        assert await manager.load("t", {"day": "a"}) == table


async def test_ten_thousand_objects_restored_at_each_boundary(primary, place):
    def fill():
        from concurrent.futures import ThreadPoolExecutor

        import obstore

        from stageflow_io_s3._bucket import Bucket

        store = Bucket(primary.settings(place)).store
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(lambda n: obstore.put(store, f"many/{n:05}", b""), range(10_000)))

    await anyio.to_thread.run_sync(fill)
    reader = S3ItemReader(reader_settings(primary, place, prefix="many/"))
    keys, checkpoint = [], None
    for _ in range(11):
        state = await reader.init({}, {})
        if checkpoint is not None:
            state = await reader.restore(state, checkpoint)
        page = await reader.read(state, 1_000)
        keys += [item["key"] for item in page.items]
        if page.state is None:
            break
        checkpoint = reader.checkpoint(page.state)
        await reader.close(state)
    assert keys == [f"many/{number:05}" for number in range(10_000)]


async def test_fifty_objects_in_pages_of_every_size(primary, place):
    client = primary.client()
    for number in range(50):
        client.put_object(Bucket=place, Key=f"some/{number:02}", Body=b"")
    client.close()
    expected = [f"some/{number:02}" for number in range(50)]
    for listed in (7, 50, 1_000):
        settings = reader_settings(primary, place, prefix="some/", page_size=listed)
        reader = S3ItemReader(settings)
        begun = await reader.init({}, {})
        for size in range(1, 51):
            state, keys = begun, []
            while state is not None:
                page = await reader.read(state, size)
                keys += [item["key"] for item in page.items]
                state = page.state
            assert keys == expected, f"in pages of {size}, listed by {listed}"
        await reader.close(begun)


async def test_limits_of_a_listing(primary, place):
    client = primary.client()
    for name in ("a.csv", "b.txt", "c.csv", "d.csv", "e.csv"):
        client.put_object(Bucket=place, Key=f"p/{name}", Body=b"")
    client.close()
    reader = S3ItemReader(reader_settings(primary, place, prefix="p/", suffix=".csv"))
    for config, expected in (
        ({}, "acde"),
        ({"start_after": "p/a.csv"}, "cde"),
        ({"max_items": 2}, "ac"),
        ({"start_after": "p/b.txt", "max_items": 2, "page_size": 1}, "cd"),
    ):
        state = await reader.init(config, {})
        page = await reader.read(state, 10)
        assert "".join(item["key"][2] for item in page.items) == expected
        assert page.state is None
        await reader.close(state)


async def test_a_row_that_is_bad_names_its_object_and_line(primary, place):
    client = primary.client()
    client.put_object(Bucket=place, Key="rows/a.jsonl", Body=b'{"a": 1}\nno JSON\n{"a": 2}\n')
    client.close()
    settings = reader_settings(primary, place, S3LinesSettings, prefix="rows/")
    reader = S3LinesItemReader(settings)
    state = await reader.init({}, {})
    with pytest.raises(Exception, match=r"rows/a\.jsonl, line 2"):
        await reader.read(state, 5)
    await reader.close(state)
    state = await reader.init({"on_error": "skip"}, {})
    page = await reader.read(state, 5)
    assert (list(page.items), page.skipped) == ([{"a": 1}, {"a": 2}], 1)
    checkpoint = reader.checkpoint(state)
    await reader.close(state)
    client = primary.client()
    middle = await reader.init({"on_error": "skip"}, {})
    first = await reader.read(middle, 1)
    checkpoint = reader.checkpoint(first.state)
    client.put_object(Bucket=place, Key="rows/a.jsonl", Body=b'{"a": 3}\n')
    client.close()
    fresh = await reader.init({"on_error": "skip"}, {})
    with pytest.raises(Exception, match="has been replaced"):
        await reader.restore(fresh, checkpoint)
    for each in (middle, fresh):
        await reader.close(each)


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_dynamodb_says_on_trio_what_it_needs(table_reader):
    with pytest.raises(EventLoopError):
        await table_reader.init({}, {})


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_dynamodb_segments_give_each_item_once_at_a_pace(table_reader, primary):
    waited = []

    async def sleep(seconds):
        waited.append(seconds)

    client = primary.client("dynamodb")
    client.create_table(
        TableName="spread",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "B"}],
        BillingMode="PAY_PER_REQUEST",
    )
    for number in range(40):
        client.put_item(TableName="spread", Item={"id": {"B": bytes([number])}})
    client.close()
    reader = DynamoDBItemReader(
        attrs.evolve(table_reader._settings, table="spread", segments=4, page_size=3),
        sleep=sleep,
    )
    orders = []
    for size in (1, 7, 100):
        found, state = [], await reader.init({"capacity_per_second": 0.5}, {})
        first = state
        while state is not None:
            page = await reader.read(state, size)
            found += [item["id"] for item in page.items]
            state = page.state
            if state is not None and size == 7:
                fresh = await reader.init({"capacity_per_second": 0.5}, {})
                checkpoint = reader.checkpoint(state)
                await reader.close(first)
                state = first = await reader.restore(fresh, checkpoint)
        await reader.close(first)
        orders.append(found)
    assert sorted(orders[0]) == [bytes([number]) for number in range(40)]
    assert orders[0] == orders[1] == orders[2]
    assert waited
    assert min(waited) > 0
    with pytest.raises(TableNotFoundError):
        await reader.init({"table": "absent"}, {})


def test_the_interpreter_exits_cleanly(primary, place):
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", WRITER, f"s3://{place}/exit", primary.endpoint],
            check=False,
            capture_output=True,
            env=os.environ,
        )
        assert done.returncode == 0, done.stderr.decode()


def test_importing_it_imports_no_driver():
    code = (
        "import sys, stageflow_io_s3; "
        "assert not {'obstore', 'botocore', 'aiobotocore'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


async def test_what_a_store_is_told_of_is_measured(primary, place):
    told = []

    class Emitter:
        def execute(self, event, measurements, metadata):
            told.append((event, sorted(measurements), dict(metadata)))

    settings = primary.settings(place, "lake")
    async with S3IOManager(settings, telemetry=Emitter()) as manager:
        await manager.store("asset", 1, None)
        await manager.load("asset", None)
        with contextlib.suppress(IOManagerError):
            await manager.load("nothing", None)
    about = {"asset": "asset", "store": f"s3://{place}/lake"}
    assert told == [
        (("io", "s3", "store"), ["duration"], about),
        (("io", "s3", "load"), ["bytes", "duration"], about),
    ]
