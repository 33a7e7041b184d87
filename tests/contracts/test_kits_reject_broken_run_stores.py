"""The kit of run stores notices each broken clause, and blames no other."""

from __future__ import annotations

from itertools import count

import anyio
import anyio.lowlevel
import attrs
import pytest

from stageflow.builtin.memory_run_store import MemoryRunStore
from stageflow.contracts.checkpoints import RunCheckpoints, RunRetention
from stageflow.contracts.run_store import (
    RunDeletion,
    RunEventLog,
    RunListing,
    RunNotFoundError,
    RunStatus,
    RunStore,
    RunStoreCapabilities,
)
from stageflow.contracts.shared_values import SharedValues
from stageflow.contracts.waits import RunWaits
from stageflow.testing.conformance import clauses_of, failed_clauses
from support.broken_run_stores import Kit, failures_of, named_clauses

pytestmark = pytest.mark.anyio


class ForgetsTheMode(MemoryRunStore):
    """RS-1"""

    async def create_run(self, run_id, *, execution_mode=None, **given):
        return await super().create_run(run_id, **given)


class FindsAnotherRun(MemoryRunStore):
    """RS-2"""

    async def get_run(self, run_id):
        only = [run for run in self._runs.values() if len(self._runs) == 1 and not run.metadata]
        return await super().get_run(run_id) or (self._decode(only[0]) if only else None)


class GivesDictionaries(MemoryRunStore):
    """RS-3"""

    async def get_run(self, run_id):
        found = await super().get_run(run_id)
        return found and dict(found)


class Overwrites(MemoryRunStore):
    """RS-4"""

    async def create_run(self, run_id, **given):
        self._runs.pop(run_id, None)
        return await super().create_run(run_id, **given)


class ForgetsTheError(MemoryRunStore):
    """RS-5"""

    async def update_status(self, run_id, status, *, error=None, **data):
        await super().update_status(run_id, status, error=error, **data)
        run = self._runs[run_id]
        run.record = attrs.evolve(run.record, error=error)


class UpdatesCreate(MemoryRunStore):
    """RS-6"""

    async def update_status(self, run_id, status, **data):
        if run_id not in self._runs:
            await self.create_run(run_id, service="?")
        await super().update_status(run_id, status, **data)


class TakesAnyStatus(MemoryRunStore):
    """RS-7"""

    async def update_status(self, run_id, status, **data):
        known = {*RunStatus, "done"}
        await super().update_status(run_id, status if status in known else "running", **data)


class GoesAnywhere(MemoryRunStore):
    """RS-8"""

    async def update_status(self, run_id, status, **data):
        if status in set(RunStatus) and run_id in self._runs:
            run = self._runs[run_id]
            if not run.record.status.may_become(RunStatus(status)):
                run.record = attrs.evolve(run.record, status="running")
                run.record = attrs.evolve(run.record, status=status)
                run.metadata.update(self._encode(data))
                return
        await super().update_status(run_id, status, **data)


class CannotRepeat(MemoryRunStore):
    """RS-9"""

    async def update_status(self, run_id, status, **data):
        run = self._runs.get(run_id)
        if run is not None and run.record.status == status and run.record.status.is_final:
            raise RuntimeError("it has ended already")
        await super().update_status(run_id, status, **data)


class KeepsTheOldError(MemoryRunStore):
    """RS-10"""

    async def update_status(self, run_id, status, *, error=None, **data):
        old = self._runs[run_id].record.error if run_id in self._runs else None
        await super().update_status(run_id, status, error=error or old, **data)


class MakesTuplesLists(MemoryRunStore):
    """RS-11"""

    async def create_run(self, run_id, **given):
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in given.items()}
        return await super().create_run(run_id, **plain)


class HandsOutItsOwn(MemoryRunStore):
    """RS-12"""

    def __init__(self, **given):
        super().__init__(**given)
        self._handed_out = {}

    def _decode(self, run):
        key = (run.record, tuple(run.metadata.items()))
        return self._handed_out.setdefault(key, super()._decode(run))


