"""Signatures of implementations against those of their contract; nothing is called."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Awaitable
from typing import Any, Protocol

import pytest

from stageflow.plugins._conformity import shape_faults


class Store(Protocol):
    async def load(self, name: str, partition: object = None, **opts: Any) -> Any:
        """Return it."""
        ...

    def count(self, *, deep: bool) -> int: ...

    def told(self, text: str) -> Awaitable[None] | None:
        """Tell it, now or later."""
        self.count(deep=bool(text))


class WithAttribute(Protocol):
    limit: int

    @property
    def size(self) -> int: ...


class Good:
    async def load(self, name, partition=None, **opts):
        return name

    def count(self, *, deep):
        return 0

    def told(self, text):
        return None

    def more(self, anything):
        return None


def problems(candidate: Any, protocol: type = Store) -> list[str]:
    return [fault.summary for fault in shape_faults(protocol, candidate)]


def variant(**members: Any) -> type:
    return type("Variant", (Good,), members)


def test_a_class_and_an_object_that_fit():
    assert problems(Good) == []
    assert problems(Good()) == []


def test_everything_that_is_missing_is_listed_with_what_to_add():
    faults = shape_faults(Store, type("Empty", (), {}))
    assert [fault.code for fault in faults] == ["SF214"] * 3
    assert [fault.fix_hint for fault in faults] == [
        "Add async def load(self, name, partition=None, **opts).",
        "Add def count(self, *, deep).",
        "Add def told(self, text).",
    ]


async def plain_async(self, name, partition=None, **opts): ...


def wrapped(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


def returns_awaitable(self, name, partition=None, **opts) -> Awaitable[Any]: ...


class CallableObject:
    def __call__(self, name, partition=None, **opts): ...


@pytest.mark.parametrize(
    "load",
    [
        plain_async,
        wrapped(plain_async),
        returns_awaitable,
        CallableObject(),
    ],
    ids=["async", "wrapped", "awaitable", "callable"],
)
def test_ways_to_be_async(load):
    assert problems(variant(load=load)) == []


async def renamed(self, key, partition=None, **opts): ...
async def no_options(self, name, partition=None): ...
async def required_partition(self, name, partition, **opts): ...
async def too_few(self, name, **opts): ...
async def asks_more(self, name, partition=None, extra=..., *, tenant, **opts): ...
async def keyword_only(self, *, name, partition=None, **opts): ...
def not_async(self, name, partition=None, **opts): ...


@pytest.mark.parametrize(
    ("load", "problem"),
    [
        (renamed, "load() calls parameter 1 'key' instead of 'name'"),
        (no_options, "load() must take **opts"),
        (required_partition, "load() must give 'partition' a default"),
        (too_few, "load() must take 'partition' as parameter 2"),
        (asks_more, "load() requires 'tenant', which the contract does not pass"),
        (not_async, "load() must be async"),
        (3, "load() is int, not a method"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_one_problem(load, problem):
    faults = shape_faults(Store, variant(load=load))
    assert [(fault.code, fault.summary) for fault in faults] == [("SF215", problem)]


def test_a_parameter_that_is_passed_by_position_is_not_keyword_only():
    assert problems(variant(load=keyword_only)) == [
        "load() must take 'name' as parameter 1",
        "load() must take 'partition' as parameter 2",
        "load() requires 'name', which the contract does not pass",
    ]


async def async_count(self, *, deep): ...
def no_deep(self): ...
def any_options(self, **options): ...
def positional_deep(self, deep, /): ...


@pytest.mark.parametrize(
    ("count", "found"),
    [
        (async_count, ["count() must not be async"]),
        (no_deep, ["count() must take the keyword 'deep'"]),
        (any_options, []),
        (
            positional_deep,
            [
                "count() must take the keyword 'deep'",
                "count() requires 'deep', which the contract does not pass",
            ],
        ),
    ],
    ids=["async", "none", "options", "positional"],
)
def test_keywords(count, found):
    assert problems(variant(count=count)) == found


def test_a_method_that_may_be_awaitable_may_be_async():
    async def told(self, text): ...

    assert problems(variant(told=told)) == []


def test_static_and_class_methods_are_called_without_self():
    def count(*, deep): ...
    def count_of(cls, *, deep): ...

    assert problems(variant(count=staticmethod(count))) == []
    assert problems(variant(count=classmethod(count_of))) == []
    assert problems(variant(count=staticmethod(count))()) == []


def test_methods_may_be_set_on_an_object():
    made = Good()
    made.count = lambda *, deep: 1
    assert problems(made) == []
    made.count = lambda: 1
    assert problems(made) == ["count() must take the keyword 'deep'"]


def test_inheriting_a_default_is_implementing_it_and_inheriting_nothing_is_not():
    class Inherits(Store):
        def count(self, *, deep: bool) -> int:
            return 1

    assert problems(Inherits) == ["load is missing"]


def test_an_abstract_method_left_abstract_is_missing():
    class Abstract(Protocol):
        @abstractmethod
        def close(self) -> None: ...

    assert problems(type("Half", (Abstract,), {}), Abstract) == ["close is missing"]


def test_a_method_that_only_says_it_is_not_there_is_missing():
    class Refuses(Protocol):
        def close(self) -> None:
            raise NotImplementedError("override close")

    assert problems(type("Half", (Refuses,), {}), Refuses) == ["close is missing"]


def test_attributes_are_looked_for_on_objects_only():
    class Late:
        def __init__(self, **members):
            vars(self).update(members)

    assert problems(Late, WithAttribute) == []
    assert problems(Late(limit=1, size=2), WithAttribute) == []
    assert problems(Late(limit=1), WithAttribute) == ["size is missing"]
    assert sorted(problems(Late(), WithAttribute)) == ["limit is missing", "size is missing"]


def test_an_object_that_passes_everything_on_cannot_be_judged():
    class Proxy:
        def __getattr__(self, name):
            raise AssertionError("nothing may be asked for")

    assert problems(Proxy) == []
    assert problems(Proxy()) == []


def test_nothing_private_is_asked_for():
    class Secretive(Protocol):
        _hidden: int

        def _helper(self) -> None: ...

    assert problems(type("Empty", (), {}), Secretive) == []


def test_a_method_without_a_signature_is_taken_as_it_is():
    assert problems(variant(told=max)) == []
