"""ApprovalLog: who was asked what, what they decided, and what was made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Protocol
from uuid import UUID

import attrs

from stageflow.codec import codec_type
from stageflow.contracts.contract import Contract

__all__ = (
    "CONTRACT",
    "ApprovalDecision",
    "ApprovalExecution",
    "ApprovalLog",
    "ApprovalRequest",
    "ApprovalSettlement",
    "ApprovalStatus",
)

CONTRACT: Final = Contract("approval_log", "1.0")


@codec_type(name="stageflow.ApprovalStatus")
class ApprovalStatus(StrEnum):
    """How far a request has come; a member equals its lower-case string."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


@attrs.frozen
class ApprovalDecision:
    """What somebody has decided about a request.

    Attributes:
        request_id: The request.
        granted: Whether the call may run.
        decided_by: Who decided.
        reason: Why, in their words.
        payload: The arguments as they have changed them; None if they have not.
    """

    request_id: UUID
    granted: bool
    decided_by: str | None = None
    reason: str | None = None
    payload: Any = attrs.field(default=None, kw_only=True, repr=False, hash=False)


@codec_type(name="stageflow.ApprovalSettlement")
@attrs.frozen(kw_only=True)
class ApprovalSettlement:
    """How a request ended.

    Attributes:
        status: Anything but pending.
        at: When, in UTC.
        decided_by: Who decided.
        reason: Why, in their words.
        payload: The arguments as they have changed them; None if they have not. Shown to nobody
            but the tool.
    """

    status: ApprovalStatus
    at: datetime
    decided_by: str | None = None
    reason: str | None = None
    payload: Any = attrs.field(default=None, repr=False, hash=False)


@codec_type(name="stageflow.ApprovalExecution")
@attrs.frozen(kw_only=True)
class ApprovalExecution:
    """What was made of an approval: it lets its call run once.

    Attributes:
        id: Names the execution.
        begun_at: When the handler was about to begin, in UTC.
        finished_at: When it had ended; None if that is not known.
        outcome: What it gave, as whoever finished it wrote it; None if that could not be kept.
    """

    id: str
    begun_at: datetime
    finished_at: datetime | None = None
    outcome: dict[str, Any] | None = attrs.field(default=None, repr=False, hash=False)


def _utc_now() -> datetime:
    return datetime.now(UTC)


@codec_type(name="stageflow.ApprovalRequest")
@attrs.frozen
class ApprovalRequest:
    """One question whether a call may run, and what became of it so far.

    Attributes:
        id: The request.
        action_id: The action that wants to run.
        tool_name: The tool's name.
        pipeline_run_id: The run that the action belongs to.
        approval_message: What is asked.
        payload: The arguments, secrets redacted: what is decided about.
        created_at: When it was asked, in UTC.
        expires_at: When nobody waits for a decision any more, in UTC; None if that is not known.
        settlement: How it ended; None while it is pending.
        execution: What was made of the approval; None if nothing was.
    """

    id: UUID
    action_id: UUID
    tool_name: str
    pipeline_run_id: UUID | None = None
    approval_message: str = ""
    payload: dict[str, Any] | None = attrs.field(default=None, kw_only=True, repr=False, hash=False)
    created_at: datetime = attrs.field(factory=_utc_now, kw_only=True)
    expires_at: datetime | None = attrs.field(default=None, kw_only=True)
    settlement: ApprovalSettlement | None = attrs.field(default=None, kw_only=True)
    execution: ApprovalExecution | None = attrs.field(default=None, kw_only=True)

    @property
    def status(self) -> ApprovalStatus:
        """How far it has come."""
        return ApprovalStatus.PENDING if self.settlement is None else self.settlement.status

    @property
    def is_pending(self) -> bool:
        """Whether it is not settled."""
        return self.settlement is None

    @property
    def decided_by(self) -> str | None:
        """Who decided, if somebody has."""
        return None if self.settlement is None else self.settlement.decided_by

    @property
    def reason(self) -> str | None:
        """Why, in their words."""
        return None if self.settlement is None else self.settlement.reason

    @property
    def decided_at(self) -> datetime | None:
        """When it was settled, in UTC."""
        return None if self.settlement is None else self.settlement.at

    @property
    def decision(self) -> ApprovalDecision | None:
        """What was decided; None if nobody has. A request that was cancelled is not granted."""
        if self.settlement is None or self.status is ApprovalStatus.EXPIRED:
            return None
        granted = self.status is ApprovalStatus.APPROVED
        facts = (self.settlement.decided_by, self.settlement.reason)
        return ApprovalDecision(self.id, granted, *facts, payload=self.settlement.payload)

    def is_overdue(self, now: datetime) -> bool:
        """Say whether it is pending though its time is over."""
        return self.is_pending and self.expires_at is not None and self.expires_at <= now

    def to_dict(self) -> dict[str, Any]:
        """Return the request as plain data for people to look at.

        Changed arguments and what the tool gave are left out: they may hold secrets.
        """
        execution = self.execution
        return {
            "id": str(self.id),
            "action_id": str(self.action_id),
            "tool_name": self.tool_name,
            "pipeline_run_id": _text(self.pipeline_run_id),
            "approval_message": self.approval_message,
            "payload": self.payload,
            "created_at": self.created_at.isoformat(),
            "expires_at": _iso(self.expires_at),
            "status": self.status.value,
            "decided_at": _iso(self.decided_at),
            "decided_by": self.decided_by,
            "reason": self.reason,
            "edited": self.settlement is not None and self.settlement.payload is not None,
            "begun_at": None if execution is None else execution.begun_at.isoformat(),
            "finished_at": None if execution is None else _iso(execution.finished_at),
        }

    # --- what a log writes: the one place that says which change may follow which ---

    def settled(self, settlement: ApprovalSettlement) -> ApprovalRequest:
        """Return it settled so; unchanged if it is settled already."""
        return attrs.evolve(self, settlement=settlement) if self.is_pending else self

    def begun(
        self, execution_id: str, at: datetime, instead_of: str | None = None
    ) -> ApprovalRequest:
        """Return it with that execution begun; unchanged if it may not begin."""
        known = self.execution
        if self.status is not ApprovalStatus.APPROVED:
            return self
        if (None if known is None else known.id) != instead_of:
            return self
        if known is not None and known.finished_at is not None:
            return self
        return attrs.evolve(self, execution=ApprovalExecution(id=execution_id, begun_at=at))

    def finished(
        self, execution_id: str, at: datetime, outcome: Mapping[str, Any] | None
    ) -> ApprovalRequest:
        """Return it with that execution finished; unchanged if another one is under way."""
        known = self.execution
        if known is None or known.id != execution_id or known.finished_at is not None:
            return self
        kept = None if outcome is None else dict(outcome)
        done = attrs.evolve(known, finished_at=at, outcome=kept)
        return attrs.evolve(self, execution=done)


