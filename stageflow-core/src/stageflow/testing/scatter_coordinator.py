"""The kit of the contract `scatter_coordinator`: subclass `ScatterCoordinatorConformance`."""
# ruff: noqa: D102 - the name of a test says what it proves

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from typing import Any, ClassVar
from uuid import UUID

import pytest

from stageflow.contracts.scatter_coordinator import (
    BarrierDeletion,
    BarrierNotCompleteError,
    BarrierNotFoundError,
    BarrierSealedError,
    BarrierState,
    BarrierStatus,
    KeyClaims,
    ReaderCheckpoints,
    ResultPages,
    ScatterCoordinator,
    ScatterCoordinatorCapabilities,
    ScatterOptionError,
    UnknownScatterKeyError,
)
from stageflow.contracts.storage import StorageClosedError
from stageflow.testing._scatter_capabilities import ScatterCapabilitiesTests
from stageflow.testing.conformance import all_at_once, every_cut, raising, same_value

__all__ = ("ScatterCoordinatorConformance",)

PENDING, COMPLETE = BarrierStatus.PENDING, BarrierStatus.COMPLETE
EXCEEDED, CANCELLED = BarrierStatus.THRESHOLD_EXCEEDED, BarrierStatus.CANCELLED

_LONG = "x" * 1000
# Each stands beside another one that somebody might take it for.
_LOOKALIKES: tuple[Any, ...] = (
    *(None, "", "None", "null", 0, False, 0.0),
    *(1, "1", True, 1.0, "1.0", (1,), [1], {"1": 1}, {1: 1}),
    *("a", "A", "a ", "é", "e\u0301", "nul\0", "'; drop table scatter_items; --"),
    *(date(2025, 1, 31), "2025-01-31", datetime(2025, 1, 31, tzinfo=UTC), Decimal("1.10")),
    *(_LONG, f"{_LONG}x", {"id": 1, "url": _LONG}, {"id": 2, "url": _LONG}),
)
_VALUES: tuple[Any, ...] = (
    None,
    {"rows": [1, {"two": 2.5}]},
    ("a", ("b", 1)),
    {1, 2},
    2**70,
    b"\x00\xff",
    UUID(int=7),
    "naïve \U0001f600 \0",
    _LONG,
)


class _Unknown:
    """Of a type that nobody can store."""


