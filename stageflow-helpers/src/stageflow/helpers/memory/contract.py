"""MemoryStore: what was said in a session, kept beyond the run in which it was said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Protocol
from uuid import UUID

import attrs

from stageflow.codec import Codec, CodecError, codec_type
from stageflow.contracts.contract import Contract
from stageflow.helpers.errors import HelperSettingError, MemoryStoreError
from stageflow.helpers.tokens import TokenCounter, approximate_tokens

__all__ = (
    "CONTRACT",
    "MemoryConfig",
    "MemoryEntry",
    "MemoryStore",
    "MemoryWindow",
    "keep_newest",
)

CONTRACT: Final = Contract("memory_store", "1.0")


def _utc_now() -> datetime:
    return datetime.now(UTC)


@codec_type(name="stageflow.MemoryEntry")
@attrs.frozen
class MemoryEntry:
    """One thing that was said.

    Attributes:
        id: Its identifier; entries that differ may share one.
        session_id: The session in which it was said.
        role: Who said it: `user`, `assistant`, `system` or `tool`.
        content: What was said.
        timestamp: When.
        metadata: Whatever else is known; of types that the codec can store.
    """

    id: str
    session_id: UUID
    role: str
    content: str
    timestamp: datetime = attrs.field(factory=_utc_now)
    metadata: dict[str, Any] = attrs.field(factory=dict, hash=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the entry with its session and time as text."""
        return {
            "id": self.id,
            "session_id": str(self.session_id),
            "role": self.role,
            "content": self.content,
            "timestamp": self.timestamp.isoformat(),
            "metadata": dict(self.metadata),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> MemoryEntry:
        """Return the entry that `to_dict` wrote; `timestamp` and `metadata` may be missing.

        Raises:
            KeyError: Another key is missing.
            ValueError: The session is no UUID, or the time not ISO 8601.
        """
        written = data.get("timestamp")
        return cls(
            id=data["id"],
            session_id=UUID(str(data["session_id"])),
            role=data["role"],
            content=data["content"],
            timestamp=datetime.fromisoformat(written) if written else _utc_now(),
            metadata=dict(data.get("metadata") or {}),
        )


@attrs.frozen
class MemoryConfig:
    """How much of a session is remembered.

    Attributes:
        max_entries: The most entries; None for no limit.
        max_tokens: The most tokens, all entries together; None for no limit.
        include_system: Whether entries of the role `system` are among them.
        recency_window_seconds: How old an entry may be; 0 for any age.
        count_tokens: Counts the tokens of a text.
    """

    max_entries: int | None = 20
    max_tokens: int | None = 4000
    include_system: bool = True
    recency_window_seconds: float = 0
    count_tokens: TokenCounter = approximate_tokens

    def __attrs_post_init__(self) -> None:
        for name in ("max_entries", "max_tokens"):
            limit = getattr(self, name)
            if limit is not None and (not isinstance(limit, int) or limit < 0):
                raise HelperSettingError("MemoryConfig", name, limit, rule="at least 0, or None")


_KINDS: Final = {
    "id": str,
    "session_id": UUID,
    "role": str,
    "content": str,
    "timestamp": datetime,
}


class MemoryWindow(list[MemoryEntry]):
    """The entries that a fetch found, oldest first; a list that also knows what it lacks.

    Attributes:
        left_out: How many older entries the limits of entries and tokens kept out.
    """

    def __init__(self, entries: Iterable[MemoryEntry] = (), *, left_out: int = 0) -> None:
        super().__init__(entries)
        self.left_out = left_out


class MemoryStore(Protocol):
    """Keeps what was said, by session.

    Every method may suspend, and may raise a `MemoryStoreError` when the medium fails; then it
    has changed nothing.

    MM-1  An entry that was written is fetched with everything it was written with.
    MM-2  Entries come oldest first, in the order in which they were written.
    MM-3  A fetch leaves out what is too old, then the role `system` if it is not included, then
      all but the newest entries, then of those the oldest that the tokens do not suffice for;
      `left_out` counts those of the last two steps.
    MM-4  Sessions do not see each other's entries; one without any gives an empty window.
    MM-5  An entry that differs from a stored one at most in its time is stored already: writing
      it again, also many times at once, changes nothing.
    MM-6  Entries with the same id and other contents are all kept.
    MM-7  Clearing removes all entries of a session and returns how many there were.
    MM-8  A cancelled write has happened wholly or not at all, and the store stays usable.
    MM-9  An entry whose metadata the codec cannot store raises `MemoryStoreError`, and nothing
      is written.
    MM-10  What is handed out is the caller's: changing it changes nothing in the store.
    MM-11  A store that can be closed has `aclose`, which may be called again; after it every other
      call raises `MemoryStoreError`.
    """

    async def fetch(
        self, session_id: UUID, config: MemoryConfig | None = None
    ) -> Sequence[MemoryEntry]:
        """Return the newest entries of a session within the limits of *config*, oldest first.

        A checkpoint. Without *config*, the limits are those of `MemoryConfig()`. What is returned
        is a `MemoryWindow`; the stages make do with a plain list, which says less.
        """
        ...

    async def write(self, entry: MemoryEntry) -> None:
        """Store *entry* unless it is stored already. A checkpoint; idempotent.

        Raises:
            MemoryStoreError: It cannot be stored.
        """
        ...

    async def clear(self, session_id: UUID) -> int:
        """Remove all entries of a session; return how many there were. A checkpoint."""
        ...


def keep_newest(newest_first: Iterable[MemoryEntry], config: MemoryConfig) -> list[MemoryEntry]:
    """Return what the limits of entries and tokens leave, oldest first.

    Args:
        newest_first: The candidates; read only as far as needed.
        config: The limits.
    """
    kept: list[MemoryEntry] = []
    tokens = 0
    for entry in newest_first:
        if config.max_entries is not None and len(kept) >= config.max_entries:
            break
        tokens += config.count_tokens(entry.content)
        if config.max_tokens is not None and tokens > config.max_tokens:
            break
        kept.append(entry)
    kept.reverse()
    return kept


def encode_metadata(entry: MemoryEntry) -> bytes:
    """Return the metadata of *entry* as bytes, once it is known that the rest can be stored.

    Raises:
        MemoryStoreError: They hold something that the codec cannot store, or another part is of
            a type that would make the session unreadable.
    """
    for name, kind in _KINDS.items():
        value = getattr(entry, name)
        if not isinstance(value, kind):
            raise MemoryStoreError(
                f"Entry {entry.id!r} cannot be stored: its {name} is of type"
                f" {type(value).__name__}.",
                hint=f"Give {name} as {kind.__name__}.",
            )
    try:
        return Codec.default().encode(dict(entry.metadata), where="metadata")
    except CodecError as error:
        raise MemoryStoreError(
            f"Entry {entry.id!r} cannot be stored: {error.message}", hint=error.hint
        ) from error


def decode_metadata(stored: bytes) -> dict[str, Any]:
    """Return the metadata that `encode_metadata` turned into bytes."""
    metadata: dict[str, Any] = Codec.default().decode(stored)
    return metadata
