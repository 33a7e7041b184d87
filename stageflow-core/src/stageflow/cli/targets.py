"""Targets: from `module:name` or `path/file.py:name` to a built pipeline."""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from functools import partial
from importlib import import_module, util
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs

from stageflow.cli.errors import (
    InputError,
    OptionError,
    TargetCallError,
    TargetImportError,
    TargetMissingError,
    TargetNameError,
    TargetSyntaxError,
    TargetTypeError,
)
from stageflow.cli.inputs import INPUT_TEXT, MISSING_INPUT, UNKNOWN_INPUT, GivenInputs, fault, read_inputs
from stageflow.cli.text import one_line
from stageflow.errors import ContractErrorInfo, StageflowError, did_you_mean

__all__ = ("Target", "build_target", "load_target", "place_of", "prepare", "run_inputs")

@attrs.frozen
class Target:
    """What a target names, found and imported.

    Attributes:
        text: As it was written.
        value: A pipeline, declared or built, or a function that makes one.
    """

    text: str
    value: Any

    @property
    def is_function(self) -> bool:
        """Whether it makes the pipeline when it is called."""
        return inspect.isroutine(self.value) or isinstance(self.value, partial)


def load_target(text: str) -> Target:
    """Import what *text* names.

    A file's folder goes on `sys.path`, as when Python runs a script; the folder above the
    package, if the file belongs to one. For a module it is the current folder.

    Raises:
        CommandError: If it is not written as a target, or is not there, or cannot be imported,
            or is no pipeline.
    """
    place, name = _split(text)
    module = _import_file(place) if place.endswith(".py") else _import_module(place)
    value = _attribute(module, place, name)
    target = Target(text, value)
    if not (target.is_function or is_pipeline(value)):
        raise _type_error(text, value)
    return target


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
            raise _type_error(f"What {target.text} returns", declared)
    if hasattr(declared, "build"):
        options = {} if max_concurrency is None else {"max_concurrency": max_concurrency}
        return declared.build(**options)
    if max_concurrency is not None:
        raise OptionError(
            f"{target.text} is built already, with a limit of its own or none.",
            hint="Leave --max-concurrency out, or let the target be the pipeline before `build()`.",
        )
    return declared


def run_inputs(target: Target, graph: Any, given: GivenInputs) -> dict[str, Any]:
    """Return the inputs that are left for the run: those a function took are not, unless stages
    name them, too.

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


def place_of(error: BaseException) -> str:
    """Return the line of the user's code that *error* comes from, as `file:line in function: code`."""
    if isinstance(error, SyntaxError) and error.filename:
        line = (error.text or "").strip()
        return f"{_shown_path(error.filename)}:{error.lineno}: {one_line(line)}"
    frames = traceback.extract_tb(error.__traceback__)
    candidates = [frame for frame in frames if not _is_machinery(frame.filename)]
    own = [frame for frame in candidates if not _is_installed(frame.filename)]
    for frame in reversed(own or candidates):
        inside = "" if frame.name == "<module>" else f" in {frame.name}"
        return f"{_shown_path(frame.filename)}:{frame.lineno}{inside}: {one_line(frame.line)}"
    return ""


# --- importing ----------------------------------------------------------------------------------


def _split(text: str) -> tuple[str, str]:
    place, colon, name = text.rpartition(":")
    if not colon or text.endswith(".py"):
        place, name = text, ""
    is_module = all(part.isidentifier() for part in place.split("."))
    if not (is_module or place.endswith(".py")):
        raise TargetSyntaxError(
            f"{text!r} is not a target.",
            hint="Write it as module:name or path/file.py:name, such as hello.py:pipeline.",
        )
    return place, name


def _import_file(place: str) -> ModuleType:
    path = Path(place).expanduser()
    if not path.is_file():
        folder = path.parent
        beside = [each.name for each in folder.glob("*.py")] if folder.is_dir() else []
        hint = did_you_mean(path.name, beside) if beside else f"There are no .py files in {folder}/."
        raise TargetMissingError(f"There is no file {place}.", hint=hint)
    path = path.resolve()
    top, package = path.parent, ""
    while (top / "__init__.py").exists() and top.name.isidentifier():
        top, package = top.parent, f"{top.name}.{package}"
    _put_on_path(top)
    with _telling_of_import(place, place):
        return import_module(package + path.stem) if package else _execute(path)


