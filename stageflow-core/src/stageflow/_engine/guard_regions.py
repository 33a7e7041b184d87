"""What of a graph is run again when a guard fails: found once, when the plan is built."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from stageflow._engine.call import Body, Invocation, StageCall, execute_attempts
from stageflow._engine.guard_retry import GuardRetryPolicy, GuardRetryStrategy
from stageflow._engine.validation import fault
from stageflow.errors import ContractErrorInfo, did_you_mean
from stageflow.stages import StageOutput

if TYPE_CHECKING:
    from stageflow._engine.plan import Plan
    from stageflow.context import StageContext

__all__ = ("GuardRegions", "Region", "strategy_faults", "with_guard_regions")

Edges = Sequence[Sequence[int]]


@attrs.frozen(eq=False)
class Region:
    """What is run again when one guard fails.

    Attributes:
        guard: The guard.
        retry: The stage the run goes back to.
        policy: How often.
        stages: Whatever lies on a path from that stage to the guard, both included.
        guards: The guards among them.
        waits: For each of them, how many others of them it waits for.
        holds: For each other stage that waits for some of them, for how many but the guard.
    """

    guard: int
    retry: int
    policy: GuardRetryPolicy
    stages: tuple[int, ...]
    guards: frozenset[int]
    waits: Mapping[int, int]
    holds: Mapping[int, int]


@attrs.frozen(eq=False)
class Group:
    """Stages whose ends become final together: those of regions that overlap.

    Attributes:
        guards: The guards that can send the run back to some of them.
        stages: All of them.
    """

    guards: frozenset[int]
    stages: frozenset[int]


@attrs.frozen(eq=False)
class GuardRegions:
    """All that a plan knows about its guards.

    Attributes:
        regions: What is run again, by guard.
        groups: What becomes final together, by stage.
    """

    regions: Mapping[int, Region]
    groups: Mapping[int, Group]


def strategy_faults(
    strategy: GuardRetryStrategy, index: Mapping[str, int], dependencies: Edges
) -> list[ContractErrorInfo]:
    """Return everything that is wrong with a strategy for a graph of stages."""
    faults = []
    for guard, policy in strategy.policies.items():
        retry = policy.retry_stage
        for name, what in ((guard, "the guard"), (retry, "the stage to go back to")):
            if name not in index:
                hint = f"Name a stage of this pipeline. {did_you_mean(name, index)}"
                faults.append(_fault(guard, f"{what} {name!r} is no stage of it.", hint))
        if guard in index and retry in index:
            upstream = _reached([index[guard]], dependencies)
            if guard == retry or index[retry] not in upstream:
                hint = f"Go back to a stage that {guard!r} depends on, directly or not."
                faults.append(_fault(guard, f"{retry!r} is not upstream of the guard.", hint))
        if policy.max_attempts < 1:
            faults.append(_number_fault(guard, "max_attempts", policy.max_attempts, "at least 1"))
        if policy.stagnation_limit < 2:
            faults.append(
                _number_fault(guard, "stagnation_limit", policy.stagnation_limit, "at least 2")
            )
        if policy.timeout_seconds is not None and not policy.timeout_seconds > 0:
            faults.append(
                _number_fault(guard, "timeout_seconds", policy.timeout_seconds, "above 0, or None")
            )
    return faults


def with_guard_regions(plan: Plan, strategy: GuardRetryStrategy) -> Plan:
    """Return a plan whose guards send the run back as *strategy* says."""
    policies = {plan.index[guard]: policy for guard, policy in strategy.policies.items()}
    targets = {guard: plan.index[policy.retry_stage] for guard, policy in policies.items()}
    needs = [list(needed) for needed in plan.dependencies]
    releases = [list(followers) for followers in plan.successors]
    between = _hold_followers(targets, needs, releases)
    regions = {
        guard: _region(guard, retry, policies[guard], between, needs, releases)
        for guard, retry in targets.items()
    }
    calls, readable = list(plan.calls), list(plan.readable)
    for stage in set().union(*between.values()):
        calls[stage] = _repeatable(stage, calls[stage])
    for guard, retry in targets.items():
        readable[retry] = (*readable[retry], plan.names[guard])
    return attrs.evolve(
        plan,
        calls=tuple(calls),
        readable=tuple(readable),
        releases=tuple(releases),
        waits=tuple(map(len, needs)),
        guard_regions=GuardRegions(regions, _groups(between)),
        is_judged=True,
    )


def _region(
    guard: int,
    retry: int,
    policy: GuardRetryPolicy,
    between: Mapping[int, set[int]],
    needs: Edges,
    releases: Edges,
) -> Region:
    stages = between[guard]
    outside = {follower for stage in stages for follower in releases[stage]} - stages
    return Region(
        guard,
        retry,
        policy,
        tuple(sorted(stages)),
        frozenset(stages & between.keys()),
        {stage: sum(needed in stages for needed in needs[stage]) for stage in stages},
        {
            stage: sum(each in stages and each != guard for each in needs[stage])
            for stage in outside
        },
    )


def _hold_followers(
    targets: Mapping[int, int], needs: list[list[int]], releases: list[list[int]]
) -> dict[int, set[int]]:
    """Have whoever depends on a stage that may be run again wait for the guard; return these.

    A stage outside a region that depends on one in it gets an edge from the guard. It is no
    ancestor of the guard, or it would be in the region; so the edge closes no circle. Guards
    that judge the same stage come to stand in a line, in the order in which they are given.
    """
    while True:
        held = False
        between: dict[int, set[int]] = {}
        for guard, retry in targets.items():
            region = _reached([guard], needs) & _reached([retry], releases)
            between[guard] = region
            for follower in sorted({f for stage in region for f in releases[stage]} - region):
                if guard not in needs[follower]:
                    needs[follower].append(guard)
                    releases[guard].append(follower)
                    held = True
        # An edge can lengthen a region that was found before it.
        if not held:
            return between


def _groups(between: Mapping[int, set[int]]) -> dict[int, Group]:
    parts: list[tuple[set[int], set[int]]] = []
    for guard, stages in between.items():
        guards, joined = {guard}, set(stages)
        apart = []
        for part in parts:
            if part[1] & joined:
                guards |= part[0]
                joined |= part[1]
            else:
                apart.append(part)
        parts = [*apart, (guards, joined)]
    groups = [Group(frozenset(guards), frozenset(stages)) for guards, stages in parts]
    return {stage: group for group in groups for stage in group.stages}


def _reached(start: Iterable[int], edges: Edges) -> set[int]:
    found = set(start)
    waiting = list(found)
    while waiting:
        for stage in edges[waiting.pop()]:
            if stage not in found:
                found.add(stage)
                waiting.append(stage)
    return found


def _repeatable(stage: int, call: StageCall) -> StageCall:
    """Return the call of a stage that may be run again: it knows its attempt, and keeps its body.

    A runner class is instantiated once per run, however often the run comes back to the stage.
    """
    inner = call.layered or execute_attempts
    body, make = call.body, call.make

    async def layered(invocation: Invocation) -> StageOutput:
        invocation.continue_attempts()
        return await inner(invocation)

    return attrs.evolve(
        call,
        layered=layered,
        body=body if make is None else _body_of_run(stage, make),
        make=None,
    )


def _body_of_run(stage: int, make: Callable[[], Body]) -> Callable[[StageContext], Awaitable[Any]]:
    async def body(context: StageContext) -> Any:
        run: Any = context._run
        return await run.guard_retries.body(stage, make)(context)

    return body


def _fault(guard: str, problem: str, hint: str) -> ContractErrorInfo:
    return fault(
        "GUARD_RETRY", f"The guard-retry of {guard!r} cannot work: {problem}", hint, stage=guard
    )


def _number_fault(guard: str, parameter: str, value: Any, wanted: str) -> ContractErrorInfo:
    return _fault(guard, f"{parameter} is {value!r}.", f"It must be {wanted}.")
