"""Written settings become objects, or faults that say everything but the secrets."""

from __future__ import annotations

import enum
import traceback
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest

from stageflow.plugins import Secret, SettingsError, read_settings
from stageflow.plugins._structure import Structurer

CANARY = "canary-5ecret"


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.StrEnum):
    SMALL = "small"


@attrs.frozen(kw_only=True)
class Pool:
    size: int = attrs.field(default=5, validator=attrs.validators.ge(1))


@attrs.frozen(kw_only=True)
class Everything:
    text: str = ""
    secret: Secret | None = None
    whole: int = 0
    number: float = 0.0
    truth: bool = False
    path: Path = Path()
    wait: timedelta = timedelta()
    word: Literal["a", "b"] = "a"
    digit: Literal[1, 2] = 1
    colour: Colour = Colour.RED
    size: Size = Size.SMALL
    names: tuple[str, ...] = ()
    numbers: Sequence[int] = ()
    unique: frozenset[int] = frozenset()
    table: Mapping[str, int] = attrs.field(factory=dict)
    anything: Any = None
    pool: Pool = Pool()
    pools: list[Pool] = attrs.field(factory=list)
    several: int | list[str] | str | None = None
    maybe_path: Path | bool | None = None
    _private: int = 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text(f"{CANARY}\r\n", encoding="utf-8")
    return tmp_path


ENVIRON = {"TOKEN": CANARY, "PORT": "5432", "EMPTY": ""}


def from_file(folder: Path, text: str, kind: type = Everything) -> Any:
    (folder / "stageflow.toml").write_text(f"[s]\n{text}\n", encoding="utf-8")
    return structure(folder, kind)


def from_variables(folder: Path, **values: str) -> Any:
    variables = {f"STAGEFLOW_S__{key.upper()}": value for key, value in values.items()}
    return structure(folder, Everything, environ={**ENVIRON, **variables})


def structure(folder: Path, kind: type, **sources: Any) -> Any:
    tree = read_settings(directory=folder, **{"environ": ENVIRON, **sources})
    return Structurer(tree).structure(tree.table("s"), kind, ("s",))


def faults(caught: pytest.ExceptionInfo[SettingsError]) -> list[tuple[str, str]]:
    return [(fault.context["path"], fault.code) for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("written", "field", "value"),
    [
        ('text = "x"', "text", "x"),
        ('text = "env:TOKEN"', "text", CANARY),
        ('text = "env:EMPTY"', "text", ""),
        ('text = "file:token"', "text", CANARY),
        ('text = "literal:env:TOKEN"', "text", "env:TOKEN"),
        ('text = "file:///etc/hosts"', "text", "file:///etc/hosts"),
        ('text = "postgres://host"', "text", "postgres://host"),
        ('secret = "env:TOKEN"', "secret", Secret(CANARY)),
        ('secret = "file:token"', "secret", Secret(CANARY)),
        ('secret = "literal:open"', "secret", Secret("open")),
        ("whole = 3", "whole", 3),
        ('whole = "env:PORT"', "whole", 5432),
        ("number = 3", "number", 3.0),
        ("truth = true", "truth", True),
        ("wait = 1.5", "wait", timedelta(seconds=1.5)),
        ('word = "b"', "word", "b"),
        ('colour = "blue"', "colour", Colour.BLUE),
        ('size = "small"', "size", Size.SMALL),
        ('names = ["a", "env:TOKEN"]', "names", ("a", CANARY)),
        ("numbers = [1, 2]", "numbers", (1, 2)),
        ("unique = [1, 1]", "unique", frozenset({1})),
        ("table = {a = 1}", "table", {"a": 1}),
        ('anything = {a = [{b = "env:PORT"}]}', "anything", {"a": [{"b": "5432"}]}),
        ("pool = {size = 2}", "pool", Pool(size=2)),
        ("pools = [{size = 2}, {}]", "pools", [Pool(size=2), Pool()]),
        ("several = 1", "several", 1),
        ('several = "1"', "several", "1"),
        ('several = ["1"]', "several", ["1"]),
        ("maybe_path = true", "maybe_path", True),
        ("private = 7", "_private", 7),
    ],
)
def test_a_file_gives_values_as_they_are(folder: Path, written: str, field: str, value: Any):
    made = getattr(from_file(folder, written), field)
    assert made == value
    assert type(made) is type(value)


