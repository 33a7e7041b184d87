"""Whether the data of an output look as they were declared to."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, is_typeddict

import attrs

from stageflow._engine.errors import OutputSchemaError
from stageflow._engine.validation import fault
from stageflow.errors import ContractErrorInfo
from stageflow.stages import StageOutput, StageStatus

__all__ = ("Check", "check_output", "compile_schema")

Check = Callable[[Any], Sequence[str]]
"""Returns everything that is wrong with data, each with the path to it; nothing if they fit."""


def compile_schema(stage: str, schema: Any, faults: list[ContractErrorInfo]) -> Check | None:
    """Return what checks data against *schema*, or None with a fault added if nothing can.

    Args:
        stage: The stage whose output it describes.
        schema: A JSON schema as a mapping; a class with fields (attrs, dataclass, TypedDict, or
            one with `model_validate`); or a function of the data, which returns nothing, or
            what is wrong, or raises.
        faults: Collects faults.
    """
    if isinstance(schema, Mapping):
        return _json_schema(stage, schema, faults)
    if inspect.isclass(schema):
        validate = getattr(schema, "model_validate", None)
        if callable(validate):
            return partial(_asked, partial(_model, validate))
        if attrs.has(schema) or dataclasses.is_dataclass(schema) or is_typeddict(schema):
            return _structured(schema)
    elif callable(schema):
        return partial(_asked, schema)
    faults.append(_schema_fault(stage, f"{schema!r:.100} describes nothing"))
    return None


def check_output(output: StageOutput, check: Check, stage: str) -> None:
    """Do nothing if a success fits its schema; other outputs have none to fit.

    Raises:
        OutputSchemaError: If it does not fit; it lists everything that is wrong.
    """
    if output.status is not StageStatus.OK:
        return
    # A function that returned one value by itself is judged by that value.
    alone = output.metadata.get("returned")
    problems = check(output.data if alone is None else output.data[alone])
    if problems:
        raise OutputSchemaError(stage, problems)


def _json_schema(
    stage: str, schema: Mapping[str, Any], faults: list[ContractErrorInfo]
) -> Check | None:
    try:
        # Its types are known only to who installs its stubs; it is an optional companion.
        from jsonschema import SchemaError  # type: ignore[import-untyped]
        from jsonschema.validators import validator_for  # type: ignore[import-untyped]
    except ImportError:
        faults.append(
            _schema_fault(
                stage,
                "JSON schemas need the distribution `jsonschema`, which is not installed",
                "Install `jsonschema`, or describe the data by a class or a function.",
            )
        )
        return None
    kind = validator_for(schema)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        faults.append(_schema_fault(stage, f"at {error.json_path} {error.message}"))
        return None
    validator = kind(schema)

    def check(data: Any) -> Sequence[str]:
        return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(data)]

    return check


def _structured(schema: type) -> Check:
    from cattrs import transform_error

    converter = _converter()

    def check(data: Any) -> Sequence[str]:
        try:
            converter.structure(data, schema)
        except Exception as error:  # noqa: BLE001 - whatever it is, the data do not fit
            return [_path_first(problem) for problem in transform_error(error, path="$")]
        return ()

    return check


def _converter() -> Any:
    """Return a converter that takes values as they are: no text is made a number."""
    from cattrs import Converter

    converter = Converter(structure_fallback_factory=_exactly)
    for kind in (str, int, bool, bytes):
        converter.register_structure_hook(kind, _exactly(kind))
    converter.register_structure_hook(float, _exactly((float, int)))
    converter.register_structure_hook_factory(
        lambda kind: attrs.has(kind) or dataclasses.is_dataclass(kind),
        lambda kind: _made_or_read(kind, converter.gen_structure_attrs_fromdict(kind)),
    )
    return converter


def _exactly(kind: Any) -> Callable[[Any, Any], Any]:
    def take(value: Any, _: Any) -> Any:
        # A truth value is an integer to Python, but to nobody who declares a number.
        if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
            return value
        raise TypeError(f"a value of type {type(value).__name__}")

    return take


def _made_or_read(kind: type, read: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def take(value: Any, _: Any) -> Any:
        if isinstance(value, kind):
            return value
        if not isinstance(value, Mapping):
            raise TypeError(f"a value of type {type(value).__name__} is no {kind.__name__}")
        return read(value, kind)

    return take


def _path_first(problem: str) -> str:
    what, _, path = problem.rpartition(" @ ")
    return f"{path}: {what}"


def _asked(function: Callable[[Any], Any], data: Any) -> Sequence[str]:
    try:
        answer = function(data)
    except Exception as error:  # noqa: BLE001 - whatever it raises, the data do not fit
        return [f"$: {type(error).__name__}: {error}"]
    if answer is None or answer is True:
        return ()
    if answer is False:
        return [f"$: {getattr(function, '__name__', 'the schema')} refused it"]
    if isinstance(answer, str):
        return [answer]
    return [str(problem) for problem in answer] if isinstance(answer, Iterable) else ()


def _model(validate: Callable[[Any], Any], data: Any) -> None:
    validate(data)


def _schema_fault(stage: str, problem: str, hint: str | None = None) -> ContractErrorInfo:
    return fault(
        "SCHEMA",
        f"Stage {stage!r} has an output_schema that cannot be used: {problem}.",
        hint or "Give a JSON schema, a class with fields, or a function of the data.",
        stage=stage,
    )
