"""The kit of run stores notices each broken clause about leases, checkpoints and retention.

The first clause that a broken store names is the one it is about. Where it names more, the
others cannot be kept without the first.
"""

from __future__ import annotations

import anyio
import anyio.lowlevel
import attrs
import pytest

from stageflow.builtin.memory_run_store import MemoryRunStore
from stageflow.contracts.checkpoints import (
    LeaseHeldError,
    LeaseLostError,
    RunCheckpoints,
    RunRetention,
)
from stageflow.contracts.run_store import InvalidTransitionError, RunStatus
from stageflow.testing.conformance import clauses_of
from support.broken_run_stores import failures_of, named_clauses

pytestmark = pytest.mark.anyio


# --- leases ---------------------------------------------------------------------


class AcquiresInTwoSteps(MemoryRunStore):
    """RS-27"""

    async def acquire_lease(self, run_id, owner, *, ttl, take_over=None):
        was_free = take_over is None and await self.get_lease(run_id) is None
        await anyio.lowlevel.checkpoint()
        if was_free and (held := await self.get_lease(run_id)) is not None:
            take_over = held.token
        return await super().acquire_lease(run_id, owner, ttl=ttl, take_over=take_over)


class LetsAnOwnerInTwice(MemoryRunStore):
    """RS-27"""

    async def acquire_lease(self, run_id, owner, *, ttl, take_over=None):
        try:
            return await super().acquire_lease(run_id, owner, ttl=ttl, take_over=take_over)
        except LeaseHeldError as error:
            if error.lease.owner == owner:
                return error.lease
            raise


class AcquiresWhatIsNotThere(MemoryRunStore):
    """RS-27"""

    async def acquire_lease(self, run_id, owner, **given):
        if run_id not in self._runs:
            await self.create_run(run_id, service="?")
        return await super().acquire_lease(run_id, owner, **given)


class GivesReleasedTokensAgain(MemoryRunStore):
    """RS-28, RS-41"""

    async def release_lease(self, lease):
        released = await super().release_lease(lease)
        if released:
            self._runs[lease.run_id].token -= 1
        return released


class CountsTokensAcrossRuns(MemoryRunStore):
    """RS-28"""

    async def acquire_lease(self, run_id, owner, *, ttl, take_over=None):
        if run_id in self._runs and await self.get_lease(run_id) is None:
            self._runs[run_id].token = max(run.token for run in self._runs.values())
        return await super().acquire_lease(run_id, owner, ttl=ttl, take_over=take_over)


class NeverEndsByItself(MemoryRunStore):
    """RS-28, RS-30, RS-31, RS-33, RS-50"""

    async def acquire_lease(self, run_id, owner, *, ttl, take_over=None):
        held = await self.get_lease(run_id)
        if held is not None and take_over != held.token:
            raise LeaseHeldError(held)
        return await super().acquire_lease(run_id, owner, ttl=ttl, take_over=take_over)


class TakesOverByAnyToken(MemoryRunStore):
    """RS-29"""

    async def acquire_lease(self, run_id, owner, *, ttl, take_over=None):
        held = await self.get_lease(run_id)
        if held is not None and take_over is not None:
            take_over = held.token
        return await super().acquire_lease(run_id, owner, ttl=ttl, take_over=take_over)


class TakesOverInTwoSteps(MemoryRunStore):
    """RS-29"""

    async def acquire_lease(self, run_id, owner, *, ttl, take_over=None):
        held = await self.get_lease(run_id)
        if held is not None and held.token == take_over:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            take_over = (await self.get_lease(run_id)).token
        return await super().acquire_lease(run_id, owner, ttl=ttl, take_over=take_over)


class RenewsWhatAnotherHas(MemoryRunStore):
    """RS-30"""

    async def renew_lease(self, lease, *, ttl):
        held = await self.get_lease(lease.run_id)
        return await super().renew_lease(held or lease, ttl=ttl)


