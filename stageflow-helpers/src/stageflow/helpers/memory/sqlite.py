"""SqliteMemoryStore: a memory store in one file, shared by the processes of a host."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Self, TypeVar
from uuid import UUID

import anyio
import anyio.to_thread
import attrs

from stageflow.contracts.clock import Clock, SystemClock
from stageflow.helpers.errors import MemoryStoreError
from stageflow.helpers.memory.contract import (
    MemoryConfig,
    MemoryEntry,
    MemoryWindow,
    decode_metadata,
    encode_metadata,
    keep_newest,
)

__all__ = ("ConfiguredSqliteMemoryStore", "SqliteMemorySettings", "SqliteMemoryStore")

T = TypeVar("T")

_SCHEMA_VERSION: Final = 1
_SCHEMA: Final = """
create table memory_entries (
    seq integer primary key,
    session_id text not null,
    id text not null,
    role text not null,
    content text not null,
    timestamp text not null,
    unix_time real not null,
    metadata blob not null,
    identity blob not null,
    unique (session_id, identity)
);
create index memory_entries_by_session on memory_entries (session_id, seq);
"""
_CANDIDATES: Final = """
from memory_entries
where session_id = :session_id
  and (:oldest is null or unix_time > :oldest)
  and (:include_system or role <> 'system')
"""


class SqliteMemoryStore:
    """Keeps entries in a SQLite file, which is made with the first call.

    Calls run in a worker thread, one at a time, each in a transaction of its own. Several
    processes may share the file. Use it as an async context manager, or call `aclose`.

    Args:
        path: The file; its folder is made if need be.
        clock: Source of the time by which entries are too old.
        busy_timeout_seconds: How long to wait while another process writes.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        clock: Clock | None = None,
        busy_timeout_seconds: float = 5.0,
    ) -> None:
        self.path = Path(path)
        self._clock = clock or SystemClock()
        self._busy_timeout = busy_timeout_seconds
        self._connection: sqlite3.Connection | None = None
        self._closed = False
        self._lock = anyio.Lock()

    async def fetch(self, session_id: UUID, config: MemoryConfig | None = None) -> MemoryWindow:
        """Return the newest entries of a session within the limits, oldest first."""
        limits = config or MemoryConfig()
        window = limits.recency_window_seconds
        wanted = {
            "session_id": str(session_id),
            "oldest": self._clock.now().timestamp() - window if window else None,
            "include_system": limits.include_system,
        }

        def read(connection: sqlite3.Connection) -> MemoryWindow:
            (found,) = connection.execute(f"select count(*) {_CANDIDATES}", wanted).fetchone()
            rows = connection.execute(
                "select id, session_id, role, content, timestamp, metadata"
                f" {_CANDIDATES} order by seq desc",
                wanted,
            )
            with closing(rows):
                kept = keep_newest(_entries(rows), limits)
            return MemoryWindow(kept, left_out=found - len(kept))

        return await self._call(read)

    async def write(self, entry: MemoryEntry) -> None:
        """Store *entry* unless it is stored already.

        Raises:
            MemoryStoreError: Its metadata hold something that the codec cannot store, or the file
                cannot be written.
        """
        metadata = encode_metadata(entry)
        row = (
            str(entry.session_id),
            entry.id,
            entry.role,
            entry.content,
            entry.timestamp.isoformat(),
            entry.timestamp.timestamp(),
            metadata,
            _identity(entry, metadata),
        )
        await self._call(
            lambda connection: connection.execute(
                "insert or ignore into memory_entries (session_id, id, role, content, timestamp,"
                " unix_time, metadata, identity) values (?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            ),
            begin="begin immediate",
        )

    async def clear(self, session_id: UUID) -> int:
        """Remove all entries of a session; return how many there were."""
        return await self._call(
            lambda connection: (
                connection.execute(
                    "delete from memory_entries where session_id = ?", (str(session_id),)
                ).rowcount
            ),
            begin="begin immediate",
        )

    async def aclose(self) -> None:
        """Close the file; every other call is refused from now on. Closing again does nothing."""
        with anyio.CancelScope(shield=True):
            async with self._lock:
                self._closed = True
                connection, self._connection = self._connection, None
                if connection is not None:
                    await anyio.to_thread.run_sync(connection.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def _call(self, work: Callable[[sqlite3.Connection], T], *, begin: str = "begin") -> T:
        async with self._lock:
            if self._closed:
                raise MemoryStoreError(
                    f"The memory store {self.path} is closed.",
                    hint="Use it within `async with`; whoever opened it closes it.",
                )
            # Not abandoned when cancelled, so a call has happened wholly or not at all.
            return await anyio.to_thread.run_sync(self._in_transaction, work, begin)

    def _in_transaction(self, work: Callable[[sqlite3.Connection], T], begin: str) -> T:
        try:
            connection = self._connection or self._open()
            with connection:
                connection.execute(begin)
                return work(connection)
        except (sqlite3.Error, OSError, UnicodeError) as error:
            raise MemoryStoreError(
                f"The memory store {self.path} failed: {error}.",
                hint="Is it a writable SQLite file that this version of Stageflow made?",
            ) from error

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            self.path, timeout=self._busy_timeout, isolation_level=None, check_same_thread=False
        )
        try:
            # No write-ahead log: switching it on ignores the busy timeout, and a turn of a
            # conversation writes too little to gain from it.
            _prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection


@attrs.frozen(kw_only=True)
class SqliteMemorySettings:
    """Settings of the store when it is chosen by name.

    Attributes:
        path: The file.
        busy_timeout_seconds: How long to wait while another process writes.
    """

    path: Path
    busy_timeout_seconds: float = 5.0


class ConfiguredSqliteMemoryStore(SqliteMemoryStore):
    """The store as the plugin system builds it: `use = "sqlite"` with its settings."""

    Settings = SqliteMemorySettings

    def __init__(self, settings: SqliteMemorySettings) -> None:
        super().__init__(settings.path, busy_timeout_seconds=settings.busy_timeout_seconds)


def _prepare(connection: sqlite3.Connection) -> None:
    """Make the tables of a new file; refuse one that a newer version made."""
    connection.execute("begin immediate")
    with connection:
        (version,) = connection.execute("pragma user_version").fetchone()
        if version > _SCHEMA_VERSION:
            raise sqlite3.DatabaseError(f"its schema is version {version}, newer than this code")
        if version == 0:
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute(f"pragma user_version = {_SCHEMA_VERSION}")


def _entries(rows: Iterator[tuple[Any, ...]]) -> Iterator[MemoryEntry]:
    for entry_id, session_id, role, content, timestamp, metadata in rows:
        yield MemoryEntry(
            entry_id,
            UUID(session_id),
            role,
            content,
            datetime.fromisoformat(timestamp),
            decode_metadata(metadata),
        )


def _identity(entry: MemoryEntry, metadata: bytes) -> bytes:
    """Return a short text that tells entries apart by everything but their time."""
    digest = sha256()
    texts = (text.encode(errors="surrogatepass") for text in (entry.id, entry.role, entry.content))
    for part in (*texts, metadata):
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.digest()
