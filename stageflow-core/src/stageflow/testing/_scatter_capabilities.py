"""The part of the kit of scatter coordinators that tests their capabilities."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from stageflow.contracts.scatter_coordinator import BarrierNotFoundError, ScatterOptionError
from stageflow.testing.conformance import ConformanceKit, all_at_once, every_cut, raising

__all__ = ("ScatterCapabilitiesTests",)


class ScatterCapabilitiesTests(ConformanceKit):
    """Tests the clauses of claims, checkpoints, pages and deletion."""

    async def test_sc29_a_key_is_claimed_by_one_in_order(self, coordinator: Any) -> None:
        self.needs("claims")
        barrier_id = await coordinator.create_barrier("run", "asset", None, keys=range(7))
        claimed = [
            [key.value for key in await coordinator.claim(barrier_id, worker, limit=limit)]
            for worker, limit in (("a", 2), ("b", 3), ("a", 0), ("a", 9), ("b", 1))
        ]
        assert claimed == [[0, 1], [2, 3, 4], [], [5, 6], []], f"claimed {claimed}"
        state = await coordinator.status(barrier_id)
        assert (state.claimed, state.pending) == (7, 7), f"all are claimed: {state}"

    async def test_sc29_keys_that_come_later_are_claimed(self, coordinator: Any) -> None:
        self.needs("claims")
        barrier_id = await coordinator.create_barrier("run", "asset", None, sealed=False)
        for start in (0, 2, 4):
            await coordinator.insert_results(barrier_id, [start, start, {"number": start + 1}])
            claimed = [key.value for key in await coordinator.claim(barrier_id, "a", limit=9)]
            assert claimed == [start, {"number": start + 1}], f"claimed {claimed}"

    async def test_sc30_what_is_released_is_free(self, coordinator: Any) -> None:
        self.needs("claims")
        barrier_id = await coordinator.create_barrier("run", "asset", None, keys=range(5))
        await coordinator.claim(barrier_id, "a", limit=3)
        await coordinator.claim(barrier_id, "b", limit=2)
        assert await coordinator.release(barrier_id, "a", [1, 4, "unknown"]) == 1
        assert await coordinator.release(barrier_id, "a", [1]) == 0, "it was released already"
        claimed = [key.value for key in await coordinator.claim(barrier_id, "c", limit=9)]
        assert claimed == [1], f"only 1 was free: {claimed}"
        assert await coordinator.release(barrier_id, "a") == 2
        assert await coordinator.release(barrier_id, "a") == 0, "it had nothing left"
        claimed = [key.value for key in await coordinator.claim(barrier_id, "c", limit=9)]
        assert claimed == [0, 2], f"what was released was free: {claimed}"

    async def test_sc30_what_was_not_renewed_is_free(self, coordinator: Any) -> None:
        self.needs("claims")
        barrier_id = await coordinator.create_barrier("run", "asset", None, keys=range(4))
        await coordinator.claim(barrier_id, "b", limit=1)
        await coordinator.claim(barrier_id, "a", limit=2, lease=0.0)
        await coordinator.renew(barrier_id, "a", [2], lease=60.0)
        claimed = [key.value for key in await coordinator.claim(barrier_id, "c", limit=9)]
        assert claimed == [1, 3], f"only the lease of 1 was over: {claimed}"
        await coordinator.renew(barrier_id, "b", [0], lease=0.0)
        claimed = [key.value for key in await coordinator.claim(barrier_id, "c", limit=9)]
        assert claimed == [0], f"that lease was over at once: {claimed}"

    async def test_sc30_what_has_ended_is_never_claimed(self, coordinator: Any) -> None:
        self.needs("claims")
        barrier_id = await coordinator.create_barrier(
            "run", "asset", None, keys=range(6), failure_mode="partial"
        )
        await coordinator.complete(barrier_id, 0, None)
        await coordinator.claim(barrier_id, "a", limit=2, lease=0.0)
        await coordinator.record(barrier_id, completed=[(1, None)], failed=[(3, "broken")])
        claimed = [key.value for key in await coordinator.claim(barrier_id, "b", limit=9)]
        assert claimed == [2, 4, 5], f"0, 1 and 3 have ended: {claimed}"
        await coordinator.record(barrier_id, completed=[(2, None)])
        assert (await coordinator.status(barrier_id)).claimed == 2, "one of three has ended"
        await coordinator.cancel(barrier_id)
        await coordinator.release(barrier_id, "b")
        left = await coordinator.claim(barrier_id, "b", limit=9)
        assert not left, f"all of it was cancelled: {left}"

    async def test_sc31_renewing_answers_what_is_left(self, coordinator: Any) -> None:
        self.needs("claims")
        barrier_id = await coordinator.create_barrier("run", "asset", None, keys=range(6))
        await coordinator.claim(barrier_id, "a", limit=3, lease=0.0)
        await coordinator.claim(barrier_id, "b", limit=2)
        await coordinator.complete(barrier_id, 2, None)
        still = await coordinator.renew(barrier_id, "a", [0, 1, 2, 5, "unknown"])
        assert [key.value for key in still] == [], f"another has 0 and 1: {still}"
        still = await coordinator.renew(barrier_id, "b", [1, 5, 0])
        assert [key.value for key in still] == [1, 0], f"it has both: {still}"
        last = await coordinator.claim(barrier_id, "a", limit=9, lease=0.0)
        assert await coordinator.renew(barrier_id, "a", last), "nobody had taken it meanwhile"

    async def test_sc32_claims_at_once_are_apart(self, coordinator: Any) -> None:
        self.needs("claims")
        barrier_id = await coordinator.create_barrier("run", "asset", None, keys=range(40))
        claims = await all_at_once(
            partial(coordinator.claim, barrier_id, str(worker), limit=5) for worker in range(10)
        )
        claimed = [key.value for claim in claims for key in claim]
        assert sorted(claimed) == list(range(40)), f"claimed at once: {sorted(claimed)}"

    async def test_sc33_the_checkpoint_goes_with_the_keys(self, coordinator: Any) -> None:
        self.needs("checkpoint")
        barrier_id = await coordinator.create_barrier("run", "asset", None, sealed=False)
        assert await coordinator.checkpoint(barrier_id) is None, "none was given yet"
        first: dict[str, Any] = {"page": ("a", [1])}
        await coordinator.insert_results(barrier_id, ["a"], checkpoint=first)
        first["page"][1].append(2)
        await coordinator.insert_results(barrier_id, ["b"])
        found = await coordinator.checkpoint(barrier_id)
        assert found == {"page": ("a", [1])}, f"the last one given was another: {found}"
        other = await coordinator.create_barrier(
            "run", "other", None, keys=["a"], sealed=False, checkpoint=7
        )
        found = await coordinator.checkpoint(other)
        assert found == 7, f"it was created with 7: {found}"

    async def test_sc33_a_cancelled_insertion_moves_both(self, coordinator: Any) -> None:
        self.needs("checkpoint")
        barrier_id = await coordinator.create_barrier(
            "run", "asset", None, sealed=False, checkpoint=-1
        )
        total = 0
        async for cut in every_cut(
            lambda step: coordinator.insert_results(barrier_id, [step], checkpoint=step)
        ):
            new = (await coordinator.status(barrier_id)).total
            moved = await coordinator.checkpoint(barrier_id) == cut.step
            assert moved == (new > total), f"cut at {cut.step} it moved only one of them"
            total = new

    async def test_sc34_pages_give_each_outcome_once(self, coordinator: Any) -> None:
        self.needs("pages")
        barrier_id = await coordinator.create_barrier(
            "run", "asset", None, keys=range(700), sealed=False, failure_mode="partial"
        )
        ended = [key for key in range(700) if key % 5]
        await coordinator.record(
            barrier_id,
            completed=[(key, [key]) for key in reversed(ended)],
            failed=[(key, {"key": key}) for key in range(0, 650, 5)],
        )
        for size in (1000, 90, 1):
            pages = [page async for page in coordinator.gather_pages(barrier_id, size)]
            assert all(0 < len(page) <= size for page in pages), f"pages of at most {size}"
            found = [pair for page in pages for pair in page]
            assert found == [(key, [key]) for key in ended], f"pages of {size} gave {found}"
        pages = [page async for page in coordinator.gather_pages(barrier_id, 7, failed=True)]
        found = [pair for page in pages for pair in page]
        expected = [(key, {"key": key}) for key in range(0, 650, 5)]
        assert found == expected, f"pages of failures gave {found}"

    async def test_sc34_pages_of_nothing(self, coordinator: Any) -> None:
        self.needs("pages")
        barrier_id = await coordinator.create_barrier("run", "asset", None, keys=["a"])
        pages = [page async for page in coordinator.gather_pages(barrier_id)]
        assert pages == [], f"nothing has ended: {pages}"
        with raising(ScatterOptionError, "a page of nothing"):
            await anext(coordinator.gather_pages(barrier_id, 0))
        with raising(BarrierNotFoundError, "pages of a barrier that is not there"):
            await anext(coordinator.gather_pages("no such barrier"))

    async def test_sc35_what_was_deleted_is_gone(self, coordinator: Any) -> None:
        self.needs("deletion")
        barrier_id = await coordinator.create_barrier("run", "asset", None, keys=["a", "b"])
        await coordinator.complete(barrier_id, "a", 1)
        answers = [await coordinator.delete_barrier(barrier_id) for _ in range(2)]
        assert answers == [True, False], f"deleting twice answered {answers}"
        with raising(BarrierNotFoundError, "a barrier that was deleted"):
            await coordinator.status(barrier_id)
        again = await coordinator.create_barrier("run", "asset", None, keys=["b"])
        state = await coordinator.status(again)
        assert (state.total, state.completed) == (1, 0), f"something of it was left: {state}"

    async def test_sc36_a_runs_barriers_are_deleted_together(self, coordinator: Any) -> None:
        self.needs("deletion")
        ids = [
            await coordinator.create_barrier(run, asset, None)
            for run, asset in (("run", "a"), ("run", "b"), ("run2", "a"), ("ru", "n"))
        ]
        answers = [await coordinator.delete_run("run") for _ in range(2)]
        assert answers == [2, 0], f"deleting twice answered {answers}"
        for barrier_id in ids[:2]:
            with raising(BarrierNotFoundError, "a barrier of a run that was deleted"):
                await coordinator.status(barrier_id)
        for barrier_id in ids[2:]:
            await coordinator.status(barrier_id)

    def _capability_calls(
        self, coordinator: Any, barrier_id: str
    ) -> list[Callable[[], Awaitable[object]]]:
        calls: list[Callable[[], Awaitable[object]]] = []
        if self.capabilities.claims:
            calls += [
                lambda: coordinator.claim(barrier_id, "worker"),
                lambda: coordinator.renew(barrier_id, "worker", ["a"]),
                lambda: coordinator.release(barrier_id, "worker"),
            ]
        if self.capabilities.checkpoint:
            calls.append(lambda: coordinator.checkpoint(barrier_id))
        if self.capabilities.pages:
            calls.append(lambda: anext(coordinator.gather_pages(barrier_id)))
        return calls
