"""What is made from settings: sink, IO manager, item reader and coordinators, on a database.

Their modules are imported when one is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import attrs

from stageflow_io_postgres.database import Database
from stageflow_io_postgres.errors import ResourceKindError
from stageflow_io_postgres.item_reader import PostgresItemReader, PostgresReaderSettings

if TYPE_CHECKING:
    from stageflow_io_postgres.event_sink import PostgresEventSink
    from stageflow_io_postgres.io_manager import PostgresIOManager
    from stageflow_io_postgres.parallel_coordinator import PostgresParallelCoordinator
    from stageflow_io_postgres.routing_coordinator import PostgresRoutingCoordinator
    from stageflow_io_postgres.scatter_coordinator import PostgresScatterCoordinator

__all__ = (
    "PostgresCoordinatorSettings",
    "PostgresIOManagerSettings",
    "PostgresRoutingCoordinatorSettings",
    "PostgresSinkSettings",
    "make_postgres_event_sink",
    "make_postgres_io_manager",
    "make_postgres_item_reader",
    "make_postgres_parallel_coordinator",
    "make_postgres_routing_coordinator",
    "make_postgres_scatter_coordinator",
)

F = TypeVar("F", bound=Callable[..., object])
_at_least_one = attrs.validators.ge(1)
_not_negative = attrs.validators.ge(0.0)


class _OnDatabase(Protocol):
    @property
    def resource(self) -> str: ...


@attrs.frozen(kw_only=True)
class PostgresSinkSettings:
    """Where events go, when, and what happens if they cannot be written.

    Attributes:
        resource: The name of the database in the settings of resources.
        max_buffer: How many events may wait to be written.
        batch_size: With so many events waiting, they are written at once.
        flush_interval: How long an event waits for others, in seconds.
        close_timeout: How long closing tries to write what is left, in seconds.
        strict: Whether an event that cannot be written is an error, not just a loss.
    """

    resource: str = "postgres"
    max_buffer: int = attrs.field(default=20_000, validator=_at_least_one)
    batch_size: int = attrs.field(default=1_000, validator=_at_least_one)
    flush_interval: float = attrs.field(default=0.2, validator=_not_negative)
    close_timeout: float = attrs.field(default=10.0, validator=_not_negative)
    strict: bool = False


@attrs.frozen(kw_only=True)
class PostgresIOManagerSettings:
    """Where data lies, and how much of it in one piece.

    Attributes:
        resource: The name of the database in the settings of resources.
        max_bytes: The largest value that is stored.
        chunk_bytes: How large a value may be that is stored in one piece.
        jsonb: Whether values in JSON can be queried.
    """

    resource: str = "postgres"
    max_bytes: int = attrs.field(default=2**30, validator=_at_least_one)
    chunk_bytes: int = attrs.field(
        default=2**20, validator=[_at_least_one, attrs.validators.le(2**28)]
    )
    jsonb: bool = True


@attrs.frozen(kw_only=True)
class PostgresCoordinatorSettings:
    """Where a coordinator keeps what it knows.

    Attributes:
        resource: The name of the database in the settings of resources.
    """

    resource: str = "postgres"


@attrs.frozen(kw_only=True)
class PostgresRoutingCoordinatorSettings(PostgresCoordinatorSettings):
    """Where decisions are kept, and for how long.

    Attributes:
        keep_days: After so many days decisions are forgotten; a run that goes on later decides
            again. They are kept for ever unless given.
    """

    keep_days: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.gt(0))
    )


def _configured_by(settings: type) -> Callable[[F], F]:
    """Mark a factory as taking one object of the class *settings*, and the database it names."""

    def mark(factory: F) -> F:
        marked = cast("Any", factory)
        marked.Settings = settings
        marked.requires = _requires
        return factory

    return mark


def _requires(settings: _OnDatabase) -> tuple[str, ...]:
    return (settings.resource,)


def _database(settings: _OnDatabase, resources: Mapping[str, Any]) -> Database:
    found = resources[settings.resource]
    if not isinstance(found, Database):
        raise ResourceKindError(settings.resource)
    return found


@_configured_by(PostgresSinkSettings)
def make_postgres_event_sink(
    settings: PostgresSinkSettings, *, resources: Mapping[str, Any]
) -> PostgresEventSink:
    """Return a sink that keeps events in a database."""
    from stageflow_io_postgres.event_sink import PostgresEventSink

    options = attrs.asdict(settings)
    del options["resource"]
    return PostgresEventSink(_database(settings, resources), **options)


@_configured_by(PostgresIOManagerSettings)
def make_postgres_io_manager(
    settings: PostgresIOManagerSettings, *, resources: Mapping[str, Any]
) -> PostgresIOManager:
    """Return a manager that keeps data in a database."""
    from stageflow_io_postgres.io_manager import PostgresIOManager

    options = attrs.asdict(settings)
    del options["resource"]
    return PostgresIOManager(_database(settings, resources), **options)


@_configured_by(PostgresReaderSettings)
def make_postgres_item_reader(
    settings: PostgresReaderSettings, *, resources: Mapping[str, Any]
) -> PostgresItemReader:
    """Return a reader of rows of a database."""
    return PostgresItemReader(settings, _database(settings, resources))


@_configured_by(PostgresCoordinatorSettings)
def make_postgres_scatter_coordinator(
    settings: PostgresCoordinatorSettings, *, resources: Mapping[str, Any]
) -> PostgresScatterCoordinator:
    """Return a coordinator that keeps scatters in a database."""
    from stageflow_io_postgres.scatter_coordinator import PostgresScatterCoordinator

    return PostgresScatterCoordinator(_database(settings, resources))


@_configured_by(PostgresCoordinatorSettings)
def make_postgres_parallel_coordinator(
    settings: PostgresCoordinatorSettings, *, resources: Mapping[str, Any]
) -> PostgresParallelCoordinator:
    """Return a coordinator that keeps executions of branches in a database."""
    from stageflow_io_postgres.parallel_coordinator import PostgresParallelCoordinator

    return PostgresParallelCoordinator(_database(settings, resources))


@_configured_by(PostgresRoutingCoordinatorSettings)
def make_postgres_routing_coordinator(
    settings: PostgresRoutingCoordinatorSettings, *, resources: Mapping[str, Any]
) -> PostgresRoutingCoordinator:
    """Return a coordinator that keeps decisions of routers in a database."""
    from stageflow_io_postgres.routing_coordinator import PostgresRoutingCoordinator

    keep_for = None if settings.keep_days is None else timedelta(days=settings.keep_days)
    return PostgresRoutingCoordinator(_database(settings, resources), keep_for=keep_for)