class LosesUpdates(MemoryRunStore):
    """RS-13"""

    async def update_status(self, run_id, status, *, error=None, duration_ms=None, **data):
        before = dict(self._runs[run_id].metadata) if run_id in self._runs else {}
        await anyio.lowlevel.checkpoint()
        await super().update_status(run_id, status, error=error, duration_ms=duration_ms, **data)
        self._runs[run_id].metadata = before | self._encode(data)


class WritesInTwoSteps(MemoryRunStore):
    """RS-14"""

    async def update_status(self, run_id, status, *, error=None, duration_ms=None, **data):
        self._encode(data)
        await super().update_status(run_id, status, error=error, duration_ms=duration_ms)
        await anyio.lowlevel.checkpoint()
        await super().update_status(run_id, status, **data)


class CreatesInTwoSteps(MemoryRunStore):
    """RS-14"""

    async def create_run(self, run_id, *, service, status="created", **given):
        self._encode({k: v for k, v in given.items() if k not in {"topology", "execution_mode"}})
        await super().create_run(run_id, service=service, status=status)
        await anyio.lowlevel.checkpoint()
        await super().delete_run(run_id)
        return await super().create_run(run_id, service=service, status=status, **given)


class SwallowsCancellation(MemoryRunStore):
    """RS-14"""

    async def update_status(self, run_id, status, **data):
        try:
            await anyio.lowlevel.checkpoint()
        except anyio.get_cancelled_exc_class():
            return
        await super().update_status(run_id, status, **data)


class StaysOpen(MemoryRunStore):
    """RS-15"""

    async def aclose(self):
        return None


class ListsInAnyOrder(MemoryRunStore):
    """RS-16"""

    async def list_runs(self, *, limit=100, **given):
        listed = await super().list_runs(limit=limit, **given)
        return listed[::-1] if limit == 100 else listed


class ListsEveryService(MemoryRunStore):
    """RS-17"""

    async def list_runs(self, *, service=None, **given):
        return await super().list_runs(**given)


class RepeatsTheLastOfThePage(MemoryRunStore):
    """RS-18"""

    async def list_runs(self, *, before=None, limit=100, **given):
        listed = await super().list_runs(before=before, limit=limit, **given)
        return listed if before is None else (await self.get_run(before), *listed)[:limit]


class NumbersAcrossRuns(MemoryRunStore):
    """RS-19"""

    def __init__(self, **given):
        super().__init__(**given)
        self._numbers = {}

    async def append_events(self, run_id, events):
        last = await super().append_events(run_id, events)
        known = self._numbers.setdefault(run_id, len(self._numbers) * 100)
        return last + known

    async def read_events(self, run_id, **given):
        events = await super().read_events(run_id, **given)
        base = self._numbers.get(run_id, 0)
        return [attrs.evolve(event, number=event.number + base) for event in events]


class IgnoresTheLimit(MemoryRunStore):
    """RS-20"""

    async def read_events(self, run_id, *, after=0, limit=None):
        return await super().read_events(run_id, after=after)


class LogsForAnybody(MemoryRunStore):
    """RS-21"""

    async def append_events(self, run_id, events):
        try:
            return await super().append_events(run_id, events)
        except RunNotFoundError:
            return 0


class MixesCalls(MemoryRunStore):
    """RS-22"""

    async def append_events(self, run_id, events):
        events = list(events)
        for event in events:
            self._codec.encode(event.data)
        last = await super().append_events(run_id, [])
        with anyio.CancelScope(shield=True):
            for event in events:
                last = await super().append_events(run_id, [event])
                await anyio.lowlevel.checkpoint()
        return last


class AppendsOneByOne(MemoryRunStore):
    """RS-23"""

    def __init__(self, **given):
        super().__init__(**given)
        self._lock = anyio.Lock()

    async def append_events(self, run_id, events):
        async with self._lock:
            last = await super().append_events(run_id, [])
            for event in events:
                last = await super().append_events(run_id, [event])
                await anyio.lowlevel.checkpoint()
            return last


