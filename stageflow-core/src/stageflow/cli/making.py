"""Making a pipeline of a target, and sharing out the inputs between its function and its run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from stageflow.cli.errors import InputError, OptionError, TargetCallError, TargetTypeError
from stageflow.cli.inputs import (
    INPUT_TEXT,
    MISSING_INPUT,
    UNKNOWN_INPUT,
    GivenInputs,
    fault,
    read_inputs,
)
from stageflow.cli.places import place_of, told
from stageflow.cli.targets import Target, is_pipeline, load_target, type_error
from stageflow.errors import ContractErrorInfo, StageflowError, did_you_mean

__all__ = ("build_target", "prepare", "run_inputs")


def prepare(text: str, pairs: Iterable[str], file: Path | None) -> tuple[Target, GivenInputs]:
    """Import a target and read its inputs; what is wrong with either comes together.

    Raises:
        CommandError: If one thing is wrong.
        ExceptionGroup: If both are.
    """
    errors: list[StageflowError] = []
    given, target = GivenInputs(), None
    try:
        given = read_inputs(pairs, file)
    except StageflowError as error:
        errors.append(error)
    try:
        target = load_target(text)
    except StageflowError as error:
        errors.append(error)
    if errors or target is None:
        raise errors[0] if len(errors) == 1 else ExceptionGroup("the command line", errors)
    return target, given


async def build_target(
    target: Target, given: GivenInputs, *, max_concurrency: int | None = None
) -> Any:
    """Return the target's built pipeline.

    A function is called with the inputs that its parameters name.

    Args:
        target: What to build.
        given: The inputs.
        max_concurrency: How many stages may run at once; the pipeline's choice unless given.

    Raises:
        InputError: If the function needs an input that is missing.
        TargetCallError: If the function raises.
        TargetTypeError: If what it returns is no pipeline.
        OptionError: If a limit was given for a pipeline that is built already.
        PipelineValidationError: If the declaration is wrong.
    """
    declared = target.value
    if target.is_function:
        arguments = _arguments(target, given)
        with _telling_of_failures(target):
            declared = declared(**arguments)
            if inspect.isawaitable(declared):
                declared = await declared
        if not is_pipeline(declared):
            raise type_error(f"What {target.text} returns", declared)
    if max_concurrency is None:
        while hasattr(declared, "build"):  # a builder may build what is built in turn
            declared = declared.build()
        return declared
    if hasattr(declared, "build") and "max_concurrency" in _parameters(declared.build):
        return declared.build(max_concurrency=max_concurrency)
    if hasattr(declared, "with_max_concurrency"):
        return declared.with_max_concurrency(max_concurrency)
    raise OptionError(
        f"{target.text} is built already, and takes no other limit.",
        hint="Leave --max-concurrency out, or let the target be the pipeline before `build()`.",
    )


def run_inputs(target: Target, graph: Any, given: GivenInputs) -> dict[str, Any]:
    """Return the inputs that are left for the run.

    Those that a function took are left only if stages name them, too.

    Raises:
        InputError: If an input is missing, or nothing takes it.
    """
    wanted: Mapping[str, Any] = getattr(graph, "inputs", {})
    parameters = _parameters(target.value) if target.is_function else {}
    takes_all = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    inputs = {
        name: given.value(name, wanted[name].annotation) if name in wanted else value
        for name, value in given.values.items()
        if name in wanted or not (takes_all or name in parameters or name == INPUT_TEXT)
    }
    faults = [
        _missing(name, f"{_stages(each.stages)} it", given.values.keys() - wanted.keys())
        for name, each in wanted.items()
        if each.required and name not in inputs
    ]
    if parameters:
        # A function that names its inputs is taken at its word.
        known = {*parameters, *wanted, INPUT_TEXT}
        faults += [
            fault(
                UNKNOWN_INPUT,
                f"Nothing takes the input {name!r}.",
                did_you_mean(name, known),
                input=name,
            )
            for name in inputs
            if name not in known
        ]
    if faults:
        raise InputError(faults)
    return inputs


@contextmanager
def _telling_of_failures(target: Target) -> Iterator[None]:
    try:
        yield
    except StageflowError:
        raise
    except (Exception, SystemExit) as error:
        raise TargetCallError(
            f"{target.text} raised {told(error)}.",
            hint="Correct that line, or the inputs that it was given.",
            where=place_of(error),
        ) from error


def _arguments(target: Target, given: GivenInputs) -> dict[str, Any]:
    parameters = _parameters(target.value)
    takes_all = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    named = {name: each for name, each in parameters.items() if each.kind in _BY_NAME}
    arguments = {
        name: given.value(name, each.annotation)
        for name, each in named.items()
        if name in given.values
    }
    if takes_all:
        arguments = {**given.values, **arguments}
    left = given.values.keys() - named.keys()
    faults = [
        _missing(name, f"{target.text} takes it", left)
        for name, each in named.items()
        if name not in arguments and each.default is each.empty
    ]
    unusable = [
        str(each)
        for each in parameters.values()
        if each.kind is each.POSITIONAL_ONLY and each.default is each.empty
    ]
    if unusable:
        raise TargetTypeError(
            f"{target.text} takes {', '.join(unusable)} by position, and inputs go by name.",
            hint="Remove the `/` from its parameters.",
        )
    if faults:
        raise InputError(faults)
    return arguments


_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}


def _missing(name: str, who: str, left: Iterable[str]) -> ContractErrorInfo:
    near = get_close_matches(name, left, n=1)
    return fault(
        MISSING_INPUT,
        f"Input {name!r} is missing; {who}.",
        f"Give it: --input {name}=…" + (f", not {near[0]}=…" if near else ""),
        input=name,
    )


def _stages(names: tuple[str, ...]) -> str:
    if len(names) == 1:
        return f"stage {names[0]!r} takes"
    shown = ", ".join(map(repr, names[:3])) + ("" if len(names) <= 3 else ", …")
    return f"stages {shown} take"
