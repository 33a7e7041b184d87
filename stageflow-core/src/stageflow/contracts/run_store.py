"""RunStore: which runs there are and how far they have come, kept beyond the run itself.

The contract is a Protocol: a class with its three methods works, whatever it inherits
from. What only some stores can do is a capability with a Protocol of its own:
`RunListing`, `RunEventLog`, `RunDeletion` here, and in modules beside this one `RunCheckpoints` and
`RunRetention` (`checkpoints`), `RunWaits` and `RunNews` (`waits`), and `SharedValues`
(`shared_values`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Protocol, runtime_checkable
from uuid import UUID

import attrs

from stageflow.contracts.contract import Contract
from stageflow.errors import RunError, did_you_mean

__all__ = (
    "CONTRACT",
    "InvalidTransitionError",
    "RunDeletion",
    "RunEvent",
    "RunEventLog",
    "RunExistsError",
    "RunListing",
    "RunNotFoundError",
    "RunRecord",
    "RunStatus",
    "RunStore",
    "RunStoreCapabilities",
    "RunStoreError",
    "UnknownStatusError",
    "as_run_status",
    "check_run_limit",
    "check_run_transition",
)

CONTRACT: Final = Contract("run_store", "1.0")


class RunStatus(StrEnum):
    """How far a run has come.

    A run moves freely until it ends, though never back to `created`. One that failed or was
    cancelled can only be taken up again (`running`); one that completed stays so.
    """

    CREATED = "created"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether the run has ended."""
        return self in {RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED}

    def may_become(self, new: RunStatus) -> bool:
        """Return whether a run may go from this status to *new*; staying is always allowed."""
        if new is self:
            return True
        if self is RunStatus.COMPLETED or new is RunStatus.CREATED:
            return False
        return not self.is_final or new is RunStatus.RUNNING


@attrs.frozen(kw_only=True)
class RunStoreCapabilities:
    """What a run store can do beyond the contract's three methods.

    Attributes:
        listing: It is a `RunListing`.
        event_log: It is a `RunEventLog`.
        deletion: It is a `RunDeletion`.
        checkpoints: It is a `RunCheckpoints`.
        retention: It is a `RunRetention`.
        waits: It is a `RunWaits`; only a store with checkpoints can be.
        shared_values: It is a `SharedValues`.
        news: It is a `RunNews`; only a store with waits can be.
    """

    listing: bool = False
    event_log: bool = False
    deletion: bool = False
    checkpoints: bool = False
    retention: bool = False
    waits: bool = False
    shared_values: bool = False
    news: bool = False

    @classmethod
    def of(cls, store: object) -> RunStoreCapabilities:
        """Return what *store* declares as `capabilities`; nothing if it declares none."""
        declared = getattr(store, "capabilities", None)
        return declared if isinstance(declared, RunStoreCapabilities) else cls()


@attrs.frozen(kw_only=True)
class RunRecord(Mapping[str, Any]):
    """What a store knows of one run; attributes and keys read the same.

    Metadata is found by key, too, unless an attribute has the name.

    Attributes:
        run_id: The run.
        service: Which service runs it, such as `voice` or `chat`.
        topology: Name of the pipeline.
        execution_mode: In which mode it runs.
        status: How far it has come.
        error: Why it failed, if it did.
        duration_ms: How long it took.
        metadata: Whatever else was recorded; later values replace earlier ones.
        created_at: When it was recorded first, in UTC.
        updated_at: When it was recorded last, in UTC.
    """

    run_id: UUID
    service: str
    topology: str | None = None
    execution_mode: str | None = None
    status: RunStatus = attrs.field(default=RunStatus.CREATED, converter=RunStatus)
    error: str | None = None
    duration_ms: float | None = None
    metadata: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    created_at: datetime
    updated_at: datetime

    def __getitem__(self, key: str) -> Any:
        return getattr(self, key) if key in _FIELDS else self.metadata[key]

    def __iter__(self) -> Iterator[str]:
        yield from _FIELDS
        yield from (key for key in self.metadata if key not in _FIELDS)

    def __len__(self) -> int:
        return sum(1 for _ in self)


