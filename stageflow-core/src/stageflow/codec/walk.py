"""The walks through a nested value: is it plain JSON, write what is not, read it back.

What JSON does not know is written as `{"$type": tag, "$value": simpler}`. A dictionary with
other keys than text, or with a key `$type` of its own, is written as tag `dict` and its pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from json import dumps
from math import isfinite
from typing import Any

from stageflow.codec.faults import ITEM, KEY, Fault, Faults
from stageflow.codec.rules import FLOAT, INT, LARGEST_INT, STR, FieldsError, Rule

__all__ = ("DICT_TAG", "TYPE", "VALUE", "Reader", "Writer", "is_plain")

TYPE = "$type"
VALUE = "$value"
DICT_TAG = "dict"

_SCALARS = frozenset({str, int, float, bool, type(None)})
_PLAIN = _SCALARS | {dict, list}
_NARROW = 8
_TOO_MANY = "has more values than fit into the bytes allowed, or contains itself"
_TEXT = frozenset({str})


def is_plain(value: Any, rules: Mapping[type, Rule], max_depth: int, max_values: int) -> bool:
    """Say whether JSON itself can tell what *value* is made of, numbers and texts unseen.

    Goes level by level and asks for the types of a whole level at once, which costs less
    than encoding it. False for what is too deep as well.

    Raises:
        Faults: If there are more values than fit.
    """
    if type(value) is dict and _SCALARS.issuperset(map(type, value.values())) and max_depth > 0:
        # The most common by far, such as an event: told without a list of its parts.
        if len(value) > max_values:
            raise Faults(Fault("size", _TOO_MANY))
        return _TEXT.issuperset(map(type, value))
    level = [value]
    kinds = {type(value)} - _SCALARS
    while kinds:
        max_depth -= 1
        children = _children(level, kinds, rules)
        if children is None or max_depth < 0:
            return False
        max_values -= len(children)
        if max_values < 0:
            raise Faults(Fault("size", _TOO_MANY))
        kinds = set(map(type, children))
        kinds -= _SCALARS
        if kinds:
            level = [item for item in children if type(item) in kinds]
    return True


def _children(level: list[Any], kinds: set[type], rules: Mapping[type, Rule]) -> list[Any] | None:
    """Return what the containers of a level hold; None if one is no plain container."""
    if not (kinds <= _PLAIN or all(_is_container(kind, rules) for kind in kinds)):
        return None
    children: list[Any] = []
    if len(level) > _NARROW:
        mappings = [item for item in level if isinstance(item, dict)]
        if not _TEXT.issuperset(map(type, chain.from_iterable(mappings))):
            return None
        children.extend(chain.from_iterable(map(dict.values, mappings)))
        if len(mappings) < len(level):
            children.extend(chain.from_iterable([i for i in level if isinstance(i, list)]))
        return children
    # The same with less ado, for small values are made of such levels.
    for item in level:
        if isinstance(item, list):
            children += item
        elif _TEXT.issuperset(map(type, item)):
            children += dict.values(item)
        else:
            return None
    return children


def _is_container(kind: type, rules: Mapping[type, Rule]) -> bool:
    return issubclass(kind, (dict, list)) and kind not in rules


class Writer:
    """One walk that writes a value, tagging what JSON does not know.

    Unless it is *thorough*, it takes numbers and texts unseen, as `is_plain` does; one that
    JSON cannot hold is then refused when the result is encoded.
    """

    __slots__ = ("_active", "_left", "_max_depth", "_rules", "_thorough")

    def __init__(
        self, rules: Mapping[type, Rule], max_depth: int, max_values: int, *, thorough: bool
    ) -> None:
        self._rules = rules
        self._max_depth = max_depth
        self._left = max_values
        self._thorough = thorough
        self._active: set[int] = set()

    def write(self, value: Any, depth: int = 1) -> Any:
        """Return *value* made of what JSON knows.

        Raises:
            Faults: If a part of it cannot be written.
        """
        kind = type(value)
        if kind is dict:
            return self._mapping(value, depth)
        if kind is list:
            return self._items(value, depth)
        if kind in _SCALARS:
            return _scalar(value) if self._thorough else value
        rule = self._rules.get(kind)
        if rule is not None:
            return self._by_rule(rule, value, depth)
        if issubclass(kind, dict):
            return self._mapping(value, depth)
        if issubclass(kind, list):
            return self._items(value, depth)
        name = f"{kind.__module__}.{kind.__qualname__}"
        raise Faults(Fault("type", f"is a {name}, which is not registered", kind.__name__))

    def _by_rule(self, rule: Rule, value: Any, depth: int) -> Any:
        try:
            simpler = rule.encode(value)
        except Exception as error:
            fault = Fault("value", f"is a {rule.tag} that raised {_brief(error)}")
            raise Faults(fault, cause=error) from error
        if rule.unordered:
            written: Any = self._items(simpler, depth, ITEM)
            # Sets of equal items have no order in common; their written form does.
            written.sort(key=_sort_key)
        elif type(simpler) is rule.cls:
            raise Faults(Fault("value", f"is a {rule.tag} whose encode gives a {rule.tag} again"))
        else:
            written = self.write(simpler, depth)
        return {TYPE: rule.tag, VALUE: written}

    def _items(self, values: list[Any], depth: int, segment: object = None) -> list[Any]:
        self._enter(values, depth)
        if not self._thorough and _SCALARS.issuperset(map(type, values)):
            return values
        self._active.add(id(values))
        out = []
        faults: Faults | None = None
        for index, item in enumerate(values):
            try:
                out.append(self.write(item, depth + 1))
            except Faults as found:
                faults = found.within(index if segment is None else segment, faults)
        self._active.discard(id(values))
        if faults is not None:
            raise faults
        return out

    def _mapping(self, values: dict[Any, Any], depth: int) -> dict[str, Any]:
        self._enter(values, depth)
        is_object = _TEXT.issuperset(map(type, values)) and TYPE not in values
        trusted = is_object and not self._thorough
        if trusted and _SCALARS.issuperset(map(type, dict.values(values))):
            return values
        self._active.add(id(values))
        out: dict[Any, Any] = {}
        faults: Faults | None = None
        for key, item in dict.items(values):
            try:
                out[key] = self.write(item, depth + 1)
            except Faults as found:
                faults = found.within(key, faults)
        if is_object and not trusted:
            is_object = all(type(_scalar(key)) is str for key in out)
        pairs: list[list[Any]] = []
        if not is_object:
            for key, item in out.items():
                try:
                    pairs.append([self.write(key, depth + 1), item])
                except Faults as found:
                    faults = found.within(KEY, faults)
        self._active.discard(id(values))
        if faults is not None:
            raise faults
        return out if is_object else {TYPE: DICT_TAG, VALUE: pairs}

    def _enter(self, values: list[Any] | dict[Any, Any], depth: int) -> None:
        if id(values) in self._active:
            raise Faults(Fault("cycle", "contains itself"))
        if depth > self._max_depth:
            raise Faults(Fault("depth", f"is nested deeper than {self._max_depth} levels"))
        self._left -= len(values)
        if self._left < 0:
            raise Faults(Fault("size", _TOO_MANY))


class Reader:
    """One walk that reads what a `Writer` wrote."""

    __slots__ = ("_rules",)

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._rules = rules

    def read(self, raw: Any) -> Any:
        """Return the value that was written as *raw*.

        Raises:
            Faults: If a part of it cannot be read.
        """
        kind = type(raw)
        if kind is list:
            return self._children(enumerate(raw), raw)
        if kind is not dict:
            return raw
        if TYPE not in raw:
            return self._children(raw.items(), raw)
        tag = raw[TYPE]
        if raw.keys() != {TYPE, VALUE} or type(tag) is not str:
            raise Faults(Fault("value", "is neither a tagged value nor a dictionary"))
        if tag == DICT_TAG:
            return self._pairs(raw[VALUE])
        inner: Any = None
        faults: Faults | None = None
        try:
            inner = self.read(raw[VALUE])
        except Faults as found:
            faults = found
        rule = self._rules.get(tag)
        if rule is None:
            unknown = Faults(Fault("type", f"is of the unregistered type {tag[:80]!r}", tag))
            if faults is not None:
                unknown.found.extend(faults.found)
            raise unknown
        if faults is not None:
            raise faults
        try:
            return rule.decode(inner)
        except Exception as error:
            fault = Fault("value", f"is refused by the type {tag!r}: {_brief(error)}")
            raise Faults(fault, cause=error) from error

    def _children(self, items: Iterable[tuple[Any, Any]], container: Any) -> Any:
        """Return *container*, fresh from JSON, with each of its items read in place."""
        faults: Faults | None = None
        for key, item in items:
            if type(item) not in _SCALARS:
                try:
                    container[key] = self.read(item)
                except Faults as found:
                    faults = found.within(key, faults)
        if faults is not None:
            raise faults
        return container

    def _pairs(self, raw: Any) -> dict[Any, Any]:
        try:
            pairs = [(key, item) for key, item in raw]
            out: dict[Any, Any] = {}
            faults: Faults | None = None
            for raw_key, item in pairs:
                try:
                    key = self.read(raw_key)
                except Faults as found:
                    faults = found.within(KEY, faults)
                    continue
                try:
                    out[key] = self.read(item)
                except Faults as found:
                    faults = found.within(key, faults)
        except (TypeError, ValueError) as error:
            fault = Fault("value", f"is not made of pairs: {_brief(error)}")
            raise Faults(fault, cause=error) from error
        if faults is not None:
            raise faults
        return out


def _scalar(value: Any) -> Any:
    kind = type(value)
    if kind is str:
        return value if value.isascii() or _is_unicode(value) else _tagged(STR, value)
    if kind is float:
        return value if isfinite(value) else _tagged(FLOAT, value)
    if kind is int:
        return value if -LARGEST_INT < value < LARGEST_INT else _tagged(INT, value)
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _tagged(rule: Rule, value: Any) -> dict[str, Any]:
    return {TYPE: rule.tag, VALUE: rule.encode(value)}


def _sort_key(written: Any) -> str:
    return dumps(written, sort_keys=True)


def _brief(error: BaseException) -> str:
    # Other messages may quote the value.
    return str(error) if isinstance(error, FieldsError) else type(error).__name__
