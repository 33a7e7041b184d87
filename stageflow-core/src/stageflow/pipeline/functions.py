"""Stages declared by functions whose parameters name what they need."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from functools import partial
from types import SimpleNamespace, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints, overload

import attrs

from stageflow._engine.plan import DEFAULT_POLICY, Node, OnFailure, StagePolicy
from stageflow._engine.validation import PipelineValidationError, fault
from stageflow.context import StageContext
from stageflow.context.inputs import MissingInputError
from stageflow.errors import ContractErrorInfo, RunError, did_you_mean
from stageflow.stages import StageKind, StageOutput, StageStatus
from stageflow.stages.retry import RetryPolicy

__all__ = ("FunctionStage", "RunInput", "RunInputError", "bind_functions", "stage", "value_of")

OnResume = Callable[[StageContext, StageOutput], Any]

_CONTEXT = "ctx"
_VALUE = "value"
_RETURNED = {"returned": _VALUE}
"""Metadata of an output whose data is one value that a function returned by itself."""


class RunInputError(RunError):
    """The inputs given to a run are not the ones its function stages take.

    Attributes:
        faults: Every fault of the given inputs.
    """

    code = "SF314"

    def __init__(self, message: str, *, faults: Collection[ContractErrorInfo], hint: str) -> None:
        super().__init__(message, hint=hint)
        self.faults = tuple(faults)


@attrs.frozen
class RunInput:
    """One input that function stages take from whoever starts the run.

    Attributes:
        name: The parameter's name.
        annotation: Its annotation; `inspect.Parameter.empty` if there is none.
        required: Whether some stage has no default for it.
        stages: The stages that take it.
    """

    name: str
    annotation: Any
    required: bool
    stages: tuple[str, ...]


@attrs.frozen(eq=False)
class FunctionStage:
    """A function that is a stage; calling it calls the function.

    Attributes:
        function: What was decorated.
        name: The stage's name.
        kind: What kind of work it does.
        after: Stages it waits for without reading them.
        conditional: Whether it is skipped when a dependency was.
        policy: What the engine does around it.
        on_resume: Called with its context and output when it had ended before a run goes on.
        parameters: The function's parameters, by name.
    """

    function: Callable[..., Any]
    name: str
    kind: StageKind = StageKind.TRANSFORM
    after: tuple[str, ...] = ()
    conditional: bool = False
    policy: StagePolicy = DEFAULT_POLICY
    on_resume: OnResume | None = None
    parameters: Mapping[str, inspect.Parameter] = attrs.field(init=False, repr=False)

    @parameters.default
    def _from_signature(self) -> Mapping[str, inspect.Parameter]:
        try:
            return inspect.signature(self.function).parameters
        except (TypeError, ValueError) as error:
            raise PipelineValidationError(
                f"Stage {self.name!r} cannot be made of {self.function!r}: {error}.",
                (self.name,),
                fault(
                    "RUNNER",
                    f"Stage {self.name!r} cannot be made of {self.function!r}: {error}.",
                    "Decorate a function whose parameters can be read.",
                    stage=self.name,
                ),
            ) from None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself, as a test does."""
        return self.function(*args, **kwargs)

    @property
    def needs(self) -> tuple[str, ...]:
        """The parameters that name a stage or a run input."""
        return tuple(name for name in self.parameters if name != _CONTEXT)

    def hints(self) -> dict[str, Any]:
        """Return the annotations that can be resolved, by parameter; the result's is `return`."""
        function = _unwrapped(self.function)
        try:
            return get_type_hints(function)
        except Exception:  # noqa: BLE001 - evaluating an annotation may raise anything
            # One that only a type checker can see is no reason to refuse the stage, nor to
            # overlook the others.
            return _resolvable_hints(function)


@overload
def stage(function: Callable[..., Any], /) -> FunctionStage: ...


@overload
def stage(
    *,
    name: str | None = ...,
    kind: StageKind | str = ...,
    after: Iterable[str] = ...,
    conditional: bool = ...,
    timeout: float | None = ...,
    retry: RetryPolicy | None = ...,
    on_failure: OnFailure | None = ...,
    priority: int = ...,
    version: str | None = ...,
    output_schema: Any = ...,
    on_resume: OnResume | None = ...,
) -> Callable[[Callable[..., Any]], FunctionStage]: ...


