"""The kit of run stores notices each broken clause about waits and signals.

The first clause that a broken store names is the one it is about. Where it names more, the
others cannot be kept without the first.
"""

from __future__ import annotations

from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import attrs
import pytest

from stageflow.builtin.memory_run_store import MemoryRunStore
from stageflow.contracts.checkpoints import LeaseLostError
from stageflow.contracts.run_store import RunStatus
from stageflow.contracts.waits import RunNews, RunWaits, SignalReceipt, WaitState
from stageflow.testing.conformance import clauses_of
from support.broken_run_stores import failures_of, named_clauses

pytestmark = pytest.mark.anyio


# --- opening --------------------------------------------------------------------


class ReopensWithNewTimes(MemoryRunStore):
    """RS-44"""

    async def open_wait(self, lease, wait_id, *, timeout=None, **given):
        wait = await super().open_wait(lease, wait_id, timeout=timeout, **given)
        if wait.state is WaitState.OPEN and timeout is not None:
            wait = attrs.evolve(wait, created_at=self._clock.now())
            self._runs[lease.run_id].waits[wait_id] = wait
        return wait


class ReopensTheTimedOut(MemoryRunStore):
    """RS-44, RS-52"""

    async def open_wait(self, lease, wait_id, **given):
        wait = await super().open_wait(lease, wait_id, **given)
        if wait.state is WaitState.TIMED_OUT:
            wait = attrs.evolve(wait, state=WaitState.OPEN)
            self._runs[lease.run_id].waits[wait_id] = wait
        return wait


class ForgetsTheDeadline(MemoryRunStore):
    """RS-44, RS-38"""

    async def open_wait(self, lease, wait_id, *, timeout=None, **given):
        return await super().open_wait(lease, wait_id, **given)


class OpensInTwoSteps(MemoryRunStore):
    """RS-44"""

    async def open_wait(self, lease, wait_id, *, stage, **given):
        waits = await self.list_waits(lease.run_id)
        is_new = all(wait.wait_id != wait_id for wait in waits)
        if is_new and len(waits) == 0 and given.get("timeout"):
            await anyio.lowlevel.checkpoint()
            self._runs[lease.run_id].waits.pop(wait_id, None)
        return await super().open_wait(lease, wait_id, stage=stage, **given)


# --- signals --------------------------------------------------------------------


class AnswersTheNewest(MemoryRunStore):
    """RS-45, RS-47"""

    async def signal_run(self, run_id, name, value, **given):
        if run_id in self._runs and (opened := self._runs[run_id].open_waits.get(name)):
            opened.reverse()
            try:
                return await super().signal_run(run_id, name, value, **given)
            finally:
                opened.reverse()
        return await super().signal_run(run_id, name, value, **given)


class LosesEarlySignals(MemoryRunStore):
    """RS-45, RS-14, RS-40, RS-46, RS-47, RS-50"""

    async def signal_run(self, run_id, name, value, **given):
        receipt = await super().signal_run(run_id, name, value, **given)
        self._runs[run_id].kept_signals.clear()
        return receipt


class KeepsTheLastSignalOnly(MemoryRunStore):
    """RS-45, RS-46"""

    async def signal_run(self, run_id, name, value, **given):
        receipt = await super().signal_run(run_id, name, value, **given)
        kept = self._runs[run_id].kept_signals.get(name)
        while kept and len(kept) > 1:
            kept.popleft()
        return receipt


class AnswersNoOverdueWait(MemoryRunStore):
    """RS-45"""

    async def signal_run(self, run_id, name, value, **given):
        run = self._runs.get(run_id)
        for wait_id, wait in run.waits.items() if run else ():
            overdue = wait.deadline is not None and wait.deadline <= self._clock.now()
            if overdue and wait.state is WaitState.OPEN:
                run.waits[wait_id] = attrs.evolve(wait, state=WaitState.TIMED_OUT)
        return await super().signal_run(run_id, name, value, **given)


class ConsumesASignalTwice(MemoryRunStore):
    """RS-46, RS-45, RS-47"""

    async def open_wait(self, lease, wait_id, *, name, **given):
        run = self._runs.get(lease.run_id)
        is_new = run is not None and wait_id not in run.waits
        wait = await super().open_wait(lease, wait_id, name=name, **given)
        if is_new and wait.value is not None:
            run.kept_signals[name].appendleft(wait.value)
        return wait


class AnswersInTwoSteps(MemoryRunStore):
    """RS-46"""

    async def signal_run(self, run_id, name, value, **given):
        run = self._runs.get(run_id)
        waits = list(run.waits.values()) if run else []
        found = [wait for wait in waits if wait.name == name and wait.state is WaitState.OPEN]
        if len(found) > 1 and not given:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            answered = attrs.evolve(found[0], state=WaitState.ANSWERED, value=value)
            run.waits[found[0].wait_id] = answered
            return SignalReceipt(wait_id=found[0].wait_id)
        return await super().signal_run(run_id, name, value, **given)


