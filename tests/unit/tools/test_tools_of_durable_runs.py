"""Calls of runs that leave memory, or lose their process, while somebody decides on them."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import UUID

import anyio
import anyio.lowlevel
import pytest

from stageflow import Pipeline, Runtime, StageKind, StageOutput
from stageflow.builtin.memory_run_store import MemoryRunStore
from stageflow.builtin.sqlite_run_store import SqliteRunStore
from stageflow.contracts.storage import StorageError
from stageflow.errors import StageflowError
from stageflow.testing import TestClock
from stageflow.testing.faults import Faults, FaultyStore
from stageflow.tools import (
    AdvancedToolExecutor,
    ApprovalService,
    MemoryApprovalLog,
    SharedApprovalLog,
    SharedUndoLog,
    ToolExecutorConfig,
    ToolOutput,
    ToolStage,
    open_approvals,
    open_undo,
)
from support.tools import call, definition

pytestmark = pytest.mark.anyio
RUN = UUID(int=7)
CALLS = [call("PAY", "c1", n=1), call("LOOK", "c2", n=2), call("PAY", "c3", n=3)]


class DeadError(StorageError):
    """The process has ended, as far as its store is concerned."""

    code = "SF480"

    def __init__(self):
        super().__init__("This process has ended.", storage="Mortal")


class Mortal(FaultyStore):
    """A store that nothing comes out of or into any more once its process has ended."""

    def __init__(self, store, faults=""):
        super().__init__(store, Faults(faults, call=self.kill))
        self.is_dead = False

    def kill(self, _=""):
        self.is_dead = True

    async def _between(self, method, *args, **given):
        for when in ("before", "after"):
            await self.faults.reach(f"{method}.{when}")
            if self.is_dead:
                raise DeadError
            if when == "before":
                result = await getattr(self.store, method)(*args, **given)
        return result

    async def __aexit__(self, *_):
        """What is shared outlives each process."""


class Shop:
    """What processes come and go in: the outside world, the store, and the time."""

    def __init__(self, store, clock, calls=CALLS):
        self.store, self.clock = store, clock
        self.calls = calls
        self.paid, self.looked, self.events = [], [], []
        self.asked_model = 0

    async def pay(self, given):
        self.paid.append(given.payload["n"])
        return ToolOutput.ok({"paid": given.payload["n"]}, None, {"n": given.payload["n"]})

    async def take_back(self, metadata):
        self.paid.remove(metadata.undo_data["n"])

    async def look(self, given):
        self.looked.append(given.payload["n"])
        return ToolOutput.ok({"seen": given.payload["n"]})

    def pipeline(self, approvals, undo=None, seconds=3_600):
        tools = [
            definition(
                "PAY",
                self.pay,
                requires_approval=True,
                undoable=True,
                undo_handler=self.take_back,
            ),
            definition("LOOK", self.look),
        ]
        executor = AdvancedToolExecutor(
            ToolExecutorConfig(approval_timeout_seconds=seconds),
            approval_service=approvals,
            undo_store=undo,
            tools=tools,
            clock=self.clock,
        )

        async def model(ctx):
            self.asked_model += 1
            return StageOutput.ok(tool_calls=self.calls)

        pipeline = (
            Pipeline("shop")
            .with_stage("model", model, StageKind.TRANSFORM)
            .with_stage("tools", ToolStage(executor), StageKind.AGENT, ["model"])
        )
        return executor, pipeline

    @asynccontextmanager
    async def process(self, faults="", **options):
        """A process that uses the shop."""
        mortal = Mortal(self.store, faults)
        async with AsyncExitStack() as stack:
            runtime = await stack.enter_async_context(
                Runtime(run_store=mortal, event_sink=self, clock=self.clock, durability="step")
            )
            approvals = await stack.enter_async_context(open_approvals(runtime, clock=self.clock))
            undo = await stack.enter_async_context(open_undo(runtime, clock=self.clock))
            executor, pipeline = self.pipeline(approvals, undo, **options)
            yield Process(runtime, mortal, approvals, executor, pipeline)

    async def decide(self, granted=True, only=None, **more):
        """Decide what is pending, as another process would."""
        async with self.process() as process:
            for request in await process.approvals.get_pending_requests():
                if only is None or request.payload["n"] in only:
                    await process.approvals.record_decision(request.id, granted, "ada", **more)

    def try_emit(self, *, type, data):
        if type.startswith(("tool.", "approval.")):
            self.events.append((type, data))

    async def emit(self, *, type, data):
        self.try_emit(type=type, data=data)

    def count(self, type):
        return sum(told == type for told, _ in self.events)


class Process:
    def __init__(self, runtime, store, approvals, executor, pipeline):
        self.runtime, self.store, self.approvals = runtime, store, approvals
        self.executor, self.pipeline = executor, pipeline

    async def run(self, **given):
        given = {"run_id": RUN, "raise_on_error": False, **given}
        return await self.runtime.run(self.pipeline, **given)

    async def resume(self, **given):
        given = {"raise_on_error": False, **given}
        return await self.runtime.resume(RUN, self.pipeline, **given)


@pytest.fixture
def clock():
    return TestClock()


@pytest.fixture(params=["memory", "sqlite"])
async def shop(request, tmp_path, clock):
    if request.param == "memory":
        yield Shop(MemoryRunStore(clock=clock), clock)
    else:
        path = tmp_path / "runs.sqlite3"
        async with SqliteRunStore(path, synchronous="normal", clock=clock) as store:
            yield Shop(store, clock)


def statuses(outcome):
    return [each["status"] for each in outcome.outputs["tools"].data["results"]]


async def test_a_run_leaves_memory_until_all_its_calls_are_decided_on(shop):
    async with shop.process() as process:
        outcome = await process.run(park=True)
    assert outcome.status == "waiting"
    assert (shop.paid, shop.looked) == ([], [])
    assert shop.count("tool.failed") == 0  # no call is over
    await shop.decide(only={1})
    async with shop.process() as process:
        for recovery in await process.runtime.recover(process.pipeline, park=True):
            assert recovery.error is None
            assert recovery.outcome.status == "waiting"
    assert (shop.paid, shop.looked) == ([], [])
    await shop.decide(False, only={3})
    async with shop.process() as process:
        (recovery,) = await process.runtime.recover(process.pipeline, park=True)
    assert recovery.outcome.status == "completed"
    assert statuses(recovery.outcome) == ["completed", "completed", "rejected"]
    assert (shop.paid, shop.looked, shop.asked_model) == ([1], [2], 1)
    assert shop.count("tool.completed") == 2
    decided = [data for told, data in shop.events if told == "approval.decided"]
    assert {data["decided_by"] for data in decided} == {"ada"}


async def test_a_run_that_stays_in_memory_goes_on_at_once(shop):
    outcomes = []
    async with shop.process() as process, anyio.create_task_group() as group:

        async def run():
            outcomes.append(await process.run())

        group.start_soon(run)
        while len(await process.approvals.get_pending_requests()) < 2:
            await anyio.lowlevel.checkpoint()
        for request in await process.approvals.get_pending_requests():
            await process.approvals.record_decision(request.id, True, "ada")
    assert statuses(outcomes[0]) == ["completed"] * 3
    assert sorted(shop.paid) == [1, 3]


async def test_a_run_whose_time_is_over_goes_on_without_its_calls(shop, clock):
    async with shop.process(seconds=60) as process:
        outcome = await process.run(park=True)
        assert outcome.status == "waiting"
    clock.tick(61)
    async with shop.process(seconds=60) as process:
        outcome = await process.resume(park=True)
    assert outcome.status == "completed"
    assert statuses(outcome) == ["expired", "completed", "expired"]
    assert shop.paid == []


async def test_v03_a_signal_that_nobody_decided_grants_nothing(shop):
    async with shop.process() as process:
        await process.run(park=True)
        for request in await process.approvals.get_pending_requests():
            name = f"approval.{request.id}"
            await process.runtime.signal(RUN, name, {"granted": True}, resume=False)
        outcome = await process.resume(park=True)
    assert outcome.status == "waiting"
    assert shop.paid == []
    await shop.decide()
    async with shop.process() as process:
        outcome = await process.resume(park=True)
    assert statuses(outcome) == ["completed"] * 3
    assert sorted(shop.paid) == [1, 3]


async def test_a_decision_that_was_recorded_but_not_told_is_told_when_it_is_repeated(shop):
    async with shop.process() as process:
        await process.run(park=True)
        pending = await process.approvals.get_pending_requests()
    silent = ApprovalService(log=SharedApprovalLog(shop.store), clock=shop.clock)
    for request in pending:
        await silent.record_decision(request.id, True, "ada")
    async with shop.process() as process:
        assert await process.runtime.recover(process.pipeline, park=True) == []
        for request in pending:
            await process.approvals.record_decision(request.id, True, "ada")
        (recovery,) = await process.runtime.recover(process.pipeline, park=True)
    assert statuses(recovery.outcome) == ["completed"] * 3


async def test_a_run_that_is_cancelled_while_it_waits_ends_its_calls(shop):
    async with shop.process() as process, anyio.create_task_group() as group:
        group.start_soon(process.run)
        while len(await process.approvals.get_pending_requests()) < 2:
            await anyio.lowlevel.checkpoint()
        process.runtime.stop(RUN)
    assert shop.paid == []
    assert shop.count("tool.failed") == 3


async def test_a_decision_on_a_run_that_has_ended_stands_all_the_same(shop):
    async with shop.process() as process:
        await process.run(park=True)
        await process.runtime.cancel(RUN)
        for request in await process.approvals.get_pending_requests():
            decision = await process.approvals.record_decision(request.id, True, "ada")
            assert decision.granted
    assert shop.paid == []


@pytest.mark.slow
async def test_a_process_dies_at_any_point_and_no_call_runs_twice(shop):
    """Die at each point of the store in turn, before or after each decision and execution."""
    shop.calls = CALLS[:2]

    async def live(faults, run_id, **resume):
        async with shop.process(faults) as process:
            given = {"run_id": run_id, "raise_on_error": False, "park": True}
            try:
                if resume:
                    await process.runtime.resume(
                        run_id, process.pipeline, park=True, raise_on_error=False
                    )
                else:
                    await process.runtime.run(process.pipeline, **given)
            except StorageError:
                return process.store
            return process.store

    # An undisturbed run shows the points there are, in its first life and in its second.
    first = (await live("", UUID(int=100))).faults.reached
    await shop.decide()
    second = (await live("", UUID(int=100), resume=True)).faults.reached
    assert shop.paid == [1]
    unknown, lost = Counter(), []
    for number, (life, point) in enumerate(
        [(1, each) for each in first] + [(2, each) for each in second], start=200
    ):
        shop.paid.clear()
        run_id = UUID(int=number)
        store = await live(f"{point}=call" if life == 1 else "", run_id)
        if life == 1 and await shop.store.get_run(run_id) is None:
            continue  # it died before there was a run
        await shop.decide()
        if life == 2:
            store = await live(f"{point}=call", run_id, resume=True)
        assert store.is_dead, point
        outcome = None
        for _ in range(3):  # decide what the next life asks
            shop.clock.tick(61)
            await shop.decide()
            async with shop.process() as process:
                try:
                    outcome = await process.runtime.resume(
                        run_id, process.pipeline, park=True, raise_on_error=False
                    )
                except StageflowError:
                    break
            if outcome.status != "waiting":
                break
        if outcome is None:
            lost.append(point)
            continue
        assert outcome.status == "completed", (life, point, outcome)
        status = statuses(outcome)[0]
        unknown[status] += 1
        assert shop.paid == [1] or (status == "unknown" and shop.paid in ([], [1])), (
            life,
            point,
            status,
            shop.paid,
        )
    # Too little is kept of a run to go on with it only until it has begun.
    assert all(point in first[:8] for point in lost), lost
    assert unknown["completed"] > 20
    assert 0 < unknown["unknown"] < 10


async def test_another_process_undoes_what_was_done_once(shop):
    async with shop.process() as process:
        await process.run(park=True)
    await shop.decide()
    async with shop.process() as process:
        outcome = await process.resume(park=True)
    (first, _, second) = [
        UUID(each["action_id"]) for each in outcome.outputs["tools"].data["results"]
    ]
    async with shop.process() as one, shop.process() as other:
        assert await one.executor.undo_action(first, None) is True
        assert shop.paid == [3]
        assert await other.executor.undo_action(first, None) is False
        assert await other.executor.undo_action(second, None) is True
    assert shop.paid == []


async def test_without_approvals_that_wake_runs_a_durable_run_waits_in_memory(clock):
    shop = Shop(MemoryRunStore(clock=clock), clock)
    approvals = ApprovalService(log=MemoryApprovalLog(), clock=clock)
    _, pipeline = shop.pipeline(approvals)
    outcomes = []
    async with (
        Runtime(run_store=shop.store, clock=clock) as runtime,
        anyio.create_task_group() as g,
    ):

        async def run():
            outcomes.append(await runtime.run(pipeline, park=True))

        g.start_soon(run)
        while len(await approvals.get_pending_requests()) < 2:
            await anyio.lowlevel.checkpoint()
        while not shop.looked:  # each call runs as soon as it may
            await anyio.lowlevel.checkpoint()
        for request in await approvals.get_pending_requests():
            await approvals.record_decision(request.id, True)
    assert statuses(outcomes[0]) == ["completed"] * 3


async def test_without_durability_each_call_runs_when_it_is_decided_on_itself(clock):
    shop = Shop(MemoryRunStore(clock=clock), clock)
    outcomes = []
    async with (
        Runtime(run_store=shop.store, clock=clock) as runtime,
        open_approvals(runtime, clock=clock) as approvals,
        anyio.create_task_group() as group,
    ):
        _, pipeline = shop.pipeline(approvals)

        async def run():
            outcomes.append(await runtime.run(pipeline))

        group.start_soon(run)
        while len(await approvals.get_pending_requests()) < 2 or not shop.looked:
            await anyio.lowlevel.checkpoint()
        one, other = await approvals.get_pending_requests()
        await approvals.record_decision(one.id, True)
        while not shop.paid:
            await anyio.lowlevel.checkpoint()
        await approvals.record_decision(other.id, True)
    assert statuses(outcomes[0]) == ["completed"] * 3


async def test_a_hundred_executions_over_one_store_lose_none(shop):
    async with shop.process() as process:
        calls = [call("PAY", f"c{n}", n=n) for n in range(100)]
        results, seen = [], set()

        async def carry_out():
            results.extend(await process.executor.execute_calls(calls, None, key="batch"))

        async with anyio.create_task_group() as group:
            group.start_soon(carry_out)
            while len(seen) < 100:
                for request in await process.approvals.get_pending_requests():
                    number = request.payload["n"]
                    if request.id not in seen:
                        seen.add(request.id)
                        if number % 3 == 2:
                            await process.approvals.cancel_request(request.id)
                        else:
                            await process.approvals.record_decision(
                                request.id, number % 3 == 0, "ada"
                            )
                await anyio.lowlevel.checkpoint()
    found = Counter(each.status.value for each in results)
    assert found == {"completed": 34, "rejected": 66}
    assert sorted(shop.paid) == list(range(0, 100, 3))
    assert [each.call_id for each in results] == [f"c{n}" for n in range(100)]


# --- what is opened -----------------------------------------------------------------


async def test_logs_lie_beside_the_runs_where_the_store_can_keep_them(clock):
    async with (
        Runtime(run_store=MemoryRunStore(clock=clock)) as runtime,
        open_approvals(runtime) as approvals,
        open_undo(runtime, 5.0) as undo,
    ):
        assert isinstance(approvals.log, SharedApprovalLog)
        assert isinstance(undo.log, SharedUndoLog)
        assert not isinstance(approvals.log, MemoryApprovalLog)
        assert approvals.wakes_runs
        assert undo.default_ttl_seconds == 5.0


async def test_they_lie_in_memory_otherwise():
    async with (
        Runtime() as runtime,
        open_approvals(runtime, 7.0) as approvals,
        open_undo(runtime) as undo,
    ):
        assert isinstance(approvals.log, MemoryApprovalLog)
        assert not approvals.wakes_runs
        assert approvals.default_timeout_seconds == 7.0
        assert len(undo) == 0


async def test_the_settings_may_choose_others(tmp_path):
    (tmp_path / "stageflow.toml").write_text(
        'approval_log = "memory"\nundo_log = "memory"\nrun_store = "memory"\n'
    )
    async with (
        Runtime.from_settings(directory=tmp_path) as runtime,
        open_approvals(runtime) as approvals,
        open_undo(runtime) as undo,
    ):
        assert isinstance(approvals.log, MemoryApprovalLog)
        assert len(undo) == 0


def test_both_contracts_are_declared_by_this_distribution(tmp_path):
    from stageflow.plugins import Plugins

    plugins = Plugins.load(directory=tmp_path, environ={})
    for contract in ("approval_log", "undo_log"):
        registry = plugins.registry(contract)
        assert registry.contract.origin.startswith("stageflow-tools ")
        found = {entry.name: entry for entry in registry.list()}
        assert found["memory"].contract_version == "1.0"
