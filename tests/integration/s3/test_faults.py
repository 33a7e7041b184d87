"""What goes wrong between a client and S3 is mended, or told clearly and in bounded time."""

from __future__ import annotations

import traceback
import uuid

import anyio
import pytest

from stageflow.contracts import AssetNotFoundError, StorageCorruptError
from stageflow.contracts.storage import StorageError, StorageUnavailableError
from stageflow_io_s3 import (
    AccessDeniedError,
    BucketNotFoundError,
    ClockSkewError,
    ConditionalWritesError,
    ConditionFailedError,
    ConnectionSettingsError,
    ObjectKeyError,
    S3Capabilities,
    S3IOManager,
    S3IOSettings,
    S3ItemReader,
    ThrottledError,
    WrongRegionError,
)
from support import fault_proxy as faults
from support.fault_proxy import fault_proxy
from support.s3_readers import reader_settings

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def running_proxy(primary):
    with fault_proxy(primary.endpoint) as proxy:
        yield proxy


@pytest.fixture
def proxy(running_proxy):
    running_proxy.rule = faults.nothing
    running_proxy.seen.clear()
    return running_proxy


@pytest.fixture
async def manager(primary, bucket, proxy):
    settings = primary.settings(bucket, uuid.uuid4().hex, endpoint=proxy.endpoint)
    async with S3IOManager(settings) as manager:
        yield manager
    proxy.rule = faults.nothing


@pytest.mark.parametrize("fault", ["CUT", "INTERNAL_ERROR", "SLOW_DOWN", "LOST_ANSWER"])
async def test_what_passes_is_tried_again(manager, proxy, fault):
    proxy.rule = faults.first(2, getattr(faults, fault))
    await manager.store("asset", {"a": 1}, None)
    for call in (
        lambda: manager.load("asset", None),
        lambda: manager.exists("asset", None),
        lambda: manager.list_partitions("asset"),
        lambda: manager.delete("asset", None),
    ):
        proxy.rule = faults.first(1, getattr(faults, fault))
        assert await call() in ({"a": 1}, True, (None,), None)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("CUT", StorageUnavailableError),
        ("INTERNAL_ERROR", StorageUnavailableError),
        ("SLOW_DOWN", ThrottledError),
        ("WRONG_REGION", WrongRegionError),
        ("REDIRECT", WrongRegionError),
        ("CLOCK_SKEW", ClockSkewError),
        ("WRONG_SECRET", AccessDeniedError),
        ("DENIED", AccessDeniedError),
    ],
)
async def test_what_stays_is_told(manager, proxy, fault, error):
    proxy.rule = faults.always(getattr(faults, fault))
    for call in (
        lambda: manager.load("asset", None),
        lambda: manager.store("asset", 1, None),
        lambda: manager.list_partitions("asset"),
    ):
        with anyio.fail_after(15), pytest.raises(error) as caught:
            await call()
        assert caught.value.hint
        assert "canary" not in "".join(traceback.format_exception(caught.value))
        assert caught.value.retryable is (error in {StorageUnavailableError, ThrottledError})


async def test_the_region_that_is_meant_is_told(manager, proxy):
    proxy.rule = faults.always(faults.WRONG_REGION)
    with pytest.raises(WrongRegionError) as caught:
        await manager.load("asset", None)
    assert caught.value.region == "eu-north-1"


@pytest.mark.parametrize("size", [100, 9 * 2**20])
async def test_half_an_answer_is_no_value(manager, proxy, size):
    await manager.store("asset", b"x" * size, None)
    proxy.rule = faults.always(faults.TRUNCATED, "GET")
    with anyio.fail_after(30), pytest.raises(StorageError):
        await manager.load("asset", None)
    proxy.rule = faults.first(1, faults.TRUNCATED, "GET")
    try:
        assert await manager.load("asset", None) == b"x" * size
    except StorageError:
        assert await manager.load("asset", None) == b"x" * size


@pytest.mark.parametrize("option", ["if_absent", "if_match"])
async def test_a_conditional_write_whose_answer_was_lost_has_won(manager, proxy, option):
    if option == "if_match":
        await manager.store("asset", 0, None)
    version = await manager.version("asset", None)
    proxy.rule = faults.first(1, faults.LOST_ANSWER, "PUT")
    condition = {"if_absent": True} if option == "if_absent" else {"if_match": version}
    try:
        await manager.store("asset", 1, None, **condition)
    except StorageUnavailableError:
        assert option == "if_absent"  # the client does not repeat it, and says so
    assert await manager.load("asset", None) == 1


