"""Database: one pool of connections, shared by everything that uses one PostgreSQL database.

Every wait has a limit: for a connection, for a lock, for a statement, for the server to come back.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Self, TypeVar, final

import anyio

from stageflow.contracts.clock import Clock, SystemClock
from stageflow.contracts.storage import (
    StorageBusyError,
    StorageClosedError,
    StorageError,
    StorageUnavailableError,
)
from stageflow_io_postgres.errors import (
    DatabaseAccessError,
    DatabaseRefusedError,
    OutcomeUnknownError,
    check_asyncio,
    translated,
    translation,
)
from stageflow_io_postgres.listener import Listener
from stageflow_io_postgres.pool import ConnectionPool
from stageflow_io_postgres.queries import load_queries, quoted
from stageflow_io_postgres.settings import PostgresSettings

__all__ = ("Connection", "Database", "Row")

T = TypeVar("T")
Row = Mapping[str, Any]
Connection = Any  # asyncpg's connection, or its proxy that a pool hands out

_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
_COLLISIONS: Final = 10  # so often a transaction that collided with others is made again
_CLOSE_TIMEOUT: Final = 5.0
#: What the server says of two transactions of which one has to be made again.
_COLLIDED: Final = frozenset({"40001", "40P01"})


@final
class Database:
    """A PostgreSQL database, open or not; works on asyncio.

    Single statements go by `fetch`, `fetchrow`, `fetchval` and `execute`, several in one
    transaction by `run`. They raise the errors of `stageflow.contracts.storage`, and try again
    where that is safe: what collided with another transaction always, what was lost with the
    connection if the caller calls it *repeatable*, and else if it had not been sent.

    Args:
        settings: Where it is and how long to wait for it.
        clock: What pauses between attempts are taken from.
    """

    def __init__(self, settings: PostgresSettings, *, clock: Clock | None = None) -> None:
        self.settings = settings
        self.label = settings.label
        self.schema = settings.schema
        self._clock = clock or SystemClock()
        self._pool: ConnectionPool | None = None
        self._is_closed = False
        self._listener: Listener | None = None

    @property
    def hears_news(self) -> bool:
        """Whether notifications arrive: a pooler in transaction mode passes none on."""
        return self.settings.pooler != "transaction"

    @property
    def listener(self) -> Listener:
        """What hears of notifications; one connection of its own, opened when it is used."""
        if self._listener is None:
            self._listener = Listener(self.settings, self.label, self._clock)
        return self._listener

    def queries(self, area: str) -> Mapping[str, str]:
        """Return the named queries of an area, for the schema of this database."""
        return load_queries(area, self.schema)

    def qualified(self, name: str) -> str:
        """Return the name of a table of this database's schema as SQL takes it."""
        return f"{quoted(self.schema)}.{quoted(name)}"

    # --- opening and closing ------------------------------------------------------------

    async def open(self) -> None:
        """Connect, and make sure that the tables are there.

        Raises:
            AsyncioOnlyError: The event loop is not asyncio's.
            StorageError: The server cannot be reached or refuses us, or the tables are missing.
        """
        from stageflow_io_postgres.migrations import prepare_schema

        await self.connect()
        try:
            await prepare_schema(self, migrate=self.settings.migrate_on_open)
        except BaseException:
            await self.aclose()
            raise

    async def connect(self) -> None:
        """Connect, whatever tables there are; otherwise as `open`."""
        check_asyncio()
        self._check_open()
        if self._pool is not None:
            return
        settings = self.settings
        pool = ConnectionPool(self._connect, settings.max_connections)
        try:
            await pool.warm(max(1, settings.min_connections))
        except BaseException:
            await pool.aclose(0)
            raise
        self._pool = pool

    async def _connect(self) -> Connection:
        import asyncpg

        settings = self.settings
        try:
            with translated(self.label):
                try:
                    return await asyncpg.connect(**settings.connect_arguments())
                except TimeoutError:
                    told = f"no answer within {settings.connect_timeout:g} s"
                    raise ConnectionError(told) from None
        except ValueError as error:
            # Arguments that the driver refuses: its message may quote them.
            raise DatabaseRefusedError(self.label, type(error).__name__) from None
        except StorageError as error:
            told = f"{error} {error.__cause__}"
            if any(secret in told for secret in settings.secrets()):
                raise DatabaseAccessError(self.label, "the connection failed") from None
            raise

    async def aclose(self) -> None:
        """Close all connections once the calls that use them have ended; again is no error.

        Calls that have not ended in time are cut off.
        """
        self._is_closed = True
        pool, self._pool = self._pool, None
        with anyio.CancelScope(shield=True):
            if self._listener is not None:
                await self._listener.aclose()
            if pool is not None:
                await pool.aclose(_CLOSE_TIMEOUT)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # --- single statements --------------------------------------------------------------

    async def fetch(self, query: str, *args: Any, repeatable: bool = False) -> list[Row]:
        """Return all rows that *query* gives."""
        return await self._attempt(lambda one: one.fetch(query, *args), repeatable=repeatable)

    async def fetchrow(self, query: str, *args: Any, repeatable: bool = False) -> Row | None:
        """Return the first row that *query* gives; None if it gives none."""
        return await self._attempt(lambda one: one.fetchrow(query, *args), repeatable=repeatable)

    async def fetchval(self, query: str, *args: Any, repeatable: bool = False) -> Any:
        """Return the first value of the first row that *query* gives; None if it gives none."""
        return await self._attempt(lambda one: one.fetchval(query, *args), repeatable=repeatable)

    async def execute(self, query: str, *args: Any, repeatable: bool = False) -> str:
        """Make *query* and return the server's word for what it did, such as `DELETE 3`."""
        return await self._attempt(lambda one: one.execute(query, *args), repeatable=repeatable)

    async def ping(self) -> None:
        """Return if the database answers; one attempt, without waiting for it to come back.

        Raises:
            StorageError: It does not.
        """
        pool, connection = await self._borrow()
        await self._on(pool, connection, lambda one: one.execute("select 1"))

    # --- transactions -------------------------------------------------------------------

    async def run(
        self, work: Callable[[Connection], Awaitable[T]], *, repeatable: bool = False
    ) -> T:
        """Do *work* in one transaction and return what it returns.

        Args:
            work: Given a connection; may be done more than once, so it changes nothing else.
            repeatable: Whether it may be done again though nobody knows if it had happened.

        Raises:
            OutcomeUnknownError: It may have happened, or not.
            StorageError: It has not happened.
        """

        async def in_transaction(connection: Connection) -> T:
            # What is not committed is rolled back when the pool takes the connection back.
            await connection.execute("begin")
            result = await work(connection)
            await connection.execute("commit")
            return result

        return await self._attempt(in_transaction, repeatable=repeatable)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend one of asyncpg's connections, for whatever one wants to do with it.

        What it raises in the block is the driver's. Its session is reset afterwards.
        """
        pool, connection = await self._borrow()
        try:
            yield connection
        finally:
            await pool.mend(connection, whole=True)

    async def _attempt(self, work: Callable[[Connection], Awaitable[T]], *, repeatable: bool) -> T:
        collisions, pause, give_up_at = 0, _FIRST_PAUSE, math.inf
        while True:
            sent = False
            try:
                pool, connection = await self._borrow()
                sent = True
                return await self._on(pool, connection, work)
            except StorageError as failure:
                if getattr(failure.__cause__, "sqlstate", None) in _COLLIDED:
                    collisions += 1
                    if collisions > _COLLISIONS:
                        raise
                elif not isinstance(failure, StorageUnavailableError):
                    raise
                elif sent and not repeatable:
                    raise self._unknown(failure) from failure.__cause__
                now = self._clock.monotonic()
                give_up_at = min(give_up_at, now + self.settings.reconnect_timeout)
                if now + pause > give_up_at:
                    raise
            await self._clock.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _on(
        self,
        pool: ConnectionPool,
        connection: Connection,
        work: Callable[[Connection], Awaitable[T]],
    ) -> T:
        """Do *work* on a connection that is borrowed, and give it back."""
        try:
            result = await work(connection)
        except BaseException as error:
            await pool.mend(connection)
            meant = translation(error, self.label)
            if meant is None:
                raise
            raise meant from error
        pool.give_back(connection)
        return result

    async def _borrow(self) -> tuple[ConnectionPool, Connection]:
        self._check_open()
        pool = self._pool
        if pool is None:
            raise StorageClosedError(self.label)
        try:
            connection = await pool.borrow(self.settings.acquire_timeout)
        except TimeoutError:
            raise self._exhausted() from None
        if pool.is_closed:
            pool.give_back(connection)
            raise StorageClosedError(self.label)
        return pool, connection

    def _check_open(self) -> None:
        if self._is_closed:
            raise StorageClosedError(self.label)

    def _exhausted(self) -> StorageBusyError:
        most, limit = self.settings.max_connections, self.settings.acquire_timeout
        return StorageBusyError(
            f"{self.label} gave none of its {most} connections within {limit:g} s.",
            storage=self.label,
            hint="Raise `max_connections`, or look for what keeps them: `pg_stat_activity`.",
        )

    def _unknown(self, error: StorageError) -> OutcomeUnknownError:
        return OutcomeUnknownError(
            f"{self.label} was lost before it had answered; the change may have happened.",
            storage=self.label,
            hint=f"Look whether it has before making it again. {error.hint}",
        )

    def __repr__(self) -> str:
        return f"Database({self.label!r})"
