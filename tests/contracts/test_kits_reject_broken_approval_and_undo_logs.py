"""The kits of logs of approvals and of undo notice each broken clause.

The first clause that a broken log names is the one it is about. Where it names more, the others
cannot be kept without the first.
"""

from __future__ import annotations

import anyio.lowlevel
import attrs
import pytest

from stageflow.codec import CodecError
from stageflow.testing.conformance import clauses_of, failed_clauses
from stageflow.tools import (
    ApprovalExecution,
    ApprovalLog,
    ApprovalStatus,
    MemoryApprovalLog,
    MemoryUndoLog,
    UndoLog,
)
from stageflow.tools.testing import ApprovalLogConformance, UndoLogConformance
from support.broken_run_stores import named_clauses

pytestmark = pytest.mark.anyio


class ShortensMessages(MemoryApprovalLog):
    """AL-1"""

    async def add(self, request):
        message = request.approval_message.splitlines()[:1]
        return await super().add(attrs.evolve(request, approval_message="".join(message)))


class ForgetsWhenItExpires(MemoryApprovalLog):
    """AL-1"""

    async def add(self, request):
        return await super().add(attrs.evolve(request, expires_at=None))


class AsksTwice(MemoryApprovalLog):
    """AL-2"""

    async def add(self, request):
        for known in await self.list_requests():
            if known.action_id == request.action_id and known.is_pending:
                return known
        await self._actions.delete(request.action_id)
        return await super().add(request)


class LooksBeforeItAsks(MemoryApprovalLog):
    """AL-2, AL-9"""

    async def add(self, request):
        for known in await self.list_requests():
            if known.action_id == request.action_id:
                return known
        await anyio.lowlevel.checkpoint()
        for records, record in ((self._requests, request), (self._pending, True)):
            key, value = records.key(request.id), records.encode(record)
            await self._values.write_value(self._namespace, key, value)
        return request


class LastDecisionWins(MemoryApprovalLog):
    """AL-3"""

    async def settle(self, request_id, settlement):
        await self._requests.change(request_id, lambda known: attrs.evolve(known, settlement=None))
        return await super().settle(request_id, settlement)


class LooksBeforeItSettles(MemoryApprovalLog):
    """AL-3"""

    async def settle(self, request_id, settlement):
        known = await self.get(request_id)
        if known is None or not known.is_pending:
            return known
        await anyio.lowlevel.checkpoint()
        await self._requests.change(
            request_id, lambda known: attrs.evolve(known, settlement=settlement)
        )
        await self._pending.delete(request_id)
        return await self.get(request_id)


class LosesEdits(MemoryApprovalLog):
    """AL-3, AL-11"""

    async def settle(self, request_id, settlement):
        return await super().settle(request_id, attrs.evolve(settlement, payload=None))


class TellsTheLoserThatItWon(MemoryApprovalLog):
    """AL-3"""

    async def settle(self, request_id, settlement):
        known = await super().settle(request_id, settlement)
        return known and attrs.evolve(known, settlement=settlement)


class UsesAnApprovalTwice(MemoryApprovalLog):
    """AL-4, AL-9"""

    async def begin(self, request_id, execution_id, *, at, instead_of=None):
        known = await self.get(request_id)
        if known is not None and known.execution is not None:
            instead_of = instead_of or known.execution.id
        return await super().begin(request_id, execution_id, at=at, instead_of=instead_of)


class BeginsWhatIsDenied(MemoryApprovalLog):
    """AL-4"""

    async def begin(self, request_id, execution_id, *, at, instead_of=None):
        def begun(known):
            if known.status is ApprovalStatus.DENIED:
                return attrs.evolve(
                    known, execution=ApprovalExecution(id=execution_id, begun_at=at)
                )
            return known.begun(execution_id, at, instead_of)

        return await self._requests.change(request_id, begun)


