"""The kit of the contract `run_store`: subclass `RunStoreConformance` and give it a store."""
# ruff: noqa: D102 - the name of a test says what it proves

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from itertools import permutations, product
from pathlib import PurePosixPath
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest

from stageflow.contracts.run_store import (
    InvalidTransitionError,
    RunDeletion,
    RunEvent,
    RunEventLog,
    RunExistsError,
    RunListing,
    RunNotFoundError,
    RunRecord,
    RunStatus,
    RunStore,
    RunStoreCapabilities,
    RunStoreError,
    UnknownStatusError,
)
from stageflow.contracts.storage import StorageClosedError
from stageflow.testing.conformance import (
    ConformanceKit,
    all_at_once,
    every_cut,
    raising,
    same_value,
)

__all__ = ("RunStoreConformance",)

_AT = datetime(2025, 1, 1, 12, 30, tzinfo=UTC)


class _Unknown:
    """Of a type that no codec knows."""


class RunStoreConformance(ConformanceKit):
    """Tests every clause of `RunStore` and of the capabilities that are declared.

    Attributes:
        values: What is stored as metadata and in events, by name.
    """

    contracts = (RunStore, RunListing, RunEventLog, RunDeletion)
    capabilities: ClassVar[RunStoreCapabilities] = RunStoreCapabilities()
    values: ClassVar[Mapping[str, Any]] = {
        "nothing": None,
        "truth": True,
        "whole": 2**70,
        "real": 0.1,
        "text": "naïve \U0001f600 \0 'quoted'",
        "bytes": b"\x00\xff",
        "decimal": Decimal("1.10"),
        "id": UUID(int=7),
        "date": date(2025, 1, 31),
        "time": datetime(2025, 1, 31, 6, tzinfo=timezone(timedelta(hours=2))),
        "path": PurePosixPath("a/b"),
        "tuple": (1, ("two", None)),
        "set": {1, 2},
        "nested": {"list": [1, {"deep": (3,)}], "empty": {}},
    }

    @pytest.fixture
    async def store(self) -> Any:
        """Give a fresh, empty store; every author overrides this."""
        raise NotImplementedError("override the fixture `store`: yield a fresh, empty RunStore")

    async def test_it_has_the_shape_of_its_contract(self, store: Any) -> None:
        self.check_shape(store)

    # --- the record ---------------------------------------------------------

    async def test_rs1_a_run_is_found_with_all_it_was_created_with(self, store: Any) -> None:
        run_id = uuid4()
        await store.create_run(
            run_id,
            service="voice",
            topology="chat",
            execution_mode="practice",
            status="running",
            user="u-1",
            tags=["a", "b"],
        )
        await store.create_run(uuid4(), service="other", user="u-2")
        record = await store.get_run(run_id)
        assert record is not None, "a run that was created is not found"
        expected = {
            "run_id": run_id,
            "service": "voice",
            "topology": "chat",
            "execution_mode": "practice",
            "status": "running",
            "error": None,
            "duration_ms": None,
            "metadata": {"user": "u-1", "tags": ["a", "b"]},
        }
        found = {name: record[name] for name in expected}
        assert found == expected, f"recorded {expected}, found {found}"

    async def test_rs1_what_is_not_given_has_its_default(self, store: Any) -> None:
        run_id = uuid4()
        await store.create_run(run_id, service="voice")
        record = await store.get_run(run_id)
        found = (record["topology"], record["execution_mode"], record["status"])
        assert found == (None, None, "created"), f"found {found}"
        assert record["metadata"] == {}, f"found metadata {record['metadata']}"

    async def test_rs2_an_unknown_id_is_answered_with_none(self, store: Any) -> None:
        await store.create_run(uuid4(), service="voice")
        assert await store.get_run(uuid4()) is None, "a run was found that nobody created"

    async def test_rs3_a_record_is_a_run_record_with_its_times(self, store: Any) -> None:
        run_id = uuid4()
        await store.create_run(run_id, service="voice", user="u-1")
        created = await store.get_run(run_id)
        await store.update_status(run_id, "running")
        record = await store.get_run(run_id)
        assert isinstance(record, RunRecord), f"found a {type(record).__name__}, not a RunRecord"
        assert record.status is RunStatus.RUNNING, f"the status is {record.status!r}"
        assert record["user"] == "u-1", "metadata is not found by key"
        for at in (record.created_at, record.updated_at):
            assert at.utcoffset() == timedelta(0), f"{at!r} is not in UTC"
        assert record.created_at == created.created_at, "an update changed the time of creation"
        assert record.created_at <= record.updated_at, "it was updated before it was created"

    async def test_rs4_an_id_is_given_once(self, store: Any) -> None:
        run_id = uuid4()
        await store.create_run(run_id, service="first", user="u-1")
        with raising(RunExistsError, "a second run of the same id"):
            await store.create_run(run_id, service="second", user="u-2", more=True)
        record = await store.get_run(run_id)
        assert record["service"] == "first", "the refused call changed the run"
        assert record["metadata"] == {"user": "u-1"}, "the refused call changed the metadata"

    async def test_rs4_one_of_many_at_once_gets_the_id(self, store: Any) -> None:
        run_id = uuid4()
        results = await all_at_once(
            lambda n=n: store.create_run(run_id, service=f"s{n}", number=n)  # type: ignore[misc]
            for n in range(10)
        )
        winners = [n for n, result in enumerate(results) if not isinstance(result, Exception)]
        assert len(winners) == 1, f"{len(winners)} of 10 calls were given the same id"
        losers = [result for result in results if isinstance(result, Exception)]
        assert all(isinstance(error, RunExistsError) for error in losers), f"raised {losers}"
        record = await store.get_run(run_id)
        found = (record["service"], record["metadata"])
        assert found == (f"s{winners[0]}", {"number": winners[0]}), f"mixed: {found}"

    # --- updates ------------------------------------------------------------

    async def test_rs5_an_update_sets_what_it_is_given_and_nothing_else(self, store: Any) -> None:
        run_id = uuid4()
        await store.create_run(run_id, service="voice", topology="chat", a=1, b=1)
        await store.update_status(run_id, "running", error="first attempt failed", b=2)
        await store.update_status(run_id, "failed", duration_ms=1250, c=3)
        record = await store.get_run(run_id)
        expected = {
            "service": "voice",
            "topology": "chat",
            "status": "failed",
            "error": "first attempt failed",
            "duration_ms": 1250,
            "metadata": {"a": 1, "b": 2, "c": 3},
        }
        found = {name: record[name] for name in expected}
        assert found == expected, f"expected {expected}, found {found}"

    async def test_rs6_an_update_of_an_unknown_run_creates_none(self, store: Any) -> None:
        run_id = uuid4()
        with raising(RunNotFoundError, "an update of an unknown run"):
            await store.update_status(run_id, "running")
        assert await store.get_run(run_id) is None, "the refused update created a run"

    async def test_rs7_an_unknown_status_is_refused(self, store: Any) -> None:
        run_id, other = uuid4(), uuid4()
        with raising(UnknownStatusError, "a status that is none"):
            await store.create_run(run_id, service="voice", status="done")
        assert await store.get_run(run_id) is None, "the refused call created a run"
        await store.create_run(other, service="voice")
        with raising(UnknownStatusError, "a status that is none"):
            await store.update_status(other, "Running", user="u-1")
        record = await store.get_run(other)
        found = (record["status"], record["metadata"])
        assert found == ("created", {}), f"the refused update left {found}"

    async def test_rs8_forbidden_transitions_are_refused(self, store: Any) -> None:
        for current, new in permutations(RunStatus, 2):
            run_id = uuid4()
            await store.create_run(run_id, service="voice", status=current)
            if current.may_become(new):
                await store.update_status(run_id, new, user="u-1")
                expected = (new, {"user": "u-1"})
            else:
                with raising(InvalidTransitionError, f"{current} to {new}"):
                    await store.update_status(run_id, new, user="u-1")
                expected = (current, {})
            record = await store.get_run(run_id)
            found = (record["status"], record["metadata"])
            assert found == expected, f"{current} to {new} left {found}"

    async def test_rs9_an_update_may_be_repeated(self, store: Any) -> None:
        for status in RunStatus:
            run_id = uuid4()
            await store.create_run(run_id, service="voice", status=status)
            for _ in range(2):
                await store.update_status(run_id, status, error="why", user="u-1")
            record = await store.get_run(run_id)
            found = (record["status"], record["error"], record["metadata"])
            assert found == (status, "why", {"user": "u-1"}), f"found {found}"

    async def test_rs10_a_run_taken_up_again_loses_its_error(self, store: Any) -> None:
        for ended in ("failed", "cancelled"):
            run_id = uuid4()
            await store.create_run(run_id, service="voice", status="running")
            await store.update_status(run_id, ended, error="why", duration_ms=10)
            await store.update_status(run_id, "running")
            record = await store.get_run(run_id)
            found = (record["error"], record["duration_ms"])
            assert found == (None, None), f"it {ended}, runs again and still has {found}"

    # --- values -------------------------------------------------------------

    async def test_rs11_values_come_back_as_they_were(self, store: Any) -> None:
        run_id = uuid4()
        await store.create_run(run_id, service="voice", **self.values)
        await store.update_status(run_id, "running", again=dict(self.values))
        metadata = (await store.get_run(run_id))["metadata"]
        for source in (metadata, metadata["again"]):
            for name, value in self.values.items():
                found = source[name]
                assert same_value(found, value), f"{name}: stored {value!r}, found {found!r}"

    async def test_rs11_a_value_that_cannot_be_kept_raises(self, store: Any) -> None:
        run_id, other = uuid4(), uuid4()
        with raising(Exception, "a value of an unknown type"):
            await store.create_run(run_id, service="voice", ok=1, bad=_Unknown())
        assert await store.get_run(run_id) is None, "the refused call created a run"
        await store.create_run(other, service="voice")
        with raising(Exception, "a value of an unknown type"):
            await store.update_status(other, "running", ok=1, bad=[_Unknown()])
        record = await store.get_run(other)
        found = (record["status"], record["metadata"])
        assert found == ("created", {}), f"the refused update left {found}"

    async def test_rs12_what_is_kept_is_nobody_elses(self, store: Any) -> None:
        run_id, given = uuid4(), {"list": [1]}
        await store.create_run(run_id, service="voice", given=given)
        given["list"].append(2)
        handed_out = await store.get_run(run_id)
        handed_out["metadata"]["given"]["list"].append(3)
        found = (await store.get_run(run_id))["metadata"]["given"]
        assert found == {"list": [1]}, f"what was kept has become {found}"

    # --- many at once, cancelled, closed ------------------------------------

    async def test_rs13_updates_at_once_all_take_effect(self, store: Any) -> None:
        run_id = uuid4()
        await store.create_run(run_id, service="voice", status="running")
        results = await all_at_once(
            lambda n=n: store.update_status(run_id, "running", **{f"k{n}": n})  # type: ignore[misc]
            for n in range(20)
        )
        assert results == [None] * 20, f"raised {results}"
        metadata = (await store.get_run(run_id))["metadata"]
        lost = [n for n in range(20) if metadata.get(f"k{n}") != n]
        assert not lost, f"updates {lost} were lost"

    async def test_rs14_a_cancelled_creation_is_whole(self, store: Any) -> None:
        ids: dict[int, UUID] = {}

        def create(step: int) -> Any:
            ids[step] = uuid4()
            return store.create_run(ids[step], service="voice", status="running", a=1, b=[2])

        async for cut in every_cut(create):
            record = await store.get_run(ids[cut.step])
            if record is None:
                assert not cut.completed, "a call returned and there is no run"
            else:
                found = (record["status"], record["metadata"])
                assert found == ("running", {"a": 1, "b": [2]}), f"cut at {cut.step}: {found}"

    async def test_rs14_a_cancelled_update_is_whole(self, store: Any) -> None:
        before: tuple[Any, ...] = ("running", None, None, {})
        after: tuple[Any, ...] = ("failed", "why", 5, {"a": 1, "b": 2})
        run_id = uuid4()

        def update(_: int) -> Awaitable[object]:
            updated: Awaitable[object] = store.update_status(
                run_id, "failed", error="why", duration_ms=5, a=1, b=2
            )
            return updated

        await store.create_run(run_id, service="voice", status="running")
        async for cut in every_cut(update):
            record = await store.get_run(run_id)
            found = tuple(record[name] for name in ("status", "error", "duration_ms", "metadata"))
            allowed = [after] if cut.completed else [before, after]
            assert found in allowed, f"cut at {cut.step} it left {found}"
            run_id = uuid4()
            await store.create_run(run_id, service="voice", status="running")

    async def test_rs14_a_cancelled_reading_changes_nothing(self, store: Any) -> None:
        run_id = uuid4()
        await store.create_run(run_id, service="voice", a=1)
        async for _ in every_cut(lambda _: store.get_run(run_id)):
            record = await store.get_run(run_id)
            assert record["metadata"] == {"a": 1}, "reading changed the run"

    async def test_rs15_a_closed_store_refuses_every_call(self, store: Any) -> None:
        self.needs_closing()
        run_id = uuid4()
        await store.create_run(run_id, service="voice")
        await store.aclose()
        await store.aclose()
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: store.create_run(uuid4(), service="voice"),
            lambda: store.update_status(run_id, "running"),
            lambda: store.get_run(run_id),
        ]
        if self.capabilities.listing:
            calls.append(store.list_runs)
        if self.capabilities.event_log:
            calls.append(lambda: store.append_events(run_id, [_event(1)]))
            calls.append(lambda: store.read_events(run_id))
        if self.capabilities.deletion:
            calls.append(lambda: store.delete_run(run_id))
        for call in calls:
            with raising(StorageClosedError, "a call after aclose"):
                await call()

    async def test_rs26_capabilities_are_declared_as_they_are(self, store: Any) -> None:
        declared = RunStoreCapabilities.of(store)
        assert declared == self.capabilities, f"the store declares {declared}"

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
            assert await store.append_events(run_id, [_event(1), _event(2)]) == 2
            assert await store.append_events(run_id, iter([_event(3)])) == 3
            assert await store.append_events(run_id, []) == 3
        for run_id in ids:
            events = await store.read_events(run_id)
            assert [event.number for event in events] == [1, 2, 3], "numbered otherwise"
            assert [event.type for event in events] == ["test.1", "test.2", "test.3"]
            assert [event.at for event in events] == [_AT + timedelta(n) for n in (1, 2, 3)]
            assert [event.data for event in events] == [{"n": 1}, {"n": 2}, {"n": 3}]

    async def test_rs19_event_data_comes_back_as_it_was(self, store: Any) -> None:
        self.needs("event_log")
        run_id = uuid4()
        await store.create_run(run_id, service="voice")
        await store.append_events(
            run_id,
            [RunEvent(type="a", at=_AT), RunEvent(type="b", at=_AT, data=dict(self.values))],
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
        await store.append_events(run_id, map(_event, range(1, 8)))
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
            await store.append_events(run_id, [_event(1)])
        assert list(await store.read_events(run_id)) == [], "an unknown run has events"

    async def test_rs22_events_of_one_call_stand_together(self, store: Any) -> None:
        self.needs("event_log")
        run_id = uuid4()
        await store.create_run(run_id, service="voice")
        calls = [[RunEvent(type=f"{n}.{i}", at=_AT) for i in range(5)] for n in range(8)]
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
        async for cut in every_cut(lambda _: store.append_events(run_id, map(_event, range(1, 6)))):
            count = len(await store.read_events(run_id)) - kept
            allowed = {5} if cut.completed else {0, 5}
            assert count in allowed, f"cut at {cut.step} it kept {count} of 5 events"
            kept += count

    async def test_rs23_an_append_that_cannot_be_encoded_keeps_nothing(self, store: Any) -> None:
        self.needs("event_log")
        run_id = uuid4()
        await store.create_run(run_id, service="voice")
        bad = RunEvent(type="bad", at=_AT, data={"value": _Unknown()})
        with raising(Exception, "a value of an unknown type"):
            await store.append_events(run_id, [_event(1), bad])
        assert list(await store.read_events(run_id)) == [], "some of the events were kept"

    # --- deletion -----------------------------------------------------------

    async def test_rs24_a_deleted_run_is_gone_everywhere(self, store: Any) -> None:
        self.needs("deletion")
        run_id, other = uuid4(), uuid4()
        for created in (run_id, other):
            await store.create_run(created, service="voice", a=1)
            if self.capabilities.event_log:
                await store.append_events(created, [_event(1)])
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


def _event(number: int) -> RunEvent:
    return RunEvent(type=f"test.{number}", data={"n": number}, at=_AT + timedelta(number))
