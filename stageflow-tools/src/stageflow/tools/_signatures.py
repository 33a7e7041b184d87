"""JSON schemas from annotations, and arguments that fit them made into what was annotated."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)
from uuid import UUID

import attrs

__all__ = ("Signature", "UnknownAnnotationError", "docstring_parts")

_SIMPLE: Mapping[Any, Mapping[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    None: {"type": "null"},
    type(None): {"type": "null"},
    datetime: {"type": "string", "format": "date-time"},
    date: {"type": "string", "format": "date"},
    time: {"type": "string", "format": "time"},
    UUID: {"type": "string", "format": "uuid"},
    Decimal: {"type": "string", "pattern": r"^-?\d+(\.\d+)?$"},
    dict: {"type": "object"},
    list: {"type": "array"},
    Any: {},
    inspect.Parameter.empty: {},
}
_LOOPED_OVER: tuple[Any, ...] = (Collection, Iterable)
_ARGS = re.compile(r"^(?:Args|Arguments|Parameters):\s*$")
_SECTION = re.compile(r"^[A-Z]\w+(?: \w+)?:\s*$")
_ARGUMENT = re.compile(r"^\*{0,2}(\w+)(?:\s*\([^)]*\))?:\s*(.*)$")


class UnknownAnnotationError(TypeError):
    """An annotation says nothing that could be written as a JSON schema."""


@attrs.frozen
class Signature:
    """What a function takes from a model, as a schema, and how it is called with it.

    Attributes:
        schema: The JSON schema of the arguments.
        annotations: The type of each argument.
        context: The parameter that takes the context, if one does.
        whole: The parameter that takes the whole `ToolInput`, if one does.
    """

    schema: dict[str, Any]
    annotations: Mapping[str, Any]
    context: str | None
    whole: str | None

    @classmethod
    def of(cls, function: Callable[..., Any], whole_input: type) -> Signature:
        """Read the signature of *function*.

        Raises:
            UnknownAnnotationError: It cannot be called by a model; the message says why.
        """
        hints, plain = _hints(function), _hints(function, extras=False)
        told = docstring_parts(function)[1]
        maker = _Schemas()
        properties: dict[str, Any] = {}
        required: list[str] = []
        annotations: dict[str, Any] = {}
        context = whole = None
        problems: list[str] = []
        for name, parameter in inspect.signature(function).parameters.items():
            hint = hints.get(name, parameter.annotation)
            if name == "ctx":
                context = name
            elif hint is whole_input:
                whole = name
            elif parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                problems.append(f"{name}: a model cannot give a variable number of arguments")
            elif parameter.kind is parameter.POSITIONAL_ONLY:
                problems.append(f"{name}: a model gives arguments by name")
            else:
                try:
                    schema = maker.of(hint)
                except UnknownAnnotationError as error:
                    problems.append(f"{name}: {error}")
                    continue
                annotations[name] = plain.get(name, hint)
                properties[name] = _described(schema, told.get(name), parameter.default)
                if parameter.default is parameter.empty:
                    required.append(name)
        if problems:
            raise UnknownAnnotationError("; ".join(problems))
        schema = {} if whole and not properties else _object(properties, required)
        if maker.definitions:
            schema["$defs"] = maker.definitions
        return cls(schema, annotations, context, whole)

    def faults(self, payload: Mapping[str, Any]) -> Sequence[str]:
        """Return why arguments that fit the schema still are no values of the annotated types."""
        from cattrs import transform_error

        found: list[str] = []
        for name in payload:
            try:
                self.structure({name: payload[name]})
            except Exception as error:  # noqa: BLE001 - whatever a class raises, it does not fit
                problems = transform_error(error, path=f"$.{name}", format_exception=_why)
                found += [": ".join(reversed(each.rsplit(" @ ", 1))) for each in problems]
        return found

    def structure(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Return arguments that fit the schema as values of the annotated types.

        Raises:
            Exception: A class refused the values that were given for it.
        """
        converter = _converter()
        return {
            name: _take(converter, value, self.annotations[name])
            for name, value in payload.items()
            if name in self.annotations
        }


def _why(error: BaseException, kind: Any) -> str:
    """Return why a value is none of *kind*, in words that a model can do something with."""
    from cattrs.v import format_exception

    told = getattr(error, "errors", None)
    if callable(told) and hasattr(error, "error_count"):  # pydantic's: not with the value itself
        found = told(include_url=False, include_input=False, include_context=False)
        return ", ".join(
            f"{'.'.join(map(str, each['loc']))} {each['msg']}".strip() for each in found
        )
    if type(error) is ValueError and str(error):
        return f"no {_name(kind)}: {error}" if kind is not None else str(error)
    return format_exception(error, kind)


