"""Plan: a validated graph of stages, built once, immutable, safe to run many times at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal

import attrs

from stageflow._engine.call import Layer, StageCall, prepare_calls
from stageflow._engine.guard_regions import GuardRegions, strategy_faults, with_guard_regions
from stageflow._engine.guard_retry import GuardRetryStrategy
from stageflow._engine.validation import (
    cycle_fault,
    fault,
    find_cycle,
    missing_dependency_fault,
    raise_faults,
)
from stageflow.errors import ContractErrorInfo
from stageflow.stages import StageKind
from stageflow.stages.retry import RetryPolicy

__all__ = (
    "Node",
    "OnFailure",
    "Plan",
    "StagePolicy",
    "choice_fault",
    "compile_plan",
    "ordered_names",
)

_MANY = 32
_HINTED = 10
_COMPARED = 100_000

OnFailure = Literal["stop", "continue"]


@attrs.frozen(kw_only=True)
class StagePolicy:
    """What the engine does around a stage's body.

    Attributes:
        timeout: Seconds that one attempt may take; None for no limit.
        retry: When another attempt is made; None for the default, which only a stage that
            asks for a retry gets.
        on_failure: What a failure does to the run; None for the plan's choice.
        priority: Among ready stages, higher goes first when concurrency is limited.
        branch_key: The value of its router's `route` that selects this conditional stage.
        version: Version of the stage's meaning, part of the plan's fingerprint.
        output_schema: What the data of its output must look like; None for anything.
    """

    timeout: float | None = None
    retry: RetryPolicy | None = None
    on_failure: OnFailure | None = None
    priority: int = 0
    branch_key: str | None = None
    version: str | None = None
    output_schema: Any = attrs.field(default=None, hash=False)


DEFAULT_POLICY = StagePolicy()


def ordered_names(names: Iterable[str] | str | None) -> tuple[str, ...]:
    if not names:
        return ()
    if isinstance(names, str) or not isinstance(names, Iterable):
        return (names,)
    listed = tuple(names)
    try:
        return tuple(dict.fromkeys(listed))
    except TypeError:
        return listed  # one of them is no name; the plan says which


@attrs.frozen(hash=False)
class Node:
    """One stage as a door declares it.

    Attributes:
        name: Unique in its plan.
        runner: A stage class, an object with `execute`, or a function of the context.
        kind: What kind of work it does.
        dependencies: The stages it waits for and may read.
        conditional: Whether it is skipped when a dependency was skipped or routes past it.
        config: Keywords for a runner class.
        policy: What the engine does around its body.
    """

    name: str
    runner: Any
    kind: StageKind = StageKind.TRANSFORM
    dependencies: tuple[str, ...] = attrs.field(default=(), converter=ordered_names)
    conditional: bool = False
    config: Mapping[str, Any] | None = None
    policy: StagePolicy = DEFAULT_POLICY


@attrs.frozen(eq=False)
class Plan:
    """Everything about a graph that is the same in all its runs.

    Nodes are numbered in declared order; all tuples below are indexed by that number.

    Attributes:
        name: The pipeline's name.
        nodes: What was declared.
        names: The stages' names.
        readable: The names of the stages each one may read, in declared order.
        calls: How each stage is executed.
        index: Number by stage name.
        dependencies: Numbers of the stages each one waits for.
        successors: Numbers of the stages that depend on each one.
        releases: The same, and those that wait for a guard without depending on it.
        waits: How many stages each one waits for.
        roots: Numbers of the stages that wait for nobody.
        on_failure: What a failure does to the run unless the stage says otherwise.
        max_concurrency: How many stages may run at once; None for no limit.
        has_conditions: Whether any stage is conditional.
        branch_keys: For each router with keyed branches, the keys by the router's number.
        priorities: The stages' priorities, if they matter.
        guard_regions: What is run again when a guard fails; None if nothing is.
        is_judged: Whether what a stage gives may be changed or refused when it ends.
        together: Sets of stages of which none counts as done, should the run be interrupted,
            before all have ended: what passes between them while they run is not kept.
    """

    name: str
    nodes: tuple[Node, ...] = attrs.field(repr=False)
    names: tuple[str, ...] = attrs.field(repr=False)
    readable: tuple[Collection[str], ...] = attrs.field(repr=False)
    calls: tuple[StageCall, ...] = attrs.field(repr=False)
    index: Mapping[str, int] = attrs.field(repr=False)
    dependencies: tuple[tuple[int, ...], ...] = attrs.field(repr=False)
    successors: tuple[Sequence[int], ...] = attrs.field(repr=False)
    releases: tuple[Sequence[int], ...] = attrs.field(repr=False)
    waits: tuple[int, ...] = attrs.field(repr=False)
    roots: tuple[int, ...] = attrs.field(repr=False)
    on_failure: OnFailure = "stop"
    max_concurrency: int | None = None
    has_conditions: bool = False
    branch_keys: Mapping[int, frozenset[str]] = attrs.field(factory=dict, repr=False)
    priorities: tuple[int, ...] | None = attrs.field(default=None, repr=False)
    guard_regions: GuardRegions | None = attrs.field(default=None, repr=False)
    is_judged: bool = False
    together: tuple[frozenset[int], ...] = ()

    def __len__(self) -> int:
        return len(self.nodes)


def compile_plan(
    nodes: Iterable[Node],
    *,
    name: str = "pipeline",
    layers: Sequence[Layer] = (),
    on_failure: OnFailure = "stop",
    max_concurrency: int | None = None,
    guard_retry_strategy: GuardRetryStrategy | None = None,
    known_faults: Sequence[ContractErrorInfo] = (),
) -> Plan:
    """Validate *nodes* and return the plan that runs them, in time linear in stages and edges.

    Args:
        nodes: The stages, in any order.
        name: The pipeline's name, for messages and events.
        layers: What wraps every stage, outermost first.
        on_failure: What a failure does to the run.
        max_concurrency: How many stages may run at once.
        guard_retry_strategy: Which failing guards send the run back.
        known_faults: Faults that the door found before; reported with those found here.

    Raises:
        PipelineValidationError: If anything is wrong; it lists every fault.
    """
    listed = tuple(nodes)
    names = tuple([node.name for node in listed])
    needs = [node.dependencies for node in listed]
    faults = [*known_faults, *_name_faults(names)]
    index = _index_of(names)
    if len(index) != len(names):
        faults += _duplicate_faults(names)
    if not listed:
        faults.append(
            fault("EMPTY", f"Pipeline {name!r} has no stages.", "Add at least one stage.")
        )
    if on_failure not in ("stop", "continue"):
        faults.append(choice_fault("on_failure", on_failure, "'stop' or 'continue'"))
    if max_concurrency is not None and (type(max_concurrency) is not int or max_concurrency < 1):
        faults.append(choice_fault("max_concurrency", max_concurrency, "at least 1, or None"))
    dependencies = _number_dependencies(names, needs, index, faults)
    successors, forward = _successors(dependencies)
    # Edges that all point forward make no circle; that is the usual case, and seen on the way.
    if not forward and not _is_acyclic(dependencies, successors):
        faults += _circle_faults(names, needs)
    calls = prepare_calls(listed, _sound(layers, faults), faults)
    if guard_retry_strategy is not None:
        faults += strategy_faults(guard_retry_strategy, index, dependencies)
    raise_faults(faults, pipeline=name)
    has_conditions = True in [call.conditional for call in calls]
    branch_keys = _branch_keys(calls, dependencies) if has_conditions else {}
    plan = Plan(
        name,
        listed,
        names,
        _readable(needs),
        calls,
        index,
        dependencies,
        successors,
        successors,
        tuple(map(len, dependencies)),
        tuple([number for number, deps in enumerate(dependencies) if not deps]),
        on_failure,
        max_concurrency,
        has_conditions,
        branch_keys,
        None if max_concurrency is None else _priorities(calls),
        is_judged=bool(branch_keys),
    )
    if guard_retry_strategy is None or not guard_retry_strategy.policies:
        return plan
    return with_guard_regions(plan, guard_retry_strategy)


def _readable(needs: list[tuple[str, ...]]) -> tuple[Collection[str], ...]:
    if max(map(len, needs)) < _MANY:
        return tuple(needs)
    # Both keep the order; looking a name up in a long tuple would cost edges squared.
    return tuple([found if len(found) < _MANY else dict.fromkeys(found).keys() for found in needs])


def _number_dependencies(
    names: tuple[Any, ...],
    needs: list[tuple[Any, ...]],
    index: dict[str, int],
    faults: list[ContractErrorInfo],
) -> tuple[tuple[int, ...], ...]:
    number_of = index.__getitem__
    try:
        # One dependency is the usual case, and found without an iterator.
        return tuple(
            [
                (number_of(needed[0]),) if len(needed) == 1 else tuple(map(number_of, needed))
                for needed in needs
            ]
        )
    except (KeyError, TypeError):
        missing = [
            (name, dependency)
            for name, needed in zip(names, needs, strict=True)
            for dependency in needed
            if not _is_in(index, dependency)
        ]
        # Comparing many wrong names with many right ones would take longer than anybody reads.
        hinted = min(_HINTED, _COMPARED // len(names))
        known = [name for name in names if isinstance(name, str)]
        faults += [
            missing_dependency_fault(*each, known if number < hinted else None)
            for number, each in enumerate(missing)
        ]
        return tuple([tuple([index[d] for d in needed if _is_in(index, d)]) for needed in needs])


def _index_of(names: tuple[Any, ...]) -> dict[str, int]:
    try:
        return dict(zip(names, range(len(names)), strict=True))
    except TypeError:
        return {name: number for number, name in enumerate(names) if isinstance(name, str)}


def _is_in(index: Mapping[str, int], name: Any) -> bool:
    try:
        return name in index
    except TypeError:
        return False


def _sound(layers: Sequence[Layer], faults: list[ContractErrorInfo]) -> list[Layer]:
    """Return the *layers* that can stand around a stage; the others are faults."""
    sound = []
    for layer in layers:
        parts = ("applies_to", "configure", "around")
        if isinstance(layer, type):
            wanted = f"an instance, such as {layer.__name__}()"
            faults.append(choice_fault("interceptors", layer, wanted))
        elif all(callable(getattr(layer, part, None)) for part in parts):
            sound.append(layer)
        else:
            faults.append(choice_fault("interceptors", layer, "interceptors, of BaseInterceptor"))
    return sound


def _successors(
    dependencies: tuple[tuple[int, ...], ...],
) -> tuple[tuple[Sequence[int], ...], bool]:
    """Return who waits for each stage, and whether every edge points forward as declared."""
    following: list[Any] = [()] * len(dependencies)
    forward = True
    number = 0
    for deps in dependencies:
        for dependency in deps:
            known = following[dependency]
            if known:
                known.append(number)
            else:
                following[dependency] = [number]
            if dependency >= number:
                forward = False
        number += 1  # noqa: SIM113 - measurably cheaper than enumerate here
    return tuple(following), forward


def _is_acyclic(
    dependencies: tuple[tuple[int, ...], ...], successors: tuple[Sequence[int], ...]
) -> bool:
    waiting = [len(deps) for deps in dependencies]
    ready = [number for number, count in enumerate(waiting) if not count]
    done = 0
    while ready:
        done += 1
        for follower in successors[ready.pop()]:
            waiting[follower] -= 1
            if not waiting[follower]:
                ready.append(follower)
    return done == len(dependencies)


def _priorities(calls: tuple[StageCall, ...]) -> tuple[int, ...] | None:
    priorities = tuple([call.policy.priority for call in calls])
    return priorities if len(set(priorities)) > 1 else None


def _branch_keys(
    calls: tuple[StageCall, ...], dependencies: tuple[tuple[int, ...], ...]
) -> dict[int, frozenset[str]]:
    keys: dict[int, set[str]] = {}
    for call, deps in zip(calls, dependencies, strict=True):
        if call.conditional and call.policy.branch_key is not None:
            # Where routers are among its dependencies, what others call a route is their own.
            routers = [number for number in deps if calls[number].kind is StageKind.ROUTE]
            for router in routers or deps:
                keys.setdefault(router, set()).add(call.policy.branch_key)
    return {router: frozenset(found) for router, found in keys.items()}


def _name_faults(names: tuple[Any, ...]) -> list[ContractErrorInfo]:
    try:
        if all(map(str.strip, names)):
            return []
    except TypeError:
        pass  # one of them is no text; the loop below says which
    return [
        fault(
            "NAME",
            f"A stage is called {name!r}.",
            "A name is a text that is not blank.",
            stage=str(name),
        )
        for name in names
        if not isinstance(name, str) or not name.strip()
    ]


def _circle_faults(names: tuple[Any, ...], needs: list[tuple[Any, ...]]) -> list[ContractErrorInfo]:
    selfish = [name for name, needed in zip(names, needs, strict=True) if name in needed]
    faults = [
        fault(
            "SELF_DEP",
            f"Stage {name!r} depends on itself.",
            "Remove it from its own dependencies.",
            stage=name,
        )
        for name in selfish
    ]
    others = {
        name: [other for other in needed if isinstance(other, str) and other != name]
        for name, needed in zip(names, needs, strict=True)
        if isinstance(name, str)
    }
    path = find_cycle(others)
    return faults if path is None else [*faults, cycle_fault(path)]


def _duplicate_faults(names: tuple[Any, ...]) -> list[ContractErrorInfo]:
    return [
        fault(
            "DUPLICATE",
            f"{count} stages are called {name!r}.",
            "Give each stage a name of its own.",
            stage=name,
        )
        for name, count in Counter(name for name in names if isinstance(name, str)).items()
        if count > 1
    ]


def choice_fault(parameter: str, value: Any, choices: str) -> ContractErrorInfo:
    return fault(
        "PARAMETER",
        f"{parameter} is {value!r}.",
        f"It must be {choices}.",
        parameter=parameter,
    )
