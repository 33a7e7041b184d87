"""Barriers of scatters as rows: what one of them tells."""

from __future__ import annotations

import json
from typing import Self

import attrs

from stageflow.contracts.scatter_coordinator import (
    BarrierNotFoundError,
    BarrierState,
    BarrierStatus,
    FailureMode,
    FailurePolicy,
)
from stageflow_io_postgres.database import Row

__all__ = ("Barrier",)


@attrs.frozen(kw_only=True)
class Barrier:
    """A barrier as its row and its counts were at one moment."""

    seq: int
    id: str
    policy: FailurePolicy
    noted: BarrierStatus
    sealed: bool
    total: int
    completed: int
    failed: int
    cancelled: int
    late: int
    duplicates: int
    next_number: int
    checkpoint: bytes = attrs.field(repr=False)

    @classmethod
    def of(cls, row: Row | None, barrier_id: str) -> Self:
        """Return what a row of the query `look` tells.

        Raises:
            BarrierNotFoundError: There is none.
        """
        if row is None:
            raise BarrierNotFoundError(barrier_id)
        counts = ("total", "completed", "failed", "cancelled", "late", "duplicates")
        return cls(
            seq=row["seq"],
            id=barrier_id,
            policy=FailurePolicy(
                threshold=json.loads(row["threshold"]), mode=FailureMode(row["mode"])
            ),
            noted=BarrierStatus(row["status"]),
            sealed=row["sealed"],
            next_number=row["next_number"],
            checkpoint=row["checkpoint"],
            **{name: row[name] for name in counts},
        )

    @property
    def status(self) -> BarrierStatus:
        """How far it has come, whether that was noted or not."""
        if self.noted is not BarrierStatus.PENDING:
            return self.noted
        return self.policy.decide(
            sealed=self.sealed, total=self.total, completed=self.completed, failed=self.failed
        )

    def state(self, claimed: int) -> BarrierState:
        """Return what anybody may know of it."""
        return BarrierState(
            status=self.status,
            total=self.total,
            completed=self.completed,
            failed=self.failed,
            cancelled=self.cancelled,
            claimed=claimed,
            late=self.late,
            duplicates=self.duplicates,
            sealed=self.sealed,
        )
