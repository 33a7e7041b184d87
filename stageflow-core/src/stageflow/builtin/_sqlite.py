"""One SQLite file, used from one thread: what every SQLite implementation here stands on."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Generic, Literal, Self, TypeAlias, TypeVar

import anyio
import anyio.lowlevel
import attrs

from stageflow.builtin._sqlite_errors import is_busy, translated
from stageflow.contracts.storage import (
    StorageClosedError,
    StorageReadOnlyError,
    StorageVersionError,
)

__all__ = ("Schema", "SqliteDatabase", "Synchronous", "Work")

T = TypeVar("T")
Work: TypeAlias = Callable[[sqlite3.Connection], T]
Synchronous: TypeAlias = Literal["full", "normal"]
_Wake: TypeAlias = Callable[[Callable[[], object]], object]

# How long one attempt waits for another writer; between attempts a cancelled call is dropped.
_PATIENCE: Final = 0.02
_VERSIONS: Final = """
    create table if not exists stageflow_schema (
        component text primary key,
        version integer not null
    ) without rowid
"""


@attrs.frozen(kw_only=True)
class Schema:
    """The tables of one component, and how they came to be what they are.

    Several components may live in one file; each has its own version there.

    Attributes:
        component: Such as `runs`; also the beginning of its tables' names.
        migrations: The statements that lead from each version to the next; only ever added to.
    """

    component: str
    migrations: Sequence[Sequence[str]]

    @property
    def version(self) -> int:
        """The version that this installation writes."""
        return len(self.migrations)


@attrs.define(eq=False)
class _Job(Generic[T]):
    """One call on its way through the worker thread; without work, the call to close."""

    work: Work[T] | None
    wake: _Wake
    done: anyio.Event | threading.Event = attrs.field(factory=anyio.Event)
    abandoned: bool = False
    result: T | None = None
    error: BaseException | None = None

    def finish(self) -> None:
        # Raised if the event loop of whoever called has ended: then nobody waits any more.
        with suppress(RuntimeError):
            self.wake(self.done.set)

    def outcome(self) -> T:
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[return-value] # a job without error has its result


class SqliteDatabase:
    """A file in WAL mode whose calls run one after the other in a thread of its own.

    A thread of its own costs about half of what a worker thread of anyio costs per call.
    It is opened by the first call. Any number of processes may use the file at once.

    A cancelled call has happened completely or not at all: one that waits, for its turn or
    for another process, is dropped; one that is under way is waited for.

    Args:
        path: The file; it and the folders above it are made when they are missing.
        schema: What must be in it.
        synchronous: `full` survives the death of the machine, `normal` that of the process.
        busy_timeout: For how many seconds a call waits for another process that writes.
        read_only: Whether the file must be there already and will not be changed.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        schema: Schema,
        synchronous: Synchronous = "full",
        busy_timeout: float = 5.0,
        read_only: bool = False,
    ) -> None:
        self.path = Path(path)
        self._closed = False
        self._worker = _Worker(str(self.path), schema, synchronous, busy_timeout, read_only)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def open(self) -> None:
        """Open the file now, so that what is wrong with it is known; otherwise the first call does.

        Raises:
            StorageError: It cannot be used.
        """
        await self._call(_nothing)

    async def aclose(self) -> None:
        """Close the file once every call made before has ended; again is no error."""
        if self._closed:
            await anyio.lowlevel.checkpoint()
            return
        self._closed = True
        if self._worker.has_started:
            done = anyio.Event()
            job = _Job[None](None, _waker(), done)
            self._worker.jobs.put(job)
            with anyio.CancelScope(shield=True):
                await done.wait()
            job.outcome()

    async def read(self, work: Work[T]) -> T:
        """Return what *work* returns, which sees the file as it is at one moment.

        Raises:
            StorageError: The file cannot be read.
        """
        return await self._call(lambda connection: _transact(connection, "begin", work))

    async def write(self, work: Work[T]) -> T:
        """Return what *work* returns once all it wrote is committed; it alone writes meanwhile.

        It may be called again from its beginning, if another process was in the way.

        Raises:
            StorageError: The file cannot be written; then nothing of it has been.
        """
        return await self._call(lambda connection: _transact(connection, "begin immediate", work))

    def open_now(self) -> None:
        """Do what `open` does and block this thread meanwhile; for threads without event loop."""
        self._call_now(_nothing)

    def write_now(self, work: Work[T]) -> T:
        """Do what `write` does and block this thread meanwhile."""
        return self._call_now(lambda connection: _transact(connection, "begin immediate", work))

    def close_now(self) -> None:
        """Do what `aclose` does and block this thread meanwhile."""
        if not self._closed:
            self._closed = True
            if self._worker.has_started:
                self._block_on(None)

    async def _call(self, work: Work[T]) -> T:
        self._start()
        done = anyio.Event()
        job = _Job(work, _waker(), done)
        self._worker.jobs.put(job)
        try:
            await done.wait()
        except BaseException:
            job.abandoned = True
            with anyio.CancelScope(shield=True):
                await done.wait()
            raise
        return job.outcome()

    def _call_now(self, work: Work[T]) -> T:
        self._start()
        return self._block_on(work)

    def _block_on(self, work: Work[T] | None) -> T:
        done = threading.Event()
        job = _Job(work, lambda wake_up: wake_up(), done)
        self._worker.jobs.put(job)
        done.wait()
        return job.outcome()

    def _start(self) -> None:
        if self._closed:
            raise StorageClosedError(str(self.path))
        self._worker.start()

    def __del__(self) -> None:
        if not self._closed and self._worker.has_started:
            self._worker.jobs.put(None)
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=1)

    def __repr__(self) -> str:
        return f"SqliteDatabase({str(self.path)!r})"