@pytest.mark.parametrize(
    ("field", "written", "value"),
    [
        ("text", "3", "3"),
        ("text", "[not a list", "[not a list"),
        ("secret", CANARY, Secret(CANARY)),
        ("secret", "env:TOKEN", Secret(CANARY)),
        ("whole", "-3", -3),
        ("whole", "env:PORT", 5432),
        ("number", "1e3", 1000.0),
        ("truth", "Yes", True),
        ("truth", "0", False),
        ("wait", "2", timedelta(seconds=2)),
        ("colour", "blue", Colour.BLUE),
        ("digit", "2", 2),
        ("names", "a, b,", ("a", "b")),
        ("names", "", ()),
        ("names", '["a", "b,c"]', ("a", "b,c")),
        ("numbers", "1,2", (1, 2)),
        ("table", '{"a": 1}', {"a": 1}),
        ("several", "1", 1),
        ("maybe_path", "false", False),
        ("maybe_path", "runs", Path("runs")),
    ],
)
def test_a_variable_gives_whatever_is_expected(folder: Path, field: str, written: str, value: Any):
    made = getattr(from_variables(folder, **{field: written}), field)
    assert made == value
    assert type(made) is type(value)


def test_a_path_is_relative_to_the_file_it_is_written_in(folder: Path):
    assert from_file(folder, 'path = "a/b"').path == folder / "a/b"
    assert from_file(folder, 'path = "/a"').path == Path("/a")
    assert from_file(folder, 'path = "~/a"').path == Path.home() / "a"
    assert from_variables(folder, path="a/b").path == Path("a/b")
    assert from_file(folder, 'maybe_path = "a"').maybe_path == folder / "a"


def test_arguments_may_be_values_of_the_right_type_already(folder: Path):
    given = {"s": {"secret": Secret("x"), "path": Path("p"), "wait": timedelta(1), "names": ("a",)}}
    made = structure(folder, Everything, arguments=given)
    assert made == Everything(secret=Secret("x"), path=Path("p"), wait=timedelta(1), names=("a",))


@pytest.mark.parametrize(
    ("written", "path", "code"),
    [
        ("text = 3", "s.text", "SF203"),
        ("whole = 3.5", "s.whole", "SF203"),
        ("whole = true", "s.whole", "SF203"),
        ('whole = "3"', "s.whole", "SF203"),
        ('whole = "env:TOKEN"', "s.whole", "SF203"),
        ("number = true", "s.number", "SF203"),
        ('number = "1.5"', "s.number", "SF203"),
        ('truth = "true"', "s.truth", "SF203"),
        ("truth = 1", "s.truth", "SF203"),
        ("path = 1", "s.path", "SF203"),
        ('word = "c"', "s.word", "SF203"),
        ("word = 1", "s.word", "SF203"),
        ("digit = true", "s.digit", "SF203"),
        ('digit = "2"', "s.digit", "SF203"),
        ('colour = "green"', "s.colour", "SF203"),
        ('names = "abc"', "s.names", "SF203"),
        ("names = [1]", "s.names.0", "SF203"),
        ("table = [1]", "s.table", "SF203"),
        ('table = {a = "x"}', "s.table.a", "SF203"),
        ("pool = 3", "s.pool", "SF203"),
        ("pool = {sise = 3}", "s.pool.sise", "SF202"),
        ("pool = {size = 0}", "s.pool", "SF203"),
        ("pools = [{}, {size = 'x'}]", "s.pools.1.size", "SF203"),
        ("several = 1.5", "s.several", "SF203"),
        ('several = "env:NOT_SET"', "s.several", "SF205"),
        ('text = "env:NOT_SET"', "s.text", "SF205"),
        ('text = "file:absent"', "s.text", "SF205"),
        ('anything = ["env:NOT_SET"]', "s.anything", "SF205"),
        (f'secret = "{CANARY}"', "s.secret", "SF206"),
        ("secret = 3", "s.secret", "SF203"),
        ("txt = 1", "s.txt", "SF202"),
    ],
)
def test_what_does_not_do_is_told_with_its_place(folder: Path, written: str, path: str, code: str):
    with pytest.raises(SettingsError) as caught:
        from_file(folder, written)
    assert faults(caught) == [(path, code)]
    assert caught.value.faults[0].context["origin"] == "stageflow.toml:2"
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "written"), [("whole", "x"), ("names", "[1"), ("table", "{x"), ("truth", "maybe")]
)
def test_a_variable_that_does_not_do_is_named(folder: Path, field: str, written: str):
    with pytest.raises(SettingsError) as caught:
        from_variables(folder, **{field: written})
    assert caught.value.faults[0].context["origin"] == f"STAGEFLOW_S__{field.upper()}"