def docstring_parts(function: Any) -> tuple[str, dict[str, str]]:
    """Return what a docstring says before its sections, and what it says of each argument."""
    summary: list[str] = []
    arguments: dict[str, str] = {}
    section, current, indent = "", "", None
    for line in (inspect.getdoc(function) or "").splitlines():
        text = line.strip()
        if not line.startswith(" ") and _SECTION.match(text):
            section, current, indent = text, "", None
        elif not section:
            summary.append(text)
        elif _ARGS.match(section) and text:
            depth = len(line) - len(line.lstrip())
            indent = depth if indent is None else indent
            found = _ARGUMENT.match(text) if depth == indent else None
            if found:
                current = found[1]
                arguments[current] = found[2]
            elif current:
                arguments[current] = f"{arguments[current]} {text}".strip()
    return " ".join(" ".join(summary).split()), arguments


class _Schemas:
    """Makes schemas, and keeps the definitions that those of models refer to."""

    def __init__(self) -> None:
        self.definitions: dict[str, Any] = {}
        self._above: tuple[Any, ...] = ()

    def of(self, hint: Any) -> dict[str, Any]:
        if hint in _SIMPLE if _is_hashable(hint) else False:
            return dict(_SIMPLE[hint])
        origin, arguments = get_origin(hint), get_args(hint)
        if origin is Annotated:
            return self._annotated(arguments)
        if origin in (NotRequired, Required):
            return self.of(arguments[0])
        if origin is Literal:
            return {"enum": list(arguments)}
        if _is_union(origin):
            return {"anyOf": [self.of(member) for member in arguments]}
        if inspect.isclass(origin or hint):
            found = self._container(origin or hint, arguments)
            return self._class(hint) if found is None else found
        supertype = getattr(hint, "__supertype__", None) or getattr(hint, "__value__", None)
        if supertype is not None:  # a NewType, or a `type` alias
            return self.of(supertype)
        raise UnknownAnnotationError(f"{_name(hint)} cannot be written as a JSON schema")

    def _annotated(self, arguments: tuple[Any, ...]) -> dict[str, Any]:
        schema = self.of(arguments[0])
        for extra in arguments[1:]:
            if isinstance(extra, str):
                schema["description"] = extra
            elif isinstance(extra, Mapping):
                schema.update(extra)
        return schema

    def _container(self, kind: type, arguments: tuple[Any, ...]) -> dict[str, Any] | None:
        if issubclass(kind, Enum):
            values = [member.value for member in kind]
            if not all(isinstance(value, str | int | float) for value in values):
                raise UnknownAnnotationError(f"the values of {kind.__name__} are no JSON")
            return {"enum": values}
        if is_typeddict(kind) or hasattr(kind, "_fields"):
            return None
        if issubclass(kind, Mapping):
            if arguments and arguments[0] is not str:
                raise UnknownAnnotationError("the keys of an object are texts")
            inner = self.of(arguments[1]) if len(arguments) > 1 else {}
            return {"type": "object", **({"additionalProperties": inner} if inner else {})}
        if issubclass(kind, tuple) and arguments and arguments[-1] is not Ellipsis:
            items = [self.of(argument) for argument in arguments]
            size = len(items)
            return {"type": "array", "prefixItems": items, "minItems": size, "maxItems": size}
        if issubclass(kind, str | bytes) or not issubclass(kind, Iterable):
            return None
        if hasattr(kind, "model_json_schema"):
            return None
        unique = {"uniqueItems": True} if issubclass(kind, AbstractSet) else {}
        items_of = {"items": self.of(arguments[0])} if arguments else {}
        return {"type": "array", **items_of, **unique}

    def _class(self, kind: Any) -> dict[str, Any]:
        described = getattr(kind, "model_json_schema", None)
        if described is not None:
            return self._model(described())
        if getattr(kind, "__qualname__", "") == "Secret" and hasattr(kind, "reveal"):
            return {"type": "string", "writeOnly": True}
        if kind in self._above:
            raise UnknownAnnotationError(f"{_name(kind)} holds itself")
        above, self._above = self._above, (*self._above, kind)
        try:
            return self._fields(kind)
        finally:
            self._above = above

    def _fields(self, kind: Any) -> dict[str, Any]:
        told = docstring_parts(kind)[1] | _attribute_texts(kind)
        if attrs.has(kind):
            hints = _hints(kind)
            needed = [
                (f.alias, hints.get(f.name, Any), f.default is not attrs.NOTHING)
                for f in attrs.fields(kind)
                if f.init
            ]
        elif dataclasses.is_dataclass(kind):
            hints, missing = _hints(kind), dataclasses.MISSING
            needed = [
                (f.name, hints[f.name], (f.default, f.default_factory) != (missing, missing))
                for f in dataclasses.fields(kind)
                if f.init
            ]
        elif is_typeddict(kind):
            # What is marked itself counts: where annotations are texts, the class has not seen it.
            needed = [
                (n, h, _is_optional(h, n not in kind.__required_keys__))
                for n, h in _hints(kind).items()
            ]
        else:
            raise UnknownAnnotationError(f"{_name(kind)} cannot be written as a JSON schema")
        if odd := [name for name, hint, _ in needed if not _is_hashable(hint)]:
            raise UnknownAnnotationError(f"{odd[0]}: only a parameter takes a dictionary")
        properties = {n: _described(self.of(hint), told.get(n)) for n, hint, _ in needed}
        return _object(properties, [name for name, _, optional in needed if not optional])

    def _model(self, schema: dict[str, Any]) -> dict[str, Any]:
        for name, definition in schema.pop("$defs", {}).items():
            if self.definitions.setdefault(name, definition) != definition:
                raise UnknownAnnotationError(f"there are two models named {name}")
        return schema