class RenewsTheReleased(MemoryRunStore):
    """RS-30, RS-40"""

    async def renew_lease(self, lease, *, ttl):
        run = self._runs.get(lease.run_id)
        if run is not None and run.token == lease.token and run.expires_at is None:
            run.expires_at = self._clock.now()
        return await super().renew_lease(lease, ttl=ttl)


class CannotRenewTheExpired(MemoryRunStore):
    """RS-30"""

    async def renew_lease(self, lease, *, ttl):
        held = await self.get_lease(lease.run_id)
        if held is not None and held.expires_at <= self._clock.now():
            raise LeaseLostError(lease)
        return await super().renew_lease(lease, ttl=ttl)


class RenewsFromTheOldEnd(MemoryRunStore):
    """RS-30"""

    async def renew_lease(self, lease, *, ttl):
        held = await self.get_lease(lease.run_id)
        rest = (held.expires_at - self._clock.now()).total_seconds() if held else 0
        return await super().renew_lease(lease, ttl=ttl + max(rest, 0))


class ReleasesWhatAnotherHas(MemoryRunStore):
    """RS-31"""

    async def release_lease(self, lease):
        held = await self.get_lease(lease.run_id)
        return await super().release_lease(held or lease)


class AlwaysSaysReleased(MemoryRunStore):
    """RS-31, RS-36, RS-40"""

    async def release_lease(self, lease):
        await super().release_lease(lease)
        return True


# --- commits --------------------------------------------------------------------


class CommitsInTwoSteps(MemoryRunStore):
    """RS-32"""

    async def commit(self, lease, entries=(), *, removed=(), events=(), status=None, facts=None):
        events, facts = list(events), facts or {}
        self._encode(facts)
        self._encode_events(events)
        await super().commit(lease, status=status, facts=facts)
        if status is None or not RunStatus(status).is_final:
            await anyio.lowlevel.checkpoint()
        else:
            self._runs[lease.run_id].expires_at = lease.expires_at
        await super().commit(lease, entries, removed=removed, events=events)
        if status is not None and RunStatus(status).is_final:
            await super().release_lease(lease)


class KeepsHalfOfWhatFails(MemoryRunStore):
    """RS-32, RS-36"""

    async def commit(self, lease, entries=(), *, removed=(), **given):
        await super().commit(lease, entries, removed=removed)
        await super().commit(lease, **given)


class ShowsCommitsInPieces(MemoryRunStore):
    """RS-32"""

    async def commit(self, lease, entries=(), **given):
        *first, last = list(entries) or [None]
        with anyio.CancelScope(shield=True):
            for entry in first if not given else ():
                await super().commit(lease, [entry])
                await anyio.lowlevel.checkpoint()
        kept = first if given else []
        await super().commit(lease, [*kept, last] if last else [], **given)


class RemovesLast(MemoryRunStore):
    """RS-32"""

    async def commit(self, lease, entries=(), *, removed=(), **given):
        removed = set(removed)
        kept = [entry for entry in entries if entry.key not in removed]
        await super().commit(lease, kept, removed=removed, **given)


class ForgetsTheEvents(MemoryRunStore):
    """RS-32"""

    async def commit(self, lease, entries=(), *, events=(), **given):
        self._encode_events(events)
        await super().commit(lease, entries, **given)


class LooksAtTheLeaseTooEarly(MemoryRunStore):
    """RS-33"""

    async def commit(self, lease, entries=(), **given):
        held = await self.get_lease(lease.run_id)
        if held is not None and held.token == lease.token and not given:
            await anyio.lowlevel.checkpoint()
            lease = await self.get_lease(lease.run_id) or lease
        await super().commit(lease, entries, **given)


class CommitsForAnyOwner(MemoryRunStore):
    """RS-33"""

    async def commit(self, lease, entries=(), **given):
        held = await self.get_lease(lease.run_id)
        if held is not None and held.token > lease.token:
            lease = held
        await super().commit(lease, entries, **given)