def stage(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    kind: StageKind | str = StageKind.TRANSFORM,
    after: Iterable[str] = (),
    conditional: bool = False,
    timeout: float | None = None,
    retry: RetryPolicy | None = None,
    on_failure: OnFailure | None = None,
    priority: int = 0,
    version: str | None = None,
    output_schema: Any = None,
    on_resume: OnResume | None = None,
) -> FunctionStage | Callable[[Callable[..., Any]], FunctionStage]:
    """Make a stage of a function; its parameters name the stages and run inputs it needs.

    A parameter that has the name of a stage of the pipeline is given what that stage returned:
    its data, or the value itself if it was no mapping, or the whole output if the parameter is
    annotated as `StageOutput`. A parameter called `ctx` is given the `StageContext`. Every other
    one is an input of the run. A default is used when the stage was skipped or the input was
    not given. Names and annotations are checked when the pipeline is built.

    Args:
        function: An `async def`, or a `def`, which then runs in a worker thread.
        name: The stage's name; the function's unless given.
        kind: What kind of work it does.
        after: Stages to wait for without reading them.
        conditional: Whether it is skipped when a dependency was.
        timeout: Seconds that one attempt may take.
        retry: When another attempt is made.
        on_failure: What its failure does to the run; the pipeline's choice unless given.
        priority: Among ready stages, higher goes first when concurrency is limited.
        version: Version of its meaning, for durable runs.
        output_schema: What its result must look like: a JSON schema, a class with fields, or a
            function that says what is wrong with it.
        on_resume: Called with the stage's context and output when a durable run goes on and the
            stage, which had ended before, does not run again; there it registers its clean-ups
            once more. May be async; nothing else starts before it has returned.
    """

    def decorate(function: Callable[..., Any]) -> FunctionStage:
        policy = StagePolicy(
            timeout=timeout,
            retry=retry,
            on_failure=on_failure,
            priority=priority,
            version=version,
            output_schema=output_schema,
        )
        return FunctionStage(
            function,
            name or _name_of(function),
            kind,  # type: ignore[arg-type]  # checked with everything else when it is built
            _names_of(after),
            conditional,
            DEFAULT_POLICY if policy == DEFAULT_POLICY else policy,
            on_resume,
        )

    return decorate if function is None else decorate(function)


def _unwrapped(function: Any) -> Any:
    """Return what has the annotations of *function*, which may be partial or an object."""
    function = _underlying(function)
    return function if inspect.isroutine(function) else type(function).__call__


def _underlying(function: Any) -> Any:
    while isinstance(function, partial):
        function = function.func
    return function


def _name_of(function: Any) -> str:
    function = _underlying(function)
    return str(getattr(function, "__name__", type(function).__name__))


def _resolvable_hints(function: Any) -> dict[str, Any]:
    hints: dict[str, Any] = {}
    for name, annotation in getattr(function, "__annotations__", {}).items():
        alone = SimpleNamespace(__annotations__={name: annotation})
        with contextlib.suppress(Exception):
            hints |= get_type_hints(alone, getattr(function, "__globals__", None))
    return hints


def _is_whole(annotation: Any) -> bool:
    if get_origin(annotation) in (Union, UnionType):
        return StageOutput in get_args(annotation)
    return annotation is StageOutput


def _names_of(after: Any) -> tuple[str, ...]:
    """Return the names of the stages in *after*: names, or functions that are stages."""
    listed = (after,) if isinstance(after, str | FunctionStage) else tuple(after)
    return tuple(item.name if isinstance(item, FunctionStage) else item for item in listed)


