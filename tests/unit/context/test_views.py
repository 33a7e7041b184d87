"""Read-only views: equal to what was given, at any depth beyond anybody's changing."""

from __future__ import annotations

import collections
import copy
import json
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stageflow.context.views import OutputMutationError, ReadOnlyDict, ReadOnlyList, read_only
from stageflow.errors import RunError
from support.values import json_values


class Pair(NamedTuple):
    left: Any
    right: Any


@attrs.define
class Box:
    items: list[int]


plain_values = st.recursive(
    json_values,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple),
        st.builds(Pair, inner, inner),
        st.dictionaries(st.integers() | st.text(max_size=3), inner, max_size=3),
    ),
    max_leaves=8,
)


def mutable_parts(value: Any) -> list[Any]:
    """Every plain dictionary, list or set within *value*."""
    found = [value] if type(value) in (dict, list, set) else []
    inner = value.values() if isinstance(value, dict) else value
    if isinstance(value, (dict, list, tuple)):
        found += [part for item in inner for part in mutable_parts(item)]
    return found


@given(plain_values)
@settings(deadline=None)
def test_a_view_equals_what_was_given_and_nothing_in_it_can_be_changed(value: Any) -> None:
    given_value = copy.deepcopy(value)
    view = read_only(value, "s")
    assert view == given_value
    assert isinstance(view, type(given_value))
    assert mutable_parts(view) == []
    assert value == given_value


@given(plain_values)
@settings(deadline=None)
def test_copies_of_a_view_are_plain_again(value: Any) -> None:
    view = read_only(value, "s")
    for again in (copy.deepcopy(view), pickle.loads(pickle.dumps(view))):  # noqa: S301 - our own
        assert again == value
        assert not _views_in(again)


def _views_in(value: Any) -> bool:
    if isinstance(value, (ReadOnlyDict, ReadOnlyList)):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return isinstance(value, (dict, list, tuple)) and any(map(_views_in, inner))


@given(json_values)
@settings(deadline=None)
def test_a_view_is_written_as_json_like_what_it_shows(value: Any) -> None:
    assert json.dumps(read_only(value, "s")) == json.dumps(value)


DICT_CHANGES: dict[str, Callable[[Any], Any]] = {
    "__setitem__": lambda d: d.__setitem__("a", 2),
    "__delitem__": lambda d: d.__delitem__("a"),
    "__ior__": lambda d: d.__ior__({"b": 1}),
    "clear": lambda d: d.clear(),
    "pop": lambda d: d.pop("a", None),
    "popitem": lambda d: d.popitem(),
    "setdefault": lambda d: d.setdefault("b", 1),
    "update": lambda d: d.update(b=1),
}
LIST_CHANGES: dict[str, Callable[[Any], Any]] = {
    "__setitem__": lambda x: x.__setitem__(0, 2),
    "__delitem__": lambda x: x.__delitem__(0),
    "__iadd__": lambda x: x.__iadd__([1]),
    "__imul__": lambda x: x.__imul__(2),
    "append": lambda x: x.append(1),
    "clear": lambda x: x.clear(),
    "extend": lambda x: x.extend([1]),
    "insert": lambda x: x.insert(0, 1),
    "pop": lambda x: x.pop(),
    "remove": lambda x: x.remove(1),
    "reverse": lambda x: x.reverse(),
    "sort": lambda x: x.sort(),
}


@pytest.mark.parametrize("change", DICT_CHANGES)
def test_every_change_of_a_dictionary_is_refused_by_name(change: str) -> None:
    view = read_only({"a": 1}, "the stage")
    with pytest.raises(OutputMutationError) as caught:
        DICT_CHANGES[change](view)
    assert (caught.value.stage, caught.value.operation) == ("the stage", change)
    assert "'the stage'" in str(caught.value)
    assert isinstance(caught.value, TypeError)
    assert view == {"a": 1}


@pytest.mark.parametrize("change", LIST_CHANGES)
def test_every_change_of_a_list_is_refused_by_name(change: str) -> None:
    view = read_only([1], "the stage")
    with pytest.raises(OutputMutationError) as caught:
        LIST_CHANGES[change](view)
    assert (caught.value.stage, caught.value.operation) == ("the stage", change)
    assert view == [1]


def test_no_changing_method_is_forgotten() -> None:
    reading = {
        dict: {"copy", "fromkeys", "get", "items", "keys", "values"},
        list: {"copy", "count", "index"},
    }
    for plain, changes in ((dict, DICT_CHANGES), (list, LIST_CHANGES)):
        public = {name for name in vars(plain) if not name.startswith("_")}
        assert public == reading[plain] | {name for name in changes if not name.startswith("_")}


def test_what_is_made_of_a_view_is_plain() -> None:
    items, data = read_only([2, 1], "s"), read_only({"a": 1}, "s")
    for made in (
        items.__add__([3]),
        items * 2,
        items[:1],
        items.copy(),
        sorted(items),
        copy.copy(items),
    ):
        assert type(made) is list
    for made in (data | {"b": 2}, {"b": 2} | data, data.copy(), dict(data), copy.copy(data)):
        assert type(made) is dict
    assert {**data, "b": 2} == {"a": 1, "b": 2}
    assert type(data.fromkeys("ab")) is dict


@pytest.mark.parametrize(
    "value",
    [
        collections.OrderedDict(a=[1]),
        collections.defaultdict(list, a=[1]),
        collections.Counter("aab"),
        collections.UserDict(a=1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_mappings_of_other_kinds_stay_equal(value: Any) -> None:
    view = read_only({"value": value}, "s")["value"]
    assert view == value
    assert isinstance(view, dict) == isinstance(value, dict)


def test_sets_are_frozen_and_other_objects_handed_on() -> None:
    box = Box([1])
    view = read_only({"set": {1, 2}, "box": box, "bytes": b"x"}, "s")
    assert type(view["set"]) is frozenset
    assert view["set"] == {1, 2}
    assert view["box"] is box


def test_a_tuple_with_nothing_to_change_is_handed_on() -> None:
    value = (1, "a", (2.0, None))
    assert read_only(value, "s") is value
    pair = read_only(Pair([1], 2), "s")
    assert type(pair) is Pair
    assert type(pair.left) is ReadOnlyList


def test_a_view_of_a_view_is_the_same_and_names_who_gave_it_first() -> None:
    first = read_only({"a": [1]}, "first")
    again = read_only({"mine": first}, "second")
    assert again["mine"] is first
    with pytest.raises(OutputMutationError, match="'first'"):
        again["mine"]["a"].append(2)


def test_a_hundred_levels_are_no_trouble_and_a_circle_says_what_is_wrong() -> None:
    deep: Any = 1
    for _ in range(100):
        deep = {"in": [deep]}
    assert read_only(deep, "s") == deep
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(RunError, match=r"'deep one'.*contains itself"):
        read_only({"circle": circle}, "deep one")
