"""Executions and decisions outlive the process; old decisions go when they are to go."""

from __future__ import annotations

from datetime import timedelta

import anyio
import pytest

from stageflow.builtin.coordinators import (
    MemoryRoutingCoordinatorSettings,
    SqliteCoordinatorSettings,
    SqliteRoutingCoordinatorSettings,
    make_memory_routing_coordinator,
    make_sqlite_routing_coordinator,
)
from stageflow.builtin.memory_parallel_coordinator import MemoryParallelCoordinator
from stageflow.builtin.routing_coordinators import (
    MemoryRoutingCoordinator,
    SqliteRoutingCoordinator,
)
from stageflow.builtin.sqlite_parallel_coordinator import SqliteParallelCoordinator
from stageflow.contracts.parallel_coordinator import UnknownBranchError
from stageflow.contracts.routing_coordinator import DecisionNotFoundError
from stageflow.testing import TestClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path):
    return tmp_path / "coordination.sqlite3"


async def test_an_execution_outlives_the_process(path):
    async with SqliteParallelCoordinator(path, synchronous="normal") as first:
        execution_id = await first.create_execution(
            "run", "asset", ["a", "b"], required=["a"], failure_mode="partial"
        )
        await first.schedule_branches(execution_id)
        await first.complete_branch(execution_id, "a", ("result", 1))
    async with SqliteParallelCoordinator(path, synchronous="normal") as second:
        state = await second.status(execution_id)
        assert (state.status, state.branches) == ("running", {"a": "ok", "b": "running"})
        await second.fail_branch(execution_id, "b", "broken")
        joined = await second.execute_join(execution_id, lambda found: found["a"].result)
        assert joined == ("result", 1)
    async with SqliteParallelCoordinator(path, synchronous="normal") as third:
        assert await third.execute_join(execution_id, lambda _: 1 / 0) == ("result", 1)
        assert "coordination.sqlite3" in repr(third)


async def test_two_processes_that_join_at_once_keep_one_result(path):
    async with (
        SqliteParallelCoordinator(path, synchronous="normal") as first,
        SqliteParallelCoordinator(path, synchronous="normal") as second,
    ):
        execution_id = await first.create_execution("run", "asset", ["a"])
        await first.complete_branch(execution_id, "a", 1)

        async def join(_):
            # The other one finishes in between.
            return await second.execute_join(execution_id, lambda _: "second"), "first"

        assert await first.execute_join(execution_id, join) == "second"


async def test_a_cancelled_join_leaves_the_next_one_free():
    async with MemoryParallelCoordinator() as coordinator:
        execution_id = await coordinator.create_execution("run", "asset", ["a"])
        await coordinator.complete_branch(execution_id, "a", 1)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(
                    coordinator.execute_join, execution_id, lambda _: anyio.sleep_forever()
                )
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
        assert coordinator._joins._locks == {}
        assert await coordinator.execute_join(execution_id, lambda found: found["a"]) == 1
        assert coordinator._joins._locks == {}


async def test_a_branch_that_is_misspelled_is_told_with_its_neighbours():
    async with MemoryParallelCoordinator() as coordinator:
        execution_id = await coordinator.create_execution("run", "asset", ["region", "zone"])
        with pytest.raises(UnknownBranchError, match="'region'") as caught:
            await coordinator.complete_branch(execution_id, "regoin", 1)
        assert caught.value.branch == "regoin"
        assert repr(coordinator) == "MemoryParallelCoordinator(1 executions)"


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_old_decisions_go_as_new_ones_come(kind, path):
    clock = TestClock()
    made = MemoryRoutingCoordinator(keep_for=timedelta(days=1), clock=clock)
    if kind == "sqlite":
        made = SqliteRoutingCoordinator(
            path, keep_for=timedelta(days=1), clock=clock, synchronous="normal"
        )
    async with made as coordinator:
        for hours in (0, 20, 10):
            clock.tick(hours * 3600)
            await coordinator.record(f"run {hours}", "router", None, "fast")
        with pytest.raises(DecisionNotFoundError, match="run 0"):
            await coordinator.get("run 0", "router", None)
        assert await coordinator.get("run 20", "router", None) == "fast"
        output = await coordinator.to_output("run~2010/router/-")
        assert output["decided_at"] == "2025-01-02T06:00:00.000000+00:00"
        assert await coordinator.prune(clock.now() - timedelta(hours=10)) == 0
        assert await coordinator.prune(clock.now()) == 1
        assert "Routing" in repr(coordinator)


async def test_a_decision_outlives_the_process(path):
    settings = SqliteRoutingCoordinatorSettings(path=path, synchronous="normal", keep_days=30)
    async with make_sqlite_routing_coordinator(settings) as first:
        decision_id = await first.record("run", "router", ("eu", 1), None, reason="half \ud800")
    async with make_sqlite_routing_coordinator(settings) as second:
        assert await second.record("run", "router", ("eu", 1), "fast") == decision_id
        assert await second.get("run", "router", ("eu", 1)) is None
        assert (await second.to_output(decision_id))["reason"] == "half \\ud800"


async def test_routing_coordinators_are_made_as_their_settings_say():
    async with make_memory_routing_coordinator(
        MemoryRoutingCoordinatorSettings(keep_days=0.5)
    ) as coordinator:
        assert coordinator._keep_for == timedelta(hours=12)
    assert MemoryRoutingCoordinatorSettings().keep_days is None
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="keep_days"):
            SqliteRoutingCoordinatorSettings(keep_days=wrong)
    with pytest.raises(ValueError, match="busy_timeout"):
        SqliteCoordinatorSettings(busy_timeout=-1)
