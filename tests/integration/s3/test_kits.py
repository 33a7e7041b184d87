"""Every implementation on S3 and DynamoDB keeps every clause, on two servers that differ."""

from __future__ import annotations

import uuid

import pytest

from stageflow.testing.io_manager import IOManagerConformance
from stageflow_io_s3 import S3Capabilities, S3IOManager


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
