"""The kit of scatter coordinators notices each broken clause, and blames no other."""

from __future__ import annotations

from itertools import count

import anyio.lowlevel
import attrs
import pytest

from stageflow.builtin._packed_items import COMPLETED
from stageflow.builtin.memory_scatter_coordinator import MemoryScatterCoordinator
from stageflow.codec import UnencodableValueError
from stageflow.contracts.coordination import coordination_id
from stageflow.contracts.scatter_coordinator import (
    BarrierDeletion,
    BarrierStatus,
    KeyClaims,
    ReaderCheckpoints,
    ResultPages,
    ScatterCoordinator,
    ScatterCoordinatorCapabilities,
)
from stageflow.contracts.scatter_keys import ScatterKey
from stageflow.testing.conformance import clauses_of, failed_clauses
from stageflow.testing.scatter_coordinator import ScatterCoordinatorConformance

pytestmark = pytest.mark.anyio


class Kit(ScatterCoordinatorConformance):
    capabilities = MemoryScatterCoordinator.capabilities


class CreatesAnew(MemoryScatterCoordinator):
    """SC-1"""

    async def create_barrier(self, run_id, asset_name, partition, **options):
        if partition == "p":
            self._barriers.pop(coordination_id(run_id, asset_name, partition), None)
        return await super().create_barrier(run_id, asset_name, partition, **options)


class TakesTextForNumbers(MemoryScatterCoordinator):
    """SC-2"""

    async def create_barrier(self, run_id, asset_name, partition, **options):
        partition = 1 if partition == "1" else partition
        return await super().create_barrier(run_id, asset_name, partition, **options)


class CreatesWithoutItsKeys(MemoryScatterCoordinator):
    """SC-3"""

    async def create_barrier(self, run_id, asset_name, partition, *, keys=(), **options):
        is_new = coordination_id(run_id, asset_name, partition) not in self._barriers
        sealed = options.pop("sealed", True)
        barrier_id = await super().create_barrier(
            run_id, asset_name, partition, sealed=False, **options
        )
        if is_new:
            await super().insert_results(barrier_id, keys, sealed=sealed)
        return barrier_id


class KeepsTheOrderOfNames(MemoryScatterCoordinator):
    """SC-4"""

    def _keys(self, keys):
        return [
            ScatterKey(self._codec.encode(key), self._codec)
            if isinstance(key, dict) and list(key) == ["y", "x"]
            else ScatterKey.of(key)
            for key in keys
        ]


class TakesTrueForOne(MemoryScatterCoordinator):
    """SC-5"""

    def _keys(self, keys):
        return super()._keys(1 if key is True else key for key in keys)


class AnswersInItsOwnOrder(MemoryScatterCoordinator):
    """SC-6"""

    async def insert_results(self, barrier_id, keys, **options):
        answer = await super().insert_results(barrier_id, keys, **options)
        return attrs.evolve(answer, added=sorted(answer.added, key=lambda key: key.payload))


class CompletesTheUnsealed(MemoryScatterCoordinator):
    """SC-7"""

    async def record(self, barrier_id, **outcomes):
        answer = await super().record(barrier_id, **outcomes)
        state = await self.status(barrier_id)
        is_done = answer is BarrierStatus.PENDING and not state.pending
        return BarrierStatus.COMPLETE if is_done else answer


class OpensSeals(MemoryScatterCoordinator):
    """SC-8"""

    async def insert_results(self, barrier_id, keys, *, sealed=False, **options):
        barrier = self._barriers.get(barrier_id)
        if barrier is not None:
            sealed, barrier._sealed = sealed or barrier._sealed, False
        return await super().insert_results(barrier_id, keys, sealed=sealed, **options)


class KeepsTheLastResult(MemoryScatterCoordinator):
    """SC-9"""

    async def complete(self, barrier_id, key, result):
        barrier = self._barrier(barrier_id)
        number = barrier.items.find(ScatterKey.of(key).digest)
        if result == 2 and barrier.items.states[number] == COMPLETED:
            barrier.items.end(number, COMPLETED, self._codec.encode(result))
        return await super().complete(barrier_id, key, result)


class NeverEndsWithAFailure(MemoryScatterCoordinator):
    """SC-10"""

    async def fail(self, barrier_id, key, error):
        answer = await super().fail(barrier_id, key, error)
        return BarrierStatus.PENDING if answer is BarrierStatus.COMPLETE else answer


class IgnoresUnknownKeys(MemoryScatterCoordinator):
    """SC-11"""

    async def record(self, barrier_id, *, completed=(), failed=()):
        known = [(key, result) for key, result in completed if key != {"a": 1}]
        return await super().record(barrier_id, completed=known, failed=failed)


class GathersTheCancelled(MemoryScatterCoordinator):
    """SC-12"""

    async def gather(self, barrier_id):
        if self._barrier(barrier_id).status is BarrierStatus.CANCELLED:
            return {}
        return await super().gather(barrier_id)


