"""Journal: what a run commits, so that it can go on elsewhere, and what it had committed before.

A `Ledger` writes for one run and all the runs below it, under one lease: what is committed at
the same time goes into one transaction. A `Journal` is the part of it that belongs to one of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote
from uuid import UUID, uuid5

import anyio

from stageflow._engine.outcomes import Outcome
from stageflow.codec import Codec
from stageflow.contracts.checkpoints import CheckpointEntry, LeaseLostError, RunLease
from stageflow.contracts.clock import Clock
from stageflow.contracts.run_store import RunEvent, RunStatus
from stageflow.contracts.storage import StorageError
from stageflow.errors import RunError

if TYPE_CHECKING:
    from stageflow._engine.waiting import Waits

__all__ = ("Journal", "Ledger", "NotDurableError")

T = TypeVar("T")

_TRIES: Final = 5
_FIRST_DELAY: Final = 0.05
_ENDS: Final = "ends"
_CLEANED: Final = "cleaned"
_TURN: Final = "turn"


class NotDurableError(RunError):
    """A stage asked for something that only a run with a store can give."""

    code = "SF351"

    def __init__(self, stage: str, wanted: str) -> None:
        super().__init__(
            f"Stage {stage!r} {wanted}, but nothing is kept of its run.",
            hint="Run it in a Runtime whose run store keeps checkpoints, such as the built-in ones"
            " 'memory' and 'sqlite'.",
        )
        self.stage = stage


class Ledger:
    """Writes for one run and the runs below it.

    Args:
        store: A run store that keeps checkpoints.
        lease: The right to write.
        clock: Source of time.
        take_events: Gives the events that are to be logged and were not given before.
        codec: Writes values as bytes; the default one unless given.

    Attributes:
        keys: What is kept or about to be until a stage ends, or the run.
        below: Of these, what belongs to runs below, by the prefix of the stage that starts them.
        on_lost: Is told why nothing can be kept any more; the run sets it.
        ends: How often the run has ended without success.
        turn: How often the run was begun or gone on with, this time included; whoever took it
            over and did nothing does not count, so it may be less than the token of the lease.
        cleaned: The last turn in which all clean-ups were run that were registered.
    """

    def __init__(
        self,
        store: Any,
        lease: RunLease,
        *,
        clock: Clock,
        take_events: Callable[[], Sequence[RunEvent]] = tuple,
        codec: Codec | None = None,
    ) -> None:
        self.store = store
        self.lease = lease
        self.clock = clock
        self.codec = codec or Codec.default()
        self._take_events = take_events
        self.keys: set[str] = set()
        self.below: dict[str, set[str]] = {}
        self._entries: dict[str, CheckpointEntry] = {}
        self._removed: dict[str, None] = {}
        self._asked = 0
        self._kept = 0
        self._turn = anyio.Lock(fast_acquire=True)
        self.on_lost: Callable[[Exception], object] | None = None
        self.ends = 0
        self.turn = 1
        self.cleaned = 0

    async def load(self, page_size: int = 5000) -> dict[str, bytes]:
        """Return what had been committed, by key.

        Raises:
            StorageError: If it cannot be read.
            CodecError: If it cannot be understood.
        """
        known: dict[str, bytes] = {}
        after = 0
        while True:
            page = await self.store.load_entries(self.lease.run_id, after=after, limit=page_size)
            for entry in page:
                known[entry.key] = entry.value
            if len(page) < page_size:
                break
            after = page[-1].number
        self.ends, self.cleaned, turn = (
            int(self.codec.decode(known.pop(key))) if key in known else default
            for key, default in ((_ENDS, 0), (_CLEANED, 0), (_TURN, 1))
        )
        self.turn = turn + 1
        for key in known:
            if _is_passing(key):
                self.keys.add(key)
                for prefix in _prefixes_above(key):
                    self.below.setdefault(prefix, set()).add(key)
        return known

    def lose(self, error: Exception) -> None:
        """Have the run stop: what happens from now on cannot be kept."""
        if self.on_lost is not None:
            self.on_lost(error)

    def add(self, key: str, value: bytes) -> None:
        """Have *value* kept under *key* with the next commit."""
        if _is_passing(key):
            self.keys.add(key)
        self._entries[key] = CheckpointEntry(key=key, value=value)
        self._removed.pop(key, None)
        self._asked += 1

    def remove(self, keys: Iterable[str]) -> None:
        """Have nothing kept under *keys* from the next commit on."""
        for key in keys:
            self.keys.discard(key)
            self._entries.pop(key, None)
            self._removed[key] = None
        self._asked += 1

    def note_turn(self) -> None:
        """Have it kept with the next commit that the run goes on now, or begins."""
        if self.turn > 1:
            self.add(_TURN, self.codec.encode(self.turn))

    def note_cleaned(self) -> None:
        """Have it kept with the next commit that no clean-up is left to run."""
        self.add(_CLEANED, self.codec.encode(self.turn))

    def forget_cleaned(self) -> None:
        """Have it kept with the next commit that there may be clean-ups left, after all."""
        self.add(_CLEANED, self.codec.encode(self.cleaned))

    def note_end(self, *, succeeded: bool) -> None:
        """Have it kept with the next commit that the run has ended.

        Whoever did not succeed is given all attempts again, should the run be taken up again.
        """
        if succeeded:
            return
        self.note_cleaned()
        self.ends += 1
        self.add(_ENDS, self.codec.encode(self.ends))
        gone = [key for key in self.keys if _kind_of(key) in ("failures", "guard")]
        if gone:
            self.remove(gone)

    def remove_below(self, prefix: str) -> Collection[str]:
        """Have nothing kept any more of the runs whose keys begin with *prefix*; return them."""
        gone = self.below.pop(prefix, ())
        if gone:
            self.remove(gone)
        return gone

    async def commit(
        self, *, status: RunStatus | None = None, facts: dict[str, Any] | None = None
    ) -> None:
        """Return once all that was added is kept; what others add meanwhile goes along.

        Raises:
            LeaseLostError: If the run belongs to somebody else now.
            StorageError: If the store fails for good; all of it may be tried again.
        """
        wanted = self._asked
        async with self._turn:
            if self._kept >= wanted and status is None:
                return
            wanted = self._asked
            entries, self._entries = self._entries, {}
            removed, self._removed = self._removed, {}
            events = self._take_events()
            try:
                await self._write(entries.values(), removed, events, status, facts)
            except BaseException as error:
                # What was added or removed meanwhile is newer.
                for key, entry in entries.items():
                    if key not in self._entries and key not in self._removed:
                        self._entries[key] = entry
                self._removed = removed | self._removed
                if isinstance(error, StorageError | LeaseLostError):
                    self.lose(error)
                raise
            self._kept = wanted

    async def log(self) -> None:
        """Return once the events of the run are logged that were not before.

        Raises:
            LeaseLostError: If the run belongs to somebody else now.
            StorageError: If the store fails for good; the events are lost.
        """
        async with self._turn:
            events = self._take_events()
            if events:
                await self._write((), (), events, None, None)

    async def _write(
        self,
        entries: Iterable[CheckpointEntry],
        removed: Iterable[str],
        events: Sequence[RunEvent],
        status: RunStatus | None,
        facts: dict[str, Any] | None,
    ) -> None:
        await self.persist(
            lambda: self.store.commit(
                self.lease, entries, removed=removed, events=events, status=status, facts=facts
            )
        )

    async def persist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return what *call* returns, called again if the store fails for the moment only.

        Raises:
            StorageError: If it fails for good.
        """
        delay = _FIRST_DELAY
        for left in reversed(range(_TRIES)):
            try:
                # Nobody may give up half-way: whether it has happened would not be known.
                with anyio.CancelScope(shield=True):
                    return await call()
            except StorageError as error:
                if not left or not error.retryable:
                    raise
            await self.clock.sleep(delay)
            delay *= 2
        raise AssertionError  # the last try returns or raises