_FIELDS: Final = {field.name: None for field in attrs.fields(RunRecord)}


@attrs.frozen(kw_only=True)
class RunEvent:
    """One entry of a run's event log.

    Attributes:
        type: Such as `stage.completed`.
        data: What happened.
        at: When it happened, aware.
        number: Its place in the log, counted from 1; 0 until a store has given it one.
    """

    type: str
    data: Mapping[str, Any] | None = attrs.field(default=None, hash=False)
    at: datetime
    number: int = 0


class RunStoreError(RunError):
    """A run store refused a call."""

    code = "SF425"


class RunExistsError(RunStoreError):
    """A run was created under an id that is taken."""

    code = "SF421"

    def __init__(self, run_id: UUID) -> None:
        super().__init__(
            f"There is a run {run_id} already.",
            hint="Give each run an id of its own, or resume the one that exists.",
        )
        self.run_id = run_id


class RunNotFoundError(RunStoreError):
    """No run has this id."""

    code = "SF422"

    def __init__(self, run_id: UUID) -> None:
        super().__init__(
            f"There is no run {run_id}.",
            hint="`stageflow runs list` shows those of the store; is it the right store?",
        )
        self.run_id = run_id


class UnknownStatusError(RunStoreError):
    """A status is none of those a run can have."""

    code = "SF423"

    def __init__(self, status: object) -> None:
        known = [member.value for member in RunStatus]
        super().__init__(
            f"{status!r} is no status of a run.", hint=did_you_mean(str(status), known)
        )
        self.status = status


class InvalidTransitionError(RunStoreError):
    """A run cannot go from the status that it has to the one asked for."""

    code = "SF424"

    def __init__(self, run_id: UUID, current: RunStatus, new: RunStatus) -> None:
        allowed = ", ".join(status for status in RunStatus if current.may_become(status))
        super().__init__(
            f"Run {run_id} is {current}; it cannot become {new}.",
            hint=f"From {current} a run may become: {allowed}.",
        )
        self.run_id = run_id
        self.current = current
        self.new = new


def as_run_status(status: str) -> RunStatus:
    """Return the status that *status* names.

    Raises:
        UnknownStatusError: It names none.
    """
    try:
        return RunStatus(status)
    except ValueError:
        raise UnknownStatusError(status) from None


def check_run_limit(limit: int) -> None:
    """Return if *limit* allows a listing to show a run.

    Raises:
        RunStoreError: It does not.
    """
    if limit < 1:
        raise RunStoreError(
            f"A list of at most {limit} runs shows none.", hint="Give a limit of at least 1."
        )


def check_run_transition(run_id: UUID, current: RunStatus, new: RunStatus) -> None:
    """Return if the run may go from *current* to *new*.

    Raises:
        InvalidTransitionError: It may not.
    """
    if not current.may_become(new):
        raise InvalidTransitionError(run_id, current, new)