class KeepsEventsOfTheDeleted(MemoryRunStore):
    """RS-24"""

    def __init__(self, **given):
        super().__init__(**given)
        self._kept = {}

    async def delete_run(self, run_id):
        if run_id in self._runs:
            self._kept[run_id] = self._runs[run_id].events
        return await super().delete_run(run_id)

    async def create_run(self, run_id, **given):
        record = await super().create_run(run_id, **given)
        self._runs[run_id].events = self._kept.get(run_id, [])
        return record


class AlwaysSaysDeleted(MemoryRunStore):
    """RS-25"""

    async def delete_run(self, run_id):
        await super().delete_run(run_id)
        return True


class PromisesTooLittle(MemoryRunStore):
    """RS-26"""

    capabilities = RunStoreCapabilities(listing=True)


CAPABILITIES = {
    "listing": RunListing,
    "event_log": RunEventLog,
    "deletion": RunDeletion,
    "checkpoints": RunCheckpoints,
    "retention": RunRetention,
    "waits": RunWaits,
    "shared_values": SharedValues,
}
BROKEN = [
    ForgetsTheMode,
    FindsAnotherRun,
    GivesDictionaries,
    Overwrites,
    ForgetsTheError,
    UpdatesCreate,
    TakesAnyStatus,
    GoesAnywhere,
    CannotRepeat,
    KeepsTheOldError,
    MakesTuplesLists,
    HandsOutItsOwn,
    LosesUpdates,
    WritesInTwoSteps,
    CreatesInTwoSteps,
    SwallowsCancellation,
    StaysOpen,
    ListsInAnyOrder,
    ListsEveryService,
    RepeatsTheLastOfThePage,
    NumbersAcrossRuns,
    IgnoresTheLimit,
    LogsForAnybody,
    MixesCalls,
    AppendsOneByOne,
    KeepsEventsOfTheDeleted,
    AlwaysSaysDeleted,
    PromisesTooLittle,
]


def test_every_clause_has_a_test():
    clauses = clauses_of(*Kit.contracts)
    numbers = (f"RS-{number}" for number in count(1))
    assert sorted(clauses) == sorted(next(numbers) for _ in clauses)
    assert Kit.proofs().keys() == clauses.keys()


def test_every_clause_of_the_record_has_a_broken_store():
    clauses = clauses_of(RunStore, RunListing, RunEventLog, RunDeletion)
    assert named_clauses(BROKEN) == clauses.keys()


async def test_a_good_store_fails_nothing():
    assert await failures_of(MemoryRunStore) == {}


@pytest.mark.parametrize(
    "declared",
    [
        (),
        ("event_log",),
        ("deletion",),
        ("checkpoints",),
        ("retention",),
        ("checkpoints", "waits"),
        ("checkpoints", "retention", "deletion"),
        ("shared_values",),
    ],
    ids="+".join,
)
async def test_what_is_not_declared_is_not_asked_for(declared):
    """A store of three methods, and of those that it declares, is a good store."""
    chosen = RunStoreCapabilities(**dict.fromkeys(declared, True))
    contracts = {contract for name, contract in CAPABILITIES.items() if name in declared}
    known = {name for contract in (RunStore, *contracts) for name in vars(contract)} | {"aclose"}

    class Narrow:
        capabilities = chosen

        def __init__(self, inner):
            for name in known:
                if not name.startswith("_"):
                    setattr(self, name, getattr(inner, name))

    class NarrowKit(Kit):
        capabilities = chosen

    clock = Kit.clock
    assert await failed_clauses(NarrowKit, lambda: Narrow(MemoryRunStore(clock=clock))) == {}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
async def test_a_broken_store_fails_exactly_its_clause(broken):
    failures = await failures_of(broken)
    assert ", ".join(failures) == broken.__doc__, failures
