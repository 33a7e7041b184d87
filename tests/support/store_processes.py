"""Run stores used by several processes at once, and by processes that die at it.

What the processes do are the functions at the end; each is told the store and its own number.
Processes are forked from a server that has imported what they need, so that one costs little.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cache, partial
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio

from stageflow.builtin.sqlite_run_store import SqliteRunStore
from stageflow.contracts.checkpoints import (
    CheckpointEntry,
    LeaseHeldError,
    LeaseLostError,
    RunLease,
)
from stageflow.contracts.run_store import RunEvent, RunStatus
from stageflow.contracts.shared_values import ValueChangedError
from stageflow.testing import TestClock
from stageflow.testing.faults import FAULTS_VARIABLE, Faults, FaultyStore

__all__ = (
    "acquire_all",
    "answer_all",
    "at_once",
    "claim_all",
    "commit_or_take_over",
    "count_to",
    "die_at",
    "die_by",
    "dump",
    "go_on_committing",
    "kill_after",
    "park_or_signal",
)

_PATIENCE = 50.0  # for a process that hangs; a test that waits so long fails
_PRELOADED = ["anyio._backends._asyncio", "stageflow.builtin.sqlite_run_store", "stageflow.testing"]

Work = Callable[..., Awaitable[Any]]


@cache
def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def at_once(path: Path, work: Work, count: int = 4, **given: Any) -> list[Any]:
    """Do *work* in *count* processes at once, on one file; return what each returned."""
    context = _context()
    barrier = context.Barrier(count)
    ends, processes = [], []
    for number in range(count):
        here, there = context.Pipe(duplex=False)
        process = context.Process(
            target=_take_part, args=(path, work, number, given, barrier, there), daemon=True
        )
        process.start()
        there.close()
        ends.append(here)
        processes.append(process)
    try:
        results = [_received(end) for end in ends]
    finally:
        for end in ends:
            end.close()
        for process in processes:
            process.join(_PATIENCE)
            process.close()
    return results


def _received(end: Connection) -> Any:
    assert end.poll(_PATIENCE), "a process does not answer"
    result, trouble = end.recv()
    assert trouble is None, trouble
    return result


def _take_part(
    path: Path, work: Work, number: int, given: dict[str, Any], barrier: Any, end: Connection
) -> None:
    async def main() -> Any:
        async with SqliteRunStore(path, synchronous="normal", busy_timeout=_PATIENCE) as store:
            barrier.wait(_PATIENCE)
            return await work(store, number, **given)

    _answer(end, main)


def _answer(end: Connection, main: Callable[[], Awaitable[Any]]) -> None:
    """Send what *main* returns, or else the story of its failure."""
    try:
        end.send((anyio.run(main), None))
    except Exception:  # noqa: BLE001 - the test that waits for the answer tells it
        end.send((None, traceback.format_exc()))


def die_at(path: Path, work: Work, point: int, **given: Any) -> bool:
    """Do *work* in a process that dies at the *point*-th point of its SQL; whether it did.

    There is a point before each statement, and one after each commit. The process goes by a clock
    that stands still, so that what it leaves behind is the same each time.
    """
    process = _context().Process(target=_die, args=(path, work, point, given), daemon=True)
    process.start()
    process.join(_PATIENCE)
    assert process.exitcode in {0, -signal.SIGKILL}, f"it ended with {process.exitcode}"
    died: bool = process.exitcode != 0
    process.close()
    return died


def _die(path: Path, work: Work, point: int, given: dict[str, Any]) -> None:
    left = [0]

    class Mortal(sqlite3.Connection):
        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            _pass(left)
            cursor = super().execute(sql, *args)
            if sql == "commit":
                _pass(left)
            return cursor

        def executemany(self, sql: str, *args: Any) -> sqlite3.Cursor:
            _pass(left)
            return super().executemany(sql, *args)

    async def main() -> None:
        async with SqliteRunStore(path, synchronous="normal", clock=TestClock()) as store:
            left[0] = point
            await work(store, **given)
            left[0] = 0

    sqlite3.connect = partial(sqlite3.connect, factory=Mortal)  # type: ignore[assignment]
    anyio.run(main)


def _pass(left: list[int]) -> None:
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)


def die_by(path: Path, work: Work, faults: str) -> bool:
    """Do *work* in a process whose store has these faults; return whether it died of them."""
    process = _context().Process(target=_meet_faults, args=(path, work, faults), daemon=True)
    process.start()
    process.join(_PATIENCE)
    died: bool = process.exitcode == -signal.SIGKILL
    process.close()
    return died


def _meet_faults(path: Path, work: Work, faults: str) -> None:
    async def main() -> None:
        inner = SqliteRunStore(path, synchronous="normal", clock=TestClock())
        async with FaultyStore(inner, Faults.from_environment({FAULTS_VARIABLE: faults})) as store:
            await work(store)

    anyio.run(main)


def kill_after(path: Path, work: Work, steps: int, **given: Any) -> None:
    """Do *work* in a process that tells its steps, and kill it after so many of them."""
    here, there = _context().Pipe(duplex=False)
    process = _context().Process(target=_tell, args=(path, work, given, there), daemon=True)
    process.start()
    there.close()
    for _ in range(steps):
        _received(here)
    process.kill()
    process.join(_PATIENCE)
    here.close()
    process.close()


def _tell(path: Path, work: Work, given: dict[str, Any], end: Connection) -> None:
    async def main() -> None:
        async with SqliteRunStore(path, synchronous="normal") as store:
            await work(store, lambda step: end.send((step, None)), **given)

    _answer(end, main)


def dump(path: Path) -> list[str]:
    """Return all that an SQLite file holds."""
    connection = sqlite3.connect(path)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


# --- what the processes do ------------------------------------------------------


async def acquire_all(
    store: SqliteRunStore, number: int, runs: list[UUID], take_over: int | None = None
) -> list[RunLease | None]:
    """Try to become the owner of each run; return the leases, None where another was faster."""
    leases: list[RunLease | None] = []
    for run_id in runs:
        try:
            leases.append(
                await store.acquire_lease(run_id, f"p{number}", ttl=60, take_over=take_over)
            )
        except LeaseHeldError:
            leases.append(None)
    return leases


async def claim_all(store: SqliteRunStore, number: int) -> list[RunLease]:
    """Claim runs until none is left."""
    leases = []
    while (lease := await store.claim_run(f"p{number}", ttl=60)) is not None:
        leases.append(lease)
    return leases


async def commit_or_take_over(store: SqliteRunStore, number: int, lease: RunLease) -> list[str]:
    """Commit entries until the run is lost; all but the first take it over at some time.

    Returns the keys that one knows of in the end: those that were there, and one's own.
    """
    while len(await store.load_entries(lease.run_id)) < 5 * number:  # noqa: ASYNC110
        await anyio.sleep(0.001)  # no event crosses processes
    while number > 0 and lease.owner != f"p{number}":
        held = await store.get_lease(lease.run_id) or lease
        with suppress(LeaseHeldError):  # another was faster
            lease = await store.acquire_lease(
                lease.run_id, f"p{number}", ttl=60, take_over=held.token
            )
    known = [entry.key for entry in await store.load_entries(lease.run_id)]
    for turn in range(10 if number > 0 else 10_000):
        key = f"{number}.{turn}"
        try:
            await store.commit(lease, [CheckpointEntry(key=key, value=b"1")])
        except LeaseLostError:
            break
        known.append(key)
        await anyio.sleep(0.001)  # or the others would hardly come to write
    return known


async def count_to(store: SqliteRunStore, number: int, goal: int) -> list[int]:
    """Add 1 to a shared value *goal* times; return the versions that one wrote."""
    versions: list[int] = []
    while len(versions) < goal:
        now = await store.read_value("n", "counter")
        value, version = (int(now.value), now.version) if now else (0, 0)
        try:
            written = await store.write_value("n", "counter", b"%d" % (value + 1), expected=version)
        except ValueChangedError:
            continue
        versions.append(written.version)
    return versions


async def answer_all(
    store: SqliteRunStore, number: int, run_id: UUID, signals: int
) -> list[tuple[str | None, bool]]:
    """Give signals whose ids everybody uses; return what each answered, and if it was repeated."""
    receipts = []
    for signal_number in range(signals):
        receipt = await store.signal_run(
            run_id, "go", b"%d by %d" % (signal_number, number), signal_id=f"s-{signal_number}"
        )
        receipts.append((receipt.wait_id, receipt.repeated))
    return receipts


async def park_or_signal(store: SqliteRunStore, number: int, leases: list[RunLease]) -> list[bool]:
    """Park runs, or answer what they wait for; return whether each was parked by then."""
    parked = []
    for lease in leases:
        if number == 0:
            parked.append(await store.park_run(lease, ["w"]))
        else:
            parked.append((await store.signal_run(lease.run_id, "go", b"yes")).parked)
    return parked


async def go_on_committing(
    store: SqliteRunStore, tell: Callable[[int], None], run_id: UUID
) -> None:
    """Take the run over and commit its progress step by step, telling each before it is made."""
    held = await store.get_lease(run_id)
    lease = await store.acquire_lease(
        run_id, "next", ttl=60, take_over=held.token if held else None
    )
    last = len(await store.read_events(run_id))
    for step in count(last + 1):
        entries = [CheckpointEntry(key=f"k{n}", value=b"%d" % step * 500) for n in range(20)]
        tell(step)
        await store.commit(
            lease,
            [*entries, CheckpointEntry(key=f"only {step}", value=b"")],
            removed=[f"only {step - 1}"],
            events=[RunEvent(type="step", at=lease.expires_at, data={"step": step})],
            status=RunStatus.RUNNING,
            facts={"step": step},
        )
