"""Backfill: many partitions of an asset, batch by batch, with progress and a summary.

Partitions are read as they are needed: of a hundred thousand, one batch is in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import attrs

from stageflow._engine.announce import Listener
from stageflow.assets.declaration import Asset
from stageflow.assets.errors import BackfillFailedError, UnknownPartitionError
from stageflow.assets.execution import AssetRun, facts_of
from stageflow.assets.partitions import same_key
from stageflow.assets.survey import Step
from stageflow.runtime import RunOutcome
from stageflow.stages import StageStatus

if TYPE_CHECKING:
    from stageflow.assets.store import AssetStore

__all__ = ("Backfill", "BackfillFailure", "BackfillProgress", "BackfillSummary", "batches")

_SMALLEST: Final = 64
_MOST_FAILURES: Final = 100
_ENDS: Final = frozenset({"stage.completed", "stage.failed", "stage.skipped", "stage.cancelled"})


@attrs.frozen(kw_only=True)
class BackfillProgress:
    """How far a backfill is.

    Attributes:
        asset: The asset.
        total: How many partitions were asked for; None if nobody knows.
        done: How many of them are decided.
        materialized: How many were materialized.
        skipped: How many were fresh already, or were skipped.
        failed: How many failed.
        elapsed_seconds: Time since it began.
        remaining_seconds: An estimate of what is left; None where there is none.
    """

    asset: str
    total: int | None
    done: int
    materialized: int
    skipped: int
    failed: int
    elapsed_seconds: float
    remaining_seconds: float | None


@attrs.frozen(kw_only=True)
class BackfillFailure:
    """A partition that could not be made.

    Attributes:
        partition: The partition.
        error: What went wrong.
        run_id: The run, under which its record is found.
    """

    partition: Any
    error: str
    run_id: str


@attrs.frozen(kw_only=True)
class BackfillSummary:
    """What came of a backfill.

    Attributes:
        asset: The asset.
        total: How many partitions were decided.
        materialized: How many were materialized.
        skipped: How many were fresh already, or were skipped.
        failed: How many failed.
        failures: The first hundred of these.
        cancelled: Whether it was stopped before its end.
        duration_ms: How long it took.
        runs: How many runs it took.
    """

    asset: str
    total: int
    materialized: int
    skipped: int
    failed: int
    failures: tuple[BackfillFailure, ...] = attrs.field(default=(), repr=False)
    cancelled: bool = False
    duration_ms: float
    runs: int

    def raise_for_status(self) -> None:
        """Raise if partitions failed; do nothing otherwise.

        Raises:
            BackfillFailedError: If some did.
        """
        if self.failed:
            first = f"{self.failures[0].partition}: {self.failures[0].error}"
            raise BackfillFailedError(self.asset, self.failed, self.total, first)


def batches(partitions: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield the partitions in lists of *size*, reading each list when it is asked for."""
    left = iter(partitions)
    while batch := list(islice(left, size)):
        yield batch


