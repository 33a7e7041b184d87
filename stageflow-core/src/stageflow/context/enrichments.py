"""Enrichments: what was looked up about a request before the stages see it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import attrs

from stageflow.codec import codec_type
from stageflow.context.values import (
    as_mapping,
    as_sequence,
    frozen_dict,
    frozen_list,
    parse_id,
    plain,
    read_part,
    read_parts,
    text_of_id,
)

__all__ = ("DocumentEnrichment", "Enrichments", "MemoryEnrichment", "ProfileEnrichment")


@codec_type(name="stageflow.ProfileEnrichment")
@attrs.frozen
class ProfileEnrichment:
    """What is known of the user.

    Attributes:
        user_id: The user.
        display_name: How to address them.
        preferences: What they prefer, by key; read-only.
        goals: What they want to reach; a read-only list.
    """

    user_id: UUID | None = None
    display_name: str | None = None
    preferences: dict[str, Any] = attrs.field(factory=dict, converter=frozen_dict, hash=False)
    goals: list[str] = attrs.field(factory=list, converter=frozen_list, hash=False)

    def to_dict(self) -> dict[str, Any]:
        """Return one key per attribute, the id as text or None."""
        return {
            "user_id": text_of_id(self.user_id),
            "display_name": self.display_name,
            "preferences": plain(self.preferences),
            "goals": plain(self.goals),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ProfileEnrichment:
        """Return the profile that `to_dict` wrote.

        Raises:
            SnapshotFormatError: If a part of it cannot be read.
        """
        data = as_mapping(data)
        return cls(
            parse_id(data.get("user_id"), "user_id"),
            data.get("display_name"),
            as_mapping(data.get("preferences"), "preferences"),
            as_sequence(data.get("goals"), "goals"),
        )


@codec_type(name="stageflow.MemoryEnrichment")
@attrs.frozen(kw_only=True)
class MemoryEnrichment:
    """What is remembered from earlier exchanges.

    Attributes:
        recent_topics: What was talked about lately; a read-only list.
        key_facts: Facts worth keeping in mind; a read-only list.
        interaction_history_summary: The exchanges so far, in a few words.
    """

    recent_topics: list[str] = attrs.field(factory=list, converter=frozen_list, hash=False)
    key_facts: list[str] = attrs.field(factory=list, converter=frozen_list, hash=False)
    interaction_history_summary: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return one key per attribute."""
        return {
            "recent_topics": plain(self.recent_topics),
            "key_facts": plain(self.key_facts),
            "interaction_history_summary": self.interaction_history_summary,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> MemoryEnrichment:
        """Return the memory that `to_dict` wrote.

        Raises:
            SnapshotFormatError: If a part of it cannot be read.
        """
        data = as_mapping(data)
        return cls(
            recent_topics=as_sequence(data.get("recent_topics"), "recent_topics"),
            key_facts=as_sequence(data.get("key_facts"), "key_facts"),
            interaction_history_summary=data.get("interaction_history_summary"),
        )


@codec_type(name="stageflow.DocumentEnrichment")
@attrs.frozen(kw_only=True)
class DocumentEnrichment:
    """A document that belongs to the request.

    Attributes:
        document_id: The document, as its store names it.
        document_type: What kind it is.
        blocks: Its parts, in order; a read-only list.
        metadata: Facts about it; read-only.
    """

    document_id: str | None = attrs.field(default=None, converter=text_of_id)
    document_type: str | None = None
    blocks: list[Any] = attrs.field(factory=list, converter=frozen_list, hash=False)
    metadata: dict[str, Any] = attrs.field(factory=dict, converter=frozen_dict, hash=False)

    def to_dict(self) -> dict[str, Any]:
        """Return one key per attribute."""
        return {
            "document_id": self.document_id,
            "document_type": self.document_type,
            "blocks": plain(self.blocks),
            "metadata": plain(self.metadata),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DocumentEnrichment:
        """Return the document that `to_dict` wrote.

        Raises:
            SnapshotFormatError: If a part of it cannot be read.
        """
        data = as_mapping(data)
        return cls(
            document_id=data.get("document_id"),
            document_type=data.get("document_type"),
            blocks=as_sequence(data.get("blocks"), "blocks"),
            metadata=as_mapping(data.get("metadata"), "metadata"),
        )


@codec_type(name="stageflow.Enrichments")
@attrs.frozen
class Enrichments:
    """All that was looked up for a request, in typed groups.

    Attributes:
        profile: What is known of the user.
        memory: What is remembered from earlier exchanges.
        documents: The documents that belong to the request; a read-only list.
        web_results: What a search of the web gave; a read-only list.
    """

    profile: ProfileEnrichment | None = None
    memory: MemoryEnrichment | None = None
    documents: list[DocumentEnrichment] = attrs.field(
        factory=list, converter=frozen_list, hash=False
    )
    web_results: list[Any] = attrs.field(factory=list, converter=frozen_list, hash=False)

    def to_dict(self) -> dict[str, Any]:
        """Return one key per group, None for a group that is not there."""
        return {
            "profile": None if self.profile is None else self.profile.to_dict(),
            "memory": None if self.memory is None else self.memory.to_dict(),
            "documents": [document.to_dict() for document in self.documents],
            "web_results": plain(self.web_results),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Enrichments:
        """Return the enrichments that `to_dict` wrote.

        Raises:
            SnapshotFormatError: If a group cannot be read.
        """
        data = as_mapping(data)
        return cls(
            read_part("profile", ProfileEnrichment.from_dict, data.get("profile")),
            read_part("memory", MemoryEnrichment.from_dict, data.get("memory")),
            read_parts("documents", DocumentEnrichment.from_dict, data.get("documents")),
            as_sequence(data.get("web_results"), "web_results"),
        )
