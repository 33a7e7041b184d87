"""S3 for Stageflow: assets and items on object storage, items from DynamoDB.

Importing this imports neither obstore nor botocore: they come with the first call to a store.
"""

from __future__ import annotations

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
from stageflow_io_s3.settings import AwsSettings, S3Settings

__all__ = (
    "AccessDeniedError",
    "AwsSettings",
    "BucketNotFoundError",
    "ClockSkewError",
    "ConditionFailedError",
    "ConditionalWritesError",
    "ConnectionSettingsError",
    "EventLoopError",
    "ObjectChangedError",
    "ObjectKeyError",
    "S3Capabilities",
    "S3IOManager",
    "S3IOSettings",
    "S3Settings",
    "TableNotFoundError",
    "ThrottledError",
    "WrongRegionError",
)