class RecordsOneByOne(MemoryScatterCoordinator):
    """SC-13"""

    async def record(self, barrier_id, *, completed=(), failed=()):
        completed = list(completed)
        while len(completed) in {4, 3}:
            await super().record(barrier_id, completed=[completed.pop()])
            await anyio.lowlevel.checkpoint()
        return await super().record(barrier_id, completed=completed, failed=failed)


class EndsAtTheThreshold(MemoryScatterCoordinator):
    """SC-14"""

    async def create_barrier(self, *place, failure_threshold=None, **options):
        if type(failure_threshold) is int and failure_threshold == 2:
            failure_threshold = 1
        return await super().create_barrier(*place, failure_threshold=failure_threshold, **options)


class JudgesShareAtOnce(MemoryScatterCoordinator):
    """SC-15"""

    async def create_barrier(self, *place, keys=(), failure_threshold=None, **options):
        if failure_threshold == 0.29:
            failure_threshold = int(0.29 * len(keys))
        return await super().create_barrier(
            *place, keys=keys, failure_threshold=failure_threshold, **options
        )


class ChangesItsMind(MemoryScatterCoordinator):
    """SC-16"""

    async def status(self, barrier_id):
        state = await super().status(barrier_id)
        if (state.completed, state.failed) == (2, 2):
            return attrs.evolve(state, status=BarrierStatus.COMPLETE)
        return state


class ForgivesInTheEnd(MemoryScatterCoordinator):
    """SC-17"""

    async def create_barrier(self, *place, **options):
        if options.get("failure_threshold") == 1:
            options["failure_mode"] = "partial"
        return await super().create_barrier(*place, **options)


class CountsLateOutcomesTwice(MemoryScatterCoordinator):
    """SC-18"""

    async def record(self, barrier_id, *, completed=(), failed=()):
        barrier = self._barrier(barrier_id)
        completed, failed = list(completed), list(failed)
        if barrier.status is BarrierStatus.CANCELLED:
            barrier._late += len(completed) + len(failed)
        return await super().record(barrier_id, completed=completed, failed=failed)


class CancelsTheComplete(MemoryScatterCoordinator):
    """SC-19"""

    async def cancel(self, barrier_id):
        await super().cancel(barrier_id)
        self._barrier(barrier_id).status = BarrierStatus.CANCELLED


class AddsAfterTheEnd(MemoryScatterCoordinator):
    """SC-20"""

    async def insert_results(self, barrier_id, keys, **options):
        barrier = self._barrier(barrier_id)
        was = barrier.status
        if was is not BarrierStatus.CANCELLED:
            return await super().insert_results(barrier_id, keys, **options)
        barrier.status = BarrierStatus.PENDING
        answer = await super().insert_results(barrier_id, keys, **options)
        barrier.status = was
        return attrs.evolve(answer, status=was)


class CountsByReadingFirst(MemoryScatterCoordinator):
    """SC-21"""

    async def insert_results(self, barrier_id, keys, **options):
        barrier, page = self._barrier(barrier_id), list(keys)
        before = barrier._duplicates
        if len(page) == 10:
            await anyio.lowlevel.checkpoint()
        answer = await super().insert_results(barrier_id, page, **options)
        if len(page) == 10:
            barrier._duplicates = before + len(page) - len(answer.added)
        return answer


class CancelsWhatIsNotThere(MemoryScatterCoordinator):
    """SC-22"""

    async def cancel(self, barrier_id):
        if self._closed or barrier_id in self._barriers:
            await super().cancel(barrier_id)


class InsertsInTwoSteps(MemoryScatterCoordinator):
    """SC-23"""

    async def insert_results(self, barrier_id, keys, **options):
        keys = list(keys)
        if keys and isinstance(keys[0], tuple):
            await super().insert_results(barrier_id, keys[:1])
            await anyio.lowlevel.checkpoint()
        return await super().insert_results(barrier_id, keys, **options)


class SwallowsCancellation(MemoryScatterCoordinator):
    """SC-23"""

    async def cancel(self, barrier_id):
        try:
            await anyio.lowlevel.checkpoint()
        except anyio.get_cancelled_exc_class():
            return
        await super().cancel(barrier_id)


class HandsOutItsOwn(MemoryScatterCoordinator):
    """SC-24"""

    async def gather(self, barrier_id):
        self._own = getattr(self, "_own", {})
        if barrier_id not in self._own:
            self._own[barrier_id] = await super().gather(barrier_id)
        return self._own[barrier_id]


class SealsBeforeItEncodes(MemoryScatterCoordinator):
    """SC-25"""

    async def insert_results(self, barrier_id, keys, *, sealed=False, **options):
        try:
            return await super().insert_results(barrier_id, keys, sealed=sealed, **options)
        except UnencodableValueError:
            self._barrier(barrier_id)._sealed |= sealed
            raise


class TakesAnyMode(MemoryScatterCoordinator):
    """SC-26"""

    async def create_barrier(self, *place, failure_mode="all_or_nothing", **options):
        mode = "partial" if failure_mode == "sometimes" else failure_mode
        return await super().create_barrier(*place, failure_mode=mode, **options)


class StaysOpen(MemoryScatterCoordinator):
    """SC-27"""

    async def aclose(self):
        return None


