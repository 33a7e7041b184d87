"""Settings of readers for the servers of tests."""

from __future__ import annotations

from typing import Any

import attrs

from stageflow_io_s3 import S3ReaderSettings, S3Settings
from support.s3 import Server


def reader_settings(
    server: Server, bucket: str, kind: Any = S3ReaderSettings, **changes: Any
) -> Any:
    """Return settings of a reader for a bucket."""
    given = server.settings(bucket)
    shared = {field.name: getattr(given, field.name) for field in attrs.fields(S3Settings)}
    return kind(**{**shared, **changes})
