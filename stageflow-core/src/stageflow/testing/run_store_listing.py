"""The part of the kit of run stores that is about many runs: listed, logged, deleted, pruned."""
# ruff: noqa: D102 - the name of a test says what it proves

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import product
from typing import Any
from uuid import UUID, uuid4

from stageflow.contracts.checkpoints import CheckpointEntry
from stageflow.contracts.run_store import (
    RunEvent,
    RunNotFoundError,
    RunStoreError,
    UnknownStatusError,
)
from stageflow.testing.conformance import all_at_once, every_cut, raising, same_value
from stageflow.testing.run_store_base import AT, LONG, RunStoreKit, Unknown, numbered_event

__all__ = ("RunListingConformance",)

_ENDED = ("completed", "failed", "cancelled")


class RunListingConformance(RunStoreKit):
    """Tests the list of runs, their event logs, their deletion and pruning; part of the kit."""

    # --- listing ------------------------------------------------------------

    async def test_rs16_runs_are_listed_newest_first(self, store: Any) -> None:
        self.needs("listing")
        ids = [uuid4() for _ in range(6)]
        for run_id in ids:
            await store.create_run(run_id, service="voice", mine=str(run_id))
        await store.update_status(ids[2], "running")
        listed = await store.list_runs()
        assert [run["run_id"] for run in listed] == ids[::-1], "not in order of creation"
        assert [run["mine"] for run in listed] == [str(run_id) for run_id in ids[::-1]]

    async def test_rs17_a_list_can_be_limited_to_a_status_or_service(self, store: Any) -> None:
        self.needs("listing")
        runs = {
            uuid4(): (status, service)
            for status in ("running", "failed")
            for service in ("voice", "chat")
        }
        for run_id, (status, service) in runs.items():
            await store.create_run(run_id, service=service, status=status)
        for wanted in product((None, "running", "completed"), (None, "chat", "other")):
            listed = await store.list_runs(status=wanted[0], service=wanted[1])
            found = {run["run_id"] for run in listed}
            expected = {
                run_id
                for run_id, its in runs.items()
                if all(want in {None, has} for want, has in zip(wanted, its, strict=True))
            }
            assert found == expected, f"status and service {wanted}: {found}"
        with raising(UnknownStatusError, "a status that is none"):
            await store.list_runs(status="done")

    async def test_rs18_pages_show_each_run_once(self, store: Any) -> None:
        self.needs("listing")
        ids = [uuid4() for _ in range(7)]
        for run_id in ids:
            await store.create_run(run_id, service="voice")
        for size in (1, 2, 3, 7, 8):
            seen: list[UUID] = []
            for _ in range(9):
                page = await store.list_runs(limit=size, before=seen[-1] if seen else None)
                assert len(page) <= size, f"a page of {size} has {len(page)} runs"
                seen += [run["run_id"] for run in page]
                if not page:
                    break
            assert sorted(seen) == sorted(ids), f"{len(ids)} runs were shown as {len(seen)}"

    async def test_rs18_a_page_that_cannot_be_is_refused(self, store: Any) -> None:
        self.needs("listing")
        await store.create_run(uuid4(), service="voice")
        with raising(RunNotFoundError, "a page before an unknown run"):
            await store.list_runs(before=uuid4())
        with raising(RunStoreError, "a page of no runs"):
            await store.list_runs(limit=0)

    # --- the event log ------------------------------------------------------

    async def test_rs19_events_are_numbered_from_one_per_run(self, store: Any) -> None:
        self.needs("event_log")
        ids = [uuid4(), uuid4()]
        for run_id in ids:
            await store.create_run(run_id, service="voice")
            assert await store.append_events(run_id, [numbered_event(1), numbered_event(2)]) == 2
            assert await store.append_events(run_id, iter([numbered_event(3)])) == 3
            assert await store.append_events(run_id, []) == 3
        for run_id in ids:
            events = await store.read_events(run_id)
            assert [event.number for event in events] == [1, 2, 3], "numbered otherwise"
            assert [event.type for event in events] == ["test.1", "test.2", "test.3"]
            assert [event.at for event in events] == [AT + timedelta(n) for n in (1, 2, 3)]
            assert [event.data for event in events] == [{"n": 1}, {"n": 2}, {"n": 3}]

    async def test_rs19_event_data_comes_back_as_it_was(self, store: Any) -> None:
        self.needs("event_log")
        run_id = uuid4()
        await store.create_run(run_id, service="voice")
        await store.append_events(
            run_id,
            [RunEvent(type="a", at=AT), RunEvent(type="b", at=AT, data=dict(self.values))],
        )
        first, second = await store.read_events(run_id)
        assert first.data is None, f"None has become {first.data!r}"
        assert same_value(second.data, dict(self.values)), f"found {second.data!r}"

    async def test_rs20_reading_starts_after_a_number_and_stops_at_a_limit(
        self, store: Any
    ) -> None:
        self.needs("event_log")
        run_id = uuid4()
        await store.create_run(run_id, service="voice")
        await store.append_events(run_id, map(numbered_event, range(1, 8)))
        for after in (0, 1, 4, 7, 9):
            for limit in (None, 0, 1, 3, 20):
                events = await store.read_events(run_id, after=after, limit=limit)
                expected = list(range(after + 1, 8))[:limit]
                found = [event.number for event in events]
                assert found == expected, f"after {after}, limit {limit}: {found}"

    async def test_rs21_a_log_belongs_to_a_run(self, store: Any) -> None:
        self.needs("event_log")
        run_id = uuid4()
        with raising(RunNotFoundError, "an event of an unknown run"):
            await store.append_events(run_id, [numbered_event(1)])
        assert list(await store.read_events(run_id)) == [], "an unknown run has events"

    async def test_rs22_events_of_one_call_stand_together(self, store: Any) -> None:
        self.needs("event_log")
        run_id = uuid4()
        await store.create_run(run_id, service="voice")
        calls = [[RunEvent(type=f"{n}.{i}", at=AT) for i in range(5)] for n in range(8)]
        results = await all_at_once(
            lambda call=call: store.append_events(run_id, call)  # type: ignore[misc]
            for call in calls
        )
        assert sorted(results) == list(range(5, 41, 5)), f"the calls returned {results}"
        events = await store.read_events(run_id)
        assert [event.number for event in events] == list(range(1, 41)), "there are gaps"
        groups = [tuple(e.type for e in events[at : at + 5]) for at in range(0, 40, 5)]
        expected = {tuple(event.type for event in call) for call in calls}
        assert set(groups) == expected, f"events of several calls are mixed: {groups}"

    async def test_rs23_a_cancelled_append_is_whole(self, store: Any) -> None:
        self.needs("event_log")
        run_id = uuid4()
        await store.create_run(run_id, service="voice")
        kept = 0
        async for cut in every_cut(
            lambda _: store.append_events(run_id, map(numbered_event, range(1, 6)))
        ):
            count = len(await store.read_events(run_id)) - kept
            allowed = {5} if cut.completed else {0, 5}
            assert count in allowed, f"cut at {cut.step} it kept {count} of 5 events"
            kept += count

    async def test_rs23_an_append_that_cannot_be_encoded_keeps_nothing(self, store: Any) -> None:
        self.needs("event_log")
        run_id = uuid4()
        await store.create_run(run_id, service="voice")
        bad = RunEvent(type="bad", at=AT, data={"value": Unknown()})
        with raising(Exception, "a value of an unknown type"):
            await store.append_events(run_id, [numbered_event(1), bad])
        assert list(await store.read_events(run_id)) == [], "some of the events were kept"

    # --- deletion -----------------------------------------------------------

    async def test_rs24_a_deleted_run_is_gone_everywhere(self, store: Any) -> None:
        self.needs("deletion")
        run_id, other = uuid4(), uuid4()
        for created in (run_id, other):
            await store.create_run(created, service="voice", a=1)
            if self.capabilities.event_log:
                await store.append_events(created, [numbered_event(1)])
        await store.delete_run(run_id)
        assert await store.get_run(run_id) is None, "a deleted run is found"
        assert await store.get_run(other) is not None, "another run has gone as well"
        if self.capabilities.listing:
            listed = [run["run_id"] for run in await store.list_runs()]
            assert listed == [other], "a deleted run is listed"
        await store.create_run(run_id, service="again")
        record = await store.get_run(run_id)
        assert record["metadata"] == {}, "metadata of a deleted run has come back"
        if self.capabilities.event_log:
            events = await store.read_events(run_id)
            assert list(events) == [], "events of a deleted run have come back"

    async def test_rs25_deleting_tells_whether_the_run_was_there(self, store: Any) -> None:
        self.needs("deletion")
        run_id = uuid4()
        await store.create_run(run_id, service="voice")
        answers = [await store.delete_run(run_id), await store.delete_run(run_id)]
        assert answers == [True, False], f"deleting twice was answered with {answers}"

    # --- retention ----------------------------------------------------------

    async def test_rs41_runs_that_ended_long_ago_are_pruned(self, store: Any) -> None:
        self.needs("retention")
        early = {status: await self._ended(store, status) for status in _ENDED}
        started, unfinished = await self.new_run(store), await self.new_run(store)
        before = await self._later(store)
        await store.update_status(started, "completed")
        late = await self.new_run(store)
        await store.update_status(late, "failed")
        pruned = list(await store.prune_runs(before=before))
        assert pruned == list(early.values()), f"of {early} were pruned {pruned}"
        for status, run_id in early.items():
            assert await store.get_run(run_id) is None, f"the one that {status} is still found"
        for kept in (started, unfinished, late):
            assert await store.get_run(kept) is not None, "one that ended later was pruned"
        again = list(await store.prune_runs(before=before))
        assert again == [], f"pruning again forgot {again}"

    async def test_rs41_the_oldest_are_pruned_first(self, store: Any) -> None:
        self.needs("retention")
        ids = [await self.new_run(store) for _ in range(4)]
        order = [ids[2], ids[0], ids[3], ids[1]]
        for run_id in order:
            await store.update_status(run_id, "completed")
            await self.pass_time(self.moment)
        before = await self._later(store)
        for expected in (order[:3], order[3:]):
            pruned = list(await store.prune_runs(before=before, limit=3))
            assert pruned == expected, f"they ended in the order {order}, pruned were {pruned}"

    async def test_rs41_only_the_statuses_given_are_pruned(self, store: Any) -> None:
        self.needs("retention")
        runs = {status: await self._ended(store, status) for status in _ENDED}
        before = await self._later(store)
        pruned = list(await store.prune_runs(before=before, statuses=iter(["failed"])))
        assert pruned == [runs["failed"]], f"of {runs} were pruned {pruned}"
        kept = [status for status, run_id in runs.items() if await store.get_run(run_id)]
        assert kept == ["completed", "cancelled"], f"kept were those that {kept}"

    async def test_rs41_a_run_taken_up_again_ends_anew(self, store: Any) -> None:
        self.needs("retention")
        going, ended = [await self._ended(store, "failed") for _ in range(2)]
        for run_id in (going, ended):
            await store.update_status(run_id, "running")
        before = await self._later(store)
        await store.update_status(ended, "failed")
        pruned = list(await store.prune_runs(before=before))
        assert pruned == [], f"pruned {pruned}, which had been taken up again"

    async def test_rs41_a_run_that_has_a_lease_is_never_pruned(self, store: Any) -> None:
        self.needs("retention")
        self.needs("checkpoints")
        held, expired, free = [
            await self.new_lease(store, ttl=ttl) for ttl in (LONG, self.moment, LONG)
        ]
        await store.release_lease(free)
        for lease in (held, expired, free):
            await store.update_status(lease.run_id, "failed")
        before = await self._later(store)
        pruned = list(await store.prune_runs(before=before))
        assert pruned == [free.run_id], f"of those with a lease were pruned {pruned}"
        found = [(await store.get_lease(lease.run_id)).owner for lease in (held, expired)]
        assert found == ["first", "first"], f"the owners are {found}"

    async def test_rs41_a_pruned_run_is_forgotten_as_if_deleted(self, store: Any) -> None:
        self.needs("retention")
        run_id, token = await self.new_run(store, a=1), 0
        if self.capabilities.event_log:
            await store.append_events(run_id, [numbered_event(1)])
        if self.capabilities.checkpoints:
            lease = await store.acquire_lease(run_id, "first", ttl=LONG)
            await store.commit(lease, [CheckpointEntry(key="a", value=b"1")])
            await store.release_lease(lease)
            token = lease.token
        await store.update_status(run_id, "failed")
        pruned = list(await store.prune_runs(before=await self._later(store)))
        assert pruned == [run_id], f"pruned {pruned}"
        await store.create_run(run_id, service="again")
        assert (await store.get_run(run_id))["metadata"] == {}, "metadata has come back"
        if self.capabilities.event_log:
            assert list(await store.read_events(run_id)) == [], "events have come back"
        if self.capabilities.checkpoints:
            assert list(await store.load_entries(run_id)) == [], "entries have come back"
            lease = await store.acquire_lease(run_id, "second", ttl=LONG)
            assert lease.token > token, f"the token {token} was given again"

    async def test_rs42_a_dry_run_forgets_nothing(self, store: Any) -> None:
        self.needs("retention")
        ids = [await self._ended(store, "completed") for _ in range(3)]
        before = await self._later(store)
        for _ in range(2):
            found = list(await store.prune_runs(before=before, limit=2, dry_run=True))
            assert found == ids[:2], f"the oldest are {ids[:2]}, the dry run answers {found}"
        gone = [run_id for run_id in ids if await store.get_run(run_id) is None]
        assert not gone, f"a dry run forgot {gone}"
        pruned = list(await store.prune_runs(before=before, limit=2))
        assert pruned == found, f"the dry run answered {found}, pruned were {pruned}"

    async def test_rs43_a_run_that_has_not_ended_cannot_be_asked_for(self, store: Any) -> None:
        self.needs("retention")
        run_id = await self._ended(store, "completed")
        other = await self.new_run(store)
        before = await self._later(store)
        for status, dry_run in product(("created", "running", "waiting", "done"), (False, True)):
            with raising(RunStoreError, f"pruning those that are {status}"):
                await store.prune_runs(
                    before=before, statuses=("completed", status), dry_run=dry_run
                )
        for kept in (run_id, other):
            assert await store.get_run(kept) is not None, "a refused call forgot a run"

    async def _ended(self, store: Any, status: str) -> UUID:
        """Create a run and end it; what follows is later."""
        run_id = await self.new_run(store)
        await store.update_status(run_id, status)
        await self.pass_time(self.moment)
        return run_id

    async def _later(self, store: Any) -> datetime:
        """Let time pass; return a time after all that has happened, and before what will.

        No more time may pass until it is used: a kit may move what is stored instead.
        """
        await self.pass_time(2 * self.moment)
        record = await store.get_run(await self.new_run(store))
        await self.pass_time(self.moment)
        at: datetime = record["created_at"]
        return at