class NeedsALeaseThatHolds(MemoryRunStore):
    """RS-33"""

    async def commit(self, lease, entries=(), **given):
        held = await self.get_lease(lease.run_id)
        if held is not None and held.expires_at <= self._clock.now():
            raise LeaseLostError(lease)
        await super().commit(lease, entries, **given)


# --- entries and the status -----------------------------------------------------


class KeepsThePlaceOfTheRewritten(MemoryRunStore):
    """RS-34"""

    async def commit(self, lease, entries=(), *, removed=(), **given):
        entries, removed = list(entries), set(removed)
        run = self._runs.get(lease.run_id)
        places = {} if run is None else {key: number for key, (number, _) in run.entries.items()}
        await super().commit(lease, entries, removed=removed, **given)
        for key in {entry.key for entry in entries} & places.keys() - removed:
            run.entries[key] = (places[key], run.entries[key][1])
        run.entries = dict(sorted(run.entries.items(), key=lambda item: item[1][0]))


class GivesNumbersAgain(MemoryRunStore):
    """RS-34"""

    async def commit(self, lease, entries=(), **given):
        run = self._runs.get(lease.run_id)
        if run is not None:
            run.last_number = max((number for number, _ in run.entries.values()), default=0)
        await super().commit(lease, entries, **given)


class RepeatsTheLastEntryOfThePage(MemoryRunStore):
    """RS-34"""

    async def load_entries(self, run_id, *, after=0, limit=None):
        return await super().load_entries(run_id, after=max(after - 1, 0), limit=limit)


class ShowsNoFullPage(MemoryRunStore):
    """RS-34"""

    async def load_entries(self, run_id, *, after=0, limit=None):
        return await super().load_entries(run_id, after=after, limit=limit and limit + 1)


class TakesValuesForText(MemoryRunStore):
    """RS-35"""

    async def load_entries(self, run_id, **given):
        found = await super().load_entries(run_id, **given)
        return [
            attrs.evolve(entry, value=entry.value.decode(errors="replace").encode())
            for entry in found
        ]


class CommitsAnyStatus(MemoryRunStore):
    """RS-36"""

    async def commit(self, lease, entries=(), *, status=None, **given):
        run = self._runs.get(lease.run_id)
        if "removed" not in given and status in set(RunStatus):
            run.record = attrs.evolve(run.record, status="running")
        await super().commit(lease, entries, status=status, **given)


class KeepsTheLeaseOfTheEnded(MemoryRunStore):
    """RS-36"""

    async def commit(self, lease, entries=(), *, status=None, **given):
        held = await self.get_lease(lease.run_id)
        await super().commit(lease, entries, status=status, **given)
        if status is not None and RunStatus(status).is_final:
            self._runs[lease.run_id].expires_at = held.expires_at


class LosesTheLeaseToARefusal(MemoryRunStore):
    """RS-36"""

    async def commit(self, lease, entries=(), *, status=None, **given):
        try:
            await super().commit(lease, entries, status=status, **given)
        except InvalidTransitionError:
            await self.release_lease(lease)
            raise


class CommitsOverTheOldError(MemoryRunStore):
    """RS-36"""

    async def commit(self, lease, entries=(), *, status=None, **given):
        old = self._runs[lease.run_id].record.error if lease.run_id in self._runs else None
        await super().commit(lease, entries, status=status, **given)
        run = self._runs[lease.run_id]
        run.record = attrs.evolve(run.record, error=run.record.error or old)


# --- asked to stop, claimed, listed, deleted ------------------------------------


class ForgetsWhatItWasAskedFor(MemoryRunStore):
    """RS-37"""

    async def release_lease(self, lease):
        released = await super().release_lease(lease)
        if released and self._runs[lease.run_id].record.status is RunStatus.RUNNING:
            self._runs[lease.run_id].cancel_requested = None
        return released