class ChangesTheAnswer(MemoryRunStore):
    """RS-46"""

    async def signal_run(self, run_id, name, value, **given):
        receipt = await super().signal_run(run_id, name, value, **given)
        run = self._runs[run_id]
        for wait_id, wait in run.waits.items():
            was_answered = wait.name == name and wait.state is WaitState.ANSWERED
            if receipt.wait_id is None and len(run.waits) == 1 and was_answered:
                run.waits[wait_id] = attrs.evolve(wait, value=value)
        return receipt


class IgnoresTheIdsOfSignals(MemoryRunStore):
    """RS-47, RS-14"""

    async def signal_run(self, run_id, name, value, *, signal_id=None):
        return await super().signal_run(run_id, name, value)


class CountsIdsAcrossRuns(MemoryRunStore):
    """RS-47"""

    async def signal_run(self, run_id, name, value, *, signal_id=None):
        for run in self._runs.values():
            is_running = run_id in self._runs and run.record.status is RunStatus.RUNNING
            if is_running and signal_id in run.signal_ids and len(run.waits) > 2:
                return SignalReceipt(wait_id=run.signal_ids[signal_id], repeated=True)
        return await super().signal_run(run_id, name, value, signal_id=signal_id)


class LooksAtTheIdTooEarly(MemoryRunStore):
    """RS-47"""

    async def signal_run(self, run_id, name, value, *, signal_id=None):
        run = self._runs.get(run_id)
        is_new = run is not None and signal_id is not None and signal_id not in run.signal_ids
        if is_new and len(run.waits) == 4:
            await anyio.lowlevel.checkpoint()
            run.signal_ids.pop(signal_id, None)
        return await super().signal_run(run_id, name, value, signal_id=signal_id)


class AnswersARepetitionAnew(MemoryRunStore):
    """RS-47"""

    async def signal_run(self, run_id, name, value, **given):
        receipt = await super().signal_run(run_id, name, value, **given)
        return attrs.evolve(receipt, wait_id=None) if receipt.repeated else receipt


class KeepsSignalsForTheEnded(MemoryRunStore):
    """RS-48"""

    async def signal_run(self, run_id, name, value, **given):
        run = self._runs.get(run_id)
        if run is not None and run.record.status.is_final:
            record = run.record
            run.record = attrs.evolve(record, status="running")
            await super().signal_run(run_id, name, value)
            run.record = record
        return await super().signal_run(run_id, name, value, **given)


class KeepsIdsOfTheRefused(MemoryRunStore):
    """RS-48"""

    async def signal_run(self, run_id, name, value, *, signal_id=None):
        run = self._runs.get(run_id)
        try:
            return await super().signal_run(run_id, name, value, signal_id=signal_id)
        finally:
            if run is not None and run.record.status.is_final and signal_id is not None:
                run.signal_ids.setdefault(signal_id, None)


class TakesSignalsForTheEnded(MemoryRunStore):
    """RS-48"""

    async def signal_run(self, run_id, name, value, **given):
        run = self._runs.get(run_id)
        if run is not None and run.record.status is RunStatus.CANCELLED:
            return SignalReceipt(wait_id=None)
        return await super().signal_run(run_id, name, value, **given)


# --- expiry, and who may do this ------------------------------------------------


class ExpiresTheAnswered(MemoryRunStore):
    """RS-49, RS-45, RS-46"""

    async def expire_wait(self, lease, wait_id):
        wait = await super().expire_wait(lease, wait_id)
        wait = attrs.evolve(wait, state=WaitState.TIMED_OUT, value=None)
        self._runs[lease.run_id].waits[wait_id] = wait
        return wait


class ExpiresByTheClock(MemoryRunStore):
    """RS-49"""

    async def expire_wait(self, lease, wait_id):
        self._check_open()
        self._owned(lease)
        for wait in await self.list_waits(lease.run_id):
            is_early = wait.deadline is not None and wait.deadline > self._clock.now()
            if wait.wait_id == wait_id and is_early:
                return wait
        return await super().expire_wait(lease, wait_id)


class ExpiresWhatIsNotThere(MemoryRunStore):
    """RS-49"""

    async def expire_wait(self, lease, wait_id):
        self._check_open()
        run = self._owned(lease)
        if wait_id not in run.waits:
            await self.open_wait(lease, wait_id, stage="?", name="?")
        return await super().expire_wait(lease, wait_id)


class OpensForAnyone(MemoryRunStore):
    """RS-50, RS-40"""

    async def open_wait(self, lease, wait_id, **given):
        run = self._runs.get(lease.run_id)
        if run is None or run.expires_at is not None:
            held = None if run is None else run.lease()
            return await super().open_wait(held or lease, wait_id, **given)
        run.expires_at = self._clock.now()
        try:
            return await super().open_wait(run.lease() or lease, wait_id, **given)
        finally:
            run.expires_at = None


class ExpiresForAnyone(MemoryRunStore):
    """RS-50"""

    async def expire_wait(self, lease, wait_id):
        held = await self.get_lease(lease.run_id)
        return await super().expire_wait(held or lease, wait_id)


class ParksForAnyone(MemoryRunStore):
    """RS-50"""

    async def park_run(self, lease, wait_ids):
        held = await self.get_lease(lease.run_id)
        return await super().park_run(held or lease, wait_ids)


