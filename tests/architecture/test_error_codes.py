"""Every intended error has a code of its own, is documented, and survives a copy."""

from __future__ import annotations

import copy
import enum
import inspect
import pickle
import re
import types
import typing
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import pytest

from dev.reference import ERRORS_PAGE, error_classes, errors_page, sources
from stageflow.contracts.scatter_coordinator import BarrierState, BarrierStatus
from stageflow.contracts.waits import WaitState
from stageflow.errors import StageflowError

CLASSES = error_classes()
# Constructor arguments, by error class name, where they cannot be made from the annotations.
SAMPLES: dict[str, dict[str, Any]] = {
    "ApprovalSettledError": {
        "request": types.SimpleNamespace(
            id=1, tool_name="text", status=WaitState.ANSWERED, decided_by="text"
        )
    },
    "AssetNotFoundError": {"asset_name": "text", "partition": "text"},
    "ScatterFailedError": {
        "asset": "text",
        "state": BarrierState(status=BarrierStatus.FAILED, total=3, completed=2, failed=1),
    },
    "MissingInputError": {"message": "text", "stage_name": "text", "key": "text"},
}
PLAIN: dict[Any, Any] = {
    Any: "value",
    BaseException: ValueError("cause"),
    Exception: ValueError("cause"),
    UUID: UUID(int=1),
    bool: True,
    date: date(2024, 2, 29),
    datetime: datetime(2024, 2, 29, tzinfo=UTC),
    float: 0.5,
    int: 3,
    object: "value",
    str: "text",
    type: dict,
}


def sample(hint: Any) -> Any:
    """Return a value that fits a type hint."""
    kind, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if kind in PLAIN:
        return PLAIN[kind]
    if kind is typing.Literal:
        return inner[0]
    if kind in (typing.Union, types.UnionType):
        return sample(inner[0])
    if kind is tuple and inner and inner[-1] is not ...:
        return tuple(map(sample, inner))
    if issubclass(kind, enum.Enum):
        return next(iter(kind))
    if issubclass(kind, Mapping):
        return {sample(inner[0]): sample(inner[1])} if inner else {}
    if issubclass(kind, Iterable):
        items = [sample(inner[0])] if inner else []
        return kind(items) if kind in (frozenset, list, set, tuple) else items
    return make(kind)


def make(cls: type) -> Any:
    """Return an instance of *cls* with a value for every parameter that has no default."""
    if cls.__name__ in SAMPLES:
        return cls(**SAMPLES[cls.__name__])
    hints = typing.get_type_hints(cls.__init__)
    positional, keywords = [], {}
    for name, parameter in inspect.signature(cls).parameters.items():
        if parameter.default is not parameter.empty:
            continue
        if parameter.kind is parameter.KEYWORD_ONLY:
            keywords[name] = sample(hints[name])
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            positional.append(sample(hints[name]))
    return cls(*positional, **keywords)


def state(error: BaseException) -> dict[str, str]:
    return {name: repr(value) for name, value in vars(error).items()}


def own_code(cls: type[StageflowError]) -> bool:
    return "code" in vars(cls)


def title(cls: type) -> str:
    return cls.__qualname__


@pytest.mark.parametrize("cls", CLASSES, ids=title)
def test_an_error_has_a_code_of_its_own(cls: type[StageflowError]):
    assert own_code(cls) or cls.__subclasses__(), "only a class that groups others may go without"
    assert re.fullmatch(r"SF\d{3}", cls.code)


def test_no_code_is_used_twice():
    used = Counter(cls.code for cls in CLASSES if own_code(cls))
    assert [code for code, times in used.items() if times > 1] == []


@pytest.mark.parametrize("cls", CLASSES, ids=title)
@pytest.mark.parametrize(
    "through",
    [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy],  # noqa: S301 - our own bytes
    ids=["pickle", "copy", "deepcopy"],
)
def test_an_error_survives(cls: type[StageflowError], through: Callable[[Any], Any]):
    error = make(cls)
    again = through(error)
    assert type(again) is cls
    assert (str(again), again.args, again.code) == (str(error), error.args, error.code)
    assert state(again) == state(error)


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if own_code(cls)], ids=title)
def test_an_error_is_documented(cls: type[StageflowError]):
    assert inspect.getdoc(cls), "its docstring says when it is raised"
    assert f"\n### {cls.code}\n" in ERRORS_PAGE.read_text(encoding="utf-8"), "run `make docs`"


def test_the_page_of_errors_is_up_to_date():
    assert ERRORS_PAGE.read_text(encoding="utf-8") == errors_page(), "run `make docs` and commit"


def test_every_code_in_the_source_is_explained():
    written = {code for text in sources() for code in re.findall(r'"(SF\d{3})"', text)}
    explained = set(re.findall(r"^### (\S+)$", ERRORS_PAGE.read_text("utf-8"), re.MULTILINE))
    assert written - explained == set(), "a code without an error class needs a `#:` comment above"