class AsksForEver(MemoryRunStore):
    """RS-37"""

    async def update_status(self, run_id, status, **data):
        asked = self._runs[run_id].cancel_requested if run_id in self._runs else None
        await super().update_status(run_id, status, **data)
        self._runs[run_id].cancel_requested = asked


class AsksTheEnded(MemoryRunStore):
    """RS-37"""

    async def request_cancel(self, run_id, reason):
        asked = await super().request_cancel(run_id, reason)
        return asked or run_id in self._runs


class AsksOwnersOnly(MemoryRunStore):
    """RS-37, RS-38"""

    async def request_cancel(self, run_id, reason):
        lease = await self.get_lease(run_id)
        return lease is not None and await super().request_cancel(run_id, reason)


class ClaimsWhatNobodyHad(MemoryRunStore):
    """RS-38"""

    async def claim_run(self, owner, *, ttl):
        for run in self._runs.values():
            if run.owner is None and run.record.status is RunStatus.CREATED:
                return await self.acquire_lease(run.record.run_id, owner, ttl=ttl)
        return await super().claim_run(owner, ttl=ttl)


class ClaimsTheReleased(MemoryRunStore):
    """RS-38"""

    async def claim_run(self, owner, *, ttl):
        for run in self._runs.values():
            if run.token and run.expires_at is None and run.record.status is RunStatus.RUNNING:
                return await self.acquire_lease(run.record.run_id, owner, ttl=ttl)
        return await super().claim_run(owner, ttl=ttl)


class ClaimsTheEnded(MemoryRunStore):
    """RS-38"""

    async def claim_run(self, owner, *, ttl):
        now = self._clock.now()
        for run in self._runs.values():
            if run.expires_at is not None and run.expires_at <= now:
                return await self.acquire_lease(run.record.run_id, owner, ttl=ttl)
        return await super().claim_run(owner, ttl=ttl)


class ClaimsInTwoSteps(MemoryRunStore):
    """RS-38"""

    async def claim_run(self, owner, *, ttl):
        self._check_open()
        now = self._clock.now()
        found = next((run for run in self._runs.values() if run.ought_to_go_on(now)), None)
        await anyio.lowlevel.checkpoint()
        if found is None:
            return None
        held = found.lease()
        return await self.acquire_lease(
            found.record.run_id, owner, ttl=ttl, take_over=held.token if held else None
        )


class LeavesTheParked(MemoryRunStore):
    """RS-38"""

    async def claim_run(self, owner, *, ttl):
        self._check_open()
        now = self._clock.now()
        for run in self._runs.values():
            if run.expires_at is not None and run.ought_to_go_on(now):
                return await self.acquire_lease(run.record.run_id, owner, ttl=ttl)
        return None


class ClaimsForOlderWaits(MemoryRunStore):
    """RS-38"""

    async def park_run(self, lease, wait_ids):
        parked = await super().park_run(lease, wait_ids)
        if parked:
            self._runs[lease.run_id].parked_for = frozenset(self._runs[lease.run_id].waits)
        return parked


class ListsNoExpiredLease(MemoryRunStore):
    """RS-39"""

    async def list_leases(self, **given):
        now = self._clock.now()
        return [lease for lease in await super().list_leases(**given) if lease.expires_at > now]


class ListsLeasesAsTheyCame(MemoryRunStore):
    """RS-39"""

    async def list_leases(self, *, after=None, limit=100):
        listed = await super().list_leases(after=after, limit=limit)
        return sorted(listed, key=lambda lease: lease.expires_at)


class RepeatsTheLastLeaseOfThePage(MemoryRunStore):
    """RS-39"""

    async def list_leases(self, *, after=None, limit=100):
        listed = await super().list_leases(after=after, limit=limit)
        last = None if after is None else await self.get_lease(after)
        return listed if last is None else (last, *listed)[:limit]