class NeedsALeaseThatHolds(MemoryRunStore):
    """RS-50"""

    async def open_wait(self, lease, wait_id, **given):
        held = await self.get_lease(lease.run_id)
        if held is not None and held.expires_at <= self._clock.now():
            raise LeaseLostError(lease)
        return await super().open_wait(lease, wait_id, **given)


# --- parking and what is told ---------------------------------------------------


class ParksDespiteAnAnswer(MemoryRunStore):
    """RS-51"""

    async def park_run(self, lease, wait_ids):
        self._check_open()
        run = self._owned(lease)
        open_ones = [wait_id for wait_id in wait_ids if run.waits[wait_id].state is WaitState.OPEN]
        return await super().park_run(lease, open_ones)


class ParksInTwoSteps(MemoryRunStore):
    """RS-51"""

    async def park_run(self, lease, wait_ids):
        self._check_open()
        run, wait_ids = self._owned(lease), list(wait_ids)
        if any(run.waits[wait_id].state is not WaitState.OPEN for wait_id in wait_ids):
            return False
        await self.update_status(lease.run_id, "waiting")
        await anyio.lowlevel.checkpoint()
        run.parked_for = frozenset(wait_ids)
        return await self.release_lease(lease)


class LooksAtTheWaitsTooEarly(MemoryRunStore):
    """RS-51"""

    async def park_run(self, lease, wait_ids):
        wait_ids = list(wait_ids)
        self._check_open()
        run = self._owned(lease)
        before = dict(run.waits)
        if len(before) == 1:
            await anyio.lowlevel.checkpoint()
        run.waits, after = before, run.waits
        try:
            return await super().park_run(lease, wait_ids)
        finally:
            run.waits = after


class ListsWaitsById(MemoryRunStore):
    """RS-52"""

    async def list_waits(self, run_id):
        listed = await super().list_waits(run_id)
        return sorted(listed, key=lambda wait: wait.wait_id)


class NeverSaysParked(MemoryRunStore):
    """RS-53, RS-51"""

    async def signal_run(self, run_id, name, value, **given):
        receipt = await super().signal_run(run_id, name, value, **given)
        return attrs.evolve(receipt, parked=False)


class SaysParkedByTheStatus(MemoryRunStore):
    """RS-53"""

    async def signal_run(self, run_id, name, value, **given):
        receipt = await super().signal_run(run_id, name, value, **given)
        return attrs.evolve(receipt, parked=self._runs[run_id].record.status == "waiting")


class SaysParkedWithoutOwner(MemoryRunStore):
    """RS-53"""

    async def signal_run(self, run_id, name, value, **given):
        receipt = await super().signal_run(run_id, name, value, **given)
        run = self._runs[run_id]
        return attrs.evolve(receipt, parked=run.token > 0 and run.expires_at is None)


# --- news -----------------------------------------------------------------------


class Heard:
    """What one listener of a store in memory hears."""

    def __init__(self):
        self.event = anyio.Event()

    async def wait(self, timeout):
        with anyio.move_on_after(min(timeout, 0.05)):  # here, news is heard at once or never
            await self.event.wait()
        heard, self.event = self.event.is_set(), anyio.Event()
        return heard


class TellsNews(MemoryRunStore):
    """Keeps every clause, those of the capability `news` too."""

    capabilities = attrs.evolve(MemoryRunStore.capabilities, news=True)
    hearing = Heard

    def __init__(self, **given):
        super().__init__(**given)
        self.listeners = {}

    @asynccontextmanager
    async def news(self, run_id):
        heard = self.listeners.setdefault(run_id, self.hearing())
        yield heard
        del self.listeners[run_id]

    async def signal_run(self, run_id, name, value, **given):
        receipt = await super().signal_run(run_id, name, value, **given)
        if run_id in self.listeners:
            self.listeners[run_id].event.set()
        return receipt


class TellsNobody(TellsNews):
    """RS-61"""

    async def signal_run(self, run_id, name, value, **given):
        return await MemoryRunStore.signal_run(self, run_id, name, value, **given)


class AlwaysHasNews(TellsNews):
    """RS-61"""

    class hearing(Heard):  # noqa: N801 - it stands for the class above
        async def wait(self, timeout):
            await super().wait(min(timeout, 0.0))
            return True


class ForgetsWhatWasBefore(TellsNews):
    """RS-61"""

    class hearing(Heard):  # noqa: N801 - it stands for the class above
        async def wait(self, timeout):
            self.event = anyio.Event()
            return await super().wait(timeout)


async def test_a_store_that_tells_news_passes():
    assert await failures_of(TellsNews) == {}


BROKEN = [
    store
    for store in list(globals().values())
    if isinstance(store, type) and issubclass(store, MemoryRunStore)
    if (store.__doc__ or "").startswith("RS-")
]


def test_every_clause_has_a_broken_store():
    assert named_clauses(BROKEN) == clauses_of(RunWaits, RunNews).keys()


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
async def test_a_broken_store_fails_exactly_its_clause(broken):
    failures = await failures_of(broken)
    assert set(failures) == set(broken.__doc__.split(", ")), failures