class ScatterCoordinatorConformance(ScatterCapabilitiesTests):
    """Tests every clause of `ScatterCoordinator` and of the capabilities that are declared."""

    contracts = (ScatterCoordinator, KeyClaims, ReaderCheckpoints, ResultPages, BarrierDeletion)
    capabilities: ClassVar[ScatterCoordinatorCapabilities] = ScatterCoordinatorCapabilities()

    @pytest.fixture
    async def coordinator(self) -> Any:
        """Give a coordinator that has no barriers; every author overrides this."""
        raise NotImplementedError("override the fixture `coordinator`: yield one without barriers")

    async def test_it_has_the_shape_of_its_contract(self, coordinator: Any) -> None:
        self.check_shape(coordinator)

    async def test_sc1_creating_again_changes_nothing(self, coordinator: Any) -> None:
        first = await coordinator.create_barrier("run", "asset", "p", keys=["a"], sealed=False)
        await coordinator.complete(first, "a", 1)
        again = await coordinator.create_barrier("run", "asset", "p", keys=["b"])
        assert again == first, f"{first!r} was created again as {again!r}"
        await self._expect(coordinator, first, PENDING, total=1, completed=1, sealed=False)

    async def test_sc2_barriers_are_apart(self, coordinator: Any) -> None:
        places = [
            *(("run", "asset", None), ("run", "asset", "None"), ("run", "asset", "")),
            *(("run", "a/b", "c"), ("run", "a", "b/c"), ("run/a", "b", "c")),
            *(("run", "asset", 1), ("run", "asset", "1"), (UUID(int=1), "asset", None)),
        ]
        ids = [
            await coordinator.create_barrier(*place, keys=range(number))
            for number, place in enumerate(places)
        ]
        for number, (place, barrier_id) in enumerate(zip(places, ids, strict=True)):
            total = (await coordinator.status(barrier_id)).total
            assert total == number, f"{place!r} has {total} keys, not {number}"

    async def test_sc3_a_barrier_is_created_whole(self, coordinator: Any) -> None:
        with raising(Exception, "a key that cannot be stored"):
            await coordinator.create_barrier("run", "asset", None, keys=["a", _Unknown()])
        barrier_id = await coordinator.create_barrier("run", "asset", None, keys=["b"])
        await self._expect(coordinator, barrier_id, PENDING, total=1, sealed=True)

    async def test_sc3_a_cancelled_creation_is_whole(self, coordinator: Any) -> None:
        async for cut in every_cut(
            lambda step: coordinator.create_barrier("run", "asset", step, keys=range(3))
        ):
            barrier_id = await coordinator.create_barrier("run", "asset", cut.step, keys=range(3))
            await self._expect(coordinator, barrier_id, PENDING, total=3, duplicates=0)

    async def test_sc4_a_key_is_inserted_once(self, coordinator: Any) -> None:
        barrier_id = await coordinator.create_barrier(
            "run", "asset", None, keys=["a", "a", "b"], sealed=False
        )
        spelled: list[dict[Any, Any]] = [{"x": 1, "y": {2: "b", 1: "a"}}]
        spelled.append({"y": {1: "a", 2: "b"}, "x": 1})
        await coordinator.insert_results(barrier_id, ["b", "c", *spelled])
        await coordinator.insert_results(barrier_id, [spelled[1], _LONG])
        await coordinator.insert_results(barrier_id, [_LONG])
        await self._expect(coordinator, barrier_id, PENDING, total=5, duplicates=5)

    async def test_sc5_keys_that_differ_are_different(self, coordinator: Any) -> None:
        barrier_id = await coordinator.create_barrier("run", "asset", None, keys=_LOOKALIKES)
        for number, key in enumerate(_LOOKALIKES):
            await coordinator.complete(barrier_id, key, number)
        await self._expect(coordinator, barrier_id, COMPLETE, total=len(_LOOKALIKES), duplicates=0)
        results = await coordinator.gather(barrier_id)
        for number, key in enumerate(_LOOKALIKES):
            assert results[key] == number, f"something else took the place of {key!r}"
        found = list(results)
        assert all(map(same_value, found, _LOOKALIKES)), f"the keys came back as {found}"

    async def test_sc6_an_insertion_answers_what_it_added(self, coordinator: Any) -> None:
        barrier_id = await coordinator.create_barrier(
            "run", "asset", None, keys=[3, 1], sealed=False
        )
        for page, new in (([1, 9, 2, 9, 3], [9, 2]), ([], []), ([2, 9], []), ([7, 4], [7, 4])):
            inserted = await coordinator.insert_results(barrier_id, page)
            added = [key.value for key in inserted.added]
            assert added == new, f"of {page} these were new: {new}, not {added}"
            assert inserted.status is PENDING, f"the status is {inserted.status}"

    async def test_sc7_an_unsealed_barrier_is_never_complete(self, coordinator: Any) -> None:
        barrier_id = await coordinator.create_barrier(
            "run", "asset", None, keys=["a"], sealed=False
        )
        assert await coordinator.complete(barrier_id, "a", 1) is PENDING, "it was not sealed"
        await self._expect(coordinator, barrier_id, PENDING, total=1, sealed=False)
        inserted = await coordinator.insert_results(barrier_id, [], sealed=True)
        assert inserted.status is COMPLETE, f"all is done and sealed: {inserted.status}"
        await self._expect(coordinator, barrier_id, COMPLETE, total=1, sealed=True)

    async def test_sc7_a_sealed_barrier_without_keys_is_complete(self, coordinator: Any) -> None:
        barrier_id = await coordinator.create_barrier("run", "asset", None)
        await self._expect(coordinator, barrier_id, COMPLETE, total=0, sealed=True)
        assert dict(await coordinator.gather(barrier_id)) == {}

    async def test_sc8_a_sealed_barrier_refuses_new_keys(self, coordinator: Any) -> None:
        barrier_id = await coordinator.create_barrier("run", "asset", None, keys=["a", "b"])
        with raising(BarrierSealedError, "a new key"):
            await coordinator.insert_results(barrier_id, ["a", "c"])
        inserted = await coordinator.insert_results(barrier_id, ["b", "a"], sealed=True)
        assert not inserted.added, f"these were there: {inserted.added}"
        await self._expect(coordinator, barrier_id, PENDING, total=2, duplicates=2)

    async def test_sc9_the_first_outcome_stays(self, coordinator: Any) -> None:
        barrier_id = await coordinator.create_barrier(
            "run", "asset", None, keys=["a", "b", "c"], failure_mode="partial"
        )
        await coordinator.complete(barrier_id, "a", 1)
        await coordinator.fail(barrier_id, "b", "broken")
        for _ in range(2):
            await coordinator.complete(barrier_id, "a", 2)
            await coordinator.fail(barrier_id, "a", "late")
            await coordinator.complete(barrier_id, "b", 2)
            await coordinator.fail(barrier_id, "b", "again")
        await coordinator.record(barrier_id, completed=[("c", 3), ("c", 4)], failed=[("c", "x")])
        await self._expect(coordinator, barrier_id, COMPLETE, total=3, completed=2, failed=1)
        results = await coordinator.gather(barrier_id)
        assert results == {"a": 1, "c": 3}, f"the first outcomes are gone: {dict(results)}"

    async def test_sc10_each_outcome_is_answered_with_the_status(self, coordinator: Any) -> None:
        barrier_id = await self._partial(coordinator, keys=range(5))
        answers = [
            await coordinator.complete(barrier_id, 0, None),
            await coordinator.fail(barrier_id, 1, "broken"),
            await coordinator.record(barrier_id, completed=[(2, None)], failed=[(3, "broken")]),
            await coordinator.fail(barrier_id, 4, ValueError("broken")),
            await coordinator.complete(barrier_id, 4, None),
        ]
        expected = [PENDING, PENDING, PENDING, COMPLETE, COMPLETE]
        assert answers == expected, f"answered {answers}"

    async def test_sc11_an_unknown_key_raises(self, coordinator: Any) -> None:
        barrier_id = await coordinator.create_barrier("run", "asset", None, keys=["a", "1"])
        for key in ("b", 1, None, {"a": 1}):
            with raising(UnknownScatterKeyError, f"completing {key!r}"):
                await coordinator.record(barrier_id, completed=[("a", 1), (key, 1)])
            with raising(UnknownScatterKeyError, f"failing {key!r}"):
                await coordinator.fail(barrier_id, key, "broken")
        await self._expect(coordinator, barrier_id, PENDING, total=2, completed=0, failed=0)

    async def test_sc12_results_are_gathered_whole_and_in_order(self, coordinator: Any) -> None:
        keys = list(range(len(_VALUES)))
        barrier_id = await self._partial(coordinator, keys=[*keys, "broken"])
        for number in reversed(keys):
            await coordinator.complete(barrier_id, number, _VALUES[number])
        await coordinator.fail(barrier_id, "broken", ValueError("broken"))
        results = await coordinator.gather(barrier_id)
        assert list(results) == keys, f"gathered {list(results)}"
        for number, value in enumerate(_VALUES):
            whole = same_value(results[number], value)
            assert whole, f"gave {value!r}, gathered {results[number]!r}"

    async def test_sc12_what_is_not_complete_is_not_gathered(self, coordinator: Any) -> None:
        pending = await coordinator.create_barrier("run", "pending", None, keys=["a", "b"])
        await coordinator.complete(pending, "a", 1)
        failed = await coordinator.create_barrier("run", "failed", None, keys=["a"])
        await coordinator.fail(failed, "a", "broken")
        cancelled = await coordinator.create_barrier("run", "cancelled", None, keys=["a"])
        await coordinator.cancel(cancelled)
        for barrier_id in (pending, failed, cancelled):
            with raising(BarrierNotCompleteError, f"gathering {barrier_id!r}"):
                await coordinator.gather(barrier_id)

    async def test_sc13_outcomes_are_recorded_all_or_none(self, coordinator: Any) -> None:
        barrier_id = await coordinator.create_barrier("run", "asset", None, keys=range(4))
        with raising(Exception, "a result that cannot be stored"):
            await coordinator.record(barrier_id, completed=[(0, 0), (1, _Unknown())])
        with raising(UnknownScatterKeyError, "failing a key that is not there"):
            await coordinator.record(barrier_id, completed=[(0, 0)], failed=[("x", "broken")])
        await self._expect(coordinator, barrier_id, PENDING, completed=0, failed=0)
        async for cut in every_cut(
            lambda _: coordinator.record(barrier_id, completed=[(key, key) for key in range(4)])
        ):
            state = await coordinator.status(barrier_id)
            allowed = [(COMPLETE, 4)] if cut.completed else [(COMPLETE, 4), (PENDING, 0)]
            found = (state.status, state.completed)
            assert found in allowed, f"cut at {cut.step} it left {found}"

    async def test_sc14_a_count_is_exceeded_not_reached(self, coordinator: Any) -> None:
        for limit in (0, 1, 2):
            barrier_id = await self._partial(
                coordinator, str(limit), keys=range(9), sealed=False, failure_threshold=limit
            )
            answers = [await coordinator.fail(barrier_id, key, "x") for key in range(limit + 1)]
            expected = [*[PENDING] * limit, EXCEEDED]
            assert answers == expected, f"a threshold of {limit} gave {answers}"

    async def test_sc15_a_share_is_of_all_keys_when_sealed(self, coordinator: Any) -> None:
        barrier_id = await self._partial(
            coordinator, keys=range(10), sealed=False, failure_threshold=0.29
        )
        failed = [await coordinator.fail(barrier_id, key, "broken") for key in range(9)]
        assert set(failed) == {PENDING}, f"nobody knows yet of how many they are: {failed}"
        page = range(10, 100)
        inserted = await coordinator.insert_results(barrier_id, page, sealed=True)
        assert inserted.status is PENDING, f"9 of 100 are no more than 29: {inserted.status}"
        answers = [await coordinator.fail(barrier_id, key, "broken") for key in range(9, 30)]
        assert answers == [*[PENDING] * 20, EXCEEDED], f"29 of 100 are allowed: {answers}"

    async def test_sc15_sealing_judges_a_share(self, coordinator: Any) -> None:
        barrier_id = await self._partial(
            coordinator, keys=range(4), sealed=False, failure_threshold=0.25
        )
        for key in range(2):
            await coordinator.fail(barrier_id, key, "broken")
        inserted = await coordinator.insert_results(barrier_id, [], sealed=True)
        assert inserted.status is EXCEEDED, f"2 of 4 are more than a quarter: {inserted.status}"

    async def test_sc16_what_was_decided_stays(self, coordinator: Any) -> None:
        barrier_id = await self._partial(coordinator, keys=range(4), failure_threshold=0)
        answers = [await coordinator.fail(barrier_id, 0, "broken")]
        answers += [await coordinator.complete(barrier_id, key, key) for key in (1, 2)]
        answers += [await coordinator.fail(barrier_id, 3, "broken")]
        assert set(answers) == {EXCEEDED}, f"what was decided became {answers}"
        await self._expect(coordinator, barrier_id, EXCEEDED, completed=2, failed=2)

    async def test_sc17_the_mode_says_whether_failures_matter(self, coordinator: Any) -> None:
        cases: list[tuple[dict[str, Any], BarrierStatus, BarrierStatus]] = [
            ({"failure_mode": "partial"}, PENDING, COMPLETE),
            ({"failure_mode": "partial", "failure_threshold": 1.0}, PENDING, COMPLETE),
            ({"failure_mode": "all_or_nothing"}, EXCEEDED, EXCEEDED),
            ({}, EXCEEDED, EXCEEDED),
            ({"failure_threshold": 1}, PENDING, BarrierStatus.FAILED),
        ]
        for number, (options, first, last) in enumerate(cases):
            barrier_id = await coordinator.create_barrier(
                "run", "asset", number, keys=["a", "b"], **options
            )
            answers = [
                await coordinator.fail(barrier_id, "a", "broken"),
                await coordinator.complete(barrier_id, "b", 1),
            ]
            assert answers == [first, last], f"{options} gave {answers}"

    async def test_sc18_late_outcomes_are_ignored_and_counted(self, coordinator: Any) -> None:
        barrier_id = await coordinator.create_barrier("run", "asset", None, keys=range(5))
        await coordinator.complete(barrier_id, 0, "done")
        await coordinator.cancel(barrier_id)
        answers = []
        for _ in range(2):
            answers.append(await coordinator.complete(barrier_id, 1, "late"))
            answers.append(await coordinator.fail(barrier_id, 2, "late"))
            answers.append(await coordinator.complete(barrier_id, 0, "again"))
        await coordinator.record(barrier_id, completed=[(3, "late"), (3, "late")])
        assert set(answers) == {CANCELLED}, f"it was cancelled: {answers}"
        await self._expect(
            coordinator, barrier_id, CANCELLED, total=5, completed=1, failed=0, cancelled=4, late=3
        )

    async def test_sc19_cancelling_leaves_what_is_decided(self, coordinator: Any) -> None:
        done = await coordinator.create_barrier("run", "done", None, keys=["a"])
        await coordinator.complete(done, "a", 1)
        exceeded = await coordinator.create_barrier("run", "exceeded", None, keys=["a", "b"])
        await coordinator.fail(exceeded, "a", "broken")
        pending = await coordinator.create_barrier("run", "pending", None, keys=["a"])
        for _ in range(2):
            for barrier_id in (done, exceeded, pending):
                await coordinator.cancel(barrier_id)
        await self._expect(coordinator, done, COMPLETE, completed=1, cancelled=0)
        await self._expect(coordinator, exceeded, EXCEEDED, failed=1, cancelled=1)
        await self._expect(coordinator, pending, CANCELLED, cancelled=1)
        assert await coordinator.gather(done) == {"a": 1}

    async def test_sc20_an_ended_barrier_adds_no_keys(self, coordinator: Any) -> None:
        cancelled = await coordinator.create_barrier(
            "run", "cancelled", None, keys=["a"], sealed=False
        )
        await coordinator.cancel(cancelled)
        exceeded = await coordinator.create_barrier(
            "run", "exceeded", None, keys=["a"], sealed=False
        )
        await coordinator.fail(exceeded, "a", "broken")
        for barrier_id, status in ((cancelled, CANCELLED), (exceeded, EXCEEDED)):
            inserted = await coordinator.insert_results(barrier_id, ["b"], sealed=True)
            assert (list(inserted.added), inserted.status) == ([], status), f"it said {inserted}"
            await self._expect(coordinator, barrier_id, status, total=1)

    async def test_sc21_counts_are_exact_when_made_at_once(self, coordinator: Any) -> None:
        barrier_id = await self._partial(coordinator, sealed=False)
        pages = [range(start, start + 10) for start in range(0, 40, 5)]
        inserted = await all_at_once(
            partial(coordinator.insert_results, barrier_id, page) for page in pages
        )
        added = [key.value for answer in inserted for key in answer.added]
        assert sorted(added) == list(range(45)), f"added at once: {added}"
        await self._expect(coordinator, barrier_id, PENDING, total=45, duplicates=35)
        await coordinator.insert_results(barrier_id, [], sealed=True)
        calls: list[Callable[[], Awaitable[object]]] = []
        for key in range(45):
            tell = coordinator.fail if key % 3 == 0 else coordinator.complete
            calls += [partial(tell, barrier_id, key, None)] * 2
        answers = await all_at_once(calls)
        failures = [answer for answer in answers if isinstance(answer, Exception)]
        assert not failures, f"outcomes at once raised {failures}"
        await self._expect(coordinator, barrier_id, COMPLETE, completed=30, failed=15)

    async def test_sc22_a_barrier_that_is_not_there_raises(self, coordinator: Any) -> None:
        await coordinator.create_barrier("run", "asset", None, keys=["a"])
        for call in self._calls(coordinator, "no such barrier"):
            with raising(BarrierNotFoundError, "a call for a barrier that is not there"):
                await call()

    async def test_sc23_a_cancelled_insertion_is_whole(self, coordinator: Any) -> None:
        barrier_id = await coordinator.create_barrier("run", "asset", None, sealed=False)
        before = 0
        async for cut in every_cut(
            lambda step: coordinator.insert_results(barrier_id, [(step, n) for n in range(3)])
        ):
            total = (await coordinator.status(barrier_id)).total
            allowed = [before + 3] if cut.completed else [before, before + 3]
            assert total in allowed, f"cut at {cut.step} it left {total} keys"
            before = total

    async def test_sc23_a_cancelled_cancel_is_whole(self, coordinator: Any) -> None:
        async def cancel(step: int) -> None:
            barrier_id = await coordinator.create_barrier("run", "asset", step, keys=range(3))
            await coordinator.cancel(barrier_id)

        async for cut in every_cut(cancel):
            barrier_id = await coordinator.create_barrier("run", "asset", cut.step, keys=range(3))
            state = await coordinator.status(barrier_id)
            found = (state.status, state.cancelled)
            allowed = [(CANCELLED, 3)] if cut.completed else [(CANCELLED, 3), (PENDING, 0)]
            assert found in allowed, f"cut at {cut.step} it left {found}"

    async def test_sc24_what_is_kept_is_nobody_elses(self, coordinator: Any) -> None:
        key: dict[str, Any] = {"id": [1]}
        result: dict[str, Any] = {"rows": [1]}
        barrier_id = await coordinator.create_barrier("run", "asset", None, keys=[key])
        await coordinator.complete(barrier_id, key, result)
        key["id"].append(2)
        result["rows"].append(2)
        for _ in range(2):
            ((found_key, found),) = (await coordinator.gather(barrier_id)).items()
            kept = (found_key, found)
            assert kept == ({"id": [1]}, {"rows": [1]}), f"what was kept has become {kept}"
            found_key["id"].append(3)
            found["rows"].append(3)

    async def test_sc25_what_cannot_be_stored_raises(self, coordinator: Any) -> None:
        barrier_id = await coordinator.create_barrier(
            "run", "asset", None, keys=["a"], sealed=False
        )
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: coordinator.insert_results(barrier_id, ["b", _Unknown()], sealed=True),
            lambda: coordinator.insert_results(barrier_id, ["b"], checkpoint=_Unknown()),
            lambda: coordinator.complete(barrier_id, "a", _Unknown()),
            lambda: coordinator.fail(barrier_id, "a", _Unknown()),
        ]
        for call in calls:
            with raising(Exception, "what cannot be stored"):
                await call()
        await self._expect(coordinator, barrier_id, PENDING, total=1, failed=0, sealed=False)

    async def test_sc26_an_option_that_means_nothing_raises(self, coordinator: Any) -> None:
        wrong: Sequence[tuple[str, Any]] = (
            *(("failure_threshold", value) for value in (-1, -0.1, 1.1, True, "1", 2.0)),
            ("failure_mode", "sometimes"),
        )
        for name, value in wrong:
            with raising(ScatterOptionError, f"{name}={value!r}"):
                await coordinator.create_barrier("run", "asset", None, **{name: value})

    async def test_sc27_a_closed_coordinator_refuses_every_call(self, coordinator: Any) -> None:
        self.needs_closing()
        barrier_id = await coordinator.create_barrier("run", "asset", None, keys=["a"])
        await coordinator.aclose()
        await coordinator.aclose()
        calls = self._calls(coordinator, barrier_id)
        calls.append(lambda: coordinator.create_barrier("run", "asset", None))
        if self.capabilities.deletion:
            calls.append(lambda: coordinator.delete_run("run"))
        for call in calls:
            with raising(StorageClosedError, "a call after aclose"):
                await call()

    async def test_sc28_capabilities_are_declared_as_they_are(self, coordinator: Any) -> None:
        declared = ScatterCoordinatorCapabilities.of(coordinator)
        assert declared == self.capabilities, f"the coordinator declares {declared}"

    async def _partial(self, coordinator: Any, partition: Any = None, **options: Any) -> str:
        made: str = await coordinator.create_barrier(
            "run", "asset", partition, failure_mode="partial", **options
        )
        return made

    async def _expect(
        self, coordinator: Any, barrier_id: str, status: BarrierStatus, **counts: int
    ) -> None:
        """Fail unless the barrier has this status and these counts, and they add up."""
        state: BarrierState = await coordinator.status(barrier_id)
        found = {name: getattr(state, name) for name in counts}
        expected = (status, counts)
        assert (state.status, found) == expected, f"expected {expected}, found {state}"
        assert state.pending >= 0, f"more outcomes than keys: {state}"

    def _calls(self, coordinator: Any, barrier_id: str) -> list[Callable[[], Awaitable[object]]]:
        return [
            lambda: coordinator.insert_results(barrier_id, ["a"]),
            lambda: coordinator.complete(barrier_id, "a", 1),
            lambda: coordinator.fail(barrier_id, "a", "broken"),
            lambda: coordinator.record(barrier_id, completed=[("a", 1)]),
            lambda: coordinator.gather(barrier_id),
            lambda: coordinator.cancel(barrier_id),
            lambda: coordinator.status(barrier_id),
            *self._capability_calls(coordinator, barrier_id),
        ]
