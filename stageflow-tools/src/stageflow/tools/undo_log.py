"""UndoLog: what undoing an action needs, kept until it is undone or too old."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Protocol
from uuid import UUID

import attrs

from stageflow.codec import codec_type
from stageflow.contracts.contract import Contract
from stageflow.tools.definitions import UndoMetadata

__all__ = ("CONTRACT", "UndoClaim", "UndoEntry", "UndoLog")

CONTRACT: Final = Contract("undo_log", "1.0")


@codec_type(name="stageflow.UndoClaim")
@attrs.frozen(kw_only=True)
class UndoClaim:
    """Somebody is about to undo an action.

    Attributes:
        id: Names the attempt.
        at: When it began, in UTC.
    """

    id: str
    at: datetime


@codec_type(name="stageflow.UndoEntry")
@attrs.frozen(kw_only=True)
class UndoEntry:
    """What undoing one action needs.

    Attributes:
        action_id: The action.
        tool_name: The name of the tool that carried it out.
        undo_data: What the tool gave for this.
        created_at: When it was kept, in UTC.
        expires_at: When it cannot be undone any more, in UTC.
        claim: Who is about to undo it; None if nobody is.
    """

    action_id: UUID
    tool_name: str
    undo_data: dict[str, Any] = attrs.field(repr=False, hash=False)
    created_at: datetime
    expires_at: datetime
    claim: UndoClaim | None = None

    @property
    def metadata(self) -> UndoMetadata:
        """What an undo handler is given."""
        return UndoMetadata(
            self.action_id, self.tool_name, dict(self.undo_data), self.created_at.isoformat()
        )

    def claimed(self, claim: UndoClaim, instead_of: str | None = None) -> UndoEntry:
        """Return it with that claim; unchanged if another claim than the one named is there."""
        known = None if self.claim is None else self.claim.id
        return attrs.evolve(self, claim=claim) if known == instead_of else self

    def released(self, claim_id: str) -> UndoEntry:
        """Return it without that claim; unchanged if it is not there."""
        held = self.claim is not None and self.claim.id == claim_id
        return attrs.evolve(self, claim=None) if held else self


class UndoLog(Protocol):
    """Keeps what undoing needs, so that an action can be undone wherever that is asked for.

    Every method is a checkpoint and may raise a `StorageError` when the medium fails. A log never
    reads the time: it keeps what has expired until it is removed.

    UL-1  An entry that was put is read with everything it was put with; the last one of an action
      stands, and nobody has claimed it.
    UL-2  An entry is claimed if nobody has claimed it, or in the place of the claim that is named.
      Of many that claim it at once, one does. Each call answers with the entry as it is then.
    UL-3  A claim is released by its own id only; then the entry can be claimed again.
    UL-4  Removing an entry answers whether it was there.
    UL-5  What is asked of an entry that is not there answers None and changes nothing.
    UL-6  Entries are listed by action, those that come after the one given; pages show each once.
    UL-7  A call that was cancelled has happened wholly or not at all.
    UL-8  What is handed out is the caller's: changing it changes nothing in the log.
    UL-9  What the codec cannot store raises a `CodecError`, and nothing is changed.
    """

    async def put(self, entry: UndoEntry) -> None:
        """Keep an entry, in the place of an earlier one of its action. Idempotent.

        Raises:
            CodecError: It cannot be stored.
        """
        ...

    async def get(self, action_id: UUID) -> UndoEntry | None:
        """Return the entry of an action; None if there is none."""
        ...

    async def claim(
        self, action_id: UUID, claim: UndoClaim, *, instead_of: str | None = None
    ) -> UndoEntry | None:
        """Claim an entry if that may be; return it as it is then.

        Args:
            action_id: The action.
            claim: The claim; it holds if the entry has it afterwards.
            instead_of: The id of the claim whose place it takes.
        """
        ...

    async def release(self, action_id: UUID, claim_id: str) -> UndoEntry | None:
        """Give a claim back; return the entry as it is then. Idempotent."""
        ...

    async def remove(self, action_id: UUID) -> bool:
        """Forget an entry; return whether it was there."""
        ...

    async def list_entries(
        self, *, after: UUID | None = None, limit: int = 1000
    ) -> Sequence[UndoEntry]:
        """Return up to *limit* entries, by action."""
        ...