class Journal:
    """What one run commits and had committed; `child` gives that of a run below it.

    Args:
        ledger: Writes it.
        run_id: The run.
        known: What had been committed, by key, of this run and those below it; it is used up.
        eager: Whether a stage's dependants wait until its outcome is committed; else it is
            committed at the end of the run.
        waits: What its stages wait for.
        prefix: Begins all keys of this run.
        above: The prefixes of all runs that the stages above it start.
        ready_in: The turn in which the run may have begun.
        is_over: Whether the run has completed, so that nothing of it is to run.
        told: The stages whose ends are in the event log; None if all that ended are.
    """

    def __init__(
        self,
        ledger: Ledger,
        run_id: UUID,
        *,
        known: dict[str, bytes],
        eager: bool,
        waits: Waits,
        prefix: str = "",
        above: tuple[str, ...] = (),
        ready_in: int = 1,
        is_over: bool = False,
        told: Container[str] | None = None,
    ) -> None:
        self.ledger = ledger
        self.run_id = run_id
        self.eager = eager
        self.waits = waits
        self.prefix = prefix
        self.ready_in = ready_in
        self.is_over = is_over
        self._known = known
        self._above = above
        self._told = told
        self.resumes = self._has_been_here(above[-1]) if above else ledger.turn > 1
        self._children: dict[str, int] = {}

    @property
    def turn(self) -> int:
        """How often the run was begun or gone on with, this time included."""
        return self.ledger.turn

    # What had been committed.

    @property
    def knows_anything(self) -> bool:
        """Whether something may have been committed before."""
        return bool(self._known)

    def is_untold(self, stage: str) -> bool:
        """Say whether it was kept how *stage* ended, but not told."""
        return self._told is not None and stage not in self._told

    def outcome_of(self, stage: str) -> Outcome | None:
        """Return how *stage* ended before, if it did; asked once by the outermost run."""
        key = f"{self.prefix}stage/{stage}"
        # A run below is restored once more when the stage that started it has left to wait.
        value = self._known.get(key) if self._above else self._known.pop(key, None)
        return None if value is None else Outcome.from_plain(self.ledger.codec.decode(value))

    def failures_of(self, stage: str) -> int:
        """Return how many attempts of *stage* had failed, of which another was to follow."""
        return int(self._decoded(f"failures/{stage}", 0))

    def guard_state_of(self, guard: str) -> dict[str, Any] | None:
        """Return what was remembered about *guard*."""
        return self._decoded(f"guard/{guard}", None)  # type: ignore[no-any-return]

    def rounds_of(self, guard: str) -> dict[str, int]:
        """Return how often *guard* had sent the run back to, or behind, each stage."""
        return self._decoded(f"rounds/{guard}", {})  # type: ignore[no-any-return]

    def _decoded(self, key: str, default: Any) -> Any:
        value = self._known.get(self.prefix + key)
        return default if value is None else self.ledger.codec.decode(value)

    # What is to be committed.

    def encode(self, stage: str, outcome: Outcome) -> bytes:
        """Return *outcome* as bytes.

        Raises:
            CodecError: If something in it cannot be stored; says what.
        """
        return self.ledger.codec.encode(outcome.to_plain(), where=f"the outcome of stage {stage!r}")

    def add_outcome(self, stage: str, encoded: bytes) -> None:
        """Have it kept with the next commit how *stage* ended; what runs below did, no more."""
        self._add(f"stage/{stage}", encoded)
        if self.ledger.keys:
            kinds = ("failures", "guard", "rounds")
            gone = [f"{self.prefix}{kind}/{stage}" for kind in kinds]
            if not self.ledger.keys.isdisjoint(gone):
                self.ledger.remove(gone)
        if not self.ledger.below:
            return
        gone_below = self.ledger.remove_below(self._prefix_below(stage))
        for key in gone_below:
            self._known.pop(key, None)
        for above in self._above if gone_below else ():
            self.ledger.below.get(above, set()).difference_update(gone_below)

    def add_failures(self, stage: str, failures: int) -> None:
        """Have it kept with the next commit that another attempt of *stage* failed."""
        self._add(f"failures/{stage}", self.ledger.codec.encode(failures))

    def add_guard_state(self, guard: str, state: Mapping[str, Any]) -> None:
        """Have it kept with the next commit how often *guard* sent the run back.

        How often it did in all is kept even if all attempts are given again, so that nobody takes
        what is done then for what was refused. What it sent back has no failures any more.
        """
        encode = self.ledger.codec.encode
        state = dict(state)
        rounds = state.pop("rounds")
        if state:
            self._add(f"guard/{guard}", encode(state))
        self._add(f"rounds/{guard}", encode(rounds))
        failures = [f"{self.prefix}failures/{stage}" for stage in rounds]
        gone = self.ledger.keys.intersection(failures)
        if gone:
            self.ledger.remove(gone)
            for key in gone:
                self._known.pop(key, None)

    def _add(self, key: str, value: bytes) -> None:
        key = self.prefix + key
        for below in self._above:
            self.ledger.below.setdefault(below, set()).add(key)
        if self._above:
            # The stage that started this run may leave to wait, and start it again here.
            self._known[key] = value
        self.ledger.add(key, value)

    # The runs below.

    def child(self, stage: str, execution: str, *, ready_in: int) -> Journal:
        """Return the journal of the next run that *stage* starts in this *execution* of it.

        Args:
            stage: The stage.
            execution: Names what the stage does now; the same after it was interrupted.
            ready_in: The turn in which that may have begun.
        """
        below = self._prefix_below(stage)
        execution = f"{below}{quote(execution, safe='')}"
        number = self._children[execution] = self._children.get(execution, 0) + 1
        prefix = f"{execution}.{number}/"
        return Journal(
            self.ledger,
            uuid5(self.run_id, prefix),
            known=self._known,
            eager=self.eager,
            waits=self.waits,
            prefix=prefix,
            above=(*self._above, below),
            ready_in=ready_in,
        )

    def restart(self, stage: str, execution: str) -> None:
        """Count the runs that *stage* starts anew: this *execution* of it begins once more."""
        self._children.pop(f"{self._prefix_below(stage)}{quote(execution, safe='')}", None)

    def _has_been_here(self, below: str) -> bool:
        return any(key.startswith(self.prefix) for key in self.ledger.below.get(below, ()))

    def _prefix_below(self, stage: str) -> str:
        return f"{self.prefix}child/{quote(stage, safe='')}/"


def _is_passing(key: str) -> bool:
    """Say whether what is kept under *key* is neither a fact of the run nor the end of a stage."""
    return "/" in key and not key.startswith("stage/")


def _kind_of(key: str) -> str:
    parts = key.split("/")
    at = 0
    while parts[at] == "child" and len(parts) > at + 3:
        at += 3
    return parts[at]


def _prefixes_above(key: str) -> Iterable[str]:
    """Yield the prefix of each run above the one whose *key* this is, and of its own."""
    parts = key.split("/")
    at = 0
    while len(parts) > at + 3 and parts[at] == "child":
        yield "/".join(parts[: at + 2]) + "/"
        at += 3
