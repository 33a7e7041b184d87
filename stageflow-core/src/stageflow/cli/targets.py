"""Targets: from `module:name` or `path/file.py:name` to what it names."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module, util
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs

from stageflow.cli.errors import (
    TargetImportError,
    TargetMissingError,
    TargetNameError,
    TargetSyntaxError,
    TargetTypeError,
)
from stageflow.cli.places import place_of, told
from stageflow.errors import StageflowError, did_you_mean

__all__ = ("Target", "is_pipeline", "load_target", "type_error")


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
        raise type_error(text, value)
    return target


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
        hint = (
            did_you_mean(path.name, beside) if beside else f"There are no .py files in {folder}/."
        )
        raise TargetMissingError(f"There is no file {place}.", hint=hint)
    path = path.resolve()
    top, package = path.parent, ""
    while (top / "__init__.py").exists() and top.name.isidentifier():
        top, package = top.parent, f"{top.name}.{package}"
    _put_on_path(top)
    with _telling_of_import(place, place):
        return import_module(package + path.stem) if package else _execute(path)


def _execute(path: Path) -> ModuleType:
    # By its path, since another module may have its name. Durable runs know their stages by the
    # name of the module: it must be the same in each process, and for each run in one.
    name = path.stem
    if not name.isidentifier() or name in sys.stdlib_module_names or _is_taken(name, path):
        name = base = "stageflow_target_" + re.sub(r"\W", "_", name)
        number = 1
        while _is_taken(name, path):
            number += 1
            name = f"{base}_{number}"
    if name in sys.modules:
        return sys.modules[name]
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


def _is_taken(name: str, path: Path) -> bool:
    known = sys.modules.get(name)
    return known is not None and getattr(known, "__file__", None) != str(path)


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
            f"{name} cannot be imported: {told(error)}.", hint=hint, where=place_of(error)
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


def type_error(subject: str, value: Any) -> TargetTypeError:
    """Return the error of something that is no pipeline; *subject* begins its message."""
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
