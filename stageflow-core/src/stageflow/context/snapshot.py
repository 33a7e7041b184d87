"""ContextSnapshot: what is known when a run begins, the same for all its stages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload
from uuid import UUID

import attrs

from stageflow.codec import Codec
from stageflow.context.conversation import Conversation, Message, RoutingDecision
from stageflow.context.enrichments import (
    DocumentEnrichment,
    Enrichments,
    MemoryEnrichment,
    ProfileEnrichment,
)
from stageflow.context.extensions import (
    ExtensionBundle,
    ExtensionTypes,
    read_extensions,
    write_extensions,
)
from stageflow.context.identity import ID_FIELDS, RunIdentity
from stageflow.context.values import (
    as_mapping,
    frozen_dict,
    frozen_list,
    now,
    parse_time,
    plain,
    read_part,
    utc,
)

__all__ = ("ContextSnapshot",)

if TYPE_CHECKING:
    from typing_extensions import TypeVar as TypeVarWithDefault

    # Without a default, each snapshot without extensions would need an annotation.
    E_co = TypeVarWithDefault(
        "E_co", bound=ExtensionBundle | Mapping[str, Any], covariant=True, default=Any
    )
else:
    E_co = TypeVar("E_co", covariant=True)
NewE = TypeVar("NewE", bound=ExtensionBundle | Mapping[str, Any])
BundleE = TypeVar("BundleE", bound=ExtensionBundle)

_CONVERSATION_KEYS = ("messages", "routing_decision")
_ENRICHMENT_KEYS = ("profile", "memory", "documents", "web_results")


def _frozen_extensions(value: NewE | None) -> NewE | None:
    return cast("NewE", frozen_dict(value)) if isinstance(value, Mapping) else value


@attrs.frozen
class ContextSnapshot(Generic[E_co]):
    """What is known about a request when its run begins; immutable at any depth.

    Dictionaries and lists are copied when the snapshot is made, into ones that equal them and
    refuse to be changed: neither the caller's later changes nor a stage's show in it. Objects
    of other types are kept as they are. Snapshots that the `with_...` methods make share
    everything but the part that was replaced.

    Attributes:
        run_id: The ids of the run and of those on whose behalf it runs.
        enrichments: What was looked up for the request.
        conversation: What was said before.
        extensions: The application's own part: an `ExtensionBundle`, or several by name.
        input_text: What the user wrote or said.
        input_audio_duration_ms: How long the user spoke.
        topology: Name of the shape of the pipeline.
        execution_mode: The mode the run is started in.
        created_at: When the snapshot was made, in UTC.
        metadata: Further facts, by key; read-only.
    """

    run_id: RunIdentity = attrs.field(factory=RunIdentity)
    enrichments: Enrichments | None = None
    conversation: Conversation | None = None
    extensions: E_co | None = attrs.field(default=None, converter=_frozen_extensions, hash=False)
    input_text: str | None = None
    input_audio_duration_ms: float | None = None
    topology: str | None = None
    execution_mode: str | None = None
    created_at: datetime = attrs.field(factory=now, converter=utc)
    metadata: dict[str, Any] = attrs.field(factory=dict, converter=frozen_dict, hash=False)

    @property
    def pipeline_run_id(self) -> UUID | None:
        """The run."""
        return self.run_id.pipeline_run_id

    @property
    def request_id(self) -> UUID | None:
        """The request that caused the run."""
        return self.run_id.request_id

    @property
    def session_id(self) -> UUID | None:
        """The session the request belongs to."""
        return self.run_id.session_id

    @property
    def user_id(self) -> UUID | None:
        """Who asked."""
        return self.run_id.user_id

    @property
    def org_id(self) -> UUID | None:
        """The organisation of whoever asked."""
        return self.run_id.org_id

    @property
    def interaction_id(self) -> UUID | None:
        """The exchange within the session."""
        return self.run_id.interaction_id

    @property
    def messages(self) -> list[Message]:
        """The messages so far, oldest first; a read-only list."""
        return frozen_list(None) if self.conversation is None else self.conversation.messages

    @property
    def routing_decision(self) -> RoutingDecision | None:
        """Where the request is to be sent, if that was decided."""
        return None if self.conversation is None else self.conversation.routing_decision

    @property
    def profile(self) -> ProfileEnrichment | None:
        """What is known of the user."""
        return None if self.enrichments is None else self.enrichments.profile

    @property
    def memory(self) -> MemoryEnrichment | None:
        """What is remembered from earlier exchanges."""
        return None if self.enrichments is None else self.enrichments.memory

    @property
    def documents(self) -> list[DocumentEnrichment]:
        """The documents that belong to the request; a read-only list."""
        return frozen_list(None) if self.enrichments is None else self.enrichments.documents

    @property
    def web_results(self) -> list[Any]:
        """What a search of the web gave; a read-only list."""
        return frozen_list(None) if self.enrichments is None else self.enrichments.web_results

    def with_run_id(self, run_id: RunIdentity) -> ContextSnapshot[E_co]:
        """Return a snapshot of the same facts for another run."""
        return attrs.evolve(self, run_id=run_id)

    def with_enrichments(self, enrichments: Enrichments | None) -> ContextSnapshot[E_co]:
        """Return a snapshot with these enrichments in place of its own."""
        return attrs.evolve(self, enrichments=enrichments)

    def with_conversation(self, conversation: Conversation | None) -> ContextSnapshot[E_co]:
        """Return a snapshot with this conversation in place of its own."""
        return attrs.evolve(self, conversation=conversation)

    def with_extensions(self, extensions: NewE | None) -> ContextSnapshot[NewE]:
        """Return a snapshot with these extensions in place of its own."""
        return cast("ContextSnapshot[NewE]", attrs.evolve(self, extensions=cast("Any", extensions)))

    def to_dict(self) -> dict[str, Any]:
        """Return the snapshot as plain dictionaries, lists, texts and numbers.

        Ids and times are text. Each part stands under its own key (`run_id`, `conversation`,
        `enrichments`, `extensions`), and what it is made of also under the flat keys that
        older readers know (`pipeline_run_id`, `messages`, `profile` and so on). Values in
        free-form parts, such as `metadata`, stay what they are.
        """
        run_id = self.run_id.to_dict()
        conversation = (self.conversation or Conversation()).to_dict()
        enrichments = (self.enrichments or Enrichments()).to_dict()
        return {
            "run_id": run_id,
            "enrichments": None if self.enrichments is None else enrichments,
            "conversation": None if self.conversation is None else conversation,
            "extensions": write_extensions(self.extensions),
            "input_text": self.input_text,
            "input_audio_duration_ms": self.input_audio_duration_ms,
            "topology": self.topology,
            "execution_mode": self.execution_mode,
            "created_at": self.created_at.isoformat(),
            "metadata": plain(self.metadata),
            **{name: run_id[name] for name in ID_FIELDS},
            **plain(conversation),
            **plain(enrichments),
        }

    @overload
    @classmethod
    def from_dict(
        cls, data: Mapping[str, Any], extension_types: type[BundleE]
    ) -> ContextSnapshot[BundleE]: ...

    @overload
    @classmethod
    def from_dict(
        cls, data: Mapping[str, Any], extension_types: Mapping[str, ExtensionTypes] | None = None
    ) -> ContextSnapshot[Any]: ...

    @classmethod
    def from_dict(
        cls, data: Mapping[str, Any], extension_types: Any = None
    ) -> ContextSnapshot[Any]:
        """Return the snapshot that `to_dict` wrote, or an older writer with flat keys only.

        Args:
            data: The snapshot as a mapping.
            extension_types: The type of its extensions, or types by name; types registered by
                `register_extension` are known without it. An extension of an unknown type is
                kept as data and written again as it was.

        Raises:
            SnapshotFormatError: If a part cannot be read; names the part.
        """
        data = as_mapping(data)
        return ContextSnapshot(
            run_id=_read_identity(data),
            enrichments=read_part(
                "enrichments", Enrichments.from_dict, _part(data, "enrichments", _ENRICHMENT_KEYS)
            ),
            conversation=read_part(
                "conversation",
                Conversation.from_dict,
                _part(data, "conversation", _CONVERSATION_KEYS),
            ),
            extensions=read_part(
                "extensions",
                lambda value: read_extensions(value, extension_types),
                data.get("extensions"),
            ),
            input_text=data.get("input_text"),
            input_audio_duration_ms=data.get("input_audio_duration_ms"),
            topology=data.get("topology"),
            execution_mode=data.get("execution_mode"),
            created_at=parse_time(data.get("created_at"), "created_at") or now(),
            metadata=as_mapping(data.get("metadata"), "metadata"),
        )

    def to_json(self, codec: Codec | None = None) -> str:
        """Return the snapshot as JSON in the codec's format, values of registered types included.

        Args:
            codec: What encodes it; the default codec unless given.

        Raises:
            CodecError: If a value cannot be encoded; names its path.
        """
        return (codec or Codec.default()).encode(self.to_dict()).decode()

    @classmethod
    def from_json(
        cls, text: str | bytes, extension_types: Any = None, *, codec: Codec | None = None
    ) -> ContextSnapshot[Any]:
        """Return the snapshot that `to_json` wrote.

        Args:
            text: What it wrote.
            extension_types: As for `from_dict`.
            codec: What decodes it; the default codec unless given.

        Raises:
            CodecError: If the text cannot be decoded.
            SnapshotFormatError: If it decodes to something else than a snapshot.
        """
        return cls.from_dict((codec or Codec.default()).decode(text), extension_types)


def _read_identity(data: Mapping[str, Any]) -> RunIdentity:
    composed = data.get("run_id")
    if isinstance(composed, Mapping):
        return cast("RunIdentity", read_part("run_id", RunIdentity.from_dict, composed))
    # Older writers spell the run's own id either way, and have no time of the identity.
    flat = {"pipeline_run_id": composed, "created_at": data.get("created_at")}
    flat.update((name, data[name]) for name in ID_FIELDS if data.get(name) is not None)
    return RunIdentity.from_dict(flat)


def _part(data: Mapping[str, Any], key: str, flat_keys: tuple[str, ...]) -> Any:
    if data.get(key) is not None:
        return data[key]
    flat = {name: data[name] for name in flat_keys if data.get(name)}
    return flat or None
