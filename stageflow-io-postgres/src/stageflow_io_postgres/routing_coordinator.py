"""PostgresRoutingCoordinator: decisions of routers that every process finds."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from stageflow.contracts.coordination import coordination_id
from stageflow.contracts.partitions import Partition, partition_key
from stageflow.contracts.routing_coordinator import (
    DecisionIdNotFoundError,
    DecisionNotFoundError,
    RoutingCoordinatorCapabilities,
)
from stageflow_io_postgres.component import Component, digest, plain_text
from stageflow_io_postgres.database import Connection, Database, Row

__all__ = ("PostgresRoutingCoordinator",)


class PostgresRoutingCoordinator(Component):
    """Keeps decisions in PostgreSQL; their times are those of the server's clock.

    Args:
        database: Where; it must be open for as long as this is used.
        keep_for: Decisions older than this are forgotten as new ones are recorded; none unless
            given.
    """

    capabilities: Final = RoutingCoordinatorCapabilities(retention=True)

    def __init__(self, database: Database, *, keep_for: timedelta | None = None) -> None:
        super().__init__(database)
        self._keep_for = keep_for
        self._sql = database.queries("routing")

    async def record(
        self,
        run_id: UUID | str,
        router_asset: str,
        partition: Partition,
        selected_branch: str | None,
        *,
        reason: str | None = None,
    ) -> str:
        """See `RoutingCoordinator.record`."""
        decision_id = coordination_id(run_id, router_asset, partition)
        row = (
            digest(decision_id),
            plain_text(decision_id),
            json.dumps(str(run_id)),
            json.dumps(router_asset),
            partition_key(partition),
            json.dumps(selected_branch),
            json.dumps(reason),
        )

        async def record(connection: Connection) -> None:
            if self._keep_for is not None:
                await connection.execute(self._sql["forget"], self._keep_for)
            await connection.execute(self._sql["record"], *row)

        await self._database.run(record, repeatable=True)
        return decision_id

    async def get(self, run_id: UUID | str, router_asset: str, partition: Partition) -> str | None:
        """See `RoutingCoordinator.get`."""
        found = await self._find(coordination_id(run_id, router_asset, partition))
        if found is None:
            raise DecisionNotFoundError(run_id, router_asset, partition)
        route: str | None = json.loads(found["route"])
        return route

    async def to_output(self, decision_id: str) -> dict[str, Any]:
        """See `RoutingCoordinator.to_output`."""
        found = await self._find(decision_id)
        if found is None:
            raise DecisionIdNotFoundError(decision_id)
        decided_at: datetime = found["decided_at"]
        return {
            "decision_id": decision_id,
            "run_id": json.loads(found["run_id"]),
            "router": json.loads(found["router"]),
            "partition": found["partition"],
            "route": json.loads(found["route"]),
            "reason": json.loads(found["reason"]),
            "decided_at": decided_at.astimezone(UTC).isoformat(timespec="microseconds"),
        }

    async def prune(self, before: datetime) -> int:
        """See `DecisionRetention.prune`.

        Raises:
            OutcomeUnknownError: The connection was lost before the server had answered.
        """
        done = await self._database.execute(self._sql["prune"], before)
        return int(done.rpartition(" ")[2])

    async def _find(self, decision_id: str) -> Row | None:
        return await self._database.fetchrow(
            self._sql["find"], digest(decision_id), repeatable=True
        )