class PromisesTooLittle(MemoryScatterCoordinator):
    """SC-28"""

    capabilities = ScatterCoordinatorCapabilities()


class GivesMoreThanAsked(MemoryScatterCoordinator):
    """SC-29"""

    async def claim(self, barrier_id, worker, *, limit=1, lease=60.0):
        return await super().claim(barrier_id, worker, limit=max(limit, 1), lease=lease)


class KeepsWhatIsReleased(MemoryScatterCoordinator):
    """SC-30"""

    async def release(self, barrier_id, worker, keys=None):
        before = dict(self._barrier(barrier_id).claims)
        released = await super().release(barrier_id, worker, keys)
        if keys is not None:
            self._barrier(barrier_id).claims.update(before)
        return released


class RenewsWhatOthersHave(MemoryScatterCoordinator):
    """SC-31"""

    async def renew(self, barrier_id, worker, keys, **options):
        keys = list(keys)
        await super().renew(barrier_id, worker, keys, **options)
        return tuple(map(ScatterKey.of, keys))


class ClaimsByReadingFirst(MemoryScatterCoordinator):
    """SC-32"""

    async def claim(self, barrier_id, worker, *, limit=1, lease=60.0):
        found = await super().claim(barrier_id, worker, limit=limit, lease=lease)
        if limit == 5:
            await super().release(barrier_id, worker, found)
            await anyio.lowlevel.checkpoint()
            barrier = self._barrier(barrier_id)
            for key in found:
                barrier.claims[barrier.number(key, self._codec)] = (worker, 1e9)
        return found


class ForgetsTheCheckpoint(MemoryScatterCoordinator):
    """SC-33"""

    async def insert_results(self, barrier_id, keys, *, checkpoint=None, **options):
        answer = await super().insert_results(barrier_id, keys, checkpoint=checkpoint, **options)
        if checkpoint is None:
            self._barrier(barrier_id).checkpoint = self._codec.encode(None)
        return answer


class CheckpointsFirst(MemoryScatterCoordinator):
    """SC-33"""

    async def insert_results(self, barrier_id, keys, *, checkpoint=None, **options):
        if isinstance(checkpoint, int):
            await super().insert_results(barrier_id, (), checkpoint=checkpoint)
            await anyio.lowlevel.checkpoint()
        return await super().insert_results(barrier_id, keys, checkpoint=checkpoint, **options)


class GivesLargerPages(MemoryScatterCoordinator):
    """SC-34"""

    def gather_pages(self, barrier_id, page_size=1000, *, failed=False):
        page_size += page_size == 90
        return super().gather_pages(barrier_id, page_size, failed=failed)


class AlwaysDeletes(MemoryScatterCoordinator):
    """SC-35"""

    async def delete_barrier(self, barrier_id):
        await super().delete_barrier(barrier_id)
        return True


class DeletesByPrefix(MemoryScatterCoordinator):
    """SC-36"""

    async def delete_run(self, run_id):
        for barrier_id in [name for name in self._barriers if name.startswith("run2")]:
            del self._barriers[barrier_id]
        return await super().delete_run(run_id)


BROKEN = [
    CreatesAnew,
    TakesTextForNumbers,
    CreatesWithoutItsKeys,
    KeepsTheOrderOfNames,
    TakesTrueForOne,
    AnswersInItsOwnOrder,
    CompletesTheUnsealed,
    OpensSeals,
    KeepsTheLastResult,
    NeverEndsWithAFailure,
    IgnoresUnknownKeys,
    GathersTheCancelled,
    RecordsOneByOne,
    EndsAtTheThreshold,
    JudgesShareAtOnce,
    ChangesItsMind,
    ForgivesInTheEnd,
    CountsLateOutcomesTwice,
    CancelsTheComplete,
    AddsAfterTheEnd,
    CountsByReadingFirst,
    CancelsWhatIsNotThere,
    InsertsInTwoSteps,
    SwallowsCancellation,
    HandsOutItsOwn,
    SealsBeforeItEncodes,
    TakesAnyMode,
    StaysOpen,
    PromisesTooLittle,
    GivesMoreThanAsked,
    KeepsWhatIsReleased,
    RenewsWhatOthersHave,
    ClaimsByReadingFirst,
    ForgetsTheCheckpoint,
    CheckpointsFirst,
    GivesLargerPages,
    AlwaysDeletes,
    DeletesByPrefix,
]


def test_every_clause_has_a_test_and_a_broken_coordinator():
    clauses = clauses_of(
        ScatterCoordinator, KeyClaims, ReaderCheckpoints, ResultPages, BarrierDeletion
    )
    numbers = (f"SC-{number}" for number in count(1))
    assert sorted(clauses) == sorted(next(numbers) for _ in clauses)
    assert Kit.proofs().keys() == clauses.keys()
    assert {broken.__doc__ for broken in BROKEN} == clauses.keys()


async def test_a_good_coordinator_fails_nothing():
    assert await failed_clauses(Kit, MemoryScatterCoordinator) == {}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
async def test_a_broken_coordinator_fails_exactly_its_clause(broken):
    failures = await failed_clauses(Kit, broken)
    assert list(failures) == [broken.__doc__], failures