@attrs.frozen(kw_only=True)
class Needy:
    name: str
    token: Secret
    pool: Pool


def test_all_faults_come_at_once_each_with_its_place(folder: Path):
    with pytest.raises(SettingsError) as caught:
        from_file(folder, 'token = "env:NOT_SET"\npol = 1\n[s.pool]\nsize = "x"\n', Needy)
    told = {fault.context["path"]: str(fault) for fault in caught.value.faults}
    assert told == {
        "s.name": "[SF204] stageflow.toml:1: s.name: missing; expected a text.",
        "s.token": "[SF205] stageflow.toml:2: s.token: refers to env:NOT_SET, which is not set."
        " Hint: Set the variable NOT_SET.",
        "s.pol": "[SF202] stageflow.toml:3: s.pol: unknown key. Hint: Did you mean 'pool'?",
        "s.pool.size": "[SF203] stageflow.toml:5: s.pool.size: expected a whole number.",
    }
    assert all(text in str(caught.value) for text in told.values())


def test_a_reference_to_a_file_is_relative_to_the_settings_file(folder: Path, monkeypatch):
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert from_file(folder, 'text = "file:token"').text == CANARY


def _tells(instance: Any, attribute: Any, value: Secret) -> None:
    raise ValueError(f"{value.reveal()!r} is too short, so is {value}")


@attrs.frozen(kw_only=True)
class Talkative:
    secret: Secret = attrs.field(validator=_tells)


def test_a_validator_that_quotes_a_secret_does_not_show_it(folder: Path):
    with pytest.raises(SettingsError) as caught:
        from_file(folder, 'secret = "env:TOKEN"', Talkative)
    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert "is too short" in str(caught.value)
    assert CANARY not in "".join(told.format()).replace(repr(ENVIRON), "")
    assert caught.value.__context__ is None


def test_a_default_secret_is_not_shown_either(folder: Path):
    assert CANARY not in repr(from_file(folder, 'secret = "env:TOKEN"'))


def test_a_settings_class_with_a_type_nobody_can_write_says_so(folder: Path):
    @attrs.frozen
    class Odd:
        thing: complex = 1j

    with pytest.raises(SettingsError, match="complex"):
        from_file(folder, "thing = 1", Odd)


def test_long_lists_of_faults_are_cut():
    tree = read_settings(arguments={"s": {f"k{n}": n for n in range(50)}}, environ={})
    with pytest.raises(SettingsError) as caught:
        Structurer(tree).structure(tree.table("s"), Pool, ("s",))
    assert len(caught.value.faults) == 50
    assert "and 30 more" in str(caught.value)
