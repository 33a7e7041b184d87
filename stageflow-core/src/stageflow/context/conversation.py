"""Conversation: what was said before a run, and where the next message is to be sent."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

from stageflow.codec import codec_type
from stageflow.context.values import (
    SnapshotFormatError,
    as_mapping,
    frozen_dict,
    frozen_list,
    parse_time,
    plain,
    read_part,
    read_parts,
    text_of_time,
    utc,
)

__all__ = ("Conversation", "Message", "RoutingDecision")


@codec_type(name="stageflow.Message")
@attrs.frozen
class Message:
    """One message of a conversation.

    Attributes:
        role: Who speaks, such as `user`, `assistant` or `system`.
        content: What is said.
        timestamp: When it was said, in UTC.
        metadata: Facts about the message; read-only.
    """

    role: str
    content: str
    timestamp: datetime | None = attrs.field(default=None, converter=attrs.converters.optional(utc))
    metadata: dict[str, Any] = attrs.field(factory=dict, converter=frozen_dict, hash=False)

    def to_dict(self) -> dict[str, Any]:
        """Return one key per attribute, the time in ISO format."""
        return {
            "role": self.role,
            "content": self.content,
            "timestamp": text_of_time(self.timestamp),
            "metadata": plain(self.metadata),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Message:
        """Return the message that `to_dict` wrote.

        Raises:
            SnapshotFormatError: If role or content is missing, or the time cannot be read.
        """
        data = as_mapping(data)
        return cls(
            _required(data, "role"),
            _required(data, "content"),
            parse_time(data.get("timestamp"), "timestamp"),
            as_mapping(data.get("metadata"), "metadata"),
        )


@codec_type(name="stageflow.RoutingDecision")
@attrs.frozen
class RoutingDecision:
    """Which agent, pipeline and topology were chosen for a request, and why.

    Attributes:
        agent_id: The agent that answers.
        pipeline_name: The pipeline that runs.
        topology: The shape it runs in.
        reason: Why it was chosen.
    """

    agent_id: str
    pipeline_name: str
    topology: str
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return one key per attribute."""
        return {
            "agent_id": self.agent_id,
            "pipeline_name": self.pipeline_name,
            "topology": self.topology,
            "reason": self.reason,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RoutingDecision:
        """Return the decision that `to_dict` wrote.

        Raises:
            SnapshotFormatError: If one of the three names is missing.
        """
        data = as_mapping(data)
        return cls(
            _required(data, "agent_id"),
            _required(data, "pipeline_name"),
            _required(data, "topology"),
            data.get("reason"),
        )


@codec_type(name="stageflow.Conversation")
@attrs.frozen
class Conversation:
    """The messages so far, oldest first, and the routing decision if one was made.

    Attributes:
        messages: The messages; a read-only list.
        routing_decision: Where the request is to be sent.
    """

    messages: list[Message] = attrs.field(factory=list, converter=frozen_list, hash=False)
    routing_decision: RoutingDecision | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the messages as a list of dictionaries, and the decision as one or None."""
        decision = self.routing_decision
        return {
            "messages": [message.to_dict() for message in self.messages],
            "routing_decision": None if decision is None else decision.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Conversation:
        """Return the conversation that `to_dict` wrote.

        Raises:
            SnapshotFormatError: If a message or the decision cannot be read.
        """
        data = as_mapping(data)
        decision = data.get("routing_decision")
        return cls(
            read_parts("messages", Message.from_dict, data.get("messages")),
            read_part("routing_decision", RoutingDecision.from_dict, decision),
        )


def _required(data: Mapping[str, Any], key: str) -> Any:
    if key not in data:
        raise SnapshotFormatError(key, "is missing")
    return data[key]
