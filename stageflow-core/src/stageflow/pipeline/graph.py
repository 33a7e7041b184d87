"""UnifiedStageGraph: a built pipeline, ready to run as often as one likes."""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from stageflow._engine.announce import WideEvents
from stageflow._engine.call import Layer
from stageflow._engine.errors import UnifiedPipelineCancelled, UnifiedStageExecutionError
from stageflow._engine.guard_retry import GuardRetryStrategy
from stageflow._engine.plan import (
    DEFAULT_POLICY,
    Node,
    OnFailure,
    Plan,
    StagePolicy,
    choice_fault,
    compile_plan,
)
from stageflow._engine.retrying import retryable_by
from stageflow._engine.run import Run, RunOptions, RunReport
from stageflow._engine.validation import PipelineValidationError, fault, raise_faults
from stageflow._engine.waiting import StageParked
from stageflow.context import PipelineContext, StageContext
from stageflow.errors import ContractErrorInfo, RunError, did_you_mean
from stageflow.observability.wide_events import WideEventEmitter
from stageflow.pipeline.functions import (
    FunctionStage,
    RunInput,
    RunInputError,
    bind_functions,
    is_value_of,
    shown_type,
)
from stageflow.stages import StageKind, StageOutput

if TYPE_CHECKING:
    from stageflow.contracts.clock import Clock
    from stageflow.contracts.error_normalizer import ErrorNormalizer
    from stageflow.pipeline.nested import Inputs, Outputs, SubpipelineStage

__all__ = (
    "UnifiedStageGraph",
    "UnifiedStageSpec",
    "as_node",
    "each_of",
    "make_node",
    "raise_for_report",
)

T = TypeVar("T")


@attrs.frozen(kw_only=True, hash=False)
class UnifiedStageSpec:
    """One stage of a `UnifiedStageGraph`.

    Attributes:
        name: Unique in its graph.
        runner: A stage class, an object with `execute`, or a function of the context.
        kind: What kind of work it does; the runner's own kind unless given.
        dependencies: The stages it waits for and may read.
        conditional: Whether it is skipped when a dependency was skipped or routes past it.
        config: Keywords for a runner class.
        policy: What the engine does around its body.
    """

    name: str
    runner: Any
    kind: StageKind | str | None = None
    dependencies: Iterable[str] = ()
    conditional: bool = False
    config: Mapping[str, Any] | None = None
    policy: StagePolicy = DEFAULT_POLICY

    def to_node(self) -> Node:
        """Return the stage as the engine takes it."""
        kind = self.kind or getattr(self.runner, "kind", None) or StageKind.TRANSFORM
        return make_node(
            self.name,
            self.runner,
            kind,
            self.dependencies,
            conditional=self.conditional,
            config=self.config,
            policy=self.policy,
        )


