"""The conformance kits of logs of approvals and of undo; they need pytest.

An author writes

    class TestMyApprovalLog(ApprovalLogConformance):
        @pytest.fixture
        async def log(self):
            async with MyApprovalLog() as log:
                yield log

and has each clause of `ApprovalLog` tested on each event loop.
"""
# ruff: noqa: D102 - the name of a test says what it proves

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final
from uuid import UUID

import attrs
import pytest

from stageflow.codec import CodecError
from stageflow.testing.conformance import ConformanceKit, all_at_once, every_cut, raising
from stageflow.tools.approval_log import (
    ApprovalLog,
    ApprovalRequest,
    ApprovalSettlement,
    ApprovalStatus,
)
from stageflow.tools.undo_log import UndoClaim, UndoEntry, UndoLog

__all__ = ("ApprovalLogConformance", "UndoLogConformance")

_AT: Final = datetime(2025, 1, 1, 12, 30, 0, 123456, tzinfo=UTC)
_LATER: Final = _AT + timedelta(minutes=1)
_RUN: Final = UUID(int=900)
_VALUES: Final[dict[str, Any]] = {
    "text": "naïve \U0001f600 \0 'quoted'; --",
    "whole": 2**70,
    "nested": {"list": [1, {"deep": [None, True, 0.5]}], "empty": {}},
}
_OUTCOME: Final[dict[str, Any]] = {"output": {"success": True, "data": _VALUES}}


class _Unknown:
    """Of a type that no codec knows."""


def _yes(by: str = "ada", **more: Any) -> ApprovalSettlement:
    return ApprovalSettlement(status=ApprovalStatus.APPROVED, at=_LATER, decided_by=by, **more)


def _no(by: str = "bob") -> ApprovalSettlement:
    return ApprovalSettlement(
        status=ApprovalStatus.DENIED, at=_LATER, decided_by=by, reason="too dear"
    )


