"""The part of the kit of run stores that is about runs that wait without an owner."""
# ruff: noqa: D102 - the name of a test says what it proves

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from stageflow.contracts.checkpoints import LeaseLostError, RunLease
from stageflow.testing.conformance import all_at_once, every_cut, raising
from stageflow.testing.run_store_base import LONG, RunStoreKit

__all__ = ("RunParkingConformance",)


class RunParkingConformance(RunStoreKit):
    """Tests how runs are left to their waits, and taken up again; part of the whole kit."""

    # --- who may touch waits ------------------------------------------------

    async def test_rs50_only_the_owner_touches_waits(self, store: Any) -> None:
        self.needs("waits")
        lease = await self.new_lease(store)
        run_id = lease.run_id
        await store.open_wait(lease, "w", stage="ask", name="go")
        await store.signal_run(run_id, "kept", b"early")
        await store.release_lease(lease)
        lost = {"released first": lease} | await self.lost_leases(store, run_id)
        last = await store.get_lease(run_id)
        for release in (False, True):
            if release:
                await store.release_lease(last)
            held = await store.get_lease(run_id)
            before = (list(await store.list_waits(run_id)), held, "running")
            for how, old in lost.items():
                await self._refused(store, old, how)
                status = (await store.get_run(run_id))["status"]
                after = (
                    list(await store.list_waits(run_id)),
                    await store.get_lease(run_id),
                    status,
                )
                assert after == before, f"with a lease that was {how}: {before} became {after}"
        new = await store.acquire_lease(run_id, "new", ttl=LONG)
        wait = await store.open_wait(new, "kept", stage="ask", name="kept")
        assert wait.value == b"early", f"a refused call took the signal that was kept: {wait}"

    async def test_rs50_an_expired_lease_serves_until_it_is_taken(self, store: Any) -> None:
        self.needs("waits")
        lease = await self.expired_lease(store)
        for wait_id in ("w-1", "w-2"):
            await store.open_wait(lease, wait_id, stage="ask", name="go")
        await store.expire_wait(lease, "w-1")
        assert await store.park_run(lease, ["w-2"]) is True, "it was not parked"

    async def _refused(self, store: Any, lease: RunLease, how: str) -> None:
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: store.open_wait(lease, "w", stage="ask", name="go"),
            lambda: store.open_wait(lease, "new", stage="ask", name="kept"),
            lambda: store.expire_wait(lease, "w"),
            lambda: store.park_run(lease, ["w"]),
        ]
        for call in calls:
            with raising(LeaseLostError, f"a call with a lease that was {how}"):
                await call()

    # --- parking ------------------------------------------------------------

    async def test_rs51_a_run_is_parked_while_its_waits_are_open(self, store: Any) -> None:
        self.needs("waits")
        lease = await self.new_lease(store)
        for wait_id in ("w-1", "w-2", "answered"):
            await store.open_wait(lease, wait_id, stage="ask", name=wait_id)
        await store.signal_run(lease.run_id, "answered", b"yes")
        waits = list(await store.list_waits(lease.run_id))
        answer = await store.park_run(lease, iter(["w-1", "w-2"]))
        assert answer is True, f"parking was answered with {answer}"
        assert (await store.get_run(lease.run_id))["status"] == "waiting", "it is not waiting"
        assert await store.get_lease(lease.run_id) is None, "a parked run has a lease"
        assert list(await store.list_waits(lease.run_id)) == waits, "parking changed a wait"
        with raising(LeaseLostError, "a commit with the lease of a run that was parked"):
            await store.commit(lease)

    async def test_rs51_a_run_whose_wait_has_ended_is_not_parked(self, store: Any) -> None:
        self.needs("waits")
        lease = await self.new_lease(store)
        for wait_id in ("open", "answered", "timed out"):
            await store.open_wait(lease, wait_id, stage="ask", name=wait_id)
        await store.signal_run(lease.run_id, "answered", b"yes")
        await store.expire_wait(lease, "timed out")
        for given in (["open", "answered"], ["timed out", "open"], ["answered"]):
            answer = await store.park_run(lease, given)
            assert answer is False, f"parking for {given} was answered with {answer}"
            status = (await store.get_run(lease.run_id))["status"]
            found = (status, await store.get_lease(lease.run_id))
            assert found == ("running", lease), f"it was not parked, and has {found}"

    async def test_rs51_a_signal_is_not_missed_while_parking(self, store: Any) -> None:
        self.needs("waits")
        for turn in range(20):
            lease = await self.new_lease(store)
            await store.open_wait(lease, "w", stage="ask", name="go")
            calls: list[Callable[[], Awaitable[Any]]] = [
                lambda lease=lease: store.park_run(lease, ["w"]),  # type: ignore[misc]
                lambda lease=lease: store.signal_run(lease.run_id, "go", b"yes"),  # type: ignore[misc]
            ]
            first, second = await all_at_once(calls if turn % 2 else calls[::-1])
            parked, receipt = (first, second) if turn % 2 else (second, first)
            assert receipt.wait_id == "w", f"the signal was answered with {receipt}"
            assert parked is receipt.parked, f"parking answers {parked}, the signal {receipt}"

    async def test_rs51_a_cancelled_parking_is_whole(self, store: Any) -> None:
        self.needs("waits")

        async def prepare() -> RunLease:
            lease = await self.new_lease(store)
            await store.open_wait(lease, "w", stage="ask", name="go")
            return lease

        def park(_: int) -> Awaitable[object]:
            parking: Awaitable[object] = store.park_run(lease, ["w"])
            return parking

        lease = await prepare()
        async for cut in every_cut(park):
            held = await store.get_lease(lease.run_id)
            found = ((await store.get_run(lease.run_id))["status"], held)
            allowed = [("waiting", None)] + [("running", lease)] * (not cut.completed)
            assert found in allowed, f"cut at {cut.step} it left {found}"
            lease = await prepare()

    # --- taking up again ----------------------------------------------------

    async def test_rs53_a_receipt_tells_whether_the_run_is_parked(self, store: Any) -> None:
        self.needs("waits")
        parked, owned, left, waiting = [await self.new_lease(store) for _ in range(4)]
        for lease in (parked, owned, left, waiting):
            await store.open_wait(lease, "w", stage="ask", name="go")
        await store.park_run(parked, ["w"])
        await store.release_lease(left)
        await store.commit(waiting, status="waiting")
        for name, wait_id in (("early", None), ("go", "w")):
            for lease, expected in (
                (parked, True),
                (owned, False),
                (left, False),
                (waiting, False),
            ):
                receipt = await store.signal_run(lease.run_id, name, b"yes")
                found = (receipt.wait_id, receipt.parked)
                assert found == (wait_id, expected), f"expected {(wait_id, expected)}: {found}"
        await store.acquire_lease(parked.run_id, "second", ttl=LONG)
        receipt = await store.signal_run(parked.run_id, "early", b"yes")
        assert receipt.parked is False, "a run that somebody has again is called parked"

    async def test_rs38_a_parked_run_is_claimed_once_it_is_answered(self, store: Any) -> None:
        self.needs("waits")
        lease = await self._parked(store, "w-1", "w-2")
        assert await store.claim_run("second", ttl=LONG) is None, "nobody answered, it was claimed"
        await store.signal_run(lease.run_id, "other", b"yes")
        assert await store.claim_run("second", ttl=LONG) is None, "another signal made it claimed"
        await store.signal_run(lease.run_id, "w-2", b"yes")
        claimed = await store.claim_run("second", ttl=LONG)
        assert claimed is not None, "its wait was answered, and nobody goes on with it"
        found = (claimed.run_id, claimed.owner)
        assert found == (lease.run_id, "second"), f"claimed {found}"
        assert claimed.token > lease.token, f"token {claimed.token} follows {lease.token}"
        assert await store.claim_run("third", ttl=LONG) is None, "it was claimed twice"

    async def test_rs38_a_parked_run_is_claimed_when_its_time_is_up(self, store: Any) -> None:
        self.needs("waits")
        lease = await self._parked(store, "w-1", timeout=self.moment)
        await self._parked(store, "w-1", timeout=LONG)
        await self.pass_time(2 * self.moment)
        claimed = [await store.claim_run("second", ttl=LONG) for _ in range(2)]
        found = [each and each.run_id for each in claimed]
        assert found == [lease.run_id, None], f"claimed {found}, overdue is {lease.run_id}"

    async def test_rs38_a_parked_run_is_not_claimed_for_other_waits(self, store: Any) -> None:
        self.needs("waits")
        lease = await self._parked(store, "w-1", "w-2", timeout=self.moment)
        await store.signal_run(lease.run_id, "w-1", b"yes")
        await self.pass_time(2 * self.moment)
        second = await store.claim_run("second", ttl=LONG)
        await store.expire_wait(second, "w-2")
        await store.open_wait(second, "w-3", stage="ask", name="w-3")
        await store.open_wait(second, "aside", stage="ask", name="aside")
        await store.park_run(second, ["w-3"])
        await store.signal_run(lease.run_id, "aside", b"yes")
        third = await store.claim_run("third", ttl=LONG)
        assert third is None, "it was claimed for waits that it was not parked for"
        await store.signal_run(lease.run_id, "w-3", b"yes")
        third = await store.claim_run("third", ttl=LONG)
        assert third is not None, "its last wait was answered, and nobody goes on with it"

    async def test_rs38_of_many_claimers_one_gets_the_parked_run(self, store: Any) -> None:
        self.needs("waits")
        lease = await self._parked(store, "w")
        await store.signal_run(lease.run_id, "w", b"yes")
        results = await all_at_once(
            lambda n=n: store.claim_run(f"o{n}", ttl=LONG)  # type: ignore[misc]
            for n in range(6)
        )
        claimed = [result for result in results if result is not None]
        assert len(claimed) == 1, f"one run was claimed {len(claimed)} times: {claimed}"
        assert await store.get_lease(lease.run_id) == claimed[0], "it belongs to another"

    async def _parked(self, store: Any, *wait_ids: str, timeout: float | None = None) -> RunLease:
        """Create a run, open these waits, whose names are their ids, and park it for them."""
        lease = await self.new_lease(store)
        for wait_id in wait_ids:
            await store.open_wait(lease, wait_id, stage="ask", name=wait_id, timeout=timeout)
        assert await store.park_run(lease, wait_ids) is True, "it was not parked"
        return lease
