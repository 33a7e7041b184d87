"""Calls of a run store that change several things at once, and runs that they have work with."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from stageflow.builtin.sqlite_run_store import SqliteRunStore
from stageflow.contracts.checkpoints import CheckpointEntry, RunLease
from stageflow.contracts.run_store import RunEvent, RunStatus

__all__ = ("CALLS", "RUNS", "create_all", "prepare", "write_twice")

RUNS = [UUID(int=number) for number in range(1, 21)]


async def create_all(
    store: SqliteRunStore, *, ttl: float | None = None, waits: tuple[str, ...] = ()
) -> list[RunLease]:
    """Create the runs; with *ttl*, acquire each, and open these waits."""
    leases = []
    for run_id in RUNS:
        await store.create_run(run_id, service="voice", status="running")
        if ttl is not None:
            lease = await store.acquire_lease(run_id, "first", ttl=ttl)
            for wait_id in waits:
                await store.open_wait(lease, wait_id, stage="ask", name="go")
            leases.append(lease)
    return leases


def _entries(*keys: str) -> list[CheckpointEntry]:
    return [CheckpointEntry(key=key, value=key.encode()) for key in keys]


async def prepare(store: SqliteRunStore) -> None:
    """Leave runs that each of the calls has something to do with."""
    leases = await create_all(store, ttl=60, waits=("w",))
    await store.commit(leases[0], _entries("a", "b", "c"))
    await store.request_cancel(RUNS[0], "too late")
    await store.commit(leases[1], _entries("a"), status=RunStatus.COMPLETED)
    await store.commit(leases[2], _entries("a"), status=RunStatus.FAILED)
    await store.signal_run(RUNS[3], "early", b"kept")
    await store.park_run(leases[4], ["w"])
    await store.signal_run(RUNS[4], "go", b"yes")
    for key in "abc":
        await store.write_value("n", key, b"1")


async def _lease(store: SqliteRunStore, run_id: UUID) -> RunLease:
    lease = await store.get_lease(run_id)
    assert lease is not None
    return lease


async def _commit(store: SqliteRunStore) -> None:
    lease = await _lease(store, RUNS[0])
    await store.commit(
        lease,
        _entries("d", "b", "e"),
        removed=["a"],
        events=[RunEvent(type="t", at=lease.expires_at, data={"n": n}) for n in range(3)],
        status=RunStatus.FAILED,
        facts={"error": "why", "user": "u-1"},
    )


async def _claim_run(store: SqliteRunStore) -> None:
    claimed = await store.claim_run("second", ttl=60)
    assert claimed is not None
    assert claimed.run_id == RUNS[4]


async def _take_over(store: SqliteRunStore) -> None:
    await store.acquire_lease(RUNS[0], "second", ttl=60, take_over=1)


async def _open_wait(store: SqliteRunStore) -> None:
    lease = await _lease(store, RUNS[3])
    assert (await store.open_wait(lease, "new", stage="ask", name="early")).value == b"kept"


async def _park_run(store: SqliteRunStore) -> None:
    assert await store.park_run(await _lease(store, RUNS[5]), ["w"])


async def _signal_run(store: SqliteRunStore) -> None:
    assert (await store.signal_run(RUNS[6], "go", b"yes", signal_id="s")).wait_id == "w"


async def _prune_runs(store: SqliteRunStore) -> None:
    assert len(await store.prune_runs(before=datetime(9999, 1, 1, tzinfo=UTC))) == 2


async def _delete_run(store: SqliteRunStore) -> None:
    assert await store.delete_run(RUNS[0])


async def _write_values(store: SqliteRunStore) -> None:
    await store.write_values("n", [("a", b"2", 1), ("new", b"1", 0), ("c", b"2", None)])


async def write_twice(store: SqliteRunStore) -> None:
    """Do what is not one call, and may be left half done."""
    for key in ("x", "y"):
        await store.write_value("n", key, b"1")


CALLS = {
    call.__name__.lstrip("_"): call
    for call in (
        _commit,
        _claim_run,
        _take_over,
        _open_wait,
        _park_run,
        _signal_run,
        _prune_runs,
        _delete_run,
        _write_values,
    )
}
