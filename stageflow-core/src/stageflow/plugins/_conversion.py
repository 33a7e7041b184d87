"""Conversion: one cattrs converter that takes settings as people write them.

Values are taken as they are: a text is no number and a number is no text, except from sources
that have nothing but text. Extra keys are refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import timedelta
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import attrs

from stageflow.errors import did_you_mean
from stageflow.plugins._references import WRONG_VALUE, RefusedValue, Resolver
from stageflow.plugins.secret import Secret
from stageflow.plugins.sources import WrittenText

__all__ = ("in_words", "make_converter")


def make_converter(resolve: Resolver) -> Any:
    """Return a converter of cattrs that takes single values as *resolve* does."""
    from cattrs import Converter
    from cattrs.cols import is_mapping, list_structure_factory
    from cattrs.gen import make_dict_structure_fn, make_mapping_structure_fn

    converter = Converter(forbid_extra_keys=True, detailed_validation=True)
    scalars: dict[Any, Callable[[Any], Any]] = {
        str: resolve.text,
        Secret: resolve.secret,
        Path: resolve.path,
        bool: resolve.truth,
        int: resolve.whole_number,
        float: resolve.number,
        timedelta: resolve.duration,
        NoneType: _nothing,
    }

    def scalar(hook: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
        # cattrs asks this also for subclasses of the type, such as a StrEnum.
        return lambda value, kind: choice(kind)(value, kind) if _is_choice(kind) else hook(value)

    def table(kind: Any) -> Any:
        fields = make_dict_structure_fn(
            kind, converter, _cattrs_forbid_extra_keys=True, _cattrs_use_alias=True
        )
        return lambda value, _: fields(_table(value), kind)

    def mapping(kind: Any) -> Any:
        entries = make_mapping_structure_fn(kind, converter)
        return lambda value, _: entries(_table(value), kind)

    def collection(kind: Any) -> Any:
        build = _COLLECTIONS[get_origin(kind) or kind]
        items = list_structure_factory(list[(get_args(kind) or (Any,))[0]], converter)  # type: ignore[misc,arg-type]
        return lambda value, _: build(items(_items(value), list))

    def choice(kind: Any) -> Any:
        allowed = _allowed(kind)
        return lambda value, _: _choose(resolve.deep(value), allowed, is_loose=_is_loose(value))

    def union(kind: Any) -> Any:
        arms = sorted(get_args(kind), key=lambda arm: arm in _TEXTUAL)
        return lambda value, _: _first_fitting(converter, arms, value, kind)

    for kind, hook in scalars.items():
        converter.register_structure_hook(kind, scalar(hook))
    # The last one registered is asked first.
    converter.register_structure_hook_factory(is_mapping, mapping)
    converter.register_structure_hook_factory(_is_collection, collection)
    converter.register_structure_hook_factory(attrs.has, table)
    converter.register_structure_hook_factory(_is_choice, choice)
    converter.register_structure_hook_factory(_is_union, union)
    converter.register_structure_hook_func(
        lambda kind: kind is Any or kind is object, lambda value, _: resolve.deep(value)
    )
    return converter


_COLLECTIONS: dict[Any, Callable[[list[Any]], Any]] = {
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    Sequence: tuple,
    AbstractSet: frozenset,
}
_TEXTUAL = (str, Path, Secret)  # they take any text, so other arms of a union go first


def _is_collection(kind: Any) -> bool:
    arguments = get_args(kind)
    is_fixed = get_origin(kind) is tuple and arguments[-1:] != (Ellipsis,)
    return (get_origin(kind) or kind) in _COLLECTIONS and not is_fixed


def _is_choice(kind: Any) -> bool:
    return get_origin(kind) is Literal or (isinstance(kind, type) and issubclass(kind, Enum))


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in {Union, UnionType}


def _allowed(kind: Any) -> dict[Any, Any]:
    """Return what may be written for each value of a Literal or an Enum."""
    if get_origin(kind) is Literal:
        return {value: value for value in get_args(kind)}
    return {member.value: member for member in kind}


def _choose(written: Any, allowed: dict[Any, Any], *, is_loose: bool) -> Any:
    for value, meant in allowed.items():
        if written == (str(value) if is_loose else value) and (
            is_loose or type(written) is type(value)
        ):
            return meant
    if isinstance(written, str):
        known = [str(value) for value in allowed]
        raise RefusedValue(
            WRONG_VALUE, f"expected one of {', '.join(known)}", did_you_mean(written, known)
        )
    raise TypeError


def _first_fitting(converter: Any, arms: list[Any], value: Any, kind: Any) -> Any:
    refused: list[Exception] = []
    for arm in arms:
        try:
            return converter.structure(value, arm)
        except Exception as error:  # noqa: BLE001 - the next arm may take it
            if arm is not NoneType:
                refused.append(error)
    if len(refused) == 1:
        raise refused[0]
    for refusal in refused:
        if isinstance(refusal, RefusedValue) and refusal.code != WRONG_VALUE:
            raise refusal  # an unset variable says more than a list of types
    raise RefusedValue(WRONG_VALUE, f"expected {in_words(kind)}")


def _nothing(value: Any) -> None:
    if value is not None:
        raise TypeError


def _table(value: Any) -> Mapping[str, Any]:
    if _is_loose(value) and value.lstrip().startswith("{"):
        value = _json(value)
    if not isinstance(value, Mapping):
        raise RefusedValue(WRONG_VALUE, "expected a table")
    return value


def _items(value: Any) -> list[Any]:
    if _is_loose(value):
        if value.lstrip().startswith("["):
            value = _json(value)
        else:
            parts = (part.strip() for part in value.split(","))
            return [WrittenText(part, is_loose=True) for part in parts if part]
    if not isinstance(value, (list, tuple, set, frozenset)):
        raise RefusedValue(WRONG_VALUE, "expected a list")
    return list(value)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise RefusedValue(WRONG_VALUE, "begins like JSON and is not") from None


def _is_loose(value: Any) -> bool:
    return isinstance(value, WrittenText) and value.is_loose


_WORDS: dict[Any, str] = {
    str: "a text",
    Secret: "a secret, given as env:NAME or file:PATH",
    Path: "a path",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    timedelta: "a number of seconds",
}


def in_words(kind: Any) -> str:
    """Say what a setting of a type may be."""
    if kind in _WORDS:
        return _WORDS[kind]
    if _is_union(kind):
        return " or ".join(in_words(arm) for arm in get_args(kind) if arm is not NoneType)
    if _is_choice(kind):
        return f"one of {', '.join(str(value) for value in _allowed(kind))}"
    origin = get_origin(kind) or kind
    if origin in _COLLECTIONS:
        return "a list"
    if attrs.has(origin) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return "a table"
    return f"a value of type {getattr(origin, '__name__', origin)}"
