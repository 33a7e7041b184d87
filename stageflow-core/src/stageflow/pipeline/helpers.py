"""Shorthand for the usual shapes of pipelines: chains, fans and branches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from stageflow._engine.plan import choice_fault
from stageflow._engine.validation import raise_faults
from stageflow.pipeline.builder import PipelineBuilder
from stageflow.pipeline.graph import UnifiedStageGraph
from stageflow.pipeline.pipeline import Pipeline

__all__ = (
    "FluentPipelineBuilder",
    "StageFactory",
    "with_conditional_branch",
    "with_fan_out_fan_in",
    "with_linear_chain",
    "with_parallel_stages",
)

NamedStage = tuple[str, Any]
"""A stage: its name and its runner."""

StageFactory = Callable[[int], NamedStage]
"""Makes one of several stages of its index, which begins at 0."""

Builder = TypeVar("Builder", PipelineBuilder, Pipeline)

Names = Iterable[str] | str | None


def with_linear_chain(
    builder: Builder,
    count: int,
    stage_factory: StageFactory,
    *,
    first_depends_on: Names = None,
) -> Builder:
    """Return a builder that also has *count* stages, each of which depends on the one before.

    Args:
        builder: What to start from; returned as it is if *count* is not above 0.
        count: How many stages.
        stage_factory: Gives name and runner of each.
        first_depends_on: What the first one depends on.
    """
    before = first_depends_on
    for name, runner in _made(builder, count, stage_factory):
        builder = builder.with_stage(name, runner, dependencies=before)
        before = name
    return builder


def with_parallel_stages(
    builder: Builder, count: int, stage_factory: StageFactory, *, depends_on: Names = None
) -> Builder:
    """Return a builder that also has *count* stages which depend on the same stages.

    Args:
        builder: What to start from; returned as it is if *count* is not above 0.
        count: How many stages.
        stage_factory: Gives name and runner of each.
        depends_on: What each of them depends on.
    """
    return _parallel(builder, count, stage_factory, depends_on)[0]


def with_fan_out_fan_in(
    builder: Builder,
    fan_out_stage: NamedStage,
    parallel_count: int,
    parallel_factory: StageFactory,
    fan_in_stage: NamedStage,
    *,
    fan_out_depends_on: Names = None,
) -> Builder:
    """Return a builder that also has one stage, several after it, and one after them all.

    Args:
        builder: What to start from.
        fan_out_stage: Name and runner of the stage in front.
        parallel_count: How many stages follow it; without any, the last depends on the first.
        parallel_factory: Gives name and runner of each.
        fan_in_stage: Name and runner of the stage that waits for them all.
        fan_out_depends_on: What the stage in front depends on.
    """
    first, runner = _named(builder, "fan_out_stage", fan_out_stage)
    builder = builder.with_stage(first, runner, dependencies=fan_out_depends_on)
    builder, workers = _parallel(builder, parallel_count, parallel_factory, first)
    last, runner = _named(builder, "fan_in_stage", fan_in_stage)
    return builder.with_stage(last, runner, dependencies=workers or first)


def with_conditional_branch(
    builder: Builder,
    router_stage: NamedStage,
    branches: Mapping[str, NamedStage],
    merge_stage: NamedStage | None = None,
    *,
    router_depends_on: Names = None,
) -> Builder:
    """Return a builder that also has a router, its branches, and a stage in which they meet.

    The router's output names the branch that runs by its `route`, or several by a list of keys;
    the others are skipped. The stage in which they meet runs whichever was chosen.

    Args:
        builder: What to start from.
        router_stage: Name and runner of the router.
        branches: Name and runner of each branch, by key.
        merge_stage: Name and runner of the stage that waits for all branches.
        router_depends_on: What the router depends on.
    """
    router, runner = _named(builder, "router_stage", router_stage)
    builder = builder.with_stage(router, runner, dependencies=router_depends_on)
    for key, branch in branches.items():
        name, runner = _named(builder, f"branches[{key!r}]", branch)
        builder = builder.with_stage(
            name, runner, dependencies=router, conditional=True, branch_key=key
        )
    if merge_stage is None:
        return builder
    merge, runner = _named(builder, "merge_stage", merge_stage)
    names = [name for name, _ in branches.values()]
    return builder.with_stage(merge, runner, dependencies=names or router)


class FluentPipelineBuilder:
    """The shapes above, one after the other: each begins where the one before ended.

    Like all builders it is immutable: each method returns a new one. `stage` alone depends on
    nothing but what it is told.

    Args:
        name: The pipeline's name.
    """

    __slots__ = ("_builder", "_last")

    def __init__(self, name: str = "pipeline") -> None:
        self._builder = PipelineBuilder(name)
        self._last: tuple[str, ...] = ()

    @property
    def builder(self) -> PipelineBuilder:
        """What has been declared so far."""
        return self._builder

    @property
    def _last_stage(self) -> str | None:
        """The stage added last, or None."""
        return self._last[-1] if self._last else None

    def stage(
        self, name: str, runner: Any, *, depends_on: Names = None, conditional: bool = False
    ) -> FluentPipelineBuilder:
        """Add a stage, which depends on *depends_on* and on nothing else."""
        builder = self._builder.with_stage(
            name, runner, dependencies=depends_on, conditional=conditional
        )
        return self._after(builder, (name,))

    def linear_chain(self, count: int, stage_factory: StageFactory) -> FluentPipelineBuilder:
        """Add a chain after what was added last; see `with_linear_chain`."""
        builder = with_linear_chain(
            self._builder, count, stage_factory, first_depends_on=self._last
        )
        return (
            self
            if builder is self._builder
            else self._after(builder, tuple(builder.stage_names()[-1:]))
        )

    def parallel(self, count: int, stage_factory: StageFactory) -> FluentPipelineBuilder:
        """Add stages side by side after what was added last; what follows waits for them all."""
        builder, names = _parallel(self._builder, count, stage_factory, self._last)
        return self._after(builder, names) if names else self

    def fan_out_fan_in(
        self,
        fan_out_stage: NamedStage,
        parallel_count: int,
        parallel_factory: StageFactory,
        fan_in_stage: NamedStage,
    ) -> FluentPipelineBuilder:
        """Add a fan after what was added last; see `with_fan_out_fan_in`."""
        builder = with_fan_out_fan_in(
            self._builder,
            fan_out_stage,
            parallel_count,
            parallel_factory,
            fan_in_stage,
            fan_out_depends_on=self._last,
        )
        return self._after(builder, (fan_in_stage[0],))

    def conditional_branch(
        self,
        router_stage: NamedStage,
        branches: Mapping[str, NamedStage],
        merge_stage: NamedStage | None = None,
    ) -> FluentPipelineBuilder:
        """Add branches after what was added last; see `with_conditional_branch`."""
        builder = with_conditional_branch(
            self._builder, router_stage, branches, merge_stage, router_depends_on=self._last
        )
        ends = branches.values() if merge_stage is None else [merge_stage]
        return self._after(builder, tuple(name for name, _ in ends) or (router_stage[0],))

    def build(self, **options: Any) -> UnifiedStageGraph:
        """Validate the declaration and return the graph that runs it; see `PipelineBuilder`."""
        return self._builder.build(**options)

    def _after(self, builder: PipelineBuilder, last: tuple[str, ...]) -> FluentPipelineBuilder:
        longer = type(self)(builder.name)
        longer._builder, longer._last = builder, last
        return longer


def _parallel(
    builder: Builder, count: int, stage_factory: StageFactory, depends_on: Names
) -> tuple[Builder, tuple[str, ...]]:
    # The names are read by every stage, so an iterator must not run out after the first.
    before = depends_on if depends_on is None or isinstance(depends_on, str) else tuple(depends_on)
    names = []
    for name, runner in _made(builder, count, stage_factory):
        builder = builder.with_stage(name, runner, dependencies=before)
        names.append(name)
    return builder, tuple(names)


def _made(builder: Builder, count: int, stage_factory: StageFactory) -> Iterator[NamedStage]:
    given: object = count
    if not isinstance(given, int) or isinstance(given, bool):
        raise_faults([choice_fault("count", given, "a whole number")], pipeline=builder.name)
    for index in range(count):
        yield _named(builder, f"stage_factory({index})", stage_factory(index))


def _named(builder: Builder, parameter: str, given: Any) -> NamedStage:
    if not isinstance(given, tuple | list) or len(given) != 2:
        wanted = "a name and a runner, such as ('parse', parse)"
        raise_faults([choice_fault(parameter, given, wanted)], pipeline=builder.name)
    name, runner = given
    return name, runner