async def test_a_part_that_fails_for_good_leaves_nothing(manager, proxy, primary, bucket):
    await manager.store("asset", b"old", None)
    proxy.rule = faults.always(faults.DENIED, "PUT", "partNumber=2")
    with pytest.raises(AccessDeniedError):
        await manager.store("asset", b"x" * 20 * 2**20, None)
    assert await manager.load("asset", None) == b"old"
    assert not uploads(primary, bucket, manager)


def uploads(server, bucket, manager):
    client = server.client()
    prefix = manager.key("asset", None).removesuffix("asset/part-0")
    found = client.list_multipart_uploads(Bucket=bucket, Prefix=prefix).get("Uploads", [])
    client.close()
    return found


async def test_a_damaged_object_is_noticed(manager, primary, bucket):
    await manager.store("asset", b"what it was", None)
    client = primary.client()
    key = manager.key("asset", None)
    metadata = client.head_object(Bucket=bucket, Key=key)["Metadata"]
    client.put_object(Bucket=bucket, Key=key, Body=b"what it is!", Metadata=metadata)
    with pytest.raises(StorageCorruptError):
        await manager.load("asset", None)
    client.put_object(Bucket=bucket, Key=key, Body=b"{}")
    with pytest.raises(StorageCorruptError, match="does not tell which serialiser"):
        await manager.load("asset", None)
    assert await manager.load("asset", None, serializer="bytes") == b"{}"
    client.close()


async def test_a_bucket_that_is_not_there_is_told(primary):
    settings = primary.settings("no-such-bucket-there")
    with pytest.raises(BucketNotFoundError):
        async with S3IOManager(settings):
            pass
    manager = S3IOManager(settings)
    for call in (
        lambda: manager.load("asset", None),
        lambda: manager.store("asset", 1, None),
        lambda: manager.store("asset", b"x" * 9 * 2**20, None),
        lambda: manager.list_partitions("asset"),
    ):
        with pytest.raises(BucketNotFoundError) as caught:
            await call()
        assert not isinstance(caught.value, AssetNotFoundError)


async def test_a_server_that_is_not_there_is_told_in_time(primary, bucket):
    settings = primary.settings(bucket, endpoint="http://127.0.0.1:9", retry_timeout=1.0)
    with anyio.fail_after(15), pytest.raises(StorageUnavailableError):
        async with S3IOManager(settings):
            pass


async def test_who_may_not_list_uploads_may_still_work(primary, bucket, proxy):
    proxy.rule = faults.always(faults.DENIED, part="uploads=")
    settings = primary.settings(bucket, uuid.uuid4().hex, endpoint=proxy.endpoint)
    async with S3IOManager(settings) as manager:
        await manager.store("asset", 1, None)
        assert manager.capabilities.conditional_writes


async def test_a_store_that_ignores_conditions_is_found_out(primary, bucket, proxy):
    """Some stores overwrite whatever is there, and say that all is well."""
    proxy.without = ("If-None-Match", "If-Match")
    settings = primary.settings(bucket, uuid.uuid4().hex, endpoint=proxy.endpoint)
    try:
        async with S3IOManager(settings) as manager:
            assert manager.capabilities == S3Capabilities(list_partitions=True)
            with pytest.raises(ConditionalWritesError):
                await manager.store("asset", 1, None, if_absent=True)
            assert not await manager.exists("asset", None)
    finally:
        proxy.without = ()


async def test_one_of_sixteen_writers_wins(primary, bucket):
    settings = primary.settings(bucket, uuid.uuid4().hex)
    won, lost = [], []
    async with S3IOManager(settings) as manager:

        async def write(turn, number, condition):
            try:
                # No two alike: the tag of equal bytes is the same.
                await manager.store("asset", [turn, number], None, **condition)
            except ConditionFailedError:
                lost.append(number)
            else:
                won.append(number)

        for turn in range(5):
            won.clear()
            lost.clear()
            version = await manager.version("asset", None)
            condition = {"if_match": version} if version else {"if_absent": True}
            async with anyio.create_task_group() as group:
                for number in range(16):
                    group.start_soon(write, turn, number, condition)
            assert (len(won), len(lost)) == (1, 15), f"in turn {turn}"
            assert await manager.load("asset", None) == [turn, won[0]]


