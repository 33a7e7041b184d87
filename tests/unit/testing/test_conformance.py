"""The machinery of kits: clauses are read, tests are matched, calls are cut everywhere."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from stageflow.testing.conformance import (
    Clause,
    ConformanceKit,
    Cut,
    all_at_once,
    clauses_of,
    every_cut,
    failed_clauses,
)

pytestmark = pytest.mark.anyio


class Counter:
    """Counts.

    CNT-1  A new counter shows nothing.
    CNT-2  Each call of `add`
      adds one.

    Prose after the clauses is not part of them.
    """


class Resetting:
    """Counts from the start again.

    CNT-3  [resetting] `reset` goes back to nothing.
    """


class CounterKit(ConformanceKit):
    contracts = (Counter, Resetting)
    capabilities = type("Capabilities", (), {"resetting": True})

    def test_cnt1_new_is_zero(self, counter) -> None:
        assert counter.shown == 0

    async def test_cnt2_add_adds_one(self, counter) -> None:
        await counter.add()
        assert counter.shown == 1

    async def test_cnt2_add_adds_again(self, counter) -> None:
        await counter.add()
        await counter.add()
        assert counter.shown == 2

    async def test_cnt3_reset(self, counter) -> None:
        self.needs("resetting")
        await counter.add()
        counter.reset()
        assert counter.shown == 0


class Good:
    def __init__(self) -> None:
        self.shown = 0

    async def add(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.shown += 1

    def reset(self) -> None:
        self.shown = 0


class AddsOnce(Good):
    async def add(self) -> None:
        self.shown = 1


class CannotReset(Good):
    def reset(self) -> None:
        raise RuntimeError("stuck")


def test_clauses_are_read_from_docstrings_in_order() -> None:
    assert list(clauses_of(Counter, Resetting).values()) == [
        Clause("CNT-1", "A new counter shows nothing."),
        Clause("CNT-2", "Each call of `add` adds one."),
        Clause("CNT-3", "`reset` goes back to nothing.", capability="resetting"),
    ]


def test_an_id_given_away_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="CNT-1"):
        clauses_of(Counter, Counter)


def test_tests_are_found_by_clause() -> None:
    assert CounterKit.proofs() == {
        "CNT-1": ["test_cnt1_new_is_zero"],
        "CNT-2": ["test_cnt2_add_adds_again", "test_cnt2_add_adds_one"],
        "CNT-3": ["test_cnt3_reset"],
    }


async def test_a_good_implementation_breaks_no_clause() -> None:
    assert await failed_clauses(CounterKit, Good) == {}


async def test_broken_clauses_come_with_the_failure() -> None:
    failures = await failed_clauses(CounterKit, AddsOnce)
    assert list(failures) == ["CNT-2"]
    assert isinstance(failures["CNT-2"], AssertionError)
    failures = await failed_clauses(CounterKit, CannotReset)
    assert list(failures) == ["CNT-3"]
    assert str(failures["CNT-3"]) == "stuck"


async def test_a_capability_that_is_not_declared_is_not_tested() -> None:
    class Kit(CounterKit):
        capabilities = type("Capabilities", (), {"resetting": False})

    assert await failed_clauses(Kit, CannotReset) == {}


async def test_a_call_is_cut_at_each_suspension_and_before_the_first() -> None:
    log: list[list[str]] = []

    async def call(step: int) -> str:
        marks: list[str] = []
        log.append(marks)
        for mark in "abc":
            await anyio.lowlevel.checkpoint()
            marks.append(mark)
        return "done"

    cuts = [cut async for cut in every_cut(call)]
    assert cuts == [
        Cut(0, False),
        Cut(1, False),
        Cut(2, False),
        Cut(3, False),
        Cut(4, True, "done"),
    ]
    assert ["".join(marks) for marks in log] == ["", "", "a", "ab", "abc"]


async def test_a_call_that_never_suspends_is_cut_nowhere() -> None:
    async def call(step: int) -> int:
        return step

    assert [cut async for cut in every_cut(call)] == [Cut(0, True, 0), Cut(1, True, 1)]


async def test_work_in_a_thread_is_cut_where_it_waits() -> None:
    async def call(step: int) -> int:
        return await anyio.to_thread.run_sync(lambda: step)

    cuts = [cut async for cut in every_cut(call)]
    assert cuts[0] == Cut(0, False)
    assert cuts[-1].completed
    assert all(cut.value == cut.step for cut in cuts if cut.completed)


async def test_errors_and_clean_ups_of_a_cut_call_are_its_own() -> None:
    cleaned: list[int] = []
    contexts: list[BaseException | None] = []

    async def call(step: int) -> None:
        try:
            await anyio.lowlevel.checkpoint()
            {}[step]
        except KeyError as exc:
            contexts.append(exc.__context__)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
                cleaned.append(step)

    cuts = [cut async for cut in every_cut(call)]
    assert [cut.completed for cut in cuts] == [False, False, True, True]
    assert cleaned == [0, 1, 2, 3]
    assert contexts == [None, None]


async def test_a_call_that_will_not_be_cancelled_is_told_so() -> None:
    cancelled = anyio.get_cancelled_exc_class()

    async def call(step: int) -> None:
        while True:
            try:
                await anyio.lowlevel.checkpoint()
            except cancelled:
                continue

    with pytest.raises(AssertionError, match="does not end"):
        [cut async for cut in every_cut(call)]


async def test_calls_made_at_once_give_results_and_errors_in_order() -> None:
    async def call(number: int) -> int:
        await anyio.lowlevel.checkpoint()
        if number == 1:
            raise ValueError(number)
        return number

    results = await all_at_once([lambda n=n: call(n) for n in range(3)])
    assert results[0] == 0
    assert isinstance(results[1], ValueError)
    assert results[2] == 2
