"""RunIdentity and CorrelationIds: who a run is for, and how its traces are found again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import attrs

from stageflow.codec import codec_type
from stageflow.context.values import (
    as_mapping,
    frozen_dict,
    now,
    parse_id,
    parse_time,
    plain,
    text_of_id,
    utc,
)

__all__ = ("ID_FIELDS", "CorrelationIds", "RunIdentity")

ID_FIELDS = (
    "pipeline_run_id",
    "request_id",
    "session_id",
    "user_id",
    "org_id",
    "interaction_id",
)
"""The names of the six ids, in the order in which they are written."""


@codec_type(name="stageflow.RunIdentity")
@attrs.frozen
class RunIdentity:
    """The ids of one run and of those on whose behalf it runs.

    Attributes:
        pipeline_run_id: The run itself.
        request_id: The request that caused it.
        session_id: The session the request belongs to.
        user_id: Who asked.
        org_id: The organisation of whoever asked.
        interaction_id: The exchange within the session.
        created_at: When this identity was made, in UTC.
    """

    pipeline_run_id: UUID | None = None
    request_id: UUID | None = None
    session_id: UUID | None = None
    user_id: UUID | None = None
    org_id: UUID | None = None
    interaction_id: UUID | None = None
    created_at: datetime = attrs.field(factory=now, converter=utc)

    def to_dict(self) -> dict[str, Any]:
        """Return the ids as text or None, and the time in ISO format."""
        return {
            **{name: text_of_id(getattr(self, name)) for name in ID_FIELDS},
            "created_at": self.created_at.isoformat(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RunIdentity:
        """Return the identity that `to_dict` wrote; what is missing is None, or now.

        Raises:
            SnapshotFormatError: If an id or the time cannot be read.
        """
        data = as_mapping(data)
        return cls(
            created_at=parse_time(data.get("created_at"), "created_at") or now(),
            **{name: parse_id(data.get(name), name) for name in ID_FIELDS},
        )


@attrs.frozen
class CorrelationIds:
    """The ids under which logs, traces and events of one request are found in every service.

    Attributes:
        run_id: The pipeline run.
        request_id: The request over HTTP or a socket.
        trace_id: The distributed trace, as its tracer spells it.
        session_id: The user's session.
        user_id: The user.
        org_id: The user's organisation.
        extra: Ids that only the application knows; read-only.
    """

    run_id: UUID | None = None
    request_id: UUID | None = None
    trace_id: str | None = None
    session_id: UUID | None = None
    user_id: UUID | None = None
    org_id: UUID | None = None
    extra: dict[str, Any] = attrs.field(factory=dict, converter=frozen_dict, hash=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the ids as text or None, for logs and wire formats.

        What `extra` holds stands under `extra`, and beside the other ids too, where a log's
        reader looks for it; the names of this class win.
        """
        extra = plain(self.extra)
        return {
            **extra,
            "run_id": text_of_id(self.run_id),
            "request_id": text_of_id(self.request_id),
            "trace_id": self.trace_id,
            "session_id": text_of_id(self.session_id),
            "user_id": text_of_id(self.user_id),
            "org_id": text_of_id(self.org_id),
            "extra": extra,
        }