class BeginsWhatNobodyDecided(MemoryApprovalLog):
    """AL-4"""

    async def begin(self, request_id, execution_id, *, at, instead_of=None):
        def begun(known):
            if known.is_pending:
                return attrs.evolve(
                    known, execution=ApprovalExecution(id=execution_id, begun_at=at)
                )
            return known.begun(execution_id, at, instead_of)

        return await self._requests.change(request_id, begun)


class LooksBeforeItBegins(MemoryApprovalLog):
    """AL-4"""

    async def begin(self, request_id, execution_id, *, at, instead_of=None):
        known = await self.get(request_id)
        if known is None or known.begun(execution_id, at, instead_of) is known:
            return known
        await anyio.lowlevel.checkpoint()
        execution = ApprovalExecution(id=execution_id, begun_at=at)
        return await self._requests.change(
            request_id, lambda known: attrs.evolve(known, execution=execution)
        )


class NeverReplacesAnExecution(MemoryApprovalLog):
    """AL-4"""

    async def begin(self, request_id, execution_id, *, at, instead_of=None):
        return await super().begin(request_id, execution_id, at=at)


class FinishesForAnybody(MemoryApprovalLog):
    """AL-5"""

    async def finish(self, request_id, execution_id, *, at, outcome):
        known = await self.get(request_id)
        mine = execution_id
        if known is not None and known.execution is not None:
            mine = known.execution.id
        return await super().finish(request_id, mine, at=at, outcome=outcome)


class ForgetsWhatCameOut(MemoryApprovalLog):
    """AL-5, AL-11"""

    async def finish(self, request_id, execution_id, *, at, outcome):
        return await super().finish(request_id, execution_id, at=at, outcome=None)


class MakesUpRequests(MemoryApprovalLog):
    """AL-6"""

    async def settle(self, request_id, settlement):
        found = await super().settle(request_id, settlement)
        if found is None:
            raise KeyError(request_id)
        return found


class ListsInAnyOrder(MemoryApprovalLog):
    """AL-7"""

    async def list_requests(self, *, limit=1000, **wanted):
        found = await super().list_requests(limit=limit, **wanted)
        return found[::-1]


class ListsWhatIsOver(MemoryApprovalLog):
    """AL-7, AL-9"""

    async def list_requests(self, *, pending=False, **wanted):
        return await super().list_requests(**wanted)


class PagesOverlap(MemoryApprovalLog):
    """AL-7"""

    async def list_requests(self, *, after=None, **wanted):
        return await super().list_requests(**wanted)


class NeverForgets(MemoryApprovalLog):
    """AL-8, AL-7"""

    async def remove(self, request_id):
        return await self.get(request_id) is not None


class KeepsTheActionOfWhatIsGone(MemoryApprovalLog):
    """AL-8, AL-2, AL-11"""

    def __init__(self):
        super().__init__()
        self.asked = {}

    async def add(self, request):
        known = self.asked.setdefault(request.action_id, request)
        return await super().add(request) if known == request else known


class AddsInTwoSteps(MemoryApprovalLog):
    """AL-9"""

    async def add(self, request):
        if await self.get(request.id) is None:
            await super().add(attrs.evolve(request, tool_name="half"))
            await anyio.lowlevel.checkpoint()
            await self._requests.change(request.id, lambda _: request)
        return await super().add(request)


class HandsOutItsOwn(MemoryApprovalLog):
    """AL-10"""

    def __init__(self):
        super().__init__()
        self.known = {}

    async def get(self, request_id):
        found = await super().get(request_id)
        if found is None:
            return None
        kept = self.known.setdefault(request_id, found.payload)
        return attrs.evolve(found, payload=kept)


class SwallowsWhatItCannotStore(MemoryApprovalLog):
    """AL-11"""

    async def add(self, request):
        try:
            return await super().add(request)
        except CodecError:
            return request


class RoundsTimes(MemoryUndoLog):
    """UL-1, UL-2, UL-3, UL-4, UL-6, UL-7, UL-9"""

    async def put(self, entry):
        await super().put(attrs.evolve(entry, created_at=entry.created_at.replace(microsecond=0)))


