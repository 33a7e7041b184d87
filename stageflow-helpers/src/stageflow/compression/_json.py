"""Turning any value into JSON, with what JSON cannot say turned into text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ("dump_json", "json_safe")


def dump_json(value: Any) -> str:
    """Return *value* as JSON text on one line; what JSON has no word for becomes its `str`."""
    try:
        return json.dumps(value, default=str)
    except (TypeError, ValueError):  # keys that are no text, or a value that contains itself
        return json.dumps(json_safe(value))


def json_safe(value: Any, _above: frozenset[int] = frozenset()) -> Any:
    """Return a copy of *value* made of JSON's types; dictionaries and lists are gone through."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if not isinstance(value, (Mapping, list, tuple)):
        return str(value)
    if id(value) in _above:
        return "<cycle>"
    above = _above | {id(value)}
    if isinstance(value, Mapping):
        return {
            key if isinstance(key, str) else str(key): json_safe(item, above)
            for key, item in value.items()
        }
    return [json_safe(item, above) for item in value]
