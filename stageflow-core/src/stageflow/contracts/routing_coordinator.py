"""RoutingCoordinator: which branch a router chose, so that it is asked only once."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Protocol, runtime_checkable
from uuid import UUID

import attrs

from stageflow.contracts.contract import Contract
from stageflow.contracts.partitions import Partition
from stageflow.errors import RunError

__all__ = (
    "CONTRACT",
    "DecisionIdNotFoundError",
    "DecisionNotFoundError",
    "DecisionRetention",
    "RoutingCoordinator",
    "RoutingCoordinatorCapabilities",
    "RoutingCoordinatorError",
)

CONTRACT: Final = Contract("routing_coordinator", "1.0")


@attrs.frozen(kw_only=True)
class RoutingCoordinatorCapabilities:
    """What a coordinator can do beyond the contract's three methods.

    Attributes:
        retention: It is a `DecisionRetention`.
    """

    retention: bool = False

    @classmethod
    def of(cls, coordinator: object) -> RoutingCoordinatorCapabilities:
        """Return what *coordinator* declares as `capabilities`; nothing if it declares none."""
        declared = getattr(coordinator, "capabilities", None)
        return declared if isinstance(declared, RoutingCoordinatorCapabilities) else cls()


class RoutingCoordinatorError(RunError):
    """A routing coordinator refused a call."""

    code = "SF471"


class DecisionNotFoundError(RoutingCoordinatorError):
    """The router has not decided yet for this run and partition.

    Attributes:
        run_id: The run.
        router_asset: The router.
        partition: The partition.
    """

    code = "SF472"

    def __init__(self, run_id: UUID | str, router_asset: str, partition: Any) -> None:
        where = f"run {str(run_id)!r}"
        if partition is not None:
            where = f"partition {partition!r:.100} in {where}"
        super().__init__(
            f"Router {router_asset!r} has no decision for {where}.",
            hint="Have it decide and record that; old decisions may have been pruned.",
        )
        self.run_id = run_id
        self.router_asset = router_asset
        self.partition = partition


class DecisionIdNotFoundError(RoutingCoordinatorError):
    """No decision has this id."""

    code = "SF473"

    def __init__(self, decision_id: str) -> None:
        super().__init__(
            f"There is no decision {decision_id!r}.",
            hint="`record` returns the id; old decisions may have been pruned.",
        )
        self.decision_id = decision_id


@runtime_checkable
class RoutingCoordinator(Protocol):
    """Keeps the decisions of routers.

    Each call is one transaction. Every method may suspend and be cancelled. Every method may
    raise a `StorageError` when the medium fails; then the call has not happened, unless the
    error says otherwise.

    RC-1  A decision that was recorded is found, also the decision for no branch.
    RC-2  Where nothing was decided, `get` raises `DecisionNotFoundError`.
    RC-3  The first decision stays: recording another gives the first one's id and changes nothing.
    RC-4  Of decisions recorded at once one stays, and all get its id.
    RC-5  Decisions of other runs, routers or partitions are apart, however alike they are spelled.
    RC-6  As an output, a decision tells its id, run, router, partition, route, reason and time.
    RC-7  An id that no decision has raises `DecisionIdNotFoundError`.
    RC-8  A cancelled call has happened completely or not at all.
    RC-9  After `aclose`, which may be called again, every call raises `StorageClosedError`.
    RC-10  What the coordinator declares as `capabilities` is what it can do beyond this.
    """

    async def record(
        self,
        run_id: UUID | str,
        router_asset: str,
        partition: Partition,
        selected_branch: str | None,
        *,
        reason: str | None = None,
    ) -> str:
        """Keep the decision unless there is one, and return the id of the one that stays.

        Idempotent. A cancelled call may or may not have happened; repeating it is safe. Whoever
        may not be alone asks `get` which branch it is.

        Args:
            run_id: The run.
            router_asset: The router.
            partition: None for an asset without partitions.
            selected_branch: The branch; None for no branch at all.
            reason: Why, for people.

        Raises:
            PartitionError: *partition* cannot name one.
        """
        ...

    async def get(self, run_id: UUID | str, router_asset: str, partition: Partition) -> str | None:
        """Return the branch that was chosen; None if it was decided to choose none.

        Changes nothing, however it ends.

        Raises:
            DecisionNotFoundError: Nothing was decided yet.
            PartitionError: *partition* cannot name one.
        """
        ...

    async def to_output(self, decision_id: str) -> dict[str, Any]:
        """Return the decision as the output of its router.

        Keys: `decision_id`, `run_id`, `router`, `partition` (its key), `route`, `reason` and
        `decided_at` (ISO 8601, in UTC). Changes nothing, however it ends.

        Raises:
            DecisionIdNotFoundError: There is no such decision.
        """
        ...


class DecisionRetention(Protocol):
    """The capability `retention`: forgets old decisions.

    RC-11  [retention] Pruning forgets the decisions recorded before an instant, and no others,
      and answers how many there were.
    """

    async def prune(self, before: datetime) -> int:
        """Forget what was decided before the aware time *before*; return how many decisions.

        A run that goes on afterwards decides again, so keep what may yet be resumed. Idempotent.
        A cancelled call may or may not have happened; repeating it is safe.
        """
        ...
