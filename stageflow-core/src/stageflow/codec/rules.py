"""Rules: how each type that JSON does not know is written and read.

A rule turns a value into one that is simpler by a step; the codec goes on from there. A value
is stored by what it is, not by what an annotation says of it, so a subclass, a union or a field
typed `Any` comes back as it was, and no annotation needs to be resolvable when it is read.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from operator import attrgetter
from pathlib import Path, PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any
from uuid import UUID

import attrs

from stageflow.codec.errors import CodecRegistrationError

__all__ = ("BUILT_IN", "FLOAT", "INT", "LARGEST_INT", "STR", "FieldsError", "Rule", "rule_for")

LARGEST_INT = 1 << 2047
"""From here on, where integers are looked at, they are written in hexadecimal: a Python that is
set to its tightest limit refuses to read as many decimal digits."""

Encode = Callable[[Any], Any]
Decode = Callable[[Any], Any]


@attrs.frozen(eq=False)
class Rule:
    """How values of one type are stored.

    Attributes:
        tag: The name the type is stored under.
        cls: The type.
        encode: Gives a simpler value for one of the type.
        decode: Gives the value of the type for the simpler one.
        unordered: Whether `encode` gives items in no particular order.
    """

    tag: str
    cls: type
    encode: Encode
    decode: Decode
    unordered: bool = False


class FieldsError(ValueError):
    """A class's fields are not those that were stored; the text names fields, never values."""


def rule_for(cls: type, name: str, encode: Encode | None, decode: Decode | None) -> Rule:
    """Return the rule for a class of the user's.

    Args:
        cls: The class: attrs, dataclass, named tuple, enum, pydantic model; or any, with
            *encode* and *decode*.
        name: The name to store it under.
        encode: Gives a simpler value; what the kind of class suggests unless given.
        decode: Undoes it.

    Raises:
        CodecRegistrationError: If *cls* is of no such kind and a function is missing.
    """
    if encode is None or decode is None:
        suggested = _suggestion(cls, name)
        encode, decode = encode or suggested[0], decode or suggested[1]
    return Rule(name, cls, encode, decode)


def _suggestion(cls: type, name: str) -> tuple[Encode, Decode]:
    if issubclass(cls, enum.Flag):
        return attrgetter("value"), cls
    if issubclass(cls, enum.Enum):
        # `cls.__getitem__` would be the text's own, where the members are texts.
        return attrgetter("name"), lambda member: cls[member]
    if attrs.has(cls):
        return _record(cls, name, {f.name: f.alias if f.init else None for f in attrs.fields(cls)})
    if dataclasses.is_dataclass(cls):
        fields = dataclasses.fields(cls)
        return _record(cls, name, {f.name: f.name if f.init else None for f in fields})
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return _record(cls, name, {field: field for field in cls._fields})
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None and issubclass(cls, pydantic.BaseModel):
        return _model(cls, name, is_root=issubclass(cls, pydantic.RootModel))
    raise CodecRegistrationError(
        f"{cls.__qualname__} cannot be registered without functions: "
        "it is no attrs class, dataclass, named tuple, enum or pydantic model.",
        cls=cls,
        name=name,
        hint="Pass encode= and decode=; or, if a decorator makes it such a class, register it "
        "after (above) that decorator.",
    )


