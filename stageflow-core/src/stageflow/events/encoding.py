"""Events as lines of JSON: whatever a payload holds, there is a line for it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, Final
from uuid import UUID

__all__ = ("encode_event", "to_json")

_MAX_DEPTH: Final = 100
_MAX_REPR: Final = 500
# Python itself refuses to write integers of more than 4300 digits, unless told otherwise.
_MAX_BITS: Final = 14_000

_STAND_INS: Final[tuple[tuple[Any, Callable[[Any], Any]], ...]] = (
    (date | time, lambda value: value.isoformat()),
    (UUID | PurePath | Decimal, str),
    (Enum, lambda value: value.value),
    (timedelta, timedelta.total_seconds),
    (BaseException, lambda value: f"{type(value).__name__}: {value}"),
    (Mapping, dict),
    (set | frozenset, lambda value: sorted(value, key=repr)),
)


def encode_event(type: str, data: Mapping[str, Any] | None, recorded_at: datetime) -> bytes:
    """Return an event as one line of JSON in UTF-8, without its line end; never raises.

    Args:
        type: The event's type.
        data: Its payload.
        recorded_at: When it was recorded, in UTC.
    """
    head = f'{{"type":{to_json(type)},"recorded_at":"{recorded_at.isoformat()}","data":'
    # A lone surrogate has no UTF-8; as an escape it is sound JSON.
    return f"{head}{to_json(data)}}}".encode("utf-8", "backslashreplace")


def to_json(value: Any) -> str:
    """Return *value* as JSON on one line; never raises.

    Times, ids, enums, paths and sets are written as one would expect, errors as `Type: message`.
    An object with `to_dict` is what that says, and any other its `repr`, cut short. What JSON
    has no word for (an infinite number, an integer of thousands of digits, a cycle) is a text.
    """
    try:
        return json.dumps(
            value, default=_leaf, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        )
    except (TypeError, ValueError, RecursionError):
        # Something deep inside is not JSON; find it.
        plain = _plain(value, 0, ())
        return json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _leaf(value: Any) -> Any:
    """Return what stands for a value that `json` does not know."""
    try:
        for kind, stand_in in _STAND_INS:
            if isinstance(value, kind):
                return stand_in(value)
        return _described(value)
    except Exception:  # noqa: BLE001 - a stranger's methods must not cost the event
        return f"<{type(value).__qualname__}>"


def _described(value: Any) -> Any:
    to_dict = None if isinstance(value, type) else getattr(value, "to_dict", None)
    described = to_dict() if callable(to_dict) else None
    if isinstance(described, Mapping):
        return dict(described)
    text = repr(value)
    return text if len(text) <= _MAX_REPR else f"{text[:_MAX_REPR]}…"


def _plain(value: Any, depth: int, above: tuple[int, ...]) -> Any:
    """Return *value* rebuilt of what JSON has words for."""
    if value is None or isinstance(value, bool | str | int | float):
        return _plain_scalar(value)
    if id(value) in above or depth >= _MAX_DEPTH:
        return "<cycle>" if id(value) in above else "<too deep>"
    above = (*above, id(value))
    if isinstance(value, Mapping):
        return {_key(key): _plain(item, depth + 1, above) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1, above) for item in value]
    return _plain(_leaf(value), depth + 1, above)


def _plain_scalar(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        return hex(value)
    return value


def _key(key: Any) -> str:
    leaf = key if isinstance(key, str) else _leaf(key)
    return leaf if isinstance(leaf, str) else str(leaf)