class UnifiedStageGraph:
    """A validated graph of stages; immutable, safe to run many times at once.

    As the runner of a stage it is a part of another pipeline, as `as_stage` has it.

    Args:
        specs: The stages.
        name: The pipeline's name.
        interceptors: What wraps every stage.
        guard_retry_strategy: Which failing guards send the run back to an earlier stage.
        on_failure: What a failure does to the run: `stop` cancels what runs, `continue` skips
            the dependants of the failed stage and runs the others.
        max_concurrency: How many stages may run at once; None for no limit.
        cleanup_timeout: Seconds for all clean-ups of a run together.
        emit_stage_wide_events: Whether each stage is summarised in a wide event.
        emit_pipeline_wide_event: Whether each run is.
        wide_event_emitter: What makes the wide events; a plain one unless given.
        clock: Source of time.
        error_normalizer: Says which exceptions are worth another attempt; it knows those of
            Python and its library unless given.
        options: What every run is given besides its context.
        known_faults: Faults found before; reported with all others.

    Raises:
        PipelineValidationError: If anything is wrong with the definition; it lists every fault.
    """

    kind = StageKind.WORK

    def __init__(
        self,
        specs: Iterable[UnifiedStageSpec | Node],
        *,
        name: str = "pipeline",
        interceptors: Sequence[Layer] | None = None,
        guard_retry_strategy: GuardRetryStrategy | None = None,
        on_failure: OnFailure = "stop",
        max_concurrency: int | None = None,
        cleanup_timeout: float = 10.0,
        emit_stage_wide_events: bool = False,
        emit_pipeline_wide_event: bool = False,
        wide_event_emitter: WideEvents | None = None,
        clock: Clock | None = None,
        error_normalizer: ErrorNormalizer | None = None,
        options: RunOptions | None = None,
        known_faults: Sequence[ContractErrorInfo] = (),
    ) -> None:
        faults = list(known_faults)
        nodes = each_of(specs, as_node, "specs", "a list of stages", faults)
        if not nodes:
            raise_faults(faults, pipeline=name)  # that there is none is not the mistake
        bound, self._inputs = bind_functions(_with_pipelines_as_stages(nodes, faults), faults)
        layers = _by_priority(() if interceptors is None else interceptors, faults)
        faults += _wrong_choices(cleanup_timeout, guard_retry_strategy, wide_event_emitter)
        self._plan = compile_plan(
            bound,
            name=name,
            layers=layers,
            on_failure=on_failure,
            max_concurrency=max_concurrency,
            guard_retry_strategy=(
                guard_retry_strategy
                if isinstance(guard_retry_strategy, GuardRetryStrategy)
                else None  # what else it may be was told
            ),
            known_faults=faults,
        )
        self._all_functions = bool(self._inputs) and all(
            type(node.runner).__name__ == "_BoundFunction" for node in bound
        )
        options = options or RunOptions(cleanup_timeout=cleanup_timeout)
        if clock is not None:
            options = attrs.evolve(options, clock=clock)
        if error_normalizer is not None:
            options = attrs.evolve(options, is_retryable=retryable_by((error_normalizer,)))
        if emit_stage_wide_events or emit_pipeline_wide_event:
            emitter = wide_event_emitter or WideEventEmitter()
            options = attrs.evolve(
                options,
                wide_stage=emitter if emit_stage_wide_events else None,
                wide_pipeline=emitter if emit_pipeline_wide_event else None,
            )
        self._options = options

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self._plan.name

    @property
    def plan(self) -> Plan:
        """What the engine runs."""
        return self._plan

    @property
    def stage_specs(self) -> list[UnifiedStageSpec]:
        """The stages, in declared order, with their dependencies resolved."""
        return [
            UnifiedStageSpec(
                name=node.name,
                runner=node.runner,
                kind=node.kind,
                dependencies=node.dependencies,
                conditional=node.conditional,
                config=node.config,
                policy=node.policy,
            )
            for node in self._plan.nodes
        ]

    @property
    def inputs(self) -> Mapping[str, RunInput]:
        """The run inputs that the function stages take, by name."""
        return dict(self._inputs)

    @property
    def takes_only_named_inputs(self) -> bool:
        """Whether a run input that is not among `inputs` is an error."""
        return self._all_functions

    @property
    def options(self) -> RunOptions:
        """What every run is given besides its context."""
        return self._options

    async def run(self, ctx: PipelineContext | StageContext) -> dict[str, StageOutput]:
        """Run every stage and return their outputs by name.

        Args:
            ctx: Who the run is for, and what it knows.

        Raises:
            UnifiedStageExecutionError: If a stage failed; it carries every output.
            UnifiedPipelineCancelled: If the run was cancelled; it carries every output.
            RunInputError: If an input that a function stage takes is missing or unknown.
        """
        report = await self.execute(ctx)
        raise_for_report(report)
        return report.outputs

    async def execute(
        self, ctx: PipelineContext | StageContext, options: RunOptions | None = None
    ) -> RunReport:
        """Run every stage and return how it went, whatever the outcome.

        Args:
            ctx: Who the run is for, and what it knows.
            options: What this run is given; the graph's unless given.

        Raises:
            RunInputError: If an input that a function stage takes is missing or unknown.
            RunError: If *ctx* is no context.
        """
        context = _as_context(ctx)
        self.check_inputs(context.inputs)
        return await Run(self._plan, context, options or self._options).execute()

    def as_stage(
        self, *, inputs: Inputs | None = None, outputs: Outputs | None = None
    ) -> SubpipelineStage:
        """Return the graph as a runner: a stage of another pipeline.

        Args:
            inputs: The child's run inputs, as `{input: key}` or as a function of the stage's
                context; the run's inputs and what the dependencies gave unless said.
            outputs: The stage's data, as `{key: stage}` or as a function of the child's outputs;
                the data of the last stages unless said.

        Raises:
            PipelineValidationError: If anything is wrong with the outputs.
        """
        from stageflow.pipeline.nested import SubpipelineStage  # stands above the graph

        return SubpipelineStage(self, inputs=inputs, outputs=outputs)

    def with_max_concurrency(self, limit: int | None) -> UnifiedStageGraph:
        """Return a graph that runs at most *limit* stages at once, and is the same otherwise.

        Raises:
            PipelineValidationError: If *limit* is below 1.
        """
        if limit is not None and limit < 1:
            raise_faults(
                [choice_fault("max_concurrency", limit, "at least 1, or None")], pipeline=self.name
            )
        limited = copy.copy(self)
        limited._plan = attrs.evolve(self._plan, max_concurrency=limit)
        return limited

    def check_inputs(self, given: Mapping[str, Any]) -> None:
        """Return if a run can start with the inputs *given*.

        Raises:
            RunInputError: If one that a function stage takes is missing, or of another type than
                its annotation says, or if one is unknown; it lists them all.
        """
        if not self._inputs:
            return
        faults = [
            fault(
                "INPUT",
                f"Run input {wanted.name!r} is missing; {_stages(wanted.stages)} it.",
                f"Give it: inputs={{{wanted.name!r}: …}}, or --input {wanted.name}=…",
                input=wanted.name,
            )
            for wanted in self._inputs.values()
            if wanted.required and wanted.name not in given
        ]
        if self._all_functions:
            faults += [
                fault(
                    "INPUT",
                    f"Run input {name!r} is taken by no stage.",
                    did_you_mean(name, self._inputs),
                    input=name,
                )
                for name in given
                if name not in self._inputs
            ]
        faults += [
            fault(
                "INPUT",
                f"Run input {name!r} is {type(given[name]).__name__} {given[name]!r:.60}, but"
                f" {_stages(wanted.stages)} it as {shown_type(wanted.annotation)}.",
                f"Give {name!r} as {shown_type(wanted.annotation)}.",
                input=name,
            )
            for name, wanted in self._inputs.items()
            if name in given and not is_value_of(given[name], wanted.annotation)
        ]
        if faults:
            raise RunInputError(
                f"Pipeline {self.name!r} cannot start: " + " ".join(f.summary for f in faults),
                faults=faults,
                hint=" ".join(dict.fromkeys(f.fix_hint or "" for f in faults)),
            )


