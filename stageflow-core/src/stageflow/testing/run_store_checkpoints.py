"""The part of the kit of run stores that is about checkpoints: what is known of a run."""
# ruff: noqa: D102 - the name of a test says what it proves

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import permutations
from typing import Any
from uuid import UUID, uuid4

import anyio
import anyio.lowlevel

from stageflow.contracts.checkpoints import CheckpointEntry, LeaseLostError, RunLease
from stageflow.contracts.run_store import (
    InvalidTransitionError,
    RunEvent,
    RunStatus,
    UnknownStatusError,
)
from stageflow.testing.conformance import all_at_once, every_cut, raising
from stageflow.testing.run_store_base import AT, LONG, RunStoreKit, Unknown, numbered_event

__all__ = ("RunCheckpointsConformance",)


class RunCheckpointsConformance(RunStoreKit):
    """Tests how progress is committed, loaded and forgotten; part of the whole kit."""

    # --- commits are whole --------------------------------------------------

    async def test_rs32_a_commit_keeps_all_of_it(self, store: Any) -> None:
        self.needs("checkpoints")
        lease = await self.new_lease(store)
        other = await self.new_lease(store)
        await store.commit(lease, _entries("a", "b", "c"))
        await store.commit(other, _entries("a"))
        await store.commit(
            lease,
            iter([*_entries("d"), CheckpointEntry(key="c", value=b"anew")]),
            removed=iter(["a", "c", "never there"]),
            events=map(numbered_event, self._logged(1, 2)),
            status=RunStatus.FAILED,
            facts={"error": "why", "duration_ms": 5, "user": "u-1"},
        )
        found = await self._progress(store, lease.run_id)
        expected = (
            [("b", b"b"), ("d", b"d"), ("c", b"anew")],
            [f"test.{number}" for number in self._logged(1, 2)],
            ("failed", "why", 5, {"user": "u-1"}),
        )
        assert found == expected, f"committed {expected}, found {found}"
        found = await self._progress(store, other.run_id)
        assert found == ([("a", b"a")], [], ("running", None, None, {})), f"another has {found}"

    async def test_rs32_a_commit_of_nothing_changes_nothing(self, store: Any) -> None:
        self.needs("checkpoints")
        lease = await self.new_lease(store)
        await store.commit(lease, _entries("a"))
        before = await self._progress(store, lease.run_id)
        await store.commit(lease)
        assert await self._progress(store, lease.run_id) == before, "it changed something"
        assert await store.get_lease(lease.run_id) == lease, "it changed the lease"

    async def test_rs32_a_cancelled_commit_is_whole(self, store: Any) -> None:
        self.needs("checkpoints")

        async def commit(_: int) -> None:
            await store.commit(
                lease,
                [CheckpointEntry(key="a", value=b"anew"), *_entries("c", "d")],
                removed=["b"],
                events=map(numbered_event, self._logged(1, 2)),
                status=RunStatus.WAITING,
                facts={"user": "u-1"},
            )

        async def prepare() -> RunLease:
            lease = await self.new_lease(store)
            await store.commit(lease, _entries("a", "b"))
            return lease

        lease = await prepare()
        before = await self._progress(store, lease.run_id)
        await commit(0)
        after = await self._progress(store, lease.run_id)
        assert before != after, "a commit changed nothing"
        lease = await prepare()
        async for cut in every_cut(commit):
            found = await self._progress(store, lease.run_id)
            allowed = [after] if cut.completed else [before, after]
            assert found in allowed, f"cut at {cut.step} it left {found}"
            lease = await prepare()

    async def test_rs32_a_commit_that_fails_keeps_nothing(self, store: Any) -> None:
        self.needs("checkpoints")
        lease = await self.new_lease(store)
        await store.commit(lease, _entries("a"))
        before = await self._progress(store, lease.run_id)
        bad: list[dict[str, Any]] = [
            {"status": RunStatus.WAITING, "facts": {"ok": 1, "bad": Unknown()}},
            {"status": RunStatus.CREATED},
        ]
        if self.capabilities.event_log:
            event = RunEvent(type="bad", at=AT, data={"value": Unknown()})
            bad.append({"events": [numbered_event(1), event], "status": RunStatus.WAITING})
        for what in bad:
            with raising(Exception, f"a commit of {what}"):
                await store.commit(lease, _entries("b"), removed=["a"], **what)
            found = await self._progress(store, lease.run_id)
            assert found == before, f"a commit of {what} that was refused left {found}"

    async def test_rs32_commits_at_once_are_seen_whole(self, store: Any) -> None:
        self.needs("checkpoints")
        lease = await self.new_lease(store)
        seen: list[Sequence[CheckpointEntry]] = []

        async def commit(number: int) -> None:
            value = str(number).encode()
            entries = [CheckpointEntry(key=key, value=value) for key in "abcd"]
            own = CheckpointEntry(key=f"own {number}", value=value)
            await store.commit(lease, [*entries, own])

        async def look(_: int) -> None:
            for _ in range(8):
                seen.append(await store.load_entries(lease.run_id))
                await anyio.lowlevel.checkpoint()

        results = await all_at_once(
            lambda call=call, n=n: call(n)  # type: ignore[misc]
            for n in range(8)
            for call in (commit, look)
        )
        assert results == [None] * 16, f"raised {results}"
        seen.append(await store.load_entries(lease.run_id))
        for entries in seen:
            values = {entry.value for entry in entries if entry.key in set("abcd")}
            assert len(values) <= 1, f"of one commit were seen {values}"
        own = sorted(entry.key for entry in seen[-1] if entry.key.startswith("own"))
        assert own == [f"own {number}" for number in range(8)], f"of 8 commits remain {own}"

    # --- only the owner commits ---------------------------------------------

    async def test_rs33_a_lost_lease_commits_nothing(self, store: Any) -> None:
        self.needs("checkpoints")
        run_id = await self.new_run(store)
        lost = await self.lost_leases(store, run_id)
        last = await store.get_lease(run_id)
        for release in (False, True):
            if release:
                await store.release_lease(last)
                lost["released by the last"] = last
            before = await self._progress(store, run_id)
            for how, lease in lost.items():
                with raising(LeaseLostError, f"a commit with a lease that was {how}"):
                    await store.commit(
                        lease,
                        _entries("a"),
                        events=map(numbered_event, self._logged(1)),
                        status=RunStatus.COMPLETED,
                    )
                with raising(LeaseLostError, f"a commit of nothing with one that was {how}"):
                    await store.commit(lease)
                found = await self._progress(store, run_id)
                assert found == before, f"a commit with a lease that was {how} left {found}"

    async def test_rs33_an_expired_lease_commits_until_it_is_taken(self, store: Any) -> None:
        self.needs("checkpoints")
        lease = await self.expired_lease(store)
        await store.commit(lease, _entries("a"))
        found = [entry.key for entry in await store.load_entries(lease.run_id)]
        assert found == ["a"], f"committed a, found {found}"
        claimed = await store.claim_run("second", ttl=LONG)
        with raising(LeaseLostError, "a commit with a lease that was claimed by another"):
            await store.commit(lease, _entries("b"))
        await store.commit(claimed, _entries("c"))

    async def test_rs33_nothing_is_committed_after_a_take_over(self, store: Any) -> None:
        self.needs("checkpoints")
        for turn in range(20):
            first = await self.new_lease(store)
            loaded: list[Sequence[CheckpointEntry]] = []
            async with anyio.create_task_group() as group:
                group.start_soon(_commit_until_lost, store, first)
                for _ in range(turn % 6):
                    await anyio.lowlevel.checkpoint()
                await store.acquire_lease(first.run_id, "second", ttl=LONG, take_over=first.token)
                loaded.append(await store.load_entries(first.run_id))
            late = len(await store.load_entries(first.run_id)) - len(loaded[0])
            assert late == 0, f"{late} entries were committed after another had taken over"

    # --- entries ------------------------------------------------------------

    async def test_rs34_entries_are_loaded_in_the_order_of_writing(self, store: Any) -> None:
        self.needs("checkpoints")
        lease = await self.new_lease(store)
        await store.commit(lease, _entries("c", "a", "d"))
        await store.commit(lease, _entries("b", "e"))
        await store.commit(lease, _entries("a"), removed=["d"])
        twice = [CheckpointEntry(key="f", value=value) for value in (b"1", b"2")]
        await store.commit(lease, [twice[0], *_entries("c"), twice[1]])
        entries = await store.load_entries(lease.run_id)
        found = [(entry.key, entry.value) for entry in entries]
        expected = [("b", b"b"), ("e", b"e"), ("a", b"a"), ("c", b"c"), ("f", b"2")]
        assert found == expected, f"expected {expected}, found {found}"
        numbers = [0, *(entry.number for entry in entries)]
        assert sorted(set(numbers)) == numbers, f"numbers do not rise from 1: {numbers[1:]}"
        assert list(await store.load_entries(uuid4())) == [], "an unknown run has entries"

    async def test_rs34_pages_show_each_entry_once(self, store: Any) -> None:
        self.needs("checkpoints")
        lease = await self.new_lease(store)
        keys = [f"k{number}" for number in range(9)]
        await store.commit(lease, _entries(*keys[:6]))
        await store.commit(lease, _entries(*keys[6:]))
        await store.commit(lease, _entries(*keys[::3]), removed=keys[2:3])
        wanted = await store.load_entries(lease.run_id)
        assert len(wanted) == 8, f"8 entries are shown as {len(wanted)}"
        for size in (1, 2, 3, 8, 9):
            seen: list[CheckpointEntry] = []
            for _ in range(10):
                after = seen[-1].number if seen else 0
                page = await store.load_entries(lease.run_id, after=after, limit=size)
                assert len(page) <= size, f"a page of {size} has {len(page)} entries"
                seen += page
                if not page:
                    break
            assert seen == list(wanted), f"in pages of {size}: {seen}"
        rest = await store.load_entries(lease.run_id, after=wanted[4].number)
        assert list(rest) == list(wanted[5:]), "without a limit it stops before the end"

    async def test_rs34_what_is_written_later_comes_after_every_page(self, store: Any) -> None:
        self.needs("checkpoints")
        lease = await self.new_lease(store)
        await store.commit(lease, _entries("a", "b", "c"))
        last = (await store.load_entries(lease.run_id))[-1].number
        await store.commit(lease, removed=["c"])
        await store.commit(lease, _entries("d", "a"))
        found = [entry.key for entry in await store.load_entries(lease.run_id, after=last)]
        assert found == ["d", "a"], f"after what had been read come {found}"

    async def test_rs35_values_come_back_as_they_were(self, store: Any) -> None:
        self.needs("checkpoints")
        lease = await self.new_lease(store)
        values = [
            b"",
            b"\0",
            bytes(range(256)),
            "naïve \U0001f600".encode(),
            b"'%_\\",
            b"x" * 70_000,
        ]
        keys = ["", "stage/a", "naïve \U0001f600", "'; --", "%", "A", "a"]
        wanted = {key: values[n % len(values)] for n, key in enumerate(keys)}
        await store.commit(
            lease, [CheckpointEntry(key=key, value=value) for key, value in wanted.items()]
        )
        entries = await store.load_entries(lease.run_id)
        found = {entry.key: entry.value for entry in entries}
        assert found == wanted, f"other values: {[k for k in wanted if found.get(k) != wanted[k]]}"
        assert {type(value) for value in found.values()} == {bytes}, "some are no bytes"

    # --- the status ---------------------------------------------------------

    async def test_rs36_a_committed_status_obeys_the_rules(self, store: Any) -> None:
        self.needs("checkpoints")
        for current, new in permutations(RunStatus, 2):
            lease = await self.new_lease(store, status=current)
            if current.may_become(new):
                await store.commit(lease, _entries("a"), status=new, facts={"user": "u-1"})
                expected = (new, {"user": "u-1"}, 1)
            else:
                with raising(InvalidTransitionError, f"a commit of {current} to {new}"):
                    await store.commit(lease, _entries("a"), status=new, facts={"user": "u-1"})
                expected = (current, {}, 0)
            record = await store.get_run(lease.run_id)
            entries = await store.load_entries(lease.run_id)
            found = (record["status"], record["metadata"], len(entries))
            assert found == expected, f"a commit of {current} to {new} left {found}"

    async def test_rs36_a_committed_status_changes_what_an_update_does(self, store: Any) -> None:
        self.needs("checkpoints")
        run_id = await self.new_run(store, user="u-1")
        lease = await store.acquire_lease(run_id, "first", ttl=LONG)
        with raising(UnknownStatusError, "a status that is none"):
            await store.commit(lease, status="done")
        facts = {"error": "why", "duration_ms": 5, "more": [1]}
        await store.commit(lease, status=RunStatus.RUNNING, facts=facts)
        await store.commit(lease, status=RunStatus.FAILED)
        await store.release_lease(lease)
        record = await store.get_run(run_id)
        found = (record["error"], record["duration_ms"], record["metadata"])
        assert found == ("why", 5, {"user": "u-1", "more": [1]}), f"found {found}"
        lease = await store.acquire_lease(run_id, "second", ttl=LONG)
        await store.commit(lease, status=RunStatus.RUNNING)
        record = await store.get_run(run_id)
        remains = (record["error"], record["duration_ms"])
        assert remains == (None, None), f"it failed, runs again and still has {remains}"

    async def test_rs36_a_final_status_ends_the_lease(self, store: Any) -> None:
        self.needs("checkpoints")
        for status in RunStatus:
            lease = await self.new_lease(store, status=status)
            await store.commit(lease, _entries("a"), status=status)
            expected = None if status.is_final else lease
            found = await store.get_lease(lease.run_id)
            assert found == expected, f"with the status {status} it has {found}"
            if status.is_final:
                with raising(LeaseLostError, f"a commit after the one that made it {status}"):
                    await store.commit(lease, _entries("b"))
                assert await store.release_lease(lease) is False, "it was released twice"
                again = await store.acquire_lease(lease.run_id, "second", ttl=LONG)
                assert again.token > lease.token, f"token {again.token} after {lease.token}"

    async def test_rs36_a_refused_final_status_leaves_the_lease(self, store: Any) -> None:
        self.needs("checkpoints")
        lease = await self.new_lease(store, status="failed")
        with raising(InvalidTransitionError, "a commit of failed to completed"):
            await store.commit(lease, status=RunStatus.COMPLETED)
        assert await store.get_lease(lease.run_id) == lease, "it lost its lease"

    # --- deletion -----------------------------------------------------------

    async def test_rs40_a_deleted_run_leaves_no_progress(self, store: Any) -> None:
        self.needs("checkpoints")
        self.needs("deletion")
        run_id, tokens = await self.new_run(store), []
        kept = await self.new_lease(store)
        await store.commit(kept, _entries("a"))
        for _ in range(3):
            lease = await store.acquire_lease(run_id, "first", ttl=LONG)
            await store.commit(lease, _entries("a", "b"))
            await store.request_cancel(run_id, "too late")
            tokens.append(lease.token)
            await store.delete_run(run_id)
            listed = list(await store.list_leases())
            assert listed == [kept], f"after the deletion the leases are {listed}"
            await self._nothing_left(store, run_id, lease)
            await store.create_run(run_id, service="again", status="running")
            await self._nothing_left(store, run_id, lease)
        lease = await store.acquire_lease(run_id, "last", ttl=LONG)
        assert lease.cancel_requested is None, "what a deleted run was asked for has come back"
        tokens.append(lease.token)
        assert sorted(set(tokens)) == tokens, f"tokens were given again: {tokens}"
        found = [entry.key for entry in await store.load_entries(kept.run_id)]
        assert found == ["a"], f"another run has lost entries: {found} of a"

    async def _nothing_left(self, store: Any, run_id: UUID, lease: RunLease) -> None:
        assert await store.get_lease(run_id) is None, "the lease of a deleted run has remained"
        entries = await store.load_entries(run_id)
        assert list(entries) == [], "entries of a deleted run have remained"
        refused: list[Callable[[], Awaitable[object]]] = [
            lambda: store.commit(lease, _entries("c")),
            lambda: store.renew_lease(lease, ttl=LONG),
        ]
        for call in refused:
            with raising(LeaseLostError, "a call with the lease of a deleted run"):
                await call()
        assert await store.release_lease(lease) is False, "a deleted run's lease was released"
        assert list(await store.load_entries(run_id)) == [], "a refused commit left entries"

    # --- what they need -----------------------------------------------------

    def _logged(self, *numbers: int) -> tuple[int, ...]:
        """Return *numbers* of events if there is a log for them."""
        return numbers if self.capabilities.event_log else ()

    async def _progress(self, store: Any, run_id: UUID) -> tuple[Any, ...]:
        """Return what is known of a run: entries, types of events, and the facts of its record."""
        entries = [(entry.key, entry.value) for entry in await store.load_entries(run_id)]
        logged = await store.read_events(run_id) if self.capabilities.event_log else ()
        record = await store.get_run(run_id)
        facts = tuple(record[name] for name in ("status", "error", "duration_ms", "metadata"))
        return entries, [event.type for event in logged], facts


def _entries(*keys: str) -> list[CheckpointEntry]:
    """Return entries whose values tell their keys."""
    return [CheckpointEntry(key=key, value=key.encode()) for key in keys]


async def _commit_until_lost(store: Any, lease: RunLease) -> None:
    for number in range(1000):
        try:
            await store.commit(lease, _entries(f"k{number}"))
        except LeaseLostError:
            return
        await anyio.lowlevel.checkpoint()
    raise AssertionError("commits went on and on after another had taken over")
