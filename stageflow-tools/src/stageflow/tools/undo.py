"""UndoStore: keeps what undoing an action needs, for as long as it can be undone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from stageflow.contracts import Clock, SystemClock
from stageflow.tools._shared import Shared
from stageflow.tools.definitions import UndoMetadata
from stageflow.tools.errors import UndoUnderWayError
from stageflow.tools.undo_log import UndoClaim, UndoEntry, UndoLog
from stageflow.tools.undo_logs import MemoryUndoLog

__all__ = (
    "UndoStore",
    "clear_undo_store",
    "get_undo_store",
    "set_undo_store",
)

_PAGE: Final = 500
_SECONDS_BETWEEN_CLEANUPS: Final = 60


class UndoStore:
    """Keeps what undoing an action needs; what has expired is gone.

    Args:
        default_ttl_seconds: How long an action can be undone unless the caller says.
        log: Keeps the entries; this process alone unless given.
        clock: Source of time.
        new_id: Source of the ids of attempts to undo.
    """

    def __init__(
        self,
        default_ttl_seconds: float = 3600.0,
        *,
        log: UndoLog | None = None,
        clock: Clock | None = None,
        new_id: Callable[[], UUID] = uuid4,
    ) -> None:
        self.default_ttl_seconds = default_ttl_seconds
        self._log: UndoLog = MemoryUndoLog() if log is None else log
        self._clock = clock or SystemClock()
        self._new_id = new_id
        self._cleaned_at = self._clock.monotonic()

    @property
    def log(self) -> UndoLog:
        """Where entries are kept."""
        return self._log

    async def store(
        self,
        action_id: UUID,
        tool_name: str,
        undo_data: Mapping[str, Any],
        ttl_seconds: float | None = None,
    ) -> None:
        """Keep what undoing an action needs.

        Args:
            action_id: The action.
            tool_name: The name of the tool that carried it out.
            undo_data: What its undo handler needs to know; of types that the codec can store.
            ttl_seconds: How long it can be undone, the store's default unless given.

        Raises:
            CodecError: *undo_data* cannot be stored.
        """
        now = self._clock.now()
        seconds = self.default_ttl_seconds if ttl_seconds is None else ttl_seconds
        await self._log.put(
            UndoEntry(
                action_id=action_id,
                tool_name=tool_name,
                undo_data=dict(undo_data),
                created_at=now,
                expires_at=now + timedelta(seconds=seconds),
            )
        )
        if self._clock.monotonic() - self._cleaned_at >= _SECONDS_BETWEEN_CLEANUPS:
            await self.cleanup_expired()

    async def get(self, action_id: UUID) -> UndoMetadata | None:
        """Return what undoing an action needs; None if it cannot be undone, or not any more."""
        entry = await self._live(action_id)
        return None if entry is None else entry.metadata

    async def delete(self, action_id: UUID) -> bool:
        """Forget what undoing an action needs; return whether it could have been undone."""
        entry = await self._live(action_id)
        return entry is not None and await self._log.remove(action_id)

    async def get_all(self) -> list[UndoMetadata]:
        """Return what can be undone, the oldest first."""
        now = self._clock.now()
        live = [entry async for entry in self._all() if entry.expires_at > now]
        live.sort(key=lambda entry: (entry.created_at, entry.action_id))
        return [entry.metadata for entry in live]

    async def cleanup_expired(self) -> int:
        """Forget what cannot be undone any more; return how much that was."""
        self._cleaned_at = self._clock.monotonic()
        now = self._clock.now()
        count = 0
        async for entry in self._all():
            if entry.expires_at <= now:
                count += await self._log.remove(entry.action_id)
        return count

    # --- undoing ---

    async def claim(self, action_id: UUID, *, again: bool = False) -> str | None:
        """Begin to undo an action, alone; return the id of the claim.

        None stands for an action that cannot be undone, or not any more.

        Args:
            action_id: The action.
            again: Whether to take the place of an attempt whose end is not known.

        Raises:
            UndoUnderWayError: Somebody has begun, and *again* is false.
        """
        entry = await self._live(action_id)
        if entry is None:
            return None
        instead_of = entry.claim.id if again and entry.claim is not None else None
        claim = UndoClaim(id=str(self._new_id()), at=self._clock.now())
        entry = await self._log.claim(action_id, claim, instead_of=instead_of)
        if entry is None:
            return None
        if entry.claim != claim:
            begun_at = "" if entry.claim is None else entry.claim.at.isoformat()
            raise UndoUnderWayError(entry.tool_name, action_id, begun_at)
        return claim.id

    async def release(self, action_id: UUID, claim_id: str) -> None:
        """Give a claim back: the undo has failed and can be tried again."""
        await self._log.release(action_id, claim_id)

    async def _live(self, action_id: UUID) -> UndoEntry | None:
        entry = await self._log.get(action_id)
        if entry is not None and entry.expires_at <= self._clock.now():
            await self._log.remove(action_id)
            return None
        return entry

    async def _all(self) -> AsyncIterator[UndoEntry]:
        after: UUID | None = None
        while True:
            page = await self._log.list_entries(after=after, limit=_PAGE)
            for entry in page:
                yield entry
            if len(page) < _PAGE:
                return
            after = page[-1].action_id

    def __len__(self) -> int:
        """Return how many entries there are in memory, expired ones too.

        Raises:
            TypeError: They are kept elsewhere, and only `get_all` can tell.
        """
        if not isinstance(self._log, MemoryUndoLog):
            raise TypeError("what is kept elsewhere has no len(); count `await store.get_all()`")
        return len(self._log)

    def __bool__(self) -> bool:
        return True  # an empty store is a store


_current: Final = Shared(UndoStore)


def get_undo_store() -> UndoStore:
    """Return the store of those who name none."""
    return _current.get()


def set_undo_store(store: UndoStore) -> None:
    """Have *store* used by those who name none."""
    _current.set(store)


def clear_undo_store() -> None:
    """Have a new, empty store used by those who name none, from the next use on."""
    _current.set(None)
