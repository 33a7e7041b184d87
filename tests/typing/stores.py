"""What the type checker must know of stores, managers, providers and resources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, assert_type
from uuid import UUID

from stageflow.builtin.config_providers import (
    DictConfigProvider,
    EnvConfigProvider,
    TomlConfigProvider,
)
from stageflow.builtin.memory_io_manager import MemoryIOManager
from stageflow.builtin.memory_run_store import MemoryRunStore
from stageflow.builtin.sqlite_run_store import SqliteRunStore
from stageflow.contracts import (
    Clock,
    ConfigProvider,
    Health,
    HealthCheck,
    Healthy,
    IOManager,
    PartitionListing,
    Resource,
    RunDeletion,
    RunEvent,
    RunEventLog,
    RunListing,
    RunRecord,
    RunStatus,
    RunStore,
    SystemClock,
)
from stageflow.testing import TestClock


class PlainRunStore:
    async def create_run(self, run_id: UUID, *, service: str, **metadata: Any) -> dict[str, Any]:
        return {"run_id": run_id, "service": service, **metadata}

    async def update_status(self, run_id: UUID, status: str, **data: Any) -> None: ...

    async def get_run(self, run_id: UUID) -> RunRecord | None:
        return None


class PlainResource:
    def setup(self, config: Mapping[str, Any]) -> list[str]:
        return list(config)

    def teardown(self, resource: list[str]) -> None:
        resource.clear()


class AsyncResource:
    async def setup(self, config: Mapping[str, Any]) -> list[str]:
        return list(config)

    async def teardown(self, resource: list[str]) -> None:
        resource.clear()

    async def health_check(self, resource: list[str]) -> Health:
        return Healthy()


clocks: tuple[Clock, ...] = (SystemClock(), TestClock())
run_stores: tuple[RunStore, ...] = (MemoryRunStore(), SqliteRunStore("x"), PlainRunStore())
listings: tuple[RunListing, ...] = (MemoryRunStore(), SqliteRunStore("x"))
logs: tuple[RunEventLog, ...] = (MemoryRunStore(), SqliteRunStore("x"))
deletions: tuple[RunDeletion, ...] = (MemoryRunStore(), SqliteRunStore("x"))
io_managers: tuple[IOManager, ...] = (MemoryIOManager(),)
partition_listings: tuple[PartitionListing, ...] = (MemoryIOManager(),)
resources: tuple[Resource, ...] = (PlainResource(), AsyncResource())
health_checks: tuple[HealthCheck, ...] = (AsyncResource(),)
config_providers: tuple[ConfigProvider, ...] = (
    EnvConfigProvider(),
    DictConfigProvider({}),
    TomlConfigProvider("x"),
)


async def use(store: SqliteRunStore, run_id: UUID) -> None:
    assert_type(await store.create_run(run_id, service="voice", user="u-1"), RunRecord)
    record = await store.get_run(run_id)
    assert_type(record, RunRecord | None)
    if record is not None:
        assert_type(record.status, RunStatus)
        assert_type(record["user"], Any)
    assert_type(await store.list_runs(status="running"), Sequence[RunRecord])
    assert_type(await store.read_events(run_id), Sequence[RunEvent])