def bind_functions(
    nodes: Iterable[Node], faults: list[ContractErrorInfo]
) -> tuple[list[Node], dict[str, RunInput]]:
    """Return *nodes* with their function stages bound to each other, and the inputs they take.

    Args:
        nodes: The stages of one pipeline.
        faults: Collects what is wrong with the functions' parameters and annotations.
    """
    listed = list(nodes)
    if not any(isinstance(node.runner, FunctionStage) for node in listed):
        return listed, {}
    functions = {
        node.name: node.runner for node in listed if isinstance(node.runner, FunctionStage)
    }
    names = {node.name for node in listed}
    inputs: dict[str, RunInput] = {}
    bound = []
    for node in listed:
        if not isinstance(node.runner, FunctionStage):
            bound.append(node)
            continue
        found = node.runner
        faults += _parameter_faults(node.name, found)
        hints = found.hints()
        reads = [name for name in found.needs if name in names and name != node.name]
        for name in found.needs:
            if name not in names or name == node.name:
                _add_input(inputs, name, found, node.name, hints)
            elif name in functions:
                faults += _type_faults(node.name, name, hints, functions[name].hints())
        whole = frozenset(name for name in reads if _is_whole(hints.get(name)))
        bound.append(
            attrs.evolve(
                node,
                runner=_BoundFunction(found, tuple(reads), whole),
                dependencies=(*reads, *node.dependencies),
            )
        )
    return bound, inputs


class _BoundFunction:
    """A function stage that knows which of its parameters are stages."""

    def __init__(self, found: FunctionStage, reads: tuple[str, ...], whole: frozenset[str]) -> None:
        self.stage = found
        self.on_resume = found.on_resume
        # What it is called where the plan of a stored run is compared with another one.
        named = inspect.unwrap(_underlying(found.function))
        named = named if hasattr(named, "__qualname__") else type(named)
        self.__module__, self.__qualname__ = named.__module__, named.__qualname__
        self._whole = whole
        self._stages = {name: found.parameters[name].default for name in reads}
        self._inputs = {
            name: found.parameters[name].default for name in found.needs if name not in self._stages
        }
        self._takes_context = _CONTEXT in found.parameters
        function = found.function
        called = type(function).__call__
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called):

            async def execute(ctx: StageContext) -> StageOutput:
                return _wrapped(await function(**self._arguments(ctx)))

            self.execute: Callable[[StageContext], Any] = execute
        else:

            def execute_plain(ctx: StageContext) -> StageOutput | Awaitable[StageOutput]:
                value = function(**self._arguments(ctx))
                return _wrapped_later(value) if inspect.isawaitable(value) else _wrapped(value)

            # By its name the engine knows a lambda, which it calls in the event loop.
            execute_plain.__name__ = _name_of(function)
            self.execute = execute_plain

    def _arguments(self, ctx: StageContext) -> dict[str, Any]:
        arguments: dict[str, Any] = {_CONTEXT: ctx} if self._takes_context else {}
        for name, default in self._stages.items():
            arguments[name] = self._read(ctx, name, default)
        given = ctx.inputs.ports or {}
        for name, default in self._inputs.items():
            if name in given:
                arguments[name] = given[name]
            elif default is inspect.Parameter.empty:
                raise MissingInputError(
                    f"Stage {ctx.stage_name!r} takes the run input {name!r}, which was not given.",
                    key=name,
                    stage_name="",
                    accessing_stage=ctx.stage_name,
                    hint=f"Give it when the run is started. {did_you_mean(name, given)}",
                )
        return arguments

    def _read(self, ctx: StageContext, name: str, default: Any) -> Any:
        output = ctx.inputs.get_output(name)
        assert output is not None
        if name in self._whole:
            return output
        if output.status is StageStatus.OK:
            return value_of(output)
        if default is not inspect.Parameter.empty:
            return default
        reason = output.error or output.data.get("reason") or ""
        raise MissingInputError(
            f"Stage {ctx.stage_name!r} needs {name!r}, which ended as {output.status}"
            + (f" ({reason})." if reason else "."),
            key=name,
            stage_name=name,
            declared_deps=ctx.inputs.declared_deps,
            accessing_stage=ctx.stage_name,
            hint=f"Give the parameter {name!r} a default, or make the stage conditional.",
        )


def value_of(output: StageOutput) -> Any:
    """Return what a stage gave: its data, or the value that its function returned by itself."""
    returned = output.metadata.get("returned") == _VALUE
    return output.data[_VALUE] if returned else output.data