class DropsWhatHasExpired(MemoryUndoLog):
    """UL-1"""

    async def get(self, action_id):
        found = await super().get(action_id)
        return None if found is not None and found.expires_at.year < 2000 else found


class FirstEntryStands(MemoryUndoLog):
    """UL-1, UL-9"""

    async def put(self, entry):
        if await self.get(entry.action_id) is None:
            await super().put(entry)


class ClaimsForEverybody(MemoryUndoLog):
    """UL-2"""

    async def claim(self, action_id, claim, *, instead_of=None):
        return await self._entries.change(action_id, lambda known: attrs.evolve(known, claim=claim))


class LooksBeforeItClaims(MemoryUndoLog):
    """UL-2"""

    async def claim(self, action_id, claim, *, instead_of=None):
        known = await self.get(action_id)
        if known is None or known.claimed(claim, instead_of) is known:
            return known
        await anyio.lowlevel.checkpoint()
        return await self._entries.change(action_id, lambda known: attrs.evolve(known, claim=claim))


class NeverReplacesAClaim(MemoryUndoLog):
    """UL-2"""

    async def claim(self, action_id, claim, *, instead_of=None):
        return await super().claim(action_id, claim)


class ReleasesForAnybody(MemoryUndoLog):
    """UL-3"""

    async def release(self, action_id, claim_id):
        return await self._entries.change(action_id, lambda known: attrs.evolve(known, claim=None))


class NeverReleases(MemoryUndoLog):
    """UL-3"""

    async def release(self, action_id, claim_id):
        return await self.get(action_id)


class AlwaysSaysThatItWasThere(MemoryUndoLog):
    """UL-4, UL-5"""

    async def remove(self, action_id):
        await super().remove(action_id)
        return True


class MakesUpEntries(MemoryUndoLog):
    """UL-5"""

    async def release(self, action_id, claim_id):
        found = await super().release(action_id, claim_id)
        if found is None:
            raise KeyError(action_id)
        return found


class ListsEntriesInAnyOrder(MemoryUndoLog):
    """UL-6"""

    async def list_entries(self, *, after=None, limit=1000):
        return (await super().list_entries(after=after, limit=limit))[::-1]


class EntriesOverlap(MemoryUndoLog):
    """UL-6"""

    async def list_entries(self, *, after=None, limit=1000):
        return await super().list_entries(limit=limit)


class PutsInTwoSteps(MemoryUndoLog):
    """UL-7"""

    async def put(self, entry):
        await super().put(attrs.evolve(entry, tool_name="half"))
        await anyio.lowlevel.checkpoint()
        await super().put(entry)


class HandsOutItsOwnData(MemoryUndoLog):
    """UL-8"""

    def __init__(self):
        super().__init__()
        self.known = {}

    async def get(self, action_id):
        found = await super().get(action_id)
        if found is None or "tags" not in found.undo_data:
            return found
        kept = self.known.setdefault(action_id, found.undo_data)
        return attrs.evolve(found, undo_data=kept)


class SwallowsDataThatItCannotStore(MemoryUndoLog):
    """UL-9"""

    async def put(self, entry):
        try:
            await super().put(entry)
        except CodecError:
            return


def _subclasses(of):
    here = [each for each in globals().values() if isinstance(each, type)]
    return [each for each in here if issubclass(each, of) and each.__module__ == __name__]


APPROVALS, UNDO = _subclasses(MemoryApprovalLog), _subclasses(MemoryUndoLog)


def test_every_clause_has_a_broken_log():
    assert named_clauses(APPROVALS) == clauses_of(ApprovalLog).keys()
    assert named_clauses(UNDO) == clauses_of(UndoLog).keys()


@pytest.mark.parametrize("broken", [*APPROVALS, *UNDO], ids=lambda broken: broken.__name__)
async def test_a_broken_log_fails_exactly_its_clause(broken):
    kit = ApprovalLogConformance if broken in APPROVALS else UndoLogConformance
    failures = await failed_clauses(kit, broken)
    assert set(failures) == set(broken.__doc__.split(", ")), failures
