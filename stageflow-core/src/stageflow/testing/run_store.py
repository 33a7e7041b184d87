"""The kit of the contract `run_store`: subclass `RunStoreConformance` and give it a store."""
# ruff: noqa: D102 - the name of a test says what it proves

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import permutations
from typing import Any, Final
from uuid import UUID, uuid4

from stageflow.contracts.checkpoints import RunCheckpoints, RunLease, RunRetention
from stageflow.contracts.run_store import (
    InvalidTransitionError,
    RunDeletion,
    RunEventLog,
    RunExistsError,
    RunListing,
    RunNotFoundError,
    RunRecord,
    RunStatus,
    RunStore,
    RunStoreCapabilities,
    UnknownStatusError,
)
from stageflow.contracts.shared_values import SharedValues
from stageflow.contracts.storage import StorageClosedError
from stageflow.contracts.waits import RunNews, RunWaits
from stageflow.plugins._conformity import shape_faults
from stageflow.testing.conformance import all_at_once, every_cut, raising, same_value
from stageflow.testing.run_store_base import AT, LONG, Unknown, numbered_event
from stageflow.testing.run_store_checkpoints import RunCheckpointsConformance
from stageflow.testing.run_store_leases import RunLeasesConformance
from stageflow.testing.run_store_listing import RunListingConformance
from stageflow.testing.run_store_parking import RunParkingConformance
from stageflow.testing.run_store_values import SharedValuesConformance
from stageflow.testing.run_store_waits import RunWaitsConformance

__all__ = ("RunStoreConformance",)

_CAPABILITIES: Final[dict[str, type]] = {
    "listing": RunListing,
    "event_log": RunEventLog,
    "deletion": RunDeletion,
    "checkpoints": RunCheckpoints,
    "retention": RunRetention,
    "waits": RunWaits,
    "shared_values": SharedValues,
    "news": RunNews,
}


class RunStoreConformance(
    RunListingConformance,
    RunLeasesConformance,
    RunCheckpointsConformance,
    RunWaitsConformance,
    RunParkingConformance,
    SharedValuesConformance,
):
    """Tests every clause of `RunStore` and of the capabilities that are declared.

    Leases and waits end by time. The kit's time is a `TestClock`: give it to the store in the
    fixture, as `clock=self.clock`. For a store that goes by a server's clock, override
    `pass_time`.

    Attributes:
        values: What is stored as metadata and in events, by name.
        moment: For how many seconds something lasts that is to end during a test. Make it small
            if `pass_time` really waits.
    """

    contracts = (RunStore, *_CAPABILITIES.values())

    async def test_it_has_the_shape_of_its_contract(self, store: Any) -> None:
        self.check_shape(store)
        for capability, contract in _CAPABILITIES.items():
            if getattr(self.capabilities, capability):
                faults = [fault.summary for fault in shape_faults(contract, store)]
                assert not faults, f"of the capability {capability}: {'; '.join(faults)}"

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
            await store.create_run(run_id, service="voice", ok=1, bad=Unknown())
        assert await store.get_run(run_id) is None, "the refused call created a run"
        await store.create_run(other, service="voice")
        with raising(Exception, "a value of an unknown type"):
            await store.update_status(other, "running", ok=1, bad=[Unknown()])
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
        lease = RunLease(run_id=run_id, owner="first", token=1, expires_at=AT)
        await store.aclose()
        await store.aclose()
        calls: dict[str, list[Callable[[], Awaitable[object]]]] = {
            "listing": [lambda: store.list_runs()],  # noqa: PLW0108 - it may not be there
            "event_log": [
                lambda: store.append_events(run_id, [numbered_event(1)]),
                lambda: store.read_events(run_id),
            ],
            "deletion": [lambda: store.delete_run(run_id)],
            "checkpoints": [
                lambda: store.acquire_lease(run_id, "first", ttl=LONG),
                lambda: store.renew_lease(lease, ttl=LONG),
                lambda: store.release_lease(lease),
                lambda: store.get_lease(run_id),
                lambda: store.list_leases(),  # noqa: PLW0108 - it may not be there
                lambda: store.claim_run("first", ttl=LONG),
                lambda: store.request_cancel(run_id, "why"),
                lambda: store.commit(lease),
                lambda: store.load_entries(run_id),
            ],
            "retention": [lambda: store.prune_runs(before=AT)],
            "waits": [
                lambda: store.open_wait(lease, "w", stage="ask", name="go"),
                lambda: store.expire_wait(lease, "w"),
                lambda: store.list_waits(run_id),
                lambda: store.park_run(lease, ["w"]),
                lambda: store.signal_run(run_id, "go", b"yes"),
            ],
            "shared_values": [
                lambda: store.read_value("n", "k"),
                lambda: store.write_value("n", "k", b"1"),
                lambda: store.write_values("n", [("k", b"1", None)]),
                lambda: store.delete_value("n", "k"),
                lambda: store.list_values("n"),
            ],
        }
        refused: list[Callable[[], Awaitable[object]]] = [
            lambda: store.create_run(uuid4(), service="voice"),
            lambda: store.update_status(run_id, "running"),
            lambda: store.get_run(run_id),
        ]
        for capability, of_it in calls.items():
            if getattr(self.capabilities, capability):
                refused += of_it
        for call in refused:
            with raising(StorageClosedError, "a call after aclose"):
                await call()

    async def test_rs26_capabilities_are_declared_as_they_are(self, store: Any) -> None:
        declared = RunStoreCapabilities.of(store)
        assert declared == self.capabilities, f"the store declares {declared}"
        assert declared.checkpoints or not declared.waits, "it waits without checkpoints"