class CountsTokensAnewAfterDeletion(MemoryRunStore):
    """RS-40"""

    async def delete_run(self, run_id):
        deleted = await super().delete_run(run_id)
        self._last_tokens.pop(run_id, None)
        return deleted


class KeepsEntriesOfTheDeleted(MemoryRunStore):
    """RS-40"""

    def __init__(self, **given):
        super().__init__(**given)
        self._kept = {}

    async def delete_run(self, run_id):
        if run_id in self._runs:
            self._kept[run_id] = self._runs[run_id].entries
        return await super().delete_run(run_id)

    async def create_run(self, run_id, **given):
        record = await super().create_run(run_id, **given)
        self._runs[run_id].entries = self._kept.get(run_id, {})
        return record


# --- retention ------------------------------------------------------------------


class Prunes(MemoryRunStore):
    """Has what broken pruning is made of."""

    async def _forget_all(self, found, dry_run):
        for run_id in () if dry_run else found:
            await self.delete_run(run_id)
        return found


class PrunesTheLeased(Prunes):
    """RS-41"""

    async def prune_runs(self, *, before, dry_run=False, **given):
        now = self._clock.now()
        for run in self._runs.values():
            if run.expires_at is not None and run.expires_at <= now:
                run.expires_at = None
        return await super().prune_runs(before=before, dry_run=dry_run, **given)


class PrunesByTheBeginning(Prunes):
    """RS-41"""

    async def prune_runs(self, *, before, **given):
        for run in self._runs.values():
            if run.ended_at is not None and run.record.created_at < before:
                run.ended_at = run.record.created_at
        return await super().prune_runs(before=before, **given)


class PrunesTheNewestFirst(Prunes):
    """RS-41, RS-42"""

    async def prune_runs(self, *, limit=1000, dry_run=False, **given):
        found = (await super().prune_runs(dry_run=True, **given))[::-1][:limit]
        return await self._forget_all(found, dry_run)


class PrunesEveryStatus(Prunes):
    """RS-41"""

    async def prune_runs(self, *, statuses=("failed",), **given):
        await super().prune_runs(statuses=statuses, before=self._clock.now(), dry_run=True)
        return await super().prune_runs(**given)


class PrunesTheRecordOnly(Prunes):
    """RS-41"""

    async def prune_runs(self, *, dry_run=False, **given):
        found = await super().prune_runs(dry_run=True, **given)
        self._kept = getattr(self, "_kept", {}) | {each: self._runs[each].entries for each in found}
        return await self._forget_all(found, dry_run)

    async def create_run(self, run_id, **given):
        record = await super().create_run(run_id, **given)
        self._runs[run_id].entries = getattr(self, "_kept", {}).get(run_id, {})
        return record


class ForgetsInADryRun(Prunes):
    """RS-42"""

    async def prune_runs(self, *, dry_run=False, **given):
        return await super().prune_runs(**given)


class TellsTooMuchInADryRun(Prunes):
    """RS-42"""

    async def prune_runs(self, *, limit=1000, dry_run=False, **given):
        return await super().prune_runs(limit=1000 if dry_run else limit, dry_run=dry_run, **given)


class PrunesTheUnfinished(Prunes):
    """RS-43"""

    async def prune_runs(self, *, statuses=("completed", "failed", "cancelled"), **given):
        final = [status for status in statuses if status in {"completed", "failed", "cancelled"}]
        return await super().prune_runs(statuses=final, **given)


BROKEN = [
    store
    for store in list(globals().values())
    if isinstance(store, type) and issubclass(store, MemoryRunStore)
    if (store.__doc__ or "").startswith("RS-")
]


def test_every_clause_has_a_broken_store():
    assert named_clauses(BROKEN) == clauses_of(RunCheckpoints, RunRetention).keys()


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
async def test_a_broken_store_fails_exactly_its_clause(broken):
    failures = await failures_of(broken)
    assert set(failures) == set(broken.__doc__.split(", ")), failures