def _wrapped(value: Any) -> StageOutput:
    if isinstance(value, StageOutput):
        return value
    if value is None:
        return StageOutput(StageStatus.OK)
    if isinstance(value, Mapping):
        return StageOutput(StageStatus.OK, dict(value))
    return StageOutput(StageStatus.OK, {_VALUE: value}, metadata=_RETURNED)


async def _wrapped_later(value: Awaitable[Any]) -> StageOutput:
    return _wrapped(await value)


def _add_input(
    inputs: dict[str, RunInput], name: str, found: FunctionStage, stage: str, hints: dict[str, Any]
) -> None:
    parameter = found.parameters[name]
    required = parameter.default is inspect.Parameter.empty
    known = inputs.get(name)
    if known is None:
        annotation = hints.get(name, parameter.empty)
        inputs[name] = RunInput(name, annotation, required, (stage,))
    else:
        inputs[name] = attrs.evolve(
            known, required=known.required or required, stages=(*known.stages, stage)
        )


def _parameter_faults(stage: str, found: FunctionStage) -> list[ContractErrorInfo]:
    unusable = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.VAR_POSITIONAL,
        inspect.Parameter.VAR_KEYWORD,
    )
    faults = [
        fault(
            "PARAMETER",
            f"Stage {stage!r} has the parameter {str(parameter)!r}, which names nothing.",
            "Name each dependency and input by a parameter of its own, neither * nor /.",
            stage=stage,
            parameter=name,
        )
        for name, parameter in found.parameters.items()
        if parameter.kind in unusable
    ]
    if found.on_resume is not None and not _takes_two(found.on_resume):
        faults.append(
            fault(
                "PARAMETER",
                f"The on_resume of stage {stage!r} is {found.on_resume!r:.100}.",
                "It must be a function of the stage's context and output.",
                stage=stage,
                parameter="on_resume",
            )
        )
    return faults


def _takes_two(function: Any) -> bool:
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        return False
    except ValueError:
        pass  # it does not say what it takes
    return True


def _type_faults(
    stage: str, dependency: str, wanted: dict[str, Any], given: dict[str, Any]
) -> list[ContractErrorInfo]:
    if dependency not in wanted or "return" not in given:
        return []
    if _fits(given["return"], wanted[dependency]):
        return []
    return [
        fault(
            "TYPE",
            f"Stage {stage!r} wants {dependency!r} as {shown_type(wanted[dependency])}, but that"
            f" stage returns {shown_type(given['return'])}.",
            "Correct one of the two annotations.",
            stage=stage,
            dependency=dependency,
        )
    ]


def _fits(given: Any, wanted: Any) -> bool:
    """Say whether a value of type *given* can be one of type *wanted*; in doubt it can."""
    if wanted is StageOutput or given is StageOutput or Any in (given, wanted):
        return True
    if get_origin(given) in (Union, UnionType):
        return any(_fits(member, wanted) for member in get_args(given))
    if get_origin(wanted) in (Union, UnionType):
        return any(_fits(given, member) for member in get_args(wanted))
    source, target = get_origin(given) or given, get_origin(wanted) or wanted
    if source in (None, type(None)):
        # A stage that returns nothing gives empty data.
        source = dict
    if not (inspect.isclass(source) and inspect.isclass(target)):
        return True
    if source is int and target is float:
        return True
    try:
        # The declared type of a result may be wider than what comes.
        return issubclass(source, target) or issubclass(target, source)
    except TypeError:
        return True


_CHECKED = (bool, int, float, str, bytes, list, tuple, dict, set, frozenset)


def is_value_of(value: Any, annotation: Any) -> bool:
    """Say whether *value* can be meant by *annotation*; only plain types are told apart."""
    if annotation in (inspect.Parameter.empty, Any, object):
        return True
    if annotation in (None, type(None)):
        return value is None
    if get_origin(annotation) in (Union, UnionType):
        return any(is_value_of(value, member) for member in get_args(annotation))
    wanted = get_origin(annotation) or annotation
    if wanted not in _CHECKED:
        return True
    if wanted is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if wanted is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, wanted)


def shown_type(annotation: Any) -> str:
    """Return an annotation as one writes it."""
    return annotation.__name__ if inspect.isclass(annotation) else str(annotation)
