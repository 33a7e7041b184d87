"""What all builders of the first door have in common: they are immutable and share structure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from stageflow._engine.announce import WideEvents
from stageflow._engine.call import Layer
from stageflow._engine.plan import (
    DEFAULT_POLICY,
    Node,
    OnFailure,
    StagePolicy,
    choice_fault,
)
from stageflow._engine.validation import fault, raise_faults
from stageflow.errors import ContractErrorInfo
from stageflow.pipeline.functions import FunctionStage
from stageflow.pipeline.graph import UnifiedStageGraph, as_node, each_of
from stageflow.pipeline.nested import Inputs, Outputs, SubpipelineStage
from stageflow.stages import StageKind

if TYPE_CHECKING:
    from stageflow._engine.guard_retry import GuardRetryStrategy

__all__ = ("Declaration", "Declared", "StageLike", "as_node", "make_policy")


class Declared(Protocol):
    """One stage of a declaration."""

    @property
    def name(self) -> str:
        """Unique in its pipeline."""

    def to_node(self) -> Node:
        """Return the stage as the engine takes it."""


StageLike = FunctionStage | Declared | Node
"""What can be made a stage of a declaration."""

Item = TypeVar("Item", bound=Any)


class Declaration(ABC, Generic[Item]):
    """An immutable declaration of stages; each `with_…` returns a new one that shares the rest.

    A chain of `with_…` is checked by `build`, so that stages may be declared in any order;
    stages that are given whole are checked at once. As the runner of a stage it is a part of
    another pipeline, as `as_stage` has it.

    Args:
        name: The pipeline's name, for messages and events.
        stages: Stages to begin with, by name.

    Raises:
        PipelineValidationError: If anything is wrong with *stages*; it lists every fault.
    """

    __slots__ = ("_before", "_items", "_name", "_tail")

    kind = StageKind.WORK

    def __init__(
        self, name: str = "pipeline", stages: Mapping[str, StageLike] | None = None
    ) -> None:
        self._name = name
        self._before: Declaration[Item] | None = None
        self._tail: tuple[Item, ...] = ()
        self._items: tuple[Item, ...] | None = None
        if stages:
            self._tail = self._given(stages)
            self._graph(known_faults=_misnamed(stages, self._tail))

    @staticmethod
    @abstractmethod
    def _as_item(given: StageLike) -> Item:
        """Return a stage as this declaration keeps it."""

    @staticmethod
    @abstractmethod
    def _alike(left: Item, right: Item) -> bool:
        """Say whether two declarations of one stage may stand for each other."""

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self._name

    @property
    def stages(self) -> dict[str, Item]:
        """The stages by name, in declared order."""
        return {item.name: item for item in self._all()}

    def with_stages(self, stages: Iterable[StageLike]) -> Self:
        """Return a declaration that also has *stages*: functions made stages, or specs.

        Raises:
            PipelineValidationError: If anything among them is no stage; it lists all of that.
        """
        wanted = "a list of functions made stages, or of specs; with_stage(name, runner) takes one"
        return self._extended(self._sound(stages, wanted))

    def compose(self, other: Declaration[Any]) -> Self:
        """Return a declaration with the stages of both, called `left+right`.

        A stage that both declare alike is taken once, as the left one has it.

        Raises:
            PipelineValidationError: If both have a stage of one name that differs; it lists
                every such stage.
        """
        given: object = other
        if not isinstance(given, Declaration):
            wanted = "a pipeline that is not built"
            raise_faults([choice_fault("other", given, wanted)], pipeline=self._name)
        mine = self.stages
        theirs = tuple(map(self._as_item, other._all()))
        name = f"{self._name}+{other._name}"
        raise_faults(
            [
                _conflict_fault(item.name, self._name, other._name)
                for item in theirs
                if item.name in mine and not self._alike(mine[item.name], item)
            ],
            pipeline=name,
        )
        added = tuple(item for item in theirs if item.name not in mine)
        return self._extended((*self._all(), *added), name=name)

    def build(
        self,
        *,
        interceptors: Sequence[Layer] | None = None,
        guard_retry_strategy: GuardRetryStrategy | None = None,
        on_failure: OnFailure = "stop",
        max_concurrency: int | None = None,
        cleanup_timeout: float = 10.0,
        emit_stage_wide_events: bool = False,
        emit_pipeline_wide_event: bool = False,
        wide_event_emitter: WideEvents | None = None,
        **options: Any,
    ) -> UnifiedStageGraph:
        """Validate the declaration and return the graph that runs it.

        Args:
            interceptors: What wraps every stage, ordered by their priority.
            guard_retry_strategy: Which failing guards send the run back to an earlier stage.
            on_failure: What a failure does to the run: `stop` or `continue`.
            max_concurrency: How many stages may run at once.
            cleanup_timeout: Seconds for all clean-ups of a run together.
            emit_stage_wide_events: Whether each stage is summarised in a wide event.
            emit_pipeline_wide_event: Whether each run is.
            wide_event_emitter: What makes the wide events; a plain one unless given.
            **options: Further keywords of `UnifiedStageGraph`.

        Raises:
            PipelineValidationError: If anything is wrong; it lists every fault.
        """
        return self._graph(
            interceptors=interceptors,
            guard_retry_strategy=guard_retry_strategy,
            on_failure=on_failure,
            max_concurrency=max_concurrency,
            cleanup_timeout=cleanup_timeout,
            emit_stage_wide_events=emit_stage_wide_events,
            emit_pipeline_wide_event=emit_pipeline_wide_event,
            wide_event_emitter=wide_event_emitter,
            **options,
        )

    def as_stage(
        self, *, inputs: Inputs | None = None, outputs: Outputs | None = None, **options: Any
    ) -> SubpipelineStage:
        """Build the declaration and return it as a runner: a stage of another pipeline.

        Args:
            inputs: The child's run inputs, as `{input: key}` or as a function of the stage's
                context; the run's inputs and what the dependencies gave unless said.
            outputs: The stage's data, as `{key: stage}` or as a function of the child's outputs;
                the data of the last stages unless said.
            **options: What `build` takes.

        Raises:
            PipelineValidationError: If anything is wrong with the declaration or the outputs.
        """
        return SubpipelineStage(self.build(**options), inputs=inputs, outputs=outputs)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name!r}: {len(self._all())} stages>"

    def _given(self, stages: Any) -> tuple[Item, ...]:
        wanted = "a dictionary of stages by name; with_stages([…]) takes a list"
        if isinstance(stages, Mapping):
            return self._sound(stages.values(), wanted)
        faults = [choice_fault("stages", stages, wanted)]
        if isinstance(stages, Iterable) and not isinstance(stages, str):
            each_of(stages, self._as_item, "stages", wanted, faults)
        raise_faults(faults, pipeline=self._name)
        return ()

    def _sound(self, stages: Any, wanted: str) -> tuple[Item, ...]:
        faults: list[ContractErrorInfo] = []
        items = each_of(stages, self._as_item, "stages", wanted, faults)
        # What else may be wrong cannot be told as long as some of them are missing.
        raise_faults(faults, pipeline=self._name)
        return tuple(items)

    def _graph(self, **options: Any) -> UnifiedStageGraph:
        return UnifiedStageGraph(map(as_node, self._all()), name=self._name, **options)

    def _extended(self, items: tuple[Item, ...], *, name: str | None = None) -> Self:
        # Shares everything before it: a chain of n calls costs n, not n squared. Under another
        # name it stands for itself.
        longer = type(self)(self._name if name is None else name)
        longer._before = self if name is None else None
        longer._tail = items
        return longer

    def _all(self) -> tuple[Item, ...]:
        if self._items is None:
            parts = []
            part: Declaration[Item] | None = self
            while part is not None:
                # In this order, another thread that does the same meanwhile does no harm.
                tail, before = part._tail, part._before
                if part._items is not None:
                    parts.append(part._items)
                    break
                parts.append(tail)
                part = before
            self._items = tuple([item for items in reversed(parts) for item in items])
            self._before = None
        return self._items


def make_policy(runner: Any, **policy: Any) -> StagePolicy:
    """Return the policy of a stage; that of a function made a stage unless anything is set."""
    made = StagePolicy(**policy)
    if made != DEFAULT_POLICY:
        return made
    # Stages that are executed alike share a call, which is told by the policy's identity.
    return runner.policy if isinstance(runner, FunctionStage) else DEFAULT_POLICY


def _misnamed(stages: Mapping[str, Any], items: Iterable[Any]) -> list[ContractErrorInfo]:
    return [
        fault(
            "NAME",
            f"Stage {item.name!r} is given under the name {key!r}.",
            "Give each stage under its own name.",
            stage=item.name,
        )
        for key, item in zip(stages, items, strict=True)
        if key != item.name
    ]


def _conflict_fault(stage: str, left: str, right: str) -> ContractErrorInfo:
    return fault(
        "CONFLICT",
        f"Stage {stage!r} is declared differently in {left!r} and in {right!r}.",
        "Rename one of the two, or declare both alike.",
        stage=stage,
    )
