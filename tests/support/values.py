"""Hypothesis strategies for values that the codec can store, and a comparison that sees types."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field
from datetime import UTC, timedelta, timezone
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import attrs
from hypothesis import strategies as st

from stageflow.codec import Codec

__all__ = (
    "Account",
    "Colour",
    "Measure",
    "Node",
    "Permission",
    "Point",
    "json_values",
    "same",
    "storable_values",
    "user_codec",
)


class Colour(enum.Enum):
    RED = "red"
    BLUE = ("blue", 2)


class Permission(enum.Flag):
    READ = 1
    WRITE = 2


@attrs.frozen
class Account:
    owner: Any
    _secret: Any = None
    initials: str = attrs.field(init=False, default="?")


@dataclass
class Node:
    label: Any
    children: list[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    amount: Any
    unit: str = "m"


class Point(NamedTuple):
    x: Any
    y: Any = 0


def user_codec() -> Codec:
    """Return a fresh codec that knows the classes of this module."""
    codec = Codec()
    for cls in (Account, Colour, Measure, Node, Permission, Point):
        codec.register(cls)
    return codec


_any_text = st.text(st.characters(codec=None, exclude_categories=()), max_size=8)
_ints = st.integers() | st.integers(-(10**700), 10**700)
_json_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()

json_values = st.recursive(
    _json_scalars.filter(lambda v: not isinstance(v, float) or math.isfinite(v)),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=15,
)
"""What JSON itself can say."""

_zones = st.none() | st.timezones() | st.just(UTC)
_offsets = st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)).map(
    timezone
)
_paths = st.sampled_from(["", ".", "a", "a/b", "/a/ü", "../x y"])
_members = st.sampled_from(list(Colour)) | st.builds(Permission, st.integers(0, 3))

_hashable_leaves = st.one_of(
    st.none(),
    st.booleans(),
    _ints,
    st.floats(allow_nan=False),
    _any_text,
    st.binary(max_size=8),
    st.datetimes(timezones=_zones),
    st.datetimes(timezones=_offsets),
    st.dates(),
    st.times(timezones=_zones),
    st.timedeltas(),
    st.uuids(),
    st.decimals(allow_nan=False),
    _paths.map(Path),
    _paths.map(PurePosixPath),
    _paths.map(PureWindowsPath),
    _members,
)
_hashable = st.recursive(
    _hashable_leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple),
        st.frozensets(inner, max_size=3),
        st.builds(Point, inner, inner),
        st.builds(Measure, amount=inner),
    ),
    max_leaves=4,
)

storable_values = st.recursive(
    _hashable | st.floats(),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.sets(_hashable, max_size=4),
        st.dictionaries(st.text(max_size=4) | st.just("$type"), inner, max_size=4),
        st.dictionaries(_hashable, inner, max_size=4),
        st.builds(Account, inner, inner),
        st.builds(Node, inner, st.lists(inner, max_size=2)),
        st.builds(Measure, amount=inner),
        st.builds(Point, inner, inner),
    ),
    max_leaves=8,
)
"""Everything that `user_codec` can store."""


def same(one: Any, other: Any) -> bool:
    """Say whether two values are equal and of the same types at every depth; NaN equals NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one), list(other)) and same(list(one.values()), list(other.values()))
    if isinstance(one, (Account, Node, Measure)):
        names = [f.name for f in attrs.fields(Account)]
        if not isinstance(one, Account):
            names = list(one.__dataclass_fields__)
        return all(same(getattr(one, name), getattr(other, name)) for name in names)
    return bool(one == other) and getattr(one, "fold", 0) == getattr(other, "fold", 0)
