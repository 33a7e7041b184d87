"""Every intended error has a code of its own, is documented, and survives a copy."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
import typing
from collections import Counter
from typing import Any

import pytest

from dev.reference import ERRORS_PAGE, error_classes, errors_page
from stageflow.errors import StageflowError
from support.workspace import MEMBERS

CLASSES = error_classes()
# Constructor arguments, by error class name, where a sample cannot be made from the annotations.
SAMPLES: dict[str, dict[str, Any]] = {}
BY_TYPE = {
    "str": "text",
    "int": 3,
    "float": 0.5,
    "bool": True,
    "object": "value",
    "Any": "value",
    "BaseException": ValueError("cause"),
    "Exception": ValueError("cause"),
    "None": None,
}


def sample(annotation: str) -> Any:
    """Return a value that fits a parameter's annotation, given as it is written."""
    outer = re.match(r"[\w.]+", annotation)
    kind = (outer[0] if outer else "").rpartition(".")[2]
    inner = re.search(r"\[(.+)\]", annotation)
    if kind in {"Sequence", "Iterable", "Collection", "list", "tuple"}:
        items = inner[1].split(",")[0] if inner else "str"
        made = [sample(items)]
        return tuple(made) if kind == "tuple" else made
    if kind in {"Mapping", "dict"}:
        return {}
    return BY_TYPE[kind]


def make(cls: type[StageflowError]) -> StageflowError:
    """Return an instance with a value for every required parameter."""
    given = SAMPLES.get(cls.__name__)
    if given is not None:
        return cls(**given)
    positional, keywords = [], {}
    for parameter in inspect.signature(cls).parameters.values():
        if parameter.default is not parameter.empty:
            continue
        if parameter.kind is parameter.KEYWORD_ONLY:
            keywords[parameter.name] = sample(parameter.annotation)
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            positional.append(sample(parameter.annotation))
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
def test_an_error_survives(cls: type[StageflowError], through: typing.Callable[[Any], Any]):
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
    sources = [path for member in MEMBERS for path in (member / "src").rglob("*.py")]
    written = {
        code for path in sources for code in re.findall(r'"(SF\d{3})"', path.read_text("utf-8"))
    }
    explained = set(re.findall(r"^### (\S+)$", ERRORS_PAGE.read_text("utf-8"), re.MULTILINE))
    assert written - explained == set()