def _record(cls: type, name: str, parameters: Mapping[str, str | None]) -> tuple[Encode, Decode]:
    """Return functions for a class of fields; *parameters* says how `__init__` calls each."""
    given = {field: parameter for field, parameter in parameters.items() if parameter is not None}
    computed = parameters.keys() - given.keys()
    needed = [
        p.name
        for p in inspect.signature(cls).parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if not set(needed).issubset(given.values()):
        unknown = ", ".join(sorted(set(needed) - set(given.values())))
        raise CodecRegistrationError(
            f"{cls.__qualname__} cannot be made again from its fields: "
            f"its constructor also needs {unknown}.",
            cls=cls,
            name=name,
            hint="Pass encode= and decode=.",
        )

    required = {field for field, parameter in given.items() if parameter in needed}

    def encode(value: Any) -> dict[str, Any]:
        return {field: getattr(value, field) for field in parameters}

    def decode(data: dict[str, Any]) -> Any:
        _check_fields(data, parameters, required)
        value = cls(**{name: data[field] for field, name in given.items() if field in data})
        for field in computed & data.keys():
            object.__setattr__(value, field, data[field])
        return value

    return encode, decode


def _model(cls: Any, name: str, *, is_root: bool) -> tuple[Encode, Decode]:
    """Return functions for a pydantic model: its fields and extras, validated when read."""
    if is_root:
        return attrgetter("root"), cls.model_validate
    fields = cls.model_fields
    options: dict[str, bool] = {}
    if any(field.alias or field.validation_alias for field in fields.values()):
        if "by_name" not in inspect.signature(cls.model_validate).parameters:
            raise CodecRegistrationError(
                f"{cls.__qualname__} has aliases, which pydantic before 2.11 cannot leave aside.",
                cls=cls,
                name=name,
                hint="Pass encode= and decode=, or use a newer pydantic.",
            )
        options = {"by_alias": False, "by_name": True}

    def encode(value: Any) -> dict[str, Any]:
        return {**{field: getattr(value, field) for field in fields}, **(value.model_extra or {})}

    def decode(data: dict[str, Any]) -> Any:
        if cls.model_config.get("extra") != "allow":
            _check_fields(data, fields, ())
        return cls.model_validate(data, **options)

    return encode, decode


def _check_fields(data: Any, known: Iterable[str], required: Collection[str]) -> None:
    if not isinstance(data, dict):
        raise FieldsError("its fields are not there")
    unknown, missing = data.keys() - set(known), set(required) - data.keys()
    if unknown:
        raise FieldsError(f"it has no field {', '.join(sorted(unknown))}")
    if missing:
        raise FieldsError(f"its field {', '.join(sorted(missing))} was not stored")


def _from_hex(text: str) -> int:
    return int(text, 16)


def _as_base64(value: bytes) -> str:
    return b64encode(value).decode()


def _bytes(text: str) -> bytes:
    return b64decode(text, validate=True)


def _as_moment(value: datetime | time) -> Any:
    """Return ISO text, or that with the time zone and the fold where text cannot say them."""
    zone = None if value.tzinfo is None else _zone(value.tzinfo, value.utcoffset())
    if zone is None and not value.fold:
        return value.isoformat()
    local = value if zone is None else value.replace(tzinfo=None)
    return [local.isoformat(), zone, value.fold]


def _zone(zone: tzinfo, offset: timedelta | None) -> str | int | None:
    """Return the key of a time zone, the microseconds of an odd offset, or None for others."""
    if type(zone) is timezone:
        # Python 3.11 writes fractions of a second in an offset, and does not read them.
        return offset // timedelta(microseconds=1) if offset and offset.microseconds else None
    from zoneinfo import ZoneInfo

    return zone.key if isinstance(zone, ZoneInfo) else None


def _moment(cls: type[datetime | time]) -> Decode:
    def decode(data: Any) -> datetime | time:
        if isinstance(data, str):
            return cls.fromisoformat(data)
        text, zone, fold = data
        return cls.fromisoformat(text).replace(fold=fold, **_tzinfo(zone))

    return decode


def _tzinfo(zone: str | int | None) -> dict[str, Any]:
    if zone is None:
        return {}
    if isinstance(zone, int):
        return {"tzinfo": timezone(timedelta(microseconds=zone))}
    from zoneinfo import ZoneInfo

    return {"tzinfo": ZoneInfo(zone)}


def _as_delta(value: timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


INT = Rule("int", int, hex, _from_hex)
"""For integers so large that Python may refuse to read their digits."""
FLOAT = Rule("float", float, repr, float)
"""For what is not a number, and for the infinities."""
STR = Rule(
    "str",
    str,
    lambda value: _as_base64(value.encode("utf-8", "surrogatepass")),
    lambda text: _bytes(text).decode("utf-8", "surrogatepass"),
)
"""For text with lone surrogates, which UTF-8 does not have."""

BUILT_IN = (
    INT,
    FLOAT,
    STR,
    Rule("bytes", bytes, _as_base64, _bytes),
    Rule("tuple", tuple, list, tuple),
    Rule("set", set, list, set, unordered=True),
    Rule("frozenset", frozenset, list, frozenset, unordered=True),
    Rule("datetime", datetime, _as_moment, _moment(datetime)),
    Rule("date", date, date.isoformat, date.fromisoformat),
    Rule("time", time, _as_moment, _moment(time)),
    Rule("timedelta", timedelta, _as_delta, lambda parts: timedelta(*parts)),
    Rule("uuid", UUID, str, UUID),
    Rule("decimal", Decimal, str, Decimal),
    Rule("path", PosixPath, str, Path),
    Rule("path", WindowsPath, str, Path),
    Rule("pure-posix-path", PurePosixPath, str, PurePosixPath),
    Rule("pure-windows-path", PureWindowsPath, str, PureWindowsPath),
)
"""The rules that every codec has."""
