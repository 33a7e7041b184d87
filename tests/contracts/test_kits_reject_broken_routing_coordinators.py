"""The kit of routing coordinators notices each broken clause, and blames no other."""

from __future__ import annotations

from itertools import count

import anyio.lowlevel
import attrs
import pytest

from stageflow.builtin.routing_coordinators import MemoryRoutingCoordinator
from stageflow.contracts.routing_coordinator import (
    DecisionIdNotFoundError,
    DecisionNotFoundError,
    DecisionRetention,
    RoutingCoordinator,
    RoutingCoordinatorCapabilities,
)
from stageflow.testing.conformance import clauses_of, failed_clauses
from stageflow.testing.routing_coordinator import RoutingCoordinatorConformance

pytestmark = pytest.mark.anyio


class Kit(RoutingCoordinatorConformance):
    capabilities = MemoryRoutingCoordinator.capabilities


class TakesNothingForNone(MemoryRoutingCoordinator):
    """RC-1"""

    async def get(self, run_id, router_asset, partition):
        return await super().get(run_id, router_asset, partition) or None


class FindsNothingAsNone(MemoryRoutingCoordinator):
    """RC-2"""

    async def get(self, run_id, router_asset, partition):
        try:
            return await super().get(run_id, router_asset, partition)
        except DecisionNotFoundError:
            if router_asset == "other":
                return None
            raise


class ReplacesNone(MemoryRoutingCoordinator):
    """RC-3"""

    async def record(self, run_id, router_asset, partition, selected_branch, **options):
        if partition == "q" and selected_branch is not None:
            await self._drop_none()
        return await super().record(run_id, router_asset, partition, selected_branch, **options)

    async def _drop_none(self):
        for decision in [one for one in self._decisions.values() if one.route is None]:
            del self._decisions[decision.decision_id]


class GivesEachItsOwnId(MemoryRoutingCoordinator):
    """RC-4"""

    async def record(self, run_id, router_asset, partition, selected_branch, **options):
        made = await super().record(run_id, router_asset, partition, selected_branch, **options)
        return selected_branch if selected_branch == "branch 7" else made


class TakesTextForNumbers(MemoryRoutingCoordinator):
    """RC-5"""

    async def get(self, run_id, router_asset, partition):
        return await super().get(run_id, router_asset, 1 if partition == "1" else partition)


class TellsNoReason(MemoryRoutingCoordinator):
    """RC-6"""

    async def to_output(self, decision_id):
        output = await super().to_output(decision_id)
        return {**output, "reason": None} if output["reason"] != "why" else output


class TellsOfNothing(MemoryRoutingCoordinator):
    """RC-7"""

    async def to_output(self, decision_id):
        try:
            return await super().to_output(decision_id)
        except DecisionIdNotFoundError:
            if decision_id == "no such decision":
                return {}
            raise


class RecordsInTwoSteps(MemoryRoutingCoordinator):
    """RC-8"""

    async def record(self, run_id, router_asset, partition, selected_branch, *, reason=None):
        made = await super().record(run_id, router_asset, partition, selected_branch)
        if reason == "why":
            await anyio.lowlevel.checkpoint()
        if self._decisions[made].route == selected_branch:
            self._decisions[made] = attrs.evolve(self._decisions[made], reason=reason)
        return made


class StaysOpen(MemoryRoutingCoordinator):
    """RC-9"""

    async def aclose(self):
        return None


class PromisesTooLittle(MemoryRoutingCoordinator):
    """RC-10"""

    capabilities = RoutingCoordinatorCapabilities()


class PrunesEverything(MemoryRoutingCoordinator):
    """RC-11"""

    async def prune(self, before):
        self._check_open()
        return self._forget(self._decisions.values())


BROKEN = [
    TakesNothingForNone,
    FindsNothingAsNone,
    ReplacesNone,
    GivesEachItsOwnId,
    TakesTextForNumbers,
    TellsNoReason,
    TellsOfNothing,
    RecordsInTwoSteps,
    StaysOpen,
    PromisesTooLittle,
    PrunesEverything,
]


def test_every_clause_has_a_test_and_a_broken_coordinator():
    clauses = clauses_of(RoutingCoordinator, DecisionRetention)
    numbers = (f"RC-{number}" for number in count(1))
    assert sorted(clauses) == sorted(next(numbers) for _ in clauses)
    assert Kit.proofs().keys() == clauses.keys()
    assert {broken.__doc__ for broken in BROKEN} == clauses.keys()


async def test_a_good_coordinator_fails_nothing():
    assert await failed_clauses(Kit, MemoryRoutingCoordinator) == {}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
async def test_a_broken_coordinator_fails_exactly_its_clause(broken):
    failures = await failed_clauses(Kit, broken)
    assert list(failures) == [broken.__doc__], failures