async def test_a_counter_under_compare_and_swap_loses_nothing(primary, bucket):
    settings = primary.settings(bucket, uuid.uuid4().hex)
    async with S3IOManager(settings) as manager:
        await manager.store("count", 0, None)

        async def add():
            while True:
                version = await manager.version("count", None)
                value = await manager.load("count", None)
                try:
                    await manager.store("count", value + 1, None, if_match=version)
                except ConditionFailedError:
                    continue
                return

        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(add)
        assert await manager.load("count", None) == 8


async def test_names_that_are_too_long_say_so(manager):
    await manager.store("x" * 400, 1, "y" * 500)
    assert await manager.list_partitions("x" * 400) == ("y" * 500,)
    with pytest.raises(ObjectKeyError):
        await manager.store("x" * 1_000, 1, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"url": "bucket"},
        {"url": "s3:///prefix"},
        {"url": "s3://bucket/a/../b"},
        {"url": "s3://key:secret@bucket"},
        {"url": "file:///somewhere"},
        {"secret_access_key": None},
        {"profile": "somebody"},
        {"endpoint": "127.0.0.1:9000"},
        {"anonymous": True},
        {"kms_key_id": "a-key"},
    ],
)
async def test_settings_that_do_not_go_together_are_refused(primary, changes):
    import attrs

    with pytest.raises(ConnectionSettingsError) as caught:
        async with S3IOManager(attrs.evolve(primary.settings("bucket"), **changes)):
            pass
    assert "secret" not in str(caught.value).replace("secret_access_key", "")


async def test_without_credentials_it_says_so(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(ConnectionSettingsError, match="no credentials"):
        async with S3IOManager(S3IOSettings(url="s3://bucket")):
            pass


async def test_credentials_come_from_the_environment_or_a_profile(
    primary, bucket, monkeypatch, tmp_path
):
    where = {"url": f"s3://{bucket}/{uuid.uuid4().hex}", "endpoint": primary.endpoint}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    async with S3IOManager(S3IOSettings(**where)) as manager:
        await manager.store("asset", 1, None)
    file = tmp_path / "credentials"
    file.write_text("[other]\naws_access_key_id = test\naws_secret_access_key = test\n")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", primary.endpoint)
    async with S3IOManager(S3IOSettings(url=where["url"], profile="other")) as manager:
        assert await manager.load("asset", None) == 1
    anonymous = S3IOSettings(**where, anonymous=True, stale_uploads_after=None)
    async with S3IOManager(anonymous) as manager:
        assert await manager.load("asset", None) == 1


async def test_what_is_asked_of_the_server_is_in_the_request(primary, bucket):
    changes = {"encryption": "aws:kms", "kms_key_id": "a-key", "checksum": "SHA256"}
    settings = primary.settings(bucket, uuid.uuid4().hex, **changes)
    async with S3IOManager(settings) as manager:
        await manager.store("asset", "text", None)
        key = manager.key("asset", None)
    client = primary.client()
    found = client.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    client.close()
    assert found["ServerSideEncryption"] == "aws:kms"
    assert found["SSEKMSKeyId"].endswith("a-key")
    assert found["ChecksumSHA256"]
    assert found["ContentType"] == "text/plain"


async def test_a_reader_goes_on_where_a_request_failed(primary, bucket, proxy):
    prefix = f"{uuid.uuid4().hex}/"
    client = primary.client()
    for number in range(5):
        client.put_object(Bucket=bucket, Key=f"{prefix}{number}", Body=b"")
    client.close()
    settings = reader_settings(primary, bucket, endpoint=proxy.endpoint, page_size=2, retries=0)
    reader = S3ItemReader(settings)
    state = await reader.init({"prefix": prefix}, {})
    page = await reader.read(state, 2)
    proxy.rule = faults.always(faults.INTERNAL_ERROR)
    with pytest.raises(StorageUnavailableError):
        await reader.read(page.state, 2)
    proxy.rule = faults.nothing
    rest = await reader.read(page.state, 10)
    assert [item["key"][-1] for item in (*page.items, *rest.items)] == list("01234")
    await reader.close(state)
