"""The part of the kit of run stores that is about leases: who may go on with a run."""
# ruff: noqa: D102 - the name of a test says what it proves

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from stageflow.contracts.checkpoints import LeaseHeldError, LeaseLostError, RunLease
from stageflow.contracts.run_store import RunNotFoundError
from stageflow.testing.conformance import all_at_once, every_cut, raising
from stageflow.testing.run_store_base import LONG, RunStoreKit

__all__ = ("RunLeasesConformance",)


class RunLeasesConformance(RunStoreKit):
    """Tests how runs are acquired, kept, left, claimed and asked to stop; part of the whole kit."""

    # --- acquiring ----------------------------------------------------------

    async def test_rs27_a_run_is_acquired_by_one(self, store: Any) -> None:
        self.needs("checkpoints")
        run_id, other = await self.new_run(store), await self.new_run(store)
        assert await store.get_lease(run_id) is None, "nobody acquired it, and it has a lease"
        lease = await store.acquire_lease(run_id, "first", ttl=LONG)
        assert isinstance(lease, RunLease), f"acquired a {type(lease).__name__}"
        found = (lease.run_id, lease.owner, lease.cancel_requested)
        assert found == (run_id, "first", None), f"the lease has {found}"
        assert lease.expires_at.utcoffset() == timedelta(0), f"{lease.expires_at} is not in UTC"
        for owner in ("second", "first"):
            await _held(store, lease, owner)
        assert await store.get_lease(other) is None, "another run has been acquired as well"

    async def test_rs27_one_of_many_at_once_acquires_it(self, store: Any) -> None:
        self.needs("checkpoints")
        run_id = await self.new_run(store)
        results = await all_at_once(
            lambda n=n: store.acquire_lease(run_id, f"o{n}", ttl=LONG)  # type: ignore[misc]
            for n in range(10)
        )
        await _one_won(store, run_id, results)

    async def test_rs27_a_run_that_is_not_there_is_not_acquired(self, store: Any) -> None:
        self.needs("checkpoints")
        run_id = uuid4()
        with raising(RunNotFoundError, "acquiring an unknown run"):
            await store.acquire_lease(run_id, "first", ttl=LONG)
        assert await store.get_lease(run_id) is None, "an unknown run has a lease"

    async def test_rs28_each_lease_has_a_higher_token(self, store: Any) -> None:
        self.needs("checkpoints")
        run_id, tokens = await self.new_run(store), []
        for _ in range(3):
            lease = await store.acquire_lease(run_id, "first", ttl=LONG)
            taken = await store.acquire_lease(run_id, "2nd", ttl=self.moment, take_over=lease.token)
            await self.pass_time(2 * self.moment)
            third = await store.acquire_lease(run_id, "third", ttl=LONG)
            renewed = await store.renew_lease(third, ttl=LONG)
            assert renewed.token == third.token, "a renewed lease has another token"
            assert await store.release_lease(third), "its own lease was not released"
            tokens += [lease.token, taken.token, third.token]
        assert tokens[0] == 1, f"the first token is {tokens[0]}"
        assert sorted(set(tokens)) == tokens, f"tokens do not rise: {tokens}"
        other = await self.new_lease(store)
        assert other.token == 1, "tokens are counted across runs"

    async def test_rs28_an_expired_lease_is_acquired_like_none(self, store: Any) -> None:
        self.needs("checkpoints")
        lease = await self.expired_lease(store)
        found = await store.get_lease(lease.run_id)
        assert found is not None, "a lease that has expired is not shown"
        assert _facts(found) == _facts(lease), f"of {lease} has become {found}"
        results = await all_at_once(
            lambda n=n: store.acquire_lease(lease.run_id, f"o{n}", ttl=LONG)  # type: ignore[misc]
            for n in range(5)
        )
        if all(isinstance(result, LeaseHeldError) for result in results):
            raise AssertionError(
                f"a lease of {self.moment} s holds after twice the time: it does not expire, or"
                " `pass_time` does not move the time that the store goes by"
            )
        winner = await _one_won(store, lease.run_id, results)
        assert winner.token > lease.token, f"token {winner.token} follows {lease.token}"

    async def test_rs28_a_lease_holds_until_it_expires(self, store: Any) -> None:
        self.needs("checkpoints")
        lease = await self.new_lease(store)
        await self.pass_time(2 * self.moment)
        with raising(LeaseHeldError, f"acquiring what is held for {LONG} s"):
            await store.acquire_lease(lease.run_id, "second", ttl=LONG)

    async def test_rs29_a_lease_is_taken_over_by_its_token(self, store: Any) -> None:
        self.needs("checkpoints")
        first = await self.new_lease(store)
        run_id = first.run_id
        await _held(store, first, "second", take_over=first.token + 1)
        await _held(store, first, "second", take_over=0)
        second = await store.acquire_lease(run_id, "second", ttl=LONG, take_over=first.token)
        assert second.token > first.token, f"token {second.token} follows {first.token}"
        assert await store.get_lease(run_id) == second, "it was not taken over"
        await _held(store, second, "third", take_over=first.token)

    async def test_rs29_one_of_many_at_once_takes_over(self, store: Any) -> None:
        self.needs("checkpoints")
        lease = await self.new_lease(store)
        results = await all_at_once(
            lambda n=n: store.acquire_lease(  # type: ignore[misc]
                lease.run_id, f"o{n}", ttl=LONG, take_over=lease.token
            )
            for n in range(10)
        )
        await _one_won(store, lease.run_id, results)

    # --- renewing and releasing ---------------------------------------------

    async def test_rs30_a_lease_is_renewed_from_now_on(self, store: Any) -> None:
        self.needs("checkpoints")
        lease = await self.new_lease(store, ttl=self.moment)
        longer = await store.renew_lease(lease, ttl=LONG)
        assert _facts(longer) == _facts(lease), f"of {lease} has become {longer}"
        assert longer.expires_at > lease.expires_at, "its end is not later"
        assert await store.get_lease(lease.run_id) == longer, "what is kept is another lease"
        await self.pass_time(2 * self.moment)
        with raising(LeaseHeldError, "acquiring what was renewed"):
            await store.acquire_lease(lease.run_id, "second", ttl=LONG)
        shorter = await store.renew_lease(lease, ttl=self.moment)
        assert shorter.expires_at < longer.expires_at, "ttl is not counted from now"
        await self.pass_time(2 * self.moment)
        second = await store.acquire_lease(lease.run_id, "second", ttl=LONG)
        assert second.owner == "second", f"it belongs to {second.owner}"

    async def test_rs30_an_expired_lease_is_renewed(self, store: Any) -> None:
        self.needs("checkpoints")
        lease = await self.expired_lease(store)
        renewed = await store.renew_lease(lease, ttl=LONG)
        assert _facts(renewed) == _facts(lease), f"of {lease} has become {renewed}"
        await _held(store, renewed, "second")

    async def test_rs30_a_lost_lease_is_not_renewed(self, store: Any) -> None:
        self.needs("checkpoints")
        run_id = await self.new_run(store)
        lost = await self.lost_leases(store, run_id)
        last = await store.get_lease(run_id)
        for how, lease in lost.items():
            with raising(LeaseLostError, f"renewing a lease that was {how}"):
                await store.renew_lease(lease, ttl=2 * LONG)
        assert await store.get_lease(run_id) == last, "a refused renewal changed the lease"
        await store.release_lease(last)
        for how, lease in (lost | {"released": last}).items():
            with raising(LeaseLostError, f"renewing a lease that was {how}"):
                await store.renew_lease(lease, ttl=LONG)
        assert await store.get_lease(run_id) is None, "a refused renewal made a lease"

    async def test_rs31_a_released_lease_is_none(self, store: Any) -> None:
        self.needs("checkpoints")
        lease = await self.new_lease(store)
        answers = [await store.release_lease(lease), await store.release_lease(lease)]
        assert answers == [True, False], f"releasing twice was answered with {answers}"
        assert await store.get_lease(lease.run_id) is None, "a released lease is shown"
        assert list(await store.list_leases()) == [], "a released lease is listed"
        second = await store.acquire_lease(lease.run_id, "second", ttl=LONG)
        assert second.owner == "second", f"it belongs to {second.owner}"

    async def test_rs31_releasing_a_lost_lease_changes_nothing(self, store: Any) -> None:
        self.needs("checkpoints")
        run_id = await self.new_run(store)
        lost = await self.lost_leases(store, run_id)
        last = await store.get_lease(run_id)
        for how, lease in lost.items():
            answer = await store.release_lease(lease)
            assert answer is False, f"releasing one that was {how} was answered with {answer}"
            assert await store.get_lease(run_id) == last, f"releasing one {how} changed the lease"

    # --- asking for the end -------------------------------------------------

    async def test_rs37_a_lease_shows_what_the_run_is_asked_to_stop_for(self, store: Any) -> None:
        self.needs("checkpoints")
        lease = await self.new_lease(store)
        run_id = lease.run_id
        assert await store.request_cancel(run_id, "too late") is True, "it cannot be asked"
        renewed = await store.renew_lease(lease, ttl=LONG)
        shown = [renewed, await store.get_lease(run_id), *await store.list_leases()]
        await store.release_lease(lease)
        shown.append(await store.acquire_lease(run_id, "second", ttl=LONG))
        found = [each.cancel_requested for each in shown]
        assert found == ["too late"] * 4, f"renewed, read, listed, acquired: {found}"

    async def test_rs37_a_run_without_owner_is_asked_too(self, store: Any) -> None:
        self.needs("checkpoints")
        run_id = await self.new_run(store, status="created")
        assert await store.request_cancel(run_id, "too late") is True, "it cannot be asked"
        lease = await store.acquire_lease(run_id, "first", ttl=LONG)
        assert lease.cancel_requested == "too late", "what it was asked for was forgotten"

    async def test_rs37_it_is_forgotten_when_the_run_ends(self, store: Any) -> None:
        self.needs("checkpoints")
        for ended in ("failed", "cancelled"):
            lease = await self.new_lease(store)
            await store.request_cancel(lease.run_id, "too late")
            await store.commit(lease, status=ended)
            await store.release_lease(lease)
            other = await self.new_run(store)
            await store.request_cancel(other, "too late")
            await store.update_status(other, ended)
            for run_id in (lease.run_id, other):
                await store.update_status(run_id, "running")
                lease = await store.acquire_lease(run_id, "second", ttl=LONG)
                assert lease.cancel_requested is None, f"it {ended}, and is asked to stop again"

    async def test_rs37_what_is_over_is_asked_for_nothing(self, store: Any) -> None:
        self.needs("checkpoints")
        assert await store.request_cancel(uuid4(), "why") is False, "an unknown run was asked"
        for ended in ("completed", "failed", "cancelled"):
            run_id = await self.new_run(store, status=ended)
            answer = await store.request_cancel(run_id, "why")
            assert answer is False, f"asking one that {ended} was answered with {answer}"
            if ended != "completed":
                await store.update_status(run_id, "running")
                lease = await store.acquire_lease(run_id, "first", ttl=LONG)
                assert lease.cancel_requested is None, "what was refused was kept"

    # --- claiming -----------------------------------------------------------

    async def test_rs38_a_run_whose_owner_is_gone_is_claimed(self, store: Any) -> None:
        self.needs("checkpoints")
        for status in ("created", "running", "waiting"):
            lost = await self.expired_lease(store, status=status)
            claimed = await store.claim_run("second", ttl=LONG)
            assert claimed is not None, f"nobody goes on with one that is {status}"
            found = (claimed.run_id, claimed.owner)
            assert found == (lost.run_id, "second"), f"claimed {found}"
            assert claimed.token > lost.token, f"token {claimed.token} follows {lost.token}"
            assert await store.get_lease(lost.run_id) == claimed, "it was not acquired"
            assert await store.claim_run("third", ttl=LONG) is None, "it was claimed twice"

    async def test_rs38_a_run_that_needs_nobody_is_not_claimed(self, store: Any) -> None:
        self.needs("checkpoints")
        for status in ("created", "running", "waiting"):
            await self.new_run(store, status=status)
            await self.new_lease(store, status=status)
            released = await self.new_lease(store, status=status)
            await store.release_lease(released)
        for ended in ("completed", "failed", "cancelled"):
            lease = await self.new_lease(store, ttl=self.moment)
            await store.update_status(lease.run_id, ended)
        await self.pass_time(2 * self.moment)
        claimed = await store.claim_run("second", ttl=LONG)
        assert claimed is None, f"claimed {claimed and await store.get_run(claimed.run_id)}"

    async def test_rs38_a_waiting_run_that_was_asked_to_stop_is_claimed(self, store: Any) -> None:
        self.needs("checkpoints")
        leases = [await self.new_lease(store, status="waiting") for _ in range(3)]
        never = await self.new_run(store, status="waiting")
        going = await self.new_lease(store, status="running")
        for released in (leases[0], leases[1], going):
            await store.release_lease(released)
        for asked in (leases[1].run_id, leases[2].run_id, never, going.run_id):
            await store.request_cancel(asked, "too late")
        claimed = [await store.claim_run("second", ttl=LONG) for _ in range(2)]
        found = [lease and (lease.run_id, lease.cancel_requested) for lease in claimed]
        assert found == [(leases[1].run_id, "too late"), None], f"claimed {found}"

    async def test_rs38_many_claimers_at_once_get_a_run_each(self, store: Any) -> None:
        self.needs("checkpoints")
        lost = [await self.new_lease(store, ttl=self.moment) for _ in range(4)]
        await self.pass_time(2 * self.moment)
        results = await all_at_once(
            lambda n=n: store.claim_run(f"o{n}", ttl=LONG)  # type: ignore[misc]
            for n in range(8)
        )
        claimed = [result for result in results if result is not None]
        assert all(isinstance(lease, RunLease) for lease in claimed), f"answered {results}"
        found = sorted(lease.run_id for lease in claimed)
        assert found == sorted(lease.run_id for lease in lost), f"claimed {found}"
        for lease in claimed:
            assert await store.get_lease(lease.run_id) == lease, "a run has two owners"

    # --- listing and cancelled calls ----------------------------------------

    async def test_rs39_leases_are_listed_by_run(self, store: Any) -> None:
        self.needs("checkpoints")
        ids = sorted((uuid4() for _ in range(7)), reverse=True)
        for run_id in ids:
            await store.create_run(run_id, service="voice", status="running")

        async def acquire(chosen: list[UUID], ttl: float) -> list[RunLease]:
            return [await store.acquire_lease(run_id, "first", ttl=ttl) for run_id in chosen]

        gone, *expired = await acquire(ids[:3], self.moment)
        await self.pass_time(2 * self.moment)
        held = await acquire(ids[3:], LONG)
        await self.new_run(store)
        await store.release_lease(gone)
        wanted = sorted(map(_facts, (*expired, *held)))
        listed = await store.list_leases()
        assert [_facts(lease) for lease in listed] == wanted, f"listed {listed}"
        for size in (1, 2, 5, 6, 7):
            seen: list[Any] = []
            for _ in range(8):
                page = await store.list_leases(after=seen[-1][0] if seen else None, limit=size)
                assert len(page) <= size, f"a page of {size} has {len(page)} leases"
                seen += map(_facts, page)
                if not page:
                    break
            assert seen == wanted, f"in pages of {size}: {seen}"
        later = await store.list_leases(after=UUID(int=wanted[2][0].int + 1))
        assert [_facts(lease) for lease in later] == wanted[3:], "after one that is not there"

    async def test_rs14_a_cancelled_acquisition_is_whole(self, store: Any) -> None:
        self.needs("checkpoints")
        run_id = await self.new_run(store)
        async for cut in every_cut(lambda _: store.acquire_lease(run_id, "first", ttl=LONG)):
            lease = await store.get_lease(run_id)
            if cut.completed:
                assert lease == cut.value, f"cut at {cut.step} the run has {lease}"
            if lease is not None:
                assert (lease.owner, await store.release_lease(lease)) == ("first", True)


