"""What an event's payload holds, as values that tests check against and pages are made from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import attrs

from stageflow.errors import did_you_mean

__all__ = ("EventCatalogue", "EventField", "EventSchema", "FieldType")

FieldType = Literal[
    "text", "id", "timestamp", "integer", "number", "boolean", "object", "texts", "objects"
]
"""What a value may be: an `id` is a text, `texts` and `objects` are lists of those."""

_PYTHON: Final[Mapping[str, type | tuple[type, ...]]] = {
    "text": str,
    "id": str,
    "timestamp": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "object": Mapping,
    "texts": list,
    "objects": list,
}

_WORDS: Final[Mapping[str, str]] = {
    "timestamp": "ISO time in UTC (+00:00)",
    "texts": "list of texts",
    "objects": "list of objects",
}


@attrs.frozen
class EventField:
    """One key of a payload.

    Attributes:
        name: The key.
        type: What its value is.
        about: What it tells, for the reference page.
        nullable: Whether the value may be null.
        required: Whether the key is always there.
        one_of: The only values there are; empty if there are others.
        ordered: Whether a list is sorted.
    """

    name: str
    type: FieldType
    about: str
    nullable: bool = attrs.field(default=False, kw_only=True)
    required: bool = attrs.field(default=True, kw_only=True)
    one_of: tuple[str, ...] = attrs.field(default=(), kw_only=True)
    ordered: bool = attrs.field(default=False, kw_only=True)

    def fault(self, value: Any) -> str | None:
        """Return what is wrong with *value*, or None."""
        if value is None:
            return None if self.nullable else f"{self.name} must not be null"
        fits = isinstance(value, _PYTHON[self.type])
        if self.type in {"integer", "number"}:
            fits = fits and not isinstance(value, bool)
        elif self.type == "timestamp":
            fits = fits and _is_utc(value)
        elif self.type in {"texts", "objects"}:
            item = str if self.type == "texts" else Mapping
            fits = fits and all(isinstance(entry, item) for entry in value)
            fits = fits and not (self.ordered and list(value) != sorted(value))
        if not fits or (self.one_of and value not in self.one_of):
            return f"{self.name} must be {self.describe()}, not {value!r}"
        return None

    def describe(self) -> str:
        """Return the type in words."""
        words = _WORDS.get(self.type, self.type)
        if self.one_of:
            words = " or ".join(f"`{value}`" for value in self.one_of)
        if self.ordered:
            words = f"sorted {words}"
        return f"{words} or null" if self.nullable else words


@attrs.frozen
class EventSchema:
    """What the payload of one type of event holds.

    Attributes:
        type: The event's type.
        about: When the event is emitted.
        fields: The keys of its payload.
        open: Whether the payload may hold further keys.
    """

    type: str
    about: str
    fields: tuple[EventField, ...]
    open: bool = attrs.field(default=False, kw_only=True)

    def faults(self, data: Mapping[str, Any] | None) -> tuple[str, ...]:
        """Return everything that is wrong with a payload; nothing if it fits."""
        payload: Mapping[str, Any] = data or {}
        known = {field.name: field for field in self.fields}
        found: list[str | None] = [
            f"{name} is missing" for name, f in known.items() if f.required and name not in payload
        ]
        found += [known[name].fault(value) for name, value in payload.items() if name in known]
        if not self.open:
            found += [f"{name} is not in the schema" for name in payload if name not in known]
        return tuple(fault for fault in found if fault is not None)


class EventCatalogue(Mapping[str, EventSchema]):
    """Schemas by event type; immutable. A distribution makes one of its own beside `EVENTS`.

    Args:
        schemas: The schemas, each of another type.

    Raises:
        ValueError: If two schemas have the same type.
    """

    __slots__ = ("_schemas",)

    def __init__(self, schemas: Iterable[EventSchema]) -> None:
        self._schemas: dict[str, EventSchema] = {}
        for schema in schemas:
            if schema.type in self._schemas:
                raise ValueError(f"The event {schema.type!r} has two schemas.")
            self._schemas[schema.type] = schema

    def __getitem__(self, type: str) -> EventSchema:
        return self._schemas[type]

    def __iter__(self) -> Iterator[str]:
        return iter(self._schemas)

    def __len__(self) -> int:
        return len(self._schemas)

    def __or__(self, other: EventCatalogue) -> EventCatalogue:
        return EventCatalogue([*self.values(), *other.values()])

    def faults(self, type: str, data: Mapping[str, Any] | None) -> tuple[str, ...]:
        """Return everything that is wrong with an event, its type included."""
        schema = self._schemas.get(type)
        if schema is None:
            return (f"there is no event {type!r}. {did_you_mean(type, self._schemas)}",)
        return schema.faults(data)

    def to_markdown(self) -> str:
        """Return the reference of all events: a section each, with a table of its keys."""
        return "\n".join(_section(schema) for schema in self.values())


def _section(schema: EventSchema) -> str:
    rows = [
        f"| `{f.name}` | {f.describe()} | {'' if f.required else 'not always there; '}{f.about} |"
        for f in schema.fields
    ]
    further = ["", "Further keys may be there."] if schema.open else []
    table = ["| Key | Value | What it tells |", "| --- | --- | --- |", *rows]
    return "\n".join([f"## {schema.type}", "", schema.about, "", *table, *further, ""])


def _is_utc(text: str) -> bool:
    try:
        return text.endswith("+00:00") and datetime.fromisoformat(text).utcoffset() == timedelta(0)
    except ValueError:
        return False