def _as_context(given: Any) -> PipelineContext:
    if isinstance(given, PipelineContext):
        return given
    if hasattr(given, "as_pipeline_context") and not isinstance(given, type):
        context: PipelineContext = given.as_pipeline_context()
        return context
    shown = given.__name__ if isinstance(given, type) else type(given).__name__
    raise RunError(
        f"A run takes a PipelineContext or a StageContext, not {shown}.",
        hint="Give PipelineContext.for_run(...), or call run() of a pipeline that is not built.",
    )


def raise_for_report(report: RunReport) -> None:
    """Raise the error of a run that failed or was cancelled; do nothing if it completed.

    Raises:
        UnifiedStageExecutionError: If a stage failed.
        UnifiedPipelineCancelled: If the run was cancelled.
        StageParked: If it waits, for the stage that runs it to wait, too.
    """
    if report.status == "failed":
        assert report.stage is not None
        assert report.error is not None
        raise UnifiedStageExecutionError(
            report.stage, report.error, report.outputs
        ) from report.error
    if report.status == "cancelled":
        raise UnifiedPipelineCancelled(report.stage, report.reason or "", report.outputs)
    if report.status == "waiting":
        raise StageParked(report.wait_ids)


def make_node(
    name: str,
    runner: Any,
    kind: StageKind | str | None,
    dependencies: Iterable[str] | str | None,
    *,
    conditional: bool = False,
    config: Mapping[str, Any] | None = None,
    policy: StagePolicy = DEFAULT_POLICY,
) -> Node:
    """Return a stage as the engine takes it; a kind that does not exist is refused at build."""
    if type(kind) is not StageKind:
        # One that there is not is reported with every other fault when the pipeline is built.
        with contextlib.suppress(ValueError):
            kind = StageKind.TRANSFORM if kind is None else StageKind(kind)
    return Node(name, runner, kind, dependencies, conditional, config, policy)  # type: ignore[arg-type]


