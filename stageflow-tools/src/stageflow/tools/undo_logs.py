"""Logs of what can be undone: beside the runs in a run store, or in this process alone."""

from __future__ import annotations

from contextlib import aclosing
from typing import Final
from uuid import UUID

import attrs

from stageflow.codec import Codec
from stageflow.contracts.shared_values import SharedValues
from stageflow.tools._values import MemoryValues, Records
from stageflow.tools.undo_log import UndoClaim, UndoEntry

__all__ = ("MemoryUndoLog", "SharedUndoLog")

_NAMESPACE: Final = "stageflow.undo"


class SharedUndoLog:
    """Keeps entries in a run store, where every process that uses the store finds them.

    Args:
        store: A run store with the capability `shared_values`.
        namespace: Keeps logs in one store apart.
        codec: Writes entries as bytes; the default one unless given.
    """

    def __init__(
        self, store: SharedValues, *, namespace: str = _NAMESPACE, codec: Codec | None = None
    ) -> None:
        self._values = store
        self._namespace = namespace
        self._entries: Records[UndoEntry] = Records(store, namespace, "", codec or Codec.default())

    async def put(self, entry: UndoEntry) -> None:
        """Keep an entry, in the place of an earlier one of its action."""
        written = self._entries.encode(attrs.evolve(entry, claim=None))
        await self._values.write_value(self._namespace, self._entries.key(entry.action_id), written)

    async def get(self, action_id: UUID) -> UndoEntry | None:
        """Return the entry of an action; None if there is none."""
        return await self._entries.get(action_id)

    async def claim(
        self, action_id: UUID, claim: UndoClaim, *, instead_of: str | None = None
    ) -> UndoEntry | None:
        """Claim an entry if that may be; return it as it is then."""
        return await self._entries.change(action_id, lambda known: known.claimed(claim, instead_of))

    async def release(self, action_id: UUID, claim_id: str) -> UndoEntry | None:
        """Give a claim back; return the entry as it is then."""
        return await self._entries.change(action_id, lambda known: known.released(claim_id))

    async def remove(self, action_id: UUID) -> bool:
        """Forget an entry; return whether it was there."""
        return await self._entries.delete(action_id)

    async def list_entries(
        self, *, after: UUID | None = None, limit: int = 1000
    ) -> list[UndoEntry]:
        """Return up to *limit* entries, by action."""
        found: list[UndoEntry] = []
        entries = self._entries.walk(after)
        async with aclosing(entries):
            async for _, value in entries:
                if len(found) >= limit:
                    break
                found.append(self._entries.decode(value))
        return found


class MemoryUndoLog(SharedUndoLog):
    """Keeps entries in this process, as they would be kept in a store; `len` counts them."""

    def __init__(self) -> None:
        self._kept = MemoryValues()
        super().__init__(self._kept)

    def __len__(self) -> int:
        return len(self._kept)
