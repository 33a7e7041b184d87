"""ScatterCoordinator: which items a scatter has, which have ended, and whether that is all.

A barrier stands for one scatter of one run. Keys are inserted, page by page if there are many,
until the barrier is sealed; each key ends once, completed or failed; then results are gathered.
What only some coordinators can do is a capability with a Protocol of its own: `KeyClaims`,
`ReaderCheckpoints`, `ResultPages`, `BarrierDeletion`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from decimal import Decimal
from enum import StrEnum
from math import floor
from typing import Any, Final, Protocol, runtime_checkable
from uuid import UUID

import attrs

from stageflow.contracts.contract import Contract
from stageflow.contracts.partitions import Partition
from stageflow.contracts.scatter_keys import ScatterKey, ScatterResults
from stageflow.errors import RunError, did_you_mean

__all__ = (
    "CONTRACT",
    "BarrierDeletion",
    "BarrierNotCompleteError",
    "BarrierNotFoundError",
    "BarrierSealedError",
    "BarrierState",
    "BarrierStatus",
    "FailureMode",
    "FailurePolicy",
    "Insertion",
    "KeyClaims",
    "ReaderCheckpoints",
    "ResultPages",
    "ScatterCoordinator",
    "ScatterCoordinatorCapabilities",
    "ScatterCoordinatorError",
    "ScatterOptionError",
    "UnknownScatterKeyError",
)

CONTRACT: Final = Contract("scatter_coordinator", "1.0")


class BarrierStatus(StrEnum):
    """How far a scatter has come; everything but `pending` is decided once and stays."""

    PENDING = "pending"
    COMPLETE = "complete"
    FAILED = "failed"
    THRESHOLD_EXCEEDED = "threshold_exceeded"
    CANCELLED = "cancelled"


class FailureMode(StrEnum):
    """Whether a scatter some of whose items failed is complete."""

    PARTIAL = "partial"
    ALL_OR_NOTHING = "all_or_nothing"


@attrs.frozen(kw_only=True)
class ScatterCoordinatorCapabilities:
    """What a coordinator can do beyond the contract's eight methods.

    Attributes:
        claims: It is a `KeyClaims`.
        checkpoint: It is a `ReaderCheckpoints`.
        pages: It is a `ResultPages`.
        deletion: It is a `BarrierDeletion`.
    """

    claims: bool = False
    checkpoint: bool = False
    pages: bool = False
    deletion: bool = False

    @classmethod
    def of(cls, coordinator: object) -> ScatterCoordinatorCapabilities:
        """Return what *coordinator* declares as `capabilities`; nothing if it declares none."""
        declared = getattr(coordinator, "capabilities", None)
        return declared if isinstance(declared, ScatterCoordinatorCapabilities) else cls()


@attrs.frozen(kw_only=True)
class BarrierState:
    """The counts of one barrier as they were at one moment.

    Attributes:
        status: How far it has come.
        total: How many keys it has.
        completed: How many of them have a result.
        failed: How many have failed.
        cancelled: How many were pending when it was cancelled.
        claimed: How many of the pending ones a worker has.
        late: How many keys got an outcome, which was ignored, after they had been cancelled.
        duplicates: How many keys were inserted that it had already.
        sealed: Whether it has all its keys.
    """

    status: BarrierStatus
    total: int
    completed: int
    failed: int
    cancelled: int = 0
    claimed: int = 0
    late: int = 0
    duplicates: int = 0
    sealed: bool = False

    @property
    def pending(self) -> int:
        """How many keys have no outcome and may yet get one."""
        return self.total - self.completed - self.failed - self.cancelled


@attrs.frozen(kw_only=True)
class Insertion:
    """What one insertion did.

    Attributes:
        added: The keys that the barrier did not have before, in the order given.
        status: How far the barrier has come.
    """

    added: Sequence[ScatterKey]
    status: BarrierStatus


class ScatterCoordinatorError(RunError):
    """A scatter coordinator refused a call."""

    code = "SF490"


class BarrierNotFoundError(ScatterCoordinatorError):
    """No barrier has this id."""

    code = "SF491"

    def __init__(self, barrier_id: str) -> None:
        super().__init__(
            f"There is no barrier {barrier_id!r}.",
            hint="Create it first; was it deleted, or is this another coordinator?",
        )
        self.barrier_id = barrier_id


class BarrierSealedError(ScatterCoordinatorError):
    """New keys were inserted into a barrier that had been said to have all of them."""

    code = "SF492"

    def __init__(self, barrier_id: str) -> None:
        super().__init__(
            f"Barrier {barrier_id!r} is sealed and takes no new keys.",
            hint="Create it with sealed=False, and pass sealed=True with its last keys.",
        )
        self.barrier_id = barrier_id


class UnknownScatterKeyError(ScatterCoordinatorError):
    """An outcome was told of a key that the barrier does not have.

    Attributes:
        barrier_id: The barrier.
        key: The key.
    """

    code = "SF493"

    def __init__(self, barrier_id: str, key: Any) -> None:
        super().__init__(
            f"Barrier {barrier_id!r} has no key {key!r:.100}.",
            hint="Insert it first; keys of other types are other keys, even if they are equal.",
        )
        self.barrier_id = barrier_id
        self.key = key


class BarrierNotCompleteError(ScatterCoordinatorError):
    """Results were to be gathered of a scatter that is not complete.

    Attributes:
        barrier_id: The barrier.
        status: How far it has come.
    """

    code = "SF494"

    def __init__(self, barrier_id: str, status: BarrierStatus) -> None:
        hint = "Wait until an outcome is answered with `complete`."
        if status is not BarrierStatus.PENDING:
            hint = "It will not be; `gather_pages` shows which results and errors there are."
        super().__init__(f"Barrier {barrier_id!r} is {status}, not complete.", hint=hint)
        self.barrier_id = barrier_id
        self.status = status


class ScatterOptionError(ScatterCoordinatorError):
    """An option of a scatter has a value that means nothing.

    Attributes:
        option: The option.
        value: The value.
    """

    code = "SF495"

    def __init__(self, option: str, value: object, *, hint: str) -> None:
        super().__init__(f"{value!r:.100} is no value of {option}.", hint=hint)
        self.option = option
        self.value = value


@attrs.frozen(kw_only=True)
class FailurePolicy:
    """When failures of items become a failure of the scatter; coordinators share this one rule.

    Attributes:
        threshold: More failures than this end the scatter: an int is a count, a float a share
            of all keys, judged as soon as the barrier is sealed. None is no limit in the mode
            `partial`, and 0 in the other.
        mode: Whether a scatter some of whose items failed is complete.
    """

    threshold: float | None = None
    mode: FailureMode = FailureMode.ALL_OR_NOTHING

    @classmethod
    def of(cls, threshold: Any, mode: str) -> FailurePolicy:
        """Return the policy that two options of `create_barrier` stand for.

        Raises:
            ScatterOptionError: One of them has a value that means nothing.
        """
        if mode not in {member.value for member in FailureMode}:
            raise ScatterOptionError(
                "failure_mode", mode, hint=did_you_mean(str(mode), FailureMode)
            )
        is_share = type(threshold) is float and 0.0 <= threshold <= 1.0
        is_count = type(threshold) is int and threshold >= 0
        if threshold is not None and not (is_share or is_count):
            raise ScatterOptionError(
                "failure_threshold",
                threshold,
                hint="Give a count of at least 0, or a float between 0.0 and 1.0 for a share.",
            )
        return cls(threshold=threshold, mode=FailureMode(mode))

    def decide(self, *, sealed: bool, total: int, completed: int, failed: int) -> BarrierStatus:
        """Return what is to be said of a barrier about which nothing was decided yet."""
        limit = self._limit(total, sealed=sealed)
        if limit is not None and failed > limit:
            return BarrierStatus.THRESHOLD_EXCEEDED
        if not sealed or completed + failed < total:
            return BarrierStatus.PENDING
        if failed and self.mode is FailureMode.ALL_OR_NOTHING:
            return BarrierStatus.FAILED
        return BarrierStatus.COMPLETE

    def _limit(self, total: int, *, sealed: bool) -> int | None:
        if self.threshold is None:
            return 0 if self.mode is FailureMode.ALL_OR_NOTHING else None
        if isinstance(self.threshold, int):
            return self.threshold
        # As it is spelled: 0.29 of 100 are 29 and not a little less.
        return floor(Decimal(repr(self.threshold)) * total) if sealed else None


@runtime_checkable
class ScatterCoordinator(Protocol):
    """Keeps the barriers of scatters.

    Each call is one transaction over the keys, the reader's checkpoint and the counters. Every
    method may suspend and be cancelled. Every method may raise a `StorageError` when the medium
    fails; then the call has not happened, unless the error says otherwise. Where a key is
    taken, a `ScatterKey` may be given instead of its value.

    SC-1  A run, an asset and a partition have one barrier: creating it again gives the same id
      and changes nothing.
    SC-2  Barriers of other runs, assets or partitions are apart, however alike they are spelled.
    SC-3  A barrier is created with all its keys or not at all.
    SC-4  A key that is inserted again is the same key, in whatever order its mappings name
      things; it is counted as a duplicate.
    SC-5  Keys that differ in value or in type are different ones.
    SC-6  An insertion answers which keys it has added, in order.
    SC-7  A barrier is never complete before it is sealed; once it is and no key is pending, it is.
    SC-8  A sealed barrier refuses new keys with `BarrierSealedError` and stays as it is; keys
      that it has are taken again.
    SC-9  The first outcome of a key stays; any other changes nothing.
    SC-10  Each outcome is answered with the status of the barrier after it.
    SC-11  An outcome of a key that the barrier does not have raises `UnknownScatterKeyError`;
      nothing of the call is kept.
    SC-12  Results are gathered whole and of the same types, in the order of insertion, those of
      failed keys left out; an incomplete barrier raises `BarrierNotCompleteError`.
    SC-13  The outcomes of one `record` are kept all or not at all.
    SC-14  A threshold that is a count is exceeded by more failures, not reached by as many.
    SC-15  A threshold that is a share is one of all keys, judged once the barrier is sealed.
    SC-16  What was decided stays, whatever outcomes follow; they are kept and counted.
    SC-17  In the mode `partial` failures below the threshold leave the scatter complete; in
      `all_or_nothing` they fail it in the end, and without a threshold the first one exceeds it.
    SC-18  Cancelling ends what is pending; a later outcome is ignored and counted once per key.
    SC-19  Cancelling what is decided leaves the decision, and cancelling twice is no error.
    SC-20  A barrier that was cancelled or whose threshold was exceeded adds no more keys.
    SC-21  The counts of a barrier add up and are exact, also when calls are made at once.
    SC-22  A barrier that is not there raises `BarrierNotFoundError`.
    SC-23  A cancelled call has happened completely or not at all.
    SC-24  What is kept does not change with the objects it was given as or is handed out as.
    SC-25  A key, result or error that cannot be stored raises, and nothing of the call is kept.
    SC-26  An option that means nothing raises `ScatterOptionError`.
    SC-27  After `aclose`, which may be called again, every call raises `StorageClosedError`.
    SC-28  What the coordinator declares as `capabilities` is what it can do beyond this.
    """

    async def create_barrier(
        self,
        run_id: UUID | str,
        asset_name: str,
        partition: Partition,
        *,
        keys: Iterable[Any] = (),
        sealed: bool = True,
        checkpoint: Any = None,
        failure_threshold: float | None = None,
        failure_mode: str = "all_or_nothing",
    ) -> str:
        """Create the barrier of a scatter with its first keys and return its id.

        Idempotent. A cancelled call may or may not have happened; repeating it is safe.

        Args:
            run_id: The run; ids of its barriers are its own.
            asset_name: The asset that is scattered.
            partition: None for an asset without partitions.
            keys: Its keys, or the first of them.
            sealed: Whether these are all.
            checkpoint: How far the reader of the keys has come.
            failure_threshold: See `FailurePolicy.threshold`.
            failure_mode: `partial` or `all_or_nothing`.

        Raises:
            PartitionError: *partition* cannot name one.
            ScatterOptionError: An option has a value that means nothing.
            CodecError: A key or the checkpoint cannot be stored.
        """
        ...

    async def insert_results(
        self,
        barrier_id: str,
        keys: Iterable[Any],
        *,
        checkpoint: Any = None,
        sealed: bool = False,
    ) -> Insertion:
        """Add the *keys* that the barrier does not have, whose results are to come.

        Idempotent but for the count of duplicates. A cancelled call may or may not have
        happened; repeating it is safe.

        Args:
            barrier_id: The barrier.
            keys: A page of keys.
            checkpoint: How far the reader has come with them; None leaves what there is.
            sealed: Whether these were the last.

        Raises:
            BarrierNotFoundError: There is no such barrier.
            BarrierSealedError: It is sealed, and some keys are new.
            CodecError: A key or the checkpoint cannot be stored.
        """
        ...

    async def complete(self, barrier_id: str, key: Any, result: Any) -> BarrierStatus:
        """Keep *result* as the outcome of *key* unless it has one; as `record` does.

        Raises:
            BarrierNotFoundError: There is no such barrier.
            UnknownScatterKeyError: It has no such key.
            CodecError: *result* cannot be stored.
        """
        ...

    async def fail(self, barrier_id: str, key: Any, error: Any) -> BarrierStatus:
        """Keep *error* as the outcome of *key* unless it has one; as `record` does.

        Raises:
            BarrierNotFoundError: There is no such barrier.
            UnknownScatterKeyError: It has no such key.
            CodecError: *error* is no exception and cannot be stored.
        """
        ...

    async def record(
        self,
        barrier_id: str,
        *,
        completed: Iterable[tuple[Any, Any]] = (),
        failed: Iterable[tuple[Any, Any]] = (),
    ) -> BarrierStatus:
        """Keep many outcomes at once and return how far the barrier has come.

        Idempotent. A cancelled call may or may not have happened; repeating it is safe.

        Args:
            barrier_id: The barrier.
            completed: Keys with their results.
            failed: Keys with their errors; exceptions are kept as `error_as_value` tells them.

        Raises:
            BarrierNotFoundError: There is no such barrier.
            UnknownScatterKeyError: It lacks one of the keys.
            CodecError: A result or an error cannot be stored.
        """
        ...

    async def gather(self, barrier_id: str) -> ScatterResults:
        """Return the results by key.

        Changes nothing, however it ends.

        Raises:
            BarrierNotFoundError: There is no such barrier.
            BarrierNotCompleteError: It is not complete, or never will be.
        """
        ...

    async def cancel(self, barrier_id: str) -> None:
        """End every key that is pending.

        Idempotent. A cancelled call may or may not have happened; repeating it is safe.

        Raises:
            BarrierNotFoundError: There is no such barrier.
        """
        ...

    async def status(self, barrier_id: str) -> BarrierState:
        """Return how far the barrier has come, and its counts.

        Changes nothing, however it ends.

        Raises:
            BarrierNotFoundError: There is no such barrier.
        """
        ...


class KeyClaims(Protocol):
    """The capability `claims`: pending keys are worked on by many, each key by one at a time.

    SC-29  [claims] A pending key is claimed by one worker at a time, in the order of insertion,
      at most as many as asked for.
    SC-30  [claims] A claim that was not renewed in time is free for others, and so is one that
      was released; a key with an outcome is never claimed.
    SC-31  [claims] Renewing answers which of the keys the worker still has.
    SC-32  [claims] Claims made at once never give one key to two.
    """

    async def claim(
        self, barrier_id: str, worker: str, *, limit: int = 1, lease: float = 60.0
    ) -> Sequence[ScatterKey]:
        """Give *worker* at most *limit* keys that are pending and nobody's, for *lease* seconds.

        Not idempotent: each call gives others. Keys given by a cancelled call are free when
        their lease ends, or when the worker releases all it has.

        Raises:
            BarrierNotFoundError: There is no such barrier.
        """
        ...

    async def renew(
        self, barrier_id: str, worker: str, keys: Iterable[Any], *, lease: float = 60.0
    ) -> Sequence[ScatterKey]:
        """Prolong the worker's claims to *lease* seconds from now; return the keys it still has.

        A claim whose time is over and that nobody else has taken is prolonged, too. Idempotent.

        Raises:
            BarrierNotFoundError: There is no such barrier.
        """
        ...

    async def release(self, barrier_id: str, worker: str, keys: Iterable[Any] | None = None) -> int:
        """Give back the worker's claims of *keys*, or all; return how many it had of them.

        Idempotent. A cancelled call may or may not have happened; repeating it is safe.

        Raises:
            BarrierNotFoundError: There is no such barrier.
        """
        ...


class ReaderCheckpoints(Protocol):
    """The capability `checkpoint`: remembers how far the reader of the keys has come.

    SC-33  [checkpoint] The checkpoint is the one given with the last insertion that gave one:
      never with keys that are not there, never behind keys that are.
    """

    async def checkpoint(self, barrier_id: str) -> Any:
        """Return the checkpoint of the barrier's reader, or None.

        Changes nothing, however it ends.

        Raises:
            BarrierNotFoundError: There is no such barrier.
        """
        ...


class ResultPages(Protocol):
    """The capability `pages`: gives outcomes page by page, so that they need not fit into memory.

    SC-34  [pages] Pages give each completed key with its result, or each failed one with its
      error, once, in the order of insertion, whatever the status; none is larger than asked for.
    """

    def gather_pages(
        self, barrier_id: str, page_size: int = 1000, *, failed: bool = False
    ) -> AsyncIterator[Sequence[tuple[Any, Any]]]:
        """Return an iterator over pages of keys and results, or of keys and errors.

        It may be left at any page. Raises when it is first asked for a page.

        Raises:
            BarrierNotFoundError: There is no such barrier.
            ScatterOptionError: *page_size* is less than 1.
        """
        ...


class BarrierDeletion(Protocol):
    """The capability `deletion`: forgets barriers.

    SC-35  [deletion] A barrier that was deleted is gone with its keys and outcomes, and can be
      created anew; deleting answers whether it was there.
    SC-36  [deletion] Deleting a run's barriers deletes all of them and no other's.
    """

    async def delete_barrier(self, barrier_id: str) -> bool:
        """Forget the barrier; return whether it was there.

        Idempotent. A cancelled call may or may not have happened; repeating it is safe.
        """
        ...

    async def delete_run(self, run_id: UUID | str) -> int:
        """Forget every barrier of the run; return how many there were.

        Idempotent. A cancelled call may or may not have happened; repeating it is safe.
        """
        ...