def as_node(item: Any) -> Node:
    """Return anything that can be a stage as the engine takes it.

    Raises:
        PipelineValidationError: If it cannot be a stage.
    """
    if isinstance(item, Node):
        return item
    if isinstance(item, FunctionStage):
        return make_node(
            item.name,
            item,
            item.kind,
            item.after,
            conditional=item.conditional,
            policy=item.policy,
        )
    to_node = getattr(item, "to_node", None)
    if callable(to_node) and not isinstance(item, type):
        node: Node = to_node()
        return node
    shown = item.__name__ if isinstance(item, type) else f"{item!r:.100}"
    what = f"{shown} is not a stage."
    hint = (
        f"Give it a name: with_stage({shown.lower()!r}, {shown})."
        if isinstance(item, type)
        else "Decorate a function with @stage, or use with_stage(name, runner)."
    )
    raise PipelineValidationError(what, (), fault("RUNNER", what, hint))


def each_of(
    given: Any,
    convert: Callable[[Any], T],
    parameter: str,
    wanted: str,
    faults: list[ContractErrorInfo],
) -> list[T]:
    """Return what *convert* makes of each item that is *given*, adding to *faults* the others.

    Args:
        given: The items; it is a fault if they are not several.
        convert: Makes something of one; raises `PipelineValidationError` if it cannot.
        parameter: What the caller calls the items.
        wanted: What they must be.
        faults: Collects faults.
    """
    if isinstance(given, str) or not isinstance(given, Iterable):
        faults.append(choice_fault(parameter, given, wanted))
        return []
    made = []
    for item in given:
        try:
            made.append(convert(item))
        except PipelineValidationError as error:
            faults.extend(error.faults)
    return made


def _by_priority(interceptors: Any, faults: list[ContractErrorInfo]) -> list[Layer]:
    def checked(layer: Any) -> tuple[float, Layer]:
        priority = 0 if isinstance(layer, type) else getattr(layer, "priority", 0)
        if isinstance(priority, int | float):
            return priority, layer
        faults.append(choice_fault(f"the priority of {layer!r:.100}", priority, "a number"))
        return 0, layer

    wanted = "a list of interceptors, such as [LoggingInterceptor()]"
    found = each_of(interceptors, checked, "interceptors", wanted, faults)
    return [layer for _, layer in sorted(found, key=lambda pair: pair[0])]


def _wrong_choices(
    cleanup_timeout: Any, guard_retry_strategy: Any, emitter: Any
) -> Iterator[ContractErrorInfo]:
    is_number = isinstance(cleanup_timeout, int | float) and not isinstance(cleanup_timeout, bool)
    if not is_number or not cleanup_timeout >= 0:
        yield choice_fault("cleanup_timeout", cleanup_timeout, "seconds, 0 or more")
    strategy = guard_retry_strategy
    if strategy is not None and not isinstance(strategy, GuardRetryStrategy):
        wanted = "a GuardRetryStrategy, such as GuardRetryStrategy({'guard': GuardRetryPolicy(…)})"
        yield choice_fault("guard_retry_strategy", strategy, wanted)
    if emitter is not None and not _is_emitter(emitter):
        wanted = "a WideEventEmitter, or an object with its two methods, which are plain `def`"
        yield choice_fault("wide_event_emitter", emitter, wanted)


def _is_emitter(given: Any) -> bool:
    if isinstance(given, type):
        return False
    methods = [getattr(given, f"emit_{name}", None) for name in ("stage_wide", "pipeline_wide")]
    # What such a method would give if it were async, nobody awaits.
    return all(callable(each) and not inspect.iscoroutinefunction(each) for each in methods)


def _with_pipelines_as_stages(nodes: list[Node], faults: list[ContractErrorInfo]) -> list[Node]:
    """Return *nodes* with each runner that is a pipeline made a stage, adding what is wrong."""
    return [
        _as_stage(node, faults) if hasattr(type(node.runner), "as_stage") else node
        for node in nodes
    ]


def _as_stage(node: Node, faults: list[ContractErrorInfo]) -> Node:
    pipeline: Any = node.runner
    try:
        return attrs.evolve(node, runner=pipeline.as_stage())
    except PipelineValidationError as error:
        where = f"In pipeline {pipeline.name!r}, which is stage {node.name!r}: "
        faults.extend(attrs.evolve(f, summary=f"{where}{f.summary}") for f in error.faults)
        return attrs.evolve(node, runner=_never_run)


async def _never_run(_: StageContext) -> None: ...


def _stages(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"stage {names[0]!r} takes"
    return f"stages {', '.join(map(repr, names))} take"
