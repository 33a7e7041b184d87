"""Images of values: what they hold at one moment, to be compared with a later one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from uuid import UUID

import attrs

__all__ = ("Image", "differences", "image_of")

Image = dict[str, tuple[bool, Any]]
"""What each part of a value was, by the part's path, and whether it has no parts itself."""

_MOST_SHOWN: Final = 5
_DEEPEST: Final = 200
_LEAVES: Final = (
    str,
    int,
    float,
    complex,
    bool,
    bytes,
    type(None),
    Enum,
    UUID,
    datetime,
    date,
    time,
    timedelta,
    Decimal,
    type,
)


def image_of(value: Any) -> Image:
    """Return what *value* holds now, at any depth.

    Containers, attrs classes, dataclasses and plain objects are walked; of anything else only
    its identity is noted. A part that appears twice is walked once.
    """
    image: Image = {}
    seen: set[int] = set()
    waiting: list[tuple[str, Any, int]] = [("", value, 0)]
    while waiting:
        path, item, depth = waiting.pop()
        if isinstance(item, _LEAVES):
            image[path] = (True, item)
            continue
        # The value itself, not its id: that may be given to another one meanwhile.
        image[path] = (False, item)
        if id(item) in seen or depth >= _DEEPEST:
            continue
        seen.add(id(item))
        waiting.extend((path + step, part, depth + 1) for step, part in _parts(item))
    return image


def differences(before: Image, after: Image) -> tuple[str, ...]:
    """Return the paths of what changed, the outermost change of each part alone, a few of them."""
    changed = [path for path in before if path not in after or not _same(before[path], after[path])]
    changed += [path for path in after if path not in before]
    outermost: list[str] = []
    for path in sorted(changed):
        if not any(_is_inside(path, known) for known in outermost):
            outermost.append(path)
    shown = [path.removeprefix(".") or "the whole of it" for path in outermost[:_MOST_SHOWN]]
    if len(outermost) > _MOST_SHOWN:
        shown.append(f"and {len(outermost) - _MOST_SHOWN} more")
    return tuple(shown)


def _same(before: tuple[bool, Any], after: tuple[bool, Any]) -> bool:
    (is_leaf, was), (_, now) = before, after
    if not is_leaf or type(was) is not type(now):
        return was is now
    # A number that is not one differs from itself.
    return bool(was == now or (was != was and now != now))  # noqa: PLR0124


def _is_inside(path: str, whole: str) -> bool:
    return path.startswith(whole) and path[len(whole) : len(whole) + 1] in {".", "[", "{"}


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a value, each with the step that leads to it."""
    if isinstance(value, Mapping):
        for key, item in list(value.items()):
            yield f"[{key!r}]", item
    elif isinstance(value, (list, tuple)):
        for position, item in enumerate(value):
            yield f"[{position}]", item
    elif isinstance(value, (set, frozenset)):
        for item in list(value):
            yield f"{{{item!r}}}", item
    elif attrs.has(type(value)):
        for field in attrs.fields(type(value)):
            yield f".{field.name}", getattr(value, field.name, None)
    else:
        for name, item in _attributes(value):
            yield f".{name}", item


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    yield from dict(getattr(value, "__dict__", None) or {}).items()
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if not name.startswith("__") and hasattr(value, name):
                yield name, getattr(value, name)