class ApprovalLogConformance(ConformanceKit):
    """One test or more per clause of `ApprovalLog`; override the fixture `log`."""

    contracts: ClassVar[tuple[type, ...]] = (ApprovalLog,)

    @pytest.fixture
    async def log(self) -> ApprovalLog:
        """Give a fresh, empty log."""
        raise NotImplementedError("override `log`: yield a fresh, empty ApprovalLog")

    def request(self, number: int = 1, **more: Any) -> ApprovalRequest:
        """Return a request; its action is its own unless given."""
        more = {"created_at": _AT, **more}
        action_id = more.pop("action_id", UUID(int=1_000 + number))
        return ApprovalRequest(UUID(int=number), action_id, "send", **more)

    async def approved(self, log: ApprovalLog, number: int = 1) -> ApprovalRequest:
        """Return a request that the log knows as approved."""
        request = await log.add(self.request(number))
        return await _there(log.settle(request.id, _yes()))

    async def test_al1_it_has_the_methods_of_the_contract(self, log: ApprovalLog) -> None:
        self.check_shape(log)

    async def test_al1_a_request_is_read_with_everything(self, log: ApprovalLog) -> None:
        full = self.request(
            pipeline_run_id=_RUN,
            approval_message="Send it?\n'; drop table; --",
            payload=_VALUES,
            expires_at=_LATER,
        )
        bare = self.request(2)
        for request in (full, bare):
            assert await log.add(request) == request, "what was added is not what is answered"
            found = await log.get(request.id)
            assert found == request, f"added {request}, found {found}"
            assert found.is_pending, "it is settled, though nobody decided"
        assert await log.get(UUID(int=3)) is None, "there is a request that nobody added"

    async def test_al2_an_action_has_one_request(self, log: ApprovalLog) -> None:
        first = await log.add(self.request(1, action_id=UUID(int=7)))
        second = self.request(2, action_id=UUID(int=7), approval_message="Please?")
        assert await log.add(second) == first, "another request of the action was answered"
        assert await log.get(second.id) is None, "there are two requests of one action"
        settled = await _there(log.settle(first.id, _no()))
        assert await log.add(second) == settled, "a request that is over was asked anew"
        assert await log.add(first) == settled, "adding again has undone the settlement"

    async def test_al2_of_many_at_once_one_is_there(self, log: ApprovalLog) -> None:
        wanted = [self.request(number, action_id=UUID(int=7)) for number in range(1, 11)]
        answers = await all_at_once([_call(log.add, request) for request in wanted])
        listed = await log.list_requests()
        assert len(listed) == 1, f"{len(listed)} requests of one action are there"
        (winner,) = listed
        assert winner in wanted, f"nobody added {winner}"
        assert answers == [winner] * 10, f"not all were shown the winner: {answers}"

    async def test_al3_the_first_settlement_stands(self, log: ApprovalLog) -> None:
        edited = _yes(reason="at most 50", payload={"amount": 50})
        expired = ApprovalSettlement(status=ApprovalStatus.EXPIRED, at=_LATER)
        for number, first in enumerate((edited, _no(), expired), start=1):
            request = await log.add(self.request(number, payload=_VALUES))
            expected = attrs.evolve(request, settlement=first)
            settled = await log.settle(request.id, first)
            assert settled == expected, f"settled by {first}, answered {settled}"
            for late in (_yes("late"), _no("late"), first):
                again = await log.settle(request.id, late)
                assert again == expected, f"{late} came late and was answered {again}"
            assert await log.get(request.id) == expected, "another settlement is there"

    async def test_al3_of_many_at_once_one_settles(self, log: ApprovalLog) -> None:
        request = await log.add(self.request())
        wanted = [_yes(f"p{n}") if n % 2 else _no(f"p{n}") for n in range(10)]
        answers = await all_at_once([_call(log.settle, request.id, each) for each in wanted])
        found = await log.get(request.id)
        assert found is not None
        assert found.settlement in wanted, f"nobody settled it by {found.settlement}"
        assert answers == [found] * 10, f"not all were shown the winner: {answers}"

    async def test_al4_an_approval_is_used_once(self, log: ApprovalLog) -> None:
        request = await self.approved(log)
        begun = await _there(log.begin(request.id, "a", at=_LATER))
        assert begun.execution is not None, "an approved call did not begin"
        found = (begun.execution.id, begun.execution.begun_at, begun.execution.finished_at)
        assert found == ("a", _LATER, None), f"it began as {found}"
        again = await log.begin(request.id, "b", at=_LATER)
        assert again == begun, f"an approval was used twice: {again}"
        assert await log.begin(request.id, "a", at=_AT) == begun, "beginning again changed it"
        assert await log.get(request.id) == begun, "another execution is there"

    async def test_al4_only_what_is_approved_begins(self, log: ApprovalLog) -> None:
        pending = await log.add(self.request(1))
        denied = await log.add(self.request(2))
        await log.settle(denied.id, _no())
        for request in (pending, denied):
            answer = await _there(log.begin(request.id, "a", at=_LATER))
            assert answer.execution is None, f"a call began that is {answer.status}"
            assert await log.get(request.id) == answer, "what was answered is not there"

    async def test_al4_an_execution_takes_the_place_of_the_one_it_names(
        self, log: ApprovalLog
    ) -> None:
        request = await self.approved(log)
        none = await _there(log.begin(request.id, "b", at=_LATER, instead_of="a"))
        assert none.execution is None, "it took the place of one that never began"
        await log.begin(request.id, "a", at=_LATER)
        other = await _there(log.begin(request.id, "c", at=_LATER, instead_of="b"))
        assert _execution(other) == "a", "it took the place of one that it did not name"
        replaced = await _there(log.begin(request.id, "b", at=_LATER, instead_of="a"))
        assert _execution(replaced) == "b", "it did not take the place of the one it named"
        await log.finish(request.id, "b", at=_LATER, outcome=_OUTCOME)
        done = await _there(log.begin(request.id, "c", at=_LATER, instead_of="b"))
        assert _execution(done) == "b", "it took the place of one that had finished"

    async def test_al4_of_many_that_begin_at_once_one_does(self, log: ApprovalLog) -> None:
        request = await self.approved(log)
        for instead_of, names in ((None, "abcdefghij"), ("winner", "klmnopqrst")):
            known = await log.get(request.id)
            assert known is not None
            named = instead_of and _execution(known)
            answers = await all_at_once(
                [_call(log.begin, request.id, name, at=_LATER, instead_of=named) for name in names]
            )
            found = await log.get(request.id)
            assert found is not None
            assert _execution(found) in set(names), f"nobody began {_execution(found)}"
            assert answers == [found] * 10, f"not all were shown the winner: {answers}"

    async def test_al5_the_execution_under_way_is_finished_once(self, log: ApprovalLog) -> None:
        request = await self.approved(log)
        early = await _there(log.finish(request.id, "a", at=_LATER, outcome=_OUTCOME))
        assert early.execution is None, "an execution finished that never began"
        await log.begin(request.id, "a", at=_AT)
        other = await _there(log.finish(request.id, "b", at=_LATER, outcome=_OUTCOME))
        assert _finished(other) == (None, None), "another execution finished it"
        done = await _there(log.finish(request.id, "a", at=_LATER, outcome=_OUTCOME))
        assert _finished(done) == (_LATER, _OUTCOME), f"it finished as {_finished(done)}"
        again = await log.finish(request.id, "a", at=_AT, outcome={"other": 1})
        assert again == done, f"it was finished twice: {again}"
        assert await log.get(request.id) == done, "another outcome is there"

    async def test_al5_an_outcome_may_be_nothing(self, log: ApprovalLog) -> None:
        request = await self.approved(log)
        await log.begin(request.id, "a", at=_AT)
        done = await _there(log.finish(request.id, "a", at=_LATER, outcome=None))
        assert _finished(done) == (_LATER, None), f"it finished as {_finished(done)}"

    async def test_al6_what_is_not_there_is_none(self, log: ApprovalLog) -> None:
        nobody = UUID(int=1)
        assert await log.get(nobody) is None
        assert await log.settle(nobody, _yes()) is None
        assert await log.begin(nobody, "a", at=_AT) is None
        assert await log.finish(nobody, "a", at=_AT, outcome=None) is None
        assert await log.remove(nobody) is False
        assert list(await log.list_requests()) == [], "a request was made of nothing"

    async def test_al7_requests_are_listed_by_id(self, log: ApprovalLog) -> None:
        numbers = (9, 2**100, 4, 1, 2**127, 16)
        for number in numbers:
            await log.add(self.request(number))
        expected = sorted(numbers)
        assert _numbers(await log.list_requests()) == expected
        assert _numbers(await log.list_requests(pending=True)) == expected
        assert _numbers(await log.list_requests(limit=2)) == expected[:2]
        paged: list[int] = []
        for _ in range(4):
            after = UUID(int=paged[-1]) if paged else None
            paged += _numbers(await log.list_requests(after=after, limit=2))
        assert paged == expected, f"pages show {paged}"

    async def test_al7_pending_ones_and_those_of_a_run_are_listed(self, log: ApprovalLog) -> None:
        for number in range(1, 9):
            run_id = _RUN if number % 2 else UUID(int=901)
            await log.add(self.request(number, pipeline_run_id=run_id))
        await log.settle(UUID(int=1), _yes())
        await log.settle(UUID(int=2), _no())
        await log.remove(UUID(int=3))
        assert _numbers(await log.list_requests()) == [1, 2, 4, 5, 6, 7, 8]
        assert _numbers(await log.list_requests(pending=True)) == [4, 5, 6, 7, 8]
        assert _numbers(await log.list_requests(pipeline_run_id=_RUN)) == [1, 5, 7]
        mine = await log.list_requests(pending=True, pipeline_run_id=_RUN)
        assert _numbers(mine) == [5, 7]
        page = await log.list_requests(
            pending=True, pipeline_run_id=_RUN, after=UUID(int=5), limit=1
        )
        assert _numbers(page) == [7], "a page holds what is not asked for"

    async def test_al8_a_request_is_removed(self, log: ApprovalLog) -> None:
        request = await self.approved(log)
        other = await log.add(self.request(2))
        assert await log.remove(request.id) is True
        assert await log.remove(request.id) is False, "it was removed twice"
        assert await log.get(request.id) is None, "it is still there"
        assert await log.get(other.id) == other, "another one is gone as well"
        anew = self.request(3, action_id=request.action_id)
        assert await log.add(anew) == anew, "its action cannot be asked for anew"

    async def test_al9_a_cancelled_addition_is_whole_or_nothing(self, log: ApprovalLog) -> None:
        async for cut in every_cut(lambda step: log.add(self.request(step + 1))):
            request = self.request(cut.step + 1)
            found = await log.get(request.id)
            assert found in (None, request), f"half a request: {found}"
            assert found is not None or not cut.completed, "it was lost"
            listed = _numbers(await log.list_requests(pending=True))
            assert (cut.step + 1 in listed) == (found is not None), "it is not listed as it is"
            assert await log.add(request) == request, "it cannot be added any more"

    async def test_al9_a_cancelled_settlement_is_whole_or_nothing(self, log: ApprovalLog) -> None:
        for number in range(1, 100):
            await log.add(self.request(number))
        async for cut in every_cut(lambda step: log.settle(UUID(int=step + 1), _yes())):
            request = self.request(cut.step + 1)
            found = await log.get(request.id)
            assert found in (request, attrs.evolve(request, settlement=_yes())), f"half: {found}"
            assert found != request or not cut.completed, "it was lost"
            listed = _numbers(await log.list_requests(pending=True))
            assert (cut.step + 1 in listed) == (found == request), "it is not listed as it is"

    async def test_al9_a_cancelled_beginning_is_whole_or_nothing(self, log: ApprovalLog) -> None:
        for number in range(1, 20):
            await self.approved(log, number)
        async for cut in every_cut(lambda step: log.begin(UUID(int=step + 1), "a", at=_LATER)):
            found = await log.get(UUID(int=cut.step + 1))
            assert found is not None
            assert found.execution is not None or not cut.completed, "it was lost"
            again = await _there(log.begin(found.id, "b", at=_LATER))
            expected = "b" if found.execution is None else "a"
            assert _execution(again) == expected, "it has begun in part"

    async def test_al10_what_is_handed_out_is_the_callers(self, log: ApprovalLog) -> None:
        given: dict[str, Any] = {"tags": ["a"]}
        request = await log.add(self.request(payload=given))
        given["tags"].append("b")
        _changed(request.payload)
        _changed((await _there(log.get(request.id))).payload)
        listed = await log.list_requests()
        _changed(listed[0].payload)
        found = await _there(log.get(request.id))
        assert found.payload == {"tags": ["a"]}, f"a caller has changed it to {found.payload}"

    async def test_al11_what_cannot_be_stored_changes_nothing(self, log: ApprovalLog) -> None:
        with raising(CodecError, "adding what cannot be stored"):
            await log.add(self.request(payload={"x": _Unknown()}))
        assert list(await log.list_requests()) == [], "half a request is there"
        request = await log.add(self.request())
        with raising(CodecError, "settling by what cannot be stored"):
            await log.settle(request.id, _yes(payload={"x": _Unknown()}))
        assert await log.get(request.id) == request, "it is settled in part"
        await log.settle(request.id, _yes())
        begun = await log.begin(request.id, "a", at=_LATER)
        with raising(CodecError, "finishing with what cannot be stored"):
            await log.finish(request.id, "a", at=_LATER, outcome={"x": _Unknown()})
        assert await log.get(request.id) == begun, "it is finished in part"


