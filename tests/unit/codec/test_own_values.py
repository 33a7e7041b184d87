"""What Stageflow itself hands out can be stored as it is, under names that leave users theirs."""

from __future__ import annotations

import enum
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from stageflow.codec import Codec
from stageflow.context import (
    Conversation,
    DocumentEnrichment,
    Enrichments,
    MemoryEnrichment,
    Message,
    ProfileEnrichment,
    RoutingDecision,
    RunIdentity,
)
from stageflow.stages import (
    StageArtifact,
    StageEvent,
    StageKind,
    StageOutput,
    StageResult,
    StageStatus,
)

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
MESSAGE = Message("user", "Good day", AT, {"lang": "en"})
PROFILE = ProfileEnrichment("u1", "Ada", {"tone": "dry"}, ["learn"])


@pytest.mark.parametrize(
    "value",
    [
        StageKind.GUARD,
        StageStatus.SKIP,
        StageArtifact("report", {"pages": 3}, AT),
        StageEvent("seen", {"page": 1}, AT),
        StageOutput.ok({"a": (1, 2)}, artifacts=[StageArtifact("x", {}, AT)], version="2"),
        StageOutput.cancel("enough", scope="branch"),
        StageResult("a", StageStatus.OK, AT, AT, {"n": 1}),
        MESSAGE,
        RoutingDecision("agent", "pipeline", "chat", "because"),
        Conversation([MESSAGE], RoutingDecision("agent", "pipeline", "chat")),
        PROFILE,
        Enrichments(profile=PROFILE),
        MemoryEnrichment(
            recent_topics=["tea"], key_facts=["likes tea"], interaction_history_summary="short"
        ),
        DocumentEnrichment(
            document_id="d", document_type="note", blocks=[{"text": "x"}], metadata={}
        ),
        RunIdentity(UUID(int=1), created_at=AT),
    ],
)
def test_what_stages_hand_on_comes_back_equal_and_of_its_type(value: Any) -> None:
    codec = Codec.default()

    read = codec.decode(codec.encode({"value": value}))["value"]

    assert read == value
    assert type(read) is type(value)


def test_our_names_leave_a_user_who_has_a_class_called_message_that_name() -> None:
    assert b'"$type":"stageflow.Message"' in Codec.default().encode(MESSAGE)


def test_an_enum_whose_members_are_texts_comes_back() -> None:
    class Colour(enum.StrEnum):
        RED = "r"

    codec = Codec()
    codec.register(Colour)

    read = codec.decode(codec.encode([Colour.RED]))

    assert read == [Colour.RED]
    assert type(read[0]) is Colour