@runtime_checkable
class RunStore(Protocol):
    """Keeps a record per run.

    Every method may suspend and be cancelled. Every method may raise a `StorageError` when
    the medium fails; then the call has not happened, unless the error says otherwise.

    RS-1  A run that was created is found by its id, with all that it was created with.
    RS-2  An id that no run has is answered with None.
    RS-3  What is found is a `RunRecord`, with the times of its first and last writing in UTC.
    RS-4  An id is given once: of any number of attempts one succeeds, the others raise
      `RunExistsError` and change nothing.
    RS-5  An update sets the status and what else it is given; all else stays as it was.
    RS-6  An update of a run that is not there raises `RunNotFoundError` and creates none.
    RS-7  A status that is none raises `UnknownStatusError`, and nothing is written.
    RS-8  A transition that `RunStatus` forbids raises `InvalidTransitionError` and changes
      nothing; every other one succeeds.
    RS-9  An update may be repeated: giving the status that the run has is no error.
    RS-10  A run that is taken up again after it failed or was cancelled loses its error and
      duration.
    RS-11  Metadata comes back equal and of the same types, for every value that the codec
      knows; another value raises, and nothing is written.
    RS-12  What is kept does not change with the objects it was given as or is handed out as.
    RS-13  Updates at once all take effect.
    RS-14  A cancelled call has happened completely or not at all.
    RS-15  After `aclose`, which may be called again, every call raises `StorageClosedError`.
    RS-26  What the store declares as `capabilities` is what it can do beyond this.
    """

    async def create_run(
        self,
        run_id: UUID,
        *,
        service: str,
        topology: str | None = None,
        execution_mode: str | None = None,
        status: str = "created",
        **metadata: Any,
    ) -> Any:
        """Record a new run and return its record.

        Not idempotent: the second call raises. Whether a cancelled call has happened,
        `get_run` tells.

        Raises:
            RunExistsError: The id is taken.
            UnknownStatusError: *status* is none.
        """
        ...

    async def update_status(
        self,
        run_id: UUID,
        status: str,
        *,
        error: str | None = None,
        duration_ms: float | None = None,
        **data: Any,
    ) -> None:
        """Record that the run has *status* now, and merge *data* into its metadata.

        Idempotent. A cancelled call may or may not have happened; repeating it is safe.

        Raises:
            RunNotFoundError: There is no such run.
            UnknownStatusError: *status* is none.
            InvalidTransitionError: The run cannot go there from where it is.
        """
        ...

    async def get_run(self, run_id: UUID) -> RunRecord | None:
        """Return the record of the run, or None if there is none.

        Changes nothing, however it ends.
        """
        ...


class RunListing(Protocol):
    """The capability `listing`: finds runs by what they are.

    RS-16  [listing] Runs are listed newest first, in the order of their creation.
    RS-17  [listing] A status or a service limits the list to the runs that have it.
    RS-18  [listing] Pages of any size, each asked for before the last run of the one
      before, show each run once; a run that is not there raises `RunNotFoundError`, a
      limit that shows nothing `RunStoreError`.
    """

    async def list_runs(
        self,
        *,
        status: str | None = None,
        service: str | None = None,
        limit: int = 100,
        before: UUID | None = None,
    ) -> Sequence[RunRecord]:
        """Return up to *limit* runs, newest first.

        Changes nothing, however it ends.

        Args:
            status: Only runs that have it.
            service: Only runs of it.
            limit: How many at most; at least 1.
            before: Only runs created before this one, such as the last of another page.

        Raises:
            RunNotFoundError: There is no run *before*.
            UnknownStatusError: *status* is none.
            RunStoreError: *limit* is below 1.
        """
        ...


class RunEventLog(Protocol):
    """The capability `event_log`: one ordered log per run.

    RS-19  [event_log] Events are numbered from 1 without gaps, per run, and read in that
      order as they were appended.
    RS-20  [event_log] Reading starts after the number given and stops at the limit.
    RS-21  [event_log] Appending to a run that is not there raises `RunNotFoundError`;
      reading its events gives none.
    RS-22  [event_log] Events of one call stand together, also when calls are made at once.
    RS-23  [event_log] A call's events are kept all or not at all, also when it is cancelled
      or one of them cannot be encoded.
    """

    async def append_events(self, run_id: UUID, events: Iterable[RunEvent]) -> int:
        """Append *events* to the log of the run and return the number of its last event.

        Not idempotent. Whether a cancelled call has happened, `read_events` tells.

        Raises:
            RunNotFoundError: There is no such run.
        """
        ...

    async def read_events(
        self, run_id: UUID, *, after: int = 0, limit: int | None = None
    ) -> Sequence[RunEvent]:
        """Return the events of the run whose number is above *after*, at most *limit*.

        Changes nothing, however it ends.
        """
        ...


class RunDeletion(Protocol):
    """The capability `deletion`: forgets runs.

    RS-24  [deletion] A run that was deleted is gone from wherever it was found, its events
      too, and its id can be given again.
    RS-25  [deletion] Deleting answers whether the run was there; doing so twice is no error.
    """

    async def delete_run(self, run_id: UUID) -> bool:
        """Forget the run and all that belongs to it; return whether it was there.

        Idempotent. A cancelled call may or may not have happened; repeating it is safe.
        """
        ...
