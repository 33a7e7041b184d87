"""Keys that the driver cannot take are told of, and never taken for another object's."""

from __future__ import annotations

import pytest

from stageflow.contracts.storage import StorageError
from stageflow_io_s3._bucket import Bucket
from stageflow_io_s3.settings import S3Settings

pytestmark = pytest.mark.anyio


@pytest.fixture
def bucket():
    return Bucket(S3Settings(url="memory://"))


@pytest.mark.parametrize(
    "key", ["/a", "a/", "/", "", "a//b", ".", "..", "a/..", "a/../b", "./a", "a/./b", "a\x01", "\n"]
)
async def test_a_key_that_would_be_another_is_refused(bucket, key):
    await bucket.run(bucket.put, "a", b"another", {})

    for call, rest in ((bucket.get, ()), (bucket.put, (b"x", {})), (bucket.delete, ())):
        with pytest.raises(StorageError, match="no access to the object with the key") as caught:
            await bucket.run(call, key, *rest)
        assert "control character" in str(caught.value.hint)

    assert (await bucket.run(bucket.get, "a")).bytes().to_bytes() == b"another"


@pytest.mark.parametrize(
    "key",
    ["a", "a/b", "...", "a/.b", ".a", "a.", "a/b..", "a%2Fb", "a b", "a+b", "ä/🦆", "~", "a\\b"],
)
async def test_any_other_key_is_itself(bucket, key):
    await bucket.run(bucket.put, key, b"1", {})

    assert (await bucket.run(bucket.get, key)).meta["path"] == key
    page = await bucket.run(bucket.list_page, "")
    assert [found.key for found in page.objects] == [key]
