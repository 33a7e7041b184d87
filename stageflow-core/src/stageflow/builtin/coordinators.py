"""The coordinators of core that are made from settings; their modules are imported when made."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import attrs

from stageflow.builtin._configured import configured_by

if TYPE_CHECKING:
    from stageflow.builtin.routing_coordinators import (
        MemoryRoutingCoordinator,
        SqliteRoutingCoordinator,
    )
    from stageflow.builtin.sqlite_parallel_coordinator import SqliteParallelCoordinator
    from stageflow.builtin.sqlite_scatter_coordinator import SqliteScatterCoordinator

__all__ = (
    "MemoryRoutingCoordinatorSettings",
    "SqliteCoordinatorSettings",
    "SqliteRoutingCoordinatorSettings",
    "make_memory_routing_coordinator",
    "make_sqlite_parallel_coordinator",
    "make_sqlite_routing_coordinator",
    "make_sqlite_scatter_coordinator",
)


@attrs.frozen(kw_only=True)
class SqliteCoordinatorSettings:
    """Where a coordinator keeps what it knows, and how safely.

    Attributes:
        path: The file, seen from the current folder; coordinators may share one.
        synchronous: `full`: what was kept survives the death of the machine; `normal`: that
            of the process.
        busy_timeout: For how many seconds a call waits for another process that writes.
    """

    path: Path = Path(".stageflow/coordination.sqlite3")
    synchronous: Literal["full", "normal"] = "full"
    busy_timeout: float = attrs.field(default=5.0, validator=attrs.validators.ge(0))


@attrs.frozen(kw_only=True)
class SqliteRoutingCoordinatorSettings(SqliteCoordinatorSettings):
    """Where decisions are kept, how safely, and for how long.

    Attributes:
        keep_days: After so many days decisions are forgotten; a run that goes on later decides
            again. They are kept for ever unless given.
    """

    keep_days: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.gt(0))
    )


@attrs.frozen(kw_only=True)
class MemoryRoutingCoordinatorSettings:
    """For how long decisions are kept.

    Attributes:
        keep_days: After so many days decisions are forgotten; a run that goes on later decides
            again. They are kept as long as the process lives unless given.
    """

    keep_days: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.gt(0))
    )


@configured_by(SqliteCoordinatorSettings)
def make_sqlite_scatter_coordinator(
    settings: SqliteCoordinatorSettings,
) -> SqliteScatterCoordinator:
    """Return a coordinator that keeps scatters in a file."""
    from stageflow.builtin.sqlite_scatter_coordinator import SqliteScatterCoordinator

    return SqliteScatterCoordinator(
        settings.path, synchronous=settings.synchronous, busy_timeout=settings.busy_timeout
    )


@configured_by(SqliteCoordinatorSettings)
def make_sqlite_parallel_coordinator(
    settings: SqliteCoordinatorSettings,
) -> SqliteParallelCoordinator:
    """Return a coordinator that keeps parallel executions in a file."""
    from stageflow.builtin.sqlite_parallel_coordinator import SqliteParallelCoordinator

    return SqliteParallelCoordinator(
        settings.path, synchronous=settings.synchronous, busy_timeout=settings.busy_timeout
    )


@configured_by(SqliteRoutingCoordinatorSettings)
def make_sqlite_routing_coordinator(
    settings: SqliteRoutingCoordinatorSettings,
) -> SqliteRoutingCoordinator:
    """Return a coordinator that keeps decisions in a file."""
    from stageflow.builtin.routing_coordinators import SqliteRoutingCoordinator

    return SqliteRoutingCoordinator(
        settings.path,
        keep_for=_days(settings.keep_days),
        synchronous=settings.synchronous,
        busy_timeout=settings.busy_timeout,
    )


@configured_by(MemoryRoutingCoordinatorSettings)
def make_memory_routing_coordinator(
    settings: MemoryRoutingCoordinatorSettings,
) -> MemoryRoutingCoordinator:
    """Return a coordinator that keeps decisions in this process."""
    from stageflow.builtin.routing_coordinators import MemoryRoutingCoordinator

    return MemoryRoutingCoordinator(keep_for=_days(settings.keep_days))


def _days(days: float | None) -> timedelta | None:
    return None if days is None else timedelta(days=days)
