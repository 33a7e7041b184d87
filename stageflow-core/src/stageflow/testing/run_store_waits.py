"""The part of the kit of run stores that is about waits and the signals that answer them."""
# ruff: noqa: D102 - the name of a test says what it proves

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import anyio

from stageflow.contracts.checkpoints import LeaseLostError
from stageflow.contracts.run_store import RunNotFoundError, RunStoreError
from stageflow.contracts.waits import RunEndedError, RunWait, SignalReceipt, WaitState
from stageflow.testing.conformance import all_at_once, every_cut, raising
from stageflow.testing.run_store_base import LONG, RunStoreKit

__all__ = ("RunWaitsConformance",)

_PATIENCE = 30.0


class RunWaitsConformance(RunStoreKit):
    """Tests how waits are opened, answered, expired and left behind; part of the whole kit."""

    # --- opening ------------------------------------------------------------

    async def test_rs44_a_wait_is_found_as_it_was_opened(self, store: Any) -> None:
        self.needs("waits")
        lease = await self.new_lease(store)
        first = await store.open_wait(lease, "w-1", stage="review", name="go", timeout=90)
        second = await store.open_wait(lease, "w-2", stage="ask", name="stay")
        listed = list(await store.list_waits(lease.run_id))
        assert listed == [first, second], f"opened {[first, second]}, listed {listed}"
        assert isinstance(first, RunWait), f"opened a {type(first).__name__}"
        found = (first.run_id, first.wait_id, first.stage, first.name, first.state, first.value)
        expected = (lease.run_id, "w-1", "review", "go", WaitState.OPEN, None)
        assert found == expected, f"opened {expected}, found {found}"
        assert first.created_at.utcoffset() == timedelta(0), f"{first.created_at} is not in UTC"
        assert first.deadline == first.created_at + timedelta(seconds=90), "the deadline is off"
        assert second.deadline is None, "a wait without time-out has a deadline"

    async def test_rs44_a_wait_is_opened_once(self, store: Any) -> None:
        self.needs("waits")
        lease = await self.new_lease(store)
        for wait_id in ("open", "answered", "timed out"):
            await store.open_wait(lease, wait_id, stage="ask", name=wait_id, timeout=LONG)
        await store.signal_run(lease.run_id, "answered", b"yes")
        await store.expire_wait(lease, "timed out")
        await self.pass_time(2 * self.moment)
        lease = await store.acquire_lease(lease.run_id, "second", ttl=LONG, take_over=lease.token)
        before = list(await store.list_waits(lease.run_id))
        for wait in before:
            again = await store.open_wait(
                lease, wait.wait_id, stage="ask", name=wait.name, timeout=3 * LONG
            )
            assert again == wait, f"opened again, {wait} has become {again}"
        found = list(await store.list_waits(lease.run_id))
        assert found == before, f"opening again has made of {before} {found}"

    async def test_rs44_one_wait_is_opened_by_many_at_once(self, store: Any) -> None:
        self.needs("waits")
        lease = await self.new_lease(store)
        results = await all_at_once(
            lambda n=n: store.open_wait(  # type: ignore[misc]
                lease, "w", stage="ask", name="go", timeout=LONG + n
            )
            for n in range(8)
        )
        listed = await store.list_waits(lease.run_id)
        assert len(listed) == 1, f"one wait is listed {len(listed)} times"
        assert results == list(listed) * 8, f"the calls were answered with {results}"

    # --- signals ------------------------------------------------------------

    async def test_rs45_a_signal_answers_the_oldest_open_wait_of_its_name(self, store: Any) -> None:
        self.needs("waits")
        lease, other = await self.new_lease(store), await self.new_lease(store)
        await store.open_wait(other, "z", stage="ask", name="go")
        for wait_id, name in (("z", "stay"), ("y", "go"), ("b", "go"), ("x", "go"), ("a", "go")):
            await store.open_wait(lease, wait_id, stage="ask", name=name)
        await store.expire_wait(lease, "b")
        values = [b"\x00\xff", b"", b"three"]
        receipts = [await store.signal_run(lease.run_id, "go", value) for value in values]
        assert all(isinstance(receipt, SignalReceipt) for receipt in receipts), "no receipts"
        answered = [(receipt.wait_id, receipt.repeated) for receipt in receipts]
        assert answered == [("y", False), ("x", False), ("a", False)], f"answered {answered}"
        found = await _values(store, lease.run_id)
        expected = {"z": None, "b": None, "y": values[0], "x": values[1], "a": values[2]}
        assert found == expected, f"expected {expected}, found {found}"
        assert await _values(store, other.run_id) == {"z": None}, "another run was answered"

    async def test_rs45_an_early_signal_is_kept_for_the_next_wait(self, store: Any) -> None:
        self.needs("waits")
        lease, other = await self.new_lease(store), await self.new_lease(store)
        await store.open_wait(lease, "old", stage="ask", name="go")
        await store.expire_wait(lease, "old")
        for name, value in (("go", b"1"), ("stay", b"2"), ("go", b"3")):
            receipt = await store.signal_run(lease.run_id, name, value)
            assert receipt.wait_id is None, f"it answered {receipt.wait_id}, which is not open"
        await store.open_wait(other, "w-1", stage="ask", name="go")
        second = await store.acquire_lease(lease.run_id, "second", ttl=LONG, take_over=lease.token)
        found = []
        for number in range(3):
            wait = await store.open_wait(second, f"w-{number}", stage="ask", name="go")
            found.append((wait.state, wait.value))
        expected = [(WaitState.ANSWERED, b"1"), (WaitState.ANSWERED, b"3"), (WaitState.OPEN, None)]
        assert found == expected, f"expected {expected}, found {found}"
        listed = await _values(store, lease.run_id)
        assert listed == {"old": None, "w-0": b"1", "w-1": b"3", "w-2": None}, f"listed {listed}"
        assert await _values(store, other.run_id) == {"w-1": None}, "another run was answered"

    async def test_rs45_an_overdue_wait_is_open_until_it_is_expired(self, store: Any) -> None:
        self.needs("waits")
        lease = await self.new_lease(store)
        await store.open_wait(lease, "w", stage="ask", name="go", timeout=self.moment)
        await self.pass_time(2 * self.moment)
        receipt = await store.signal_run(lease.run_id, "go", b"late")
        assert receipt.wait_id == "w", f"the signal answered {receipt.wait_id}"
        wait = await store.expire_wait(lease, "w")
        assert (wait.state, wait.value) == (WaitState.ANSWERED, b"late"), f"it became {wait}"

    async def test_rs46_signals_waits_and_expiry_race(self, store: Any) -> None:
        self.needs("waits")
        lease = await self.new_lease(store)
        run_id = lease.run_id

        def signal(n: int) -> Any:
            return store.signal_run(run_id, "go", b"%d" % n)

        def open_wait(n: int) -> Any:
            return store.open_wait(lease, f"w-{n}", stage="ask", name="go")

        def expire(n: int) -> Any:
            return store.expire_wait(lease, f"w-{n}")

        for number in range(3):
            await open_wait(number)
        calls: list[Callable[[], Awaitable[Any]]] = [lambda: expire(2)]
        for number in range(12):
            calls.append(lambda n=number: signal(n))  # type: ignore[misc]
            if number % 3 == 2:
                calls.append(lambda n=number: open_wait(3 + n // 3))  # type: ignore[misc]
                calls.append(lambda n=number: expire(n // 4))  # type: ignore[misc]
        results = await all_at_once(calls)
        wrong = [result for result in results if isinstance(result, Exception)]
        assert not wrong, f"raised {wrong}"
        for number in range(7, 20):  # what is still kept answers these
            await open_wait(number)
        listed = await store.list_waits(run_id)
        answers = {wait.wait_id: wait.value for wait in listed if wait.value is not None}
        counted = Counter(answers.values())
        expected = Counter(b"%d" % n for n in range(12))
        assert counted == expected, f"12 signals were found so often: {counted}"
        receipts = [result for result in results if isinstance(result, SignalReceipt)]
        told = {each.wait_id for each in receipts if each.wait_id is not None}
        assert told <= answers.keys(), f"receipts name {told - answers.keys()}, which have nothing"
        seen = [result for result in results if isinstance(result, RunWait)]
        for wait in seen:
            final = next(each for each in listed if each.wait_id == wait.wait_id)
            ended = wait.state is not WaitState.OPEN
            assert not ended or final == wait, f"{wait} was answered and has become {final}"

    async def test_rs46_an_answer_never_changes(self, store: Any) -> None:
        self.needs("waits")
        lease = await self.new_lease(store)
        await store.open_wait(lease, "w", stage="ask", name="go")
        await store.signal_run(lease.run_id, "go", b"first")
        before = list(await store.list_waits(lease.run_id))
        receipt = await store.signal_run(lease.run_id, "go", b"second")
        assert receipt.wait_id is None, "a second signal answered the same wait"
        await store.expire_wait(lease, "w")
        await store.open_wait(lease, "w", stage="ask", name="go")
        found = list(await store.list_waits(lease.run_id))
        assert found == before, f"the answer {before} has become {found}"
        new = await store.open_wait(lease, "new", stage="ask", name="go")
        assert new.value == b"second", f"the second signal was lost: {new}"

    async def test_rs14_a_cancelled_signal_is_whole(self, store: Any) -> None:
        self.needs("waits")
        lease = await self.new_lease(store)

        async def signal(step: int) -> Any:
            return await store.signal_run(lease.run_id, "go", b"yes", signal_id=f"s-{step}")

        async for cut in every_cut(signal):
            wait_id = f"w-{cut.step}"
            again = await store.signal_run(lease.run_id, "go", b"no", signal_id=f"s-{cut.step}")
            assert again.repeated or not cut.completed, "a call returned and has not happened"
            wait = await store.open_wait(lease, wait_id, stage="ask", name="go")
            expected = b"yes" if again.repeated else b"no"
            assert wait.value == expected, f"cut at {cut.step}: {wait}, and it is {again}"

    async def test_rs47_a_repeated_signal_changes_nothing(self, store: Any) -> None:
        self.needs("waits")
        lease, other = await self.new_lease(store), await self.new_lease(store)
        run_id = lease.run_id
        for wait_id in ("w-1", "w-2"):
            await store.open_wait(lease, wait_id, stage="ask", name="go")
        for name, answered in (("go", "w-1"), ("early", None)):
            for repeated in (False, True, True):
                value = b"again" if repeated else b"first"
                receipt = await store.signal_run(run_id, name, value, signal_id=f"s {name}")
                told = (receipt.wait_id, receipt.repeated)
                assert told == (answered, repeated), f"expected {(answered, repeated)}: {told}"
        receipt = await store.signal_run(run_id, "stay", b"else", signal_id="s go")
        assert (receipt.wait_id, receipt.repeated) == ("w-1", True), f"by another name: {receipt}"
        for number, name in enumerate(("early", "early", "stay")):
            await store.open_wait(lease, f"later {number}", stage="ask", name=name)
        found = await _values(store, run_id)
        nothing = dict.fromkeys(("w-2", "later 1", "later 2"))
        expected = {"w-1": b"first", "later 0": b"first"} | nothing
        assert found == expected, f"expected {expected}, found {found}"
        receipt = await store.signal_run(other.run_id, "go", b"mine", signal_id="s go")
        assert receipt.repeated is False, "an id given to one run counts for another"
        for _ in range(2):
            receipt = await store.signal_run(run_id, "free", b"same")
            assert receipt.repeated is False, "a signal without an id counts as repeated"

    async def test_rs47_of_many_at_once_with_one_id_one_counts(self, store: Any) -> None:
        self.needs("waits")
        lease = await self.new_lease(store)
        for number in range(4):
            await store.open_wait(lease, f"w-{number}", stage="ask", name="go")
        results = await all_at_once(
            lambda n=n: store.signal_run(  # type: ignore[misc]
                lease.run_id, "go", b"%d" % n, signal_id="s"
            )
            for n in range(8)
        )
        found = [(result.wait_id, result.repeated) for result in results]
        assert sorted(found) == [("w-0", False), *[("w-0", True)] * 7], f"answered {found}"
        answers = [value for value in (await _values(store, lease.run_id)).values() if value]
        assert len(answers) == 1, f"one signal answered {len(answers)} waits"

    async def test_rs48_a_signal_that_reaches_nobody_is_refused(self, store: Any) -> None:
        self.needs("waits")
        run_id = uuid4()
        with raising(RunNotFoundError, "a signal to an unknown run"):
            await store.signal_run(run_id, "go", b"lost", signal_id="s")
        await store.create_run(run_id, service="voice", status="running")
        ended = {"failed": run_id, "cancelled": await self.new_run(store)}
        ended["completed"] = await self.new_run(store)
        for status, over in ended.items():
            await store.update_status(over, status)
            with raising(RunEndedError, f"a signal to a run that is {status}"):
                await store.signal_run(over, "go", b"lost", signal_id="s")
        for over in (ended["failed"], ended["cancelled"]):
            await store.update_status(over, "running")
            lease = await store.acquire_lease(over, "first", ttl=LONG)
            wait = await store.open_wait(lease, "w", stage="ask", name="go")
            assert wait.state is WaitState.OPEN, f"a signal that was refused was kept: {wait}"
            receipt = await store.signal_run(over, "go", b"new", signal_id="s")
            assert receipt == SignalReceipt(wait_id="w"), f"its id was kept: {receipt}"

    # --- expiry -------------------------------------------------------------

    async def test_rs49_an_open_wait_is_expired(self, store: Any) -> None:
        self.needs("waits")
        lease = await self.new_lease(store)
        for wait_id in ("open", "answered", "other"):
            await store.open_wait(lease, wait_id, stage="ask", name=wait_id, timeout=LONG)
        await store.signal_run(lease.run_id, "answered", b"yes")
        before = {wait.wait_id: wait for wait in await store.list_waits(lease.run_id)}
        for _ in range(2):
            wait = await store.expire_wait(lease, "open")
            found = (wait.wait_id, wait.state, wait.value, wait.deadline)
            expected = ("open", WaitState.TIMED_OUT, None, before["open"].deadline)
            assert found == expected, f"expected {expected}, found {found}"
        answered = await store.expire_wait(lease, "answered")
        assert answered == before["answered"], f"an answered wait has become {answered}"
        listed = {each.wait_id: each for each in await store.list_waits(lease.run_id)}
        assert listed == before | {"open": wait}, f"listed {listed}"
        receipt = await store.signal_run(lease.run_id, "open", b"late")
        assert receipt.wait_id is None, "a wait whose time was up was answered"

    async def test_rs49_a_wait_that_is_not_there_is_not_expired(self, store: Any) -> None:
        self.needs("waits")
        lease, other = await self.new_lease(store), await self.new_lease(store)
        await store.open_wait(other, "w", stage="ask", name="go")
        with raising(RunStoreError, "expiring a wait that is not there"):
            await store.expire_wait(lease, "w")
        assert list(await store.list_waits(lease.run_id)) == [], "expiring has made a wait"

    # --- listed and forgotten -----------------------------------------------

    async def test_rs52_waits_are_listed_in_the_order_of_opening(self, store: Any) -> None:
        self.needs("waits")
        lease = await self.new_lease(store)
        for wait_id in "cabd":
            await store.open_wait(lease, wait_id, stage="ask", name=wait_id)
        await store.signal_run(lease.run_id, "a", b"yes")
        await store.expire_wait(lease, "c")
        for wait_id in "ace":
            await store.open_wait(lease, wait_id, stage="ask", name=wait_id)
        listed = [(wait.wait_id, wait.state) for wait in await store.list_waits(lease.run_id)]
        states = {"a": WaitState.ANSWERED, "c": WaitState.TIMED_OUT}
        expected = [(wait_id, states.get(wait_id, WaitState.OPEN)) for wait_id in "cabde"]
        assert listed == expected, f"expected {expected}, listed {listed}"
        assert list(await store.list_waits(uuid4())) == [], "an unknown run has waits"

    async def test_rs40_a_deleted_run_leaves_no_waits(self, store: Any) -> None:
        self.needs("waits")
        self.needs("deletion")
        lease, other = await self.new_lease(store), await self.new_lease(store)
        run_id = lease.run_id
        for each in (lease, other):
            await store.open_wait(each, "w", stage="ask", name="go")
            await store.signal_run(each.run_id, "kept", b"early", signal_id="s")
        await store.delete_run(run_id)
        assert list(await store.list_waits(run_id)) == [], "waits of a deleted run have remained"
        await store.create_run(run_id, service="again", status="running")
        assert list(await store.list_waits(run_id)) == [], "waits of a deleted run have come back"
        with raising(LeaseLostError, "a wait with the lease of a deleted run"):
            await store.open_wait(lease, "w", stage="ask", name="go")
        new = await store.acquire_lease(run_id, "second", ttl=LONG)
        wait = await store.open_wait(new, "w", stage="ask", name="kept")
        assert wait.state is WaitState.OPEN, f"a deleted run's signal has come back: {wait}"
        receipt = await store.signal_run(run_id, "kept", b"new", signal_id="s")
        assert receipt == SignalReceipt(wait_id="w"), f"a deleted run's signal counts: {receipt}"
        wait = await store.open_wait(other, "kept", stage="ask", name="kept")
        assert wait.value == b"early", "another run has lost its signal"

    # --- news ---------------------------------------------------------------

    async def test_rs61_an_answer_is_heard(self, store: Any) -> None:
        self.needs("news")
        lease = await self.new_lease(store)
        await store.open_wait(lease, "w-1", stage="ask", name="go")
        async with store.news(lease.run_id) as news, anyio.create_task_group() as tasks:
            tasks.start_soon(store.signal_run, lease.run_id, "go", b"yes")
            assert await news.wait(_PATIENCE), "an answer was given, and no news heard"

    async def test_rs61_what_was_answered_before_the_call_is_heard_too(self, store: Any) -> None:
        self.needs("news")
        lease = await self.new_lease(store)
        await store.open_wait(lease, "w-1", stage="ask", name="go")
        async with store.news(lease.run_id) as news:
            await news.wait(0.0)
            await store.signal_run(lease.run_id, "go", b"yes")
            assert await news.wait(_PATIENCE), "an answer was given, and no news heard"

    async def test_rs61_without_news_the_call_ends_in_time(self, store: Any) -> None:
        self.needs("news")
        lease = await self.new_lease(store)
        async with store.news(lease.run_id) as news:
            with anyio.move_on_after(_PATIENCE) as limit:
                heard = await news.wait(0.01)
            assert not limit.cancelled_caught, "the call did not end"
            assert not heard, "there was news, though nothing had happened"


async def _values(store: Any, run_id: UUID) -> dict[str, bytes | None]:
    return {wait.wait_id: wait.value for wait in await store.list_waits(run_id)}
