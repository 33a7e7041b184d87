"""The kit of the contract `routing_coordinator`: subclass `RoutingCoordinatorConformance`."""
# ruff: noqa: D102 - the name of a test says what it proves

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ClassVar
from uuid import UUID

import pytest

from stageflow.contracts.partitions import partition_key
from stageflow.contracts.routing_coordinator import (
    DecisionIdNotFoundError,
    DecisionNotFoundError,
    DecisionRetention,
    RoutingCoordinator,
    RoutingCoordinatorCapabilities,
)
from stageflow.contracts.storage import StorageClosedError
from stageflow.testing.conformance import ConformanceKit, all_at_once, every_cut, raising

__all__ = ("RoutingCoordinatorConformance",)


class RoutingCoordinatorConformance(ConformanceKit):
    """Tests every clause of `RoutingCoordinator` and of the capabilities that are declared."""

    contracts = (RoutingCoordinator, DecisionRetention)
    capabilities: ClassVar[RoutingCoordinatorCapabilities] = RoutingCoordinatorCapabilities()

    @pytest.fixture
    async def coordinator(self) -> Any:
        """Give a coordinator that knows no decision; every author overrides this."""
        raise NotImplementedError("override the fixture `coordinator`: yield one without any")

    async def test_it_has_the_shape_of_its_contract(self, coordinator: Any) -> None:
        self.check_shape(coordinator)

    async def test_rc1_a_decision_is_found(self, coordinator: Any) -> None:
        await coordinator.record("run", "router", "p", "fast")
        await coordinator.record("run", "router", "q", None, reason="nothing to do")
        await coordinator.record("run", "router", None, "")
        found = [
            await coordinator.get("run", "router", partition) for partition in ("p", "q", None)
        ]
        assert found == ["fast", None, ""], f"found {found}"

    async def test_rc2_where_nothing_was_decided_get_raises(self, coordinator: Any) -> None:
        await coordinator.record("run", "router", "p", "fast")
        for place in (("run", "router", None), ("run", "other", "p"), ("other", "router", "p")):
            with raising(DecisionNotFoundError, f"asking for {place!r}"):
                await coordinator.get(*place)

    async def test_rc3_the_first_decision_stays(self, coordinator: Any) -> None:
        for partition, first in (("p", "fast"), ("q", None)):
            ids = [
                await coordinator.record("run", "router", partition, branch)
                for branch in (first, "slow", None, first)
            ]
            assert len(set(ids)) == 1, f"one decision has the ids {ids}"
            found = await coordinator.get("run", "router", partition)
            assert found == first, f"{first!r} has become {found!r}"

    async def test_rc4_of_decisions_at_once_one_stays(self, coordinator: Any) -> None:
        ids = await all_at_once(
            partial(coordinator.record, "run", "router", None, f"branch {number}")
            for number in range(8)
        )
        assert len(set(ids)) == 1, f"one decision has the ids {ids}"
        output = await coordinator.to_output(ids[0])
        found = await coordinator.get("run", "router", None)
        assert output["route"] == found, f"one tells {output['route']!r}, one {found!r}"
        assert found in {f"branch {number}" for number in range(8)}

    async def test_rc5_decisions_are_apart(self, coordinator: Any) -> None:
        places: list[tuple[Any, str, Any]] = [
            *(("run", "router", None), ("run", "router", "None"), ("run", "router", "")),
            *(("run", "a/b", "c"), ("run", "a", "b/c"), ("run/a", "b", "c")),
            *(("run", "router", 1), ("run", "router", "1"), (UUID(int=1), "router", None)),
        ]
        for number, place in enumerate(places):
            await coordinator.record(*place, str(number))
        for number, place in enumerate(places):
            found = await coordinator.get(*place)
            assert found == str(number), f"{place!r} has {found!r}, not {number}"

    async def test_rc6_a_decision_is_told_as_an_output(self, coordinator: Any) -> None:
        for run_id, partition, route, reason in (
            (UUID(int=7), ("eu", 1), "fast", "it is small"),
            ("run", None, None, None),
        ):
            decision_id = await coordinator.record(
                run_id, "router", partition, route, reason=reason
            )
            output = await coordinator.to_output(decision_id)
            decided_at = datetime.fromisoformat(output.pop("decided_at"))
            assert decided_at.utcoffset() == timedelta(0), f"{decided_at} is not in UTC"
            assert output == {
                "decision_id": decision_id,
                "run_id": str(run_id),
                "router": "router",
                "partition": partition_key(partition),
                "route": route,
                "reason": reason,
            }, f"it was told as {output}"

    async def test_rc7_an_unknown_id_raises(self, coordinator: Any) -> None:
        await coordinator.record("run", "router", None, "fast")
        with raising(DecisionIdNotFoundError, "an id that no decision has"):
            await coordinator.to_output("no such decision")

    async def test_rc8_a_cancelled_record_is_whole(self, coordinator: Any) -> None:
        async for cut in every_cut(
            lambda step: coordinator.record("run", "router", step, "fast", reason="why")
        ):
            try:
                found = await coordinator.get("run", "router", cut.step)
            except DecisionNotFoundError:
                assert not cut.completed, "a call returned and nothing was recorded"
                continue
            decision_id = await coordinator.record("run", "router", cut.step, "slow")
            output = await coordinator.to_output(decision_id)
            told = (found, output["route"], output["reason"])
            assert told == ("fast", "fast", "why"), f"cut at {cut.step} it left {told}"

    async def test_rc9_a_closed_coordinator_refuses_every_call(self, coordinator: Any) -> None:
        self.needs_closing()
        decision_id = await coordinator.record("run", "router", None, "fast")
        await coordinator.aclose()
        await coordinator.aclose()
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: coordinator.record("run", "router", None, "fast"),
            lambda: coordinator.get("run", "router", None),
            lambda: coordinator.to_output(decision_id),
        ]
        if self.capabilities.retention:
            calls.append(lambda: coordinator.prune(datetime.fromisoformat("2000-01-01T00:00:00Z")))
        for call in calls:
            with raising(StorageClosedError, "a call after aclose"):
                await call()

    async def test_rc10_capabilities_are_declared_as_they_are(self, coordinator: Any) -> None:
        declared = RoutingCoordinatorCapabilities.of(coordinator)
        assert declared == self.capabilities, f"the coordinator declares {declared}"

    async def test_rc11_pruning_forgets_what_is_old(self, coordinator: Any) -> None:
        self.needs("retention")
        ids = [await coordinator.record("run", "router", number, "fast") for number in range(3)]
        times = [
            datetime.fromisoformat((await coordinator.to_output(one))["decided_at"]) for one in ids
        ]
        old = sum(time < times[-1] for time in times)
        answers = [await coordinator.prune(times[-1]) for _ in range(2)]
        assert answers == [old, 0], f"{old} were older than the last: {answers}"
        assert await coordinator.get("run", "router", 2) == "fast", "the last one is not older"
        left = 3 - old
        later = times[-1] + timedelta(seconds=1)
        answers = [await coordinator.prune(later) for _ in range(2)]
        assert answers == [left, 0], f"{left} were left: {answers}"
        for number, decision_id in enumerate(ids):
            with raising(DecisionNotFoundError, "a decision that was pruned"):
                await coordinator.get("run", "router", number)
            with raising(DecisionIdNotFoundError, "a decision that was pruned"):
                await coordinator.to_output(decision_id)
        await coordinator.record("run", "router", 0, "slow")
        found = await coordinator.get("run", "router", 0)
        assert found == "slow", f"it was decided anew: {found!r}"
