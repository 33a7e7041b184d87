"""What a stage can hand out beside its data: artifacts to keep and events to tell."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import attrs

from stageflow.codec import codec_type

__all__ = ("StageArtifact", "StageEvent")


def _now() -> datetime:
    return datetime.now(UTC)


@codec_type(name="stageflow.StageArtifact")
@attrs.frozen
class StageArtifact:
    """Something a stage produced that is worth keeping, such as a file or a card to show.

    Attributes:
        type: What it is, such as `image`.
        payload: The thing itself, as JSON-able data.
        timestamp: When it was made, in UTC.
    """

    type: str
    payload: Mapping[str, Any] = attrs.field(hash=False)
    timestamp: datetime = attrs.field(factory=_now)


@codec_type(name="stageflow.StageEvent")
@attrs.frozen
class StageEvent:
    """Something that happened inside a stage.

    Attributes:
        type: What happened, such as `token.received`.
        data: The facts.
        timestamp: When it happened, in UTC.
    """

    type: str
    data: Mapping[str, Any] = attrs.field(hash=False)
    timestamp: datetime = attrs.field(factory=_now)
