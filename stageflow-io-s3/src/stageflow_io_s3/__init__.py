"""S3 for Stageflow: assets and items on object storage, items from DynamoDB.

Importing this imports neither obstore nor botocore: they come with the first call to a store.
"""

from __future__ import annotations

from stageflow_io_s3.dynamodb import DynamoDBItemReader, DynamoDBSettings
from stageflow_io_s3.errors import (
    AccessDeniedError,
    BucketNotFoundError,
    ClockSkewError,
    ConditionalWritesError,
    ConditionFailedError,
    ConnectionSettingsError,
    EventLoopError,
    ObjectChangedError,
    ObjectKeyError,
    TableNotFoundError,
    ThrottledError,
    WrongRegionError,
)
from stageflow_io_s3.io_manager import S3Capabilities, S3IOManager, S3IOSettings
from stageflow_io_s3.normalizer import S3ErrorNormalizer
from stageflow_io_s3.readers import S3ItemReader, S3LinesItemReader
from stageflow_io_s3.resource import S3Client, S3Object, S3Resource
from stageflow_io_s3.settings import AwsSettings, S3LinesSettings, S3ReaderSettings, S3Settings

__all__ = (
    "AccessDeniedError",
    "AwsSettings",
    "BucketNotFoundError",
    "ClockSkewError",
    "ConditionFailedError",
    "ConditionalWritesError",
    "ConnectionSettingsError",
    "DynamoDBItemReader",
    "DynamoDBSettings",
    "EventLoopError",
    "ObjectChangedError",
    "ObjectKeyError",
    "S3Capabilities",
    "S3Client",
    "S3ErrorNormalizer",
    "S3IOManager",
    "S3IOSettings",
    "S3ItemReader",
    "S3LinesItemReader",
    "S3LinesSettings",
    "S3Object",
    "S3ReaderSettings",
    "S3Resource",
    "S3Settings",
    "TableNotFoundError",
    "ThrottledError",
    "WrongRegionError",
)