def _hints(owner: Any, *, extras: bool = True) -> dict[str, Any]:
    try:
        return get_type_hints(owner, include_extras=extras)
    except Exception as error:
        raise UnknownAnnotationError(f"its annotations cannot be read: {error}") from error


def _attribute_texts(kind: Any) -> dict[str, str]:
    text = (inspect.getdoc(kind) or "").replace("Attributes:", "Args:")
    return docstring_parts(types.SimpleNamespace(__doc__=text))[1] if text else {}


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    needed = {"required": required} if required else {}
    return {"type": "object", "properties": properties, **needed, "additionalProperties": False}


def _described(
    schema: dict[str, Any], told: str | None, default: Any = inspect.Parameter.empty
) -> dict[str, Any]:
    text = {"description": told} if told and "description" not in schema else {}
    plain = default is None or isinstance(default, str | int | float | bool)
    return {**schema, **text, **({"default": default} if plain and "$ref" not in schema else {})}


def _is_hashable(hint: Any) -> bool:
    try:
        hash(hint)
    except TypeError:
        return False
    return True


def _is_optional(hint: Any, unless_marked: bool) -> bool:
    marks = {Required: False, NotRequired: True}
    return marks.get(get_origin(hint), unless_marked)


def _is_union(origin: Any) -> bool:
    return origin is Union or origin is types.UnionType


def _name(hint: Any) -> str:
    return str(getattr(hint, "__name__", hint))


# --- making values ---------------------------------------------------------------------------


def _converter() -> Any:
    """Return a converter from what JSON holds to what was annotated."""
    from cattrs import Converter
    from cattrs.gen import make_dict_structure_fn

    converter = Converter(forbid_extra_keys=True)

    def by_alias(kind: Any) -> Any:
        return make_dict_structure_fn(
            kind, converter, _cattrs_use_alias=True, _cattrs_forbid_extra_keys=True
        )

    # A schema names fields as the class's own `__init__` does.
    converter.register_structure_hook_factory(attrs.has, by_alias)
    converter.register_structure_hook_func(
        lambda kind: get_origin(kind) in _LOOPED_OVER,
        lambda value, kind: _take(converter, value, types.GenericAlias(list, get_args(kind))),
    )
    for kind, read in (
        (datetime, datetime.fromisoformat),
        (date, date.fromisoformat),
        (time, time.fromisoformat),
        (UUID, UUID),
        (Decimal, Decimal),
    ):
        converter.register_structure_hook(kind, lambda value, _, read=read: read(value))
    converter.register_structure_hook_func(
        lambda kind: inspect.isclass(kind) and hasattr(kind, "model_validate"),
        lambda value, kind: kind.model_validate(value),
    )
    converter.register_structure_hook_func(
        lambda kind: getattr(kind, "__qualname__", "") == "Secret" and hasattr(kind, "reveal"),
        lambda value, kind: kind(value),
    )
    converter.register_structure_hook_func(
        lambda kind: _is_union(get_origin(kind)),
        partial(_member, converter),
    )
    return converter


def _member(converter: Any, value: Any, union: Any) -> Any:
    """Return *value* as the first member of a union that takes it; plain values as they are."""
    members = get_args(union)
    if type(value) in members:
        return value
    problems = []
    for member in members:
        if member in (str, bool, int, type(None)):
            continue  # it would take what is no such value
        try:
            return _take(converter, value, member)
        except Exception as error:  # noqa: BLE001 - whatever a class raises, the next may take it
            problems.append(error)
    if problems:
        raise problems[0]
    raise ValueError(f"no value of {union}")


def _take(converter: Any, value: Any, hint: Any) -> Any:
    if hint in (Any, inspect.Parameter.empty):
        return value
    return converter.structure(value, hint)