class ApprovalLog(Protocol):
    """Keeps requests for approval, so that a decision finds them wherever it is made.

    Every method is a checkpoint and may raise a `StorageError` when the medium fails. A call that
    was cancelled has happened wholly or not at all. A log never reads the time: it is told.

    AL-1  A request that was added is read with everything it was added with.
    AL-2  An action has one request: adding another one for it answers with the one that is there
      and changes nothing. Of many added at once for one action, one is there.
    AL-3  A request is settled once: the first settlement stands, whatever comes later, and also of
      many at once. Each call answers with the request as it is then.
    AL-4  An execution begins only if the request is approved and no other one has begun, or if it
      takes the place of the one it names, which has not finished. Of many that begin at once, one
      does. Each call answers with the request as it is then.
    AL-5  Only the execution that is under way is finished, once, with its outcome.
    AL-6  What is asked of a request that is not there answers None and changes nothing.
    AL-7  Requests are listed by id, those that come after the one given; pending ones alone, and
      those of one run alone, if that is asked for. Pages show each request once.
    AL-8  Removing a request answers whether it was there; after it, its action may have another.
    AL-9  A call that was cancelled has happened wholly or not at all.
    AL-10  What is handed out is the caller's: changing it changes nothing in the log.
    AL-11  What the codec cannot store raises a `CodecError`, and nothing is changed.
    """

    async def add(self, request: ApprovalRequest) -> ApprovalRequest:
        """Add a request unless its action has one; return the one that is there then.

        Idempotent.

        Raises:
            CodecError: It cannot be stored.
        """
        ...

    async def get(self, request_id: UUID) -> ApprovalRequest | None:
        """Return a request as it is now; None if there is none."""
        ...

    async def settle(
        self, request_id: UUID, settlement: ApprovalSettlement
    ) -> ApprovalRequest | None:
        """Settle a request unless it is; return it as it is then. Idempotent.

        Raises:
            CodecError: The settlement cannot be stored.
        """
        ...

    async def begin(
        self,
        request_id: UUID,
        execution_id: str,
        *,
        at: datetime,
        instead_of: str | None = None,
    ) -> ApprovalRequest | None:
        """Begin the execution of an approved call, if it may begin; return the request then.

        Args:
            request_id: The request.
            execution_id: Names the execution; it has begun if the request has it afterwards.
            at: When.
            instead_of: The execution whose place it takes, because its end is not known.
        """
        ...

    async def finish(
        self,
        request_id: UUID,
        execution_id: str,
        *,
        at: datetime,
        outcome: Mapping[str, Any] | None,
    ) -> ApprovalRequest | None:
        """Finish an execution that is under way; return the request as it is then.

        Raises:
            CodecError: The outcome cannot be stored.
        """
        ...

    async def list_requests(
        self,
        *,
        pending: bool = False,
        pipeline_run_id: UUID | None = None,
        after: UUID | None = None,
        limit: int = 1000,
    ) -> Sequence[ApprovalRequest]:
        """Return up to *limit* requests, by id."""
        ...

    async def remove(self, request_id: UUID) -> bool:
        """Forget a request; return whether it was there."""
        ...


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