async def _held(store: Any, lease: RunLease, owner: str, **given: Any) -> None:
    """Fail unless *lease* holds against *owner*, unchanged."""
    shown: RunLease | None = None
    with raising(LeaseHeldError, f"acquiring with {given or 'no token'} what is held"):
        try:
            await store.acquire_lease(lease.run_id, owner, ttl=LONG, **given)
        except LeaseHeldError as error:
            shown = error.lease
            raise
    assert shown == lease, f"the error shows {shown}"
    found = await store.get_lease(lease.run_id)
    assert found == lease, f"the refused call made of it {found}"


async def _one_won(store: Any, run_id: UUID, results: list[Any]) -> RunLease:
    """Fail unless one of many attempts has the run, and the others were told who."""
    winners = [result for result in results if isinstance(result, RunLease)]
    assert len(winners) == 1, f"{len(winners)} of {len(results)} attempts were given the run"
    for result in results:
        if result is not winners[0]:
            assert isinstance(result, LeaseHeldError), f"a loser was answered with {result!r}"
            assert result.lease == winners[0], f"a loser was shown {result.lease}"
    found = await store.get_lease(run_id)
    assert found == winners[0], f"the run has {found}"
    return winners[0]


def _facts(lease: RunLease) -> tuple[UUID, str, int]:
    """Return what stays the same of a lease while time passes."""
    return (lease.run_id, lease.owner, lease.token)
