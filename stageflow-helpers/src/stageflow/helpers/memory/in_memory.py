"""InMemoryStore: a memory store that lasts as long as the process."""

from __future__ import annotations

from copy import deepcopy
from uuid import UUID

import attrs
from anyio.lowlevel import checkpoint

from stageflow.contracts.clock import Clock, SystemClock
from stageflow.helpers.memory.contract import (
    MemoryConfig,
    MemoryEntry,
    MemoryWindow,
    decode_metadata,
    encode_metadata,
    keep_newest,
)

__all__ = ("InMemoryStore",)


@attrs.define
class _Session:
    entries: list[MemoryEntry] = attrs.field(factory=list)
    identities: set[tuple[str, str, str, bytes]] = attrs.field(factory=set)


class InMemoryStore:
    """Keeps entries in this process; for tests, for examples and for sessions that may be lost.

    Metadata go through the codec as they would on the way to a disk, so what works here works
    with the other stores.

    Args:
        clock: Source of the time by which entries are too old.
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._sessions: dict[str, _Session] = {}

    async def fetch(self, session_id: UUID, config: MemoryConfig | None = None) -> MemoryWindow:
        """Return the newest entries of a session within the limits, oldest first."""
        await checkpoint()
        limits = config or MemoryConfig()
        session = self._sessions.get(str(session_id))
        if session is None:
            return MemoryWindow()
        candidates = session.entries
        if limits.recency_window_seconds:
            oldest = self._clock.now().timestamp() - limits.recency_window_seconds
            candidates = [entry for entry in candidates if entry.timestamp.timestamp() > oldest]
        if not limits.include_system:
            candidates = [entry for entry in candidates if entry.role != "system"]
        kept = keep_newest(reversed(candidates), limits)
        return MemoryWindow(
            (attrs.evolve(entry, metadata=deepcopy(entry.metadata)) for entry in kept),
            left_out=len(candidates) - len(kept),
        )

    async def write(self, entry: MemoryEntry) -> None:
        """Store *entry* unless it is stored already.

        Raises:
            MemoryStoreError: Its metadata hold something that the codec cannot store.
        """
        await checkpoint()
        stored = encode_metadata(entry)
        identity = (entry.id, entry.role, entry.content, stored)
        session = self._sessions.setdefault(str(entry.session_id), _Session())
        if identity not in session.identities:
            session.identities.add(identity)
            session.entries.append(attrs.evolve(entry, metadata=decode_metadata(stored)))

    async def clear(self, session_id: UUID) -> int:
        """Remove all entries of a session; return how many there were."""
        await checkpoint()
        session = self._sessions.pop(str(session_id), None)
        return 0 if session is None else len(session.entries)