class UndoLogConformance(ConformanceKit):
    """One test or more per clause of `UndoLog`; override the fixture `log`."""

    contracts: ClassVar[tuple[type, ...]] = (UndoLog,)

    @pytest.fixture
    async def log(self) -> UndoLog:
        """Give a fresh, empty log."""
        raise NotImplementedError("override `log`: yield a fresh, empty UndoLog")

    def entry(self, number: int = 1, **more: Any) -> UndoEntry:
        """Return an entry."""
        facts = {"undo_data": {"before": number}, "created_at": _AT, "expires_at": _LATER}
        return UndoEntry(action_id=UUID(int=number), tool_name="edit", **{**facts, **more})

    async def test_ul1_it_has_the_methods_of_the_contract(self, log: UndoLog) -> None:
        self.check_shape(log)

    async def test_ul1_an_entry_is_read_with_everything(self, log: UndoLog) -> None:
        for number, data in enumerate((_VALUES, {}), start=1):
            entry = self.entry(number, undo_data=data)
            await log.put(entry)
            found = await log.get(entry.action_id)
            assert found == entry, f"put {entry}, found {found}"

    async def test_ul1_what_has_expired_is_kept_until_it_is_removed(self, log: UndoLog) -> None:
        long_ago = datetime(1999, 1, 1, tzinfo=UTC)
        entry = self.entry(created_at=long_ago, expires_at=long_ago)
        await log.put(entry)
        assert await log.get(entry.action_id) == entry, "a log goes by a time of its own"

    async def test_ul1_the_last_entry_of_an_action_stands_unclaimed(self, log: UndoLog) -> None:
        await log.put(self.entry())
        await log.claim(UUID(int=1), _claim("a"))
        last = self.entry(undo_data={"before": "last"})
        await log.put(attrs.evolve(last, claim=_claim("x")))
        assert await log.get(last.action_id) == last, "it is not the last one, or is claimed"

    async def test_ul2_an_entry_is_claimed_once(self, log: UndoLog) -> None:
        entry = self.entry()
        await log.put(entry)
        claimed = attrs.evolve(entry, claim=_claim("a"))
        assert await log.claim(entry.action_id, _claim("a")) == claimed
        assert await log.claim(entry.action_id, _claim("b")) == claimed, "it was claimed twice"
        assert await log.get(entry.action_id) == claimed, "another claim is there"

    async def test_ul2_a_claim_takes_the_place_of_the_one_it_names(self, log: UndoLog) -> None:
        entry = self.entry()
        await log.put(entry)
        none = await log.claim(entry.action_id, _claim("b"), instead_of="a")
        assert none == entry, "it took the place of a claim that was not there"
        await log.claim(entry.action_id, _claim("a"))
        other = await log.claim(entry.action_id, _claim("c"), instead_of="b")
        assert other == attrs.evolve(entry, claim=_claim("a")), "it took another's place"
        replaced = await log.claim(entry.action_id, _claim("b"), instead_of="a")
        assert replaced == attrs.evolve(entry, claim=_claim("b")), "it did not take its place"

    async def test_ul2_of_many_at_once_one_claims_it(self, log: UndoLog) -> None:
        entry = self.entry()
        await log.put(entry)
        for instead_of, names in ((None, "abcdefghij"), ("winner", "klmnopqrst")):
            known = await log.get(entry.action_id)
            assert known is not None
            named = instead_of and known.claim and known.claim.id
            answers = await all_at_once(
                [
                    _call(log.claim, entry.action_id, _claim(name), instead_of=named)
                    for name in names
                ]
            )
            found = await log.get(entry.action_id)
            assert found is not None
            assert found.claim in [_claim(name) for name in names], f"claimed by {found.claim}"
            assert answers == [found] * 10, f"not all were shown the winner: {answers}"

    async def test_ul3_a_claim_is_released_by_its_own_id(self, log: UndoLog) -> None:
        entry = self.entry()
        await log.put(entry)
        claimed = await log.claim(entry.action_id, _claim("a"))
        assert await log.release(entry.action_id, "b") == claimed, "another one released it"
        assert await log.release(entry.action_id, "a") == entry, "it was not released"
        assert await log.release(entry.action_id, "a") == entry, "it was released twice"
        again = await log.claim(entry.action_id, _claim("b"))
        assert again == attrs.evolve(entry, claim=_claim("b")), "it cannot be claimed again"

    async def test_ul4_removing_answers_whether_it_was_there(self, log: UndoLog) -> None:
        await log.put(self.entry(1))
        await log.put(self.entry(2))
        await log.claim(UUID(int=1), _claim("a"))
        assert await log.remove(UUID(int=1)) is True
        assert await log.remove(UUID(int=1)) is False, "it was removed twice"
        assert await log.get(UUID(int=1)) is None, "it is still there"
        assert await log.get(UUID(int=2)) == self.entry(2), "another one is gone as well"
        await log.put(self.entry(1))
        assert await log.get(UUID(int=1)) == self.entry(1), "it cannot be put anew"

    async def test_ul5_what_is_not_there_is_none(self, log: UndoLog) -> None:
        nobody = UUID(int=1)
        assert await log.get(nobody) is None
        assert await log.claim(nobody, _claim("a")) is None
        assert await log.release(nobody, "a") is None
        assert await log.remove(nobody) is False
        assert list(await log.list_entries()) == [], "an entry was made of nothing"

    async def test_ul6_entries_are_listed_by_action(self, log: UndoLog) -> None:
        numbers = (9, 2**100, 4, 1, 2**127, 16)
        for number in numbers:
            await log.put(self.entry(number))
        expected = [self.entry(number) for number in sorted(numbers)]
        assert list(await log.list_entries()) == expected
        paged: list[UndoEntry] = []
        for _ in range(4):
            after = paged[-1].action_id if paged else None
            page = await log.list_entries(after=after, limit=2)
            assert len(page) <= 2, "a page is longer than asked for"
            paged += page
        assert paged == expected, "pages do not show each entry once"

    async def test_ul7_a_cancelled_put_is_whole_or_nothing(self, log: UndoLog) -> None:
        async for cut in every_cut(lambda step: log.put(self.entry(step + 1))):
            found = await log.get(UUID(int=cut.step + 1))
            assert found in (None, self.entry(cut.step + 1)), f"half an entry: {found}"
            assert found is not None or not cut.completed, "it was lost"

    async def test_ul7_a_cancelled_claim_is_whole_or_nothing(self, log: UndoLog) -> None:
        for number in range(1, 20):
            await log.put(self.entry(number))
        async for cut in every_cut(lambda step: log.claim(UUID(int=step + 1), _claim("a"))):
            entry = self.entry(cut.step + 1)
            found = await log.get(entry.action_id)
            assert found in (entry, attrs.evolve(entry, claim=_claim("a"))), f"half: {found}"
            assert found != entry or not cut.completed, "it was lost"

    async def test_ul8_what_is_handed_out_is_the_callers(self, log: UndoLog) -> None:
        given: dict[str, Any] = {"tags": ["a"]}
        await log.put(self.entry(undo_data=given))
        given["tags"].append("b")
        found = await log.get(UUID(int=1))
        assert found is not None
        _changed(found.undo_data)
        _changed((await log.list_entries())[0].undo_data)
        again = await log.get(UUID(int=1))
        assert again is not None
        assert again.undo_data == {"tags": ["a"]}, f"a caller changed it to {again.undo_data}"

    async def test_ul9_what_cannot_be_stored_changes_nothing(self, log: UndoLog) -> None:
        await log.put(self.entry(1))
        for number in (1, 2):
            with raising(CodecError, "putting what cannot be stored"):
                await log.put(self.entry(number, undo_data={"x": _Unknown()}))
        assert list(await log.list_entries()) == [self.entry(1)], "something was changed"


def _claim(name: str) -> UndoClaim:
    return UndoClaim(id=name, at=_LATER)


def _call(call: Callable[..., Awaitable[Any]], *args: Any, **given: Any) -> Any:
    return lambda: call(*args, **given)


async def _there(answer: Awaitable[ApprovalRequest | None]) -> ApprovalRequest:
    request = await answer
    assert request is not None, "a request that was added is not there"
    return request


def _execution(request: ApprovalRequest) -> str | None:
    return None if request.execution is None else request.execution.id


def _finished(request: ApprovalRequest) -> tuple[Any, Any]:
    assert request.execution is not None, "its execution is gone"
    return request.execution.finished_at, request.execution.outcome


def _numbers(requests: Any) -> list[int]:
    return [request.id.int for request in requests]


def _changed(value: Any) -> None:
    value["tags"].append("changed")