class Backfill:
    """One backfill under way; the parameters are those of `AssetStore.backfill`."""

    def __init__(
        self,
        store: AssetStore,
        asset: Asset,
        partitions: Iterable[Any] | None,
        *,
        parallel: int,
        skip_existing: bool,
        with_deps: bool,
        batch_size: int | None,
        on_progress: Callable[[BackfillProgress], object] | None,
        listeners: Sequence[Listener],
    ) -> None:
        if asset.partitions is None:
            raise UnknownPartitionError(
                asset.name, None, "it has none at all", hint="Use materialize for it."
            )
        if parallel < 1:
            raise ValueError(f"parallel must be at least 1, not {parallel}.")
        chosen = asset.partitions if partitions is None else partitions
        self._store = store
        self._asset = asset
        self._partitions = chosen
        self._total = len(chosen) if isinstance(chosen, Sized) else None
        self._parallel = parallel
        self._skip_existing = skip_existing
        self._with_deps = with_deps
        self._size = batch_size or max(_SMALLEST, 8 * parallel)
        self._on_progress = on_progress
        self._listeners = tuple(listeners)
        self._began = store.clock.monotonic()
        self._materialized = self._skipped = self._failed = self._runs = 0
        self._under_way = 0
        self._failures: list[BackfillFailure] = []

    async def execute(self) -> BackfillSummary:
        """Make the partitions and return what came of it."""
        self._tell("asset.backfill_started")
        cancelled = False
        for batch in batches(self._partitions, self._size):
            cancelled = await self._make(batch)
            self._tell("asset.backfill_progress", self._times())
            if cancelled:
                break
        took = (self._store.clock.monotonic() - self._began) * 1000.0
        self._tell("asset.backfill_completed", {"duration_ms": took})
        return BackfillSummary(
            asset=self._asset.name,
            total=self._done,
            materialized=self._materialized,
            skipped=self._skipped,
            failed=self._failed,
            failures=tuple(self._failures),
            cancelled=cancelled,
            duration_ms=took,
            runs=self._runs,
        )

    async def _make(self, batch: list[Any]) -> bool:
        """Make a batch; return whether it was cancelled."""
        survey = await self._store.survey((self._asset, each) for each in batch)
        keys = dict.fromkeys(same_key(each) for each in batch)
        found = [survey.steps[self._asset.name, key] for key in keys]
        fresh = [step for step in found if step.is_fresh] if self._skip_existing else []
        for step in fresh:
            facts = {**facts_of(step), "reason": "fresh"}
            self._store.tell("asset.skipped", facts, self._listeners)
        self._skipped += len(fresh) + len(batch) - len(found)
        targets = [step for step in found if not (self._skip_existing and step.is_fresh)]
        self._progress()
        if not targets:
            return False
        labels = {step.label for step in targets}
        outcome, run = await self._store.run_steps(
            survey,
            targets,
            force=not self._skip_existing,
            with_deps=self._with_deps,
            max_concurrency=self._parallel,
            listeners=(*self._listeners, self._follow(labels)),
        )
        self._runs += 1
        self._under_way = 0
        for step in targets:
            self._count(step, outcome, run)
        self._progress()
        return outcome.status == "cancelled"

    def _follow(self, labels: set[str]) -> Listener:
        def follow(type: str, facts: dict[str, Any]) -> None:
            if type in _ENDS and facts["stage"] in labels:
                self._under_way += 1
                self._progress()

        return follow

    def _count(self, step: Step, outcome: RunOutcome, run: AssetRun) -> None:
        output = outcome.outputs[run.names[step.id]]
        why = outcome.results[run.names[step.id]].metadata.get("failed_dependency")
        if output.status is StageStatus.OK:
            is_new = output.data["state"] == "materialized"
            self._materialized += is_new
            self._skipped += not is_new
        elif output.status is StageStatus.SKIP and why is None:
            self._skipped += 1
        elif output.status is not StageStatus.CANCEL:
            self._failed += 1
            if len(self._failures) < _MOST_FAILURES:
                error = output.error or f"{why} failed: {outcome.outputs[str(why)].error}"
                run_id = str(outcome.run_id)
                failure = BackfillFailure(partition=step.partition, error=error, run_id=run_id)
                self._failures.append(failure)

    @property
    def _done(self) -> int:
        return self._materialized + self._skipped + self._failed

    def _progress(self) -> None:
        if self._on_progress is None:
            return
        times = self._times()
        left = times["remaining_ms"]
        self._on_progress(
            BackfillProgress(
                asset=self._asset.name,
                total=self._total,
                done=self._done + self._under_way,
                materialized=self._materialized,
                skipped=self._skipped,
                failed=self._failed,
                elapsed_seconds=times["elapsed_ms"] / 1000.0,
                remaining_seconds=None if left is None else left / 1000.0,
            )
        )

    def _times(self) -> dict[str, Any]:
        elapsed = (self._store.clock.monotonic() - self._began) * 1000.0
        done = self._done + self._under_way
        # What is skipped costs next to nothing, and would make the rest look quick.
        worked = done - self._skipped
        remaining = None
        if self._total is not None and worked > 0:
            remaining = elapsed / worked * max(0, self._total - done)
        return {"elapsed_ms": elapsed, "remaining_ms": remaining}

    def _tell(self, type: str, facts: dict[str, Any] | None = None) -> None:
        counts = {
            "asset": self._asset.name,
            "total": self._total,
            "done": self._done,
            "materialized": self._materialized,
            "skipped": self._skipped,
            "failed": self._failed,
        }
        self._store.tell(type, {**counts, **(facts or {})}, self._listeners)