def _execute(path: Path) -> ModuleType:
    # By its path, since another module may have its name.
    name = path.stem
    if not name.isidentifier() or name in {*sys.modules, *sys.stdlib_module_names}:
        name = f"stageflow_target_{abs(hash(path)):x}"
    spec = util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _import_module(name: str) -> ModuleType:
    _put_on_path(Path.cwd())
    try:
        with _telling_of_import(name, name):
            return import_module(name)
    except TargetImportError as error:
        cause = error.__cause__
        missing = cause.name if isinstance(cause, ModuleNotFoundError) else None
        if missing is None or not f"{name}.".startswith(f"{missing}."):
            raise
        beside = [each.stem for each in Path.cwd().glob("*.py")]
        raise TargetMissingError(
            f"There is no module {missing!r} in {Path.cwd()} or among what is installed.",
            hint=did_you_mean(missing, beside) if beside else "Start from the folder it lies in.",
        ) from None


def _put_on_path(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


@contextmanager
def _telling_of_import(place: str, name: str) -> Iterator[None]:
    try:
        yield
    except StageflowError as error:
        # The definition in the module is wrong, and says so better than we could.
        error.add_note(f"while importing {place}")
        raise
    except (Exception, SystemExit) as error:
        hint = "Correct that line, or whatever it needs."
        if isinstance(error, ModuleNotFoundError):
            hint = f"Install {error.name!r}, or start in the environment where it is installed."
        if isinstance(error, SystemExit):
            hint = "Put what only a script does under `if __name__ == '__main__':`."
        raise TargetImportError(
            f"{name} cannot be imported: {_told(error)}.", hint=hint, where=place_of(error)
        ) from error


# --- what a name stands for -----------------------------------------------------------------------


def _attribute(module: ModuleType, place: str, name: str) -> Any:
    value: Any = module
    for part in name.split(".") if name else ():
        found = inspect.getattr_static(value, part, None)
        if found is None and not hasattr(value, part):
            raise TargetNameError(
                f"There is no {name!r} in {place}.", hint=_suggestion(module, place, name)
            )
        value = getattr(value, part)
    if not name:
        raise TargetNameError(
            f"The target does not say which pipeline of {place}.",
            hint=_suggestion(module, place, name),
        )
    return value


def _suggestion(module: ModuleType, place: str, name: str) -> str:
    own = {
        key: value
        for key, value in vars(module).items()
        if not key.startswith("_") and not inspect.ismodule(value)
    }
    pipelines = [key for key, value in own.items() if is_pipeline(value)]
    functions = [
        key
        for key, value in own.items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    ]
    known = pipelines or functions
    if not known:
        return f"Nothing in {place} is a pipeline or a function that makes one."
    if not name:
        return " ".join(["Write", " or ".join(f"{place}:{key}" for key in known[:5]) + "."])
    return did_you_mean(name, [*pipelines, *functions])


def is_pipeline(value: Any) -> bool:
    """Whether *value* is a pipeline, declared or built."""
    if isinstance(value, type):
        return False
    return callable(getattr(value, "build", None)) or (
        callable(getattr(value, "execute", None)) and hasattr(value, "plan")
    )


def _type_error(subject: str, value: Any) -> TargetTypeError:
    from stageflow.pipeline import FunctionStage

    hint = "Name a Pipeline, a built graph, or a function that returns one."
    if isinstance(value, type):
        what = f"the class {value.__name__}"
        if hasattr(value, "build"):
            hint = f"Name an object of it: pipeline = {value.__name__}(…)."
    else:
        what = f"of type {type(value).__name__}"
    if isinstance(value, FunctionStage) or callable(getattr(value, "execute", None)):
        hint = "It is a stage: name the Pipeline that it belongs to."
    return TargetTypeError(f"{subject} is {what}, which is no pipeline.", hint=hint)


# --- calling a function ----------------------------------------------------------------------------


@contextmanager
def _telling_of_failures(target: Target) -> Iterator[None]:
    try:
        yield
    except StageflowError:
        raise
    except (Exception, SystemExit) as error:
        raise TargetCallError(
            f"{target.text} raised {_told(error)}.",
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


# --- telling --------------------------------------------------------------------------------------


def _told(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return one_line(f"{type(error).__name__}: {text}" if text else type(error).__name__).rstrip(".")


def _shown_path(path: str) -> str:
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path


def _is_installed(path: str) -> bool:
    return not {"site-packages", "dist-packages"}.isdisjoint(Path(path).parts)


def _is_machinery(path: str) -> bool:
    """Whether a file's lines only call the user's: Python's, the event loop's and our own."""
    import anyio

    import stageflow

    if path.startswith(tuple(f"{folder}{os.sep}" for folder in stageflow.__path__)):
        return True
    python = path.startswith(("<", os.path.dirname(os.__file__))) and not _is_installed(path)
    return python or path.startswith(os.path.dirname(anyio.__file__))