class _Worker:
    """The thread and what only it touches; knows nothing of the database object above it."""

    def __init__(
        self, path: str, schema: Schema, synchronous: str, busy_timeout: float, read_only: bool
    ) -> None:
        self.jobs: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._path = path
        self._schema = schema
        self._synchronous = synchronous
        self._busy_timeout = busy_timeout
        self._read_only = read_only
        self._connection: sqlite3.Connection | None = None
        self._thread: threading.Thread | None = None

    @property
    def has_started(self) -> bool:
        return self._thread is not None

    def start(self) -> None:
        if self._thread is None:
            name = f"stageflow-sqlite-{Path(self._path).name}"
            self._thread = threading.Thread(target=self._run, name=name, daemon=True)
            self._thread.start()

    def _run(self) -> None:
        closing = False
        while not closing and (job := self.jobs.get()) is not None:
            closing = job.work is None
            try:
                if job.work is None:
                    self._close()
                elif not job.abandoned:
                    job.result = self._attempt(job, job.work)
            except BaseException as exc:  # noqa: BLE001 - raised where the call is awaited
                job.error = exc
            job.finish()
            del job  # or what it holds would live until the next one comes
        self._close()

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _attempt(self, job: _Job[T], work: Work[T]) -> T:
        """Do the job's work, again and again while another process is in the way."""
        # Real time: the lock is held by a process that knows no other.
        give_up = time.monotonic() + self._busy_timeout
        while True:
            try:
                if self._connection is None:
                    self._connection = self._connect()
                return work(self._connection)
            except sqlite3.Error as exc:
                if not is_busy(exc) or job.abandoned or time.monotonic() >= give_up:
                    raise translated(exc, self._path) from exc
            except OSError as exc:
                raise translated(exc, self._path) from exc
            time.sleep(_PATIENCE / 4)

    def _connect(self) -> sqlite3.Connection:
        location: str = self._path
        if self._read_only:
            location = f"{Path(self._path).absolute().as_uri()}?mode=ro"
        elif location != ":memory:":
            Path(location).parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            location, timeout=_PATIENCE, isolation_level=None, uri=self._read_only
        )
        try:
            connection.execute("pragma foreign_keys = on")
            connection.execute(f"pragma synchronous = {self._synchronous}")
            if not self._read_only:
                connection.execute("pragma journal_mode = wal").fetchone()
            self._migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        component, supported = self._schema.component, self._schema.version
        found = _version(connection, component)
        if found < supported and self._read_only:
            raise StorageReadOnlyError(
                f"{self._path} has version {found} of the layout of {component} and is to stay so.",
                storage=self._path,
                hint="Open it once for writing, which brings it up to date.",
            )
        if found < supported:
            _transact(connection, "begin immediate", self._bring_up_to_date)
        elif found > supported:
            raise StorageVersionError(
                self._path, component=component, found=found, supported=supported
            )

    def _bring_up_to_date(self, connection: sqlite3.Connection) -> None:
        connection.execute(_VERSIONS)
        # Looked at again: another process may have been faster.
        found = _version(connection, self._schema.component)
        for statements in self._schema.migrations[found:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(
            "insert or replace into stageflow_schema (component, version) values (?, ?)",
            (self._schema.component, max(found, self._schema.version)),
        )


def _nothing(connection: sqlite3.Connection) -> None:
    """Work that is done as soon as there is a connection."""


def _version(connection: sqlite3.Connection, component: str) -> int:
    known = connection.execute("select 1 from sqlite_master where name = 'stageflow_schema'")
    if known.fetchone() is None:
        return 0
    row = connection.execute(
        "select version from stageflow_schema where component = ?", (component,)
    ).fetchone()
    return int(row[0]) if row else 0


def _transact(connection: sqlite3.Connection, begin: str, work: Work[T]) -> T:
    connection.execute(begin)
    try:
        result = work(connection)
        connection.execute("commit")
    except BaseException:
        if connection.in_transaction:  # SQLite ends some failed transactions by itself
            connection.execute("rollback")
        raise
    return result


def _waker() -> _Wake:
    """Return what makes the running event loop call something, from any thread."""
    trio: Any = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        wake: _Wake = trio.lowlevel.current_trio_token().run_sync_soon
        return wake
    return asyncio.get_running_loop().call_soon_threadsafe
